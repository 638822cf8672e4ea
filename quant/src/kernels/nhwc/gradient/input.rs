//! The gradient of a convolution to its input: itself convolutions, one for each phase of the stride.
//!
//! Along an axis, the output at `o` sees the input at `o * stride + tap * dilation - before`. So the input at
//! `phase + stride * i` gets the gradients of the outputs `i + (phase + before - tap * dilation) / stride`, for the taps for
//! which this divides: windows that slide over the gradient by one, over every `stride`-th input.

use std::cell::RefCell;

use crate::kernels::nhwc::conv::{ConvShape, FloatConv};
use crate::kernels::nhwc::depthwise::FloatDepthwise;
use crate::kernels::nhwc::taps::check_lengths;
use crate::kernels::nhwc::{Ending, Isa, Out, Tail, Window};

thread_local! {
    /// The inputs of a phase; kept between calls, because allocating and clearing costs as much as filling.
    static PHASE: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// The gradient to the input, for a weight laid out once.
pub(crate) struct InputGradient {
    shape: ConvShape,
    phases: Vec<Phase>,
    scale: Vec<f32>,
    shift: Vec<f32>,
}

struct Phase {
    /// First input row and column.
    at: [usize; 2],
    window: Window,
    /// None where no window sees the inputs.
    conv: Option<Conv>,
}

enum Conv {
    Dense(FloatConv),
    Depthwise(FloatDepthwise),
}

/// The taps that see a phase along one axis.
struct Taps {
    /// In the order in which they slide over the gradient; none for one that is only there to move the first.
    taps: Vec<Option<usize>>,
    dilation: usize,
    before: usize,
    inputs: usize,
}

impl InputGradient {
    /// Lays out a weight `(out, in / groups, rows, columns)`.
    ///
    /// Panics: the weight has another length, or the CPU has not the instruction set.
    pub(crate) fn new(isa: Isa, shape: &ConvShape, weight: &[f32]) -> Self {
        shape.check_weight(weight.len());
        let ones = |value: f32, channels: usize| vec![value; channels];
        if shape.is_linear() {
            // A window over the whole image: every value is a channel of its own.
            let window = Window::pixelwise([1, 1]);
            let flat = ConvShape { window, channels: shape.image(), ..*shape };
            let conv = Conv::Dense(FloatConv::new(isa, turned(&flat), &flattened(shape, weight)));
            let phase = Phase { at: [0, 0], window, conv: Some(conv) };
            let channels = flat.channels;
            return Self {
                shape: flat,
                phases: vec![phase],
                scale: ones(1.0, channels),
                shift: ones(-0.0, channels),
            };
        }
        let [down, right] = shape.window.stride;
        let starts = (0..down).flat_map(|row| (0..right).map(move |column| [row, column]));
        let inside = starts.filter(|at| at[0] < shape.window.size[0] && at[1] < shape.window.size[1]);
        Self {
            shape: *shape,
            phases: inside.map(|at| Phase::new(isa, (shape, weight), at)).collect(),
            scale: ones(1.0, shape.channels),
            shift: ones(-0.0, shape.channels),
        }
    }

    /// Writes the gradient to the input.
    ///
    /// Shapes: `dy` `(images, h', w', out)`, `dx` `(images, h, w, in)`.
    ///
    /// Panics: a slice has another length.
    pub(crate) fn run(&self, images: usize, dy: &[f32], dx: &mut [f32]) {
        let shape = &self.shape;
        check_lengths([dy.len(), dx.len()], [images * shape.out_image(), images * shape.image()]);
        let tail = Tail { scale: &self.scale, shift: &self.shift, ending: Ending::FLOAT };
        if let [Phase { conv: Some(conv), .. }] = self.phases.as_slice() {
            return conv.run(images, dy, &tail, dx);
        }
        PHASE.with_borrow_mut(|scratch| {
            for phase in &self.phases {
                let values = images * phase.window.positions() * shape.channels;
                scratch.resize(values.max(scratch.len()), 0.0);
                let part = &mut scratch[..values];
                match &phase.conv {
                    Some(conv) => conv.run(images, dy, &tail, part),
                    None => part.fill(0.0),
                }
                phase.spread(part, shape, dx);
            }
        });
    }
}

impl Conv {
    fn run(&self, images: usize, dy: &[f32], tail: &Tail<'_>, out: &mut [f32]) {
        match self {
            Self::Dense(conv) => conv.run(images, dy, tail, Out::Floats(out)),
            Self::Depthwise(conv) => conv.run(images, dy, tail, Out::Floats(out)),
        }
    }
}

impl Phase {
    fn new(isa: Isa, (shape, weight): (&ConvShape, &[f32]), at: [usize; 2]) -> Self {
        let [rows, columns] = [0, 1].map(|axis| Taps::new(&shape.window, axis, at[axis]));
        let window = Window {
            size: shape.window.out_size,
            kernel: [rows.taps.len(), columns.taps.len()],
            stride: [1, 1],
            dilation: [rows.dilation, columns.dilation],
            before: [rows.before, columns.before],
            out_size: [rows.inputs, columns.inputs],
        };
        let is_seen = window.taps() > 0;
        let conv = is_seen.then(|| {
            let part = turned(&ConvShape { window, ..*shape });
            let weight = selected(shape, weight, [&rows, &columns]);
            match shape.groups == shape.channels && shape.groups == shape.out_channels && shape.groups > 1 {
                true => Conv::Depthwise(FloatDepthwise::new(isa, window, shape.channels, &weight)),
                false => Conv::Dense(FloatConv::new(isa, part, &weight)),
            }
        });
        Self { at, window, conv }
    }

    /// Puts the inputs of the phase among those of the others.
    fn spread(&self, part: &[f32], shape: &ConvShape, dx: &mut [f32]) {
        let (channels, [down, right]) = (shape.channels.max(1), shape.window.stride);
        let [height, width] = shape.window.size;
        let line = (self.window.out_size[1] * channels).max(1);
        for (index, part) in part.chunks_exact(line).enumerate() {
            let (image, row) = (index / self.window.out_size[0], index % self.window.out_size[0]);
            let start = (image * height + self.at[0] + row * down) * width + self.at[1];
            let pixels = dx[start * channels..].chunks_mut(channels).step_by(right);
            for (pixel, part) in pixels.zip(part.chunks_exact(channels)) {
                pixel.copy_from_slice(part);
            }
        }
    }
}

impl Taps {
    fn new(window: &Window, axis: usize, phase: usize) -> Self {
        let (stride, dilation) = (window.stride[axis], window.dilation[axis]);
        let places = (phase + window.before[axis]) as isize;
        let mut taps = Vec::new();
        let mut first = 0;
        for tap in (0..window.kernel[axis]).rev() {
            let distance = places - (tap * dilation) as isize;
            if distance % stride as isize == 0 {
                if taps.is_empty() {
                    first = distance / stride as isize;
                }
                taps.push(Some(tap));
            }
        }
        let dilation = dilation / common_divisor(dilation, stride);
        // A window cannot begin behind its place; taps without weight move it there.
        while first > 0 && !taps.is_empty() {
            taps.insert(0, None);
            first -= dilation as isize;
        }
        let inputs = window.size[axis].saturating_sub(phase).div_ceil(stride);
        Self { taps, dilation, before: first.unsigned_abs(), inputs }
    }
}

fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// The shape of a convolution that goes the other way.
fn turned(shape: &ConvShape) -> ConvShape {
    ConvShape { channels: shape.out_channels, out_channels: shape.channels, ..*shape }
}

/// The weight `(in, out / groups, rows, columns)` of the taps that see a phase.
fn selected(shape: &ConvShape, weight: &[f32], [rows, columns]: [&Taps; 2]) -> Vec<f32> {
    let (taps, channels, outputs) = (shape.window.taps(), shape.group_channels(), shape.group_out_channels());
    let mut selected = Vec::new();
    for channel in 0..shape.channels {
        for output in 0..outputs {
            let output = channel / channels * outputs + output;
            let filter = &weight[(output * channels + channel % channels) * taps..][..taps];
            for row in &rows.taps {
                selected.extend(columns.taps.iter().map(|column| match (row, column) {
                    (Some(row), Some(column)) => filter[row * shape.window.kernel[1] + column],
                    _ => 0.0,
                }));
            }
        }
    }
    selected
}

/// The weight `(rows, columns, in, out)` of a layer that sees the whole image at once.
fn flattened(shape: &ConvShape, weight: &[f32]) -> Vec<f32> {
    let (taps, channels) = (shape.window.taps(), shape.channels);
    let mut flat = Vec::with_capacity(weight.len());
    for tap in 0..taps {
        for channel in 0..channels {
            let place = channel * taps + tap;
            flat.extend((0..shape.out_channels).map(|output| weight[output * shape.depth() + place]));
        }
    }
    flat
}
