mod cifar;
mod folders;
mod formats;
mod golden;
mod mutations;
mod pictures;
mod resizing;

use std::io::Write;
use std::path::Path;

use bitloop_core::spec::{DataSpec, Fit, ImageCount, ImageSource};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

fn idx(magic: u32, sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let words = [&[magic], sizes].concat();
    let header = words.iter().flat_map(|word| word.to_be_bytes());
    header.chain(data.iter().copied()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A folder of the test's own, removed at its end.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bitloop-data-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn fashion_images(n: u32) -> Vec<u8> {
    let pixels: Vec<u8> = (0..n as usize * 784).map(|i| (i % 251) as u8).collect();
    idx(0x803, &[n, 28, 28], &pixels)
}

fn images() -> Images {
    Images { shape: Shape::image(1, 2, 2), pixels: (0..12).collect(), labels: vec![0, 2, 1], classes: 3 }
}

fn spec(calibration: u64, selection: ImageCount, report: ImageCount) -> DataSpec {
    DataSpec {
        source: ImageSource::Dataset { dataset: Dataset::FashionMnist, split: Split::Test },
        fit: Fit::default(),
        normalize: None,
        training: None,
        calibration,
        selection,
        report,
        seed: 1,
    }
}

#[test]
fn plain_and_compressed_files_give_the_same_images() {
    let folder = Folder::new("formats");
    let bytes = idx(0x803, &[2, 3, 1], &[1, 2, 3, 4, 5, 6]);
    let plain = folder.write("plain", &bytes);
    let compressed = folder.write("compressed", &gzip(&bytes));

    assert_eq!(read_images(&plain).unwrap(), (Shape::image(1, 3, 1), vec![1, 2, 3, 4, 5, 6]));
    assert_eq!(read_images(&compressed).unwrap(), read_images(&plain).unwrap());
    let labels = folder.write("labels", &idx(0x801, &[3], &[7, 8, 9]));
    assert_eq!(read_labels(&labels).unwrap(), [7, 8, 9]);
}

#[test]
fn malformed_files_give_an_error_that_names_them() {
    let folder = Folder::new("malformed");
    let good = idx(0x803, &[2, 2, 1], &[1, 2, 3, 4]);
    let read = |bytes: &[u8]| read_images(&folder.write("file", bytes)).unwrap_err();

    assert!(matches!(read(&idx(0x801, &[4], &[1, 2, 3, 4])), DataError::Magic { found: 0x801, .. }));
    assert!(matches!(read(b""), DataError::Truncated { expected: 16, found: 0, .. }));
    assert!(matches!(read(&good[..10]), DataError::Truncated { expected: 16, found: 10, .. }));
    assert!(matches!(read(&good[..19]), DataError::Truncated { expected: 20, found: 19, .. }));
    assert!(matches!(read(&[good.as_slice(), &[0]].concat()), DataError::Trailing { expected: 20, .. }));
    assert!(matches!(read(&idx(0x803, &[0, 28, 28], &[])), DataError::NoImages { .. }));
    assert!(matches!(read(&idx(0x803, &[u32::MAX; 3], &[])), DataError::TooLarge { .. }));
    let compressed = gzip(&good);
    for len in 2..compressed.len() {
        assert!(matches!(read(&compressed[..len]), DataError::Gzip { .. }), "{len} bytes");
    }
    assert!(read(b"").to_string().contains("file"));
    assert!(matches!(read_images(Path::new("/nonexistent")), Err(DataError::Io { .. })));
}

#[test]
fn fashion_mnist_is_found_in_the_first_folder_that_has_it() {
    let folder = Folder::new("lookup");
    folder.write("b/fashion-mnist/t10k-images-idx3-ubyte.gz", &gzip(&fashion_images(2)));
    folder.write("b/fashion-mnist/t10k-labels-idx1-ubyte", &idx(0x801, &[2], &[9, 0]));
    folder.write("c/t10k-images-idx3-ubyte", &fashion_images(1));
    let folders = ["a", "b", "c"].map(|name| folder.0.join(name));

    let images = load(Dataset::FashionMnist, Split::Test, &folders).unwrap();

    assert_eq!((images.len(), images.labels.as_slice(), images.classes), (2, &[9, 0][..], 10));
    assert_eq!(images.shape, Shape::image(1, 28, 28));
    let missing = load(Dataset::FashionMnist, Split::Test, &folders[2..]).unwrap_err();
    assert!(matches!(missing, DataError::LabelsNotFound { .. }));
    let nowhere = load(Dataset::FashionMnist, Split::Train, &folders).unwrap_err().to_string();
    for place in ["a/train-images", "a/fashion-mnist/train-images", "dataset-fashion-mnist", "--dataset-dir"]
    {
        assert!(nowhere.contains(place), "{nowhere}");
    }
}

#[test]
fn images_and_labels_that_do_not_fit_are_refused() {
    let folder = Folder::new("fit");
    let folders = [folder.0.clone()];
    let load = || load(Dataset::FashionMnist, Split::Test, &folders).unwrap_err();
    folder.write("t10k-images-idx3-ubyte", &fashion_images(2));
    folder.write("t10k-labels-idx1-ubyte", &idx(0x801, &[3], &[1, 2, 3]));

    assert!(matches!(load(), DataError::Counts { images: 2, labels: 3, .. }));
    folder.write("t10k-labels-idx1-ubyte", &idx(0x801, &[2], &[1, 10]));
    assert!(matches!(load(), DataError::FileLabel { image: 1, label: 10, classes: 10, .. }));
    folder.write("t10k-images-idx3-ubyte", &idx(0x803, &[1, 2, 2], &[0; 4]));
    assert!(matches!(load(), DataError::Size { .. }));
}

#[test]
fn the_data_artifact_survives_and_refuses_damage() {
    let bytes = images().to_bytes();

    assert_eq!(Images::from_bytes(&bytes).unwrap(), images());
    assert_eq!(Images::from_bytes(&bytes).unwrap().to_bytes(), bytes);
    for len in 0..bytes.len() {
        assert!(Images::from_bytes(&bytes[..len]).is_err(), "{len} bytes");
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            if let Ok(images) = Images::from_bytes(&damaged) {
                assert!(images.labels.iter().all(|label| *label < images.classes));
            }
        }
    }
    let mut mislabelled = images();
    mislabelled.labels[2] = 3;
    let refused = Images::from_bytes(&mislabelled.to_bytes());
    assert!(matches!(refused, Err(DataError::Label { image: 2, label: 3, classes: 3 })));
}

#[test]
fn subsets_follow_the_indices() {
    let subset = images().subset(&[2, 0]).unwrap();

    assert_eq!(subset.pixels, [8, 9, 10, 11, 0, 1, 2, 3]);
    assert_eq!(subset.labels, [1, 0]);
    assert!(matches!(images().subset(&[3]), Err(DataError::Index { index: 3, images: 3 })));
}

#[test]
fn ranges_outside_the_images_are_refused() {
    let range = |start, len| images().range(ImageRange { start, len });

    assert_eq!(range(1, 2).unwrap(), 1..3);
    for (start, len) in [(0, 0), (1, 3), (u64::MAX, 2)] {
        assert!(matches!(range(start, len), Err(DataError::Range { .. })), "{start} {len}");
    }
}

#[test]
fn a_split_is_a_partition_that_depends_on_the_seed_alone() {
    let spec_one = spec(10, ImageCount::Count(30), ImageCount::Rest);

    let parts = split(100, &spec_one).unwrap();

    assert_eq!((parts.calibration.len(), parts.selection.len(), parts.report.len()), (10, 30, 60));
    let mut all = [parts.calibration.clone(), parts.selection.clone(), parts.report.clone()].concat();
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
    assert_eq!(split(100, &spec_one).unwrap(), parts);
    assert_ne!(split(100, &DataSpec { seed: 2, ..spec_one }).unwrap(), parts);
}

#[test]
fn the_order_of_seed_1_is_fixed_for_good() {
    let parts = split(10, &spec(3, ImageCount::Rest, ImageCount::Count(3))).unwrap();

    // A change here makes every stored experiment see other images.
    assert_eq!([parts.calibration, parts.selection, parts.report].concat(), [8, 4, 0, 3, 6, 5, 1, 7, 9, 2]);
}

#[test]
fn training_images_come_first_or_from_a_file_of_their_own() {
    let of = |training, split| DataSpec {
        source: ImageSource::Dataset { dataset: Dataset::FashionMnist, split },
        training: Some(training),
        ..spec(0, ImageCount::Count(3), ImageCount::Rest)
    };

    let same = split(10, &of(ImageCount::Count(2), Split::Train)).unwrap();
    let [training, rest] = [same.training, [same.selection, same.report].concat()];
    assert_eq!((training, rest), (vec![8, 4], vec![0, 3, 6, 5, 1, 7, 9, 2]));
    assert!(same.calibration.is_empty());

    let apart = of(ImageCount::Count(2), Split::Test);
    let parts = split(10, &apart).unwrap();
    assert_eq!((parts.training.len(), parts.selection, parts.report.len()), (0, vec![8, 4, 0], 7));
    assert_eq!(training_images(10, &apart).unwrap(), [8, 4]);
    let all = of(ImageCount::Rest, Split::Test);
    assert_eq!(training_images(10, &all).unwrap(), [8, 4, 0, 3, 6, 5, 1, 7, 9, 2]);

    let many = training_images(1, &apart).unwrap_err().to_string();
    assert_eq!(many, "`data.training` takes 2 images, but the training file has 1");
    let many = split(4, &of(ImageCount::Count(2), Split::Train)).unwrap_err().to_string();
    assert!(
        many.starts_with("the split takes 2 images for training, 0 images for calibration, 3 for"),
        "{many}"
    );
    let none = split(4, &of(ImageCount::Count(0), Split::Train)).unwrap();
    assert!(none.training.is_empty());
}

#[test]
fn splits_without_enough_images_say_the_numbers() {
    use ImageCount::{Count, Rest};
    let refused =
        |calibration, selection, report| split(10, &spec(calibration, selection, report)).unwrap_err();

    assert!(matches!(refused(5, Count(5), Count(1)), DataError::TooFewImages { images: 10, .. }));
    assert!(matches!(refused(5, Count(5), Rest), DataError::EmptyPart { part: "report", others: 10, .. }));
    assert!(matches!(refused(0, Count(5), Rest), DataError::EmptyPart { part: "calibration", .. }));
    assert!(matches!(refused(5, Rest, Rest), DataError::TwoRests));
    assert!(matches!(refused(u64::MAX, Count(1), Rest), DataError::TooFewImages { .. }));
}
