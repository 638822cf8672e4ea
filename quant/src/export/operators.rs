//! Each operator of our graph as nodes of ONNX.

use bitloop_core::graph::{Conv2d, Node, Op, Padding, Pool};

use super::ExportError;
use super::codes::{REFUSED, RELU6, Stored};
use super::parts::{Bias, Parts};
use super::writer::{Writer, float, int, ints};
use crate::onnx::schema::AttributeProto;
use crate::quantizer::Encoding;

/// Writes a node so that it gives the tensor `output`.
///
/// Errors: `Constant`, `Name`, `Tensor`.
pub(super) fn write(
    writer: &mut Writer<'_>,
    parts: &Parts<'_>,
    node: &Node,
    output: &str,
) -> Result<(), ExportError> {
    let name = node.name.as_str();
    let mut inputs: Vec<String> = node.inputs.iter().map(|input| writer.output_of(input)).collect();
    match &node.op {
        Op::Conv2d(conv) => {
            inputs.extend(layer_parameters(writer, parts, node)?);
            writer.node(("Conv", name), inputs, output, conv_attributes(conv));
        }
        Op::Linear(_) => {
            inputs.extend(layer_parameters(writer, parts, node)?);
            writer.node(("Gemm", name), inputs, output, vec![int("transB", 1)]);
        }
        Op::BatchNorm { eps } => {
            let channels = writer.shapes[name].channels();
            for part in ["gamma", "beta", "running_mean", "running_var"] {
                inputs.push(writer.weight(&format!("{name}.{part}"), &[channels])?);
            }
            writer.node(("BatchNormalization", name), inputs, output, vec![float("epsilon", *eps as f32)]);
        }
        Op::PRelu => {
            inputs.push(slopes(writer, name)?);
            writer.node(("PRelu", name), inputs, output, Vec::new());
        }
        Op::Relu6 => clip(writer, node, RELU6, output),
        Op::Clip { min, max } => clip(writer, node, [*min, *max], output),
        Op::Add => broadcast(writer, ("Add", node), output),
        Op::Mul => broadcast(writer, ("Mul", node), output),
        Op::GlobalAveragePool => {
            let kept = writer.free(&format!("{name}.kept"));
            writer.node(("GlobalAveragePool", name), inputs, &kept, Vec::new());
            writer.node(("Flatten", &format!("{name}.flatten")), vec![kept], output, vec![int("axis", 1)]);
        }
        Op::Mean { axes, keep } => {
            inputs.push(writer.integers(&format!("{name}.axes"), &behind_batch(axes)));
            writer.node(("ReduceMean", name), inputs, output, vec![int("keepdims", i64::from(*keep))]);
        }
        Op::Reshape { shape } => {
            inputs.push(target(writer, name, shape));
            writer.node(("Reshape", name), inputs, output, Vec::new());
        }
        Op::Slice { axis, start, end, step } => {
            let bounds = [("starts", *start), ("ends", *end), ("axes", axis + 1), ("steps", *step)];
            let bounds = bounds.map(|(part, value)| (format!("{name}.{part}"), value as i64));
            inputs.extend(bounds.map(|(part, value)| writer.integers(&part, &[value])));
            writer.node(("Slice", name), inputs, output, Vec::new());
        }
        Op::Pad { before, after, value } => {
            inputs.extend(pad_parameters(writer, name, [before, after], *value));
            writer.node(("Pad", name), inputs, output, Vec::new());
        }
        Op::Dropout { rate } => {
            inputs.push(writer.scalar(&format!("{name}.ratio"), *rate));
            writer.node(("Dropout", name), inputs, output, Vec::new());
        }
        op => {
            let (operator, attributes) = plain(op);
            writer.node((operator, name), inputs, output, attributes);
        }
    }
    Ok(())
}

/// Operators without weights or parameters that are inputs.
fn plain(op: &Op) -> (&'static str, Vec<AttributeProto>) {
    match op {
        Op::Relu => ("Relu", Vec::new()),
        Op::LeakyRelu { slope } => ("LeakyRelu", vec![float("alpha", *slope)]),
        Op::HardSwish => ("HardSwish", Vec::new()),
        Op::HardSigmoid { alpha, beta } => {
            ("HardSigmoid", vec![float("alpha", *alpha), float("beta", *beta)])
        }
        Op::Sigmoid => ("Sigmoid", Vec::new()),
        Op::MaxPool(pool) => ("MaxPool", pool_attributes(pool)),
        Op::AveragePool(pool) => {
            let mut attributes = pool_attributes(pool);
            attributes.push(int("count_include_pad", i64::from(pool.count_padding)));
            ("AveragePool", attributes)
        }
        Op::Concat { axis } => ("Concat", vec![int("axis", *axis as i64 + 1)]),
        Op::Flatten => ("Flatten", vec![int("axis", 1)]),
        Op::Transpose { perm } => {
            let perm: Vec<usize> = std::iter::once(0).chain(perm.iter().map(|axis| axis + 1)).collect();
            ("Transpose", vec![ints("perm", &perm)])
        }
        Op::Softmax { axis } => ("Softmax", vec![int("axis", *axis as i64 + 1)]),
        Op::Lrn { size, alpha, beta, bias } => {
            let numbers = [("alpha", *alpha), ("beta", *beta), ("bias", *bias)];
            let mut attributes = vec![int("size", *size as i64)];
            attributes.extend(numbers.map(|(name, number)| float(name, number)));
            ("LRN", attributes)
        }
        Op::Identity => ("Identity", Vec::new()),
        Op::Conv2d(_)
        | Op::Linear(_)
        | Op::BatchNorm { .. }
        | Op::Relu6
        | Op::PRelu
        | Op::Clip { .. }
        | Op::Add
        | Op::Mul
        | Op::Constant { .. }
        | Op::GlobalAveragePool
        | Op::Mean { .. }
        | Op::Reshape { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Dropout { .. } => unreachable!("`write` has its own way with these"),
    }
}

/// Weight and bias of a layer, quantized as they are to be.
fn layer_parameters(
    writer: &mut Writer<'_>,
    parts: &Parts<'_>,
    node: &Node,
) -> Result<Vec<String>, ExportError> {
    let name = format!("{}.weight", node.name);
    let dims = writer.model.weights.get(&name).map_or(Vec::new(), |weight| weight.dims().to_vec());
    let mut values = writer.values(&name)?;
    let weight = match parts.weights.get(node.name.as_str()) {
        None => writer.floats(&name, &dims, &values)?,
        Some(encoding) => {
            let mut stored = Stored::weight(&name, encoding, writer.types).expect(REFUSED);
            if let Some(codes) = stored.codes.take() {
                clip_to_grid(&mut values, encoding, codes);
            }
            let tensor = writer.floats(&name, &dims, &values)?;
            writer.quantize(&tensor, &stored)
        }
    };
    let name = format!("{}.bias", node.name);
    let bias = match parts.biases.get(node.name.as_str()) {
        None => None,
        Some(Bias::Float(values)) => Some(writer.floats(&name, &[values.len()], values)?),
        Some(Bias::Int32 { codes, scale }) => Some(writer.int32_bias(&name, codes, scale)),
    };
    Ok(std::iter::once(weight).chain(bias).collect())
}

/// Clips values to the ends of their grid, since the integers that the file has for them may have more codes.
fn clip_to_grid(values: &mut [f32], encoding: &Encoding, codes: [i32; 2]) {
    let per_channel = values.len().div_ceil(encoding.scale().len()).max(1);
    let channels = encoding.scale().iter().zip(encoding.offset());
    for (values, (scale, offset)) in values.chunks_mut(per_channel).zip(channels) {
        let [smallest, largest] = codes.map(|code| (code + offset) as f32 * scale);
        values.iter_mut().for_each(|value| *value = value.clamp(smallest, largest));
    }
}

/// Slopes are aligned at the last axes, so those behind the channels have extent 1.
fn slopes(writer: &mut Writer<'_>, name: &str) -> Result<String, ExportError> {
    let shape = &writer.shapes[name];
    let mut dims = vec![1; shape.0.len()];
    dims[0] = shape.channels();
    writer.weight(&format!("{name}.slope"), &dims)
}

/// What is put before all axes, then behind all, and none at the batch; and the value.
fn pad_parameters(
    writer: &mut Writer<'_>,
    name: &str,
    [before, after]: [&[usize]; 2],
    value: f32,
) -> [String; 2] {
    let pads = [&[0], before, &[0], after].concat();
    let pads: Vec<i64> = pads.into_iter().map(|pad| pad as i64).collect();
    let pads = writer.integers(&format!("{name}.pads"), &pads);
    [pads, writer.scalar(&format!("{name}.constant"), value)]
}

fn conv_attributes(conv: &Conv2d) -> Vec<AttributeProto> {
    vec![
        ints("kernel_shape", &conv.kernel),
        ints("strides", &conv.stride),
        pads(conv.padding),
        ints("dilations", &conv.dilation),
        int("group", conv.groups as i64),
    ]
}

fn pool_attributes(pool: &Pool) -> Vec<AttributeProto> {
    vec![ints("kernel_shape", &pool.kernel), ints("strides", &pool.stride), pads(pool.padding)]
}

fn pads(padding: Padding) -> AttributeProto {
    ints("pads", &[padding.top, padding.left, padding.bottom, padding.right])
}

fn behind_batch(axes: &[usize]) -> Vec<i64> {
    axes.iter().map(|axis| *axis as i64 + 1).collect()
}

/// The shape that a Reshape asks for; 0 keeps the batch.
fn target(writer: &mut Writer<'_>, name: &str, shape: &[usize]) -> String {
    let shape: Vec<i64> = std::iter::once(0).chain(shape.iter().map(|extent| *extent as i64)).collect();
    writer.integers(&format!("{name}.shape"), &shape)
}

/// Clip; limits that are no limits are left out.
fn clip(writer: &mut Writer<'_>, node: &Node, [min, max]: [f32; 2], output: &str) {
    let name = node.name.as_str();
    let mut inputs = vec![writer.output_of(&node.inputs[0])];
    inputs.push(match min > f32::MIN {
        true => writer.scalar(&format!("{name}.min"), min),
        false => String::new(),
    });
    if max < f32::MAX {
        inputs.push(writer.scalar(&format!("{name}.max"), max));
    }
    writer.node(("Clip", name), inputs, output, Vec::new());
}

/// Add or Mul of tensors that are aligned at their last axes.
///
/// With a batch in front, a tensor with fewer axes gets axes of extent 1 between batch and values; a constant has no
/// batch and needs none.
fn broadcast(writer: &mut Writer<'_>, (operator, node): (&str, &Node), output: &str) {
    let rank = writer.shapes[node.name.as_str()].0.len();
    let mut inputs = Vec::new();
    for input in &node.inputs {
        let mut tensor = writer.output_of(input);
        let shape = writer.shapes[input.as_str()].0.clone();
        if !writer.is_constant(input) && shape.len() < rank {
            let name = format!("{}.{operator}", node.name);
            let shape = [vec![1; rank - shape.len()], shape].concat();
            let target = target(writer, &name, &shape);
            let aligned = writer.free(&format!("{tensor}.aligned"));
            writer.node(("Reshape", &aligned), vec![tensor, target], &aligned, Vec::new());
            tensor = aligned;
        }
        inputs.push(tensor);
    }
    writer.node((operator, &node.name), inputs, output, Vec::new());
}
