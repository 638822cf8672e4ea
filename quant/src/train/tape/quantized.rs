//! Quantizers in a network: of parameters, and as activation functions.

use bitloop_core::graph::Op;
use bitloop_core::qkeras::{Alpha, Quantizer};
use rayon::prelude::*;

use super::simple::BLOCK;
use super::{Buffers, Layer, Pass, Place};
use crate::kernels::nhwc::{Activation, FixedPoint};
use crate::qkeras::{Channel, Fitted, Values, fit};
use crate::train::TrainError;

/// A parameter that is used in quantized form.
pub(super) struct QuantizedParameter {
    quantizer: Quantizer,
    channel: Channel,
    /// What the last way forward found and used.
    fitted: Option<Fitted>,
    values: Vec<f32>,
}

impl QuantizedParameter {
    pub(super) fn new(quantizer: Quantizer, channel: Channel) -> Self {
        Self { quantizer, channel, fitted: None, values: Vec::new() }
    }

    /// Quantizes the parameter as it is now.
    ///
    /// Errors: `Quantizer`.
    pub(super) fn renew(
        &mut self,
        pass: &mut Pass<'_>,
        (node, part): (&str, &'static str),
    ) -> Result<&[f32], TrainError> {
        let parameter = pass.parameter(node, part);
        let values = Values { data: &parameter.values, shape: &parameter.shape, channel: self.channel };
        let fitted = fit(&self.quantizer, values, pass.fitting, &mut pass.draws);
        let fitted =
            fitted.map_err(|source| TrainError::Quantizer { node: node.to_owned(), part, source })?;
        self.values.resize(parameter.values.len(), 0.0);
        fitted.forward(&parameter.values, &mut self.values);
        self.fitted = Some(fitted);
        Ok(&self.values)
    }

    /// What the last way forward used.
    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }

    /// The gradient to the parameter, given that to what was used.
    pub(super) fn passed(&self, parameter: &[f32], gradient: &[f32]) -> Vec<f32> {
        let mut passed = vec![0.0; gradient.len()];
        let fitted = self.fitted.as_ref().expect("the way back follows a way forward");
        fitted.backward(parameter, gradient, &mut passed);
        passed
    }
}

/// The axis along which a kernel `(out, in / groups, ...)` has scales: QKeras's last one, which is the filters'; that of a
/// depthwise kernel is 1 long.
pub(in crate::train) fn kernel_channel(groups: usize, outputs: usize, inputs: usize) -> Channel {
    if groups > 1 && groups == outputs && inputs == 1 { Channel::None } else { Channel::First }
}

/// A function of every value.
#[derive(Clone, Debug)]
pub(super) enum Function {
    /// Known without looking at values.
    Plain(Activation),
    /// Fitted to the values of every step.
    Fitted(Quantizer),
}

impl Function {
    pub(super) fn of(quantizer: &Quantizer) -> Self {
        match fixed_point(quantizer) {
            Some(point) => Self::Plain(Activation::FixedPoint(point)),
            None => Self::Fitted(quantizer.clone()),
        }
    }
}

/// Whether an operator is an activation function, which a quantizer replaces.
pub(crate) fn is_activation(op: &Op) -> bool {
    match op {
        Op::Relu
        | Op::Relu6
        | Op::LeakyRelu { .. }
        | Op::PRelu
        | Op::HardSwish
        | Op::HardSigmoid { .. }
        | Op::Sigmoid
        | Op::Clip { .. } => true,
        Op::Conv2d(_)
        | Op::Linear(_)
        | Op::BatchNorm { .. }
        | Op::Add
        | Op::Mul
        | Op::Constant { .. }
        | Op::MaxPool(_)
        | Op::AveragePool(_)
        | Op::GlobalAveragePool
        | Op::Mean { .. }
        | Op::Concat { .. }
        | Op::Flatten
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Slice { .. }
        | Op::Pad { .. }
        | Op::Softmax { .. }
        | Op::Lrn { .. }
        | Op::Identity
        | Op::Dropout { .. } => false,
    }
}

/// Quantizers that look at one value at a time and draw nothing, as a kernel computes them.
fn fixed_point(quantizer: &Quantizer) -> Option<FixedPoint> {
    let plain = FixedPoint {
        codes: 1.0,
        step: 1.0,
        scale: 1.0,
        low: 0.0,
        high: 0.0,
        slope: 1.0,
        bound: f32::INFINITY,
        most: f32::INFINITY,
        negative: None,
        factor: 1.0,
    };
    quantizer.check().ok()?;
    let power = |exponent: f64| libm::exp2(exponent) as f32;
    match quantizer {
        Quantizer::Bits(bits)
            if bits.use_ste && !bits.use_stochastic_rounding && bits.unsigned_bits() > 0 =>
        {
            let scale = match bits.alpha {
                None => 1.0,
                Some(Alpha::Number(scale)) => scale as f32,
                Some(Alpha::Auto | Alpha::AutoPo2 | Alpha::List(_)) => return None,
            };
            let (width, integer) = (f64::from(bits.unsigned_bits()), f64::from(bits.integer));
            let codes = power(width);
            let low = if bits.keep_negative { f32::from(u8::from(bits.symmetric)) - codes } else { 0.0 };
            let (high, factor) = (codes - 1.0, bits.qnoise_factor as f32);
            let (codes, step) = (power(width - integer), power(integer - width));
            Some(FixedPoint { codes, step, scale, low, high, factor, ..plain })
        }
        Quantizer::Relu(relu)
            if relu.use_ste
                && !relu.use_stochastic_rounding
                && !relu.use_sigmoid
                && !relu.enable_fast_inference =>
        {
            let (width, integer) = (f64::from(relu.unsigned_bits()), f64::from(relu.integer));
            let upper = relu.relu_upper_bound.filter(|_| !relu.is_quantized_clip);
            let most = upper.map_or(f32::INFINITY, |bound| bound as f32);
            let bound = if relu.is_quantized_clip { power(integer) - power(integer - width) } else { most };
            let slope = relu.negative_slope as f32;
            let negative = (slope > 0.0).then(|| [power(-width) / slope, power(integer) * slope]);
            let (high, factor) = (power(width) - 1.0, relu.qnoise_factor as f32);
            let (codes, step) = (power(width - integer), power(integer - width));
            Some(FixedPoint { codes, step, high, slope, bound, most, negative, factor, ..plain })
        }
        Quantizer::Bits(_) | Quantizer::Relu(_) | Quantizer::Po2(_) | Quantizer::ReluPo2(_) => None,
        Quantizer::Binary(_) | Quantizer::StochasticBinary(_) | Quantizer::Bernoulli(_) => None,
        Quantizer::Ternary(_) | Quantizer::StochasticTernary(_) | Quantizer::Linear(_) => None,
        Quantizer::Tanh(_) | Quantizer::Sigmoid(_) | Quantizer::Ulaw(_) | Quantizer::Hswish(_) => None,
    }
}

impl Layer for Activation {
    fn forward(
        &mut self,
        pass: &mut Pass<'_>,
        x: &[&[f32]],
        y: &mut [f32],
        _: &mut Buffers,
    ) -> Result<(), TrainError> {
        let (isa, activation) = (pass.isa, *self);
        let parts = y.par_chunks_mut(BLOCK).zip(x[0].par_chunks(BLOCK));
        parts.for_each(|(y, x)| activation.forward(isa, x, y));
        Ok(())
    }

    fn backward(
        &mut self,
        pass: &mut Pass<'_>,
        at: Place<'_>,
        mut dy: Vec<f32>,
        _: &mut Buffers,
    ) -> Vec<Option<Vec<f32>>> {
        let (isa, activation) = (pass.isa, *self);
        let parts = dy.par_chunks_mut(BLOCK).zip(at.x[0].par_chunks(BLOCK));
        parts.for_each(|(dy, x)| activation.backward(isa, x, dy));
        vec![Some(dy)]
    }
}

/// A quantizer that is fitted to the values of every step.
pub(super) struct FittedActivation {
    node: String,
    quantizer: Quantizer,
    /// Channels, rows, columns.
    image: [usize; 3],
    fitted: Option<Fitted>,
}

impl FittedActivation {
    pub(super) fn new(node: String, quantizer: Quantizer, image: [usize; 3]) -> Self {
        Self { node, quantizer, image, fitted: None }
    }
}

impl Layer for FittedActivation {
    fn forward(
        &mut self,
        pass: &mut Pass<'_>,
        x: &[&[f32]],
        y: &mut [f32],
        _: &mut Buffers,
    ) -> Result<(), TrainError> {
        let [channels, height, width] = self.image;
        let shape = [pass.images, height, width, channels];
        let values = Values { data: x[0], shape: &shape, channel: Channel::Last };
        let fitted = fit(&self.quantizer, values, pass.fitting, &mut pass.draws).map_err(|source| {
            TrainError::Quantizer { node: self.node.clone(), part: "activation", source }
        })?;
        fitted.forward(x[0], y);
        self.fitted = Some(fitted);
        Ok(())
    }

    fn backward(
        &mut self,
        _: &mut Pass<'_>,
        at: Place<'_>,
        dy: Vec<f32>,
        buffers: &mut Buffers,
    ) -> Vec<Option<Vec<f32>>> {
        let fitted = self.fitted.take().expect("the way back follows a way forward");
        let mut dx = buffers.take(dy.len());
        fitted.backward(at.x[0], &dy, &mut dx);
        buffers.give(dy);
        vec![Some(dx)]
    }
}
