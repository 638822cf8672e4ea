//! From a file's bytes to a model.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bitloop_core::graph::{GraphError, INPUT, Shape};
use prost::Message;

use super::builder::Builder;
use super::call::{Call, Value};
use super::encoding::{ImportedEncoding, NoEncoding, usable_encodings};
use super::error::{ImportError, Problem, Reason};
use super::operators::operator;
use super::schema::{ModelProto, NodeProto, TensorProto, ValueInfoProto};
use super::simplify::simplify;
use super::tensor::{ElementType, decode, elements};
use super::topology::{Topology, label, topology};
use crate::model::{Model, ModelError};

/// Versions of the operators that are read.
pub const OPSETS: std::ops::RangeInclusive<i64> = 9..=21;
/// Metadata of a file with the mean per channel, separated by commas, in units of the 0..1 scaled value.
pub const MEAN_KEY: &str = "bitloop.input.mean";
/// Metadata of a file with the standard deviation per channel, likewise.
pub const STD_KEY: &str = "bitloop.input.std";

/// What a file does not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportOptions {
    /// Mean per channel of the 0..1 scaled image; otherwise that of the file's metadata, otherwise 0.
    pub mean: Option<Vec<f32>>,
    /// Standard deviation per channel, likewise; otherwise 1, so that the network reads `value / 255`.
    pub std: Option<Vec<f32>>,
    /// Channels, height and width of one image, where the file leaves some of them open.
    pub input: Option<Shape>,
    /// The output to import, where there are several.
    pub output: Option<String>,
}

/// What a file holds.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The network with float weights, and with those encodings that quantizers of ours can have.
    pub model: Model,
    /// Grids of quantizers in the file, by point: `<node>.weight`, `<node>.bias`, `<node>.output`, `input.output`.
    pub encodings: BTreeMap<String, ImportedEncoding>,
    /// Those of them that the model does not have, with the reason.
    pub left_out: BTreeMap<String, NoEncoding>,
    /// Version of the operators.
    pub opset: i64,
}

/// Reads an ONNX file; data outside of it is looked up in its folder.
///
/// Errors: those of [`import`] with the path, and `Io`.
pub fn import_file(path: &Path, options: &ImportOptions) -> Result<Imported, ImportError> {
    let bytes = fs::read(path).map_err(|source| ImportError::Io { path: path.to_owned(), source })?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    import(&bytes, Some(folder), options).map_err(|error| error.in_file(path))
}

/// Reads a network out of an ONNX file's bytes; `folder` is where data outside of the file lies.
///
/// Opset 9 to 21. The batch, the first axis, is left away and counts as 1 in shape arithmetic. Identity and Dropout
/// are dropped, a zero Pad becomes part of the convolution behind it, means over the image with a Flatten behind them
/// become a global average, a constant sum behind a layer becomes its bias, and a first Transpose from (height, width,
/// channels) goes, since our images have the channels in front. QuantizeLinear and DequantizeLinear, with a Clip of the codes between
/// them or without, become encodings: of the node before them, or of an identity where only some consumers see the quantized tensor.
///
/// Errors: one [`ImportError`]; `Unsupported` lists all nodes that cannot be expressed. No bytes make it panic.
pub fn import(bytes: &[u8], folder: Option<&Path>, options: &ImportOptions) -> Result<Imported, ImportError> {
    let file =
        ModelProto::decode(bytes).map_err(|error| ImportError::NotOnnx { reason: error.to_string() })?;
    let graph = file.graph.as_ref().ok_or(ImportError::NoGraph)?;
    let opset = opset(&file)?;
    if !graph.sparse_initializer.is_empty() {
        return Err(ImportError::Sparse);
    }
    let topology = topology(graph, options.output.as_deref())?;
    let shape = input_shape(topology.input, options.input.as_ref())?;
    if elements(&shape.0).is_none_or(|elements| elements == 0) {
        return Err(ModelError::Graph(GraphError::Input { shape }).into());
    }
    let name = if graph.name.is_empty() { "onnx" } else { &graph.name };
    let mut reader = Reader {
        opset,
        folder,
        initializers: &topology.initializers,
        uses: uses(&topology),
        values: BTreeMap::from([(topology.input.name.as_str(), Value::Tensor(INPUT.to_owned()))]),
        builder: Builder::new(name, shape),
        problems: Vec::new(),
    };
    for node in &topology.order {
        reader.read(node)?;
    }
    let output = match reader.values.remove(topology.output) {
        _ if !reader.problems.is_empty() => {
            return Err(ImportError::Unsupported { problems: reader.problems });
        }
        Some(Value::Tensor(node)) => node,
        _ => return Err(ImportError::Nothing { name: topology.output.to_owned() }),
    };
    let mut network = simplify(reader.builder, output);
    if network.graph.nodes.is_empty() {
        return Err(ImportError::Nothing { name: topology.output.to_owned() });
    }
    let channels = network.graph.input.shape.channels();
    let metadata = |key| numbers(&file, key);
    network.graph.input.mean = chosen(&options.mean, metadata(MEAN_KEY)?, vec![0.0; channels]);
    network.graph.input.std = chosen(&options.std, metadata(STD_KEY)?, vec![1.0; channels]);
    let model = Model::new(network.graph, network.weights)?;
    let (usable, left_out) = usable_encodings(&model, &network.encodings);
    let model = model.with_encodings(usable)?;
    Ok(Imported { model, encodings: network.encodings, left_out, opset })
}

fn chosen(asked: &Option<Vec<f32>>, stated: Option<Vec<f32>>, otherwise: Vec<f32>) -> Vec<f32> {
    asked.clone().or(stated).unwrap_or(otherwise)
}

fn opset(file: &ModelProto) -> Result<i64, ImportError> {
    let standard = file.opset_import.iter().find(|opset| is_standard(&opset.domain));
    let found = standard.map_or(0, |opset| opset.version);
    if OPSETS.contains(&found) { Ok(found) } else { Err(ImportError::Opset { found }) }
}

const CONSTANTS_ALONE: Reason = Reason::Feature("it is supported on constants alone");

/// Whether an input is unknown, and if so whether one is computed from the image.
fn depends_on_unknown(call: &Call<'_>) -> Option<bool> {
    let is_computed = |value: &Value| match value {
        Value::Unknown { is_computed } => Some(*is_computed),
        Value::Constant(_) | Value::Tensor(_) | Value::Codes(..) => None,
    };
    call.inputs.iter().flatten().filter_map(is_computed).reduce(|one, other| one || other)
}

fn is_standard(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

fn numbers(file: &ModelProto, key: &'static str) -> Result<Option<Vec<f32>>, ImportError> {
    let Some(entry) = file.metadata_props.iter().find(|entry| entry.key == key) else { return Ok(None) };
    let parsed: Result<Vec<f32>, _> = entry.value.split(',').map(|number| number.trim().parse()).collect();
    match parsed {
        Ok(numbers) => Ok(Some(numbers)),
        Err(_) => Err(ImportError::Metadata { key, text: entry.value.clone() }),
    }
}

/// Returns the shape of one image from what the file fixes and what was asked for.
fn input_shape(input: &ValueInfoProto, asked: Option<&Shape>) -> Result<Shape, ImportError> {
    let name = || input.name.clone();
    let tensor = input.r#type.as_ref().and_then(|kind| kind.tensor_type.as_ref());
    let found = tensor.map_or(0, |tensor| tensor.elem_type);
    if !ElementType::from_number(found).is_ok_and(ElementType::is_float) {
        return Err(ImportError::InputType { name: name(), found });
    }
    let dims = tensor.and_then(|tensor| tensor.shape.as_ref()).map_or(&[][..], |shape| &shape.dim);
    let words = dims.iter().map(|dim| match (dim.dim_value, dim.dim_param.as_str()) {
        (0, "") => "?".to_owned(),
        (0, param) => param.to_owned(),
        (value, _) => value.to_string(),
    });
    let words = || words.clone().collect::<Vec<_>>().join(", ");
    let image: Vec<Option<usize>> =
        dims.iter().skip(1).map(|dim| usize::try_from(dim.dim_value).ok().filter(|dim| *dim > 0)).collect();
    let Some(asked) = asked else {
        let fixed: Option<Vec<usize>> = image.into_iter().collect();
        return match fixed.filter(|fixed| !fixed.is_empty()) {
            Some(fixed) => Ok(Shape(fixed)),
            None => Err(ImportError::InputShape { name: name(), shape: words() }),
        };
    };
    // A file without any shape fits every image.
    let fits = |(known, asked): (&Option<usize>, &usize)| known.is_none_or(|known| known == *asked);
    let is_open = dims.is_empty() && !asked.0.is_empty();
    if is_open || image.len() == asked.0.len() && image.iter().zip(&asked.0).all(fits) {
        return Ok(asked.clone());
    }
    Err(ImportError::InputConflict { name: name(), shape: words(), asked: asked.clone() })
}

/// How often every tensor is still to be read.
fn uses<'a>(topology: &Topology<'a>) -> BTreeMap<&'a str, usize> {
    let mut uses = BTreeMap::from([(topology.output, 1)]);
    for name in topology.order.iter().flat_map(|node| &node.input) {
        *uses.entry(name).or_default() += 1;
    }
    uses
}

/// What is known while the nodes are read in order.
struct Reader<'a> {
    opset: i64,
    folder: Option<&'a Path>,
    initializers: &'a BTreeMap<&'a str, &'a TensorProto>,
    uses: BTreeMap<&'a str, usize>,
    values: BTreeMap<&'a str, Value>,
    builder: Builder,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    /// Reads one node; what cannot be expressed becomes a problem, and its outputs are unknown from then on.
    fn read(&mut self, node: &'a NodeProto) -> Result<(), ImportError> {
        let inputs = node.input.iter().map(|name| self.input(name)).collect::<Result<Vec<_>, _>>()?;
        let call = Call { node, opset: self.opset, inputs };
        // The shape of something unknown is unknown, but a constant.
        let is_computed = call.operator() != "Shape" && depends_on_unknown(&call).unwrap_or(true);
        let outputs = self.outputs(&call);
        let is_known = outputs.as_ref().is_ok_and(|values| !values.is_empty());
        let mut values = match outputs {
            Ok(values) => values.into_iter(),
            Err(reason) => {
                self.problem(node, reason);
                Vec::new().into_iter()
            }
        };
        for output in &node.output {
            let value = values.next();
            if !self.uses.contains_key(output.as_str()) {
                continue;
            }
            if value.is_none() && is_known {
                self.problem(node, Reason::Feature("an output beside the first one is used"));
            }
            self.values.insert(output, value.unwrap_or(Value::Unknown { is_computed }));
        }
        Ok(())
    }

    /// Resolves a tensor; the last consumer takes it along.
    fn input(&mut self, name: &'a str) -> Result<Option<Value>, ImportError> {
        if name.is_empty() {
            return Ok(None);
        }
        let left = self.uses.get_mut(name);
        let is_last = left.is_some_and(|left| {
            *left -= 1;
            *left == 0
        });
        if let Some(tensor) = self.initializers.get(name) {
            let constant = decode(tensor, self.folder);
            let constant =
                constant.map_err(|source| ImportError::Tensor { name: name.to_owned(), source })?;
            return Ok(Some(Value::Constant(constant)));
        }
        let value = if is_last { self.values.remove(name) } else { self.values.get(name).cloned() };
        Ok(Some(value.unwrap_or(Value::Unknown { is_computed: true })))
    }

    fn outputs(&mut self, call: &Call<'_>) -> Result<Vec<Value>, Reason> {
        let known = is_standard(&call.node.domain).then(|| operator(call.operator())).flatten();
        let operator = known.ok_or(Reason::Operator)?;
        let unknown = |name: &&String| !operator.attributes.contains(&name.as_str());
        if let Some(name) = call.node.attribute.iter().map(|attribute| &attribute.name).find(unknown) {
            return Err(Reason::UnknownAttribute { name: name.clone() });
        }
        // What depends on an unknown operator is unknown too, and only a problem where it is one for any input.
        if let Some(is_computed) = depends_on_unknown(call) {
            return match operator.lower {
                None if is_computed => Err(CONSTANTS_ALONE),
                Some(_) | None => Ok(Vec::new()),
            };
        }
        let is_constant = call.inputs.iter().flatten().all(|value| matches!(value, Value::Constant(_)));
        match (operator.fold, operator.lower) {
            (Some(fold), _) if is_constant => {
                Ok(fold(&mut self.builder, call)?.into_iter().map(Value::Constant).collect())
            }
            (_, Some(lower)) => lower(&mut self.builder, call),
            (_, None) => Err(CONSTANTS_ALONE),
        }
    }

    fn problem(&mut self, node: &NodeProto, reason: Reason) {
        let domain = if is_standard(&node.domain) { String::new() } else { format!("{}.", node.domain) };
        let operator = format!("{domain}{}", node.op_type);
        self.problems.push(Problem { operator, node: label(node), opset: self.opset, reason });
    }
}
