//! What a report shows of searches that are not over.

use bitloop_core::plan::{Amount, SearchMethod};
use bitloop_core::report::{RowState, SearchReport};

use super::stages::{IMAGES, lost, search, staged, sweep};
use super::*;

/// Goes through an experiment and looks at its last search whenever something was measured and it is not over; returns
/// how often it had something to show.
fn watch(plan: Plan, look: impl Fn(&Driver, &SearchReport)) -> usize {
    let mut driver = Driver::new(plan);
    let mut shown = 0;
    driver.prepare();
    while driver.status() == "active" {
        driver.ask();
        driver.measure();
        let results = driver.results();
        let search = results.searches.last().unwrap();
        if !search.is_over && !search.top.is_empty() {
            look(&driver, search);
            shown += 1;
        }
    }
    shown
}

fn measured_lost(result: &RowState) -> u64 {
    let RowState::Done(measured) = result else { panic!("{result:?}") };
    measured.lost
}

#[test]
fn a_demotion_shows_what_saves_most_of_what_keeps_the_drop() {
    let allowed = IMAGES / 50;
    let plan = staged(4, Vec::new());
    let stages = vec![StagePlan::Prepare, search(SearchMethod::Demotion { drop_max_ppm: 20_000 }, None)];

    let shown = watch(Plan { stages, ..plan }, |driver, search| {
        let keep = driver.configs().into_iter().filter(|config| {
            lost(config) <= allowed && config.changes().all(|(_, choice)| choice != Choice::Float)
        });
        let most = keep.map(|config| config.changes().len()).max().unwrap();
        assert_eq!(search.top[0].row.changes.len(), most);
        assert!(search.top.iter().all(|top| measured_lost(&top.row.result) <= allowed));
        assert!(search.top.is_sorted_by_key(|top| std::cmp::Reverse(top.row.changes.len())));
    });

    assert!(shown > 2, "{shown}");
}

#[test]
fn a_set_search_with_a_limited_cost_shows_what_saves_most_of_it() {
    let limit = Some(("size_kib", Amount::OfBaselinePpm(1_000_000)));
    for method in [
        SearchMethod::Demotion { drop_max_ppm: 20_000 },
        SearchMethod::Amp { drop_max_ppm: Some(20_000) },
        SearchMethod::Amp { drop_max_ppm: None },
    ] {
        let plan = staged(3, Vec::new());
        let plan = Plan { stages: vec![StagePlan::Prepare, search(method, limit)], ..plan };

        let shown = watch(plan, |_, search| {
            assert!(search.top.is_sorted_by_key(|top| top.row.size_bits));
            for top in &search.top {
                assert_eq!(top.costs["size_kib"], top.row.size_bits as f64 / 8192.0);
                assert!(method.drop_max_ppm().is_none() || measured_lost(&top.row.result) <= IMAGES / 50);
            }
        });

        assert!(shown > 0, "{}", method.as_str());
    }
}

#[test]
fn a_predicting_search_shows_the_best_within_its_limits_from_whichever_stage() {
    let limits = Some(("size_bits", Amount::OfBaselinePpm(850_000)));
    let plan = staged(3, Vec::new());
    let stages = vec![StagePlan::Prepare, sweep(&plan, None, None), search(SearchMethod::Greedy, limits)];
    let size_max = 3.0 * 16.0 * 8.0 * 0.85;

    let shown = watch(Plan { stages, ..plan }, |driver, search| {
        let prices = driver.plan.points.iter().map(|point| point.name.ends_with(".weight"));
        let is_weight: Vec<bool> = prices.collect();
        let size = |config: &bitloop_core::bits::BitConfig| -> f64 {
            let saved = config.changes().map(|(point, choice)| match choice {
                Choice::Bits(bits) if is_weight[point.0 as usize] => 16.0 * f64::from(8 - bits.get()),
                Choice::Bits(_) | Choice::Float => 0.0,
            });
            3.0 * 16.0 * 8.0 - saved.sum::<f64>()
        };
        let within = driver.configs().into_iter().filter(|config| {
            size(config) <= size_max && config.changes().all(|(_, choice)| choice != Choice::Float)
        });
        assert_eq!(measured_lost(&search.top[0].row.result), within.map(lost).min().unwrap());
        assert!(search.top.iter().all(|top| top.costs["size_bits"] <= size_max));
        assert!(search.top.is_sorted_by_key(|top| measured_lost(&top.row.result)));
    });

    assert!(shown > 0);
}
