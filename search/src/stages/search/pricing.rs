//! Where a cost on a device is from: a model that was fitted to what was measured there, or the energy model.

use bitloop_core::bits::BitConfig;
use bitloop_core::latency::{Correction, Model, Quantity, Terms};
use bitloop_core::plan::Plan;
use bitloop_core::probe::Estimate;

use super::devices::Probing;
use crate::cost::{Cost, ModelledEnergy, on_device};
use crate::searched::Searched;

/// What gives the cost of any config. Numbers are in the quantity's unit.
pub(super) enum Pricing {
    /// A model that was fitted to what was measured.
    Fitted(Box<Model>),
    /// The energy model, on a device where no counter of energy was readable.
    Modelled(Box<ModelledEnergy>),
}

impl Pricing {
    /// Fits a model of a quantity; that of energy on a device without a counter is the energy model.
    ///
    /// Errors: nothing was measured of which a model could be made, or the energy model has no price of the network.
    pub(super) fn new(plan: &Plan, probing: &Probing, quantity: Quantity) -> Result<Self, String> {
        let is_counted = match quantity {
            Quantity::Latency | Quantity::PeakMemory => true,
            Quantity::Energy => probing.counts_energy || !probing.has_measured_any(),
        };
        if is_counted {
            let model = Model::fit(plan, &probing.readings, quantity).map_err(|error| error.to_string())?;
            return Ok(Self::Fitted(Box::new(model)));
        }
        let modelled = ModelledEnergy::new(plan, probing.probe.setting.batch);
        Ok(Self::Modelled(Box::new(modelled.map_err(|error| error.to_string())?)))
    }

    pub(super) fn is_modelled(&self) -> bool {
        match self {
            Self::Fitted(_) => false,
            Self::Modelled(_) => true,
        }
    }

    /// What a config is expected to take.
    pub(super) fn predict(&self, config: &BitConfig) -> Estimate {
        match self {
            Self::Fitted(model) => model.predict(config),
            Self::Modelled(energy) => Estimate::exactly(energy.joules(config)),
        }
    }

    /// The same as far as other configs say.
    pub(super) fn predict_unseen(&self, config: &BitConfig) -> Estimate {
        match self {
            Self::Fitted(model) => model.predict_unseen(config),
            Self::Modelled(_) => self.predict(config),
        }
    }

    /// How a fitted model's sums become predictions.
    pub(super) fn correction(&self) -> Option<&Correction> {
        match self {
            Self::Fitted(model) => Some(&model.correction),
            Self::Modelled(_) => None,
        }
    }

    /// As solvers take it: a cost with its name, and how many of the quantity's units make one of its.
    pub(super) fn form(&self, searched: &Searched, named: (String, f64)) -> Cost {
        match self {
            Self::Fitted(model) => on_device(model, searched, named),
            Self::Modelled(energy) => energy.cost(searched, named),
        }
    }

    /// The same without the prices of conversions, which tie layers together: what they come to on average stands in their
    /// place.
    pub(super) fn simpler_form(&self, searched: &Searched, named: (String, f64)) -> Cost {
        let model = match self {
            Self::Fitted(model) => model,
            Self::Modelled(_) => return self.form(searched, named),
        };
        let mut model = model.as_ref().clone();
        let count = model.known.len().max(1) as f64;
        let changed = model.known.iter().map(|known| model.layout.changed_elements(&known.config));
        let mean = changed.sum::<f64>() / count;
        model.correction.fixed += model.correction.per_change * mean;
        model.correction.per_change = 0.0;
        on_device(&model, searched, named)
    }

    /// Whether conversions have a price.
    pub(super) fn has_changes(&self) -> bool {
        self.correction().is_some_and(|it| it.terms == Terms::Changes && it.per_change > 0.0)
    }
}
