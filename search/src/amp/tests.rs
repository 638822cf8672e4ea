use std::cell::RefCell;
use std::collections::BTreeMap;

use super::*;
use crate::set_search::{Score, SetSearch, Step};
use crate::space::Variable;

fn bits(width: u8) -> Bits {
    Bits::new(width).unwrap()
}

/// Layers of an activation and a weight with so many MACs; candidates 16/8, 8/8, 8/4.
fn problem(macs: &[f64]) -> Problem {
    let variable =
        |name: String, kind, widths: [u8; 2]| Variable { name, kind, widths: widths.map(bits).to_vec() };
    let both = |layer: usize| {
        [
            variable(format!("x{layer}"), PointKind::Activation, [8, 16]),
            variable(format!("w{layer}"), PointKind::Weight, [4, 8]),
        ]
    };
    let space = Space { variables: (0..macs.len()).flat_map(both).collect() };
    let group = |layer: usize| Group { name: format!("g{layer}"), variables: vec![2 * layer, 2 * layer + 1] };
    let groups: Vec<Group> = (0..macs.len()).map(group).collect();
    let candidates = [(16, 8), (8, 8), (8, 4)];
    let candidates = candidates.map(|(a, w)| Candidate { activation: bits(a), weight: bits(w) }).to_vec();
    let macs: Vec<f64> = macs.iter().flat_map(|macs| [0.0, *macs]).collect();
    let cost = group_bit_operations(&space, &groups, &macs, bits(16));
    Problem::new(space, groups, candidates, cost).unwrap()
}

fn rule(walk: Walk, allowed_drop: Option<f64>) -> Rule {
    Rule { walk, allowed_drop, order: Order::ByGroup }
}

/// Answers a search from a function until it is done; returns its outcome, and the sizes of its rounds.
fn run(problem: Problem, rule: Rule, score: impl Fn(&[u8]) -> f64) -> (Mixed, Vec<usize>) {
    let known: RefCell<BTreeMap<Vec<u8>, f64>> = RefCell::default();
    let mut rounds = Vec::new();
    let mut search = Amp::new(problem.clone(), rule);
    loop {
        let step = search.next(&|levels| known.borrow().get(levels).copied().map(Score::of));
        match step {
            Step::Done(mixed) => {
                let again = Amp::new(problem, rule)
                    .next(&|levels| known.borrow().get(levels).copied().map(Score::of));
                let Step::Done(again) = again else { panic!("a new search asks for more: {again:?}") };
                assert_eq!(again, mixed);
                return (mixed, rounds);
            }
            Step::Measure(sets) => {
                rounds.push(sets.len());
                for levels in sets {
                    let value = score(&levels);
                    assert_eq!(known.borrow_mut().insert(levels, value), None, "asked for twice");
                }
            }
        }
    }
}

/// Each layer loses so much at 8/8 and at 8/4; floats lose nothing.
fn additive(losses: &[[f64; 2]]) -> impl Fn(&[u8]) -> f64 {
    let losses = losses.to_vec();
    move |levels: &[u8]| {
        let loss = |(layer, losses): (usize, &[f64; 2])| match (levels[2 * layer], levels[2 * layer + 1]) {
            (0, 1) => losses[0],
            (0, 0) => losses[1],
            _ => 0.0,
        };
        1.0 - losses.iter().enumerate().map(loss).sum::<f64>()
    }
}

const LOSSES: [[f64; 2]; 3] = [[0.01, 0.02], [0.0, 0.3], [0.001, 0.05]];

#[test]
fn all_walks_come_to_the_same_point_of_a_falling_curve() {
    for drop in [0.005, 0.015, 0.04, 0.1] {
        let chosen = [Walk::BruteForce, Walk::Binary, Walk::Interpolation, Walk::Complete].map(|walk| {
            let (mixed, _) = run(problem(&[10.0, 20.0, 30.0]), rule(walk, Some(drop)), additive(&LOSSES));
            assert_eq!(mixed.end, End::Walked);
            assert!(additive(&LOSSES)(mixed.levels.as_ref().unwrap()) >= 1.0 - drop);
            mixed.levels.unwrap()
        });
        assert!(chosen.windows(2).all(|pair| pair[0] == pair[1]), "{drop}: {chosen:?}");
    }
}

#[test]
fn without_an_allowed_drop_every_walk_gives_the_whole_curve() {
    for walk in [Walk::BruteForce, Walk::Binary, Walk::Interpolation, Walk::Complete] {
        let (mixed, rounds) = run(problem(&[10.0, 20.0, 30.0]), rule(walk, None), additive(&LOSSES));

        assert_eq!((mixed.end, mixed.levels), (End::Curve, None));
        assert_eq!(rounds.len(), 3);
        assert!(mixed.curve.len() == 6 && mixed.curve.iter().all(|point| point.score.is_some()));
    }
}

#[test]
fn references_end_a_search_early() {
    let losses = |levels: &[u8]| if levels.contains(&FLOAT) { 1.0 } else { 0.9 };

    let (below, rounds) = run(problem(&[1.0]), rule(Walk::Binary, Some(0.05)), losses);
    assert_eq!((below.end, rounds), (End::BaselineIsBelow, vec![4]));
    // All candidates are equally good, so the first is the baseline.
    assert_eq!((below.baseline, below.levels), (0, Some(vec![1, 1])));

    let (enough, rounds) = run(problem(&[1.0]), rule(Walk::Binary, Some(0.1)), losses);
    assert_eq!((enough.end, rounds), (End::MinimumSuffices, vec![4]));
    assert_eq!((enough.minimum, enough.levels), (2, Some(vec![0, 0])));

    let (none, _) = run(problem(&[1.0]), rule(Walk::Binary, None), |_| f64::NEG_INFINITY);
    assert_eq!((none.end, none.levels), (End::NoFloatScore, None));
}

/// 8/4 of the first layer alone looks better than 8/8, so that the list raises it again.
fn misleading(levels: &[u8]) -> f64 {
    additive(&[[0.02, 0.01], [0.0, 0.3]])(levels)
}

#[test]
fn the_whole_curve_leaves_out_what_raises_a_width_again() {
    let macs = [10.0, 20.0];
    let (as_published, _) = run(problem(&macs), rule(Walk::BruteForce, None), misleading);
    let (repaired, _) = run(problem(&macs), rule(Walk::Complete, Some(0.1)), misleading);

    let rising = |curve: &[Point]| curve.windows(2).any(|pair| pair[1].relative_cost > pair[0].relative_cost);
    assert!(rising(&as_published.curve) && !rising(&repaired.curve));
    assert_eq!(as_published.skipped, []);
    assert_eq!(repaired.skipped, [Skipped::Raises(2)]);
    assert!(as_published.curve[3].score.unwrap().value < as_published.curve[1].score.unwrap().value);
    assert_eq!(repaired.levels, Some(vec![0, 0, 0, 1]));
}

#[test]
fn the_whole_curve_looks_behind_a_dip_and_says_where_the_score_rises() {
    // Together the first two are bad; the third mends it.
    let dip = |levels: &[u8]| {
        let is_dip = levels[..4] == [0, 1, 0, 1] && levels[4..] == [1, 1];
        additive(&[[0.001, 0.5], [0.002, 0.5], [0.003, 0.5]])(levels) - if is_dip { 0.2 } else { 0.0 }
    };
    let macs = [10.0, 20.0, 30.0];

    let (walked, _) = run(problem(&macs), rule(Walk::BruteForce, Some(0.1)), dip);
    let (whole, _) = run(problem(&macs), rule(Walk::Complete, Some(0.1)), dip);

    assert_eq!((walked.chosen, whole.chosen), (Some(0), Some(2)));
    let rises: Vec<usize> = (0..whole.curve.len()).filter(|point| whole.curve[*point].rises).collect();
    assert_eq!(rises, [2]);
}

#[test]
fn what_is_no_number_is_below_everything() {
    let broken = |levels: &[u8]| if levels[..2] == [0, 0] { f64::NAN } else { additive(&LOSSES)(levels) };

    for walk in [Walk::BruteForce, Walk::Binary, Walk::Interpolation, Walk::Complete] {
        let (mixed, _) = run(problem(&[10.0, 20.0, 30.0]), rule(walk, Some(0.5)), broken);

        let last = mixed.list.last().unwrap();
        assert_eq!((last.group, last.candidate, last.score), (0, 2, Score::failed()));
        assert!(mixed.levels.unwrap()[..2] != [0, 0]);
    }
}

#[test]
fn what_cannot_be_searched_is_said() {
    let Problem { space, candidates, cost, .. } = problem(&[1.0]);
    let group = |variables: &[usize]| Group { name: "g".to_owned(), variables: variables.to_vec() };
    let new = |groups, candidates| Problem::new(space.clone(), groups, candidates, cost.clone()).unwrap_err();

    let unknown = ProblemError::UnknownVariable { group: "g".to_owned(), variable: 2, variables: 2 };
    assert_eq!(new(vec![group(&[2])], candidates.clone()), unknown);
    assert_eq!(
        new(vec![group(&[0]), group(&[0])], candidates.clone()),
        ProblemError::Shared("x0".to_owned())
    );
    let two = Candidate { activation: bits(2), weight: bits(8) };
    assert_eq!(new(vec![group(&[0, 1])], vec![two]), ProblemError::NoUniform);
    // A candidate that a group does not offer is left out for that group alone.
    let weights =
        Problem::new(space.clone(), vec![group(&[1])], vec![two, candidates[2]], cost.clone()).unwrap();
    assert_eq!((weights.uniform(0), weights.uniform(1)), (Some(vec![1, 1]), Some(vec![1, 0])));
}
