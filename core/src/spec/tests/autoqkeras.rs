use super::{EXPERIMENT, SEARCH, experiment_mistakes, with};
use crate::autoqkeras::{
    BlockOrder, BlockSettings, Bound, Compat, EnergyGoal, Entry, ForgivingFactor, Goal, MeasuredCost,
    MeasuredEnergy, MeasuredGoal, Placement, PlainNumber, SourceNumber, TuneFilters, TunerSettings,
};
use crate::plan::AutoQKerasPlan;
use crate::spec::{
    Augmentation, Dataset, ExperimentSpec, ImageCount, ImageSource, Optimizer, Split, StageSpec,
};
use crate::trial::{ProbeSetting, ProbeTarget, RateSchedule, Recipe, Start};

/// As little as a search needs.
const SMALLEST: &str = "\
version: 1
name: smallest
model: { checkpoint: model.safetensors }
data: { dataset: mnist, training: all, selection: 100 }
stages:
  - autoqkeras:
      quantization_config: { kernel: { binary: 1 } }
      limit: { Dense: [1] }
      max_trials: 2
      training: { epochs: 9 }
";

fn search(text: &str) -> AutoQKerasPlan {
    let spec = ExperimentSpec::parse(text).unwrap_or_else(|error| panic!("{error}"));
    match spec.stages.as_slice() {
        [StageSpec::AutoQKeras(plan)] => (**plan).clone(),
        other => panic!("{other:?}"),
    }
}

fn mistakes(from: &str, to: &str) -> Vec<String> {
    experiment_mistakes(&with(SEARCH, from, to))
}

#[test]
fn every_key_is_read() {
    let spec = ExperimentSpec::parse(SEARCH).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((spec.data.training, spec.data.calibration), (Some(ImageCount::Count(20000)), 0));
    assert_eq!(spec.quantization, None);
    let plan = search(SEARCH);

    let goal = EnergyGoal {
        factor: ForgivingFactor { delta_p: 2.0, delta_n: 3.0, rate: 4.0, stress: 0.5 },
        parameters_on_memory: [Placement::Sram; 2],
        activations_on_memory: [Placement::Dram, Placement::Fixed],
        rd_wr_on_io: [false; 2],
        min_sram_size: [0, 64],
        source_quantizers: vec![SourceNumber::Plain(PlainNumber::Int8)],
        reference_internal: PlainNumber::Int8,
        reference_accumulator: PlainNumber::Int32,
        ..EnergyGoal::default()
    };
    assert_eq!(plan.goal, Goal::Energy(goal));
    assert_eq!(plan.drop_max_ppm, Some(20_000));
    let settings = &plan.settings;
    let kernels: Vec<_> = settings.quantization_config.sections.get("kernel").unwrap().iter().collect();
    assert_eq!(kernels, [("ternary", &2), ("binary", &1), ("quantized_bits(4,0,1)", &4)]);
    let keys: Vec<&str> = settings.limit.entries.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["Dense", "Conv2D", "^conv2d_[12]$", "Activation", "BatchNormalization", "default"]);
    let among = Bound::Among(vec!["binary".to_owned(), "ternary".to_owned()]);
    let entry = Entry::Each(vec![among, Bound::Bits(8), Bound::Bits(4)]);
    assert_eq!(settings.limit.get("^conv2d_[12]$"), Some(&entry));
    assert_eq!(settings.limit.get("BatchNormalization"), Some(&Entry::Each(Vec::new())));
    assert_eq!(settings.limit.get("default"), Some(&Entry::One(Bound::Bits(8))));
    assert_eq!(settings.tune_filters, TuneFilters::Layer);
    assert_eq!(settings.tune_filters_exceptions.as_deref(), Some("^dense$"));
    assert!(settings.learning_rate_optimizer);
    assert_eq!(settings.layer_indexes, Some(vec![1, 2, 3]));
    assert_eq!((settings.activation_bits, settings.compat), (5, Compat::Bitloop));
    assert_eq!(plan.tuner, TunerSettings::Bayesian { max_trials: 40, initial: Some(6), in_flight: 2 });
    let blocks = vec!["^conv".to_owned(), "^dense$".to_owned()];
    let order = BlockOrder::Cost;
    assert_eq!(plan.blocks, Some(BlockSettings { blocks, schedule_block: order, max_trials: None }));
    assert_eq!((plan.start, plan.finished_rate, plan.seed), (Start::Drawn, 0.25, 7));
    let training = Recipe {
        epochs: 3,
        first_epoch: 0,
        patience: Some(2),
        batch: 64,
        optimizer: Optimizer::AdamW { learning_rate: 0.002, weight_decay: 0.0 },
        schedule: RateSchedule::Cosine,
        finds_rate: true,
        slower: std::collections::BTreeMap::new(),
        clip_norm: Some(1.0),
        label_smoothing: 0.1,
        augmentation: Augmentation { shift: 1, flip: true },
        seed: 1,
    };
    assert_eq!(plan.training, training);
    let fine = Recipe { epochs: 10, patience: Some(2), finds_rate: false, clip_norm: None, ..training };
    assert_eq!(plan.fine_tuning, Some(fine));
}

#[test]
fn keys_that_may_be_left_out_have_qkeras_s_defaults() {
    let plan = search(SMALLEST);

    assert_eq!(plan.goal, Goal::default());
    assert_eq!(plan.tuner, TunerSettings::Random { max_trials: 2 });
    assert_eq!((plan.blocks, plan.fine_tuning, plan.drop_max_ppm), (None, None, None));
    assert_eq!((plan.start, plan.seed), (Start::Model, 0));
    assert_eq!((plan.settings.activation_bits, plan.settings.layer_indexes), (4, None));
    assert_eq!(plan.training.patience, Some(1));
    let adam = Optimizer::AdamW { learning_rate: 0.001, weight_decay: 0.0 };
    assert_eq!((plan.training.optimizer, plan.training.clip_norm), (adam, None));

    let energy = with(SMALLEST, "      max_trials", "      goal: { type: energy }\n      max_trials");
    assert_eq!(search(&energy).goal, Goal::Energy(EnergyGoal::default()));
}

#[test]
fn fine_tuning_takes_what_it_does_not_say_from_training_but_its_own_patience() {
    let text = with(SMALLEST, "{ epochs: 9 }", "{ epochs: 9, batch: 8 }\n      fine_tuning: { epochs: 30 }");

    let fine = search(&text).fine_tuning.unwrap();

    assert_eq!((fine.epochs, fine.batch, fine.patience), (30, 8, Some(6)));
    let patient = with(&text, "batch: 8", "batch: 8, patience: none");
    assert_eq!(search(&patient).fine_tuning.unwrap().patience, None);
}

#[test]
fn tuners_that_say_how_long_trials_are_want_no_epochs() {
    let of = |mode: &str| {
        let text = with(SMALLEST, "max_trials: 2", mode);
        with(&text, "training: { epochs: 9 }", "training: { batch: 8 }")
    };

    let plan = search(&of("mode: hyperband"));
    assert_eq!(plan.tuner, TunerSettings::Hyperband { max_epochs: 100, factor: 3, iterations: 1 });
    assert_eq!(plan.training.epochs, 100);
    let plan = search(&of("mode: asha\n      max_trials: 5\n      max_epochs: 9"));
    let (min_epochs, max_epochs, factor, in_flight) = (1, 9, 3, 4);
    assert_eq!(plan.tuner, TunerSettings::Asha { max_trials: 5, min_epochs, max_epochs, factor, in_flight });

    let epochs = with(&of("mode: hyperband"), "batch: 8", "epochs: 8");
    let fine = with(&of("mode: hyperband"), "{ batch: 8 }", "{ batch: 8 }\n      fine_tuning: { batch: 4 }");
    assert_eq!(
        experiment_mistakes(&epochs),
        [
            "stages[0].autoqkeras.training.epochs: `hyperband` says itself how long trials are; remove it; `max_epochs` beside `mode` is for the longest"
        ]
    );
    assert_eq!(
        experiment_mistakes(&fine),
        ["stages[0].autoqkeras.fine_tuning.epochs: is missing; add `epochs: 10`"]
    );
}

#[test]
fn qkeras_s_none_counts_as_not_given() {
    let none = "max_trials: 2\n      blocks: null\n      layer_indexes: ~\n      tune_filters_exceptions: null\n      \
                goal: { type: energy, params: { source_quantizers: null } }";

    let plan = search(&with(SMALLEST, "max_trials: 2", none));

    assert_eq!(plan.goal, Goal::Energy(EnergyGoal::default()));
    assert_eq!((plan.blocks, plan.settings.layer_indexes), (None, None));
}

#[test]
fn measured_energies_are_read_and_looked_at() {
    let measured = |rows: &str| {
        let goal = format!("max_trials: 2\n      goal: {{ type: energy, params: {{ measured: {rows} }} }}");
        with(SMALLEST, "max_trials: 2", &goal)
    };
    let plan =
        search(&measured("[{ layer: a, weights: 8, energy: 5 }, { layer: a, inputs: 4, energy: 0.5 }]"));
    let row = |weights, inputs, energy| MeasuredEnergy { layer: "a".to_owned(), weights, inputs, energy };
    let rows = vec![row(Some(8), None, 5.0), row(None, Some(4), 0.5)];
    assert_eq!(plan.goal, Goal::Energy(EnergyGoal { measured: rows, ..EnergyGoal::default() }));

    const PLACE: &str = "stages[0].autoqkeras.goal.params.measured";
    for (rows, line) in [
        (
            "[{ layer: a, energy: 1 }, { layer: a, energy: 2 }]",
            ": has two rows for `a` at the same widths; keep one",
        ),
        ("[{ layer: a, energy: 0 }]", "[0].energy: 0 is out of range"),
        ("[{ layer: a }]", "[0].energy: is missing"),
        ("[{ energy: 1 }]", "[0].layer: is missing"),
        ("[{ layer: a, weights: 0, energy: 1 }]", "[0].weights: 0 is out of range"),
    ] {
        let lines = experiment_mistakes(&measured(rows));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with(&format!("{PLACE}{line}")), "{lines:?}");
    }
}

const ON_DEVICE: &str = "goal: { type: measured, params: { cost: latency_us, probe: integer } }";

/// The smallest search with a goal that is measured, and something else changed.
fn on_device(goal: &str, from: &str, to: &str) -> String {
    let text = with(SMALLEST, "      max_trials: 2", &format!("      {goal}\n      max_trials: 2"));
    with(&with(&text, "selection: 100", "calibration: 64, selection: 100"), from, to)
}

#[test]
fn sizes_may_be_what_a_device_takes() {
    let goal = "goal: { type: measured, params: { cost: energy_mj, probe: onnxruntime, on: { board: pi5 }, delta_p: 2, \
                rate: 4, stress: 0.5, batch: 8, threads: 2, repetitions: 5, interval: 1%, at_most: 2s } }";
    let plan = search(&on_device(goal, "version: 1", "version: 1"));

    let on = [("board".to_owned(), "pi5".to_owned())].into();
    let expected = MeasuredGoal {
        factor: ForgivingFactor { delta_p: 2.0, delta_n: 8.0, rate: 4.0, stress: 0.5 },
        cost: MeasuredCost::EnergyMj,
        target: ProbeTarget { probe: "onnxruntime".to_owned(), on, class: None },
        setting: ProbeSetting { batch: 8, threads: 2, half_width_ppm: 10_000, at_most_ms: 2_000 },
        repetitions: 5,
    };
    assert_eq!(plan.goal, Goal::Measured(expected));
    let plain = search(&on_device(ON_DEVICE, "version: 1", "version: 1"));
    let usual = plain.goal.measured().unwrap();
    assert_eq!((usual.setting, usual.repetitions, usual.target.on.len()), (ProbeSetting::default(), 3, 0));
}

#[test]
fn what_no_device_is_asked_is_a_mistake() {
    const STAGE: &str = "stages[0].autoqkeras";
    let params = |params: &str| format!("goal: {{ type: measured{params} }}");
    for (goal, line) in [
        (params(""), ".goal.params: is missing; add `params: { cost: latency_us, probe: integer }`"),
        (params(", params: { probe: integer }"), ".goal.params.cost: is missing; add `cost: latency_us`"),
        (params(", params: { cost: latency_us }"), ".goal.params.probe: is missing; add `probe: integer`"),
        (params(", params: { cost: peak_memory_mib, probe: integer }"), ".goal.params.cost: "),
        (
            params(", params: { cost: latency_us, probe: integer, process: horowitz }"),
            ".goal.params.process: unknown key",
        ),
    ] {
        let lines = experiment_mistakes(&on_device(&goal, "version: 1", "version: 1"));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with(&format!("{STAGE}{line}")), "{lines:?}");
    }
    for (from, to, line) in [
        (
            "max_trials: 2",
            "max_trials: 2\n      tune_filters: layer",
            "stages[0].autoqkeras.tune_filters: networks are measured with the filter counts of the model; remove it, or \
             choose the goal `bits` or `energy`",
        ),
        (
            "max_trials: 2",
            "max_trials: 2\n      learning_rate_optimizer: true",
            "stages[0].autoqkeras.learning_rate_optimizer: its learning rates follow from sizes, and a network is measured \
             only once it is chosen; remove it; `find_learning_rate` looks for a rate",
        ),
        (
            "binary: 1 }",
            "binary: 1, \"quantized_po2(4)\": 4 }",
            "stages[0].autoqkeras.quantization_config: kernel: no device executes `quantized_po2(4)` as codes of up to 16 \
             bits; use `quantized_bits`, `quantized_linear`, `binary` or `ternary`, or another goal",
        ),
        (
            "calibration: 64, ",
            "",
            "data.calibration: is missing: the goal `measured` needs images by which scales are found for the device; add \
             `calibration: 128`",
        ),
    ] {
        assert_eq!(experiment_mistakes(&on_device(ON_DEVICE, from, to)), [line]);
    }
}

#[test]
fn long_names_are_kept_whole() {
    let name = format!("^({})$", ["conv2d_dw_33_0"; 12].join("|"));

    let plan = search(&with(SMALLEST, "Dense: [1]", &format!("\"{name}\": [1]")));

    assert!(plan.settings.limit.get(&name).is_some());
}

#[test]
fn mistakes_in_candidates_and_limits_say_what_to_do() {
    const STAGE: &str = "stages[0].autoqkeras";
    for (from, to, line) in [
        (
            "ternary: 2, binary: 1",
            "ternery: 2",
            "quantization_config.kernel.ternery: is no quantizer: nothing is called `ternery`; quantizers are ",
        ),
        (
            "\"quantized_bits(4,0,1)\": 4",
            "\"quantized_bits(4,0,x=1)\": 4",
            "quantization_config.kernel.quantized_bits(4,0,x=1): is no quantizer: there is no parameter `x`; parameters are ",
        ),
        (
            "{ ternary: 2,",
            "{ ternary: two,",
            "quantization_config.kernel.ternary: expected a whole number, found text `two`",
        ),
        (
            "linear: { binary: 1 }",
            "linear: {}",
            "quantization_config.linear: the mapping is empty; write `{ binary: 1, ",
        ),
        ("linear: {", "lineal: {", "quantization_config.lineal: unknown key; did you mean `linear`?"),
        (
            "Dense: [4]",
            "Dense: [binary]",
            "limit.Dense[0]: expected a number of bits or a list of quantizers, found text `binary`; put quantizers in a list of their own: `[[binary, ternary], 8, 4]`",
        ),
        (
            "Dense: [4]",
            "Dense: [[]]",
            "limit.Dense[0]: the list is empty; write a list such as `[binary, ternary]`",
        ),
        (
            "Dense: [4]",
            "Dense: [[bynary]]",
            "limit.Dense[0][0]: `bynary` is in no section of `quantization_config`; add it there, spelt the same, or remove it here",
        ),
        (
            "Dense: [4]",
            "Dense: [1, 2, 3, 4, 5]",
            "limit.Dense: 5 bounds are too many; give kernel, bias and activation",
        ),
        (
            "Dense: [4]",
            "Dense: [400]",
            "limit.Dense[0]: 400 is out of range; write a whole number from 1 to 64",
        ),
        (
            "Dense: [4]",
            "Dense: [[binary, binary]]",
            "limit.Dense[0][1]: `binary` is already in the list; remove it",
        ),
        ("Dense: [4]", "Conv2D: [4]", "limit.Conv2D: this key stands here more than once; keep one of them"),
    ] {
        let lines = mistakes(from, to);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with(&format!("{STAGE}.{line}")), "{lines:?}");
    }
}

#[test]
fn other_mistakes_of_a_stage_say_what_to_do() {
    const STAGE: &str = "stages[0].autoqkeras";
    for (from, to, line) in [
        ("delta_p: 2", "delta: 2", "goal.params.delta: unknown key; "),
        ("rate: 4", "rate: 1", "goal.params.rate: 1 makes no sense; give a ratio of sizes, such as 2"),
        (
            "int32",
            "int8",
            "goal.params.reference_accumulator: expected one of `int16`, `int32`, `fp16` or `fp32`, found text `int8`",
        ),
        (
            "[0, 64]",
            "[0]",
            "goal.params.min_sram_size: has 1 values; the first is for the reference, the second for trials; write a list such as `[0, 0]`",
        ),
        (
            "source_quantizers: int8",
            "source_quantizers: int9",
            "goal.params.source_quantizers: is no number type: nothing is called `int9`",
        ),
        ("type: energy", "type: bits", "goal.params.parameters_on_memory: unknown key; "),
        ("accuracy_drop: 2", "accuracy_drop: 200", "constraints.accuracy_drop: 200 is out of range"),
        (
            "mode: bayesian",
            "mode: random",
            "initial: `random` does not heed it; remove it; `random` is set by `max_trials`",
        ),
        ("max_trials: 40", "iterations: 4", "max_trials: is missing; add `max_trials: 40`"),
        (
            "blocks: [\"^conv\", \"^dense$\"]",
            "",
            "schedule_block: says nothing where the network is searched all at once; remove it",
        ),
        (
            "compat: bitloop",
            "compat: qkeras",
            "finished_learning_rate: QKeras has one learning rate for all layers; remove it",
        ),
        (
            "blocks: [\"^conv\", \"^dense$\"]",
            "blocks: [x, x]",
            "blocks[1]: `x` is already in the list; remove it",
        ),
        ("epochs: 3,", "", "training.epochs: is missing; add `epochs: 3`"),
        ("adam: {", "adamm: {", "training.optimizer.adamm: unknown key; did you mean `adam`?"),
        (
            "patience: 2",
            "patience: never",
            "training.patience: expected a number of epochs or `none`, found text `never`",
        ),
        (
            "transfer_weights:",
            "transfer_weight:",
            "transfer_weight: unknown key; did you mean `transfer_weights`?",
        ),
    ] {
        let lines = mistakes(from, to);
        assert!(lines.iter().any(|found| found.starts_with(&format!("{STAGE}.{line}"))), "{lines:?}");
    }
}

#[test]
fn what_belongs_to_other_experiments_is_a_mistake() {
    for (from, to, line) in [
        (
            "version: 1",
            "version: 1\nnumerics: exact",
            "numerics: does not belong to a search that trains; remove it",
        ),
        (
            "version: 1",
            "version: 1\nprepare: none",
            "prepare: does not belong to a search that trains; remove it",
        ),
        (
            "version: 1",
            "version: 1\nevaluation: full",
            "evaluation: does not belong to a search that trains; remove it",
        ),
        (
            "version: 1",
            "version: 1\nquantization: {}",
            "quantization: does not belong to a search that trains; remove it; `quantization_config` and `limit` are keys of the stage",
        ),
        (
            "stages:\n",
            "stages:\n  - verify\n",
            "stages: a search that trains (`autoqkeras`) has no other stages beside it; put it into an experiment of its own",
        ),
        ("training: 20000, ", "", "data.training: is missing; add `training: 20000`"),
        (
            "training: 20000",
            "training: most",
            "data.training: expected a whole number or `all`, found text `most`; write `training: 20000`",
        ),
        (
            "split: test, training: 20000",
            "split: train, training: all",
            "data.training: these images are split, and another part takes what is left of them; give a number of images (`report` is `rest` unless given)",
        ),
    ] {
        assert_eq!(mistakes(from, to), [line]);
    }
    assert_eq!(
        experiment_mistakes(&with(EXPERIMENT, "calibration: 512", "calibration: 512, training: 9")),
        [
            "data.training: does not belong here; remove it; only searches that train (`autoqkeras`) have training images"
        ]
    );
}

#[test]
fn training_images_come_from_the_data_set_s_other_file() {
    let of = |split: &str| {
        let text = with(SEARCH, "split: test", split);
        ExperimentSpec::parse(&text).unwrap().data.training_file().map(|file| file.source)
    };

    let train = ImageSource::Dataset { dataset: Dataset::FashionMnist, split: Split::Train };
    assert_eq!(of("split: test"), Some(train));
    assert_eq!(of("split: train"), None);
    assert_eq!(ExperimentSpec::parse(EXPERIMENT).unwrap().data.training_file(), None);
}
