//! The configuration that each search recommends, layer by layer.

use bitloop_core::bits::Bits;
use bitloop_core::graph::LayerCost;
use bitloop_core::report::{SearchReport, TopRow};

use super::{ROWS_MAX, cut, kib, loss, millions};
use crate::chart::{Bar, Bars, Chart, Plot};
use crate::document::{Cell, Column, Section, Table, plural};
use crate::material::Material;

/// Layers of a chart: those of the deepest published networks by far; a plan may have more.
const LAYERS_MAX: usize = 250;

const WEIGHTS: &str = "weights";
const INPUT: &str = "input activations";

pub(super) fn sections(material: &Material) -> Vec<Section> {
    let searches = (1..).zip(&material.report.searches);
    searches.filter_map(|(number, search)| section(material, number, search)).collect()
}

fn section(material: &Material, number: usize, search: &SearchReport) -> Option<Section> {
    let (rank, best) = search.recommended()?;
    let layers = material.plan.layer_costs().ok()?;
    let baseline = material.report.baseline_bits;
    let word = if search.is_over { "recommends" } else { "has found so far" };
    let mut section = Section::new(format!("chosen-{number}"), format!("What search {number} {word}"))
        .say(sentence(search, rank, best));
    section.text.extend(search.refusals().iter().map(|refusal| format!("Note: {}.", cut(refusal))));
    section
        .text
        .extend(search.notes.iter().map(|note| format!("Note: {}.", cut(note).trim_end_matches('.'))));
    let bits = |point: &str| best.row.changes.get(point).copied().unwrap_or(baseline);
    let bars: Vec<Bar> =
        layers.iter().take(LAYERS_MAX).flat_map(|layer| layer_bars(material, layer, bits)).collect();
    if layers.len() > LAYERS_MAX {
        section = section.say(format!("The chart has the first {LAYERS_MAX} of {} layers.", layers.len()));
    }
    let below = |series: &str| {
        bars.iter().filter(|bar| bar.series == series && bar.value < f64::from(baseline.get())).count()
    };
    section.chart = Some(Chart {
        alt: format!(
            "Bars of the bits of {} from input to output: the weights of {} and the input of {} have fewer than {baseline}.",
            plural(layers.len(), "layer", "layers"),
            below(WEIGHTS),
            below(INPUT)
        ),
        plot: Plot::Bars(Bars {
            axis: "bits".to_owned(),
            legend: "of".to_owned(),
            series: [WEIGHTS, INPUT].map(str::to_owned).to_vec(),
            bars,
        }),
    });
    section.table = Some(table(material, &layers, best));
    Some(section)
}

fn sentence(search: &SearchReport, rank: usize, best: &TopRow) -> String {
    let metric = search.plan.objective;
    let lost = |result: &bitloop_core::report::RowState| {
        result.measured().map(|measured| measured.loss_by(metric).value)
    };
    let measured = lost(&best.row.result);
    let measured = measured.map_or("has not been measured yet".to_owned(), |lost| {
        format!("loses {} on the selection images", loss(metric, lost))
    });
    let verified =
        lost(&best.verified).map(|lost| format!(" and {} on the report images", loss(metric, lost)));
    let computed = best.costs.iter().map(|(name, cost)| format!("{name} {cost:.4}"));
    let on_devices = best.devices.iter().map(|device| match device.measured {
        Some(measured) => format!("{} {:.4} measured on {}", device.cost, measured.median, device.target),
        None => format!("{} {:.4} predicted for {}", device.title(), device.predicted.median, device.target),
    });
    let costs: Vec<String> = computed.chain(on_devices).collect();
    let costs =
        if costs.is_empty() { String::new() } else { format!(" Limited costs: {}.", costs.join(", ")) };
    format!(
        "Rank {rank} of {} by {}: {} lowered, {:.1} KiB of weights, {:.1} MBOPs an image. It {measured}{}.{costs}",
        plural(search.top.len(), "configuration", "configurations"),
        search.plan.method.as_str(),
        plural(best.row.changes.len(), "point is", "points are"),
        kib(best.row.size_bits),
        millions(best.row.bops),
        verified.unwrap_or_default()
    )
}

/// The name of the point on a layer's weights, if it has one.
fn weight_point<'a>(material: &'a Material, layer: &LayerCost) -> Option<&'a str> {
    let is_its = |point: &&bitloop_core::graph::Point| {
        point.node == layer.node && point.kind == bitloop_core::graph::PointKind::Weight
    };
    material.plan.points.iter().find(is_its).map(|point| point.name.as_str())
}

fn layer_bars(material: &Material, layer: &LayerCost, bits: impl Fn(&str) -> Bits) -> Vec<Bar> {
    let points = [(WEIGHTS, weight_point(material, layer)), (INPUT, layer.input_point.as_deref())];
    let bar = |(series, point): (&str, Option<&str>)| {
        let value = f64::from(bits(point?).get());
        Some(Bar { name: layer.node.clone(), series: series.to_owned(), value, range: None })
    };
    points.into_iter().filter_map(bar).collect()
}

/// One row per point: activations that no layer with weights reads have widths, too.
fn table(material: &Material, layers: &[LayerCost], best: &TopRow) -> Table {
    let columns = vec![
        Column::words("point"),
        Column::words("kind"),
        Column::number("bits", 0),
        Column::words("layers that it is the weights or the input of"),
    ];
    let baseline = material.report.baseline_bits;
    let rows = material.plan.points.iter().map(|point| {
        let is_of = |layer: &&LayerCost| {
            layer.input_point.as_deref() == Some(&point.name)
                || weight_point(material, layer) == Some(&point.name)
        };
        let readers: Vec<&str> = layers.iter().filter(is_of).map(|layer| layer.node.as_str()).collect();
        let bits = best.row.changes.get(&point.name).copied().unwrap_or(baseline);
        vec![
            Cell::words(&point.name),
            Cell::words(point.kind.as_str()),
            Cell::count(bits.get().into()),
            Cell::Words(cut(&readers.join(", "))),
        ]
    });
    Table::new("Bits of every point, from input to output", columns).fill(ROWS_MAX, rows)
}
