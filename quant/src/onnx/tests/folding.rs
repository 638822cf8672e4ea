use super::*;
use crate::onnx::schema::tensor_proto::DataLocation;

#[test]
fn a_shape_chain_of_a_flattening_is_folded() {
    // x.view(x.size(0), -1), as PyTorch writes it.
    let file = File::new(11, &[1, 2, 2, 2])
        .node("Constant", "-> zero", &[tensor("value", integer_tensor("", &[], &[0]))])
        .node("Constant", "-> rest", &[tensor("value", integer_tensor("", &[1], &[-1]))])
        .node("Shape", "x -> shape", &[])
        .node("Gather", "shape zero -> n", &[int("axis", 0)])
        .node("Unsqueeze", "n -> n1", &[ints("axes", &[0])])
        .node("Concat", "n1 rest -> target", &[int("axis", 0)])
        .node("Relu", "x -> r", &[])
        .node("Reshape", "r target -> y", &[]);

    assert_eq!(file.run(&[1.0; 8]).0, ["relu", "flatten"]);
}

#[test]
fn a_channel_shuffle_with_computed_extents_is_folded() {
    let file = File::new(11, &[1, 4, 1, 1])
        .integers("two", &[2])
        .integers("from", &[1])
        .integers("to", &[2])
        .integers("ends", &[1, 1])
        .integers("batch", &[-1])
        .integers("back", &[0, 4, 1, 1])
        .node("Shape", "x -> shape", &[])
        .node("Slice", "shape from to -> c", &[])
        .node("Div", "c two -> half", &[])
        .node("Cast", "half -> halves", &[int("to", 7)])
        .node("Concat", "batch two halves ends -> target", &[int("axis", 0)])
        .node("Reshape", "x target -> split", &[])
        .node("Transpose", "split -> turned", &[ints("perm", &[0, 2, 1, 3, 4])])
        .node("Reshape", "turned back -> y", &[]);

    let (kinds, y) = file.run(&[1.0, 2.0, 3.0, 4.0]);

    assert_eq!(kinds, ["reshape", "transpose", "reshape"]);
    assert_eq!(y, [1.0, 3.0, 2.0, 4.0]);
}

#[test]
fn weights_are_computed_from_constants() {
    let file = File::new(13, &[1, 2])
        .integers("dims", &[2, 2])
        .integers("flat", &[2, 2])
        .floats("scale", &[2, 1], &[1.0, 10.0])
        .node("ConstantOfShape", "dims -> ones", &[tensor("value", float_tensor("", &[1], &[1.0]))])
        .node("Mul", "ones scale -> scaled", &[])
        .node("Sqrt", "scaled -> root", &[])
        .node("Mul", "root root -> square", &[])
        .node("Transpose", "square -> turned", &[])
        .node("Reshape", "turned flat -> w", &[])
        .node("Gemm", "x w -> y", &[int("transB", 1)]);

    // w is ((1, 10), (1, 10)) after turning.
    assert_near(&file.run(&[1.0, 2.0]).1, &[21.0, 21.0]);
}

#[test]
fn every_storage_of_a_weight_gives_the_same_floats() {
    let values = [1.0_f32, -2.0, 0.5];
    let base = |data_type: DataType| TensorProto {
        name: "c".to_owned(),
        dims: vec![3],
        data_type: data_type as i32,
        ..TensorProto::default()
    };
    let doubles: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
    let raw = |bytes: Vec<u8>, data_type| TensorProto { raw_data: bytes, ..base(data_type) };
    let halves = [0x3c00_u16, 0xc000, 0x3800];
    let brains = [0x3f80_u16, 0xc000, 0x3f00];
    let words = |words: [u16; 3]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let numbers = |words: [u16; 3]| words.iter().map(|w| i32::from(*w)).collect::<Vec<i32>>();
    let stored = [
        TensorProto { float_data: values.to_vec(), ..base(DataType::Float) },
        raw(values.iter().flat_map(|v| v.to_le_bytes()).collect(), DataType::Float),
        TensorProto { double_data: doubles.clone(), ..base(DataType::Double) },
        raw(doubles.iter().flat_map(|v| v.to_le_bytes()).collect(), DataType::Double),
        TensorProto { int32_data: numbers(halves), ..base(DataType::Float16) },
        raw(words(halves), DataType::Float16),
        TensorProto { int32_data: numbers(brains), ..base(DataType::Bfloat16) },
        raw(words(brains), DataType::Bfloat16),
    ];
    for tensor in stored {
        let kind = tensor.data_type;
        let file = File::new(13, &[1, 3]).constant(tensor).node("Add", "x c -> y", &[]);
        assert_eq!(file.run(&[0.0; 3]).1, values, "{kind}");
    }
}

#[test]
fn data_in_another_file_is_read_from_the_models_folder_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("model")).unwrap();
    let bytes: Vec<u8> = [9.0_f32, 1.0, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    std::fs::write(folder.path().join("model/w.bin"), &bytes).unwrap();
    std::fs::write(folder.path().join("outside.bin"), &bytes).unwrap();
    std::os::unix::fs::symlink(folder.path().join("outside.bin"), folder.path().join("model/link.bin"))
        .unwrap();
    let entry = |key: &str, value: &str| crate::onnx::schema::StringStringEntryProto {
        key: key.to_owned(),
        value: value.to_owned(),
    };
    let import = |entries: &[(&str, &str)]| {
        let tensor = TensorProto {
            name: "c".to_owned(),
            dims: vec![2],
            data_type: DataType::Float as i32,
            data_location: DataLocation::External as i32,
            external_data: entries.iter().map(|(key, value)| entry(key, value)).collect(),
            ..TensorProto::default()
        };
        let file = File::new(13, &[1, 2]).constant(tensor).node("Add", "x c -> y", &[]);
        let path = folder.path().join("model/net.onnx");
        std::fs::write(&path, file.proto.encode_to_vec()).unwrap();
        crate::onnx::import_file(&path, &ImportOptions::default())
    };
    let error = |entries: &[(&str, &str)]| import(entries).map(|found| found.opset).unwrap_err().to_string();

    let found = import(&[("location", "w.bin"), ("offset", "4"), ("length", "8")]).unwrap();
    assert_eq!(run(&found, &[0.0, 0.0]), [1.0, 2.0]);
    assert_eq!(run(&import(&[("location", "./w.bin")]).unwrap(), &[0.0, 0.0]), [9.0, 1.0]);

    let absolute = folder.path().join("outside.bin").to_string_lossy().into_owned();
    for location in ["../outside.bin", "link.bin", "", ".", &absolute] {
        assert!(error(&[("location", location)]).contains("no file inside"), "{location}");
    }
    assert!(error(&[("location", "missing.bin")]).contains("copy that file beside the model"));
    assert!(error(&[("location", "w.bin"), ("offset", "8")]).contains("ends at byte 12, but byte 16"));
    assert!(error(&[("location", "w.bin"), ("length", "4")]).contains("need 8 bytes, it has 4"));
    assert!(error(&[("location", "w.bin"), ("offset", "-1")]).contains("`-1`, which is no number"));
}
