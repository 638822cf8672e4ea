//! How well predictors do on measured rows that they did not see.

#[path = "common/held_out.rs"]
mod held_out;

use bitloop_search::predict::{Method, fit};

use held_out::reference::{number, word};
use held_out::{Figures, Share, models, split};

const SEEDS: u64 = 5;

/// The least that held-out figures of a model may be: Pearson, and Pearson within one number of changes.
type Floor = (Share, f64, f64);

const FLOORS: [(&str, [Floor; 4]); 2] = [
    (
        "mobilenetv2",
        [
            (Share::Part(0.2), 0.9960, 0.990),
            (Share::Part(0.5), 0.9970, 0.993),
            (Share::Subsets(200), 0.9865, 0.965),
            (Share::Subsets(1000), 0.9945, 0.986),
        ],
    ),
    (
        "resnet50",
        [
            (Share::Part(0.2), 0.9960, 0.964),
            (Share::Part(0.5), 0.9970, 0.971),
            (Share::Subsets(200), 0.9930, 0.940),
            (Share::Subsets(1000), 0.9960, 0.964),
        ],
    ),
];

/// Floors of a model; one that is not listed is to be predicted at least as well as by the published model.
fn floors(model: &str, published: f64) -> Vec<Floor> {
    match FLOORS.iter().find(|(name, _)| model.to_lowercase() == *name) {
        Some((_, floors)) => floors.to_vec(),
        None => vec![(Share::Part(0.2), published, 0.0), (Share::Part(0.5), published, 0.0)],
    }
}

#[test]
fn golden_rows_that_were_held_out_are_predicted() {
    for (expected, published) in models() {
        let model = word(&expected["model"]);
        let all = published.measurements;
        for (share, pearson, within) in floors(&model, number(&expected["pearson"])) {
            let of_seed = |seed| {
                let (fitted, held_out) = split(&all, share, seed);
                let predictor = fit(Method::Auto, &fitted).expect("published rows can be fitted");
                Figures::of(predictor.as_ref(), &all, &held_out)
            };
            let found = Figures::mean(&(0..SEEDS).map(of_seed).collect::<Vec<_>>());
            eprintln!("{model} {share:?}: {found:?}");
            assert!(found.pearson >= pearson, "{model} {share:?}: {found:?}");
            assert!(found.within >= within, "{model} {share:?}: {found:?}");
            assert!((0.85..=0.95).contains(&found.coverage), "{model} {share:?}: {found:?}");
        }
    }
}

#[test]
fn golden_a_fit_is_the_same_every_time() {
    for (_, published) in models() {
        let (fitted, held_out) = split(&published.measurements, Share::Part(0.1), 7);

        let forms = [0, 1].map(|_| fit(Method::Auto, &fitted).expect("published rows can be fitted"));

        for row in held_out.iter().take(100) {
            let levels = row.levels(&fitted.space);
            assert_eq!(forms[0].predict(&levels), forms[1].predict(&levels));
        }
    }
}
