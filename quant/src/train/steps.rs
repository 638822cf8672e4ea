use bitloop_core::spec::TrainSpec;

use super::TrainError;
use super::session::Session;
use crate::data::Images;

/// Steps of a training one by one, without validation or checkpoints: what benchmarks measure.
pub struct Steps<'a> {
    session: Session<'a>,
    batch: usize,
    order: Vec<usize>,
    done: usize,
}

impl<'a> Steps<'a> {
    /// Builds the network and draws its first weights.
    ///
    /// Errors: as [`super::train`], before its first step.
    pub fn new(spec: &'a TrainSpec, images: &'a Images) -> Result<Self, TrainError> {
        let session = Session::new(spec, images)?;
        let order = session.order(0);
        Ok(Self { session, batch: spec.batch, order, done: 0 })
    }

    /// Learns from the next batch, forward, back and update, and returns its loss; after the last batch the first one follows.
    ///
    /// Errors: `Compute`.
    pub fn step(&mut self) -> Result<f64, TrainError> {
        let start = self.done % self.session.steps() * self.batch;
        let loss = self.session.step(&self.order[start..start + self.batch], self.done)?;
        self.done += 1;
        Ok(loss)
    }
}
