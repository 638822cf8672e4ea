//! The `model:` and `prepare:` keys of an experiment file.

use super::reader::Place;
use super::shared::file_name;
use crate::trial::{BiasCorrection, Transform};

/// Extents of an input image at most.
const EXTENT_MAX: usize = 1 << 14;

/// What a transform may cost unless the file says otherwise: half a point.
const DROP_MAX_PPM: u32 = 5_000;
const PPM_PER_POINT: f64 = 1e4;

/// Strides of an architecture's early layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StridesSpec {
    /// As published, for images of 224x224.
    #[default]
    Published,
    /// Early layers keep the resolution, for images of 32x32 or 28x28.
    SmallImages,
}

/// Where a model comes from; relative paths start at the experiment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSpec {
    /// A model file of bitloop's own.
    Checkpoint {
        /// Its path.
        file: String,
    },
    /// An ONNX file.
    Onnx {
        /// Its path.
        file: String,
        /// Channels, height, width, where the file leaves them open.
        input: Option<[usize; 3]>,
    },
    /// Weights of a known architecture, as PyTorch or safetensors keep them.
    Weights {
        /// The architecture's name.
        architecture: String,
        /// Path of the weights.
        file: String,
        /// Channels, height, width, unless those of the publication.
        input: Option<[usize; 3]>,
        /// Strides of its early layers.
        strides: StridesSpec,
    },
}

impl ModelSpec {
    /// The path of the file.
    pub fn file(&self) -> &str {
        match self {
            Self::Checkpoint { file } | Self::Onnx { file, .. } | Self::Weights { file, .. } => file,
        }
    }

    /// The key of the file's path in the experiment file.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Checkpoint { .. } | Self::Weights { .. } => "model.checkpoint",
            Self::Onnx { .. } => "model.onnx",
        }
    }
}

/// What is done to the float network before it is quantized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrepareRules {
    /// The transforms, ascending.
    pub transforms: Vec<Transform>,
    /// Part of the images, in parts per million, that one transform may cost.
    pub drop_max_ppm: u32,
    /// Selection images that transforms are judged on; all unless given.
    pub images: Option<u64>,
}

impl Default for PrepareRules {
    /// Batch norms are folded, as hardware does, and nothing else.
    fn default() -> Self {
        Self { transforms: vec![Transform::FoldBatchNorm], drop_max_ppm: DROP_MAX_PPM, images: None }
    }
}

pub(super) fn model(place: &Place<'_>) -> Option<ModelSpec> {
    let fields = place.fields(&["checkpoint", "onnx", "architecture", "input", "strides"])?;
    let checkpoint = fields.optional("checkpoint", None, |place| file_name(place).map(Some))?;
    let onnx = fields.optional("onnx", None, |place| file_name(place).map(Some))?;
    let architecture = fields.optional("architecture", None, |place| place.text().map(Some))?;
    let input = fields.optional("input", None, |place| extents(place).map(Some));
    let strides = fields.optional("strides", None, |place| {
        let words = [("published", StridesSpec::Published), ("small_images", StridesSpec::SmallImages)];
        place.word(&words).map(Some)
    });
    let (input, strides) = (input?, strides?);
    if strides.is_some() && architecture.is_none() {
        return fields.mistake("strides", "only an `architecture` has strides to choose", "remove it");
    }
    match (checkpoint, onnx, architecture) {
        (Some(_), None, None) if input.is_some() => fields.mistake(
            "input",
            "a model file of bitloop's own has its input's extents inside",
            "remove it",
        ),
        (Some(file), None, None) => Some(ModelSpec::Checkpoint { file }),
        (None, Some(file), None) => Some(ModelSpec::Onnx { file, input }),
        (Some(file), None, Some(architecture)) => Some(ModelSpec::Weights {
            architecture: architecture.to_owned(),
            file,
            input,
            strides: strides.unwrap_or_default(),
        }),
        (None, None, Some(_)) => fields.required("checkpoint", "checkpoint: weights.pth", |_| None),
        (None, None, None) => fields.required("checkpoint", "checkpoint: model.safetensors", |_| None),
        (_, Some(_), _) => fields.mistake(
            "onnx",
            "there is another source of the model beside it",
            "keep `onnx`, or `checkpoint` with or without `architecture`",
        ),
    }
}

/// Reads `[channels, height, width]`.
fn extents(place: &Place<'_>) -> Option<[usize; 3]> {
    let extents = place.list("[3, 224, 224]", |place| place.size(1..=EXTENT_MAX))?;
    match extents.try_into() {
        Ok(extents) => Some(extents),
        Err(_) => {
            place.mistake("must have three numbers", "write channels, height and width: `[3, 224, 224]`")
        }
    }
}

pub(super) fn prepare(place: &Place<'_>) -> Option<PrepareRules> {
    let default = PrepareRules::default();
    if place.is_list() || place.as_text().is_some() {
        return Some(PrepareRules { transforms: transforms(place)?, ..default });
    }
    let fields = place.fields(&["transforms", "accuracy_drop_max", "images"])?;
    let transforms = fields.required("transforms", "transforms: [fold_batch_norm, equalize]", transforms);
    let drop = fields.optional("accuracy_drop_max", None, |place| place.number(0.0..=100.0).map(Some));
    let images = fields.optional("images", None, |place| place.integer(1..=1_000_000_000).map(Some));
    let drop_max_ppm = drop?.map_or(default.drop_max_ppm, |points| (points * PPM_PER_POINT).round() as u32);
    Some(PrepareRules { transforms: transforms?, drop_max_ppm, images: images? })
}

const TRANSFORMS: [Transform; 6] = [
    Transform::FoldBatchNorm,
    Transform::ReplaceRelu6,
    Transform::Equalize,
    Transform::HighBiasFold,
    Transform::BiasCorrection(BiasCorrection::Empirical),
    Transform::BiasCorrection(BiasCorrection::Analytic),
];

/// Reads transforms; each builds on those before it, so their order is fixed.
fn transforms(place: &Place<'_>) -> Option<Vec<Transform>> {
    const EXAMPLE: &str = "[fold_batch_norm, equalize]";
    if place.as_text() == Some("none") {
        return Some(Vec::new());
    }
    if !place.is_list() {
        return place.expected("a list of transforms", format!("write `none` or a list such as `{EXAMPLE}`"));
    }
    let words = TRANSFORMS.map(|transform| (transform.as_str(), transform));
    let mut read: Vec<Transform> = Vec::new();
    let mut complete = true;
    for item in place.items(EXAMPLE)? {
        let accepted = item.word(&words).and_then(|transform| follows(&item, &read, transform));
        complete &= accepted.is_some();
        read.extend(accepted);
    }
    complete.then_some(read)
}

fn follows(item: &Place<'_>, read: &[Transform], transform: Transform) -> Option<Transform> {
    let name = transform.as_str();
    let is_correction = |transform: &Transform| matches!(transform, Transform::BiasCorrection(_));
    if is_correction(&transform) && read.iter().any(is_correction) {
        return item.mistake("biases are corrected already", "choose one kind of bias correction");
    }
    if let Some(last) = read.last().filter(|last| **last >= transform) {
        return item.mistake(
            format!("`{name}` cannot come after `{}`", last.as_str()),
            "the order is fold_batch_norm, replace_relu6, equalize, high_bias_fold, bias_correction",
        );
    }
    let needed = match transform {
        Transform::HighBiasFold => Some(Transform::Equalize),
        Transform::Equalize | Transform::BiasCorrection(_) => Some(Transform::FoldBatchNorm),
        Transform::FoldBatchNorm | Transform::ReplaceRelu6 => None,
    };
    match needed.filter(|needed| !read.contains(needed)) {
        None => Some(transform),
        Some(needed) => item.mistake(
            format!("`{name}` needs `{}` before it", needed.as_str()),
            format!("put `{}` into the list", needed.as_str()),
        ),
    }
}
