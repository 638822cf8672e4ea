//! A network with its gradients: planned layers over slices, images with channels last, forward and back, with quantizers.
//!
//! Start at [`Tape`]. Each layer spreads fixed groups of images over rayon's *current* pool and adds up what is summed over
//! images in the groups' order, so that any number of threads gives the same bytes; and as the kernels give the same bits
//! with every instruction set, so does every x86 CPU.

mod build;
mod conv;
mod loss;
mod norm;
mod quantized;
#[cfg(test)]
mod quantized_tests;
mod shapes;
mod simple;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::TrainError;
use crate::kernels::nhwc::{Activation, Isa};
use crate::qkeras::{Fitting, Seeded};
use crate::rng::Rng;

pub(super) use loss::{Targets, cross_entropy, judge};
pub(crate) use quantized::is_activation;
pub(super) use quantized::kernel_channel;

/// Groups of images over which gradients are summed: enough for many cores, few enough to add up cheaply.
const IMAGE_GROUPS: usize = 16;

/// What the optimizer changes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Parameter {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

/// What a step works on beside the tape.
pub(super) struct Pass<'a> {
    pub(super) isa: Isa,
    pub(super) images: usize,
    pub(super) parameters: &'a BTreeMap<String, Parameter>,
    /// `<node>.running_mean` and `<node>.running_var`.
    pub(super) running: &'a mut BTreeMap<String, Vec<f32>>,
    /// By the name of the parameter.
    pub(super) gradients: &'a mut BTreeMap<String, Vec<f32>>,
    /// How quantizers are fitted. Its phase says too whether batches are measured and values dropped, or the running
    /// statistics used.
    pub(super) fitting: Fitting,
    pub(super) dropout: Rng,
    /// Of quantizers that draw.
    pub(super) draws: Seeded,
}

impl<'a> Pass<'a> {
    fn parameter(&self, node: &str, part: &str) -> &'a Parameter {
        let parameter = self.parameters.get(&format!("{node}.{part}"));
        parameter.expect("the tape was built for these parameters")
    }

    fn give_gradient(&mut self, node: &str, part: &str, values: Vec<f32>) {
        self.gradients.insert(format!("{node}.{part}"), values);
    }

    /// Images of a group.
    fn group(&self) -> usize {
        self.images.div_ceil(IMAGE_GROUPS).max(1)
    }
}

/// One layer: what it computes, and how gradients go back through it.
///
/// Values are `(images, h, w, channels)` or `(images, features)`.
trait Layer: Send {
    /// Writes the output; `x` has one slice per operand.
    ///
    /// Errors: `Quantizer`.
    fn forward(
        &mut self,
        pass: &mut Pass<'_>,
        x: &[&[f32]],
        y: &mut [f32],
        buffers: &mut Buffers,
    ) -> Result<(), TrainError>;

    /// Turns the gradient of the output into those of the operands, and leaves those of the parameters in the pass.
    ///
    /// An operand that wants none may get none. `dy` is given back to the buffers or passed on.
    fn backward(
        &mut self,
        pass: &mut Pass<'_>,
        at: Place<'_>,
        dy: Vec<f32>,
        buffers: &mut Buffers,
    ) -> Vec<Option<Vec<f32>>>;

    /// Takes over the activation behind the layer, if the layer can.
    fn bend(&mut self, _activation: Activation) -> bool {
        false
    }
}

/// What a layer saw and gave on the way forward.
struct Place<'a> {
    x: &'a [&'a [f32]],
    y: &'a [f32],
    /// Whether the first operand wants a gradient; the network's input does not.
    wants: bool,
}

struct Step {
    layer: Box<dyn Layer>,
    /// Numbers of values: 0 is the input, `n + 1` the output of step `n`.
    operands: Vec<usize>,
    /// Values of an output.
    elements: usize,
}

/// A network that learns.
pub(super) struct Tape {
    steps: Vec<Step>,
    /// Number of the value that the loss is taken of.
    logits: usize,
    /// Those of the last way forward, by number.
    values: Vec<Vec<f32>>,
    buffers: Buffers,
}

impl Tape {
    /// Logits per image.
    pub(super) fn classes(&self) -> usize {
        self.logits.checked_sub(1).map_or(0, |step| self.steps[step].elements)
    }

    /// Computes the logits of images `(images, h, w, channels)`, and keeps what the way back needs.
    ///
    /// Errors: `Quantizer`.
    pub(super) fn forward(&mut self, pass: &mut Pass<'_>, input: Vec<f32>) -> Result<&[f32], TrainError> {
        for value in self.values.drain(..) {
            self.buffers.give(value);
        }
        self.values.push(input);
        for step in &mut self.steps {
            let mut y = self.buffers.take(pass.images * step.elements);
            let x: Vec<&[f32]> =
                step.operands.iter().map(|operand| self.values[*operand].as_slice()).collect();
            step.layer.forward(pass, &x, &mut y, &mut self.buffers)?;
            self.values.push(y);
        }
        Ok(&self.values[self.logits])
    }

    /// Leaves the gradients of all parameters in the pass, for the gradient of the logits.
    pub(super) fn backward(&mut self, pass: &mut Pass<'_>, logits: Vec<f32>) {
        let mut gradients: Vec<Option<Vec<f32>>> = self.values.iter().map(|_| None).collect();
        gradients[self.logits] = Some(logits);
        for (index, step) in self.steps.iter_mut().enumerate().rev() {
            if let Some(dy) = gradients[index + 1].take() {
                let x: Vec<&[f32]> =
                    step.operands.iter().map(|operand| self.values[*operand].as_slice()).collect();
                let wants = step.operands.first().is_some_and(|operand| *operand > 0);
                let place = Place { x: &x, y: &self.values[index + 1], wants };
                let parts = step.layer.backward(pass, place, dy, &mut self.buffers);
                for (operand, part) in step.operands.iter().zip(parts) {
                    add_up(&mut gradients[*operand], part, &mut self.buffers);
                }
            }
            // All that read this value stand behind it and are done.
            self.buffers.give(std::mem::take(&mut self.values[index + 1]));
        }
        if let Some(input) = gradients.swap_remove(0) {
            self.buffers.give(input);
        }
    }
}

/// Adds what another reader of a value gives to its gradient.
fn add_up(sum: &mut Option<Vec<f32>>, part: Option<Vec<f32>>, buffers: &mut Buffers) {
    let Some(part) = part else { return };
    match sum {
        None => *sum = Some(part),
        Some(sum) => {
            sum.iter_mut().zip(&part).for_each(|(sum, part)| *sum += part);
            buffers.give(part);
        }
    }
}

/// Memory that goes from step to step: fresh memory costs as much as what is computed in it.
#[derive(Default)]
struct Buffers(BTreeMap<usize, Shelf>);

/// Buffers of one length.
#[derive(Default)]
struct Shelf {
    free: Vec<Vec<f32>>,
    /// How many were made here; no more are kept, wherever they come from.
    made: usize,
}

impl Buffers {
    /// Returns a buffer of `len` values; what they are is left over from earlier uses.
    fn take(&mut self, len: usize) -> Vec<f32> {
        let shelf = self.0.entry(len).or_default();
        shelf.free.pop().unwrap_or_else(|| {
            shelf.made += 1;
            vec![0.0; len]
        })
    }

    fn give(&mut self, buffer: Vec<f32>) {
        if let Some(shelf) = self.0.get_mut(&buffer.len())
            && shelf.free.len() < shelf.made
        {
            shelf.free.push(buffer);
        }
    }
}
