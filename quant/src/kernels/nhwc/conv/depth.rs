//! How a sum's products lie: in runs of consecutive values, which are visited in steps of several values.

use super::ConvShape;
use super::vector::Product;

/// With fewer channels than this, the taps in a row of the window are one run.
const FEW_CHANNELS: usize = 16;

/// The runs of a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Depth {
    pub(super) runs: usize,
    /// Taps of a run, all of them neighbours.
    pub(super) taps: usize,
    /// Values of a run.
    pub(super) values: usize,
    /// Values of a step.
    step: usize,
    /// Whether values are copied into patches, which may be read up to a whole number of steps.
    pub(super) is_patched: bool,
}

impl Depth {
    pub(super) fn new<P: Product>(shape: &ConvShape) -> Self {
        let (window, channels) = (shape.window, shape.group_channels());
        let [rows, columns] = window.kernel;
        let lies_together = shape.groups == 1 && window.dilation[1] == 1;
        let (taps, is_patched) = if channels >= FEW_CHANNELS.max(P::STEP) {
            (1, false)
        } else if lies_together && columns * channels >= P::STEP {
            (columns, false)
        } else if channels >= P::STEP {
            (1, false)
        } else {
            (rows * columns, true)
        };
        let runs = if is_patched { 1 } else { rows * columns / taps };
        Self { runs, taps, values: taps * channels, step: P::STEP, is_patched }
    }

    /// Steps of a run that begin where the one before ended.
    pub(super) fn full_steps(&self) -> usize {
        if self.is_patched { self.values.div_ceil(self.step) } else { self.values / self.step }
    }

    /// Where the run's last step begins if it overlaps the one before. Nothing beyond a run is read: what was summed already
    /// meets weights of 0 instead.
    pub(super) fn overlapping_step(&self) -> Option<usize> {
        let overlaps = !self.is_patched && !self.values.is_multiple_of(self.step);
        overlaps.then(|| self.values - self.step)
    }

    /// Steps of all runs.
    pub(super) fn steps(&self) -> usize {
        self.runs * (self.full_steps() + usize::from(self.overlapping_step().is_some()))
    }

    /// Values of a patch, with those that fill its last step.
    pub(super) fn patch(&self) -> usize {
        self.full_steps() * self.step
    }

    /// Per step and value in it, the value's number in the sum; none where the weight is 0.
    pub(super) fn order(&self) -> impl Iterator<Item = Option<usize>> + use<> {
        let depth = *self;
        let full = self.full_steps() * self.step;
        (0..self.runs).flat_map(move |run| {
            let number = move |value| run * depth.values + value;
            let straight = (0..full).map(move |value| (value < depth.values).then(|| number(value)));
            let last = depth.overlapping_step().into_iter().flat_map(move |start| start..start + depth.step);
            straight.chain(last.map(move |value| (value >= full).then(|| number(value))))
        })
    }
}
