//! The command line of `bitloop inspect`.

use std::path::PathBuf;

use bitloop_core::qkeras::Quantizer;
use bitloop_search::energy::{Placement, Process};
use bitloop_search::goal::{PlainNumber, SourceNumber};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// Model file.
    pub(crate) model: PathBuf,

    /// Print the quantizer points instead of the layers.
    #[arg(long)]
    pub(crate) points: bool,

    /// Rules by which points are placed: `default`, `per_tensor`, `pairwise_mpq` or a rules file (its path has a `/` or
    /// ends in `.yaml`).
    #[arg(long, value_name = "NAME|FILE", default_value = "default")]
    pub(crate) placement: String,

    /// Print what an inference costs in QTools's model of energy, instead of the layers.
    #[arg(long, conflicts_with_all = ["points", "placement"])]
    pub(crate) energy: bool,

    #[command(flatten, next_help_heading = "Energy (with --energy)")]
    pub(crate) settings: EnergyArguments,
}

/// What only energy has.
///
/// The conflicts are those of `--energy`: that it is required does not say so, since clap lets what conflicts with
/// something typed be missing.
#[derive(Debug, Args)]
#[group(requires = "energy", conflicts_with_all = ["points", "placement"])]
pub(crate) struct EnergyArguments {
    /// Technology that operations and memories are priced in.
    #[arg(long, value_name = "NAME", default_value = "horowitz", value_parser = word::<Process>(&["horowitz"]))]
    pub(crate) process: Process,

    /// Where weights are kept: fixed is in the circuit itself and costs nothing to read.
    #[arg(long, value_name = "MEMORY", default_value = "fixed", value_parser = word::<Placement>(MEMORIES))]
    pub(crate) weights_in: Placement,

    /// Where activations are kept.
    #[arg(long, value_name = "MEMORY", default_value = "dram", value_parser = word::<Placement>(MEMORIES))]
    pub(crate) activations_in: Placement,

    /// Smallest SRAM in bits; a larger tensor has an SRAM of its size.
    #[arg(long, value_name = "BITS", default_value_t = 0)]
    pub(crate) min_sram_bits: u64,

    /// Whether what is in DRAM passes through SRAM too, and the model's input and output are in DRAM rather than SRAM.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) read_write_on_io: bool,

    /// Number type of the reference's inputs and weights, and of weights without quantizers.
    #[arg(long, value_name = "TYPE", default_value = "fp32", value_parser = word::<PlainNumber>(NUMBERS))]
    pub(crate) reference_weights: PlainNumber,

    /// Number type of the reference's results and sums, and of those of layers without quantizers.
    #[arg(long, value_name = "TYPE", default_value = "fp32", value_parser = word::<PlainNumber>(NUMBERS))]
    pub(crate) reference_accumulators: PlainNumber,

    /// JSON file with QKeras's quantizers by layer; the model with them, the trial, is priced beside the reference.
    #[arg(long, value_name = "FILE")]
    pub(crate) quantizers: Option<PathBuf>,

    /// Number type of the trial's input: a quantizer, or a word as for the reference [default: quantized_bits(8,0,1)].
    #[arg(long, value_name = "TYPE", requires = "quantizers", value_parser = source)]
    pub(crate) trial_input: Option<SourceNumber>,

    /// Price as another program does, its mistakes included, and refuse what it cannot price.
    #[arg(long, value_enum)]
    pub(crate) compat: Option<EnergyCompat>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EnergyCompat {
    /// QTools of QKeras 0.9.0.
    Qkeras,
}

const MEMORIES: &[&str] = &["fixed", "sram", "dram"];
const NUMBERS: &[&str] = &["int8", "int16", "int32", "fp16", "fp32"];

/// Reads one of `words` as files have it.
fn word<T: for<'de> Deserialize<'de> + Clone + Send + Sync + 'static>(
    words: &'static [&'static str],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(words).try_map(|word| {
        let word: StrDeserializer<'_, Error> = word.as_str().into_deserializer();
        T::deserialize(word)
    })
}

fn source(text: &str) -> Result<SourceNumber, String> {
    let word: StrDeserializer<'_, Error> = text.into_deserializer();
    if let Ok(plain) = PlainNumber::deserialize(word) {
        return Ok(SourceNumber::Plain(plain));
    }
    let quantizer = text.parse::<Quantizer>().map_err(|error| error.to_string())?;
    Ok(SourceNumber::Quantizer(quantizer))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use clap::error::ErrorKind;

    use super::*;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        inspect: InspectArguments,
    }

    fn inspect(words: &str) -> Result<InspectArguments, ErrorKind> {
        let typed = Typed::try_parse_from(format!("inspect model {words}").split_whitespace());
        typed.map(|typed| typed.inspect).map_err(|error| error.kind())
    }

    #[test]
    fn settings_need_energy() {
        assert!(inspect("").is_ok() && inspect("--points --placement default").is_ok());
        assert!(inspect("--energy").is_ok());
        for setting in [
            "--process horowitz",
            "--weights-in sram",
            "--activations-in fixed",
            "--min-sram-bits 1024",
            "--read-write-on-io false",
            "--reference-weights int8",
            "--reference-accumulators int32",
            "--quantizers file.json",
            "--compat qkeras",
        ] {
            assert_eq!(inspect(setting).err(), Some(ErrorKind::MissingRequiredArgument), "{setting}");
            assert_eq!(inspect(&format!("--points {setting}")).err(), Some(ErrorKind::ArgumentConflict));
            assert!(inspect(&format!("--energy {setting}")).is_ok(), "{setting}");
        }
        assert_eq!(inspect("--energy --points").err(), Some(ErrorKind::ArgumentConflict));
        assert_eq!(inspect("--energy --trial-input int8").err(), Some(ErrorKind::MissingRequiredArgument));
    }

    #[test]
    fn words_are_those_of_files() {
        let settings = inspect("--energy --weights-in sram --reference-accumulators int32").unwrap().settings;

        assert_eq!(settings.weights_in, Placement::Sram);
        assert_eq!(settings.reference_accumulators, PlainNumber::Int32);
        for words in MEMORIES.iter().map(|word| format!("--weights-in {word}")) {
            assert!(inspect(&format!("--energy {words}")).is_ok(), "{words}");
        }
        for words in NUMBERS.iter().map(|word| format!("--reference-weights {word}")) {
            assert!(inspect(&format!("--energy {words}")).is_ok(), "{words}");
        }
        assert_eq!(inspect("--energy --weights-in flash").err(), Some(ErrorKind::InvalidValue));
    }

    #[test]
    fn inputs_are_words_or_quantizers() {
        assert_eq!(source("fp16"), Ok(SourceNumber::Plain(PlainNumber::Fp16)));
        assert!(matches!(source("quantized_relu(4,1)"), Ok(SourceNumber::Quantizer(_))));
        assert!(source("int4").unwrap_err().contains("int4"));
    }
}
