use super::{Literal, Problem};

mod rules;
mod types;

use types::Parameter;
pub use types::{Alpha, Axes, Log2Rounding};

/// What the parameters of every quantizer have in common.
pub(super) trait Parameters: Default + PartialEq {
    /// The class's name in QKeras.
    const NAME: &'static str;
    /// The parameters' names in the order of positional arguments.
    const NAMES: &'static [&'static str];

    /// Returns the defaults with some of the parameters replaced.
    ///
    /// Errors: a value of a wrong type.
    fn with(arguments: Vec<(&'static str, Literal)>) -> Result<Self, Problem>;

    /// The parameters that differ from their defaults, in order.
    fn changes(&self) -> Vec<(&'static str, Literal)>;

    /// Says whether the values are ones that the quantizer can work with.
    fn check(&self) -> Result<(), Problem>;

    /// Replaces what other parameters decide; most have nothing of the kind.
    fn settled(self) -> Self {
        self
    }
}

macro_rules! parameters {
    ($($(#[$doc:meta])* $name:ident = $class:literal {
        $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)*
    } $(=> $settled:path;)?)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq)]
            pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

            impl Default for $name {
                fn default() -> Self {
                    Self { $($field: $default,)* }
                }
            }

            impl Parameters for $name {
                const NAME: &'static str = $class;
                const NAMES: &'static [&'static str] = &[$(stringify!($field),)*];

                fn with(arguments: Vec<(&'static str, Literal)>) -> Result<Self, Problem> {
                    let mut parameters = Self::default();
                    for (name, value) in arguments {
                        match name {
                            $(stringify!($field) => {
                                parameters.$field = types::read(stringify!($field), value)?;
                            })*
                            _ => unreachable!("arguments were named by the list of parameters"),
                        }
                    }
                    Ok(parameters.settled())
                }

                fn changes(&self) -> Vec<(&'static str, Literal)> {
                    let default = Self::default();
                    let mut changes = Vec::new();
                    $(if self.$field != default.$field {
                        changes.push((stringify!($field), self.$field.literal()));
                    })*
                    changes
                }

                fn check(&self) -> Result<(), Problem> {
                    rules::Checked::check(self)
                }

                $(fn settled(self) -> Self { $settled(self) })?
            }
        )*
    };
}

parameters! {
    /// Fixed point: multiples of `2^(integer - bits + keep_negative)`, rounded half to even and then clipped; or, with
    /// automatic alpha, multiples of a scale per channel.
    QuantizedBits = "quantized_bits" {
        /// Width with the sign.
        bits: u32 = 8,
        /// Bits before the point, without the sign.
        integer: i32 = 0,
        /// Whether the lowest code is left out; always so with automatic alpha.
        symmetric: bool = false,
        /// Whether there are negative values.
        keep_negative: bool = true,
        /// What results are multiplied by; none is 1.
        alpha: Option<Alpha> = None,
        /// Whether training rounds at random.
        use_stochastic_rounding: bool = false,
        /// Axes that have scales of their own; none is the last one.
        scale_axis: Option<Axes> = None,
        /// How much of the quantization takes place: 0 none, 1 all.
        qnoise_factor: f64 = 1.0,
        /// A name for variables; without effect here.
        var_name: Option<String> = None,
        /// Whether the gradient passes as if nothing were quantized, whatever `qnoise_factor` is.
        use_ste: bool = true,
        /// Whether the noise factor is a variable; without effect here.
        use_variables: bool = false,
        /// Elements along the scale axes that share a scale.
        elements_per_scale: Option<Axes> = None,
        /// Smallest exponent of a scale that is a power of two.
        min_po2_exponent: Option<i32> = None,
        /// Largest exponent of a scale that is a power of two.
        max_po2_exponent: Option<i32> = None,
        /// Scales found before, to be kept.
        post_training_scale: Option<Vec<f64>> = None,
    } => rules::symmetric_bits;

    /// ReLU, or leaky ReLU, in fixed point: multiples of `2^(integer - bits)`.
    QuantizedRelu = "quantized_relu" {
        /// Width; with a negative slope one bit of it is the sign.
        bits: u32 = 8,
        /// Bits before the point.
        integer: i32 = 0,
        /// Whether values go through a sigmoid.
        use_sigmoid: bool = false,
        /// Slope for negative values: 0 or a power of two.
        negative_slope: f64 = 0.0,
        /// Whether training rounds at random.
        use_stochastic_rounding: bool = false,
        /// Where values are cut off if `is_quantized_clip` is not set.
        relu_upper_bound: Option<f64> = None,
        /// Whether values are cut off at the largest of the grid, gradients with them.
        is_quantized_clip: bool = true,
        /// How much of the quantization takes place: 0 none, 1 all.
        qnoise_factor: f64 = 1.0,
        /// A name for variables; without effect here.
        var_name: Option<String> = None,
        /// Whether the gradient passes as if nothing were quantized, whatever `qnoise_factor` is.
        use_ste: bool = true,
        /// Whether the noise factor is a variable; without effect here.
        use_variables: bool = false,
        /// Whether results are given without the float values they stand for, and so without a gradient.
        enable_fast_inference: bool = false,
    }

    /// Powers of two with a sign; there is no zero.
    QuantizedPo2 = "quantized_po2" {
        /// Width with the sign and the sign of exponents.
        bits: u32 = 8,
        /// Largest magnitude before rounding.
        max_value: Option<f64> = None,
        /// Whether training rounds at random.
        use_stochastic_rounding: bool = false,
        /// Whether only even exponents are used.
        quadratic_approximation: bool = false,
        /// How logarithms are rounded.
        log2_rounding: Log2Rounding = Log2Rounding::Nearest,
        /// How much of the quantization takes place: 0 none, 1 all.
        qnoise_factor: f64 = 1.0,
        /// A name for variables; without effect here.
        var_name: Option<String> = None,
        /// Whether the gradient passes as if nothing were quantized, whatever `qnoise_factor` is.
        use_ste: bool = true,
        /// Whether the noise factor is a variable; without effect here.
        use_variables: bool = false,
    }

    /// Powers of two of a ReLU or leaky ReLU; zero, and negative values without a slope, become the smallest power.
    QuantizedReluPo2 = "quantized_relu_po2" {
        /// Width with the sign of exponents.
        bits: u32 = 8,
        /// Largest magnitude before rounding.
        max_value: Option<f64> = None,
        /// Slope for negative values: 0 or a power of two.
        negative_slope: f64 = 0.0,
        /// Whether training rounds at random.
        use_stochastic_rounding: bool = false,
        /// Whether only even exponents are used.
        quadratic_approximation: bool = false,
        /// How logarithms are rounded.
        log2_rounding: Log2Rounding = Log2Rounding::Nearest,
        /// How much of the quantization takes place: 0 none, 1 all.
        qnoise_factor: f64 = 1.0,
        /// A name for variables; without effect here.
        var_name: Option<String> = None,
        /// Whether the gradient passes as if nothing were quantized, whatever `qnoise_factor` is.
        use_ste: bool = true,
        /// Whether the noise factor is a variable; without effect here.
        use_variables: bool = false,
    }

    /// The sign times a scale; zero is positive.
    Binary = "binary" {
        /// Whether values are 0 and 1 rather than -1 and 1.
        use_01: bool = false,
        /// The scale; none is 1 with the gradient of a tanh.
        alpha: Option<Alpha> = None,
        /// Whether training rounds at random.
        use_stochastic_rounding: bool = false,
        /// Axes that have scales of their own; none is the last one.
        scale_axis: Option<Axes> = None,
        /// Elements along the scale axes that share a scale.
        elements_per_scale: Option<Axes> = None,
        /// Smallest exponent of a scale that is a power of two.
        min_po2_exponent: Option<i32> = None,
        /// Largest exponent of a scale that is a power of two.
        max_po2_exponent: Option<i32> = None,
    }

    /// The sign, or 0 below a threshold, times a scale.
    Ternary = "ternary" {
        /// The scale; none is 1 with the gradient of a tanh.
        alpha: Option<Alpha> = None,
        /// Smallest magnitude that is not 0, if the scale is given; none is 0.33.
        threshold: Option<f64> = None,
        /// Whether training rounds at random.
        use_stochastic_rounding: bool = false,
        /// How often an automatic scale is refined.
        number_of_unrolls: u32 = 5,
    }

    /// Ternary whose values are drawn in training.
    StochasticTernary = "stochastic_ternary" {
        /// The scale; in training it has to be an automatic one.
        alpha: Option<Alpha> = None,
        /// Smallest magnitude that is not 0, if the scale is given; none is 0.33.
        threshold: Option<f64> = None,
        /// Steepness of the probabilities.
        temperature: f64 = 8.0,
        /// Whether probabilities are a sigmoid rather than one made of lines.
        use_real_sigmoid: bool = true,
        /// How often an automatic scale is refined.
        number_of_unrolls: u32 = 5,
    }

    /// The sign, drawn in training.
    StochasticBinary = "stochastic_binary" {
        /// The scale; none is 1.
        alpha: Option<Alpha> = None,
        /// Steepness of the probabilities.
        temperature: f64 = 6.0,
        /// Whether probabilities are a sigmoid rather than one made of lines.
        use_real_sigmoid: bool = true,
    }

    /// 0 or the scale, drawn at any time.
    Bernoulli = "bernoulli" {
        /// The scale; none is 1.
        alpha: Option<Alpha> = None,
        /// Steepness of the probabilities.
        temperature: f64 = 6.0,
        /// Whether probabilities are a sigmoid rather than one made of lines.
        use_real_sigmoid: bool = true,
    }

    /// Hyperbolic tangent, or lines like it, in fixed point.
    QuantizedTanh = "quantized_tanh" {
        /// Width with the sign.
        bits: u32 = 8,
        /// Whether training rounds at random.
        use_stochastic_rounding: bool = false,
        /// Whether the lowest code is left out.
        symmetric: bool = false,
        /// Whether it is a hyperbolic tangent rather than lines.
        use_real_tanh: bool = false,
    }

    /// Sigmoid, or lines like it, in fixed point.
    QuantizedSigmoid = "quantized_sigmoid" {
        /// Width.
        bits: u32 = 8,
        /// Whether the lowest code is left out.
        symmetric: bool = false,
        /// Whether it is a sigmoid rather than lines.
        use_real_sigmoid: bool = false,
        /// Whether training rounds at random.
        use_stochastic_rounding: bool = false,
    }

    /// Fixed point, clipped and then rounded; alpha scales the step.
    QuantizedLinear = "quantized_linear" {
        /// Width with the sign.
        bits: u32 = 8,
        /// Bits before the point, without the sign.
        integer: i32 = 0,
        /// Whether the lowest code is left out.
        symmetric: bool = true,
        /// Whether there are negative values.
        keep_negative: bool = true,
        /// What the step is multiplied by; none is 1.
        alpha: Option<Alpha> = None,
        /// Whether training rounds at random.
        use_stochastic_rounding: bool = false,
        /// Axes that have scales of their own; none is the last one.
        scale_axis: Option<Axes> = None,
        /// How much of the quantization takes place: 0 none, 1 all.
        qnoise_factor: f64 = 1.0,
        /// A name for variables; without effect here.
        var_name: Option<String> = None,
        /// Whether the noise factor is a variable; without effect here.
        use_variables: bool = false,
    }

    /// Logarithmic companding of lines like a sigmoid.
    QuantizedUlaw = "quantized_ulaw" {
        /// Width with the sign.
        bits: u32 = 8,
        /// Bits before the point, without the sign.
        integer: i32 = 0,
        /// Whether the lowest code is left out.
        symmetric: bool = false,
        /// Strength of the companding.
        u: f64 = 255.0,
    }

    /// Hard swish, `x min(relu(x + relu_shift), relu_upper_bound) / relu_upper_bound`, in fixed point.
    QuantizedHswish = "quantized_hswish" {
        /// Width with the sign.
        bits: u32 = 8,
        /// Bits before the point, without the sign.
        integer: i32 = 0,
        /// Whether the lowest code is left out; always so with automatic alpha.
        symmetric: bool = false,
        /// What results are multiplied by; none is 1.
        alpha: Option<Alpha> = None,
        /// Whether training rounds at random.
        use_stochastic_rounding: bool = false,
        /// Axes that have scales of their own; none is the last one.
        scale_axis: Option<Axes> = None,
        /// How much of the quantization takes place: 0 none, 1 all.
        qnoise_factor: f64 = 1.0,
        /// A name for variables; without effect here.
        var_name: Option<String> = None,
        /// Whether the noise factor is a variable; without effect here.
        use_variables: bool = false,
        /// What is added within the ReLU.
        relu_shift: u32 = 3,
        /// Where the ReLU is cut off.
        relu_upper_bound: u32 = 6,
    } => rules::symmetric_hswish;
}
