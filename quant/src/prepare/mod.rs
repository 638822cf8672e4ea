//! Making a model ready once: transforms, calibration statistics, and from them the encodings of every width.
//!
//! Start at [`prepare`]. Its result, [`Prepared`], is the artifact that every evaluation starts from. A transform that
//! may hurt is judged on images right behind it, and undone if it costs more than allowed.

mod artifact;
mod biases;
mod chain;
mod error;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bitloop_core::bits::Bits;
use bitloop_core::graph::{Point, PointKind};
use bitloop_core::trial::{BiasCorrection, PrepareSpec, PreparedStep};
use candle_core::Tensor;

pub use artifact::Prepared;
pub(crate) use biases::LayerBits;
pub use error::PrepareError;

use crate::calibration::{Sample, Statistics, calibrate};
use crate::data::Images;
use crate::lanes;
use crate::model::Model;
use crate::quantizer::{Detail, Encoding, fake_quantize};
use crate::transforms::{self, Mode, Transformed};
use chain::Chain;

/// What a bias correction may hold of activations at most; it takes as many calibration images as fit.
const CORRECTION_BYTES: u64 = 1 << 30;

/// What is prepared and on what; the digests in the specification are the caller's to check.
pub struct Materials<'a> {
    /// The float network.
    pub model: &'a Model,
    /// The data artifact for calibration.
    pub calibration: &'a Images,
    /// The data artifact on which transforms are judged.
    pub guard: &'a Arc<Images>,
    /// What is asked for.
    pub spec: &'a PrepareSpec,
}

/// Prepares a model and says what each transform came to; `None` if `stop` became true.
///
/// Nothing is computed on more than `threads` threads, and the result does not depend on their number.
///
/// Errors: `Lanes`; `Model` if the network is not valid, as with a weight that is NaN; and those of the parts, naming the
/// transform, layer or point.
pub fn prepare(
    materials: &Materials<'_>,
    threads: usize,
    stop: &AtomicBool,
) -> Result<Option<(Prepared, Vec<PreparedStep>)>, PrepareError> {
    materials.model.check()?;
    // All of it, as kernels and the search for encodings split their work over the current pool. Else that is rayon's
    // global one, which has a thread for every core.
    lanes::pool(threads)?.install(|| Workshop { materials, threads, stop }.prepare())
}

/// The widths that encodings are found for.
struct Widths {
    weights: Vec<Bits>,
    activations: Vec<Bits>,
}

/// The materials with what it takes to work on them.
struct Workshop<'a> {
    materials: &'a Materials<'a>,
    threads: usize,
    stop: &'a AtomicBool,
}

impl Workshop<'_> {
    fn prepare(&self) -> Result<Option<(Prepared, Vec<PreparedStep>)>, PrepareError> {
        let Some(chain) = Chain::run(self)? else { return Ok(None) };
        let candidates = &self.materials.spec.candidates;
        let with_baseline = |widths: &[Bits]| {
            let mut widths = [widths, &[candidates.baseline]].concat();
            widths.sort_unstable();
            widths.dedup();
            widths
        };
        let widths = Widths {
            weights: with_baseline(&candidates.weight_bits),
            activations: with_baseline(&candidates.activation_bits),
        };
        let prepared = self.quantize(&chain.network, &widths, chain.correction)?;
        Ok(prepared.map(|prepared| (prepared, chain.steps)))
    }

    /// Finds the encodings of a network, and the corrected biases if asked for; `None` if told to stop.
    ///
    /// An encoding that came with the network, which no transform has changed then, is taken at its width instead of
    /// the one that is found.
    fn quantize(
        &self,
        network: &Transformed,
        widths: &Widths,
        correction: Option<BiasCorrection>,
    ) -> Result<Option<Prepared>, PrepareError> {
        let spec = self.materials.spec;
        let mut prepared = Prepared {
            model: network.model.clone(),
            points: spec.points.clone(),
            biases: spec.candidates.biases,
            encodings: BTreeMap::new(),
            corrected: BTreeMap::new(),
        };
        prepared.check_points()?;
        // From here on they stand beside the others, by width.
        prepared.model.encodings.clear();
        let Some(statistics) = self.statistics(&prepared)? else { return Ok(None) };
        for (index, point) in spec.points.iter().enumerate() {
            let given = network.model.encoding(point);
            let found = self.encodings(&prepared, point, widths, &statistics)?.into_iter();
            let found = found.map(|(bits, found)| match given {
                Some(given) if given.grid().bits() == Some(bits) => ((index, bits), given.clone()),
                Some(_) | None => ((index, bits), found),
            });
            prepared.encodings.extend(found);
        }
        if let Some(correction) = correction {
            for bits in &widths.weights {
                let Some(biases) = self.corrected(network, &prepared, *bits, correction)? else {
                    return Ok(None);
                };
                let biases = biases.into_iter().map(|(layer, bias)| ((layer, *bits), bias));
                prepared.corrected.extend(biases);
            }
        }
        Ok(Some(prepared))
    }

    fn statistics(&self, prepared: &Prepared) -> Result<Option<Statistics>, PrepareError> {
        let spec = self.materials.spec;
        let detail = Detail::of(spec.candidates.activations.calibration);
        let sample = Sample { images: self.materials.calibration, range: spec.images, detail };
        Ok(calibrate(&prepared.model, &prepared.points, sample, self.threads, self.stop)?)
    }

    fn encodings(
        &self,
        prepared: &Prepared,
        point: &Point,
        widths: &Widths,
        statistics: &Statistics,
    ) -> Result<Vec<(Bits, Encoding)>, PrepareError> {
        let candidates = &self.materials.spec.candidates;
        match point.kind {
            PointKind::Weight => {
                let weight = weight_of(prepared, &point.node)?;
                let encodings = Encoding::of_weight_at(weight, candidates.weights, &widths.weights);
                let encodings = encodings
                    .map_err(|source| PrepareError::Quantizer { point: point.name.clone(), source })?;
                Ok(widths.weights.iter().copied().zip(encodings).collect())
            }
            PointKind::Activation => {
                let encodings = widths.activations.iter().map(|bits| {
                    Ok((*bits, statistics.encoding(&point.name, candidates.activations, *bits)?))
                });
                encodings.collect()
            }
        }
    }

    /// Corrects the biases for all weights at one width.
    fn corrected(
        &self,
        network: &Transformed,
        prepared: &Prepared,
        bits: Bits,
        correction: BiasCorrection,
    ) -> Result<Option<BTreeMap<String, Tensor>>, PrepareError> {
        let spec = self.materials.spec;
        let mut quantized = BTreeMap::new();
        for (index, point) in prepared.points.iter().enumerate() {
            if point.kind == PointKind::Weight {
                let weight = weight_of(prepared, &point.node)?;
                let weight = fake_quantize(weight, prepared.encoding(index, bits)?)
                    .map_err(|source| PrepareError::Quantizer { point: point.name.clone(), source })?;
                quantized.insert(format!("{}.weight", point.node), weight);
            }
        }
        let live = transforms::live_bytes_per_image(&prepared.model.graph)?.max(1);
        let mut range = spec.images;
        range.len = range.len.min((CORRECTION_BYTES / live).max(1));
        let detail = Detail::of(spec.candidates.activations.calibration);
        let sample = Sample { images: self.materials.calibration, range, detail };
        let blocks = transforms::calibration_blocks(&network.model, sample)?;
        let request = transforms::BiasCorrection {
            network,
            quantized: &quantized,
            input: None,
            mode: match correction {
                BiasCorrection::Empirical => Mode::Empirical,
                BiasCorrection::Analytic => Mode::Analytic,
            },
        };
        Ok(transforms::bias_correction(&request, blocks, self.threads, self.stop)?)
    }
}

fn weight_of<'p>(prepared: &'p Prepared, node: &str) -> Result<&'p Tensor, PrepareError> {
    let name = format!("{node}.weight");
    prepared
        .model
        .weights
        .get(&name)
        .ok_or_else(|| PrepareError::NotPrepared { reason: format!("its network has no `{name}`") })
}
