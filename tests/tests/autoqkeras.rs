//! Searches that train as a user runs them: block by block, interrupted, on several workers, exported.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use bitloop_tests::experiment::{Experiment, results_file};
use bitloop_tests::process::{Process, Said, bitloop, now, say};
use serde_json::Value;

/// Two blocks and what belongs to none, on kernels and activations whose grids ONNX can say.
const BLOCKS: &str = r#"goal: { type: bits, params: { delta_p: 2, delta_n: 2, rate: 2 } }
constraints: { accuracy_drop: 10 }
quantization_config:
  kernel: { ternary: 2, "quantized_bits(3,0,1)": 3, "quantized_bits(4,0,1)": 4 }
  bias: { "quantized_bits(6,2,1)": 6 }
  activation: { "quantized_relu(3,2)": 3, "quantized_relu(4,2)": 4 }
limit: { Dense: [4, 8, 4], Conv2D: [4, 8, 4], Activation: [4] }
mode: bayesian
max_trials: 7
blocks: ["^(conv2d|act)_[01]_", "^((conv2d|act)_2_|dense)"]
schedule_block: cost
training: { epochs: 1, batch: 64, optimizer: { adam: { learning_rate: 0.001 } } }
fine_tuning: { epochs: 2 }"#;

/// When an experiment is killed for the first time: well before it can be over, and later each time, so that it will be.
const FIRST_KILL_MS: u64 = 200;

fn run(folder: &Path, experiment: &Experiment, data_dir: &str, workers: &str) -> Said {
    let path = experiment.path();
    say(folder, ["run", &path, "--data-dir", data_dir, "--workers", workers, "--threads", "1"])
}

fn results(folder: &Path, name: &str, data_dir: &str) -> Value {
    let said = say(folder, ["results", name, "--data-dir", data_dir, "--format", "json"]).ok();
    serde_json::from_str(&said.out).expect("a report is JSON")
}

#[test]
fn a_block_search_that_is_killed_again_and_again_gives_the_bytes_of_an_undisturbed_one() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment::that_trains(folder.path(), "blocks", BLOCKS);
    run(folder.path(), &experiment, "undisturbed", "2").ok();

    let mut kills = 0;
    loop {
        let arguments = ["run", &experiment.path(), "--data-dir", "killed", "--workers", "1"];
        let mut process = Process::start(bitloop(folder.path(), arguments));
        let started = now();
        while process.is_running() && started.elapsed() < Duration::from_millis(FIRST_KILL_MS + 500 * kills) {
            thread::sleep(Duration::from_millis(5));
        }
        if !process.is_running() {
            process.end().ok();
            break;
        }
        process.kill();
        kills += 1;
    }

    assert!(kills > 0, "the experiment was over before it could be killed");
    let undisturbed = results_file(&folder.path().join("undisturbed"));
    assert!(undisturbed.is_some());
    assert_eq!(results_file(&folder.path().join("killed")), undisturbed);
    let report = |data_dir| results(folder.path(), "blocks", data_dir);
    assert_eq!(report("killed"), report("undisturbed"));
}

#[test]
fn what_was_found_is_exported_as_checkpoint_dictionary_and_onnx() {
    let folder = tempfile::tempdir().unwrap();
    let search = BLOCKS
        .replace(
            "goal: { type: bits, params: { delta_p: 2, delta_n: 2, rate: 2 } }",
            "goal: { type: energy }",
        )
        .replace("Activation: [4] }", "Activation: [4], BatchNormalization: [] }");
    assert!(search.contains("energy") && search.contains("BatchNormalization"));
    let experiment = Experiment::that_trains(folder.path(), "exported", &search);
    run(folder.path(), &experiment, "data", "2").ok();
    let search = results(folder.path(), "exported", "data")["trained"][0].clone();
    let found = &search["found"];
    assert_eq!(search["blocks"].as_array().unwrap().len(), 2);
    assert_eq!(found["quantizers"]["dense"]["bias"], "quantized_bits(6,2,1)");

    let export = |format: &str, out: &str| {
        say(folder.path(), ["export", "exported", "--data-dir", "data", "--format", format, "--out", out])
            .ok()
    };
    export("checkpoint", "found.safetensors");
    export("qkeras", "found.json");
    export("onnx", "found.onnx");

    // The dictionary makes of the network what was searched for: as small as the search says.
    let dictionary: Value =
        serde_json::from_slice(&fs::read(folder.path().join("found.json")).unwrap()).unwrap();
    assert_eq!(dictionary["act_0_0"], found["quantizers"]["act_0_0"]["activation"]);
    assert_eq!(dictionary["dense"]["bias_quantizer"], "quantized_bits(6,2,1)");
    let priced =
        ["inspect", "found.safetensors", "--energy", "--quantizers", "found.json", "--output", "json"];
    let priced: Value = serde_json::from_str(&say(folder.path(), priced).ok().out).unwrap();
    assert_eq!(priced["trial"]["energy_sum"].as_f64(), found["size"]["trial"].as_f64());

    // What ONNX says is read again as the same network with its encodings.
    say(folder.path(), ["import", "found.onnx", "--out", "again.safetensors"]).ok();
    let points = say(folder.path(), ["inspect", "again.safetensors", "--points"]).ok().out;
    assert!(points.contains("act_0_0"), "{points}");
}

#[test]
fn trials_that_fail_are_said_and_a_search_of_nothing_else_fails() {
    let folder = tempfile::tempdir().unwrap();
    // One bit has no automatic scale, which only training finds out.
    let failing = BLOCKS.replace("ternary: 2, \"quantized_bits(3,0,1)\": 3", "\"quantized_bits(1,0,1)\": 1");
    let dense = failing.replace("Conv2D: [4, 8, 4]", "Conv2D: [[\"quantized_bits(4,0,1)\"], 8, 4]");
    let some = Experiment::that_trains(folder.path(), "some", &dense);
    let all =
        Experiment::that_trains(folder.path(), "all", &failing.replace(", \"quantized_bits(4,0,1)\": 4", ""));

    let said = run(folder.path(), &all, "data", "2");
    assert_eq!(said.status.code(), Some(1), "{}", said.err);
    assert!(said.err.contains("trials of the block `^((conv2d|act)_2_|dense)` failed"), "{}", said.err);
    assert!(said.err.contains("the weight quantizer of node"), "{}", said.err);
    let said = run(folder.path(), &some, "data", "2");
    assert_eq!(said.status.code(), Some(0), "{}", said.err);
    assert!(said.out.contains("failed") && said.out.contains("found "), "{}", said.out);
}

#[test]
fn a_trial_whose_loss_is_no_number_fails_and_the_search_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    // In QKeras one bit with an automatic scale is NaN.
    let search = BLOCKS
        .replace("ternary: 2, \"quantized_bits(3,0,1)\": 3", "\"quantized_bits(1,0,1,alpha='auto')\": 1")
        .replace("max_trials: 7", "compat: qkeras\nmax_trials: 20");
    let experiment = Experiment::that_trains(folder.path(), "nan", &search);

    let said = run(folder.path(), &experiment, "data", "2");

    assert_eq!(said.status.code(), Some(0), "{}", said.err);
    let search = results(folder.path(), "nan", "data")["trained"][0].clone();
    let failed = |block: &Value| {
        let rows = block["trials"].as_array().unwrap().iter();
        rows.filter_map(|row| row["failed"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let reasons: Vec<String> = search["blocks"].as_array().unwrap().iter().flat_map(failed).collect();
    assert!(!reasons.is_empty() && reasons.iter().all(|reason| reason.contains("NaN")), "{reasons:?}");
    assert!(search["found"]["report"]["n"].as_u64() > Some(0));
}

#[test]
fn what_does_not_fit_the_network_is_said_before_anything_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |name: &str, from: &str, to: &str| {
        assert!(BLOCKS.contains(from));
        let experiment = Experiment::that_trains(folder.path(), name, &BLOCKS.replace(from, to));
        let said = run(folder.path(), &experiment, "never", "1");
        assert_eq!(said.status.code(), Some(2), "{}", said.err);
        assert!(!folder.path().join("never").exists(), "nothing is written");
        said.err
    };

    let nothing = refused("nothing", "limit: { Dense", "limit: { \"^convolution\": [4], Dense");
    assert!(nothing.contains("`^convolution` matches no layer"), "{nothing}");
    let overlap = refused("overlap", "^(conv2d|act)_[01]_", "^(conv2d|act)_");
    assert!(overlap.contains("is in the blocks"), "{overlap}");
    let quantizer = refused("quantizer", "ternary: 2", "ternery: 2");
    assert!(quantizer.contains("nothing is called `ternery`"), "{quantizer}");
}
