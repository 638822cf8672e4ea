//! From whatever file a user has to a model.

use std::fs;
use std::path::{Path, PathBuf};

use bitloop_core::graph::Shape;
use bitloop_core::spec::{ModelSpec, StridesSpec};
use bitloop_quant::import::torch;
use bitloop_quant::model::Model;
use bitloop_quant::onnx::{self, ImportOptions};
use bitloop_quant::zoo::{self, Strides, Zoo, keys};

use crate::failure::Failure;

/// Reads the model that an experiment names; a relative path starts at `folder`.
///
/// Errors: a usage failure that names the key, the file and what to do.
pub(crate) fn load(spec: &ModelSpec, folder: &Path) -> Result<(PathBuf, Model), Failure> {
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
            imported.map_err(|error| Failure::usage(format!("{}: {error}", spec.key())))?.model
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
    Ok((path, model))
}
