use super::{EXPERIMENT, experiment_mistakes, with};
use crate::plan::{Amount, Limit, Metric, Pairs, SearchMethod, SearchPlan, SubsetDesign, Subsets};
use crate::spec::{ExperimentSpec, SensitivitySpec, Single, StageSpec};

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
    let verify = StageSpec::Verify { top: 3, uniform: false };
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
