//! ONNX Runtime's profiles: what each kernel of each inference took.

use std::collections::BTreeMap;

use bitloop_quant::onnx::Kernels;
use serde::Deserialize;

use super::super::AdapterError;

/// Inferences before those that count.
pub(super) const WARM_UP: usize = 5;

/// Times are cut to whole microseconds, so that they lack half of one on the average.
const CUT_NS: f64 = 500.0;

const NS_PER_US: f64 = 1e3;

/// Behind the names of kernels' events.
const KERNEL: &str = "_kernel_time";

/// The event that ends an inference.
const INFERENCE: &str = "model_run";

/// Stands before a number behind the name of a node that replaced another one.
const REPLACED: &str = "_token_";

/// Behind the names of kernels that have the channels in blocks.
const BLOCKED: &str = "_nchwc";

/// Before the names of fused kernels of some versions.
const FUSED: &str = "fused ";

#[derive(Deserialize)]
struct Event {
    name: String,
    #[serde(default)]
    dur: f64,
    #[serde(default)]
    args: Arguments,
}

#[derive(Default, Deserialize)]
struct Arguments {
    op_name: Option<String>,
}

/// Nanoseconds by node of the last inferences of a profile; what belongs to no node stands under ``.
///
/// Errors: `Failed` where the profile is not as expected, or no kernel is a node's.
pub(super) fn by_node(
    profile: &[u8],
    kernels: &Kernels,
    inferences: usize,
) -> Result<Vec<BTreeMap<String, f64>>, AdapterError> {
    let failed =
        |reason: String| AdapterError::Failed(format!("onnxruntime's profile cannot be read: {reason}"));
    let events: Vec<Event> = serde_json::from_slice(profile).map_err(|error| failed(error.to_string()))?;
    let (mut all, mut current) = (Vec::new(), BTreeMap::new());
    for event in &events {
        if event.name == INFERENCE {
            all.push(std::mem::take(&mut current));
        }
        let Some((name, operator)) = kernel(event) else { continue };
        let node = node_of(kernels, name, operator).unwrap_or_default();
        *current.entry(node.to_owned()).or_default() += event.dur * NS_PER_US + CUT_NS;
    }
    match all.len().checked_sub(inferences) {
        Some(before) => told_apart(all.split_off(before)),
        None => Err(failed(format!("it has {} inferences of {inferences}", all.len()))),
    }
}

/// The inferences, if any node's time is known.
///
/// Errors: `Failed`.
fn told_apart(inferences: Vec<BTreeMap<String, f64>>) -> Result<Vec<BTreeMap<String, f64>>, AdapterError> {
    if inferences.iter().flat_map(BTreeMap::keys).all(String::is_empty) {
        // As OpenVINO makes one kernel of a whole network.
        let reason = "onnxruntime's provider executes nodes together, so that layers cannot be told apart";
        return Err(AdapterError::Failed(reason.to_owned()));
    }
    Ok(inferences)
}

/// Name and operator of a kernel, if the event is of one.
fn kernel(event: &Event) -> Option<(&str, &str)> {
    Some((event.name.strip_suffix(KERNEL)?, event.args.op_name.as_deref()?))
}

fn node_of<'a>(kernels: &'a Kernels, name: &str, operator: &str) -> Option<&'a str> {
    let is_layer = ["Conv", "Gemm", "MatMul"].iter().any(|layer| operator.contains(layer));
    let name = name.strip_prefix(FUSED).unwrap_or(name);
    let mut candidates = vec![name];
    if let Some((start, number)) = name.rsplit_once(REPLACED)
        && number.bytes().all(|byte| byte.is_ascii_digit())
    {
        candidates.push(start);
    }
    candidates.extend(candidates.clone().iter().filter_map(|name| name.strip_suffix(BLOCKED)));
    candidates.into_iter().find_map(|name| kernels.node_of(name, is_layer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_is_one_kernel_has_no_layers() {
        let inference = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), 1.0)).collect();

        let apart: Vec<BTreeMap<String, f64>> = vec![inference(&["", "conv"]), inference(&["conv"])];
        assert_eq!(told_apart(apart.clone()), Ok(apart));
        let together = told_apart(vec![inference(&[""]), inference(&[""])]).unwrap_err();
        assert!(
            matches!(&together, AdapterError::Failed(reason) if reason.contains("together")),
            "{together}"
        );
    }
}
