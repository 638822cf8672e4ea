//! Real JPEG files: every one is decoded, and decoded once.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bitloop_core::graph::Shape;
use bitloop_core::spec::{DataSpec, Fit, ImageCount, ImageSource};
use bitloop_quant::data::{Loaded, Origin, Request, read};

/// A folder of the test's own, removed at its end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn sample() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let folder = root.join("../shared/data/imagenet_sample");
    folder.canonicalize().ok()
}

/// The labels file of images that are named by their class, and how many there are.
fn labels(folder: &Path) -> (String, usize) {
    let entries = fs::read_dir(folder).expect("the sample can be listed");
    let names = entries.map(|entry| entry.expect("the sample can be listed").file_name());
    let mut lines: Vec<String> = names
        .filter_map(|name| name.to_string_lossy().strip_suffix(".jpg").map(str::to_owned))
        .map(|stem| format!("{stem}.jpg,{}", stem.parse::<u32>().expect("files are named by their class")))
        .collect();
    lines.sort();
    (lines.join("\n"), lines.len())
}

#[test]
fn golden_every_sample_image_is_decoded_and_kept() {
    let Some(sample) = sample() else {
        drop(writeln!(std::io::stderr(), "skipped: ../shared/data/imagenet_sample is not there"));
        return;
    };
    let own = Folder(std::env::temp_dir().join(format!("bitloop-golden-images-{}", std::process::id())));
    fs::create_dir_all(&own.0).expect("a temporary folder");
    let (text, count) = labels(&sample);
    fs::write(own.0.join("labels.csv"), text).expect("a labels file");
    let images = sample.to_str().expect("the sample's path is text").to_owned();
    let spec = DataSpec {
        source: ImageSource::Folder { images, labels: Some("labels.csv".to_owned()) },
        fit: Fit::default(),
        normalize: None,
        calibration: 1,
        selection: ImageCount::Count(1),
        report: ImageCount::Rest,
        training: None,
        seed: 0,
    };
    let shape = Shape::image(3, 224, 224);
    let cache = own.0.join("cache");
    let request = Request {
        spec: &spec,
        beside: &own.0,
        folders: &[],
        cache: Some(&cache),
        shape: &shape,
        classes: 1000,
    };

    let Loaded { images, origin } = read(&request).expect("every image can be decoded");
    let again = read(&request).expect("every image is there again");

    assert_eq!((images.len(), &images.shape), (count, &shape));
    assert!(images.labels.is_sorted(), "files are named by their class");
    assert!(matches!(origin, Origin::Decoded { kept: Some(Ok(_)) }), "{origin:?}");
    assert!(matches!(again.origin, Origin::Cache(_)), "{:?}", again.origin);
    assert!(again.images == images);
    let per_image = shape.elements();
    let flat =
        images.pixels.chunks(per_image).filter(|pixels| pixels.iter().all(|value| *value == pixels[0]));
    assert_eq!(flat.count(), 0, "a photograph has more than one value");
}
