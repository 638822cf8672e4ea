//! The quantizers as a candle operator with its gradient.
//!
//! On a GPU values are mapped there, one by one, while scales and draws are found on the CPU, which the values are copied
//! to for that. Maps of sums, products, quotients and roundings are meant to be the CPU's to the bit; those that take
//! `tanh`, `exp` or logarithms of the GPU's may differ from it by that. This has not been run on a GPU: see
//! `kernels/cuda` for what is tested without one.

use std::sync::Arc;

use bitloop_core::qkeras::Quantizer;
#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Device, Layout, Shape, Tensor};

use super::{Channel, FitError, Fitted, Fitting, Scale, Uniform, Values, fit};
#[cfg(feature = "cuda")]
use crate::kernels::cuda;
use crate::kernels::{slice, with_values};

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
    /// Shapes: any f32 with at least one axis; kept. The scale counts as a constant in the gradient.
    /// Errors: `Fit`; `Tensor` for another type.
    pub fn apply(
        &self,
        x: &Tensor,
        uniform: &mut dyn Uniform,
    ) -> Result<(Tensor, Option<Scale>), OperatorError> {
        let x = x.contiguous()?;
        let fitted = with_values(&x.to_device(&Device::Cpu)?, |data| {
            let values = Values { data, shape: x.dims(), channel: self.channel };
            Ok(fit(&self.quantizer, values, self.fitting, uniform))
        })??;
        let scale = fitted.scale().cloned();
        Ok((x.apply_op1(Quantize { fitted: Arc::new(fitted) })?, scale))
    }
}

struct Quantize {
    fitted: Arc<Fitted>,
}

/// The gradient of the values, given values and the gradient behind.
struct PassBack {
    fitted: Arc<Fitted>,
}

impl CustomOp1 for Quantize {
    fn name(&self) -> &'static str {
        "qkeras-quantize"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let values = slice(storage, layout)?;
        let mut quantized = vec![0.0; values.len()];
        self.fitted.forward(values, &mut quantized);
        Ok((CpuStorage::F32(quantized), layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        let quantized = cuda::qkeras_forward((storage, layout), &self.fitted.map())?;
        Ok((quantized, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let passed = PassBack { fitted: self.fitted.clone() };
        x.contiguous()?.apply_op2_no_bwd(&gradient.contiguous()?, &passed).map(Some)
    }
}

impl CustomOp2 for PassBack {
    fn name(&self) -> &'static str {
        "qkeras-pass-back"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (values, gradient) = (slice(x, layout)?, slice(gradient, gradient_layout)?);
        let mut passed = vec![0.0; values.len()];
        self.fitted.backward(values, gradient, &mut passed);
        Ok((CpuStorage::F32(passed), layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        layout: &Layout,
        gradient: &CudaStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let tensors = [(x, layout), (gradient, gradient_layout)];
        Ok((cuda::qkeras_backward(tensors, &self.fitted.map())?, layout.shape().clone()))
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
