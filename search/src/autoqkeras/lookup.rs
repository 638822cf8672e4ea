//! Which entry of a limit a layer falls under, and which candidates that leaves.

use bitloop_core::qkeras::{Grammar, Quantizer};

use super::limit::{default_bounds, filled, padded};
use super::pattern::Pattern;
use super::{Bound, Compat, DEFAULT, Entry, Limit, Ordered, QuantizationConfig, SpaceError, SpaceWarning};
use crate::network::{Class, Kind, Layer, Network};

/// What of a layer is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    Kernel,
    Bias,
    Activation,
    /// The activation of a layer that is nothing but a linear one.
    Linear,
}

impl Field {
    /// The section of the candidates.
    pub(super) fn section(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Bias => "bias",
            Self::Activation => "activation",
            Self::Linear => "linear",
        }
    }

    /// The ending of the hyperparameter's name.
    pub(super) fn ending(self) -> &'static str {
        match self {
            Self::Kernel => "kernel_quantizer",
            Self::Bias => "bias_quantizer",
            Self::Activation | Self::Linear => "activation_quantizer",
        }
    }

    /// The bound that counts; for linear activations QKeras takes that of kernels.
    fn bound(self, bounds: &[Bound], compat: Compat) -> Option<&Bound> {
        match (self, compat) {
            (Self::Kernel, _) | (Self::Linear, Compat::Qkeras) => bounds.first(),
            (Self::Bias, _) => bounds.get(1),
            (Self::Activation, _) | (Self::Linear, Compat::Bitloop) => bounds.last(),
        }
    }

    /// The place of the bound that QKeras takes, from the end if negative: it tells apart what a group chooses.
    pub(super) fn bound_in_qkeras(self, layer: &str) -> i8 {
        match self.as_qkeras_reads(layer) {
            Self::Kernel | Self::Linear => 0,
            Self::Bias => 1,
            Self::Activation => -1,
        }
    }

    /// Which section and bound QKeras takes: it looks for words in the layer's name and the field's together.
    fn as_qkeras_reads(self, layer: &str) -> Self {
        let text = format!("{layer}_{}", self.ending());
        match self {
            _ if text.contains("kernel") => Self::Kernel,
            _ if text.contains("bias") => Self::Bias,
            Self::Linear => Self::Linear,
            Self::Kernel | Self::Bias | Self::Activation => Self::Activation,
        }
    }
}

/// The entry that a layer falls under.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found<'a> {
    pub(super) key: &'a str,
    pub(super) entry: &'a Entry,
    /// Whether all layers of the key choose together.
    pub(super) is_group: bool,
}

/// A limit, its patterns compiled.
pub(super) struct Lookup {
    limit: Limit,
    /// Of each key but the default; none where a key is a class alone.
    patterns: Vec<(String, Option<Pattern>)>,
    default: Vec<Bound>,
    compat: Compat,
}

impl Lookup {
    /// Errors: patterns that are none.
    pub(super) fn new(limit: &Limit, network: &Network, compat: Compat) -> Result<Self, SpaceError> {
        let limit = padded(limit);
        let keys: Vec<String> = limit.entries.iter().map(|(key, _)| key.to_owned()).collect();
        let patterns = keys.into_iter().filter(|key| key != DEFAULT).map(|key| {
            let pattern = match compat {
                Compat::Bitloop if is_class(&key, network) => None,
                Compat::Bitloop | Compat::Qkeras => Some(Pattern::new(&key)?),
            };
            Ok((key, pattern))
        });
        let patterns = patterns.collect::<Result<_, SpaceError>>()?;
        Ok(Self { default: default_bounds(&limit), limit, patterns, compat })
    }

    /// The limit with its short entries filled up.
    pub(super) fn limit(&self) -> &Limit {
        &self.limit
    }

    /// The entry of a layer: the first pattern that holds for its name, else its class.
    pub(super) fn find(&self, layer: &Layer) -> Option<Found<'_>> {
        let class = layer.class.to_string();
        let holds = |(_, pattern): &&(String, Option<Pattern>)| {
            pattern.as_ref().is_some_and(|pattern| pattern.matches(&layer.name))
        };
        let (key, is_group) = match self.patterns.iter().find(holds) {
            Some((key, _)) => (key, true),
            None => (&self.patterns.iter().find(|(key, _)| *key == class)?.0, false),
        };
        Some(Found { key, entry: self.limit.get(key)?, is_group })
    }

    /// The candidates for a field of a layer, in the order of their section.
    ///
    /// Errors: what the limit or the section lacks.
    pub(super) fn candidates(
        &self,
        layer: &Layer,
        field: Field,
        config: &QuantizationConfig,
    ) -> Result<Option<Vec<String>>, SpaceError> {
        let Some(found) = self.find(layer) else { return Ok(None) };
        let read = match self.compat {
            Compat::Bitloop => field,
            Compat::Qkeras => field.as_qkeras_reads(&layer.name),
        };
        let place = || (found.key.to_owned(), layer.name.clone(), field.section());
        let section = read.section();
        let candidates = config.sections.get(section);
        let candidates =
            candidates.ok_or_else(|| SpaceError::MissingSection { section, layer: layer.name.clone() })?;
        let entry = self.completed(found.entry, layer);
        let is_activation = layer.class.kind == Kind::Activation;
        let (key, layer, field) = place();
        let Some(bound) = read.bound(entry.bounds(), self.compat) else {
            return Err(match is_activation {
                true => SpaceError::NoBound { key, layer },
                false => SpaceError::ShortEntry { key, layer, field },
            });
        };
        let values = match bound {
            Bound::Bits(most) => within(candidates, *most),
            Bound::Among(named) => {
                if let Some(unknown) = named.iter().find(|name| candidates.get(name).is_none()) {
                    return Err(SpaceError::UnknownCandidate { key, quantizer: unknown.clone(), section });
                }
                named.clone()
            }
        };
        if values.is_empty() { Err(SpaceError::NoCandidates { key, layer, field }) } else { Ok(Some(values)) }
    }

    /// An entry as a layer reads it: QKeras fills up those of classes alone, we those of patterns too.
    fn completed(&self, entry: &Entry, layer: &Layer) -> Entry {
        match (self.compat, &layer.class.kind) {
            (Compat::Qkeras, _) | (_, Kind::Activation) => entry.clone(),
            (Compat::Bitloop, _) => filled(entry, &self.default),
        }
    }

    /// Whether an entry that is too short is filled up for some layer.
    fn fills(&self, key: &str, network: &Network) -> bool {
        let own = |layer: &&Layer| self.find(layer).is_some_and(|found| found.key == key);
        network.layers.iter().filter(own).any(|layer| layer.kernel().is_some())
    }

    /// What is odd in the limit, for a network.
    ///
    /// Errors: patterns that match nothing, unless QKeras is followed.
    pub(super) fn oddities(&self, network: &Network, raw: &Limit) -> Result<Vec<SpaceWarning>, SpaceError> {
        let mut warnings = Vec::new();
        for (key, pattern) in &self.patterns {
            let is_empty = raw.get(key).is_some_and(|entry| entry.bounds().is_empty());
            let is_filled = self.limit.get(key).is_some_and(|entry| !entry.bounds().is_empty())
                || (self.compat == Compat::Bitloop && self.fills(key, network));
            if is_empty && is_filled {
                warnings.push(SpaceWarning::EmptyEntry(key.clone()));
            }
            let Some(pattern) = pattern.as_ref().filter(|_| !is_class(key, network)) else { continue };
            if network.layers.iter().any(|layer| pattern.matches(&layer.name)) {
                continue;
            }
            match self.compat {
                Compat::Bitloop => return Err(SpaceError::MatchesNothing(key.clone())),
                Compat::Qkeras => warnings.push(SpaceWarning::MatchesNothing(key.clone())),
            }
        }
        Ok(warnings)
    }
}

/// Whether a key of a limit is a class's name: one that Keras has, or one of the network's.
fn is_class(key: &str, network: &Network) -> bool {
    let class = Class::from(key.to_owned());
    !matches!(class.kind, Kind::Other(_)) || network.layers.iter().any(|layer| layer.class == class)
}

fn within(candidates: &Ordered<u32>, most: u32) -> Vec<String> {
    candidates.iter().filter(|(_, bits)| **bits <= most).map(|(name, _)| name.to_owned()).collect()
}

/// Says whether every candidate is a quantizer.
///
/// Errors: `NoQuantizer` for the first that is none.
pub(super) fn check(config: &QuantizationConfig, grammar: Grammar) -> Result<(), SpaceError> {
    for (section, candidates) in config.sections.iter() {
        for (text, _) in candidates.iter() {
            Quantizer::parse(text, grammar)
                .map_err(|error| SpaceError::NoQuantizer { section: section.to_owned(), error })?;
        }
    }
    Ok(())
}
