use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::rng::rng;
use proptest::prelude::*;

use super::*;

/// Items of variables 0, 2, 4 and so on with this many levels each.
fn items(counts: &[u8]) -> Items {
    let levels = |(index, count): (usize, &u8)| (0..*count).map(move |level| (2 * index as u32, level));
    Items::sorted(counts.iter().enumerate().flat_map(levels))
}

fn all(design: &dyn Design) -> Vec<Vec<Change>> {
    (0..design.len()).map(|index| design.get(index).unwrap()).collect()
}

fn subsets(counts: &[u8], (min, max): (u32, u32), configs: u64, seed: u64) -> Subsets {
    Subsets::new(items(counts), SubsetSizes { min, max, step: 1 }, configs, seed).unwrap()
}

fn is_sound(config: &[Change], counts: &[u8]) -> bool {
    let valid = |(variable, level): &Change| variable % 2 == 0 && *level < counts[*variable as usize / 2];
    config.iter().all(valid) && config.is_sorted_by(|a, b| a.0 < b.0)
}

/// All pairs of items of different variables, the later item in order.
fn true_pairs(items: &Items) -> Vec<Vec<Change>> {
    let items: Vec<Change> = items.iter().collect();
    let before = |(index, later): (usize, &Change)| {
        let partners = items[..index].iter().filter(|item| item.0 != later.0);
        partners.map(|earlier| vec![*earlier, *later]).collect::<Vec<_>>()
    };
    items.iter().enumerate().flat_map(before).collect()
}

#[test]
fn singles_are_the_items() {
    let items = items(&[2, 1, 3]);

    let design = Singles::new(items.clone());

    assert_eq!(all(&design), [(0, 0), (0, 1), (2, 0), (4, 0), (4, 1), (4, 2)].map(|item| vec![item]));
    assert_eq!(all(&design).concat(), items.iter().collect::<Vec<_>>());
    assert_eq!((design.get(6), items.variables()), (None, 3));
}

#[test]
fn an_item_whose_damage_equals_the_quantile_is_left_out() {
    let items = items(&[2, 1, 2]);
    let kept = items.below_quantile(&[3.0, 1.0, 0.5, 3.0, -1.0], 0.75).unwrap();

    assert_eq!(kept.iter().collect::<Vec<_>>(), [(0, 1), (2, 0), (4, 1)]);
    assert!(items.below_quantile(&[1.0; 5], 0.75).unwrap().is_empty());
}

#[test]
fn mistakes_are_refused() {
    let items = items(&[2, 1]);
    let sizes = |min, max, step| Subsets::new(items.clone(), SubsetSizes { min, max, step }, 1, 0).err();

    assert_eq!(items.below_quantile(&[1.0], 0.5), Err(DesignError::Damages { damages: 1, items: 3 }));
    assert_eq!(items.below_quantile(&[1.0, f64::NAN, 2.0], 0.5), Err(DesignError::NotFinite(1)));
    assert_eq!(items.below_quantile(&[1.0; 3], 1.5), Err(DesignError::Quantile(1.5)));
    assert_eq!(Promising::new(&items, &[0.0; 4]), Err(DesignError::Damages { damages: 4, items: 3 }));
    assert_eq!(sizes(0, 2, 1), Some(DesignError::Sizes { min: 0, max: 2, step: 1 }));
    assert_eq!(sizes(2, 1, 1), Some(DesignError::Sizes { min: 2, max: 1, step: 1 }));
    assert_eq!(sizes(1, 2, 0), Some(DesignError::Sizes { min: 1, max: 2, step: 0 }));
    assert_eq!(sizes(1, 2, 1), None);
}

#[test]
fn nothing_to_lower_gives_empty_designs() {
    let none = items(&[]);

    assert!(Singles::new(none.clone()).is_empty());
    assert!(Pairs::new(none.clone()).is_empty() && Pairs::new(none.clone()).get(0).is_none());
    assert!(Promising::new(&none, &[]).unwrap().is_empty());
    assert!(Promising::new(&none, &[]).unwrap().iter_from(0).next().is_none());
    assert!(Subsets::new(none, SubsetSizes { min: 1, max: 3, step: 1 }, 10, 0).unwrap().is_empty());
    assert!(Pairs::new(items(&[4])).is_empty());
    assert!(Promising::new(&items(&[4]), &[0.0; 4]).unwrap().is_empty());
    assert!(subsets(&[2, 2], (3, 5), 10, 0).is_empty());
}

proptest! {
    #[test]
    fn pairs_are_all_pairs_once(counts in proptest::collection::vec(1_u8..5, 0..12)) {
        let items = items(&counts);

        let design = Pairs::new(items.clone());

        let found = all(&design);
        prop_assert_eq!(design.get(design.len()), None);
        prop_assert_eq!(found.len(), true_pairs(&items).len());
        prop_assert_eq!(
            found.into_iter().collect::<BTreeSet<_>>(),
            true_pairs(&items).into_iter().collect::<BTreeSet<_>>()
        );
    }

    #[test]
    fn pairs_of_fewer_variables_are_a_prefix(counts in proptest::collection::vec(1_u8..4, 1..10)) {
        let fewer = all(&Pairs::new(items(&counts[..counts.len() - 1])));
        let more = all(&Pairs::new(items(&counts)));

        prop_assert_eq!(&more[..fewer.len()], fewer);
    }

    #[test]
    fn promising_pairs_come_in_the_order_of_their_sums(
        counts in proptest::collection::vec(1_u8..4, 0..8),
        seed in any::<u64>(),
        values in 1_usize..50,
    ) {
        let items = items(&counts);
        let mut rng = rng(seed, 0);
        // Few different values, so that ties are common; zeros of both signs among them.
        let damages: Vec<f64> =
            (0..items.len()).map(|_| (rng.below(values) as f64 - 3.0) * if rng.uniform() < 0.5 { 0.1 } else { -0.1 }).collect();

        let design = Promising::new(&items, &damages).unwrap();

        let damage: BTreeMap<Change, f64> = items.iter().zip(damages).collect();
        let found = all(&design);
        for index in 0..=found.len() {
            prop_assert_eq!(&design.iter_from(index as u64).collect::<Vec<_>>(), &found[index..]);
        }
        let sums: Vec<f64> = found.iter().map(|pair| damage[&pair[0]] + damage[&pair[1]]).collect();
        prop_assert!(sums.is_sorted(), "{:?}", sums);
        prop_assert_eq!(found.len(), true_pairs(&items).len());
        prop_assert_eq!(
            found.into_iter().collect::<BTreeSet<_>>(),
            true_pairs(&items).into_iter().collect::<BTreeSet<_>>()
        );
    }

    #[test]
    fn subsets_are_distinct_sound_and_take_turns(
        counts in proptest::collection::vec(1_u8..4, 1..9),
        min in 1_u32..4,
        more in 0_u32..6,
        seed in any::<u64>(),
    ) {
        let design = subsets(&counts, (min, min + more), 500, seed);

        let found = all(&design);
        prop_assert_eq!(design.get(design.len()), None);
        prop_assert!(found.iter().all(|config| is_sound(config, &counts)));
        prop_assert!(found.iter().all(|config| (min..=min + more).contains(&(config.len() as u32))));
        prop_assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len());
        // No size is two ahead of another one that still comes later.
        let mut drawn = BTreeMap::new();
        for (index, config) in found.iter().enumerate() {
            *drawn.entry(config.len()).or_insert(0) += 1;
            for later in &found[index + 1..] {
                prop_assert!(drawn[&config.len()] <= drawn.get(&later.len()).copied().unwrap_or(0) + 1);
            }
        }
    }

    #[test]
    fn a_longer_design_begins_with_the_shorter_one(seed in any::<u64>(), configs in 0_u64..250) {
        let counts = [2, 1, 3, 1, 1, 2, 2];

        let (short, long) = (subsets(&counts, (1, 7), configs, seed), subsets(&counts, (1, 7), 250, seed));

        prop_assert_eq!(&all(&long)[..configs as usize], all(&short));
    }
}

#[test]
fn where_all_variables_have_as_many_levels_every_config_comes() {
    for (levels, expected) in [(1, 57), (2, 716)] {
        let design = subsets(&[levels; 6], (2, 9), u64::MAX, 3);

        let found = all(&design);

        // (1 + levels)^6, less the empty config and those of one variable.
        assert_eq!(found.len(), expected);
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), expected);
    }
}

#[test]
fn any_few_configs_are_spread_over_the_sizes() {
    let design = Subsets::new(items(&[1; 50]), SubsetSizes { min: 3, max: 41, step: 2 }, 4000, 1).unwrap();

    let sizes: Vec<usize> = all(&design).iter().map(Vec::len).collect();

    for block in sizes.chunks(20) {
        assert_eq!(block.iter().copied().collect::<BTreeSet<_>>(), (3..=41).step_by(2).collect());
    }
    let first: BTreeSet<usize> = sizes[..5].iter().copied().collect();
    let gaps = first.iter().zip(first.iter().skip(1)).map(|(a, b)| b - a).max().unwrap();
    assert!(gaps <= 14 && first.len() == 5, "{first:?}");
}

#[test]
fn variables_and_levels_are_equally_likely() {
    let counts = [3, 1, 3, 3, 2, 3, 1, 3, 3, 2].repeat(2);
    let design = subsets(&counts, (8, 8), 2000, 11);
    let mut times: BTreeMap<Change, f64> = BTreeMap::new();

    for (variable, level) in all(&design).into_iter().flatten() {
        *times.entry((variable, level)).or_default() += 1.0;
    }

    for (variable, count) in counts.iter().enumerate() {
        let of = |level: u8| times[&(2 * variable as u32, level)];
        let share = (0..*count).map(of).sum::<f64>() / 2000.0;
        // Five standard errors each; drawing without replacement makes them smaller, if anything.
        assert!((share - 0.4).abs() < 5.0 * (0.4_f64 * 0.6 / 2000.0).sqrt(), "{variable}: {share}");
        for level in 0..*count {
            let expected = 800.0 / f64::from(*count);
            assert!(
                (of(level) - expected).abs() < 5.0 * expected.sqrt(),
                "{variable} at {level}: {}",
                of(level)
            );
        }
    }
}

#[test]
fn pairs_of_variables_are_equally_likely_to_be_lowered_together() {
    let design = subsets(&[1; 30], (15, 15), 3000, 5);
    let mut together: BTreeMap<(u32, u32), f64> = BTreeMap::new();

    for config in all(&design) {
        for (index, (b, _)) in config.iter().enumerate() {
            for (a, _) in &config[..index] {
                *together.entry((*a, *b)).or_default() += 1.0;
            }
        }
    }

    let expected: f64 = 3000.0 * (15.0 * 14.0) / (30.0 * 29.0);
    let chi: f64 = together.values().map(|times| (times - expected).powi(2) / expected).sum();
    assert_eq!(together.len(), 435);
    // 434 terms with a mean of 1 - 0.24 each and a standard deviation of about 1.1; five of those of the sum.
    assert!((215.0..445.0).contains(&chi), "{chi}");
}

#[test]
fn other_seeds_give_other_subsets() {
    assert_ne!(all(&subsets(&[2; 40], (5, 20), 50, 1)), all(&subsets(&[2; 40], (5, 20), 50, 2)));
}

#[test]
fn spaces_beyond_all_counting_give_distinct_configs_too() {
    let counts = [7; 400];
    // 400 choose 200 is about 10^119; the levels of even one subset of 100 are 10^84.
    let design = subsets(&counts, (100, 200), 2000, 9);

    let found = all(&design);

    assert!(found.iter().all(|config| is_sound(config, &counts)));
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 2000);
}

#[test]
fn the_one_subset_of_all_variables_comes_with_other_levels_each_time() {
    // One subset, whose levels are more than 2^128.
    let counts = [3; 90];
    let design = subsets(&counts, (90, 90), 1000, 2);

    let found = all(&design);

    assert!(found.iter().all(|config| config.len() == 90 && is_sound(config, &counts)));
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), 1000);
}
