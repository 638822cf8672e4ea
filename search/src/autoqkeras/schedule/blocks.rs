//! Which layers a block has, and what of the limit holds for them.

use std::collections::BTreeSet;

use super::{Block, BlockSettings, LayerCosts, ScheduleError, ScheduleWarning};
use crate::autoqkeras::lookup::Lookup;
use crate::autoqkeras::pattern::Pattern;
use crate::autoqkeras::{Compat, DEFAULT, Entry, Limit, Settings};
use crate::network::{Kind, Layer, Network};

/// A network that is to be taken apart.
pub(super) struct Taken<'a> {
    pub(super) network: &'a Network,
    pub(super) settings: &'a Settings,
    pub(super) lookup: &'a Lookup,
}

impl<'a> Taken<'a> {
    /// The blocks in the order of their patterns, without trials.
    pub(super) fn blocks(
        &self,
        settings: &BlockSettings,
        costs: &LayerCosts,
    ) -> Result<Vec<Block>, ScheduleError> {
        if settings.blocks.is_empty() {
            return Err(ScheduleError::NoBlocks);
        }
        let block = |text: &String| {
            let pattern = Pattern::new(text)?;
            let layers: Vec<(usize, &Layer)> =
                self.layers().filter(|(_, layer)| pattern.matches(&layer.name)).collect();
            let cost = |layer: &Layer| costs.of_layer.get(&layer.name).copied();
            Ok(Block {
                pattern: text.clone(),
                layers: layers.iter().map(|(_, layer)| layer.name.clone()).collect(),
                layer_indexes: layers.iter().map(|(at, _)| *at).collect(),
                // From a zero without a sign, so that an empty block costs that.
                cost: layers.iter().filter_map(|(_, layer)| cost(layer)).fold(0.0, |sum, cost| sum + cost),
                max_trials: None,
                limit: match self.settings.compat {
                    Compat::Bitloop => self.part_of_limit(&layers),
                    Compat::Qkeras => self.limit_as_qkeras(&layers),
                },
            })
        };
        settings.blocks.iter().map(block).collect()
    }

    /// What is odd about the blocks.
    ///
    /// Errors: `Overlap`, unless QKeras is followed.
    pub(super) fn warnings(&self, blocks: &[Block]) -> Result<Vec<ScheduleWarning>, ScheduleError> {
        let mut warnings = Vec::new();
        for (at, layer) in self.layers() {
            let mut of_layer = blocks.iter().filter(|block| block.layer_indexes.contains(&at));
            match (of_layer.next(), of_layer.next(), self.settings.compat) {
                (Some(first), Some(second), Compat::Bitloop) => {
                    let (first, second) = (first.pattern.clone(), second.pattern.clone());
                    return Err(ScheduleError::Overlap { layer: layer.name.clone(), first, second });
                }
                (Some(_), Some(_), Compat::Qkeras) => {
                    warnings.push(ScheduleWarning::Twice(layer.name.clone()));
                }
                (None, _, _) if self.has_choice(layer) => {
                    warnings.push(ScheduleWarning::LeftOut(layer.name.clone()));
                }
                (None | Some(_), _, _) => {}
            }
        }
        Ok(warnings)
    }

    fn layers(&self) -> impl Iterator<Item = (usize, &'a Layer)> + use<'a> {
        let settings = self.settings;
        self.network.layers.iter().enumerate().filter(|(at, _)| settings.includes(*at))
    }

    /// Whether the limit leaves a layer something to choose: not a softmax, nor what is listed alone.
    fn has_choice(&self, layer: &Layer) -> bool {
        let chooses = match layer.class.kind {
            Kind::Activation => layer.activation() != Some("softmax"),
            _ => layer.kernel().is_some(),
        };
        chooses && !layer.class.quantized && self.lookup.find(layer).is_some()
    }

    /// The entries that some layer falls under, and the default; nothing where no layer has anything to choose.
    ///
    /// Keys stay as they are, since a block's search leaves all other layers out: so that no name is taken for the
    /// beginning of another one.
    fn part_of_limit(&self, layers: &[(usize, &Layer)]) -> Limit {
        if !layers.iter().any(|(_, layer)| self.has_choice(layer)) {
            return Limit::default();
        }
        let used: BTreeSet<&str> =
            layers.iter().filter_map(|(_, layer)| self.lookup.find(layer)).map(|found| found.key).collect();
        let entries = self.lookup.limit().entries.iter();
        let kept = entries.filter(|(key, _)| *key == DEFAULT || used.contains(key));
        Limit { entries: kept.map(|(key, entry)| (key.to_owned(), entry.clone())).collect() }
    }

    /// The entries of classes under the names of layers, then those of patterns under the names of their layers.
    fn limit_as_qkeras(&self, layers: &[(usize, &Layer)]) -> Limit {
        let mut entries: Vec<(String, Entry)> = Vec::new();
        let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
        for (_, layer) in layers {
            let Some(found) = self.lookup.find(layer) else { continue };
            if !found.is_group {
                entries.extend(self.raw(found.key).map(|entry| (layer.name.clone(), entry)));
                continue;
            }
            match groups.iter_mut().find(|(key, _)| *key == found.key) {
                Some((_, names)) => names.push(&layer.name),
                None => groups.push((found.key, vec![&layer.name])),
            }
        }
        let group =
            |(key, names): (&str, Vec<&str>)| Some((format!("^({})$", names.join("|")), self.raw(key)?));
        entries.extend(groups.into_iter().filter_map(group));
        Limit { entries: entries.into_iter().collect() }
    }

    /// An entry as it is written: QKeras fills up nothing here.
    fn raw(&self, key: &str) -> Option<Entry> {
        self.settings.limit.get(key).cloned()
    }
}
