use std::collections::BTreeMap;

use bitloop_core::bits::Choice;
use bitloop_core::graph::{Graph, Op, PointKind, Shape};
use bitloop_core::spec::Initializer;
use bitloop_core::trial::{Biases, Transform};
use bitloop_quant::export::{Exported, onnx, onnx_float};
use bitloop_quant::onnx::{ElementType, ImportOptions, Imported, ImportedEncoding, import};
use bitloop_quant::prepare::Prepared;
use bitloop_quant::zoo::{Strides, Zoo, architecture, architectures, initial_weights};

use crate::networks::{Wanted, all, bits, every_operator, images, small, values, with_weights};

fn imported(bytes: &[u8]) -> Imported {
    import(bytes, None, &ImportOptions::default()).unwrap()
}

/// The encodings that an import should find, by its names.
fn expected_encodings(exported: &Exported<'_>) -> BTreeMap<String, ImportedEncoding> {
    let prepared = exported.prepared();
    let mut expected = BTreeMap::new();
    for (index, point) in prepared.points.iter().enumerate() {
        let Choice::Bits(width) = exported.choices()[index] else { continue };
        let encoding = prepared.encoding(index, width).unwrap();
        let element = match (encoding.grid().qmin() < 0, width.get()) {
            (true, 4) => ElementType::Int4,
            (true, 8) => ElementType::Int8,
            (true, _) => ElementType::Int16,
            (false, 4) => ElementType::Uint4,
            (false, 8) => ElementType::Uint8,
            (false, _) => ElementType::Uint16,
        };
        let own = ImportedEncoding {
            scale: encoding.scale().to_vec(),
            zero_point: encoding.offset().iter().map(|offset| -offset).collect(),
            axis: (encoding.scale().len() > 1).then_some(0),
            element,
            codes: None,
        };
        match point.kind {
            PointKind::Weight => {
                expected.insert(format!("{}.weight", point.node), own);
            }
            PointKind::Activation => {
                let tensors = point.tensors.iter().map(|tensor| (format!("{tensor}.output"), own.clone()));
                expected.extend(tensors);
            }
        }
    }
    expected
}

fn assert_same(prepared: &Prepared, choices: Vec<Choice>) {
    let exported = Exported::new(prepared, choices).unwrap();
    let back = imported(&onnx(&exported).unwrap());

    assert_eq!(back.model.graph, prepared.model.graph);
    assert_eq!(values(&back.model.weights), values(&prepared.model.weights));
    assert_eq!(back.encodings, expected_encodings(&exported));
    assert_eq!(back.opset, 21);
}

#[test]
fn every_operator_comes_back_with_weights_and_encodings() {
    let graph = every_operator();
    let shape = graph.input.shape.clone();
    let wanted = Wanted { widths: vec![4, 8, 16], ..Wanted::default() };
    let prepared = wanted.prepare(&with_weights(graph), images(&shape));

    for width in [4, 8, 16] {
        assert_same(&prepared, all(&prepared, width));
    }
    let mixed = (0..prepared.points.len()).map(|index| match index % 3 {
        0 => Choice::Float,
        1 => Choice::Bits(bits(4)),
        _ => Choice::Bits(bits(16)),
    });
    assert_same(&prepared, mixed.collect());
    assert_eq!(imported(&onnx_float(&prepared).unwrap()).model.graph, prepared.model.graph);
    assert!(imported(&onnx_float(&prepared).unwrap()).encodings.is_empty());
}

#[test]
fn zoo_networks_come_back_with_weights_and_encodings() {
    for name in architectures() {
        let architecture = architecture(name).unwrap();
        let input = architecture.input(Shape::image(3, 32, 32));
        let zoo = Zoo { classes: Some(4), input: Some(input), ..Zoo::published(architecture) };
        let zoo = Zoo { strides: Strides::SmallImages, ..zoo };
        // The largest ones have the operators of the smaller ones.
        let repeats = [
            "resnet34",
            "efficientnet_lite1",
            "efficientnet_lite2",
            "efficientnet_lite3",
            "efficientnet_lite4",
        ];
        if repeats.contains(&name) {
            continue;
        }
        let graph = without_dropped(zoo.graph().unwrap());
        let weights = initial_weights(&graph, Initializer::HeNormal, 5).unwrap();
        let shape = graph.input.shape.clone();
        let model = bitloop_quant::model::Model::new(graph, weights).unwrap();
        let wanted = Wanted { transforms: vec![Transform::FoldBatchNorm], ..Wanted::default() };
        let prepared = wanted.prepare(&model, images(&shape));
        assert_same(&prepared, all(&prepared, 8));
        assert_eq!(imported(&onnx_float(&prepared).unwrap()).model.graph, prepared.model.graph);
    }
}

/// Removes what an import drops, since it does nothing: Identity, Dropout, and Flatten of one axis.
fn without_dropped(graph: Graph) -> Graph {
    let shapes = graph.shapes().unwrap();
    let mut kept = Graph::new(graph.name.clone(), graph.input.clone());
    let mut instead: BTreeMap<String, String> = BTreeMap::new();
    for (node, shape) in graph.nodes.iter().zip(&shapes) {
        let inputs = node.inputs.iter().map(|input| instead.get(input).unwrap_or(input).clone());
        let inputs: Vec<String> = inputs.collect();
        let shape_of =
            |name: &str| graph.nodes.iter().position(|node| node.name == name).map(|at| &shapes[at]);
        let is_dropped = match node.op {
            Op::Identity | Op::Dropout { .. } => true,
            Op::Flatten => shape_of(&node.inputs[0]) == Some(shape),
            _ => false,
        };
        if is_dropped {
            instead.insert(node.name.clone(), inputs[0].clone());
        } else {
            kept.push(&node.name, node.op.clone(), &inputs.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
    kept
}

#[test]
fn identity_and_dropout_are_written_and_dropped_at_import() {
    let graph = small();
    let shape = graph.input.shape.clone();
    let prepared = Wanted::default().prepare(&with_weights(graph.clone()), images(&shape));
    let exported = Exported::new(&prepared, all(&prepared, 8)).unwrap();

    let back = imported(&onnx(&exported).unwrap());

    let names: Vec<&str> = back.model.graph.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["conv", "relu", "pool", "fc"]);
    assert_eq!(back.model.graph.input, graph.input);
}

#[test]
fn biases_in_steps_come_back_as_evaluation_rounds_them() {
    let graph = small();
    let shape = graph.input.shape.clone();
    for is_per_channel in [true, false] {
        let wanted = Wanted { biases: Biases::Int32, is_per_channel, ..Wanted::default() };
        let prepared = wanted.prepare(&with_weights(graph.clone()), images(&shape));
        let exported = Exported::new(&prepared, all(&prepared, 8)).unwrap();

        let back = imported(&onnx(&exported).unwrap());

        let encoding = &back.encodings["conv.bias"];
        assert_eq!(
            (encoding.element, encoding.scale.len()),
            (ElementType::Int32, if is_per_channel { 3 } else { 1 })
        );
        let (ours, theirs) = (values(&prepared.model.weights), values(&back.model.weights));
        for (index, (ours, theirs)) in ours["conv.bias"].iter().zip(&theirs["conv.bias"]).enumerate() {
            let step = encoding.scale[index.min(encoding.scale.len() - 1)];
            let expected = (f64::from(*ours) / f64::from(step)).round_ties_even() * f64::from(step);
            assert_eq!(*theirs, expected as f32);
        }
    }
}
