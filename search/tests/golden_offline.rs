//! The published search problems, through what `bitloop solve` calls.

#[path = "common/published.rs"]
mod published;

use std::path::Path;

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;
use bitloop_search::form::Form;
use bitloop_search::measurements::{Measurements, Metric};
use bitloop_search::offline::{
    LayersFile, MeasuredSearch, Method, Question, SolveOptions, Wanted, answer, of_measurements,
};
use bitloop_search::predict::{Prediction, Predictor};
use bitloop_search::space::Space;
use bitloop_search::tables::Counts;
use published::{array, folder, json, number, text, widths};
use serde_json::Value;

fn bits(range: std::ops::RangeInclusive<u8>) -> Vec<Bits> {
    range.map(|width| Bits::new(width).expect("a supported width")).collect()
}

/// The published objective at 4 and 8 bits, straight from the files.
struct Published(Form);

impl Predictor for Published {
    fn predict(&self, _levels: &[u8]) -> Prediction {
        Prediction { value: 0.0, low: 0.0, high: 0.0 }
    }

    fn form(&self) -> Form {
        self.0.clone()
    }

    fn notes(&self) -> &[String] {
        &[]
    }
}

/// The published database at 4 and 8 bits: single losses, influences (100 where empty) and the mean correlation by count.
struct Database {
    layers: LayersFile,
    space: Space,
    losses: Vec<f64>,
    influences: Vec<f64>,
    by_changed: Vec<f64>,
}

impl Database {
    fn read(folder: &Path, model: &str) -> Self {
        let layers = text(&folder.join(format!("{model}_layers.json")));
        let layers = LayersFile::parse(&layers).expect("a file of layers");
        let LayersFile::PairwiseMpq(table) = &layers else { panic!("it is of the published database") };
        let widths = [4, 8].map(|width| Bits::new(width).expect("a supported width"));
        let space = table.space(&[PointKind::Activation, PointKind::Weight], &widths);
        let [first, rest] = [model[..1].to_uppercase(), model[1..].replace("v2", "V2")];
        let single = csv::Reader::from_path(folder.join(format!("{first}{rest}_SingleLayer.csv")));
        let mut single = single.expect("the table of single losses");
        let headers = single.headers().expect("a header").clone();
        let column = |name: &str| headers.iter().position(|header| header == name).expect("a column");
        let [loss, influence] = ["DeltaAcc", "Influence"].map(column);
        let rows: Vec<csv::StringRecord> = single.records().map(|row| row.expect("a row")).collect();
        let expected = json(&folder.join(format!("{model}_expected.json")));
        Self {
            losses: rows.iter().map(|row| row[loss].parse().expect("a number")).collect(),
            influences: rows.iter().map(|row| row[influence].parse().unwrap_or(100.0)).collect(),
            by_changed: array(&expected["avg_corr_by_count"]).iter().map(number).collect(),
            layers,
            space,
        }
    }

    fn f1(&self) -> Form {
        let one = self.losses.iter().map(|loss| vec![*loss, 0.0]).collect();
        Form { one, ..Form::constant(0.0, &self.space) }
    }

    fn f2(&self) -> Form {
        let both = self.losses.iter().zip(&self.influences);
        let one = both.map(|(loss, influence)| vec![loss + influence, 0.0]).collect();
        Form { one, by_changed: self.by_changed.clone(), ..Form::constant(0.0, &self.space) }
    }

    fn question(&self, form: Form, problem: &Value) -> Question {
        let (kinds, name) = match problem["constraint"].as_str() {
            Some("size") => (vec![PointKind::Weight], "size_mib"),
            _ => (vec![PointKind::Activation, PointKind::Weight], "bops_g"),
        };
        let measurements =
            Measurements { space: self.space.clone(), metric: Metric::Top1Drop, rows: Vec::new() };
        let search = MeasuredSearch {
            kinds,
            bits: bits(4..=8),
            counts: Counts::Published,
            tables: Vec::new(),
            wanted: Wanted {
                limits: vec![(name.to_owned(), number(&problem["limit"]))],
                ..Wanted::default()
            },
        };
        of_measurements(&measurements, Box::new(Published(form)), &self.layers, &search)
            .expect("a proper question")
    }
}

#[test]
fn golden_search_problems_have_their_exact_optimum() {
    let Some(folder) = folder("pairwise_mpq") else { return };
    for case in array(&json(&folder.join("search_cases.json"))["cases"]) {
        let problem = &case["problem"];
        let database = Database::read(&folder, problem["model"].as_str().expect("a name"));
        for (key, form) in [("f1", database.f1()), ("f2", database.f2())] {
            let question = database.question(form, problem);
            let exact = &case["exact"][format!("min_{key}")];
            let what = format!("{} {} {key}", problem["model"], problem["constraint"]);

            // The objective counts what the published one does.
            let space = &question.problem.space;
            let levels: Vec<u8> = widths(&exact["bits"]).iter().map(|width| (width - 4) as u8).collect();
            let value = question.problem.objective.value(space, &levels);
            let expected = number(&exact[key]);
            assert!((value - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{what}: {value}");

            let answer_by = |method| answer(&question, &SolveOptions::new(method)).expect("a solution");
            let found = answer_by(Method::Exact);
            assert!(found.proof.expect("a proof").proved, "{what}");
            let best = &found.best[0];
            assert!((best.objective - expected).abs() <= 1e-6, "{what}: {}", best.objective);
            assert!(best.costs[0].value <= number(&problem["limit"]) * (1.0 + 1e-9), "{what}");
            // At 5 to 7 bits nothing was measured, so that there is nothing to say there.
            let is_measured = best.bits.0.iter().all(|(_, bits)| [4, 8].contains(bits));
            assert_eq!(best.predicted_loss.is_some(), is_measured, "{what}");

            let greedy = answer_by(Method::Greedy).best[0].objective;
            assert!(greedy >= best.objective - 1e-9, "{what}: {greedy}");
            eprintln!("{what}: {} (greedy {greedy})", best.objective);
        }
    }
}

#[test]
fn golden_limits_that_nothing_keeps_are_answered_with_the_range() {
    let Some(folder) = folder("pairwise_mpq") else { return };
    for case in array(&json(&folder.join("search_cases.json"))["cases"]) {
        let mut problem = case["problem"].clone();
        let database = Database::read(&folder, problem["model"].as_str().expect("a name"));
        problem["limit"] = Value::from(0.5);
        let question = database.question(database.f1(), &problem);
        let expected =
            json(&folder.join(format!("{}_expected.json", problem["model"].as_str().expect("a name"))));
        let uniform =
            |width: &str| number(&expected["uniform"][width][&question.problem.limits[0].cost.name]);

        let error = answer(&question, &SolveOptions::new(Method::Exact)).expect_err("nothing is that small");

        assert!(error.is_unanswerable());
        let text = error.to_string();
        let range = text.split("can be ").nth(1).expect("a range").trim_end_matches(" at the widest");
        let ends: Vec<f64> = range.split(" to ").map(|end| end.parse().expect("a number")).collect();
        for (end, width) in ends.iter().zip(["4", "8"]) {
            assert!((end - uniform(width)).abs() <= 1e-9 * end, "{text}");
        }
    }
}
