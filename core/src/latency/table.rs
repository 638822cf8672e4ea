use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{LayerReadings, Layout, Quantity, Readings, Unit, is_quantized};
use crate::bits::{BitConfig, PointIndex};
use crate::probe::{Estimate, merged};

/// Where the times of a table come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// From layers within networks of uniform widths.
    Layers,
    /// From whole networks with one layer changed, as differences to the baseline.
    OneByOne,
    /// There is none: neither was measured.
    #[default]
    Nothing,
}

/// What a layer takes at some widths.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerTime {
    /// The node.
    pub node: String,
    /// Its weight's width, 32 for floats; none for a node without weights.
    pub weight_bits: Option<u32>,
    /// The width of what it reads, 32 for floats.
    pub input_bits: u32,
    /// Nanoseconds of an inference; beside the baseline's where layers were measured one by one.
    pub time_ns: Estimate,
    /// Measurements behind it.
    pub sessions: u64,
}

/// Times by layer and widths.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerTable {
    /// Where they come from.
    pub source: Source,
    /// What belongs to no layer; the baseline's time where layers were measured one by one.
    pub constant_ns: f64,
    /// In graph order, then by widths.
    pub times: Vec<LayerTime>,
    /// The same by node, for looking up.
    #[serde(skip)]
    by_node: BTreeMap<String, Vec<usize>>,
}

type Widths = (Option<u32>, u32);

impl LayerTable {
    /// Makes the table of what was measured: of layers if the probe tells them, otherwise of networks with one layer changed.
    pub fn new(layout: &Layout, readings: &Readings) -> Self {
        let layers = Self::of_layers(layout, readings);
        if layers.source == Source::Layers { layers } else { Self::one_by_one(layout, readings) }
    }

    /// A layer's time is its part of the network that it was measured in, times what that network takes. A node that a probe
    /// tells of in other networks alone takes nothing in this one: it is a part of another one's kernel there.
    ///
    /// What belongs to no node is a constant as far as every network has it. The rest comes with a network's widths, as conversions
    /// do, and is shared out among its nodes by their times.
    fn of_layers(layout: &Layout, readings: &Readings) -> Self {
        let networks: Vec<(&BitConfig, LayersOnce)> = readings
            .networks
            .iter()
            .flat_map(|(config, network)| network.layers_relied_on().map(move |layers| (config, layers)))
            .map(|(config, layers)| {
                (config, LayersOnce::of(layers, readings.beside_others(config, Quantity::Latency)))
            })
            .collect();
        // The float network takes no grids in and gives none out.
        let others = networks.iter().filter(|(config, _)| is_quantized(config)).map(|(_, once)| once.other);
        let constant = others.reduce(f64::min).unwrap_or_default();
        let told: BTreeSet<&str> =
            networks.iter().flat_map(|(_, once)| once.nodes.keys().map(String::as_str)).collect();
        let mut times: BTreeMap<(usize, Widths), Vec<Estimate>> = BTreeMap::new();
        for (config, once) in &networks {
            let units = layout.units.iter().enumerate();
            for (index, unit) in units.filter(|(_, unit)| told.contains(unit.node.as_str())) {
                let time = once.nodes.get(&unit.node).copied().unwrap_or(Estimate::exactly(0.0));
                let of_unit = times.entry((index, layout.widths(config, unit))).or_default();
                of_unit.push(time.scaled(once.with_its_part_of(once.other - constant)));
            }
        }
        let source = if times.is_empty() { Source::Nothing } else { Source::Layers };
        Self::of(layout, source, constant, times)
    }

    fn one_by_one(layout: &Layout, readings: &Readings) -> Self {
        let baseline = readings.beside_others(&BitConfig::baseline(), Quantity::Latency);
        let Some(constant) = baseline.map(|baseline| baseline.median) else { return Self::default() };
        let mut times: BTreeMap<(usize, Widths), Vec<Estimate>> = BTreeMap::new();
        for config in readings.networks.keys() {
            let whole = readings.beside_others(config, Quantity::Latency);
            let Some((unit, whole)) = layout.only_changed(config).zip(whole) else { continue };
            let over = |time: f64| time - constant;
            let time = Estimate { median: over(whole.median), low: over(whole.low), high: over(whole.high) };
            // Units of its kind take the same.
            let alike = layout.units.iter().enumerate().filter(|(_, other)| other.kind == unit.kind);
            for (index, other) in alike {
                let widths = (other.weight.and(layout.widths(config, unit).0), layout.widths(config, unit).1);
                times.entry((index, widths)).or_default().push(time);
            }
        }
        let source = if times.is_empty() { Source::Nothing } else { Source::OneByOne };
        Self::of(layout, source, constant, times)
    }

    fn of(
        layout: &Layout,
        source: Source,
        constant_ns: f64,
        times: BTreeMap<(usize, Widths), Vec<Estimate>>,
    ) -> Self {
        let time = |((unit, (weight_bits, input_bits)), sessions): ((usize, Widths), Vec<Estimate>)| {
            let time = merged(&sessions)?;
            // Times are never negative; differences to the baseline may be.
            let time_ns = if source == Source::Layers { time.not_negative() } else { time };
            Some(LayerTime {
                node: layout.units[unit].node.clone(),
                weight_bits,
                input_bits,
                time_ns,
                sessions: sessions.len() as u64,
            })
        };
        let times: Vec<LayerTime> = times.into_iter().filter_map(time).collect();
        let mut by_node: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, time) in times.iter().enumerate() {
            by_node.entry(time.node.clone()).or_default().push(index);
        }
        Self { source, constant_ns, times, by_node }
    }

    /// What a unit takes at some widths: as measured there, otherwise as at the nearest wider ones, otherwise as at the nearest.
    /// Nothing where the unit was not measured.
    pub fn time(&self, layout: &Layout, unit: &Unit, widths: Widths) -> Estimate {
        let none = Estimate::exactly(0.0);
        let widths = match self.source {
            Source::OneByOne if !unit.owns_input => {
                (widths.0, layout.width(&BitConfig::baseline(), unit.input))
            }
            Source::OneByOne | Source::Layers | Source::Nothing => widths,
        };
        if self.source == Source::OneByOne && layout.widths(&BitConfig::baseline(), unit) == widths {
            return none;
        }
        let distance = |time: &&LayerTime| {
            let pairs = [(time.weight_bits.unwrap_or(0), widths.0.unwrap_or(0)), (time.input_bits, widths.1)];
            let is_narrower = pairs.iter().any(|(known, wanted)| known < wanted);
            let apart: u32 = pairs.iter().map(|(known, wanted)| known.abs_diff(*wanted)).sum();
            (is_narrower, apart)
        };
        let known = self.by_node.get(&unit.node).into_iter().flatten().map(|index| &self.times[*index]);
        known.min_by_key(distance).map_or(none, |time| time.time_ns)
    }

    /// What all units of a config come to, with the constant; the interval holds if the units' errors have nothing to do
    /// with each other.
    pub fn sum(&self, layout: &Layout, config: &BitConfig) -> Estimate {
        let mut sum = Estimate { median: self.constant_ns, low: 0.0, high: 0.0 };
        for unit in &layout.units {
            let Estimate { median, low, high } = self.time(layout, unit, layout.widths(config, unit));
            sum.median += median;
            sum.low += (median - low) * (median - low);
            sum.high += (high - median) * (high - median);
        }
        Estimate { median: sum.median, low: sum.median - sum.low.sqrt(), high: sum.median + sum.high.sqrt() }
    }
}

/// One repetition of a network's layers, so that nodes and what belongs to none come to what the network usually takes.
struct LayersOnce {
    nodes: BTreeMap<String, Estimate>,
    other: f64,
}

impl LayersOnce {
    fn of(layers: &LayerReadings, usual: Option<Estimate>) -> Self {
        let sum: f64 = layers.nodes.values().map(|time| time.median).sum::<f64>() + layers.other.median;
        let to_usual = usual.unwrap_or(layers.whole).median / sum.max(f64::MIN_POSITIVE);
        let nodes = layers.nodes.iter().map(|(node, time)| (node.clone(), time.scaled(to_usual)));
        Self { nodes: nodes.collect(), other: layers.other.median * to_usual }
    }

    /// The factor by which nodes take longer if they bear so much of what belongs to none.
    fn with_its_part_of(&self, rest: f64) -> f64 {
        let nodes: f64 = self.nodes.values().map(|time| time.median).sum();
        if nodes > 0.0 { 1.0 + rest.max(0.0) / nodes } else { 1.0 }
    }
}

impl Layout {
    /// The one unit whose points a config changes; none if it changes none, or those of several units.
    pub fn only_changed(&self, config: &BitConfig) -> Option<&Unit> {
        let changed: Vec<PointIndex> = config.changes().map(|(point, _)| point).collect();
        let owns = |unit: &&Unit| {
            let input = unit.input.filter(|_| unit.owns_input);
            changed.iter().all(|point| unit.weight == Some(*point) || input == Some(*point))
        };
        if changed.is_empty() { None } else { self.units.iter().find(owns) }
    }
}
