use proptest::prelude::*;

use super::*;

fn measured(cost: f64, low: f64, value: f64, high: f64) -> Measured {
    Measured { cost, loss: Interval { value, low, high } }
}

/// Fronts by their definition: what nothing left dominates, again and again.
fn peeled(points: &[Vec<f64>]) -> Vec<Vec<usize>> {
    let mut left: Vec<usize> = (0..points.len()).collect();
    let mut fronts = Vec::new();
    while !left.is_empty() {
        let free = |a: &usize| left.iter().all(|b| !dominates(&points[*b], &points[*a]));
        let front: Vec<usize> = left.iter().copied().filter(free).collect();
        left.retain(|point| !front.contains(point));
        fronts.push(front);
    }
    fronts
}

proptest! {
    #[test]
    fn sorting_gives_the_fronts_of_the_definition(
        points in (1_usize..5).prop_flat_map(|objectives| {
            // Few values, so that ties and equal points are common.
            proptest::collection::vec(proptest::collection::vec((0_u8..6).prop_map(f64::from), objectives), 0..40)
        })
    ) {
        let mut sorted = non_dominated_sort(&points);
        for front in &mut sorted {
            front.sort_unstable();
        }

        prop_assert_eq!(sorted, peeled(&points));
    }

    #[test]
    fn hypervolume_is_the_share_of_the_grid_that_points_dominate(
        points in proptest::collection::vec([0_u8..12, 0_u8..12], 0..12)
    ) {
        let points: Vec<[f64; 2]> = points.iter().map(|point| point.map(f64::from)).collect();

        let area = hypervolume(&points, [10.0, 10.0]);

        let dominated = |x: usize, y: usize| points.iter().any(|p| p[0] <= x as f64 && p[1] <= y as f64);
        let cells = (0..100).filter(|cell| dominated(cell / 10, cell % 10)).count();
        prop_assert_eq!(area, cells as f64);
    }

    #[test]
    fn standings_are_those_of_the_definition(
        points in proptest::collection::vec((0_u8..6, 0_u8..8, 0_u8..4, 0_u8..4), 0..25)
    ) {
        let points: Vec<Measured> = points
            .iter()
            .map(|(cost, value, below, above)| {
                let [cost, value, below, above] = [*cost, *value, *below, *above].map(f64::from);
                measured(cost, value - below, value, value + above)
            })
            .collect();

        let standings = standings(&points).unwrap();

        for (point, standing) in points.iter().zip(standings) {
            let key = |point: &Measured| [point.cost, point.loss.value];
            let better = points.iter().any(|other| dominates(&key(other), &key(point)));
            let beyond = points.iter().any(|other| other.cost <= point.cost && other.loss.high < point.loss.low);
            match standing {
                Standing::Front => prop_assert!(!better && !beyond),
                Standing::Dominated { by } => {
                    prop_assert!(!beyond && dominates(&key(&points[by]), &key(point)));
                }
                Standing::DominatedBeyondDoubt { by } => {
                    prop_assert!(points[by].cost <= point.cost && points[by].loss.high < point.loss.low);
                }
            }
        }
    }
}

#[test]
fn the_ends_of_a_front_are_alone_and_the_crowded_middle_is_not() {
    let points = [[0.0, 10.0], [1.0, 6.0], [2.0, 5.0], [10.0, 0.0]];

    let distances = crowding(&points, &[0, 1, 2, 3]);

    assert_eq!(distances[0], f64::INFINITY);
    assert_eq!(distances[3], f64::INFINITY);
    // (2 - 0) / 10 + (10 - 5) / 10, and (10 - 1) / 10 + (6 - 0) / 10.
    assert!((distances[1] - 0.7).abs() < 1e-12 && (distances[2] - 1.5).abs() < 1e-12, "{distances:?}");
}

#[test]
fn a_front_without_spread_has_finite_or_infinite_distances_only() {
    let points = [[1.0, f64::INFINITY], [1.0, f64::INFINITY], [1.0, f64::INFINITY]];

    assert!(crowding(&points, &[0, 1, 2]).iter().all(|distance| !distance.is_nan()));
    assert!(crowding::<[f64; 2]>(&[], &[]).is_empty());
}

#[test]
fn overlapping_intervals_leave_doubt_and_disjoint_ones_none() {
    let points = [
        measured(1.0, 1.0, 2.0, 3.0),
        measured(2.0, 2.5, 3.5, 4.5),
        measured(3.0, 3.5, 4.0, 4.5),
        measured(4.0, 0.0, 0.5, 1.0),
        measured(4.0, 0.0, 0.5, 1.0),
    ];

    let standings = standings(&points).unwrap();

    let expected = [
        Standing::Front,
        Standing::Dominated { by: 0 },
        Standing::DominatedBeyondDoubt { by: 0 },
        Standing::Front,
        Standing::Front,
    ];
    assert_eq!(standings, expected);
}

#[test]
fn a_point_that_is_no_number_is_named() {
    let points = [measured(1.0, 0.0, 1.0, 2.0), measured(f64::NAN, 0.0, 1.0, 2.0)];

    assert_eq!(standings(&points), Err(NotANumber(1)));
}
