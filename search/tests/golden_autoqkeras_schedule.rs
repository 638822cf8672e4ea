//! Block schedules against those of QKeras's scheduler.

#[path = "common/qkeras_file.rs"]
mod qkeras_file;

use std::collections::BTreeMap;

use bitloop_search::autoqkeras::{
    BlockOrder, BlockSettings, Compat, LayerCosts, Limit, Schedule, Settings, schedule,
};
use bitloop_search::network::Network;
use serde::Deserialize;

/// What a sum in another order may differ by.
const ROUNDING: f64 = 1e-6;

#[derive(Deserialize)]
struct Scheduler {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    model: String,
    limit: Limit,
    blocks: Vec<String>,
    schedule_block: BlockOrder,
    max_trials: Option<u32>,
    layer_indexes: Option<Vec<usize>>,
    reference_size: f64,
    layer_costs: BTreeMap<String, f64>,
    schedule: Vec<Expected>,
    printed: Vec<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct Expected {
    index: usize,
    pattern: String,
    layers: Vec<String>,
    cost: f64,
    cost_fraction: f64,
    max_trials: Option<u32>,
    limit: Limit,
}

#[derive(Deserialize)]
struct Energy {
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    model: String,
    layers: Network,
}

fn cases() -> Vec<(Case, Network)> {
    let (Some(scheduler), Some(energy)) =
        (qkeras_file::golden::<Scheduler>("scheduler.json"), qkeras_file::golden::<Energy>("energy.json"))
    else {
        return Vec::new();
    };
    assert!(!scheduler.cases.is_empty());
    let with_network = |case: Case| {
        let network = energy.models.iter().find(|model| model.model == case.model);
        let network = network.expect("the model stands in the energy file").layers.clone();
        (case, network)
    };
    scheduler.cases.into_iter().map(with_network).collect()
}

fn scheduled(case: &Case, network: &Network, compat: Compat) -> Result<Schedule, String> {
    let settings = Settings {
        limit: case.limit.clone(),
        layer_indexes: case.layer_indexes.clone(),
        compat,
        ..Settings::default()
    };
    let blocks = BlockSettings {
        blocks: case.blocks.clone(),
        schedule_block: case.schedule_block,
        max_trials: case.max_trials,
    };
    let costs = LayerCosts { of_layer: case.layer_costs.clone(), reference: case.reference_size };
    schedule(network, &settings, &blocks, &costs).map_err(|error| error.to_string())
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= ROUNDING * b.abs()
}

#[test]
fn golden_schedules_are_reproduced() {
    for (case, network) in cases() {
        let schedule = scheduled(&case, &network, Compat::Qkeras).expect("QKeras makes one");

        assert_eq!(schedule.blocks.len(), case.schedule.len());
        for (at, (block, told)) in schedule.blocks.iter().zip(&case.schedule).enumerate() {
            assert_eq!((at, &block.pattern), (told.index, &told.pattern));
            assert_eq!(block.layers, told.layers, "{}", told.pattern);
            assert!(near(block.cost, told.cost), "{}: {} {}", told.pattern, block.cost, told.cost);
            assert!(near(schedule.cost_fraction(block), told.cost_fraction), "{}", told.pattern);
            assert_eq!(block.max_trials, told.max_trials, "{}", told.pattern);
            assert_eq!(block.limit, told.limit, "{}", told.pattern);
        }
        assert_eq!(schedule.lines(), case.printed);
        assert_eq!(schedule.failure().is_some(), case.error.is_some(), "{:?}", case.error);
    }
}

#[test]
fn golden_schedules_share_trials_out_exactly_by_default() {
    for (case, network) in cases() {
        let schedule = scheduled(&case, &network, Compat::Bitloop);

        if case.error.is_some() {
            assert!(schedule.expect_err("a block is empty").contains("has no layer"));
            continue;
        }
        let schedule = schedule.expect("the settings are good");
        let trials: Vec<u32> = schedule.blocks.iter().filter_map(|block| block.max_trials).collect();
        assert_eq!(trials.iter().sum::<u32>(), case.max_trials.expect("all cases say how many"));
        assert!(trials.len() == case.blocks.len() && trials.iter().all(|trials| *trials > 0));
        let patterns = |patterns: &mut dyn Iterator<Item = &String>| patterns.cloned().collect::<Vec<_>>();
        assert_eq!(
            patterns(&mut schedule.blocks.iter().map(|block| &block.pattern)),
            patterns(&mut case.schedule.iter().map(|told| &told.pattern)),
            "the order is that of QKeras"
        );
    }
}
