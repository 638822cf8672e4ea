//! The stage that trains, with trainings whose accuracy follows from what they quantize.

use std::collections::BTreeSet;

use bitloop_core::autoqkeras::{
    BitsGoal, BlockOrder, BlockSettings, Compat, EnergyGoal, Goal, Limit, Part, Purpose, QuantizationConfig,
    Settings, TuneFilters, TunerSettings,
};
use bitloop_core::plan::AutoQKerasPlan;
use bitloop_core::report::{Report as Results, TrainedSearch};
use bitloop_core::spec::{Augmentation, Optimizer};
use bitloop_core::trial::{RateSchedule, Recipe, Start, Trained, Training};

use super::*;
use crate::autoqkeras::BlockSearch;

fn recipe(epochs: u32) -> Recipe {
    Recipe {
        epochs,
        first_epoch: 0,
        patience: Some(0),
        batch: 4,
        optimizer: Optimizer::AdamW { learning_rate: 0.001, weight_decay: 0.0 },
        schedule: RateSchedule::Constant,
        finds_rate: false,
        slower: BTreeMap::new(),
        clip_norm: None,
        label_smoothing: 0.0,
        augmentation: Augmentation { shift: 0, flip: false },
        seed: 1,
    }
}

/// Two blocks of two layers each, kernels of one to eight bits.
pub(super) fn settings() -> AutoQKerasPlan {
    let read = |text: &str| serde_json::from_str::<QuantizationConfig>(text).unwrap();
    let kernels = r#"{"kernel": {"binary": 1, "quantized_bits(2,0,1)": 2, "quantized_bits(4,0,1)": 4, "quantized_bits(8,0,1)": 8}}"#;
    AutoQKerasPlan {
        goal: Goal::default(),
        settings: Settings {
            limit: serde_json::from_str::<Limit>(r#"{"Dense": [8, 8, 8]}"#).unwrap(),
            quantization_config: read(kernels),
            ..Settings::default()
        },
        blocks: Some(BlockSettings {
            blocks: vec!["dense_[01]$".to_owned(), "dense_[23]$".to_owned()],
            schedule_block: BlockOrder::Sequential,
            max_trials: None,
        }),
        tuner: TunerSettings::Random { max_trials: 20 },
        drop_max_ppm: Some(20_000),
        start: Start::Model,
        finished_rate: 0.1,
        training: recipe(2),
        fine_tuning: Some(recipe(6)),
        seed: 3,
    }
}

fn plan_of(stage: AutoQKerasPlan) -> Plan {
    let mut plan = plan(4);
    plan.data.training = Some(plan.data.selection);
    plan.stages = vec![StagePlan::AutoQKeras(Box::new(stage))];
    plan
}

/// Loses a point for each bit below four, of every kernel.
fn accuracy(training: &Training) -> f64 {
    let kernels = training.quantizers.values().filter_map(|node| node.kernel.as_ref());
    0.9 - kernels.map(|kernel| f64::from(4_u32.saturating_sub(kernel.bits())) * 0.01).sum::<f64>()
}

fn trained(training: &Training) -> TrialResult {
    let key = TrialSpec::Train(Box::new(training.clone())).key();
    let epochs = training.recipe.epochs;
    let correct = (accuracy(training) * 1000.0).round() as u64;
    TrialResult::Trained(Trained {
        artifact: (epochs > 0).then_some(key.0),
        epochs,
        best_epoch: epochs,
        n: 1000,
        correct,
        loss_sum: 1.0,
        learning_rate: 0.001,
    })
}

/// Asks, and settles everything, until nothing is left to ask for; what is proposed last is settled first.
fn drive(plan: Plan, result: impl Fn(&Training) -> TrialResult) -> Driver {
    let mut driver = Driver::new(plan);
    let mut settled = BTreeSet::new();
    while let Some(proposal) = driver.ask() {
        let open: Vec<TrialSpec> =
            driver.proposed.iter().filter(|trial| !settled.contains(&trial.key())).cloned().collect();
        assert!(
            !open.is_empty() || !matches!(proposal, Proposal::Wait),
            "it waits though everything is settled"
        );
        let Some(TrialSpec::Train(training)) = open.last() else { continue };
        let key = open.last().unwrap().key();
        driver.commit(key, result(training));
        settled.insert(key);
    }
    driver
}

fn found(driver: &Driver) -> TrainedSearch {
    let experiment = driver.state.ledger.experiment(&driver.plan.id()).unwrap();
    Results::new(&driver.state.ledger, experiment).unwrap().trained.remove(0)
}

fn trainings(driver: &Driver) -> Vec<&Training> {
    let trainings = driver.proposed.iter().filter_map(|trial| match trial {
        TrialSpec::Train(training) => Some(training.as_ref()),
        TrialSpec::Prepare(_) | TrialSpec::Evaluate { .. } | TrialSpec::Probe(_) => None,
    });
    trainings.collect()
}

#[test]
fn blocks_are_searched_one_after_another_from_what_the_last_one_came_to() {
    let driver = drive(plan_of(settings()), trained);

    assert_eq!(driver.status(), "finished");
    let search = found(&driver);
    let trained = driver.proposed.iter().filter(|trial| matches!(trial, TrialSpec::Train(_)));
    assert_eq!(search.trials, trained.map(TrialSpec::key).collect::<Vec<_>>());
    assert_eq!(search.blocks.len(), 2);
    let [first, second] = [0, 1].map(|block| &search.blocks[block]);
    let best = &first.trials[first.best.unwrap()];
    let checkpoint = best.trained.as_ref().unwrap().artifact.unwrap();
    let of_second: Vec<&Training> =
        trainings(&driver).into_iter().filter(|training| training.model == checkpoint).collect();
    assert_eq!(of_second.len(), second.trials.len());
    for training in of_second {
        for node in ["dense_0", "dense_1"] {
            assert_eq!(
                training.quantizers[node], best.quantizers[node],
                "finished blocks keep their quantizers"
            );
            assert_eq!(training.recipe.slower[node], 0.1, "and learn more slowly");
        }
        assert!(!training.recipe.slower.contains_key("dense_2"));
        assert_eq!(training.quantizers.len(), 4);
    }
    let network = search.found.unwrap();
    assert_eq!(network.quantizers.len(), 4);
    assert_eq!(Some(network.model), search.fine_tuning.unwrap().trained.unwrap().artifact);
    assert!(network.report.is_some() && search.float_on_report.is_some());
    assert!(search.is_over);
}

#[test]
fn what_loses_more_than_allowed_is_not_chosen() {
    let driver = drive(plan_of(settings()), trained);
    let search = found(&driver);

    let least = search.least_accuracy.unwrap();
    assert!((least - 0.88).abs() < 1e-9);
    let rows = search.blocks.iter().flat_map(|block| &block.trials);
    let (kept, lost): (Vec<_>, Vec<_>) = rows.partition(|row| row.keeps() == Some(true));
    assert!(!kept.is_empty() && !lost.is_empty());
    for block in &search.blocks {
        assert_eq!(block.trials[block.best.unwrap()].keeps(), Some(true));
    }
}

#[test]
fn trials_that_fail_are_passed_over_until_all_have_failed() {
    let diverged = || TrialResult::Failed { reason: "the loss is NaN".to_owned() };
    let binary = |training: &Training| {
        let kernels = training.quantizers.values().filter_map(|node| node.kernel.as_ref());
        kernels.into_iter().any(|kernel| kernel.bits() == 1)
    };

    let some =
        drive(plan_of(settings()), |training| if binary(training) { diverged() } else { trained(training) });
    assert_eq!(some.status(), "finished");
    let rows = found(&some).blocks;
    assert!(rows.iter().flat_map(|block| &block.trials).any(|row| row.failed.is_some()));

    let all = drive(plan_of(settings()), |training| match training.recipe.epochs {
        0 => trained(training),
        _ => diverged(),
    });
    let experiment = all.state.ledger.experiment(&all.plan.id()).unwrap();
    let reason = format!("{:?}", experiment.status);
    assert!(reason.contains("all 10 trials of the block `dense_[01]$` failed"), "{reason}");
    assert!(reason.contains("the loss is NaN"), "{reason}");
}

#[test]
fn trials_that_are_promoted_go_on_from_what_they_learned() {
    let asha = TunerSettings::Asha { max_trials: 9, min_epochs: 1, max_epochs: 9, factor: 3, in_flight: 3 };
    let driver = drive(
        plan_of(AutoQKerasPlan { tuner: asha, blocks: None, fine_tuning: None, ..settings() }),
        trained,
    );

    let search = found(&driver);
    let rows = &search.blocks[0].trials;
    let promoted: Vec<_> = rows.iter().filter(|row| row.place.rung > 0).collect();
    assert!(!promoted.is_empty());
    for row in promoted {
        let before = row.place.before().unwrap();
        let before = rows.iter().find(|other| other.place == before).unwrap();
        let from = before.trained.as_ref().unwrap().artifact.unwrap();
        let own = trainings(&driver).into_iter().find(|training| {
            training.model == from && training.quantizers == row.quantizers && training.recipe.epochs > 0
        });
        let epochs = [1, 3, 9][row.place.rung as usize] - [1, 3, 9][row.place.rung as usize - 1];
        let recipe = &own.unwrap().recipe;
        assert_eq!(recipe.epochs, epochs);
        assert_eq!(recipe.first_epoch, [1, 3, 9][row.place.rung as usize - 1]);
    }
}

#[test]
fn where_qkeras_is_followed_no_weights_go_on_between_blocks() {
    let mut stage = settings();
    stage.settings.compat = Compat::Qkeras;
    let driver = drive(plan_of(stage), trained);

    let searched = trainings(&driver).into_iter().filter(|training| training.recipe.epochs == 2);
    let searched: Vec<&Training> = searched.collect();
    assert!(searched.len() >= 20, "at least ten trials a block");
    for training in searched {
        assert_eq!(training.model, driver.plan.model);
        assert!(training.recipe.slower.is_empty());
        assert_eq!(training.compat, Compat::Qkeras, "and quantizers compute as QKeras's");
    }
}

#[test]
fn a_fine_tuning_that_makes_it_worse_counts_only_where_no_trained_weights_are_kept() {
    let worse = |training: &Training| match (training.recipe.epochs, trained(training)) {
        (6, TrialResult::Trained(trained)) => TrialResult::Trained(Trained { correct: 100, ..trained }),
        (_, result) => result,
    };
    let fine_tuned = |compat| {
        let mut stage = settings();
        stage.settings.compat = compat;
        let search = found(&drive(plan_of(stage), worse));
        Some(search.found.unwrap().model) == search.fine_tuning.unwrap().trained.unwrap().artifact
    };

    assert!(!fine_tuned(Compat::Bitloop));
    assert!(fine_tuned(Compat::Qkeras), "the weights before it were never trained");
}

#[test]
fn the_forecast_is_what_is_proposed() {
    let plan = plan_of(settings());
    let forecast = crate::plan_size(&plan);

    let driver = drive(plan, trained);

    assert_eq!(driver.proposed.len() as u64, forecast);
    let float = driver.proposed.first().unwrap();
    let experiment = driver.state.ledger.experiment(&driver.plan.id()).unwrap();
    assert_eq!(experiment.stages[0].asked[0].purpose, Purpose::Float);
    assert_eq!(experiment.stages[0].trials[0], float.key());
}

#[test]
fn mistakes_for_the_network_are_found_before_anything_is_trained() {
    let problem = |change: &dyn Fn(&mut AutoQKerasPlan)| {
        let mut stage = settings();
        change(&mut stage);
        let mistakes = crate::check(&plan_of(stage));
        assert_eq!(mistakes.len(), 1);
        assert_eq!(mistakes[0].path, "stages[0].autoqkeras");
        mistakes[0].problem.clone()
    };
    let blocks = |patterns: &[&str]| BlockSettings {
        blocks: patterns.iter().map(|pattern| (*pattern).to_owned()).collect(),
        ..BlockSettings::default()
    };

    let overlap = problem(&|stage| stage.blocks = Some(blocks(&["dense_0", "dense"])));
    assert!(overlap.contains("`dense_0` is in the blocks `dense_0` and `dense`"), "{overlap}");
    let empty = problem(&|stage| stage.blocks = Some(blocks(&["dense", "conv"])));
    assert!(empty.contains("`conv`"), "{empty}");
    let nothing = problem(&|stage| {
        stage.settings.limit = serde_json::from_str(r#"{"^conv": [4], "Dense": [4]}"#).unwrap();
    });
    assert!(nothing.contains("`^conv` matches no layer"), "{nothing}");
    let filters = problem(&|stage| {
        let row = r#"[{"layer": "dense_0", "energy": 1.0}]"#;
        stage.goal = Goal::Energy(EnergyGoal {
            measured: serde_json::from_str(row).unwrap(),
            ..EnergyGoal::default()
        });
        stage.settings.tune_filters = TuneFilters::Layer;
    });
    assert!(filters.contains("`measured` holds for the network's own filter counts"), "{filters}");
    let nowhere = problem(&|stage| stage.blocks = Some(blocks(&["dense", "dnese"])));
    assert!(nowhere.contains("the block `dnese` has no layer"), "{nowhere}");
    let excepted = problem(&|stage| {
        stage.settings.tune_filters = TuneFilters::Layer;
        stage.settings.tune_filters_exceptions = Some("^conv".to_owned());
    });
    assert!(excepted.contains("tune_filters_exceptions `^conv` matches no layer"), "{excepted}");
    // The classes of layers with quantizers are others, so that nothing would be counted of a trial.
    let sizeless = problem(&|stage| {
        let config = BTreeMap::from([("Dense".to_owned(), vec![Part::Parameters])]);
        stage.goal = Goal::Bits(BitsGoal { config, ..BitsGoal::default() });
    });
    assert!(sizeless.contains("the goal counts nothing of the network"), "{sizeless}");
    let unpriced = problem(&|stage| {
        stage.goal = Goal::Energy(EnergyGoal::default());
        stage.settings.compat = Compat::Qkeras;
        let config = r#"{"kernel": {"binary": 1, "quantized_linear(4)": 4}}"#;
        stage.settings.quantization_config = serde_json::from_str(config).unwrap();
    });
    assert!(unpriced.contains("`quantized_linear(4)` has no size"), "{unpriced}");
}

#[test]
fn batches_that_the_images_do_not_fill_are_mistakes() {
    let mut stage = settings();
    stage.training.batch = 1 << 20;

    let mistakes = crate::check(&plan_of(stage));

    assert_eq!(mistakes.len(), 1);
    assert_eq!(mistakes[0].path, "stages[0].autoqkeras.training.batch");
}

#[test]
fn where_blocks_overlap_as_in_qkeras_the_first_search_decides() {
    let mut stage = settings();
    stage.settings.compat = Compat::Qkeras;
    stage.blocks.as_mut().unwrap().blocks = vec!["dense_[0123]$".to_owned(), "dense_1$".to_owned()];

    let driver = drive(plan_of(stage), trained);

    assert_eq!(driver.status(), "finished");
    assert_eq!(found(&driver).blocks.len(), 1);
}

#[test]
fn a_look_at_the_report_images_that_fails_is_said() {
    let driver = drive(plan_of(settings()), |training| match training.recipe.epochs {
        0 if training.quantizers.len() == 4 => TrialResult::Failed { reason: "no memory".to_owned() },
        _ => trained(training),
    });

    let experiment = driver.state.ledger.experiment(&driver.plan.id()).unwrap();
    let status = format!("{:?}", experiment.status);
    assert!(status.contains("cannot be measured on the report images: no memory"), "{status}");
}

#[test]
fn the_learning_rate_that_was_chosen_is_that_of_the_fine_tuning() {
    let mut stage = settings();
    stage.settings.learning_rate_optimizer = true;

    let driver = drive(plan_of(stage), trained);

    let search = found(&driver);
    let last = &search.blocks[1];
    let best = &last.trials[last.best.unwrap()];
    let rates = |quantizers| {
        let own = trainings(&driver).into_iter().filter(move |training| training.quantizers == quantizers);
        own.map(|training| (training.recipe.epochs, training.recipe.optimizer.learning_rate()))
    };
    let chosen: Vec<f64> =
        rates(best.quantizers.clone()).filter(|(epochs, _)| *epochs == 2).map(|(_, rate)| rate).collect();
    let fine: Vec<f64> =
        rates(best.quantizers.clone()).filter(|(epochs, _)| *epochs == 6).map(|(_, rate)| rate).collect();
    assert_eq!(fine.len(), 1);
    assert!(fine[0] != 0.001 && chosen.contains(&fine[0]), "{fine:?} of {chosen:?}");
}

#[test]
fn results_have_a_row_per_trial_and_say_what_was_chosen() {
    let driver = drive(plan_of(settings()), trained);
    let experiment = driver.state.ledger.experiment(&driver.plan.id()).unwrap();
    let results = Results::new(&driver.state.ledger, experiment).unwrap();

    let csv = results.to_csv();
    let rows: Vec<&str> = csv.lines().collect();
    // The header, and a row for each trial.
    assert_eq!(rows.len(), 1 + driver.proposed.len());
    assert!(rows.iter().all(|row| row.starts_with("format,") || row.starts_with("1,")));
    let last = rows.last().unwrap();
    assert!(last.contains("found_on_report") && last.contains("dense_3 kernel=quantized_bits("), "{last}");
    assert_eq!(rows.iter().filter(|row| row.contains(",best,")).count(), 2);
    let json = serde_json::to_string(&results).unwrap();
    assert_eq!(serde_json::from_str::<Results>(&json).unwrap(), results);
}

#[test]
fn a_forecast_tells_every_block_and_all_that_is_trained() {
    let plan = plan_of(settings());
    let search = BlockSearch::new(&settings(), &plan.graph).unwrap();

    let forecast = search.forecast(1000).unwrap();

    let blocks: Vec<_> = forecast.blocks.iter().map(|block| (block.pattern.as_str(), block.trials)).collect();
    assert_eq!(blocks, [("dense_[01]$", 10), ("dense_[23]$", 10)]);
    let first = &forecast.blocks[0];
    assert_eq!(
        (first.layers.clone(), first.assignments),
        (vec!["dense_0".to_owned(), "dense_1".to_owned()], 16.0)
    );
    let names: Vec<&str> = first.hyperparameters.iter().map(|chosen| chosen.name.as_str()).collect();
    assert_eq!(names, ["dense_0_kernel_quantizer", "dense_1_kernel_quantizer"]);
    // Two epochs a trial, six of fine-tuning.
    assert_eq!((forecast.trials, forecast.epochs, forecast.images), (20, 46, 46_000));
    assert!(forecast.blocks.iter().map(|block| block.share).sum::<f64>() < 1.0);
    assert_eq!(forecast.reference, search.reference.total);
}

#[test]
fn what_is_odd_about_a_search_is_said_with_its_place() {
    let mut stage = settings();
    stage.blocks.as_mut().unwrap().blocks.remove(1);
    let config = r#"{"kernel": {"binary": 1}, "linear": {"binary": 1}}"#;
    stage.settings.quantization_config = serde_json::from_str(config).unwrap();

    let warnings = crate::warnings(&plan_of(stage));

    let left_out = |layer| {
        format!(
            "stages[0].autoqkeras: the layer `{layer}` is in no block and keeps its floats, though the limit speaks of it"
        )
    };
    let unused = "stages[0].autoqkeras: quantization_config.linear is not used by any layer".to_owned();
    assert_eq!(warnings, [left_out("dense_2"), left_out("dense_3"), unused]);
}
