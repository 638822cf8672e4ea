use super::{EXPERIMENT, experiment_mistakes, with};
use crate::spec::{DataSpec, Dataset, ExperimentSpec, Fit, ImageSource, Normalization, Resize, Split};

const DATASET: &str = "dataset: fashion_mnist, split: test";

fn read(source: &str) -> DataSpec {
    ExperimentSpec::parse(&with(EXPERIMENT, DATASET, source)).expect("no mistakes").data
}

fn mistakes(source: &str) -> Vec<String> {
    experiment_mistakes(&with(EXPERIMENT, DATASET, source))
}

#[test]
fn every_data_set_is_read() {
    for (name, dataset) in [
        ("fashion_mnist", Dataset::FashionMnist),
        ("mnist", Dataset::Mnist),
        ("kmnist", Dataset::Kmnist),
        ("cifar10", Dataset::Cifar10),
        ("cifar100", Dataset::Cifar100),
        ("cifar100_coarse", Dataset::Cifar100Coarse),
    ] {
        let data = read(&format!("dataset: {name}"));

        assert_eq!(data.source, ImageSource::Dataset { dataset, split: Split::Test });
        assert_eq!(dataset.as_str(), name);
    }
}

#[test]
fn a_folder_is_read_with_and_without_labels() {
    let folder = |labels: Option<&str>| ImageSource::Folder {
        images: "photos".into(),
        labels: labels.map(str::to_owned),
    };

    assert_eq!(read("images: photos").source, folder(None));
    assert_eq!(read("images: photos, labels: labels.csv").source, folder(Some("labels.csv")));
}

#[test]
fn a_pair_of_idx_files_is_read() {
    let data = read("idx: { images: a.gz, labels: b }, pad: 2");

    assert_eq!(data.source, ImageSource::Idx { images: "a.gz".into(), labels: "b".into() });
    assert_eq!(data.fit, Fit { pad: 2, ..Fit::default() });
}

#[test]
fn images_are_fitted_as_the_file_says() {
    let fit = |text: &str| read(&format!("{DATASET}, {text}")).fit;

    let shorter = Fit { resize: Some(Resize::ShorterSide(256)), pad: 0, crop: Some([224, 224]) };
    assert_eq!(fit("resize: 256, crop: 224"), shorter);
    let exact = Fit { resize: Some(Resize::Exact([32, 40])), pad: 1, crop: Some([34, 42]) };
    assert_eq!(fit("resize: [32, 40], pad: 1, crop: [34, 42]"), exact);
    // The longer side may be long enough.
    assert_eq!(fit("resize: 32, crop: [32, 64]").crop, Some([32, 64]));
}

#[test]
fn a_normalization_is_one_number_or_one_per_channel() {
    let normalize = |text: &str| read(&format!("{DATASET}, normalize: {{ {text} }}")).normalize.unwrap();

    let one = Normalization { mean: vec![0.5], std: vec![0.25] };
    assert_eq!(normalize("mean: 0.5, std: [0.25]"), one);
    let three = Normalization { mean: vec![0.0, 0.5, 1.0], std: vec![1.0] };
    assert_eq!(normalize("mean: [0, 0.5, 1], std: 1"), three);
}

#[test]
fn each_kind_of_mistake_gives_one_line() {
    for (text, line) in MISTAKES {
        assert_eq!(mistakes(text), [*line], "`{text}`");
    }
}

#[test]
fn mistakes_of_all_keys_come_at_once() {
    let found = mistakes("images: [a], split: test, resize: 0, crop: x, normalize: { mean: 127 }, sed: 1");

    let places: Vec<&str> = found.iter().filter_map(|line| line.split(": ").next()).collect();
    let expected = [
        "data.images",
        "data.split",
        "data.resize",
        "data.crop",
        "data.normalize.std",
        "data.normalize.mean",
        "data.sed",
    ];
    assert_eq!(places, expected, "{found:#?}");
}

/// What stands in place of the data set, and what the reader says.
const MISTAKES: &[(&str, &str)] = &[
    (
        "pad: 0",
        "data.dataset: is missing; add `dataset: fashion_mnist`, `images: FOLDER` or `idx: { images: FILE, labels: FILE }`",
    ),
    (
        "dataset: mnist, images: photos",
        "data.images: `dataset` says already where the images are; keep one of them",
    ),
    (
        "images: photos, idx: { images: a, labels: b }",
        "data.idx: `images` says already where the images are; keep one of them",
    ),
    (
        "dataset: mnist, labels: labels.csv",
        "data.labels: does not belong here; a data set has its own labels; remove it",
    ),
    (
        "images: photos, split: test",
        "data.split: does not belong here; a folder of images has no splits; remove it",
    ),
    (
        "idx: { images: a, labels: b }, labels: b",
        "data.labels: does not belong here; write `idx: { images: FILE, labels: FILE }`",
    ),
    ("idx: { images: a }", "data.idx.labels: is missing; add `labels: labels-idx1-ubyte.gz`"),
    ("idx: a.gz", "data.idx: expected a mapping, found text `a.gz`; known keys: `images` and `labels`"),
    ("images: ''", "data.images: the text is empty"),
    ("dataset: mnist, resize: 0", "data.resize: 0 is out of range; write a whole number from 1 to 4096"),
    (
        "dataset: mnist, resize: [32]",
        "data.resize: a list of 1 is no height and width; write a list such as `[224, 224]`",
    ),
    ("dataset: mnist, pad: -1", "data.pad: -1 is out of range; write a whole number from 0 to 4096"),
    (
        "dataset: mnist, crop: [32, 5000]",
        "data.crop[1]: 5000 is out of range; write a whole number from 1 to 4096",
    ),
    (
        "dataset: mnist, resize: 28, pad: 1, crop: 32",
        "data.crop: a crop of 32x32 does not fit into what `resize` gives; make the crop smaller, or `resize` or `pad` larger",
    ),
    (
        "dataset: mnist, resize: [64, 28], crop: [32, 30]",
        "data.crop: a crop of 32x30 does not fit into what `resize` gives; make the crop smaller, or `resize` or `pad` larger",
    ),
    (
        "dataset: mnist, normalize: { mean: 123.675, std: 0.2 }",
        "data.normalize.mean: 123.675 is out of range; write a number from -1 to 1",
    ),
    (
        "dataset: mnist, normalize: { mean: 0, std: [0.2, 0] }",
        "data.normalize.std[1]: 0 is out of range; write a number from 0.000001 to 10",
    ),
    (
        "dataset: mnist, normalize: { mean: [0, 0, 0], std: [1, 1] }",
        "data.normalize.std: has 2 numbers for 3 of `mean`; write one number per channel in both",
    ),
];
