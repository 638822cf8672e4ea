use std::str::FromStr;

use bitloop_core::bits::Choice;
use bitloop_core::graph::{Graph, INPUT, Op, PointKind};
use serde_json::{Map, Value, json};

use super::parts::{Bias, Parts, tensor_name};
use super::{ExportError, Exported};
use crate::quantizer::Encoding;

/// Width that stands for a tensor without quantizer.
const FLOAT_BITS: u32 = 32;

/// Versions of the format that SNPE and QNN read as quantization overrides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodingsVersion {
    /// Maps from tensor to encodings with ends, scale and offset.
    V0_6_1,
    /// Lists of encodings with scales and offsets.
    V1_0_0,
    /// One list in the terms of ONNX, biases included.
    V2_0_0,
}

impl EncodingsVersion {
    /// All, oldest first.
    pub const ALL: [Self; 3] = [Self::V0_6_1, Self::V1_0_0, Self::V2_0_0];

    /// The version as in the files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_6_1 => "0.6.1",
            Self::V1_0_0 => "1.0.0",
            Self::V2_0_0 => "2.0.0",
        }
    }
}

/// No version of the format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no version of encodings files; choose 0.6.1, 1.0.0 or 2.0.0")]
pub struct UnknownVersion(pub String);

impl FromStr for EncodingsVersion {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        let known = Self::ALL.into_iter().find(|version| version.as_str() == text);
        known.ok_or_else(|| UnknownVersion(text.to_owned()))
    }
}

/// A tensor of the ONNX file with what its point gives it.
struct Named<'a> {
    name: String,
    is_parameter: bool,
    encoding: Option<&'a Encoding>,
}

/// Returns an encodings file for the tensors of the ONNX file that [`super::onnx`] writes.
///
/// Activations are named by the tensors that nodes give (the input is `input`), parameters by initializers. Points
/// without quantizer are listed as float of 32 bits, so that no reader quantizes them by its own choice; version 2.0.0
/// has no word for that and leaves them out.
///
/// Errors: `Graph`, `Tensor`.
/// Source: `../shared/design/methods/aimet_and_demotion.md` section 7.2.
pub fn encodings(exported: &Exported<'_>, version: EncodingsVersion) -> Result<String, ExportError> {
    let tensors = tensors(exported)?;
    let mut file = match version {
        EncodingsVersion::V0_6_1 => {
            let map = |is_parameter| -> Map<String, Value> {
                let chosen = tensors.iter().filter(|tensor| tensor.is_parameter == is_parameter);
                chosen.map(|tensor| (tensor.name.clone(), with_ends(tensor))).collect()
            };
            json!({ "activation_encodings": map(false), "param_encodings": map(true) })
        }
        EncodingsVersion::V1_0_0 => {
            let list = |is_parameter| -> Vec<Value> {
                let chosen = tensors.iter().filter(|tensor| tensor.is_parameter == is_parameter);
                chosen.map(listed).collect()
            };
            json!({ "activation_encodings": list(false), "param_encodings": list(true) })
        }
        EncodingsVersion::V2_0_0 => {
            let mut list: Vec<Value> = tensors.iter().filter_map(in_onnx_terms).collect();
            list.extend(biases(exported)?);
            json!({ "encodings": list })
        }
    };
    file["version"] = json!(version.as_str());
    file["producer"] = json!({ "package": "bitloop", "version": env!("CARGO_PKG_VERSION") });
    if version != EncodingsVersion::V2_0_0 {
        file["excluded_layers"] = json!(excluded(exported));
        file["quantizer_args"] = arguments(&tensors);
    }
    Ok(format!("{file:#}\n"))
}

/// All tensors with a point, in the order of the network.
fn tensors<'a>(exported: &Exported<'a>) -> Result<Vec<Named<'a>>, ExportError> {
    let graph = &exported.prepared.model.graph;
    let mut tensors = Vec::new();
    for (index, point) in exported.prepared.points.iter().enumerate() {
        let encoding = exported.encoding(index)?;
        match point.kind {
            PointKind::Weight => {
                let order = (order(graph, &point.node), 0);
                let name = format!("{}.weight", point.node);
                tensors.push((order, Named { name, is_parameter: true, encoding }));
            }
            PointKind::Activation => tensors.extend(point.tensors.iter().map(|node| {
                let is_parameter =
                    graph.node(node).is_some_and(|node| matches!(node.op, Op::Constant { .. }));
                let named = Named { name: tensor_name(graph, node), is_parameter, encoding };
                ((order(graph, node), 1), named)
            })),
        }
    }
    tensors.sort_by_key(|(order, _)| *order);
    Ok(tensors.into_iter().map(|(_, tensor)| tensor).collect())
}

fn order(graph: &Graph, node: &str) -> usize {
    match node {
        INPUT => 0,
        _ => graph
            .nodes
            .iter()
            .position(|other| other.name == node)
            .map_or(usize::MAX, |position| position + 1),
    }
}

/// Bits that the codes of a grid take.
pub(super) fn width(encoding: &Encoding) -> u32 {
    let grid = encoding.grid();
    // Counted from the distance of the ends, as a strictly symmetric grid leaves a code free.
    u32::BITS - (grid.qmax() - grid.qmin()).unsigned_abs().leading_zeros()
}

/// Offsets for codes that begin at 0.
fn shifted_offsets(encoding: &Encoding) -> impl Iterator<Item = i32> + '_ {
    let qmin = encoding.grid().qmin();
    encoding.offset().iter().map(move |offset| offset + qmin)
}

fn with_ends(tensor: &Named<'_>) -> Value {
    let Some(encoding) = tensor.encoding else {
        return json!([{ "bitwidth": FLOAT_BITS, "dtype": "float" }]);
    };
    let grid = encoding.grid();
    let steps = (grid.qmax() - grid.qmin()) as f32;
    let is_symmetric = if grid.is_symmetric() { "True" } else { "False" };
    let each = encoding.scale().iter().zip(shifted_offsets(encoding)).map(|(scale, offset)| {
        let offset_steps = offset as f32;
        json!({
            "bitwidth": width(encoding), "dtype": "int", "is_symmetric": is_symmetric,
            "min": offset_steps * scale, "max": (offset_steps + steps) * scale,
            "offset": offset, "scale": scale,
        })
    });
    each.collect()
}

fn listed(tensor: &Named<'_>) -> Value {
    let Some(encoding) = tensor.encoding else {
        return json!({ "name": tensor.name, "dtype": "FLOAT", "bw": FLOAT_BITS, "enc_type": "PER_TENSOR" });
    };
    let enc_type = if encoding.scale().len() > 1 { "PER_CHANNEL" } else { "PER_TENSOR" };
    json!({
        "name": tensor.name, "dtype": "INT", "bw": width(encoding), "is_sym": encoding.grid().is_symmetric(),
        "scale": encoding.scale(), "offset": shifted_offsets(encoding).collect::<Vec<_>>(), "enc_type": enc_type,
    })
}

fn in_onnx_terms(tensor: &Named<'_>) -> Option<Value> {
    let encoding = tensor.encoding?;
    let sign = if encoding.grid().qmin() < 0 { "" } else { "u" };
    let mut value = json!({
        "name": tensor.name, "output_dtype": format!("{sign}int{}", width(encoding)),
        "y_scale": one_or_all(encoding.scale()),
    });
    if encoding.offset().iter().any(|offset| *offset != 0) {
        let zero_points: Vec<i32> = encoding.offset().iter().map(|offset| -offset).collect();
        value["y_zero_point"] = one_or_all(&zero_points);
    }
    if encoding.scale().len() > 1 {
        value["axis"] = json!(0);
    }
    Some(value)
}

fn one_or_all<T: serde::Serialize>(values: &[T]) -> Value {
    match values {
        [one] => json!(one),
        all => json!(all),
    }
}

fn biases(exported: &Exported<'_>) -> Result<Vec<Value>, ExportError> {
    let parts = Parts::of(exported)?;
    let value = |(layer, bias): (&&str, &Bias)| {
        let Bias::Int32 { scale, .. } = bias else { return None };
        let mut value =
            json!({ "name": format!("{layer}.bias"), "output_dtype": "int32", "y_scale": one_or_all(scale) });
        if scale.len() > 1 {
            value["axis"] = json!(0);
        }
        Some(value)
    };
    Ok(parts.biases.iter().filter_map(value).collect())
}

/// Layers whose weight stays float.
fn excluded<'a>(exported: &Exported<'a>) -> Vec<&'a str> {
    let points = exported.prepared.points.iter().zip(&exported.choices);
    let float = points.filter(|(point, choice)| point.kind == PointKind::Weight && **choice == Choice::Float);
    float.map(|(point, _)| point.node.as_str()).collect()
}

/// What most readers ignore: the widest grids, and how weights are quantized.
fn arguments(tensors: &[Named<'_>]) -> Value {
    let of = |is_parameter| {
        let chosen = tensors.iter().filter(move |tensor| tensor.is_parameter == is_parameter);
        chosen.filter_map(|tensor| tensor.encoding)
    };
    let widest = |is_parameter| of(is_parameter).map(width).max().unwrap_or(FLOAT_BITS);
    json!({
        "quant_scheme": "calibrated", "dtype": "int",
        "param_bitwidth": widest(true), "activation_bitwidth": widest(false),
        "is_symmetric": of(true).all(|encoding| encoding.grid().is_symmetric()),
        "per_channel_quantization": of(true).any(|encoding| encoding.scale().len() > 1),
    })
}
