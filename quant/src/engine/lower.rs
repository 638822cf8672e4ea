//! From the blocks of a network and a bit config to steps.

use std::sync::Arc;

use bitloop_core::bits::{Bits, Choice};
use bitloop_core::trial::Numerics;

use super::blueprint::{Block, Blueprint, EVERYTHING, Work};
use super::dag::{Dag, Key, Role, Step, StepId};
use super::error::EngineError;
use super::kernel::{Finish, Kernel, Operand};
use super::repr::{Codes, Repr, float_grid};
use super::weights::{Layer, Weights};
use crate::kernels::nhwc::{Ending, Grid, Isa, Out};
use crate::prepare::Prepared;
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
    choice: Choice,
    /// Point and width, the mark of everything that lies on this grid.
    on: Option<(usize, Bits)>,
    encoding: Option<&'a Encoding>,
    pub(super) repr: Repr,
}

impl Target<'_> {
    const FLOAT: Self = Self { choice: Choice::Float, on: None, encoding: None, repr: Repr::Float };

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
            let of = |point: Option<usize>| point.map_or(Choice::Float, choice);
            let target = self.target(block, of(block.output))?;
            let mut site = Site { lowering: self, dag, index, block, target };
            let step = site.lower(inputs, of(block.weight), choice)?;
            steps.push(step);
        }
        let result = self.blueprint.result;
        let block = &blocks[result];
        let mut site = Site { lowering: self, dag, index: result, block, target: Target::FLOAT };
        site.values(steps[result])
    }

    fn target(&self, block: &Block, choice: Choice) -> Result<Target<'a>> {
        let (Choice::Bits(bits), Some(point)) = (choice, block.output) else { return Ok(Target::FLOAT) };
        let encoding = self.prepared.encoding(point, bits)?;
        let repr = match (self.numerics, Codes::of(encoding)) {
            (Numerics::Exact, Some(codes)) => Repr::Codes(codes),
            _ => Repr::Float,
        };
        Ok(Target { choice, on: Some((point, bits)), encoding: Some(encoding), repr })
    }
}

/// A block about to become steps.
struct Site<'s, 'a> {
    lowering: &'s Lowering<'a>,
    dag: &'s mut Dag,
    index: usize,
    block: &'s Block,
    target: Target<'a>,
}

impl Site<'_, '_> {
    fn lower(
        &mut self,
        inputs: Vec<StepId>,
        weight: Choice,
        choice: &dyn Fn(usize) -> Choice,
    ) -> Result<StepId> {
        match &self.block.work {
            Work::Conv { .. } => self.conv(inputs[0], weight, choice),
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
                let kernel = self.float_kernel()?;
                let computed = self.add(Role::Work, Choice::Float, inputs, (kernel, Target::FLOAT))?;
                self.grid(computed, EVERYTHING)
            }
            Work::Pixels | Work::Add(_) | Work::Multiply(_) | Work::Norm | Work::Mean(_) => {
                let kernel = self.finishing_kernel(&inputs)?;
                self.add(Role::Work, Choice::Float, inputs, (kernel, self.target))
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

    /// Adds a step of this block unless it is there already.
    fn add(
        &mut self,
        role: Role,
        weight: Choice,
        inputs: Vec<StepId>,
        (kernel, target): (Kernel, Target<'_>),
    ) -> Result<StepId> {
        let (block, index) = (self.block, self.index);
        let key = Key { block: index, role, choices: [weight, target.choice], inputs: inputs.clone() };
        let (elements, macs) = match role {
            Role::Work => (block.elements, block.macs),
            Role::Values | Role::Grid => (self.dag.step(inputs[0]).elements, 0),
        };
        self.dag.ensure(key, |_| {
            Ok(Step { block: index, kernel, inputs, repr: target.repr, on: target.on, elements, macs })
        })
    }

    /// Returns a step's tensor as floats.
    fn values(&mut self, step: StepId) -> Result<StepId> {
        match self.codes(step) {
            None => Ok(step),
            Some(codes) => {
                let kernel = Kernel::Dequantize { zero: codes.zero, scale: codes.scale };
                self.add(Role::Values, Choice::Float, vec![step], (kernel, Target::FLOAT))
            }
        }
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
        let clamp = |value: f32| {
            if value < range[0] {
                range[0]
            } else if value > range[1] {
                range[1]
            } else {
                value
            }
        };
        let kernel = match (self.codes(step), target.repr) {
            (Some(from), Repr::Codes(to)) => Kernel::table_to_codes(|code| to.code(clamp(from.value(code)))),
            (Some(from), Repr::Float) => {
                let nearest = |value| target.grid().map_or(value, |grid| grid.nearest(value));
                Kernel::table_to_floats(|code| nearest(clamp(from.value(code))))
            }
            (None, _) => Kernel::store(self.target.repr, target.ending(range)),
        };
        self.add(Role::Grid, Choice::Float, vec![step], (kernel, target))
    }

    /// A function of one value on codes is a table.
    fn table(&mut self, input: StepId) -> Result<StepId> {
        let (Work::Curve(curve), Some(from)) = (&self.block.work, self.codes(input)) else {
            unreachable!("the caller has looked for a curve over codes")
        };
        let values: [f32; 256] = std::array::from_fn(|code| from.value(code as u8));
        let mut curved = [0.0; 256];
        curve.apply(Isa::Scalar, &values, Ending::FLOAT, Out::Floats(&mut curved));
        let grid = self.target.grid();
        let kernel = match self.target.repr {
            Repr::Codes(to) => Kernel::table_to_codes(|code| to.code(curved[usize::from(code)])),
            Repr::Float => Kernel::table_to_floats(|code| {
                let value = curved[usize::from(code)];
                grid.map_or(value, |grid| grid.nearest(value))
            }),
        };
        self.add(Role::Work, Choice::Float, vec![input], (kernel, self.target))
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
        let kernel = Kernel::moving(&self.block.work, repr, self.lowering.weights.isa());
        self.add(Role::Work, Choice::Float, inputs, (kernel, Target { on, repr, ..Target::FLOAT }))
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
    fn finishing_kernel(&self, inputs: &[StepId]) -> Result<Kernel> {
        let (block, target) = (self.block, &self.target);
        let operand = |step: StepId| Operand::of(self.dag.step(step).repr);
        let range = block.range;
        Ok(match &block.work {
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
        })
    }

    fn conv(&mut self, input: StepId, weight: Choice, choice: &dyn Fn(usize) -> Choice) -> Result<StepId> {
        let weights = self.lowering.weights;
        let on_codes = self.codes(input);
        let layer = weights.layer(self.block, weight, on_codes.is_some())?;
        let input = match layer {
            Layer::Int(..) => input,
            Layer::Float(..) => self.values(input)?,
        };
        let own = match (&layer, on_codes) {
            (Layer::Int(..), Some(codes)) => codes,
            _ => Codes { scale: 1.0, zero: 0, last: 0 },
        };
        let bias = weights.bias(self.block, weight, choice)?;
        let [mut scale, mut shift] = [layer.scale(f64::from(own.scale)), bias];
        if let Some([norm_scale, norm_shift]) = &self.block.norm {
            scale.iter_mut().zip(norm_scale).for_each(|(scale, norm)| *scale *= f64::from(*norm));
            let norms = norm_scale.iter().zip(norm_shift);
            shift.iter_mut().zip(norms).for_each(|(shift, (scale, norm))| {
                *shift = *shift * f64::from(*scale) + f64::from(*norm);
            });
        }
        let finish = self.target.finish(&scale, &shift, self.block.range);
        let kernel = layer.kernel(own.zero, finish);
        self.add(Role::Work, weight, vec![input], (kernel, self.target))
    }
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}
