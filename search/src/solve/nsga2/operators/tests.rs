use bitloop_core::rng::rng;

use super::super::Settings;
use super::*;

/// The lower child of real-valued crossover for one uniform draw, before rounding; small draws give the far ones.
fn real_lower_child(low: f64, high: f64, draw: f64, eta: f64) -> f64 {
    let widest = 1.0 + 2.0 * low / (high - low);
    let alpha = 2.0 - widest.powf(-(eta + 1.0));
    let draw = 1.0 - draw;
    let base = if draw * alpha <= 1.0 { draw * alpha } else { 1.0 / (2.0 - draw * alpha) };
    0.5 * (low + high - base.powf(1.0 / (eta + 1.0)) * (high - low))
}

/// Real-valued mutation for one uniform draw, before rounding.
fn real_mutated(from: f64, top: f64, draw: f64, eta: f64) -> f64 {
    let power = |base: f64| base.powf(eta + 1.0);
    let root = |base: f64| base.powf(1.0 / (eta + 1.0));
    let step = if draw <= 0.5 {
        root(2.0 * draw + (1.0 - 2.0 * draw) * power(1.0 - from / top)) - 1.0
    } else {
        1.0 - root(2.0 * (1.0 - draw) + 2.0 * (draw - 0.5) * power(from / top))
    };
    from + step * top
}

/// Whether a level is what `real` rounds to, give or take what powers are rounded by.
fn rounds_to(real: f64, level: u8) -> bool {
    (real - f64::from(level)).abs() <= 0.5 + 1e-9
}

#[test]
fn tables_give_what_the_real_operators_round_to() {
    for (levels, eta) in [(2_u8, 3.0), (3, 0.0), (5, 3.0), (5, 20.0), (8, 2.5)] {
        let Settings { mut crossover, mut mutation, .. } = Settings::published(0);
        (crossover.eta, mutation.eta) = (eta, eta);
        let table = Table::new(usize::from(levels), &crossover, &mutation);
        let top = f64::from(levels - 1);
        for draw in (0..2000).map(|step| (f64::from(step) + 0.37) / 2000.0) {
            for low in 0..levels {
                let mutated = table.mutated(low, draw);
                assert!(
                    rounds_to(real_mutated(f64::from(low), top, draw, eta), mutated),
                    "{low} {draw} {eta}"
                );
                for high in low + 1..levels {
                    let [a, b] = table.crossed(low, high, draw);
                    let (low, high) = (f64::from(low), f64::from(high));
                    let mirrored = top - real_lower_child(top - high, top - low, draw, eta);
                    assert!(
                        rounds_to(real_lower_child(low, high, draw, eta), a),
                        "{low} {high} {draw} {eta}"
                    );
                    assert!(rounds_to(mirrored, b), "{low} {high} {draw} {eta}");
                }
            }
        }
    }
}

#[test]
fn parents_that_agree_have_children_that_differ_by_mutation_alone() {
    let Settings { crossover, mutation, .. } = Settings::published(0);
    let still = Mutation { probability: 0.0, ..mutation };
    let parent = [0, 1, 2, 3, 4];

    let unchanged = Operators::new(&[5; 5], crossover, still).children([&parent; 2], &mut rng(1, 0));
    let operators = Operators::new(&[5; 5], crossover, mutation);
    let mut rng = rng(2, 0);
    let changes: usize = (0..2000)
        .flat_map(|_| operators.children([&parent; 2], &mut rng))
        .map(|child| child.iter().zip(parent).filter(|(level, before)| **level != *before).count())
        .sum();

    assert_eq!(unchanged, [parent.to_vec(), parent.to_vec()]);
    // One variable per child is drawn on average, and rounding brings some of them back: less than one change each.
    assert!((1200..3600).contains(&changes), "{changes} changes of 4000 children");
}

#[test]
fn children_of_parents_that_differ_carry_levels_of_both() {
    let Settings { mut crossover, mutation, .. } = Settings::published(0);
    crossover.eta = 60.0;
    let still = Mutation { probability: 0.0, ..mutation };
    let operators = Operators::new(&[5; 400], crossover, still);
    let parents = [[0; 400], [4; 400]];

    let [a, b] = operators.children([&parents[0], &parents[1]], &mut rng(3, 0));

    // With so large an eta no child leaves its parent's level; half of the variables are mixed, half of those swapped.
    let swapped = a.iter().filter(|level| **level == 4).count();
    assert!((60..140).contains(&swapped), "{swapped} of 400");
    assert!(a.iter().zip(&b).all(|(a, b)| a + b == 4 && a % 4 == 0));
}
