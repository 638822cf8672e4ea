use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use bitloop_core::graph::{Graph, Shape};
use candle_core::{Device, Tensor};
use safetensors::{Dtype, SafeTensors};

use super::{Model, ModelError, encodings, expected_tensors, values_of};
use crate::archive::{self, Entry};
use crate::quantizer::Encoding;

const FORMAT_KEY: &str = "bitloop.format";
const GRAPH_KEY: &str = "bitloop.graph";
/// Left out where a model has no encodings, so that such a file has the bytes it always had.
const ENCODINGS_KEY: &str = "bitloop.encodings";
const FORMAT: &str = "1";

impl Model {
    /// Reads a model file's bytes and checks everything.
    ///
    /// Errors: one [`ModelError`] that says which tensor or node is wrong, and what to do. No bytes make it panic.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ModelError> {
        let (graph, encodings) = metadata_of(bytes)?;
        let file = SafeTensors::deserialize(bytes).map_err(not_safetensors)?;
        // Shapes are compared before values are copied, so that a wrong file costs no memory.
        let expected: BTreeMap<String, Vec<usize>> = expected_tensors(&graph)?.into_iter().collect();
        let mut weights = BTreeMap::new();
        let tensors: BTreeMap<&str, _> = file.iter().collect();
        for (name, view) in tensors {
            let shape =
                expected.get(name).ok_or_else(|| ModelError::UnexpectedTensor { name: name.to_owned() })?;
            if view.dtype() != Dtype::F32 {
                return Err(ModelError::Type {
                    name: name.to_owned(),
                    found: format!("{:?}", view.dtype()).to_lowercase(),
                });
            }
            if view.shape() != shape {
                return Err(ModelError::Shape {
                    name: name.to_owned(),
                    expected: Shape(shape.clone()),
                    found: Shape(view.shape().to_vec()),
                });
            }
            let values = archive::f32_values(view.data());
            let tensor = Tensor::from_vec(values, view.shape(), &Device::Cpu);
            let tensor = tensor.map_err(|source| ModelError::Tensor { name: name.to_owned(), source })?;
            weights.insert(name.to_owned(), tensor);
        }
        Self::new(graph, weights)?.with_encodings(encodings)
    }

    /// Reads a model file.
    ///
    /// Errors: those of [`Model::from_bytes`] with the path, and `Io`.
    pub fn load(path: &Path) -> Result<Self, ModelError> {
        let bytes = fs::read(path).map_err(|source| io("read", path, source))?;
        Self::from_bytes(&bytes)
            .map_err(|source| ModelError::InFile { path: path.to_owned(), source: Box::new(source) })
    }

    /// Returns the model file's bytes; the same model always gives the same bytes, so their digest names it.
    ///
    /// Errors: those of [`Model::new`], if fields were changed to something that could not be read again.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ModelError> {
        self.check()?;
        let graph = serde_json::to_string(&self.graph)
            .map_err(|error| ModelError::GraphText { reason: error.to_string() })?;
        let mut metadata = BTreeMap::from([(FORMAT_KEY, FORMAT.to_owned()), (GRAPH_KEY, graph)]);
        if !self.encodings.is_empty() {
            metadata.insert(ENCODINGS_KEY, encodings::to_text(&self.encodings));
        }
        let mut entries = BTreeMap::new();
        for (name, tensor) in &self.weights {
            let entry = Entry {
                dtype: "F32",
                shape: tensor.dims(),
                bytes: archive::f32_bytes(&values_of(name, tensor)?),
            };
            entries.insert(name.as_str(), entry);
        }
        Ok(archive::to_bytes(metadata, &entries))
    }

    /// Writes the model file; a reader sees the old file or the new one, never a part.
    ///
    /// Errors: those of [`Model::to_bytes`], and `Io`.
    pub fn save(&self, path: &Path) -> Result<(), ModelError> {
        let bytes = self.to_bytes()?;
        let beside = beside(path);
        let written = File::create(&beside).and_then(|mut file| {
            file.write_all(&bytes)?;
            file.sync_all()
        });
        let renamed = written.and_then(|()| fs::rename(&beside, path));
        renamed.map_err(|source| {
            // What is left of a failed write is of no use; that it is gone matters less than the error.
            let _ = fs::remove_file(&beside);
            io("write", path, source)
        })
    }
}

fn metadata_of(bytes: &[u8]) -> Result<(Graph, BTreeMap<String, Encoding>), ModelError> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(not_safetensors)?;
    let metadata = header.metadata().as_ref().ok_or(ModelError::NoGraph)?;
    let version = metadata.get(FORMAT_KEY).ok_or(ModelError::NoGraph)?;
    if version != FORMAT {
        return Err(ModelError::Version { found: version.clone(), supported: FORMAT });
    }
    let text = metadata.get(GRAPH_KEY).ok_or(ModelError::NoGraph)?;
    let graph =
        serde_json::from_str(text).map_err(|error| ModelError::GraphText { reason: error.to_string() })?;
    let encodings = metadata.get(ENCODINGS_KEY).map(|text| encodings::from_text(text)).transpose()?;
    Ok((graph, encodings.unwrap_or_default()))
}

fn not_safetensors(error: safetensors::SafeTensorError) -> ModelError {
    ModelError::NotSafetensors { reason: error.to_string() }
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> ModelError {
    ModelError::Io { action, path: path.to_owned(), source }
}

/// A name of this process's own in the same folder, so that the rename stays within one file system.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}
