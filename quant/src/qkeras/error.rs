use bitloop_core::qkeras::Problem;

/// Values that a quantizer cannot be fitted to.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum FitError {
    /// The quantizer's parameters are no valid ones.
    #[error("the quantizer cannot work: {0}")]
    Quantizer(#[from] Problem),
    /// Shape and values disagree, or there is no axis.
    #[error(
        "{values} values do not have the shape {shape:?}; give at least one axis whose product is their number"
    )]
    Shape {
        /// How many values there are.
        values: usize,
        /// The shape given.
        shape: Vec<usize>,
    },
    /// Axes of scales that the values lack, or that are not neighbours in rising order.
    #[error("scale axes {axes:?} are no neighbours in rising order among {rank} axes")]
    Axes {
        /// The axes as given.
        axes: Vec<i32>,
        /// How many axes the values have.
        rank: usize,
    },
    /// An axis cannot be split in groups as wanted.
    #[error(
        "{length} elements along the scale axis cannot be split in groups of {group:?}; give one divisor of it"
    )]
    Group {
        /// The axis's length.
        length: usize,
        /// Elements of a group, as given.
        group: Vec<i32>,
    },
    /// A list of scales has another length than the last axis.
    #[error("{given} scales are given for {channels} channels")]
    Scales {
        /// How many are given.
        given: usize,
        /// Length of the last axis.
        channels: usize,
    },
    /// Ternary values are drawn only with scales that are found.
    #[error("training draws ternary values only with alpha='auto' or 'auto_po2', as QKeras does")]
    DrawnTernary,
    /// One bit with a sign has no grid with an automatic scale.
    #[error("one bit with an automatic alpha gives no numbers in QKeras; use binary(alpha='auto') instead")]
    OneBit,
}
