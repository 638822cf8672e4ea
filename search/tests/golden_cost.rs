//! Costs beside the published figures.

#[path = "common/reference.rs"]
mod reference;

use std::path::Path;

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;
use bitloop_search::cost::{Subject, cost};
use bitloop_search::space::Space;
use bitloop_search::tables::{Counts, Indicators, LimpqLayers, PairwiseLayers};
use reference::{array, files, folder, json, number, text, widths};
use serde_json::Value;

const BOTH: [PointKind; 2] = [PointKind::Activation, PointKind::Weight];

fn bits(range: impl IntoIterator<Item = u8>) -> Vec<Bits> {
    let bits = |width| Bits::new(width).expect("a supported width");
    range.into_iter().map(bits).collect()
}

fn levels(space: &Space, widths: &[u8]) -> Vec<u8> {
    assert_eq!(space.variables.len(), widths.len());
    let level = |(variable, width): (&bitloop_search::space::Variable, &u8)| {
        variable.widths.iter().position(|bits| bits.get() == u32::from(*width)).expect("a searched width")
            as u8
    };
    space.variables.iter().zip(widths).map(level).collect()
}

#[track_caller]
fn assert_close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs(), "{what}: {found} instead of {expected}");
}

fn pairwise_layers(folder: &Path, model: &str) -> PairwiseLayers {
    let path = folder.join(format!("{model}_layers.json"));
    PairwiseLayers::parse(&text(&path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn golden_costs_of_uniform_and_random_configs() {
    let Some(folder) = folder("pairwise_mpq") else { return };
    for path in files(&folder, "_expected.json") {
        let expected = json(&path);
        let model = expected["model"].as_str().expect("a name");
        let layers = pairwise_layers(&folder, model);
        let space = layers.space(&BOTH, &bits(2..=8));
        let subject = Subject::of_pairwise_mpq(&layers, Counts::Published, &space).expect("the tables fit");
        let [bops, size] = ["bops_g", "size_mib"].map(|name| cost(name, &subject).expect("a known cost"));
        let check = |widths: &[u8], figures: &Value| {
            let levels = levels(&space, widths);
            assert_close(bops.value(&space, &levels), number(&figures["bops_g"]), model);
            assert_close(size.value(&space, &levels), number(&figures["size_mib"]), model);
        };
        for (width, figures) in expected["uniform"].as_object().expect("figures by width") {
            let width = width.parse().expect("a width");
            check(&vec![width; space.variables.len()], figures);
        }
        for config in array(&expected["configs"]) {
            check(&widths(&config["bits"]), config);
        }
        eprintln!("{model}: {} configs", array(&expected["configs"]).len());
    }
}

#[test]
fn golden_costs_of_published_and_exact_search_results() {
    let Some(folder) = folder("pairwise_mpq") else { return };
    let mut checked = 0;
    for case in array(&json(&folder.join("search_cases.json"))["cases"]) {
        let problem = &case["problem"];
        let layers = pairwise_layers(&folder, problem["model"].as_str().expect("a name"));
        let (kinds, name) = match problem["constraint"].as_str() {
            Some("size") => (&[PointKind::Weight][..], "size_mib"),
            Some("bops") => (&BOTH[..], "bops_g"),
            other => panic!("the constraint {other:?} is unknown"),
        };
        let space = layers.space(kinds, &bits(4..=8));
        assert_eq!(space.variables.len() as u64, problem["n_variables"].as_u64().expect("a count"));
        let subject = Subject::of_pairwise_mpq(&layers, Counts::Published, &space).expect("the tables fit");
        let cost = cost(name, &subject).expect("a known cost");
        let exact = &case["exact"];
        let fronts = array(&case["nsga2"]).iter().flat_map(|run| array(&run["front"]));
        let solutions =
            fronts.chain([&exact["min_f1"], &exact["min_f2"]]).chain(array(&exact["pareto_points"]));
        for solution in solutions {
            let found = cost.value(&space, &levels(&space, &widths(&solution["bits"])));
            assert_close(found, number(&solution["cost"]), name);
            assert!(found <= number(&problem["limit"]) + 1e-9);
            checked += 1;
        }
    }
    eprintln!("{checked} solutions");
}

#[test]
fn golden_true_geometry_counts_what_the_published_one_does_not() {
    let Some(folder) = folder("pairwise_mpq") else { return };
    for path in files(&folder, "_layers.json") {
        let raw = json(&path);
        let layers = PairwiseLayers::parse(&text(&path)).expect("a table");
        let space = layers.space(&BOTH, &bits(4..=8));
        let macs = |counts| {
            let subject = Subject::of_pairwise_mpq(&layers, counts, &space).expect("the tables fit");
            cost("macs", &subject).expect("a known cost").value(&space, &space.reference())
        };
        let true_macs = array(&raw["layers"]).iter().map(|layer| {
            let of = |key: &str| number(&layer[key]);
            of("c_in") / of("groups") * of("k") * of("k") * of("c_out") * of("hw_true_output")
        });
        assert_close(macs(Counts::True), true_macs.sum(), "true MACs");
        assert!(macs(Counts::True) != macs(Counts::Published));
        eprintln!("{}: {:.1} M MACs", layers.model, macs(Counts::True) / 1e6);
    }
}

#[test]
fn golden_costs_limits_and_objectives_of_indicator_cases() {
    let Some(folder) = folder("limpq") else { return };
    let cases = json(&folder.join("cases.json"));
    let model = cases["model"].as_str().expect("a name");
    let layers = LimpqLayers::parse(&text(&folder.join(format!("{model}_layers.json")))).expect("layers");
    let indicators = Indicators::parse(&text(&folder.join(format!("{model}_indicators.json"))));
    let indicators = indicators.expect("indicators");
    indicators.check(&layers).expect("they are of the same network");
    for case in array(&cases["cases"]) {
        check_indicator_case(&layers, &indicators, case);
    }
}

fn check_indicator_case(layers: &LimpqLayers, indicators: &Indicators, case: &Value) {
    let name = case["name"].as_str().expect("a name");
    let space = indicators.space(&bits(widths(&case["bits"]))).expect("widths that were learned");
    let limit = layers.bops_at(number(&case["avg_w"]), number(&case["avg_a"]), Counts::Published);
    if !case["bitops_limit"].is_null() {
        assert_eq!(limit, number(&case["bitops_limit"]), "{name}");
    }
    assert_eq!(layers.float_size_bits(), number(&case["fp_size_bits"]), "{name}");
    if !case["size_limit_bits"].is_null() {
        let ratio = number(&case["cr_requested"]);
        assert_eq!(layers.float_size_bits() / ratio, number(&case["size_limit_bits"]), "{name}");
    }
    check_erased(indicators, &space, case);
    if !case["feasible"].as_bool().expect("known") {
        return;
    }
    let (weights, activations) = (widths(&case["weight_bits"]), widths(&case["act_bits"]));
    let both: Vec<u8> = weights.iter().zip(&activations).flat_map(|(w, a)| [*w, *a]).collect();
    let levels = levels(&space, &both);
    let subject = Subject::of_limpq(layers, Counts::Published, &space).expect("the tables fit");
    let value = |of: &str| cost(of, &subject).expect("a known cost").value(&space, &levels);
    assert_eq!(value("bops"), number(&case["bitops"]), "{name}");
    assert_eq!(value("size_bits"), number(&case["size_bits"]), "{name}");
    assert_eq!(layers.float_size_bits() / value("size_bits"), number(&case["cr"]), "{name}");
    let reported = (value("bops") + layers.fixed_bops(Counts::Published)) / 1e9;
    assert_eq!(reported, number(&case["reported_bitops_incl_fixed_g"]), "{name}");
    let objective = indicators.objective(&space, number(&case["alpha"]), true).expect("no gap");
    let found = objective.value(&space, &levels);
    assert!((found - number(&case["objective"])).abs() <= 1e-9, "{name}: {found}");
}

fn check_erased(indicators: &Indicators, space: &Space, case: &Value) {
    let erased = indicators.erased(space).expect("no gap");
    for (key, kind) in [("erased_weight", PointKind::Weight), ("erased_act", PointKind::Activation)] {
        let found: Vec<(String, u32, f64)> = erased
            .iter()
            .filter(|entry| entry.kind == kind)
            .map(|entry| (entry.layer.clone(), entry.bits.get(), entry.original))
            .collect();
        let expected: Vec<(String, u32, f64)> = array(&case[key])
            .iter()
            .map(|entry| {
                let layer = entry["layer"].as_str().expect("a name").to_owned();
                (layer, entry["bits"].as_u64().expect("a width") as u32, number(&entry["original"]))
            })
            .collect();
        assert_eq!(found, expected, "{}", case["name"]);
    }
}
