//! Outputs, gradients and scales of QKeras's quantizers against `../shared/reference/qkeras`.

use std::io::Write as _;
use std::path::Path;

use bitloop_core::qkeras::{Alpha, Quantizer};
use bitloop_quant::qkeras::{
    Arithmetic, Channel, FitError, Fitted, Fitting, Phase, Scale, Uniform, Values, fit,
};
use serde_json::Value;

/// Gradients, results of curves that are no lines, and scales that are means: two libraries may differ by this much.
const RELATIVE: f64 = 1e-6;
/// The largest draw below 1.
const ALMOST_ONE: f32 = 1.0 - f32::EPSILON / 2.0;

fn reference() -> Option<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference/qkeras/quantizers.json");
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).expect("the reference is JSON")),
        Err(reason) => {
            drop(writeln!(std::io::stderr(), "skipped: {}: {reason}", path.display()));
            None
        }
    }
}

fn number(value: &Value) -> f64 {
    match value {
        Value::String(name) => name.parse().expect("nan or an infinity"),
        other => other.as_f64().expect("a number"),
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list of numbers").iter().map(number).collect()
}

fn lengths(value: &Value) -> Vec<usize> {
    numbers(value).into_iter().map(|length| length as usize).collect()
}

struct Case<'c> {
    name: String,
    quantizer: Quantizer,
    training: bool,
    x: Vec<f32>,
    shape: Vec<usize>,
    json: &'c Value,
}

impl<'c> Case<'c> {
    fn new(json: &'c Value, inputs: &Value) -> Self {
        let text = json["quantizer"].as_str().expect("a case has a quantizer");
        let quantizer: Quantizer = text.parse().unwrap_or_else(|error| panic!("{error}"));
        let quantizer =
            if json["as_kernel"] == Value::Bool(true) { quantizer.as_kernel() } else { quantizer };
        let input = json["input"].as_str().expect("a case has an input");
        let training = json["training"].as_f64() == Some(1.0);
        let name = format!("{} {text} of {input}, training {training}", json["id"]);
        let x = numbers(&inputs[input]["data"]).into_iter().map(|x| x as f32).collect();
        Self { name, quantizer, training, x, shape: lengths(&inputs[input]["shape"]), json }
    }

    fn fit(&self, draws: [f32; 2]) -> Result<Fitted, FitError> {
        let phase = if self.training { Phase::Training } else { Phase::Inference };
        let fitting = Fitting { phase, arithmetic: Arithmetic::Qkeras, ..Fitting::default() };
        let values = Values { data: &self.x, shape: &self.shape, channel: Channel::Last };
        fit(&self.quantizer, values, fitting, &mut Constant { draws, tensor: 0 })
    }

    fn fitted(&self, draws: [f32; 2]) -> Fitted {
        self.fit(draws).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    fn outputs(&self, draws: [f32; 2]) -> Vec<f32> {
        let mut y = vec![0.0; self.x.len()];
        self.fitted(draws).forward(&self.x, &mut y);
        y
    }

    /// Whether values depend on means or on curves that are no lines; all others are exact.
    fn is_rounded(&self) -> bool {
        match &self.quantizer {
            Quantizer::Tanh(parameters) => parameters.use_real_tanh,
            Quantizer::Sigmoid(parameters) => parameters.use_real_sigmoid,
            Quantizer::Ulaw(_) => true,
            Quantizer::Bits(_) | Quantizer::Linear(_) => false,
            other => other.alpha() == Some(&Alpha::Auto),
        }
    }
}

/// The same draw everywhere in a tensor, one for each of two tensors.
struct Constant {
    draws: [f32; 2],
    tensor: usize,
}

impl Uniform for Constant {
    fn fill(&mut self, draws: &mut [f32]) {
        draws.fill(self.draws[self.tensor % 2]);
        self.tensor += 1;
    }
}

fn agree(found: f32, expected: f64, relative: f64) -> bool {
    let found = f64::from(found);
    found == expected
        || (found.is_nan() && expected.is_nan())
        || (found - expected).abs() <= relative * expected.abs().max(1e-30)
}

fn check_all(name: &str, (found, expected): (&[f32], &[f64]), relative: f64) {
    assert_eq!(found.len(), expected.len(), "{name}");
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(agree(*found, *expected, relative), "{name} at {place}: {found:?} instead of {expected:?}");
    }
}

fn each_case(check: impl Fn(&Case<'_>)) {
    let Some(reference) = reference() else { return };
    for json in reference["cases"].as_array().expect("the reference has cases") {
        check(&Case::new(json, &reference["inputs"]));
    }
}

#[test]
fn golden_outputs_are_those_of_qkeras() {
    each_case(|case| {
        if case.json.get("error").is_some() {
            return;
        }
        let expected = numbers(&case.json["output"]);
        let relative = if case.is_rounded() { RELATIVE } else { 0.0 };
        // The reference does not say what was drawn: every value has to be one that some draw gives.
        let drawn = case.training || matches!(case.quantizer, Quantizer::Bernoulli(_));
        if !drawn {
            return check_all(&case.name, (&case.outputs([0.0; 2]), &expected), relative);
        }
        let ends = [[0.0, 0.0], [0.0, ALMOST_ONE], [ALMOST_ONE, 0.0], [ALMOST_ONE; 2]];
        let possible = ends.map(|draws| case.outputs(draws));
        for (place, expected) in expected.iter().enumerate() {
            let found = possible.iter().any(|values| agree(values[place], *expected, relative));
            assert!(found, "{} at {place}: {expected} is none that is drawn", case.name);
        }
    });
}

#[test]
fn golden_gradients_are_those_of_qkeras() {
    each_case(|case| {
        if case.json.get("grad_of_sum").is_none() {
            return;
        }
        let mut passed = vec![f32::NAN; case.x.len()];
        case.fitted([0.5; 2]).backward(&case.x, &vec![1.0; case.x.len()], &mut passed);
        let expected = numbers(&case.json["grad_of_sum"]);
        assert_eq!(passed.len(), expected.len(), "{}", case.name);
        for (place, (found, expected)) in passed.iter().zip(&expected).enumerate() {
            let near = (f64::from(*found) - expected).abs() <= RELATIVE;
            assert!(near, "{} at {place} ({}): {found} instead of {expected}", case.name, case.x[place]);
        }
    });
}

#[test]
fn golden_scales_are_those_of_qkeras() {
    each_case(|case| {
        if case.json.get("error").is_some() {
            return;
        }
        let fitted = case.fitted([0.5; 2]);
        let Some(expected) = case.json.get("scale").filter(|scale| !scale.is_null()) else {
            return assert_eq!(fitted.scale(), None, "{}", case.name);
        };
        let Scale { shape, data } = fitted.scale().unwrap_or_else(|| panic!("{} has a scale", case.name));
        assert_eq!(*shape, lengths(&expected["shape"]), "{}", case.name);
        let relative = if case.is_rounded() { RELATIVE } else { 0.0 };
        check_all(&case.name, (data, &numbers(&expected["data"])), relative);
        if let Quantizer::Linear(parameters) = &case.quantizer {
            let grid = parameters.grid();
            for (end, code) in [("max()", grid.high), ("min()", grid.low)] {
                let ends: Vec<f32> = data.iter().map(|scale| scale * (grid.step * code) as f32).collect();
                let expected = &case.json["attrs"][end];
                let expected = if expected.is_array() { numbers(expected) } else { vec![number(expected)] };
                check_all(&case.name, (&ends, &expected), RELATIVE);
            }
        }
    });
}

#[test]
fn golden_what_qkeras_refuses_is_refused() {
    each_case(|case| {
        let refused = case.fit([0.5; 2]).is_err();

        assert_eq!(refused, case.json.get("error").is_some(), "{}", case.name);
    });
}
