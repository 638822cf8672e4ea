//! The design of a sensitivity sweep: the baseline with one point lowered, for every point and width.
//!
//! The design is an indexed sequence and is never held in memory: config 0 is the float network, config 1 the
//! baseline, then each point in graph order at each of its widths.

use crate::bits::{BitConfig, Bits, Choice, PointIndex};
use crate::plan::Plan;

/// The configs before the lowered points: the float network and the baseline.
pub const REFERENCES: u64 = 2;

/// The configs of a sweep by their index.
#[derive(Clone, Debug)]
pub struct Sweep {
    baseline: Choice,
    /// Number of points of the graph, lowered or not.
    points: u32,
    /// The lowered points with their widths and the index of their first config, ascending.
    single: Vec<Lowered>,
    size: u64,
}

#[derive(Clone, Debug)]
struct Lowered {
    point: PointIndex,
    widths: Vec<Bits>,
    first: u64,
}

impl Sweep {
    /// The sweep of a plan over some of its points.
    ///
    /// Panics: a point is not one of the plan's, which [`Plan::from_document`] checks.
    pub fn new(plan: &Plan, single: &[PointIndex]) -> Self {
        let points = &plan.points;
        let mut size = REFERENCES;
        let lower = |point: &PointIndex| {
            let widths = plan.candidates.bits(points[point.0 as usize].kind).to_vec();
            let first = size;
            size += widths.len() as u64;
            Lowered { point: *point, widths, first }
        };
        let single = single.iter().map(lower).collect();
        let baseline = Choice::Bits(plan.candidates.baseline);
        Self { baseline, points: points.len() as u32, single, size }
    }

    /// How many configs there are, the references among them.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many pairs of lowered points at their widths there are.
    pub fn pairs(&self) -> u64 {
        let (mut pairs, mut before) = (0_u64, 0_u64);
        for widths in self.single.iter().map(|lowered| lowered.widths.len() as u64) {
            pairs = pairs.saturating_add(before.saturating_mul(widths));
            before += widths;
        }
        pairs
    }

    /// The point and the width that the config at `index` lowers; none for the references and behind the last.
    pub fn lowered(&self, index: u64) -> Option<(PointIndex, Bits)> {
        let after = self.single.partition_point(|lowered| lowered.first <= index);
        let Lowered { point, widths, first } = self.single.get(after.checked_sub(1)?)?;
        widths.get((index - first) as usize).map(|width| (*point, *width))
    }

    /// The config at `index`; the baseline behind the last.
    pub fn config(&self, index: u64) -> BitConfig {
        if index == 0 {
            let all = (0..self.points).map(|point| (PointIndex(point), Choice::Float));
            return BitConfig::against(self.baseline, all);
        }
        let change = self.lowered(index).map(|(point, width)| (point, Choice::Bits(width)));
        BitConfig::against(self.baseline, change)
    }
}
