//! What CUDA says of the machine's GPUs.

use bitloop_core::device::{ComputeCapability, Device as Inventory, DeviceKind};
use candle_core::Device;
use candle_core::cuda_backend::cudarc::driver::sys::CUdevice_attribute;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError};

use super::inventory::gpu_id;

/// Returns how many GPUs CUDA sees.
///
/// Errors: what the driver says.
pub(super) fn count() -> Result<usize, String> {
    let count = CudaContext::device_count().map_err(|error| error.to_string())?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Opens a GPU and returns it with what the driver tells of it. Its class is its name and memory.
///
/// Errors: what the driver says.
pub(super) fn open(ordinal: usize) -> Result<(Device, Inventory), String> {
    // One stream for all threads: with a stream per thread, as candle has by default, nothing would order what one
    // thread writes before what another one reads.
    let device = Device::new_cuda_with_stream(ordinal).map_err(|error| error.to_string())?;
    let cuda = device.as_cuda_device().map_err(|error| error.to_string())?;
    let stream = cuda.cuda_stream();
    let inventory = look_at(stream.context(), ordinal).map_err(|error| error.to_string())?;
    Ok((device, inventory))
}

fn look_at(context: &CudaContext, ordinal: usize) -> Result<Inventory, DriverError> {
    let (_, total) = context.mem_get_info()?;
    let (major, minor) = context.compute_capability()?;
    let multiprocessors = context.attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
    // The number depends on CUDA_VISIBLE_DEVICES; by this the workers of a host know that they share a GPU.
    let uuid: String = context.uuid()?.bytes.iter().map(|byte| format!("{:02x}", *byte as u8)).collect();
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
    let number = |value: i32| u32::try_from(value).unwrap_or(0);
    Ok(Inventory {
        kind: DeviceKind::Cuda,
        id: gpu_id(&uuid, ordinal, visible.as_deref()),
        class: format!("CUDA {} {} GiB", context.name()?, (total as f64 / f64::from(1 << 30)).round()),
        cores: number(multiprocessors),
        memory_bytes: total as u64,
        features: Vec::new(),
        compute_capability: Some(ComputeCapability { major: number(major), minor: number(minor) }),
    })
}
