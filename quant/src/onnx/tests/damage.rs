use super::*;
use crate::onnx::schema::tensor_proto::DataType;
use crate::rng::rng;

/// Damaged files that are tried, unless the environment variable `BITLOOP_MUTATIONS` says how many.
const MUTATIONS: u64 = 300;

/// A small network with most kinds of fields.
fn network() -> File {
    File::new(13, &[1, 2, 4, 4])
        .floats("conv.weight", &[2, 1, 3, 3], &[0.1; 18])
        .floats("conv.bias", &[2], &[0.5, -0.5])
        .floats("one", &[2], &[1.0, 2.0])
        .floats("fc", &[8, 3], &[0.25; 24])
        .floats("s", &[], &[0.5])
        .integers("target", &[0, 2, -1])
        .integers("dims", &[3])
        .node("QuantizeLinear", "x s -> q", &[])
        .node("DequantizeLinear", "q s -> d", &[])
        .node("Conv", "d conv.weight conv.bias -> c", &[int("group", 2), ints("pads", &[1, 1, 1, 1])])
        .node("BatchNormalization", "c one one one one -> b", &[float("epsilon", 1e-3)])
        .node("Clip", "b -> r", &[])
        .node("MaxPool", "r -> p", &[ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])])
        .node("Reshape", "p target -> t", &[])
        .node("Transpose", "t -> u", &[ints("perm", &[0, 2, 1])])
        .node("Flatten", "u -> f", &[])
        .node("ConstantOfShape", "dims -> z", &[tensor("value", float_tensor("", &[1], &[1.0]))])
        .node("Gemm", "f fc z -> g", &[float("alpha", 0.5)])
        .node("Softmax", "g -> y", &[text("note", "")])
}

fn sound_network() -> File {
    let mut file = network();
    file.graph().node.last_mut().unwrap().attribute.clear();
    file
}

#[test]
fn all_that_is_not_supported_is_named_at_once() {
    let mut file = network().node("Resize", "y -> grown", &[]).node("Erf", "grown -> curved", &[]).node(
        "Resize",
        "curved -> last",
        &[],
    );
    let nodes = &mut file.graph().node;
    let first = nodes.iter().position(|node| node.op_type == "Resize").unwrap();
    nodes[first].name = "grow".to_owned();
    nodes[first + 1].domain = "com.example".to_owned();
    file.graph().output = vec![value_info("last", &[])];

    assert_eq!(
        file.error(),
        "4 node(s) cannot be imported:\n  \
         Softmax (opset 13): attribute `note` is not supported; nodes `y`\n  \
         Resize (opset 13): the operator is not supported; nodes `grow`, `last`\n  \
         com.example.Erf (opset 13): the operator is not supported; nodes `curved`"
    );
}

#[test]
fn operators_behind_an_unknown_one_are_named_where_no_input_helps_them() {
    let file = File::new(13, &[1, 2, 2])
        .integers("last", &[2])
        .floats("two", &[], &[2.0])
        .node("Erf", "x -> e", &[])
        .node("Shape", "e -> shape", &[])
        .node("Gather", "shape last -> n", &[])
        .node("Pow", "e two -> p", &[])
        .node("Reshape", "p n -> r", &[])
        .node("Relu", "r -> y", &[]);

    assert_eq!(
        file.error(),
        "2 node(s) cannot be imported:\n  \
         Erf (opset 13): the operator is not supported; nodes `e`\n  \
         Pow (opset 13): it is supported on constants alone; nodes `p`"
    );
}

#[test]
fn versions_outside_of_the_range_are_refused() {
    for version in [8, 22, 0, -1] {
        let file = File::new(version, &[1, 2]).node("Relu", "x -> y", &[]);
        assert!(file.error().starts_with(&format!("opset {version} is not supported")));
    }
}

#[test]
fn files_that_are_cut_off_are_refused() {
    let bytes = sound_network().proto.encode_to_vec();
    assert!(import(&bytes, None, &ImportOptions::default()).is_ok());
    // The graph is one field, and all but the last few bytes belong to it.
    for end in (1..bytes.len() - 10).step_by(7) {
        let error = import(&bytes[..end], None, &ImportOptions::default()).map(|_| ()).unwrap_err();
        assert!(matches!(error, ImportError::NotOnnx { .. } | ImportError::NoGraph), "{end}: {error}");
    }
    let empty = import(&[], None, &ImportOptions::default()).map(|_| ()).unwrap_err();
    assert_eq!(empty.to_string(), "the file holds no graph; export the model again");
}

#[test]
fn graphs_that_cannot_be_computed_are_refused() {
    let relu = |edges| File::new(13, &[1, 2]).node("Relu", edges, &[]);
    let cycle = File::new(13, &[1, 2]).node("Add", "x b -> a", &[]).node("Relu", "a -> b", &[]);
    assert_eq!(cycle.node("Relu", "b -> y", &[]).error(), "the graph has a cycle through `a`, `b`, `y`");
    assert_eq!(relu("y -> y").error(), "the graph has a cycle through `y`");
    assert_eq!(relu("gone -> y").error(), "node `y` reads tensor `gone`, which nothing gives");
    assert_eq!(relu("x -> y").node("Relu", "x -> y", &[]).error(), "tensor `y` is given twice");
    assert_eq!(relu("x -> y").floats("y", &[1], &[1.0]).error(), "tensor `y` is given twice");
    let twice = relu("x -> y").floats("c", &[1], &[1.0]).floats("c", &[1], &[1.0]);
    assert_eq!(twice.error(), "tensor `c` is given twice");
    assert!(relu("x -> z").error().contains("`y` is not computed from the input"));
    assert!(File::new(13, &[1, 2]).node("Identity", "x -> y", &[]).error().contains("no network to import"));

    let mut two = relu("x -> r").node("Add", "r x2 -> y", &[]);
    two.graph().input.push(value_info("x2", &[1, 2]));
    assert_eq!(two.error(), "the model has 2 inputs (`x`, `x2`); it must have one, the image");
}

#[test]
fn tensors_that_make_no_sense_are_refused_before_memory_is_taken() {
    let with =
        |tensor: TensorProto| File::new(13, &[1, 2]).constant(tensor).node("Add", "x c -> y", &[]).error();
    let dims = |dims: &[i64]| float_tensor("c", dims, &[1.0]);
    assert!(with(dims(&[2])).contains("extents [2] need 2 values, it has 1"));
    assert!(with(dims(&[-1])).contains("it has the extent -1"));
    assert!(with(dims(&[1 << 40, 1 << 40])).contains("make no sense"));
    assert!(with(dims(&[0, 1 << 40])).contains("make no sense"));
    assert!(with(dims(&[1 << 30])).contains("need 1073741824 values"));
    assert!(
        with(TensorProto { data_type: DataType::String as i32, ..dims(&[1]) }).contains("element type 8")
    );
    let raw = TensorProto { raw_data: vec![0; 7], ..dims(&[2]) };
    assert!(with(raw).contains("need 8 bytes, it has 7"));
    assert!(with(float_tensor("c", &[2], &[1.0, f32::NAN])).contains("c.value"));

    let made = |extents: &[i64]| {
        let file = File::new(13, &[1, 2]).integers("dims", extents).node("ConstantOfShape", "dims -> c", &[]);
        file.node("Add", "x c -> y", &[]).error()
    };
    assert!(made(&[1 << 29]).contains("more than 2^28 values"), "{}", made(&[1 << 29]));
    assert!(made(&[1 << 31, 1 << 31]).contains("more than 2^28 values"));
    assert!(made(&[-5]).contains("is -5, which makes no sense"));
    let input = File::new(13, &[1, 1 << 40, 1 << 40, 1]).node("Relu", "x -> y", &[]);
    assert!(input.error().contains("makes no sense"), "{}", input.error());
}

#[test]
fn what_would_mix_images_is_refused() {
    let file = |operator: &str, edges: &str, attributes: &[AttributeProto]| {
        File::new(13, &[1, 2, 2, 2])
            .integers("zero", &[0])
            .integers("one", &[1])
            .integers("rows", &[2, 4])
            .floats("images", &[3, 2, 2, 2], &[0.0; 24])
            .node(operator, edges, attributes)
            .error()
    };
    let batch = "it works on or moves the first axis, which is the batch";
    assert!(file("Concat", "x x -> y", &[int("axis", 0)]).contains(batch));
    assert!(file("Transpose", "x -> y", &[ints("perm", &[1, 0, 2, 3])]).contains(batch));
    assert!(file("Reshape", "x rows -> y", &[]).contains(batch));
    assert!(file("Flatten", "x -> y", &[int("axis", 2)]).contains(batch));
    assert!(file("Slice", "x zero one zero -> y", &[]).contains(batch));
    assert!(file("Unsqueeze", "x zero -> y", &[]).contains(batch));
    assert!(file("ReduceMean", "x -> y", &[ints("axes", &[0])]).contains(batch));
    assert!(file("Softmax", "x -> y", &[int("axis", 0)]).contains(batch));
    assert!(file("Add", "x images -> y", &[]).contains("at most 3 axes, and not one per image"));
}

#[test]
fn attributes_and_shapes_that_do_not_fit_are_refused() {
    let conv = |dims: &[i64], attributes: &[AttributeProto]| {
        let count = dims.iter().product::<i64>() as usize;
        let file = File::new(13, &[1, 2, 4, 4]).floats("w", dims, &vec![0.0; count]);
        file.node("Conv", "x w -> y", attributes).error()
    };
    assert!(conv(&[2, 3, 1, 1], &[]).contains("1 group(s) of a 2-channel input is needed"));
    assert!(conv(&[2, 2, 1], &[]).contains("only 2-d convolutions"));
    assert!(conv(&[2, 2, 1, 1], &[ints("strides", &[0, 1])]).contains("must be at least 1"));
    assert!(conv(&[2, 2, 1, 1], &[ints("pads", &[-1, 0, 0, 0])]).contains("is -1"));
    assert!(conv(&[2, 2, 1, 1], &[ints("pads", &[1, 1])]).contains("four numbers"));
    assert!(conv(&[2, 2, 1, 1], &[int("kernel_shape", 1)]).contains("a list of integers"));
    assert!(conv(&[2, 2, 1, 1], &[ints("kernel_shape", &[3, 3])]).contains("the extents of the weight"));
    assert!(conv(&[2, 2, 5, 5], &[]).contains("smaller than the 5x5 window"));
    assert!(
        conv(&[2, 2, 1, 1], &[ints("strides", &[i64::MAX, 1])]).contains("strides is 9223372036854775807")
    );
}

#[test]
fn damaged_files_give_errors_and_never_panic() {
    let count =
        std::env::var("BITLOOP_MUTATIONS").ok().and_then(|count| count.parse().ok()).unwrap_or(MUTATIONS);
    let bytes = sound_network().proto.encode_to_vec();
    let (mut imported, mut refused) = (0_u64, 0_u64);
    for step in 0..count {
        let mut rng = rng(20, step);
        let mut damaged = bytes.clone();
        for _ in 0..=rng.below(4) {
            let at = rng.below(damaged.len());
            match rng.below(4) {
                0 => damaged[at] = rng.next_u64() as u8,
                1 => damaged[at] ^= 1 << rng.below(8),
                2 => damaged.insert(at, rng.next_u64() as u8),
                _ => {
                    damaged.remove(at);
                }
            }
        }
        match import(&damaged, None, &ImportOptions::default()) {
            Ok(found) => {
                // What was imported is valid: it can be written and read.
                found.model.to_bytes().unwrap();
                imported += 1;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
        }
    }
    eprintln!("{count} damaged files: {imported} still import, {refused} are refused");
    assert!(refused > 0 && imported + refused == count);
}
