use bitloop_core::bits::Choice;
use bitloop_core::graph::{INPUT, Node, Op, Shape};

use super::codes::{CodeTypes, REFUSED, Stored, limits};
use super::parts::{Parts, tensor_name};
use super::writer::Writer;
use super::{ExportError, Exported, operators};
use crate::onnx::schema::tensor_proto::DataType;
use crate::onnx::schema::tensor_shape_proto::Dimension;
use crate::onnx::schema::{
    ModelProto, OperatorSetIdProto, StringStringEntryProto, TensorShapeProto, TypeProto, ValueInfoProto,
    type_proto,
};
use crate::onnx::{MEAN_KEY, STD_KEY, encoded};
use crate::prepare::Prepared;

/// The first version of the operators with integers of 4 and 16 bits in QuantizeLinear.
const OPSET: i64 = 21;
/// The version of the format that came with it.
const IR_VERSION: i64 = 10;
/// Name of the first axis, whose extent is left open.
const BATCH: &str = "batch";

/// Returns an ONNX file whose quantizers are pairs of QuantizeLinear and DequantizeLinear (opset 21, IR 10).
///
/// - The input is `input`; the output of a node is a tensor of the node's name, on its grid behind `<name>_qdq`. The
///   last node's tensor keeps its name behind the quantizer, so that the file's output has one name at all widths.
/// - Weights stay float initializers `<node>.weight`, followed by the pair: one scale, or one per channel on axis 0.
/// - A bias in steps is an INT32 initializer with a DequantizeLinear, otherwise it is float.
/// - Codes are INT4/8/16 where a grid has negative codes, else UINT4/8/16. ONNX has no strictly symmetric grids:
///   an activation far below its range gets one code more there.
/// - Identity and Dropout are written, and dropped at import; so is a Flatten of what has one axis.
///
/// Errors: `OddWidths` naming the points, `Constant`, `Name`, `TooLarge`, `Graph`, `Tensor`.
/// Source: `../shared/design/methods/aimet_and_demotion.md` section 7.1.
pub fn onnx(exported: &Exported<'_>) -> Result<Vec<u8>, ExportError> {
    check_widths(exported)?;
    written(exported, None)
}

/// Returns an ONNX file as [`onnx`] writes one, with any widths, for a device to execute: codes whose width has no type there,
/// or none in `types`, lie in a wider one and give the same values.
///
/// - Weights are clipped to their grid; their scales are the same.
/// - What is computed is quantized with the same scale, and a Clip on the codes keeps them on their grid. It stands for a Relu,
///   ReLU6 or Clip before it too, which is left out: behind a grid that reaches farther, runtimes would compute it in floats, and
///   the layer before it as well.
///
/// Errors: as [`onnx`], but `OddWidths`.
pub fn onnx_for_device(exported: &Exported<'_>, types: CodeTypes) -> Result<Vec<u8>, ExportError> {
    written(exported, Some(types))
}

fn written(exported: &Exported<'_>, types: Option<CodeTypes>) -> Result<Vec<u8>, ExportError> {
    let parts = Parts::of(exported)?;
    let graph = &exported.prepared.model.graph;
    let mut writer = Writer::new(&exported.prepared.model, types)?;
    if let Some(encoding) = parts.outputs.get(INPUT) {
        let stored = Stored::activation(INPUT, encoding, types).expect(REFUSED);
        let quantized = writer.quantize(INPUT, &stored);
        writer.read_instead(INPUT, quantized);
    }
    let last = graph.output()?;
    for node in &graph.nodes {
        write_node(&mut writer, &parts, node, node.name == last.name)?;
    }
    let shape = writer.shapes[last.name.as_str()].clone();
    let mut file = writer.graph;
    file.input = vec![value_info(INPUT, &graph.input.shape)];
    file.output = vec![value_info(&last.name, &shape)];
    let metadata = [(MEAN_KEY, &graph.input.mean), (STD_KEY, &graph.input.std)];
    let file = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "bitloop".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(file),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPSET }],
        metadata_props: metadata.map(|(key, numbers)| entry(key, numbers)).to_vec(),
    };
    encoded(&file).map_err(|bytes| ExportError::TooLarge { bytes })
}

/// Returns an ONNX file without any quantizer; its tensors have the names that encodings files use.
///
/// Errors: as [`onnx`], but `OddWidths`.
pub fn onnx_float(prepared: &Prepared) -> Result<Vec<u8>, ExportError> {
    onnx(&Exported::new(prepared, vec![Choice::Float; prepared.points.len()])?)
}

fn check_widths(exported: &Exported<'_>) -> Result<(), ExportError> {
    let mut odd = Vec::new();
    for (index, point) in exported.prepared.points.iter().enumerate() {
        if let Some(encoding) = exported.encoding(index)?
            && Stored::activation(&point.name, encoding, None).is_none()
        {
            odd.push(format!("`{}` has {}", point.name, exported.choices[index]));
        }
    }
    if odd.is_empty() { Ok(()) } else { Err(ExportError::OddWidths { points: odd.join(", ") }) }
}

fn write_node(
    writer: &mut Writer<'_>,
    parts: &Parts<'_>,
    node: &Node,
    is_last: bool,
) -> Result<(), ExportError> {
    let (name, types) = (node.name.as_str(), writer.types);
    check_constants(writer, node, is_last)?;
    let encoding = parts.outputs.get(name);
    let stored = |name, encoding| Stored::activation(name, encoding, types).expect(REFUSED);
    if let Op::Constant { shape } = &node.op {
        let tensor = writer.weight(&tensor_name(&writer.model.graph, name), shape)?;
        let read = encoding.map(|encoding| writer.quantize(&tensor, &stored(&tensor, encoding)));
        writer.read_instead(name, read.unwrap_or(tensor));
        return Ok(());
    }
    let Some(encoding) = encoding else {
        return operators::write(writer, parts, node, name);
    };
    if is_last {
        let float = writer.free(&format!("{name}_float"));
        operators::write(writer, parts, node, &float)?;
        writer.quantize_to(&float, &stored(&float, encoding), name);
        return Ok(());
    }
    let quantized = match limits(&node.op).and_then(|limits| stored(name, encoding).within(limits)) {
        Some(clipped) => {
            let source = writer.output_of(&node.inputs[0]);
            writer.quantize(&source, &clipped)
        }
        None => {
            operators::write(writer, parts, node, name)?;
            writer.quantize(name, &stored(name, encoding))
        }
    };
    writer.read_instead(name, quantized);
    Ok(())
}

/// Refuses what a constant, which has no batch, cannot stand for.
fn check_constants(writer: &Writer<'_>, node: &Node, is_last: bool) -> Result<(), ExportError> {
    let mut constants = node.inputs.iter().map(|input| writer.is_constant(input));
    let is_refused = match node.op {
        Op::Constant { .. } => is_last,
        Op::Add | Op::Mul => constants.all(|is_constant| is_constant),
        _ => constants.any(|is_constant| is_constant),
    };
    if is_refused { Err(ExportError::Constant { node: node.name.clone() }) } else { Ok(()) }
}

fn value_info(name: &str, shape: &Shape) -> ValueInfoProto {
    let batch = Dimension { dim_param: BATCH.to_owned(), ..Dimension::default() };
    let extents =
        shape.0.iter().map(|extent| Dimension { dim_value: *extent as i64, ..Dimension::default() });
    let shape = TensorShapeProto { dim: std::iter::once(batch).chain(extents).collect() };
    let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape: Some(shape) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}

fn entry(key: &str, numbers: &[f32]) -> StringStringEntryProto {
    let value = numbers.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
    StringStringEntryProto { key: key.to_owned(), value }
}
