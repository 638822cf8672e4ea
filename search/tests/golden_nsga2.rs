//! NSGA-II and greedy descents against published searches and their exact solutions.

#[path = "common/nsga.rs"]
mod nsga;

use bitloop_search::front::hypervolume;
use bitloop_search::solve::greedy::Greedy;
use bitloop_search::solve::nsga2::{Evaluate, Forms, GreedyRepair, Nsga2, Settings, Solution, minimise};

use crate::nsga::{SearchCase, search_cases};

/// The least number of seeds that medians are compared over.
const SEEDS: u64 = 9;
/// Seeds of searches with starts, which differ little.
const SEEDS_STARTED: u64 = 3;
/// Share of the published median hypervolume that must be reached: a few seeds on either side differ by a third.
const VOLUME: f64 = 0.85;
/// What a sum in another order may differ by.
const ROUNDING: f64 = 1e-9;

fn forms(case: &SearchCase) -> Forms {
    Forms::new(&case.space, &case.objectives, std::slice::from_ref(&case.limit))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn volume(case: &SearchCase, front: &[Solution]) -> f64 {
    let points: Vec<[f64; 2]> =
        front.iter().map(|point| [point.objectives[0], point.objectives[1]]).collect();
    hypervolume(&points, case.reference_point)
}

fn best(front: &[Solution], objective: usize) -> f64 {
    front.iter().map(|point| point.objectives[objective]).fold(f64::INFINITY, f64::min)
}

fn assert_sound(case: &SearchCase, front: &[Solution]) {
    assert!(!front.is_empty(), "{}: nothing feasible was found", case.name);
    for point in front {
        let cost = case.limit.cost.value(&case.space, &point.levels);
        assert!(cost <= case.limit.at_most * (1.0 + ROUNDING), "{}: {cost}", case.name);
        for objective in 0..2 {
            let value = case.objectives[objective].value(&case.space, &point.levels);
            assert!((value - point.objectives[objective]).abs() <= ROUNDING * (1.0 + value.abs()));
            assert!(value >= case.least[objective] - 1e-6, "{}: better than the optimum", case.name);
        }
    }
}

#[test]
fn golden_objectives_and_costs_of_every_listed_assignment_are_reproduced() {
    for case in search_cases() {
        let forms = forms(&case);
        for listed in &case.listed {
            let score = forms.score(&listed.levels);
            let near = |a: f64, b: f64| (a - b).abs() <= ROUNDING * b.abs().max(1.0);
            for objective in 0..2 {
                assert!(near(score.objectives[objective], listed.objectives[objective]), "{}", case.name);
                let form = &case.objectives[objective];
                assert!(near(form.value(&case.space, &listed.levels), listed.objectives[objective]));
            }
            assert!(near(case.limit.cost.value(&case.space, &listed.levels), listed.cost), "{}", case.name);
            assert_eq!(score.violation, 0.0, "{}: published solutions keep the limit", case.name);
        }
    }
}

#[test]
fn golden_the_published_setting_is_not_worse_than_published() {
    for case in search_cases() {
        let forms = forms(&case);
        let search = |seed| {
            let search =
                Nsga2::new(forms.counts(), Settings::published(seed), &[]).expect("settings are sound");
            let front = minimise(search, &forms).expect("scores fit together");
            assert_sound(&case, &front);
            (best(&front, 0), best(&front, 1), volume(&case, &front))
        };
        let found: Vec<(f64, f64, f64)> = (1..=SEEDS).map(search).collect();

        for objective in 0..2 {
            let ours =
                median(found.iter().map(|seed| if objective == 0 { seed.0 } else { seed.1 }).collect());
            let theirs = median(case.published_best.iter().map(|best| best[objective]).collect());
            eprintln!("{} f{}: median {ours:.4}, published {theirs:.4}", case.name, objective + 1);
            // Seeds differ so much where outliers are needed that only the scale of the result is comparable.
            let outliers = theirs > 50.0;
            let allowed = if outliers { 60.0 } else { theirs + 0.05 * theirs.abs() + 0.05 };
            assert!(ours <= allowed, "{}: {ours} is worse than {allowed}", case.name);
        }
        let volume = median(found.iter().map(|seed| seed.2).collect());
        let theirs = median(case.published_volumes.clone());
        let shares = [volume, theirs].map(|volume| volume / case.hypervolume);
        eprintln!("{}: hypervolume {shares:.3?} of the exact points', ours and published", case.name);
        assert!(volume >= VOLUME * theirs, "{}: {shares:.3?}", case.name);
    }
}

/// Greedy descents with exchanges for mixtures of the two objectives.
fn descents(case: &SearchCase) -> Vec<Vec<u8>> {
    let reference = case.space.reference();
    let descend = |weight: f64| Greedy::new(&case.weighted(weight)).descend_and_exchange(&reference).levels;
    [0.0, 0.25, 0.5, 0.75, 1.0].map(descend).to_vec()
}

/// Share of the exact points' hypervolume that a search with starts reaches.
fn share(case: &SearchCase, seed: u64, starts: &[Vec<u8>], repair: Option<GreedyRepair>) -> f64 {
    let forms = forms(case);
    let mut search =
        Nsga2::new(forms.counts(), Settings::published(seed), starts).expect("settings are sound");
    if let Some(repair) = repair {
        search = search.with_repair(Box::new(repair));
    }
    let front = minimise(search, &forms).expect("scores fit together");
    assert_sound(case, &front);
    volume(case, &front) / case.hypervolume
}

#[test]
fn golden_exact_starts_bring_the_exact_hypervolume() {
    for case in search_cases() {
        let shares = (1..=SEEDS_STARTED).map(|seed| share(&case, seed, &case.exact, None));
        let least = shares.fold(f64::INFINITY, f64::min);
        eprintln!("{}: at least {least:.4} of the hypervolume from exact starts", case.name);
        assert!(least >= 0.99, "{}: {least}", case.name);
    }
}

#[test]
fn golden_greedy_starts_bring_nearly_all_of_the_exact_hypervolume() {
    for case in search_cases() {
        let repair = GreedyRepair::new(&case.weighted(0.5));
        let alone = share(&case, 1, &descents(&case), None);
        let repaired = share(&case, 1, &descents(&case), Some(repair));
        eprintln!(
            "{}: {alone:.4} of the hypervolume from greedy starts, {repaired:.4} with repair",
            case.name
        );
        assert!(alone >= 0.95 && repaired >= 0.98, "{}: {alone}, {repaired}", case.name);
    }
}

#[test]
fn golden_greedy_descents_are_near_the_optimum() {
    for case in search_cases() {
        for objective in 0..2 {
            let greedy = Greedy::new(&case.weighted(objective as f64));
            let reference = case.space.reference();
            let descents = [greedy.descend(&reference), greedy.descend_and_exchange(&reference)];
            let ratios = [0, 1].map(|index| descents[index].objective / case.least[objective]);
            eprintln!("{} f{}: greedy at {ratios:.4?} of the optimum", case.name, objective + 1);
            // What was found when this was written, with some room.
            for (descent, (ratio, most)) in descents.iter().zip(ratios.iter().zip([1.08, 1.07])) {
                assert_eq!(descent.violation, 0.0, "{}", case.name);
                assert!((1.0 - 1e-6..most).contains(ratio), "{}: {ratio}", case.name);
            }
        }
    }
}
