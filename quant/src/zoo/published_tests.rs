use bitloop_core::graph::{Graph, GraphError, Op, Shape};

use super::*;

fn zoo(name: &str, shape: Shape) -> Zoo {
    let architecture = architecture(name).unwrap();
    Zoo { input: Some(architecture.input(shape)), ..Zoo::published(architecture) }
}

fn macs(graph: &Graph) -> u64 {
    graph.layer_costs().unwrap().iter().map(|layer| layer.macs).sum()
}

fn normed_values(graph: &Graph) -> u64 {
    let shapes = graph.shapes().unwrap();
    let norms = graph.nodes.iter().zip(&shapes).filter(|(node, _)| matches!(node.op, Op::BatchNorm { .. }));
    norms.map(|(_, shape)| shape.elements() as u64).sum()
}

/// Shape of what the classifier averages.
fn last_feature_map(graph: &Graph) -> Shape {
    let index = graph.nodes.iter().position(|node| node.op == Op::GlobalAveragePool).unwrap();
    graph.shapes().unwrap()[index - 1].clone()
}

#[test]
fn efficientnet_lite_has_the_published_sizes() {
    // Source: the table of the model card in tensorflow/tpu, `models/official/efficientnet/lite`, in millions.
    let published = [
        ("efficientnet_lite0", 4.7, 407.0),
        ("efficientnet_lite1", 5.4, 631.0),
        ("efficientnet_lite2", 6.1, 899.0),
        ("efficientnet_lite3", 8.2, 1440.0),
        ("efficientnet_lite4", 13.0, 2640.0),
    ];
    for (name, parameters, multiplications) in published {
        let graph = Zoo::published(architecture(name).unwrap()).graph().unwrap();

        let found = graph.parameters().unwrap() as f64 / 1e6;
        assert!((found - parameters).abs() <= 0.05, "{name}: {found} M parameters");
        // The table is 3 to 6 % above the layers' multiplications: it fits to 0.4 % if each batch-normed value counts 3.
        let found = (macs(&graph) + 3 * normed_values(&graph)) as f64 / 1e6;
        assert!((found / multiplications - 1.0).abs() < 4e-3, "{name}: {found} M");
    }
}

#[test]
fn mobilenet_v1_has_the_published_size() {
    let graph = Zoo::published(architecture("mobilenet_v1").unwrap()).graph().unwrap();

    // Howard et al., 2017, table 4: 569 M multiply-adds, 4.2 M parameters.
    assert_eq!(macs(&graph), 568_740_352);
    assert_eq!(graph.parameters().unwrap(), 4_231_976);
}

#[test]
fn published_strides_halve_five_times_and_small_images_keep_the_first_two_halvings() {
    for name in architectures() {
        for (size, published, small) in [(32, 1, 4), (28, 1, 4), (64, 2, 8)] {
            let zoo = zoo(name, Shape::image(3, size, size));
            let small_images = Zoo { strides: Strides::SmallImages, ..zoo.clone() };

            let last = |zoo: &Zoo| last_feature_map(&zoo.graph().unwrap()).0[1..].to_vec();
            assert_eq!(last(&zoo), [published; 2], "{name} at {size}");
            assert_eq!(last(&small_images), [small; 2], "{name} at {size}");
        }
    }
}

#[test]
fn strides_change_no_weight() {
    for name in architectures() {
        let zoo = zoo(name, Shape::image(3, 32, 32));
        let small_images = Zoo { strides: Strides::SmallImages, ..zoo.clone() };

        let tensors = |zoo: &Zoo| crate::model::expected_tensors(&zoo.graph().unwrap()).unwrap();
        assert_eq!(tensors(&zoo), tensors(&small_images), "{name}");
    }
}

#[test]
fn a_grey_image_goes_through_the_shim() {
    for name in architectures() {
        let grey = zoo(name, Shape::image(1, 28, 28)).graph().unwrap();
        let colour = zoo(name, Shape::image(3, 28, 28)).graph().unwrap();

        assert_eq!(grey.nodes[0].name, "shim");
        assert_eq!(grey.shapes().unwrap()[0], Shape::image(3, 28, 28));
        assert_eq!(grey.parameters().unwrap(), colour.parameters().unwrap() + 6, "{name}");
        assert_eq!(grey.nodes.len(), colour.nodes.len() + 1);
        assert!(colour.node("shim").is_none());
    }
}

#[test]
fn the_classifier_has_as_many_outputs_as_classes() {
    for name in architectures() {
        let seven = Zoo { classes: Some(7), ..zoo(name, Shape::image(3, 40, 33)) };
        let graph = seven.graph().unwrap();

        assert_eq!(graph.shapes().unwrap().last(), Some(&Shape(vec![7])), "{name}");
        assert_eq!(graph.logits().unwrap(), seven.architecture.classifier, "{name}");
    }
}

#[test]
fn points_keep_the_dots_of_torchvision_names_and_patterns_find_them() {
    let graph = zoo("resnet18", Shape::image(3, 32, 32)).graph().unwrap();
    let points = graph.points().unwrap();

    let found = |pattern: &str| {
        let names = points.iter().map(|point| point.name.as_str());
        names.filter(|name| bitloop_core::spec::matches(pattern, name)).count()
    };
    assert_eq!(found("layer1.0.conv1.weight"), 1);
    assert_eq!(found("layer1.0.relu_1.output"), 1);
    assert_eq!(found("layer1.*.weight"), 4);
    assert_eq!(found("layer1*.weight"), 4);
    assert_eq!(found("*.downsample.0.weight"), 3);
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let message = architecture("resnet19").unwrap_err().to_string();

    assert!(message.contains("`resnet19`"), "{message}");
    for name in architectures() {
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn inputs_that_make_no_sense_are_refused() {
    for name in architectures() {
        let flat = zoo(name, Shape(vec![784]));
        assert_eq!(flat.graph(), Err(ZooError::NoImage(Shape(vec![784]))));
        for shape in [Shape::image(3, 0, 32), Shape::image(3, usize::MAX, 2), Shape::image(0, 8, 8)] {
            let refused = zoo(name, shape.clone()).graph();
            assert_eq!(refused, Err(ZooError::Graph(GraphError::Input { shape })), "{name}");
        }
        let no_classes = Zoo { classes: Some(0), ..zoo(name, Shape::image(3, 32, 32)) };
        assert!(matches!(no_classes.graph(), Err(ZooError::Graph(GraphError::Parameter { .. }))));
    }
}
