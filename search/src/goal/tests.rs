use super::{EnergyGoal, FactorError, ForgivingFactor, Goal, PlainNumber, Size};

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
