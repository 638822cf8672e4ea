/// A family of QKeras's quantizers, as the kernel knows it by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Family {
    /// Codes of a given scale.
    #[default]
    Fixed = 0,
    /// The sign alone.
    OneBit = 1,
    /// Codes of a scale that was found.
    Scaled = 2,
    /// A bounded curve.
    Curve = 3,
    /// Companding by a logarithm.
    Ulaw = 4,
    /// Powers of two with a sign.
    Po2 = 5,
    /// Powers of two of a ReLU.
    ReluPo2 = 6,
    /// ReLU.
    Relu = 7,
    /// ReLU without the float values it stands for.
    FastRelu = 8,
    /// Signs.
    Sign = 9,
    /// Ternary by a threshold.
    Threshold = 10,
    /// Ternary by a scale that was found.
    Refined = 11,
    /// Clipped, then rounded.
    Linear = 12,
    /// Drawn signs.
    TwoValued = 13,
    /// Drawn ternary values.
    ThreeValued = 14,
}

/// A family with its numbers. The kernel takes it as it lies in memory; what a family does not have is 0.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Map {
    /// Value `i` is of group `i / inner % count`.
    pub(crate) inner: i64,
    pub(crate) count: i64,
    pub(crate) family: Family,
    /// Which curve, or rounding of a logarithm; or whether codes begin at 0, or a sigmoid comes first.
    pub(crate) option: i32,
    /// Whether the gradient is cut off, the approximation is quadratic, or a curve is the real one.
    pub(crate) flag: i32,
    /// Whether values are drawn.
    pub(crate) drawn: i32,
    /// Whether the whole gradient passes.
    pub(crate) straight: i32,
    pub(crate) codes: f32,
    pub(crate) codes_inverse: f32,
    pub(crate) unit: f32,
    pub(crate) unit_inverse: f32,
    /// Ends of codes, of values or of exponents.
    pub(crate) low: f32,
    pub(crate) high: f32,
    /// How far quantized values replace float values.
    pub(crate) noise: f32,
    /// Of a leaky ReLU, with its bound.
    pub(crate) slope: f32,
    pub(crate) bound: f32,
    /// What magnitudes are cut off at.
    pub(crate) most: f32,
    /// A threshold, temperature, shift, steps per code, or the strength of companding.
    pub(crate) parameter: f32,
    /// Of a hard swish before the quantizer, with its bound; none with a bound of 0.
    pub(crate) swish_shift: f32,
    pub(crate) swish_bound: f32,
}

/// What a group has found: its scale, and what else its family needs. The kernel takes it as it lies in memory.
pub(crate) type Found = [f32; 2];

/// A quantizer that was fitted to values, as a GPU maps them.
#[derive(Debug)]
#[cfg_attr(not(any(feature = "cuda", test)), expect(dead_code, reason = "kernels for GPUs read it"))]
pub(crate) struct FittedMap<'f> {
    pub(crate) map: Map,
    /// By group.
    pub(crate) found: Vec<Found>,
    /// None, one or two tensors of draws.
    pub(crate) draws: &'f [Vec<f32>],
}
