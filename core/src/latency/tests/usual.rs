//! What a device is usually like: how surely it is known from repetitions that differ, and what of it another time may differ by.

use super::*;

/// Sessions of one network, each in a round of its own.
fn in_rounds(sessions: impl IntoIterator<Item = Session>) -> Vec<(usize, Session)> {
    sessions.into_iter().enumerate().collect()
}

/// Nothing was measured on it yet.
fn device(governor: Option<&str>) -> Readings {
    let environment = Environment { governor: governor.map(str::to_owned), ..Environment::default() };
    Readings { environments: vec![environment], ..Readings::default() }
}

/// One network with these sessions, on a device that keeps its frequency.
fn one(sessions: Vec<Session>) -> Readings {
    let settled = sessions.len() as u32;
    let network = NetworkReadings { settled, sessions: in_rounds(sessions), ..NetworkReadings::default() };
    let mut readings = device(Some("performance"));
    readings.networks.insert(BitConfig::baseline(), network);
    readings.compare();
    readings
}

#[test]
fn steady_repetitions_alone_count_where_there_are_some() {
    let busy = Some(Unsteady::Busy(0.5));
    let known = |readings: &Readings| {
        let config = BitConfig::baseline();
        let time = readings.estimate(&config, Quantity::Latency).unwrap().median;
        (time, readings.unsteady(&config).len(), readings.is_worth_repeating(&config, 3))
    };

    let mixed = one(vec![session(2.0, 1.0, busy), session(0.5, 1.0, None), session(0.5, 1.0, None)]);
    assert_eq!(known(&mixed), (0.5, 0, false));
    assert_eq!(known(&one(vec![session(2.0, 1.0, busy); 3])), (2.0, 3, true));
    assert_eq!(known(&one(vec![session(2.0, 1.0, busy); 6])), (2.0, 6, false));
    let apart = one(vec![session(0.5, 1.0, None), session(0.6, 1.0, None)]);
    assert!(matches!(
        apart.unsteady(&BitConfig::baseline()).as_slice(),
        [Unsteady::Wide(wide)] if *wide > 0.03
    ));
}

/// A made-up device whose level moves from round to round, and whose processes differ besides.
#[derive(Clone, Copy, Debug)]
struct Moving {
    follows: f64,
    /// Standard deviations, as parts of the time: of the rounds' levels, ...
    level: f64,
    /// ... of what a process makes of both networks that it measures, ...
    process: f64,
    /// ... and of what it makes of one of them.
    scatter: f64,
}

impl Moving {
    /// Many networks, measured once in each of as many rounds as there are levels.
    fn measured(self, levels: &[f64], rng: &mut Rng) -> Readings {
        let mut readings = device(None);
        for (index, (config, _)) in configs(&network(5), 34).into_iter().enumerate() {
            let mut process = |level: &f64| {
                let slower = level + self.process * rng.normal();
                let own = 1.0 + self.scatter * rng.normal();
                let time = (100.0 + index as f64) * (1.0 + self.follows * slower) * own;
                session(time, 1000.0 * (1.0 + slower), None)
            };
            let sessions = in_rounds(levels.iter().map(&mut process));
            let settled = levels.len() as u32;
            let network = NetworkReadings { settled, sessions, ..NetworkReadings::default() };
            readings.networks.insert(config, network);
        }
        readings.compare();
        readings
    }
}

#[test]
fn all_networks_say_together_how_far_times_follow_the_baseline_and_its_level() {
    let still = Moving { follows: 0.0, level: 0.012, process: 0.01, scatter: 0.005 };
    let half = Moving { follows: 0.5, ..still };
    let alike = Moving { follows: 1.0, scatter: 0.002, ..still };
    let by_process = Moving { follows: 1.0, level: 0.0, process: 0.04, scatter: 0.002 };
    for made in [still, half, alike, by_process] {
        let (mut inside, mut count, mut widths) = (0, 0, 0.0);
        for seed in 0..20 {
            let mut rng = rng(seed, 0);
            let levels: Vec<f64> = (0..8).map(|_| made.level * rng.normal()).collect();
            let [first, later] =
                [&levels[..4], &[levels[4]; 4]].map(|levels| made.measured(levels, &mut rng));

            let usual = first.usual.unwrap();
            assert!((usual.follows - made.follows).abs() < 0.15, "{usual:?}");
            assert!((0.5..2.0).contains(&(usual.spread / made.scatter)), "{usual:?} {}", made.scatter);
            for config in later.networks.keys() {
                let [time, next] = [&first, &later].map(|of| of.estimate(config, Quantity::Latency).unwrap());
                inside += u32::from(time.holds(next.median));
                widths += time.half_width();
                count += 1;
            }
        }
        assert!(inside * 100 >= count * 90, "{inside} of {count} for {made:?}");
        // What every process does to all that it measures is gone from the middle of so many.
        let mean = widths / f64::from(count);
        assert!(mean < 0.032, "{mean} for {made:?}");
    }
}

#[test]
fn a_level_that_an_hour_moved_is_in_the_interval() {
    let hours = |later: f64| {
        let made = Moving { follows: 1.0, level: 0.0, process: 0.005, scatter: 0.002 };
        let readings = made.measured(&[0.0, 0.0, 0.0, later, later, later], &mut rng(3, 0));
        let config = readings.networks.keys().next().unwrap();
        readings.estimate(config, Quantity::Latency).unwrap().half_width()
    };

    assert!(hours(0.0) < 0.03, "{}", hours(0.0));
    assert!((0.05..0.11).contains(&hours(0.1)), "{}", hours(0.1));
}

#[test]
fn what_a_level_makes_too_wide_is_not_repeated_in_vain() {
    let of_levels = |levels: [f64; 3]| {
        let sessions = levels.map(|level| session(1.0 + level, 1.0 + level, None));
        let readings = one(sessions.to_vec());
        let config = BitConfig::baseline();
        (readings.unsteady(&config).len(), readings.is_worth_repeating(&config, 3))
    };

    assert_eq!(of_levels([0.0, 0.001, 0.002]), (0, false));
    assert_eq!(of_levels([0.0, 0.001, 0.05]), (1, false), "the device moves, whatever is repeated");
    let apart = one([1.0, 1.0, 1.05].map(|time| session(time, 1.0, None)).to_vec());
    assert!(apart.is_worth_repeating(&BitConfig::baseline(), 3), "processes differ");
}

#[test]
fn an_hour_may_differ_from_the_next_where_nobody_keeps_the_frequency() {
    for (governor, least) in [(Some("performance"), 0.0), (Some("schedutil"), 0.025), (None, 0.025)] {
        let mut readings = one(vec![session(1.0, 1.0, None); 4]);
        readings.environments = device(governor).environments;
        readings.compare();

        let time = readings.estimate(&BitConfig::baseline(), Quantity::Latency).unwrap();
        assert!((time.half_width() - least).abs() < 1e-9, "{time:?} {governor:?}");
    }
}

#[test]
fn a_frequency_that_moves_is_said_of_all_networks_and_nothing_is_repeated_for_it() {
    let of_mhz = |mhz: [f64; 4]| {
        let mut readings = one(vec![session(1.0, 1.0, None); 3]);
        let looks = mhz.map(|mhz| Environment { mhz: Some([mhz, mhz]), ..Environment::default() });
        readings.environments = looks.to_vec();
        readings.compare();
        let config = BitConfig::baseline();
        (readings.unsteady(&config), readings.is_worth_repeating(&config, 3))
    };

    assert_eq!(of_mhz([3_618.0, 3_640.0, 3_660.0, 3_694.0]), (Vec::new(), false));
    let (unsteady, is_repeated) = of_mhz([4_195.0, 4_300.0, 4_400.0, 4_522.0]);
    assert!(matches!(unsteady.as_slice(), [Unsteady::Clock(moved)] if (0.03..0.05).contains(moved)));
    assert!(!is_repeated);
}

#[test]
fn more_repetitions_narrow_what_processes_differ_by() {
    let apart = |count: usize| {
        let sessions = (0..count).map(|index| session(1.0 + 0.01 * (index % 2) as f64, 1.0, None));
        one(sessions.collect()).estimate(&BitConfig::baseline(), Quantity::Latency).unwrap().half_width()
    };

    assert!(apart(8) < 0.6 * apart(2), "{} {}", apart(8), apart(2));
}
