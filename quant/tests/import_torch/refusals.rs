//! What is refused, and that the error names the place and the way out.

use std::path::Path;

use bitloop_quant::import::torch::{TorchError, from_bytes, read};

use crate::files::{
    Archive, PickleWriter, TensorEntry, f32_bytes, legacy_file, legacy_head, state_dict, with_weight,
    zip_entries, zip_file,
};
use crate::{Plain, error_of, plain, two_vectors};

#[test]
fn a_call_of_anything_unknown_is_data_and_is_left_out() {
    let mut writer = PickleWriter::new();
    writer.op(b'}');
    writer.mark();
    writer.text("attack");
    writer.global("os", "system");
    writer.text("touch executed");
    writer.raw(&[0x85, b'R']);
    writer.text("weight");
    writer.tensor(&TensorEntry::vector("weight", "0", 1), false);
    writer.op(b'u');

    let found = from_bytes(&zip_file(&writer.end(), &[("0", f32_bytes(&[6.0]))])).unwrap();

    assert_eq!(plain(found), Plain::from([("weight".to_owned(), (vec![1], vec![6.0]))]));
    assert!(!Path::new("executed").exists());
}

#[test]
fn a_tensor_that_needs_an_unknown_function_is_an_error_that_names_it() {
    let made = error_of(&with_weight(|writer| {
        writer.global("torch._utils", "_rebuild_qtensor");
        writer.raw(b")R");
    }));
    let stored = error_of(&with_weight(|writer| {
        writer.global("torch._utils", "_rebuild_tensor_v2");
        writer.mark();
        writer.global("torch.storage", "_load_from_bytes");
        writer.raw(b")R");
        writer.int(0);
        writer.numbers(&[2]);
        writer.numbers(&[1]);
        writer.raw(b"tR");
    }));

    assert!(made.contains("tensor `weight` is made by `torch._utils._rebuild_qtensor`"), "{made}");
    assert!(
        stored.contains("needs a storage, and `torch.storage._load_from_bytes` is not executed"),
        "{stored}"
    );
}

#[test]
fn shapes_that_do_not_fit_their_storage_are_refused_before_memory_is_taken() {
    let vector = TensorEntry::vector("weight", "0", 2);
    let huge = 1 << 40;
    let wrong = [
        TensorEntry { shape: vec![3], ..vector.clone() },
        TensorEntry { offset: 1, ..vector.clone() },
        TensorEntry { offset: i64::MAX, ..vector.clone() },
        TensorEntry { strides: vec![2], ..vector.clone() },
        TensorEntry { shape: vec![huge], strides: vec![0], ..vector.clone() },
        TensorEntry { shape: vec![huge, huge], strides: vec![0, 0], ..vector.clone() },
        TensorEntry { shape: vec![0, huge, huge], strides: vec![0, 0, 0], ..vector.clone() },
        TensorEntry { shape: vec![2, 2], strides: vec![i64::MAX, i64::MAX], ..vector.clone() },
    ];
    for entry in wrong {
        let error = error_of(&with_weight(|writer| writer.tensor(&entry, false)));
        assert!(error.contains("tensor `weight`") && error.contains("does not fit its storage"), "{error}");
    }
    let negative = TensorEntry { shape: vec![-1], ..vector.clone() };
    assert!(error_of(&with_weight(|writer| writer.tensor(&negative, false))).contains("negative"));
    let deep = TensorEntry { shape: vec![1; 65], strides: vec![1; 65], ..vector.clone() };
    assert!(error_of(&with_weight(|writer| writer.tensor(&deep, false))).contains("more axes"));
    let claimed = TensorEntry { elements: i64::MAX / 4, ..vector.clone() };
    let error = error_of(&with_weight(|writer| writer.tensor(&claimed, false)));
    assert!(error.contains("storage `0` has 8 bytes"), "{error}");
    let complex = TensorEntry { class: "ComplexFloatStorage", elements: 1, shape: vec![1], ..vector };
    let error = error_of(&with_weight(|writer| writer.tensor(&complex, false)));
    assert!(error.contains("tensor `weight` has type complex64"), "{error}");
}

#[test]
fn many_tensors_over_one_storage_are_refused() {
    let count = 20_000;
    let vector = TensorEntry::vector("", "0", 100_000);
    let mut writer = PickleWriter::new();
    writer.op(b'}');
    writer.tensor(&vector, false);
    // The first is remembered and recalled under many names.
    writer.raw(b"q\x010");
    writer.mark();
    for number in 0..count {
        writer.text(&number.to_string());
        writer.raw(b"h\x01");
    }
    writer.op(b'u');

    let error = error_of(&zip_file(&writer.end(), &[("0", vec![0; 400_000])]));

    assert!(error.contains("too many for this file"), "{error}");
}

fn archive_error(change: impl FnOnce(&mut Archive)) -> String {
    let (entries, storages) = two_vectors();
    let mut archive = zip_entries(&state_dict(&entries, false), &storages);
    change(&mut archive);
    error_of(&archive.bytes())
}

#[test]
fn archives_that_unfold_or_contradict_themselves_are_refused() {
    let compressed = archive_error(|archive| archive.entries[2].method = 8);
    let bomb = archive_error(|archive| archive.entries[2].length = 1 << 30);
    let outside = archive_error(|archive| {
        archive.entries[2].length = 1 << 30;
        archive.entries[2].packed = 1 << 30;
    });
    let encrypted = archive_error(|archive| archive.entries[2].flags = 1);
    let renamed = archive_error(|archive| archive.entries[2].offset = Some(0));
    let twice = archive_error(|archive| archive.add("weights/data/0", b"again"));
    let two_pickles = archive_error(|archive| archive.add("other/data.pkl", b"N."));
    let script = archive_error(|archive| archive.add("weights/constants.pkl", b"N."));
    let damaged = archive_error(|archive| archive.entries[2].content[0] ^= 1);
    let missing = archive_error(|archive| drop(archive.entries.remove(2)));
    let order = archive_error(|archive| {
        archive.entries.remove(1);
        archive.add("weights/byteorder", b"big");
    });

    assert!(compressed.contains("`weights/data/0` is compressed"), "{compressed}");
    assert!(bomb.contains("`weights/data/0` is compressed"), "{bomb}");
    assert!(outside.contains("`weights/data/0` lies outside the file"), "{outside}");
    assert!(encrypted.contains("`weights/data/0` is encrypted"), "{encrypted}");
    assert!(renamed.contains("`weights/data/0` has another name"), "{renamed}");
    assert!(twice.contains("`weights/data/0` is there twice"), "{twice}");
    assert!(two_pickles.contains("`data.pkl`, or several"), "{two_pickles}");
    assert!(script.contains("TorchScript"), "{script}");
    assert!(damaged.contains("`weights/data/0` does not have its checksum"), "{damaged}");
    assert!(missing.contains("no entry `weights/data/0`"), "{missing}");
    assert!(order.contains("byte order is `big`"), "{order}");
}

#[test]
fn entries_that_share_bytes_are_refused() {
    let (entries, storages) = two_vectors();
    let mut archive = zip_entries(&state_dict(&entries, false), &storages);
    // The first entry's length reaches into the second.
    archive.entries[2].length += 40;
    archive.entries[2].packed += 40;

    let error = error_of(&archive.bytes());

    assert!(error.contains("entries `weights/data/0` and `weights/data/1` share bytes"), "{error}");
}

#[test]
fn what_is_no_state_dict_is_refused_with_what_it_is() {
    let wrapped = |write: &dyn Fn(&mut PickleWriter)| {
        let mut writer = PickleWriter::new();
        write(&mut writer);
        error_of(&zip_file(&writer.end(), &[]))
    };
    let keys = wrapped(&|writer| {
        writer.op(b'}');
        writer.text("backbone");
        writer.raw(b"}s");
    });
    let none = wrapped(&|writer| writer.op(b'N'));
    let big = error_of(&[legacy_head(false), b"\x80\x02N.\x80\x02].".to_vec()].concat());

    assert!(keys.contains("a dict of 1 entries with keys `backbone`"), "{keys}");
    assert!(none.contains("the top is nothing"), "{none}");
    assert!(big.contains("byte order is `big`"), "{big}");
    assert!(error_of(b"\x80\x02N.").contains("did not write"));
    assert!(matches!(from_bytes(b""), Err(TorchError::Format)));
    assert!(matches!(from_bytes(&[[0; 257].as_slice(), b"ustar"].concat()), Err(TorchError::Tar)));
    assert!(matches!(read(Path::new("/nonexistent")), Err(TorchError::Io { .. })));
    assert!(matches!(read(Path::new("/")), Err(TorchError::InFile { .. })));
}

#[test]
fn legacy_streams_with_other_storages_than_described_are_refused() {
    let entries = [TensorEntry::vector("a", "0", 2)];
    let pickle = state_dict(&entries, true);
    let values = || f32_bytes(&[1.0, 2.0]);

    let shorter = error_of(&legacy_file(&pickle, &[("0", f32_bytes(&[1.0]))]));
    let unlisted = error_of(&legacy_file(&pickle, &[]));
    let unknown = error_of(&legacy_file(&pickle, &[("0", values()), ("1", values())]));
    let twice = error_of(&legacy_file(&pickle, &[("0", values()), ("0", values())]));
    let trailing = error_of(&[legacy_file(&pickle, &[("0", values())]), vec![0; 5]].concat());

    for (error, key) in [(shorter, "0"), (unlisted, "0"), (unknown, "1"), (twice, "0")] {
        assert!(error.contains(&format!("storage `{key}` is described in no way, or in two")), "{error}");
    }
    assert!(trailing.contains("5 bytes behind the last storage"), "{trailing}");
}

#[test]
fn a_pickle_cannot_nest_or_repeat_without_end() {
    let nested = error_of(&zip_file(&[b"\x80\x02".as_slice(), &[b'('; 2000]].concat(), &[]));
    // A list of a thousand pairs, which as many calls as the bytes allow would copy.
    let mut writer = PickleWriter::new();
    writer.mark();
    (0..1000).for_each(|_| writer.raw(b"NN\x86"));
    writer.raw(b"l\x85q\x00");
    writer.global("collections", "OrderedDict");
    writer.raw(b"q\x01");
    (0..10_000).for_each(|_| writer.raw(b"h\x01h\x00R"));
    let repeated = error_of(&zip_file(&writer.end(), &[]));

    assert!(nested.contains("more than 1024 nested objects"), "{nested}");
    assert!(repeated.contains("more than 4194304 values"), "{repeated}");
}
