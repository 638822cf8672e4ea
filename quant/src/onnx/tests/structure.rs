use bitloop_core::graph::{Padding, Shape};

use super::*;

fn names(imported: &Imported) -> Vec<&str> {
    imported.model.graph.nodes.iter().map(|node| node.name.as_str()).collect()
}

#[test]
fn nodes_without_meaning_or_use_go() {
    let mut file = File::new(12, &[1, 2])
        .node("Identity", "x -> i", &[])
        .node("Relu", "i -> r", &[])
        .node("Dropout", "r -> d mask", &[])
        .node("Sigmoid", "x -> unused", &[])
        .node("NoSuchOperator", "x -> unused2", &[])
        .node("Identity", "d -> y", &[])
        .floats("unused3", &[1], &[1.0]);
    file.graph().node[1].name = "/block/Relu".to_owned();

    let imported = file.import().unwrap();

    assert_eq!(names(&imported), ["block"]);
    assert_eq!(run(&imported, &[-1.0, 1.0]), [0.0, 1.0]);
}

#[test]
fn zero_padding_joins_the_convolution_behind_it() {
    let file = |value: f32| {
        File::new(13, &[1, 1, 1, 2])
            .integers("pads", &[0, 0, 0, 1, 0, 0, 0, 2])
            .floats("v", &[], &[value])
            .floats("w", &[1, 1, 1, 1], &[1.0])
            .node("Pad", "x pads v -> p", &[])
            .node("Conv", "p w -> y", &[ints("pads", &[0, 1, 0, 0])])
    };

    assert_eq!(file(0.0).run(&[1.0, 2.0]), (vec!["conv2d"], vec![0.0, 0.0, 1.0, 2.0, 0.0, 0.0]));
    let imported = file(0.0).import().unwrap();
    let Op::Conv2d(conv) = only_op(&imported) else { panic!("{:?}", imported.model.graph) };
    assert_eq!(conv.padding, Padding { top: 0, left: 2, bottom: 0, right: 2 });
    assert_eq!(file(7.0).run(&[1.0, 2.0]), (vec!["pad", "conv2d"], vec![0.0, 7.0, 1.0, 2.0, 7.0, 7.0]));
}

#[test]
fn constants_behind_layers_join_them() {
    let file = File::new(9, &[1, 1, 1, 1])
        .floats("w", &[2, 1, 1, 1], &[1.0, 2.0])
        .floats("b", &[1, 2, 1, 1], &[10.0, 20.0])
        .floats("one", &[2], &[1.0, 1.0])
        .floats("nil", &[2], &[0.0, 0.0])
        .floats("scale", &[2, 1, 1], &[2.0, 3.0])
        .floats("shift", &[2, 1, 1], &[0.5, 0.25])
        .node("Conv", "x w -> c", &[])
        .node("Add", "c b -> s", &[])
        .node("BatchNormalization", "s one nil nil one -> n", &[float("epsilon", 1e-9)])
        .node("Mul", "n scale -> m", &[])
        .node("Add", "shift m -> y", &[]);

    let (kinds, y) = file.run(&[1.0]);

    assert_eq!(kinds, ["conv2d", "batch_norm"]);
    assert_near(&y, &[11.0 * 2.0 + 0.5, 22.0 * 3.0 + 0.25]);
}

#[test]
fn a_sum_that_is_read_twice_stays_beside_the_layer() {
    let file = File::new(9, &[1, 1])
        .floats("w", &[1, 1], &[2.0])
        .floats("b", &[1], &[1.0])
        .node("MatMul", "x w -> c", &[])
        .node("Add", "c b -> s", &[])
        .node("Mul", "s c -> y", &[]);

    assert_eq!(file.run(&[3.0]), (vec!["linear", "constant", "add", "mul"], vec![42.0]));
}

#[test]
fn images_with_channels_at_the_end_get_them_in_front() {
    let file = File::new(13, &[1, 2, 3, 1]).node("Transpose", "x -> t", &[ints("perm", &[0, 3, 1, 2])]).node(
        "Relu",
        "t -> y",
        &[],
    );

    let imported = file.import().unwrap();

    assert_eq!(imported.model.graph.input.shape, Shape::image(1, 2, 3));
    assert_eq!(only_op(&imported), &Op::Relu);
}

#[test]
fn files_list_nodes_in_any_order_and_weights_as_inputs() {
    let mut file = File::new(9, &[1, 2]).floats("c", &[2], &[1.0, 2.0]).node("Relu", "s -> y", &[]).node(
        "Add",
        "x c -> s",
        &[],
    );
    file.graph().input.push(value_info("c", &[2]));

    assert_eq!(file.run(&[-2.0, 0.0]), (vec!["constant", "add", "relu"], vec![0.0, 2.0]));
}

#[test]
fn auxiliary_outputs_are_left_and_others_are_named() {
    let mut file = File::new(13, &[1, 2]).node("Relu", "x -> r", &[]).node("Sigmoid", "r -> y", &[]);
    file.graph().output.insert(0, value_info("r", &[]));
    assert_eq!(names(&file.import().unwrap()), ["r", "y"]);

    file = file.node("HardSwish", "r -> z", &[]);
    file.proto.opset_import[0].version = 14;
    file.graph().output.push(value_info("z", &[]));
    assert_eq!(file.error(), "the model has several outputs: `y`, `z`; name the one to import");
    let named = |name: &str| {
        let options = ImportOptions { output: Some(name.to_owned()), ..ImportOptions::default() };
        file.import_with(&options).map(|imported| names(&imported).join(" ")).map_err(|e| e.to_string())
    };
    assert_eq!(named("z").unwrap(), "r z");
    assert_eq!(named("r").unwrap(), "r");
    assert_eq!(named("q").unwrap_err(), "the model has no output `q`; its outputs are `r`, `y`, `z`");
}

#[test]
fn an_open_size_is_asked_for_and_a_fixed_one_is_kept() {
    let file = File::new(13, &[0, 3, 0, 8]).node("Relu", "x -> y", &[]);
    let with = |shape: [usize; 3]| {
        let options = ImportOptions { input: Some(Shape(shape.to_vec())), ..ImportOptions::default() };
        file.import_with(&options).map(|imported| imported.model.graph.input.shape)
    };

    assert!(file.error().contains("shape (?, 3, ?, 8), which is not fixed"), "{}", file.error());
    assert_eq!(with([3, 4, 8]).unwrap(), Shape::image(3, 4, 8));
    assert!(with([3, 4, 9]).unwrap_err().to_string().contains("3x4x9 does not fit"));
}

#[test]
fn normalization_comes_from_the_caller_then_the_file_then_is_none() {
    let mut file = File::new(13, &[1, 2, 1, 1]).node("Relu", "x -> y", &[]);
    let input = |file: &File, options: &ImportOptions| file.import_with(options).unwrap().model.graph.input;
    let none = input(&file, &ImportOptions::default());
    assert_eq!((none.mean, none.std), (vec![0.0; 2], vec![1.0; 2]));

    let entry = |key: &str, value: &str| crate::onnx::schema::StringStringEntryProto {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let mean = entry(crate::onnx::MEAN_KEY, "0.5, 0.25");
    file.proto.metadata_props = vec![mean, entry(crate::onnx::STD_KEY, "2,4")];
    let stated = input(&file, &ImportOptions::default());
    assert_eq!((stated.mean, stated.std), (vec![0.5, 0.25], vec![2.0, 4.0]));

    let options = ImportOptions { mean: Some(vec![0.0, 1.0]), ..ImportOptions::default() };
    assert_eq!(input(&file, &options).mean, [0.0, 1.0]);

    file.proto.metadata_props[0].value = "a".to_owned();
    assert!(file.error().contains("`a`, which is no list of numbers"));
}
