//! The quantizers as a candle operator with its gradient.

use bitloop_core::qkeras::Quantizer;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

use super::{Channel, FitError, Fitted, Fitting, Scale, Uniform, Values, fit};
use crate::kernels::{tensor_like, with_values};

/// A tensor cannot be quantized.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The quantizer does not fit the values.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// Candle cannot compute it.
    #[error("{}", crate::error::one_line(.0))]
    Tensor(#[from] candle_core::Error),
}

/// A quantizer, and how it looks at tensors.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The quantizer.
    pub quantizer: Quantizer,
    /// The axis of channels in its tensors.
    pub channel: Channel,
    /// How it is fitted.
    pub fitting: Fitting,
}

impl Operator {
    /// Returns the quantized tensor, through which gradients pass as QKeras passes them, and the scale.
    ///
    /// Shapes: any f32 on the CPU with at least one axis; kept. The scale counts as a constant in the gradient.
    /// Errors: `Fit`; `Tensor` for another type or device.
    pub fn apply(
        &self,
        x: &Tensor,
        uniform: &mut dyn Uniform,
    ) -> Result<(Tensor, Option<Scale>), OperatorError> {
        let x = x.contiguous()?;
        let fitted = with_values(&x, |data| {
            let values = Values { data, shape: x.dims(), channel: self.channel };
            Ok(fit(&self.quantizer, values, self.fitting, uniform))
        })??;
        let scale = fitted.scale().cloned();
        Ok((x.apply_op1(Quantize { fitted })?, scale))
    }
}

struct Quantize {
    fitted: Fitted,
}

impl CustomOp1 for Quantize {
    fn name(&self) -> &'static str {
        "qkeras-quantize"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let values = storage.as_slice::<f32>()?;
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("quantizing takes a contiguous tensor");
        };
        let mut quantized = vec![0.0; end - start];
        self.fitted.forward(&values[start..end], &mut quantized);
        Ok((CpuStorage::F32(quantized), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let passed = with_values(x, |values| {
            with_values(gradient, |gradient| {
                let mut passed = vec![0.0; values.len()];
                self.fitted.backward(values, gradient, &mut passed);
                tensor_like(passed, x)
            })
        })?;
        Ok(Some(passed))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::qkeras::Seeded;

    fn operator(text: &str) -> Operator {
        let quantizer = text.parse().unwrap();
        Operator { quantizer, channel: Channel::First, fitting: Fitting::default() }
    }

    #[test]
    fn tensors_are_quantized_with_their_gradient() {
        let x = Var::new(&[[0.3_f32, -2.0, 0.9], [0.1, 0.6, -0.2]], &Device::Cpu).unwrap();
        let (y, scale) = operator("quantized_relu(2,0)").apply(&x, &mut Seeded::new(0, 0)).unwrap();

        assert_eq!(y.to_vec2::<f32>().unwrap(), [[0.25, 0.0, 0.75], [0.0, 0.5, 0.0]]);
        assert_eq!(scale, None);

        let gradients = (y * 2.0).unwrap().sum_all().unwrap().backward().unwrap();
        let passed = gradients.get(&x).unwrap().to_vec2::<f32>().unwrap();
        assert_eq!(passed, [[2.0, 0.0, 0.0], [2.0, 2.0, 0.0]]);
    }

    #[test]
    fn scales_belong_to_the_axis_of_channels_also_of_a_transposed_tensor() {
        let x = Tensor::new(&[[1.0_f32, 2.0], [0.5, 4.0]], &Device::Cpu).unwrap().t().unwrap();
        let (_, scale) =
            operator("quantized_bits(2,1,alpha='auto')").apply(&x, &mut Seeded::new(0, 0)).unwrap();

        assert_eq!(scale, Some(Scale { shape: vec![2, 1], data: vec![1.0, 4.0] }));
    }

    #[test]
    fn other_types_are_refused() {
        let x = Tensor::new(&[1.0_f64], &Device::Cpu).unwrap();

        let error = operator("binary").apply(&x, &mut Seeded::new(0, 0)).unwrap_err();

        assert!(matches!(error, OperatorError::Tensor(_)), "{error}");
    }
}
