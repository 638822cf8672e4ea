//! Compiling and starting our CUDA kernels. What is computed here about a kernel's arguments is nothing: see the
//! modules that call this.

use std::sync::OnceLock;

use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaSlice, DeviceRepr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::cuda_backend::{CudaDevice, WrapErr};
use candle_core::{CudaStorage, Error, Layout, Result};

use super::depthwise::{Depthwise, Extents};
use super::qkeras::{FittedMap, Map};
use super::quantize::{self, Channel, Output};
use super::{DEPTHWISE_SOURCE, Launch, QKERAS_SOURCE, QUANTIZE_SOURCE};

/// A source text and, once it was needed, what the compiler made of it.
struct Module {
    name: &'static str,
    source: &'static str,
    /// Whether a product and a sum may be rounded together.
    fuses: bool,
    compiled: OnceLock<std::result::Result<String, String>>,
}

static DEPTHWISE: Module =
    Module { name: "bitloop-depthwise", source: DEPTHWISE_SOURCE, fuses: true, compiled: OnceLock::new() };
static QUANTIZE: Module =
    Module { name: "bitloop-quantize", source: QUANTIZE_SOURCE, fuses: true, compiled: OnceLock::new() };
static QKERAS: Module =
    Module { name: "bitloop-qkeras", source: QKERAS_SOURCE, fuses: false, compiled: OnceLock::new() };

impl Module {
    /// Returns a function of the module on a device.
    fn function(&self, name: &str, device: &CudaDevice) -> Result<CudaFunction> {
        let compiled = self.compiled.get_or_init(|| {
            // For the oldest GPU that the compiler knows; the driver makes it fit its own.
            let name = Some(self.name.to_owned());
            let options = CompileOptions { name, fmad: Some(self.fuses), ..CompileOptions::default() };
            let compiled = compile_ptx_with_opts(self.source, options);
            compiled.map(|compiled| compiled.to_src()).map_err(|error| error.to_string())
        });
        match compiled {
            Ok(compiled) => {
                Ok(device.get_or_load_custom_func(name, self.name, compiled)?.into_cuda_function())
            }
            Err(reason) => Err(Error::Msg(format!("kernel `{}` does not compile: {reason}", self.name))),
        }
    }
}

impl Launch {
    fn config(self) -> LaunchConfig {
        let ([grid_x, grid_y], [block_x, block_y]) = (self.grid, self.block);
        LaunchConfig { grid_dim: (grid_x, grid_y, 1), block_dim: (block_x, block_y, 1), shared_mem_bytes: 0 }
    }
}

// SAFETY: plain numbers laid out as the struct of the same name in `depthwise.cu`.
unsafe impl DeviceRepr for Extents {}
// SAFETY: plain numbers laid out as the struct of the same name in `quantize.cu`.
unsafe impl DeviceRepr for Channel {}
// SAFETY: plain numbers laid out as the struct of the same name in `qkeras.cu`; an enum of C's `int` among them.
unsafe impl DeviceRepr for Map {}

/// Returns where the values of a contiguous tensor lie in its storage.
fn contiguous(layout: &Layout) -> Result<std::ops::Range<usize>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(start..end),
        None => candle_core::bail!("the kernel takes contiguous tensors"),
    }
}

/// Runs the convolution of image, weight and bias.
///
/// Errors: a message for another type, for gaps, and what the driver says.
pub(super) fn depthwise(op: &Depthwise, inputs: [(&CudaStorage, &Layout); 3]) -> Result<CudaStorage> {
    let (extents, launch) = op.launch()?;
    let device = inputs[0].0.device.clone();
    let stream = device.cuda_stream();
    let function = DEPTHWISE.function("depthwise", &device)?;
    let count = op.out_shape().elem_count();
    let [x, weight, bias] = inputs;
    let x = x.0.as_cuda_slice::<f32>()?.slice(contiguous(x.1)?);
    let weight = weight.0.as_cuda_slice::<f32>()?.slice(contiguous(weight.1)?);
    let bias = bias.0.as_cuda_slice::<f32>()?.slice(contiguous(bias.1)?);
    // SAFETY: the kernel writes every value before anything reads one: the grid covers every plane and position.
    let mut y = unsafe { device.alloc::<f32>(count)? };
    if count > 0 {
        let mut arguments = stream.launch_builder(&function);
        arguments.arg(&x).arg(&weight).arg(&bias).arg(&mut y).arg(&extents);
        // SAFETY: types and order are those of the kernel's parameters. `Geometry` checked the shapes against each
        // other, so all reads and writes stay within the four slices.
        unsafe { arguments.launch(launch.config()) }.w()?;
    }
    Ok(CudaStorage::wrap_cuda_slice(y, device))
}

/// Runs one pass of quantization over a tensor, with one grid for all of it or one for each index of axis 0.
///
/// Errors: a message for another type, for gaps, and what the driver says.
pub(crate) fn quantize(
    (storage, layout): (&CudaStorage, &Layout),
    channels: &[Channel],
    output: Output,
) -> Result<CudaStorage> {
    let device = storage.device.clone();
    let stream = device.cuda_stream();
    let x = storage.as_cuda_slice::<f32>()?.slice(contiguous(layout)?);
    let count = x.len();
    let launch = quantize::launch(count).config();
    let (values, output) = (count as i64, output as i32);
    // SAFETY: the kernel writes every value before anything reads one: threads step over the whole tensor.
    let mut y = unsafe { device.alloc::<f32>(count)? };
    if count > 0
        && let [channel] = channels
    {
        let function = QUANTIZE.function("quantize_tensor", &device)?;
        let mut arguments = stream.launch_builder(&function);
        arguments.arg(&x).arg(&mut y).arg(&values).arg(channel).arg(&output);
        // SAFETY: types and order are those of the kernel's parameters; `x` and `y` have `values` values.
        unsafe { arguments.launch(launch) }.w()?;
    } else if count > 0 {
        if channels.is_empty() || count % channels.len() != 0 {
            candle_core::bail!("{count} values cannot be split among {} channels", channels.len());
        }
        let function = QUANTIZE.function("quantize_channels", &device)?;
        let per_channel = (count / channels.len()) as i64;
        let channels = device.clone_htod(channels)?;
        let mut arguments = stream.launch_builder(&function);
        arguments.arg(&x).arg(&mut y).arg(&values).arg(&channels).arg(&per_channel).arg(&output);
        // SAFETY: as above; `i / per_channel` is below the number of channels for every `i` below `values`.
        unsafe { arguments.launch(launch) }.w()?;
    }
    Ok(CudaStorage::wrap_cuda_slice(y, device))
}

/// Maps a tensor as a quantizer of QKeras that was fitted to it. Scales and draws are copied to the GPU each time.
///
/// Errors: a message for another type, for gaps, and what the driver says.
pub(crate) fn qkeras_forward(
    (storage, layout): (&CudaStorage, &Layout),
    fitted: &FittedMap<'_>,
) -> Result<CudaStorage> {
    let device = storage.device.clone();
    let stream = device.cuda_stream();
    let x = storage.as_cuda_slice::<f32>()?.slice(contiguous(layout)?);
    let count = x.len();
    // SAFETY: the kernel writes every value before anything reads one: threads step over the whole tensor.
    let mut y = unsafe { device.alloc::<f32>(count)? };
    if count > 0 {
        let function = QKERAS.function("qkeras_forward", &device)?;
        let found = found(fitted, count, &device)?;
        let (values, drawn) = (count as i64, fitted.draws.len() as i32);
        if fitted.draws.iter().any(|draws| draws.len() != count) {
            candle_core::bail!("there are other draws than values");
        }
        // A kernel that draws nothing reads none; memory of no length has no address.
        let draws = if drawn == 0 { vec![0.0] } else { fitted.draws.concat() };
        let draws = device.clone_htod(&draws)?;
        let mut arguments = stream.launch_builder(&function);
        arguments.arg(&x).arg(&found).arg(&draws).arg(&drawn).arg(&mut y).arg(&values).arg(&fitted.map);
        // SAFETY: types and order are those of the kernel's parameters; `x` and `y` have `values` values, `draws` has
        // `drawn` times as many, and `found` as many as there are groups.
        unsafe { arguments.launch(quantize::launch(count).config()) }.w()?;
    }
    Ok(CudaStorage::wrap_cuda_slice(y, device))
}

/// Passes a gradient back through a quantizer of QKeras, given the values that it was fitted to.
///
/// Errors: as [`qkeras_forward`].
pub(crate) fn qkeras_backward(
    [x, gradient]: [(&CudaStorage, &Layout); 2],
    fitted: &FittedMap<'_>,
) -> Result<CudaStorage> {
    let device = x.0.device.clone();
    let stream = device.cuda_stream();
    let [x, gradient] = [
        x.0.as_cuda_slice::<f32>()?.slice(contiguous(x.1)?),
        gradient.0.as_cuda_slice::<f32>()?.slice(contiguous(gradient.1)?),
    ];
    let count = x.len();
    if gradient.len() != count {
        candle_core::bail!("{} gradients are given for {count} values", gradient.len());
    }
    // SAFETY: as in `qkeras_forward`.
    let mut passed = unsafe { device.alloc::<f32>(count)? };
    if count > 0 {
        let function = QKERAS.function("qkeras_backward", &device)?;
        let found = found(fitted, count, &device)?;
        let values = count as i64;
        let mut arguments = stream.launch_builder(&function);
        arguments.arg(&x).arg(&found).arg(&gradient).arg(&mut passed).arg(&values).arg(&fitted.map);
        // SAFETY: types and order are those of the kernel's parameters; three slices have `values` values, and `found`
        // as many as there are groups.
        unsafe { arguments.launch(quantize::launch(count).config()) }.w()?;
    }
    Ok(CudaStorage::wrap_cuda_slice(passed, device))
}

/// Copies what the groups have found, two numbers each.
fn found(fitted: &FittedMap<'_>, values: usize, device: &CudaDevice) -> Result<CudaSlice<f32>> {
    let Map { inner, count, .. } = fitted.map;
    if inner < 1 || count < 1 || fitted.found.len() as i64 != count {
        candle_core::bail!("{values} values have {} scales for {count} groups", fitted.found.len());
    }
    device.clone_htod(fitted.found.as_flattened())
}
