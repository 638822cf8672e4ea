//! Time of exact solves of the reference problems: `cargo bench -p bitloop-search --bench solve`.

#[path = "common/clock.rs"]
mod clock;
#[path = "../tests/common/solve_cases.rs"]
mod solve_cases;

use bitloop_core::graph::PointKind;
use bitloop_core::rng::rng;
use bitloop_search::form::{Form, Two};
use bitloop_search::solve::{ExactOptions, Problem, exact};
use bitloop_search::space::Space;
use solve_cases::reference::{array, number};
use solve_cases::{Case, limit, pairwise, variable};

/// Solves of each problem; the median counts.
const REPEATS: usize = 5;

fn main() {
    let sets = [
        ("pairwise", solve_cases::pairwise_cases()),
        ("pairwise within f1", points()),
        ("limpq", solve_cases::limpq()),
        ("programs", solve_cases::programs()),
        ("quadratic", quadratics()),
    ];
    for (name, cases) in sets {
        for best in [1, 2] {
            let mut times: Vec<(f64, &str)> =
                cases.iter().map(|case| (time(case, best), &*case.name)).collect();
            times.sort_by(|a, b| a.0.total_cmp(&b.0));
            let Some((slowest, which)) = times.last() else { continue };
            let options = ExactOptions { best, ..ExactOptions::default() };
            let open = cases
                .iter()
                .filter_map(|case| exact(&case.problem, &options).ok())
                .filter(|found| !found.is_proved());
            let open = open.count();
            let (median, count) = (times[times.len() / 2].0, times.len());
            eprintln!(
                "{name}, best {best}: {count} problems, median {median:.1} ms, maximum {slowest:.1} ms ({which}), {open} not proved"
            );
        }
    }
}

/// The points between both objectives of the pairwise searches: three kinds of terms in two limits.
fn points() -> Vec<Case> {
    let mut cases = Vec::new();
    for search in pairwise() {
        for point in array(&search.case["exact"]["pareto_points"]) {
            let f1 = number(&point["f1"]);
            let mut problem = search.problem(&search.f2);
            problem.limits.push(limit("f1", vec![search.f1.clone()], f1));
            cases.push(Case {
                name: format!("{} within f1 {f1}", search.name),
                problem,
                optimum: None,
                second: None,
            });
        }
    }
    cases
}

/// Losses as a quadratic regression gives them: what each variable loses, and a product for each pair of variables.
fn quadratics() -> Vec<Case> {
    [(12, 5), (20, 5), (40, 2), (40, 5), (100, 2), (100, 3)]
        .map(|(variables, levels)| quadratic(variables, levels))
        .into()
}

fn quadratic(variables: usize, levels: u8) -> Case {
    let random = &mut rng(3, 1);
    let widths: Vec<u8> = (9 - levels..=8).collect();
    let point = |at: usize| variable(&format!("v{at}"), PointKind::Weight, &widths);
    let space = Space { variables: (0..variables).map(point).collect() };
    let dropped: Vec<f64> = widths.iter().map(|bits| f64::from(8 - bits) / f64::from(levels - 1)).collect();
    let mut objective = Form::constant(0.0, &space);
    let mut size = Form::constant(0.0, &space);
    for at in 0..variables {
        let loss = 2.0 * random.uniform() * random.uniform();
        objective.one[at] = dropped.iter().map(|share| loss * share).collect();
        let params = (1.0 + 9.0 * random.uniform() * random.uniform()).floor();
        size.one[at] = widths.iter().map(|bits| params * f64::from(*bits)).collect();
        for b in at + 1..variables {
            let weight = 0.5 * random.normal() / variables as f64;
            let values =
                dropped.iter().flat_map(|share| dropped.iter().map(move |other| weight * share * other));
            objective.two.push(Two { a: at, b, values: values.collect() });
        }
    }
    let (most, least) = (size.value(&space, &space.reference()), size.value(&space, &vec![0; variables]));
    let limits = vec![limit("size", vec![size], least + 0.45 * (most - least))];
    let name = format!("{variables} variables of {levels} levels");
    Case { name, problem: Problem { space, objective, limits }, optimum: None, second: None }
}

/// Milliseconds.
fn time(case: &Case, best: usize) -> f64 {
    let options = ExactOptions { best, ..ExactOptions::default() };
    // Problems without a solution are timed as well.
    clock::median_ms(REPEATS, || drop(std::hint::black_box(exact(&case.problem, &options))))
}
