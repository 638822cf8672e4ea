//! Searches that train: trials by score and size, and the quantizers that were chosen.

use std::collections::BTreeMap;

use bitloop_core::autoqkeras::Order;
use bitloop_core::probe::Estimate;
use bitloop_core::qkeras::Quantizer;
use bitloop_core::report::{
    BlockRows, EnvironmentSummary, FoundNetwork, SearchedDevice, TrainedRow, TrainedSearch,
};
use bitloop_core::trial::{NodeQuantizers, Trained};

use super::devices::environment;
use super::{MARKS_MAX, NAMES_MAX, ROWS_MAX, cut, spread};
use crate::chart::{Bar, Bars, Chart, Mark, Plot, Scatter, Trace};
use crate::document::{Cell, Column, Section, Table, plural};
use crate::material::Material;

const KERNEL: &str = "kernel";
const BIAS: &str = "bias";
const ACTIVATION: &str = "activation";

pub(super) fn sections(material: &Material) -> Vec<Section> {
    let searches = (1..).zip(&material.report.trained);
    searches
        .flat_map(|(number, search)| [trials(number, search)].into_iter().chain(chosen(number, search)))
        .collect()
}

fn block_name(index: usize, block: &BlockRows) -> String {
    match block.pattern.as_str() {
        "" => format!("block {}: the whole network", index + 1),
        pattern => format!("block {}: {}", index + 1, cut(pattern)),
    }
}

fn size(search: &TrainedSearch, size: f64) -> (String, f64) {
    match search.unit.as_str() {
        "bits" => ("size (KiB)".to_owned(), size / 8.0 / 1024.0),
        "pJ" => ("energy (nJ)".to_owned(), size / 1e3),
        "mJ" => ("measured energy (mJ)".to_owned(), size),
        unit @ ("ms" | "us") => (format!("measured latency ({unit})"), size),
        unit => (format!("size ({unit})"), size),
    }
}

fn top1(trained: &Trained) -> String {
    format!("{:.2} % ({} of {})", trained.accuracy() * 100.0, trained.correct, trained.n)
}

fn trials(number: usize, search: &TrainedSearch) -> Section {
    let count: usize = search.blocks.iter().map(|block| block.trials.len()).sum();
    let mut section = Section::new(format!("trained-{number}"), format!("Trials of the training search {number}")).say(format!(
        "{} in {}. Each is a network with quantizers that was trained; its score is its top-1 times one plus what its smaller \
         size is forgiven. Further left is smaller, further up is better; a line joins what the blocks came to.",
        plural(count, "trial", "trials"),
        plural(search.blocks.len(), "block", "blocks")
    ));
    if let Some(float) = &search.float {
        let wanted =
            search.least_accuracy.map(|least| format!("; at least {:.2} % is wanted", least * 100.0));
        section = section.say(format!(
            "The float network recognizes {} of the selection images{}.",
            top1(float),
            wanted.unwrap_or_default()
        ));
    }
    if search.order == Order::Arrival {
        section = section
            .say("Decisions depended on the order of arrival: another time other trials may be asked for.");
    }
    if !search.is_over {
        section = section.say("The search is not over.");
    }
    if let Some(device) = &search.device {
        section = section.say(device_sentence(search, device));
        section.text.extend(environment_sentence(&device.environment));
    }
    section.chart = chart(search);
    section.table = Some(table(search));
    section
}

/// Where sizes were measured, and what the network found takes there beside the float network.
fn device_sentence(search: &TrainedSearch, device: &SearchedDevice) -> String {
    let class = device.class.as_deref().map_or_else(|| "a device that is not known yet".to_owned(), cut);
    let unsteady = match device.unsteady {
        0 => String::new(),
        count => format!(", {count} of them unsteadily"),
    };
    let found = device.found.map(|Estimate { median, low, high }| {
        let [median, low, high] = [median, low, high].map(|share| share * search.reference.trial);
        let unit = &search.unit;
        format!(
            " Measured anew at the end, which nothing was chosen by, the network found takes {median:.4} {unit} (95 % interval \
             {low:.4} to {high:.4}), and float {:.4} {unit}.",
            search.reference.trial
        )
    });
    format!(
        "Sizes were measured on {class}, by {}: {}{unsteady}, each {} or more, in turns with the float network.{}",
        cut(&device.target.to_string()),
        plural(device.networks as usize, "network", "networks"),
        plural(device.repetitions as usize, "time", "times"),
        found.unwrap_or_default()
    )
}

/// What the device was like meanwhile; none where nothing could be read.
fn environment_sentence(environment: &EnvironmentSummary) -> Option<String> {
    let facts = environment::facts(environment).into_iter().map(|(name, value)| format!("{name} {value}"));
    (environment.measurements > 0).then(|| {
        format!(
            "What the device was like, as far as it can be read, over {}: {}.",
            plural(environment.measurements as usize, "measurement", "measurements"),
            facts.collect::<Vec<_>>().join("; ")
        )
    })
}

/// The trials that were trained, with the names of their blocks, best last in each block.
fn scored(search: &TrainedSearch) -> Vec<(String, &TrainedRow, f64, bool)> {
    let blocks = search.blocks.iter().enumerate();
    let rows = blocks.flat_map(|(index, block)| {
        let is_best = move |at: usize| block.best == Some(at);
        let name = block_name(index, block);
        block
            .trials
            .iter()
            .enumerate()
            .filter_map(move |(at, row)| Some((name.clone(), row, row.score?, is_best(at))))
    });
    rows.collect()
}

fn chart(search: &TrainedSearch) -> Option<Chart> {
    let rows = scored(search);
    let best: Vec<[f64; 2]> = rows
        .iter()
        .filter(|row| row.3)
        .map(|(_, row, score, _)| [size(search, row.size.trial).1, *score])
        .collect();
    let shown = spread(rows, MARKS_MAX);
    let marks: Vec<Mark> = shown
        .iter()
        .map(|(block, row, score, is_best)| Mark {
            name: format!(
                "trial {}.{}.{}{}",
                row.place.bracket,
                row.place.rung,
                row.place.slot,
                if *is_best { ", what its block came to" } else { "" }
            ),
            series: block.clone(),
            x: size(search, row.size.trial).1,
            y: *score,
            x_range: None,
            y_range: None,
        })
        .collect();
    let top = marks.iter().max_by(|a, b| a.y.total_cmp(&b.y))?;
    let alt = format!(
        "Marks of {}: {} across, score upwards, by block. The highest score is {:.4}, of {} in {}.",
        plural(marks.len(), "trained network", "trained networks"),
        size(search, 0.0).0,
        top.y,
        top.name,
        top.series
    );
    let series = crate::chart::once(marks.iter().map(|mark| mark.series.as_str()));
    Some(Chart {
        alt,
        plot: Plot::Scatter(Scatter {
            x: size(search, 0.0).0,
            y: "score".to_owned(),
            legend: "block".to_owned(),
            series: series.into_iter().map(str::to_owned).collect(),
            marks,
            traces: if best.len() > 1 {
                vec![Trace { name: "what the blocks came to".to_owned(), points: best }]
            } else {
                Vec::new()
            },
            has_diagonal: false,
        }),
    })
}

/// The trials of every block, best first.
fn table(search: &TrainedSearch) -> Table {
    let columns = vec![
        Column::words("block"),
        Column::words("trial"),
        Column::words("state"),
        Column::number("top-1 (%)", 2),
        Column::number("score", 4),
        Column::number(size(search, 0.0).0, 3),
        Column::number("times smaller", 2),
        Column::number("epochs", 0),
        Column::words("chosen"),
    ];
    let value = |row: &TrainedRow| row.value().unwrap_or(f64::NEG_INFINITY);
    let blocks = search.blocks.iter().enumerate().flat_map(|(index, block)| {
        let mut rows: Vec<&TrainedRow> = block.trials.iter().collect();
        rows.sort_by(|a, b| value(b).total_cmp(&value(a)));
        let name = block_name(index, block);
        rows.into_iter().map(move |row| (name.clone(), row))
    });
    let fine_tuning = search.fine_tuning.iter().map(|row| ("fine-tuning".to_owned(), row));
    let cells = blocks.chain(fine_tuning).map(|(block, row)| {
        let trained = row.trained.as_ref();
        vec![
            Cell::Words(block),
            Cell::Words(format!("{}.{}.{}", row.place.bracket, row.place.rung, row.place.slot)),
            match (&row.failed, trained, row.keeps()) {
                (Some(reason), _, _) => Cell::Words(format!("failed: {}", cut(reason))),
                (None, None, _) => Cell::words("open"),
                (None, Some(_), Some(false)) => Cell::words("below what is wanted"),
                (None, Some(_), Some(true) | None) => Cell::words("done"),
            },
            Cell::number(trained.map(|trained| trained.accuracy() * 100.0)),
            Cell::number(row.score),
            Cell::number(size(search, row.size.trial).1),
            Cell::number(row.size.times_smaller()),
            Cell::number(trained.map(|trained| f64::from(trained.epochs))),
            Cell::Words(cut(&row.described())),
        ]
    });
    Table::new("Trials, the best of each block first", columns).fill(ROWS_MAX, cells)
}

/// The network that was found; of a search that is not over, what its last block has come to.
fn chosen(number: usize, search: &TrainedSearch) -> Option<Section> {
    let found = search.found.as_ref().map(TrainedRow::of_network);
    let best = || search.blocks.iter().rev().find_map(|block| block.trials.get(block.best?)).cloned();
    let is_found = found.is_some();
    let row = found.or_else(best)?;
    let word = if is_found { "came to" } else { "has come to so far" };
    let mut section =
        Section::new(format!("quantizers-{number}"), format!("What training search {number} {word}"));
    if let Some(found) = &search.found {
        section = section.say(found_sentence(search, found));
    }
    let widths = widths(&row);
    let shown = widths.iter().take(NAMES_MAX);
    let bars: Vec<Bar> = shown
        .flat_map(|(node, quantizers)| {
            quantizers.iter().map(|(series, quantizer)| Bar {
                name: (*node).clone(),
                series: (*series).to_owned(),
                value: f64::from(quantizer.bits()),
                range: None,
            })
        })
        .collect();
    if widths.len() > NAMES_MAX {
        section =
            section.say(format!("The chart has the first {NAMES_MAX} of {} layers by name.", widths.len()));
    }
    section.chart = (!bars.is_empty()).then(|| Chart {
        alt: format!("Bars of the bits of the quantizers of {}.", plural(widths.len(), "layer", "layers")),
        plot: Plot::Bars(Bars {
            axis: "bits".to_owned(),
            legend: "of".to_owned(),
            series: [KERNEL, BIAS, ACTIVATION].map(str::to_owned).to_vec(),
            bars,
        }),
    });
    section.table = Some(quantizers_table(&row));
    Some(section)
}

fn found_sentence(search: &TrainedSearch, found: &FoundNetwork) -> String {
    let on = |name: &str, float: &Option<Trained>, found: &Option<Trained>| match (float, found) {
        (Some(float), Some(found)) => format!(
            "on the {name} images {}, {:+.2} points beside float's {}",
            top1(found),
            (found.accuracy() - float.accuracy()) * 100.0,
            top1(float)
        ),
        _ => format!("not measured on the {name} images"),
    };
    format!(
        "{:.2} times smaller than the reference; {}; {}. Its checkpoint is {}.",
        found.size.times_smaller(),
        on("selection", &search.float, &found.selection),
        on("report", &search.float_on_report, &found.report),
        found.model
    )
}

/// The quantizers of every node that has some.
fn widths(row: &TrainedRow) -> BTreeMap<&String, Vec<(&'static str, &Quantizer)>> {
    let nodes = row.quantizers.iter().map(|(node, NodeQuantizers { kernel, bias, activation })| {
        let named = [(KERNEL, kernel), (BIAS, bias), (ACTIVATION, activation)];
        let named = named.into_iter().filter_map(|(name, quantizer)| Some((name, quantizer.as_ref()?)));
        (node, named.collect::<Vec<_>>())
    });
    nodes.filter(|(_, named)| !named.is_empty()).collect()
}

fn quantizers_table(row: &TrainedRow) -> Table {
    let mut columns = vec![Column::words("layer")];
    columns.extend([KERNEL, BIAS, ACTIVATION].map(Column::words));
    columns.push(Column::number("output channels, where they differ", 0));
    let nodes: std::collections::BTreeSet<&String> =
        row.quantizers.keys().chain(row.outputs.keys()).collect();
    let cells = nodes.into_iter().map(|node| {
        let quantizers = row.quantizers.get(node).cloned().unwrap_or_default();
        let spelled = |quantizer: Option<Quantizer>| {
            quantizer.map_or(Cell::Nothing, |quantizer| Cell::Words(quantizer.spelling()))
        };
        vec![
            Cell::words(node),
            spelled(quantizers.kernel),
            spelled(quantizers.bias),
            spelled(quantizers.activation),
            Cell::number(row.outputs.get(node).map(|outputs| *outputs as f64)),
        ]
    });
    Table::new("Quantizers by layer, as QKeras spells them", columns).fill(ROWS_MAX, cells)
}
