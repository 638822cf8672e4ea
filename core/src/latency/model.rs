use super::regression::Sample;
use super::{Additivity, Correction, LayerTable, Layout, Quantity, Readings, Source, Unit};
use crate::bits::BitConfig;
use crate::graph::GraphError;
use crate::plan::Plan;
use crate::probe::Estimate;

/// Standard errors from the middle of a 95 % interval to its end.
const INTERVAL_ERRORS: f64 = 1.96;

/// No measurement is taken to be surer than this part of itself: sessions differ in what no session shows.
const ERROR_MIN: f64 = 0.002;

const BITS_PER_BYTE: f64 = 8.0;

/// Why there is no model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// The plan's graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// No network with quantizers was measured whole, or the probe does not tell the quantity.
    #[error("{0}")]
    Unmeasured(&'static str),
}

/// A network as measured, beside what the model makes of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// The network.
    pub config: BitConfig,
    /// As measured.
    pub whole: Estimate,
    /// The plain sum of its layers.
    pub sum: Estimate,
    /// As predicted from the other networks.
    pub left_out: Option<f64>,
}

/// What a class of device takes for any bit config.
#[derive(Clone, Debug)]
pub struct Model {
    /// What it predicts.
    pub quantity: Quantity,
    /// The network's parts.
    pub layout: Layout,
    /// What the parts take.
    pub table: LayerTable,
    /// How sums of parts become predictions.
    pub correction: Correction,
    /// How well the plain sums do; of latency alone.
    pub additivity: Additivity,
    /// The networks that it was fitted to.
    pub known: Vec<Known>,
}

impl Model {
    /// Fits a model to what was measured.
    ///
    /// Time adds up over layers, more or less: the table has it. What is taken from the supply follows the time; memory follows
    /// the weights. How closely, the measured networks say.
    ///
    /// Errors: see [`ModelError`].
    pub fn fit(plan: &Plan, readings: &Readings, quantity: Quantity) -> Result<Self, ModelError> {
        let layout = Layout::new(plan)?;
        let table = LayerTable::new(&layout, readings);
        let measured = readings.quantized(quantity);
        if measured.is_empty() {
            return Err(ModelError::Unmeasured(match quantity {
                Quantity::Latency => "no network with quantizers could be measured whole",
                Quantity::Energy => {
                    "the device has no counter of energy, or measured no network with quantizers whole"
                }
                Quantity::PeakMemory => {
                    "the probe does not measure memory; limit `peak_activation_kib` or `size_kib` instead"
                }
            }));
        }
        let mut model = Self {
            quantity,
            layout,
            table,
            correction: Correction::default(),
            additivity: Additivity::default(),
            known: Vec::new(),
        };
        let samples: Vec<Sample> =
            measured.iter().map(|(config, whole)| model.sample(readings, (config, *whole))).collect();
        let (correction, left_out) = Correction::fit(&samples, quantity == Quantity::Latency);
        model.correction = correction;
        model.known = measured
            .into_iter()
            .enumerate()
            .map(|(index, (config, whole))| Known {
                config: config.clone(),
                whole,
                sum: model.table.sum(&model.layout, config),
                left_out: left_out.get(index).copied(),
            })
            .collect();
        model.additivity = model.tested(readings);
        Ok(model)
    }

    /// What was not used to make the table is compared with it.
    fn tested(&self, readings: &Readings) -> Additivity {
        if self.quantity != Quantity::Latency || self.table.source == Source::Nothing {
            return Additivity::default();
        }
        let unseen: Vec<&Known> =
            self.known.iter().filter(|known| !self.is_in_table(readings, &known.config)).collect();
        let pairs: Vec<[Estimate; 2]> = unseen.iter().map(|known| [known.sum, known.whole]).collect();
        let corrected = unseen.iter().filter_map(|known| Some((known.left_out?, known.whole.median)));
        Additivity::of(&pairs).with_corrected(corrected)
    }

    /// Whether the table was made of a network, so that the sum of its layers agrees with it by construction.
    pub fn is_in_table(&self, readings: &Readings, config: &BitConfig) -> bool {
        match self.table.source {
            Source::Layers => readings.networks.get(config).is_some_and(|network| !network.layers.is_empty()),
            Source::OneByOne => config.changes().len() == 0 || self.layout.only_changed(config).is_some(),
            Source::Nothing => false,
        }
    }

    fn sample(&self, readings: &Readings, (config, whole): (&BitConfig, Estimate)) -> Sample {
        let error = (whole.high - whole.low) / (2.0 * INTERVAL_ERRORS);
        let error = error.max(ERROR_MIN * whole.median).max(f64::MIN_POSITIVE);
        let is_unseen = self.quantity != Quantity::Latency || !self.is_in_table(readings, config);
        let weight = (error * error).recip();
        Sample { features: self.features(config), value: whole.median, weight, is_unseen }
    }

    fn features(&self, config: &BitConfig) -> [f64; 3] {
        let widths = |unit: &Unit| self.layout.widths(config, unit);
        let sum: f64 = self.layout.units.iter().map(|unit| self.price(unit, widths(unit))).sum();
        [1.0, self.constant() + sum, self.layout.changed_elements(config)]
    }

    /// What no unit has a part in, before correction.
    pub fn constant(&self) -> f64 {
        match self.quantity {
            Quantity::Latency | Quantity::Energy => self.table.constant_ns,
            Quantity::PeakMemory => 0.0,
        }
    }

    /// What a unit adds to the sum at some widths, before correction.
    pub fn price(&self, unit: &Unit, (weight_bits, input_bits): (Option<u32>, u32)) -> f64 {
        match self.quantity {
            Quantity::Latency | Quantity::Energy => {
                self.table.time(&self.layout, unit, (weight_bits, input_bits)).median
            }
            Quantity::PeakMemory => unit.weights * f64::from(weight_bits.unwrap_or(0)) / BITS_PER_BYTE,
        }
    }

    /// What a config was expected to take as far as others say: of one that the model was fitted to, the prediction from all
    /// others.
    pub fn predict_unseen(&self, config: &BitConfig) -> Estimate {
        let predicted = self.predict(config);
        let left_out =
            self.known.iter().find(|known| known.config == *config).and_then(|known| known.left_out);
        let Some(median) = left_out else { return predicted };
        let moved = median - predicted.median;
        Estimate { median, low: (predicted.low + moved).max(0.0).min(median), high: predicted.high + moved }
    }

    /// What a config is expected to take, with the interval for a measurement of it; as wide as the value where nothing says
    /// how far predictions are off.
    pub fn predict(&self, config: &BitConfig) -> Estimate {
        let median = self.correction.value(self.features(config));
        let reach = self.correction.half_width.unwrap_or(median.abs());
        Estimate { median, low: (median - reach).max(0.0).min(median), high: median + reach }
    }

    /// What a reader should know, as sentences.
    pub fn notes(&self, readings: &Readings) -> Vec<String> {
        let mut notes = Vec::new();
        match self.table.source {
            Source::Layers => {}
            Source::OneByOne => notes.push(
                "the probe does not tell layers apart: each was measured as a network in which it alone differs"
                    .to_owned(),
            ),
            Source::Nothing => notes.push("no layer was measured: predictions know whole networks alone".to_owned()),
        }
        let Additivity { configs, within, mean_error, bias, .. } = self.additivity;
        if configs > 0 {
            let [mean, bias] = [mean_error, bias].map(|part| part * 100.0);
            notes.push(match self.additivity.is_additive() {
                true => format!("sums of layers agree with all {configs} whole networks within the intervals"),
                false => format!(
                    "sums of layers agree with {within} of {configs} whole networks within the intervals; they are off by \
                     {mean:.1} % on average, {bias:+.1} % with sign"
                ),
            });
        }
        let unsteady =
            readings.networks.keys().filter(|config| !readings.unsteady(config).is_empty()).count();
        if unsteady > 0 {
            notes.push(format!("{unsteady} networks were measured unsteadily"));
        }
        notes
    }
}
