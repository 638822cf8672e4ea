//! The published search problems, through what `bitloop solve` calls.

#[path = "common/reference.rs"]
mod reference;

use std::path::Path;

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;
use bitloop_search::form::Form;
use bitloop_search::measurements::Metric;
use bitloop_search::offline::{
    DatabaseFile, LayersFile, MeasuredSearch, Method, Objective, Question, SolveOptions, Wanted, answer,
    database, of_measurements, published_objective,
};
use bitloop_search::tables::{Counts, Published};
use reference::{array, folder, json, name, number, tables, text, widths};
use serde_json::Value;

fn bits(range: std::ops::RangeInclusive<u8>) -> Vec<Bits> {
    range.map(|width| Bits::new(width).expect("a supported width")).collect()
}

/// The published tables of one network.
struct Network {
    layers: LayersFile,
    published: Published,
}

impl Network {
    fn read(folder: &Path, model: &str) -> Self {
        let layers = LayersFile::parse(&text(&folder.join(format!("{model}_layers.json"))));
        let files: Vec<DatabaseFile> = tables(folder, model)
            .iter()
            .map(|path| DatabaseFile { name: name(path), text: text(path) })
            .collect();
        let database = database(&files, Metric::Top1Drop).expect("published tables");
        Self {
            layers: layers.expect("a file of layers"),
            published: database.published.expect("they are published ones"),
        }
    }

    fn f1(&self) -> Form {
        let space = &self.published.measurements.space;
        let singles = self.published.measurements.of_size(1);
        let one = singles.map(|row| vec![row.loss, 0.0]).collect();
        Form { one, ..Form::constant(0.0, space) }
    }

    fn f2(&self) -> Form {
        published_objective(&self.published).expect("influences")
    }

    fn question(&self, form: Form, problem: &Value) -> Question {
        let (kinds, name) = match problem["constraint"].as_str() {
            Some("size") => (vec![PointKind::Weight], "size_mib"),
            _ => (vec![PointKind::Activation, PointKind::Weight], "bops_g"),
        };
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
        let objective = Objective::Given { form, words: "the published objective".to_owned() };
        let question = of_measurements(&self.published.measurements, objective, &self.layers, &search);
        question.expect("a proper question")
    }
}

#[test]
fn golden_search_problems_have_their_exact_optimum() {
    let Some(folder) = folder("pairwise_mpq") else { return };
    for case in array(&json(&folder.join("search_cases.json"))["cases"]) {
        let problem = &case["problem"];
        let database = Network::read(&folder, problem["model"].as_str().expect("a name"));
        for (key, form) in [("f1", database.f1()), ("f2", database.f2())] {
            let question = database.question(form, problem);
            let exact = &case["exact"][format!("min_{key}")];
            let what = format!("{} {} {key}", problem["model"], problem["constraint"]);

            // The objective counts what the published one does.
            let space = &question.problem.space;
            let levels: Vec<u8> = widths(&exact["bits"]).iter().map(|width| width - 4).collect();
            let value = question.problem.objective.value(space, &levels);
            let expected = number(&exact[key]);
            assert!((value - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{what}: {value}");

            let answer_by = |method| answer(&question, &SolveOptions::new(method)).expect("a solution");
            let found = answer_by(Method::Exact);
            assert!(found.proof.expect("a proof").proved, "{what}");
            let best = &found.best[0];
            assert!((best.objective - expected).abs() <= 1e-6, "{what}: {}", best.objective);
            assert!(best.costs[0].value <= number(&problem["limit"]) * (1.0 + 1e-9), "{what}");
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
        let database = Network::read(&folder, problem["model"].as_str().expect("a name"));
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
