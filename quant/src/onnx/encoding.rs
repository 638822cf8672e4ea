use super::tensor::ElementType;

/// The grid of a QuantizeLinear or DequantizeLinear: `value = (code - zero_point) * scale`.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedEncoding {
    /// Step, one or one per channel; positive.
    pub scale: Vec<f32>,
    /// Code of the value 0, as many as scales.
    pub zero_point: Vec<i32>,
    /// The axis of the channels: of a weight as our model stores it, or of one image; `None` for a single scale.
    pub axis: Option<usize>,
    /// Type of the codes; its range is the grid's.
    pub element: ElementType,
}
