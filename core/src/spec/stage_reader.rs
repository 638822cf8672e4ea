use std::collections::BTreeSet;

use super::autoqkeras::{KEY, autoqkeras};
use super::probe_reader::{Constraints, Objective, constraints, objective, probe};
use super::reader::{Fields, Place};
use super::requires_reader::requires;
use super::shared::parts_per_million;
use super::stage::{SensitivitySpec, Single, StageSpec};
use crate::device::Requirements;
use crate::plan::{
    DIFFERENCE_MAX_PPM, Lowered, Metric, Pairs, SearchMethod, SearchPlan, SubsetDesign, Subsets,
};

/// Decimals of percentage points that parts per million have.
const POINT_DECIMALS: u8 = 4;
/// Most configs of a sweep: with the smallest of networks still years of measuring.
const CONFIGS_MAX: u64 = 1_000_000_000;
const POINTS_MAX: u64 = 1_000_000;
const SHARE_DECIMALS: u8 = 6;
const PERCENT_DECIMALS: u8 = 4;
const TRIALS_DEFAULT: u64 = 64;
const ROUND_DEFAULT: u64 = 8;
const TOP_DEFAULT: u64 = 5;

#[derive(Clone, Copy)]
enum StageKind {
    Sensitivity,
    Search,
    AutoQKeras,
    Probe,
    Verify,
}

/// Reads one entry of `stages`, with what it asks of workers if it says so.
pub(super) fn stage(place: &Place<'_>) -> Option<(StageSpec, Option<Requirements>)> {
    let kinds = [
        ("sensitivity", StageKind::Sensitivity),
        ("search", StageKind::Search),
        (KEY, StageKind::AutoQKeras),
        ("probe", StageKind::Probe),
        ("verify", StageKind::Verify),
    ];
    let (kind, place, beside) = place.variant_beside("requires", &kinds)?;
    let requires = match (kind, &beside) {
        (StageKind::Probe, Some(beside)) => beside.mistake(
            "a probe says itself what it needs of workers",
            "remove it; `on: { board: pi5 }` names the workers' labels",
        ),
        (_, beside) => beside.as_ref().map_or(Some(None), |place| requires(place).map(Some)),
    };
    let stage = match kind {
        StageKind::Sensitivity => sensitivity(&place).map(StageSpec::Sensitivity),
        StageKind::Search => search(&place).map(StageSpec::Search),
        StageKind::AutoQKeras => autoqkeras(&place).map(|plan| StageSpec::AutoQKeras(Box::new(plan))),
        StageKind::Probe => probe(&place).map(|plan| StageSpec::Probe(Box::new(plan))),
        StageKind::Verify => verify(&place),
    };
    Some((stage?, requires?))
}

fn sensitivity(place: &Place<'_>) -> Option<SensitivitySpec> {
    let fields = place.fields(&["single", "pairwise", "multi"])?;
    let single = fields.required("single", "single: all", single);
    let pairwise = fields.optional("pairwise", None, |place| pairwise(place).map(Some));
    let multi = fields.optional("multi", None, |place| multi(place).map(Some));
    Some(SensitivitySpec { single: single?, pairwise: pairwise?, multi: multi? })
}

fn single(place: &Place<'_>) -> Option<Single> {
    const EXAMPLE: &str = "[\"*.weight\"]";
    if place.as_text() == Some("all") {
        return Some(Single::All);
    }
    if !place.is_list() {
        return place
            .expected("`all` or a list of patterns", format!("write `all` or a list such as `{EXAMPLE}`"));
    }
    let mut seen = BTreeSet::new();
    let patterns = place.items(EXAMPLE)?;
    let read: Vec<_> = patterns
        .iter()
        .map(|item| {
            let pattern = item.text()?;
            if !seen.insert(pattern) {
                return item.mistake("this pattern is already in the list", "remove it");
            }
            Some(pattern.to_owned())
        })
        .collect();
    read.into_iter().collect::<Option<Vec<_>>>().map(Single::Matching)
}

fn pairwise(place: &Place<'_>) -> Option<Pairs> {
    #[derive(Clone, Copy)]
    enum Kind {
        BelowQuantile,
        MostPromising,
    }
    if !place.is_mapping() {
        return place.word(&[("all", Pairs::Below { quantile_ppm: None })]);
    }
    let kinds = [("below_quantile", Kind::BelowQuantile), ("most_promising", Kind::MostPromising)];
    let (kind, place) = place.variant(&kinds)?;
    match kind {
        Kind::BelowQuantile => quantile(&place).map(|ppm| Pairs::Below { quantile_ppm: Some(ppm) }),
        Kind::MostPromising => place.integer(1..=CONFIGS_MAX).map(|configs| Pairs::MostPromising { configs }),
    }
}

/// A share in 0..1, as parts per million.
fn quantile(place: &Place<'_>) -> Option<u32> {
    parts_per_million(place, place.number(0.000_001..=1.0)?, SHARE_DECIMALS)
}

fn multi(place: &Place<'_>) -> Option<Subsets> {
    let fields = place.fields(&["configs", "points", "below_quantile", "design", "seed"])?;
    let configs = fields.required("configs", "configs: 500", |place| place.integer(1..=CONFIGS_MAX));
    let points = fields.required("points", "points: [3, 30]", sizes);
    let quantile_ppm = fields.optional("below_quantile", None, |place| quantile(place).map(Some));
    let design = fields.optional("design", SubsetDesign::Random, |place| {
        place.word(&SubsetDesign::ALL.map(|design| (design.as_str(), design)))
    });
    let seed = fields.optional("seed", 0, |place| place.integer(0..=u64::MAX));
    Some(Subsets {
        configs: configs?,
        points: points?,
        quantile_ppm: quantile_ppm?,
        design: design?,
        seed: seed?,
    })
}

/// Smallest and largest number of points.
fn sizes(place: &Place<'_>) -> Option<[u32; 2]> {
    const EXAMPLE: &str = "[3, 30]";
    let sizes = place.list(EXAMPLE, |place| place.integer(2..=POINTS_MAX))?;
    match sizes.as_slice() {
        [low, high] if low <= high => Some([*low as u32, *high as u32]),
        [low, high] => place.mistake(
            format!("the smallest number, {low}, is above the largest, {high}"),
            format!("write a list such as `{EXAMPLE}`"),
        ),
        other => place.mistake(
            format!("a list of {} is no smallest and largest number", other.len()),
            format!("write a list such as `{EXAMPLE}`"),
        ),
    }
}

fn search(place: &Place<'_>) -> Option<SearchPlan> {
    let known = ["method", "predictor", "objective", "constraints", "max_drop", "cost", "trials", "round"];
    let fields = place.fields(&known)?;
    let method = method(&fields);
    let predictor =
        fields.optional("predictor", None, |place| place.text().map(|text| Some(text.to_owned())));
    let objective = fields.optional("objective", None, |place| objective(place).map(Some));
    let constraints = fields.optional("constraints", Constraints::default(), constraints);
    let cost = fields.optional("cost", None, |place| place.text().map(|text| Some(text.to_owned())));
    let trials = fields.optional("trials", None, |place| place.integer(1..=CONFIGS_MAX).map(Some));
    let round = fields.optional("round", ROUND_DEFAULT, |place| place.integer(1..=SearchPlan::ROUND_MAX));
    let method = method?;
    only_where_it_counts(&fields, method)?;
    let (objective, constraints) = (objective?, constraints?);
    let (objective, lowers) = lowered(&fields, objective, constraints.loss)?;
    // What a predictor leads goes on as long as it has hopes; sets come to an end by themselves.
    let trials = trials?.or_else(|| method.is_limited_by_cost().then_some(TRIALS_DEFAULT));
    Some(SearchPlan {
        method,
        predictor: predictor?.unwrap_or_else(|| "auto".to_owned()),
        objective,
        limits: constraints.limits,
        lowers,
        cost: cost?,
        trials,
        round: round?,
    })
}

/// Refuses keys that the method would not heed, and limits that it needs and are not there.
fn only_where_it_counts(fields: &Fields<'_>, method: SearchMethod) -> Option<()> {
    let word = method.as_str();
    if method.is_limited_by_cost() {
        if !fields.names("constraints") {
            return fields.mistake("constraints", "is missing", "add `constraints: { size_kib: 50% }`");
        }
        if fields.has("cost") {
            let problem = format!("`{word}` lowers the loss, within limits on costs");
            return fields.mistake("cost", problem, "remove it; `constraints` name the costs");
        }
        return Some(());
    }
    let kept = ["constraints", "objective", "predictor"].into_iter().filter(|key| fields.has(key));
    let refuse = |key: &&str| -> Option<()> {
        let hint = match *key {
            "constraints" => {
                "remove it; `max_drop` is the limit, and `cost: size_kib` names the cost to lower"
            }
            _ => "remove it; the drop of top-1 is measured",
        };
        fields.mistake(key, format!("`{word}` does not heed it"), hint)
    };
    kept.collect::<Vec<_>>().iter().map(refuse).fold(Some(()), Option::and)
}

fn method(fields: &Fields<'_>) -> Option<SearchMethod> {
    #[derive(Clone, Copy)]
    enum Kind {
        Plain(SearchMethod),
        Demotion,
        Amp,
    }
    let words = [
        ("exact", Kind::Plain(SearchMethod::Exact)),
        ("nsga2", Kind::Plain(SearchMethod::Nsga2)),
        ("greedy", Kind::Plain(SearchMethod::Greedy)),
        ("demotion", Kind::Demotion),
        ("amp", Kind::Amp),
    ];
    let kind = fields.optional("method", Kind::Plain(SearchMethod::Exact), |place| place.word(&words));
    // Percentage points, with as many decimals as parts per million have.
    let drop = fields.optional("max_drop", None, |place| {
        parts_per_million(place, place.number(0.0..=100.0)?, PERCENT_DECIMALS).map(Some)
    });
    match (kind?, drop?) {
        (Kind::Plain(_), Some(_)) => fields.mistake(
            "max_drop",
            "belongs to the methods `demotion` and `amp`",
            "remove it; `constraints` limit what a config may cost",
        ),
        (Kind::Plain(method), None) => Some(method),
        (Kind::Demotion, None) => {
            fields.mistake("max_drop", "is missing", "add `max_drop: 1.0`, in percentage points of top-1")
        }
        (Kind::Demotion, Some(drop_max_ppm)) => Some(SearchMethod::Demotion { drop_max_ppm }),
        (Kind::Amp, drop_max_ppm) => Some(SearchMethod::Amp { drop_max_ppm }),
    }
}

/// The metric of the loss, and the cost that is lowered in its place within a limit on it.
fn lowered(
    fields: &Fields<'_>,
    objective: Option<Objective>,
    loss: Option<(Metric, f64)>,
) -> Option<(Metric, Option<Lowered>)> {
    match (objective, loss) {
        (None, None) => Some((Metric::default(), None)),
        (Some(Objective::Loss(metric)), None) => Some((metric, None)),
        (Some(Objective::Cost(cost, target)), Some((metric, loss_max))) => {
            Some((metric, Some(Lowered { cost: cost.to_owned(), target, loss_max })))
        }
        (Some(Objective::Cost(cost, _)), None) => fields.mistake(
            "constraints",
            format!("nothing limits the loss while `{cost}` is lowered"),
            "add `constraints: { top1_drop: 0.5 }`, in percentage points, or `loss_increase: 0.02`",
        ),
        (None | Some(Objective::Loss(_)), Some((metric, _))) => fields.mistake(
            "constraints",
            format!("`{}` is limited, and the loss is what is lowered", metric.as_str()),
            "remove it, or write `objective: { latency_ms: { probe: integer } }`",
        ),
    }
}

fn verify(place: &Place<'_>) -> Option<StageSpec> {
    let fields = place.fields(&["top", "on", "uniform", "device_difference"])?;
    let top = fields.optional("top", TOP_DEFAULT, |place| place.integer(1..=CONFIGS_MAX));
    let on = fields.optional("on", (), |place| place.word(&[("report", ())]));
    let uniform = fields.optional("uniform", true, Place::flag);
    let difference_max_ppm = fields.optional("device_difference", DIFFERENCE_MAX_PPM, difference);
    let ((), top, uniform) = (on?, top?, uniform?);
    Some(StageSpec::Verify { top, uniform, difference_max_ppm: difference_max_ppm? })
}

/// By how much a device may differ from the simulation, in percentage points of the images.
fn difference(place: &Place<'_>) -> Option<u32> {
    parts_per_million(place, place.number(0.0..=100.0)?, POINT_DECIMALS)
}
