//! Weights as kernels want them, kept from one bit config to the next.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bitloop_core::bits::Bits;
use candle_core::Tensor;

use super::blueprint::{Block, Work};
use super::error::EngineError;
use super::kernel::{Finish, Kernel};
use crate::kernels::nhwc::{ConvShape, FloatConv, FloatDepthwise, INT_DEPTH_MAX, IntConv, IntDepthwise, Isa};
use crate::prepare::Prepared;
use crate::quantizer::{self, Encoding, QuantError};

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

    /// Where the weight lies, which tells it from all others.
    fn address(&self) -> usize {
        match self {
            Self::Float(FloatLayer::Dense(conv), _) => Arc::as_ptr(conv).addr(),
            Self::Float(FloatLayer::Depthwise(conv), _) => Arc::as_ptr(conv).addr(),
            Self::Int(IntLayer::Dense(conv), _) => Arc::as_ptr(conv).addr(),
            Self::Int(IntLayer::Depthwise(conv), _) => Arc::as_ptr(conv).addr(),
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

/// A block, the width of its weight (none if float), and whether its input is in codes.
type Key = (usize, Option<Bits>, bool);

/// The weights of one prepared network, packed when they are first needed.
pub(super) struct Weights {
    prepared: Arc<Prepared>,
    isa: Isa,
    /// At most layers times widths, each in two forms.
    packed: Mutex<HashMap<Key, Layer>>,
}

impl Weights {
    /// Packs nothing yet.
    pub(super) fn new(prepared: Arc<Prepared>, isa: Isa) -> Self {
        Self { prepared, isa, packed: Mutex::default() }
    }

    pub(super) fn isa(&self) -> Isa {
        self.isa
    }

    /// Bytes of everything that is packed.
    pub(super) fn bytes(&self) -> usize {
        let packed = self.packed();
        // A layer may be found in two ways.
        let layers: BTreeMap<usize, usize> =
            packed.values().map(|layer| (layer.address(), layer.bytes())).collect();
        layers.values().sum()
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

    /// Returns a block's weight at a width, in codes if its input is and they fit 8 bits around zero.
    ///
    /// `weight` is the weight's point and width; none for its values as they are.
    ///
    /// Errors: `Weight`, `Quantizer`, `Prepared`.
    pub(super) fn layer(
        &self,
        (index, block): (usize, &Block),
        weight: Option<(usize, Bits)>,
        on_codes: bool,
    ) -> Result<Layer> {
        let on_codes = on_codes && weight.is_some();
        let key = (index, weight.map(|(_, bits)| bits), on_codes);
        let known = self.packed().get(&key).cloned();
        if let Some(layer) = known {
            return Ok(layer);
        }
        let layer = match weight {
            None => self.values(block)?,
            Some(weight) if on_codes => match self.integers(block, weight)? {
                Some(layer) => layer,
                // The form for inputs of floats, which is packed once.
                None => self.layer((index, block), Some(weight), false)?,
            },
            Some(weight) => self.quantized_values(block, weight)?,
        };
        Ok(self.packed().entry(key).or_insert(layer).clone())
    }

    fn packed(&self) -> MutexGuard<'_, HashMap<Key, Layer>> {
        self.packed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn values(&self, block: &Block) -> Result<Layer> {
        let values = self.tensor(&block.name, "weight")?.flatten_all()?.to_vec1::<f32>()?;
        Ok(self.float(block, &values))
    }

    fn quantized_values(&self, block: &Block, (point, bits): (usize, Bits)) -> Result<Layer> {
        let (weight, encoding) = (self.tensor(&block.name, "weight")?, self.prepared.encoding(point, bits)?);
        let values =
            quantizer::fake_quantize(weight, encoding).map_err(|source| self.refused(point, source))?;
        Ok(self.float(block, &values.flatten_all()?.to_vec1::<f32>()?))
    }

    /// The weight in codes; none if they do not fit 8 bits around zero, or their sums 32 bits.
    fn integers(&self, block: &Block, (point, bits): (usize, Bits)) -> Result<Option<Layer>> {
        let (shape, _) = convolution(block);
        if shape.depth() > INT_DEPTH_MAX {
            return Ok(None);
        }
        let (weight, encoding) = (self.tensor(&block.name, "weight")?, self.prepared.encoding(point, bits)?);
        let codes =
            quantizer::integer_codes(weight, encoding).map_err(|source| self.refused(point, source))?;
        let codes = codes.flatten_all()?.to_vec1::<i64>()?;
        let steps = around_zero(&codes, encoding, shape.out_channels);
        Ok(steps.map(|steps| self.int(block, (&steps, encoding))))
    }

    fn refused(&self, point: usize, source: QuantError) -> EngineError {
        EngineError::Quantizer { point: self.prepared.points[point].name.clone(), source }
    }

    fn float(&self, block: &Block, values: &[f32]) -> Layer {
        let (shape, is_depthwise) = convolution(block);
        let layer = match is_depthwise {
            false => FloatLayer::Dense(Arc::new(FloatConv::new(self.isa, shape, values))),
            true => {
                let conv = FloatDepthwise::new(self.isa, shape.window, shape.channels, values);
                FloatLayer::Depthwise(Arc::new(conv))
            }
        };
        Layer::Float(layer, shape.out_channels)
    }

    fn int(&self, block: &Block, (steps, encoding): (&[i8], &Encoding)) -> Layer {
        let (shape, is_depthwise) = convolution(block);
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
}

/// A layer's extents, and whether it is depthwise.
fn convolution(block: &Block) -> (ConvShape, bool) {
    match block.work {
        Work::Conv { shape, is_depthwise } => (shape, is_depthwise),
        _ => unreachable!("only layers have weights"),
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
