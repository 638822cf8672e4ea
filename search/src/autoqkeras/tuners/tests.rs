use std::collections::BTreeMap;

use bitloop_core::rng::rng;

use bitloop_core::autoqkeras::TunerSettings;

use super::*;
use crate::autoqkeras::Compat;

/// Levels of the hyperparameters of most tests; one is fixed.
const SIZES: [u8; 10] = [7, 7, 7, 7, 1, 5, 5, 5, 3, 3];

/// Effects of each level, and of some pairs of hyperparameters together, drawn by a seed.
struct Landscape {
    sizes: Vec<u8>,
    seed: u64,
}

impl Landscape {
    fn of(sizes: &[u8], seed: u64) -> Self {
        Self { sizes: sizes.to_vec(), seed }
    }

    /// Its noise shrinks with the epochs, as far as a tuner gives any.
    fn score(&self, ask: &Ask) -> f64 {
        let level = |at: usize| u64::from(ask.levels[at]);
        let draw = |step: u64| rng(self.seed, step).normal();
        let single = |at: usize| draw(at as u64 * 100 + level(at));
        let pair = |at: usize| draw(100_000 + at as u64 * 10_000 + level(at) * 100 + level(at + 1));
        let count = self.sizes.len();
        let exact: f64 = (0..count).map(single).sum::<f64>() + 0.5 * (0..count - 1).map(pair).sum::<f64>();
        let epochs = ask.epochs.map_or(100, |epochs| epochs.to);
        let slot = u64::from(ask.place.slot) * 1000 + u64::from(ask.place.bracket);
        exact + draw(1_000_000 + slot) * 3.0 / f64::from(epochs)
    }
}

/// How outcomes come in.
#[derive(Clone, Copy)]
struct Workers {
    count: usize,
    /// Draws which of the trials under way is settled next; none settles them in order.
    arrival: Option<u64>,
}

const ONE: Workers = Workers { count: 1, arrival: None };

fn search(tuner: &dyn Tuner, workers: Workers, score: impl Fn(&Ask) -> Outcome) -> Vec<Trial> {
    let mut trials: Vec<Trial> = Vec::new();
    for step in 0.. {
        let running: Vec<usize> = (0..trials.len()).filter(|at| !trials[*at].is_settled()).collect();
        match tuner.propose(&trials, workers.count - running.len()) {
            Proposal::Trials(asks) => {
                assert!(asks.len() <= workers.count - running.len(), "more than there is room for");
                trials.extend(asks.into_iter().map(|ask| Trial { ask, outcome: Outcome::Running }));
            }
            Proposal::Wait => {
                assert!(!running.is_empty(), "waits for nothing");
                let pick = workers.arrival.map_or(0, |seed| rng(seed, step).below(running.len()));
                let trial = &mut trials[running[pick]];
                trial.outcome = score(&trial.ask);
            }
            Proposal::Done if running.is_empty() => break,
            Proposal::Done => {
                let trial = &mut trials[running[0]];
                trial.outcome = score(&trial.ask);
            }
        }
    }
    assert!(trials.len() as u64 <= tuner.most());
    let epochs = trials.iter().filter_map(|trial| trial.ask.epochs);
    let epochs: u64 = epochs.map(|epochs| u64::from(epochs.to - epochs.from)).sum();
    assert!(tuner.most_epochs().is_none_or(|most| (1..=most).contains(&epochs)), "{epochs} epochs");
    let mut places: Vec<Place> = trials.iter().map(|trial| trial.ask.place).collect();
    places.sort();
    places.dedup();
    assert_eq!(places.len(), trials.len(), "no two trials stand at one place");
    trials
}

fn made(settings: TunerSettings, sizes: &[u8], seed: u64) -> Box<dyn Tuner> {
    tuner(&settings, sizes.to_vec(), seed, Compat::Bitloop).unwrap()
}

fn random(max_trials: u32) -> TunerSettings {
    TunerSettings::Random { max_trials }
}

fn bayesian(max_trials: u32, in_flight: u32) -> TunerSettings {
    TunerSettings::Bayesian { max_trials, initial: None, in_flight }
}

fn hyperband(max_epochs: u32) -> TunerSettings {
    TunerSettings::Hyperband { max_epochs, factor: 3, iterations: 1 }
}

fn asha(max_trials: u32) -> TunerSettings {
    TunerSettings::Asha { max_trials, min_epochs: 1, max_epochs: 9, factor: 3, in_flight: 4 }
}

fn best_score(trials: &[Trial]) -> f64 {
    best(trials).and_then(Trial::score).unwrap()
}

/// What was asked for and what it came to, in canonical order.
fn canonical(trials: &[Trial]) -> Vec<Trial> {
    let mut trials = trials.to_vec();
    trials.sort_by_key(|trial| trial.ask.place);
    trials
}

#[test]
fn a_bayesian_search_beats_a_random_one_at_equal_budget() {
    let budget = 48;
    let differences: Vec<f64> = (0..12)
        .map(|seed| {
            let landscape = Landscape::of(&SIZES, seed);
            let score = |ask: &Ask| Outcome::Scored(landscape.score(ask));
            let workers = Workers { count: 4, arrival: Some(seed) };
            let guided = search(&*made(bayesian(budget, 4), &SIZES, seed), workers, score);
            let blind = search(&*made(random(budget), &SIZES, seed), workers, score);
            assert_eq!(guided.len(), blind.len());
            best_score(&guided) - best_score(&blind)
        })
        .collect();

    let count = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / count;
    let variance =
        differences.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / (count - 1.0);
    eprintln!("bayesian - random: {mean:.2} +- {:.2}", (variance / count).sqrt());
    // Four standard errors of the paired difference.
    assert!(mean > 4.0 * (variance / count).sqrt(), "{differences:?}");
}

#[test]
fn waiting_for_every_outcome_is_worth_little_more_than_four_trials_under_way() {
    let mean = |in_flight: u32| {
        let scores = (0..8).map(|seed| {
            let landscape = Landscape::of(&SIZES, seed);
            let workers = Workers { count: in_flight as usize, arrival: Some(seed) };
            let score = |ask: &Ask| Outcome::Scored(landscape.score(ask));
            best_score(&search(&*made(bayesian(48, in_flight), &SIZES, seed), workers, score))
        });
        scores.sum::<f64>() / 8.0
    };

    let (alone, four) = (mean(1), mean(4));

    eprintln!("one at a time: {alone:.2}, four: {four:.2}");
    // Random search stays more than three below.
    assert!(four > alone - 1.0, "{four} against {alone}");
}

#[test]
fn canonical_searches_do_not_depend_on_the_number_of_workers_or_the_order_of_arrival() {
    let landscape = Landscape::of(&SIZES, 5);
    // Every seventh trial fails, and one diverges.
    let score = |ask: &Ask| match ask.place.slot {
        slot if slot % 7 == 3 => Outcome::Failed,
        5 => Outcome::Scored(f64::NAN),
        _ => Outcome::Scored(landscape.score(ask)),
    };
    for settings in [random(30), bayesian(30, 5), hyperband(27)] {
        let tuner = made(settings, &SIZES, 1);
        let alone = canonical(&search(&*tuner, ONE, score));

        for (count, seed) in [(3, 1), (8, 2), (100, 3)] {
            let many = search(&*tuner, Workers { count, arrival: Some(seed) }, score);
            assert_eq!(format!("{:?}", canonical(&many)), format!("{alone:?}"), "{settings:?}");
        }
    }
}

#[test]
fn a_replayed_search_goes_on_as_it_did() {
    let landscape = Landscape::of(&SIZES, 6);
    let score = |ask: &Ask| Outcome::Scored(landscape.score(ask));
    for settings in [random(20), bayesian(20, 3), hyperband(9), asha(30)] {
        let tuner = made(settings, &SIZES, 2);
        let (mut stored, mut decisions) = (Vec::<Trial>::new(), Vec::new());
        for step in 0.. {
            let proposal = tuner.propose(&stored, 3);
            decisions.push((stored.clone(), proposal.clone()));
            if let Proposal::Trials(asks) = &proposal {
                stored.extend(asks.iter().map(|ask| Trial { ask: ask.clone(), outcome: Outcome::Running }));
            }
            let running: Vec<usize> = (0..stored.len()).filter(|at| !stored[*at].is_settled()).collect();
            match running.len() {
                0 => break,
                count => {
                    let at = running[rng(9, step).below(count)];
                    stored[at].outcome = score(&stored[at].ask);
                }
            }
        }

        let again = made(settings, &SIZES, 2);
        for (trials, proposal) in &decisions {
            let text = serde_json::to_string(trials).unwrap();
            let read: Vec<Trial> = serde_json::from_str(&text).unwrap();
            assert_eq!(again.propose(&read, 3), *proposal, "{settings:?}");
        }
        assert_eq!(decisions.last().map(|(_, proposal)| proposal), Some(&Proposal::Done));
    }
}

#[test]
fn no_assignment_is_tried_twice_and_a_small_space_is_tried_whole() {
    let sizes = [3, 2, 1, 2];
    for settings in [random(50), bayesian(50, 2)] {
        let tuner = made(settings, &sizes, 4);
        let trials = search(&*tuner, ONE, |ask| Outcome::Scored(f64::from(ask.levels[0])));

        let mut levels: Vec<_> = trials.iter().map(|trial| trial.ask.levels.clone()).collect();
        levels.sort();
        levels.dedup();
        assert_eq!((trials.len(), levels.len(), tuner.most()), (12, 12, 12));
    }
}

#[test]
fn equal_scores_and_failures_alone_do_not_stop_a_bayesian_search() {
    for outcome in [Outcome::Scored(0.5), Outcome::Failed, Outcome::Scored(f64::INFINITY)] {
        let trials = search(&*made(bayesian(25, 3), &SIZES, 3), ONE, |_| outcome);

        assert_eq!(trials.len(), 25, "{outcome:?}");
    }
}

#[test]
fn hyperband_has_the_brackets_of_its_paper() {
    let trials =
        search(&*made(hyperband(81), &[9; 8], 0), ONE, |ask| Outcome::Scored(f64::from(ask.levels[0])));

    let mut counts: BTreeMap<u32, BTreeMap<u32, u32>> = BTreeMap::new();
    for trial in &trials {
        let epochs = trial.ask.epochs.unwrap();
        *counts.entry(trial.ask.place.bracket).or_default().entry(epochs.to).or_default() += 1;
    }
    let rows: Vec<Vec<(u32, u32)>> = counts.into_values().map(|rungs| rungs.into_iter().collect()).collect();
    // Table 1 of Li et al. for 81 epochs and a factor of 3, with the numbers of assignments rounded up.
    let paper: [&[(u32, u32)]; 5] = [
        &[(1, 81), (3, 27), (9, 9), (27, 3), (81, 1)],
        &[(3, 34), (9, 11), (27, 3), (81, 1)],
        &[(9, 15), (27, 5), (81, 1)],
        &[(27, 8), (81, 2)],
        &[(81, 5)],
    ];
    assert_eq!(rows, paper);
}

#[test]
fn hyperband_promotes_the_best_of_each_rung_once_it_is_whole() {
    let tuner = made(hyperband(9), &[9; 8], 0);
    let mut trials = Vec::new();
    let Proposal::Trials(asks) = tuner.propose(&trials, 9) else { panic!("it begins with a rung of nine") };
    assert!(asks.iter().all(|ask| ask.place.bracket == 0 && ask.place.rung == 0));
    trials.extend(
        asks.into_iter().map(|ask| Trial { outcome: Outcome::Scored(f64::from(ask.place.slot % 5)), ask }),
    );
    trials[4].outcome = Outcome::Failed;
    trials[8].outcome = Outcome::Running;

    let early = tuner.propose(&trials, 1);
    trials[8].outcome = Outcome::Scored(3.0);
    let late = tuner.propose(&trials, 3);

    // Only the next bracket can go on before; afterwards the scores 3, 3 and 2 are best, of equal ones the first.
    assert!(matches!(&early, Proposal::Trials(asks) if asks[0].place.bracket == 1), "{early:?}");
    let Proposal::Trials(asks) = late else { panic!("three are promoted") };
    let places: Vec<Place> = asks.iter().map(|ask| ask.place).collect();
    assert_eq!(places, [2, 3, 8].map(|slot| Place { bracket: 0, rung: 1, slot }));
    assert!(asks.iter().all(|ask| ask.epochs == Some(Epochs { from: 1, to: 3 })));
    assert!(asks.iter().all(|ask| ask.levels == trials[ask.place.slot as usize].ask.levels));
    assert_eq!(asks[0].place.before(), Some(Place { bracket: 0, rung: 0, slot: 2 }));
}

#[test]
fn asha_promotes_as_soon_as_one_in_three_is_known() {
    let tuner = made(asha(100), &SIZES, 0);
    let mut trials: Vec<Trial> = Vec::new();
    let Proposal::Trials(asks) = tuner.propose(&trials, 4) else { panic!("there is room for four") };
    trials.extend(asks.into_iter().map(|ask| Trial { ask, outcome: Outcome::Running }));
    let next = |trials: &[Trial]| match tuner.propose(trials, 1) {
        Proposal::Trials(asks) => asks[0].place,
        other => panic!("{other:?}"),
    };

    trials[1].outcome = Outcome::Scored(0.7);
    trials[2].outcome = Outcome::Scored(0.9);
    let two = next(&trials);
    trials[0].outcome = Outcome::Failed;
    let three = next(&trials);

    assert_eq!(two, Place { bracket: 0, rung: 0, slot: 4 }, "two settled trials promote none");
    assert_eq!(
        three,
        Place { bracket: 0, rung: 1, slot: 2 },
        "the best of three goes on, the failed one counted"
    );

    let promoted = Ask { place: three, levels: trials[2].ask.levels.clone(), epochs: None };
    trials.push(Trial { ask: promoted, outcome: Outcome::Running });
    assert_eq!(next(&trials), two, "none is promoted twice");
}

#[test]
fn asha_gives_the_best_assignments_the_most_epochs() {
    let landscape = Landscape::of(&SIZES, 8);
    let tuner = made(asha(81), &SIZES, 3);
    let trials =
        search(&*tuner, Workers { count: 6, arrival: Some(1) }, |ask| Outcome::Scored(landscape.score(ask)));

    let exact = |trial: &Trial| {
        let ask = Ask { epochs: Some(Epochs { from: 0, to: u32::MAX }), ..trial.ask.clone() };
        landscape.score(&ask)
    };
    let mean = |rung: u32| {
        let scores: Vec<f64> =
            trials.iter().filter(|trial| trial.ask.place.rung == rung).map(exact).collect();
        scores.iter().sum::<f64>() / scores.len() as f64
    };
    assert_eq!(trials.iter().filter(|trial| trial.ask.place.rung == 0).count(), 81);
    assert!(mean(2) > mean(1) && mean(1) > mean(0) + 1.0, "{} {} {}", mean(0), mean(1), mean(2));
    let furthest: Vec<u32> = trials
        .iter()
        .filter(|trial| trial.ask.place.rung == 2)
        .map(|trial| trial.ask.epochs.unwrap().to)
        .collect();
    assert!(!furthest.is_empty() && furthest.iter().all(|to| *to == 9));
}

#[test]
fn settings_that_make_no_search_are_refused() {
    let refused = |settings: TunerSettings, sizes: &[u8]| {
        tuner(&settings, sizes.to_vec(), 0, Compat::Bitloop).map(|_| ()).unwrap_err().to_string()
    };

    assert_eq!(refused(random(0), &SIZES), "`max_trials` is 0; give at least 1");
    let flat = TunerSettings::Hyperband { max_epochs: 9, factor: 1, iterations: 1 };
    assert_eq!(refused(flat, &SIZES), "`factor` is 1; give at least 2");
    assert_eq!(
        refused(random(3), &[2, 0]),
        "hyperparameter 1 has no level to choose; give it a candidate or leave it out"
    );
}

#[test]
fn settings_are_read_as_files_write_them() {
    let read = |text: &str| serde_json::from_str::<TunerSettings>(text);

    assert_eq!(read(r#"{"mode": "random", "max_trials": 10}"#).unwrap(), random(10));
    assert_eq!(read(r#"{"mode": "hyperband"}"#).unwrap(), hyperband(100));
    assert!(read(r#"{"mode": "random", "max_trials": 10, "factor": 3}"#).is_err());
}

#[test]
fn the_best_trial_has_the_highest_score_that_is_a_number() {
    let trial = |slot, outcome| Trial {
        ask: Ask { place: Place { slot, ..Place::default() }, levels: vec![], epochs: None },
        outcome,
    };
    let trials = [
        trial(0, Outcome::Scored(f64::NAN)),
        trial(2, Outcome::Scored(0.5)),
        trial(1, Outcome::Scored(0.5)),
        trial(3, Outcome::Failed),
    ];

    assert_eq!(best(&trials).map(|trial| trial.ask.place.slot), Some(1));
    assert_eq!(best(&trials[..1]), None);
}
