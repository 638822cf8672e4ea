use serde::{Deserialize, Serialize};

/// What is measured of whole networks, and can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Time of an inference, in nanoseconds.
    Latency,
    /// Taken from the supply by an inference, in joules.
    Energy,
    /// The most memory of the process, in bytes.
    PeakMemory,
}

/// The names of measured costs, with how many base units make one.
const COSTS: [(&str, Quantity, f64); 4] = [
    ("latency_ms", Quantity::Latency, 1e6),
    ("latency_us", Quantity::Latency, 1e3),
    ("energy_mj", Quantity::Energy, 1e-3),
    ("peak_memory_mib", Quantity::PeakMemory, 1024.0 * 1024.0),
];

impl Quantity {
    /// The names of the costs that are measured.
    pub const COST_NAMES: [&str; 4] = [COSTS[0].0, COSTS[1].0, COSTS[2].0, COSTS[3].0];

    /// What a cost of this name measures, and how many of the quantity's units make one of the cost's; none for costs that are
    /// computed.
    pub fn of_cost(name: &str) -> Option<(Self, f64)> {
        COSTS.iter().find(|(known, ..)| *known == name).map(|(_, quantity, unit)| (*quantity, *unit))
    }

    /// The word used in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Energy => "energy",
            Self::PeakMemory => "peak memory",
        }
    }
}
