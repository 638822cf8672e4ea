//! Sweeps that measure as many images as their decisions need, on made-up images.

use bitloop_core::bits::BitConfig;
use bitloop_core::evaluation::Adaptive;
use bitloop_core::report::{Report as Results, Row, RowState};

use super::*;
use crate::Searcher;

const IMAGES: u64 = 3_000;

fn splitmix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn adaptive(tolerance_ppm: u32) -> EvaluationMode {
    EvaluationMode::Adaptive(Adaptive { tolerance_ppm, confidence_ppm: 950_000, part_images: 96 })
}

fn plan_with(evaluation: EvaluationMode) -> Plan {
    let mut plan = plan(4);
    plan.data.selection.images = IMAGES;
    plan.evaluation = evaluation;
    plan
}

/// What a config does to some images: each image's fate follows from the config and the image alone, so parts of a
/// config add up. Configs lose from none to half of the images.
fn measure(spec: &TrialSpec) -> TrialResult {
    let TrialSpec::Evaluate { config, part, .. } = spec else { panic!("an evaluation") };
    let seed = config.changes().fold(7, |seed, (point, choice)| {
        let width = if let Choice::Bits(bits) = choice { u64::from(bits.get()) } else { 0 };
        splitmix(seed ^ (u64::from(point.0) << 8) ^ width)
    });
    let is_baseline = *config == BitConfig::baseline();
    let lost = if is_baseline { 0 } else { [5, 20, 60, 500][(seed % 4) as usize] };
    let gained = if is_baseline { 0 } else { 10 };
    let mut sums = Evaluation { n: part.len, ..Evaluation::default() };
    for image in part.start..part.start + part.len {
        let draw = splitmix(seed ^ splitmix(image)) % 1_000;
        sums.lost += u64::from(draw < lost);
        sums.gained += u64::from(draw >= 1_000 - gained);
    }
    TrialResult::Evaluated(sums)
}

impl Driver {
    /// The trials that nobody has measured, in order of proposal.
    fn open(&self) -> Vec<TrialSpec> {
        let is_open = |spec: &&TrialSpec| self.state.ledger.outcome(&spec.key()).is_none();
        self.proposed.iter().filter(is_open).cloned().collect()
    }

    /// Asks a searcher until it waits or is done; that a new one says the same has its own test.
    fn ask_kept(&mut self, kept: &mut dyn Searcher) {
        let id = self.plan.id();
        loop {
            let experiment = self.state.ledger.experiment(&id).unwrap();
            let Some(history) = self.state.history(experiment) else { return };
            if history.stage() == 0 {
                // The preparation was measured for an earlier experiment.
                self.ask();
                continue;
            }
            let proposal = kept.propose(&history).conclude();
            if proposal == Proposal::Wait {
                return;
            }
            self.feed(Input::Advance { experiment: id.clone(), stage: 1, proposal });
        }
    }

    /// Measures until the experiment is over: `choose` takes so many open trials, by their positions.
    fn work(&mut self, mut choose: impl FnMut(usize) -> Vec<usize>) -> u64 {
        let mut images = 0;
        let mut kept = searcher(&self.plan, &self.plan.stages[1]);
        while self.status() == "active" {
            self.ask_kept(kept.as_mut());
            let open = self.open();
            if open.is_empty() {
                continue;
            }
            for position in choose(open.len()) {
                let TrialSpec::Evaluate { part, .. } = &open[position] else { panic!("an evaluation") };
                images += part.len;
                self.commit(open[position].key(), measure(&open[position]));
            }
        }
        assert_eq!(self.status(), "finished");
        images
    }
}

/// A sweep over two points, five configs.
fn few_points() -> Vec<StagePlan> {
    vec![StagePlan::Prepare, StagePlan::singles(vec![PointIndex(0), PointIndex(1)])]
}

fn in_order(open: usize) -> Vec<usize> {
    (0..open).collect()
}

#[test]
fn results_do_not_depend_on_the_order_in_which_parts_arrive() {
    let run = |choose: &mut dyn FnMut(usize) -> Vec<usize>| {
        let mut driver = Driver::new(plan_with(adaptive(10_000)));
        driver.prepare();
        driver.work(choose);
        driver.results()
    };
    let expected = run(&mut in_order);
    assert_eq!(run(&mut |_| vec![0]), expected);
    assert_eq!(run(&mut |open| vec![open - 1]), expected);
    for seed in 0..5 {
        let mut draw = seed;
        let results = run(&mut |open| {
            draw = splitmix(draw);
            vec![(draw % open as u64) as usize]
        });
        assert_eq!(results, expected);
    }

    let states: BTreeSet<&str> = expected.rows.iter().map(|row| row.result.as_str()).collect();
    assert_eq!(states, BTreeSet::from(["decided", "harmful"]), "the sweep has both");
    assert!(expected.images_evaluated * 2 < expected.rows.len() as u64 * IMAGES);
    for reference in [&expected.float, &expected.baseline] {
        assert_eq!((reference.as_str(), reference.measured().unwrap().n), ("done", IMAGES));
    }
}

#[test]
fn a_searcher_that_was_there_all_along_proposes_what_a_new_one_does() {
    let mut driver = Driver::new(Plan { stages: few_points(), ..plan_with(adaptive(10_000)) });
    driver.prepare();
    let mut kept = searcher(&driver.plan, &driver.plan.stages[1]);
    while driver.status() == "active" {
        let experiment = driver.state.ledger.experiment(&driver.plan.id()).unwrap();
        let history = driver.state.history(experiment).unwrap();
        let fresh = searcher(&driver.plan, &driver.plan.stages[1]).propose(&history).conclude();
        assert_eq!(kept.propose(&history).conclude(), fresh);
        // An answer may get lost on its way; asked again, a searcher repeats it.
        assert_eq!(kept.propose(&history).conclude(), fresh);

        driver.ask();
        if let Some(spec) = driver.open().first() {
            driver.commit(spec.key(), measure(spec));
        }
    }
    assert_eq!(driver.status(), "finished");
}

#[test]
fn a_narrower_tolerance_and_a_full_evaluation_go_on_where_the_last_one_stopped() {
    let mut driver = Driver::new(plan_with(adaptive(20_000)));
    driver.prepare();
    let mut measured = driver.work(in_order);
    let images = |results: &Results| -> Vec<u64> {
        results.rows.iter().map(|row| row.result.measured().unwrap().n).collect()
    };
    let mut most = images(&driver.results());
    assert_eq!(measured, most.iter().sum::<u64>() + 2 * IMAGES);

    // The float network and the baseline are known already; the full evaluation wants them in its own parts.
    for (next, references) in [(adaptive(10_000), 2), (EvaluationMode::Full { part_images: Some(96) }, 4)] {
        driver.submit(plan_with(next));
        measured += driver.work(in_order);

        // A config that is harmful beyond the narrower tolerance may be so after fewer images; none is measured twice.
        let now = images(&driver.results());
        most = most.iter().zip(&now).map(|(before, now)| *before.max(now)).collect();
        assert_eq!(measured, most.iter().sum::<u64>() + references * IMAGES);
        assert!(driver.state.ledger.experiment(&driver.plan.id()).unwrap().reused > 20);
    }
    for row in &driver.results().rows {
        assert_eq!((row.result.as_str(), row.result.measured().unwrap().n), ("done", IMAGES));
    }
}

#[test]
fn a_full_evaluation_in_parts_gives_the_numbers_of_one_in_one_piece() {
    let run = |part_images| {
        let mut driver = Driver::new(plan_with(EvaluationMode::Full { part_images }));
        driver.prepare();
        driver.work(in_order);
        (driver.results().rows, driver.proposed.len() as u64, plan_size(&driver.plan))
    };
    let (whole, whole_trials, _) = run(None);
    let (parts, trials, size) = run(Some(640));

    assert_eq!(parts, whole);
    // 3000 images are 5 parts of up to 640; the preparation was proposed before.
    assert_eq!(trials - 1, (whole_trials - 1) * 5);
    assert_eq!(trials, size);
}

#[test]
fn a_part_that_fails_ends_its_config_and_no_other() {
    let mut driver = Driver::new(plan_with(adaptive(10_000)));
    driver.prepare();
    driver.ask();
    let broken = driver.open()[2].clone();
    driver.commit(broken.key(), TrialResult::Failed { reason: "logit 1 of image 7 is NaN".to_owned() });
    let wrong = driver.open()[2].clone();
    // Today's rules refuse it, but a store may have it.
    let result = TrialResult::Evaluated(Evaluation { n: 95, ..Evaluation::default() });
    let outcome = outcome(result);
    driver.state.apply(&Fact::OutcomeCommitted { key: wrong.key(), outcome }.into());
    driver.work(in_order);

    let rows = driver.results().rows;
    let failed = |row: &&Row| matches!(row.result, RowState::Failed { .. });
    assert_eq!(rows.iter().filter(failed).count(), 2);
    assert_eq!(rows[0].result, RowState::Failed { reason: "logit 1 of image 7 is NaN".to_owned() });
    let reason = "the sums of images 0 to 96 speak of 95 images, 0 lost and 0 gained".to_owned();
    assert_eq!(rows[1].result, RowState::Failed { reason });
}

#[test]
fn a_quarantined_part_holds_nothing_up_and_is_taken_if_it_comes_after_all() {
    let mut driver = Driver::new(plan_with(adaptive(10_000)));
    driver.prepare();
    driver.ask();
    let lost = driver.open()[2..4].to_vec();
    for spec in &lost {
        let quarantined = Fact::TrialQuarantined { key: spec.key(), losses: 3 };
        driver.state.apply(&Event::Fact(quarantined));
    }
    // Found in the pocket of a worker that was thought to be lost.
    driver.commit(lost[0].key(), measure(&lost[0]));
    let is_lost = |spec: &TrialSpec| spec.key() == lost[1].key();
    while driver.ask() != Some(Proposal::Finished) {
        let open: Vec<TrialSpec> = driver.open().into_iter().filter(|spec| !is_lost(spec)).collect();
        for spec in open {
            driver.commit(spec.key(), measure(&spec));
        }
    }

    let rows = driver.results().rows;
    assert!(matches!(rows[0].result.as_str(), "decided" | "harmful"));
    assert!(matches!(rows[1].result, RowState::Failed { .. }));
    assert!(rows[2..].iter().all(|row| matches!(row.result.as_str(), "decided" | "harmful")));
}
