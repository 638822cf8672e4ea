use bitloop_core::bits::{BitConfig, Choice, PointIndex};
use bitloop_core::graph::{Graph, INPUT, Op};
use bitloop_quant::export::EncodingsVersion;
use bitloop_quant::export::{ExportError, Exported, bitconfig, choices_of, encodings, onnx};

use crate::networks::{Wanted, all, bits, images, small, with_weights};

#[test]
fn odd_widths_are_refused_with_the_points_and_the_way_out() {
    let graph = small();
    let shape = graph.input.shape.clone();
    let wanted = Wanted { widths: vec![2, 3, 5, 6, 7, 8], ..Wanted::default() };
    let prepared = wanted.prepare(&with_weights(graph), images(&shape));

    for width in [2, 3, 5, 6, 7] {
        let mut choices = all(&prepared, 8);
        choices[1] = Choice::Bits(bits(width));
        let exported = Exported::new(&prepared, choices).unwrap();

        let error = onnx(&exported).unwrap_err().to_string();

        let point = &prepared.points[1].name;
        assert!(error.contains(&format!("`{point}` has {width};")), "{error}");
        assert!(error.contains("encodings file"), "{error}");
        for version in EncodingsVersion::ALL {
            assert!(encodings(&exported, version).unwrap().contains(version.as_str()));
        }
    }
}

#[test]
fn widths_that_were_not_prepared_and_wrong_numbers_of_choices_are_refused() {
    let graph = small();
    let shape = graph.input.shape.clone();
    let prepared = Wanted::default().prepare(&with_weights(graph), images(&shape));

    let error = Exported::new(&prepared, all(&prepared, 4)).unwrap_err();
    assert!(matches!(error, ExportError::Prepared(_)), "{error}");
    let error = Exported::new(&prepared, vec![Choice::Float]).unwrap_err();
    assert!(matches!(error, ExportError::Choices { given: 1, .. }), "{error}");
}

#[test]
fn constants_alone_are_refused() {
    let mut graph = small();
    let shape = graph.input.shape.clone();
    graph.push("one", Op::Constant { shape: vec![4] }, &[]);
    graph.push("two", Op::Add, &["one", "one"]);
    graph.push("sum", Op::Add, &["fc", "two"]);
    let prepared = Wanted::default().prepare(&with_weights(graph), images(&shape));

    let error = onnx(&Exported::new(&prepared, all(&prepared, 8)).unwrap()).unwrap_err();

    assert!(matches!(&error, ExportError::Constant { node } if node == "two"), "{error}");
}

#[test]
fn a_node_with_the_name_of_a_weight_is_refused() {
    let mut graph = Graph::new("names", small().input);
    let Op::Conv2d(conv) = small().nodes[0].op.clone() else { panic!("a convolution") };
    graph.push("a", Op::Conv2d(conv), &[INPUT]);
    graph.push("a.weight", Op::Relu, &["a"]);
    let shape = graph.input.shape.clone();
    let prepared = Wanted::default().prepare(&with_weights(graph), images(&shape));

    let error = onnx(&Exported::new(&prepared, all(&prepared, 8)).unwrap()).unwrap_err();

    assert!(matches!(&error, ExportError::Name { name } if name == "a.weight"), "{error}");
}

#[test]
fn a_bit_config_file_survives_its_text() {
    let graph = small();
    let shape = graph.input.shape.clone();
    let prepared =
        Wanted { widths: vec![8, 4], ..Wanted::default() }.prepare(&with_weights(graph), images(&shape));
    let eight = Choice::Bits(bits(8));
    let config =
        BitConfig::against(eight, [(PointIndex(0), Choice::Float), (PointIndex(2), Choice::Bits(bits(4)))]);
    let exported = Exported::at(&prepared, &config, eight).unwrap();

    let text = bitconfig(&exported);

    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[1], format!("  \"{}\": 32,", prepared.points[0].name));
    assert_eq!(lines[3], format!("  \"{}\": 4,", prepared.points[2].name));
    assert_eq!(lines.len(), prepared.points.len() + 2);
    assert_eq!(choices_of(&prepared, &text, Choice::Float).unwrap(), exported.choices());
    assert_eq!(choices_of(&prepared, "{}", eight).unwrap(), all(&prepared, 8));

    let refused = |text: &str| choices_of(&prepared, text, eight).unwrap_err();
    assert!(matches!(refused("[1]"), ExportError::NotBitConfig { .. }));
    assert!(matches!(refused("{\"nowhere\": 8}"), ExportError::UnknownPoint { .. }));
    let named = |width: &str| format!("{{\"{}\": {width}}}", prepared.points[0].name);
    assert!(matches!(refused(&named("9")), ExportError::Width { bits: 9, .. }));
    assert!(matches!(refused(&named("\"8\"")), ExportError::NotBitConfig { .. }));
}
