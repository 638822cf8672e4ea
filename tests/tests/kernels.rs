//! Every set of kernels measures the same, as a user sees it: exact results to the byte, candle's operators to rounding.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use bitloop_tests::experiment::{Experiment, results_file};
use bitloop_tests::process::{Process, Said, bitloop};

const IMAGES: u32 = 200;

/// Runs an experiment with the kernels that the environment names.
fn run(folder: &Path, experiment: &Experiment, kernels: &str) -> Said {
    let mut command = bitloop(folder, ["run", &experiment.path(), "--data-dir", kernels]);
    command.env("BITLOOP_KERNELS", kernels);
    Process::start(command).end()
}

fn experiment(folder: &Path, numerics: &str) -> Experiment {
    let experiment =
        Experiment::new(folder, numerics, "['*_1.weight', 'input.output', 'act_1_0.output']", IMAGES);
    let text = fs::read_to_string(&experiment.file).expect("the experiment file");
    let text = text.replacen("numerics: float", &format!("numerics: {numerics}"), 1);
    fs::write(&experiment.file, text).expect("the experiment file");
    experiment
}

fn rows(folder: &Path, data_dir: &str) -> Vec<Vec<String>> {
    let text = String::from_utf8(results_file(&folder.join(data_dir)).expect("results")).expect("text");
    text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn exact_results_are_the_same_bytes_with_all_instructions() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = experiment(folder.path(), "exact");
    run(folder.path(), &experiment, "scalar").ok();
    let expected = results_file(&folder.path().join("scalar"));
    assert!(expected.is_some());

    for kernels in ["avx2", "avx512", "vnni"] {
        let said = run(folder.path(), &experiment, kernels);
        if said.err.contains("this CPU cannot run the kernels") {
            drop(writeln!(std::io::stderr(), "skipped {kernels}: {}", said.err.trim()));
            continue;
        }
        let said = said.ok();
        assert!(said.out.contains(&format!("{kernels} kernels on ")), "{}", said.out);
        assert_eq!(results_file(&folder.path().join(kernels)), expected, "{kernels}");
    }
}

#[test]
fn candles_operators_measure_the_same_but_for_rounding() {
    let folder = tempfile::tempdir().unwrap();
    let experiment = experiment(folder.path(), "float");
    for kernels in ["scalar", "candle"] {
        run(folder.path(), &experiment, kernels).ok();
    }

    let (own, candle) = (rows(folder.path(), "scalar"), rows(folder.path(), "candle"));
    let column = |name: &str| own[0].iter().position(|column| column == name).expect("a column");
    let (point, correct, loss) = (column("point"), column("correct"), column("loss"));
    assert_eq!(own.len(), candle.len());
    for (own, candle) in own.iter().zip(&candle).skip(1) {
        assert_eq!(own[point], candle[point]);
        let number = |row: &[String], column: usize| row[column].parse::<f64>().expect("a number");
        let (a, b) = (number(own, loss), number(candle, loss));
        assert!((a - b).abs() <= 5e-3 * a.max(b), "{}: losses {a} and {b}", own[point]);
        // A tie that rounds the other way may cost an image.
        assert!((number(own, correct) - number(candle, correct)).abs() <= 2.0, "{}", own[point]);
    }
}

#[test]
fn exact_measurements_are_refused_where_nobody_can_make_them() {
    let folder = tempfile::tempdir().unwrap();

    let said = run(folder.path(), &experiment(folder.path(), "exact"), "candle");

    assert_eq!(said.status.code(), Some(2), "{}", said.err);
    assert!(said.err.contains("write `numerics: float`"), "{}", said.err);
    assert!(said.err.contains("BITLOOP_KERNELS"), "{}", said.err);
}
