use super::{Context, LayerOperator, Parameter, Role, Work, largest_input};
use crate::energy::{EnergyError, NumberKind, NumberType, Operator};

impl Context<'_> {
    /// Batch normalization: `gamma / std * input + beta`. QTools charges the quotient for every value, and the addition not.
    pub(super) fn normalization(&self) -> Result<Work, EnergyError> {
        let input = self.input();
        let gamma = self.weight(0, NumberType::DEFAULT)?.with_values(self.values(0));
        let beta = self.weight(1, input)?;
        let mean = self.weight(2, input)?;
        let variance = self.weight(3, NumberType::DEFAULT)?.with_values(self.values(3));
        let channels = self.layer.output_shape.last().map_or(0, |extent| *extent as u64);
        let parameters = [gamma, beta, mean, variance].into_iter();
        let names = ["gamma", "beta", "moving_mean", "moving_variance"];
        let parameters = names.into_iter().zip(parameters);
        let parameters = parameters.map(|(name, number)| Parameter { name, elements: channels, number });

        let mut divide = match Operator::quotient(&gamma, &square_root(variance), self.options.qkeras) {
            Some(quotient) => quotient,
            None => return Err(self.mends().err().unwrap_or_else(|| self.incomplete("variance quantizer"))),
        };
        let mut multiply = Operator::product(&divide.output, &input);
        let mut add = Operator::sum(&multiply.output, &beta);
        if self.is_plain() {
            divide = divide.giving(self.options.plain_accumulator);
            multiply = multiply.giving(self.options.plain_accumulator);
            add = add.giving(self.options.plain_accumulator);
        }
        Ok(Work {
            output: add.output,
            parameters: parameters.collect(),
            operators: vec![
                LayerOperator { role: Role::InternalDivider, operator: divide, times: 1 },
                LayerOperator { role: Role::InternalMultiplier, operator: multiply, times: 1 },
                LayerOperator { role: Role::InternalAccumulator, operator: add, times: 0 },
            ],
            operation_count: largest_input(self.layer),
        })
    }
}

/// The root of a power of two has half the exponent: one bit less. Other numbers are divided by as floats anyway.
fn square_root(variance: NumberType) -> NumberType {
    match variance.kind {
        NumberKind::PowerOfTwo { .. } => {
            let bits = variance.bits.saturating_sub(1);
            NumberType { bits, int_bits: bits as i64, ..variance }
        }
        NumberKind::Fixed
        | NumberKind::Ternary
        | NumberKind::Binary
        | NumberKind::ZeroOne
        | NumberKind::Float => variance,
    }
}
