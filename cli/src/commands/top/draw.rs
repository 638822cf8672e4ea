//! Puts a [`Look`] on a terminal of any size.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;

use super::look::{Look, Pane, shown};
use crate::show::{Column, Mood, Row};

/// Lines of tables from which on all of them are shown, one above the other.
const STACKED_LINES: u16 = 18;

/// Lines that a table which is not chosen has at least: name, header, rows.
const PANE_LINES: u16 = 5;

/// Space between two columns.
const GAP: u16 = 2;

/// Widest column but the last one; what is longer ends in `~`.
const COLUMN_WIDTH_MAX: u16 = 36;

const KEYS: &str = "q quit  Tab section  arrows scroll  s sort  r reverse  p pause  ? help";

const HELP: &[&str] = &[
    "q, Esc, Ctrl-C   leave",
    "Tab, left, right choose a section",
    "up, down         scroll it; also PgUp, PgDn, Home, End",
    "s                sort it by the next column; after the last one as it came",
    "r                reverse its order",
    "p                pause the display; what happens goes on",
    "?, h             this help",
    "",
    "open: trials that are neither done nor leased",
    "rate, busy: smoothed over about a minute",
    "left: time until all known trials are done at this rate",
    "heard: since the worker's last heartbeat",
];

/// How things are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inks {
    Colours,
    /// By bold, faint and reversed letters only.
    Plain,
}

impl Inks {
    /// Colours, unless the user's environment is against them.
    pub(super) fn of_terminal() -> Self {
        match std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
            true => Self::Plain,
            false => Self::Colours,
        }
    }

    fn mood(self, mood: Mood) -> Style {
        match (mood, self) {
            (Mood::Plain, _) => Style::new(),
            (Mood::Faint, _) => Style::new().add_modifier(Modifier::DIM),
            (Mood::Warning, Self::Colours) => Style::new().fg(Color::Yellow),
            (Mood::Bad, Self::Colours) => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
            (Mood::Warning, Self::Plain) => Style::new().add_modifier(Modifier::BOLD),
            (Mood::Bad, Self::Plain) => Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED),
        }
    }
}

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const FAINT: Style = Style::new().add_modifier(Modifier::DIM);
const CHOSEN: Style = Style::new().add_modifier(Modifier::BOLD.union(Modifier::REVERSED));

/// Draws everything. What does not fit is left out, the least important first.
pub(super) fn draw(buffer: &mut Buffer, look: &mut Look, inks: Inks) {
    let area = buffer.area;
    if area.width == 0 || area.height == 0 {
        return;
    }
    let mut page = Page { buffer, inks };
    let mut top = area.y;
    let (bottom, wide) = (area.bottom(), area.width);
    let state = if look.is_paused { "  PAUSED" } else { "" };
    page.line(Rect::new(area.x, top, wide, 1), &format!("bitloop top  {}{state}", look.coordinator), BOLD);
    top += 1;
    // The tables are what people come for: the rest leaves them two thirds of a small terminal.
    let mut room = (area.height / 3).max(1).saturating_sub(1);
    let trouble = look.trouble().map(|trouble| vec![(Mood::Bad, trouble)]).unwrap_or_default();
    for phrases in [&trouble, &look.phrases] {
        let used = page.flow(Rect::new(area.x, top, wide, room), phrases);
        (top, room) = (top + used, room - used);
    }
    let has_keys = area.height >= 10;
    let end = if has_keys { bottom - 1 } else { bottom };
    let body = Rect::new(area.x, top, wide, end.saturating_sub(top));
    match look.is_helping {
        true => page.help(body),
        false => page.body(body, look),
    }
    if has_keys {
        page.line(Rect::new(area.x, end, wide, 1), KEYS, FAINT);
    }
}

/// A buffer and how to write to it.
struct Page<'a> {
    buffer: &'a mut Buffer,
    inks: Inks,
}

impl Page<'_> {
    /// Writes a line; what is too long ends in `~`.
    fn line(&mut self, area: Rect, text: &str, style: Style) {
        if area.width == 0 || area.height == 0 {
            return;
        }
        let is_cut = width(text) > area.width;
        let room = usize::from(area.width) - usize::from(is_cut);
        let (end, _) = self.buffer.set_stringn(area.x, area.y, text, room, style);
        if is_cut {
            self.buffer.set_string(end, area.y, "~", style);
        }
    }

    /// Writes phrases one after the other, as many as fit; returns the lines that they took. One that is longer than a line
    /// is broken between words.
    fn flow(&mut self, area: Rect, phrases: &[(Mood, String)]) -> u16 {
        let (mut x, mut y) = (area.x, area.y);
        for (mood, phrase) in phrases {
            let style = self.inks.mood(*mood);
            let is_long = width(phrase) > area.width;
            let pieces = if is_long { phrase.split(' ').collect() } else { vec![phrase.as_str()] };
            for piece in pieces {
                if x > area.x && x.saturating_add(width(piece)) > area.right() {
                    (x, y) = (area.x, y + 1);
                }
                if y >= area.bottom() {
                    return area.height;
                }
                let room = area.right().saturating_sub(x);
                self.line(Rect::new(x, y, room, 1), piece, style);
                let gap = if is_long { 1 } else { GAP };
                x = x.saturating_add(width(piece)).saturating_add(gap).min(area.right());
            }
            // As between any two phrases.
            x = if is_long { x.saturating_add(GAP - 1).min(area.right()) } else { x };
        }
        if phrases.is_empty() { 0 } else { y + 1 - area.y }
    }

    fn help(&mut self, area: Rect) {
        for (y, line) in (area.y..area.bottom()).zip(HELP) {
            self.line(Rect::new(area.x, y, area.width, 1), line, Style::new());
        }
    }

    fn body(&mut self, area: Rect, look: &mut Look) {
        let chosen = look.chosen;
        if area.height < STACKED_LINES {
            self.names(Rect { height: area.height.min(1), ..area }, look);
            let below = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
            return self.table(below, &mut look.panes[chosen]);
        }
        let wanted = |pane: &Pane| u16::try_from(pane.section.rows.len().max(1)).unwrap_or(u16::MAX);
        let least = |pane: &Pane| wanted(pane).saturating_add(3).min(PANE_LINES.max(area.height / 4));
        let others = look.panes.iter().enumerate().filter(|(index, _)| *index != chosen);
        let others: u16 = others.map(|(_, pane)| least(pane)).sum();
        let mut top = area.y;
        for (index, pane) in look.panes.iter_mut().enumerate() {
            let height = if index == chosen { area.height - others } else { least(pane) };
            let name = format!(" {} ({}) ", pane.section.name, pane.section.rows.len());
            let style = if index == chosen { CHOSEN } else { BOLD };
            self.line(Rect::new(area.x, top, area.width, 1), &name, style);
            self.sorted(Rect::new(area.x, top, area.width, 1), (pane, width(&name)));
            // An empty line stands before the next one.
            let inner = Rect::new(area.x, top + 1, area.width, height.saturating_sub(2));
            self.table(inner, pane);
            top += height;
        }
    }

    /// The names of all tables on one line.
    fn names(&mut self, area: Rect, look: &Look) {
        let mut x = area.x;
        for (index, pane) in look.panes.iter().enumerate() {
            let name = format!(" {} ({}) ", pane.section.name, pane.section.rows.len());
            let style = if index == look.chosen { CHOSEN } else { FAINT };
            let room = area.right().saturating_sub(x);
            self.line(Rect { x, width: room, ..area }, &name, style);
            x = x.saturating_add(width(&name)).min(area.right());
        }
        self.sorted(area, (look.pane(), x - area.x));
    }

    /// Says behind a name by which column its rows are sorted.
    fn sorted(&mut self, area: Rect, (pane, taken): (&Pane, u16)) {
        let Some(column) = pane.sorted_by() else { return };
        let from = (area.x + taken).min(area.right());
        let rest = Rect { x: from, width: area.right() - from, ..area };
        self.line(rest, &format!(" by {column}"), FAINT);
    }

    fn table(&mut self, area: Rect, pane: &mut Pane) {
        if pane.section.rows.is_empty() {
            return self.line(area, pane.section.empty, FAINT);
        }
        let range = shown(pane, usize::from(area.height.saturating_sub(1)));
        let rows = pane.rows();
        let layout = fit(pane.section.columns, &rows, area.width);
        let header: Vec<&str> =
            pane.section.columns.iter().map(|column| column.title.trim_start_matches('>')).collect();
        self.cells(Rect { height: area.height.min(1), ..area }, (&layout, &header), BOLD);
        for (y, row) in (area.y + 1..area.bottom()).zip(&rows[range]) {
            let texts: Vec<&str> = row.cells.iter().map(|(text, _)| text.as_str()).collect();
            let style = self.inks.mood(row.mood);
            self.cells(Rect { y, height: 1, ..area }, (&layout, &texts), style);
        }
    }

    fn cells(&mut self, area: Rect, (layout, texts): (&[Fitted], &[&str]), style: Style) {
        for place in layout {
            let text = texts[place.column];
            let slack = if place.is_right { place.width.saturating_sub(width(text)) } else { 0 };
            let cell = Rect { x: area.x + place.x + slack, width: place.width - slack, ..area };
            self.line(cell, text, style);
        }
    }
}

/// Where a column stands.
struct Fitted {
    column: usize,
    x: u16,
    width: u16,
    is_right: bool,
}

/// Chooses the columns that fit and how wide they are.
fn fit(columns: &[Column], rows: &[&Row], room: u16) -> Vec<Fitted> {
    let wanted = |index: usize| {
        let cells = rows.iter().map(|row| width(&row.cells[index].0)).max().unwrap_or(0);
        let title = width(columns[index].title.trim_start_matches('>'));
        // The last column may take what is left.
        let most = if index + 1 == columns.len() { u16::MAX } else { COLUMN_WIDTH_MAX };
        cells.max(title).min(most)
    };
    let widths: Vec<u16> = (0..columns.len()).map(wanted).collect();
    let mut by_need: Vec<usize> = (0..columns.len()).collect();
    by_need.sort_by_key(|index| columns[*index].dispensable);
    let mut taken: Vec<(usize, u16)> = Vec::new();
    let mut left = room;
    for index in by_need {
        let gap = if taken.is_empty() { 0 } else { GAP };
        let title = width(columns[index].title.trim_start_matches('>'));
        let Some(most) = left.checked_sub(gap).filter(|most| *most >= title) else { break };
        // A long text may be cut, a number may not.
        let is_text = !columns[index].title.starts_with('>');
        if widths[index] > most && !is_text {
            break;
        }
        let width = widths[index].min(most);
        taken.push((index, width));
        left -= gap + width;
    }
    taken.sort_unstable();
    let places = taken.into_iter().scan(0, |x, (column, width)| {
        let place = Fitted { column, x: *x, width, is_right: columns[column].title.starts_with('>') };
        *x += width + GAP;
        Some(place)
    });
    places.collect()
}

/// Cells of a terminal that a text takes.
fn width(text: &str) -> u16 {
    u16::try_from(Line::from(text).width()).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
