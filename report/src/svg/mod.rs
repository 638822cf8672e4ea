//! All charts of a document below each other in one picture, for programs that show no pages.
//!
//! Scales, ticks and axes are those of `plotters`; names of rows are written here, as they are longer than it provides for.

mod bars;
mod heat;
mod scatter;
mod timeline;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::chart::{Chart, Plot};
use crate::document::Document;
use crate::escape::is_hidden;
use crate::palette::{self, Colour};

/// Width of the picture in pixels.
const WIDTH: u32 = 1_000;

/// Height of a chart's heading.
const HEADING: u32 = 34;

/// Space below a chart.
const BETWEEN: u32 = 36;

/// Height of a legend.
const LEGEND: u32 = 24;

/// Space for the ticks of a horizontal axis and its title.
const AXIS: u32 = 48;

/// Size of letters.
const LETTERS: u32 = 12;

/// About how wide a letter is, in pixels; no font is asked.
const LETTER_WIDTH: f64 = 6.6;

/// Letters of a name that there is room for.
const NAME_LETTERS_MAX: usize = 46;

const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Why a picture could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the charts cannot be drawn: {0}")]
pub struct SvgError(#[from] DrawingAreaErrorKind<std::io::Error>);

/// Draws the document's charts.
///
/// # Errors
/// Only those of the library that draws: memory takes everything.
pub fn svg(document: &Document) -> Result<String, SvgError> {
    let charts: Vec<(&str, &Chart)> = document
        .sections
        .iter()
        .filter_map(|section| Some((section.title.as_str(), section.chart.as_ref()?)))
        .collect();
    let heights: Vec<u32> = charts.iter().map(|(_, chart)| HEADING + height(&chart.plot) + BETWEEN).collect();
    let mut text = String::new();
    let all = HEADING + BETWEEN + heights.iter().sum::<u32>();
    {
        let root = SVGBackend::with_string(&mut text, (WIDTH, all)).into_drawing_area();
        root.fill(&WHITE)?;
        let going = if document.is_going { " (still going)" } else { "" };
        write(&root, &format!("{}{going}", document.experiment), (10, 24), heading_style(18))?;
        let mut top = HEADING + BETWEEN;
        for ((title, chart), height) in charts.into_iter().zip(heights) {
            write(&root, title, (10, top as i32 + 12), heading_style(15))?;
            let area = root.clone().shrink((0, top + HEADING), (WIDTH, height - HEADING - BETWEEN));
            draw(&root, &area, &chart.plot)?;
            top += height;
        }
        root.present()?;
    }
    Ok(titled(&text, &format!("Charts of the report on {}", document.experiment)))
}

fn height(plot: &Plot) -> u32 {
    match plot {
        Plot::Bars(bars) => bars::height(bars),
        Plot::Heat(heat) => heat::height(heat),
        Plot::Scatter(_) => scatter::HEIGHT,
        Plot::Timeline(timeline) => timeline::height(timeline),
    }
}

fn draw(root: &Area<'_>, area: &Area<'_>, plot: &Plot) -> Result<(), SvgError> {
    match plot {
        Plot::Bars(bars) => bars::draw(root, area, bars),
        Plot::Heat(heat) => heat::draw(area, heat),
        Plot::Scatter(scatter) => scatter::draw(area, scatter),
        Plot::Timeline(timeline) => timeline::draw(root, area, timeline),
    }
}

/// Says what the picture shows to whoever has it read out.
fn titled(text: &str, title: &str) -> String {
    let (head, rest) = text.split_once('>').expect("a picture begins with its element");
    let escaped = plain(title).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("{head} role=\"img\">\n<title>{escaped}</title>{rest}")
}

fn heading_style(size: u32) -> TextStyle<'static> {
    ("sans-serif", size)
        .into_font()
        .style(FontStyle::Bold)
        .color(&INK)
        .pos(Pos::new(HPos::Left, VPos::Center))
}

fn label_style(horizontal: HPos) -> TextStyle<'static> {
    ("sans-serif", LETTERS).into_font().color(&INK).pos(Pos::new(horizontal, VPos::Center))
}

fn colour(Colour(red, green, blue): Colour) -> RGBColor {
    RGBColor(red, green, blue)
}

/// Names of series with their colours.
fn coloured(series: &[String]) -> Vec<(String, RGBColor)> {
    let colours = palette::SERIES.iter().copied().cycle().map(colour);
    series.iter().cloned().zip(colours).collect()
}

/// A text without characters that XML does not take, or that show nothing.
fn plain(text: &str) -> String {
    text.chars().map(|character| if is_hidden(character) { ' ' } else { character }).collect()
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), style: TextStyle<'_>) -> Result<(), SvgError> {
    Ok(area.draw_text(&plain(text), &style, at)?)
}

/// A name that has room before an axis: the beginning and the end of a long one.
fn short(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= NAME_LETTERS_MAX {
        return name.to_owned();
    }
    let half = NAME_LETTERS_MAX / 2;
    let (head, tail) = (&letters[..half], &letters[letters.len() - half + 1..]);
    format!("{}…{}", head.iter().collect::<String>(), tail.iter().collect::<String>())
}

/// Room that the longest of some names takes.
fn name_width<'a>(names: impl IntoIterator<Item = &'a str>) -> u32 {
    let longest = names.into_iter().map(|name| short(name).chars().count()).max().unwrap_or(0);
    (longest as f64 * LETTER_WIDTH) as u32 + 12
}

/// Names of series beside their colours, in one line.
fn legend(area: &Area<'_>, title: &str, series: &[(String, RGBColor)], left: u32) -> Result<(), SvgError> {
    let mut x = left as i32;
    write(area, title, (x, 8), label_style(HPos::Left))?;
    x += (title.chars().count() as f64 * LETTER_WIDTH) as i32 + 14;
    for (name, colour) in series {
        area.draw(&Rectangle::new([(x, 3), (x + 11, 14)], colour.filled()))?;
        write(area, &short(name), (x + 16, 8), label_style(HPos::Left))?;
        x += (short(name).chars().count() as f64 * LETTER_WIDTH) as i32 + 34;
    }
    Ok(())
}

/// A number at a tick: as many digits as it needs, four at most.
fn tick(value: &f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// The values from the smallest to the largest, and a little more to both sides.
fn padded(values: impl IntoIterator<Item = f64>) -> std::ops::Range<f64> {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for value in values {
        (low, high) = (low.min(value), high.max(value));
    }
    if low > high {
        return 0.0..1.0;
    }
    let space = if high > low { (high - low) * 0.04 } else { low.abs().max(1.0) * 0.1 };
    low - space..high + space
}
