use super::*;
use crate::onnx::{ElementType, ImportedEncoding, NoEncoding};
use crate::quantizer::{Encoding, Grid};

fn codes(name: &str, dims: &[i64], kind: DataType, values: &[i32]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: kind as i32,
        int32_data: values.to_vec(),
        ..TensorProto::default()
    }
}

/// A file with an activation's grid: scale 0.5, zero point 3, and another one.
fn file(input: &[i64]) -> File {
    File::new(13, input).floats("s", &[], &[0.5]).constant(codes("z", &[], DataType::Uint8, &[3])).floats(
        "t",
        &[],
        &[0.25],
    )
}

fn grid(scale: f32) -> ImportedEncoding {
    let zero_point = if scale == 0.5 { vec![3] } else { vec![0] };
    ImportedEncoding { scale: vec![scale], zero_point, axis: None, element: ElementType::Uint8, codes: None }
}

#[test]
fn quantizers_become_encodings_of_the_nodes_before_them() {
    let file = file(&[1, 2])
        .node("QuantizeLinear", "x s z -> xq", &[])
        .node("DequantizeLinear", "xq s z -> xd", &[])
        .node("Relu", "xd -> r", &[])
        .node("QuantizeLinear", "r t -> rq", &[])
        .node("DequantizeLinear", "rq t -> y", &[]);

    let imported = file.import().unwrap();

    assert_eq!(only_op(&imported), &Op::Relu);
    let found: Vec<_> = imported.encodings.into_iter().collect();
    assert_eq!(found, [("input.output".to_owned(), grid(0.5)), ("r.output".to_owned(), grid(0.25))]);
    assert_eq!(imported.left_out.len(), 0);
    let of_model = |scale, offset| {
        Encoding::given(Grid::new(0, 255, false).unwrap(), vec![scale], vec![offset]).unwrap()
    };
    let expected = [("input.output", of_model(0.5, -3)), ("r.output", of_model(0.25, 0))];
    assert_eq!(imported.model.encodings, expected.map(|(point, e)| (point.to_owned(), e)).into());
}

#[test]
fn where_only_some_consumers_see_a_quantized_tensor_an_identity_carries_the_grid() {
    let file = file(&[1, 2])
        .node("Relu", "x -> r", &[])
        .node("QuantizeLinear", "r s z -> rq", &[])
        .node("DequantizeLinear", "rq s z -> rd", &[])
        .node("QuantizeLinear", "rd t -> sq", &[])
        .node("DequantizeLinear", "sq t -> sd", &[])
        .node("Add", "sd r -> y", &[]);

    let imported = file.import().unwrap();

    let kinds: Vec<_> = imported.model.graph.nodes.iter().map(|node| node.op.kind()).collect();
    assert_eq!(kinds, ["relu", "identity", "identity", "add"]);
    assert_eq!(imported.encodings.get("rd.output"), Some(&grid(0.5)));
    assert_eq!(imported.encodings.get("sd.output"), Some(&grid(0.25)));
    assert_eq!(imported.encodings.len(), 2);
}

#[test]
fn equal_quantizers_of_several_consumers_are_one_encoding() {
    let file = file(&[1, 2])
        .node("Relu", "x -> r", &[])
        .node("QuantizeLinear", "r s z -> a", &[])
        .node("DequantizeLinear", "a s z -> b", &[])
        .node("QuantizeLinear", "r s z -> c", &[])
        .node("DequantizeLinear", "c s z -> d", &[])
        .node("Add", "b d -> y", &[]);

    let imported = file.import().unwrap();

    assert_eq!(imported.model.graph.nodes.len(), 2);
    assert_eq!(imported.model.graph.nodes[1].inputs, ["r", "r"]);
    assert_eq!(imported.encodings.keys().collect::<Vec<_>>(), ["r.output"]);
}

#[test]
fn integer_weights_become_floats_with_their_grid() {
    let packed = TensorProto { raw_data: vec![0x1f, 0x87], ..codes("w_q", &[2, 2], DataType::Int4, &[]) };
    let mut packed = File::new(21, &[1, 2])
        .floats("s", &[2], &[0.5, 2.0])
        .constant(codes("z", &[2], DataType::Int4, &[0x00]))
        .node("Gemm", "x wd -> y", &[])
        .constant(packed);
    let dequantize = File::new(21, &[1]).node("DequantizeLinear", "q s z -> wd", &[int("axis", 1)]);
    let mut node = dequantize.proto.graph.unwrap().node.remove(0);
    node.input[0] = "w_q".to_owned();
    packed.graph().node.push(node);

    let imported = packed.import().unwrap();

    // Stored by inputs: ((-1, 1), (7, -8)) times scales by column; ours is by outputs, and so is the axis.
    let weight: Vec<f32> = imported.model.weights["y.weight"].flatten_all().unwrap().to_vec1().unwrap();
    assert_eq!(weight, [-0.5, 3.5, 2.0, -16.0]);
    let encoding = &imported.encodings["y.weight"];
    assert_eq!((encoding.axis, encoding.element), (Some(0), ElementType::Int4));
    assert_eq!((encoding.scale.as_slice(), encoding.zero_point.as_slice()), (&[0.5, 2.0][..], &[0, 0][..]));
}

#[test]
fn float_weights_with_quantizers_stay_as_they_are() {
    let file = File::new(13, &[1, 1, 1, 1])
        .floats("c.weight", &[2, 1, 1, 1], &[0.3, 0.7])
        .floats("s", &[2], &[0.5, 0.25])
        .constant(codes("z", &[2], DataType::Int8, &[0, 0]))
        .node("QuantizeLinear", "c.weight s z -> q", &[int("axis", 0)])
        .node("DequantizeLinear", "q s z -> d", &[int("axis", 0)])
        .node("Conv", "x d -> y", &[]);

    let imported = file.import().unwrap();

    assert_eq!(run(&imported, &[10.0]), [3.0, 7.0]);
    assert_eq!(imported.model.graph.nodes[0].name, "c");
    let expected = ImportedEncoding {
        scale: vec![0.5, 0.25],
        zero_point: vec![0, 0],
        axis: Some(0),
        element: ElementType::Int8,
        codes: None,
    };
    assert_eq!(imported.encodings.get("c.weight"), Some(&expected));
    let symmetric = Grid::new(-128, 127, true).unwrap();
    let of_model = Encoding::given(symmetric, vec![0.5, 0.25], vec![0, 0]).unwrap();
    assert_eq!(imported.model.encodings.get("c.weight"), Some(&of_model));
}

#[test]
fn quantizers_that_do_not_fit_are_refused() {
    let unequal =
        file(&[1, 2]).node("QuantizeLinear", "x s z -> q", &[]).node("DequantizeLinear", "q t z -> y", &[]);
    assert!(unequal.error().contains("is not that of the QuantizeLinear"), "{}", unequal.error());

    let negative = File::new(13, &[1, 2]).floats("s", &[], &[-1.0]).node("QuantizeLinear", "x s -> q", &[]);
    let negative = negative.node("DequantizeLinear", "q s -> y", &[]);
    assert!(negative.error().contains("a scale is not positive"), "{}", negative.error());

    let between = file(&[1, 2]).node("QuantizeLinear", "x s z -> q", &[]).node("Relu", "q -> y", &[]);
    assert!(between.error().contains("holds a quantizer's integers"), "{}", between.error());
}

#[test]
fn grids_that_no_quantizer_can_have_are_left_out_by_name() {
    let file = File::new(13, &[1, 2, 1, 1])
        .floats("s", &[2], &[0.5, 0.25])
        .constant(codes("z", &[2], DataType::Uint8, &[0, 0]))
        .floats("t", &[], &[0.5])
        .constant(codes("bq", &[2], DataType::Int32, &[3, 5]))
        .floats("c.weight", &[2, 2, 1, 1], &[1.0; 4])
        .node("QuantizeLinear", "x s z -> xq", &[int("axis", 1)])
        .node("DequantizeLinear", "xq s z -> xd", &[int("axis", 1)])
        .node("QuantizeLinear", "c.weight s z -> wq", &[int("axis", 1)])
        .node("DequantizeLinear", "wq s z -> wd", &[int("axis", 1)])
        .node("DequantizeLinear", "bq t -> c.bias", &[])
        .node("Conv", "xd wd c.bias -> y", &[]);

    let imported = file.import().unwrap();

    let names: Vec<&str> = imported.encodings.keys().map(String::as_str).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(imported.model.encodings.len(), 0);
    assert_eq!(imported.left_out.keys().collect::<Vec<_>>(), imported.encodings.keys().collect::<Vec<_>>());
    let mut reasons: Vec<&NoEncoding> = imported.left_out.values().collect();
    reasons.dedup();
    assert!(reasons.contains(&&NoEncoding::Bias) && reasons.contains(&&NoEncoding::Axis), "{reasons:?}");
}

#[test]
fn codes_that_are_clipped_make_a_narrower_grid() {
    let bounds = |low, high| {
        let file = file(&[1, 2]).constant(codes("low", &[], DataType::Uint8, &[low]));
        let file = file.constant(codes("high", &[], DataType::Uint8, &[high]));
        file.node("Relu", "x -> r", &[]).node("QuantizeLinear", "r s z -> rq", &[])
    };
    let imported =
        bounds(1, 6).node("Clip", "rq low high -> c", &[]).node("DequantizeLinear", "c s z -> y", &[]);

    let imported = imported.import().unwrap();

    let narrow = ImportedEncoding { codes: Some([1, 6]), ..grid(0.5) };
    assert_eq!(imported.encodings, [("r.output".to_owned(), narrow)].into());
    let expected = Encoding::given(Grid::new(1, 6, false).unwrap(), vec![0.5], vec![-3]).unwrap();
    assert_eq!(imported.model.encodings["r.output"], expected);

    let open = bounds(1, 6).node("Clip", "rq low -> c", &[]).node("DequantizeLinear", "c s z -> y", &[]);
    assert!(open.error().contains("at both ends"), "{}", open.error());
    let empty =
        bounds(6, 6).node("Clip", "rq low high -> c", &[]).node("DequantizeLinear", "c s z -> y", &[]);
    assert_eq!(empty.import().unwrap().left_out.len(), 1);
}
