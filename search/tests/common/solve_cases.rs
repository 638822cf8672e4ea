//! Search problems of `../shared/reference` as [`Problem`]s, read straight from their files.

#![allow(dead_code, reason = "each test takes what it needs")]

#[path = "reference.rs"]
pub(crate) mod reference;

use std::path::Path;

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;
use bitloop_search::cost::Cost;
use bitloop_search::form::{Form, Two};
use bitloop_search::solve::{Limit, Problem};
use bitloop_search::space::{Space, Variable};
use serde_json::Value;

use reference::{array, file, folder, json, name, number, tables, word};

/// A problem with what its file says of it.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) problem: Problem,
    /// The optimum; none if no assignment keeps the limits.
    pub(crate) optimum: Option<f64>,
    /// The second-best objective, where the file has it.
    pub(crate) second: Option<f64>,
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

/// Influence of variables without one: too large to be chosen.
const OUTLIER_INFLUENCE: f64 = 100.0;
pub(crate) const WIDTHS: [u8; 5] = [4, 5, 6, 7, 8];

/// All searches of `search_cases.json`.
pub(crate) fn pairwise() -> Vec<Pairwise> {
    let (Some(folder), Some(cases)) = (folder("pairwise_mpq"), file("pairwise_mpq", "search_cases.json"))
    else {
        return Vec::new();
    };
    array(&cases["cases"]).iter().map(|case| pairwise_case(&folder, case)).collect()
}

fn pairwise_case(folder: &Path, case: &Value) -> Pairwise {
    let problem = &case["problem"];
    let model = word(&problem["model"]);
    let sized = problem["constraint"] == "size";
    let layers = json(&folder.join(format!("{model}_layers.json")));
    let table = json(&folder.join(format!("{model}_expected.json")));
    let losses = losses(folder, &model);
    let names: Vec<String> = array(&layers["variables"]).iter().map(word).collect();
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
    f2.by_changed = array(&table["avg_corr_by_count"])[..=searched.len()].iter().map(number).collect();
    let row = if sized { size(&layers, &space) } else { bops(&layers, &space) };
    let at_most = number(&problem["limit"]);
    let name = format!("{model} {} {at_most}", word(&problem["constraint"]));
    let limit = limit(if sized { "size_mib" } else { "bops_g" }, vec![row], at_most);
    Pairwise { name, model, space, f1, f2, limit, case: case.clone() }
}

/// Names, losses and influences of a model's table of singles.
fn losses(folder: &Path, model: &str) -> Vec<(String, f64, f64)> {
    let single = tables(folder, model).into_iter().find(|path| name(path).ends_with("_SingleLayer.csv"));
    let mut reader = csv::Reader::from_path(single.expect("each model has its table")).expect("it opens");
    let header = reader.headers().expect("a header").clone();
    let column = |name: &str| header.iter().position(|title| title == name).expect("a column");
    let [layer, loss, influence] = ["Layer", "DeltaAcc", "Influence"].map(column);
    let row = |record: csv::StringRecord| {
        let parse = |text: &str| text.parse::<f64>().expect("a number");
        // An empty influence marks an outlier, which the search is to avoid.
        let influence = Some(&record[influence]).filter(|text| !text.is_empty());
        (record[layer].to_owned(), parse(&record[loss]), influence.map_or(OUTLIER_INFLUENCE, parse))
    };
    reader.records().map(|record| row(record.expect("rows are text"))).collect()
}

const MIB: f64 = 1024.0 * 1024.0;

fn size(layers: &Value, space: &Space) -> Form {
    let mut form = Form::constant(number(&layers["extra_fixed_params"]) / MIB, space);
    for layer in array(&layers["layers"]) {
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
    for layer in array(&layers["layers"]) {
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
    let (Some(folder), Some(cases)) = (folder("limpq"), file("limpq", "cases.json")) else {
        return Vec::new();
    };
    let of = |kind: &str| json(&folder.join(format!("{}_{kind}.json", word(&cases["model"]))));
    let (indicators, layers) = (of("indicators"), of("layers"));
    array(&cases["cases"]).iter().map(|case| limpq_case(case, &indicators, &layers)).collect()
}

fn limpq_case(case: &Value, indicators: &Value, layers: &Value) -> Case {
    let mut widths: Vec<u8> = array(&case["bits"]).iter().map(|bits| number(bits) as u8).collect();
    widths.sort_unstable();
    let find =
        |name: &Value| array(&layers["layers"]).iter().find(|layer| &layer["name"] == name).expect("a layer");
    let searched = array(&indicators["layers"]);
    let both = |layer: &Value| {
        let name = word(&layer["name"]);
        let of = |part: &str, kind| variable(&format!("{name}.{part}"), kind, &widths);
        [of("input", PointKind::Activation), of("weight", PointKind::Weight)]
    };
    let space = Space { variables: searched.iter().flat_map(both).collect() };
    let mut objective = Form::constant(0.0, &space);
    let mut bitops = Form::constant(0.0, &space);
    let fixed = array(&layers["layers"]).iter().filter(|layer| layer["searchable"] == false);
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
        name: word(&case["name"]),
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
    let Some(programs) = file("aimet", "ilp.json") else { return Vec::new() };
    array(&programs["cases"]).iter().map(program).collect()
}

fn program(case: &Value) -> Case {
    let mut widths: Vec<u8> = array(&case["bits"]).iter().map(|bits| number(bits) as u8).collect();
    widths.sort_unstable();
    let sensitivity = array(&case["sensitivity"]);
    let layer = |slot: usize| {
        let candidates = array(&sensitivity[slot]).len();
        variable(&format!("layer{slot}"), PointKind::Weight, &widths[widths.len() - candidates..])
    };
    let space = Space { variables: (0..sensitivity.len()).map(layer).collect() };
    let numbers = |values: &Value| array(values).iter().map(number).collect::<Vec<_>>();
    let mut objective = Form::constant(0.0, &space);
    objective.one = sensitivity.iter().map(numbers).collect();
    let limits = array(&case["constraints"]).iter().flat_map(|constraint| {
        array(&constraint["limit"]).iter().enumerate().map(|(element, most)| {
            let mut row = Form::constant(0.0, &space);
            let of = |layer: &Value| array(layer).iter().map(|costs| number(&costs[element])).collect();
            row.one = array(&constraint["rows"]).iter().map(of).collect();
            limit(&word(&constraint["target"]), vec![row], number(most))
        })
    });
    Case {
        name: word(&case["id"]),
        problem: Problem { limits: limits.collect(), objective, space: space.clone() },
        optimum: Some(number(&case["objective"])),
        second: None,
    }
}
