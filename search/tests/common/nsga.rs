//! Published search problems of mixed precision as forms over a space.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;
use bitloop_search::cost::Cost;
use bitloop_search::form::{Form, Two};
use bitloop_search::solve::{Limit, Problem};
use bitloop_search::space::{Space, Variable};
use serde_json::Value;

const WIDTHS: [u8; 5] = [4, 5, 6, 7, 8];
/// Influence of variables without one: too large to be chosen.
const OUTLIER_INFLUENCE: f64 = 100.0;
const BITS_PER_MIB: f64 = 8.0 * 1024.0 * 1024.0;

/// One problem with the results that others have published or proved.
pub(crate) struct SearchCase {
    pub(crate) name: String,
    pub(crate) space: Space,
    /// The two objectives.
    pub(crate) objectives: [Form; 2],
    pub(crate) limit: Limit,
    pub(crate) reference_point: [f64; 2],
    /// Best of the first and of the second objective, by seed.
    pub(crate) published_best: Vec<[f64; 2]>,
    /// Every listed assignment: `(levels, objectives, cost)`.
    pub(crate) listed: Vec<Listed>,
    /// Least value of each objective.
    pub(crate) least: [f64; 2],
    /// Exact solutions of the first and the second objective.
    pub(crate) exact: [Vec<u8>; 2],
    pub(crate) hypervolume: f64,
}

pub(crate) struct Listed {
    pub(crate) levels: Vec<u8>,
    pub(crate) objectives: [f64; 2],
    pub(crate) cost: f64,
}

impl SearchCase {
    /// The problem of `(1 - weight) * first + weight * second` objective.
    pub(crate) fn weighted(&self, weight: f64) -> Problem {
        let [first, second] = &self.objectives;
        let mix = |a: f64, b: f64| (1.0 - weight) * a + weight * b;
        let rows = first.one.iter().zip(&second.one);
        let one = rows.map(|(a, b)| a.iter().zip(b).map(|(a, b)| mix(*a, *b)).collect()).collect();
        let by_changed = second.by_changed.iter().map(|value| weight * value).collect();
        let objective = Form { constant: 0.0, one, two: Vec::new(), by_changed };
        Problem { space: self.space.clone(), objective, limits: vec![self.limit.clone()] }
    }
}

/// Where the published measurements are; none where this checkout has no reference data.
pub(crate) fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference/pairwise_mpq");
    if folder.join("search_cases.json").is_file() {
        return Some(folder);
    }
    eprintln!("skipped: {} has no search_cases.json", folder.display());
    None
}

/// All cases; empty, with a word about it, where there is no reference data.
pub(crate) fn search_cases() -> Vec<SearchCase> {
    let Some(folder) = folder() else { return Vec::new() };
    let file = json(&folder.join("search_cases.json"));
    array(&file["cases"]).iter().map(|case| search_case(&folder, case)).collect()
}

fn search_case(folder: &Path, case: &Value) -> SearchCase {
    let problem = &case["problem"];
    let model = text(&problem["model"]);
    let constraint = text(&problem["constraint"]);
    let layers = json(&folder.join(format!("{model}_layers.json")));
    let expected = json(&folder.join(format!("{model}_expected.json")));
    let singles = singles(folder, &model);
    let variables: Vec<String> = array(&layers["variables"]).iter().map(text).collect();
    // Activations and weights take turns; size depends on weights alone.
    let searched: Vec<&String> = variables
        .iter()
        .skip(usize::from(constraint == "size"))
        .step_by(1 + usize::from(constraint == "size"))
        .collect();
    let space = Space { variables: searched.iter().map(|name| variable(name)).collect() };
    let losses: Vec<[f64; 2]> = searched.iter().map(|name| singles[*name]).collect();
    let by_changed = numbers(&expected["avg_corr_by_count"])[..=searched.len()].to_vec();
    let point = |value: &Value| Listed {
        levels: levels(&value["bits"]),
        objectives: [number(&value["f1"]), number(&value["f2"])],
        cost: number(&value["cost"]),
    };
    let (exact, nsga2) = (&case["exact"], array(&case["nsga2"]));
    let [first, second] = [point(&exact["min_f1"]), point(&exact["min_f2"])];
    let fronts = nsga2.iter().flat_map(|seed| array(&seed["front"]));
    SearchCase {
        name: format!("{model} {constraint} {}", problem["limit"]),
        objectives: objectives(&losses, by_changed),
        limit: Limit { cost: cost(&space, &constraint, &layers), at_most: number(&problem["limit"]) },
        reference_point: pair(&problem["hv_reference_point"]),
        published_best: nsga2
            .iter()
            .map(|seed| [number(&seed["best_f1"]), number(&seed["best_f2"])])
            .collect(),
        least: [first.objectives[0], second.objectives[1]],
        exact: [first.levels, second.levels],
        hypervolume: number(&exact["hypervolume_of_points"]),
        listed: fronts.chain(array(&exact["pareto_points"])).map(point).collect(),
        space,
    }
}

/// Single loss of each variable at 4 bits, and its influence.
pub(crate) fn singles(folder: &Path, model: &str) -> BTreeMap<String, [f64; 2]> {
    let name = if model == "mobilenetv2" { "MobilenetV2" } else { "Resnet50" };
    let path = folder.join(format!("{name}_SingleLayer.csv"));
    let mut reader = csv::Reader::from_path(&path).expect("the table of singles opens");
    let headers = reader.headers().expect("it has headers").clone();
    let column = |name: &str| headers.iter().position(|header| header == name).expect("the column is there");
    let [layer, loss, influence] = ["Layer", "DeltaAcc", "Influence"].map(column);
    let row = |record: csv::StringRecord| {
        let parse = |text: &str| text.parse::<f64>().expect("losses and influences are numbers");
        let influence = Some(&record[influence]).filter(|text| !text.is_empty());
        (record[layer].to_owned(), [parse(&record[loss]), influence.map_or(OUTLIER_INFLUENCE, parse)])
    };
    reader.records().map(|record| row(record.expect("rows are text"))).collect()
}

fn objectives(losses: &[[f64; 2]], by_changed: Vec<f64>) -> [Form; 2] {
    // Losses are taken as linear in the bits between those of 8 and of 4 bits.
    let ramp = |at_four: f64| WIDTHS.iter().map(|bits| at_four * f64::from(8 - bits) / 4.0).collect();
    let form = |of: fn(&[f64; 2]) -> f64, by_changed| Form {
        constant: 0.0,
        one: losses.iter().map(|loss| ramp(of(loss))).collect(),
        two: Vec::new(),
        by_changed,
    };
    [form(|[loss, _]| *loss, Vec::new()), form(|[loss, influence]| loss + influence, by_changed)]
}

fn cost(space: &Space, constraint: &str, layers: &Value) -> Cost {
    let mut form = Form::constant(0.0, space);
    if constraint == "size" {
        form.constant += layers["extra_fixed_params"].as_f64().unwrap_or(0.0) * 8.0 / BITS_PER_MIB;
    }
    for layer in array(&layers["layers"]) {
        let find = |name: &Value| name.as_str().and_then(|name| space.find(name));
        let (activation, weight) = (find(&layer["act_variable"]), find(&layer["weight_variable"]));
        let (mac, params) = (number(&layer["mac"]) / 1e9, number(&layer["params"]) / BITS_PER_MIB);
        match (constraint, activation, weight) {
            ("size", _, Some(weight)) => {
                form.one[weight] = WIDTHS.map(|bits| params * f64::from(bits)).to_vec()
            }
            ("size", _, None) => form.constant += params * 8.0,
            (_, Some(a), Some(b)) => {
                let products = WIDTHS.iter().flat_map(|a| WIDTHS.map(|b| mac * f64::from(*a) * f64::from(b)));
                form.two.push(Two { a, b, values: products.collect() });
            }
            (_, None, None) => form.constant += mac * 64.0,
            (_, a, b) => panic!("a layer of a BOPs problem has one variable alone: {a:?}, {b:?}"),
        }
    }
    Cost { name: constraint.to_owned(), rows: vec![form] }
}

fn variable(name: &str) -> Variable {
    let widths = WIDTHS.map(|bits| Bits::new(bits).expect("4 to 8 are widths")).to_vec();
    let kind = if name.contains("act") { PointKind::Activation } else { PointKind::Weight };
    Variable { name: name.to_owned(), kind, widths }
}

fn levels(bits: &Value) -> Vec<u8> {
    array(bits).iter().map(|bits| number(bits) as u8 - WIDTHS[0]).collect()
}

pub(crate) fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).expect("reference files are text");
    serde_json::from_str(&text).expect("reference files are JSON")
}

pub(crate) fn array(value: &Value) -> &Vec<Value> {
    value.as_array().expect("an array")
}

pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    array(value).iter().map(number).collect()
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn pair(value: &Value) -> [f64; 2] {
    numbers(value).try_into().expect("two numbers")
}
