//! What an experiment allows configs to cost, in the form that solvers take.

use bitloop_core::plan::{self, Amount, Plan};

use crate::cost::{CostError, Subject, cost};
use crate::solve::Limit;
use crate::space::Space;

/// Upper bounds on costs of a plan's configs.
#[derive(Clone, Debug)]
pub(crate) struct Limits(pub(crate) Vec<Limit>);

impl Limits {
    /// Resolves limits on costs that are computed, by the costs' names; a share is one of the reference's cost.
    ///
    /// Errors: those of [`cost`].
    pub(crate) fn new(plan: &Plan, space: &Space, limits: &[plan::Limit]) -> Result<Self, CostError> {
        let subject = Subject::of_graph(&plan.graph, &plan.points, plan.candidates.baseline, space)?;
        let resolve = |limit: &plan::Limit| {
            let cost = cost(&limit.cost, &subject)?;
            let at_most = match limit.at_most {
                Amount::Of(amount) => amount,
                Amount::OfBaselinePpm(ppm) => cost.value(space, &space.reference()) * f64::from(ppm) / 1e6,
            };
            Ok(Limit { cost, at_most })
        };
        limits.iter().filter(|limit| limit.target.is_none()).map(resolve).collect::<Result<_, _>>().map(Self)
    }
}
