//! Experiments of several stages, against losses that are known.

use std::collections::BTreeSet;

use bitloop_core::bits::BitConfig;
use bitloop_core::evaluation::EvaluationMode;
use bitloop_core::plan::{Amount, Limit, Pairs, SearchMethod, SearchPlan, SubsetDesign, Subsets};
use bitloop_core::report::{RowState, TopRow, uniform_configs};
use bitloop_core::state::Status;

use super::*;

/// Images, many enough that counts of them say what a loss is to four digits.
pub(super) const IMAGES: u64 = 400_000;

pub(super) fn staged(layers: usize, stages: Vec<StagePlan>) -> Plan {
    let mut plan = plan(layers);
    for part in [&mut plan.data.calibration, &mut plan.data.selection, &mut plan.data.report] {
        part.images = IMAGES;
    }
    plan.data.report.digest = Digest::of(b"report");
    plan.stages = [StagePlan::Prepare].into_iter().chain(stages).collect();
    plan
}

pub(super) fn sweep(plan: &Plan, pairs: Option<Pairs>, subsets: Option<Subsets>) -> StagePlan {
    let points = (0..plan.points.len() as u32).map(PointIndex).collect();
    StagePlan::Sensitivity { single: points, pairs, subsets }
}

pub(super) fn search(method: SearchMethod, limit: Option<(&str, Amount)>) -> StagePlan {
    let cost = limit.filter(|_| !method.is_limited_by_cost()).map(|(cost, _)| cost.to_owned());
    let limit =
        limit.filter(|_| method.is_limited_by_cost()).map(|(cost, at_most)| Limit::computed(cost, at_most));
    StagePlan::Search(SearchPlan {
        cost,
        method,
        trials: method.is_limited_by_cost().then_some(24),
        round: 4,
        ..SearchPlan::exact(limit.into_iter().collect())
    })
}

/// Images lost by a config: every point has its own price per bit, and two neighbours together cost a tenth more.
pub(super) fn lost(config: &BitConfig) -> u64 {
    let lowered = |(point, choice): (PointIndex, Choice)| match choice {
        Choice::Bits(bits) => {
            Some((point.0, u64::from(8 - bits.get()) * u64::from(7 * point.0 % 11 + 1) * 80))
        }
        Choice::Float => None,
    };
    let alone: Vec<(u32, u64)> = config.changes().filter_map(lowered).collect();
    let together = alone.windows(2).filter(|pair| pair[0].0 + 1 == pair[1].0);
    alone.iter().map(|(_, lost)| lost).sum::<u64>() + together.map(|pair| pair[0].1 / 10).sum::<u64>()
}

impl Driver {
    /// Measures everything that is owed.
    pub(super) fn measure(&mut self) {
        let owed: Vec<TrialSpec> = self
            .proposed
            .iter()
            .filter(|trial| self.state.ledger.outcome(&trial.key()).is_none())
            .cloned()
            .collect();
        for trial in owed {
            let TrialSpec::Evaluate { config, part, .. } = &trial else { panic!("the preparation is done") };
            let share = part.len as f64 / IMAGES as f64;
            let lost = (lost(config) as f64 * share).round() as u64;
            let sums = Evaluation { n: part.len, correct: part.len - lost, lost, ..Evaluation::default() };
            self.commit(trial.key(), TrialResult::Evaluated(sums));
        }
    }

    /// Goes on until the experiment is over.
    pub(super) fn run(plan: Plan) -> Self {
        let mut driver = Self::new(plan);
        driver.prepare();
        while driver.status() == "active" {
            driver.ask();
            driver.measure();
        }
        assert_eq!(driver.status(), "finished");
        driver
    }

    pub(super) fn configs(&self) -> Vec<&BitConfig> {
        let proposed = self.proposed.iter().filter_map(|trial| match trial {
            TrialSpec::Evaluate { config, .. } => Some(config),
            TrialSpec::Prepare(_) | TrialSpec::Train(_) | TrialSpec::Probe(_) => None,
        });
        proposed.collect()
    }
}

pub(super) fn random(configs: u64) -> Subsets {
    Subsets { configs, points: [3, 5], quantile_ppm: None, design: SubsetDesign::Random, seed: 1 }
}

#[test]
fn pairs_and_subsets_are_of_points_whose_damage_alone_is_small() {
    let plan = staged(4, Vec::new());
    let below = Pairs::Below { quantile_ppm: Some(500_000) };
    let subsets = Subsets { quantile_ppm: Some(500_000), ..random(40) };
    let plan = Plan { stages: vec![StagePlan::Prepare, sweep(&plan, Some(below), Some(subsets))], ..plan };

    let driver = Driver::run(plan.clone());

    let configs = driver.configs();
    let mut damages: Vec<u64> =
        configs.iter().filter(|config| config.changes().len() == 1).map(|config| lost(config)).collect();
    damages.sort_unstable();
    let median = damages[(damages.len() - 1) / 2];
    let alone = |change| lost(&BitConfig::against(Choice::Bits(Bits::new(8).unwrap()), [change]));
    // The float network changes every point.
    let together = |config: &&&BitConfig| (2..=5).contains(&config.changes().len());
    let (pairs, larger): (Vec<&&BitConfig>, Vec<_>) =
        configs.iter().filter(together).partition(|config| config.changes().len() == 2);
    assert!(pairs.iter().chain(&larger).all(|config| config.changes().all(|change| alone(change) <= median)));
    assert_eq!(larger.len(), 40);
    // A forecast counts ties as different damages.
    let forecast = plan_size(&plan) as f64;
    assert!((driver.proposed.len() as f64 / forecast - 1.0).abs() < 0.3, "{forecast}");
    assert!(!pairs.is_empty());
    let distinct: BTreeSet<&&BitConfig> = pairs.iter().chain(&larger).copied().collect();
    assert_eq!(distinct.len(), pairs.len() + larger.len());
}

#[test]
fn batches_of_uncertain_subsets_come_to_an_end_where_few_subsets_exist() {
    // The float network changes every point, and so may not be mistaken for a subset here.
    for (points, configs) in [([3, 4], 100), ([3, 5], 40), ([2, 2], 1000)] {
        let plan = staged(3, Vec::new());
        let subsets = Subsets { points, design: SubsetDesign::Uncertain, ..random(configs) };
        let all = Subsets { points, ..random(configs) };
        let uncertain = Driver::run(Plan {
            stages: vec![StagePlan::Prepare, sweep(&plan, None, Some(subsets))],
            ..plan.clone()
        });
        let random =
            Driver::run(Plan { stages: vec![StagePlan::Prepare, sweep(&plan, None, Some(all))], ..plan });

        let larger = |driver: &Driver| {
            let configs = driver.configs();
            let sets = configs.into_iter().filter(|config| (2..=5).contains(&config.changes().len()));
            let sets: Vec<BitConfig> = sets.cloned().collect();
            assert_eq!(sets.iter().collect::<BTreeSet<_>>().len(), sets.len(), "{points:?}: none twice");
            sets.len()
        };
        assert_eq!(larger(&uncertain), larger(&random), "{points:?}");
        assert!(larger(&uncertain) > 0);
    }
}

#[test]
fn subsets_that_damage_leaves_no_points_for_fail_the_experiment_with_the_reason() {
    let plan = staged(3, Vec::new());
    for design in [SubsetDesign::Random, SubsetDesign::Uncertain] {
        let subsets = Subsets { points: [5, 6], quantile_ppm: Some(300_000), design, ..random(10) };
        let stages = vec![StagePlan::Prepare, sweep(&plan, None, Some(subsets))];
        let mut driver = Driver::new(Plan { stages, ..plan.clone() });
        driver.prepare();
        while driver.status() == "active" {
            driver.ask();
            driver.measure();
        }

        let experiment = driver.state.ledger.experiment(&driver.plan.id()).unwrap();
        let Status::Failed { reason } = &experiment.status else { panic!("{:?}", experiment.status) };
        assert!(reason.contains("there is no subset of 5 to 6 points: damage alone leaves"), "{reason}");
    }
}

#[test]
fn the_most_promising_pairs_come_first_and_no_more_than_asked() {
    let plan = staged(4, Vec::new());
    let pairs = Pairs::MostPromising { configs: 10 };
    let plan = Plan { stages: vec![StagePlan::Prepare, sweep(&plan, Some(pairs), None)], ..plan };

    let driver = Driver::run(plan);

    let alone = |config: &BitConfig| -> u64 {
        let baseline = Choice::Bits(Bits::new(8).unwrap());
        config.changes().map(|change| lost(&BitConfig::against(baseline, [change]))).sum()
    };
    let pairs: Vec<u64> =
        driver.configs().into_iter().filter(|config| config.changes().len() == 2).map(alone).collect();
    assert_eq!(pairs.len(), 10);
    assert!(pairs.is_sorted(), "{pairs:?}");
}

/// The least loss of any config of a small plan within a size.
fn best_within(plan: &Plan, size_bits: u64) -> u64 {
    let widths = |index: usize| {
        let mut widths = plan.candidates.bits(plan.points[index].kind).to_vec();
        widths.push(plan.candidates.baseline);
        widths
    };
    let mut all = vec![Vec::new()];
    for index in 0..plan.points.len() {
        let lists = all.into_iter().flat_map(|list: Vec<Bits>| {
            widths(index).into_iter().map(move |width| list.iter().copied().chain([width]).collect())
        });
        all = lists.collect();
    }
    let size = |list: &[Bits]| -> u64 {
        let weights = plan.points.iter().zip(list).filter(|(point, _)| point.name.ends_with(".weight"));
        weights.map(|(point, bits)| point.elements as u64 * u64::from(bits.get())).sum()
    };
    let config = |list: &Vec<Bits>| {
        let changes = (0..).map(PointIndex).zip(list.iter().map(|bits| Choice::Bits(*bits)));
        BitConfig::against(Choice::Bits(plan.candidates.baseline), changes)
    };
    all.iter().filter(|list| size(list) <= size_bits).map(|list| lost(&config(list))).min().unwrap()
}

#[test]
fn every_method_finds_the_best_config_within_a_limit() {
    for method in [SearchMethod::Exact, SearchMethod::Greedy, SearchMethod::Nsga2] {
        let plan = staged(3, Vec::new());
        let found = search(method, Some(("size_bits", Amount::OfBaselinePpm(500_000))));
        let stages = vec![StagePlan::Prepare, sweep(&plan, None, Some(random(30))), found];
        let plan = Plan { stages, ..plan };

        let driver = Driver::run(plan.clone());

        let results = driver.results();
        let [search] = results.searches.as_slice() else { panic!("one search") };
        assert!(search.is_over && search.trials <= 24, "{}", search.trials);
        let best = search.top.first().unwrap();
        let RowState::Done(measured) = &best.row.result else { panic!("{:?}", best.row) };
        let size = 3 * 16 * 8 / 2;
        assert_eq!(measured.lost, best_within(&plan, size), "{}", method.as_str());
        assert!(best.costs["size_bits"] <= size as f64 && best.row.size_bits <= size);
    }
}

#[test]
fn a_search_says_what_it_proved_and_what_limits_are_worth() {
    let plan = staged(3, Vec::new());
    let found = search(SearchMethod::Exact, Some(("size_bits", Amount::Of(200.0))));
    let plan = Plan { stages: vec![StagePlan::Prepare, sweep(&plan, None, Some(random(30))), found], ..plan };

    let results = Driver::run(plan).results();

    let search = &results.searches[0];
    let proof = search.proof.unwrap();
    assert!((proof.objective - proof.bound).abs() <= 1e-6, "{proof:?}");
    let [price] = search.prices.as_slice() else { panic!("{:?}", search.prices) };
    assert_eq!((price.cost.as_str(), price.step), ("size_bits", 16.0));
    assert!(price.looser <= 0.0 && price.tighter.unwrap() >= 0.0);
}

#[test]
fn a_search_that_starts_anew_after_every_trial_goes_the_same_way() {
    let plan = staged(3, Vec::new());
    let found = search(SearchMethod::Exact, Some(("bops_m", Amount::OfBaselinePpm(400_000))));
    let stages = vec![
        StagePlan::Prepare,
        sweep(&plan, Some(Pairs::Below { quantile_ppm: None }), Some(random(20))),
        found,
        StagePlan::verify(2, true),
    ];
    let plan = Plan { stages, ..plan };
    // `ask` makes a new searcher each time; here one searcher lives as long as its stage.
    let mut kept = Driver::new(plan.clone());
    kept.prepare();
    let mut searchers: BTreeMap<u32, Box<dyn crate::Searcher>> = BTreeMap::new();
    while kept.status() == "active" {
        let experiment = kept.state.ledger.experiment(&plan.id()).unwrap();
        let history = kept.state.history(experiment).unwrap();
        let stage = history.stage();
        let made = searchers.entry(stage).or_insert_with(|| searcher(&plan, &plan.stages[stage as usize]));
        let proposal = made.propose(&history).conclude();
        kept.feed(Input::Advance { experiment: plan.id(), stage, proposal });
        kept.measure();
    }

    let anew = Driver::run(plan);

    assert_eq!(anew.proposed, kept.proposed);
    assert_eq!(anew.results(), kept.results());
}

#[test]
fn verification_measures_each_config_once_on_the_report_images() {
    let plan = staged(3, Vec::new());
    let found = || search(SearchMethod::Exact, Some(("size_bits", Amount::OfBaselinePpm(500_000))));
    let verify = StagePlan::verify(2, true);
    // The second search comes to the same end as the first.
    let stages = vec![StagePlan::Prepare, sweep(&plan, None, Some(random(20))), found(), found(), verify];
    let plan = Plan { stages, ..plan };

    let driver = Driver::run(plan.clone());

    let context = plan.report_context(Digest::of(b"prepared")).digest();
    let on_report = driver.proposed.iter().filter_map(|trial| match trial {
        TrialSpec::Evaluate { context: of, config, .. } if *of == context => Some(config),
        TrialSpec::Evaluate { .. } | TrialSpec::Prepare(_) | TrialSpec::Train(_) | TrialSpec::Probe(_) => {
            None
        }
    });
    let on_report: Vec<&BitConfig> = on_report.collect();
    let uniform = uniform_configs(&plan);
    assert_eq!(uniform.len(), 1, "4 bits are the only width that weights and activations share");
    assert_eq!(on_report[..3], [&plan.float_config(), &BitConfig::baseline(), &uniform[0]]);
    assert_eq!(on_report.len(), 3 + 2);
    let results = driver.results();
    let verified = results.verified.as_ref().unwrap();
    assert!(matches!(verified.baseline, RowState::Done(_)));
    let top = &results.searches[1].top;
    assert!(matches!(top[1].verified, RowState::Done(_)) && matches!(top[2].verified, RowState::Open));
}

#[test]
fn a_demotion_lowers_as_much_as_the_drop_allows() {
    // 4 layers: the points' prices at their lowest widths are far apart.
    let plan = staged(4, Vec::new());
    let stages = vec![StagePlan::Prepare, search(SearchMethod::Demotion { drop_max_ppm: 20_000 }, None)];
    let plan = Plan { stages, ..plan };

    let driver = Driver::run(plan.clone());

    let results = driver.results();
    let best = &results.searches[0].top[0];
    let RowState::Done(measured) = &best.row.result else { panic!("{best:?}") };
    assert!(measured.lost <= IMAGES / 50);
    let points = plan.points.len();
    let lowest = |index: u32| Choice::Bits(plan.candidates.bits(plan.points[index as usize].kind)[0]);
    let lowered = |set: u32| {
        let points = (0..points as u32).filter(move |point| set >> point & 1 == 1);
        let changes = points.map(|point| (PointIndex(point), lowest(point)));
        BitConfig::against(Choice::Bits(plan.candidates.baseline), changes)
    };
    let most =
        (0..1_u32 << points).filter(|set| lost(&lowered(*set)) <= IMAGES / 50).map(u32::count_ones).max();
    assert_eq!(best.row.changes.len() as u32, most.unwrap());
}

#[test]
fn a_curve_of_groups_comes_to_a_config_within_the_drop() {
    let plan = staged(3, Vec::new());
    let amp = search(SearchMethod::Amp { drop_max_ppm: Some(30_000) }, None);
    let plan = Plan { stages: vec![StagePlan::Prepare, amp], ..plan };

    let results = Driver::run(plan).results();

    let top = &results.searches[0].top;
    let losses: Vec<u64> = top
        .iter()
        .map(|top| match &top.row.result {
            RowState::Done(measured) => measured.lost,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(losses[0] <= 3 * IMAGES / 100 && !top[0].row.changes.is_empty(), "{losses:?}");
    // The rest is the curve: what costs less loses more.
    assert!(losses[1..].is_sorted_by(|a, b| a > b), "{losses:?}");
}

#[test]
fn a_forecast_of_sets_is_no_less_than_their_trials_where_only_these_bound_them() {
    let plan = staged(3, Vec::new());
    let size = |method, trials| {
        let StagePlan::Search(sets) = search(method, None) else { unreachable!() };
        let stage = StagePlan::Search(SearchPlan { trials, ..sets });
        searcher(&plan, &stage).size()
    };
    let demotion = SearchMethod::Demotion { drop_max_ppm: 1 };
    let amp = SearchMethod::Amp { drop_max_ppm: None };

    assert_eq!(size(demotion, Some(60)), 60);
    assert_eq!(size(demotion, None), plan.points.len() as u64 + 2);
    assert_eq!(size(amp, Some(5)), 5);
    assert_eq!(size(amp, Some(10_000)), size(amp, None));
}

#[test]
fn a_curve_ends_with_its_trials_and_keeps_the_best_so_far() {
    let plan = staged(3, Vec::new());
    let of = |trials: Option<u64>| {
        let StagePlan::Search(amp) = search(SearchMethod::Amp { drop_max_ppm: Some(30_000) }, None) else {
            unreachable!()
        };
        let stages = vec![StagePlan::Prepare, StagePlan::Search(SearchPlan { trials, ..amp })];
        Driver::run(Plan { stages, ..plan.clone() }).results().searches.remove(0)
    };
    let whole = of(None);
    let lost = |top: &TopRow| match &top.row.result {
        RowState::Done(measured) => measured.lost,
        other => panic!("{other:?}"),
    };

    // Beside its own configs the first search measures the float network and the baseline.
    let cut = of(Some(whole.trials - 4));
    let hardly = of(Some(3));

    assert_eq!((cut.trials, hardly.trials), (whole.trials - 2, 5));
    assert!(cut.is_over && lost(&cut.top[0]) <= 3 * IMAGES / 100, "{cut:?}");
    assert!(cut.notes.iter().any(|note| note == "the trials are used up"), "{:?}", cut.notes);
    assert!(whole.notes.iter().all(|note| note != "the trials are used up"));
    assert!(hardly.is_over && hardly.top.is_empty());
}

#[test]
fn parts_of_the_images_change_nothing_but_the_trials() {
    let plan = staged(3, Vec::new());
    let found = search(SearchMethod::Exact, Some(("size_bits", Amount::OfBaselinePpm(500_000))));
    let verify = StagePlan::verify(2, false);
    let stages = vec![StagePlan::Prepare, sweep(&plan, None, Some(random(20))), found, verify];
    let whole = Plan { stages, ..plan };
    let in_parts =
        Plan { evaluation: EvaluationMode::Full { part_images: Some(IMAGES / 4) }, ..whole.clone() };

    let (a, b) = (Driver::run(whole), Driver::run(in_parts));

    let top = |driver: &Driver| -> Vec<_> {
        driver.results().searches[0].top.iter().map(|top| top.row.clone()).collect()
    };
    assert_eq!(top(&a), top(&b));
    assert_eq!(b.configs().len(), 4 * a.configs().len());
}

#[test]
fn verification_is_proposed_in_steps_however_many_parts_the_images_have() {
    let mut plan = staged(2, vec![StagePlan::verify(1, true)]);
    plan.evaluation = EvaluationMode::Full { part_images: Some(1) };
    plan.data.report.images = 1_200;
    let mut driver = Driver::new(plan.clone());
    driver.prepare();

    let mut steps = Vec::new();
    while driver.status() == "active" {
        match driver.ask() {
            Some(Proposal::Trials(batch)) => steps.push(batch.trials.len()),
            _ => driver.measure(),
        }
    }

    assert_eq!(driver.status(), "finished");
    assert!(steps.iter().all(|step| *step <= 1_024), "{steps:?}");
    let configs = 2 + uniform_configs(&plan).len();
    let measured = driver.proposed.iter().filter(|trial| matches!(trial, TrialSpec::Evaluate { .. })).count();
    assert_eq!(measured, configs * 1_200);
    let keys: BTreeSet<TrialKey> = driver.proposed.iter().map(TrialSpec::key).collect();
    assert_eq!(keys.len(), driver.proposed.len());
}
