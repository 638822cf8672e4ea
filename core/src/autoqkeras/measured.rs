//! A size that a device says: which cost counts, where it is measured, and what devices execute of QKeras's quantizers.

use serde::{Deserialize, Serialize};

use super::{ForgivingFactor, Settings};
use crate::bits::Bits;
use crate::latency::{NetworkReadings, Quantity};
use crate::probe::{Estimate, merged};
use crate::qkeras::{Grammar, Quantizer};
use crate::trial::{Candidates, ProbeSetting, ProbeTarget};

/// Width of the codes of images, which are bytes; and of points that nobody chooses anything for while a model is prepared.
const IMAGE_BITS: u8 = 8;

/// A cost that is measured of whole networks and that less is worth something of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeasuredCost {
    /// Milliseconds of an inference.
    LatencyMs,
    /// Microseconds of an inference.
    LatencyUs,
    /// Millijoules of an inference.
    EnergyMj,
}

impl MeasuredCost {
    /// Every cost.
    pub const ALL: [Self; 3] = [Self::LatencyMs, Self::LatencyUs, Self::EnergyMj];

    /// The name in experiment files, the same as that of limits.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LatencyMs => "latency_ms",
            Self::LatencyUs => "latency_us",
            Self::EnergyMj => "energy_mj",
        }
    }

    /// The unit as people read it.
    pub fn unit(self) -> &'static str {
        match self {
            Self::LatencyMs => "ms",
            Self::LatencyUs => "us",
            Self::EnergyMj => "mJ",
        }
    }

    /// What is measured, and how many of its units make one of the cost's.
    pub fn quantity(self) -> (Quantity, f64) {
        Quantity::of_cost(self.as_str()).expect("each of these costs has a quantity")
    }

    /// What a network took as a part of what its baseline took in the same turns; none where that was not measured.
    pub fn share(self, network: &NetworkReadings) -> Option<Estimate> {
        match self.quantity().0 {
            Quantity::Latency => network.ratio(),
            Quantity::Energy => {
                let ratios =
                    network.energy.iter().map(|energy| energy.config.median / energy.baseline.median);
                merged(&ratios.map(Estimate::exactly).collect::<Vec<_>>())
            }
            Quantity::PeakMemory => None,
        }
    }
}

/// What an inference takes on a device. Networks are measured whole, beside the float network in alternating turns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeasuredGoal {
    /// What less of it is worth.
    #[serde(flatten)]
    pub factor: ForgivingFactor,
    /// What counts.
    pub cost: MeasuredCost,
    /// With what, and where.
    pub target: ProbeTarget,
    /// How.
    pub setting: ProbeSetting,
    /// How often each network is measured, each time by a process of its own; twice as often if it was unsteady.
    pub repetitions: u32,
}

impl MeasuredGoal {
    /// The most measurements of a network before its trials are trained.
    pub fn repetitions_max(&self) -> u32 {
        2 * self.repetitions
    }
}

/// The width of the codes in which a device keeps a kernel with this quantizer; none where it would compute with floats.
///
/// Signs and ternary values are codes of 2 bits, the narrowest there are; 9 to 16 bits are codes of 16. Powers of two and
/// companded values are no codes of one scale.
pub fn kernel_codes(quantizer: &Quantizer) -> Option<Bits> {
    match quantizer {
        Quantizer::Bits(_) | Quantizer::Linear(_) => codes(quantizer.bits()),
        Quantizer::Binary(_) | Quantizer::Ternary(_) => codes(quantizer.bits()),
        Quantizer::StochasticBinary(_) | Quantizer::StochasticTernary(_) | Quantizer::Bernoulli(_) => {
            codes(quantizer.bits())
        }
        Quantizer::Po2(_) | Quantizer::ReluPo2(_) | Quantizer::Ulaw(_) | Quantizer::Hswish(_) => None,
        Quantizer::Relu(_) | Quantizer::Tanh(_) | Quantizer::Sigmoid(_) => None,
    }
}

/// The width of the codes that a device rounds values to with this quantizer; none for quantizers that do more than clip
/// and round.
pub fn activation_codes(quantizer: &Quantizer) -> Option<Bits> {
    match quantizer {
        Quantizer::Relu(relu) if !relu.use_sigmoid && relu.negative_slope == 0.0 => codes(relu.bits),
        Quantizer::Tanh(tanh) if !tanh.use_real_tanh => codes(tanh.bits),
        Quantizer::Bits(_) | Quantizer::Linear(_) => codes(quantizer.bits()),
        Quantizer::Relu(_) | Quantizer::Tanh(_) | Quantizer::Sigmoid(_) => None,
        Quantizer::Binary(_) | Quantizer::Ternary(_) => None,
        Quantizer::StochasticBinary(_) | Quantizer::StochasticTernary(_) | Quantizer::Bernoulli(_) => None,
        Quantizer::Po2(_) | Quantizer::ReluPo2(_) | Quantizer::Ulaw(_) | Quantizer::Hswish(_) => None,
    }
}

/// The width of a device's codes for the network's input.
pub fn image_codes() -> Bits {
    Bits::new(IMAGE_BITS).expect("bytes are codes of a width that there is")
}

/// The narrowest codes that hold so many bits.
fn codes(bits: u32) -> Option<Bits> {
    match bits {
        0 | 17.. => None,
        1 => Bits::new(2).ok(),
        2..=8 => Bits::new(bits as u8).ok(),
        9..=16 => Bits::new(16).ok(),
    }
}

impl Settings {
    /// The quantizers of `quantization_config` that no device executes as codes, each with its section.
    pub fn without_codes(&self) -> Vec<(&str, &str)> {
        let sections = self.quantization_config.sections.iter();
        let candidates =
            sections.filter_map(|(section, candidates)| Some((section, codes_of(section)?, candidates)));
        let without = candidates.flat_map(|(section, codes_of, candidates)| {
            let has_none = move |text: &&str| {
                let quantizer = Quantizer::parse(text, self.compat.grammar());
                quantizer.is_ok_and(|quantizer| codes_of(&quantizer).is_none())
            };
            candidates.iter().map(|(text, _)| text).filter(has_none).map(move |text| (section, text))
        });
        without.collect()
    }

    /// The widths in which a model is to be prepared for a device that executes any network of the search.
    pub fn device_candidates(&self) -> Candidates {
        let inline = codes(self.activation_bits).into_iter().chain([image_codes()]);
        let activations = self.codes(&["activation", "linear"], activation_codes).into_iter().chain(inline);
        Candidates::with_default_rules(
            sorted(self.codes(&["kernel"], kernel_codes)),
            sorted(activations.collect()),
            image_codes(),
        )
    }

    fn codes(&self, sections: &[&str], codes_of: fn(&Quantizer) -> Option<Bits>) -> Vec<Bits> {
        let grammar: Grammar = self.compat.grammar();
        let candidates = sections.iter().filter_map(|section| self.quantization_config.sections.get(section));
        let texts = candidates.flat_map(|candidates| candidates.iter().map(|(text, _)| text));
        texts.filter_map(|text| codes_of(&Quantizer::parse(text, grammar).ok()?)).collect()
    }
}

/// What tells the codes of a section's quantizers; none for sections that change nothing on a device: biases are added in 32
/// bits or as floats, whatever they were rounded to.
fn codes_of(section: &str) -> Option<fn(&Quantizer) -> Option<Bits>> {
    match section {
        "kernel" => Some(kernel_codes),
        "activation" | "linear" => Some(activation_codes),
        _ => None,
    }
}

fn sorted(mut widths: Vec<Bits>) -> Vec<Bits> {
    widths.sort();
    widths.dedup();
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_keep_quantized_values_as_the_narrowest_codes_that_hold_them() {
        let width =
            |text: &str, of: fn(&Quantizer) -> Option<Bits>| of(&text.parse().unwrap()).map(Bits::get);

        for (text, bits) in [
            ("quantized_bits(4,0,1)", Some(4)),
            ("quantized_bits(12,0,1)", Some(16)),
            ("quantized_bits(20,0,1)", None),
            ("quantized_linear(3)", Some(3)),
            ("binary", Some(2)),
            ("ternary", Some(2)),
            ("stochastic_ternary", Some(2)),
            ("quantized_po2(4)", None),
        ] {
            assert_eq!(width(text, kernel_codes), bits, "{text}");
        }
        for (text, bits) in [
            ("quantized_relu(6,2)", Some(6)),
            ("quantized_relu(6,2,negative_slope=0.25)", None),
            ("quantized_bits(8,2)", Some(8)),
            ("quantized_relu_po2(4)", None),
            ("binary", None),
        ] {
            assert_eq!(width(text, activation_codes), bits, "{text}");
        }
    }

    #[test]
    fn a_model_is_prepared_in_every_width_that_may_be_chosen() {
        let config = r#"{"kernel": {"binary": 1, "ternary": 2, "quantized_bits(6,0,1)": 6}, "bias": {"quantized_po2(4)": 4},
            "activation": {"quantized_relu(3,2)": 3}, "linear": {"quantized_bits(9,2)": 9}}"#;
        let config = serde_json::from_str(config).unwrap();
        let settings = Settings { quantization_config: config, activation_bits: 4, ..Settings::default() };

        let candidates = settings.device_candidates();

        let widths = |bits: &[Bits]| bits.iter().map(|bits| bits.get()).collect::<Vec<_>>();
        assert_eq!(widths(&candidates.weight_bits), [2, 6]);
        assert_eq!(widths(&candidates.activation_bits), [3, 4, 8, 16]);
        assert!(settings.without_codes().is_empty(), "biases are no matter of codes");
    }
}
