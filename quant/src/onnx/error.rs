use std::fmt;
use std::path::PathBuf;

use bitloop_core::graph::{GraphError, Shape};

use crate::model::ModelError;

/// Why an ONNX file gives no model.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file cannot be read.
    #[error("cannot read ONNX file `{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file was read, its content is unusable.
    #[error("ONNX file `{}`: {source}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<ImportError>,
    },
    /// The bytes are no whole protobuf message.
    #[error("not an ONNX file, or only a part of one ({reason}); copy or export the model again")]
    NotOnnx {
        /// What the decoder says.
        reason: String,
    },
    /// The message has no graph.
    #[error("the file holds no graph; export the model again")]
    NoGraph,
    /// The operators' version is not one that can be read.
    #[error("opset {found} is not supported; export the model with opset 9 to 21")]
    Opset {
        /// The file's, 0 where it says none.
        found: i64,
    },
    /// Weights are stored as sparse tensors.
    #[error("the weights are stored as sparse tensors; export the model with dense ones")]
    Sparse,
    /// Nodes read each other's outputs in a circle.
    #[error("the graph has a cycle through {}", quoted(nodes))]
    Cycle {
        /// Nodes in it or behind it.
        nodes: Vec<String>,
    },
    /// Two nodes or initializers give a tensor of one name.
    #[error("tensor `{name}` is given twice")]
    DuplicateTensor {
        /// The tensor.
        name: String,
    },
    /// A node reads what nothing gives.
    #[error("node {node} reads tensor `{tensor}`, which nothing gives")]
    UnknownTensor {
        /// The node, quoted or in words.
        node: String,
        /// The tensor.
        tensor: String,
    },
    /// There is not exactly one input beside the weights.
    #[error("the model has {} inputs ({}); it must have one, the image", names.len(), quoted(names))]
    Inputs {
        /// The inputs that the output depends on.
        names: Vec<String>,
    },
    /// The input holds something else than numbers in floating point.
    #[error("input `{name}` has element type {found}; only float inputs are supported")]
    InputType {
        /// The input.
        name: String,
        /// Its type's number in the ONNX format.
        found: i32,
    },
    /// The input's extents are not all fixed.
    #[error(
        "input `{name}` has the shape ({shape}), which is not fixed: say the size of one image, such as 3x224x224"
    )]
    InputShape {
        /// The input.
        name: String,
        /// The extents as the file has them.
        shape: String,
    },
    /// The size that was asked for contradicts the file.
    #[error(
        "input `{name}` has the shape ({shape}) with the batch in front; an image of {asked} does not fit it"
    )]
    InputConflict {
        /// The input.
        name: String,
        /// The extents as the file has them.
        shape: String,
        /// What was asked for.
        asked: Shape,
    },
    /// There is not exactly one output to choose.
    #[error("the model has several outputs: {}; name the one to import", quoted(names))]
    Outputs {
        /// The outputs that no other output depends on.
        names: Vec<String>,
    },
    /// The output that was asked for, or any, is missing.
    #[error("the model has no output{}; its outputs are {}", named(name), quoted(names))]
    NoOutput {
        /// What was asked for.
        name: Option<String>,
        /// What there is.
        names: Vec<String>,
    },
    /// The output does not depend on the input.
    #[error("output `{name}` is not computed from the input by any operator; there is no network to import")]
    Nothing {
        /// The output.
        name: String,
    },
    /// Mean or standard deviation in the file's metadata are not lists of numbers.
    #[error("metadata `{key}` is `{text}`, which is no list of numbers separated by commas")]
    Metadata {
        /// The key.
        key: &'static str,
        /// Its value.
        text: String,
    },
    /// A tensor in the file is damaged, or of a type that is not read.
    #[error("tensor `{name}`: {source}")]
    Tensor {
        /// The tensor.
        name: String,
        /// What is wrong.
        source: TensorError,
    },
    /// Parts of the network cannot be expressed.
    #[error("{}", listed(problems))]
    Unsupported {
        /// All of them, in the order of the nodes.
        problems: Vec<Problem>,
    },
    /// What was imported makes no valid model.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// What is wrong with a tensor in a file.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// Its element type is not read.
    #[error(
        "element type {found} is not supported; weights must be float, double, float16, bfloat16 or integers"
    )]
    Type {
        /// The type's number in the ONNX format.
        found: i32,
    },
    /// An extent is negative.
    #[error("it has the extent {extent}")]
    NegativeExtent {
        /// The extent.
        extent: i64,
    },
    /// More values than any memory holds.
    #[error("its extents {dims:?} make no sense")]
    TooLarge {
        /// The extents.
        dims: Vec<i64>,
    },
    /// The data is not as long as the extents say.
    #[error("its extents {dims:?} need {expected} {unit}, it has {found}")]
    Length {
        /// The extents.
        dims: Vec<i64>,
        /// What the extents need.
        expected: u64,
        /// What is there.
        found: u64,
        /// `bytes` or `values`.
        unit: &'static str,
    },
    /// An integer does not fit 64 signed bits.
    #[error("it has the value {value}, which is too large")]
    Value {
        /// The value.
        value: u64,
    },
    /// The data lies in another file, but the importer got bytes alone.
    #[error("its data lies in another file; import the model from its folder")]
    NoFolder,
    /// The name of the other file is missing, or leads out of the model's folder.
    #[error("its data is said to lie in `{location}`, which is no file inside the model's folder")]
    Location {
        /// The name.
        location: String,
    },
    /// Offset or length in the other file is no number.
    #[error("the {key} of its data in another file is `{text}`, which is no number")]
    Place {
        /// `offset` or `length`.
        key: String,
        /// Its text.
        text: String,
    },
    /// The other file cannot be read.
    #[error("its data lies in `{}`, which cannot be read: {source}; copy that file beside the model", path.display())]
    External {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The other file is too short.
    #[error("its data lies in `{}`, which ends at byte {found}, but byte {expected} is needed; copy it again", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// End of the data.
        expected: u64,
        /// Length of the file.
        found: u64,
    },
}

/// A node that cannot be expressed in our operators.
#[derive(Debug, thiserror::Error)]
#[error("{operator} (opset {opset}) in node {node}: {reason}")]
pub struct Problem {
    /// The operator, with its domain where that is not the standard's.
    pub operator: String,
    /// The node's name, or what it gives where it has none.
    pub node: String,
    /// The version of the operators.
    pub opset: i64,
    /// Why.
    pub reason: Reason,
}

/// Why a node cannot be expressed.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// Nothing is known of the operator.
    #[error("the operator is not supported")]
    Operator,
    /// The operator is known, this attribute is not.
    #[error("attribute `{name}` is not supported")]
    UnknownAttribute {
        /// The attribute.
        name: String,
    },
    /// An attribute is missing or is something else.
    #[error("attribute `{name}` must be {expected}")]
    Attribute {
        /// The attribute.
        name: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// An input is missing.
    #[error("input {index} is missing")]
    MissingInput {
        /// Counted from 0.
        index: usize,
    },
    /// An input is computed, but is needed at import.
    #[error("input {index} is computed while the network runs; it must be a constant")]
    NotConstant {
        /// Counted from 0.
        index: usize,
    },
    /// An input is a constant, but would have to be computed.
    #[error("input {index} is a constant; it must be computed from the image")]
    NotComputed {
        /// Counted from 0.
        index: usize,
    },
    /// An input holds something else than numbers in floating point, or than integers.
    #[error("input {index} must hold {expected}")]
    ElementType {
        /// Counted from 0.
        index: usize,
        /// `floats` or `integers`.
        expected: &'static str,
    },
    /// An input holds the codes of a quantizer.
    #[error("input {index} holds a quantizer's integers; only DequantizeLinear may read them")]
    Codes {
        /// Counted from 0.
        index: usize,
    },
    /// The operator works along the batch.
    #[error("it works on or moves the first axis, which is the batch")]
    Batch,
    /// A variant of a known operator.
    #[error("{0}")]
    Feature(&'static str),
    /// A constant of a shape that does not fit.
    #[error("a constant has shape {found:?}, {expected} is needed")]
    ConstantShape {
        /// Its shape.
        found: Vec<usize>,
        /// What fits.
        expected: String,
    },
    /// A number is out of range.
    #[error("{what} is {value}, which makes no sense")]
    Number {
        /// What it is.
        what: &'static str,
        /// The number.
        value: i64,
    },
    /// Folded constants would fill the memory.
    #[error("it would make more than 2^28 values that the file does not hold")]
    TooLarge,
    /// A tensor in an attribute is damaged.
    #[error("its tensor: {0}")]
    Tensor(#[from] TensorError),
    /// Our operator cannot work on this.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// candle cannot make a weight.
    #[error("weight `{name}`: {}", crate::error::one_line(source))]
    Weight {
        /// The weight.
        name: String,
        /// What candle says.
        source: candle_core::Error,
    },
}

impl ImportError {
    pub(super) fn in_file(self, path: &std::path::Path) -> Self {
        Self::InFile { path: path.to_owned(), source: Box::new(self) }
    }
}

fn quoted(names: &[String]) -> Quoted<'_> {
    Quoted(names)
}

/// Names as a person reads them; the first few of very many.
struct Quoted<'a>(&'a [String]);

/// Names that are written out at most.
const NAMES_MAX: usize = 20;

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let names: Vec<String> = self.0.iter().take(NAMES_MAX).map(|name| format!("`{name}`")).collect();
        f.write_str(&names.join(", "))?;
        match self.0.len().checked_sub(NAMES_MAX) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, " and {more} more"),
        }
    }
}

fn named(name: &Option<String>) -> String {
    name.as_ref().map(|name| format!(" `{name}`")).unwrap_or_default()
}

/// One line for each operator and reason, with the nodes that have it.
fn listed(problems: &[Problem]) -> String {
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    for problem in problems {
        let Problem { operator, node, opset, reason } = problem;
        let line = format!("{operator} (opset {opset}): {reason}");
        match lines.iter_mut().find(|(known, _)| *known == line) {
            Some((_, nodes)) => nodes.push(node.clone()),
            None => lines.push((line, vec![node.clone()])),
        }
    }
    let lines = lines.iter().map(|(line, nodes)| format!("\n  {line}; nodes {}", Quoted(nodes)));
    format!("{} node(s) cannot be imported:{}", problems.len(), lines.collect::<String>())
}
