//! Model files of every format, as they were written.

use super::*;
use crate::golden;

const FILE: &str = "model/golden/model_1.safetensors";

fn encodings() -> BTreeMap<String, Encoding> {
    let given = |[qmin, qmax]: [i32; 2], symmetric, scale: &[f32], offset: &[i32]| {
        let grid = Grid::new(qmin, qmax, symmetric).unwrap();
        Encoding::given(grid, scale.to_vec(), offset.to_vec()).unwrap()
    };
    let encodings = [
        ("conv.weight", given([-8, 7], true, &[0.1, 0.75], &[0, 0])),
        ("relu.output", given([0, 255], false, &[0.3], &[-17])),
    ];
    encodings.map(|(point, encoding)| (point.to_owned(), encoding)).into()
}

#[test]
fn a_model_of_format_1_is_read_and_written_byte_for_byte() {
    let written = golden::model().with_encodings(encodings()).unwrap().to_bytes().unwrap();
    let golden = golden::asserted(FILE, &written);

    let read = Model::from_bytes(&golden).unwrap();

    golden::assert_is_the_model(&read);
    assert_eq!(read.encodings, encodings());
    assert_eq!(read.to_bytes().unwrap(), golden);
}

#[test]
fn a_newer_model_is_refused_with_both_formats() {
    let written = golden::model().to_bytes().unwrap();

    let refused = Model::from_bytes(&golden::newer(&written, "bitloop.format")).unwrap_err();

    assert!(matches!(&refused, ModelError::Version { found, supported: "1" } if found == "2"), "{refused}");
    let said = refused.to_string();
    assert!(said.contains("`2`") && said.contains("`1`"), "{said}");
}
