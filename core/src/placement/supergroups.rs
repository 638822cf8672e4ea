use super::Supergroup;
use super::tensors::Tensors;

/// Where a tensor stands in a supergroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Membership {
    /// In none.
    Outside,
    /// Before the end, which is the tensor with this number.
    Fused(usize),
    /// At the end.
    Last,
}

/// Finds the supergroups of a graph: from each tensor on, in topological order, the longest chain that fits.
pub(super) fn memberships(tensors: &Tensors<'_>, supergroups: &[Supergroup]) -> Vec<Membership> {
    let mut memberships = vec![Membership::Outside; tensors.len()];
    for first in 1..tensors.len() {
        if memberships[first] != Membership::Outside {
            continue;
        }
        let chains = supergroups.iter().filter_map(|group| chain(tensors, group, first, &memberships));
        let Some(chain) = chains.max_by_key(Vec::len) else { continue };
        let last = chain[chain.len() - 1];
        for member in chain {
            memberships[member] = if member == last { Membership::Last } else { Membership::Fused(last) };
        }
    }
    memberships
}

/// The members of `group` when it begins at `first`.
fn chain(
    tensors: &Tensors<'_>,
    group: &Supergroup,
    first: usize,
    memberships: &[Membership],
) -> Option<Vec<usize>> {
    let mut members: Vec<usize> = Vec::with_capacity(group.0.len());
    for step in &group.0 {
        let next = match members.last() {
            None => first,
            Some(last) => {
                let [only] = tensors.consumers[*last][..] else { return None };
                only
            }
        };
        if memberships[next] != Membership::Outside || !tensors.is_any_of(next, step) {
            return None;
        }
        members.push(next);
    }
    Some(members)
}
