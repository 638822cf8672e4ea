//! What a device computes beside what the simulation does: sample by sample, and layer by layer where they differ.

use std::fs;
use std::path::Path;

use bitloop_core::digest::Digest;
use bitloop_core::graph::Op;
use bitloop_core::trial::{Fidelity, ImageRange, LayerDifference};
use bitloop_quant::data::Images;
use bitloop_quant::inference::{Inference, InferenceError, Quantized, Setting as OneByOne};

use super::handle::Inference as Asked;
use super::staged::Staged;
use super::trial::Unmeasured;
use super::values::{decoded, encoded};
use super::{Network, Probe};
use crate::artifacts::ArtifactError;
use crate::executor::{ExecuteError, Obstacle, Setting};

/// Images that are computed before any is compared: their values lie in a file.
const CHUNK_IMAGES: usize = 64;

/// Images of which layers are compared.
const LAYER_IMAGES: usize = 4;

/// Values that are on their grid may differ by a step, as runtimes round the products of scales otherwise; by more than this many,
/// with room for the scales' own rounding, they differ.
const STEPS: f32 = 1.5;

/// Floats may differ by this part of the largest one, as sums are rounded in another order.
const FLOAT_PART: f32 = 1e-3;

/// A layer differs if this part of its values does: of values that lie between two steps a few are rounded to the other side, and
/// come out a step further in the next layer.
const SHARE: f64 = 0.01;

impl From<InferenceError> for Unmeasured {
    fn from(error: InferenceError) -> Self {
        let reason = format!("the simulation cannot compute the network: {error}");
        Self::Obstacle(match error.is_of_this_machine() {
            true => Obstacle::Here(ExecuteError::Device { reason }),
            false => Obstacle::Failed(reason),
        })
    }
}

/// The simulation of one config, and the device.
struct Pair<'a> {
    probe: &'a Probe,
    staged: &'a Staged,
    config: &'a Network,
    network: Quantized,
}

pub(super) fn fidelity(
    (probe, staged, config): (&Probe, &Staged, &Network),
    (data, range): (&Digest, ImageRange),
    setting: &Setting<'_>,
) -> Result<Fidelity, Unmeasured> {
    let images = Images::from_bytes(&setting.artifacts.fetch(data)?);
    let images = images.map_err(|error| Unmeasured::failed(error.to_string()))?;
    let range = images.range(range).map_err(|error| Unmeasured::failed(error.to_string()))?;
    let pair = Pair { probe, staged, config, network: staged.quantized(config)? };
    let elements = images.shape.elements();
    let one = OneByOne { images: 1, threads: 1 };
    let mut simulation = Inference::new(&pair.network, one)?;
    let mut found = Tally::default();
    for start in range.clone().step_by(CHUNK_IMAGES) {
        let end = range.end.min(start + CHUNK_IMAGES);
        let pixels = &images.pixels[start * elements..end * elements];
        let device = pair.computed(pixels, &[], setting)?;
        let simulated = simulation.outputs_of(pixels)?;
        found.add(&images.labels[start..end], &device, &simulated);
    }
    let mut found = found.finish();
    // Where not one bit of a logit differs, nothing that layers differ in comes through.
    if found.logit_difference_max > 0.0 {
        let end = range.end.min(range.start + LAYER_IMAGES);
        let pixels = &images.pixels[range.start * elements..end * elements];
        found.first_difference = pair.first_difference(pixels, setting)?;
    }
    Ok(found)
}

impl Pair<'_> {
    /// What the device computes: `(images, logits)`, then `(images, elements)` of each node.
    fn computed(
        &self,
        pixels: &[u8],
        nodes: &[String],
        setting: &Setting<'_>,
    ) -> Result<Vec<f32>, Unmeasured> {
        let graph = &self.network.prepared().model.graph;
        let values = self.network.values(pixels)?;
        let logits = graph.logits().map_err(|error| Unmeasured::failed(error.to_string()))?;
        let mut elements = self.network.elements(logits)?;
        for node in nodes {
            elements += self.network.elements(node)?;
        }
        let (images, output) = (self.staged.file("images"), self.staged.file("output"));
        fs::write(&images, encoded(&values)).map_err(|error| unwritten(&images, error))?;
        let asked = Asked {
            config: self.config,
            images: &images,
            count: (pixels.len() / graph.input.shape.elements()) as u64,
            nodes,
            elements: elements as u64,
            output: &output,
        };
        self.probe.infer(&asked, setting.stop)?;
        let computed = decoded(&fs::read(&output).map_err(|error| unwritten(&output, error))?);
        // They may be large.
        for path in [&images, &output] {
            fs::remove_file(path).map_err(|error| unwritten(path, error))?;
        }
        Ok(computed)
    }

    /// The first node whose values differ, in the order of the graph: of those on grids, or of all where there are none.
    ///
    /// A runtime keeps what is asked for: between quantizers that would part what it computes as one, and be another network.
    fn first_difference(
        &self,
        pixels: &[u8],
        setting: &Setting<'_>,
    ) -> Result<Option<LayerDifference>, Unmeasured> {
        let graph = &self.network.prepared().model.graph;
        let is_computed = |op: &Op| !matches!(op, Op::Constant { .. });
        let nodes = graph.nodes.iter().filter(|node| is_computed(&node.op)).map(|node| node.name.clone());
        let all: Vec<String> = nodes.collect();
        let on_grids = all.iter().filter(|node| self.network.step(node).is_some()).cloned();
        let on_grids: Vec<String> = on_grids.collect();
        let nodes = if on_grids.is_empty() { all } else { on_grids };
        let device = self.computed(pixels, &nodes, setting)?;
        let images = pixels.len() / graph.input.shape.elements();
        let logits = graph.logits().map_err(|error| Unmeasured::failed(error.to_string()))?;
        let mut rest = &device[images * self.network.elements(logits)?..];
        for node in &nodes {
            let (values, behind) = rest.split_at(images * self.network.elements(node)?);
            rest = behind;
            let one = OneByOne { images: 1, threads: 1 };
            let simulated = Inference::until(&self.network, node, one)?.outputs_of(pixels)?;
            let differs = difference(node, self.network.step(node), (values, &simulated));
            if differs.is_some() {
                return Ok(differs);
            }
        }
        Ok(None)
    }
}

/// How a node's values differ, if they do.
fn difference(
    node: &str,
    step: Option<f32>,
    (device, simulated): (&[f32], &[f32]),
) -> Option<LayerDifference> {
    let largest = simulated.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let (unit, allowed) = match step {
        Some(step) => (step, STEPS),
        None => (largest, FLOAT_PART),
    };
    // A layer of zeros has no largest value to be a part of.
    let unit = if unit > 0.0 { unit } else { 1.0 };
    let distances = || {
        device.iter().zip(simulated).map(|(device, simulated)| match (device - simulated).abs() / unit {
            distance if distance.is_finite() => distance,
            _ => f32::MAX,
        })
    };
    let differing = distances().filter(|distance| *distance > allowed).count();
    let share = differing as f64 / simulated.len().max(1) as f64;
    (share > SHARE).then(|| LayerDifference {
        node: node.to_owned(),
        share,
        largest: f64::from(distances().fold(0.0, f32::max)),
    })
}

/// What was found so far.
#[derive(Default)]
struct Tally {
    found: Fidelity,
    differences: f64,
    logits: u64,
}

impl Tally {
    /// Shapes: `device` and `simulated` `(labels, classes)`.
    fn add(&mut self, labels: &[u32], device: &[f32], simulated: &[f32]) {
        let classes = simulated.len() / labels.len().max(1);
        let rows = device.chunks(classes).zip(simulated.chunks(classes)).zip(labels);
        for ((device, simulated), label) in rows {
            let (seen, expected) = (largest(device), largest(simulated));
            self.found.n += 1;
            self.found.device_correct += u64::from(seen == Some(*label as usize));
            self.found.simulated_correct += u64::from(expected == Some(*label as usize));
            self.found.agreeing += u64::from(seen == expected);
            for (device, simulated) in device.iter().zip(simulated) {
                // What is no number is as far off as can be said.
                let distance = f64::from((device - simulated).abs()).min(f64::from(f32::MAX));
                self.found.logit_difference_max = self.found.logit_difference_max.max(distance);
                self.differences += distance;
                self.logits += 1;
            }
        }
    }

    fn finish(self) -> Fidelity {
        let mean = self.differences / self.logits.max(1) as f64;
        Fidelity { logit_difference_mean: mean, ..self.found }
    }
}

/// The first of the largest values; none if one is no number.
fn largest(values: &[f32]) -> Option<usize> {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if value.is_nan() {
            return None;
        }
        if *value > values[best] {
            best = index;
        }
    }
    (!values.is_empty()).then_some(best)
}

fn unwritten(path: &Path, source: std::io::Error) -> ArtifactError {
    ArtifactError::Cache { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_counted_by_their_largest_logits() {
        let mut tally = Tally::default();
        // Both right; the device wrong; neither right, and not alike; a device without numbers.
        let device = [0.1, 0.9, 0.8, 0.2, 0.9, 0.1, f32::NAN, 0.0];
        let simulated = [0.2, 0.8, 0.2, 0.8, 0.1, 0.9, 0.3, 0.1];

        tally.add(&[1, 1, 5, 0], &device, &simulated);
        let found = tally.finish();

        assert_eq!((found.n, found.device_correct, found.simulated_correct, found.agreeing), (4, 1, 3, 1));
        assert_eq!(found.logit_difference_max, f64::from(f32::MAX));
    }

    #[test]
    fn a_step_is_rounding_and_two_are_a_difference() {
        let simulated: Vec<f32> = (0..200).map(|step| step as f32 * 0.5).collect();
        let moved = |by: f32, count: usize| {
            let moved = simulated.iter().enumerate();
            moved.map(|(index, value)| if index < count { value + by } else { *value }).collect::<Vec<_>>()
        };
        let differs = |device: &[f32]| difference("conv", Some(0.5), (device, &simulated));

        assert_eq!(differs(&moved(0.5, 200)), None);
        assert_eq!(differs(&moved(1.0, 2)), None);
        let found = differs(&moved(1.0, 20)).unwrap();
        assert_eq!((found.node.as_str(), found.share, found.largest), ("conv", 0.1, 2.0));
        assert!(differs(&moved(f32::NAN, 20)).is_some());
    }

    #[test]
    fn floats_differ_by_a_part_of_the_largest() {
        let simulated = [0.0, 1.0, -100.0, 2.0];

        assert_eq!(difference("pool", None, (&[0.05, 1.0, -100.0, 2.0], &simulated)), None);
        let found = difference("pool", None, (&[0.0, 2.0, -100.0, 2.0], &simulated)).unwrap();
        assert_eq!((found.share, found.largest as f32), (0.25, 0.01));
    }
}
