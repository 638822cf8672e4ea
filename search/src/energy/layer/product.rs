use super::{Context, LayerOperator, Parameter, Role, Work, elements, elements_of_output};
use crate::energy::{EnergyError, NumberType, Operator};
use crate::network::{Kind, Weight};

impl Context<'_> {
    /// Dense layers and convolutions: products of weights and inputs, added up, and a bias added.
    pub(super) fn products(&self) -> Result<Work, EnergyError> {
        if self.layer.class.kind == Kind::Conv1D {
            self.mends()?;
        }
        let kernel = self.layer.kernel().filter(|kernel| kernel.shape.len() >= 2);
        let kernel = kernel.ok_or_else(|| self.incomplete("kernel's shape"))?;
        let weight = self.weight(0, NumberType::DEFAULT)?.with_values(self.values(0));
        let mut parameters =
            vec![Parameter { name: "kernel", elements: elements(&kernel.shape), number: weight }];
        let mut multiplier = Operator::product(&weight, &self.input());
        let mut accumulator = Operator::accumulator(&multiplier.output, self.summands(kernel));
        if self.layer.use_bias {
            let number = self.weight(1, NumberType::DEFAULT)?.with_values(self.values(1));
            accumulator = Operator::sum(&accumulator.output, &number);
            // The kernel's last axis, which is not the bias's length for depthwise and transposed convolutions.
            let elements = kernel.shape.last().map_or(0, |extent| *extent as u64);
            parameters.push(Parameter { name: "bias", elements, number });
        }
        if self.is_plain() {
            multiplier = multiplier.giving(self.options.plain_accumulator);
            accumulator = accumulator.adding_in(self.options.plain_accumulator);
        }
        // QTools forgets this class.
        let times = u64::from(self.layer.class.kind != Kind::Conv2DTranspose || !self.options.qkeras);
        Ok(Work {
            output: self.product_output(accumulator.output)?,
            parameters,
            operators: vec![
                LayerOperator { role: Role::Multiplier, operator: multiplier, times },
                LayerOperator { role: Role::Accumulator, operator: accumulator, times },
            ],
            operation_count: self.product_count(kernel),
        })
    }

    fn product_output(&self, accumulator: NumberType) -> Result<NumberType, EnergyError> {
        match self.layer.activation().filter(|_| !self.is_plain()) {
            Some(text) => Ok(self.activation_of(text)?.unwrap_or(accumulator)),
            None => Ok(accumulator),
        }
    }

    /// Number of products in one sum.
    fn summands(&self, kernel: &Weight) -> u64 {
        let rank = kernel.shape.len();
        match self.layer.class.kind {
            Kind::DepthwiseConv2D => elements(&kernel.shape[..rank - 2]),
            Kind::Conv2DTranspose if !self.options.qkeras => {
                elements(&kernel.shape[..rank - 2]) * kernel.shape[rank - 1] as u64
            }
            _ => elements(&kernel.shape[..rank - 1]),
        }
    }

    /// Number of products for one image.
    fn product_count(&self, kernel: &Weight) -> u64 {
        let rank = kernel.shape.len();
        let input = self.layer.input_shape.first().map_or(0, |shape| elements(shape));
        let outputs = elements_of_output(self.layer);
        match self.layer.class.kind {
            Kind::DepthwiseConv2D if self.options.qkeras => {
                let multiplier = kernel.shape[rank - 1].max(1) as u64;
                elements(&kernel.shape[..rank - 2]) * outputs / multiplier
            }
            Kind::Conv2DTranspose => elements(&kernel.shape[..rank - 1]) * input,
            _ => self.summands(kernel) * outputs,
        }
    }
}
