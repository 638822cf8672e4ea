//! What a training needs to go on after a stop, in one file beside the checkpoint.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use bitloop_core::digest::Digest;
use bitloop_core::spec::TrainSpec;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use super::TrainError;
use super::session::{Session, Validation};
use crate::archive::{self, Entry};
use crate::data::Images;

/// Raise it when a state of an older version would train on to another result.
const FORMAT: u32 = 3;
const KEY: &str = "bitloop.training";

/// Where a training stands after an epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// Epochs done.
    pub(super) epochs: usize,
    /// The epoch whose weights are in the checkpoint, counted from 1, and how good it is.
    pub(super) best: Option<(usize, Validation)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    identity: Digest,
    epochs: usize,
    best_epoch: usize,
    best_correct: u64,
    best_images: u64,
    best_loss_sum: f64,
}

/// Returns the name of everything that decides the outcome of a training: settings and images.
pub(super) fn identity(spec: &TrainSpec, images: &Images) -> Digest {
    let labels: Vec<u8> = images.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    let content = [Digest::of(&images.pixels), Digest::of(&labels)];
    Digest::of(format!("{spec:?} {content:?} {}", images.shape).as_bytes())
}

/// Returns the training state's place: beside the checkpoint.
pub(super) fn path_beside(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".training");
    PathBuf::from(name)
}

/// Writes the state; a reader sees the old file or the new one, never a part.
pub(super) fn save(
    session: &Session<'_>,
    standing: &Standing,
    identity: Digest,
    path: &Path,
) -> Result<(), TrainError> {
    let (best_epoch, best) = standing.best.expect("a state is saved only behind a validated epoch");
    let header = Header {
        format: FORMAT,
        identity,
        epochs: standing.epochs,
        best_epoch,
        best_correct: best.correct,
        best_images: best.images,
        best_loss_sum: best.loss_sum,
    };
    let header = serde_json::to_string(&header).expect("numbers and digests have a JSON form");
    let mut named: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
    for (name, tensor) in session.weights()? {
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        named.insert(format!("weight/{name}"), (tensor.dims().to_vec(), archive::f32_bytes(&values)));
    }
    for (kind, moments) in [("first", &session.moments.first), ("second", &session.moments.second)] {
        for (name, values) in moments {
            named.insert(format!("{kind}/{name}"), (vec![values.len()], archive::f32_bytes(values)));
        }
    }
    let entries = named.iter().map(|(name, (shape, bytes))| {
        let entry = Entry { dtype: "F32", shape, bytes: bytes.clone() };
        (name.as_str(), entry)
    });
    let bytes = archive::to_bytes(BTreeMap::from([(KEY, header)]), &entries.collect());
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(&bytes)?;
        file.sync_all()
    });
    written.map_err(|source| io("write", &beside, source))?;
    fs::rename(&beside, path).map_err(|source| io("rename", &beside, source))
}

/// Puts a session where an earlier one stopped, if there is a state.
///
/// Errors: `Changed` if settings or images differ; `State` if the file cannot be understood; `Io`.
pub(super) fn resume(
    session: &mut Session<'_>,
    identity: Digest,
    path: &Path,
) -> Result<Option<Standing>, TrainError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(io("read", path, source)),
    };
    let wrong = |reason: String| TrainError::State { path: path.to_owned(), reason };
    let header = header_of(&bytes).map_err(wrong)?;
    if header.identity != identity {
        return Err(TrainError::Changed { path: path.to_owned() });
    }
    let file = SafeTensors::deserialize(&bytes).map_err(|error| wrong(error.to_string()))?;
    for (name, view) in file.iter() {
        let values = archive::f32_values(view.data());
        restore(session, name, values).map_err(wrong)?;
    }
    let best = Validation {
        correct: header.best_correct,
        images: header.best_images,
        loss_sum: header.best_loss_sum,
    };
    Ok(Some(Standing { epochs: header.epochs, best: Some((header.best_epoch, best)) }))
}

/// Removes the state of a training that has ended.
pub(super) fn remove(path: &Path) -> Result<(), TrainError> {
    fs::remove_file(path).map_err(|source| io("remove", path, source))
}

fn header_of(bytes: &[u8]) -> Result<Header, String> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
    let text = metadata.metadata().as_ref().and_then(|entries| entries.get(KEY));
    let header: Header =
        serde_json::from_str(text.ok_or("it is another kind of file")?).map_err(|error| error.to_string())?;
    match header.format {
        FORMAT => Ok(header),
        other => Err(format!("it has format {other}, this program writes {FORMAT}")),
    }
}

fn restore(session: &mut Session<'_>, name: &str, values: Vec<f32>) -> Result<(), String> {
    let (kind, weight) = name.split_once('/').ok_or_else(|| format!("unknown tensor `{name}`"))?;
    let Session { parameters, running, moments, .. } = session;
    let place = match (parameters.get_mut(weight), running.get_mut(weight)) {
        (Some(parameter), _) => &mut parameter.values,
        (None, Some(running)) => running,
        (None, None) => return Err(format!("unknown weight `{weight}`")),
    };
    if values.len() != place.len() {
        return Err(format!("`{name}` has {} values, not {}", values.len(), place.len()));
    }
    match kind {
        "weight" => *place = values,
        "first" => drop(moments.first.insert(weight.to_owned(), values)),
        "second" => drop(moments.second.insert(weight.to_owned(), values)),
        _ => return Err(format!("unknown tensor `{name}`")),
    }
    Ok(())
}

fn io(action: &'static str, path: &Path, source: std::io::Error) -> TrainError {
    TrainError::Io { action, path: path.to_owned(), source }
}
