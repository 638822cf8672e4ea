//! Charts as Vega-Lite specifications, with their data in them.

use serde_json::{Map, Value, json};

use crate::chart::{Bars, Chart, Heat, Mark, Plot, Scatter, Timeline, once};
use crate::palette::{self, Colour};

/// Pixels of a name before an axis; longer ones are cut, and shown whole where the pointer is.
const NAME_PIXELS: u32 = 330;

/// Pixels of a bar.
const BAR_PIXELS: u32 = 9;

/// Pixels of a name with a single bar.
const ROW_PIXELS: u32 = 20;

/// Area of a mark, and of one among many.
const MARK_PIXELS: [u32; 2] = [55, 26];

/// How many are many.
const MANY: usize = 200;

/// Pixels of a square of a heat map.
const SQUARE_PIXELS: u32 = 18;

/// Pixels of a lane of a timeline.
const LANE_PIXELS: u32 = 26;

/// The specification of a chart.
pub(crate) fn spec(chart: &Chart) -> Value {
    let mut spec = match &chart.plot {
        Plot::Bars(bars) => of_bars(bars),
        Plot::Heat(heat) => of_heat(heat),
        Plot::Scatter(scatter) => of_scatter(scatter),
        Plot::Timeline(timeline) => of_timeline(timeline),
    };
    spec.insert("description".to_owned(), json!(chart.alt));
    Value::Object(spec)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

/// The colours of series, in their order.
fn colours(series: &[String]) -> Value {
    let colours = palette::SERIES.iter().copied().cycle().map(Colour::hex);
    json!({ "domain": series, "range": colours.take(series.len()).collect::<Vec<_>>() })
}

fn by_series(title: &str, series: &[String]) -> Value {
    json!({ "field": "series", "type": "nominal", "title": title, "sort": null, "scale": colours(series) })
}

fn number(field: &str, title: &str) -> Value {
    json!({ "field": field, "type": "quantitative", "title": title })
}

fn word(field: &str, title: &str) -> Value {
    json!({ "field": field, "type": "nominal", "title": title })
}

fn of_bars(bars: &Bars) -> Map<String, Value> {
    let rows: Vec<Value> = bars
        .bars
        .iter()
        .map(|bar| {
            let (low, high) = bar.range.map_or((None, None), |range| (Some(range.low), Some(range.high)));
            json!({ "name": bar.name, "series": bar.series, "value": bar.value, "low": low, "high": high })
        })
        .collect();
    let has_ranges = bars.bars.iter().any(|bar| bar.range.is_some());
    let mut tooltip = vec![word("name", "name"), word("series", &bars.legend), number("value", &bars.axis)];
    if has_ranges {
        tooltip.extend([number("low", "interval from"), number("high", "interval to")]);
    }
    let mut across = number("value", &bars.axis);
    across["axis"] = ticks(bars.bars.iter().all(|bar| bar.range.is_none() && bar.value.fract() == 0.0));
    let mut layers = vec![json!({
        "mark": { "type": "bar" },
        "encoding": { "x": across, "color": by_series(&bars.legend, &bars.series), "tooltip": tooltip },
    })];
    if has_ranges {
        layers.push(json!({
            "transform": [{ "filter": { "field": "low", "valid": true } }],
            "mark": { "type": "rule", "color": "currentColor", "strokeWidth": 1.2, "aria": false },
            "encoding": { "x": number("low", &bars.axis), "x2": { "field": "high" } },
        }));
    }
    let names = once(bars.bars.iter().map(|bar| bar.name.as_str()));
    let mut encoding = json!({ "y": {
        "field": "name", "type": "nominal", "sort": null, "title": null,
        "scale": { "domain": names, "paddingInner": 0.35, "paddingOuter": 0.2 },
        "axis": { "labelLimit": NAME_PIXELS, "grid": false },
    } });
    let mut height = json!({ "step": ROW_PIXELS });
    if bars.bars.len() > names.len() {
        let offset =
            json!({ "field": "series", "type": "nominal", "sort": null, "scale": { "domain": bars.series } });
        encoding["yOffset"] = offset;
        height = json!({ "step": BAR_PIXELS, "for": "offset" });
    }
    object(json!({
        "width": "container",
        "height": height,
        "data": { "values": rows },
        "encoding": encoding,
        "layer": layers,
    }))
}

/// The ticks of a horizontal axis; of whole numbers none are between them.
fn ticks(is_whole: bool) -> Value {
    match is_whole {
        true => json!({ "tickCount": 10, "tickMinStep": 1, "format": "d" }),
        false => json!({ "tickCount": 10 }),
    }
}

fn of_heat(heat: &Heat) -> Map<String, Value> {
    let rows: Vec<Value> = heat
        .cells
        .iter()
        .map(|cell| json!({ "row": cell.row, "column": cell.column, "value": cell.value }))
        .collect();
    let values = heat.cells.iter().map(|cell| cell.value);
    let low = values.clone().fold(0.0, f64::min);
    let high = values.fold(0.0, f64::max);
    let most = high.max(-low);
    let scale = match heat.is_diverging {
        true => json!({ "domain": [-most, 0.0, most], "range": palette::DIVERGING.map(Colour::hex) }),
        false => json!({ "domain": [low, high], "range": palette::SEQUENTIAL.map(Colour::hex) }),
    };
    let axis = json!({ "labelLimit": NAME_PIXELS, "grid": false });
    object(json!({
        "width": { "step": SQUARE_PIXELS },
        "height": { "step": SQUARE_PIXELS },
        "data": { "values": rows },
        "mark": { "type": "rect" },
        "encoding": {
            "x": {
                "field": "column", "type": "nominal", "sort": null, "title": null, "scale": { "domain": heat.names },
                "axis": { "labelAngle": -90, "labelLimit": NAME_PIXELS, "grid": false },
            },
            "y": { "field": "row", "type": "nominal", "sort": null, "title": null, "scale": { "domain": heat.names }, "axis": axis },
            "color": {
                "field": "value", "type": "quantitative", "title": heat.legend, "scale": scale,
                "legend": { "orient": "top", "gradientLength": 260, "titleLimit": 400 },
            },
            "tooltip": [word("row", "point"), word("column", "with"), number("value", &heat.legend)],
        },
    }))
}

fn of_scatter(scatter: &Scatter) -> Map<String, Value> {
    let mut layers = Vec::new();
    if scatter.has_diagonal {
        layers.extend(diagonal(scatter));
    }
    layers.extend(scatter.traces.iter().map(|trace| {
        let points = trace.points.iter().zip(0..);
        let points: Vec<Value> = points.map(|([x, y], place)| json!({ "x": x, "y": y, "place": place })).collect();
        let order = json!({ "field": "place", "type": "quantitative" });
        json!({
            "data": { "values": points },
            "mark": { "type": "line", "color": "currentColor", "strokeWidth": 1.5, "opacity": 0.7, "aria": false },
            "encoding": { "x": number("x", &scatter.x), "y": number("y", &scatter.y), "order": order },
        })
    }));
    layers.extend(intervals(scatter));
    let mut across = number("x", &scatter.x);
    across["axis"] = ticks(false);
    let shape = json!({ "field": "series", "type": "nominal", "title": scatter.legend, "sort": null, "scale": { "domain": scatter.series } });
    layers.push(json!({
        "mark": { "type": "point", "filled": true, "size": MARK_PIXELS[usize::from(scatter.marks.len() > MANY)], "opacity": 0.85 },
        "encoding": {
            "x": across,
            "y": number("y", &scatter.y),
            "color": by_series(&scatter.legend, &scatter.series),
            "shape": shape,
            "tooltip": [word("name", "name"), word("series", &scatter.legend), number("x", &scatter.x), number("y", &scatter.y)],
        },
    }));
    object(json!({
        "width": "container",
        "height": 400,
        "data": { "values": marks(scatter) },
        "layer": layers,
        "encoding": {
            "x": { "type": "quantitative", "scale": { "zero": false, "nice": true } },
            "y": { "type": "quantitative", "scale": { "zero": false, "nice": true } },
        },
    }))
}

/// The marks as rows; those of the first series come last, so that they cover the others.
fn marks(scatter: &Scatter) -> Vec<Value> {
    let place = |series: &String| scatter.series.iter().position(|known| known == series);
    let mut marks: Vec<&Mark> = scatter.marks.iter().collect();
    marks.sort_by_key(|mark| std::cmp::Reverse(place(&mark.series)));
    let row = |mark: &&Mark| {
        let mut row = json!({ "name": mark.name, "series": mark.series, "x": mark.x, "y": mark.y });
        for (names, range) in [(["x_low", "x_high"], mark.x_range), (["y_low", "y_high"], mark.y_range)] {
            if let Some(range) = range {
                (row[names[0]], row[names[1]]) = (json!(range.low), json!(range.high));
            }
        }
        row
    };
    marks.iter().map(row).collect()
}

/// The intervals of marks, across and up, where there are any.
fn intervals(scatter: &Scatter) -> Vec<Value> {
    let has_across = scatter.marks.iter().any(|mark| mark.x_range.is_some());
    let has_up = scatter.marks.iter().any(|mark| mark.y_range.is_some());
    let layer = |low: &str, (x, y): (Value, Value), (end, high): (&str, &str)| {
        let color = by_series(&scatter.legend, &scatter.series);
        let mut encoding = json!({ "x": x, "y": y, "color": color });
        encoding[end] = json!({ "field": high });
        json!({
            "transform": [{ "filter": { "field": low, "valid": true } }],
            "mark": { "type": "rule", "opacity": 0.45, "aria": false },
            "encoding": encoding,
        })
    };
    let across = has_across
        .then(|| layer("x_low", (number("x_low", &scatter.x), number("y", &scatter.y)), ("x2", "x_high")));
    let up = has_up
        .then(|| layer("y_low", (number("x", &scatter.x), number("y_low", &scatter.y)), ("y2", "y_high")));
    across.into_iter().chain(up).collect()
}

/// The line on which both axes are equal, as far as there are marks.
fn diagonal(scatter: &Scatter) -> Option<Value> {
    let ends = |of: fn(&Mark) -> f64| {
        let values = scatter.marks.iter().map(of);
        (values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max))
    };
    let (x, y) = (ends(|mark| mark.x), ends(|mark| mark.y));
    let (low, high) = (x.0.max(y.0), x.1.min(y.1));
    (low < high).then(|| {
        json!({
            "data": { "values": [{ "x": low, "y": low }, { "x": high, "y": high }] },
            "mark": { "type": "line", "color": "currentColor", "strokeDash": [5, 4], "opacity": 0.6, "aria": false },
            "encoding": { "x": number("x", &scatter.x), "y": number("y", &scatter.y) },
        })
    })
}

fn of_timeline(timeline: &Timeline) -> Map<String, Value> {
    let spans: Vec<Value> = timeline
        .spans
        .iter()
        .map(|span| json!({ "lane": span.lane, "series": span.series, "from": span.from_s, "to": span.to_s, "note": span.note }))
        .collect();
    let moments: Vec<Value> = timeline
        .moments
        .iter()
        .map(|moment| json!({ "lane": moment.lane, "at": moment.at_s, "note": moment.note }))
        .collect();
    let time = format!("seconds since {}", timeline.began);
    let mut from = number("from", &time);
    from["axis"] = ticks(false);
    let mut layers = Vec::new();
    if !spans.is_empty() {
        layers.push(json!({
            "data": { "values": spans },
            "mark": { "type": "bar", "height": { "band": 0.6 }, "opacity": 0.55, "stroke": "currentColor", "strokeWidth": 0.4 },
            "encoding": {
                "x": from,
                "x2": { "field": "to" },
                "color": by_series(&timeline.legend, &timeline.series),
                "tooltip": [word("lane", "worker"), word("series", &timeline.legend), number("from", "from (s)"), number("to", "to (s)"), word("note", "what")],
            },
        }));
    }
    if !moments.is_empty() {
        layers.push(json!({
            "data": { "values": moments },
            "mark": { "type": "tick", "thickness": 2, "height": { "band": 0.8 }, "color": "currentColor" },
            "encoding": {
                "x": number("at", &time),
                "tooltip": [word("lane", "who"), number("at", "at (s)"), word("note", "what")],
            },
        }));
    }
    object(json!({
        "width": "container",
        "height": { "step": LANE_PIXELS },
        "encoding": {
            "y": {
                "field": "lane", "type": "nominal", "sort": null, "title": null, "scale": { "domain": timeline.lanes },
                "axis": { "labelLimit": NAME_PIXELS, "grid": false },
            },
        },
        "layer": layers,
    }))
}
