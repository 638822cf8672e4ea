//! Encodings of the weights and the input of small trained networks against aimet-torch 2.42.0's simulator.
//!
//! The data lies outside the repository (`../shared/reference/aimet/net_*`, made by running the tool; its README says
//! how exact each number is). Without it the test says so and passes.

#![expect(clippy::unwrap_used, reason = "test code, also outside of test functions")]

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bitloop_core::bits::Bits;
use bitloop_core::trial::{Calibration, Granularity, Scheme, WeightRule};
use bitloop_quant::quantizer::{Detail, Encoding, Grid, Observer};
use candle_core::{Device, Tensor};
use serde_json::Value;

/// Relative tolerance of the simulator's scales, as the data's README states.
const RELATIVE: f64 = 1e-5;
/// Images of a calibration batch of the simulator.
const BATCH: usize = 32;

fn networks() -> Vec<PathBuf> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/reference/aimet"));
    let Ok(entries) = std::fs::read_dir(&folder) else {
        drop(writeln!(std::io::stderr(), "skipped: there is no {}", folder.display()));
        return Vec::new();
    };
    let mut folders: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.retain(|folder| folder.join("net.json").exists());
    folders.sort();
    folders
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn calibration(scheme: &str) -> Option<Calibration> {
    match scheme {
        "min_max" => Some(Calibration::MinMax),
        "post_training_tf_enhanced" => Some(Calibration::TfEnhanced),
        _ => None,
    }
}

fn stage(base: &str) -> Option<&'static str> {
    match base {
        "raw" => Some("00_raw"),
        "folded" => Some("10_bn_folded"),
        "cle_hbf" => Some("40_hbf"),
        _ => None,
    }
}

fn bits(slot: &Value) -> Bits {
    Bits::new(u8::try_from(slot["bits"].as_u64().unwrap()).unwrap()).unwrap()
}

fn grid(slot: &Value) -> Grid {
    let end = |key: &str| i32::try_from(slot[key].as_i64().unwrap()).unwrap();
    Grid::new(end("qmin"), end("qmax"), slot["symmetric"].as_bool().unwrap()).unwrap()
}

fn assert_slot(id: &str, encoding: &Encoding, slot: &Value) {
    let (scales, offsets) = (list(&slot["scale"]), list(&slot["offset"]));
    assert_eq!(encoding.grid(), grid(slot), "{id}");
    assert_eq!(encoding.scale().len(), scales.len(), "{id}");
    for (channel, (ours, theirs)) in encoding.scale().iter().zip(scales).enumerate() {
        let (ours, theirs) = (f64::from(*ours), theirs.as_f64().unwrap());
        let near = (ours - theirs).abs() <= RELATIVE * theirs;
        assert!(near, "{id}: scale {ours} of channel {channel}, expected {theirs}");
    }
    let ours: Vec<i64> = encoding.offset().iter().map(|offset| i64::from(*offset)).collect();
    let theirs: Vec<i64> = offsets.iter().map(|offset| offset.as_i64().unwrap()).collect();
    assert_eq!(ours, theirs, "{id}: offsets");
}

/// What of a simulator's table can be derived from tensors that are given: weights, and the network's input.
struct Checked {
    weights: usize,
    inputs: usize,
}

fn check(net: &Value, simulator: &Value, tensors: &HashMap<String, Tensor>) -> Checked {
    let mut checked = Checked { weights: 0, inputs: 0 };
    let name = text(simulator, "name");
    let (Some(calibration), Some(stage)) =
        (calibration(text(simulator, "scheme")), stage(text(simulator, "base")))
    else {
        drop(writeln!(std::io::stderr(), "skipped {name}: its scheme or its base is not known here"));
        return checked;
    };
    for slot in list(&simulator["quantizers"]) {
        let module = text(slot, "module");
        let id = format!("{name} {module} {} {}", text(slot, "kind"), slot["key"]);
        if slot["enabled"] != Value::Bool(true) {
            continue;
        }
        match text(slot, "kind") {
            "param" => {
                let per_tensor = list(&slot["shape"]).is_empty();
                let granularity = if per_tensor { Granularity::PerTensor } else { Granularity::PerChannel };
                let rule = WeightRule { scheme: Scheme::Symmetric, granularity, calibration };
                let weight = &tensors[&format!("{stage}/{module}.{}", text(slot, "key"))];
                assert_slot(&id, &Encoding::of_weight(weight, rule, bits(slot)).unwrap(), slot);
                checked.weights += 1;
            }
            "input" if reads_the_input(net, module) => {
                let encoding = Encoding::calibrated(&[input(tensors)], grid(slot), calibration).unwrap();
                assert_slot(&id, &encoding, slot);
                checked.inputs += 1;
            }
            _ => {}
        }
    }
    checked
}

fn reads_the_input(net: &Value, module: &str) -> bool {
    let node = list(&net["structure"]["nodes"]).iter().find(|node| text(node, "name") == module);
    node.is_some_and(|node| list(&node["inputs"]).iter().any(|input| input == "input"))
}

fn input(tensors: &HashMap<String, Tensor>) -> Observer {
    let images = &tensors["x_calib"];
    let mut observer = Observer::new(Detail::ALL);
    for start in (0..images.dims()[0]).step_by(BATCH) {
        let len = BATCH.min(images.dims()[0] - start);
        let batch = images.narrow(0, start, len).unwrap().flatten_all().unwrap();
        observer.observe(&batch.to_vec1::<f32>().unwrap()).unwrap();
    }
    observer
}

fn load(folder: &Path) -> (Value, HashMap<String, Tensor>) {
    let net = serde_json::from_str(&std::fs::read_to_string(folder.join("net.json")).unwrap()).unwrap();
    let tensors = candle_core::safetensors::load(folder.join("tensors.safetensors"), &Device::Cpu).unwrap();
    (net, tensors)
}

#[test]
fn golden_encodings_of_weights_and_inputs_equal_the_simulators() {
    for folder in networks() {
        let (net, tensors) = load(&folder);
        let mut total = Checked { weights: 0, inputs: 0 };
        for simulator in list(&net["quantsim"]) {
            let checked = check(&net, simulator, &tensors);
            total.weights += checked.weights;
            total.inputs += checked.inputs;
        }
        eprintln!("{}: {} weights and {} inputs", folder.display(), total.weights, total.inputs);
        assert!(total.weights > 0 && total.inputs > 0, "{}: nothing was checked", folder.display());
    }
}
