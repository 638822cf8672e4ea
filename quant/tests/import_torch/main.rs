//! Files of PyTorch and safetensors, from PyTorch itself and made by hand, become tensors or one clear error.

#![expect(clippy::unwrap_used, reason = "a fixture that cannot be read must fail the test")]

mod files;
mod mutations;
mod refusals;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bitloop_quant::import::torch::{from_bytes, read};
use candle_core::Tensor;
use files::{
    PickleWriter, TensorEntry, f32_bytes, legacy_file, state_dict, with_weight, zip_entries, zip_file,
};

/// Shape and values of each tensor.
type Plain = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn plain(tensors: BTreeMap<String, Tensor>) -> Plain {
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
    tensors.into_iter().map(|(name, tensor)| (name, (tensor.dims().to_vec(), values(&tensor)))).collect()
}

fn error_of(bytes: &[u8]) -> String {
    from_bytes(bytes).unwrap_err().to_string()
}

fn fixtures(prefix: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/torch");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let fits = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(prefix);
    let mut files: Vec<PathBuf> = files.filter(fits).collect();
    files.sort();
    assert!(!files.is_empty(), "no fixture begins with {prefix}");
    files
}

/// As `counted` of the script that made the fixtures.
fn counted(count: usize, first: i32) -> Vec<f32> {
    (0..count as i32).map(|index| (index + first) as f32 / 8.0).collect()
}

#[test]
fn checkpoints_of_pytorch_give_the_network_and_nothing_else() {
    let shapes: [(&str, &[usize]); 6] = [
        ("conv.weight", &[2, 1, 2, 2]),
        ("conv.bias", &[2]),
        ("norm.weight", &[2]),
        ("norm.bias", &[2]),
        ("norm.running_mean", &[2]),
        ("norm.running_var", &[2]),
    ];
    let mut first = -4;
    let mut expected = Plain::new();
    for (name, shape) in shapes {
        let elements: usize = shape.iter().product();
        expected.insert(name.to_owned(), (shape.to_vec(), counted(elements, first)));
        first += elements as i32;
    }

    for path in fixtures("checkpoint_") {
        assert_eq!(plain(read(&path).unwrap()), expected, "{}", path.display());
    }
}

#[test]
fn every_float_type_and_every_layout_of_pytorch_is_read() {
    let base = counted(12, 0);
    let transposed = (0..12).map(|index| base[index % 3 * 4 + index / 3]).collect();
    let every_second = base.iter().copied().step_by(2).collect();
    let expected: Plain = [
        ("f64", vec![3], counted(3, 1)),
        ("f16", vec![3], counted(3, 2)),
        ("bf16", vec![3], counted(3, 3)),
        ("parameter", vec![2], counted(2, 4)),
        ("base", vec![12], base.clone()),
        ("offset", vec![7], base[5..].to_vec()),
        ("transposed", vec![4, 3], transposed),
        ("every_second", vec![6], every_second),
        ("scalar", vec![], vec![0.125]),
        ("empty", vec![0, 3], vec![]),
    ]
    .map(|(name, shape, values)| (name.to_owned(), (shape, values)))
    .into();

    for path in fixtures("types_") {
        assert_eq!(plain(read(&path).unwrap()), expected, "{}", path.display());
    }
}

#[test]
fn a_whole_module_is_refused_with_its_class() {
    for path in fixtures("module_") {
        let error = read(&path).unwrap_err().to_string();

        assert!(error.contains("class `torch.nn.modules.container.Sequential`"), "{error}");
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
}

/// Two vectors of two and three elements.
fn two_vectors() -> (Vec<TensorEntry>, [(&'static str, Vec<u8>); 2]) {
    let entries = vec![TensorEntry::vector("module.a", "0", 2), TensorEntry::vector("module.b", "1", 3)];
    (entries, [("0", f32_bytes(&[1.0, 2.0])), ("1", f32_bytes(&[3.0, 4.0, 5.0]))])
}

fn two_vectors_read() -> Plain {
    [("a", vec![1.0, 2.0]), ("b", vec![3.0, 4.0, 5.0])]
        .map(|(name, values)| (name.to_owned(), (vec![values.len()], values)))
        .into()
}

fn safetensors_file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

fn two_vectors_safetensors() -> Vec<u8> {
    let header = r#"{"module.a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"module.b":{"dtype":"BF16","shape":[3],"data_offsets":[8,14]},"module.norm.num_batches_tracked":{"dtype":"I64","shape":[],"data_offsets":[14,22]}}"#;
    let mut data = f32_bytes(&[1.0, 2.0]);
    data.extend(f32_bytes(&[3.0, 4.0, 5.0]).chunks(4).flat_map(|number| [number[2], number[3]]));
    data.extend([7; 8]);
    safetensors_file(header, &data)
}

/// The same two vectors in each format, small enough to try every change.
fn every_format() -> Vec<(&'static str, Vec<u8>)> {
    let (entries, storages) = two_vectors();
    let mut large = zip_entries(&state_dict(&entries, false), &storages);
    large.large = true;
    large.comment = b"PK\x05\x06 in a comment".to_vec();
    vec![
        ("zip", zip_file(&state_dict(&entries, false), &storages)),
        ("zip with 64 bits", large.bytes()),
        ("legacy", legacy_file(&state_dict(&entries, true), &storages)),
        ("safetensors", two_vectors_safetensors()),
    ]
}

#[test]
fn each_format_gives_the_same_tensors_without_their_common_prefix() {
    for (format, bytes) in every_format() {
        assert_eq!(plain(from_bytes(&bytes).unwrap()), two_vectors_read(), "{format}");
    }
}

#[test]
fn a_file_that_ends_early_is_an_error_at_every_byte() {
    let mut files = every_format();
    for path in fixtures("").iter().filter(|path| path.extension().unwrap() == "pt") {
        files.push(("fixture", std::fs::read(path).unwrap()));
    }
    for (format, bytes) in files {
        for length in 0..bytes.len() {
            assert!(
                from_bytes(&bytes[..length]).is_err(),
                "{format} cut to {length} of {} bytes",
                bytes.len()
            );
        }
    }
}

#[test]
fn a_typed_tensor_in_an_untyped_storage_is_read() {
    let bytes = with_weight(|writer| {
        let storage = TensorEntry { class: "UntypedStorage", elements: 8, ..TensorEntry::vector("", "0", 2) };
        writer.global("torch._utils", "_rebuild_tensor_v3");
        writer.mark();
        writer.storage(&storage, false);
        writer.int(1);
        writer.numbers(&[1]);
        writer.numbers(&[1]);
        writer.op(0x89);
        writer.ordered_dict();
        writer.global("torch", "float32");
        writer.raw(b"tR");
    });

    assert_eq!(plain(from_bytes(&bytes).unwrap())["weight"], (vec![1], vec![2.0]));
}

#[test]
fn the_stride_of_an_axis_of_one_does_not_matter() {
    let entry = TensorEntry {
        shape: vec![2, 1, 2],
        strides: vec![1, i64::MAX, 2],
        ..TensorEntry::vector("weight", "0", 4)
    };
    let bytes = zip_file(&state_dict(&[entry], false), &[("0", f32_bytes(&[0.0, 1.0, 2.0, 3.0]))]);

    assert_eq!(plain(from_bytes(&bytes).unwrap())["weight"], (vec![2, 1, 2], vec![0.0, 2.0, 1.0, 3.0]));
}

#[test]
fn the_state_dict_is_found_under_the_usual_keys() {
    let weight = |writer: &mut PickleWriter| {
        writer.op(b'}');
        writer.text("weight");
        writer.tensor(&TensorEntry::vector("weight", "0", 1), false);
        writer.op(b's');
    };
    let found = |write: &dyn Fn(&mut PickleWriter)| {
        let mut writer = PickleWriter::new();
        writer.op(b'}');
        write(&mut writer);
        let bytes = zip_file(&writer.end(), &[("0", f32_bytes(&[6.0]))]);
        from_bytes(&bytes).unwrap().into_keys().collect::<Vec<_>>()
    };
    for wrapper in ["state_dict", "model_state_dict", "model", "net"] {
        let names = found(&|writer| {
            writer.text(wrapper);
            weight(writer);
            writer.op(b's');
        });
        assert_eq!(names, ["weight"], "{wrapper}");
    }
    let twice = found(&|writer| {
        writer.text("model");
        writer.op(b'}');
        writer.text("state_dict");
        weight(writer);
        writer.raw(b"ss");
    });
    let beside_settings = found(&|writer| {
        writer.text("model");
        writer.raw(b"}s");
        writer.text("state_dict");
        writer.global("argparse", "Namespace");
        writer.raw(b")\x81s");
        writer.text("net.weight");
        writer.tensor(&TensorEntry::vector("weight", "0", 1), false);
        writer.op(b's');
    });

    assert_eq!(twice, ["weight"]);
    assert_eq!(beside_settings, ["net.weight"]);
}

#[test]
fn texts_and_ordered_dicts_of_python_2_are_read() {
    let mut writer = PickleWriter::new();
    writer.global("collections", "OrderedDict");
    writer.raw(b"](](U\x06weight");
    writer.tensor(&TensorEntry::vector("weight", "0", 1), true);
    writer.raw(b"ee\x85R");
    let bytes = legacy_file(&writer.end(), &[("0", f32_bytes(&[6.0]))]);

    assert_eq!(plain(from_bytes(&bytes).unwrap())["weight"], (vec![1], vec![6.0]));
}

#[test]
fn objects_of_every_other_kind_are_passed_over() {
    let others: [&[u8]; 13] = [
        b"cargparse\nNamespace\n)\x81}b",
        b"cargparse\nNamespace\n)}\x92",
        b"(cargparse\nNamespace\nNo",
        b"(Niargparse\nNamespace\n",
        b"\x8c\x08builtins\x8c\x05print\x93\x8c\x02hi\x85R",
        b"ccollections\ndefaultdict\n)R(NNuNNs",
        b"ccollections\ndeque\n)R(NNeNa",
        b"\x8f(NN\x90",
        b"(NN\x91",
        b"(NNd",
        b"(NNl",
        b"\x82\x01",
        b"\x96\x02\0\0\0\0\0\0\0hi",
    ];
    for other in others {
        let mut writer = PickleWriter::new();
        writer.raw(b"}(");
        writer.text("other");
        writer.raw(other);
        writer.text("weight");
        writer.tensor(&TensorEntry::vector("weight", "0", 1), false);
        writer.op(b'u');
        let found = from_bytes(&zip_file(&writer.end(), &[("0", f32_bytes(&[6.0]))]));
        let names: Vec<String> = found
            .unwrap_or_else(|error| panic!("{}: {error}", String::from_utf8_lossy(other)))
            .into_keys()
            .collect();
        assert_eq!(names, ["weight"]);
    }
}

#[test]
fn a_part_of_a_legacy_storage_is_read_where_it_lies() {
    let mut writer = PickleWriter::new();
    writer.op(b'}');
    writer.text("weight");
    writer.global("torch._utils", "_rebuild_tensor");
    writer.mark();
    writer.mark();
    writer.text("storage");
    writer.global("torch.cuda", "FloatStorage");
    writer.text("94");
    writer.text("cuda:0");
    writer.int(5);
    writer.mark();
    writer.text("95");
    writer.int(2);
    writer.int(3);
    writer.raw(b"ttQ");
    writer.int(1);
    writer.numbers(&[2]);
    writer.numbers(&[1]);
    writer.raw(b"tRs");
    let bytes = legacy_file(&writer.end(), &[("94", f32_bytes(&[0.0, 1.0, 2.0, 3.0, 4.0]))]);

    assert_eq!(plain(from_bytes(&bytes).unwrap())["weight"], (vec![2], vec![3.0, 4.0]));
}

#[test]
fn safetensors_of_other_types_are_refused_or_left_out() {
    let of_type = |dtype: &str, bytes: usize| {
        let header = format!(r#"{{"a":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,{bytes}]}}}}"#);
        from_bytes(&safetensors_file(&header, &vec![0; bytes]))
    };

    assert!(of_type("F64", 8).is_ok());
    assert!(of_type("F16", 2).is_ok());
    assert!(of_type("F8_E4M3", 1).unwrap_err().to_string().contains("tensor `a` has type F8_E4M3"));
    assert!(of_type("I64", 8).unwrap_err().to_string().contains("a file of 1 tensors of other types"));
}
