use super::*;
use crate::rng::{Rng, rng};

fn noisy(rng: &mut Rng, level: f64, noise: f64) -> f64 {
    level * (1.0 + noise * rng.normal())
}

#[test]
fn the_median_is_in_the_middle_of_an_interval_that_narrows() {
    let mut rng = rng(1, 0);
    let values: Vec<f64> = (0..400).map(|_| noisy(&mut rng, 5.0, 0.1)).collect();

    let few = Estimate::of(&values[..40]).unwrap();
    let many = Estimate::of(&values).unwrap();

    assert!(few.low <= few.median && few.median <= few.high, "{few:?}");
    assert!(many.half_width() < few.half_width(), "{few:?} {many:?}");
    assert_eq!(Estimate::of(&values), Some(many));
    assert_eq!(Estimate::of(&[]), None);
}

#[test]
fn intervals_hold_the_truth_about_as_often_as_they_say() {
    let trials = 300;
    let held = (0..trials).filter(|trial| {
        let mut rng = rng(2, *trial);
        let values: Vec<f64> = (0..100).map(|_| noisy(&mut rng, 1.0, 0.05)).collect();
        Estimate::of(&values).unwrap().holds(1.0)
    });

    let part = held.count() as f64 / trials as f64;
    assert!((0.90..=0.99).contains(&part), "{part}");
}

#[test]
fn blocks_of_neighbours_keep_an_interval_honest_where_noise_lasts() {
    // Noise that lasts for five values: single values drawn anew would give an interval less than half as wide.
    let trials = 300;
    let held = (0..trials).filter(|trial| {
        let mut rng = rng(3, *trial);
        let values: Vec<f64> = (0..80).flat_map(|_| [noisy(&mut rng, 1.0, 0.05); 5]).collect();
        Estimate::of(&values).unwrap().holds(1.0)
    });

    let part = held.count() as f64 / trials as f64;
    assert!(part > 0.80, "{part}");
}

#[test]
fn sessions_that_differ_widen_the_interval_to_hold_the_next_one() {
    let trials = 500;
    let held = (0..trials).filter(|trial| {
        let mut rng = rng(4, *trial);
        let mut session = || {
            let median = noisy(&mut rng, 1.0, 0.02);
            Estimate { median, low: median - 0.001, high: median + 0.001 }
        };
        let sessions: Vec<Estimate> = (0..4).map(|_| session()).collect();
        merged(&sessions).unwrap().holds(session().median)
    });

    let part = held.count() as f64 / trials as f64;
    assert!((0.91..=0.98).contains(&part), "{part}");
}

#[test]
fn one_session_is_its_own_interval_and_none_is_nothing() {
    let alone = Estimate { median: 2.0, low: 1.5, high: 3.0 };

    assert_eq!(merged(&[alone]), Some(alone));
    assert_eq!(merged(&[]), None);
}

#[test]
fn a_session_tells_drift_from_noise_and_counts_outliers() {
    let mut rng = rng(5, 0);
    let mut rounds = |slope: f64| -> Vec<Round> {
        let time = |index: usize| noisy(&mut rng, 1e6, 0.01) * (1.0 + slope * index as f64 / 200.0);
        let times: Vec<f64> = (0..200).map(time).collect();
        times.into_iter().map(|config| Round { config, baseline: 2.0 * config }).collect()
    };

    let (mut steady, drifting) = (rounds(0.0), rounds(0.3));
    steady[50].config *= 3.0;
    let (steady, drifting) = (Session::of(&steady).unwrap(), Session::of(&drifting).unwrap());

    assert_eq!((steady.unsteady, steady.outliers), (None, 1));
    assert!((steady.ratio.median - 0.5).abs() < 1e-9, "{steady:?}");
    assert!(matches!(drifting.unsteady, Some(Unsteady::Drift(moved)) if moved > 0.03), "{drifting:?}");
}

#[test]
fn rounds_that_the_baseline_calls_disturbed_do_not_count() {
    let mut rng = rng(8, 0);
    // For half of the time others make everything take a third longer.
    let slower =
        |index: usize| if (index / 20) % 2 == 1 { 1.0 + 0.3 * ((index % 7) as f64 / 7.0 + 0.5) } else { 1.0 };
    let rounds: Vec<Round> = (0..400)
        .map(|index| Round {
            config: slower(index) * noisy(&mut rng, 1e6, 0.01),
            baseline: slower(index) * noisy(&mut rng, 2e6, 0.01),
        })
        .collect();

    let session = Session::of(&rounds).unwrap();

    assert_eq!((session.rounds, session.disturbed), (200, 200));
    assert!((session.config.median / 1e6 - 1.0).abs() < 0.005, "{session:?}");
    assert_eq!(session.unsteady, None);
}

#[test]
fn a_device_that_is_always_noisy_is_not_taken_for_a_disturbed_one() {
    let mut rng = rng(9, 0);
    let rounds: Vec<Round> = (0..400)
        .map(|_| Round { config: noisy(&mut rng, 1e6, 0.2), baseline: noisy(&mut rng, 1e6, 0.2) })
        .collect();

    let session = Session::of(&rounds).unwrap();

    assert_eq!((session.rounds, session.disturbed), (400, 0));
}

#[test]
fn few_wild_times_are_said_to_be_unsteady() {
    let mut rng = rng(6, 0);
    let rounds: Vec<Round> = (0..12).map(|_| Round { config: 1.0 + rng.uniform(), baseline: 1.0 }).collect();

    let session = Session::of(&rounds).unwrap();

    assert!(session.unsteady.is_some(), "{session:?}");
}

#[test]
fn a_few_rounds_are_not_relied_on_however_alike_they_are() {
    let session = |count: usize| Session::of(&vec![Round { config: 1.0, baseline: 1.0 }; count]).unwrap();

    assert_eq!(session(1).unsteady, Some(Unsteady::Few(1)));
    assert_eq!(session(5).unsteady, Some(Unsteady::Few(5)));
    assert_eq!(session(6).unsteady, None);
}

#[test]
fn a_warm_up_that_never_ends_gives_nothing_to_rely_on() {
    let patience = Patience { at_most_ns: 50e6, turn_ns: 1e6, ..Patience::default() };

    let (rounds, order, _) = play(patience, |_, _| 1e6);

    assert!(order.len() > 40, "{}", order.len());
    let session = Session::of(&rounds).unwrap();
    assert!(matches!(session.unsteady, Some(Unsteady::Few(_))), "{session:?}");
}

/// Plays a device: what one inference takes of the number of inferences before it.
fn play(patience: Patience, mut one: impl FnMut(Side, u64) -> f64) -> (Vec<Round>, Vec<Side>, u64) {
    let (mut pacing, mut order, mut inferences_of_all) = (Pacing::new(patience), Vec::new(), 0);
    while let Step::Time { side, inferences } = pacing.step() {
        order.push(side);
        let elapsed = (0..inferences).map(|index| one(side, inferences_of_all + index)).sum();
        inferences_of_all += inferences;
        pacing.timed(side, elapsed);
    }
    (pacing.rounds().to_vec(), order, inferences_of_all)
}

#[test]
fn what_is_slow_at_first_does_not_count() {
    let cold = |_, before: u64| if before < 30 { 4e6 } else { 2e6 };

    let (rounds, _, _) = play(Patience::default(), cold);

    assert!(rounds.iter().all(|round| round.config == 2e6 && round.baseline == 2e6));
    assert_eq!(rounds.len(), Patience::default().rounds_min);
}

#[test]
fn turns_alternate_so_that_both_bear_what_grows_with_time() {
    let (rounds, order, _) = play(Patience::default(), |_, _| 2e6);

    // The warm-up may end with either side.
    for rounds in order[order.len() - 2 * rounds.len()..].chunks_exact(4) {
        assert_eq!(rounds, [Side::Config, Side::Baseline, Side::Baseline, Side::Config]);
    }
}

#[test]
fn fast_inferences_are_timed_together() {
    let (rounds, order, inferences) = play(Patience::default(), |side, _| match side {
        Side::Config => 1e3,
        Side::Baseline => 1e5,
    });

    assert!(inferences > 300 * order.len() as u64, "{inferences} in {} turns", order.len());
    let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-9;
    assert!(rounds.iter().all(|round| close(round.config, 1e3) && close(round.baseline, 1e5)));
}

#[test]
fn noise_is_measured_longer_and_not_for_ever() {
    let mut rng = rng(7, 0);
    let noise = |level: f64| move |rng: &mut Rng| noisy(rng, 2e6, level).max(1e5);
    let (little, much) = (noise(0.01), noise(0.5));

    let (calm, _, _) = play(Patience::default(), |_, _| little(&mut rng));
    let (wild, order, _) = play(Patience::default(), |_, _| much(&mut rng));

    assert!(wild.len() > 5 * calm.len(), "{} {}", calm.len(), wild.len());
    let spent = order.len() as f64 * 2e6;
    assert!(spent < 1.5 * Patience::default().at_most_ns, "{spent}");
}

#[test]
fn a_measurement_beside_others_is_not_relied_on() {
    let rounds = vec![Round { config: 1.0, baseline: 1.0 }; 60];
    let session = Session::of(&rounds).unwrap();

    assert_eq!(session.clone().beside(None).unsteady, None);
    assert_eq!(session.clone().beside(Some(0.05)).unsteady, None);
    assert_eq!(session.beside(Some(0.6)).unsteady, Some(Unsteady::Busy(0.6)));
}
