//! Nodes that are computed in one go: a layer with the batch norm and the rectifier behind it.

use std::collections::BTreeMap;

use bitloop_core::graph::{Node, Op};
use candle_core::Result;

use super::Pass;
use super::operators::After;

/// Returns what may be done to the output of node `index` while it is written, and the last node that this covers.
///
/// A node joins if it directly follows, nothing else reads what it reads, and the pass does not see it either.
pub(super) fn chain(
    nodes: &[Node],
    index: usize,
    last_use: &BTreeMap<&str, usize>,
    pass: &mut dyn Pass,
) -> Result<(After, usize)> {
    let mut after = After::default();
    let mut last = index;
    if !matches!(nodes[index].op, Op::Conv2d(_) | Op::Linear(_) | Op::Add) {
        return Ok((after, last));
    }
    while let Some(next) = nodes.get(last + 1) {
        let name = &nodes[last].name;
        let is_read_here_only =
            next.inputs == [name.as_str()] && last_use.get(name.as_str()) == Some(&(last + 1));
        if !is_read_here_only || pass.sees(name) {
            break;
        }
        match next.op {
            Op::BatchNorm { eps } if after.is_empty() => {
                let norm = pass.folded_batch_norm(next, eps);
                after.norm = norm.map_err(|error| error.context(format!("in node `{}`", next.name)))?;
                if after.norm.is_none() {
                    break;
                }
            }
            Op::Relu if after.upper.is_none() => after.upper = Some(f32::INFINITY),
            Op::Relu6 if after.upper.is_none() => after.upper = Some(6.0),
            _ => break,
        }
        last += 1;
    }
    Ok((after, last))
}
