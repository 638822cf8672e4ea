//! How many images an evaluation takes: all of them, or as many as a decision needs.
//!
//! Images go in *parts*: consecutive blocks of a fixed size, so that a part's trial has the same key whoever asks for
//! it. [`Progress`] adds the parts of one config up in order and says when enough is known; what it says depends on
//! the parts alone, not on who measured them or when. [`sequence`] is the statistics.

pub mod sequence;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use self::sequence::{DropBounds, DropSequence};
use crate::trial::{Evaluation, ImageRange};

/// Parts per million of the images in one percentage point.
pub const PPM_PER_POINT: u32 = 10_000;

/// Parts per million of everything.
pub const PPM: u32 = 1_000_000;

/// A part's images are a multiple of this, so that on a CPU it ends where a worker's block of images ends.
pub const PART_STEP_IMAGES: u64 = 32;

/// Confidence of an interval where the experiment does not name one.
pub const CONFIDENCE_DEFAULT_PPM: u32 = 950_000;

/// How long a config is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvaluationMode {
    /// On all images.
    Full {
        /// Images of a part; all of them are one part if none is given.
        part_images: Option<u64>,
    },
    /// Until enough is known.
    Adaptive(Adaptive),
}

/// When an adaptive evaluation knows enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adaptive {
    /// Half width of the interval of the drop of top-1, as parts per million of the images.
    pub tolerance_ppm: u32,
    /// Confidence of that interval over all looks at it together.
    pub confidence_ppm: u32,
    /// Images of a part: how many more are taken before the next look.
    pub part_images: u64,
}

impl Default for EvaluationMode {
    fn default() -> Self {
        Self::Full { part_images: None }
    }
}

impl EvaluationMode {
    /// What a decision needs, if one may come before all images are measured.
    pub fn adaptive(self) -> Option<Adaptive> {
        match self {
            Self::Full { .. } => None,
            Self::Adaptive(adaptive) => Some(adaptive),
        }
    }

    /// How long the float network and the baseline are measured: on all images, since every other config is compared
    /// with them on whatever images it sees.
    pub fn references(self) -> Self {
        match self {
            Self::Full { .. } => self,
            Self::Adaptive(_) => Self::default(),
        }
    }

    /// Confidence of the intervals of what is measured on some of the images only.
    pub fn confidence_ppm(self) -> u32 {
        self.adaptive().map_or(CONFIDENCE_DEFAULT_PPM, |adaptive| adaptive.confidence_ppm)
    }

    /// Images of a part.
    pub fn part_images(self, images: u64) -> u64 {
        let wanted = match self {
            Self::Full { part_images } => part_images.unwrap_or(images),
            Self::Adaptive(adaptive) => adaptive.part_images,
        };
        wanted.clamp(1, images.max(1))
    }

    /// Number of parts of so many images.
    pub fn parts(self, images: u64) -> u64 {
        images.div_ceil(self.part_images(images))
    }

    /// The part at `index`, relative to the first image; none behind the last.
    pub fn part(self, images: u64, index: u64) -> Option<ImageRange> {
        let len = self.part_images(images);
        let start = index.checked_mul(len).filter(|start| *start < images)?;
        Some(ImageRange { start, len: len.min(images - start) })
    }
}

/// What is known of a config so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// More images are needed.
    Undecided,
    /// The drop is known within the tolerance.
    Decided,
    /// The drop is larger than the tolerance.
    Harmful,
    /// All images are measured.
    Complete,
}

/// The rule by which the parts of a config are judged, over so many images.
#[derive(Clone, Debug)]
pub struct Judge {
    mode: EvaluationMode,
    sequence: DropSequence,
}

/// The parts of one config that are added up so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// How many parts.
    pub parts: u64,
    /// Their sums.
    pub sums: Evaluation,
    /// Where `lost - gained` over all images lies by the looks that decided; all that is possible if none was taken.
    drop: DropBounds,
    /// What they say.
    pub verdict: Verdict,
}

/// A part's sums that cannot be those of its images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sums of images {start} to {end} speak of {n} images, {lost} lost and {gained} gained")]
pub struct WrongSums {
    /// First image of the part.
    pub start: u64,
    /// The image behind its last one.
    pub end: u64,
    /// Images that the sums are of.
    pub n: u64,
    /// Of these, lost ones.
    pub lost: u64,
    /// Of these, gained ones.
    pub gained: u64,
}

impl Judge {
    /// Makes the rule for configs that are measured on up to `images` images.
    pub fn new(mode: EvaluationMode, images: u64) -> Self {
        Self { mode, sequence: DropSequence::new(images, mode.confidence_ppm()) }
    }

    /// Nothing measured yet.
    pub fn start(&self) -> Progress {
        Progress {
            parts: 0,
            sums: Evaluation::default(),
            drop: DropBounds::any(self.images()),
            verdict: Verdict::Undecided,
        }
    }

    /// How many images there are.
    pub fn images(&self) -> u64 {
        self.sequence.images()
    }

    /// The part that comes next; none when enough is known.
    pub fn next_part(&self, progress: &Progress) -> Option<ImageRange> {
        match progress.verdict {
            Verdict::Undecided => self.mode.part(self.images(), progress.parts),
            Verdict::Decided | Verdict::Harmful | Verdict::Complete => None,
        }
    }

    /// Adds the sums of the next part.
    ///
    /// The bounds are the intersection of those after each part: they hold at all looks together, so all that any of
    /// them excludes is excluded. Errors: `WrongSums`; `progress` is as before.
    pub fn add(&self, progress: &mut Progress, part: &Evaluation) -> Result<(), WrongSums> {
        let Some(range) = self.next_part(progress) else { return Ok(()) };
        let discordant = part.lost.checked_add(part.gained);
        if part.n != range.len || discordant.is_none_or(|discordant| discordant > part.n) {
            let Evaluation { n, lost, gained, .. } = *part;
            return Err(WrongSums { start: range.start, end: range.start + range.len, n, lost, gained });
        }
        progress.parts += 1;
        progress.sums.add(part);
        let sums = &progress.sums;
        if self.mode.adaptive().is_some() {
            progress.drop = progress.drop.narrowed(self.sequence.bounds(sums.lost, sums.gained, sums.n));
        }
        progress.verdict = self.verdict(progress);
        Ok(())
    }

    /// Where `lost - gained` over all images lies.
    ///
    /// A full evaluation takes no looks, so that it costs nothing to add its parts up; it is looked at here, and the
    /// bounds hold at all such times together.
    pub fn drop(&self, progress: &Progress) -> DropBounds {
        let Evaluation { lost, gained, n, .. } = progress.sums;
        match self.mode {
            EvaluationMode::Full { .. } => self.sequence.bounds(lost, gained, n),
            EvaluationMode::Adaptive(_) => progress.drop,
        }
    }

    fn verdict(&self, progress: &Progress) -> Verdict {
        if progress.sums.n >= self.images() {
            return Verdict::Complete;
        }
        let Some(adaptive) = self.mode.adaptive() else { return Verdict::Undecided };
        // Whole numbers, so that no rounding decides: all is multiplied by the images and a million.
        let tolerance = i128::from(adaptive.tolerance_ppm) * i128::from(self.images());
        let DropBounds { low, high } = progress.drop;
        if i128::from(low) * i128::from(PPM) > tolerance {
            Verdict::Harmful
        } else if i128::from(high - low) * i128::from(PPM) <= 2 * tolerance {
            Verdict::Decided
        } else {
            Verdict::Undecided
        }
    }
}
