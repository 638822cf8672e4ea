//! Every config on all images: part by part, in each all configs, so that they share what they agree in.

use bitloop_core::digest::Digest;
use bitloop_core::evaluation::EvaluationMode;
use bitloop_core::state::StageHistory;
use bitloop_core::trial::TrialSpec;

use super::{List, Measure, Next, OPEN_TRIALS, STEP_TRIALS};

pub(super) struct Full {
    list: List,
    mode: EvaluationMode,
    images: u64,
}

impl Full {
    pub(super) fn new(mode: EvaluationMode, images: u64, list: List) -> Self {
        Self { list, mode, images }
    }

    fn trial(&self, context: Digest, index: u64) -> Option<TrialSpec> {
        let configs = self.list.configs.size();
        let part = self.mode.part(self.images, index / configs)?;
        Some(TrialSpec::Evaluate { context, config: self.list.configs.config(index % configs), part })
    }
}

impl Measure for Full {
    fn size(&self) -> u64 {
        self.list.configs.size() * self.mode.parts(self.images)
    }

    fn next(&mut self, context: Digest, history: &StageHistory<'_>) -> Next {
        let (size, all) = (self.size(), history.proposed().len() as u64);
        // What a later list proposed came after this one was done.
        let proposed = (all - self.list.before).min(size);
        let open = all - history.settled();
        if proposed == size {
            let is_done = all > self.list.before + size || open == 0;
            return if is_done { Next::Done } else { Next::Wait };
        }
        if open >= OPEN_TRIALS {
            return Next::Wait;
        }
        let end = size.min(proposed + STEP_TRIALS);
        Next::Trials((proposed..end).filter_map(|index| self.trial(context, index)).collect())
    }
}
