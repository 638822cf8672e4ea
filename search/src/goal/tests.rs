use bitloop_core::graph::{Graph, Input, Linear, Op, Shape};
use bitloop_core::qkeras::Grammar;

use super::{
    EnergyGoal, FactorError, ForgivingFactor, Goal, GoalError, MeasuredEnergy, PlainNumber, Size, reference,
    trial,
};
use crate::energy::ValueCounts;
use crate::network::Network;

fn size(total: f64) -> Size {
    Size { total, layers: Vec::new() }
}

#[test]
fn half_the_size_is_worth_delta_p_and_twice_the_size_costs_delta_n() {
    let factor = ForgivingFactor { delta_p: 10.0, delta_n: 5.0, ..ForgivingFactor::default() };

    assert!((factor.delta(1000.0, 500.0) - 0.10).abs() < 1e-8);
    assert!((factor.delta(1000.0, 2000.0) + 0.05).abs() < 1e-8);
    assert_eq!(factor.delta(1000.0, 1000.0), 0.0);
}

#[test]
fn stress_makes_the_reference_smaller_but_not_the_part_that_is_saved() {
    let factor = ForgivingFactor { stress: 0.5, ..ForgivingFactor::default() };

    let comparison = factor.compare(&size(1000.0), &size(500.0));

    assert_eq!(comparison.reference, 500.0);
    assert_eq!(comparison.delta, 0.0);
    assert_eq!(comparison.total_factor, -0.5);
    assert_eq!(comparison.score(0.75), 0.75);
}

#[test]
fn factors_that_make_no_sense_are_refused() {
    let sound = ForgivingFactor::default();
    let refused = [
        (ForgivingFactor { rate: 1.0, ..sound }, "rate"),
        (ForgivingFactor { rate: -2.0, ..sound }, "rate"),
        (ForgivingFactor { stress: 0.0, ..sound }, "stress"),
        (ForgivingFactor { delta_p: f64::NAN, ..sound }, "delta_p"),
        (ForgivingFactor { delta_n: f64::INFINITY, ..sound }, "delta_n"),
    ];

    assert_eq!(sound.check(), Ok(()));
    for (factor, wrong) in refused {
        assert!(matches!(factor.check(), Err(FactorError { name, .. }) if name == wrong));
    }
}

#[test]
fn goals_are_read_as_they_are_written() {
    let text = r#"{"type": "energy", "params": {"delta_p": 8.0, "delta_n": 8.0, "rate": 2.0,
        "reference_internal": "int8", "source_quantizers": ["int8", "quantized_bits(4,0,1)"]}}"#;

    let goal: Goal = serde_json::from_str(text).expect("a goal");
    let written = serde_json::to_string(&goal).expect("a text");

    let Goal::Energy(energy) = &goal else { panic!("{goal:?} is not about energy") };
    assert_eq!(energy.reference_internal, PlainNumber::Int8);
    assert_eq!(energy.reference_accumulator, EnergyGoal::default().reference_accumulator);
    assert_eq!(energy.source_quantizers.len(), 2);
    assert_eq!(serde_json::from_str::<Goal>(&written).expect("a goal"), goal);
}

/// Two linear layers with an activation between them.
fn network() -> Network {
    let input = Input { shape: Shape(vec![8]), mean: vec![0.0; 8], std: vec![1.0; 8] };
    let mut graph = Graph::new("small", input);
    graph.push("first".to_owned(), Op::Linear(Linear { out_features: 4, bias: false }), &["input"]);
    graph.push("act".to_owned(), Op::Relu, &["first"]);
    graph.push("last".to_owned(), Op::Linear(Linear { out_features: 2, bias: false }), &["act"]);
    Network::of_graph(&graph).unwrap()
}

fn with_kernels(kernel: &str) -> Network {
    let entry = serde_json::json!({ "kernel_quantizer": kernel });
    let dictionary = serde_json::json!({ "first": entry, "last": entry, "act": "quantized_relu(4)" });
    network().quantized(&serde_json::from_value(dictionary).unwrap(), 4, Grammar::Strict).unwrap()
}

fn energy_goal(measured: &[(&str, Option<u64>, f64)]) -> Goal {
    let row = |(layer, weights, energy): &(&str, Option<u64>, f64)| MeasuredEnergy {
        layer: (*layer).to_owned(),
        weights: *weights,
        inputs: None,
        energy: *energy,
    };
    Goal::Energy(EnergyGoal {
        reference_internal: PlainNumber::Int8,
        reference_accumulator: PlainNumber::Int32,
        measured: measured.iter().map(row).collect(),
        ..EnergyGoal::default()
    })
}

fn layer(size: &Size, name: &str) -> f64 {
    size.layers.iter().find(|(layer, _)| layer == name).unwrap().1
}

#[test]
fn measured_layers_take_what_was_measured_and_scale_the_model_of_the_others() {
    let model = energy_goal(&[]);
    let modelled = reference(&model, &network(), false).unwrap();
    let four = trial(&model, &with_kernels("quantized_bits(4,0,1)"), &ValueCounts::new(), false).unwrap();
    let three_times = 3.0 * layer(&modelled, "first");
    let measured = energy_goal(&[("first", Some(8), three_times), ("first", Some(4), 5.0)]);

    let size = reference(&measured, &network(), false).unwrap();
    assert_eq!(layer(&size, "first"), three_times);
    assert_eq!(layer(&size, "last"), 3.0 * layer(&modelled, "last"), "as much more than modelled as `first`");
    assert_eq!(size.total, size.layers.iter().map(|(_, energy)| energy).sum::<f64>());

    let size = trial(&measured, &with_kernels("quantized_bits(4,0,1)"), &ValueCounts::new(), false).unwrap();
    assert_eq!(layer(&size, "first"), 5.0);
    assert!((layer(&size, "last") - 3.0 * layer(&four, "last")).abs() < 1e-9);
    // Two bits were not measured: as much less than eight as the model says.
    let two = with_kernels("quantized_bits(2,0,1)");
    let of_model = trial(&model, &two, &ValueCounts::new(), false).unwrap();
    let size = trial(&measured, &two, &ValueCounts::new(), false).unwrap();
    assert!((layer(&size, "first") - 3.0 * layer(&of_model, "first")).abs() < 1e-9);
}

#[test]
fn measured_energies_that_fit_nothing_are_errors() {
    let sized = |rows: &[(&str, Option<u64>, f64)]| reference(&energy_goal(rows), &network(), false);

    assert_eq!(sized(&[("conv", Some(8), 1.0)]), Err(GoalError::UnknownMeasured("conv".to_owned())));
    assert_eq!(sized(&[("first", Some(4), 1.0)]), Err(GoalError::UnmeasuredReference));
}
