//! The published policies of importance indicators, through what `bitloop solve --indicators` calls.

#[path = "common/reference.rs"]
mod reference;

use bitloop_core::bits::Bits;
use bitloop_search::offline::{
    Answer, BitConfig, IndicatorSearch, Method, OfflineError, Question, SolveOptions, Wanted, answer,
    of_indicators,
};
use bitloop_search::tables::{Counts, Indicators, LimpqLayers};
use reference::{array, folder, json, number, text, widths};
use serde_json::Value;

struct Published {
    layers: LimpqLayers,
    indicators: Indicators,
    cases: Value,
}

fn published() -> Option<Published> {
    let folder = folder("limpq")?;
    let cases = json(&folder.join("cases.json"));
    let of =
        |kind: &str| text(&folder.join(format!("{}_{kind}.json", cases["model"].as_str().expect("a name"))));
    Some(Published {
        layers: LimpqLayers::parse(&of("layers")).expect("layers"),
        indicators: Indicators::parse(&of("indicators")).expect("indicators"),
        cases,
    })
}

fn question(published: &Published, case: &Value, counts: Counts) -> Question {
    let bits = widths(&case["bits"]).into_iter().map(|bits| Bits::new(bits).expect("a width"));
    let ratio = number(&case["cr_requested"]);
    let search = IndicatorSearch {
        bits: bits.collect(),
        mean_bits: case["use_bitops"]
            .as_bool()
            .expect("known")
            .then(|| [number(&case["avg_w"]), number(&case["avg_a"])]),
        compression: (ratio > 0.0).then_some(ratio),
        alpha: number(&case["alpha"]),
        counts,
        wanted: Wanted { told: ["bops", "size_bits"].map(str::to_owned).to_vec(), ..Wanted::default() },
    };
    of_indicators(&published.indicators, &published.layers, &search).expect("a proper question")
}

fn solved(question: &Question, best: usize) -> Result<Answer, OfflineError> {
    answer(question, &SolveOptions { best, ..SolveOptions::new(Method::Exact) })
}

fn cost(answer: &Answer, name: &str) -> f64 {
    let found = answer.best[0].costs.iter().find(|cost| cost.cost == name);
    found.unwrap_or_else(|| panic!("{name} is not told")).value
}

#[test]
fn golden_policies_of_importance_indicators() {
    let Some(published) = published() else { return };
    for case in array(&published.cases["cases"]) {
        let name = case["name"].as_str().expect("a name");
        let question = question(&published, case, Counts::Published);
        if !case["feasible"].as_bool().expect("known") {
            let error = solved(&question, 1).expect_err("nothing keeps the limits");
            assert!(error.is_unanswerable(), "{name}: {error}");
            eprintln!("{name}: {error}");
            continue;
        }
        let answer = solved(&question, 2).expect("a solution");
        let proof = answer.proof.expect("the exact solver proves");
        assert!(proof.proved, "{name}: {proof:?}");
        check_best(&answer, case);
        let second = answer.best[1].objective;
        assert!(
            (second - number(&case["second_best_objective"])).abs() <= 1e-9,
            "{name}: second best {second}"
        );
        eprintln!("{name}: {} in {} nodes", answer.best[0].objective, proof.nodes);
    }
}

fn check_best(answer: &Answer, case: &Value) {
    let name = case["name"].as_str().expect("a name");
    let best = &answer.best[0];
    assert!((best.objective - number(&case["objective"])).abs() <= 1e-9, "{name}: {}", best.objective);
    if !case["unique"].as_bool().expect("known") {
        return;
    }
    let policy = widths(&case["weight_bits"]).into_iter().zip(widths(&case["act_bits"]));
    let policy: Vec<u32> =
        policy.flat_map(|(weight, activation)| [weight, activation].map(u32::from)).collect();
    let BitConfig(bits) = &best.bits;
    assert_eq!(bits.iter().map(|(_, bits)| *bits).collect::<Vec<_>>(), policy, "{name}");
    assert_eq!(cost(answer, "bops"), number(&case["bitops"]), "{name}");
    assert_eq!(cost(answer, "size_bits"), number(&case["size_bits"]), "{name}");
}

#[test]
fn golden_true_operation_counts_give_another_policy() {
    let Some(published) = published() else { return };
    let name = published.cases["published_policy_case"].as_str().expect("a name");
    let case = array(&published.cases["cases"]).iter().find(|case| case["name"] == name).expect("the case");

    let by_published = solved(&question(&published, case, Counts::Published), 1).expect("a solution");
    let by_true = solved(&question(&published, case, Counts::True), 1).expect("a solution");

    assert!(by_true.proof.expect("a proof").proved);
    assert_ne!(by_true.best[0].bits, by_published.best[0].bits);
    let differing = |kind: &str| {
        let pairs = by_true.best[0].bits.0.iter().zip(&by_published.best[0].bits.0);
        pairs.filter(|(a, b)| a.0.ends_with(kind) && a.1 != b.1).count()
    };
    eprintln!(
        "{}: weights {}, inputs {}",
        by_true.best[0].objective,
        differing(".weight"),
        differing(".act")
    );
    // `../shared/design/methods/pairwise_and_limpq.md`, section 2.3.
    assert!((by_true.best[0].objective - 4.630866).abs() <= 5e-7, "{}", by_true.best[0].objective);
    assert_eq!((differing(".weight"), differing(".act")), (3, 2));
}
