use super::Shape;

/// What is wrong with a graph; every variant names the node so that the model's author can find it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GraphError {
    /// There is nothing to execute.
    #[error("the graph has no nodes")]
    Empty,
    /// The input has no values, or too many.
    #[error("an input of shape {shape} makes no sense")]
    Input {
        /// Its shape.
        shape: Shape,
    },
    /// Two nodes share a name, or a node calls itself like the input.
    #[error("node name `{0}` is used twice")]
    DuplicateName(String),
    /// An edge comes from nowhere or from a later node.
    #[error("node `{node}` reads `{input}`, which is no earlier node")]
    UnknownInput {
        /// The reading node.
        node: String,
        /// The name it reads.
        input: String,
    },
    /// The operator takes another number of inputs.
    #[error("node `{node}` takes {expected} input(s) but has {got}")]
    InputCount {
        /// The node.
        node: String,
        /// How many it takes, in words.
        expected: &'static str,
        /// How many it has.
        got: usize,
    },
    /// The operator cannot work on inputs of this shape.
    #[error("node `{node}` cannot take an input of shape {shape}: {reason}")]
    Shape {
        /// The node.
        node: String,
        /// The input's shape.
        shape: Shape,
        /// What would be needed.
        reason: String,
    },
    /// A number of the operator makes no sense, such as a stride of zero.
    #[error("node `{node}`: {reason}")]
    Parameter {
        /// The node.
        node: String,
        /// What is wrong.
        reason: String,
    },
    /// A layer cannot have the number of outputs that it is to get.
    #[error("the outputs of node `{node}` cannot be changed: {reason}")]
    Outputs {
        /// The node.
        node: String,
        /// Why not.
        reason: String,
    },
    /// The input's mean or standard deviation does not fit its channels.
    #[error("the input has {channels} channel(s) but {mean} mean(s) and {std} standard deviation(s)")]
    Normalization {
        /// Channels of the input.
        channels: usize,
        /// Number of means.
        mean: usize,
        /// Number of standard deviations.
        std: usize,
    },
}
