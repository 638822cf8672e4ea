use std::collections::BTreeMap;

use bitloop_core::bits::Bits;
use bitloop_core::trial::ActivationRule;

use super::CalibrationError;
use crate::quantizer::{Encoding, Grid, Observer};

/// What was seen of every activation point over calibration images: ranges and, if they were kept, histograms.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    pub(super) images: u64,
    pub(super) observers: BTreeMap<String, Observer>,
}

impl Statistics {
    /// Gathers the observers of points over as many images.
    ///
    /// Errors: `NotFinite` for a point that saw no value.
    pub fn new(
        images: u64,
        observers: impl IntoIterator<Item = (String, Observer)>,
    ) -> Result<Self, CalibrationError> {
        let observers: BTreeMap<String, Observer> = observers.into_iter().collect();
        match observers.iter().find(|(_, observer)| observer.range().is_none()) {
            None => Ok(Self { images, observers }),
            Some((point, _)) => Err(CalibrationError::NotFinite {
                point: point.clone(),
                min: f32::INFINITY,
                max: f32::NEG_INFINITY,
            }),
        }
    }

    /// Number of calibration images.
    pub fn images(&self) -> u64 {
        self.images
    }

    /// Names of the points, in order.
    pub fn points(&self) -> impl Iterator<Item = &str> {
        self.observers.keys().map(String::as_str)
    }

    /// What was seen of an activation point.
    pub fn observer(&self, point: &str) -> Option<&Observer> {
        self.observers.get(point)
    }

    /// Smallest and largest value of an activation point.
    pub fn range(&self, point: &str) -> Option<(f32, f32)> {
        self.observer(point).and_then(Observer::range)
    }

    /// Returns the encoding of an activation point.
    ///
    /// Errors: `MissingPoint`, `Quantizer` (if the calibration needs a histogram that was not kept, among others).
    pub fn encoding(
        &self,
        point: &str,
        rule: ActivationRule,
        bits: Bits,
    ) -> Result<Encoding, CalibrationError> {
        let missing = || CalibrationError::MissingPoint { point: point.to_owned() };
        let observer = self.observer(point).ok_or_else(missing)?;
        let grid = Grid::of(rule.scheme, bits);
        Encoding::calibrated(std::slice::from_ref(observer), grid, rule.calibration)
            .map_err(|source| CalibrationError::Quantizer { point: point.to_owned(), source })
    }
}
