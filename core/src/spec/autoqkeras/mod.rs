//! The `autoqkeras:` stage of an experiment file: a search that trains.
//!
//! Keys are AutoQKeras's arguments where it has them, with its defaults. Regular expressions are only looked at when they
//! meet a network.

mod candidates;
mod goal;
mod measurable;
mod recipe;
mod tuner;

use super::node::quoted;
use super::reader::{Fields, Place};
use super::shared::parts_per_million;
use crate::autoqkeras::{BlockOrder, BlockSettings, Compat, Goal, Settings, TuneFilters};
use crate::plan::AutoQKerasPlan;
use crate::trial::Start;

/// The key by which a list of stages names such a search.
pub(super) const KEY: &str = "autoqkeras";

/// Percentage points have four decimals: they are then whole parts per million.
const POINT_DECIMALS: u8 = 4;
/// Widest number that a quantizer can have here, in bits.
const BITS_MAX: u64 = 64;
/// QKeras's width of activations inside layers.
const ACTIVATION_BITS: u64 = 4;
/// What the learning rate of layers in finished blocks is multiplied by.
const FINISHED_RATE: f64 = 0.1;
/// Most layers that `layer_indexes` can count to.
const LAYERS_MAX: usize = 1_000_000;

const KNOWN: [&str; 25] = [
    "goal",
    "constraints",
    "quantization_config",
    "limit",
    "mode",
    "max_trials",
    "initial",
    "in_flight",
    "min_epochs",
    "max_epochs",
    "factor",
    "iterations",
    "blocks",
    "schedule_block",
    "tune_filters",
    "tune_filters_exceptions",
    "learning_rate_optimizer",
    "transfer_weights",
    "layer_indexes",
    "activation_bits",
    "finished_learning_rate",
    "compat",
    "seed",
    "training",
    "fine_tuning",
];

/// Reads the value of an `autoqkeras` stage.
pub(super) fn autoqkeras(place: &Place<'_>) -> Option<AutoQKerasPlan> {
    let fields = place.fields(&KNOWN)?;
    let compat = fields.optional("compat", Compat::Bitloop, |place| {
        place.word(&[("bitloop", Compat::Bitloop), ("qkeras", Compat::Qkeras)])
    });
    let grammar = compat.unwrap_or_default().grammar();
    let goal = fields.optional("goal", Goal::default(), |place| goal::goal(place, grammar));
    let drop_max_ppm = fields.optional("constraints", None, constraints);
    let settings = settings(&fields, compat);
    let mode = tuner::mode(&fields);
    let tuner = mode.and_then(|mode| tuner::tuner(&fields, mode));
    let blocks = blocks(&fields, compat);
    let start = fields.optional("transfer_weights", Start::Model, |place| {
        place.flag().map(|transfer| if transfer { Start::Model } else { Start::Drawn })
    });
    let finished_rate =
        fields.optional("finished_learning_rate", FINISHED_RATE, |place| place.number(0.0..=1.0));
    let seed = fields.optional("seed", 0, |place| place.integer(0..=u64::MAX));
    let recipes = recipe::recipes(&fields, mode, tuner);
    let (training, fine_tuning) = recipes?;
    let (goal, settings) = (goal?, settings?);
    measurable::check(&fields, &goal, &settings)?;
    Some(AutoQKerasPlan {
        goal,
        settings,
        blocks: blocks?,
        tuner: tuner?,
        drop_max_ppm: drop_max_ppm?,
        start: start?,
        finished_rate: finished_rate?,
        training,
        fine_tuning,
        seed: seed?,
    })
}

fn settings(fields: &Fields<'_>, compat: Option<Compat>) -> Option<Settings> {
    let grammar = compat.unwrap_or_default().grammar();
    let example =
        "quantization_config: { kernel: { binary: 1 }, activation: { \"quantized_relu(4,2)\": 4 } }";
    let config = fields
        .required("quantization_config", example, |place| candidates::quantization_config(place, grammar));
    let limit = fields.required("limit", "limit: { Conv2D: [4, 8, 4], Activation: [4] }", |place| {
        candidates::limit(place, config.as_ref())
    });
    let words = [("none", TuneFilters::None), ("layer", TuneFilters::Layer), ("block", TuneFilters::Block)];
    let tune_filters = fields.optional("tune_filters", TuneFilters::None, |place| place.word(&words));
    let exceptions = fields.optional("tune_filters_exceptions", None, |place| {
        given(place, |place| place.text().map(str::to_owned))
    });
    let tunes_rate = fields.optional("learning_rate_optimizer", false, Place::flag);
    let layer_indexes = fields.optional("layer_indexes", None, |place| given(place, layer_indexes));
    let activation_bits = fields.optional("activation_bits", ACTIVATION_BITS, bits);
    Some(Settings {
        quantization_config: config?,
        limit: limit?,
        tune_filters: tune_filters?,
        tune_filters_exceptions: exceptions?,
        learning_rate_optimizer: tunes_rate?,
        layer_indexes: layer_indexes?,
        activation_bits: activation_bits? as u32,
        compat: compat?,
    })
}

/// QKeras's `None` counts as not given.
fn given<T>(place: &Place<'_>, read: impl FnOnce(&Place<'_>) -> Option<T>) -> Option<Option<T>> {
    if place.is_nothing() { Some(None) } else { read(place).map(Some) }
}

fn bits(place: &Place<'_>) -> Option<u64> {
    place.integer(1..=BITS_MAX)
}

fn layer_indexes(place: &Place<'_>) -> Option<Vec<usize>> {
    place.list("[1, 2, 3]", |place| place.size(0..=LAYERS_MAX))
}

fn constraints(place: &Place<'_>) -> Option<Option<u32>> {
    let fields = place.fields(&["accuracy_drop"])?;
    fields.required("accuracy_drop", "accuracy_drop: 2", |place| {
        parts_per_million(place, place.number(0.0..=100.0)?, POINT_DECIMALS).map(Some)
    })
}

fn blocks(fields: &Fields<'_>, compat: Option<Compat>) -> Option<Option<BlockSettings>> {
    let blocks = fields.optional("blocks", None, |place| given(place, patterns));
    let orders = [("sequential", BlockOrder::Sequential), ("cost", BlockOrder::Cost)];
    let order = fields.optional("schedule_block", BlockOrder::default(), |place| place.word(&orders));
    let mut is_right = true;
    for key in ["schedule_block", "finished_learning_rate"] {
        if fields.has(key) && !fields.names("blocks") {
            is_right = false;
            let problem = "says nothing where the network is searched all at once";
            fields.mistake::<()>(key, problem, "remove it, or add `blocks: [\"^conv\", \"^dense\"]`");
        }
    }
    if fields.has("finished_learning_rate") && compat == Some(Compat::Qkeras) {
        is_right = false;
        let problem = "QKeras has one learning rate for all layers";
        fields.mistake::<()>("finished_learning_rate", problem, "remove it, or write `compat: bitloop`");
    }
    let (blocks, schedule_block) = (blocks?, order?);
    is_right.then(|| blocks.map(|blocks| BlockSettings { blocks, schedule_block, max_trials: None }))
}

/// Patterns of layer names, each once.
fn patterns(place: &Place<'_>) -> Option<Vec<String>> {
    let mut seen: Vec<String> = Vec::new();
    let mut is_complete = true;
    for item in place.items("[\"^.*_0$\", \"^dense$\"]")? {
        match item.text() {
            Some(text) if seen.iter().any(|known| known == text) => {
                is_complete = false;
                item.mistake::<()>(format!("`{}` is already in the list", quoted(text)), "remove it");
            }
            Some(text) => seen.push(text.to_owned()),
            None => is_complete = false,
        }
    }
    is_complete.then_some(seen)
}
