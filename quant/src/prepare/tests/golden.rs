//! Prepared models of every format, as they were written.

use super::*;
use crate::golden;

const FILE: &str = "prepare/golden/prepared_1.safetensors";

/// Every point at two widths, weights with a scale per channel.
fn encodings(points: &[Point]) -> BTreeMap<(usize, Bits), Encoding> {
    let mut encodings = BTreeMap::new();
    for (index, point) in points.iter().enumerate() {
        let first = 0.1 + index as f32;
        for width in [4, 8] {
            let encoding = match (point.kind, golden::graph().node(&point.node).map(|node| &node.op)) {
                (PointKind::Weight, Some(Op::Conv2d(_))) => {
                    Encoding::given(Grid::symmetric(bits(width)), vec![first, 0.7], vec![0; 2])
                }
                (PointKind::Weight, _) => {
                    Encoding::given(Grid::symmetric(bits(width)), vec![first, 0.3, 2.0], vec![0; 3])
                }
                (PointKind::Activation, _) => {
                    Encoding::given(Grid::asymmetric(bits(width)), vec![first], vec![-i32::from(width)])
                }
            };
            encodings.insert((index, bits(width)), encoding.unwrap());
        }
    }
    encodings
}

/// Biases by layer and width.
fn corrected() -> BTreeMap<(String, Bits), Vec<f32>> {
    let of = |layer: &str, width, values: &[f32]| ((layer.to_owned(), bits(width)), values.to_vec());
    [of("conv", 4, &[0.25, -1.1]), of("conv", 8, &[0.125, -1.5]), of("dense", 4, &[0.0, 1.3, -0.5])].into()
}

fn golden_prepared() -> Prepared {
    let points = golden::graph().points().unwrap();
    let encodings = encodings(&points);
    let tensors = corrected().into_iter().map(|(key, values)| {
        let len = values.len();
        (key, Tensor::from_vec(values, len, &Device::Cpu).unwrap())
    });
    let corrected = tensors.collect();
    Prepared { model: golden::model(), points, biases: Biases::Int32, encodings, corrected }
}

#[test]
fn a_prepared_model_of_format_1_is_read_and_written_byte_for_byte() {
    let golden = golden::asserted(FILE, &golden_prepared().to_bytes().unwrap());

    let read = Prepared::from_bytes(&golden).unwrap();

    golden::assert_is_the_model(&read.model);
    assert_eq!(read.points, golden::graph().points().unwrap());
    assert_eq!(read.points.len(), 5);
    assert_eq!(read.biases, Biases::Int32);
    assert_eq!(read.encodings, encodings(&read.points));
    let biases = read.corrected.iter().map(|(key, bias)| (key.clone(), bias.to_vec1::<f32>().unwrap()));
    assert_eq!(biases.collect::<BTreeMap<_, _>>(), corrected());
    assert_eq!(read.to_bytes().unwrap(), golden);
}

#[test]
fn a_newer_prepared_model_is_refused_with_both_formats() {
    let newer = golden::newer(&golden_prepared().to_bytes().unwrap(), "bitloop.prepared");

    let refused = Prepared::from_bytes(&newer).unwrap_err();

    assert!(matches!(&refused, PrepareError::NotPrepared { .. }), "{refused}");
    assert!(refused.to_string().contains("its format is 2, this program reads 1"), "{refused}");
}
