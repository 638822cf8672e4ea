//! Prints how well each predictor does on published rows that it did not see, and how long a fit takes.
//!
//! `cargo bench -p bitloop-search --bench predict`

#[path = "common/clock.rs"]
mod clock;
#[path = "../tests/common/held_out.rs"]
mod held_out;

use bitloop_search::predict::{Method, fit};

use clock::median_ms;
use held_out::reference::word;
use held_out::{Figures, Share, models, split};

const SEEDS: u64 = 5;

fn main() {
    eprintln!("network | learned from | predictor | Pearson | Spearman | RMSE | within size | held | fit");
    for (expected, published) in models() {
        let (model, all) = (word(&expected["model"]), published.measurements);
        let settings = [
            Share::Subsets(50),
            Share::Subsets(200),
            Share::Subsets(1000),
            Share::Part(0.0),
            Share::Part(0.02),
            Share::Part(0.2),
            Share::Part(0.5),
        ];
        for share in settings {
            for method in [Method::Additive, Method::Published, Method::Ridge, Method::Quadratic] {
                let mut figures = Vec::new();
                for seed in 0..SEEDS {
                    let (fitted, held_out) = split(&all, share, seed);
                    let predictor = fit(method, &fitted).expect("published rows can be fitted");
                    figures.push(Figures::of(predictor.as_ref(), &all, &held_out));
                }
                let Figures { pearson, spearman, rmse, within, coverage } = Figures::mean(&figures);
                let (fitted, _) = split(&all, share, 0);
                let fit = median_ms(3, || drop(fit(method, &fitted)));
                eprintln!(
                    "{model} | {share:?} | {method} | {pearson:.4} | {spearman:.4} | {rmse:.3} | {within:.4} | \
                     {coverage:.3} | {fit:.0} ms"
                );
            }
        }
    }
}
