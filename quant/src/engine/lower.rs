//! From the blocks of a network and a bit config to steps.

use std::sync::Arc;

use bitloop_core::bits::{Bits, Choice};
use bitloop_core::trial::{Biases, Numerics};

use super::blueprint::{Block, Blueprint, EVERYTHING, Work};
use super::dag::{Dag, Key, Role, Step, StepId};
use super::error::EngineError;
use super::kernel::{Finish, Kernel, Operand};
use super::repr::{Codes, Repr, float_grid};
use super::weights::{Layer, Weights};
use crate::kernels::nhwc::{Curve, Ending, Grid, Isa, Out};
use crate::prepare::{LayerBits, Prepared};
use crate::quantizer::Encoding;

type Result<T> = std::result::Result<T, EngineError>;

/// What steps are made from.
pub(super) struct Lowering<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) blueprint: &'a Blueprint,
    pub(super) weights: &'a Weights,
    pub(super) numerics: Numerics,
}

/// What a block's output is quantized to.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    /// Point and width, the mark of everything that lies on this grid.
    on: Option<(usize, Bits)>,
    encoding: Option<&'a Encoding>,
    pub(super) repr: Repr,
}

impl Target<'_> {
    const FLOAT: Self = Self { on: None, encoding: None, repr: Repr::Float };

    /// The grid, where values are stored as floats on one.
    pub(super) fn grid(&self) -> Option<Grid> {
        self.encoding.and_then(float_grid)
    }

    /// The value of what kernels count in: a step of codes, or 1.
    pub(super) fn step(&self) -> f64 {
        match self.repr {
            Repr::Codes(codes) => f64::from(codes.scale),
            Repr::Float => 1.0,
        }
    }

    /// How a kernel stores values that are clamped to `range`.
    pub(super) fn ending(&self, range: [f32; 2]) -> Ending {
        match self.repr {
            Repr::Codes(codes) => {
                let [lo, hi] = codes.between(range);
                Ending::Codes { lo, hi, zero: codes.zero }
            }
            Repr::Float => Ending::Float { lo: range[0], hi: range[1], grid: self.grid() },
        }
    }

    /// Turns "values times `scale` plus `shift`" into steps, where codes are stored.
    pub(super) fn finish(&self, scale: &[f64], shift: &[f64], range: [f32; 2]) -> Finish {
        let in_steps = |values: &[f64]| values.iter().map(|value| (value / self.step()) as f32).collect();
        Finish { scale: in_steps(scale), shift: in_steps(shift), ending: self.ending(range) }
    }
}

impl<'a> Lowering<'a> {
    /// Adds the steps of a config to `dag` and returns the one that gives the result as floats.
    ///
    /// `choice` says what the point at a position gets.
    ///
    /// Errors: `Prepared`, `Quantizer`, `Weight`.
    pub(super) fn lower(&self, dag: &mut Dag, choice: &dyn Fn(usize) -> Choice) -> Result<StepId> {
        let blocks = &self.blueprint.blocks;
        let mut steps: Vec<StepId> = Vec::with_capacity(blocks.len());
        for (index, block) in blocks.iter().enumerate() {
            let inputs = block.inputs.iter().map(|input| steps[*input]).collect();
            let target = self.target(bits_of(block.output, choice))?;
            let weight = bits_of(block.weight, choice);
            let bias = match self.prepared.biases {
                Biases::Float => None,
                Biases::Int32 => bits_of(block.input, choice),
            };
            let mut site = Site { lowering: self, dag, index, block, weight, bias, target };
            steps.push(site.lower(inputs)?);
        }
        let (index, target) = (self.blueprint.result, Target::FLOAT);
        let block = &blocks[index];
        let mut site = Site { lowering: self, dag, index, block, weight: None, bias: None, target };
        site.values(steps[index])
    }

    fn target(&self, on: Option<(usize, Bits)>) -> Result<Target<'a>> {
        let Some((point, bits)) = on else { return Ok(Target::FLOAT) };
        let encoding = self.prepared.encoding(point, bits)?;
        let repr = match (self.numerics, Codes::of(encoding)) {
            (Numerics::Exact, Some(codes)) => Repr::Codes(codes),
            _ => Repr::Float,
        };
        Ok(Target { on, encoding: Some(encoding), repr })
    }
}

/// A point that is quantized, and its width.
fn bits_of(point: Option<usize>, choice: &dyn Fn(usize) -> Choice) -> Option<(usize, Bits)> {
    match choice(point?) {
        Choice::Float => None,
        Choice::Bits(bits) => Some((point?, bits)),
    }
}

/// A block about to become steps.
struct Site<'s, 'a> {
    lowering: &'s Lowering<'a>,
    dag: &'s mut Dag,
    index: usize,
    block: &'s Block,
    /// Point and width of a layer's weight, and of what its bias is rounded to.
    weight: Option<(usize, Bits)>,
    bias: Option<(usize, Bits)>,
    target: Target<'a>,
}

impl<'a> Site<'_, 'a> {
    fn lower(&mut self, inputs: Vec<StepId>) -> Result<StepId> {
        match &self.block.work {
            Work::Conv { .. } => self.conv(inputs[0]),
            Work::Pass => self.grid(inputs[0], self.block.range),
            Work::Curve(_) if self.codes(inputs[0]).is_some() => self.table(inputs[0]),
            Work::MaxPool { .. }
            | Work::Move { .. }
            | Work::Permute { .. }
            | Work::Concat { .. }
            | Work::Join => {
                let moved = self.moved(&inputs)?;
                self.grid(moved, EVERYTHING)
            }
            Work::Curve(_) | Work::PRelu | Work::Softmax { .. } | Work::Lrn { .. } | Work::Constant(_) => {
                let inputs = self.all_values(&inputs)?;
                let computed = self.add(Role::Work, inputs, Target::FLOAT, |site, _| site.float_kernel())?;
                self.grid(computed, EVERYTHING)
            }
            Work::Pixels | Work::Add(_) | Work::Multiply(_) | Work::Norm | Work::Mean(_) => {
                self.add(Role::Work, inputs, self.target, |site, inputs| Ok(site.finishing_kernel(inputs)))
            }
        }
    }

    /// The grid of a step's codes, if it has codes.
    fn codes(&self, step: StepId) -> Option<Codes> {
        match self.dag.step(step).repr {
            Repr::Codes(codes) => Some(codes),
            Repr::Float => None,
        }
    }

    /// Returns the step of this block that has a role; only if no config needed it before, it is added, and its kernel
    /// made.
    fn add(
        &mut self,
        role: Role,
        inputs: Vec<StepId>,
        target: Target<'a>,
        kernel: impl FnOnce(&Self, &[StepId]) -> Result<Kernel>,
    ) -> Result<StepId> {
        // Codes become values once, whoever reads them.
        let block = if role == Role::Values { self.dag.step(inputs[0]).block } else { self.index };
        let [weight, bias] = if role == Role::Work { [self.weight, self.bias] } else { [None; 2] };
        let key = Key { block, role, on: [weight, bias, target.on], inputs };
        if let Some(known) = self.dag.find(&key) {
            return Ok(known);
        }
        let kernel = kernel(self, &key.inputs)?;
        let (elements, macs) = match role {
            Role::Work => (self.block.elements, self.block.macs),
            Role::Values | Role::Grid => (self.dag.step(key.inputs[0]).elements, 0),
        };
        let (inputs, Target { repr, on, .. }) = (key.inputs.clone(), target);
        Ok(self.dag.push(key, Step { block, kernel, inputs, repr, on, elements, macs }))
    }

    /// Returns a step's tensor as floats.
    fn values(&mut self, step: StepId) -> Result<StepId> {
        let Some(Codes { zero, scale, .. }) = self.codes(step) else { return Ok(step) };
        let kernel = Kernel::Dequantize { zero, scale };
        self.add(Role::Values, vec![step], Target::FLOAT, |_, _| Ok(kernel))
    }

    fn all_values(&mut self, steps: &[StepId]) -> Result<Vec<StepId>> {
        steps.iter().map(|step| self.values(*step)).collect()
    }

    /// Returns a step's tensor, clamped to `range`, on the block's grid.
    fn grid(&mut self, step: StepId, range: [f32; 2]) -> Result<StepId> {
        let target = self.target;
        let is_there = target.on.is_none() || self.dag.step(step).on == target.on;
        if range == EVERYTHING && is_there {
            return Ok(step);
        }
        let from = self.codes(step);
        self.add(Role::Grid, vec![step], target, |_, _| Ok(grid_kernel(from, &target, range)))
    }

    /// A function of one value on codes is a table.
    fn table(&mut self, input: StepId) -> Result<StepId> {
        let (Work::Curve(curve), Some(from)) = (&self.block.work, self.codes(input)) else {
            unreachable!("the caller has looked for a curve over codes")
        };
        let (curve, target) = (*curve, self.target);
        self.add(Role::Work, vec![input], target, |_, _| Ok(curve_table(curve, from, &target)))
    }

    /// Moves codes if all inputs are on one grid, and floats otherwise.
    fn moved(&mut self, inputs: &[StepId]) -> Result<StepId> {
        let (first, on) = (self.dag.step(inputs[0]).repr, self.dag.step(inputs[0]).on);
        let is_one_grid = inputs.iter().all(|input| {
            let step = self.dag.step(*input);
            step.repr == first && step.on == on
        });
        let fill = match &self.block.work {
            Work::Move { map, .. } => map.fill,
            _ => 0.0,
        };
        let fits = |codes: Codes| codes.value(codes.code(fill)).to_bits() == fill.to_bits() || fill == 0.0;
        let (inputs, repr, on) = match first {
            Repr::Codes(codes) if is_one_grid && fits(codes) => (inputs.to_vec(), first, on),
            _ => (self.all_values(inputs)?, Repr::Float, on.filter(|_| is_one_grid && fill == 0.0)),
        };
        self.add(Role::Work, inputs, Target { on, repr, ..Target::FLOAT }, |site, _| {
            Ok(Kernel::moving(&site.block.work, repr, site.lowering.weights.isa()))
        })
    }

    /// Kernels that read floats and give floats.
    fn float_kernel(&self) -> Result<Kernel> {
        let block = self.block;
        Ok(match &block.work {
            Work::Curve(curve) => Kernel::Curve(*curve),
            Work::PRelu => Kernel::PRelu(self.lowering.weights.parameter(&block.name, "slope")?),
            Work::Softmax { channels } => Kernel::Softmax { channels: *channels },
            Work::Lrn { channels, lrn } => Kernel::Lrn { channels: *channels, lrn: *lrn },
            Work::Constant(values) => Kernel::Constant(Arc::clone(values)),
            _ => unreachable!("the caller passes these works only"),
        })
    }

    /// Kernels that quantize what they give.
    fn finishing_kernel(&self, inputs: &[StepId]) -> Kernel {
        let (block, target) = (self.block, &self.target);
        let operand = |step: StepId| Operand::of(self.dag.step(step).repr);
        let range = block.range;
        match &block.work {
            Work::Pixels => Kernel::pixels(&self.lowering.prepared.model.graph.input, target),
            Work::Add(repeats) => {
                Kernel::add([operand(inputs[0]), operand(inputs[1])], *repeats, (target, range))
            }
            Work::Multiply(repeats) => {
                Kernel::multiply([operand(inputs[0]), operand(inputs[1])], *repeats, (target, range))
            }
            Work::Norm => {
                let [scale, shift] = block.norm.as_ref().expect("a norm's block has its norm");
                let own = operand(inputs[0]);
                let scale: Vec<f64> = wide(scale).iter().map(|scale| scale * f64::from(own.scale)).collect();
                Kernel::Norm { own, finish: target.finish(&scale, &wide(shift), range) }
            }
            Work::Mean(mean) => {
                let own = operand(inputs[0]);
                let scale = vec![f64::from(own.scale) * mean.reciprocal; mean.channels];
                let finish = target.finish(&scale, &vec![0.0; mean.channels], range);
                Kernel::Mean { mean: Arc::clone(mean), own, finish }
            }
            _ => unreachable!("the caller passes these works only"),
        }
    }

    fn conv(&mut self, input: StepId) -> Result<StepId> {
        let on_codes = self.codes(input);
        let site = (self.index, self.block);
        let layer = self.lowering.weights.layer(site, self.weight, on_codes.is_some())?;
        let (input, own) = match (&layer, on_codes) {
            (Layer::Int(..), Some(codes)) => (input, codes),
            _ => (self.values(input)?, Codes { scale: 1.0, zero: 0, last: 0 }),
        };
        self.add(Role::Work, vec![input], self.target, |site, _| site.layer_kernel(layer, own))
    }

    /// The kernel of a layer whose inputs are codes, or floats with a scale of 1.
    fn layer_kernel(&self, layer: Layer, own: Codes) -> Result<Kernel> {
        let block = self.block;
        let at = LayerBits { name: &block.name, weight: self.weight, input: self.bias };
        let bias = self.lowering.prepared.bias(at)?;
        let mut scale = layer.scale(f64::from(own.scale));
        let mut shift = bias.map_or_else(|| vec![0.0; scale.len()], |bias| wide(&bias));
        if let Some([norm_scale, norm_shift]) = &block.norm {
            scale.iter_mut().zip(norm_scale).for_each(|(scale, norm)| *scale *= f64::from(*norm));
            let norms = norm_scale.iter().zip(norm_shift);
            shift.iter_mut().zip(norms).for_each(|(shift, (scale, norm))| {
                *shift = *shift * f64::from(*scale) + f64::from(*norm);
            });
        }
        let finish = self.target.finish(&scale, &shift, block.range);
        Ok(layer.kernel(own.zero, finish))
    }
}

/// Clamps values, which may be codes, to `range` and puts them on the target's grid.
fn grid_kernel(from: Option<Codes>, target: &Target<'_>, range: [f32; 2]) -> Kernel {
    let clamp = |value: f32| {
        if value < range[0] {
            range[0]
        } else if value > range[1] {
            range[1]
        } else {
            value
        }
    };
    match from {
        None => Kernel::store(target.repr, target.ending(range)),
        Some(from) => table(target, |code| clamp(from.value(code))),
    }
}

fn curve_table(curve: Curve<'static>, from: Codes, target: &Target<'_>) -> Kernel {
    let values: [f32; 256] = std::array::from_fn(|code| from.value(code as u8));
    let mut curved = [0.0; 256];
    curve.apply(Isa::Scalar, &values, Ending::FLOAT, Out::Floats(&mut curved));
    table(target, |code| curved[usize::from(code)])
}

/// The table of a function from codes to values, which go onto the target's grid.
fn table(target: &Target<'_>, value: impl Fn(u8) -> f32) -> Kernel {
    match target.repr {
        Repr::Codes(to) => Kernel::table_to_codes(|code| to.code(value(code))),
        Repr::Float => {
            let grid = target.grid();
            Kernel::table_to_floats(|code| grid.map_or(value(code), |grid| grid.nearest(value(code))))
        }
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}
