//! How well predictors do on measured rows that they did not see.

#[path = "common/held_out.rs"]
mod held_out;

use bitloop_search::predict::{Method, fit};

use held_out::{Figures, Share, folder, read, split};

const SEEDS: u64 = 5;

/// A setting with the least that held-out figures may be: Pearson, and Pearson within one number of changes.
type Floor = (Share, f64, f64);

fn check(model: &str, floors: &[Floor]) {
    let Some(folder) = folder() else { return };
    let all = read(&folder, model).measurements;
    for &(share, pearson, within) in floors {
        let figures: Vec<Figures> = (0..SEEDS)
            .map(|seed| {
                let (fitted, held_out) = split(&all, share, seed);
                let predictor = fit(Method::Auto, &fitted).expect("published rows can be fitted");
                Figures::of(predictor.as_ref(), &all, &held_out)
            })
            .collect();
        let found = Figures::mean(&figures);
        eprintln!("{model} {share:?}: {found:?}");
        assert!(found.pearson >= pearson, "{model} {share:?}: {found:?}");
        assert!(found.within >= within, "{model} {share:?}: {found:?}");
        assert!((0.85..=0.95).contains(&found.coverage), "{model} {share:?}: {found:?}");
    }
}

#[test]
fn golden_mobilenetv2_rows_that_were_held_out_are_predicted() {
    check(
        "MobilenetV2",
        &[
            (Share::Part(0.2), 0.9960, 0.990),
            (Share::Part(0.5), 0.9970, 0.993),
            (Share::Subsets(200), 0.9865, 0.965),
            (Share::Subsets(1000), 0.9945, 0.986),
        ],
    );
}

#[test]
fn golden_resnet50_rows_that_were_held_out_are_predicted() {
    check(
        "Resnet50",
        &[
            (Share::Part(0.2), 0.9960, 0.964),
            (Share::Part(0.5), 0.9970, 0.971),
            (Share::Subsets(200), 0.9930, 0.940),
            (Share::Subsets(1000), 0.9960, 0.964),
        ],
    );
}

#[test]
fn golden_a_fit_is_the_same_every_time() {
    let Some(folder) = folder() else { return };
    let (fitted, held_out) = split(&read(&folder, "Resnet50").measurements, Share::Part(0.1), 7);

    let forms = [0, 1].map(|_| fit(Method::Auto, &fitted).expect("published rows can be fitted"));

    for row in held_out.iter().take(100) {
        let levels = row.levels(&fitted.space);
        assert_eq!(forms[0].predict(&levels), forms[1].predict(&levels));
    }
}
