//! The network that a trial trains.

use bitloop_core::qkeras::ParseError;

use super::space::{FILTER_DEFAULT, FILTER_FACTORS, Part, SearchSpace, Value};
use super::{Compat, SpaceError};
use crate::network::{Class, Kind, Layer, Network, ResizeError};

/// Why an assignment makes no network.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TrialError {
    /// A string that is no quantizer.
    #[error(transparent)]
    Quantizer(#[from] ParseError),
    /// Layers do not fit together with the filter counts chosen.
    #[error(transparent)]
    Resize(#[from] ResizeError),
}

impl SearchSpace {
    /// Returns the network of an assignment: layers with the quantizers and filter counts chosen.
    ///
    /// Errors: `Resize` where filter counts do not fit together.
    pub fn network(&self, levels: &[u8]) -> Result<Network, TrialError> {
        let mut network = self.base.clone();
        let mut is_resized = false;
        for (at, part) in &self.parts {
            let layer = &mut network.layers[*at];
            match part {
                Part::Weighted { kernel, bias, activation, filters } => {
                    let weights = [self.text(*kernel, levels), self.chosen(*bias, levels)];
                    let activation = self.chosen(*activation, levels);
                    layer.quantize_weights(weights, self.compat.grammar())?;
                    layer.quantize_inline(activation, self.activation_bits, self.compat.grammar())?;
                    if let Some(factor) = filters.and_then(|filters| self.number(filters, levels)) {
                        is_resized = true;
                        scale_filters(layer, factor);
                    }
                }
                Part::Activation(activation) => {
                    layer.class = Class::quantized(Kind::Activation);
                    layer.activation_text = self.text(*activation, levels).map(str::to_owned);
                }
                // Of the layers that a limit names and that choose nothing, batch normalization becomes its quantized
                // twin.
                Part::Listed if layer.class.kind == Kind::BatchNormalization => {
                    layer.quantize_normalization([None; 5], self.compat.grammar())?;
                }
                Part::Listed => {}
            }
        }
        if is_resized {
            network.resize()?;
        }
        Ok(network)
    }

    /// Refuses filter counts that layers do not go together with, unless QKeras is followed.
    pub(super) fn check_filters(&self) -> Result<(), SpaceError> {
        if self.compat == Compat::Qkeras {
            return Ok(());
        }
        let mut tuned: Vec<usize> = self.parts.iter().filter_map(|(_, part)| part.filters()).collect();
        tuned.sort_unstable();
        tuned.dedup();
        let choices =
            tuned.into_iter().flat_map(|at| (0..FILTER_FACTORS.len() as u8).map(move |level| (at, level)));
        for (at, level) in choices.filter(|(_, level)| *level != FILTER_DEFAULT) {
            let hyperparameter = self.hyperparameters[at].name.clone();
            let mut levels = self.defaults();
            levels[at] = level;
            let network = match self.network(&levels) {
                Ok(network) => network,
                Err(TrialError::Resize(error)) => return Err(SpaceError::Filters { hyperparameter, error }),
                // The candidates were read before.
                Err(TrialError::Quantizer(_)) => continue,
            };
            let ends = self.base.layers.iter().zip(&network.layers);
            let changed = ends
                .filter(|(before, _)| self.base.consumers(&before.name).next().is_none())
                .find(|(before, after)| before.output_shape != after.output_shape);
            if let Some((end, _)) = changed {
                return Err(SpaceError::Output { hyperparameter, layer: end.name.clone() });
            }
        }
        Ok(())
    }

    fn chosen(&self, hyperparameter: Option<usize>, levels: &[u8]) -> Option<&str> {
        hyperparameter.and_then(|at| self.text(at, levels))
    }

    fn text(&self, hyperparameter: usize, levels: &[u8]) -> Option<&str> {
        match &self.hyperparameters[hyperparameter].values[usize::from(levels[hyperparameter])] {
            Value::Text(text) => Some(text),
            Value::Number(_) => None,
        }
    }

    pub(super) fn number(&self, hyperparameter: usize, levels: &[u8]) -> Option<f64> {
        match &self.hyperparameters[hyperparameter].values[usize::from(levels[hyperparameter])] {
            Value::Text(_) => None,
            Value::Number(number) => Some(*number),
        }
    }
}

impl Part {
    fn filters(&self) -> Option<usize> {
        match self {
            Self::Weighted { filters, .. } => *filters,
            Self::Activation(_) | Self::Listed => None,
        }
    }
}

/// Rounds down, to one at least.
fn scale_filters(layer: &mut Layer, factor: f64) {
    let scaled = |count: usize| ((count as f64 * factor) as usize).max(1);
    layer.filters = layer.filters.map(scaled);
    layer.units = layer.units.map(scaled);
}
