//! Inference kernels over plain slices, with the channels of a pixel lying together (NHWC), in f32 and in codes of 8 bits.
//!
//! Every kernel runs on the calling thread, over as many images as it is given, and exists once per [`Isa`]. **All of them
//! give the same bits**: a sum starts at zero and adds its products one after another, rows of the window before columns
//! before input channels, each with one rounding (a fused multiply-add in f32, exact in i32). So neither the instruction
//! set nor the number of images nor their distribution over threads shows in a result.

mod conv;
mod ending;
mod isa;
mod window;

pub(crate) use conv::{ConvShape, FloatConv, IntConv};
pub(crate) use ending::{Ending, Grid, Out, Tail};
pub(crate) use isa::Isa;
pub(crate) use window::Window;
