//! From whatever file a user has to a model.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bitloop_core::graph::Shape;
use bitloop_core::spec::{ModelSpec, StridesSpec};
use bitloop_quant::import::torch;
use bitloop_quant::model::Model;
use bitloop_quant::onnx::{self, ImportOptions};
use bitloop_quant::zoo::{self, Strides, Zoo, keys};

use crate::failure::Failure;

/// A model and where it came from.
pub(crate) struct Loaded {
    /// The file.
    pub path: PathBuf,
    /// The network.
    pub model: Model,
    /// Encodings of the file that the model does not have, by tensor, and why not.
    pub left_out: BTreeMap<String, String>,
}

impl Loaded {
    fn whole(path: PathBuf, model: Model) -> Self {
        Self { path, model, left_out: BTreeMap::new() }
    }

    /// Says which encodings were left out, a line for each reason; nothing if there are none.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (tensor, reason) in &self.left_out {
            by_reason.entry(reason).or_default().push(tensor);
        }
        let remark = |(reason, tensors): (&str, Vec<&str>)| {
            let named = tensors.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
            let more = match tensors.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("{}: encodings left out of {named}{more}: {reason}", self.path.display())
        };
        by_reason.into_iter().map(remark).collect()
    }
}

/// How many tensors a remark names.
const NAMED: usize = 3;

/// Reads the model that an experiment names; a relative path starts at `folder`.
///
/// Errors: a usage failure that names the key, the file and what to do.
pub(crate) fn load(spec: &ModelSpec, folder: &Path) -> Result<Loaded, Failure> {
    let path = folder.join(spec.file());
    let described = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("{}: {}: {error}", spec.key(), path.display()))
    };
    if let Err(error) = fs::metadata(&path) {
        let key = spec.key();
        return Err(Failure::usage(format!(
            "{key}: cannot read {}: {error}; the path starts at the experiment file's folder",
            path.display()
        )));
    }
    let model = match spec {
        ModelSpec::Checkpoint { .. } => {
            Model::load(&path).map_err(|error| Failure::usage(error.to_string()))?
        }
        ModelSpec::Onnx { input, .. } => {
            let options =
                ImportOptions { input: input.map(|shape| Shape(shape.to_vec())), ..ImportOptions::default() };
            let imported = onnx::import_file(&path, &options);
            let imported = imported.map_err(|error| Failure::usage(format!("{}: {error}", spec.key())))?;
            let left_out = imported.left_out.into_iter();
            let left_out = left_out.map(|(tensor, reason)| (tensor, reason.to_string())).collect();
            return Ok(Loaded { path, model: imported.model, left_out });
        }
        ModelSpec::Weights { architecture, input, strides, .. } => {
            let architecture = zoo::architecture(architecture)
                .map_err(|error| Failure::usage(format!("model.architecture: {error}")))?;
            let zoo = Zoo {
                input: input.map(|shape| architecture.input(Shape(shape.to_vec()))),
                strides: match strides {
                    StridesSpec::Published => Strides::Published,
                    StridesSpec::SmallImages => Strides::SmallImages,
                },
                ..Zoo::published(architecture)
            };
            let tensors = torch::read(&path).map_err(|error| described(&error))?;
            keys::load(&zoo, tensors).map_err(|error| described(&error))?
        }
    };
    Ok(Loaded::whole(path, model))
}
