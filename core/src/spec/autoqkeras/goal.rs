//! What a network's size is, as `goal:` says it.

use super::super::probe_reader::{repetitions, setting, target_of};
use super::super::reader::{Fields, Place};
use super::bits;
use crate::autoqkeras::{
    BitsGoal, EnergyGoal, ForgivingFactor, Goal, MeasuredCost, MeasuredEnergy, MeasuredGoal, Part, Placement,
    PlainNumber, Process, SourceNumber,
};
use crate::qkeras::{Grammar, Quantizer};

/// Percents beyond it make scores that mean nothing.
const PERCENT_MAX: f64 = 1000.0;
/// Largest ratio of two sizes.
const RATIO_MAX: f64 = 1e6;
/// Bits of an SRAM of a terabyte.
const SRAM_BITS_MAX: u64 = 1 << 43;

const FACTOR: [&str; 4] = ["delta_p", "delta_n", "rate", "stress"];
/// Picojoules that a layer may take for an image: up to a kilojoule.
const ENERGIES: std::ops::RangeInclusive<f64> = 1e-3..=1e15;
const MEMORIES: [(&str, Placement); 3] =
    [("dram", Placement::Dram), ("sram", Placement::Sram), ("fixed", Placement::Fixed)];
const PARTS: [(&str, Part); 2] = [("parameters", Part::Parameters), ("activations", Part::Activations)];
/// The types that QTools lets plain weights have.
const INTERNALS: [(&str, PlainNumber); 3] =
    [("int8", PlainNumber::Int8), ("fp16", PlainNumber::Fp16), ("fp32", PlainNumber::Fp32)];
/// The types that QTools lets plain results have.
const ACCUMULATORS: [(&str, PlainNumber); 4] = [
    ("int16", PlainNumber::Int16),
    ("int32", PlainNumber::Int32),
    ("fp16", PlainNumber::Fp16),
    ("fp32", PlainNumber::Fp32),
];
const PLAIN: [(&str, PlainNumber); 5] = [
    ("int8", PlainNumber::Int8),
    ("int16", PlainNumber::Int16),
    ("int32", PlainNumber::Int32),
    ("fp16", PlainNumber::Fp16),
    ("fp32", PlainNumber::Fp32),
];

#[derive(Clone, Copy)]
enum Kind {
    Bits,
    Energy,
    Measured,
}

/// Reads `{ type: energy, params: { ... } }`.
pub(super) fn goal(place: &Place<'_>, grammar: Grammar) -> Option<Goal> {
    let fields = place.fields(&["type", "params"])?;
    let kinds = [("bits", Kind::Bits), ("energy", Kind::Energy), ("measured", Kind::Measured)];
    match fields.required("type", "type: energy", |place| place.word(&kinds))? {
        Kind::Bits => fields.optional("params", BitsGoal::default(), bits_goal).map(Goal::Bits),
        Kind::Energy => {
            let read = |place: &Place<'_>| energy_goal(place, grammar);
            fields.optional("params", EnergyGoal::default(), read).map(Goal::Energy)
        }
        Kind::Measured => {
            let example = "params: { cost: latency_us, probe: integer }";
            fields.required("params", example, measured_goal).map(Goal::Measured)
        }
    }
}

fn factor(fields: &Fields<'_>) -> Option<ForgivingFactor> {
    let default = ForgivingFactor::default();
    let percent = |place: &Place<'_>| place.number(-PERCENT_MAX..=PERCENT_MAX);
    let delta_p = fields.optional("delta_p", default.delta_p, percent);
    let delta_n = fields.optional("delta_n", default.delta_n, percent);
    let rate = fields.optional("rate", default.rate, |place| place.number(0.0..=RATIO_MAX));
    let stress = fields.optional("stress", default.stress, |place| place.number(0.0..=RATIO_MAX));
    let factor = ForgivingFactor { delta_p: delta_p?, delta_n: delta_n?, rate: rate?, stress: stress? };
    match factor.check() {
        Ok(()) => Some(factor),
        Err(error) => fields.mistake(error.name, format!("{} makes no sense", error.value), error.rule),
    }
}

fn bits_goal(place: &Place<'_>) -> Option<BitsGoal> {
    let known = [FACTOR.as_slice(), &["input_bits", "output_bits", "ref_bits", "config"]].concat();
    let fields = place.fields(&known)?;
    let default = BitsGoal::default();
    let factor = factor(&fields);
    let input_bits = fields.optional("input_bits", default.input_bits, bits);
    let output_bits = fields.optional("output_bits", default.output_bits, bits);
    let ref_bits = fields.optional("ref_bits", default.ref_bits, bits);
    let config = fields.optional("config", default.config, |place| {
        let entries = place.entries("default: [parameters, activations]")?.into_iter();
        let entries: Vec<_> =
            entries.map(|(class, place)| parts(&place).map(|parts| (class, parts))).collect();
        entries.into_iter().collect()
    });
    Some(BitsGoal {
        factor: factor?,
        input_bits: input_bits?,
        output_bits: output_bits?,
        ref_bits: ref_bits?,
        config: config?,
    })
}

/// What is counted of a class; an empty list counts nothing.
fn parts(place: &Place<'_>) -> Option<Vec<Part>> {
    let parts = place.any_items("[parameters, activations]")?;
    let parts: Vec<Option<Part>> = parts.iter().map(|place| place.word(&PARTS)).collect();
    parts.into_iter().collect()
}

fn energy_goal(place: &Place<'_>, grammar: Grammar) -> Option<EnergyGoal> {
    let known = [
        FACTOR.as_slice(),
        &["process", "parameters_on_memory", "activations_on_memory", "min_sram_size", "rd_wr_on_io"],
        &["source_quantizers", "trained_model", "reference_internal", "reference_accumulator", "measured"],
    ];
    let fields = place.fields(&known.concat())?;
    let default = EnergyGoal::default();
    let memory = |place: &Place<'_>| pair(place, "[sram, sram]", |place| place.word(&MEMORIES));
    let factor = factor(&fields);
    let process =
        fields.optional("process", default.process, |place| place.word(&[("horowitz", Process::Horowitz)]));
    let parameters = fields.optional("parameters_on_memory", default.parameters_on_memory, memory);
    let activations = fields.optional("activations_on_memory", default.activations_on_memory, memory);
    let sram = fields.optional("min_sram_size", default.min_sram_size, |place| {
        pair(place, "[0, 0]", |place| place.integer(0..=SRAM_BITS_MAX))
    });
    let io = fields.optional("rd_wr_on_io", default.rd_wr_on_io, |place| {
        pair(place, "[false, false]", |place| place.flag())
    });
    let sources = fields.optional("source_quantizers", Vec::new(), |place| sources(place, grammar));
    let trained_model = fields.optional("trained_model", false, untrained);
    let internal =
        fields.optional("reference_internal", default.reference_internal, |place| place.word(&INTERNALS));
    let accumulator = fields
        .optional("reference_accumulator", default.reference_accumulator, |place| place.word(&ACCUMULATORS));
    let measured = fields.optional("measured", Vec::new(), measured);
    Some(EnergyGoal {
        factor: factor?,
        process: process?,
        parameters_on_memory: parameters?,
        activations_on_memory: activations?,
        min_sram_size: sram?,
        rd_wr_on_io: io?,
        source_quantizers: sources?,
        trained_model: trained_model?,
        reference_internal: internal?,
        reference_accumulator: accumulator?,
        measured: measured?,
    })
}

/// Reads `{ cost: latency_us, probe: integer, on: { board: pi5 }, delta_p: 8 }`.
fn measured_goal(place: &Place<'_>) -> Option<MeasuredGoal> {
    let known = [
        FACTOR.as_slice(),
        &["cost", "probe", "on", "batch", "threads", "repetitions", "interval", "at_most"],
    ];
    let fields = place.fields(&known.concat())?;
    let factor = factor(&fields);
    let costs = MeasuredCost::ALL.map(|cost| (cost.as_str(), cost));
    let cost = fields.required("cost", "cost: latency_us", |place| place.word(&costs));
    let target = target_of(&fields);
    let setting = setting(&fields);
    let repetitions = repetitions(&fields);
    Some(MeasuredGoal {
        factor: factor?,
        cost: cost?,
        target: target?,
        setting: setting?,
        repetitions: repetitions?,
    })
}

/// Reads `[{ layer: conv2d_0, weights: 8, inputs: 8, energy: 5210 }]`.
fn measured(place: &Place<'_>) -> Option<Vec<MeasuredEnergy>> {
    let rows = place.list("[{ layer: conv2d_0, weights: 8, inputs: 8, energy: 5210 }]", |place| {
        let fields = place.fields(&["layer", "weights", "inputs", "energy"])?;
        let layer = fields.required("layer", "layer: conv2d_0", |place| place.text().map(str::to_owned));
        let width = |place: &Place<'_>| bits(place).map(Some);
        let weights = fields.optional("weights", None, width);
        let inputs = fields.optional("inputs", None, width);
        let energy = fields.required("energy", "energy: 5210", |place| place.number(ENERGIES));
        Some(MeasuredEnergy { layer: layer?, weights: weights?, inputs: inputs?, energy: energy? })
    })?;
    let key = |row: &MeasuredEnergy| (row.layer.clone(), row.weights, row.inputs);
    let twice = rows
        .iter()
        .enumerate()
        .find(|(index, row)| rows[..*index].iter().any(|other| key(other) == key(row)));
    match twice {
        None => Some(rows),
        Some((_, row)) => place.mistake(
            format!("has two rows for `{}` at the same widths", row.layer),
            "keep one, such as the median of repeated measurements",
        ),
    }
}

/// Sizes are wanted before a trial is trained, so that its values cannot be counted.
fn untrained(place: &Place<'_>) -> Option<bool> {
    match place.flag()? {
        false => Some(false),
        true => place.mistake("trials are priced before they are trained", "write `false`, or remove it"),
    }
}

/// One for the reference, one for trials.
fn pair<T>(place: &Place<'_>, example: &str, read: impl Fn(&Place<'_>) -> Option<T>) -> Option<[T; 2]> {
    let items = place.list(example, read)?;
    let count = items.len();
    match <[T; 2]>::try_from(items) {
        Ok(pair) => Some(pair),
        Err(_) => place.mistake(
            format!("has {count} values; the first is for the reference, the second for trials"),
            format!("write a list such as `{example}`"),
        ),
    }
}

/// One word, or a list with one for each input; QKeras's `None` is its default.
fn sources(place: &Place<'_>, grammar: Grammar) -> Option<Vec<SourceNumber>> {
    if place.is_nothing() {
        return Some(Vec::new());
    }
    match place.is_list() {
        true => place.list("[int8]", |place| source(place, grammar)),
        false => source(place, grammar).map(|source| vec![source]),
    }
}

fn source(place: &Place<'_>, grammar: Grammar) -> Option<SourceNumber> {
    let text = place.text()?;
    if let Some((_, plain)) = PLAIN.iter().find(|(word, _)| *word == text) {
        return Some(SourceNumber::Plain(*plain));
    }
    match Quantizer::parse(text, grammar) {
        Ok(quantizer) => Some(SourceNumber::Quantizer(quantizer)),
        Err(error) => place.mistake(
            format!("is no number type: {}", error.problem),
            "write `int8`, `int16`, `int32`, `fp16`, `fp32` or a quantizer",
        ),
    }
}
