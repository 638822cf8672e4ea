//! Data artifacts of every format, as they were written.

use super::*;
use crate::golden;

const FILE: &str = "data/golden/images_1.safetensors";

/// Two images of another extent along every axis.
fn images() -> Images {
    let pixels = (0..12).map(|index| index * 23).collect();
    Images { shape: Shape::image(2, 1, 3), pixels, labels: vec![4, 0], classes: 5 }
}

#[test]
fn images_of_format_1_are_read_and_written_byte_for_byte() {
    let golden = golden::asserted(FILE, &images().to_bytes());

    let read = Images::from_bytes(&golden).unwrap();

    assert_eq!(read, images());
    assert_eq!(read.to_bytes(), golden);
}

#[test]
fn newer_images_are_refused_with_both_formats() {
    let newer = golden::newer(&images().to_bytes(), "bitloop.data_format");

    let refused = Images::from_bytes(&newer).unwrap_err();

    assert!(matches!(&refused, DataError::Version { found, supported: "1" } if found == "2"), "{refused}");
    let said = refused.to_string();
    assert!(said.contains("`2`") && said.contains("`1`"), "{said}");
}
