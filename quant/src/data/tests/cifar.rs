use bitloop_core::graph::Shape;
use bitloop_core::spec::{Dataset, Split};

use super::{Folder, gzip};
use crate::data::{DataError, load};

/// Images of one colour each, behind their labels.
fn records(labels: &[&[u8]]) -> Vec<u8> {
    let record = |labels: &&[u8]| {
        let colour = [labels[0], labels[0] + 1, labels[0] + 2];
        [labels.to_vec(), colour.iter().flat_map(|value| [*value; 1024]).collect()].concat()
    };
    labels.iter().flat_map(record).collect()
}

#[test]
fn the_parts_of_cifar_10_are_joined_in_order() {
    let folder = Folder::new("cifar-10");
    for (number, label) in (1..=5_u8).zip([5_u8, 4, 3, 2, 1]) {
        let name = format!("cifar-10-batches-bin/data_batch_{number}.bin");
        folder.write(&name, &records(&[&[label], &[label + 4]]));
    }
    folder.write("cifar-10-batches-bin/test_batch.bin.gz", &gzip(&records(&[&[9]])));
    let folders = [folder.0.join("nowhere"), folder.0.clone()];

    let train = load(Dataset::Cifar10, Split::Train, &folders).unwrap();
    let test = load(Dataset::Cifar10, Split::Test, &[folder.0.join("cifar-10-batches-bin")]).unwrap();

    assert_eq!(train.labels, [5, 9, 4, 8, 3, 7, 2, 6, 1, 5]);
    assert_eq!((train.shape, train.classes), (Shape::image(3, 32, 32), 10));
    assert_eq!([train.pixels[0], train.pixels[1024], train.pixels[3 * 1024 - 1]], [5, 6, 7]);
    assert_eq!(test.labels, [9]);
    std::fs::remove_file(folder.0.join("cifar-10-batches-bin/data_batch_3.bin")).unwrap();
    let missing = load(Dataset::Cifar10, Split::Train, &folders).unwrap_err().to_string();
    assert!(missing.contains("data_batch_3.bin"), "{missing}");
}

#[test]
fn cifar_100_has_fine_and_coarse_labels() {
    let folder = Folder::new("cifar-100");
    folder.write("cifar-100-binary/test.bin", &records(&[&[19, 99], &[0, 7]]));
    let folders = [folder.0.clone()];

    let fine = load(Dataset::Cifar100, Split::Test, &folders).unwrap();
    let coarse = load(Dataset::Cifar100Coarse, Split::Test, &folders).unwrap();

    assert_eq!((fine.labels.as_slice(), fine.classes), (&[99, 7][..], 100));
    assert_eq!((coarse.labels.as_slice(), coarse.classes), (&[19, 0][..], 20));
    assert_eq!(fine.pixels, coarse.pixels);
}

#[test]
fn files_that_are_no_cifar_images_are_refused_by_name() {
    let folder = Folder::new("cifar-bad");
    let refused = |bytes: &[u8]| {
        folder.write("test_batch.bin", bytes);
        let error = load(Dataset::Cifar10, Split::Test, std::slice::from_ref(&folder.0)).unwrap_err();
        assert!(error.to_string().contains("test_batch.bin"), "{error}");
        error
    };
    let good = records(&[&[1], &[2]]);

    assert!(matches!(refused(b""), DataError::NoImages { .. }));
    assert!(matches!(refused(&good[..good.len() - 1]), DataError::Records { bytes: 6145, record: 3073, .. }));
    let wrong = refused(&records(&[&[1], &[10]]));
    assert!(matches!(wrong, DataError::FileLabel { image: 1, label: 10, classes: 10, .. }), "{wrong}");
    let nowhere =
        load(Dataset::Cifar100, Split::Test, std::slice::from_ref(&folder.0)).unwrap_err().to_string();
    for words in ["CIFAR-100", "cifar-100-binary/test.bin", "--dataset-dir"] {
        assert!(nowhere.contains(words), "{nowhere}");
    }
}
