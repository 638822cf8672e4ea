use std::collections::BTreeMap;

use bitloop_core::graph::Graph;
use bitloop_core::spec::TrainSpec;
use bitloop_core::trial::NodeQuantizers;

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
    /// Builds the network, with the quantizers that `quantizers` gives its graph, and draws its first weights.
    ///
    /// Errors: as [`super::train`], before its first step.
    pub fn new(
        spec: &'a TrainSpec,
        images: &'a Images,
        quantizers: &dyn Fn(&Graph) -> BTreeMap<String, NodeQuantizers>,
    ) -> Result<Self, TrainError> {
        let session = Session::of_spec(spec, images, quantizers)?;
        let order = session.course.order(0);
        Ok(Self { session, batch: spec.batch, order, done: 0 })
    }

    /// Learns from the next batch, forward, back and update, and returns its loss; after the last batch the first one follows.
    ///
    /// Errors: `Compute`, `Quantizer`.
    pub fn step(&mut self) -> Result<f64, TrainError> {
        let start = self.done % self.session.course.steps() * self.batch;
        let loss = self.session.step(&self.order[start..start + self.batch], self.done)?;
        self.done += 1;
        Ok(loss)
    }
}
