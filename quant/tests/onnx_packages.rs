//! Networks that ship inside Python packages are imported, run, and compared with ONNX Runtime.
//!
//! The packages are `onnx` (topologies), `onnxruntime` (outputs) and `rapidocr_onnxruntime` (three networks in use),
//! looked up by the Python that the environment variable `BITLOOP_PYTHON` names, or `python3`. What is not installed
//! is skipped, and said.

#![expect(clippy::unwrap_used, reason = "test code, also outside of test functions")]

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use bitloop_core::graph::Shape;
use bitloop_quant::executor::{FloatPass, forward};
use bitloop_quant::onnx::{ImportError, ImportOptions, Imported, import_file};
use candle_core::{Device, Tensor};
use serde_json::Value;

/// Of the largest output; both sum thousands of products in f32, in another order.
const RELATIVE: f32 = 1e-3;

/// What the script says of each network.
fn networks(folder: &Path) -> Vec<Value> {
    let python = std::env::var("BITLOOP_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/onnx_reference.py");
    let done = match Command::new(&python).arg(script).arg(folder).output() {
        Ok(done) => done,
        Err(error) => {
            drop(writeln!(std::io::stderr(), "skipped: `{python}` cannot be started ({error})"));
            return Vec::new();
        }
    };
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let text = String::from_utf8(done.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (skipped, found): (Vec<_>, Vec<_>) = lines.partition(|line| line["skipped"].is_string());
    for line in skipped {
        drop(writeln!(std::io::stderr(), "skipped: {}", line["skipped"]));
    }
    found
}

fn floats(path: &Value) -> Vec<f32> {
    let bytes = std::fs::read(path.as_str().unwrap()).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

fn output(imported: &Imported, network: &Value) -> Vec<f32> {
    let graph = &imported.model.graph;
    let shape = [&[1], graph.input.shape.0.as_slice()].concat();
    let input = Tensor::from_vec(floats(&network["input"]), shape, &Device::Cpu).unwrap();
    let last = &graph.output().unwrap().name;
    let mut pass = FloatPass { weights: &imported.model.weights };
    forward(graph, &input, last, &mut pass).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_close(name: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{name}");
    let largest = theirs.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let worst = ours.iter().zip(theirs).fold(0.0_f32, |worst, (a, b)| worst.max((a - b).abs()));
    eprintln!("{name}: {} outputs, largest difference {worst:e} of {largest:e}", ours.len());
    assert!(worst <= RELATIVE * largest, "{name}: {worst} apart, outputs up to {largest}");
}

#[test]
fn networks_of_python_packages_import_and_agree_with_onnx_runtime() {
    let folder = tempfile::tempdir().unwrap();
    for network in networks(folder.path()) {
        let name = network["name"].as_str().unwrap();
        if let Some(path) = network["shipped"].as_str() {
            import_file(Path::new(path), &ImportOptions::default()).unwrap();
        }
        let shape = network["shape"].as_array().unwrap();
        let shape = shape.iter().map(|extent| extent.as_u64().unwrap() as usize).collect();
        let options = ImportOptions { input: Some(Shape(shape)), ..ImportOptions::default() };
        let imported = match import_file(Path::new(network["model"].as_str().unwrap()), &options) {
            Ok(imported) => imported,
            Err(ImportError::InFile { source, .. }) => {
                let ImportError::Unsupported { problems } = *source else { panic!("{name}: {source}") };
                let is_topology = name.starts_with("light_");
                assert!(!is_topology && !problems.is_empty(), "{name}: {problems:?}");
                eprintln!("{name}: {}", ImportError::Unsupported { problems });
                continue;
            }
            Err(error) => panic!("{name}: {error}"),
        };
        eprintln!("{name}: {} nodes", imported.model.graph.nodes.len());
        let ours = output(&imported, &network);
        assert!(ours.iter().all(|value| value.is_finite()), "{name}");
        match network["output"].is_string() {
            true => assert_close(name, &ours, &floats(&network["output"])),
            false => drop(writeln!(
                std::io::stderr(),
                "skipped: {name} is not compared, onnxruntime is not installed"
            )),
        }
    }
}
