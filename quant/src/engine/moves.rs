//! Operators that only move values, as maps from where a value lands to where it comes from.
//!
//! An image's tensor with the axes `(a0, a1, .., an)` is stored with its first axis, the channels, last:
//! `(a1, .., an, a0)`. Moves that follow each other become one map before any image is seen.

use bitloop_core::graph::Op;

/// Stands in a map for a value that comes from nowhere: the fill of a padding.
pub(super) const NOWHERE: u32 = u32::MAX;

/// Where each stored value of a tensor comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Map {
    /// Positions in the source, or [`NOWHERE`].
    pub(super) from: Vec<u32>,
    /// What is put in where there is no source.
    pub(super) fill: f32,
}

impl Map {
    /// Whether all values stay where they are.
    pub(super) fn is_identity(&self, source: usize) -> bool {
        self.from.len() == source && self.from.iter().enumerate().all(|(to, from)| *from == index(to))
    }

    /// Returns the map that does `self` first and `next` on what comes of it; none if both fill with other values.
    pub(super) fn then(&self, next: &Self) -> Option<Self> {
        let fills = |map: &Self| map.from.contains(&NOWHERE);
        if fills(self) && fills(next) && self.fill.to_bits() != next.fill.to_bits() {
            return None;
        }
        let through = |from: &u32| if *from == NOWHERE { NOWHERE } else { self.from[*from as usize] };
        let from = next.from.iter().map(through).collect();
        Some(Self { from, fill: if fills(next) { next.fill } else { self.fill } })
    }

    /// The map of an operator from a tensor of one shape to one of another; none if it computes something.
    pub(super) fn of(op: &Op, input: &[usize], output: &[usize]) -> Option<Self> {
        let (to_stored, from_stored) = (stored_positions(input), logical_positions(output));
        let map = |logical: &dyn Fn(usize) -> Option<usize>, fill| {
            let from = from_stored.iter().map(|position| match logical(*position as usize) {
                Some(source) => to_stored[source],
                None => NOWHERE,
            });
            Some(Self { from: from.collect(), fill })
        };
        match op {
            Op::Flatten | Op::Reshape { .. } => map(&Some, 0.0),
            Op::Transpose { perm } => map(
                &|position| {
                    let at = coordinates(position, output);
                    let mut source = vec![0; at.len()];
                    perm.iter().zip(&at).for_each(|(axis, at)| source[*axis] = *at);
                    Some(linear(&source, input))
                },
                0.0,
            ),
            Op::Slice { axis, start, step, .. } => map(
                &|position| {
                    let mut at = coordinates(position, output);
                    at[*axis] = start + at[*axis] * step;
                    Some(linear(&at, input))
                },
                0.0,
            ),
            Op::Pad { before, value, .. } => map(
                &|position| {
                    let at = coordinates(position, output);
                    let source = at.iter().zip(before).zip(input);
                    let source: Option<Vec<usize>> = source
                        .map(|((at, before), extent)| at.checked_sub(*before).filter(|at| at < extent))
                        .collect();
                    Some(linear(&source?, input))
                },
                *value,
            ),
            _ => None,
        }
    }

    /// Repeats a tensor along the axes in which it has extent 1; shapes are aligned at their last axes.
    pub(super) fn broadcast(input: &[usize], output: &[usize]) -> Self {
        let missing = output.len().saturating_sub(input.len());
        let to_stored = stored_positions(input);
        let from = logical_positions(output).into_iter().map(|position| {
            let at = coordinates(position as usize, output);
            let source: Vec<usize> =
                at[missing..].iter().zip(input).map(|(at, extent)| (*at).min(extent - 1)).collect();
            to_stored[linear(&source, input)]
        });
        Self { from: from.collect(), fill: 0.0 }
    }

    /// Puts the values in the order of their axes, `(a0, a1, .., an)`.
    pub(super) fn to_logical(shape: &[usize]) -> Self {
        Self { from: stored_positions(shape), fill: 0.0 }
    }

    /// Puts the axes `axes` last, in that order, behind the others, which lie as they do in a tensor where `axes` have the
    /// extent 1 (`keep`) or are left out.
    pub(super) fn last_axes(shape: &[usize], axes: &[usize], keep: bool) -> Self {
        let others = (0..shape.len()).filter(|axis| !axes.contains(axis));
        let mut order: Vec<usize> = others.collect();
        // The first axis of a tensor is stored last; if it has the extent 1, the others follow each other.
        if order.first().is_some_and(|first| *first == 0 || !keep) {
            order.rotate_left(1);
        }
        order.extend(axes);
        let extents: Vec<usize> = order.iter().map(|axis| shape[*axis]).collect();
        let to_stored = stored_positions(shape);
        let elements: usize = shape.iter().product();
        let from = (0..elements).map(|position| {
            let at = coordinates(position, &extents);
            let mut source = vec![0; at.len()];
            order.iter().zip(&at).for_each(|(axis, at)| source[*axis] = *at);
            to_stored[linear(&source, shape)]
        });
        Self { from: from.collect(), fill: 0.0 }
    }

    /// Joins tensors along an axis, out of their stored values behind each other.
    pub(super) fn along(axis: usize, shapes: &[Vec<usize>]) -> Self {
        let mut output = shapes[0].clone();
        output[axis] = shapes.iter().map(|shape| shape[axis]).sum();
        let stored: Vec<Vec<u32>> = shapes.iter().map(|shape| stored_positions(shape)).collect();
        let from = logical_positions(&output).into_iter().map(|position| {
            let mut at = coordinates(position as usize, &output);
            let (mut part, mut before) = (0, 0);
            while at[axis] >= shapes[part][axis] {
                at[axis] -= shapes[part][axis];
                before += stored[part].len();
                part += 1;
            }
            index(before) + stored[part][linear(&at, &shapes[part])]
        });
        Self { from: from.collect(), fill: 0.0 }
    }

    /// The map the other way round; none if values are lost, repeated or filled in.
    pub(super) fn inverted(&self) -> Option<Self> {
        let mut from = vec![NOWHERE; self.from.len()];
        for (to, source) in self.from.iter().enumerate() {
            let place = from.get_mut(*source as usize)?;
            if std::mem::replace(place, index(to)) != NOWHERE {
                return None;
            }
        }
        Some(Self { from, fill: 0.0 })
    }

    /// If the map does the same to every pixel: which channel of the source each channel is.
    pub(super) fn channels(&self, pixels: usize, source: usize) -> Option<Vec<u32>> {
        let (channels, before) = (self.from.len() / pixels.max(1), source / pixels.max(1));
        if channels * pixels != self.from.len() || before * pixels != source {
            return None;
        }
        let first = self.from.get(..channels)?.to_vec();
        if first.iter().any(|from| *from as usize >= before) {
            return None;
        }
        let same = |(pixel, channels): (usize, &[u32])| {
            channels
                .iter()
                .zip(&first)
                .all(|(from, first)| *from as usize == pixel * before + *first as usize)
        };
        self.from.chunks_exact(channels.max(1)).enumerate().all(same).then_some(first)
    }
}

/// Where each value lies in the stored order, by its position in the order of the axes.
fn stored_positions(shape: &[usize]) -> Vec<u32> {
    let (channels, rest) = split(shape);
    let positions = (0..channels * rest).map(|position| (position % rest) * channels + position / rest);
    positions.map(index).collect()
}

/// The position in the order of the axes, by where a value lies in the stored order.
fn logical_positions(shape: &[usize]) -> Vec<u32> {
    let (channels, rest) = split(shape);
    let positions = (0..channels * rest).map(|stored| (stored % channels) * rest + stored / channels);
    positions.map(index).collect()
}

fn split(shape: &[usize]) -> (usize, usize) {
    match shape {
        [] => (1, 1),
        [channels, rest @ ..] => (*channels, rest.iter().product()),
    }
}

fn coordinates(mut position: usize, shape: &[usize]) -> Vec<usize> {
    let mut at = vec![0; shape.len()];
    for (at, extent) in at.iter_mut().zip(shape).rev() {
        (position, *at) = (position / extent, position % extent);
    }
    at
}

fn linear(at: &[usize], shape: &[usize]) -> usize {
    at.iter().zip(shape).fold(0, |position, (at, extent)| position * extent + at)
}

/// Positions are counted in `u32`: no image's tensor comes near 2^32 values.
fn index(position: usize) -> u32 {
    u32::try_from(position).expect("an image's tensor has fewer than 2^32 values")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tensor whose values are their own positions in the order of the axes, as stored.
    fn numbered(shape: &[usize]) -> Vec<u32> {
        logical_positions(shape)
    }

    fn moved(op: &Op, input: &[usize], output: &[usize]) -> Vec<u32> {
        let values = numbered(input);
        let map = Map::of(op, input, output).unwrap();
        // Back to the order of the axes, in which operators are defined.
        let stored: Vec<u32> =
            map.from.iter().map(|from| values.get(*from as usize).copied().unwrap_or(99)).collect();
        stored_positions(output).iter().map(|position| stored[*position as usize]).collect()
    }

    #[test]
    fn moves_equal_their_definitions() {
        let flat: Vec<u32> = (0..12).collect();
        assert_eq!(moved(&Op::Flatten, &[3, 2, 2], &[12]), flat);
        assert_eq!(moved(&Op::Reshape { shape: vec![2, 6] }, &[3, 2, 2], &[2, 6]), flat);
        let transposed = moved(&Op::Transpose { perm: vec![1, 0] }, &[2, 3], &[3, 2]);
        assert_eq!(transposed, [0, 3, 1, 4, 2, 5]);
        let every_other = Op::Slice { axis: 1, start: 1, end: 4, step: 2 };
        assert_eq!(moved(&every_other, &[2, 4], &[2, 2]), [1, 3, 5, 7]);
        let pad = Op::Pad { before: vec![0, 1], after: vec![0, 0], value: 7.0 };
        assert_eq!(moved(&pad, &[2, 2], &[2, 3]), [99, 0, 1, 99, 2, 3]);
    }

    #[test]
    fn a_channel_shuffle_is_one_permutation_of_channels() {
        let (image, groups) = ([6, 2, 2], [2, 3, 2, 2]);
        let split = Map::of(&Op::Reshape { shape: groups.to_vec() }, &image, &groups).unwrap();
        let swap = Map::of(&Op::Transpose { perm: vec![1, 0, 2, 3] }, &groups, &[3, 2, 2, 2]).unwrap();
        let join = Map::of(&Op::Reshape { shape: image.to_vec() }, &[3, 2, 2, 2], &image).unwrap();

        let shuffle = split.then(&swap).unwrap().then(&join).unwrap();

        assert_eq!(shuffle.channels(4, 24), Some(vec![0, 3, 1, 4, 2, 5]));
        let back = shuffle.inverted().unwrap();
        assert!(shuffle.then(&back).unwrap().is_identity(24));
    }

    #[test]
    fn axes_that_are_summed_come_last() {
        let values = numbered(&[2, 3, 2]);
        let moved = |axis: usize, keep: bool| -> Vec<u32> {
            let map = Map::last_axes(&[2, 3, 2], &[axis], keep);
            map.from.iter().map(|from| values[*from as usize]).collect()
        };
        // Rows: (second axis of the rest, channel); columns: the axis asked for.
        assert_eq!(moved(1, true), [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11]);
        assert_eq!(moved(1, false), moved(1, true));
        // Without the channels, the next axis takes their place unless one is left for them.
        assert_eq!(moved(0, true), [0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11]);
        assert_eq!(moved(0, false), [0, 6, 2, 8, 4, 10, 1, 7, 3, 9, 5, 11]);
        let along = Map::along(1, &[vec![2, 1], vec![2, 2]]);
        assert_eq!(along.from, [0, 1, 2, 3, 4, 5]);
        assert_eq!(Map::broadcast(&[2, 1], &[2, 2]).from, [0, 1, 0, 1]);
    }
}
