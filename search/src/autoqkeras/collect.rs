//! Going through a network as QKeras does, noting what is to be chosen.

use std::collections::BTreeMap;

use super::lookup::{Field, Lookup};
use super::pattern::Anywhere;
use super::space::{FILTER_DEFAULT, FILTER_FACTORS, Hyperparameter, Part, Value};
use super::{Compat, Settings, SpaceError, SpaceWarning, TuneFilters};
use crate::network::{Kind, Layer, Network};

/// What was noted.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) hyperparameters: Vec<Hyperparameter>,
    pub(super) parts: Vec<(usize, Part)>,
    pub(super) warnings: Vec<SpaceWarning>,
}

/// The most values that a level can number.
const VALUES_MAX: usize = u8::MAX as usize;

pub(super) fn collect(network: &Network, settings: &Settings) -> Result<Collected, SpaceError> {
    let lookup = Lookup::new(&settings.limit, network, settings.compat)?;
    let mut collector = Collector {
        network,
        settings,
        exceptions: exceptions(settings, network)?,
        chosen: BTreeMap::new(),
        used: Vec::new(),
        collected: Collected { warnings: lookup.oddities(network, &settings.limit)?, ..Collected::default() },
        lookup,
    };
    collector.check_indexes()?;
    let kernels = collector.kernels()?;
    let block = collector.block_filters(&kernels)?;
    for (at, layer) in network.layers.iter().enumerate().filter(|(at, _)| settings.includes(*at)) {
        if let Some(part) = collector.part(layer, kernels.get(&at).copied(), block)? {
            collector.collected.parts.push((at, part));
        }
    }
    collector.finished()
}

/// Errors: patterns that are none, and, unless QKeras is followed, those that would except nothing.
fn exceptions(settings: &Settings, network: &Network) -> Result<Option<Anywhere>, SpaceError> {
    match (&settings.tune_filters_exceptions, settings.tune_filters, settings.compat) {
        (Some(text), tuned, compat) => {
            let pattern = Anywhere::new(text)?;
            let is_heeded = tuned != TuneFilters::None && compat == Compat::Bitloop;
            if is_heeded && !network.layers.iter().any(|layer| pattern.matches(&layer.name)) {
                return Err(SpaceError::ExceptsNothing(text.clone()));
            }
            Ok(Some(pattern))
        }
        (None, TuneFilters::Layer | TuneFilters::Block, Compat::Qkeras) => Err(SpaceError::NoExceptions),
        (None, _, _) => Ok(None),
    }
}

struct Collector<'a> {
    network: &'a Network,
    settings: &'a Settings,
    lookup: Lookup,
    exceptions: Option<Anywhere>,
    /// The hyperparameters of groups, by their key and what of a layer they choose.
    chosen: BTreeMap<(String, Slot), usize>,
    used: Vec<&'static str>,
    collected: Collected,
}

/// What the layers of a group share a choice for: a field, or in QKeras the place of its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    Field(Field),
    Bound(i8),
}

impl Collector<'_> {
    fn check_indexes(&self) -> Result<(), SpaceError> {
        let layers = self.network.layers.len();
        let mut indexes = self.settings.layer_indexes.iter().flatten();
        match indexes.find(|index| **index >= layers) {
            Some(index) => Err(SpaceError::UnknownIndex { index: *index, layers }),
            None => Ok(()),
        }
    }

    /// The first pass: kernels of all layers, which QKeras also chooses for layers that it then leaves out.
    fn kernels(&mut self) -> Result<BTreeMap<usize, usize>, SpaceError> {
        let mut kernels = BTreeMap::new();
        for (at, layer) in self.network.layers.iter().enumerate() {
            let is_included = self.settings.includes(at);
            if !(is_included || self.settings.compat == Compat::Qkeras) {
                continue;
            }
            self.refuse_unsupported(layer)?;
            if !has_kernel(layer) {
                continue;
            }
            if let Some(kernel) = self.choice(layer, Field::Kernel)? {
                kernels.insert(at, kernel);
                if !is_included {
                    let name = self.collected.hyperparameters[kernel].name.clone();
                    self.collected.warnings.push(SpaceWarning::LeftOut(name));
                }
            }
        }
        Ok(kernels)
    }

    fn refuse_unsupported(&self, layer: &Layer) -> Result<(), SpaceError> {
        let is_unsupported = matches!(
            layer.class.kind,
            Kind::SimpleRnn
                | Kind::Lstm
                | Kind::Gru
                | Kind::Bidirectional
                | Kind::SeparableConv1D
                | Kind::SeparableConv2D
        );
        match self.lookup.find(layer) {
            Some(found) if is_unsupported && !layer.class.quantized => Err(SpaceError::Unsupported {
                key: found.key.to_owned(),
                layer: layer.name.clone(),
                class: layer.class.to_string(),
            }),
            _ => Ok(()),
        }
    }

    /// The factor for all layers, if one is asked for and there is a layer for it.
    fn block_filters(&mut self, kernels: &BTreeMap<usize, usize>) -> Result<Option<usize>, SpaceError> {
        let layers = || kernels.keys().filter(|at| self.counts(**at)).map(|at| &self.network.layers[*at]);
        let is_wanted = self.settings.tune_filters == TuneFilters::Block;
        if !is_wanted || !layers().any(|layer| self.tunes_filters(layer)) {
            return Ok(None);
        }
        self.filters("network_filters".to_owned()).map(Some)
    }

    /// QKeras looks at layers outside `layer_indexes` too.
    fn counts(&self, at: usize) -> bool {
        self.settings.compat == Compat::Qkeras || self.settings.includes(at)
    }

    fn tunes_filters(&self, layer: &Layer) -> bool {
        let is_excepted = self.exceptions.as_ref().is_some_and(|pattern| pattern.matches(&layer.name));
        let has_filters =
            matches!(layer.class.kind, Kind::Dense | Kind::Conv1D | Kind::Conv2D | Kind::Conv2DTranspose);
        self.settings.tune_filters != TuneFilters::None && has_filters && !is_excepted
    }

    fn filters(&mut self, name: String) -> Result<usize, SpaceError> {
        let values = FILTER_FACTORS.into_iter().map(Value::Number).collect();
        self.add(Hyperparameter { name, values, default: FILTER_DEFAULT })
    }

    /// The second pass: what is chosen of a layer besides its kernel.
    fn part(
        &mut self,
        layer: &Layer,
        kernel: Option<usize>,
        block: Option<usize>,
    ) -> Result<Option<Part>, SpaceError> {
        if layer.class.quantized {
            return Ok(None);
        }
        if has_kernel(layer) {
            return match kernel {
                Some(kernel) => self.weighted(layer, kernel, block).map(Some),
                None => Ok(None),
            };
        }
        if layer.class.kind != Kind::Activation {
            return Ok(self.lookup.find(layer).map(|_| Part::Listed));
        }
        let field = match layer.activation() {
            Some("softmax") => return Ok(None),
            Some("linear") => Field::Linear,
            _ => Field::Activation,
        };
        Ok(self.choice(layer, field)?.map(Part::Activation))
    }

    fn weighted(&mut self, layer: &Layer, kernel: usize, block: Option<usize>) -> Result<Part, SpaceError> {
        let filters = match (self.tunes_filters(layer), self.settings.tune_filters) {
            (false, _) | (_, TuneFilters::None) => None,
            (true, TuneFilters::Layer) => Some(self.filters(format!("network_filters_{}", layer.name))?),
            (true, TuneFilters::Block) => block,
        };
        let bias = if layer.use_bias { self.choice(layer, Field::Bias)? } else { None };
        let has_activation = !matches!(layer.activation(), None | Some("linear" | "softmax"));
        let mut activation = if has_activation { self.choice(layer, Field::Activation)? } else { None };
        if let (Compat::Qkeras, Some(ignored)) = (self.settings.compat, activation) {
            let name = self.collected.hyperparameters[ignored].name.clone();
            self.collected.warnings.push(SpaceWarning::Ignored(name));
            activation = None;
        }
        Ok(Part::Weighted { kernel, bias, activation, filters })
    }

    /// The hyperparameter that chooses a field of a layer: a new one, or that of the layer's group.
    fn choice(&mut self, layer: &Layer, field: Field) -> Result<Option<usize>, SpaceError> {
        let Some(found) = self.lookup.find(layer) else { return Ok(None) };
        let owner = if found.is_group { found.key } else { &layer.name };
        let name = format!("{owner}_{}", field.ending());
        let group = found.is_group.then(|| (found.key.to_owned(), self.slot(layer, field)));
        if let Some(known) = group.as_ref().and_then(|group| self.chosen.get(group)) {
            return Ok(Some(*known));
        }
        let config = &self.settings.quantization_config;
        let Some(values) = self.lookup.candidates(layer, field, config)? else { return Ok(None) };
        let values = values.into_iter().map(Value::Text).collect();
        let added = self.add(Hyperparameter { name, values, default: 0 })?;
        self.used.push(field.section());
        if let Some(group) = group {
            self.chosen.insert(group, added);
        }
        Ok(Some(added))
    }

    fn slot(&self, layer: &Layer, field: Field) -> Slot {
        match self.settings.compat {
            Compat::Bitloop => Slot::Field(field),
            Compat::Qkeras => Slot::Bound(field.bound_in_qkeras(&layer.name)),
        }
    }

    fn add(&mut self, mut hyperparameter: Hyperparameter) -> Result<usize, SpaceError> {
        let known = &mut self.collected.hyperparameters;
        // KerasTuner knows hyperparameters by name and takes the one that it had first.
        if let Some(at) = known.iter().position(|other| other.name == hyperparameter.name) {
            if self.settings.compat == Compat::Qkeras || known[at].values == hyperparameter.values {
                return Ok(at);
            }
            // A linear activation beside another one of its group: the same name, other candidates.
            hyperparameter.name.push_str("_linear");
        }
        if hyperparameter.values.len() > VALUES_MAX {
            return Err(SpaceError::TooManyValues(hyperparameter.name));
        }
        known.push(hyperparameter);
        Ok(known.len() - 1)
    }

    fn finished(mut self) -> Result<Collected, SpaceError> {
        if self.collected.hyperparameters.is_empty() {
            return Err(SpaceError::Nothing);
        }
        for (section, _) in self.settings.quantization_config.sections.iter() {
            if !self.used.contains(&section) {
                self.collected.warnings.push(SpaceWarning::UnusedSection(section.to_owned()));
            }
        }
        Ok(self.collected)
    }
}

/// Whether a plain layer has a kernel that is chosen for.
fn has_kernel(layer: &Layer) -> bool {
    let has_kernel = matches!(
        layer.class.kind,
        Kind::Dense | Kind::Conv1D | Kind::Conv2D | Kind::DepthwiseConv2D | Kind::Conv2DTranspose
    );
    has_kernel && !layer.class.quantized
}
