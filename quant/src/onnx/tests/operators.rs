use super::*;

/// 1, 2, 3, ...
fn counting(n: usize) -> Vec<f32> {
    (1..=n).map(|value| value as f32).collect()
}

#[test]
fn a_convolution_reads_groups_pads_strides_and_dilation() {
    // Two groups of one channel: the identity and a sum over a dilated 2x1 window.
    let file = File::new(13, &[1, 2, 3, 2])
        .floats("w", &[2, 1, 2, 1], &[1.0, 0.0, 1.0, 1.0])
        .floats("b", &[2], &[0.0, 100.0])
        .node(
            "Conv",
            "x w b -> y",
            &[
                int("group", 2),
                ints("dilations", &[2, 1]),
                ints("pads", &[1, 0, 0, 0]),
                ints("strides", &[1, 2]),
                ints("kernel_shape", &[2, 1]),
            ],
        );

    let (kinds, y) = file.run(&counting(12));

    assert_eq!(kinds, ["conv2d"]);
    // Rows are padded to [0, row 0, row 1, row 2]; windows read rows (0, 2) and (1, 3); column 0 only.
    assert_near(&y, &[0.0, 1.0, 100.0 + 9.0, 100.0 + 7.0 + 11.0]);
}

#[test]
fn auto_pad_puts_the_odd_zero_where_it_says() {
    let file = |auto_pad| {
        File::new(13, &[1, 1, 1, 4]).floats("w", &[1, 1, 1, 2], &[1.0, 10.0]).node(
            "Conv",
            "x w -> y",
            &[text("auto_pad", auto_pad)],
        )
    };

    assert_near(&file("SAME_UPPER").run(&counting(4)).1, &[21.0, 32.0, 43.0, 4.0]);
    assert_near(&file("SAME_LOWER").run(&counting(4)).1, &[10.0, 21.0, 32.0, 43.0]);
    assert_near(&file("VALID").run(&counting(4)).1, &[21.0, 32.0, 43.0]);
}

#[test]
fn matrix_products_become_linear_layers() {
    let gemm = |attributes: &[_], dims: &[i64]| {
        File::new(13, &[1, 2]).floats("w", dims, &counting(6)).floats("b", &[3], &[1.0, 2.0, 3.0]).node(
            "Gemm",
            "x w b -> y",
            attributes,
        )
    };
    let stored_by_inputs = gemm(&[float("alpha", 2.0), float("beta", 3.0)], &[2, 3]);
    let stored_by_outputs = gemm(&[int("transB", 1)], &[3, 2]);

    assert_near(&stored_by_inputs.run(&[1.0, 10.0]).1, &[82.0 + 3.0, 104.0 + 6.0, 126.0 + 9.0]);
    assert_near(&stored_by_outputs.run(&[1.0, 10.0]).1, &[22.0, 45.0, 68.0]);

    let matmul = File::new(13, &[1, 2])
        .floats("w", &[2, 1], &[3.0, 4.0])
        .floats("b", &[1], &[0.5])
        .node("MatMul", "x w -> p", &[])
        .node("Add", "b p -> y", &[]);
    assert_eq!(matmul.run(&[1.0, 2.0]), (vec!["linear"], vec![11.5]));
}

#[test]
fn batch_norm_uses_its_statistics() {
    let file = File::new(9, &[1, 2, 1, 1])
        .floats("gamma", &[2], &[2.0, 1.0])
        .floats("beta", &[2], &[0.5, 0.0])
        .floats("mean", &[2], &[1.0, 0.0])
        .floats("var", &[2], &[4.0, 0.0])
        .node("BatchNormalization", "x gamma beta mean var -> y", &[float("epsilon", 1.0)]);

    let (kinds, y) = file.run(&[6.0, 3.0]);

    assert_eq!(kinds, ["batch_norm"]);
    assert_near(&y, &[2.0 * 5.0 / 5.0_f32.sqrt() + 0.5, 3.0]);
}

#[test]
fn rectifiers_and_curves_have_their_values() {
    let x = [-4.0, -1.0, 0.0, 2.0, 8.0];
    let one = |operator: &str, attributes: &[AttributeProto]| {
        File::new(14, &[1, 5]).node(operator, "x -> y", attributes).run(&x)
    };

    assert_eq!(one("Relu", &[]), (vec!["relu"], vec![0.0, 0.0, 0.0, 2.0, 8.0]));
    assert_eq!(one("LeakyRelu", &[float("alpha", 0.5)]).1, [-2.0, -0.5, 0.0, 2.0, 8.0]);
    assert_near(&one("HardSwish", &[]).1, &[0.0, -1.0 / 3.0, 0.0, 5.0 / 3.0, 8.0]);
    assert_near(&one("HardSigmoid", &[]).1, &[0.0, 0.3, 0.5, 0.9, 1.0]);
    let sigmoid = x.map(|x: f32| 1.0 / (1.0 + (-x).exp()));
    assert_near(&one("Sigmoid", &[]).1, &sigmoid);
}

#[test]
fn clip_reads_attributes_before_opset_11_and_inputs_after() {
    let attributes = |limits: &[AttributeProto]| {
        File::new(10, &[1, 4]).node("Clip", "x -> y", limits).run(&[-3.0, 1.0, 5.0, 9.0])
    };
    let inputs = |edges: &str| {
        File::new(11, &[1, 4])
            .floats("low", &[], &[0.0])
            .floats("high", &[], &[6.0])
            .node("Clip", edges, &[])
            .node("Relu", "c -> y", &[])
            .run(&[-3.0, 1.0, 5.0, 9.0])
            .0
    };

    assert_eq!(
        attributes(&[float("min", 0.0), float("max", 6.0)]),
        (vec!["relu6"], vec![0.0, 1.0, 5.0, 6.0])
    );
    assert_eq!(attributes(&[float("min", -1.0)]), (vec!["clip"], vec![-1.0, 1.0, 5.0, 9.0]));
    assert_eq!(inputs("x low high -> c"), ["relu6", "relu"]);
    assert_eq!(inputs("x low -> c"), ["relu", "relu"]);
    assert_eq!(inputs("x _ high -> c"), ["clip", "relu"]);
    assert_eq!(inputs("x -> c"), ["relu"]);
}

#[test]
fn slopes_are_per_channel_or_one_for_all() {
    let file = |dims: &[i64], slopes: &[f32]| {
        File::new(9, &[1, 2, 1, 2]).floats("s", dims, slopes).node("PRelu", "x s -> y", &[])
    };

    let per_channel = file(&[2, 1, 1], &[0.5, 0.25]).run(&[-2.0, 2.0, -4.0, 4.0]);
    assert_eq!(per_channel, (vec!["p_relu"], vec![-1.0, 2.0, -1.0, 4.0]));
    let single = file(&[1], &[0.5]).run(&[-2.0, 2.0, -4.0, 4.0]);
    assert_eq!(single, (vec!["leaky_relu"], vec![-1.0, 2.0, -2.0, 4.0]));
    assert!(file(&[1, 2], &[0.5, 0.25]).error().contains("one slope"));
}

#[test]
fn sums_products_and_differences_broadcast_constants() {
    let file = |operator: &str, edges: &str| {
        File::new(13, &[1, 2, 1, 2])
            .floats("c", &[1, 2, 1, 1], &[2.0, 4.0])
            .floats("s", &[], &[8.0])
            .node(operator, edges, &[])
            .run(&counting(4))
            .1
    };

    assert_eq!(file("Add", "x c -> y"), [3.0, 4.0, 7.0, 8.0]);
    assert_eq!(file("Mul", "c x -> y"), [2.0, 4.0, 12.0, 16.0]);
    assert_eq!(file("Sub", "x c -> y"), [-1.0, 0.0, -1.0, 0.0]);
    assert_eq!(file("Sub", "c x -> y"), [1.0, 0.0, 1.0, 0.0]);
    assert_eq!(file("Div", "x s -> y"), [0.125, 0.25, 0.375, 0.5]);
    assert_eq!(file("Sum", "x c x s -> y"), [12.0, 14.0, 18.0, 20.0]);
    assert_eq!(file("Mul", "x x -> y"), [1.0, 4.0, 9.0, 16.0]);
}

#[test]
fn pooling_rounds_up_and_counts_padding_as_the_file_says() {
    let file = |operator: &str, attributes: &[AttributeProto]| {
        let kernel = [ints("kernel_shape", &[1, 2]), ints("strides", &[1, 2])];
        let attributes = [&kernel[..], attributes].concat();
        File::new(11, &[1, 1, 1, 5]).node(operator, "x -> y", &attributes).run(&counting(5)).1
    };
    let padded = [ints("pads", &[0, 1, 0, 0])];
    let padded_counted = [ints("pads", &[0, 1, 0, 0]), int("count_include_pad", 1)];
    let up_counted = [int("ceil_mode", 1), int("count_include_pad", 1)];

    assert_eq!(file("MaxPool", &[]), [2.0, 4.0]);
    assert_eq!(file("MaxPool", &[int("ceil_mode", 1)]), [2.0, 4.0, 5.0]);
    assert_eq!(file("AveragePool", &[]), [1.5, 3.5]);
    assert_eq!(file("AveragePool", &padded), [1.0, 2.5, 4.5]);
    assert_eq!(file("AveragePool", &padded_counted), [0.5, 2.5, 4.5]);
    // What lies beyond the padding is never counted.
    assert_eq!(file("AveragePool", &up_counted), [1.5, 3.5, 5.0]);
}

#[test]
fn global_averages_and_means_reduce_their_axes() {
    let flattened = |operator: &str, attributes: &[AttributeProto], behind: &str| {
        File::new(13, &[1, 2, 1, 2])
            .integers("shape", &[0, -1])
            .node(operator, "x -> p", attributes)
            .node(behind, if behind == "Reshape" { "p shape -> y" } else { "p -> y" }, &[])
            .run(&counting(4))
    };
    let both = ints("axes", &[-1, 2]);

    let joined = (vec!["global_average_pool"], vec![1.5, 3.5]);
    assert_eq!(flattened("GlobalAveragePool", &[], "Flatten"), joined);
    assert_eq!(flattened("GlobalAveragePool", &[], "Reshape"), joined);
    assert_eq!(flattened("ReduceMean", std::slice::from_ref(&both), "Flatten"), joined);
    assert_eq!(
        flattened("ReduceMean", &[both, int("keepdims", 0)], "Relu").0,
        ["global_average_pool", "relu"]
    );
    assert_eq!(flattened("GlobalAveragePool", &[], "Relu").0, ["mean", "relu"]);
    assert_eq!(flattened("GlobalMaxPool", &[], "Flatten").1, [2.0, 4.0]);

    let by_input = File::new(18, &[1, 2, 1, 2]).integers("axes", &[1]).node("ReduceMean", "x axes -> y", &[]);
    assert_eq!(by_input.run(&counting(4)), (vec!["mean"], vec![2.0, 3.0]));
}

#[test]
fn softmax_joins_axes_before_opset_13() {
    let thirds = |(kinds, y): (Vec<&'static str>, Vec<f32>)| {
        (kinds, y.iter().map(|v| (v * 12.0).round()).collect::<Vec<_>>())
    };
    let file = |opset, axis| {
        let softmax = [int("axis", axis)];
        thirds(File::new(opset, &[1, 2, 1, 2]).node("Softmax", "x -> y", &softmax).run(&[0.0; 4]))
    };

    assert_eq!(file(12, 1), (vec!["reshape", "softmax", "reshape"], vec![3.0; 4]));
    assert_eq!(file(12, 3), (vec!["softmax"], vec![6.0; 4]));
    assert_eq!(file(13, 1), (vec!["softmax"], vec![6.0; 4]));
    let flat = File::new(9, &[1, 3, 1, 1]).node("Softmax", "x -> y", &[]);
    assert_eq!(thirds(flat.run(&[0.0; 3])), (vec!["softmax"], vec![4.0; 3]));
}

#[test]
fn layout_operators_move_values() {
    let file = File::new(13, &[1, 4, 1, 2])
        .integers("split", &[1, 3])
        .integers("start", &[0])
        .integers("end", &[i64::MAX])
        .integers("axis", &[1])
        .integers("step", &[2])
        .node("Transpose", "x -> t", &[ints("perm", &[0, 3, 2, 1])])
        .node("Transpose", "t -> u", &[ints("perm", &[0, 3, 2, 1])])
        .node("Split", "u split -> a b", &[int("axis", 1)])
        .node("Slice", "b start end axis step -> c", &[])
        .node("Concat", "c a -> y", &[int("axis", -3)]);

    let (kinds, y) = file.run(&counting(8));

    assert_eq!(kinds, ["transpose", "transpose", "slice", "slice", "slice", "concat"]);
    assert_eq!(y, [3.0, 4.0, 7.0, 8.0, 1.0, 2.0]);
}

#[test]
fn split_without_extents_is_even_and_its_unused_parts_go() {
    let file = File::new(9, &[1, 4]).node("Split", "x -> a b", &[int("axis", 1)]).node("Relu", "b -> y", &[]);

    assert_eq!(file.run(&counting(4)), (vec!["slice", "relu"], vec![3.0, 4.0]));
}

#[test]
fn slices_are_attributes_before_opset_10() {
    let attributes = [ints("starts", &[-3]), ints("ends", &[-1]), ints("axes", &[1])];
    let file = File::new(9, &[1, 4]).node("Slice", "x -> y", &attributes);

    assert_eq!(file.run(&counting(4)), (vec!["slice"], vec![2.0, 3.0]));
}

#[test]
fn padding_surrounds_images() {
    let early = [ints("pads", &[0, 0, 0, 1, 0, 0, 0, 2]), float("value", 9.0)];
    let early = File::new(10, &[1, 1, 1, 1]).node("Pad", "x -> y", &early);
    assert_eq!(early.run(&[5.0]), (vec!["pad"], vec![9.0, 5.0, 9.0, 9.0]));

    let late = File::new(18, &[1, 1, 1, 1]).integers("pads", &[1, 0]).integers("axes", &[3]).node(
        "Pad",
        "x pads _ axes -> y",
        &[text("mode", "constant")],
    );
    assert_eq!(late.run(&[5.0]), (vec!["pad"], vec![0.0, 5.0]));
}

#[test]
fn axes_of_extent_1_come_and_go() {
    let file = File::new(13, &[1, 2, 1, 2])
        .integers("second", &[2])
        .integers("last", &[-1])
        .node("Squeeze", "x second -> a", &[])
        .node("Unsqueeze", "a last -> b", &[])
        .node("Relu", "b -> y", &[]);

    assert_eq!(file.run(&counting(4)), (vec!["reshape", "reshape", "relu"], counting(4)));
}

#[test]
fn local_response_normalization_sums_near_channels() {
    let attributes = [int("size", 3), float("alpha", 3.0), float("beta", 1.0), float("bias", 1.0)];
    let file = File::new(9, &[1, 3, 1, 1]).node("LRN", "x -> y", &attributes);

    assert_near(&file.run(&[1.0, 2.0, 0.0]).1, &[1.0 / 6.0, 2.0 / 6.0, 0.0]);
}
