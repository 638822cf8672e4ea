use bitloop_core::rng::rng;
use serde_json::{Value as Json, json};

use super::share::by_cost;
use super::*;
use crate::autoqkeras::SearchSpace;
use crate::autoqkeras::tests::{chain, names, settings};

fn blocks(patterns: &[&str], max_trials: Option<u32>) -> BlockSettings {
    let blocks = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    BlockSettings { blocks, schedule_block: BlockOrder::Cost, max_trials }
}

fn costs() -> LayerCosts {
    let of_layer = [("conv2d_1", 10.0), ("conv2d_10", 70.0), ("relu_10", 5.0), ("Dense_1", 15.0)];
    let of_layer = of_layer.map(|(layer, cost)| (layer.to_owned(), cost));
    // The goal's stress is a half.
    LayerCosts { of_layer: of_layer.into(), reference: 50.0 }
}

fn made(limit: Json, compat: Compat, patterns: &[&str]) -> Result<Schedule, String> {
    let settings = Settings { compat, ..settings(limit) };
    schedule(&chain(), &settings, &blocks(patterns, Some(20)), &costs()).map_err(|error| error.to_string())
}

fn all() -> Json {
    json!({"Conv2D": [4, 8, 4], "Dense": [4, 8, 4], "Activation": [4]})
}

#[test]
fn trials_are_shared_out_by_cost_and_stress_does_not_matter() {
    // Nothing but the beginning of a name is looked at.
    let late = made(all(), Compat::Bitloop, &["^conv2d_1$", "_10$", "^Dense"]);
    assert!(late.unwrap_err().starts_with("the block `_10$`"));

    let patterns = ["^conv2d_1$", ".*_10$", "^Dense"];
    let trials_of = |compat| -> Vec<(String, Option<u32>)> {
        let schedule = made(all(), compat, &patterns).unwrap();
        schedule.blocks.into_iter().map(|block| (block.pattern, block.max_trials)).collect()
    };
    let named = |trials: [u32; 3]| {
        let order = [".*_10$", "^Dense", "^conv2d_1$"];
        order.iter().zip(trials).map(|(name, trials)| ((*name).to_owned(), Some(trials))).collect::<Vec<_>>()
    };
    assert_eq!(trials_of(Compat::Bitloop), named([15, 3, 2]));
    assert_eq!(trials_of(Compat::Qkeras), named([30, 10, 10]));
}

#[test]
fn shares_sum_up_and_none_is_empty() {
    for seed in 0..200 {
        let mut random = rng(seed, 0);
        let count = 1 + random.below(9);
        let costs: Vec<f64> = (0..count).map(|_| libm::exp(4.0 * random.normal())).collect();
        let trials = (count + random.below(60)) as u32;

        let shares = by_cost(trials, &costs).unwrap();

        assert_eq!(shares.iter().sum::<u32>(), trials, "{costs:?}");
        assert!(shares.iter().all(|share| *share > 0));
        let total: f64 = costs.iter().sum();
        for (cost, share) in costs.iter().zip(&shares) {
            let worth = f64::from(trials) * cost / total;
            assert!(f64::from(*share) < worth.max(1.0) + 1.0, "{costs:?} {shares:?}");
        }
    }
    assert_eq!(by_cost(5, &[0.0, 0.0]).unwrap(), [3, 2]);
    assert_eq!(by_cost(3, &[0.1, 0.1, 0.1]).unwrap(), [1, 1, 1]);
    assert!(
        by_cost(2, &[1.0, 1.0, 1.0])
            .unwrap_err()
            .to_string()
            .starts_with("2 trials are too few for 3 blocks")
    );
}

#[test]
fn the_search_of_a_block_leaves_layers_alone_whose_names_begin_alike() {
    let patterns = ["^conv2d_1$", ".*_10$", "^Dense"];
    let names_of = |compat: Compat| {
        let schedule = made(all(), compat, &patterns).unwrap();
        let block = schedule.blocks.into_iter().find(|block| block.pattern == "^conv2d_1$").unwrap();
        // QKeras hands the whole network to the search of each block.
        let layer_indexes = (compat == Compat::Bitloop).then_some(block.layer_indexes);
        let settings = Settings { compat, limit: block.limit, layer_indexes, ..settings(json!({})) };
        let space = SearchSpace::of(&chain(), &settings).unwrap();
        let network = space.network(&space.defaults()).unwrap();
        (names(&space).join(" "), network.layers[2].class.quantized)
    };

    let own = "conv2d_1_kernel_quantizer conv2d_1_activation_quantizer";
    assert_eq!(names_of(Compat::Bitloop), (own.to_owned(), false));
    assert_eq!(names_of(Compat::Qkeras), (own.to_owned(), true), "`conv2d_1` also begins `conv2d_10`");
}

#[test]
fn a_block_keeps_what_of_the_limit_holds_for_it() {
    let limit = json!({"Conv2D": [2], "Dense": [4], "^.*_10$": [4, 4, 4], "default": 8});

    let schedule = made(limit, Compat::Bitloop, &["^conv2d", "^(linear|relu)_10$", "^Dense"]).unwrap();

    let keys = |pattern: &str| {
        let block = schedule.blocks.iter().find(|block| block.pattern == pattern).unwrap();
        block.limit.entries.iter().map(|(key, _)| key.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(keys("^conv2d"), ["Conv2D", "^.*_10$", "default"]);
    assert_eq!(keys("^(linear|relu)_10$"), ["^.*_10$", "default"]);
    assert_eq!(keys("^Dense"), ["Dense", "default"]);
}

#[test]
fn blocks_that_overlap_are_refused() {
    let patterns = ["^conv2d_1", ".*_10$"];

    let ours = made(all(), Compat::Bitloop, &patterns).unwrap_err();
    let theirs = made(all(), Compat::Qkeras, &patterns).unwrap();

    assert_eq!(
        ours,
        "the layer `conv2d_10` is in the blocks `^conv2d_1` and `.*_10$`; it can be searched in one alone"
    );
    let twice = ScheduleWarning::Twice("conv2d_10".into());
    assert_eq!(theirs.warnings, [twice, ScheduleWarning::LeftOut("Dense_1".into())]);
}

#[test]
fn limited_layers_in_no_block_are_told() {
    let schedule = made(all(), Compat::Bitloop, &["^conv2d_1$", "^linear"]).unwrap();

    let left_out = ["conv2d_10", "relu_10", "Dense_1"].map(|name| ScheduleWarning::LeftOut(name.into()));
    assert_eq!(schedule.warnings, left_out);
}

#[test]
fn costs_that_are_no_numbers_are_refused() {
    let mut wrong = costs();
    wrong.of_layer.insert("flat".into(), f64::NAN);

    let answer = schedule(&chain(), &settings(all()), &blocks(&["^conv"], None), &wrong);

    assert_eq!(answer, Err(ScheduleError::BadCost("flat".into())));
    let none = schedule(&chain(), &settings(all()), &blocks(&[], None), &costs());
    assert_eq!(none, Err(ScheduleError::NoBlocks));
}
