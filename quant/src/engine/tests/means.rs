//! Means over every choice of axes, and halves among them.

use super::*;
use crate::quantizer::{Encoding, Grid};

/// The mean over some axes of the images, cut into a tensor of a shape.
fn mean_of(shape: &[usize], axes: Vec<usize>, keep: bool) -> Arc<Prepared> {
    let input = Input { shape: Shape::image(1, 8, 8), mean: vec![0.4], std: vec![0.3] };
    let mut graph = Graph::new("mean", input);
    graph.push("cut", Op::Reshape { shape: shape.to_vec() }, &[INPUT]);
    graph.push("mean", Op::Mean { axes, keep }, &["cut"]);
    let model = Model::new(graph, Default::default()).unwrap();
    Arc::new(prepared(&model, ImageRange { start: 0, len: 4 }))
}

#[test]
fn means_over_any_axes_are_those_of_the_walk_over_the_graph() {
    for shape in [&[4, 16][..], &[2, 4, 8], &[2, 8, 1, 4]] {
        for chosen in 1..1_usize << shape.len() {
            let axes: Vec<usize> = (0..shape.len()).filter(|axis| chosen >> axis & 1 == 1).collect();
            for keep in [true, false] {
                if !keep && axes.len() == shape.len() {
                    // Nothing would be left.
                    continue;
                }
                let prepared = mean_of(shape, axes.clone(), keep);
                let float = vec![Choice::Float; prepared.points.len()];
                let engine =
                    Engine::new(Arc::clone(&prepared), "mean", Numerics::Exact, Isa::best()).unwrap();

                let (found, _) = computed(&engine, std::slice::from_ref(&float), 32, PLENTY);
                let expected = composed_logits(&prepared, &float, IMAGES);

                assert_eq!(found[0].len(), expected.len());
                for (found, expected) in found[0].iter().zip(&expected) {
                    assert!((found - expected).abs() < 1e-5, "{shape:?} {axes:?} {keep}: {found} {expected}");
                }
            }
        }
    }
}

/// A pooling on its input's grid, of which zero has an odd code and each step is a power of two.
fn pooled_on_one_grid() -> Arc<Prepared> {
    let input = Input { shape: Shape::image(1, 8, 8), mean: vec![0.4], std: vec![0.3] };
    let mut graph = Graph::new("pool", input);
    let pool = Pool { kernel: [2, 2], stride: [2, 2], padding: Padding::default(), count_padding: false };
    graph.push("pool", Op::AveragePool(pool), &[INPUT]);
    let encoding = Encoding::given(Grid::new(0, 255, false).unwrap(), vec![1.0 / 64.0], vec![-101]).unwrap();
    let model = Model::new(graph, Default::default()).unwrap();
    let model = model.with_encodings([("input.output".to_owned(), encoding)].into()).unwrap();
    let mut prepared = prepared(&model, ImageRange { start: 0, len: 4 });
    prepared.points.truncate(1);
    prepared.points[0].tensors.push("pool".to_owned());
    Arc::new(prepared)
}

#[test]
fn halves_go_the_same_way_in_every_arithmetic() {
    let prepared = pooled_on_one_grid();
    let config = [bits(8)];
    let expected = composed_logits(&prepared, &config, IMAGES);
    for numerics in [Numerics::Float, Numerics::Exact] {
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let engine = Engine::new(Arc::clone(&prepared), "pool", numerics, isa).unwrap();

            let (found, _) = computed(&engine, &[config.to_vec()], 32, PLENTY);

            assert!(found[0] == expected, "{numerics:?} {isa:?}");
        }
    }
}
