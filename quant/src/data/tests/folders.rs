use std::fs;
use std::path::PathBuf;

use bitloop_core::graph::Shape;
use bitloop_core::spec::{DataSpec, Dataset, Fit, ImageCount, ImageSource, Resize, Split};

use super::formats::{grey, jpeg, png};
use super::{Folder, fashion_images, gzip, idx};
use crate::data::{DataError, Images, LabelsError, Loaded, Origin, PictureError, Request, read};

/// What a test asks for; relative paths start at its folder.
struct Wish<'a> {
    folder: &'a Folder,
    spec: DataSpec,
    shape: Shape,
    classes: u32,
    cache: Option<PathBuf>,
}

impl<'a> Wish<'a> {
    fn of(folder: &'a Folder, source: ImageSource) -> Self {
        let spec = DataSpec { source, ..super::spec(1, ImageCount::Count(1), ImageCount::Rest) };
        Self { folder, spec, shape: Shape::image(1, 2, 2), classes: 2, cache: None }
    }

    fn read(&self) -> Result<Loaded, DataError> {
        read(&Request {
            spec: &self.spec,
            beside: &self.folder.0,
            folders: std::slice::from_ref(&self.folder.0),
            cache: self.cache.as_deref(),
            shape: &self.shape,
            classes: self.classes,
        })
    }

    fn images(&self) -> Images {
        self.read().unwrap().images
    }

    fn refused(&self) -> String {
        self.read().unwrap_err().to_string()
    }
}

fn photos(labels: Option<&str>) -> ImageSource {
    ImageSource::Folder { images: "photos".into(), labels: labels.map(str::to_owned) }
}

fn flat(value: u8) -> Vec<u8> {
    grey([2, 2], &[value; 4])
}

/// Two classes: `b` with values 2 and 3 stands behind `a` with value 1.
fn two_classes(name: &str) -> Folder {
    let folder = Folder::new(name);
    folder.write("photos/b/2.png", &flat(2));
    folder.write("photos/b/3.PNG", &flat(3));
    folder.write("photos/a/9.jpeg", &flat(1));
    folder.write("photos/a/notes.txt", b"no image");
    folder.write("photos/.hidden/0.png", b"");
    folder.write("photos/readme.png", b"beside the classes");
    folder
}

#[test]
fn sub_folders_are_classes_in_the_order_of_their_names() {
    let folder = two_classes("classes");

    let images = Wish::of(&folder, photos(None)).images();

    assert_eq!(images.pixels, [[1; 4], [2; 4], [3; 4]].concat());
    assert_eq!((images.labels.as_slice(), images.classes), (&[0, 1, 1][..], 2));
}

#[test]
fn a_labels_file_gives_order_and_classes() {
    let folder = two_classes("labels");
    for text in ["file,label\nb/3.PNG,6\n\na/9.jpeg, 0\n", "\u{feff}\"b/3.PNG\",6\r\na/9.jpeg,0"] {
        folder.write("labels.csv", text.as_bytes());
        let wish = Wish { classes: 7, ..Wish::of(&folder, photos(Some("labels.csv"))) };

        let images = wish.images();

        assert_eq!(images.pixels, [[3; 4], [1; 4]].concat());
        assert_eq!((images.labels.as_slice(), images.classes), (&[6, 0][..], 7));
    }
}

#[test]
fn grey_and_colour_files_become_what_the_model_takes() {
    let folder = Folder::new("channels");
    folder.write("photos/a/0.png", &png([1, 1], png::ColorType::Rgb, &[255, 0, 0]));
    folder.write("photos/a/1.jpg", &jpeg([1, 1], &[[90_u8]]));
    let mut wish = Wish { classes: 1, ..Wish::of(&folder, photos(None)) };
    wish.spec.fit.resize = Some(Resize::Exact([1, 1]));

    let in_colour = Wish { shape: Shape::image(3, 1, 1), ..wish };
    assert_eq!(in_colour.images().pixels, [255, 0, 0, 90, 90, 90]);
    let in_grey = Wish { shape: Shape::image(1, 1, 1), ..in_colour };
    assert_eq!(in_grey.images().pixels, [76, 90]);
}

#[test]
fn unchanged_files_are_decoded_once() {
    let folder = two_classes("once");
    let wish = Wish { cache: Some(folder.0.join("cache")), ..Wish::of(&folder, photos(None)) };
    let entry = |loaded: Loaded| match loaded.origin {
        Origin::Decoded { kept: Some(Ok(entry)) } => (true, entry),
        Origin::Cache(entry) => (false, entry),
        other => panic!("{other:?}"),
    };

    let (is_new, first) = entry(wish.read().unwrap());
    let again = wish.read().unwrap();

    assert!(is_new);
    assert_eq!(again.images, wish.images());
    assert_eq!(entry(again), (false, first.clone()));
    fs::write(&first, b"damaged").unwrap();
    assert_eq!(entry(wish.read().unwrap()), (true, first.clone()), "a damaged entry is made again");
    folder.write("photos/a/9.jpeg", &flat(200));
    let changed = wish.read().unwrap();
    assert_eq!(changed.images.pixels[0], 200);
    assert_ne!(entry(changed).1, first);
}

#[test]
fn every_parameter_has_its_own_entry() {
    let folder = two_classes("parameters");
    folder.write("labels.csv", b"a/9.jpeg,0\nb/2.png,1\nb/3.PNG,1\n");
    folder.write("other.csv", b"a/9.jpeg,1\nb/2.png,1\nb/3.PNG,1\n");
    let wish = |source, fit, classes| {
        let mut wish = Wish { classes, cache: Some(folder.0.join("cache")), ..Wish::of(&folder, source) };
        wish.spec.fit = fit;
        wish
    };
    let resized = Fit { resize: Some(Resize::Exact([2, 2])), ..Fit::default() };
    let padded = Fit { pad: 1, crop: Some([2, 2]), ..Fit::default() };
    let all = [
        wish(photos(None), Fit::default(), 2),
        wish(photos(None), resized, 2),
        wish(photos(None), padded, 2),
        wish(photos(Some("other.csv")), Fit::default(), 2),
        wish(photos(Some("labels.csv")), Fit::default(), 3),
    ];

    for wish in &all {
        assert!(matches!(wish.read().unwrap().origin, Origin::Decoded { .. }), "{:?}", wish.spec);
    }
    // The same images with the same labels are the same, however they were listed.
    let same = wish(photos(Some("labels.csv")), Fit::default(), 2);
    assert!(matches!(same.read().unwrap().origin, Origin::Cache(_)));
}

#[test]
fn a_cache_that_cannot_be_written_stops_nobody() {
    let folder = two_classes("unwritable");
    folder.write("file", b"");
    let wish = Wish { cache: Some(folder.0.join("file/cache")), ..Wish::of(&folder, photos(None)) };

    let loaded = wish.read().unwrap();

    assert_eq!(loaded.images.len(), 3);
    assert!(matches!(loaded.origin, Origin::Decoded { kept: Some(Err(_)) }));
}

#[test]
fn files_that_cannot_be_decoded_are_named() {
    let folder = two_classes("undecodable");
    let wish = Wish::of(&folder, photos(None));
    let good = jpeg([1, 1], &[[90_u8]]);
    for bytes in [&b""[..], b"a text", &good[..good.len() - 4], &flat(1)[..40]] {
        folder.write("photos/b/2.png", bytes);
        let refused = wish.refused();
        assert!(refused.contains("photos/b/2.png"), "{refused}");
    }
    folder.write("photos/b/2.png", &grey([3, 2], &[0; 6]));
    let refused = wish.read().unwrap_err();
    assert!(matches!(refused, DataError::Picture { reason: PictureError::Fit { .. }, .. }), "{refused}");
}

#[test]
fn folders_without_images_are_refused() {
    let folder = Folder::new("empty");
    let refused = || Wish { classes: 1, ..Wish::of(&folder, photos(None)) }.read().unwrap_err();

    assert!(matches!(refused(), DataError::Io { .. }));
    folder.write("photos/1.png", &flat(1));
    assert!(matches!(refused(), DataError::NoClasses { .. }));
    folder.write("photos/cats/notes.txt", b"");
    let empty = refused();
    assert!(matches!(empty, DataError::EmptyClass { .. }) && empty.to_string().contains("cats"), "{empty}");
}

#[test]
fn each_wrong_line_of_a_labels_file_is_named() {
    let folder = two_classes("lines");
    let wish = Wish::of(&folder, photos(Some("labels.csv")));
    let refused = |text: &[u8]| {
        folder.write("labels.csv", text);
        match wish.read().unwrap_err() {
            DataError::Labels { line, reason, path } => {
                assert_eq!(path, folder.0.join("labels.csv"));
                (line, reason)
            }
            other => panic!("{other}"),
        }
    };

    assert_eq!(refused(b""), (1, LabelsError::Nothing));
    assert_eq!(refused(b"file,label\n"), (1, LabelsError::Nothing));
    assert_eq!(refused(b"a/9.jpeg,0\nb/2.png\n"), (2, LabelsError::Fields { found: 1 }));
    assert_eq!(refused(b"a/9.jpeg,0\nb/2.png,1,2\n"), (2, LabelsError::Fields { found: 3 }));
    assert_eq!(refused(b"name,class\n"), (1, LabelsError::NotANumber { label: "class".into() }));
    assert_eq!(refused(b"a/9.jpeg,-1\n"), (1, LabelsError::NotANumber { label: "-1".into() }));
    assert_eq!(refused(b"a/9.jpeg,0\n\nb/2.png,2\n"), (3, LabelsError::NoClass { label: 2, classes: 2 }));
    let twice = LabelsError::Twice { file: "a/9.jpeg".into(), first: 1 };
    assert_eq!(refused(b"a/9.jpeg,0\na/9.jpeg,1\n"), (2, twice));
    assert_eq!(refused(b"a/9.jpeg,0\n\xff,1\n"), (2, LabelsError::NotText));
    for missing in ["c/1.png", "a", "", "a/9.jpeg/x"] {
        let (line, reason) = refused(format!("file,label\n\"{missing}\",0\n").as_bytes());
        let is_missing = matches!(&reason, LabelsError::Missing { file, .. } if file == missing);
        assert!(line == 2 && is_missing, "{reason}");
    }
    fs::remove_file(folder.0.join("labels.csv")).unwrap();
    assert!(wish.refused().contains("labels.csv"));
}

#[test]
fn other_classes_than_the_models_are_refused() {
    let folder = two_classes("class-counts");
    folder.write("t10k-images-idx3-ubyte", &fashion_images(1));
    folder.write("t10k-labels-idx1-ubyte", &idx(0x801, &[1], &[7]));
    let fashion = ImageSource::Dataset { dataset: Dataset::FashionMnist, split: Split::Test };
    let pair =
        ImageSource::Idx { images: "t10k-images-idx3-ubyte".into(), labels: "t10k-labels-idx1-ubyte".into() };
    let with = |source: &ImageSource, classes| Wish {
        classes,
        shape: Shape::image(1, 28, 28),
        ..Wish::of(&folder, source.clone())
    };

    let refused = Wish { classes: 3, ..Wish::of(&folder, photos(None)) }.refused();
    assert!(refused.contains("photos` has 2 classes, the model tells 3 apart"), "{refused}");
    assert!(with(&fashion, 1000).refused().contains("`fashion_mnist` has 10 classes"));
    assert_eq!(with(&fashion, 10).images().labels, [7]);
    assert_eq!(with(&pair, 1000).images().classes, 1000);
    let refused = with(&pair, 7).refused();
    assert!(
        refused.contains("t10k-labels-idx1-ubyte`: image 0 has label 7, there are 7 classes"),
        "{refused}"
    );
}

#[test]
fn data_sets_are_fitted_too() {
    let folder = Folder::new("fitted");
    folder.write("mnist/t10k-images-idx3-ubyte.gz", &gzip(&fashion_images(3)));
    folder.write("mnist/t10k-labels-idx1-ubyte", &idx(0x801, &[3], &[1, 2, 3]));
    let source = ImageSource::Dataset { dataset: Dataset::Mnist, split: Split::Test };
    let mut wish = Wish { classes: 10, shape: Shape::image(1, 32, 32), ..Wish::of(&folder, source) };
    assert!(wish.refused().contains("every image has shape 1x28x28, the model takes 1x32x32"));

    wish.spec.fit = Fit { resize: Some(Resize::ShorterSide(32)), ..Fit::default() };
    let resized = wish.images();
    wish.spec.fit = Fit { pad: 2, ..Fit::default() };
    wish.shape = Shape::image(3, 32, 32);
    let padded = wish.images();

    assert_eq!((resized.shape.clone(), resized.labels.as_slice()), (Shape::image(1, 32, 32), &[1, 2, 3][..]));
    assert_eq!(resized.pixels.len(), 3 * 1024);
    assert_eq!(padded.pixels.len(), 9 * 1024);
    let first = &padded.pixels[..1024];
    assert!(first[..66].iter().all(|value| *value == 0), "two rows and two columns are black");
    assert_eq!(first[66..94], (0..28).collect::<Vec<u8>>());
    assert_eq!(padded.pixels[1024..2048], *first, "grey is repeated for a model of three channels");
}

#[test]
fn data_sets_of_one_family_are_not_mistaken_for_each_other() {
    let folder = Folder::new("family");
    for (name, label) in [("fashion-mnist", 1), ("mnist", 2), ("KMNIST/raw", 3)] {
        folder.write(&format!("{name}/t10k-images-idx3-ubyte"), &fashion_images(1));
        folder.write(&format!("{name}/t10k-labels-idx1-ubyte"), &idx(0x801, &[1], &[label]));
    }
    let load = |dataset, name: &str| crate::data::load(dataset, Split::Test, &[folder.0.join(name)]);
    let label = |dataset, name: &str| load(dataset, name).unwrap().labels[0];

    assert_eq!(label(Dataset::FashionMnist, ""), 1);
    assert_eq!(label(Dataset::Mnist, ""), 2);
    assert_eq!(label(Dataset::Kmnist, ""), 3);
    assert_eq!(label(Dataset::Kmnist, "KMNIST/raw"), 3);
    assert!(matches!(load(Dataset::Mnist, "fashion-mnist"), Err(DataError::NotFound { .. })));
    assert!(matches!(load(Dataset::Kmnist, "mnist"), Err(DataError::NotFound { .. })));
}

#[test]
fn a_model_that_takes_no_images_is_refused() {
    let folder = two_classes("features");
    let wish = Wish { shape: Shape(vec![4]), ..Wish::of(&folder, photos(None)) };

    assert!(matches!(wish.read(), Err(DataError::NotAnImage { .. })));
}

#[test]
fn the_moments_of_the_pixels_are_those_of_the_definition() {
    let images = Images {
        shape: Shape::image(2, 1, 2),
        pixels: vec![0, 255, 7, 7, 0, 255, 7, 7],
        labels: vec![0, 0],
        classes: 1,
    };

    let (mean, deviation) = images.mean_and_deviation();

    assert_eq!((mean[0], deviation[0]), (0.5, 0.5));
    assert!((mean[1] - 7.0 / 255.0).abs() < 1e-7);
    assert_eq!(deviation[1], 0.5 / 255.0, "a flat channel can be divided by");
}
