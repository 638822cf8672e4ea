//! Who chooses: `mode` with the numbers that it has.

use super::super::reader::Fields;
use crate::autoqkeras::TunerSettings;

/// Most trials or epochs, far above what anyone waits for.
const NUMBER_MAX: u64 = 1_000_000;
/// Most trials under way at a time.
const IN_FLIGHT_MAX: u64 = 1024;
/// Trials under way at a time unless given: enough for a few workers without much guesswork.
const IN_FLIGHT: u32 = 4;
/// KerasTuner's defaults of Hyperband.
const MAX_EPOCHS: u32 = 100;
const FACTOR: u32 = 3;

/// Every number that some mode has.
const NUMBERS: [&str; 7] =
    ["max_trials", "initial", "in_flight", "min_epochs", "max_epochs", "factor", "iterations"];

/// A kind of tuner.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Random,
    Bayesian,
    Hyperband,
    Asha,
}

const MODES: [(&str, Mode); 4] = [
    ("random", Mode::Random),
    ("bayesian", Mode::Bayesian),
    ("hyperband", Mode::Hyperband),
    ("asha", Mode::Asha),
];

impl Mode {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Bayesian => "bayesian",
            Self::Hyperband => "hyperband",
            Self::Asha => "asha",
        }
    }

    /// Whether it says how many epochs a trial has.
    pub(super) fn says_epochs(self) -> bool {
        match self {
            Self::Random | Self::Bayesian => false,
            Self::Hyperband | Self::Asha => true,
        }
    }

    /// The numbers that set it.
    fn numbers(self) -> &'static [&'static str] {
        match self {
            Self::Random => &["max_trials"],
            Self::Bayesian => &["max_trials", "initial", "in_flight"],
            Self::Hyperband => &["max_epochs", "factor", "iterations"],
            Self::Asha => &["max_trials", "min_epochs", "max_epochs", "factor", "in_flight"],
        }
    }
}

/// Reads which kind it is.
pub(super) fn mode(fields: &Fields<'_>) -> Option<Mode> {
    fields.optional("mode", Mode::Random, |place| place.word(&MODES))
}

/// Reads the tuner from the stage's keys; numbers that its mode does not have are mistakes.
pub(super) fn tuner(fields: &Fields<'_>, mode: Mode) -> Option<TunerSettings> {
    let mut is_right = true;
    for key in NUMBERS.into_iter().filter(|key| fields.has(key) && !mode.numbers().contains(key)) {
        is_right = false;
        let hint = format!("remove it; `{}` is set by {}", mode.as_str(), words(mode));
        fields.mistake::<()>(key, format!("`{}` does not heed it", mode.as_str()), hint);
    }
    let settings = match mode {
        Mode::Random => TunerSettings::Random { max_trials: max_trials(fields)? },
        Mode::Bayesian => {
            let max_trials = max_trials(fields);
            let initial = fields.optional("initial", None, |place| {
                place.integer(1..=NUMBER_MAX).map(|trials| Some(trials as u32))
            });
            let in_flight = in_flight(fields);
            TunerSettings::Bayesian { max_trials: max_trials?, initial: initial?, in_flight: in_flight? }
        }
        Mode::Hyperband => {
            let (max_epochs, factor) = (max_epochs(fields), factor(fields));
            let iterations = number(fields, "iterations", (1, 1));
            TunerSettings::Hyperband { max_epochs: max_epochs?, factor: factor?, iterations: iterations? }
        }
        Mode::Asha => {
            let (max_trials, in_flight) = (max_trials(fields), in_flight(fields));
            let (max_epochs, factor) = (max_epochs(fields), factor(fields));
            let min_epochs = number(fields, "min_epochs", (1, 1));
            TunerSettings::Asha {
                max_trials: max_trials?,
                min_epochs: min_epochs?,
                max_epochs: max_epochs?,
                factor: factor?,
                in_flight: in_flight?,
            }
        }
    };
    if let Err(error) = settings.check() {
        let hint = format!("write at least {}", error.least);
        return fields.mistake(error.name, format!("{} is too small", error.value), hint);
    }
    is_right.then_some(settings)
}

/// The most epochs of a trial, where the tuner says it.
pub(super) fn epochs(tuner: TunerSettings) -> Option<u32> {
    match tuner {
        TunerSettings::Random { .. } | TunerSettings::Bayesian { .. } => None,
        TunerSettings::Hyperband { max_epochs, .. } | TunerSettings::Asha { max_epochs, .. } => {
            Some(max_epochs)
        }
    }
}

fn words(mode: Mode) -> String {
    let words: Vec<String> = mode.numbers().iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

fn max_trials(fields: &Fields<'_>) -> Option<u32> {
    let trials = fields.required("max_trials", "max_trials: 40", |place| place.integer(1..=NUMBER_MAX))?;
    Some(trials as u32)
}

fn in_flight(fields: &Fields<'_>) -> Option<u32> {
    let read = fields.optional("in_flight", u64::from(IN_FLIGHT), |place| place.integer(1..=IN_FLIGHT_MAX));
    read.map(|trials| trials as u32)
}

fn max_epochs(fields: &Fields<'_>) -> Option<u32> {
    number(fields, "max_epochs", (MAX_EPOCHS, 1))
}

fn factor(fields: &Fields<'_>) -> Option<u32> {
    number(fields, "factor", (FACTOR, 2))
}

/// A number with its default and the least it may be.
fn number(fields: &Fields<'_>, key: &'static str, (default, least): (u32, u32)) -> Option<u32> {
    let range = u64::from(least)..=NUMBER_MAX;
    fields.optional(key, u64::from(default), |place| place.integer(range)).map(|number| number as u32)
}
