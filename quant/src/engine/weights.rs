//! Weights as kernels want them, kept from one bit config to the next.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use bitloop_core::bits::Choice;
use bitloop_core::trial::Biases;
use candle_core::Tensor;

use super::blueprint::{Block, Work};
use super::error::EngineError;
use super::kernel::{Finish, Kernel};
use crate::kernels::nhwc::{ConvShape, FloatConv, FloatDepthwise, INT_DEPTH_MAX, IntConv, IntDepthwise, Isa};
use crate::prepare::Prepared;
use crate::quantizer::{self, Encoding};

type Result<T> = std::result::Result<T, EngineError>;

/// A packed weight.
#[derive(Clone)]
pub(super) enum Layer {
    /// Values, quantized or not.
    Float(FloatLayer, usize),
    /// Codes around zero, and the size of their steps per output channel.
    Int(IntLayer, Arc<[f32]>),
}

#[derive(Clone)]
pub(super) enum FloatLayer {
    Dense(Arc<FloatConv>),
    Depthwise(Arc<FloatDepthwise>),
}

#[derive(Clone)]
pub(super) enum IntLayer {
    Dense(Arc<IntConv>),
    Depthwise(Arc<IntDepthwise>),
}

impl Layer {
    /// Returns what a sum is multiplied with, per output channel, where inputs have a step of `input`.
    pub(super) fn scale(&self, input: f64) -> Vec<f64> {
        match self {
            Self::Float(_, channels) => vec![1.0; *channels],
            Self::Int(_, steps) => steps.iter().map(|step| f64::from(*step) * input).collect(),
        }
    }

    /// Returns the kernel; `zero` is the code of an input of 0.
    pub(super) fn kernel(self, zero: u8, finish: Finish) -> Kernel {
        match self {
            Self::Float(FloatLayer::Dense(conv), _) => Kernel::FloatConv { conv, finish },
            Self::Float(FloatLayer::Depthwise(conv), _) => Kernel::FloatDepthwise { conv, finish },
            Self::Int(IntLayer::Dense(conv), _) => Kernel::IntConv { conv, zero, finish },
            Self::Int(IntLayer::Depthwise(conv), _) => Kernel::IntDepthwise { conv, zero, finish },
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Float(FloatLayer::Dense(conv), _) => conv.bytes(),
            Self::Float(FloatLayer::Depthwise(conv), _) => conv.bytes(),
            Self::Int(IntLayer::Dense(conv), _) => conv.bytes(),
            Self::Int(IntLayer::Depthwise(conv), _) => conv.bytes(),
        }
    }
}

/// A weight's point, what it gets, and whether its input is in codes.
type Key = (String, Choice, bool);

/// The weights of one prepared network, packed when they are first needed.
pub(super) struct Weights {
    prepared: Arc<Prepared>,
    isa: Isa,
    /// The activation point that each layer's input is on.
    layer_inputs: BTreeMap<String, Option<usize>>,
    /// At most layers times widths, each in two forms.
    packed: Mutex<HashMap<Key, Layer>>,
}

impl Weights {
    /// Packs nothing yet.
    ///
    /// Errors: `Graph`.
    pub(super) fn new(prepared: Arc<Prepared>, isa: Isa) -> Result<Self> {
        let layers = prepared.model.graph.layer_costs_with(&prepared.points)?;
        let position = |name: String| prepared.points.iter().position(|point| point.name == name);
        let inputs = layers.into_iter().map(|layer| (layer.node, layer.input_point.and_then(position)));
        let layer_inputs = inputs.collect();
        Ok(Self { prepared, isa, layer_inputs, packed: Mutex::default() })
    }

    pub(super) fn isa(&self) -> Isa {
        self.isa
    }

    /// Bytes of everything that is packed.
    pub(super) fn bytes(&self) -> usize {
        self.packed.lock().unwrap_or_else(PoisonError::into_inner).values().map(Layer::bytes).sum()
    }

    /// Returns a parameter's values in the order of the model file.
    pub(super) fn parameter(&self, name: &str, part: &str) -> Result<Arc<[f32]>> {
        Ok(self.tensor(name, part)?.flatten_all()?.to_vec1::<f32>()?.into())
    }

    fn tensor(&self, name: &str, part: &str) -> Result<&Tensor> {
        match self.prepared.model.weights.get(&format!("{name}.{part}")) {
            Some(tensor) => Ok(tensor),
            None => Err(candle_core::Error::msg(format!("the model has no weight `{name}.{part}`")).into()),
        }
    }

    /// Returns a block's weight with what its point gets, in codes if its input is and they fit 8 bits around zero.
    pub(super) fn layer(&self, block: &Block, choice: Choice, on_codes: bool) -> Result<Layer> {
        let key = (block.name.clone(), choice, on_codes);
        let known = self.packed.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(layer) = known {
            return Ok(layer);
        }
        let layer = self.pack(block, choice, on_codes)?;
        let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(packed.entry(key).or_insert(layer).clone())
    }

    fn pack(&self, block: &Block, choice: Choice, on_codes: bool) -> Result<Layer> {
        let Work::Conv { shape, is_depthwise } = &block.work else {
            unreachable!("only layers have weights")
        };
        let weight = self.tensor(&block.name, "weight")?;
        let Some((encoding, point)) = self.encoding(block, choice)? else {
            let values = weight.flatten_all()?.to_vec1::<f32>()?;
            return Ok(self.float(*shape, *is_depthwise, &values));
        };
        let quantizer = |source| EngineError::Quantizer { point: point.to_owned(), source };
        if on_codes && shape.depth() <= INT_DEPTH_MAX {
            let codes = quantizer::integer_codes(weight, encoding).map_err(quantizer)?;
            let codes = codes.flatten_all()?.to_vec1::<i64>()?;
            if let Some(steps) = around_zero(&codes, encoding, shape.out_channels) {
                return Ok(self.int(*shape, *is_depthwise, (&steps, encoding)));
            }
        }
        let values = quantizer::fake_quantize(weight, encoding).map_err(quantizer)?;
        let values = values.flatten_all()?.to_vec1::<f32>()?;
        Ok(self.float(*shape, *is_depthwise, &values))
    }

    fn encoding(&self, block: &Block, choice: Choice) -> Result<Option<(&Encoding, &str)>> {
        match (choice, block.weight) {
            (Choice::Bits(bits), Some(point)) => {
                let encoding = self.prepared.encoding(point, bits)?;
                Ok(Some((encoding, &self.prepared.points[point].name)))
            }
            _ => Ok(None),
        }
    }

    fn float(&self, shape: ConvShape, is_depthwise: bool, values: &[f32]) -> Layer {
        let layer = match is_depthwise {
            false => FloatLayer::Dense(Arc::new(FloatConv::new(self.isa, shape, values))),
            true => {
                let conv = FloatDepthwise::new(self.isa, shape.window, shape.channels, values);
                FloatLayer::Depthwise(Arc::new(conv))
            }
        };
        Layer::Float(layer, shape.out_channels)
    }

    fn int(&self, shape: ConvShape, is_depthwise: bool, (steps, encoding): (&[i8], &Encoding)) -> Layer {
        let layer = match is_depthwise {
            false => IntLayer::Dense(Arc::new(IntConv::new(self.isa, shape, steps))),
            true => {
                let conv = IntDepthwise::new(self.isa, shape.window, shape.channels, steps);
                IntLayer::Depthwise(Arc::new(conv))
            }
        };
        let scales = encoding.scale().iter().copied().cycle().take(shape.out_channels);
        Layer::Int(layer, scales.collect())
    }

    /// Returns the bias of a block's layer per output channel, corrected for the width of its weight.
    ///
    /// `choice` says what the point at a position gets.
    pub(super) fn bias(
        &self,
        block: &Block,
        weight: Choice,
        choice: &dyn Fn(usize) -> Choice,
    ) -> Result<Vec<f64>> {
        let Work::Conv { shape, .. } = &block.work else { unreachable!("only layers have biases") };
        let corrected = match weight {
            Choice::Bits(bits) => self.prepared.corrected_bias(&block.name, bits),
            Choice::Float => None,
        };
        let own = self.prepared.model.weights.get(&format!("{}.bias", block.name));
        let Some(bias) = corrected.or(own) else { return Ok(vec![0.0; shape.out_channels]) };
        let bias = bias.to_vec1::<f32>()?;
        let Some(steps) = self.bias_steps(block, weight, choice)? else {
            return Ok(bias.into_iter().map(f64::from).collect());
        };
        let rounded = bias.iter().zip(steps.iter().cycle()).map(|(bias, step)| round_to_int32(*bias, *step));
        Ok(rounded.map(f64::from).collect())
    }

    /// The step of a bias per output channel, where biases are rounded and both weight and input are quantized.
    fn bias_steps(
        &self,
        block: &Block,
        weight: Choice,
        choice: &dyn Fn(usize) -> Choice,
    ) -> Result<Option<Vec<f32>>> {
        let input = self.layer_inputs.get(&block.name).copied().flatten();
        let (Biases::Int32, Some(input)) = (self.prepared.biases, input) else { return Ok(None) };
        let (Choice::Bits(input_bits), Some((encoding, _))) = (choice(input), self.encoding(block, weight)?)
        else {
            return Ok(None);
        };
        let input_step = self.prepared.encoding(input, input_bits)?.scale()[0];
        Ok(Some(encoding.scale().iter().map(|step| input_step * step).collect()))
    }
}

/// Returns codes as numbers of steps from zero, if they all fit 8 bits.
fn around_zero(codes: &[i64], encoding: &Encoding, channels: usize) -> Option<Vec<i8>> {
    let per_channel = (codes.len() / channels.max(1)).max(1);
    let offsets = encoding.offset().iter().cycle();
    let steps = codes.chunks(per_channel).zip(offsets).flat_map(|(codes, offset)| {
        codes.iter().map(move |code| i8::try_from(code + i64::from(*offset)).ok())
    });
    steps.collect()
}

/// The nearest multiple of `step` whose factor fits 32 bits.
fn round_to_int32(value: f32, step: f32) -> f32 {
    let code = (f64::from(value) / f64::from(step)).round_ties_even();
    (code.clamp(f64::from(i32::MIN), f64::from(i32::MAX)) * f64::from(step)) as f32
}
