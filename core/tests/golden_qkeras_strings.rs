//! What QKeras prints of its quantizers, and their widths and ranges, against `../shared/reference/qkeras`.

use std::io::Write as _;
use std::path::Path;

use bitloop_core::qkeras::{Alpha, Quantizer};
use serde_json::Value;

fn cases() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference/qkeras/quantizers.json");
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let mut file: Value = serde_json::from_str(&text).expect("the reference is JSON");
            match file["cases"].take() {
                Value::Array(cases) => cases,
                _ => panic!("the reference has no cases"),
            }
        }
        Err(reason) => {
            drop(writeln!(std::io::stderr(), "skipped: {}: {reason}", path.display()));
            Vec::new()
        }
    }
}

fn quantizer(case: &Value) -> Quantizer {
    let text = case["quantizer"].as_str().expect("a case has a quantizer");
    let quantizer: Quantizer = text.parse().unwrap_or_else(|error| panic!("{error}"));
    if case["as_kernel"] == Value::Bool(true) { quantizer.as_kernel() } else { quantizer }
}

/// A range that one number stands for; the others depend on values, an error is QKeras's own.
fn number(value: &Value) -> Option<f64> {
    value.as_f64()
}

#[test]
fn golden_what_is_printed_is_what_qkeras_prints() {
    for case in cases() {
        let (quantizer, printed) = (quantizer(&case), case["attrs"]["str"].as_str().expect("a printed form"));

        if !printed.starts_with("error: ") {
            assert_eq!(quantizer.to_string(), printed, "{}", case["quantizer"]);
        }
        assert_eq!(quantizer.spelling().parse(), Ok(quantizer), "{}", case["quantizer"]);
    }
}

#[test]
fn golden_widths_and_ranges_are_those_of_qkeras() {
    for case in cases() {
        let (quantizer, attributes) = (quantizer(&case), &case["attrs"]);

        assert_eq!(Some(u64::from(quantizer.bits())), attributes["bits"].as_u64(), "{quantizer}");
        if let Some(max) = number(&attributes["max()"]) {
            assert_eq!(quantizer.max(), max, "{quantizer}");
        }
        if let Some(min) = number(&attributes["min()"]) {
            assert_eq!(quantizer.min(), min, "{quantizer}");
        }
        if let Some(integer) = attributes["integer"].as_i64() {
            assert_eq!(quantizer.integer().map(i64::from), Some(integer), "{quantizer}");
        }
        exponents(&quantizer, attributes);
        alpha(&quantizer, attributes);
    }
}

fn exponents(quantizer: &Quantizer, attributes: &Value) {
    let exponents = match quantizer {
        Quantizer::Po2(parameters) => parameters.exponents(),
        Quantizer::ReluPo2(parameters) => parameters.exponents(),
        _ => return,
    };
    let expected = (attributes["min_exp"].as_f64(), attributes["max_exp"].as_f64());
    assert_eq!((Some(f64::from(exponents.min)), Some(f64::from(exponents.max))), expected, "{quantizer}");
}

fn alpha(quantizer: &Quantizer, attributes: &Value) {
    let expected = match &attributes["alpha"] {
        Value::String(rule) if rule == "auto" => Some(Alpha::Auto),
        Value::String(_) => Some(Alpha::AutoPo2),
        other => other.as_f64().map(Alpha::Number),
    };
    assert_eq!(quantizer.alpha(), expected.as_ref(), "{quantizer}");
}
