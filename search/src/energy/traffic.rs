use serde::{Deserialize, Serialize};

use super::constants::Prices;
use super::{Placement, Process};

/// Where a network's tensors are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Where the weights are.
    #[serde(rename = "weights_on_memory")]
    pub parameters: Placement,
    /// Where what layers pass to one another is.
    #[serde(rename = "activations_on_memory")]
    pub activations: Placement,
    /// Smallest SRAM in bits; a larger tensor has an SRAM of its size.
    #[serde(rename = "min_sram_size")]
    pub min_sram_bits: u64,
    /// Whether what is in DRAM passes through SRAM as well, and the network's input and output are in DRAM.
    #[serde(rename = "rd_wr_on_io")]
    pub read_write_on_io: bool,
}

impl Memory {
    /// Picojoules of reading or writing a tensor between layers, or the network's input or output if `at_border`.
    pub(super) fn activation_pj(&self, process: Process, bits: u64, at_border: bool) -> f64 {
        let placement = match (at_border, self.read_write_on_io) {
            (false, _) => self.activations,
            (true, true) => Placement::Dram,
            (true, false) => Placement::Sram,
        };
        self.pj(process, bits, placement)
    }

    /// Picojoules of reading a weight tensor.
    pub(super) fn parameter_pj(&self, process: Process, bits: u64) -> f64 {
        self.pj(process, bits, self.parameters)
    }

    fn pj(&self, process: Process, bits: u64, placement: Placement) -> f64 {
        let sram = || process.sram_pj(bits, bits.max(self.min_sram_bits));
        match placement {
            Placement::Fixed => 0.0,
            Placement::Sram => sram(),
            Placement::Dram if self.read_write_on_io => process.dram_pj(bits) + sram(),
            Placement::Dram => process.dram_pj(bits),
        }
    }
}
