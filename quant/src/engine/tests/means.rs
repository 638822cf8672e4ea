//! Means over every choice of axes.

use super::*;

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
