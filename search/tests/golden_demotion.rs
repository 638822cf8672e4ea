//! Demotion against recorded searches and exhaustive optima (`../shared/reference/aimet/demotion_search.json`).

#[path = "common/reference.rs"]
mod reference;

use std::cell::RefCell;
use std::collections::BTreeMap;

use bitloop_search::demotion::{
    Demotion, End, Found, Lowering, Objective, Pace, Promotion, Published, Reason,
};
use bitloop_search::set_search::{Group, Score, SetSearch, Step};
use serde_json::Value;

use reference::{array, file, number};

/// Cases whose optimum is known and may be missed: noise makes sets good that nothing else speaks for.
const MISSED_AT_MOST: usize = 2;

fn index(value: &Value) -> usize {
    value.as_u64().and_then(|value| usize::try_from(value).ok()).expect("the field is a small number")
}

fn indices(value: &Value) -> Vec<usize> {
    array(value).iter().map(index).collect()
}

fn cases() -> Vec<Value> {
    let Some(data) = file("aimet", "demotion_search.json") else { return Vec::new() };
    let cases = array(&data["cases"]).to_vec();
    assert!(!cases.is_empty());
    cases
}

/// The oracle of a case, counting what it was asked.
struct Oracle<'a> {
    case: &'a Value,
    known: RefCell<BTreeMap<Vec<u8>, f64>>,
}

impl<'a> Oracle<'a> {
    fn new(case: &'a Value) -> Self {
        Self { case, known: RefCell::default() }
    }

    /// One variable per layer: 1 is high, 0 low.
    fn lowering(&self) -> Lowering {
        let layers = index(&self.case["layers"]);
        let group = |layer: usize| Group { name: format!("layer{layer}"), variables: vec![layer] };
        let groups = (0..layers).map(group).collect();
        Lowering::new(groups, vec![1; layers], vec![0; layers]).expect("each layer is its own group")
    }

    fn accuracy(&self, levels: &[u8]) -> f64 {
        let oracle = &self.case["oracle"];
        let drops = array(&oracle["drop"]);
        let lowered: Vec<usize> = (0..levels.len()).filter(|layer| levels[*layer] == 0).collect();
        let pairs = array(&oracle["pairs"]).iter().filter(|pair| {
            let ends = [&pair[0], &pair[1]].map(index);
            ends.iter().all(|end| lowered.contains(end))
        });
        // The order of additions decides ties: single losses are summed first, pairs taken away one after another.
        let alone: f64 = lowered.iter().map(|layer| number(&drops[*layer])).sum();
        let exact = number(&oracle["base"]) - alone;
        let exact = pairs.fold(exact, |accuracy, pair| accuracy - number(&pair[2]));
        let hash = lowered.iter().fold(0_u64, |hash, layer| (hash * 31 + *layer as u64 + 1) % 1_000_003);
        let noise = number(&oracle["noise"]) * ((hash % 2001) as f64 / 1000.0 - 1.0);
        let images = number(&oracle["eval_size"]);
        (((exact + noise) * images + 0.5).floor() / images).max(0.0)
    }

    fn run<Search: SetSearch>(&self, search: &mut Search) -> (Search::Outcome, usize) {
        let known = |levels: &[u8]| self.known.borrow().get(levels).copied().map(Score::of);
        let mut rounds = 0;
        loop {
            match search.next(&known) {
                Step::Done(outcome) => return (outcome, rounds),
                Step::Measure(sets) => {
                    assert!(!sets.is_empty() && rounds < 10_000, "the search goes on for ever");
                    rounds += 1;
                    for levels in sets {
                        let accuracy = self.accuracy(&levels);
                        let before = self.known.borrow_mut().insert(levels, accuracy);
                        assert_eq!(before, None, "a set was asked for twice");
                    }
                }
            }
        }
    }

    fn sets(&self) -> usize {
        self.known.borrow().len()
    }
}

fn published(case: &Value, ahead: usize) -> Published {
    let oracle = Oracle::new(case);
    let shuffles = case["shuffles"].as_array();
    let shuffles: Vec<Vec<usize>> =
        shuffles.map_or(Vec::new(), |shuffles| shuffles.iter().map(indices).collect());
    let shuffle = move |step: u64, items: &mut [usize]| {
        let recorded = &shuffles[step as usize];
        let sorted = |items: &[usize]| {
            let mut items = items.to_vec();
            items.sort_unstable();
            items
        };
        assert_eq!(sorted(items), sorted(recorded), "shuffle {step} is of other layers");
        items.copy_from_slice(recorded);
    };
    Published::new(oracle.lowering(), number(&case["target"]))
        .with_multiplier(number(&case["multiplier"]))
        .with_shuffle(Box::new(shuffle))
        .with_ahead(ahead)
}

fn check_published(case: &Value, promotion: &Promotion) {
    let id = &case["id"];
    let calls: Vec<f64> = promotion.calls.iter().map(|(_, accuracy)| *accuracy).collect();
    // Long cases have no list of calls.
    if let Some(recorded) = case["calls"].as_array() {
        assert_eq!(calls, recorded.iter().map(number).collect::<Vec<_>>(), "{id}: calls");
    }
    assert_eq!(calls.len(), index(&case["evaluations"]), "{id}: evaluations");
    assert_eq!(calls[0], number(&case["acc16"]), "{id}");
    assert!(calls.len() < 2 || calls[1] == number(&case["acc8"]), "{id}");
    let result = (!case["result"].is_null()).then(|| indices(&case["result"]));
    assert_eq!(promotion.promoted, result, "{id}: result");
    let reason = match case["reason"].as_str() {
        Some("walk-back") => Reason::WalkBack,
        Some("no prefix meets the target") => Reason::NoStepMeetsTarget,
        Some("int16 model below target") => Reason::Unreachable,
        Some("int8 model above target") => Reason::NothingToPromote,
        other => panic!("{id} ended for reason {other:?}, which this test does not know"),
    };
    assert_eq!(promotion.reason, reason, "{id}: reason");
    let Some(history) = case.get("history") else {
        assert!(promotion.history.is_empty(), "{id}: history");
        return;
    };
    assert_eq!(promotion.threshold, number(&case["threshold"]), "{id}: threshold");
    assert_eq!(promotion.history.len(), array(history).len(), "{id}: history");
    for (step, recorded) in promotion.history.iter().zip(array(history)) {
        assert_eq!(step.group, index(&recorded["layer"]), "{id}: {recorded}");
        assert_eq!(step.recorded, number(&recorded["recorded_accuracy"]), "{id}: {recorded}");
        assert_eq!([step.start, step.next_start], [&recorded["start"], &recorded["next_start"]].map(index));
        assert_eq!(step.by_threshold, recorded["via"] == "threshold", "{id}: {recorded}");
    }
}

#[test]
fn golden_published_procedure_repeats_every_call_and_decision() {
    for case in cases() {
        let oracle = Oracle::new(&case);

        let (promotion, _) = oracle.run(&mut published(&case, 1));

        check_published(&case, &promotion);
    }
}

#[test]
fn golden_looking_ahead_changes_the_rounds_and_nothing_else() {
    let [mut one, mut many] = [0, 0];
    for case in cases() {
        let (promotion, rounds) = Oracle::new(&case).run(&mut published(&case, 8));
        check_published(&case, &promotion);
        many += rounds;
        one += Oracle::new(&case).run(&mut published(&case, 1)).1;
    }
    eprintln!("published: {one} rounds one by one, {many} with eight ahead");
    assert!(one == 0 || many < one);
}

/// The better search on a case.
fn search(case: &Value, pace: Pace) -> (Found, usize) {
    let oracle = Oracle::new(case);
    let objective = Objective { target: number(&case["target"]), cost: None };
    let (found, rounds) = oracle.run(&mut Demotion::new(oracle.lowering(), objective.clone(), pace));
    assert_eq!((found.sets, found.rounds), (oracle.sets(), rounds));
    // A new search that is shown the same scores ends there at once.
    let (again, more) = oracle.run(&mut Demotion::new(oracle.lowering(), objective, pace));
    assert_eq!((&again, more), (&found, 0));
    (found, oracle.sets())
}

#[derive(Default)]
struct Totals {
    sets: usize,
    recorded: usize,
    rounds: usize,
    missed: usize,
}

fn compare(case: &Value, pace: Pace, totals: &mut Totals) {
    let id = &case["id"];
    let (found, sets) = search(case, pace);
    let recorded = index(&case["evaluations"]);
    totals.sets += sets;
    totals.recorded += recorded;
    totals.rounds += found.rounds;
    let result = &case["result"];
    let layers = index(&case["layers"]);
    let exhaustive = case.get("exhaustive_best").filter(|best| !best.is_null());
    let optimum = exhaustive.map(|best| layers - array(&best["demoted"]).len());
    eprintln!(
        "{id}: {layers:2} layers, kept {:?}, recorded {:?}, optimum {optimum:?}; {sets} sets in {} rounds, recorded {recorded}",
        found.best.as_ref().map(|_| found.kept.len()),
        result.as_array().map(Vec::len),
        found.rounds,
    );
    let Some(best) = &found.best else {
        assert!(result.is_null() && found.end == End::Unreachable, "{id}: {found:?}");
        return;
    };
    assert!(best.score.value >= number(&case["target"]), "{id}: the result is below the target");
    assert!(found.kept.len() <= array(result).len(), "{id}: more layers are kept than recorded");
    assert_eq!(found.kept.len() + best.lowered.len(), layers);
    assert!(optimum.is_none_or(|optimum| found.kept.len() >= optimum), "{id}: better than exhaustive");
    totals.missed += usize::from(optimum.is_some_and(|optimum| found.kept.len() > optimum));
}

#[test]
fn golden_rounds_keep_no_more_layers_than_recorded_with_fewer_sets() {
    let cases = cases();
    let mut totals = Totals::default();

    for case in &cases {
        compare(case, Pace::default(), &mut totals);
    }

    let Totals { sets, recorded, rounds, missed } = totals;
    eprintln!("{sets} sets in {rounds} rounds, recorded {recorded} one by one; {missed} optima missed");
    assert!(sets <= recorded);
    assert!(missed <= MISSED_AT_MOST);
    for side_by_side in [1, 16] {
        let mut totals = Totals::default();
        for case in &cases {
            let (found, _) = search(case, Pace { side_by_side, ..Pace::default() });
            totals.sets += found.sets;
            totals.rounds += found.rounds;
        }
        eprintln!("{side_by_side} side by side: {} sets in {} rounds", totals.sets, totals.rounds);
    }
}
