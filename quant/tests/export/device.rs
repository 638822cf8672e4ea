//! Files for devices: codes of any width in the types that devices have, on the same grids.

use bitloop_core::bits::Choice;
use bitloop_core::graph::{Op, PointKind};
use bitloop_core::trial::Biases;
use bitloop_quant::export::{CodeTypes, Exported, onnx, onnx_for_device};
use bitloop_quant::model::Model;
use bitloop_quant::onnx::{ElementType, ImportOptions, Imported, Kernels, import, with_outputs};
use bitloop_quant::prepare::Prepared;

use crate::networks::{Wanted, all, bits, every_operator, images, small, values, with_weights};

const WIDTHS: [u8; 8] = [2, 3, 4, 5, 6, 7, 8, 16];

fn prepared() -> Prepared {
    let graph = every_operator();
    let shape = graph.input.shape.clone();
    Wanted { widths: WIDTHS.to_vec(), ..Wanted::default() }.prepare(&with_weights(graph), images(&shape))
}

fn imported(prepared: &Prepared, choices: Vec<Choice>, types: CodeTypes) -> Imported {
    let bytes = onnx_for_device(&Exported::new(prepared, choices).unwrap(), types).unwrap();
    import(&bytes, None, &ImportOptions::default()).unwrap()
}

/// Bits of the type that codes of a width lie in.
fn stored(width: u8, kind: PointKind, types: CodeTypes) -> u32 {
    match (types, kind, width) {
        (CodeTypes::Native, PointKind::Weight, ..=4) | (CodeTypes::Native, PointKind::Activation, 4) => 4,
        (_, _, ..=8) => 8,
        _ => 16,
    }
}

#[test]
fn every_width_comes_back_with_its_grid() {
    let prepared = prepared();
    for types in [CodeTypes::Native, CodeTypes::Int8] {
        for width in WIDTHS {
            let back = imported(&prepared, all(&prepared, width), types);

            for (index, point) in prepared.points.iter().enumerate() {
                let encoding = prepared.encoding(index, bits(width)).unwrap();
                let name = format!("{width} bits of {}", point.name);
                // Behind an operator that clips, the file has the grid alone, at the node before.
                let Some(found) = back.encodings.get(&point.name) else {
                    let node = prepared.model.graph.node(&point.node).unwrap();
                    assert!(matches!(node.op, Op::Relu | Op::Relu6 | Op::Clip { .. }), "{name}");
                    assert!(stored(width, point.kind, types) > u32::from(width), "{name}");
                    continue;
                };
                assert_eq!(found.scale, encoding.scale(), "{name}");
                assert!(
                    found.zero_point.iter().zip(encoding.offset()).all(|(zero, offset)| *zero == -offset)
                );
                assert_eq!(found.element.bits(), stored(width, point.kind, types), "{name}");
                let own = [encoding.grid().qmin(), encoding.grid().qmax()];
                let is_wider = found.element.bits() > u32::from(width);
                let is_clipped = is_wider && point.kind == PointKind::Activation;
                assert_eq!(found.codes, is_clipped.then_some(own), "{name}");
            }
        }
    }
}

#[test]
fn weights_in_wider_types_have_the_codes_of_their_own_grid() {
    let prepared = prepared();
    for width in [2, 3, 5, 7] {
        let back = imported(&prepared, all(&prepared, width), CodeTypes::Int8);
        let (ours, theirs) = (values(&prepared.model.weights), values(&back.model.weights));
        for (index, point) in prepared.points.iter().enumerate().filter(|(_, p)| p.kind == PointKind::Weight)
        {
            let encoding = prepared.encoding(index, bits(width)).unwrap();
            let (ours, theirs) = (&ours[&point.name], &theirs[&point.name]);
            let per_channel = ours.len() / encoding.scale().len();
            for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                let scale = encoding.scale()[at / per_channel];
                let (low, high) = (encoding.grid().qmin() as f32, encoding.grid().qmax() as f32);
                // The type's own ends are far away.
                let expected = (ours / scale).round_ties_even().clamp(low, high);
                assert_eq!((theirs / scale).round_ties_even(), expected, "{} at {width} bits", point.name);
            }
        }
    }
}

#[test]
fn widths_that_fill_their_type_are_written_as_ever() {
    let prepared = prepared();
    for width in [8, 16] {
        let exported = Exported::new(&prepared, all(&prepared, width)).unwrap();
        for types in [CodeTypes::Native, CodeTypes::Int8] {
            assert_eq!(onnx_for_device(&exported, types).unwrap(), onnx(&exported).unwrap());
        }
    }
    let four = Exported::new(&prepared, all(&prepared, 4)).unwrap();
    assert_eq!(onnx_for_device(&four, CodeTypes::Native).unwrap(), onnx(&four).unwrap());
    assert_eq!(
        imported(&prepared, all(&prepared, 4), CodeTypes::Int8).encodings["input.output"].element,
        ElementType::Uint8
    );
}

#[test]
fn a_bias_of_very_many_steps_leaves_room_for_the_sum_that_is_added() {
    let graph = small();
    let mut model = with_weights(graph.clone());
    let dead = |name: &str, factor: f64, model: &mut Model| {
        let weight = model.weights[name].affine(factor, 0.0).unwrap();
        model.weights.insert(name.to_owned(), weight);
    };
    dead("conv.weight", 1e-9, &mut model);
    dead("conv.bias", 1e4, &mut model);
    let wanted = Wanted { biases: Biases::Int32, ..Wanted::default() };
    let prepared = wanted.prepare(&model, images(&graph.input.shape));

    let back = imported(&prepared, all(&prepared, 8), CodeTypes::Int8);

    let steps = values(&back.model.weights)["conv.bias"].clone();
    let steps = steps.iter().zip(&back.encodings["conv.bias"].scale).map(|(bias, scale)| bias / scale);
    // Two channels and nine places, bytes and weights of 8 bits.
    let room = (2 * 9 * 255 * 128) as f32;
    assert!(steps.clone().any(|steps| steps.abs() > 2e9), "{steps:?}");
    assert!(steps.clone().all(|steps| steps.abs() <= 2_147_483_647.0 - 0.99 * room), "{steps:?}");
}

#[test]
fn kernels_belong_to_the_nodes_that_they_compute() {
    let prepared = Wanted::default().prepare(&with_weights(small()), images(&small().input.shape));
    let quantized = onnx(&Exported::new(&prepared, all(&prepared, 8)).unwrap()).unwrap();
    let float = onnx(&Exported::new(&prepared, vec![Choice::Float; prepared.points.len()]).unwrap()).unwrap();

    let (quantized, float) = (Kernels::of(&quantized).unwrap(), Kernels::of(&float).unwrap());

    assert_eq!(quantized.node_of("conv", true), Some("conv"));
    assert_eq!(quantized.node_of("input.quantize", false), None);
    assert_eq!(quantized.node_of("pool.flatten", false), Some("pool"));
    assert_eq!(quantized.node_of("Transpose_token_2", false), None);
    // A convolution that has taken up its Relu is called like the Relu.
    assert_eq!(float.node_of("relu", true), Some("conv"));
    assert_eq!(float.node_of("relu", false), Some("relu"));
}

#[test]
fn what_nodes_give_becomes_outputs_behind_the_quantizers() {
    let prepared = Wanted::default().prepare(&with_weights(small()), images(&small().input.shape));
    let bytes = onnx(&Exported::new(&prepared, all(&prepared, 8)).unwrap()).unwrap();
    let nodes = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();

    let (_, tensors) = with_outputs(&bytes, &nodes(&["relu", "conv", "fc"])).unwrap();

    assert_eq!(tensors, ["relu_qdq", "conv", "fc"]);
    let error = with_outputs(&bytes, &nodes(&["relux"])).unwrap_err().to_string();
    assert_eq!(error, "the ONNX file has no node `relux`");
}
