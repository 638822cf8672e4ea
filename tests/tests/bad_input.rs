//! Nonsense gets one clear error that names the place and what to do; nothing panics and nothing is half-written.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use bitloop_tests::experiment::Experiment;
use bitloop_tests::process::{Process, Said, await_that, bitloop, say};

/// Checks what every refusal has in common and that it names `words`.
fn assert_refused(said: &Said, code: i32, words: &[&str]) {
    assert_eq!(said.status.code(), Some(code), "{}", said.err);
    assert_eq!(said.out, "", "an error is no data");
    for word in words {
        assert!(said.err.contains(word), "`{word}` is missing in: {}", said.err);
    }
    let errors = said.err.lines().filter(|line| line.starts_with("error:")).count();
    assert_eq!(errors, 1, "{}", said.err);
    for noise in ["panicked", "RUST_BACKTRACE", "stack backtrace", "Some(", "Err("] {
        assert!(!said.err.contains(noise), "{}", said.err);
    }
}

fn run(folder: &Path, experiment: &Experiment) -> Said {
    say(folder, ["run", &experiment.path(), "--data-dir", "data"])
}

/// Runs an experiment whose file was edited.
fn edited(from: &str, to: &str) -> Said {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let experiment = Experiment::new(folder.path(), "bad", "all", 100);
    let text = fs::read_to_string(&experiment.file).expect("the experiment file");
    assert!(text.contains(from), "{from}");
    fs::write(&experiment.file, text.replacen(from, to, 1)).expect("the experiment file");
    let said = run(folder.path(), &experiment);
    assert!(!folder.path().join("data").exists(), "a file with mistakes touches no data directory");
    said
}

#[test]
fn mistakes_in_an_experiment_file_name_their_place() {
    let cases: [(&str, &str, &[&str]); 9] = [
        ("name: bad", "name: bad\ncolour: red", &["bad.yaml", "colour"]),
        ("selection: 100", "selection: many", &["data.selection"]),
        ("bits: [2, 3, 4]", "bits: [2, 9]", &["quantization.weights.bits[1]", "9"]),
        ("bits: [2, 4]", "bits: [8]", &["quantization.activations.bits[0]", "baseline"]),
        ("numerics: float", "numerics: exakt", &["numerics", "`exact`"]),
        ("single: all", "single: [nothing.weight]", &["single[0]", "nothing.weight", "bitloop inspect"]),
        ("selection: 100", "selection: 99999", &["data", "99999", "10000"]),
        ("version: 1", "version: 2", &["version"]),
        (
            "quickstart/convblock.safetensors",
            "nowhere.safetensors",
            &["model.checkpoint", "nowhere.safetensors"],
        ),
    ];
    for (from, to, words) in cases {
        assert_refused(&edited(from, to), 2, words);
    }
    // All at once.
    let said = edited("selection: 100, seed: 3", "selection: -1, seed: x, colour: red");
    assert_refused(&said, 2, &["data.selection", "data.seed", "data.colour", "3 mistakes"]);
}

#[test]
fn an_experiment_file_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("empty.yaml"), "").unwrap();
    fs::write(folder.path().join("broken.yaml"), "a: [1, 2").unwrap();
    fs::write(folder.path().join("binary.yaml"), [0xff, 0xfe, 0x00]).unwrap();
    for name in ["empty.yaml", "broken.yaml", "binary.yaml", "missing.yaml", "."] {
        for command in ["run", "check", "submit"] {
            assert_refused(&say(folder.path(), [command, name]), 2, &[name]);
        }
    }
    let nothing = say(folder.path(), ["run"]);
    assert_refused(&nothing, 2, &["configs/quickstart.yaml", "name a file"]);
}

#[test]
fn damaged_model_files_name_the_tensor_and_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(folder.path(), "bad", "all", 100);
    let good = fs::read(experiment.checkpoint()).unwrap();
    let header = u64::from_le_bytes(good[..8].try_into().unwrap()) as usize;
    let text = String::from_utf8(good[8..8 + header].to_vec()).unwrap();
    let with_header = |text: String| {
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        bytes.extend_from_slice(&good[8 + header..]);
        bytes
    };
    // The last four bytes are the last value of the last tensor.
    let mut not_a_number = good.clone();
    let end = not_a_number.len();
    not_a_number[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let renamed = with_header(text.replace("\"dense.weight\":", "\"other.weight\":"));
    let wrong_shape = with_header(text.replace("\\\"out_features\\\":10", "\\\"out_features\\\":11"));
    let no_graph = with_header(text.replace("bitloop.graph", "somebody.graph"));
    let cases: [(Vec<u8>, &[&str]); 7] = [
        (good[..good.len() / 2].to_vec(), &["safetensors"]),
        (good[..5].to_vec(), &["safetensors"]),
        (Vec::new(), &["safetensors"]),
        (not_a_number, &["NaN"]),
        (renamed, &["other.weight"]),
        (wrong_shape, &["dense"]),
        (no_graph, &["graph"]),
    ];
    for (bytes, words) in cases {
        fs::write(experiment.checkpoint(), bytes).unwrap();
        let words = [&["convblock.safetensors"], words].concat();
        assert_refused(&run(folder.path(), &experiment), 2, &words);
        let model = experiment.checkpoint().display().to_string();
        assert_refused(&say(folder.path(), ["inspect", &model]), 2, &words);
    }
    assert!(!folder.path().join("data").exists());
}

#[test]
fn missing_and_damaged_images_name_the_places_looked_in() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = Experiment::new(folder.path(), "bad", "all", 100);
    let images = folder.path().join("quickstart/fashion-mnist/t10k-images-idx3-ubyte.gz");
    let datasets = folder.path().join("quickstart").display().to_string();
    let arguments = ["run", &experiment.path(), "--data-dir", "data", "--dataset-dir", &datasets];

    let good = fs::read(&images).unwrap();
    for bytes in [good[..good.len() / 2].to_vec(), b"not gzip".to_vec(), Vec::new()] {
        fs::write(&images, bytes).unwrap();
        assert_refused(&say(folder.path(), arguments), 2, &["t10k-images-idx3-ubyte.gz"]);
    }
    let text = fs::read_to_string(&experiment.file).unwrap().replace("split: test", "split: train");
    fs::write(&experiment.file, text).unwrap();
    if !Path::new("/usr/share/datasets/fashion-mnist").exists() {
        assert_refused(&say(folder.path(), arguments), 2, &["dataset-fashion-mnist", "--dataset-dir"]);
    }
}

#[test]
fn a_port_in_use_and_an_open_address_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();

    let said = say(folder.path(), ["coordinator", "--listen", &address]);
    assert_refused(&said, 2, &[&address, "--listen"]);

    let said = say(folder.path(), ["coordinator", "--listen", "0.0.0.0:0"]);
    assert_refused(&said, 2, &["0.0.0.0:0", "--insecure"]);
    assert!(!folder.path().join("bitloop-data").exists());
}

#[test]
fn a_coordinator_that_does_not_answer_has_its_own_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");

    assert_refused(&say(folder.path(), ["list", "--coordinator", &url]), 3, &[&url, "bitloop coordinator"]);
    let arguments = ["worker", "--coordinator", &url, "--connect-timeout", "300ms"];
    let said = say(folder.path(), arguments);
    assert_eq!(said.status.code(), Some(3), "{}", said.err);
    assert!(said.err.contains(&url), "{}", said.err);
    assert_refused(&say(folder.path(), ["list", "--coordinator", "localhost"]), 2, &["localhost"]);
}

#[test]
fn unknown_experiments_and_unusable_data_directories_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Process::start(bitloop(folder.path(), ["coordinator", "--listen", "127.0.0.1:0"]));
    await_that("the coordinator listens", || coordinator.out().contains("listening on "));
    let url = coordinator.out().trim().trim_start_matches("listening on ").to_owned();
    for command in ["show", "watch", "results", "pause", "resume", "cancel"] {
        let said = say(folder.path(), [command, "nothing", "--coordinator", &url]);
        assert_refused(&said, 1, &["nothing", "bitloop list"]);
    }

    fs::write(folder.path().join("file"), "").unwrap();
    let said = say(folder.path(), ["coordinator", "--listen", "127.0.0.1:0", "--data-dir", "file"]);
    assert_refused(&said, 1, &["file"]);
    let said = say(folder.path(), ["coordinator", "--listen", "127.0.0.1:0"]);
    assert_refused(&said, 1, &["bitloop-data", "is in use by another bitloop"]);
}

#[test]
fn devices_that_are_not_there_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let said = say(folder.path(), ["worker", "--device", "abacus"]);
    assert_refused(&said, 2, &["abacus", "cpu"]);
    let said = say(folder.path(), ["worker", "--device", "cuda:0"]);
    assert_refused(&said, 2, &["CUDA"]);
}
