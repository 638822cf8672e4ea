//! `bitloop fit` and `bitloop solve` as typed, on published problems.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bitloop_tests::process::{Said, say};
use bitloop_tests::{files, shared};
use serde_json::Value;

/// Tolerance of an objective, absolute.
const OBJECTIVE: f64 = 1e-9;

/// The same where a proof may leave as much open.
const PROVED: f64 = 1e-6;

/// A network of one searched layer.
const LAYERS: &str = r#"{"model": "small", "input": [1, 1, 4, 4], "note": "", "fixed_8bit": [], "layers": [
  {"index": 0, "name": "conv", "c_in": 1, "c_out": 2, "k": 3, "stride": 1, "out_h": 4, "searchable": true, "params": 18,
   "spatial_upstream": 16, "macs_upstream": 288, "spatial_true": 16, "macs_true": 288}]}"#;
const INDICATORS: &str = r#"{"model": "small", "bit_candidates": [4, 2], "layers": [
  {"name": "conv", "weight": {"4": 0.25, "2": 0.5}, "act": {"4": 0.125, "2": 0.75}}]}"#;

fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

fn folder(name: &str) -> Option<PathBuf> {
    let folder = shared().join("reference").join(name);
    if folder.is_dir() {
        return folder.canonicalize().ok();
    }
    drop(writeln!(std::io::stderr(), "skipped: {} is not there", folder.display()));
    None
}

/// Types the command of a case; limits that it does not have are left out, but `--no-bitops` stands beside the widths.
fn solve(folder: &Path, model: &str, case: &Value) -> Said {
    let file = |kind: &str| folder.join(format!("{model}_{kind}.json")).display().to_string();
    let bits: Vec<String> = list(&case["bits"]).iter().map(Value::to_string).collect();
    let mut words = vec!["solve".to_owned(), "--indicators".to_owned(), file("indicators")];
    for (option, value) in [
        ("--layers", file("layers")),
        ("--bits", bits.join(",")),
        ("--weight-bits", case["avg_w"].to_string()),
        ("--activation-bits", case["avg_a"].to_string()),
        ("--alpha", case["alpha"].to_string()),
        ("--compat", "limpq".to_owned()),
        ("--output", "json".to_owned()),
    ] {
        words.extend([option.to_owned(), value]);
    }
    if case["cr_requested"].as_f64().is_some_and(|ratio| ratio > 0.0) {
        words.extend(["--compression".to_owned(), case["cr_requested"].to_string()]);
    }
    if case["use_bitops"] == false {
        words.push("--no-bitops".to_owned());
    }
    let anywhere = tempfile::tempdir().expect("a temporary folder");
    say(anywhere.path(), words)
}

#[test]
fn golden_policies_as_typed() {
    let Some(folder) = folder("limpq") else { return };
    let cases = json(&folder.join("cases.json"));
    let model = cases["model"].as_str().expect("a name");
    let layers = json(&folder.join(format!("{model}_indicators.json")));
    for case in list(&cases["cases"]) {
        let name = &case["name"];
        let said = solve(&folder, model, case);
        if case["feasible"] == false {
            assert_eq!(said.status.code(), Some(1), "{name}: {}", said.err);
            assert!(said.err.contains("no bit config keeps the limits"), "{name}: {}", said.err);
            continue;
        }
        let answer: Value = serde_json::from_str(&said.ok().out).expect("JSON");
        let best = &answer["best"][0];
        let objective = best["objective"].as_f64().expect("a number");
        let expected = case["objective"].as_f64().expect("a number");
        assert!((objective - expected).abs() <= OBJECTIVE, "{name}: {objective}, not {expected}");
        assert_eq!(answer["proof"]["proved"], true, "{name}");
        if case["unique"] == true {
            for (at, layer) in list(&layers["layers"]).iter().enumerate() {
                let layer = layer["name"].as_str().expect("a name");
                for (kind, key) in [("weight", "weight_bits"), ("act", "act_bits")] {
                    assert_eq!(
                        best["bits"][format!("{layer}.{kind}")],
                        case[key][at],
                        "{name}: {layer} {kind}"
                    );
                }
            }
        }
    }
}

/// The tables of a network, singles, pairs and subsets.
fn tables(folder: &Path, model: &str) -> Vec<PathBuf> {
    let mut tables = files(folder, ".csv");
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().to_lowercase());
    tables.retain(|path| name(path).is_some_and(|name| name.starts_with(&format!("{model}_"))));
    assert!(!tables.is_empty(), "no tables of {model} in {}", folder.display());
    tables
}

/// Types a command with the tables of a network; its JSON.
fn typed(command: &str, tables: &[PathBuf], options: &str) -> Value {
    let tables = tables.iter().map(|path| path.display().to_string());
    let words = [command.to_owned()].into_iter().chain(tables);
    let words = words.chain(options.split_whitespace().map(str::to_owned));
    let anywhere = tempfile::tempdir().expect("a temporary folder");
    let said = say(anywhere.path(), words.chain(["--output", "json"].map(str::to_owned))).ok();
    serde_json::from_str(&said.out).expect("JSON")
}

#[test]
fn golden_searches_by_measurements_as_typed() {
    let Some(folder) = folder("pairwise_mpq") else { return };
    for case in list(&json(&folder.join("search_cases.json"))["cases"]) {
        let (problem, exact) = (&case["problem"], &case["exact"]["min_f2"]);
        let model = problem["model"].as_str().expect("a name");
        let cost = if problem["constraint"] == "size" { "size_mib" } else { "bops_g" };
        let what = format!("{model} {cost} {}", problem["limit"]);
        let layers = folder.join(format!("{model}_layers.json"));
        let options = format!(
            "--layers {} --constraint {cost}={} --compat pairwise_mpq --no-prices",
            layers.display(),
            problem["limit"]
        );

        let answer = typed("solve", &tables(&folder, model), &options);

        let number = |value: &Value| value.as_f64().expect("a number");
        let best = &answer["best"][0];
        assert_eq!(answer["proof"]["proved"], true, "{what}");
        assert_eq!(answer["variables"], problem["n_variables"], "{what}");
        let (found, expected) = (number(&best["objective"]), number(&exact["f2"]));
        assert!((found - expected).abs() <= PROVED, "{what}: {found}, not {expected}");
        assert_eq!(
            (&best["costs"][0]["cost"], &best["costs"][0]["at_most"]),
            (&cost.into(), &problem["limit"])
        );
        assert!(number(&best["costs"][0]["value"]) <= number(&problem["limit"]) * (1.0 + 1e-9), "{what}");
        assert_eq!(best["predicted_loss"], Value::Null, "{what}: nobody predicted");
    }
}

#[test]
fn golden_predictors_are_judged_as_typed() {
    let Some(folder) = folder("pairwise_mpq") else { return };
    let cases = json(&folder.join("search_cases.json"));
    let models: BTreeSet<&str> =
        list(&cases["cases"]).iter().filter_map(|case| case["problem"]["model"].as_str()).collect();
    for model in models {
        let tables = tables(&folder, model);
        let lines =
            |path: &PathBuf| fs::read_to_string(path).expect("a table").trim_end().lines().count() - 1;

        let report = typed("fit", &tables, "--compare");

        let points = report["weights"].as_u64().zip(report["activations"].as_u64());
        assert_eq!(points.map(|(weights, activations)| weights + activations), report["rows"]["1"].as_u64());
        let rows = report["rows"].as_object().expect("rows by changes").values();
        let measured: usize = tables.iter().map(lines).sum();
        assert_eq!(rows.filter_map(Value::as_u64).sum::<u64>(), measured as u64, "{model}");
        let figure = |name: &str, figure: &str| {
            let mut predictors = list(&report["predictors"]).iter();
            let found = predictors.find(|predictor| predictor["name"] == name).expect(name);
            found["held_out"][figure].as_f64().expect(figure)
        };
        // What predictors have learnt shows beside the sum of single losses, and most beside the published one.
        assert!(figure("auto", "rmse") < figure("published", "rmse"), "{model}");
        assert!(figure("published", "rmse") < figure("additive", "rmse"), "{model}");
        assert!(figure("auto", "pearson_within") > 0.97, "{model}");
        let coverage = figure("auto", "coverage");
        assert!((0.85..=0.95).contains(&coverage), "{model}: {coverage}");

        let alone = typed("fit", &tables, "--method additive");
        let additive = list(&report["predictors"]).iter().find(|predictor| predictor["name"] == "additive");
        assert_eq!(
            list(&alone["predictors"]).iter().collect::<Vec<_>>(),
            additive.into_iter().collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_limit_on_bops_and_none_at_once_are_refused() {
    let words = "solve --indicators indicators.json --layers layers.json --no-bitops --constraint bops_g=3";
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("layers.json"), LAYERS).expect("a file");
    fs::write(folder.path().join("indicators.json"), INDICATORS).expect("a file");

    let said = say(folder.path(), words.split(' '));

    assert_eq!(said.status.code(), Some(2), "{}", said.err);
    assert!(said.err.contains("--no-bitops goes against a --constraint on BOPs"), "{}", said.err);
    let alone = say(folder.path(), words.trim_end_matches(" --constraint bops_g=3").split(' ')).ok();
    assert!(alone.out.contains("objective"), "{}", alone.out);
}
