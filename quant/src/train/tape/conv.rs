//! Convolutions and linear layers, with bias and rectifier, of weights in floats or quantized.

use bitloop_core::trial::NodeQuantizers;
use rayon::prelude::*;

use super::quantized::{QuantizedParameter, kernel_channel};
use super::{Buffers, IMAGE_GROUPS, Layer, Pass, Place};
use crate::kernels::nhwc::{
    Activation, ConvShape, Ending, FloatConv, FloatDepthwise, InputGradient, Isa, Out, Tail, channel_sums,
    depthwise_weight_gradient, from_taps_first, rectify, weight_gradient,
};
use crate::qkeras::Channel;
use crate::train::TrainError;

pub(super) struct Convolution {
    name: String,
    shape: ConvShape,
    has_bias: bool,
    /// Of the weight, and of the bias.
    quantized: [Option<QuantizedParameter>; 2],
    /// Upper limit of the rectifier behind it.
    upper: Option<f32>,
}

/// One group of images on the way back.
struct Part<'a> {
    x: &'a [f32],
    y: &'a [f32],
    dy: &'a mut [f32],
    dx: Option<&'a mut [f32]>,
    weight: &'a mut [f32],
    bias: Vec<f64>,
}

impl Convolution {
    pub(super) fn new(name: String, shape: ConvShape, has_bias: bool, quantizers: &NodeQuantizers) -> Self {
        let NodeQuantizers { kernel, bias, activation: _ } = quantizers;
        let channel = kernel_channel(shape.groups, shape.out_channels, shape.channels / shape.groups.max(1));
        let quantized = [(kernel, channel), (bias, Channel::Last)].map(|(quantizer, channel)| {
            quantizer.clone().map(|quantizer| QuantizedParameter::new(quantizer, channel))
        });
        Self { name, shape, has_bias, quantized, upper: None }
    }

    /// Leaves the gradients to weight and bias in the pass, given those to their quantized forms if they have such.
    fn give_gradients(&self, pass: &mut Pass<'_>, gradients: [Vec<f32>; 2]) {
        let parts = ["weight", "bias"].into_iter().zip(gradients).zip(&self.quantized);
        for ((part, gradient), quantized) in parts.take(1 + usize::from(self.has_bias)) {
            let gradient = match quantized {
                Some(quantized) => quantized.passed(&pass.parameter(&self.name, part).values, &gradient),
                None => gradient,
            };
            pass.give_gradient(&self.name, part, gradient);
        }
    }

    fn gradients(&self, isa: Isa, part: &mut Part<'_>, input: Option<&InputGradient>) {
        let Part { x, y, dy, dx, weight, bias } = part;
        let images = dy.len() / self.shape.out_image();
        if let Some(upper) = self.upper {
            rectify(isa, y, upper, dy);
        }
        if is_depthwise(&self.shape) {
            let window = (&self.shape.window, images, self.shape.channels);
            depthwise_weight_gradient(isa, window, [x, dy], weight);
        } else {
            weight_gradient(isa, (&self.shape, images), [x, dy], weight);
        }
        if self.has_bias {
            *bias = channel_sums(isa, dy, self.shape.out_channels);
        }
        if let (Some(input), Some(dx)) = (input, dx) {
            input.run(images, dy, dx);
        }
    }
}

/// Whether every channel has its own filter.
fn is_depthwise(&ConvShape { channels, out_channels, groups, .. }: &ConvShape) -> bool {
    groups == channels && groups == out_channels && groups > 1
}

impl Layer for Convolution {
    fn forward(
        &mut self,
        pass: &mut Pass<'_>,
        x: &[&[f32]],
        y: &mut [f32],
        _: &mut Buffers,
    ) -> Result<(), TrainError> {
        let (shape, isa) = (self.shape, pass.isa);
        let [kernel, bias] = &mut self.quantized;
        let weight = match kernel {
            Some(kernel) => kernel.renew(pass, (&self.name, "weight"))?,
            None => &pass.parameter(&self.name, "weight").values,
        };
        let shift = match (self.has_bias, bias) {
            (true, Some(bias)) => bias.renew(pass, (&self.name, "bias"))?.to_vec(),
            (true, None) => pass.parameter(&self.name, "bias").values.clone(),
            (false, _) => vec![-0.0; shape.out_channels],
        };
        let scale = vec![1.0; shape.out_channels];
        let ending = match self.upper {
            Some(hi) => Ending::Float { lo: 0.0, hi, grid: None },
            None => Ending::FLOAT,
        };
        let tail = Tail { scale: &scale, shift: &shift, ending };
        let group = pass.group();
        let parts = y.par_chunks_mut((group * shape.out_image()).max(1));
        let parts = parts.zip(x[0].par_chunks((group * shape.image()).max(1)));
        if is_depthwise(&shape) {
            let conv = FloatDepthwise::new(isa, shape.window, shape.channels, weight);
            parts.for_each(|(y, x)| conv.run(x.len() / shape.image(), x, &tail, Out::Floats(y)));
        } else {
            let conv = FloatConv::new(isa, shape, weight);
            parts.for_each(|(y, x)| conv.run(x.len() / shape.image(), x, &tail, Out::Floats(y)));
        }
        Ok(())
    }

    fn backward(
        &mut self,
        pass: &mut Pass<'_>,
        at: Place<'_>,
        mut dy: Vec<f32>,
        buffers: &mut Buffers,
    ) -> Vec<Option<Vec<f32>>> {
        let shape = &self.shape;
        let parameter = &pass.parameter(&self.name, "weight").values;
        let weight = self.quantized[0].as_ref().map_or(parameter.as_slice(), QuantizedParameter::values);
        let length = weight.len();
        let input = at.wants.then(|| InputGradient::new(pass.isa, shape, weight));
        let mut dx = input.as_ref().map(|_| buffers.take(at.x[0].len()));
        let mut weights = buffers.take(IMAGE_GROUPS * length);
        let group = pass.group();
        let (image, out_image) = ((group * shape.image()).max(1), (group * shape.out_image()).max(1));
        let mut inputs = dx.as_mut().map(|dx| dx.chunks_mut(image));
        let values = at.x[0].chunks(image).zip(at.y.chunks(out_image));
        let sums = weights.chunks_exact_mut(length.max(1));
        let mut parts: Vec<Part<'_>> = (values.zip(dy.chunks_mut(out_image)).zip(sums))
            .map(|(((x, y), dy), weight)| {
                let dx = inputs.as_mut().and_then(Iterator::next);
                Part { x, y, dy, dx, weight, bias: Vec::new() }
            })
            .collect();
        let isa = pass.isa;
        parts.par_iter_mut().with_max_len(1).for_each(|part| self.gradients(isa, part, input.as_ref()));

        let mut to_weight = vec![0.0; length];
        let mut to_bias = vec![0.0; if self.has_bias { shape.out_channels } else { 0 }];
        for part in &parts {
            to_weight.iter_mut().zip(&*part.weight).for_each(|(sum, part)| *sum += part);
            to_bias.iter_mut().zip(&part.bias).for_each(|(sum, part)| *sum += part);
        }
        if !is_depthwise(shape) {
            to_weight = from_taps_first(shape, &to_weight);
        }
        buffers.give(weights);
        buffers.give(dy);
        let to_bias = to_bias.into_iter().map(|sum| sum as f32).collect();
        self.give_gradients(pass, [to_weight, to_bias]);
        vec![dx]
    }

    fn bend(&mut self, activation: Activation) -> bool {
        match activation {
            Activation::Rectifier { upper } if self.upper.is_none() => {
                self.upper = Some(upper);
                true
            }
            // What went into other functions is needed on the way back.
            Activation::Identity | Activation::Rectifier { .. } | Activation::FixedPoint(_) => false,
        }
    }
}
