//! The quantizer's arithmetic against aimet-torch 2.42.0: encodings, codes, outputs, straight-through gradients.
//!
//! The data lies outside the repository (`../shared/reference/aimet`, made by running the tool; its README says how
//! exact each number is). Without it the tests say so and pass.

#![expect(clippy::unwrap_used, reason = "test code, also outside of test functions")]

use std::collections::HashMap;
use std::io::Write as _;
use std::path::PathBuf;

use bitloop_core::trial::{Calibration, Percentile};
use bitloop_quant::quantizer::{
    Detail, Encoding, Grid, Observer, fake_quantize, fake_quantize_learned, integer_codes,
};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use serde_json::Value;

/// The reference stores f32; the same formula in another order differs by a few units in the last place.
const RELATIVE: f64 = 1e-6;
/// The reference multiplies by 1/scale where we divide: ties may round to the other side, by one step.
const TIES: f64 = 1e-3;
/// Relative tolerance of gradients, as the data's README states.
const GRADIENT: f64 = 1e-4;

struct Golden {
    cases: Vec<Value>,
    grad_cases: Vec<Value>,
    tensors: HashMap<String, Tensor>,
}

fn golden() -> Option<Golden> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/reference/aimet"));
    let Ok(text) = std::fs::read_to_string(folder.join("fakequant.json")) else {
        drop(writeln!(std::io::stderr(), "skipped: {} has no fakequant.json", folder.display()));
        return None;
    };
    let json: Value = serde_json::from_str(&text).unwrap();
    let list = |key: &str| json[key].as_array().cloned().unwrap_or_default();
    let tensors = candle_core::safetensors::load(folder.join("fakequant.safetensors"), &Device::Cpu).unwrap();
    Some(Golden { cases: list("cases"), grad_cases: list("grad_cases"), tensors })
}

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap_or_default()
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn ranges(min: &Value, max: &Value) -> Vec<(f32, f32)> {
    floats(min).into_iter().zip(floats(max)).collect()
}

fn grid(case: &Value) -> Grid {
    let end = |key: &str| i32::try_from(case[key].as_i64().unwrap()).unwrap();
    Grid::new(end("qmin"), end("qmax"), case["symmetric"].as_bool().unwrap()).unwrap()
}

/// Our channels are always on axis 0.
fn channels_first(case: &Value, x: &Tensor) -> Tensor {
    match case["axis"].as_u64() {
        None | Some(0) => x.clone(),
        Some(axis) => x.transpose(0, axis as usize).unwrap().contiguous().unwrap(),
    }
}

fn values(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The calibration of a case; `None` if the range is given, or its parameters are not ours.
fn calibration(case: &Value) -> Option<Calibration> {
    let calibrator = &case["calibrator"];
    let is = |key: &str, expected: f64| calibrator[key].as_f64() == Some(expected);
    match text(calibrator, "name") {
        "min_max" => Some(Calibration::MinMax),
        "percentile" if is("num_bins", 2048.0) => {
            let parts = (calibrator["percentile"].as_f64().unwrap() * 1e4).round() as u32;
            Some(Calibration::Percentile(Percentile::new(parts).unwrap()))
        }
        "sqnr" if is("num_bins", 2048.0) && is("gamma", 3.0) => Some(Calibration::Sqnr),
        "sqnr" if is("num_bins", 2048.0) && is("gamma", 1.0) => Some(Calibration::Mse),
        "tf_enhanced" if is("num_bins", 512.0) && is("gamma", 3.0) && is("growth_limit", 3.0) => {
            Some(Calibration::TfEnhanced)
        }
        _ => None,
    }
}

/// Feeds the case's batches to one observer per channel.
fn observed(case: &Value, golden: &Golden) -> Vec<Observer> {
    let mut observers: Vec<Observer> = Vec::new();
    for batch in case["calibration_batches"].as_array().unwrap() {
        let x = channels_first(case, &golden.tensors[&format!("in.{}", batch.as_str().unwrap())]);
        let channels = if text(case, "granularity") == "per_channel" { x.dims()[0] } else { 1 };
        observers.resize(channels, Observer::new(Detail::ALL));
        let rows = x.reshape((channels, ())).unwrap().to_vec2::<f32>().unwrap();
        for (observer, row) in observers.iter_mut().zip(&rows) {
            observer.observe(row).unwrap();
        }
    }
    observers
}

/// The tool splits later batches by a flat reshape, not by the channel axis, so that its channels are mixed.
fn has_the_tools_mixed_channels(case: &Value) -> bool {
    let batches = case["calibration_batches"].as_array().unwrap().len();
    text(case, "granularity") == "per_channel"
        && batches > 1
        && text(&case["calibrator"], "name") != "min_max"
}

fn assert_encoding(id: &str, encoding: &Encoding, scale: &Value, offset: &Value) {
    let (scale, offset) = (floats(scale), offset.as_array().unwrap());
    assert_eq!(encoding.scale().len(), scale.len(), "{id}");
    for (ours, theirs) in encoding.scale().iter().zip(&scale) {
        let difference = (f64::from(*ours) - f64::from(*theirs)).abs();
        assert!(difference <= RELATIVE * f64::from(*theirs), "{id}: scale {ours}, expected {theirs}");
    }
    let offset: Vec<i64> = offset.iter().map(|v| v.as_i64().unwrap()).collect();
    let ours: Vec<i64> = encoding.offset().iter().map(|v| i64::from(*v)).collect();
    assert_eq!(ours, offset, "{id}: offsets");
}

/// Checks values on the grid and returns how many are one step away.
fn steps_apart(id: &str, encoding: &Encoding, ours: &Tensor, theirs: &Tensor) -> usize {
    let (ours, theirs) = (values(ours), values(theirs));
    assert_eq!(ours.len(), theirs.len(), "{id}");
    let per_channel = ours.len() / encoding.scale().len();
    let mut apart = 0;
    for (index, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        let scale = f64::from(encoding.scale()[index / per_channel]);
        let difference = (ours - theirs).abs();
        if difference <= RELATIVE * theirs.abs() {
            continue;
        }
        // Neighbours on the grid, up to the rounding of the product with the scale.
        assert!(
            (difference - scale).abs() <= RELATIVE * theirs.abs().max(ours.abs()).max(scale),
            "{id}: element {index} is {ours}, expected {theirs}"
        );
        apart += 1;
    }
    apart
}

/// Percentiles over several batches: the tool's upper end lies a bin above ours in some, as if it spread the counts over
/// the bins again with every later batch, even where the range stays: rounding then moves a count to the next bin now and
/// then, and one of 2160 tells the two bins apart. Ours stay where they are until the range grows, as those of the tool's
/// TF-enhanced seem to: its scales and offsets are no longer met otherwise.
fn is_percentile_of_batches(case: &Value) -> bool {
    let batches = case["calibration_batches"].as_array().unwrap().len();
    batches > 1 && text(&case["calibrator"], "name") == "percentile"
}

/// Returns whether scale and offset are the reference's; else the range must differ by one of the 2048 bins at most.
fn assert_within_a_bin(case: &Value, encoding: &Encoding, observer: &Observer) -> bool {
    let (id, derived) = (text(case, "id"), &case["encoding"]);
    let (min, max) = observer.range().unwrap();
    let steps = f64::from(encoding.grid().qmax() - encoding.grid().qmin());
    let (ours, theirs) = (f64::from(encoding.scale()[0]), derived["scale"][0].as_f64().unwrap());
    let bin = f64::from(max - min) / 2048.0;
    let difference = (ours - theirs).abs();
    assert!(difference * steps <= bin * 1.001, "{id}: scale {ours}, expected {theirs}");
    let same = difference <= RELATIVE * theirs;
    if !same {
        eprintln!("{id}: the range is a bin off, scale {ours}, expected {theirs}");
    }
    same
}

#[test]
fn golden_encodings_codes_and_outputs_equal_the_reference() {
    let Some(golden) = golden() else { return };
    let (mut checked, mut calibrated, mut given, mut elements, mut apart) = (0, 0, 0, 0, 0);
    let mut one_bin_off = 0;
    for case in &golden.cases {
        let id = text(case, "id");
        let (stored, derived) = (&case["range_before_snap"], &case["encoding"]);
        let encoding = Encoding::from_stored(&ranges(&stored["min"], &stored["max"]), grid(case)).unwrap();
        assert_encoding(id, &encoding, &derived["scale"], &derived["offset"]);
        match calibration(case) {
            Some(_) if has_the_tools_mixed_channels(case) => {
                drop(writeln!(
                    std::io::stderr(),
                    "skipped the calibration of {id}: the tool mixes its channels"
                ));
            }
            Some(calibration) => {
                let observers = observed(case, &golden);
                let encoding = Encoding::calibrated(&observers, grid(case), calibration).unwrap();
                if is_percentile_of_batches(case) {
                    one_bin_off += usize::from(!assert_within_a_bin(case, &encoding, &observers[0]));
                } else {
                    assert_encoding(id, &encoding, &derived["scale"], &derived["offset"]);
                }
                calibrated += 1;
            }
            None => given += 1,
        }

        let x = channels_first(case, &golden.tensors[&format!("in.{}", text(case, "input"))]);
        let expected = channels_first(case, &golden.tensors[text(case, "output")]);
        let output = fake_quantize(&x, &encoding).unwrap();
        let differing = steps_apart(id, &encoding, &output, &expected);
        let known = case["n_elements_where_fused_and_div_paths_differ"].as_u64().unwrap_or(0) as usize;
        let allowed = known.max((TIES * x.elem_count() as f64).ceil() as usize);
        assert!(differing <= allowed, "{id}: {differing} of {} elements are a step apart", x.elem_count());
        if let Some(codes) = golden.tensors.get(text(case, "codes")) {
            let ours = integer_codes(&x, &encoding).unwrap();
            assert_eq!(values(&ours), values(&channels_first(case, codes)), "{id}: codes");
        }
        checked += 1;
        elements += x.elem_count();
        apart += differing;
    }
    eprintln!(
        "checked {checked} cases ({calibrated} calibrated here, {one_bin_off} of them a bin off; {given} with the range given); {apart} of {elements} elements a step apart"
    );
    assert!(checked > 0 && calibrated > 0, "no case was checked");
    assert!(apart as f64 <= TIES * elements as f64, "{apart} of {elements} elements are a step apart");
}

#[test]
fn golden_gradients_of_values_and_learned_ranges_equal_the_reference() {
    let Some(golden) = golden() else { return };
    let mut checked = 0;
    for case in &golden.grad_cases {
        let id = text(case, "id");
        let stored = ranges(&case["learned_min"], &case["learned_max"]);
        let encoding = Encoding::from_stored(&stored, grid(case)).unwrap();
        assert_encoding(id, &encoding, &case["scale"], &case["offset"]);
        let tensor = |key: &str| channels_first(case, &golden.tensors[text(case, key)]);
        let variable = |x: &Tensor| Var::from_tensor(x).unwrap();
        let x = variable(&channels_first(case, &golden.tensors[&format!("in.{}", text(case, "input"))]));
        let [min, max] = ["learned_min", "learned_max"]
            .map(|key| variable(&Tensor::new(floats(&case[key]), &Device::Cpu).unwrap()));

        let fixed = fake_quantize(x.as_tensor(), &encoding).unwrap();
        let learned =
            fake_quantize_learned(x.as_tensor(), min.as_tensor(), max.as_tensor(), grid(case)).unwrap();

        for output in [&fixed, &learned] {
            steps_apart(id, &encoding, output, &tensor("output"));
            let gradients = backward(output, &tensor("grad_out"));
            assert_gradient(id, gradients.get(x.as_tensor()).unwrap(), &values(&tensor("grad_in")));
        }
        let gradients = backward(&learned, &tensor("grad_out"));
        for (end, key) in [(&min, "grad_min"), (&max, "grad_max")] {
            let expected: Vec<f64> = floats(&case[key]).into_iter().map(f64::from).collect();
            assert_gradient(&format!("{id} {key}"), gradients.get(end.as_tensor()).unwrap(), &expected);
        }
        checked += 1;
    }
    eprintln!("checked {checked} gradient cases");
    assert!(checked > 0, "no case was checked");
}

fn backward(output: &Tensor, grad_out: &Tensor) -> GradStore {
    (output * grad_out).unwrap().sum_all().unwrap().backward().unwrap()
}

fn assert_gradient(id: &str, ours: &Tensor, theirs: &[f64]) {
    let ours = values(ours);
    assert_eq!(ours.len(), theirs.len(), "{id}");
    for (index, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
        let difference = (ours - theirs).abs();
        assert!(difference <= GRADIENT * theirs.abs(), "{id}: gradient {index} is {ours}, expected {theirs}");
    }
}
