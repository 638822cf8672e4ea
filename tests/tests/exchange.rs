//! Networks on their way in and out: `bitloop import`, `bitloop export`, and what `bitloop inspect` says of them.

use std::fs;
use std::path::Path;

use bitloop_tests::experiment::Experiment;
use bitloop_tests::process::{Said, say};
use serde_json::Value;

/// Runs an experiment into `folder/data` and returns its id.
fn finished(folder: &Path) -> String {
    let experiment = Experiment::new(folder, "exchanged", "['dense.weight']", 64);
    say(folder, ["run", &experiment.path(), "--data-dir", "data"]).ok();
    let results = fs::read_dir(folder.join("data/results")).expect("results");
    let file = results.flatten().next().expect("a results file").path();
    file.file_stem().expect("a name").to_string_lossy().into_owned()
}

fn export(folder: &Path, id: &str, more: &[&str]) -> Said {
    say(folder, [&["export", id, "--data-dir", "data"], more].concat())
}

fn json(said: Said) -> Value {
    serde_json::from_str(&said.ok().out).expect("standard output is JSON")
}

#[test]
fn an_exported_network_comes_back_with_its_graph_and_encodings() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let id = finished(folder);

    export(folder, &id, &["--format", "onnx", "--out", "net.onnx"]).ok();
    let imported = json(say(folder, ["import", "net.onnx", "--out", "net.safetensors", "--output", "json"]));
    let inspected = json(say(folder, ["inspect", "net.safetensors", "--output", "json"]));
    let bits = json(export(folder, &id, &["--format", "bitconfig"]));
    let table = json(export(folder, &id, &["--format", "encodings"]));

    let points: Vec<&str> =
        inspected["points"].as_array().unwrap().iter().filter_map(|point| point["name"].as_str()).collect();
    let exported: Vec<&String> = bits.as_object().unwrap().keys().collect();
    assert_eq!(exported.len(), points.len());
    for point in &points {
        assert_eq!(bits[point], 8, "{point}");
        assert!(inspected["encodings"][point]["scale"][0].is_f64(), "{point} has lost its encoding");
    }
    assert_eq!(imported["encodings"], points.len());
    let scale_of = |list: &str, tensor: &str| {
        let list = table[list].as_array().unwrap();
        let entry = list.iter().find(|entry| entry["name"] == tensor).unwrap();
        entry["scale"][0].as_f64().unwrap() as f32
    };
    let imported_scale = |point: &str| inspected["encodings"][point]["scale"][0].as_f64().unwrap() as f32;
    assert_eq!(scale_of("param_encodings", "dense.weight"), imported_scale("dense.weight"));
    assert_eq!(scale_of("activation_encodings", "input"), imported_scale("input.output"));

    let text = say(folder, ["inspect", "net.safetensors", "--points"]).ok().out;
    assert!(text.contains("came with") && text.contains("codes -128..127, 10 scales"), "{text}");
    // A second round changes nothing: the graph is what the file said.
    let graph = |inspected: &Value| inspected["graph"]["nodes"].clone();
    say(folder, ["import", "net.onnx", "--out", "again.safetensors"]).ok();
    let again = json(say(folder, ["inspect", "again.safetensors", "--output", "json"]));
    assert_eq!(graph(&again), graph(&inspected));
    assert_eq!(again["digest"], inspected["digest"]);
}

#[test]
fn an_exported_network_is_an_experiments_model() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let id = finished(folder);
    export(folder, &id, &["--format", "onnx", "--out", "net.onnx"]).ok();
    let text = fs::read_to_string(folder.join("exchanged.yaml")).unwrap();
    let text = text.replace("checkpoint: quickstart/convblock.safetensors", "onnx: net.onnx");
    fs::write(folder.join("second.yaml"), text.replace("name: exchanged", "name: second")).unwrap();

    say(folder, ["run", "second.yaml", "--data-dir", "second"]).ok();

    let results = |data_dir: &str| {
        let files = bitloop_tests::files(&folder.join(data_dir).join("results"), ".csv");
        let text = fs::read_to_string(files.first().expect("a results file")).unwrap();
        // What is measured begins behind format, experiment and the digests of model and images.
        let measured = |line: &str| line.splitn(5, ',').last().map(str::to_owned).expect("five columns");
        text.lines().map(measured).collect::<Vec<String>>()
    };
    let (first, second) = (results("data"), results("second"));
    assert!(first.iter().any(|line| line.contains("dense.weight")), "{first:?}");
    assert_eq!(first, second, "the same encodings give the same numbers");
}

#[test]
fn what_cannot_be_exported_is_refused_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let id = finished(folder);
    fs::write(folder.join("odd.json"), r#"{ "dense.weight": 3 }"#).unwrap();
    fs::write(folder.join("unknown.json"), r#"{ "nothing.weight": 4 }"#).unwrap();
    let cases: [(&str, &[&str], &[&str]); 6] = [
        (
            &id,
            &["--format", "onnx", "--out", "out", "--bitconfig", "odd.json"],
            &["dense.weight", "3", "encodings"],
        ),
        (&id, &["--format", "onnx", "--out", "out", "--bitconfig", "unknown.json"], &["nothing.weight"]),
        (&id, &["--format", "onnx"], &["--out"]),
        (
            &id,
            &["--format", "encodings", "--encodings-version", "3", "--out", "out"],
            &["--encodings-version"],
        ),
        (&id, &["--format", "bitconfig", "--out", "no/such/folder"], &["no/such/folder"]),
        ("nobody-00000000", &["--format", "bitconfig", "--out", "out"], &["nobody-00000000"]),
    ];
    for (id, more, words) in cases {
        let said = export(folder, id, more);
        assert!(!said.status.success(), "{more:?}");
        let errors: Vec<&str> = said.err.lines().filter(|line| line.starts_with("error:")).collect();
        assert_eq!(errors.len(), 1, "{}", said.err);
        for word in words {
            assert!(errors[0].contains(word), "`{word}` is missing in: {}", errors[0]);
        }
        assert!(!folder.join("out").exists());
    }
}

#[test]
fn files_that_are_no_networks_are_refused_and_write_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::write(folder.join("empty.onnx"), "").unwrap();
    fs::write(folder.join("noise.onnx"), [0xff; 100]).unwrap();
    fs::write(folder.join("noise.pth"), [0x80; 100]).unwrap();
    let cases: [(&[&str], &str); 5] = [
        (&["missing.onnx"], "missing.onnx"),
        (&["empty.onnx"], "empty.onnx"),
        (&["noise.onnx"], "noise.onnx"),
        (&["noise.pth"], "--architecture"),
        (&["noise.pth", "--architecture", "mobilenet_v2"], "noise.pth"),
    ];
    for (arguments, word) in cases {
        let said = say(folder, [&["import"], arguments, &["--out", "out.safetensors"]].concat());
        assert_eq!(said.status.code(), Some(2), "{arguments:?}: {}", said.err);
        assert!(said.err.starts_with("error:") && said.err.contains(word), "{}", said.err);
        assert_eq!(said.err.trim_end().lines().count(), 1, "{}", said.err);
        assert!(!folder.join("out.safetensors").exists());
    }
}
