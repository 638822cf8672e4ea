use std::collections::BTreeMap;

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{
    AXIS, Area, GRID, INK, LEGEND, SvgError, coloured, label_style, legend, name_width, padded, short, tick,
    write,
};
use crate::chart::Timeline;

/// Height of a lane.
const LANE: u32 = 22;

pub(super) fn height(timeline: &Timeline) -> u32 {
    LEGEND + AXIS + timeline.lanes.len() as u32 * LANE
}

pub(super) fn draw(root: &Area<'_>, area: &Area<'_>, timeline: &Timeline) -> Result<(), SvgError> {
    let left = name_width(timeline.lanes.iter().map(String::as_str));
    let series = coloured(&timeline.series);
    legend(area, &timeline.legend, &series, left)?;
    let (_, plot) = area.split_vertically(LEGEND);
    let ends = timeline.spans.iter().flat_map(|span| [span.from_s, span.to_s]);
    let times = padded(ends.chain(timeline.moments.iter().map(|moment| moment.at_s)));
    let rows = timeline.lanes.len() as f64;
    let mut chart = ChartBuilder::on(&plot)
        .margin_right(14)
        .x_label_area_size(AXIS)
        .y_label_area_size(left)
        .build_cartesian_2d(times.clone(), 0.0..rows)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(0)
        .x_label_formatter(&tick)
        .x_desc(format!("seconds since {}", timeline.began))
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .label_style(label_style(HPos::Left))
        .draw()?;
    let places: BTreeMap<&str, usize> =
        timeline.lanes.iter().enumerate().map(|(place, name)| (name.as_str(), place)).collect();
    let middle = |lane: &str| rows - places.get(lane).map_or(0.0, |place| *place as f64) - 0.5;
    for span in &timeline.spans {
        let index = timeline.series.iter().position(|series| *series == span.series).unwrap_or(0);
        let fill = series.get(index).map_or(INK, |(_, colour)| *colour).mix(0.7);
        let y = middle(&span.lane);
        chart
            .draw_series([Rectangle::new([(span.from_s, y + 0.32), (span.to_s, y - 0.32)], fill.filled())])?;
    }
    for moment in &timeline.moments {
        let y = middle(&moment.lane);
        let path = vec![(moment.at_s, y + 0.4), (moment.at_s, y - 0.4)];
        chart.draw_series([PathElement::new(path, INK.stroke_width(2))])?;
    }
    for lane in &timeline.lanes {
        let (x, y) = chart.backend_coord(&(times.start, middle(lane)));
        write(root, &short(lane), (x - 7, y), label_style(HPos::Right))?;
    }
    Ok(())
}
