//! Steps as kernel calls, with everything that does not depend on the images.

use std::sync::Arc;

use bitloop_core::graph::Input;

use super::blueprint::{Mean, Work};
use super::lower::Target;
use super::moves::{Map, NOWHERE};
use super::repr::{Codes, Repr};
use crate::kernels::nhwc::{
    self, Curve, Ending, FloatConv, FloatDepthwise, IntConv, IntDepthwise, Isa, Lrn, Out, Pair, Pool,
    Repeats, Span, Steps, Tables, Tail, Values,
};

/// A tensor of some images that a kernel reads.
#[derive(Clone, Copy)]
pub(super) enum View<'a> {
    Floats(&'a [f32]),
    Codes(&'a [u8]),
}

/// `sum * scale + shift` per output channel, and how it is stored.
#[derive(Clone, Debug)]
pub(super) struct Finish {
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
    pub(super) ending: Ending,
}

impl Finish {
    fn tail(&self) -> Tail<'_> {
        Tail { scale: &self.scale, shift: &self.shift, ending: self.ending }
    }
}

/// What an input's numbers mean: `(x - zero) * scale`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operand {
    pub(super) zero: u8,
    pub(super) scale: f32,
}

impl Operand {
    pub(super) const FLOATS: Self = Self { zero: 0, scale: 1.0 };

    pub(super) fn of(repr: Repr) -> Self {
        match repr {
            Repr::Float => Self::FLOATS,
            Repr::Codes(codes) => Self { zero: codes.zero, scale: codes.scale },
        }
    }

    fn values<'a>(&self, view: View<'a>) -> Values<'a> {
        match view {
            View::Floats(values) => Values::Floats(values),
            View::Codes(codes) => Values::Codes { codes, zero: self.zero },
        }
    }
}

/// A table for each channel's pixels.
pub(super) enum PixelTables {
    Floats(Vec<[f32; 256]>),
    Codes(Vec<[u8; 256]>),
}

/// What is done to values before they are stored: a target, and what they are clamped to.
type Stored<'t, 'e> = (&'t Target<'e>, [f32; 2]);

/// Two tensors become one.
pub(super) struct Binary {
    operands: [Operand; 2],
    factors: [f32; 2],
    repeats: Repeats,
    ending: Ending,
}

/// One kernel call.
pub(super) enum Kernel {
    Pixels {
        tables: PixelTables,
        pixels: usize,
    },
    FloatConv {
        conv: Arc<FloatConv>,
        finish: Finish,
    },
    FloatDepthwise {
        conv: Arc<FloatDepthwise>,
        finish: Finish,
    },
    IntConv {
        conv: Arc<IntConv>,
        zero: u8,
        finish: Finish,
    },
    IntDepthwise {
        conv: Arc<IntDepthwise>,
        zero: u8,
        finish: Finish,
    },
    Add(Binary),
    Multiply(Binary),
    Norm {
        own: Operand,
        finish: Finish,
    },
    Mean {
        mean: Arc<Mean>,
        own: Operand,
        finish: Finish,
    },
    MaxPool {
        pool: Pool,
    },
    Curve(Curve<'static>),
    PRelu(Arc<[f32]>),
    Softmax {
        channels: usize,
    },
    Lrn {
        channels: usize,
        lrn: Lrn,
    },
    /// Floats, clamped and put on a grid.
    Store(Ending),
    /// Floats become codes.
    Quantize(Steps),
    ToCodes(Box<[u8; 256]>),
    ToFloats(Box<[f32; 256]>),
    Constant(Arc<[f32]>),
    Gather {
        map: Arc<Map>,
        fill_code: u8,
        source: usize,
    },
    Permute {
        from: Arc<[u32]>,
        channels: usize,
    },
    Concat {
        channels: Arc<[usize]>,
    },
    Join,
    /// Codes become values.
    Dequantize {
        zero: u8,
        scale: f32,
    },
    Take(Span),
}

impl Kernel {
    pub(super) fn table_to_codes(code: impl Fn(u8) -> u8) -> Self {
        Self::ToCodes(Box::new(std::array::from_fn(|index| code(index as u8))))
    }

    pub(super) fn table_to_floats(value: impl Fn(u8) -> f32) -> Self {
        Self::ToFloats(Box::new(std::array::from_fn(|index| value(index as u8))))
    }

    /// Stores floats as the target wants them.
    pub(super) fn store(repr: Repr, ending: Ending) -> Self {
        match (repr, ending) {
            (Repr::Codes(Codes { scale, .. }), Ending::Codes { lo, hi, zero }) => {
                Self::Quantize(Steps { scale, zero, lo, hi })
            }
            _ => Self::Store(ending),
        }
    }

    /// Turns bytes into normalized values, on the target's grid if it has one.
    pub(super) fn pixels(input: &Input, target: &Target<'_>) -> Self {
        let channels = input.shape.channels();
        let value =
            |channel: usize, byte: usize| (byte as f32 / 255.0 - input.mean[channel]) / input.std[channel];
        let tables = match target.repr {
            Repr::Codes(codes) => PixelTables::Codes(
                (0..channels).map(|c| std::array::from_fn(|byte| codes.code(value(c, byte)))).collect(),
            ),
            Repr::Float => {
                let grid = target.grid();
                let nearest = |value: f32| grid.map_or(value, |grid| grid.nearest(value));
                let table = |c: usize| std::array::from_fn(|byte| nearest(value(c, byte)));
                PixelTables::Floats((0..channels).map(table).collect())
            }
        };
        Self::Pixels { tables, pixels: input.shape.elements() / channels.max(1) }
    }

    /// Adds two tensors.
    pub(super) fn add(operands: [Operand; 2], repeats: Repeats, (target, range): Stored<'_, '_>) -> Self {
        let factors = operands.map(|operand| (f64::from(operand.scale) / target.step()) as f32);
        Self::Add(Binary { operands, factors, repeats, ending: target.ending(range) })
    }

    /// Multiplies two tensors.
    pub(super) fn multiply(
        operands: [Operand; 2],
        repeats: Repeats,
        (target, range): Stored<'_, '_>,
    ) -> Self {
        let factor = f64::from(operands[0].scale) * f64::from(operands[1].scale) / target.step();
        let factors = [factor as f32, 1.0];
        Self::Multiply(Binary { operands, factors, repeats, ending: target.ending(range) })
    }

    /// Moves values, or takes the largest: the output's numbers mean what the inputs' do.
    pub(super) fn moving(work: &Work, repr: Repr, isa: Isa) -> Self {
        match work {
            Work::MaxPool { window, channels } => {
                Self::MaxPool { pool: Pool { isa, window: *window, channels: *channels } }
            }
            Work::Permute { from, channels } => match span(from, *channels) {
                Some(span) => Self::Take(span),
                None => Self::Permute { from: Arc::clone(from), channels: *channels },
            },
            Work::Concat { channels } => Self::Concat { channels: Arc::clone(channels) },
            Work::Join => Self::Join,
            Work::Move { map, source } => {
                let fill_code = match repr {
                    Repr::Codes(codes) => codes.code(map.fill),
                    Repr::Float => 0,
                };
                Self::Gather { map: Arc::clone(map), fill_code, source: *source }
            }
            _ => unreachable!("the caller passes works that keep values"),
        }
    }

    /// Computes the step for so many images.
    ///
    /// Shapes: `pixels` `(images, channels, height, width)` bytes, which only the first step reads.
    pub(super) fn run(&self, call: &Call<'_>, inputs: &[View<'_>], out: Out<'_>) {
        let (isa, images) = (call.isa, call.images);
        match (self, inputs, out) {
            (Self::Pixels { tables, pixels }, _, out) => take_pixels(tables, (call.pixels, *pixels), out),
            (Self::FloatConv { conv, finish }, [View::Floats(x)], out) => {
                conv.run(images, x, &finish.tail(), out);
            }
            (Self::FloatDepthwise { conv, finish }, [View::Floats(x)], out) => {
                conv.run(images, x, &finish.tail(), out);
            }
            (Self::IntConv { conv, zero, finish }, [View::Codes(x)], out) => {
                conv.run(images, x, *zero, &finish.tail(), out);
            }
            (Self::IntDepthwise { conv, zero, finish }, [View::Codes(x)], out) => {
                conv.run(images, x, *zero, &finish.tail(), out);
            }
            (Self::Add(binary), [left, right], out) => {
                binary.pair([*left, *right]).add(isa, binary.ending, out);
            }
            (Self::Multiply(binary), [left, right], out) => {
                binary.pair([*left, *right]).multiply(isa, binary.ending, out);
            }
            (Self::Norm { own, finish }, [x], out) => {
                nhwc::scale_shift(isa, own.values(*x), &finish.tail(), out);
            }
            (Self::Mean { mean, own, finish }, [x], out) => {
                let tail = finish.tail();
                mean.pool(isa).average(images, own.values(*x), &mean.of(&tail), out);
            }
            (Self::MaxPool { pool }, [View::Floats(x)], Out::Floats(out)) => pool.max(images, x, out),
            (Self::MaxPool { pool }, [View::Codes(x)], Out::Codes(out)) => pool.max_codes(images, x, out),
            (Self::Quantize(steps), [View::Floats(x)], Out::Codes(out)) => {
                nhwc::quantize(isa, x, *steps, out)
            }
            (Self::Dequantize { zero, scale }, [View::Codes(x)], Out::Floats(out)) => {
                nhwc::dequantize(isa, x, (*zero, *scale), out);
            }
            (Self::ToCodes(table), [View::Codes(x)], Out::Codes(out)) => nhwc::lookup(isa, x, table, out),
            (Self::ToFloats(table), [View::Codes(x)], Out::Floats(out)) => nhwc::lookup_floats(x, table, out),
            (Self::Constant(values), _, Out::Floats(out)) => {
                out.chunks_exact_mut(values.len().max(1)).for_each(|image| image.copy_from_slice(values));
            }
            (_, [View::Floats(x)], Out::Floats(out)) if self.is_curve() => self.run_curve(isa, x, out),
            (_, _, Out::Floats(out)) => self.run_moving(call, inputs, out),
            (_, _, Out::Codes(out)) => self.run_moving(call, inputs, out),
        }
    }

    fn is_curve(&self) -> bool {
        matches!(
            self,
            Self::Curve(_) | Self::PRelu(_) | Self::Softmax { .. } | Self::Lrn { .. } | Self::Store(_)
        )
    }

    /// Functions of floats that give floats.
    fn run_curve(&self, isa: Isa, x: &[f32], out: &mut [f32]) {
        let (plain, out) = (Ending::FLOAT, Out::Floats(out));
        match self {
            Self::Curve(curve) => curve.apply(isa, x, plain, out),
            Self::PRelu(slopes) => Curve::PRelu { slopes }.apply(isa, x, plain, out),
            Self::Softmax { channels } => nhwc::softmax(isa, (x, *channels), plain, out),
            Self::Lrn { channels, lrn } => lrn.apply(isa, (x, *channels), plain, out),
            Self::Store(ending) => Curve::Identity.apply(isa, x, *ending, out),
            _ => unreachable!("the caller asked for a curve"),
        }
    }

    /// Values move as they are stored.
    fn run_moving<T: Number>(&self, call: &Call<'_>, inputs: &[View<'_>], out: &mut [T]) {
        let inputs: Vec<&[T]> = inputs.iter().map(|input| T::of(*input)).collect();
        match self {
            Self::Gather { map, fill_code, source } => {
                gather(map, (inputs[0], *source), T::fill(map.fill, *fill_code), out);
            }
            Self::Permute { from, channels } => nhwc::permute(call.isa, (inputs[0], *channels), from, out),
            Self::Take(span) => nhwc::take_channels(inputs[0], *span, out),
            Self::Concat { channels } => join(&inputs, channels, out),
            Self::Join => {
                let lengths: Vec<usize> = inputs.iter().map(|x| x.len() / call.images.max(1)).collect();
                join(&inputs, &lengths, out);
            }
            _ => unreachable!("a step's inputs and output are what its kernel takes"),
        }
    }
}

/// What all kernels of a block of images are called with.
pub(super) struct Call<'a> {
    pub(super) isa: Isa,
    pub(super) images: usize,
    /// `(images, channels, height, width)`.
    pub(super) pixels: &'a [u8],
}

/// What tensors consist of.
trait Number: Copy {
    /// Panics: the tensor is of the other kind (a step whose input is not what its kernel takes).
    fn of(view: View<'_>) -> &[Self];
    fn fill(value: f32, code: u8) -> Self;
}

impl Number for f32 {
    fn of(view: View<'_>) -> &[Self] {
        match view {
            View::Floats(values) => values,
            View::Codes(_) => unreachable!("floats come from floats"),
        }
    }

    fn fill(value: f32, _code: u8) -> Self {
        value
    }
}

impl Number for u8 {
    fn of(view: View<'_>) -> &[Self] {
        match view {
            View::Codes(codes) => codes,
            View::Floats(_) => unreachable!("codes come from codes"),
        }
    }

    fn fill(_value: f32, code: u8) -> Self {
        code
    }
}

impl Binary {
    fn pair<'a>(&self, views: [View<'a>; 2]) -> Pair<'a> {
        let side = |index: usize| nhwc::Operand {
            values: self.operands[index].values(views[index]),
            factor: self.factors[index],
        };
        Pair { left: side(0), right: side(1), repeats: self.repeats }
    }
}

impl Mean {
    fn pool(&self, isa: Isa) -> Pool {
        Pool { isa, window: self.window, channels: self.channels }
    }

    fn of<'a>(&'a self, tail: &'a Tail<'a>) -> nhwc::Mean<'a> {
        nhwc::Mean { reciprocals: self.by_position.as_deref(), tail }
    }
}

fn take_pixels(tables: &PixelTables, (pictures, pixels): (&[u8], usize), out: Out<'_>) {
    let tables = match (tables, out) {
        (PixelTables::Floats(tables), Out::Floats(out)) => Tables::Floats(tables, out),
        (PixelTables::Codes(tables), Out::Codes(out)) => Tables::Codes(tables, out),
        _ => unreachable!("tables give what the step stores"),
    };
    nhwc::pixels(pictures, pixels, tables);
}

/// Channels that follow each other.
fn span(from: &[u32], channels: usize) -> Option<Span> {
    let start = *from.first()?;
    let follows = (start..).zip(from).all(|(expected, from)| expected == *from);
    follows.then_some(Span { start: start as usize, count: from.len(), channels })
}

fn gather<T: Copy>(map: &Map, (x, image): (&[T], usize), fill: T, out: &mut [T]) {
    if !map.from.contains(&NOWHERE) {
        return nhwc::gather((x, image), &map.from, out);
    }
    let images = x.chunks_exact(image.max(1)).zip(out.chunks_exact_mut(map.from.len().max(1)));
    for (x, out) in images {
        for (out, from) in out.iter_mut().zip(&map.from) {
            *out = if *from == NOWHERE { fill } else { x[*from as usize] };
        }
    }
}

/// Puts rows of several tensors behind each other; `counts` are the lengths of their rows.
fn join<T: Copy>(inputs: &[&[T]], counts: &[usize], out: &mut [T]) {
    let (channels, mut start) = (counts.iter().sum(), 0);
    for (x, count) in inputs.iter().zip(counts) {
        nhwc::put_channels(x, Span { start, count: *count, channels }, out);
        start += count;
    }
}
