//! The document as one page that needs nothing else: no network, no fonts, no other file.
//!
//! Charts are Vega-Lite's, whose libraries are part of the page (`assets`). Whatever comes from elsewhere, such as names of points
//! and workers' words, goes into the page as escaped text or as JSON that no parser of HTML can leave; scripts run only if they
//! carry a word that depends on all of the document, and nothing may be fetched.

mod vega;

use std::fmt::Write;

use bitloop_core::digest::Digest;

use crate::document::{Document, Section, Table};
use crate::escape::is_hidden;
use crate::markdown::made;

/// The libraries that draw, in the order in which they need each other; `assets/README.md` says where they are from.
const LIBRARIES: [&str; 3] = [
    include_str!("../../assets/vega.min.js"),
    include_str!("../../assets/vega-lite.min.js"),
    include_str!("../../assets/vega-embed.min.js"),
];

/// Their licences, which go where they go.
const LICENCES: [(&str, &str); 4] = [
    ("vega", include_str!("../../assets/LICENSE.vega")),
    ("vega-lite", include_str!("../../assets/LICENSE.vega-lite")),
    ("vega-embed", include_str!("../../assets/LICENSE.vega-embed")),
    ("what they are built from", include_str!("../../assets/LICENSES.bundled")),
];

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// How a line begins that names a file which is not there.
const SOURCE_MAP: &str = "//# sourceMappingURL=";

/// Lays a document out as a page.
pub fn html(document: &Document) -> String {
    let specs = in_script(&serde_json::Value::Array(specs(document)).to_string());
    let nonce = Digest::of(document.to_json().as_bytes()).hex();
    let title = escaped(&format!("{} – bitloop report", document.experiment));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; \
         form-action 'none'\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
    );
    write_head(&mut page, document);
    page.push_str("<main id=\"sections\">\n");
    let mut charts = 0;
    for section in &document.sections {
        write_section(&mut page, section, &mut charts);
    }
    page.push_str("</main>\n");
    write_foot(&mut page, document);
    let _ =
        writeln!(page, "<script type=\"application/json\" id=\"charts\" nonce=\"{nonce}\">{specs}</script>");
    for library in LIBRARIES {
        let code = library.trim_end();
        let code = code.rfind(SOURCE_MAP).map_or(code, |place| &code[..place]);
        let _ = writeln!(page, "<script nonce=\"{nonce}\">{code}</script>");
    }
    let _ = writeln!(page, "<script nonce=\"{nonce}\">{SCRIPT}</script>\n</body>\n</html>");
    page
}

/// The charts' specifications, in the order of the sections.
pub(crate) fn specs(document: &Document) -> Vec<serde_json::Value> {
    document.sections.iter().filter_map(|section| section.chart.as_ref()).map(vega::spec).collect()
}

fn write_head(page: &mut String, document: &Document) {
    let going = if document.is_going { " · still going" } else { "" };
    let _ = write!(
        page,
        "<a class=\"skip\" href=\"#sections\">Skip to the sections</a>\n<header>\n<h1>{}</h1>\n<p><span class=\"status\">{}{going}</span> \
         Report made by {}.</p>\n<nav aria-label=\"Sections\">\n<ul>\n",
        escaped(&document.experiment),
        escaped(&document.status),
        escaped(&made(document))
    );
    for section in &document.sections {
        let _ =
            writeln!(page, "<li><a href=\"#{}\">{}</a></li>", escaped(&section.id), escaped(&section.title));
    }
    page.push_str("</ul>\n</nav>\n<noscript><p>Charts need JavaScript; the tables hold all of their numbers.</p></noscript>\n</header>\n");
}

fn write_section(page: &mut String, section: &Section, charts: &mut usize) {
    let id = escaped(&section.id);
    let _ = writeln!(page, "<section id=\"{id}\" aria-labelledby=\"{id}-title\">");
    let _ = writeln!(page, "<h2 id=\"{id}-title\">{}</h2>", escaped(&section.title));
    for paragraph in &section.text {
        let _ = writeln!(page, "<p>{}</p>", escaped(paragraph));
    }
    if let Some(chart) = &section.chart {
        let alt = escaped(&chart.alt);
        let _ = writeln!(
            page,
            "<figure>\n<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{alt}\"><div class=\"chart\" id=\"chart-{charts}\"></div></div>\n\
             <figcaption>{alt}</figcaption>\n</figure>",
        );
        *charts += 1;
    }
    if let Some(table) = &section.table {
        write_table(page, table, section.chart.is_none());
    }
    page.push_str("</section>\n");
}

/// A table, which can be folded away; open where it is all that a section has.
fn write_table(page: &mut String, table: &Table, is_open: bool) {
    let (caption, open) = (escaped(&table.caption), if is_open { " open" } else { "" });
    let _ = write!(
        page,
        "<details{open}>\n<summary>{caption} <span class=\"count\">({} rows)</span></summary>\n<div class=\"scroll\" tabindex=\"0\" role=\"group\" \
         aria-label=\"{caption}\">\n<table>\n<thead><tr>",
        table.rows.len()
    );
    for column in &table.columns {
        let class = if column.digits.is_some() { " class=\"number\"" } else { "" };
        let _ = write!(page, "<th scope=\"col\"{class}>{}</th>", escaped(&column.title));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        page.push_str("<tr>");
        for (cell, column) in row.iter().zip(&table.columns) {
            let class = if column.digits.is_some() { " class=\"number\"" } else { "" };
            let _ = write!(page, "<td{class}>{}</td>", escaped(&cell.shown(column)));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table>\n</div>\n");
    if table.left_out > 0 {
        let _ = writeln!(
            page,
            "<p>{} more rows are left out; the results file has everything.</p>",
            table.left_out
        );
    }
    page.push_str("</details>\n");
}

fn write_foot(page: &mut String, document: &Document) {
    let _ = writeln!(
        page,
        "<footer>\n<p>Made by {} (document format {}). This page fetches nothing.</p>\n<details>\n<summary>Licences of the libraries that draw the charts</summary>",
        escaped(&made(document)),
        document.format
    );
    for (name, licence) in LICENCES {
        let _ = writeln!(page, "<h3>{name}</h3>\n<pre>{}</pre>", escaped(licence.trim()));
    }
    page.push_str("</details>\n</footer>\n");
}

/// Text as it stands between tags and in attributes.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' | '\t' => escaped.push(character),
            character if is_hidden(character) => escaped.push('\u{fffd}'),
            character => escaped.push(character),
        }
    }
    escaped
}

/// JSON that can stand in a script's element: nothing in it ends the element or begins a comment.
fn in_script(json: &str) -> String {
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_cannot_end_their_own_elements() {
        for library in LIBRARIES.into_iter().chain([SCRIPT]) {
            let lower = library.to_lowercase();
            assert!(!lower.contains("</script") && !lower.contains("<!--"));
        }
    }

    #[test]
    fn json_in_a_script_is_the_same_json() {
        let value = serde_json::json!({ "a": "</script><!-- & \u{2028}" });
        let text = in_script(&value.to_string());
        assert!(!text.contains(['<', '>', '&', '\u{2028}']), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
