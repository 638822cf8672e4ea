use std::collections::BTreeMap;

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{
    AXIS, Area, GRID, INK, LEGEND, SvgError, coloured, label_style, legend, name_width, padded, short, tick,
    write,
};
use crate::chart::{Bars, once};

/// Height of a bar.
const BAR: u32 = 9;

/// Space between the bars of two names.
const GAP: u32 = 7;

/// How many bars a name has room for: one where none has more.
fn bars_per_name(bars: &Bars) -> u32 {
    if bars.bars.len() == names(bars).len() { 1 } else { bars.series.len().max(1) as u32 }
}

fn names(bars: &Bars) -> Vec<&str> {
    once(bars.bars.iter().map(|bar| bar.name.as_str()))
}

pub(super) fn height(bars: &Bars) -> u32 {
    LEGEND + AXIS + names(bars).len() as u32 * (bars_per_name(bars) * BAR + GAP)
}

pub(super) fn draw(root: &Area<'_>, area: &Area<'_>, bars: &Bars) -> Result<(), SvgError> {
    let names = names(bars);
    let left = name_width(names.iter().copied());
    let series = coloured(&bars.series);
    legend(area, &bars.legend, &series, left)?;
    let (_, plot) = area.split_vertically(LEGEND);
    let ends = bars.bars.iter().flat_map(|bar| {
        [Some(bar.value), bar.range.map(|range| range.low), bar.range.map(|range| range.high)]
    });
    let values = padded(ends.flatten().chain([0.0]));
    let rows = names.len() as f64;
    let mut chart = ChartBuilder::on(&plot)
        .margin_right(14)
        .x_label_area_size(AXIS)
        .y_label_area_size(left)
        .build_cartesian_2d(values.clone(), 0.0..rows)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(0)
        .x_label_formatter(&tick)
        .x_desc(bars.axis.as_str())
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .label_style(label_style(HPos::Left))
        .draw()?;
    let places: BTreeMap<&str, usize> =
        names.iter().enumerate().map(|(place, name)| (*name, place)).collect();
    let slot = f64::from(bars_per_name(bars) * BAR + GAP);
    for bar in &bars.bars {
        let index = bars.series.iter().position(|series| *series == bar.series).unwrap_or(0);
        let offset = if bars_per_name(bars) == 1 { 0.0 } else { index as f64 };
        let top =
            rows - places[bar.name.as_str()] as f64 - (f64::from(GAP) / 2.0 + offset * f64::from(BAR)) / slot;
        let bottom = top - (f64::from(BAR) - 1.0) / slot;
        let fill = series.get(index).map_or(INK, |(_, colour)| *colour);
        chart.draw_series([Rectangle::new([(0.0, top), (bar.value, bottom)], fill.filled())])?;
        if let Some(range) = bar.range {
            let middle = (top + bottom) / 2.0;
            chart.draw_series([PathElement::new(vec![(range.low, middle), (range.high, middle)], INK)])?;
        }
    }
    chart.draw_series([PathElement::new(vec![(0.0, 0.0), (0.0, rows)], INK)])?;
    for (place, name) in names.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(values.start, rows - place as f64 - 0.5));
        write(root, &short(name), (x - 7, y), label_style(HPos::Right))?;
    }
    Ok(())
}
