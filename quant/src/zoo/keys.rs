//! Trained weights by the names that PyTorch gives them: a state dict becomes a model of the zoo.
//!
//! Nodes are named like torchvision's modules, so one rule maps all architectures: a batch norm's `weight` and `bias` are
//! our `gamma` and `beta`, everything else has the same name. Start at [`load`].

use std::collections::{BTreeMap, btree_map};
use std::fmt;

use bitloop_core::graph::{Graph, GraphError, Input, Shape};
use candle_core::{DType, Tensor};

use super::net::SHIM;
use super::registry::{COLOURS, Stem};
use super::{Zoo, ZooError};
use crate::model::{Model, ModelError, expected_tensors};

/// What PyTorch counts beside a batch norm's statistics; no network needs it.
const COUNTER: &str = "num_batches_tracked";
/// Names of one kind that a message lists.
const LISTED: usize = 20;

/// Why tensors do not become a model.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The architecture cannot be built for this input and these classes.
    #[error(transparent)]
    Zoo(#[from] ZooError),
    /// Tensors and architecture do not fit each other.
    #[error("the weights are not those of `{architecture}`: {mismatch}")]
    Mismatch {
        /// The architecture's name.
        architecture: &'static str,
        /// Everything that does not fit.
        mismatch: Mismatch,
    },
    /// A tensor has the right name and shape, but not the right values.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// Every tensor that is missing, superfluous or of another shape, by the names in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Needed, not there.
    pub missing: Vec<String>,
    /// There, not needed.
    pub unexpected: Vec<String>,
    /// There in another shape.
    pub misshapen: Vec<Misshapen>,
}

/// A tensor of a wrong shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misshapen {
    /// Its name in the file.
    pub key: String,
    /// What the architecture needs.
    pub expected: Shape,
    /// What the file has.
    pub found: Shape,
}

impl fmt::Display for Misshapen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, expected, found } = self;
        write!(f, "{key} ({found}, not {expected})")
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let misshapen: Vec<String> = self.misshapen.iter().map(Misshapen::to_string).collect();
        let kinds =
            [("missing", &self.missing), ("unexpected", &self.unexpected), ("of another shape", &misshapen)];
        let kinds = kinds.into_iter().filter(|(_, names)| !names.is_empty());
        for (index, (kind, names)) in kinds.enumerate() {
            let start = if index == 0 { "" } else { "; " };
            let listed = names[..names.len().min(LISTED)].join(", ");
            write!(f, "{start}{} {kind}: {listed}", names.len())?;
            match names.len().saturating_sub(LISTED) {
                0 => {}
                more => write!(f, " and {more} more")?,
            }
        }
        Ok(())
    }
}

/// Makes a model of `zoo` from tensors with PyTorch's names.
///
/// What `zoo` leaves out is read off the tensors: the classes off the classifier, the input's channels off the shim or the
/// first layer. A prefix before all names, as wrappers leave it (`module.`, `model.`), is taken off; a shim may be called
/// `shim` at any depth, or be the first of an `nn.Sequential` of shim and network. Batch-norm counters are ignored; half and
/// double precision become f32.
///
/// Errors: `Mismatch` with every tensor that does not fit; [`ZooError`] or [`ModelError`] otherwise.
pub fn load(zoo: &Zoo, tensors: BTreeMap<String, Tensor>) -> Result<Model, KeyError> {
    let found = Found::new(zoo, tensors);
    let (input, stem) = found.input(zoo);
    let classes = zoo.classes.or(found.classes(zoo));
    let graph = Zoo { classes, ..zoo.clone() }.graph_of(input, stem)?;
    let weights = found.into_weights(zoo.architecture.name, &graph)?;
    Ok(Model::new(graph, weights)?)
}

/// Returns PyTorch's name of every tensor that a graph needs, with ours and its shape.
fn keys(graph: &Graph) -> Result<Vec<Key>, GraphError> {
    let tensors = expected_tensors(graph)?.into_iter();
    Ok(tensors.map(|(name, shape)| Key { key: key(&name), name, shape }).collect())
}

struct Key {
    key: String,
    name: String,
    shape: Vec<usize>,
}

fn key(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((node, "gamma")) => format!("{node}.weight"),
        Some((node, "beta")) => format!("{node}.bias"),
        _ => name.to_owned(),
    }
}

/// The tensors of a file under the names that they have without prefixes.
struct Found {
    /// By PyTorch's name.
    tensors: BTreeMap<String, Entry>,
    /// Names in the file whose place is taken.
    twice: Vec<String>,
    prefix: String,
}

struct Entry {
    /// In the file.
    name: String,
    tensor: Tensor,
}

impl Found {
    fn new(zoo: &Zoo, tensors: BTreeMap<String, Tensor>) -> Self {
        let prefix = prefix(&tensors, &format!("{}.weight", zoo.architecture.classifier));
        let shim = shim_prefix(&tensors, &prefix);
        let mut found = Self { tensors: BTreeMap::new(), twice: Vec::new(), prefix };
        for (name, tensor) in tensors {
            if name.rsplit('.').next() == Some(COUNTER) {
                continue;
            }
            let of_shim = shim.as_ref().and_then(|shim| name.strip_prefix(shim.as_str()));
            let key = match of_shim {
                Some(part @ ("weight" | "bias")) => format!("{SHIM}.{part}"),
                _ => name.strip_prefix(&found.prefix).unwrap_or(&name).to_owned(),
            };
            match found.tensors.entry(key) {
                btree_map::Entry::Vacant(place) => {
                    place.insert(Entry { name, tensor });
                }
                btree_map::Entry::Occupied(_) => found.twice.push(name),
            }
        }
        found
    }

    fn dims(&self, layer: &str) -> &[usize] {
        self.tensors.get(&format!("{layer}.weight")).map_or(&[], |entry| entry.tensor.dims())
    }

    fn classes(&self, zoo: &Zoo) -> Option<usize> {
        match self.dims(zoo.architecture.classifier) {
            [classes, _] => Some(*classes),
            _ => None,
        }
    }

    /// The input as asked for, or as the first layer takes it; and whether there is a shim before this layer.
    fn input(&self, zoo: &Zoo) -> (Input, Stem) {
        let has_shim = self.tensors.contains_key(&format!("{SHIM}.weight"));
        let of_stem = match self.dims(zoo.architecture.stem) {
            [_, channels, _, _] => *channels,
            _ => COLOURS,
        };
        let size = zoo.architecture.size;
        let input = zoo.input.clone().unwrap_or_else(|| {
            let channels = if has_shim { 1 } else { of_stem };
            zoo.architecture.input(Shape::image(channels, size, size))
        });
        let takes_grey = of_stem == 1 && !has_shim;
        let stem = if input.shape.channels() == 1 && !takes_grey { Stem::Shim } else { Stem::Direct };
        (input, stem)
    }

    fn into_weights(
        mut self,
        architecture: &'static str,
        graph: &Graph,
    ) -> Result<BTreeMap<String, Tensor>, KeyError> {
        let mut mismatch = Mismatch::default();
        let mut weights = BTreeMap::new();
        for Key { key, name, shape } in keys(graph).map_err(ZooError::Graph)? {
            match self.tensors.remove(&key) {
                None => mismatch.missing.push(format!("{}{key}", self.prefix)),
                Some(entry) if entry.tensor.dims() != shape => mismatch.misshapen.push(Misshapen {
                    key: entry.name,
                    expected: Shape(shape),
                    found: Shape(entry.tensor.dims().to_vec()),
                }),
                Some(entry) => {
                    let tensor = single_precision(&entry.tensor);
                    let tensor =
                        tensor.map_err(|source| ModelError::Tensor { name: entry.name.clone(), source })?;
                    weights.insert(name, tensor);
                }
            }
        }
        mismatch.unexpected = self.tensors.into_values().map(|entry| entry.name).chain(self.twice).collect();
        mismatch.unexpected.sort();
        if mismatch == Mismatch::default() {
            return Ok(weights);
        }
        Err(KeyError::Mismatch { architecture, mismatch })
    }
}

/// What stands before the classifier's name; nothing if there is no classifier.
///
/// The shortest such text, as a file may hold a second copy of the network (a running average).
fn prefix(tensors: &BTreeMap<String, Tensor>, classifier: &str) -> String {
    let prefixes = tensors.keys().filter_map(|name| name.strip_suffix(classifier));
    let prefixes = prefixes.filter(|prefix| prefix.is_empty() || prefix.ends_with('.'));
    prefixes.min_by_key(|prefix| prefix.len()).unwrap_or_default().to_owned()
}

/// What stands before `weight` and `bias` of the shim, if there is one.
fn shim_prefix(tensors: &BTreeMap<String, Tensor>, prefix: &str) -> Option<String> {
    let named = tensors.keys().filter_map(|name| {
        let path = name.strip_suffix("weight")?;
        (path.trim_end_matches('.').rsplit('.').next() == Some(SHIM)).then(|| path.to_owned())
    });
    let in_sequence = prefix.strip_suffix("1.").map(|parent| format!("{parent}0."));
    let in_sequence = in_sequence.filter(|path| tensors.contains_key(&format!("{path}weight")));
    named.min_by_key(String::len).or(in_sequence)
}

/// Integers stay what they are, and are refused where the model is checked.
fn single_precision(tensor: &Tensor) -> candle_core::Result<Tensor> {
    match tensor.dtype() {
        DType::F16 | DType::BF16 | DType::F64 => tensor.to_dtype(DType::F32),
        _ => Ok(tensor.clone()),
    }
}

#[cfg(test)]
mod tests;
