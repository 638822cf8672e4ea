//! The document as Markdown: headings, paragraphs and tables.

use std::fmt::Write;

use crate::document::{Column, Document, Section, Table};
use crate::escape::is_hidden;

/// Rows of a table: the page has more, and a Markdown file is read whole.
const ROWS_MAX: usize = 100;

/// Lays a document out as GitHub's Markdown. What it holds of others is text: it makes no links, tags or tables.
pub fn markdown(document: &Document) -> String {
    let mut text = format!("# {}\n\n", escaped(&document.experiment));
    let going = if document.is_going { ", still going" } else { "" };
    let _ =
        writeln!(text, "Status: {}{going}. Made by {}.", escaped(&document.status), escaped(&made(document)));
    for section in &document.sections {
        write_section(&mut text, section);
    }
    text
}

/// By what and when it was made.
pub(crate) fn made(document: &Document) -> String {
    let made = &document.made;
    if made.at.is_empty() { made.by.clone() } else { format!("{} at {}", made.by, made.at) }
}

fn write_section(text: &mut String, section: &Section) {
    let _ = writeln!(text, "\n## {}", escaped(&section.title));
    for paragraph in &section.text {
        let _ = writeln!(text, "\n{}", self::paragraph(paragraph));
    }
    if let Some(chart) = &section.chart {
        let _ = writeln!(text, "\n*{}*", escaped(&chart.alt));
    }
    if let Some(table) = &section.table {
        write_table(text, table);
    }
}

fn write_table(text: &mut String, table: &Table) {
    let _ = writeln!(text, "\n{}:\n", escaped(&table.caption));
    let titles: Vec<String> = table.columns.iter().map(|column| escaped(&column.title)).collect();
    let _ = writeln!(text, "| {} |", titles.join(" | "));
    let rule = |column: &Column| if column.digits.is_some() { "---:" } else { "---" };
    let rules: Vec<&str> = table.columns.iter().map(rule).collect();
    let _ = writeln!(text, "| {} |", rules.join(" | "));
    for row in table.rows.iter().take(ROWS_MAX) {
        let cells = row.iter().zip(&table.columns).map(|(cell, column)| escaped(&cell.shown(column)));
        let _ = writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    let left_out = table.left_out + table.rows.len().saturating_sub(ROWS_MAX);
    if left_out > 0 {
        let _ = writeln!(text, "\n{left_out} more rows are left out.");
    }
}

/// A paragraph of its own: at the beginning of a line some characters make lists and headings.
fn paragraph(text: &str) -> String {
    let escaped = escaped(text);
    if escaped.starts_with(['#', '-', '+', '=']) { format!("\\{escaped}") } else { escaped }
}

/// Text that Markdown shows as it is, within a line.
fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let (mut before, mut rest) = (' ', text.chars());
    while let Some(character) = rest.next() {
        let next = rest.as_str();
        match character {
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '&' => shown.push_str("&amp;"),
            // What looks like an address would become a link.
            ':' if next.starts_with("//") => shown.push_str("&#58;"),
            '.' if shown.to_lowercase().ends_with("www") => shown.push_str("&#46;"),
            '@' => shown.push_str("&#64;"),
            '\\' | '`' | '*' | '[' | ']' | '|' | '~' => shown.extend(['\\', character]),
            // Within a word it means nothing.
            '_' if before.is_alphanumeric() && next.starts_with(char::is_alphanumeric) => shown.push('_'),
            '_' => shown.push_str("\\_"),
            character if is_hidden(character) => shown.push(' '),
            character => shown.push(character),
        }
        before = character;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_make_no_markup() {
        let text = paragraph("# a|b\n<script>[x](http://e) *y* _z_ conv2d_0 `q` www.x \u{202e}");
        assert_eq!(
            text,
            "\\# a\\|b &lt;script&gt;\\[x\\](http&#58;//e) \\*y\\* \\_z\\_ conv2d_0 \\`q\\` www&#46;x  "
        );
    }
}
