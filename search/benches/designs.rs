//! What finding configs of designs takes: `cargo bench -p bitloop-search --bench designs`.

#[path = "common/clock.rs"]
mod clock;

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;
use bitloop_core::rng::rng;
use bitloop_search::design::{Design, Items, Pairs, Promising, SubsetSizes, Subsets};
use bitloop_search::space::{Space, Variable};

use crate::clock::median_ms;

const VARIABLES: usize = 102;
const CONFIGS: u64 = 10_000;

fn main() {
    let widths = || [2, 3, 4, 6, 8].map(|bits| Bits::new(bits).expect("these are widths")).to_vec();
    let variable =
        |index| Variable { name: format!("point_{index}"), kind: PointKind::Weight, widths: widths() };
    let space = Space { variables: (0..VARIABLES).map(variable).collect() };
    let items = Items::all(&space);
    let mut rng = rng(1, 0);
    let damages: Vec<f64> = (0..items.len()).map(|_| rng.normal()).collect();
    let sizes = SubsetSizes { min: 3, max: 41, step: 1 };
    let promising = Promising::new(&items, &damages).expect("damages are numbers");
    let subsets = Subsets::new(items.clone(), sizes, 5_000_000, 1).expect("sizes are sound");
    let pairs = Pairs::new(items);

    let designs: [(&str, &dyn Design); 3] =
        [("pairs", &pairs), ("promising pairs", &promising), ("subsets", &subsets)];
    for (name, design) in designs {
        let stride = design.len() / CONFIGS;
        let taken = median_ms(5, || {
            let lengths =
                (0..CONFIGS).filter_map(|index| design.get(index * stride)).map(|config| config.len());
            std::hint::black_box(lengths.sum::<usize>());
        });
        eprintln!("{name:18} {:8.0} ns per config of {}", taken * 1e6 / CONFIGS as f64, design.len());
    }
    let taken = median_ms(5, || {
        std::hint::black_box(promising.iter_from(0).map(|config| config.len()).sum::<usize>());
    });
    eprintln!(
        "promising in order {:8.0} ns per config of {}",
        taken * 1e6 / promising.len() as f64,
        promising.len()
    );
}
