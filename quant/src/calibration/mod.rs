//! Calibration: the float network runs once, and statistics of every activation point are kept.
//!
//! Start at [`calibrate`]. Encodings of every width, grid and calibration come from the same [`Statistics`].

mod error;
mod file;
mod statistics;
#[cfg(test)]
mod tests;
mod turns;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use bitloop_core::graph::{GraphError, Node, Point, PointKind};
use bitloop_core::trial::ImageRange;
use candle_core::{Device, Tensor};

pub use error::CalibrationError;
pub use statistics::Statistics;

use crate::data::Images;
use crate::executor::{self, Pass};
use crate::lanes::Lanes;
use crate::model::Model;
use crate::network::{self, Network};
use crate::quantizer::{Detail, QuantError};
use turns::{Refused, Turns};

/// Images that go through the network together: one batch of the histograms. Part of what statistics are.
const BLOCK_IMAGES: usize = 32;

/// The images that a model is calibrated on, and what is kept of them.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// A data artifact.
    pub images: &'a Images,
    /// Which of its images.
    pub range: ImageRange,
    /// What is kept of every activation point.
    pub detail: Detail,
}

/// Runs the float network over a sample and returns statistics of every activation point; `None` if `stop` became true.
///
/// The images go through in blocks of 32, which are the batches of the histograms. Threads compute blocks side by side,
/// but every point takes them in in their order; so the result does not depend on `threads`, and no activation is kept.
///
/// Errors: `Data`, `Graph`, `Lanes`, `NotFinite` naming the point, `Execute`.
pub fn calibrate(
    model: &Model,
    sample: Sample<'_>,
    threads: usize,
    stop: &AtomicBool,
) -> Result<Option<Statistics>, CalibrationError> {
    let Sample { images, range, detail } = sample;
    let positions = images.range(range)?;
    images.check_shape(&model.graph.input.shape)?;
    let points = activation_points(model)?;
    let nodes: BTreeMap<&str, usize> = points.iter().map(|point| point.node.as_str()).zip(0..).collect();
    let output = &model.graph.output()?.name;
    let network = Network::new(model, &Device::Cpu)?;
    let blocks = network::blocks(positions, BLOCK_IMAGES);
    let turns = Turns::new(points.len(), detail);
    let done = Lanes::new(threads)?.map(blocks.len(), stop, |block| {
        let turn = turns.block(block);
        let input = network.input(images, blocks[block].clone(), &Device::Cpu)?;
        let mut pass = Observe { network: &network, nodes: &nodes, turn: &turn, refused: None };
        let walked = executor::forward(&network.graph, &input, output, &mut pass);
        match (pass.refused, walked) {
            (Some((index, QuantError::NotFinite { min, max, .. })), _) => {
                Err(CalibrationError::NotFinite { point: points[index].name.clone(), min, max })
            }
            (Some((index, source)), _) => {
                Err(CalibrationError::Quantizer { point: points[index].name.clone(), source })
            }
            (None, Err(error)) => Err(error.into()),
            (None, Ok(_)) => {
                turn.finish();
                Ok(())
            }
        }
    })?;
    if done.is_none() {
        return Ok(None);
    }
    let names = points.into_iter().map(|point| point.name);
    Statistics::new(range.len, names.zip(turns.into_observers())).map(Some)
}

fn activation_points(model: &Model) -> Result<Vec<Point>, GraphError> {
    let mut points = model.graph.points()?;
    points.retain(|point| point.kind == PointKind::Activation);
    Ok(points)
}

/// The float network, watched.
struct Observe<'a> {
    network: &'a Network,
    nodes: &'a BTreeMap<&'a str, usize>,
    turn: &'a turns::Block<'a>,
    /// The point whose values were refused, and why.
    refused: Option<(usize, QuantError)>,
}

impl Pass for Observe<'_> {
    fn weight(&mut self, node: &Node) -> candle_core::Result<Tensor> {
        self.network.weight(&node.name)
    }

    fn bias(&mut self, node: &Node) -> candle_core::Result<Option<Tensor>> {
        Ok(self.network.bias(node))
    }

    fn batch_norm(&mut self, node: &Node, _eps: f64, x: &Tensor) -> candle_core::Result<Tensor> {
        self.network.batch_norm(node, x)
    }

    fn output(&mut self, node: &str, x: Tensor) -> candle_core::Result<Tensor> {
        let Some(&point) = self.nodes.get(node) else { return Ok(x) };
        let values = x.flatten_all()?.to_vec1::<f32>()?;
        match self.turn.observe(point, &values) {
            Ok(()) => Ok(x),
            Err(Refused::Values(error)) => {
                let message = error.to_string();
                self.refused = Some((point, error));
                candle_core::bail!("{message}")
            }
            // Never seen: the error of the earlier block is what is reported.
            Err(Refused::Abandoned) => candle_core::bail!("an earlier block failed"),
        }
    }
}
