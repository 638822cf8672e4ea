use bitloop_search::energy::{LayerEnergy, LayerOperator, LayerTypes, Profile};

use super::{fields, table, with_thousands};

/// Lays out a reference's profile and that of the trial that is compared with it, in picojoules.
pub(crate) fn energy(reference: &Profile, trial: Option<&Profile>) -> String {
    let mut parts = vec![format!("reference, in pJ\n{}", profile_table(reference))];
    parts.extend(trial.map(|trial| format!("trial, in pJ\n{}", profile_table(trial))));
    let pj = |profile: &Profile| {
        let (sum, all) = (with_thousands(profile.energy_sum), with_thousands(profile.total_cost));
        format!("{sum} pJ in total; {all} pJ with what is left out of the totals")
    };
    let mut sums = vec![("reference", pj(reference))];
    if let Some(trial) = trial {
        sums.push(("trial", pj(trial)));
        let share = trial.energy_sum as f64 / reference.energy_sum.max(1) as f64;
        sums.push(("trial / reference", format!("{:.1} %", 100.0 * share)));
    }
    let assumed = [Some(reference), trial].into_iter().flatten().flat_map(|profile| &profile.layers);
    if assumed.clone().any(|layer| layer.types.is_assumed()) {
        let note = "QTools does not know this quantizer; it is priced as fixed point of its width";
        sums.push(("assumed", note.to_owned()));
    }
    parts.push(fields(&sums));
    parts.join("\n\n")
}

fn profile_table(profile: &Profile) -> String {
    let is_assumed = profile.layers.iter().any(|layer| layer.types.is_assumed());
    let header = [
        "layer",
        "class",
        ">inputs",
        ">outputs",
        ">parameters",
        ">operations",
        ">total",
        "operators (gate bits)",
        "assumed",
    ];
    let columns = if is_assumed { header.len() } else { header.len() - 1 };
    let rows = profile.layers.iter().map(|layer| {
        let mut row = row(layer);
        row.truncate(columns);
        row
    });
    table(&header[..columns], rows)
}

fn row(layer: &LayerEnergy) -> Vec<String> {
    let numbers = [layer.inputs, layer.outputs, layer.parameters, layer.op_cost, layer.total];
    let mut row = vec![layer.types.name.clone(), layer.types.class.to_string()];
    row.extend(numbers.map(|number| format!("{number:.2}")));
    let operators = layer.types.operators.iter().filter(|operator| operator.times > 0).map(operator);
    row.push(operators.collect::<Vec<_>>().join(" + "));
    row.push(assumed(&layer.types).join(", "));
    row
}

/// An operator with the width that its circuit is priced at; how often, and by what share of a circuit, if not one.
fn operator(operator: &LayerOperator) -> String {
    let LayerOperator { operator, times, .. } = operator;
    let factor = *times as f64 * operator.gate_factor;
    let times = if factor == 1.0 { String::new() } else { format!("{} x ", trimmed(factor)) };
    format!("{times}{:?} ({})", operator.implementation, trimmed(operator.gate_bits))
}

/// Two decimals at most.
fn trimmed(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The quantizers in a layer that are priced as something else.
fn assumed(types: &LayerTypes) -> Vec<&'static str> {
    let inputs = types.inputs.iter().map(|(number, _)| number);
    let parameters = types.parameters.iter().map(|parameter| &parameter.number);
    let all = inputs.chain(parameters).chain([&types.output]);
    let mut names: Vec<&str> = all.filter(|number| number.assumed).map(|number| number.name).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use bitloop_core::graph::{Graph, Input, Linear, Op, Shape};
    use bitloop_core::qkeras::Grammar;
    use bitloop_search::energy::ValueCounts;
    use bitloop_search::goal::{EnergyGoal, PlainNumber, reference_profile, trial_profile};
    use bitloop_search::network::{Network, QuantizerDictionary};
    use expect_test::expect;

    use super::*;

    fn network() -> Network {
        let input = Input { shape: Shape(vec![8]), mean: vec![0.0; 8], std: vec![1.0; 8] };
        let mut graph = Graph::new("small", input);
        graph.push("first".to_owned(), Op::Linear(Linear { out_features: 4, bias: true }), &["input"]);
        graph.push("act".to_owned(), Op::Relu, &["first"]);
        graph.push("last".to_owned(), Op::Linear(Linear { out_features: 2, bias: false }), &["act"]);
        Network::of_graph(&graph).unwrap()
    }

    #[test]
    fn layers_sums_and_assumptions_are_laid_out() {
        let dictionary: QuantizerDictionary = serde_json::from_str(
            r#"{
                "first": { "kernel_quantizer": "quantized_linear(4)", "bias_quantizer": "quantized_bits(4)" },
                "act": "quantized_relu(4)",
                "last": { "kernel_quantizer": "binary" }
            }"#,
        )
        .unwrap();
        let goal = EnergyGoal { reference_accumulator: PlainNumber::Int32, ..EnergyGoal::default() };
        let reference = reference_profile(&goal, &network(), false).unwrap();
        let quantized = network().quantized(&dictionary, 4, Grammar::Strict).unwrap();
        let trial = trial_profile(&goal, &quantized, &ValueCounts::new(), false).unwrap();

        let expected = expect![[r#"
            reference, in pJ
            layer  class        inputs  outputs  parameters  operations    total  operators (gate bits)
            first  Dense       5201.65  2600.91        0.00      102.40  5304.05  FloatingPointMultiplier (32) + FloatingPointAdder (32)
            act    Activation  2600.91  2600.91        0.00        0.00  2600.91
            last   Dense       2600.91  1300.48        0.00       25.60  2626.51  FloatingPointMultiplier (32) + FloatingPointAccumulator (32)

            trial, in pJ
            layer  class         inputs  outputs  parameters  operations    total  operators (gate bits)                               assumed
            first  QDense       1300.48  1219.23        0.00        4.76  1305.24  FixedPointMultiplier (5.66) + FixedPointAdder (15)  quantized_linear
            act    QActivation  1219.23   325.46        0.00        0.00   325.46
            last   QDense        325.46   284.83        0.00        0.21   325.67  0.3 x Mux (4) + FixedPointAccumulator (7)

            reference          10 531 pJ in total; 17 033 pJ with what is left out of the totals
            trial              1 956 pJ in total; 4 679 pJ with what is left out of the totals
            trial / reference  18.6 %
            assumed            QTools does not know this quantizer; it is priced as fixed point of its width"#]];
        expected.assert_eq(&energy(&reference, Some(&trial)));
    }

    #[test]
    fn a_reference_alone_assumes_nothing() {
        let reference = reference_profile(&EnergyGoal::default(), &network(), false).unwrap();

        let text = energy(&reference, None);

        assert!(!text.contains("assumed") && !text.contains("trial"), "{text}");
    }
}
