//! Search problems of `../shared/reference` as [`Problem`]s, read straight from their files.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::path::{Path, PathBuf};

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;
use bitloop_search::cost::Cost;
use bitloop_search::form::{Form, Two};
use bitloop_search::solve::{Limit, Problem};
use bitloop_search::space::{Space, Variable};
use serde_json::Value;

/// A problem with what its file says of it.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) problem: Problem,
    /// The optimum; none if no assignment keeps the limits.
    pub(crate) optimum: Option<f64>,
    /// The second-best objective, where the file has it.
    pub(crate) second: Option<f64>,
}

/// A folder of reference data, if it is there.
pub(crate) fn reference(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference").join(folder);
    if !path.is_dir() {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

pub(crate) fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list").as_slice()
}

pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

pub(crate) fn variable(name: &str, kind: PointKind, widths: &[u8]) -> Variable {
    let widths = widths.iter().map(|bits| Bits::new(*bits).expect("a width")).collect();
    Variable { name: name.to_owned(), kind, widths }
}

pub(crate) fn limit(name: &str, rows: Vec<Form>, at_most: f64) -> Limit {
    Limit { cost: Cost { name: name.to_owned(), rows }, at_most }
}

/// A search of the pairwise tables: both objectives over one limited cost.
pub(crate) struct Pairwise {
    pub(crate) name: String,
    pub(crate) model: String,
    pub(crate) space: Space,
    pub(crate) f1: Form,
    pub(crate) f2: Form,
    pub(crate) limit: Limit,
    /// The entry of the file.
    pub(crate) case: Value,
}

impl Pairwise {
    pub(crate) fn problem(&self, objective: &Form) -> Problem {
        Problem { space: self.space.clone(), objective: objective.clone(), limits: vec![self.limit.clone()] }
    }
}

const WIDTHS: [u8; 5] = [4, 5, 6, 7, 8];

/// All searches of `search_cases.json`.
pub(crate) fn pairwise() -> Vec<Pairwise> {
    let Some(folder) = reference("pairwise_mpq") else { return Vec::new() };
    let cases = json(&folder.join("search_cases.json"));
    list(&cases["cases"]).iter().map(|case| pairwise_case(&folder, case)).collect()
}

fn pairwise_case(folder: &Path, case: &Value) -> Pairwise {
    let problem = &case["problem"];
    let model = text(&problem["model"]);
    let sized = problem["constraint"] == "size";
    let layers = json(&folder.join(format!("{model}_layers.json")));
    let table = json(&folder.join(format!("{model}_expected.json")));
    let single = if model.starts_with("mobilenet") { "MobilenetV2" } else { "Resnet50" };
    let losses = losses(&folder.join(format!("{single}_SingleLayer.csv")));
    let names: Vec<String> = list(&layers["variables"]).iter().map(text).collect();
    let searched: Vec<usize> = (0..names.len()).filter(|at| !sized || at % 2 == 1).collect();
    let kind = |at: usize| if at % 2 == 1 { PointKind::Weight } else { PointKind::Activation };
    let variables = searched.iter().map(|at| variable(&names[*at], kind(*at), &WIDTHS)).collect();
    let space = Space { variables };
    let by_loss = |each: &dyn Fn(f64, f64) -> f64| {
        let mut form = Form::constant(0.0, &space);
        for (slot, at) in searched.iter().enumerate() {
            let (_, loss, influence) = losses.iter().find(|row| row.0 == names[*at]).expect("a single loss");
            let dropped = WIDTHS.map(|bits| f64::from(8 - bits) / 4.0);
            form.one[slot] = dropped.iter().map(|share| each(*loss, *influence) * share).collect();
        }
        form
    };
    let f1 = by_loss(&|loss, _| loss);
    let mut f2 = by_loss(&|loss, influence| loss + influence);
    f2.by_changed = list(&table["avg_corr_by_count"])[..=searched.len()].iter().map(number).collect();
    let row = if sized { size(&layers, &space) } else { bops(&layers, &space) };
    let at_most = number(&problem["limit"]);
    let name = format!("{model} {} {at_most}", text(&problem["constraint"]));
    let limit = limit(if sized { "size_mib" } else { "bops_g" }, vec![row], at_most);
    Pairwise { name, model, space, f1, f2, limit, case: case.clone() }
}

/// Names, losses and influences of a single-layer table.
fn losses(path: &Path) -> Vec<(String, f64, f64)> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut lines = text.trim_start_matches('\u{feff}').lines();
    let header: Vec<&str> = lines.next().expect("a header").split(',').collect();
    let column = |name: &str| header.iter().position(|title| title.trim() == name).expect("a column");
    let (layer, loss, influence) = (column("Layer"), column("DeltaAcc"), column("Influence"));
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').map(str::trim).collect();
        // An empty influence marks an outlier, which the search is to avoid.
        let influence =
            if cells[influence].is_empty() { 100.0 } else { cells[influence].parse().expect("a number") };
        (cells[layer].to_owned(), cells[loss].parse().expect("a number"), influence)
    };
    lines.filter(|line| !line.trim().is_empty()).map(row).collect()
}

const MIB: f64 = 1024.0 * 1024.0;

fn size(layers: &Value, space: &Space) -> Form {
    let mut form = Form::constant(number(&layers["extra_fixed_params"]) / MIB, space);
    for layer in list(&layers["layers"]) {
        let params = number(&layer["params"]);
        match layer["weight_variable"].as_str().and_then(|name| space.find(name)) {
            Some(weight) => {
                form.one[weight] = WIDTHS.map(|bits| params * f64::from(bits) / 8.0 / MIB).to_vec()
            }
            None => form.constant += params / MIB,
        }
    }
    form
}

fn bops(layers: &Value, space: &Space) -> Form {
    let mut form = Form::constant(0.0, space);
    for layer in list(&layers["layers"]) {
        let mac = number(&layer["mac"]) / 1e9;
        let find = |key: &str| layer[key].as_str().and_then(|name| space.find(name));
        match (find("act_variable"), find("weight_variable")) {
            (Some(a), Some(b)) => {
                let product = |a: u8| WIDTHS.map(|b| mac * f64::from(a) * f64::from(b));
                form.two.push(Two { a, b, values: WIDTHS.iter().flat_map(|a| product(*a)).collect() });
            }
            _ => form.constant += mac * 64.0,
        }
    }
    form
}

/// Both objectives of every pairwise search.
pub(crate) fn pairwise_cases() -> Vec<Case> {
    let objectives = |search: Pairwise| {
        ["f1", "f2"].map(|objective| Case {
            name: format!("{} min {objective}", search.name),
            problem: search.problem(if objective == "f1" { &search.f1 } else { &search.f2 }),
            optimum: Some(number(&search.case["exact"][format!("min_{objective}")][objective])),
            second: None,
        })
    };
    pairwise().into_iter().flat_map(objectives).collect()
}

/// The searches over learned importance indicators.
pub(crate) fn limpq() -> Vec<Case> {
    let Some(folder) = reference("limpq") else { return Vec::new() };
    let indicators = json(&folder.join("resnet50_indicators.json"));
    let layers = json(&folder.join("resnet50_layers.json"));
    let cases = json(&folder.join("cases.json"));
    list(&cases["cases"]).iter().map(|case| limpq_case(case, &indicators, &layers)).collect()
}

fn limpq_case(case: &Value, indicators: &Value, layers: &Value) -> Case {
    let mut widths: Vec<u8> = list(&case["bits"]).iter().map(|bits| number(bits) as u8).collect();
    widths.sort_unstable();
    let find =
        |name: &Value| list(&layers["layers"]).iter().find(|layer| &layer["name"] == name).expect("a layer");
    let searched = list(&indicators["layers"]);
    let both = |layer: &Value| {
        let name = text(&layer["name"]);
        let of = |part: &str, kind| variable(&format!("{name}.{part}"), kind, &widths);
        [of("input", PointKind::Activation), of("weight", PointKind::Weight)]
    };
    let space = Space { variables: searched.iter().flat_map(both).collect() };
    let mut objective = Form::constant(0.0, &space);
    let mut bitops = Form::constant(0.0, &space);
    let fixed = list(&layers["layers"]).iter().filter(|layer| layer["searchable"] == false);
    let mut bits = Form::constant(fixed.map(|layer| 8.0 * number(&layer["params"])).sum(), &space);
    for (slot, layer) in searched.iter().enumerate() {
        let geometry = find(&layer["name"]);
        let (macs, params) = (number(&geometry["macs_upstream"]), number(&geometry["params"]));
        objective.one[2 * slot] = erased(&layer["act"], &widths);
        let alpha = number(&case["alpha"]);
        objective.one[2 * slot + 1] =
            erased(&layer["weight"], &widths).iter().map(|step| alpha * step).collect();
        bits.one[2 * slot + 1] = widths.iter().map(|width| params * f64::from(*width)).collect();
        let product =
            |a: u8| widths.iter().map(move |w| macs * f64::from(a) * f64::from(*w)).collect::<Vec<_>>();
        let values = widths.iter().flat_map(|a| product(*a)).collect();
        bitops.two.push(Two { a: 2 * slot, b: 2 * slot + 1, values });
    }
    let rows = [("bitops", bitops, &case["bitops_limit"]), ("size_bits", bits, &case["size_limit_bits"])];
    let limits =
        rows.into_iter().filter_map(|(name, row, most)| Some(limit(name, vec![row], most.as_f64()?)));
    Case {
        name: text(&case["name"]),
        problem: Problem { limits: limits.collect(), space, objective },
        optimum: case["feasible"].as_bool().expect("a flag").then(|| number(&case["objective"])),
        second: case["second_best_objective"].as_f64(),
    }
}

/// Indicators by ascending width; one that is larger than that of the next smaller width is priced out.
fn erased(steps: &Value, widths: &[u8]) -> Vec<f64> {
    let step: Vec<f64> = widths.iter().map(|width| number(&steps[width.to_string()])).collect();
    let mut kept = step.clone();
    for at in 1..step.len() {
        if step[at - 1] < step[at] {
            kept[at - 1] = 1e8;
        }
    }
    kept
}

/// The integer programs of the third tool; a candidate is a level, whatever its width.
pub(crate) fn programs() -> Vec<Case> {
    let Some(folder) = reference("aimet") else { return Vec::new() };
    let file = folder.join("ilp.json");
    if !file.is_file() {
        eprintln!("skipped: {} is not there", file.display());
        return Vec::new();
    }
    list(&json(&file)["cases"]).iter().map(program).collect()
}

fn program(case: &Value) -> Case {
    let mut widths: Vec<u8> = list(&case["bits"]).iter().map(|bits| number(bits) as u8).collect();
    widths.sort_unstable();
    let sensitivity = list(&case["sensitivity"]);
    let layer = |slot: usize| {
        let candidates = list(&sensitivity[slot]).len();
        variable(&format!("layer{slot}"), PointKind::Weight, &widths[widths.len() - candidates..])
    };
    let space = Space { variables: (0..sensitivity.len()).map(layer).collect() };
    let numbers = |values: &Value| list(values).iter().map(number).collect::<Vec<_>>();
    let mut objective = Form::constant(0.0, &space);
    objective.one = sensitivity.iter().map(numbers).collect();
    let limits = list(&case["constraints"]).iter().flat_map(|constraint| {
        list(&constraint["limit"]).iter().enumerate().map(|(element, most)| {
            let mut row = Form::constant(0.0, &space);
            let of = |layer: &Value| list(layer).iter().map(|costs| number(&costs[element])).collect();
            row.one = list(&constraint["rows"]).iter().map(of).collect();
            limit(&text(&constraint["target"]), vec![row], number(most))
        })
    });
    Case {
        name: text(&case["id"]),
        problem: Problem { limits: limits.collect(), objective, space: space.clone() },
        optimum: Some(number(&case["objective"])),
        second: None,
    }
}
