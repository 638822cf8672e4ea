use std::collections::BTreeMap;

use bitloop_core::bits::Bits;
use bitloop_core::graph::{Conv2d, INPUT, Input as GraphInput, Linear, Op, Padding, Point, Pool, Shape};
use bitloop_core::graph::{Graph, PointKind};
use bitloop_core::plan::StagePlan;
use bitloop_core::report::Report;
use bitloop_core::rng::rng;
use bitloop_core::state::{Input, State, UnixMillis, decide};
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::space::Variable;

mod peak;

fn bits(width: u8) -> Bits {
    Bits::new(width).unwrap()
}

fn image(channels: usize, size: usize) -> GraphInput {
    GraphInput {
        shape: Shape::image(channels, size, size),
        mean: vec![0.5; channels],
        std: vec![0.25; channels],
    }
}

fn conv(out_channels: usize) -> Op {
    let (kernel, stride, padding) = ([3, 3], [1, 1], Padding::all(1));
    Op::Conv2d(Conv2d { out_channels, kernel, stride, padding, dilation: [1, 1], groups: 1, bias: true })
}

/// A block whose sum is read twice, two branches that are joined, a pooling and a classifier.
fn branched() -> Graph {
    let mut graph = Graph::new("branched", image(3, 8));
    graph.push("stem", conv(4), &[INPUT]);
    graph.push("stem_act", Op::Relu, &["stem"]);
    graph.push("a", conv(4), &["stem_act"]);
    graph.push("sum", Op::Add, &["a", "stem_act"]);
    graph.push("sum_act", Op::Relu, &["sum"]);
    graph.push("left", conv(2), &["sum_act"]);
    graph.push("right", conv(6), &["sum_act"]);
    graph.push("join", Op::Concat { axis: 0 }, &["left", "right"]);
    let pool = Pool { kernel: [2, 2], stride: [2, 2], padding: Padding::default(), count_padding: false };
    graph.push("pool", Op::MaxPool(pool), &["join"]);
    graph.push("flat", Op::Flatten, &["pool"]);
    graph.push("classes", Op::Linear(Linear { out_features: 5, bias: true }), &["flat"]);
    graph
}

/// All points but the fixed ones and those in `left_out`, with these widths.
fn space(points: &[Point], widths: &[u8], left_out: &[&str]) -> Space {
    let searched = points.iter().filter(|point| !point.fixed && !left_out.contains(&point.name.as_str()));
    let widths: Vec<Bits> = widths.iter().map(|width| bits(*width)).collect();
    let variables =
        searched.map(|point| Variable { name: point.name.clone(), kind: point.kind, widths: widths.clone() });
    Space { variables: variables.collect() }
}

fn draw(space: &Space, seed: u64) -> Vec<u8> {
    let mut rng = rng(seed, 0);
    space.variables.iter().map(|variable| rng.below(variable.widths.len()) as u8).collect()
}

/// Bits of weight storage and bit operations, counted layer by layer as a report does it.
fn counted(graph: &Graph, points: &[Point], width_of: impl Fn(&str) -> u32) -> (u64, u64) {
    let mut sums = (0, 0);
    for layer in graph.layer_costs_with(points).unwrap() {
        let weight = format!("{}.weight", layer.node);
        let weight = if points.iter().any(|point| point.name == weight) { width_of(&weight) } else { 32 };
        let input = layer.input_point.as_deref().map_or(32, &width_of);
        sums.0 += layer.weights as u64 * u64::from(weight);
        sums.1 += layer.bops(weight, input);
    }
    sums
}

#[test]
fn size_and_bops_count_what_a_report_counts_fixed_and_float_tensors_included() {
    let graph = branched();
    let mut points = graph.points().unwrap();
    points.retain(|point| !["right.weight", "input.output"].contains(&point.name.as_str()));
    points[0].fixed = true;
    let space = space(&points, &[2, 4, 8], &["left.weight"]);
    let subject = Subject::of_graph(&graph, &points, bits(8), &space).unwrap();
    let (size, bops) = (cost("size_bits", &subject).unwrap(), cost("bops", &subject).unwrap());
    let kib = cost("size_kib", &subject).unwrap();
    let giga = cost("bops_g", &subject).unwrap();

    for seed in 0..50 {
        let levels = draw(&space, seed);
        let width_of =
            |point: &str| space.find(point).map_or(8, |variable| space.width(variable, &levels).get());
        let (size_bits, operations) = counted(&graph, &points, width_of);
        assert_eq!(size.value(&space, &levels), size_bits as f64);
        assert_eq!(bops.value(&space, &levels), operations as f64);
        assert_eq!(kib.value(&space, &levels), size_bits as f64 / 8192.0);
        let error = giga.value(&space, &levels) * 1e9 / operations as f64 - 1.0;
        assert!(error.abs() < 1e-12, "{error}");
    }
}

#[test]
fn the_reference_costs_what_the_reports_baseline_does() {
    let mut plan = crate::tests::plan(1);
    plan.graph = branched();
    plan.points = plan.graph.points().unwrap();
    plan.points.retain(|point| !["right.weight", "input.output"].contains(&point.name.as_str()));
    plan.points[0].fixed = true;
    plan.stages = vec![StagePlan::Prepare];
    let mut state = State::default();
    let submit = Input::Submit { plan: Box::new(plan.clone()), sources: BTreeMap::new(), priority: 0 };
    for event in decide(&state, &submit, UnixMillis(0)).unwrap().events {
        state.apply(&event);
    }
    let report = Report::new(&state.ledger, &state.ledger.experiments()[0]).unwrap();
    let space = space(&plan.points, &[2, 8], &["left.weight"]);
    let subject = Subject::of_graph(&plan.graph, &plan.points, bits(8), &space).unwrap();
    let value = |name: &str| cost(name, &subject).unwrap().value(&space, &space.reference());

    assert_eq!(value("size_bits"), report.baseline_size_bits as f64);
    assert_eq!(value("bops"), report.baseline_bops as f64);
}

#[test]
fn a_point_that_several_layers_read_lowers_all_of_them() {
    let graph = branched();
    let points = graph.points().unwrap();
    let space = space(&points, &[4, 8], &[]);
    let subject = Subject::of_graph(&graph, &points, bits(8), &space).unwrap();
    let bops = cost("bops", &subject).unwrap();
    let mut levels = space.reference();
    let before = bops.value(&space, &levels);

    levels[space.find("sum_act.output").unwrap()] = 0;

    // Both branches: 9 * 4 inputs for each of 2 and 6 channels at 64 positions.
    let macs = f64::from(9 * 4 * (2 + 6) * 64);
    assert_eq!(before - bops.value(&space, &levels), macs * 8.0 * 4.0);
}

#[test]
fn macs_are_the_same_for_every_assignment() {
    let graph = branched();
    let points = graph.points().unwrap();
    let space = space(&points, &[4, 8], &[]);
    let subject = Subject::of_graph(&graph, &points, bits(8), &space).unwrap();
    let macs = cost("macs_m", &subject).unwrap();
    let expected: u64 = graph.layer_costs().unwrap().iter().map(|layer| layer.macs).sum();

    for seed in 0..5 {
        assert_eq!(macs.value(&space, &draw(&space, seed)), expected as f64 / 1e6);
    }
}

#[test]
fn forms_have_each_pair_once_and_values_for_every_width() {
    let graph = branched();
    let points = graph.points().unwrap();
    let space = space(&points, &[3, 4, 8], &[]);
    let subject = Subject::of_graph(&graph, &points, bits(8), &space).unwrap();

    for name in known(&subject) {
        for row in cost(&name, &subject).unwrap().rows {
            let mut pairs: Vec<_> = row.two.iter().map(|two| (two.a.min(two.b), two.a.max(two.b))).collect();
            pairs.dedup();
            assert_eq!(pairs.len(), row.two.len(), "{name}");
            assert!(row.two.iter().all(|two| two.a != two.b && two.values.len() == 9), "{name}");
            assert_eq!(row.one.len(), space.variables.len(), "{name}");
            assert!(row.one.iter().all(|term| [0, 3].contains(&term.len())), "{name}");
        }
    }
}

#[test]
fn an_unknown_cost_and_an_unknown_point_are_named() {
    let graph = branched();
    let points = graph.points().unwrap();
    let mut space = space(&points, &[4, 8], &[]);
    let subject = Subject::of_graph(&graph, &points, bits(8), &space).unwrap();
    let error = cost("energy_uj", &subject).unwrap_err().to_string();
    assert!(error.contains("`energy_uj`") && error.contains("peak_activation_kib"), "{error}");

    space.variables[1].name = "other.weight".to_owned();
    let error = Subject::of_graph(&graph, &points, bits(8), &space).unwrap_err();
    assert_eq!(error, CostError::UnknownVariable("other.weight".to_owned()));
}

const LATENCY: &str = r#"{ "cost": "latency_ms", "constant": 0.25,
  "points": [ { "point": "sum_act.output", "values": { "4": 0.5, "8": 0.75 } },
              { "point": "input.output", "values": { "8": 1.0 } } ],
  "layers": [ { "layer": "a", "weight": "a.weight", "input": "stem_act.output", "values": [
                { "weight_bits": 4, "input_bits": 4, "value": 1.0 }, { "weight_bits": 4, "input_bits": 8, "value": 2.0 },
                { "weight_bits": 8, "input_bits": 4, "value": 3.0 }, { "weight_bits": 8, "input_bits": 8, "value": 5.0 } ] } ] }"#;

#[test]
fn a_table_prices_points_and_layers_by_their_widths() {
    let graph = branched();
    let points = graph.points().unwrap();
    let space = space(&points, &[4, 8], &["input.output"]);
    let subject = Subject::of_graph(&graph, &points, bits(8), &space).unwrap();
    let subject = subject.with_tables(vec![Table::parse(LATENCY).unwrap()]);
    let latency = cost("latency_ms", &subject).unwrap();
    let mut levels = space.reference();

    assert_eq!(latency.value(&space, &levels), 0.25 + 1.0 + 0.75 + 5.0);
    levels[space.find("stem_act.output").unwrap()] = 0;
    levels[space.find("sum_act.output").unwrap()] = 0;
    assert_eq!(latency.value(&space, &levels), 0.25 + 1.0 + 0.5 + 3.0);
    levels[space.find("a.weight").unwrap()] = 0;
    assert_eq!(latency.value(&space, &levels), 0.25 + 1.0 + 0.5 + 1.0);
}

#[test]
fn a_table_that_leaves_something_open_is_refused() {
    let graph = branched();
    let points = graph.points().unwrap();
    let error = |text: &str, widths: &[u8]| {
        let space = space(&points, widths, &["input.output"]);
        let subject = Subject::of_graph(&graph, &points, bits(8), &space).unwrap();
        Table::parse(text).and_then(|table| table.cost(&subject)).unwrap_err().to_string()
    };

    let cases = [
        (LATENCY.replace("\"4\": 0.5, ", ""), "no price of `sum_act.output` at 4 bits"),
        (LATENCY.replace("\"4\": 0.5, ", "\"8\": 0.5, "), "the width 8 stands there twice"),
        (LATENCY.replace("0.5", "1e999"), "number out of range"),
        (LATENCY.replace("0.5", "NaN"), "cannot be read"),
        (LATENCY.replace("sum_act.output", "a.output2"), "`a.output2`, which is no point"),
        (LATENCY.replace("\"input.output\"", "\"sum_act.output\""), "two prices of `sum_act.output`"),
        (
            LATENCY.replace("\"weight_bits\": 8, \"input_bits\": 4", "\"weight_bits\": 8, \"input_bits\": 8"),
            "two prices of `a at",
        ),
        (LATENCY.replace("\"constant\"", "\"offset\""), "unknown field `offset`"),
        (LATENCY.replace("\"input\": \"stem_act.output\", ", ""), "an input of 32 bits"),
    ];
    for (text, expected) in cases {
        assert!(error(&text, &[4, 8]).contains(expected), "{expected}: {}", error(&text, &[4, 8]));
    }
    assert!(error(LATENCY, &[4, 6, 8]).contains("at 6 bits"));
}

proptest! {
    #[test]
    fn a_product_of_widths_is_priced_whichever_of_them_are_searched(seed in any::<u64>(), first in 0_usize..4, second in 0_usize..4) {
        let widths = [vec![bits(4), bits(8)], vec![bits(2), bits(3), bits(8)]];
        let kinds = [PointKind::Weight, PointKind::Activation];
        let variables = widths.into_iter().zip(kinds).enumerate();
        let variables = variables.map(|(index, (widths, kind))| Variable { name: index.to_string(), kind, widths });
        let space = Space { variables: variables.collect() };
        let operands = [Width::Variable(0), Width::Variable(1), Width::Fixed(5), Width::Fixed(32)];
        let (a, b) = (operands[first], operands[second]);
        let levels = draw(&space, seed);
        let width = |operand: Width| match operand {
            Width::Fixed(bits) => bits,
            Width::Variable(variable) => space.width(variable, &levels).get(),
        };
        let price = |a: u32, b: u32| f64::from(100 * a + b);
        let mut terms = terms::Terms::new(&space);
        terms.add_two(a, b, price);
        terms.add_two(b, a, price);

        let form = terms.form();

        prop_assert_eq!(form.value(&space, &levels), price(width(a), width(b)) + price(width(b), width(a)));
        prop_assert!(form.two.len() <= 1);
    }
}
