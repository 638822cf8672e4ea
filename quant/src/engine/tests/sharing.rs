//! Nothing is computed, moved or packed twice.

use super::*;
use crate::engine::blueprint::Work;
use crate::engine::kernel::Kernel;

fn input() -> Input {
    Input { shape: Shape::image(1, 8, 8), mean: vec![0.4], std: vec![0.3] }
}

/// A shuffle of channels that two layers read, and values that two curves read.
fn shared() -> Graph {
    let mut graph = Graph::new("shared", input());
    graph.push("stem", conv(8, 1, 1), &[INPUT]);
    graph.push("split", Op::Reshape { shape: vec![2, 4, 8, 8] }, &["stem"]);
    graph.push("swap", Op::Transpose { perm: vec![1, 0, 2, 3] }, &["split"]);
    graph.push("shuffle", Op::Reshape { shape: vec![8, 8, 8] }, &["swap"]);
    graph.push("left", conv(4, 1, 1), &["shuffle"]);
    graph.push("right", conv(4, 1, 1), &["shuffle"]);
    graph.push("sum", Op::Add, &["left", "right"]);
    graph.push("first", Op::PRelu, &["sum"]);
    graph.push("second", Op::PRelu, &["sum"]);
    graph.push("both", Op::Add, &["first", "second"]);
    graph.push("flat", Op::Flatten, &["both"]);
    graph.push("dense", Op::Linear(Linear { out_features: CLASSES, bias: true }), &["flat"]);
    graph
}

#[test]
fn a_tensor_is_moved_and_made_values_once_for_all_its_readers() {
    let prepared = random(shared());
    let engine = engine(&prepared, Numerics::Exact, Isa::best());
    let permutes =
        engine.blueprint.blocks.iter().filter(|block| matches!(block.work, Work::Permute { .. })).count();
    assert_eq!(permutes, 1);

    let (_, plan) = computed(&engine, &[vec![bits(8); prepared.points.len()]], 32, PLENTY);

    let (sum, _) = blocks_named(&engine, "sum");
    let made_values =
        |step: &&dag::Step| step.block == sum && matches!(step.kernel, Kernel::Dequantize { .. });
    assert_eq!(plan.dag.steps().iter().filter(made_values).count(), 1);
}

/// The first block of a name, and how many there are.
fn blocks_named(engine: &Engine, name: &str) -> (usize, usize) {
    let named = engine.blueprint.blocks.iter().enumerate().filter(|(_, block)| block.name == name);
    let named: Vec<usize> = named.map(|(index, _)| index).collect();
    (named[0], named.len())
}

#[test]
fn nodes_that_nothing_reads_are_left_out() {
    let mut graph = Graph::new("dead", input());
    graph.push("stem", conv(8, 1, 1), &[INPUT]);
    graph.push("dead", Op::Sigmoid, &["stem"]);
    graph.push("more_dead", conv(8, 1, 1), &["dead"]);
    graph.push("flat", Op::Flatten, &["stem"]);
    graph.push("dense", Op::Linear(Linear { out_features: CLASSES, bias: true }), &["flat"]);

    let engine = engine(&random(graph), Numerics::Exact, Isa::best());

    let names = engine.blueprint.blocks.iter().map(|block| block.name.as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["input", "stem", "dense"]);
}

#[test]
fn weights_that_no_codes_hold_are_packed_once() {
    let prepared = everything();
    let engine = engine(&prepared, Numerics::Exact, Isa::best());
    let with = |weights: Choice, others: Choice| -> Vec<Choice> {
        let points = prepared.points.iter();
        points.map(|point| if point.kind == PointKind::Weight { weights } else { others }).collect()
    };
    for weights in [Choice::Float, bits(16)] {
        computed(&engine, &[with(weights, Choice::Float)], 32, PLENTY);
        let packed = engine.packed_bytes();

        computed(&engine, &[with(weights, bits(8))], 32, PLENTY);

        assert_eq!(engine.packed_bytes(), packed);
    }
}
