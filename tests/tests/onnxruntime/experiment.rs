use std::fs;

use bitloop_tests::experiment::Experiment;
use bitloop_tests::process::say;
use serde_json::Value;

use crate::library;

const STAGE: &str =
    "probe: { probe: onnxruntime, configs: 1, repetitions: 1, at_most: 100ms, interval: 10%, fidelity: 16 }";

#[test]
fn an_experiment_measures_with_it_as_a_process() {
    let Some(library) = library() else { return };
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment::with_stages(folder.path(), "elsewhere", &[STAGE], 320);
    // Biases as ONNX Runtime has them; where they are floats it rounds them so all the same, and computes another network.
    fs::write(folder.path().join("rules.yaml"), "version: 1\nbiases: int32\n").unwrap();
    let text = fs::read_to_string(&experiment.file).unwrap();
    let text = text.replace("quantization:\n", "quantization:\n  placement: ./rules.yaml\n");
    fs::write(&experiment.file, text).unwrap();
    let (path, probe) = (experiment.path(), format!("onnxruntime=lib={}", library.display()));

    // Where other tests have the processors, profiles of so small a network may be refused, which fails their trials.
    let ended = say(folder.path(), ["run", &path, "--data-dir", "data", "--probe", &probe]);

    let said = say(folder.path(), ["results", "elsewhere", "--data-dir", "data", "--format", "json"]).ok();
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["status"], "finished", "{}", ended.err);
    let device = &report["devices"][0];
    let networks = device["networks"].as_array().unwrap();
    assert!(networks.len() > 3, "{device}");
    for network in networks {
        assert!(network["latency_ns"]["median"].as_f64().unwrap() > 0.0, "{network}");
    }
    let compared = device["fidelity"].as_array().unwrap();
    assert!(!compared.is_empty());
    for row in compared {
        let [n, agreeing] = ["n", "agreeing"].map(|key| row["found"][key].as_u64().unwrap());
        assert!(n == 16 && agreeing + 1 >= n, "{row}");
    }
}
