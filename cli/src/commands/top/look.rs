//! What is shown, and what keys do to it.

use std::cmp::Ordering;

use bitloop_proto::v1::OverviewResponse;
use ratatui::crossterm::event::{KeyCode, KeyModifiers};

use crate::show::{Mood, Row, Section, phrases, sections};

/// Rows that a page key scrolls.
const PAGE_ROWS: usize = 10;

/// Seconds without an answer after which that is said.
const MISSING_SECONDS: f64 = 5.0;

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pressed {
    pub(super) code: KeyCode,
    pub(super) modifiers: KeyModifiers,
}

impl Pressed {
    /// No key, but a reason to draw.
    pub(super) const NOTHING: Self = Self { code: KeyCode::Null, modifiers: KeyModifiers::NONE };
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Go,
    Leave,
}

/// A table on the screen.
pub(super) struct Pane {
    pub(super) section: Section,
    /// Rows above the first that is shown.
    pub(super) scrolled: usize,
    /// The column that rows are sorted by; none leaves them as they came.
    pub(super) sorted: Option<usize>,
    is_reversed: bool,
}

impl Pane {
    fn new(section: Section) -> Self {
        Self { section, scrolled: 0, sorted: None, is_reversed: false }
    }

    /// The rows in the chosen order.
    pub(super) fn rows(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.section.rows.iter().collect();
        if let Some(column) = self.sorted {
            rows.sort_by(|one, other| one.cells[column].1.compare(&other.cells[column].1));
            // The most comes first, and words by the alphabet.
            let is_number = self.section.columns[column].title.starts_with('>');
            if is_number != self.is_reversed {
                rows.reverse();
            }
        } else if self.is_reversed {
            rows.reverse();
        }
        rows
    }

    /// The title of the column that rows are sorted by.
    pub(super) fn sorted_by(&self) -> Option<&'static str> {
        self.sorted.map(|column| self.section.columns[column].title.trim_start_matches('>'))
    }

    fn sort_by_next(&mut self) {
        let next = self.sorted.map_or(0, |column| column + 1);
        self.sorted = (next < self.section.columns.len()).then_some(next);
    }
}

/// See the module.
pub(super) struct Look {
    pub(super) coordinator: String,
    pub(super) phrases: Vec<(Mood, String)>,
    pub(super) panes: [Pane; 3],
    pub(super) chosen: usize,
    pub(super) is_paused: bool,
    pub(super) is_helping: bool,
    /// Why nothing comes.
    trouble: Option<String>,
    age_seconds: f64,
}

impl Look {
    pub(super) fn new(coordinator: &str) -> Self {
        Self {
            coordinator: coordinator.to_owned(),
            phrases: Vec::new(),
            panes: sections(&OverviewResponse::default()).map(Pane::new),
            chosen: 0,
            is_paused: false,
            is_helping: false,
            trouble: None,
            age_seconds: 0.0,
        }
    }

    /// Shows what the coordinator said, unless the display is paused.
    pub(super) fn show(&mut self, overview: OverviewResponse) {
        self.trouble = None;
        if self.is_paused {
            return;
        }
        self.phrases = phrases(&overview.coordinator.clone().unwrap_or_default());
        for (pane, section) in self.panes.iter_mut().zip(sections(&overview)) {
            pane.section = section;
        }
    }

    /// Says why the coordinator does not answer; what it said last stays.
    pub(super) fn lose(&mut self, why: &str) {
        self.trouble = Some(format!("{why}; trying again"));
    }

    /// How long ago the coordinator said something.
    pub(super) fn age(&mut self, seconds: f64) {
        self.age_seconds = seconds;
    }

    /// What is wrong with what is shown.
    pub(super) fn trouble(&self) -> Option<String> {
        let is_missing = self.age_seconds >= MISSING_SECONDS;
        let age = format!("what is shown is {:.0} s old", self.age_seconds);
        match &self.trouble {
            Some(why) => Some(format!("{why}; {age}")),
            None if is_missing => Some(age),
            None => None,
        }
    }

    pub(super) fn pane(&self) -> &Pane {
        &self.panes[self.chosen]
    }

    /// Does what a key means.
    pub(super) fn press(&mut self, key: Pressed) -> Flow {
        let (count, pane) = (self.panes.len(), &mut self.panes[self.chosen]);
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Flow::Leave,
            // Whoever reads the help leaves that first.
            KeyCode::Char('q') | KeyCode::Esc if self.is_helping => self.is_helping = false,
            KeyCode::Char('q') | KeyCode::Esc => return Flow::Leave,
            KeyCode::Char('?' | 'h') => self.is_helping = !self.is_helping,
            KeyCode::Char('p') => self.is_paused = !self.is_paused,
            KeyCode::Tab | KeyCode::Right => self.chosen = (self.chosen + 1) % count,
            KeyCode::BackTab | KeyCode::Left => self.chosen = (self.chosen + count - 1) % count,
            KeyCode::Down => pane.scrolled = pane.scrolled.saturating_add(1),
            KeyCode::Up => pane.scrolled = pane.scrolled.saturating_sub(1),
            KeyCode::PageDown => pane.scrolled = pane.scrolled.saturating_add(PAGE_ROWS),
            KeyCode::PageUp => pane.scrolled = pane.scrolled.saturating_sub(PAGE_ROWS),
            KeyCode::Home => pane.scrolled = 0,
            KeyCode::End => pane.scrolled = usize::MAX,
            KeyCode::Char('s') => pane.sort_by_next(),
            KeyCode::Char('r') => pane.is_reversed = !pane.is_reversed,
            _ => {}
        }
        Flow::Go
    }
}

/// The rows that are shown of `rows`, if `room` of them fit; what is scrolled too far comes back.
pub(super) fn shown(pane: &mut Pane, room: usize) -> std::ops::Range<usize> {
    let rows = pane.section.rows.len();
    pane.scrolled = pane.scrolled.min(rows.saturating_sub(room));
    match rows.cmp(&room) {
        Ordering::Less | Ordering::Equal => 0..rows,
        Ordering::Greater => pane.scrolled..pane.scrolled + room,
    }
}
