//! Published search problems of two objectives, with what others found and proved.

#[path = "solve_cases.rs"]
mod solve_cases;

use bitloop_search::form::Form;
use bitloop_search::solve::{Limit, Problem};
use bitloop_search::space::Space;
use serde_json::Value;

use solve_cases::reference::{array, number, widths};
use solve_cases::{Pairwise, WIDTHS, pairwise};

/// One problem with the results that others have published or proved.
pub(crate) struct SearchCase {
    pub(crate) name: String,
    pub(crate) space: Space,
    /// The two objectives.
    pub(crate) objectives: [Form; 2],
    pub(crate) limit: Limit,
    pub(crate) reference_point: [f64; 2],
    /// Best of the first and of the second objective, by seed.
    pub(crate) published_best: Vec<[f64; 2]>,
    /// Hypervolume of the front, by seed.
    pub(crate) published_volumes: Vec<f64>,
    /// Assignments with their objectives and costs.
    pub(crate) listed: Vec<Listed>,
    /// Least value of each objective.
    pub(crate) least: [f64; 2],
    /// Exact solutions of the first and the second objective.
    pub(crate) exact: [Vec<u8>; 2],
    pub(crate) hypervolume: f64,
}

pub(crate) struct Listed {
    pub(crate) levels: Vec<u8>,
    pub(crate) objectives: [f64; 2],
    pub(crate) cost: f64,
}

impl Listed {
    fn read(value: &Value) -> Self {
        Self {
            levels: widths(&value["bits"]).iter().map(|bits| bits - WIDTHS[0]).collect(),
            objectives: ["f1", "f2"].map(|key| number(&value[key])),
            cost: number(&value["cost"]),
        }
    }
}

impl SearchCase {
    /// The problem of `(1 - weight) * first + weight * second` objective.
    pub(crate) fn weighted(&self, weight: f64) -> Problem {
        let [first, second] = &self.objectives;
        let mix = |a: f64, b: f64| (1.0 - weight) * a + weight * b;
        let rows = first.one.iter().zip(&second.one);
        let one = rows.map(|(a, b)| a.iter().zip(b).map(|(a, b)| mix(*a, *b)).collect()).collect();
        let by_changed = second.by_changed.iter().map(|value| weight * value).collect();
        let objective = Form { constant: 0.0, one, two: Vec::new(), by_changed };
        Problem { space: self.space.clone(), objective, limits: vec![self.limit.clone()] }
    }
}

/// All cases; empty, with a word about it, where there is no reference data.
pub(crate) fn search_cases() -> Vec<SearchCase> {
    pairwise().into_iter().map(search_case).collect()
}

fn search_case(search: Pairwise) -> SearchCase {
    let Pairwise { name, space, f1, f2, limit, case, .. } = search;
    let (exact, seeds) = (&case["exact"], array(&case["nsga2"]));
    let [first, second] = ["min_f1", "min_f2"].map(|key| Listed::read(&exact[key]));
    let listed = seeds.iter().flat_map(|seed| array(&seed["front"])).chain(array(&exact["pareto_points"]));
    let reference_point = array(&case["problem"]["hv_reference_point"]);
    SearchCase {
        published_best: seeds
            .iter()
            .map(|seed| ["best_f1", "best_f2"].map(|key| number(&seed[key])))
            .collect(),
        published_volumes: seeds.iter().map(|seed| number(&seed["hypervolume"])).collect(),
        reference_point: [0, 1].map(|axis| number(&reference_point[axis])),
        listed: listed.map(Listed::read).collect(),
        least: [first.objectives[0], second.objectives[1]],
        exact: [first.levels, second.levels],
        hypervolume: number(&exact["hypervolume_of_points"]),
        name,
        space,
        objectives: [f1, f2],
        limit,
    }
}
