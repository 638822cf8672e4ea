use super::{Context, LayerOperator, Role, Work, elements, elements_of_output, largest_input};
use crate::energy::{EnergyError, Operator};
use crate::network::Kind;

impl Context<'_> {
    /// Sums and differences of tensors: an addition per value and input but the first.
    pub(super) fn sum(&self) -> Result<Work, EnergyError> {
        if self.layer.class.kind == Kind::Subtract {
            self.mends()?;
        }
        let is_difference = self.layer.class.kind == Kind::Subtract;
        let operator = Operator::merged_sum(&self.inputs.numbers, is_difference);
        Ok(self.merge(operator.into_iter().collect()))
    }

    /// Products of tensors: multiplied one after another.
    pub(super) fn elementwise_product(&self) -> Result<Work, EnergyError> {
        let mut numbers = self.inputs.numbers.iter();
        let mut product = numbers.next().copied().unwrap_or(self.options.plain_weights);
        let mut operators = Vec::new();
        for number in numbers {
            let operator = Operator::product(&product, number);
            product = operator.output;
            operators.push((operator, 1));
        }
        Ok(self.merge(operators))
    }

    fn merge(&self, operators: Vec<(Operator, u64)>) -> Work {
        let output = operators.last().map_or_else(|| self.input(), |(operator, _)| operator.output);
        let referred = |operator: Operator| operator.giving(self.referred(operator.output));
        let operators = operators.into_iter().map(|(operator, times)| LayerOperator {
            role: Role::Merge,
            operator: referred(operator),
            times,
        });
        Work {
            output: self.referred(output),
            parameters: Vec::new(),
            operators: operators.collect(),
            operation_count: largest_input(self.layer),
        }
    }

    /// Average pooling: every value of a window is added; QTools fails here.
    pub(super) fn mean(&self) -> Result<Work, EnergyError> {
        self.mends()?;
        let outputs = elements_of_output(self.layer);
        let window = match self.layer.pool_size.as_slice() {
            // A global pool has the whole image for its window.
            [] => largest_input(self.layer) / outputs.max(1),
            extents => elements(extents),
        };
        let operator = Operator::accumulator(&self.input(), window);
        let operator = match self.referred(operator.output) == operator.output {
            true => operator,
            false => operator.adding_in(self.options.plain_accumulator),
        };
        Ok(Work {
            output: operator.output,
            parameters: Vec::new(),
            operators: vec![LayerOperator { role: Role::PoolAccumulator, operator, times: 1 }],
            operation_count: outputs * window,
        })
    }
}
