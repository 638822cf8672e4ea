//! What a search cannot choose where a device says sizes.

use super::super::node::quoted;
use super::super::reader::Fields;
use crate::autoqkeras::{Goal, Settings, TuneFilters};

/// Reports choices that no device is asked about, and quantizers that none executes as codes.
pub(super) fn check(fields: &Fields<'_>, goal: &Goal, settings: &Settings) -> Option<()> {
    if goal.measured().is_none() {
        return Some(());
    }
    let mut is_right = true;
    let mut wrong = |key: &str, problem: &str, hint: &str| {
        is_right = false;
        fields.mistake::<()>(key, problem, hint);
    };
    if settings.tune_filters != TuneFilters::None {
        let problem = "networks are measured with the filter counts of the model";
        wrong("tune_filters", problem, "remove it, or choose the goal `bits` or `energy`");
    }
    if settings.learning_rate_optimizer {
        let problem =
            "its learning rates follow from sizes, and a network is measured only once it is chosen";
        wrong("learning_rate_optimizer", problem, "remove it; `find_learning_rate` looks for a rate");
    }
    for (section, text) in settings.without_codes() {
        let problem = format!("{section}: no device executes `{}` as codes of up to 16 bits", quoted(text));
        let hint = match section {
            "kernel" => "use `quantized_bits`, `quantized_linear`, `binary` or `ternary`, or another goal",
            _ => "use `quantized_relu` without a slope or `quantized_bits`, or another goal",
        };
        wrong("quantization_config", &problem, hint);
    }
    is_right.then_some(())
}
