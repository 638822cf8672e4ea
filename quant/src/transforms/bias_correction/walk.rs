//! Two networks, float and quantized, side by side over all images.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use bitloop_core::graph::{INPUT, Node};
use candle_core::{Device, Tensor};

use super::{is_read, shifted};
use crate::executor::{self, FloatPass};
use crate::lanes::Lanes;
use crate::quantizer::{Encoding, fake_quantize};
use crate::transforms::TransformError;

/// The outputs of one node for one block of images.
#[derive(Clone)]
pub(super) struct Twin {
    float: Tensor,
    quantized: Tensor,
}

/// Both networks between two nodes.
pub(super) struct Walk<'a> {
    float: &'a BTreeMap<String, Tensor>,
    quantized: BTreeMap<String, Tensor>,
    /// Per block: what later nodes still read.
    live: Vec<BTreeMap<String, Twin>>,
    lanes: Lanes,
    stop: &'a AtomicBool,
}

impl<'a> Walk<'a> {
    /// Errors: `Lanes`.
    pub(super) fn new(
        float: &'a BTreeMap<String, Tensor>,
        quantized: BTreeMap<String, Tensor>,
        threads: usize,
        stop: &'a AtomicBool,
    ) -> Result<Self, TransformError> {
        Ok(Self { float, quantized, live: Vec::new(), lanes: Lanes::new(threads)?, stop })
    }

    /// Gives a layer of the quantized network another bias.
    pub(super) fn set_bias(&mut self, layer: &str, bias: &Tensor) {
        self.quantized.insert(format!("{layer}.bias"), bias.clone());
    }

    /// Starts at the input. Errors: `NoImages`, `Input`.
    pub(super) fn begin(
        &mut self,
        blocks: Vec<Tensor>,
        input: Option<&Encoding>,
    ) -> Result<(), TransformError> {
        for float in blocks {
            if float.elem_count() == 0 {
                continue;
            }
            let quantized = match input {
                Some(encoding) => fake_quantize(&float, encoding)?,
                None => float.clone(),
            };
            self.live.push(BTreeMap::from([(INPUT.to_owned(), Twin { float, quantized })]));
        }
        if self.live.is_empty() { Err(TransformError::NoImages) } else { Ok(()) }
    }

    /// Computes a node in both networks; `None` if `stop` became true.
    pub(super) fn outputs(&self, node: &Node) -> Result<Option<Vec<Twin>>, TransformError> {
        let outputs = self.lanes.map(self.live.len(), self.stop, |block| {
            let inputs = node.inputs.iter().map(|name| match self.live[block].get(name) {
                Some(twin) => Ok(twin),
                None => candle_core::bail!("node `{}` reads `{name}`, which is no earlier node", node.name),
            });
            let inputs = inputs.collect::<candle_core::Result<Vec<_>>>()?;
            let float = inputs.iter().map(|twin| twin.float.clone()).collect();
            let quantized = inputs.iter().map(|twin| twin.quantized.clone()).collect();
            candle_core::Result::Ok(Twin {
                float: executor::node_output(node, float, &mut FloatPass { weights: self.float })?,
                quantized: executor::node_output(
                    node,
                    quantized,
                    &mut FloatPass { weights: &self.quantized },
                )?,
            })
        })?;
        Ok(outputs)
    }

    /// Returns the layer's corrected bias and the outputs that it gives; `None` if `stop` became true.
    pub(super) fn corrected(
        &mut self,
        node: &Node,
        bias: Vec<f32>,
        outputs: Vec<Twin>,
    ) -> Result<Option<(Tensor, Vec<Twin>)>, TransformError> {
        let sums = self.lanes.map(outputs.len(), self.stop, |block| difference(&outputs[block]))?;
        let Some(sums) = sums else { return Ok(None) };
        let mut shift = vec![0.0; bias.len()];
        let mut count = 0;
        for (sums, values) in sums {
            shift.iter_mut().zip(sums).for_each(|(shift, sum)| *shift -= sum);
            count += values;
        }
        shift.iter_mut().for_each(|shift| *shift /= count as f64);
        let bias = shifted(&node.name, bias, &shift)?;
        self.set_bias(&node.name, &bias);

        let mut dims = vec![1; outputs[0].quantized.rank()];
        dims[1] = shift.len();
        let shift: Vec<f32> = shift.into_iter().map(|shift| shift as f32).collect();
        let shift = Tensor::from_vec(shift, dims, &Device::Cpu)?;
        let outputs = self.lanes.map(outputs.len(), self.stop, |block| {
            let Twin { float, quantized } = &outputs[block];
            candle_core::Result::Ok(Twin {
                float: float.clone(),
                quantized: quantized.broadcast_add(&shift)?,
            })
        })?;
        Ok(outputs.map(|outputs| (bias, outputs)))
    }

    /// Keeps the outputs of the first of `nodes` and frees what the rest does not read.
    pub(super) fn keep(&mut self, nodes: &[Node], outputs: Vec<Twin>) {
        let Some((node, later)) = nodes.split_first() else { return };
        for (live, output) in self.live.iter_mut().zip(outputs) {
            live.insert(node.name.clone(), output);
            live.retain(|name, _| is_read(later, name));
        }
    }
}

/// Returns the sum of `quantized - float` per channel, and how many values each is the sum of.
fn difference(outputs: &Twin) -> candle_core::Result<(Vec<f64>, usize)> {
    let (images, channels) = (outputs.float.dim(0)?, outputs.float.dim(1)?);
    let plane = outputs.float.elem_count() / (images * channels);
    let float = outputs.float.flatten_all()?.to_vec1::<f32>()?;
    let quantized = outputs.quantized.flatten_all()?.to_vec1::<f32>()?;
    let mut sums = vec![0.0; channels];
    let planes = quantized.chunks(plane).zip(float.chunks(plane));
    for (index, (quantized, float)) in planes.enumerate() {
        let terms = quantized.iter().zip(float).map(|(quantized, float)| f64::from(quantized - float));
        sums[index % channels] += terms.sum::<f64>();
    }
    Ok((sums, images * plane))
}
