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

use bitloop_core::graph::{Node, Point, PointKind};
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

/// Normalized images that a model is calibrated on, and what is kept of them.
#[derive(Clone, Copy, Debug)]
pub struct Batches<'a> {
    /// Each `(n, channels, height, width)` f32 on the CPU: one batch of the histograms.
    pub blocks: &'a [Tensor],
    /// What is kept of every activation point.
    pub detail: Detail,
}

/// Runs the float network over a sample and returns statistics of its activation points; `None` if `stop` became true.
///
/// The images go through in blocks of 32, which are the batches of the histograms. Threads compute blocks side by side,
/// but every point takes them in in their order; so the result does not depend on `threads`, and no activation is kept.
///
/// Errors: `Data`, `Graph`, `Lanes`, `NotFinite` naming the point, `Execute`.
pub fn calibrate(
    model: &Model,
    points: &[Point],
    sample: Sample<'_>,
    threads: usize,
    stop: &AtomicBool,
) -> Result<Option<Statistics>, CalibrationError> {
    let Sample { images, range, detail } = sample;
    let positions = images.range(range)?;
    images.check_shape(&model.graph.input.shape)?;
    let blocks = network::blocks(positions, BLOCK_IMAGES);
    let input = |network: &Network, block: usize| network.input(images, blocks[block].clone(), &Device::Cpu);
    let feed = Feed { images: range.len, blocks: blocks.len(), detail, input: &input };
    feed.observed(model, points, threads, stop)
}

/// As [`calibrate`], for images that are tensors already.
///
/// Errors: `Graph`, `Lanes`, `NotFinite` naming the point, also where there is no image; `Execute`.
pub fn calibrate_blocks(
    model: &Model,
    points: &[Point],
    batches: Batches<'_>,
    threads: usize,
    stop: &AtomicBool,
) -> Result<Option<Statistics>, CalibrationError> {
    let Batches { blocks, detail } = batches;
    let images = blocks.iter().map(|block| block.dims().first().map_or(0, |n| *n as u64)).sum();
    let input = |_: &Network, block: usize| Ok(blocks[block].clone());
    let feed = Feed { images, blocks: blocks.len(), detail, input: &input };
    feed.observed(model, points, threads, stop)
}

/// Where blocks of images come from.
struct Feed<'a> {
    images: u64,
    blocks: usize,
    detail: Detail,
    /// Gives a block as the network's input.
    input: &'a (dyn Fn(&Network, usize) -> candle_core::Result<Tensor> + Sync),
}

impl Feed<'_> {
    fn observed(
        &self,
        model: &Model,
        points: &[Point],
        threads: usize,
        stop: &AtomicBool,
    ) -> Result<Option<Statistics>, CalibrationError> {
        let points: Vec<&Point> = points.iter().filter(|point| point.kind == PointKind::Activation).collect();
        let tensors = points
            .iter()
            .enumerate()
            .flat_map(|(index, point)| point.tensors.iter().map(move |tensor| (tensor.as_str(), index)));
        let tensors: BTreeMap<&str, usize> = tensors.collect();
        let output = &model.graph.output()?.name;
        let network = Network::new(model, &Device::Cpu)?;
        let turns = Turns::new(points.len(), self.detail);
        let done = Lanes::new(threads)?.map(self.blocks, stop, |block| {
            let turn = turns.block(block);
            let input = (self.input)(&network, block)?;
            let mut pass = Observe::new(&network, &points, &tensors, &turn);
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
        let names = points.into_iter().map(|point| point.name.clone());
        Statistics::new(self.images, names.zip(turns.into_observers())).map(Some)
    }
}

/// The float network, watched.
struct Observe<'a> {
    network: &'a Network,
    /// The point that a tensor belongs to.
    tensors: &'a BTreeMap<&'a str, usize>,
    /// Per point, what its tensors gave so far, and how many are still to come.
    gathered: Vec<(Vec<f32>, usize)>,
    turn: &'a turns::Block<'a>,
    /// The point whose values were refused, and why.
    refused: Option<(usize, QuantError)>,
}

impl<'a> Observe<'a> {
    fn new(
        network: &'a Network,
        points: &[&Point],
        tensors: &'a BTreeMap<&'a str, usize>,
        turn: &'a turns::Block<'a>,
    ) -> Self {
        let gathered = points.iter().map(|point| (Vec::new(), point.tensors.len())).collect();
        Self { network, tensors, gathered, turn, refused: None }
    }
}

impl Pass for Observe<'_> {
    fn weight(&mut self, node: &Node) -> candle_core::Result<Tensor> {
        self.network.weight(&node.name)
    }

    fn bias(&mut self, node: &Node) -> candle_core::Result<Option<Tensor>> {
        Ok(self.network.bias(node))
    }

    fn parameter(&mut self, node: &Node, part: &str) -> candle_core::Result<Tensor> {
        self.network.parameter(&node.name, part)
    }

    fn batch_norm(&mut self, node: &Node, _eps: f64, x: &Tensor) -> candle_core::Result<Tensor> {
        self.network.batch_norm(node, x, self.kernels())
    }

    fn output(&mut self, node: &str, x: Tensor) -> candle_core::Result<Tensor> {
        let Some(&point) = self.tensors.get(node) else { return Ok(x) };
        // Tied tensors share a quantizer, so they are one batch of its histogram.
        let (gathered, missing) = &mut self.gathered[point];
        gathered.append(&mut x.flatten_all()?.to_vec1::<f32>()?);
        *missing = missing.saturating_sub(1);
        if *missing > 0 {
            return Ok(x);
        }
        let values = std::mem::take(gathered);
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
