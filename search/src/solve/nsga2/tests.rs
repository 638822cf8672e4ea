use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::front::{dominates, hypervolume};

fn settings(population: usize, generations: usize) -> Settings {
    Settings { population, generations, ..Settings::published(1) }
}

/// Two objectives that pull apart, and a limit on the sum of all levels from below.
fn score(levels: &[u8]) -> Score {
    let weighted = |weight: fn(usize) -> f64| {
        levels.iter().enumerate().map(|(variable, level)| weight(variable) * f64::from(*level)).sum::<f64>()
    };
    let first = weighted(|variable| 1.0 + variable as f64);
    let second = 50.0 - weighted(|variable| (1.0 + variable as f64).sqrt());
    let sum: u32 = levels.iter().map(|level| u32::from(*level)).sum();
    Score { objectives: vec![first, second], violation: (4.0 - f64::from(sum)).max(0.0) / 4.0 }
}

fn everything(counts: &[u8]) -> Vec<Vec<u8>> {
    counts.iter().fold(vec![Vec::new()], |all, count| {
        let longer = |levels: &Vec<u8>| {
            let levels = levels.clone();
            (0..*count).map(move |level| levels.iter().copied().chain([level]).collect()).collect::<Vec<_>>()
        };
        all.iter().flat_map(longer).collect()
    })
}

/// The feasible non-dominated objectives by trying everything.
fn true_front(counts: &[u8]) -> Vec<[f64; 2]> {
    let scores: Vec<Score> = everything(counts).iter().map(|levels| score(levels)).collect();
    let feasible: Vec<&Score> = scores.iter().filter(|score| score.violation == 0.0).collect();
    let free = |a: &&&Score| feasible.iter().all(|b| !dominates(&b.objectives, &a.objectives));
    feasible.iter().filter(free).map(|score| [score.objectives[0], score.objectives[1]]).collect()
}

fn pairs(front: &[Solution]) -> Vec<[f64; 2]> {
    front.iter().map(|solution| [solution.objectives[0], solution.objectives[1]]).collect()
}

#[test]
fn a_space_smaller_than_the_population_is_searched_completely_and_once() {
    let counts = [3, 1, 2, 3];
    let mut search = Nsga2::new(&counts, settings(100, 50), &[]).unwrap();

    let mut asked = Vec::new();
    while !search.ask().is_empty() {
        asked.extend(search.ask().to_vec());
        let scores = search.ask().iter().map(|levels| score(levels)).collect();
        search.tell(scores).unwrap();
    }

    assert_eq!(asked.len(), 18);
    assert_eq!(asked.iter().cloned().collect::<BTreeSet<_>>(), everything(&counts).into_iter().collect());
    let mut expected = true_front(&counts);
    expected.sort_by(|a, b| lexicographic(a, b));
    assert_eq!(pairs(&search.front()), expected);
}

#[test]
fn a_larger_space_gives_nearly_the_true_front_without_asking_twice() {
    let counts = [4; 8];
    let mut search = Nsga2::new(&counts, settings(60, 60), &[]).unwrap();

    let mut asked = BTreeSet::new();
    while !search.ask().is_empty() {
        for levels in search.ask() {
            assert!(levels.iter().all(|level| *level < 4) && levels.len() == 8);
            assert!(asked.insert(levels.clone()), "{levels:?} was asked for twice");
        }
        let scores = search.ask().iter().map(|levels| score(levels)).collect();
        search.tell(scores).unwrap();
    }

    assert_eq!((asked.len(), search.generation), (3600, 60));
    let front = search.front();
    assert!(front.iter().all(|solution| score(&solution.levels).violation == 0.0));
    assert!(front.is_sorted_by(|a, b| lexicographic(&a.objectives, &b.objectives).is_le()));
    let reference = [110.0, 51.0];
    let share = hypervolume(&pairs(&front), reference) / hypervolume(&true_front(&counts), reference);
    // Nearly a thousand points are on the true front, and sixty of them can't cover all of it.
    assert!((0.985..=1.0).contains(&share), "{share}");
}

#[test]
fn the_same_seed_gives_the_same_search_and_another_seed_another() {
    let search = |seed| {
        let settings = Settings { seed, ..settings(20, 10) };
        minimise(Nsga2::new(&[5; 12], settings, &[]).unwrap(), &score).unwrap()
    };

    assert_eq!(search(1), search(1));
    assert_ne!(search(1), search(2));
}

#[test]
fn starts_are_scored_first_and_never_lost_while_nothing_beats_them() {
    let counts = [4; 30];
    // The least first objective that keeps the limit: not found by chance among 4^30.
    let mut start = vec![0; 30];
    start[0] = 3;
    start[1] = 1;
    let search = Nsga2::new(&counts, settings(20, 5), &[start.clone(), start.clone()]).unwrap();
    assert_eq!(search.ask()[0], start);
    assert_eq!(search.ask().len(), 20);

    let front = minimise(search, &score).unwrap();

    assert_eq!(front[0].levels, start);
}

#[test]
fn without_anything_feasible_the_front_is_empty_and_the_least_violation_falls() {
    let unreachable = |levels: &[u8]| {
        let sum: u32 = levels.iter().map(|level| u32::from(*level)).sum();
        Score { objectives: vec![0.0], violation: 1.0 + f64::from(sum) }
    };
    let mut search = Nsga2::new(&[4; 10], settings(20, 40), &[]).unwrap();

    let mut least = Vec::new();
    while !search.ask().is_empty() {
        let scores = search.ask().iter().map(|levels| unreachable(levels)).collect();
        search.tell(scores).unwrap();
        let violations = search.population.iter().map(|member| member.score.violation);
        least.push(violations.fold(f64::INFINITY, f64::min));
    }

    assert!(search.front().is_empty());
    assert!(least.is_sorted_by(|a, b| a >= b));
    assert_eq!(least.last(), Some(&1.0));
}

#[test]
fn what_failed_to_be_measured_is_left_behind() {
    let some_fail = |levels: &[u8]| match levels[0] {
        0 => Score { objectives: vec![f64::INFINITY; 2], violation: f64::INFINITY },
        _ => score(levels),
    };
    let search = Nsga2::new(&[4; 10], settings(20, 20), &[]).unwrap();

    let front = minimise(search, &some_fail).unwrap();

    assert!(!front.is_empty() && front.iter().all(|solution| solution.levels[0] != 0));
}

#[test]
fn repair_sees_every_child() {
    struct Pin;
    impl Repair for Pin {
        fn repair(&self, levels: &mut Vec<u8>) {
            levels[0] = 2;
        }
    }
    let mut search = Nsga2::new(&[4; 10], settings(20, 3), &[]).unwrap().with_repair(Box::new(Pin));
    let scores = search.ask().iter().map(|levels| score(levels)).collect();

    search.tell(scores).unwrap();

    assert_eq!(search.ask().len(), 20);
    assert!(search.ask().iter().all(|levels| levels[0] == 2));
}

#[test]
fn scores_that_do_not_fit_are_refused_and_change_nothing() {
    let mut search = Nsga2::new(&[4; 10], settings(4, 3), &[]).unwrap();
    let asked = search.ask().to_vec();
    let of = |objectives: Vec<f64>, violation| Score { objectives, violation };
    let fine = || of(vec![1.0], 0.0);
    let refused = [
        (vec![fine()], ScoreError::Count { expected: 4, got: 1 }),
        (
            vec![fine(), fine(), of(vec![], 0.0), fine()],
            ScoreError::Objectives { index: 2, expected: 1, got: 0 },
        ),
        (vec![fine(), of(vec![f64::NAN], 0.0), fine(), fine()], ScoreError::NotANumber(1)),
        (vec![fine(), fine(), fine(), of(vec![1.0], -1.0)], ScoreError::NotANumber(3)),
    ];

    for (scores, error) in refused {
        assert_eq!(search.tell(scores), Err(error));
    }

    assert_eq!((search.ask(), search.generation), (asked.as_slice(), 0));
}

#[test]
fn settings_that_can_not_work_are_refused() {
    let fine = settings(10, 10);
    let refused = |settings, counts: &[u8], starts: &[Vec<u8>]| Nsga2::new(counts, settings, starts).err();
    let crossover = |crossover| Settings { crossover, ..fine };

    assert_eq!(refused(fine, &[2], &[]), None);
    assert!(matches!(refused(settings(1, 1), &[2], &[]), Some(SettingsError::TooSmall { .. })));
    assert!(matches!(refused(settings(2, 0), &[2], &[]), Some(SettingsError::TooSmall { .. })));
    assert_eq!(refused(fine, &[], &[]), Some(SettingsError::NoVariables));
    assert_eq!(refused(fine, &[2, 0], &[]), Some(SettingsError::Levels { variable: 1, levels: 0 }));
    assert_eq!(refused(fine, &[65], &[]), Some(SettingsError::Levels { variable: 0, levels: 65 }));
    assert_eq!(refused(fine, &[2, 2], &[vec![1, 1], vec![1]]), Some(SettingsError::Start(1)));
    assert_eq!(refused(fine, &[2, 2], &[vec![1, 2]]), Some(SettingsError::Start(0)));
    let chance = crossover(Crossover { probability: 1.5, ..fine.crossover });
    assert!(matches!(refused(chance, &[2], &[]), Some(SettingsError::Chance { .. })));
    let eta = crossover(Crossover { eta: f64::NAN, ..fine.crossover });
    assert!(matches!(refused(eta, &[2], &[]), Some(SettingsError::Eta { .. })));
}

proptest! {
    #[test]
    fn no_member_of_a_front_dominates_another(seed in 0_u64..1000, generations in 1_usize..6) {
        let settings = Settings { seed, ..settings(16, generations) };

        let front = minimise(Nsga2::new(&[3; 9], settings, &[]).unwrap(), &score).unwrap();

        for a in &front {
            prop_assert!(front.iter().all(|b| !dominates(&b.objectives, &a.objectives)));
            prop_assert_eq!(&a.objectives, &score(&a.levels).objectives);
        }
    }
}
