//! Inference kernels over plain slices, with the channels of a pixel lying together (NHWC), in f32 and in codes of 8 bits.
//!
//! Every kernel runs on the calling thread, over as many images as it is given, and exists once per [`Isa`]. **All of them
//! give the same bits**: a sum starts at zero and adds its products one after another, rows of the window before columns
//! before input channels, each with one rounding (a fused multiply-add in f32, exact in i32). So neither the instruction
//! set nor the number of images nor their distribution over threads shows in a result.

mod channels;
mod conv;
mod curves;
mod depthwise;
mod ending;
mod gradient;
mod isa;
mod lookup;
mod math;
mod pointwise;
mod pool;
mod simd;
mod softmax;
mod taps;
#[cfg(test)]
mod tests;
mod values;
mod window;

pub(crate) use channels::{Span, gather, permute, put_channels, take_channels};
pub(crate) use conv::{ConvShape, FloatConv, INT_DEPTH_MAX, IntConv};
pub(crate) use curves::Curve;
pub(crate) use depthwise::{FloatDepthwise, IntDepthwise};
pub(crate) use ending::{Ending, Grid, Out, Tail};
pub(crate) use gradient::{
    Activation, Affine, FixedPoint, InputGradient, MaxPool, Moments, NormGradient, channel_sums,
    depthwise_weight_gradient, from_taps_first, rectify, weight_gradient,
};
pub(crate) use isa::Isa;
pub(crate) use lookup::{Tables, lookup, lookup_floats, pixels};
pub(crate) use pointwise::{Operand, Pair, Repeats, Steps, dequantize, quantize, scale_shift};
pub(crate) use pool::{Mean, Pool};
pub(crate) use softmax::{Lrn, softmax};
pub(crate) use values::Values;
pub(crate) use window::Window;
