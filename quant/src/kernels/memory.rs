//! Reading and making candle tensors on the CPU as plain slices.

use candle_core::{CpuStorage, DType, Device, Layout, Result, Storage, Tensor};

/// Returns the values of a contiguous f32 storage.
///
/// Errors: a message for another type or a layout with gaps.
pub(crate) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(values) = storage else { candle_core::bail!("the kernel takes f32 values") };
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => candle_core::bail!("the kernel takes contiguous tensors"),
    }
}

/// Lets `read` see the values of a CPU tensor, copying only if they are not contiguous.
///
/// Errors: those of `read`, and a message for another type or device.
pub(crate) fn with_values<R>(tensor: &Tensor, read: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    if tensor.dtype() != DType::F32 {
        candle_core::bail!("the kernel takes f32 values, not {:?}", tensor.dtype());
    }
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => read(slice(storage, layout)?),
        _ => candle_core::bail!("the kernel takes tensors on the CPU"),
    }
}

/// Makes a CPU tensor of the shape of `like`.
pub(crate) fn tensor_like(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), &Device::Cpu)
}
