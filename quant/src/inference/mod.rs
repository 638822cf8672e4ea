//! One network at one bit config, executed again and again: so that what a device takes for it can be measured, and what it
//! computes be looked at.
//!
//! [`Inference`] is the engine of the CPU, which multiplies codes wherever a layer's weights and inputs have 8 bits or fewer,
//! and floats elsewhere; [`Walk`] is the walk over the graph that GPUs execute. Neither reads a clock.

mod error;
mod quantized;
#[cfg(test)]
mod tests;
mod walk;

use rayon::ThreadPool;
use rayon::prelude::*;

use bitloop_core::graph::INPUT;
use bitloop_core::trial::Numerics;

use crate::engine::{Engine, Plan, Workspace};
use crate::evaluate::BLOCK_IMAGES;
use crate::kernels::Kernels;
use crate::lanes;
use crate::rng::rng;

pub use error::InferenceError;
pub use quantized::Quantized;
pub use walk::Walk;

/// How an inference is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Images of an inference.
    pub images: usize,
    /// Threads, each of which takes its part of the images; beyond one for each image they have nothing to do.
    pub threads: usize,
}

/// A network that is ready: packed weights and planned memory, without what they were made from.
pub struct Inference {
    plan: Plan,
    /// One for each thread that has images, the largest first.
    parts: Vec<Part>,
    /// None for one part, which the caller's thread computes.
    pool: Option<ThreadPool>,
    /// Nodes with steps, behind one without a name.
    nodes: Vec<String>,
    /// By step, the position of its node.
    node_of: Vec<usize>,
}

/// A thread's part of the images.
struct Part {
    images: usize,
    pixels: Vec<u8>,
    workspace: Workspace,
    outputs: Vec<f32>,
}

impl Inference {
    /// Makes a network ready to compute its logits of drawn pixels, always the same.
    ///
    /// Errors: `Evaluate`, `Setting`.
    pub fn new(network: &Quantized, setting: Setting) -> Result<Self, InferenceError> {
        let logits = network.prepared().model.graph.logits().map_err(crate::evaluate::EvaluateError::from)?;
        Self::until(network, logits, setting)
    }

    /// The same for what a node gives, behind its quantizer if it has one: no node is joined to one that comes later.
    ///
    /// Errors: `Evaluate`, `Setting`, `UnknownNode`.
    pub fn until(network: &Quantized, node: &str, setting: Setting) -> Result<Self, InferenceError> {
        let Setting { images, threads } = setting;
        if images == 0 || threads == 0 {
            return Err(InferenceError::Setting { images, threads });
        }
        let graph = &network.prepared().model.graph;
        if node != INPUT && graph.node(node).is_none() {
            return Err(InferenceError::UnknownNode(node.to_owned()));
        }
        let isa = Kernels::chosen()?.isa().ok_or(InferenceError::Kernels)?;
        let engine = Engine::new(network.shared(), node, Numerics::Exact, isa)?;
        let plan = engine.plan(&[&|index| network.choice(index)], 0)?;
        let (nodes, node_of) = numbered(&engine.nodes(&plan));
        let count = threads.min(images);
        let parts = (0..count).map(|part| images / count + usize::from(part < images % count));
        let elements = graph.input.shape.elements();
        let parts: Vec<Part> =
            parts.zip(0..).map(|(images, part)| Part::drawn(images, elements, part)).collect();
        let pool = if count > 1 { Some(lanes::pool(count)?) } else { None };
        Ok(Self { plan, parts, pool, nodes, node_of })
    }

    /// Computes so many inferences, one after another.
    pub fn run(&mut self, inferences: u64) {
        let Self { plan, parts, pool, .. } = self;
        let Some(pool) = pool else {
            return (0..inferences).for_each(|_| parts.iter_mut().for_each(|part| part.run(plan, |_| {})));
        };
        pool.install(|| {
            (0..inferences).for_each(|_| parts.par_iter_mut().for_each(|part| part.run(plan, |_| {})));
        });
    }

    /// Names of the nodes that [`Inference::run_watched`] counts in; the first one is empty.
    ///
    /// A node that is computed together with the one before it, as a rectifier behind a convolution, is not among them.
    pub fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// Computes one inference and calls `watch` at its start, with 0, and after each kernel, with the position of its node in
    /// [`Inference::nodes`]: 0 for what belongs to none, as the conversion of codes to values for a layer that takes floats.
    ///
    /// Of several threads the one with the most images is watched.
    pub fn run_watched(&mut self, watch: &mut (dyn FnMut(usize) + Send)) {
        let Self { plan, parts, pool, node_of, .. } = self;
        let Some((first, others)) = parts.split_first_mut() else { return };
        let mut watched = || {
            watch(0);
            first.run(plan, |step| watch(node_of[step]));
        };
        match pool {
            None => watched(),
            Some(pool) => pool.install(|| {
                rayon::join(watched, || others.par_iter_mut().for_each(|part| part.run(plan, |_| {})));
            }),
        }
    }

    /// What the last inference gave.
    ///
    /// Shapes: `(images, ..)`, row-major.
    pub fn outputs(&self) -> Vec<f32> {
        self.parts.iter().flat_map(|part| &part.outputs).copied().collect()
    }

    /// Computes other pixels, on one thread.
    ///
    /// Shapes: `(n, channels, height, width)` bytes -> `(n, ..)`, row-major. Errors: `Images` if that is no whole number of
    /// images.
    pub fn outputs_of(&mut self, pixels: &[u8]) -> Result<Vec<f32>, InferenceError> {
        let part = self.parts.first_mut().expect("there are at least one image and one thread");
        let elements = part.pixels.len() / part.images;
        if !pixels.len().is_multiple_of(elements) {
            return Err(InferenceError::Images { values: pixels.len(), elements });
        }
        let mut outputs = Vec::new();
        for block in pixels.chunks(BLOCK_IMAGES * elements) {
            let images = (block.len() / elements, block);
            self.plan.run(images, &mut part.workspace, |_, values| outputs.extend_from_slice(values));
        }
        Ok(outputs)
    }
}

impl Part {
    /// Pixels of all values: on images of one colour some kernels would have less to do.
    fn drawn(images: usize, elements: usize, part: u64) -> Self {
        let mut rng = rng(0, part);
        let pixels = (0..images * elements).map(|_| rng.below(256) as u8).collect();
        Self { images, pixels, workspace: Workspace::default(), outputs: Vec::new() }
    }

    /// Computes all images, in blocks as evaluations do.
    fn run(&mut self, plan: &Plan, mut watch: impl FnMut(usize)) {
        let Self { images, pixels, workspace, outputs } = self;
        outputs.clear();
        for block in pixels.chunks(BLOCK_IMAGES * pixels.len() / *images) {
            let count = block.len() * *images / pixels.len();
            plan.run_watched((count, block), workspace, &mut watch, |_, values| {
                outputs.extend_from_slice(values)
            });
        }
    }
}

/// Numbers the names of steps' nodes from 1; what has none is 0.
fn numbered(steps: &[Option<&str>]) -> (Vec<String>, Vec<usize>) {
    let mut nodes = vec![String::new()];
    let position = steps.iter().map(|node| {
        let name = node.unwrap_or_default();
        nodes.iter().position(|known| known == name).unwrap_or_else(|| {
            nodes.push(name.to_owned());
            nodes.len() - 1
        })
    });
    let node_of = position.collect();
    (nodes, node_of)
}
