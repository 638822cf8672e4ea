use std::fmt;

use super::literal::python_float;
use super::*;

/// What QKeras prints between the parentheses.
#[derive(Default)]
struct Printed(Vec<String>);

impl Printed {
    fn plain(mut self, value: impl fmt::Display) -> Self {
        self.0.push(value.to_string());
        self
    }

    fn flag(self, value: bool) -> Self {
        self.plain(u8::from(value))
    }

    fn flag_if(self, value: bool) -> Self {
        if value { self.flag(true) } else { self }
    }

    fn named_if(self, condition: bool, name: &str, value: impl fmt::Display) -> Self {
        if condition { self.plain(format_args!("{name}={value}")) } else { self }
    }

    fn alpha(self, alpha: &Option<Alpha>) -> Self {
        match alpha {
            None => self,
            Some(Alpha::Number(value)) => self.named_if(true, "alpha", python_float(*value)),
            Some(Alpha::List(values)) => self.named_if(true, "alpha", Literal::List(values.clone())),
            Some(Alpha::Auto) => self.named_if(true, "alpha", "'auto'"),
            Some(Alpha::AutoPo2) => self.named_if(true, "alpha", "'auto_po2'"),
        }
    }

    fn stochastic(self, value: bool) -> Self {
        self.named_if(value, "use_stochastic_rounding", 1)
    }

    fn fixed_point(self, bits: u32, integer: i32) -> Self {
        self.plain(bits).plain(integer)
    }

    /// The largest value is printed as a whole number, and stands there if something follows it.
    fn max_value(self, max_value: Option<f64>, follows: bool) -> Self {
        match max_value {
            Some(max) => self.plain(max.trunc()),
            None if follows => self.plain("None"),
            None => self,
        }
    }

    fn temperature(self, temperature: f64, usual: f64, real_sigmoid: bool) -> Self {
        self.named_if(temperature != usual, "temperature", python_float(temperature)).named_if(
            !real_sigmoid,
            "use_real_sigmoid",
            0,
        )
    }
}

impl Quantizer {
    fn printed(&self) -> Printed {
        let printed = Printed::default();
        match self {
            Self::Bits(p) => printed
                .fixed_point(p.bits, p.integer)
                .flag(p.symmetric)
                .named_if(!p.keep_negative, "keep_negative", "False")
                .alpha(&p.alpha)
                .stochastic(p.use_stochastic_rounding),
            Self::Linear(p) => printed
                .fixed_point(p.bits, p.integer)
                .flag(p.symmetric)
                .named_if(!p.keep_negative, "keep_negative", "False")
                .alpha(&p.alpha)
                .stochastic(p.use_stochastic_rounding),
            Self::Hswish(p) => printed
                .fixed_point(p.bits, p.integer)
                .flag(p.symmetric)
                .alpha(&p.alpha)
                .stochastic(p.use_stochastic_rounding)
                .named_if(p.relu_shift != 3, "relu_shift", p.relu_shift)
                .named_if(p.relu_upper_bound != 6, "relu_upper_bound", p.relu_upper_bound),
            Self::Relu(p) => relu(printed, p),
            Self::Po2(p) => printed
                .plain(p.bits)
                .max_value(p.max_value, p.use_stochastic_rounding)
                .flag_if(p.use_stochastic_rounding)
                .named_if(p.quadratic_approximation, "quadratic_approximation", 1),
            Self::ReluPo2(p) => relu_po2(printed, p),
            Self::Binary(p) => {
                printed.named_if(p.use_01, "use_01", 1).alpha(&p.alpha).stochastic(p.use_stochastic_rounding)
            }
            Self::Ternary(p) => ternary(printed, &p.alpha, p.threshold)
                .stochastic(p.use_stochastic_rounding)
                .named_if(p.number_of_unrolls != 5, "number_of_unrolls", p.number_of_unrolls),
            Self::StochasticTernary(p) => ternary(printed, &p.alpha, p.threshold)
                .temperature(p.temperature, 8.0, p.use_real_sigmoid)
                .named_if(p.number_of_unrolls != 5, "number_of_unrolls", p.number_of_unrolls),
            Self::StochasticBinary(p) => {
                printed.alpha(&p.alpha).temperature(p.temperature, 6.0, p.use_real_sigmoid)
            }
            Self::Bernoulli(p) => printed.alpha(&p.alpha).temperature(p.temperature, 6.0, p.use_real_sigmoid),
            Self::Tanh(p) => printed
                .plain(p.bits)
                .flag_if(p.use_stochastic_rounding)
                .flag_if(p.symmetric)
                .flag_if(p.use_real_tanh),
            Self::Sigmoid(p) => printed
                .plain(p.bits)
                .flag_if(p.symmetric)
                .flag_if(p.use_real_sigmoid)
                .flag_if(p.use_stochastic_rounding),
            Self::Ulaw(p) => ulaw(printed.fixed_point(p.bits, p.integer), p),
        }
    }
}

fn relu(printed: Printed, p: &QuantizedRelu) -> Printed {
    let printed = printed.fixed_point(p.bits, p.integer);
    let printed =
        if p.use_sigmoid || p.use_stochastic_rounding { printed.flag(p.use_sigmoid) } else { printed };
    let printed =
        if p.negative_slope != 0.0 { printed.plain(python_float(p.negative_slope)) } else { printed };
    printed.flag_if(p.use_stochastic_rounding)
}

fn relu_po2(printed: Printed, p: &QuantizedReluPo2) -> Printed {
    let sloped = p.negative_slope != 0.0;
    let follows = sloped || p.use_stochastic_rounding;
    let printed = printed.plain(p.bits).max_value(p.max_value, follows);
    let printed = if follows { printed.plain(python_float(p.negative_slope)) } else { printed };
    printed.flag_if(p.use_stochastic_rounding).named_if(
        p.quadratic_approximation,
        "quadratic_approximation",
        1,
    )
}

fn ternary(printed: Printed, alpha: &Option<Alpha>, threshold: Option<f64>) -> Printed {
    match threshold {
        Some(threshold) => printed.alpha(alpha).named_if(true, "threshold", python_float(threshold)),
        None => printed.alpha(alpha),
    }
}

fn ulaw(printed: Printed, p: &QuantizedUlaw) -> Printed {
    let companded = p.u != 255.0;
    let printed = if p.symmetric || companded { printed.flag(p.symmetric) } else { printed };
    if companded { printed.plain(python_float(p.u)) } else { printed }
}

impl fmt::Display for Quantizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name(), self.printed().0.join(","))
    }
}
