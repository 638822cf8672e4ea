//! An experiment's report for people: one page, or Markdown, JSON and SVG, all made from one document.
//!
//! It knows neither coordinators nor files nor clocks: [`Material`] is all that was found out, [`Document::new`] makes sections
//! of it, and [`html`], [`markdown`] and [`svg`] lay these out without looking at the material again. A new section is a file
//! in `sections` and a line of its registry. Start reading at [`Document`].

mod chart;
mod document;
mod escape;
mod html;
mod markdown;
mod material;
mod palette;
mod sections;
mod svg;

pub use chart::{
    Bar, Bars, Chart, Heat, HeatCell, Mark, Moment, Plot, Range, Scatter, Span, Timeline, Trace,
};
pub use document::{Cell, Column, DOCUMENT_FORMAT, Document, Section, Table};
pub use html::html;
pub use markdown::markdown;
pub use material::{Attempt, Chronicle, Event, Made, Material, Standing};
pub use svg::{SvgError, svg};
