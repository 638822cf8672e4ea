//! The inference engine of the CPU: networks at given widths, as planned calls of the kernels.
//!
//! A graph's nodes are joined into blocks once ([`blueprint`]); a bit config turns them into steps ([`lower`]), which it
//! shares with every other config as far as they agree ([`dag`]); a schedule says in which order steps are computed and
//! where their tensors lie ([`schedule`]). With `numerics: exact` tensors are codes of 8 bits between steps wherever both
//! sides allow it, and floats elsewhere; either way every result is the same bits on every CPU, for any number of images
//! at a time and with whatever configs it is computed together.

mod blueprint;
mod dag;
mod error;
mod kernel;
mod lower;
mod moves;
mod repr;
mod schedule;
#[cfg(test)]
pub(crate) mod tests;
mod weights;
mod workspace;

use std::sync::Arc;

use bitloop_core::bits::Choice;
use bitloop_core::trial::Numerics;

use crate::kernels::nhwc::Isa;
use crate::prepare::Prepared;
use blueprint::Blueprint;
use dag::Dag;
pub(crate) use error::EngineError;
use kernel::{Call, Kernel, View};
use lower::Lowering;
use schedule::{Action, Schedule};
use weights::Weights;
use workspace::Tensor;
pub(crate) use workspace::Workspace;

/// One prepared network, ready to be computed at any of its widths.
pub(crate) struct Engine {
    prepared: Arc<Prepared>,
    blueprint: Blueprint,
    weights: Weights,
    numerics: Numerics,
}

/// The work for some bit configs, for any block of images.
pub(crate) struct Plan {
    isa: Isa,
    dag: Dag,
    schedule: Schedule,
    /// Values of a result of one image.
    elements: usize,
}

impl Engine {
    /// Prepares to compute the tensor `until` of a network.
    ///
    /// Errors: `Graph`, `Weight`.
    pub(crate) fn new(
        prepared: Arc<Prepared>,
        until: &str,
        numerics: Numerics,
        isa: Isa,
    ) -> Result<Self, EngineError> {
        let blueprint = Blueprint::new(&prepared, until)?;
        let weights = Weights::new(Arc::clone(&prepared), isa);
        Ok(Self { prepared, blueprint, weights, numerics })
    }

    /// Plans the results of some configs, each given as what the point at a position gets.
    ///
    /// `budget` is the number of bytes per image that tensors may take beyond what a config needs by itself.
    ///
    /// Errors: `Prepared`, `Quantizer`, `Weight`.
    pub(crate) fn plan(
        &self,
        configs: &[&(dyn Fn(usize) -> Choice + Sync)],
        budget: usize,
    ) -> Result<Plan, EngineError> {
        let lowering = self.lowering();
        let mut dag = Dag::default();
        let results = configs.iter().map(|choice| lowering.lower(&mut dag, *choice));
        let results = results.collect::<Result<Vec<_>, _>>()?;
        let schedule = Schedule::new(&dag, &results, budget);
        let elements = self.blueprint.blocks[self.blueprint.result].elements;
        Ok(Plan { isa: self.weights.isa(), dag, schedule, elements })
    }

    /// The node that each step of a plan belongs to; none for the pixels that are taken in and for codes that become values.
    ///
    /// A node that is joined to another one's block has no step.
    pub(crate) fn nodes(&self, plan: &Plan) -> Vec<Option<&str>> {
        let steps = plan.dag.steps().iter();
        let node = steps.map(|step| match step.kernel {
            Kernel::Pixels { .. } | Kernel::Dequantize { .. } => None,
            _ => Some(self.blueprint.blocks[step.block].name.as_str()),
        });
        node.collect()
    }

    fn lowering(&self) -> Lowering<'_> {
        Lowering {
            prepared: &self.prepared,
            blueprint: &self.blueprint,
            weights: &self.weights,
            numerics: self.numerics,
        }
    }
}

impl Engine {
    /// Returns the first node, in the order of the graph, whose output of an image is not finite with a config.
    ///
    /// Values that are filled in, as a padding by the lowest number is, count where something is computed from them.
    ///
    /// Shapes: `pixels` `(channels, height, width)` bytes. Errors: as [`Engine::plan`].
    pub(crate) fn first_not_finite(
        &self,
        choice: &(dyn Fn(usize) -> Choice + Sync),
        pixels: &[u8],
    ) -> Result<Option<String>, EngineError> {
        let mut dag = Dag::default();
        self.lowering().lower(&mut dag, choice)?;
        let call = Call { isa: self.weights.isa(), images: 1, pixels };
        let mut tensors: Vec<Tensor> = Vec::with_capacity(dag.steps().len());
        for step in dag.steps() {
            let mut tensor = Tensor::new(step.repr, step.elements);
            let views: Vec<View<'_>> =
                step.inputs.iter().map(|input| tensors[input.index()].view()).collect();
            step.kernel.run(&call, &views, tensor.out());
            let block = &self.blueprint.blocks[step.block];
            if !block.work.only_moves() && !tensor.is_finite() {
                return Ok(Some(block.name.clone()));
            }
            tensors.push(tensor);
        }
        Ok(None)
    }

    /// Bytes of the weights that are packed.
    pub(crate) fn packed_bytes(&self) -> usize {
        self.weights.bytes()
    }
}

impl Plan {
    /// Computes all results for so many images and hands each to `deliver` with the number of its config.
    ///
    /// Shapes: `pixels` `(images, channels, height, width)` bytes; a result is `(images, ..)`, row-major, each image's
    /// values in the order of their axes. Results come in any order, but always in the same.
    pub(crate) fn run(
        &self,
        images: (usize, &[u8]),
        workspace: &mut Workspace,
        deliver: impl FnMut(usize, &[f32]),
    ) {
        self.run_watched(images, workspace, |_| {}, deliver);
    }

    /// The same, telling `watch` each step that is computed, by its number.
    pub(crate) fn run_watched(
        &self,
        (images, pixels): (usize, &[u8]),
        workspace: &mut Workspace,
        mut watch: impl FnMut(usize),
        mut deliver: impl FnMut(usize, &[f32]),
    ) {
        workspace.fit(&self.schedule.slots, images);
        let call = Call { isa: self.isa, images, pixels };
        for action in &self.schedule.actions {
            match action {
                Action::Compute { step: id, slot, inputs } => {
                    let step = self.dag.step(*id);
                    let values = images * step.elements;
                    workspace.write(*slot, step.repr, values, |workspace, out| {
                        let views = step.inputs.iter().zip(inputs).map(|(input, slot)| {
                            let input = self.dag.step(*input);
                            workspace.view(*slot, input.repr, images * input.elements)
                        });
                        let views: Vec<View<'_>> = views.collect();
                        step.kernel.run(&call, &views, out);
                    });
                    watch(id.index());
                }
                Action::Deliver { config, slot } => {
                    deliver(*config, workspace.floats(*slot, images * self.elements));
                }
            }
        }
    }

    /// Gives back what a workspace holds for other plans beyond what this one needs for so many images.
    pub(crate) fn trim(&self, workspace: &mut Workspace, images: usize) {
        workspace.trim(&self.schedule.slots, images);
    }

    /// Bytes of a workspace for so many images.
    #[cfg(test)]
    pub(crate) fn bytes(&self, images: usize) -> usize {
        self.schedule.bytes(images)
    }

    /// How many layers multiply integers, and how many there are.
    #[cfg(test)]
    pub(crate) fn layers(&self) -> [usize; 2] {
        let count = |is: fn(&Kernel) -> bool| self.dag.steps().iter().filter(|step| is(&step.kernel)).count();
        let integers =
            |kernel: &Kernel| matches!(kernel, Kernel::IntConv { .. } | Kernel::IntDepthwise { .. });
        let floats =
            |kernel: &Kernel| matches!(kernel, Kernel::FloatConv { .. } | Kernel::FloatDepthwise { .. });
        [count(integers), count(integers) + count(floats)]
    }

    /// Multiply-adds of one image: computed, and without sharing anything between configs.
    pub(crate) fn macs(&self) -> (u64, u64) {
        (self.schedule.macs, self.schedule.macs_alone)
    }
}
