//! What other programs make of the files.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use bitloop_core::bits::Choice;
use bitloop_core::graph::PointKind;
use bitloop_core::trial::{Biases, Transform};
use bitloop_quant::data::Images;
use bitloop_quant::evaluate;
use bitloop_quant::export::{EncodingsVersion, Exported, encodings, onnx};
use bitloop_quant::prepare::Prepared;
use candle_core::Tensor;
use serde_json::Value;

use crate::common::{self, Net};
use crate::networks::{Wanted, all, bits, every_operator, images, with_weights};

/// Pixels that stand for the values -4.5 to 4.5.
const MEAN: f32 = 0.5;
const STD: f32 = 1.0 / 9.0;

/// What both sides compute in f32, in another order: of the largest output.
const FLOAT_TOLERANCE: f32 = 1e-4;

/// Prepares a reference network, calibrated on its images in steps of a pixel.
fn prepared(net: &Net, wanted: &Wanted) -> Prepared {
    let mut model = net.model(common::RAW);
    let input = &mut model.graph.input;
    input.mean.fill(MEAN);
    input.std.fill(STD);
    let calibration = Tensor::cat(&net.x_calib(), 0).unwrap();
    let pixel = |value: &f32| ((value * STD + MEAN) * 255.0).round().clamp(0.0, 255.0) as u8;
    let images = Images {
        shape: input.shape.clone(),
        pixels: common::values(&calibration).iter().map(pixel).collect(),
        labels: vec![0; calibration.dims()[0]],
        classes: 1,
    };
    wanted.prepare(&model, images)
}

/// A file with what our simulation gives for its input.
struct Case {
    name: String,
    /// Largest difference that is allowed.
    tolerance: f32,
    classes: usize,
    ours: Vec<f32>,
}

fn case(folder: &Path, name: &str, exported: &Exported<'_>, input: &Tensor) -> Case {
    let prepared = exported.prepared();
    let path = folder.join(name);
    std::fs::write(path.with_extension("onnx"), onnx(exported).unwrap()).unwrap();
    let bytes: Vec<u8> = common::values(input).iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(path.with_extension("input"), bytes).unwrap();
    let ours = evaluate::output(prepared, |point| exported.choices()[point], input).unwrap();
    let classes = ours.elem_count() / ours.dims()[0];
    let ours = common::values(&ours);
    let last = &prepared.model.graph.output().unwrap().name;
    let steps =
        prepared.points.iter().zip(exported.choices()).enumerate().filter_map(|(index, (point, choice))| {
            let is_last = point.kind == PointKind::Activation && point.tensors.contains(last);
            match choice {
                Choice::Bits(bits) if is_last => Some(prepared.encoding(index, *bits).unwrap().scale()[0]),
                Choice::Bits(_) | Choice::Float => None,
            }
        });
    let largest = ours.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    // The rounding of a sum in another order may fall on the next code.
    let tolerance = steps.max_by(f32::total_cmp).unwrap_or_default() + FLOAT_TOLERANCE * largest;
    Case { name: name.to_owned(), tolerance, classes, ours }
}

fn floats(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

/// Runs the script on the folder; `false` for what could not be compared, with the reason printed.
fn run(folder: &Path) -> BTreeMap<String, bool> {
    let python = std::env::var("BITLOOP_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/export_reference.py");
    let done = match Command::new(&python).arg(script).arg(folder).output() {
        Ok(done) => done,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "skipped: `{python}` cannot be started ({error})"));
            return BTreeMap::new();
        }
    };
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    let mut ran = BTreeMap::new();
    for line in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        match line["skipped"].as_str() {
            Some(reason) => drop(writeln!(std::io::stderr(), "skipped: {reason}")),
            None => {
                ran.insert(line["name"].as_str().unwrap().to_owned(), line["ran"].as_bool().unwrap());
            }
        }
    }
    ran
}

fn top_class(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]).then(b.cmp(a))).unwrap_or_default()
}

fn difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs()))
}

fn compare(folder: &Path, cases: &[Case]) {
    let ran = run(folder);
    for case in cases.iter().filter(|case| ran.get(&case.name) == Some(&true)) {
        let path = folder.join(&case.name);
        let (off, on) = (floats(&path.with_extension("off")), floats(&path.with_extension("on")));
        let worst = difference(&case.ours, &off);
        let same = case.ours.chunks(case.classes).zip(on.chunks(case.classes));
        let same = same.filter(|(ours, theirs)| top_class(ours) == top_class(theirs)).count();
        eprintln!(
            "{}: {worst:e} apart without optimisations ({:e} allowed); with them {:e}, top-1 equal for {same} of {}",
            case.name,
            case.tolerance,
            difference(&case.ours, &on),
            case.ours.len() / case.classes,
        );
        assert!(worst <= case.tolerance, "{}: {worst} apart, {} allowed", case.name, case.tolerance);
    }
}

#[test]
fn golden_onnx_runtime_agrees_with_our_simulation_to_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let mut cases = Vec::new();
    for net in common::nets() {
        for (kind, biases, is_per_channel) in [
            ("per_channel", Biases::Float, true),
            ("int32_biases", Biases::Int32, true),
            ("per_tensor", Biases::Int32, false),
        ] {
            let transforms = vec![Transform::FoldBatchNorm];
            let wanted = Wanted { widths: vec![8, 4], biases, transforms, is_per_channel };
            let prepared = prepared(&net, &wanted);
            let name = format!("{}_{kind}", net.name);
            let exported = Exported::new(&prepared, all(&prepared, 8)).unwrap();
            cases.push(case(folder.path(), &name, &exported, &net.x_eval()));
            let mixed = prepared.points.iter().map(|point| match point.kind {
                PointKind::Weight => Choice::Bits(bits(4)),
                PointKind::Activation => Choice::Bits(bits(8)),
            });
            let exported = Exported::new(&prepared, mixed.collect()).unwrap();
            cases.push(case(folder.path(), &format!("{name}_w4"), &exported, &net.x_eval()));
        }
    }
    compare(folder.path(), &cases);
}

#[test]
fn onnx_runtime_runs_every_operator_as_we_do() {
    let folder = tempfile::tempdir().unwrap();
    let graph = every_operator();
    let shape = graph.input.shape.clone();
    let prepared =
        Wanted { widths: vec![8, 16], ..Wanted::default() }.prepare(&with_weights(graph), images(&shape));
    let images = images(&shape);
    let normalized = |(index, pixel): (usize, &u8)| {
        let channel = index / 64 % 2;
        let input = &prepared.model.graph.input;
        (f32::from(*pixel) / 255.0 - input.mean[channel]) / input.std[channel]
    };
    let values: Vec<f32> = images.pixels.iter().enumerate().map(normalized).collect();
    let input = Tensor::from_vec(values, (2, 2, 8, 8), &candle_core::Device::Cpu).unwrap();

    let float = Exported::new(&prepared, vec![Choice::Float; prepared.points.len()]).unwrap();
    let sixteen = Exported::new(&prepared, all(&prepared, 16)).unwrap();
    let cases = [("float", float), ("sixteen", sixteen)];
    let cases = cases.map(|(name, exported)| case(folder.path(), name, &exported, &input));
    compare(folder.path(), &cases);
}

/// The type of a value, with the fields of objects and the items of lists.
fn structure(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "fraction",
        Value::Number(_) => "integer",
        Value::String(_) => "text",
        Value::Array(items) => {
            items.iter().for_each(|item| structure(item, &format!("{path}[]"), found));
            "list"
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let is_tensor = path.ends_with("_encodings");
                let name = if is_tensor { "*" } else { name };
                structure(field, &format!("{path}.{name}"), found);
            }
            "object"
        }
    };
    found.insert(format!("{path}: {kind}"));
}

/// Names of parameters in a file of any version.
fn parameters(file: &Value) -> BTreeSet<String> {
    let named = |item: &Value| item["name"].as_str().map(str::to_owned);
    let names: Vec<String> = match (&file["param_encodings"], &file["encodings"]) {
        (Value::Object(fields), _) => fields.keys().cloned().collect(),
        (Value::Array(items), _) | (_, Value::Array(items)) => items.iter().filter_map(named).collect(),
        _ => Vec::new(),
    };
    names.into_iter().filter(|name| name.ends_with(".weight") || name.ends_with(".bias")).collect()
}

fn encodings_files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            encodings_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "encodings") {
            found.push(path);
        }
    }
}

#[test]
fn golden_encodings_files_have_the_structure_and_parameters_of_ours() {
    for net in common::nets() {
        let mut files = Vec::new();
        encodings_files(&net.folder.join("export"), &mut files);
        if files.is_empty() {
            drop(writeln!(std::io::stderr(), "skipped: {} has no encodings files", net.name));
            continue;
        }
        let mut ours = BTreeMap::new();
        for is_per_channel in [true, false] {
            let transforms = vec![Transform::FoldBatchNorm];
            let wanted = Wanted { widths: vec![8], biases: Biases::Int32, transforms, is_per_channel };
            let prepared = prepared(&net, &wanted);
            let exported = Exported::new(&prepared, all(&prepared, 8)).unwrap();
            for version in EncodingsVersion::ALL {
                let text = encodings(&exported, version).unwrap();
                let value: Value = serde_json::from_str(&text).unwrap();
                let known: &mut (BTreeSet<String>, BTreeSet<String>) =
                    ours.entry(version.as_str()).or_default();
                structure(&value, "", &mut known.0);
                known.1.extend(parameters(&value));
            }
        }
        for path in files {
            let theirs = common::read_json(&path);
            let (structures, names) = &ours[common::text(&theirs, "version")];
            let mut found = BTreeSet::new();
            structure(&theirs, "", &mut found);
            let missing: Vec<&String> = found.difference(structures).collect();
            assert!(missing.is_empty(), "{}: {missing:?}", path.display());
            assert_eq!(parameters(&theirs), *names, "{}", path.display());
        }
    }
}
