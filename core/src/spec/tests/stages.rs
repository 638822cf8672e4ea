use super::{EXPERIMENT, experiment_mistakes, with};
use crate::plan::{
    Amount, Limit, Lowered, Metric, Pairs, ProbePlan, SearchMethod, SearchPlan, SubsetDesign, Subsets,
};
use crate::spec::{ExperimentSpec, SensitivitySpec, Single, StageSpec};
use crate::trial::{ProbeSetting, ProbeTarget};

const SWEEP: &str = "- sensitivity: { single: all }";

fn stages(text: &str) -> Vec<StageSpec> {
    ExperimentSpec::parse(&with(EXPERIMENT, SWEEP, text)).unwrap().stages
}

fn mistakes(text: &str) -> Vec<String> {
    experiment_mistakes(&with(EXPERIMENT, SWEEP, text))
}

#[test]
fn every_kind_of_stage_is_read() {
    let read = stages(
        "- sensitivity: { single: all, pairwise: { below_quantile: 0.75 }, multi: { configs: 500, points: [3, 30], \
         design: uncertain, seed: 7 } }\n  - search: { method: exact, predictor: ridge, objective: loss_increase, \
         constraints: { size_kib: 50%, bops_m: 12.5 }, trials: 32, round: 4 }\n  - verify: { top: 3, on: report, \
         uniform: false }",
    );

    let multi = Subsets {
        configs: 500,
        points: [3, 30],
        quantile_ppm: None,
        design: SubsetDesign::Uncertain,
        seed: 7,
    };
    let limit = |cost: &str, at_most| Limit::computed(cost, at_most);
    let search = SearchPlan {
        method: SearchMethod::Exact,
        predictor: "ridge".to_owned(),
        objective: Metric::LossIncrease,
        limits: vec![limit("size_kib", Amount::OfBaselinePpm(500_000)), limit("bops_m", Amount::Of(12.5))],
        lowers: None,
        cost: None,
        trials: Some(32),
        round: 4,
    };
    let sweep = SensitivitySpec {
        single: Single::All,
        pairwise: Some(Pairs::Below { quantile_ppm: Some(750_000) }),
        multi: Some(multi),
    };
    let verify = StageSpec::Verify { top: 3, uniform: false, difference_max_ppm: 5_000 };
    assert_eq!(read, [StageSpec::Sensitivity(sweep), StageSpec::Search(search), verify]);
}

#[test]
fn searches_without_a_limit_on_costs_have_one_on_the_drop() {
    let read = stages("- search: { method: demotion, max_drop: 0.5 }\n  - search: { method: amp }");

    let methods: Vec<SearchMethod> = read
        .iter()
        .map(|stage| match stage {
            StageSpec::Search(search) => search.method,
            other => panic!("{other:?}"),
        })
        .collect();
    let expected = [SearchMethod::Demotion { drop_max_ppm: 5000 }, SearchMethod::Amp { drop_max_ppm: None }];
    assert_eq!(methods, expected);
}

#[test]
fn mistakes_in_stages_say_what_to_do() {
    for (text, line) in [
        (
            "- sensitivity: { single: all, pairwise: most }",
            "stages[0].sensitivity.pairwise: expected `all`, found text `most`",
        ),
        (
            "- sensitivity: { single: all, pairwise: { below_quantile: 1.5 } }",
            "stages[0].sensitivity.pairwise.below_quantile: 1.5 is out of range; write a number from 0.000001 to 1",
        ),
        (
            "- sensitivity: { single: all, multi: { configs: 5, points: [9, 3] } }",
            "stages[0].sensitivity.multi.points: the smallest number, 9, is above the largest, 3; write a list such as `[3, 30]`",
        ),
        (
            "- sensitivity: { single: all }\n  - search: { method: exact }",
            "stages[1].search.constraints: is missing; add `constraints: { size_kib: 50% }`",
        ),
        (
            "- sensitivity: { single: all }\n  - search: { constraints: { size_kib: half } }",
            "stages[1].search.constraints.size_kib: expected a number, or a percentage of the baseline's cost such as `50%`, found text `half`; write a number in the cost's unit, or a percentage from 0% to 100%",
        ),
        (
            "- sensitivity: { single: all }\n  - search: { max_drop: 1, constraints: { size_kib: 1 } }",
            "stages[1].search.max_drop: belongs to the methods `demotion` and `amp`; remove it; `constraints` limit what a config may cost",
        ),
        (
            "- search: { method: demotion, max_drop: 1, constraints: { size_kib: 50% } }",
            "stages[0].search.constraints: `demotion` does not heed it; remove it; `max_drop` is the limit, and `cost: \
             size_kib` names the cost to lower",
        ),
        (
            "- search: { method: amp, objective: loss_increase }",
            "stages[0].search.objective: `amp` does not heed it; remove it; the drop of top-1 is measured",
        ),
        (
            "- search: { constraints: { size_kib: 50% }, cost: size_kib }",
            "stages[0].search.cost: `exact` lowers the loss, within limits on costs; remove it; `constraints` name the costs",
        ),
        (
            "- search: { constraints: { size_kib: 50% }, round: 100000 }",
            "stages[0].search.round: 100000 is out of range; write a whole number from 1 to 1024",
        ),
        (
            "- search: { method: demotion }",
            "stages[0].search.max_drop: is missing; add `max_drop: 1.0`, in percentage points of top-1",
        ),
    ] {
        assert_eq!(mistakes(text), [line], "{text}");
    }
}

#[test]
fn measurements_of_devices_and_limits_on_them_are_read() {
    let read = stages(
        "- sensitivity: { single: all }\n  - probe: { probe: onnxruntime, on: { board: pi5 }, batch: 2, threads: 4, configs: 8, \
         repetitions: 5, interval: 1.5%, at_most: 30s, seed: 9 }\n  - probe: { probe: integer }\n  - search: { constraints: { \
         size_kib: 50%, latency_ms: [ { max: 3.5, probe: onnxruntime, on: { board: pi5 } }, { max: 90%, probe: integer } ] } }\n  \
         - search: { objective: { energy_mj: { probe: integer } }, constraints: { loss_increase: 0.02 } }",
    );

    let setting = ProbeSetting { batch: 2, threads: 4, half_width_ppm: 15_000, at_most_ms: 30_000 };
    let pi = ProbeTarget {
        probe: "onnxruntime".to_owned(),
        on: [("board".to_owned(), "pi5".to_owned())].into(),
        class: None,
    };
    let here = ProbeTarget { probe: "integer".to_owned(), on: [].into(), class: None };
    let plan = ProbePlan { target: pi.clone(), setting, configs: 8, repetitions: 5, fidelity: 128, seed: 9 };
    assert_eq!(read[1], StageSpec::Probe(Box::new(plan)));
    let usual = ProbePlan {
        target: here.clone(),
        setting: ProbeSetting::default(),
        configs: 16,
        repetitions: 3,
        fidelity: 128,
        seed: 0,
    };
    assert_eq!(read[2], StageSpec::Probe(Box::new(usual)));
    let (StageSpec::Search(limited), StageSpec::Search(lowering)) = (&read[3], &read[4]) else {
        panic!("{read:?}")
    };
    let latency = |at_most, target| Limit { cost: "latency_ms".to_owned(), at_most, target: Some(target) };
    let expected = [
        Limit::computed("size_kib", Amount::OfBaselinePpm(500_000)),
        latency(Amount::Of(3.5), pi),
        latency(Amount::OfBaselinePpm(900_000), here.clone()),
    ];
    assert_eq!(limited.limits, expected);
    assert_eq!(lowering.objective, Metric::LossIncrease);
    let lowers = Lowered { cost: "energy_mj".to_owned(), target: here, loss_max: 0.02 };
    assert_eq!((lowering.limits.len(), &lowering.lowers), (0, &Some(lowers)));
}

#[test]
fn mistakes_about_devices_say_what_to_do() {
    let search = |rest: &str| format!("- sensitivity: {{ single: all }}\n  - search: {{ {rest} }}");
    for (text, line) in [
        (
            "- probe: { on: { board: pi5 } }".to_owned(),
            "stages[0].probe.probe: is missing; add `probe: integer`",
        ),
        (
            "- probe: { probe: integer, interval: 20% }".to_owned(),
            "stages[0].probe.interval: expected a percentage of the median, found text `20%`; write a percentage from \
             0.01% to 10%, such as 0.5%",
        ),
        (
            "- probe: { probe: integer, at_most: 1h }".to_owned(),
            "stages[0].probe.at_most: it is out of range; write a duration from 100ms to 10m",
        ),
        (
            "- probe: { probe: integer }\n    requires: { labels: { board: pi5 } }".to_owned(),
            "stages[0].requires: a probe says itself what it needs of workers; remove it; `on: { board: pi5 }` names the \
             workers' labels",
        ),
        (
            search("constraints: { latency_ms: 3 }"),
            "stages[1].search.constraints.latency_ms: expected a mapping with the keys `max` and `probe`, found number 3; \
             `latency_ms` is measured: say where, as in `latency_ms: { max: 3.0, probe: integer }`",
        ),
        (
            search("constraints: { latency_ms: [ { max: 3, probe: integer }, { max: 4, probe: integer } ] }"),
            "stages[1].search.constraints.latency_ms: there are two limits on integer; keep one of them",
        ),
        (
            search("constraints: { top1_drop: 1 }"),
            "stages[1].search.constraints: `top1_drop` is limited, and the loss is what is lowered; remove it, or write \
             `objective: { latency_ms: { probe: integer } }`",
        ),
        (
            search("objective: latency_ms, constraints: { top1_drop: 1 }"),
            "stages[1].search.objective: it is measured, and nothing says where; write `objective: { latency_ms: { probe: \
             integer } }`",
        ),
        (
            search("objective: { latency_ms: { probe: integer } }, constraints: { size_kib: 50% }"),
            "stages[1].search.constraints: nothing limits the loss while `latency_ms` is lowered; add `constraints: { \
             top1_drop: 0.5 }`, in percentage points, or `loss_increase: 0.02`",
        ),
    ] {
        assert_eq!(mistakes(&text), [line], "{text}");
    }
}
