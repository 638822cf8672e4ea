//! Affine quantizers: from a range to an encoding, and from a tensor to the nearest values on a grid.
//!
//! Start at [`Encoding`] and [`fake_quantize`]; an [`Observer`] is what encodings of every width and calibration come
//! from. Codes are `clamp(rne(x / scale) - offset, qmin, qmax)` with a division
//! and rounding half to even, as ONNX QuantizeLinear does. Nothing here knows of networks or images.

#[cfg(test)]
mod calibrator_tests;
mod encoding;
mod error;
mod grid;
mod histogram;
mod kernel;
mod learned;
mod observer;
mod search;
#[cfg(test)]
mod tests;

use candle_core::{DType, Tensor};

pub use encoding::Encoding;
pub(crate) use encoding::observed_range;
pub use error::QuantError;
pub use grid::Grid;
pub(crate) use histogram::Parts as HistogramParts;
pub use learned::fake_quantize_learned;
pub use observer::{Detail, Observer};

use kernel::{Output, Quantize};

use crate::kernels::{Kernels, Operators};

/// Returns the nearest values on the grid: `(clamp(rne(x / scale) - offset, qmin, qmax) + offset) * scale`.
///
/// The gradient is straight-through: it passes where no clamping took place. NaN stays NaN.
///
/// Shapes: `x` any f32, or `(channels, ...)` if the encoding has one scale per channel; kept.
/// Errors: `Channels`, `Tensor`.
pub fn fake_quantize(x: &Tensor, encoding: &Encoding) -> Result<Tensor, QuantError> {
    fake_quantize_with(x, encoding, Kernels::default())
}

/// The same with certain kernels: one pass over the tensor with ours, a handful with candle's operators.
///
/// Shapes and errors: as [`fake_quantize`].
pub fn fake_quantize_with(x: &Tensor, encoding: &Encoding, kernels: Kernels) -> Result<Tensor, QuantError> {
    check_channels(x, encoding)?;
    let op = Quantize::new(encoding, Output::Nearest);
    match kernels.operators(x.device()) {
        Operators::Own | Operators::Cuda => Ok(x.contiguous()?.apply_op1(op)?),
        Operators::Candle => {
            let nearest = op.composed(&x.detach())?;
            if !x.track_op() {
                return Ok(nearest);
            }
            let mask = Quantize::new(encoding, Output::Mask).composed(&x.detach())?;
            let passing = x.mul(&mask)?;
            Ok((&passing + (nearest - passing.detach())?)?)
        }
    }
}

/// Returns the codes, in `qmin..=qmax`.
///
/// Shapes: as [`fake_quantize`], i64. Errors: `Channels`, `NotFinite` if a value is NaN, `Tensor`.
pub fn integer_codes(x: &Tensor, encoding: &Encoding) -> Result<Tensor, QuantError> {
    check_channels(x, encoding)?;
    let (min, max) = observed_range(&x.flatten_all()?.to_vec1::<f32>()?);
    if min.is_nan() {
        return Err(QuantError::NotFinite { channel: 0, min, max });
    }
    let op = Quantize::new(encoding, Output::Code);
    let codes = match Kernels::default().operators(x.device()) {
        Operators::Own | Operators::Cuda => x.contiguous()?.apply_op1_no_bwd(&op)?,
        Operators::Candle => op.composed(&x.detach())?,
    };
    Ok(codes.to_dtype(DType::I64)?)
}

fn check_channels(x: &Tensor, encoding: &Encoding) -> Result<(), QuantError> {
    let scales = encoding.scale().len();
    if scales == 1 || (scales > 1 && x.dims().first() == Some(&scales)) {
        return Ok(());
    }
    Err(QuantError::Channels { scales, shape: x.dims().to_vec() })
}
