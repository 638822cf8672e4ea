//! How trials are trained, and what was found at the end: `training` and `fine_tuning`.

use std::collections::BTreeMap;

use super::super::reader::{Fields, Place};
use super::super::train_reader::{BATCH_DEFAULT, BATCH_MAX, EPOCHS_MAX, augmentation, optimizer};
use super::super::{Augmentation, Optimizer};
use super::tuner::{self, Mode};
use crate::autoqkeras::TunerSettings;
use crate::trial::{RateSchedule, Recipe};

/// Norms of gradients beyond it are never reached.
const NORM_MAX: f64 = 1e6;
/// Batch norms cannot learn from a single value.
const BATCH_MIN: usize = 2;
/// Keras's learning rate of Adam.
const ADAM_RATE: f64 = 0.001;

const KNOWN: [&str; 10] = [
    "epochs",
    "patience",
    "batch",
    "optimizer",
    "schedule",
    "find_learning_rate",
    "clip_norm",
    "label_smoothing",
    "augmentation",
    "seed",
];

/// A recipe of which not everything needs to be said.
#[derive(Clone)]
struct Draft {
    epochs: Option<u32>,
    /// As written; `none` goes through all epochs.
    patience: Option<Option<u32>>,
    rest: Recipe,
}

impl Draft {
    /// What holds where nothing is said; its epochs count for nothing.
    fn unsaid() -> Self {
        let rest = Recipe {
            epochs: 0,
            first_epoch: 0,
            patience: None,
            batch: BATCH_DEFAULT as u32,
            optimizer: Optimizer::AdamW { learning_rate: ADAM_RATE, weight_decay: 0.0 },
            schedule: RateSchedule::Constant,
            finds_rate: false,
            slower: BTreeMap::new(),
            clip_norm: None,
            label_smoothing: 0.0,
            augmentation: Augmentation { shift: 0, flip: false },
            seed: 0,
        };
        Self { epochs: None, patience: None, rest }
    }

    fn over(self, epochs: u32) -> Recipe {
        let patience = self.patience.unwrap_or_else(|| Some(Recipe::patience_for(epochs)));
        Recipe { epochs, patience, ..self.rest }
    }
}

/// Reads both recipes; where the tuner says how long trials are, `training` may not.
pub(super) fn recipes(
    fields: &Fields<'_>,
    mode: Option<Mode>,
    tuner: Option<TunerSettings>,
) -> Option<(Recipe, Option<Recipe>)> {
    let read = |place: &Place<'_>| {
        let fields = place.fields(&KNOWN)?;
        let draft = draft(&fields, Draft::unsaid());
        let is_right = match mode {
            Some(mode) if mode.says_epochs() => refuse_lengths(&fields, mode),
            Some(_) => fields.required("epochs", "epochs: 3", |_| Some(())),
            None => Some(()),
        };
        is_right.and(draft)
    };
    let draft = match mode {
        Some(mode) if !mode.says_epochs() => fields.required("training", "training: { epochs: 3 }", read),
        Some(_) | None => fields.optional("training", Draft::unsaid(), read),
    };
    let base = draft.clone().unwrap_or_else(Draft::unsaid);
    let fine_tuning = fields.optional("fine_tuning", None, |place| {
        let fields = place.fields(&KNOWN)?;
        let draft = self::draft(&fields, base)?;
        match draft.epochs {
            Some(epochs) => Some(Some(draft.over(epochs))),
            None if mode.is_some_and(Mode::says_epochs) => fields.required("epochs", "epochs: 10", |_| None),
            // The same is missing from what it would come from.
            None => None,
        }
    });
    let (draft, fine_tuning) = (draft?, fine_tuning?);
    let epochs = tuner.and_then(tuner::epochs).or(draft.epochs)?;
    Some((draft.over(epochs), fine_tuning))
}

/// Of trials whose length the tuner says.
fn refuse_lengths(fields: &Fields<'_>, mode: Mode) -> Option<()> {
    let mut is_right = true;
    for key in ["epochs", "patience"].into_iter().filter(|key| fields.has(key)) {
        is_right = false;
        let hint = "remove it; `max_epochs` beside `mode` is for the longest";
        fields.mistake::<()>(key, format!("`{}` says itself how long trials are", mode.as_str()), hint);
    }
    is_right.then_some(())
}

/// Reads what is said, over what holds where it is not.
fn draft(fields: &Fields<'_>, base: Draft) -> Option<Draft> {
    let Draft { epochs, patience, rest } = base;
    let epochs = fields
        .optional("epochs", epochs, |place| place.size(1..=EPOCHS_MAX).map(|epochs| Some(epochs as u32)));
    let patience = fields.optional("patience", patience, |place| {
        let epochs = |place: &Place<'_>| place.size(0..=EPOCHS_MAX).map(|epochs| epochs as u32);
        unless_none(place, "a number of epochs or `none`", epochs).map(Some)
    });
    let batch = fields
        .optional("batch", rest.batch, |place| place.size(BATCH_MIN..=BATCH_MAX).map(|images| images as u32));
    let optimizer = fields.optional("optimizer", rest.optimizer, optimizer);
    let schedule = fields.optional("schedule", rest.schedule, |place| {
        place.word(&RateSchedule::ALL.map(|schedule| (schedule.as_str(), schedule)))
    });
    let finds_rate = fields.optional("find_learning_rate", rest.finds_rate, Place::flag);
    let clip_norm = fields.optional("clip_norm", rest.clip_norm, |place| {
        unless_none(place, "a norm or `none`", |place| place.number(1e-6..=NORM_MAX))
    });
    let label_smoothing =
        fields.optional("label_smoothing", rest.label_smoothing, |place| place.number(0.0..1.0));
    let augmentation = fields.optional("augmentation", rest.augmentation, augmentation);
    let seed = fields.optional("seed", rest.seed, |place| place.integer(0..=u64::MAX));
    let rest = Recipe {
        epochs: rest.epochs,
        first_epoch: rest.first_epoch,
        patience: rest.patience,
        batch: batch?,
        optimizer: optimizer?,
        schedule: schedule?,
        finds_rate: finds_rate?,
        slower: rest.slower,
        clip_norm: clip_norm?,
        label_smoothing: label_smoothing?,
        augmentation: augmentation?,
        seed: seed?,
    };
    Some(Draft { epochs: epochs?, patience: patience?, rest })
}

/// A number, or the word `none`.
fn unless_none<T>(
    place: &Place<'_>,
    what: &str,
    read: impl FnOnce(&Place<'_>) -> Option<T>,
) -> Option<Option<T>> {
    match place.as_text() {
        Some("none") => Some(None),
        Some(_) => place.expected(what, ""),
        None => read(place).map(Some),
    }
}
