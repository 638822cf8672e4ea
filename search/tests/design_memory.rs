//! What designs hold in memory.

use std::hint::black_box;

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;
use bitloop_search::design::{Design, Items, Pairs, Promising, SubsetSizes, Subsets};
use bitloop_search::space::{Space, Variable};

/// Variables of 4 and 8 bits.
fn space(variables: usize) -> Space {
    let widths = || [4, 8].map(|bits| Bits::new(bits).expect("4 and 8 are widths")).to_vec();
    let variable =
        |index| Variable { name: format!("point_{index}"), kind: PointKind::Weight, widths: widths() };
    Space { variables: (0..variables).map(variable).collect() }
}

/// Bytes that a value keeps, itself included.
fn kept<T>(make: impl FnOnce() -> T) -> u64 {
    let mut made = None;
    let taken = allocation_counter::measure(|| made = Some(make()));
    black_box(made);
    taken.bytes_current as u64 + size_of::<T>() as u64
}

#[test]
fn subsets_take_as_much_for_five_million_configs_as_for_one() {
    let items = Items::all(&space(102));
    let sizes = SubsetSizes { min: 3, max: 27, step: 1 };
    let of = |configs| kept(|| Subsets::new(items.clone(), sizes, configs, 1).expect("sizes are sound"));

    let (one, many) = (of(1), of(5_000_000));

    assert_eq!(one, many);
    // 9 bytes per variable with one item and at most 24 per size; the rest is the struct.
    assert!(many < 102 * 9 + 25 * 24 + 200, "{many} bytes");
}

#[test]
fn five_million_pairs_take_bytes_per_variable_alone() {
    let items = Items::all(&space(3200));
    let pairs = kept(|| Pairs::new(items.clone()));
    let promising = kept(|| Promising::new(&items, &vec![0.5; 3200]).expect("damages are numbers"));

    assert!(Pairs::new(items).len() > 5_000_000);
    assert!(pairs < 3200 * 17 + 200, "{pairs} bytes");
    assert!(promising < 3200 * 16 + 200, "{promising} bytes");
}
