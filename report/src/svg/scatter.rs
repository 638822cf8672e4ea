use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{AXIS, Area, GRID, INK, LEGEND, SvgError, coloured, label_style, legend, padded, tick};
use crate::chart::{Mark, Scatter};

pub(super) const HEIGHT: u32 = 460;

/// Space for the ticks of the vertical axis and its title.
const LEFT: u32 = 76;

/// Radius of a mark.
const RADIUS: u32 = 4;

pub(super) fn draw(area: &Area<'_>, scatter: &Scatter) -> Result<(), SvgError> {
    let series = coloured(&scatter.series);
    legend(area, &scatter.legend, &series, LEFT)?;
    let (_, plot) = area.split_vertically(LEGEND);
    let across = padded(scatter.marks.iter().flat_map(|mark| ends(mark.x, mark.x_range)));
    let up = padded(scatter.marks.iter().flat_map(|mark| ends(mark.y, mark.y_range)));
    let mut chart = ChartBuilder::on(&plot)
        .margin_right(14)
        .x_label_area_size(AXIS)
        .y_label_area_size(LEFT)
        .build_cartesian_2d(across.clone(), up.clone())?;
    chart
        .configure_mesh()
        .x_label_formatter(&tick)
        .y_label_formatter(&tick)
        .x_desc(scatter.x.as_str())
        .y_desc(scatter.y.as_str())
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .label_style(label_style(HPos::Left))
        .draw()?;
    if scatter.has_diagonal {
        let (low, high) = (across.start.max(up.start), across.end.min(up.end));
        if low < high {
            chart.draw_series([PathElement::new(vec![(low, low), (high, high)], INK.mix(0.5))])?;
        }
    }
    for trace in &scatter.traces {
        let points = trace.points.iter().map(|[x, y]| (*x, *y)).collect::<Vec<_>>();
        chart.draw_series([PathElement::new(points, INK.stroke_width(2))])?;
    }
    for mark in &scatter.marks {
        let index = scatter.series.iter().position(|series| *series == mark.series).unwrap_or(0);
        let fill = series.get(index).map_or(INK, |(_, colour)| *colour);
        chart.draw_series(intervals(mark).map(|path| PathElement::new(path, fill.mix(0.5))))?;
        let at = (mark.x, mark.y);
        match index % 3 {
            0 => chart.draw_series([Circle::new(at, RADIUS, fill.filled())])?,
            1 => chart.draw_series([TriangleMarker::new(at, RADIUS + 1, fill.filled())])?,
            _ => chart.draw_series([Cross::new(at, RADIUS, fill.stroke_width(2))])?,
        };
    }
    Ok(())
}

fn ends(value: f64, range: Option<crate::chart::Range>) -> impl Iterator<Item = f64> {
    let ends = range.map_or([value, value], |range| [range.low, range.high]);
    ends.into_iter().chain([value])
}

/// The lines of a mark's intervals.
fn intervals(mark: &Mark) -> impl Iterator<Item = Vec<(f64, f64)>> {
    let across = mark.x_range.map(|range| vec![(range.low, mark.y), (range.high, mark.y)]);
    let up = mark.y_range.map(|range| vec![(mark.x, range.low), (mark.x, range.high)]);
    across.into_iter().chain(up)
}
