mod usual;

use proptest::prelude::*;

use super::*;
use crate::bits::{BitConfig, Bits, Choice, PointIndex};
use crate::graph::{Graph, INPUT, Input as GraphInput, Linear, Op, PointKind, Shape};
use crate::plan::Plan;
use crate::probe::{Environment, Estimate, Session, Unsteady};
use crate::rng::{Rng, rng};
use crate::state::tests::plan as small_plan;

/// A network of layers behind each other, all alike but for the last one.
fn network(layers: usize) -> Plan {
    let input = GraphInput { shape: Shape(vec![4]), mean: vec![0.0; 4], std: vec![1.0; 4] };
    let mut graph = Graph::new("layers", input);
    let mut last = INPUT.to_owned();
    for layer in 0..layers {
        let out_features = if layer + 1 == layers { 2 } else { 4 };
        let op = Op::Linear(Linear { out_features, bias: false });
        last = graph.push(format!("dense_{layer}"), op, &[&last]);
    }
    Plan { points: graph.points().unwrap(), graph, ..small_plan("latency") }
}

/// What a made-up device takes, in nanoseconds.
struct Made {
    layer: fn(usize, u32, u32) -> f64,
    per_change: f64,
    fixed: f64,
    /// Largest part of a layer's time by which the widths of the layer before it slow it down, or speed it up: what no sum of layers says.
    interplay: f64,
    /// Largest part by which a measurement is off.
    noise: f64,
    /// Devices with other ones differ in what is drawn of them.
    seed: u64,
}

const ADDITIVE: Made = Made {
    layer: |layer, weight, input| (layer as f64 + 2.0) * f64::from(10 * weight + 5 * input),
    per_change: 0.0,
    fixed: 100.0,
    interplay: 0.0,
    noise: 0.0,
    seed: 7,
};

impl Made {
    fn whole(&self, layout: &Layout, config: &BitConfig) -> f64 {
        let mut before = (0, 0);
        let of_unit = |(index, unit): (usize, &Unit)| {
            let (weight, input) = layout.widths(config, unit);
            let widths = (weight.unwrap_or(0), input);
            let before = std::mem::replace(&mut before, widths);
            (self.layer)(index, widths.0, widths.1) * self.beside(index, before, widths)
        };
        let sum: f64 = layout.units.iter().enumerate().map(of_unit).sum();
        self.fixed + sum + self.per_change * layout.changed_elements(config)
    }

    /// The factor by which a layer takes another time behind a layer of these widths than by itself.
    fn beside(&self, index: usize, before: (u32, u32), widths: (u32, u32)) -> f64 {
        let code = [before.0, before.1, widths.0, widths.1]
            .iter()
            .fold(index as u64, |code, bits| code * 64 + u64::from(*bits));
        1.0 + self.interplay * (2.0 * rng(self.seed, code).uniform() - 1.0)
    }

    /// Uniform networks with their layers, and so many mixed ones.
    fn readings(&self, plan: &Plan, mixed: u64) -> Readings {
        let layout = Layout::new(plan).unwrap();
        let mut readings = Readings { class: Some("board".to_owned()), ..Readings::default() };
        let mut noise = rng(self.seed, 7);
        let mut about = |value: f64| {
            let median = value * (1.0 + self.noise * (2.0 * noise.uniform() - 1.0));
            Estimate { median, low: median * (1.0 - self.noise), high: median * (1.0 + self.noise) }
        };
        let baseline = self.whole(&layout, &BitConfig::baseline());
        for (config, is_uniform) in configs(plan, mixed) {
            let time = self.whole(&layout, &config);
            let network = readings.networks.entry(config.clone()).or_default();
            let [whole, of_baseline, ratio] = [time, baseline, time / baseline].map(&mut about);
            let session = Session {
                config: whole,
                baseline: of_baseline,
                ratio,
                rounds: 60,
                disturbed: 0,
                outliers: 0,
                unsteady: None,
            };
            network.sessions.push((0, session));
            network.settled = 1;
            if is_uniform {
                let time = |(index, unit): (usize, &Unit)| {
                    let (weight, input) = layout.widths(&config, unit);
                    (unit.node.clone(), (self.layer)(index, weight.unwrap_or(0), input))
                };
                let nodes: Vec<_> = layout.units.iter().enumerate().map(time).collect();
                network.layers.push(LayerReadings {
                    nodes: nodes.into_iter().map(|(node, time)| (node, about(time))).collect(),
                    other: about(self.fixed),
                    whole: about(self.whole(&layout, &config)),
                    unsteady: None,
                });
            }
        }
        readings.compare();
        readings
    }
}

fn config(plan: &Plan, mut bits: impl FnMut(usize, PointKind) -> u8) -> BitConfig {
    let choice = |(index, point): (usize, &crate::graph::Point)| {
        (PointIndex(index as u32), Choice::Bits(Bits::new(bits(index, point.kind)).unwrap()))
    };
    let choices: Vec<_> = plan.points.iter().enumerate().map(choice).collect();
    BitConfig::against(Choice::Bits(plan.candidates.baseline), choices)
}

/// All pairs of widths everywhere, then configs drawn at random.
fn configs(plan: &Plan, mixed: u64) -> Vec<(BitConfig, bool)> {
    let pairs = [2, 4, 8].into_iter().flat_map(|weight| [4, 8].map(|input| (weight, input)));
    let uniform = pairs.map(|(weight, input)| {
        config(plan, |_, kind| match kind {
            PointKind::Weight => weight,
            PointKind::Activation => input,
        })
    });
    let drawn = (0..mixed).map(|index| {
        let mut rng = rng(3, index);
        config(plan, |_, kind| match kind {
            PointKind::Weight => [2, 4, 8][rng.below(3)],
            PointKind::Activation => [4, 8][rng.below(2)],
        })
    });
    uniform.map(|config| (config, true)).chain(drawn.map(|config| (config, false))).collect()
}

fn fit(plan: &Plan, readings: &Readings) -> Model {
    Model::fit(plan, readings, Quantity::Latency).unwrap()
}

/// What is predicted of networks that were not measured, and what they take.
fn unseen(plan: &Plan, made: &Made, model: &Model) -> Vec<(Estimate, f64)> {
    let configs = configs(plan, 200).into_iter().skip(100);
    configs.map(|(config, _)| (model.predict(&config), made.whole(&model.layout, &config))).collect()
}

fn largest_error(plan: &Plan, made: &Made, model: &Model) -> f64 {
    let errors = unseen(plan, made, model).into_iter().map(|(predicted, real)| predicted.median / real - 1.0);
    errors.map(f64::abs).fold(0.0, f64::max)
}

#[test]
fn a_device_that_adds_up_is_predicted_by_the_plain_sum() {
    let plan = network(5);

    let model = fit(&plan, &ADDITIVE.readings(&plan, 12));

    assert_eq!((model.correction.terms, model.table.source), (Terms::Plain, Source::Layers));
    assert!(model.additivity.is_additive());
    assert!(model.additivity.mean_error < 1e-12 && model.additivity.correlation.unwrap() > 0.999_999);
    assert!(largest_error(&plan, &ADDITIVE, &model) < 1e-12);
}

#[test]
fn networks_that_the_table_was_made_of_are_told_from_those_that_test_it() {
    let plan = network(5);
    let readings = ADDITIVE.readings(&plan, 12);

    let model = fit(&plan, &readings);

    let in_table = readings.networks.keys().filter(|config| model.is_in_table(&readings, config)).count();
    assert_eq!(in_table, 6, "three widths of weights by two of activations");
    assert_eq!(model.additivity.configs as usize, readings.networks.len() - in_table);
}

#[test]
fn a_network_that_was_measured_is_predicted_from_the_others() {
    let plan = network(5);
    let mut readings = ADDITIVE.readings(&plan, 12);
    let (config, network) = readings.networks.iter_mut().next_back().unwrap();
    let config = config.clone();
    let median = network.sessions[0].1.config.median;
    network.sessions[0].1.config = network.sessions[0].1.config.scaled(3.0);

    let model = fit(&plan, &readings);

    let unseen = model.predict_unseen(&config);
    assert!(unseen.median < 2.0 * median && unseen.low <= unseen.median && unseen.median <= unseen.high);
    assert!(model.correction.half_width.unwrap() > 0.1 * median);
}

#[test]
fn a_price_of_conversions_is_found_in_mixed_networks() {
    let plan = network(6);
    let made = Made { per_change: 20.0, ..ADDITIVE };

    let model = fit(&plan, &made.readings(&plan, 16));

    assert_eq!(model.correction.terms, Terms::Changes);
    let has_changes = |known: &&Known| model.layout.changed_elements(&known.config) > 0.0;
    let with_changes = model.known.iter().filter(has_changes).count();
    assert_eq!(model.correction.with_changes as usize, with_changes);
    assert!((1..model.known.len()).contains(&with_changes), "uniform networks have none");
    assert!((model.correction.per_change - 20.0).abs() < 1e-6, "{:?}", model.correction);
    assert!(!model.additivity.is_additive() && model.additivity.bias < -0.01);
    assert!(model.additivity.corrected_max_error.unwrap() < 1e-9);
    assert!(largest_error(&plan, &made, &model) < 1e-9);
}

#[test]
fn intervals_of_devices_that_do_not_add_up_hold_as_often_as_they_promise_and_are_no_wider_for_it() {
    let plan = network(5);
    let (mut held, mut predicted, mut reaches) = (0, 0, Vec::new());
    for seed in 0..100 {
        let made = Made { interplay: 0.2, noise: 0.002, seed, ..ADDITIVE };
        let model = fit(&plan, &made.readings(&plan, 16));
        assert!(!model.additivity.is_additive(), "{:?}", model.additivity);
        let unseen = unseen(&plan, &made, &model);
        let squares = unseen.iter().map(|(predicted, real)| (predicted.median - real).powi(2));
        let deviation = (squares.sum::<f64>() / unseen.len() as f64).sqrt();
        held += unseen.iter().filter(|(predicted, real)| predicted.holds(*real)).count();
        predicted += unseen.len();
        reaches.push(model.correction.half_width.unwrap() / deviation);
    }
    reaches.sort_by(f64::total_cmp);

    let share = held as f64 / f64::from(predicted as u32);
    assert!((0.93..0.98).contains(&share), "{share} of the networks, where 0.95 is promised");
    // Where it is known how far predictions are off, 1.96 deviations hold 95 %; 16 networks tell it less exactly.
    let middle = reaches[reaches.len() / 2];
    assert!((1.8..2.6).contains(&middle), "{middle} deviations to either side");
}

#[test]
fn layers_by_one_changed_network_each_give_differences_to_the_baseline() {
    let plan = network(4);
    let layout = Layout::new(&plan).unwrap();
    let mut readings = ADDITIVE.readings(&plan, 8);
    readings.networks.values_mut().for_each(|network| network.layers.clear());
    let baseline = ADDITIVE.whole(&layout, &BitConfig::baseline());
    for unit in &layout.units {
        for (weight, input) in [(2, 4), (2, 8), (4, 4), (4, 8), (8, 4)] {
            let choice = |bits| Choice::Bits(Bits::new(bits).unwrap());
            let changes = [(unit.weight.unwrap(), choice(weight)), (unit.input.unwrap(), choice(input))];
            let config = BitConfig::against(layout.baseline, changes);
            let time = ADDITIVE.whole(&layout, &config);
            let sessions = vec![(0, session(time, baseline, None))];
            readings.networks.entry(config).or_default().sessions = sessions;
        }
    }

    let model = fit(&plan, &readings);

    assert_eq!(model.table.source, Source::OneByOne);
    assert!(model.is_in_table(&readings, &BitConfig::baseline()));
    assert!(!model.is_in_table(&readings, &config(&plan, |_, _| 4)), "all layers differ");
    // Differences to the baseline are negative, and so are the ends of their intervals.
    for LayerTime { time_ns: Estimate { median, low, high }, .. } in &model.table.times {
        assert!(low <= median && median <= high, "{low} {median} {high}");
    }
    // Layers of one kind share what was measured of each of them, though here every one takes another time.
    let last = layout.units.last().unwrap();
    let time = model.table.time(&layout, last, (Some(2), 8));
    assert!((time.median + 5.0 * 60.0).abs() < 1e-6, "{time:?}");
    assert_eq!(model.table.time(&layout, last, (Some(8), 8)).median, 0.0);
}

#[test]
fn what_slows_down_a_whole_session_changes_no_estimate() {
    let plan = network(5);
    let readings = ADDITIVE.readings(&plan, 12);
    let mut slowed = readings.clone();
    // Every third network was measured while the machine took twice as long for everything.
    for network in slowed.networks.values_mut().step_by(3) {
        for (_, session) in &mut network.sessions {
            session.config = session.config.scaled(2.0);
            session.baseline = session.baseline.scaled(2.0);
        }
        for layers in &mut network.layers {
            let all = layers.nodes.values_mut().chain([&mut layers.other, &mut layers.whole]);
            all.for_each(|time| *time = time.scaled(2.0));
        }
    }
    slowed.compare();

    let (calm, busy) = (fit(&plan, &readings), fit(&plan, &slowed));

    for (config, _) in configs(&plan, 30) {
        let pair = [&calm, &busy].map(|model| model.predict(&config).median);
        assert!((pair[0] / pair[1] - 1.0).abs() < 1e-9, "{pair:?}");
    }
    assert!(busy.additivity.is_additive() && busy.additivity.max_error < 1e-9);
}

fn session(config: f64, baseline: f64, unsteady: Option<Unsteady>) -> Session {
    let [config, baseline, ratio] = [config, baseline, config / baseline].map(Estimate::exactly);
    Session { config, baseline, ratio, rounds: 60, disturbed: 0, outliers: 0, unsteady }
}

#[test]
fn a_node_that_is_a_part_of_another_kernel_at_some_widths_takes_nothing_there() {
    let plan = network(2);
    let mut readings = ADDITIVE.readings(&plan, 4);
    let layout = Layout::new(&plan).unwrap();
    let narrow = |config: &BitConfig| layout.widths(config, &layout.units[1]).1 == 4;
    for (_, network) in readings.networks.iter_mut().filter(|(config, _)| narrow(config)) {
        network.layers.iter_mut().for_each(|layers| _ = layers.nodes.remove("dense_1"));
    }

    let model = fit(&plan, &readings);

    let time = |input| model.table.time(&layout, &layout.units[1], (Some(8), input)).median;
    assert_eq!(time(4), 0.0);
    assert!(time(8) > 0.0);
}

#[test]
fn widths_that_were_not_measured_take_what_the_next_wider_ones_do() {
    let plan = network(2);
    let model = fit(&plan, &ADDITIVE.readings(&plan, 4));
    let unit = &model.layout.units[0];
    let time = |weight, input| model.table.time(&model.layout, unit, (Some(weight), input)).median;

    assert_eq!(time(3, 8), time(4, 8));
    assert_eq!(time(16, 8), time(8, 8));
    assert_eq!(time(2, 6), time(2, 8));
}

#[test]
fn few_networks_leave_terms_out_and_one_alone_promises_nothing() {
    let plan = network(3);
    let mut readings = ADDITIVE.readings(&plan, 0);
    readings.networks.retain(|config, _| config.changes().len() == 0);

    let model = fit(&plan, &readings);

    assert_eq!((model.correction.terms, model.correction.half_width), (Terms::Plain, None));
    let predicted = model.predict(&BitConfig::baseline());
    assert_eq!((predicted.low, predicted.high), (0.0, 2.0 * predicted.median));
    readings.networks.clear();
    assert!(Model::fit(&plan, &readings, Quantity::Latency).is_err());
}

#[test]
fn memory_follows_the_weights_and_a_missing_counter_is_named() {
    let plan = network(4);
    let mut readings = ADDITIVE.readings(&plan, 8);
    let layout = Layout::new(&plan).unwrap();
    for (config, network) in &mut readings.networks {
        let bytes =
            layout.units.iter().map(|unit| unit.weights * f64::from(layout.widths(config, unit).0.unwrap()));
        network.peak_memory_bytes = vec![4096 + bytes.sum::<f64>() as u64 / 8];
    }

    let model = Model::fit(&plan, &readings, Quantity::PeakMemory).unwrap();

    assert!((model.predict(&BitConfig::baseline()).median - (4096.0 + 56.0)).abs() < 2.0);
    let error = Model::fit(&plan, &readings, Quantity::Energy).unwrap_err().to_string();
    assert!(error.starts_with("the device has no counter of energy"), "{error}");
}

proptest! {
    #[test]
    fn a_fit_does_not_depend_on_units_of_time(scale in 1e-3_f64..1e6) {
        let plan = network(4);
        let readings = Made { per_change: 9.0, noise: 0.01, ..ADDITIVE }.readings(&plan, 12);
        let mut scaled = readings.clone();
        let by = |estimate: &mut Estimate| {
            let Estimate { median, low, high } = estimate;
            [median, low, high].into_iter().for_each(|value| *value *= scale);
        };
        for network in scaled.networks.values_mut() {
            network.sessions.iter_mut().for_each(|(_, session)| {
                by(&mut session.config);
                by(&mut session.baseline);
            });
            for layers in &mut network.layers {
                layers.nodes.values_mut().chain([&mut layers.other, &mut layers.whole]).for_each(by);
            }
        }
        scaled.compare();

        let (model, other) = (fit(&plan, &readings), fit(&plan, &scaled));

        prop_assert_eq!(model.correction.terms, other.correction.terms);
        for (config, _) in configs(&plan, 4) {
            let (one, two) = (model.predict(&config), other.predict(&config));
            prop_assert!((one.median * scale / two.median - 1.0).abs() < 1e-6);
            prop_assert!((one.high * scale / two.high - 1.0).abs() < 1e-6);
        }
    }
}
