//! What CUDA says of the machine's GPUs.

use candle_core::Device;
use candle_core::cuda_backend::cudarc::driver::CudaContext;

/// Returns how many GPUs CUDA sees.
///
/// Errors: what the driver says.
pub(super) fn count() -> Result<usize, String> {
    let count = CudaContext::device_count().map_err(|error| error.to_string())?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Opens a GPU and returns it with its class: its name and memory as the driver tells them.
///
/// Errors: what the driver says.
pub(super) fn open(ordinal: usize) -> Result<(Device, String), String> {
    // One stream for all threads: with a stream per thread, as candle has by default, nothing would order what one
    // thread writes before what another one reads.
    let device = Device::new_cuda_with_stream(ordinal).map_err(|error| error.to_string())?;
    let cuda = device.as_cuda_device().map_err(|error| error.to_string())?;
    let stream = cuda.cuda_stream();
    let name = stream.context().name().map_err(|error| error.to_string())?;
    let (_, total) = stream.context().mem_get_info().map_err(|error| error.to_string())?;
    let class = format!("CUDA {name} {} GiB", (total as f64 / f64::from(1 << 30)).round());
    Ok((device, class))
}
