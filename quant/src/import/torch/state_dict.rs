//! The state dict within what was saved, and the names of its tensors.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::error::TorchError;
use super::pickle::{Object, Pickle, TensorParts, Value};
use super::storage::Element;

/// Keys that programs keep the state dict under, the most telling first.
const WRAPPERS: [&str; 4] = ["state_dict", "model_state_dict", "model", "net"];
/// Wrappers within wrappers that are opened.
const WRAPPERS_DEEP: usize = 4;
/// What data parallelism and compilation put before every name.
const PREFIXES: [&str; 2] = ["module.", "_orig_mod."];
/// Batch norm's counter, no weight.
const COUNTER: &str = "num_batches_tracked";
/// Part of the name of every function that makes a tensor from a storage.
const MAKES_TENSORS: &str = "_rebuild";

/// Whether a tensor of this name counts batches and is no weight.
pub(super) fn is_counter(name: &str) -> bool {
    name.rsplit('.').next() == Some(COUNTER)
}

/// Returns the descriptions of the state dict's float tensors.
///
/// Errors: `WholeObject`, `NoTensors`, `Twice`, and `Callable` for a tensor that an unknown function would make.
pub(super) fn tensors<'p, 'a>(
    pickle: &'p Pickle<'a>,
) -> Result<BTreeMap<&'a str, &'p TensorParts<'a>>, TorchError> {
    let mut found = BTreeMap::new();
    let root = unwrapped(pickle);
    for (key, value) in pickle.pairs(root) {
        let Value::Text(name) = *key else { continue };
        match pickle.object(*value) {
            Some(Object::Tensor(parts)) => {
                let counts = matches!(parts.element, Element::Integer { .. }) || is_counter(name);
                if !counts && found.insert(name, parts.as_ref()).is_some() {
                    return Err(TorchError::Twice { name: name.to_owned() });
                }
            }
            Some(Object::Opaque(callable)) if callable.name.contains(MAKES_TENSORS) => {
                return Err(TorchError::Callable { name: name.to_owned(), callable: callable.to_string() });
            }
            _ => {}
        }
    }
    match found.is_empty() {
        true => Err(nothing(pickle, root)),
        false => Ok(found),
    }
}

/// The innermost value that only wrappers lie around.
fn unwrapped<'a>(pickle: &Pickle<'a>) -> Value<'a> {
    let mut value = pickle.root;
    for _ in 0..WRAPPERS_DEEP {
        let inner = wrapped(pickle, value);
        let full =
            inner.iter().find(|inner| holds_tensors(pickle, **inner) || !wrapped(pickle, **inner).is_empty());
        // Of wrappers without tensors one is opened all the same if there is nothing else, for the error to name.
        match full.or(inner.first().filter(|_| !holds_tensors(pickle, value))) {
            Some(inner) => value = *inner,
            None => break,
        }
    }
    value
}

/// The values under the wrappers' keys, in the wrappers' order.
fn wrapped<'a>(pickle: &Pickle<'a>, value: Value<'a>) -> Vec<Value<'a>> {
    let under = |wrapper: &&str| {
        let mut pairs = pickle.pairs(value).iter();
        pairs.find(|pair| matches!(pair.0, Value::Text(key) if key == *wrapper)).map(|pair| pair.1)
    };
    WRAPPERS.iter().filter_map(under).collect()
}

fn holds_tensors<'a>(pickle: &Pickle<'a>, value: Value<'a>) -> bool {
    pickle.pairs(value).iter().any(|pair| matches!(pickle.object(pair.1), Some(Object::Tensor(_))))
}

fn nothing<'a>(pickle: &Pickle<'a>, root: Value<'a>) -> TorchError {
    match pickle.object(root) {
        Some(Object::Opaque(class)) => TorchError::WholeObject { class: class.to_string() },
        _ => TorchError::NoTensors {
            wrappers: WRAPPERS.map(|wrapper| format!("`{wrapper}`")).join(", "),
            found: pickle.describe(root),
        },
    }
}

/// Takes off the prefixes that all names have.
pub(super) fn without_prefixes(mut tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    let longer = |name: &String, prefix: &str| name.len() > prefix.len() && name.starts_with(prefix);
    while let Some(prefix) = PREFIXES.iter().find(|prefix| tensors.keys().all(|name| longer(name, prefix))) {
        if tensors.is_empty() {
            break;
        }
        tensors =
            tensors.into_iter().map(|(name, tensor)| (name[prefix.len()..].to_owned(), tensor)).collect();
    }
    tensors
}
