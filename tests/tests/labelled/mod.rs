//! EfficientNet-Lite0 with its published weights, and labelled images of ImageNet (`../shared/data`).

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use bitloop_core::spec::{DataSpec, Fit, ImageCount, ImageSource};
use bitloop_quant::data::{Images, Request, read};
use bitloop_quant::import::torch;
use bitloop_quant::model::Model;
use bitloop_quant::zoo::{Zoo, architecture, keys};
use bitloop_tests::shared;

/// Of ImageNet.
pub(crate) const CLASSES: u32 = 1000;

/// One image in so many is for calibration, as neighbours are of similar classes.
const CALIBRATED_EVERY: usize = 7;

/// The network, and where the images are.
pub(crate) struct Labelled {
    pub(crate) model: Model,
    pub(crate) folder: PathBuf,
    /// The images' names without their ending, sorted.
    names: Vec<String>,
}

impl Labelled {
    /// None, after saying so, on a machine without the files.
    pub(crate) fn found() -> Option<Self> {
        let data = shared().join("data");
        let (network, folder) = (data.join("efficientnet_lite0"), data.join("imagenet_sample"));
        let Ok(entries) = fs::read_dir(&folder).and_then(|entries| fs::metadata(&network).map(|_| entries))
        else {
            let lacking = "efficientnet_lite0 and imagenet_sample";
            drop(writeln!(std::io::stderr(), "skipped: {} has no {lacking}", data.display()));
            return None;
        };
        let names = entries.filter_map(|entry| {
            Some(entry.expect("an entry").file_name().to_str()?.strip_suffix(".jpg")?.to_owned())
        });
        let mut names: Vec<String> = names.collect();
        names.sort();
        let weights = torch::read(&network.join("efficientnet_lite0.safetensors")).expect("a checkpoint");
        let zoo = Zoo::published(architecture("efficientnet_lite0").expect("an architecture of ours"));
        let model = keys::load(&zoo, weights).expect("its own weights");
        Some(Self { model, folder: folder.canonicalize().expect("a folder"), names })
    }

    /// The named images as an experiment reads them, in the order of the names; a file's number is its class.
    pub(crate) fn images(&self, names: &[&str]) -> Images {
        let own = tempfile::tempdir().expect("a folder");
        let class = |name: &str| name.parse::<u32>().expect("a number");
        let labels: String = names.iter().map(|name| format!("{name}.jpg,{}\n", class(name))).collect();
        fs::write(own.path().join("labels.csv"), labels).expect("a file");
        let spec = DataSpec {
            source: ImageSource::Folder {
                images: self.folder.to_str().expect("a path in UTF-8").to_owned(),
                labels: Some("labels.csv".to_owned()),
            },
            fit: Fit::default(),
            normalize: None,
            calibration: 1,
            selection: ImageCount::Count(1),
            report: ImageCount::Rest,
            training: None,
            seed: 0,
        };
        let request = Request {
            spec: &spec,
            beside: own.path(),
            folders: &[],
            cache: None,
            shape: &self.model.graph.input.shape,
            classes: CLASSES,
        };
        let images = read(&request).expect("images").images;
        assert_eq!(images.len(), names.len());
        images
    }

    /// The images for calibration, and all others.
    pub(crate) fn parts(&self) -> [Arc<Images>; 2] {
        [true, false].map(|is_calibrated| {
            let names = self.names.iter().enumerate();
            let part = names.filter(|(index, _)| index.is_multiple_of(CALIBRATED_EVERY) == is_calibrated);
            Arc::new(self.images(&part.map(|(_, name)| name.as_str()).collect::<Vec<_>>()))
        })
    }
}

/// The class of the largest logit.
pub(crate) fn largest(logits: &[f32]) -> usize {
    (0..logits.len())
        .max_by(|left, right| logits[*left].total_cmp(&logits[*right]))
        .expect("there are logits")
}
