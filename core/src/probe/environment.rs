use serde::{Deserialize, Serialize};

/// What a device was like while it was measured; what cannot be read is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Environment {
    /// How the processor's frequency is governed, such as `performance`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub governor: Option<String>,
    /// The processors that the probe may use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub affinity: Vec<u32>,
    /// Frequency in MHz, before and after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mhz: Option<[f64; 2]>,
    /// Temperature in degrees Celsius, before and after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub celsius: Option<[f64; 2]>,
    /// How many threads of the machine were busy or wanted to be, before and after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<[f64; 2]>,
    /// Of the processors' time while it was measured, the part that others than the probe had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others: Option<f64>,
    /// What else there is to say, such as a power mode, by name.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub more: std::collections::BTreeMap<String, String>,
}

impl Environment {
    /// Whether the device is kept at one frequency, as far as its system tells.
    pub(crate) fn has_fixed_frequency(&self) -> bool {
        self.governor.as_deref() == Some("performance")
    }
}
