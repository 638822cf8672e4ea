//! Reports on two small experiments of the quick start's network: one that sweeps, searches and verifies, one that trains.

mod markup;

use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::plan::{Amount, Limit};
use bitloop_core::probe::{Estimate, Unsteady};
use bitloop_core::report::{ConfigRow, DeviceReport, Row, RowState};
use bitloop_core::selection::OnDevice;
use bitloop_core::trial::ProbeTarget;
use bitloop_report::{Cell, Document, Material, Plot, html, markdown, svg};
use expect_test::expect_file;
use serde_json::{Value, json};

const SEARCH: &str = include_str!("material/search.json");
/// The search with what a device took, of which all kinds of measurements are there.
fn measured() -> Material {
    let mut material = read(SEARCH);
    let device = include_str!("material/device.json");
    material.report.devices.push(serde_json::from_str(device).expect("what was measured on a device"));
    material
}

const TRAINING: &str = include_str!("material/training.json");

fn read(text: &str) -> Material {
    serde_json::from_str(text).expect("the material of a report")
}

fn document(text: &str) -> Document {
    Document::new(&read(text))
}

#[test]
fn what_is_said_of_a_device_is_what_was_said_before() {
    let document = Document::new(&measured());
    let sections = document.sections.iter().filter(|section| section.id.starts_with("device-")).cloned();
    let document = Document { sections: sections.collect(), ..document };

    let ids: Vec<&str> = document.sections.iter().map(|section| section.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "device-1",
            "device-1-front-1",
            "device-1-finalists",
            "device-1-additivity",
            "device-1-layers",
            "device-1-fidelity",
            "device-1-environment"
        ]
    );
    expect_file!["snapshots/device.md"].assert_eq(&markdown(&document));
    let page = html(&document);
    assert!(markup::read(&page).is_ok());
    specs(&page).iter().for_each(|spec| assert_fields(spec, &BTreeSet::new()));
    assert!(markup::read_xml(&svg(&document).unwrap()).is_ok());
}

#[test]
fn networks_that_the_table_was_made_of_are_drawn_apart_from_those_that_test_it() {
    let document = Document::new(&measured());

    let section = document.sections.iter().find(|section| section.id == "device-1-additivity").unwrap();
    let plot = section.chart.as_ref().map(|chart| &chart.plot);
    let Some(Plot::Scatter(scatter)) = plot else { panic!("no marks: {plot:?}") };
    let names = |series: &str| {
        let marks = scatter.marks.iter().filter(|mark| mark.series == series);
        marks.map(|mark| mark.name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(names("part of the table"), ["baseline W8A8", "W4A8"]);
    let tests = ["mixed 1: 1 point at 4 bits", "finalist 1: 1 point at 4 bits"];
    assert_eq!((names("sum of layers"), names("corrected model")), (tests.to_vec(), tests.to_vec()));
    assert_eq!(scatter.series, ["corrected model", "sum of layers", "part of the table"]);
}

/// Two devices, and a search within limits on both.
fn fleet() -> Material {
    let mut material = measured();
    let device = material.report.devices[0].clone();
    let on = BTreeMap::from([("board".to_owned(), "orin".to_owned())]);
    let target = ProbeTarget { probe: "integer".to_owned(), on, class: None };
    material.report.devices.push(DeviceReport { target: target.clone(), ..device.clone() });
    let limit = |at_most, target: &ProbeTarget| Limit {
        cost: "latency_ms".to_owned(),
        at_most,
        target: Some(target.clone()),
    };
    let search = &mut material.report.searches[0];
    // The baseline takes 2 ms.
    search.plan.limits =
        vec![limit(Amount::Of(2.5), &device.target), limit(Amount::OfBaselinePpm(900_000), &target)];
    search.top.truncate(5);
    let estimate = |[median, low, high]: [f64; 3]| Estimate { median, low, high };
    let taken = [
        [Some([2.3, 2.2, 2.6]), Some([1.5, 1.4, 1.6])],
        [Some([2.4, 2.3, 2.5]), Some([1.7, 1.6, 1.8])],
        [Some([2.2, 2.1, 2.3]), Some([1.9, 1.7, 2.0])],
        [Some([2.2, 2.1, 2.3]), None],
        [Some([2.0, 1.9, 2.1]), Some([1.2, 1.1, 1.3])],
    ];
    for (top, taken) in search.top.iter_mut().zip(taken) {
        let targets = [&device.target, &target].into_iter().zip(taken);
        top.devices = targets
            .map(|(target, measured)| OnDevice {
                energy_source: None,
                target: target.clone(),
                cost: "latency_ms".to_owned(),
                predicted: estimate([2.0, 1.5, 2.5]),
                measured: measured.map(estimate),
                unsteady: Vec::new(),
            })
            .collect();
    }
    search.top[4].devices[1].unsteady = vec![Unsteady::Busy(0.5)];
    material
}

#[test]
fn choices_for_several_devices_stand_in_one_table_beside_their_limits() {
    let document = Document::new(&fleet());
    let sections = document.sections.iter().filter(|section| section.id == "devices").cloned();
    let document = Document { sections: sections.collect(), ..document };

    expect_file!["snapshots/fleet.md"].assert_eq(&markdown(&document));
    let [section] = document.sections.as_slice() else { panic!("one section") };
    let table = section.table.as_ref().unwrap();
    let verdicts: Vec<&Cell> = table.rows.iter().filter_map(|row| row.last()).collect();
    let expected = [
        "kept by medians alone",
        "kept with whole intervals",
        "not kept",
        "not measured everywhere",
        "measured unsteadily",
    ];
    assert_eq!(verdicts, expected.map(|words| Cell::Words(words.to_owned())).iter().collect::<Vec<_>>());
    let alone = Document::new(&measured());
    assert!(alone.sections.iter().all(|section| section.id != "devices"), "there is one device");
}

/// The charts' specifications, as they stand in the page.
fn specs(page: &str) -> Vec<Value> {
    let (_, rest) = page.split_once("id=\"charts\"").expect("charts");
    let (_, rest) = rest.split_once('>').expect("an element");
    let (json, _) = rest.split_once("</script>").expect("an element");
    serde_json::from_str(json).expect("specifications are JSON")
}

#[test]
fn what_is_said_of_a_search_is_what_was_said_before() {
    let document = document(SEARCH);
    expect_file!["snapshots/search.md"].assert_eq(&markdown(&document));
    expect_file!["snapshots/search.json"].assert_eq(&document.to_json());
}

#[test]
fn what_is_said_of_a_training_is_what_was_said_before() {
    let document = document(TRAINING);
    expect_file!["snapshots/training.md"].assert_eq(&markdown(&document));
    expect_file!["snapshots/training.json"].assert_eq(&document.to_json());
}

#[test]
fn a_document_has_the_fields_that_programs_rely_on() {
    let value: Value = serde_json::from_str(&document(SEARCH).to_json()).unwrap();

    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&value), ["experiment", "format", "is_going", "made", "sections", "status"]);
    assert_eq!(value["format"], 1);
    for section in value["sections"].as_array().unwrap() {
        assert_eq!(keys(section), ["chart", "id", "table", "text", "title"]);
        let table = &section["table"];
        if !table.is_null() {
            assert_eq!(keys(table), ["caption", "columns", "left_out", "rows"]);
            let columns = table["columns"].as_array().unwrap().len();
            assert!(
                table["rows"].as_array().unwrap().iter().all(|row| row.as_array().unwrap().len() == columns)
            );
        }
    }
}

#[test]
fn every_kind_of_chart_is_in_these_reports() {
    let sections = [SEARCH, TRAINING].map(document).map(|document| document.sections).concat();
    let kind = |plot: &Plot| match plot {
        Plot::Bars(_) => "bars",
        Plot::Heat(_) => "heat",
        Plot::Scatter(_) => "scatter",
        Plot::Timeline(_) => "timeline",
    };
    let kinds: BTreeSet<&str> =
        sections.iter().filter_map(|section| section.chart.as_ref()).map(|chart| kind(&chart.plot)).collect();
    assert_eq!(kinds, BTreeSet::from(["bars", "heat", "scatter", "timeline"]));
}

#[test]
fn pages_are_one_well_formed_document_whose_links_lead_somewhere() {
    for document in [SEARCH, TRAINING].map(document) {
        let page = html(&document);
        let found = markup::read(&page).unwrap_or_else(|problem| panic!("{problem}"));

        for element in ["html", "head", "body", "main", "title", "header", "footer"] {
            assert_eq!(found.count(element), 1, "{element}");
        }
        assert_eq!(found.count("section"), document.sections.len());
        assert_eq!(found.count("script"), 5, "charts, three libraries, and what draws");
        assert_eq!(found.ids.iter().collect::<BTreeSet<_>>().len(), found.ids.len(), "ids differ");
        for link in &found.links {
            let target = link.strip_prefix('#').unwrap_or_else(|| panic!("{link} leads elsewhere"));
            assert!(found.ids.iter().any(|id| id == target), "{link} leads nowhere");
        }
    }
}

#[test]
fn each_chart_has_its_place_and_encodes_fields_that_its_data_have() {
    for document in [SEARCH, TRAINING].map(document) {
        let page = html(&document);
        let specs = specs(&page);

        assert_eq!(specs.len(), document.sections.iter().filter(|section| section.chart.is_some()).count());
        for (index, spec) in specs.iter().enumerate() {
            assert!(page.contains(&format!("id=\"chart-{index}\"")));
            assert!(spec["description"].as_str().is_some_and(|text| !text.is_empty()), "it is described");
            assert_fields(spec, &BTreeSet::new());
        }
    }
}

/// Checks that fields are those of the rows at hand, down to the layers.
fn assert_fields(spec: &Value, inherited: &BTreeSet<String>) {
    let rows = spec["data"]["values"].as_array();
    let own = rows.map(|rows| {
        assert!(!rows.is_empty(), "a chart has data");
        rows.iter()
            .flat_map(|row| row.as_object().into_iter().flat_map(serde_json::Map::keys).cloned())
            .collect::<BTreeSet<_>>()
    });
    let known = own.as_ref().unwrap_or(inherited);
    let layers = spec["layer"].as_array();
    if layers.is_none() {
        assert!(!known.is_empty(), "a layer has data");
        let fields = ["encoding", "transform"].into_iter().flat_map(|part| fields(&spec[part]));
        for field in fields {
            assert!(known.contains(&field), "there is no `{field}` among {known:?}");
        }
    }
    layers.into_iter().flatten().for_each(|layer| assert_fields(layer, known));
}

fn fields(value: &Value) -> Vec<String> {
    match value {
        Value::Object(object) => {
            let own = object.get("field").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(object.values().flat_map(fields)).collect()
        }
        Value::Array(values) => values.iter().flat_map(fields).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// What somebody may call a point, a file, a worker or a reason in order to be more than text.
const HOSTILE: [&str; 5] = [
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>",
    "'\"><svg onload=alert(3)>",
    "<!--<script>",
    "a|b`c` [x](javascript:alert(4)) ![y](http://example.org/y.png)",
    "\u{202e}\u{0}\u{7}<b>",
];

/// The search with hostile names in all places where names and words of others stand.
fn hostile() -> Material {
    let name = |which: usize| {
        let json = Value::from(HOSTILE[which]).to_string();
        json.trim_matches('"').to_owned()
    };
    let names = [
        ("conv2d_0_0", 0),
        ("conv2d_0_1", 1),
        ("conv2d_2_1", 2),
        ("act_0_0", 3),
        ("act_1_0", 4),
        ("small-2ea48b4a", 0),
        ("worker-1", 1),
        ("fashion_mnist/test", 0),
        ("AMD EPYC avx512", 2),
        ("convblock.safetensors", 3),
    ];
    let mut text = SEARCH.to_owned();
    for (from, which) in names {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, &name(which));
    }
    let mut material = read(&text);
    let failed = |which: usize| RowState::Failed { reason: HOSTILE[which].to_owned() };
    material.report.rows[0].result = failed(0);
    material.report.configs[0].result = failed(4);
    material.report.searches[0].notes.extend(HOSTILE.map(str::to_owned));
    material.standing.reason = HOSTILE[0].to_owned();
    material.report.status = "failed".to_owned();
    for (event, words) in material.chronicle.events.iter_mut().zip(HOSTILE) {
        (event.kind, event.text) = (words.to_owned(), words.to_owned());
    }
    material.made.by = HOSTILE[0].to_owned();
    material
}

#[test]
fn a_page_of_hostile_names_is_only_text() {
    let document = Document::new(&hostile());
    let page = html(&document);
    let found = markup::read(&page).unwrap_or_else(|problem| panic!("{problem}"));

    assert_eq!(found.count("script"), 5);
    for element in ["img", "svg", "b", "iframe", "object", "link", "base", "form"] {
        assert_eq!(found.count(element), 0, "{element}");
    }
    assert_eq!(found.handlers, Vec::<String>::new(), "nothing happens by itself");
    assert!(found.links.iter().all(|link| link.starts_with('#')), "{:?}", found.links);
    assert!(page.contains("&lt;img src=x onerror=alert(2)&gt;"), "the names are shown");
    let charts = specs(&page).into_iter().map(|spec| spec.to_string()).collect::<String>();
    assert!(charts.contains("onerror=alert(2)"), "the names are drawn");
}

#[test]
fn scripts_run_only_with_a_word_that_depends_on_the_document() {
    let (one, other) = (html(&document(SEARCH)), html(&document(TRAINING)));
    let nonce = |page: &str| {
        let (_, rest) = page.split_once("script-src 'nonce-").expect("a policy");
        rest.split_once('\'').expect("its end").0.to_owned()
    };
    assert_ne!(nonce(&one), nonce(&other));
    assert_eq!(one.matches(&format!("nonce=\"{}\"", nonce(&one))).count(), 5);
    assert!(one.contains("default-src 'none'") && !one.contains("unsafe-eval"));
}

#[test]
fn pictures_and_markdown_of_hostile_names_are_only_text() {
    let document = Document::new(&hostile());

    let picture = svg(&document).unwrap();
    let found = markup::read_xml(&picture).unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!((found.count("script"), found.count("img"), found.count("svg")), (0, 0, 1));
    assert!(!picture.chars().any(|character| character.is_control() && character != '\n'));

    let text = markdown(&document);
    let marked = text.replace("\\[", "").replace("\\]", "");
    assert!(
        !text.contains('<') && !marked.contains("](") && !marked.contains("![") && !text.contains("http://"),
        "{text}"
    );
    let columns = |line: &str| line.replace("\\|", "").matches('|').count();
    let lines: Vec<&str> = text.lines().collect();
    for pair in lines.windows(2).filter(|pair| pair.iter().all(|line| line.starts_with('|'))) {
        assert_eq!(columns(pair[0]), columns(pair[1]), "{pair:#?}");
    }
}

/// The search with many more points, pairs and larger sets than it has.
fn large() -> Material {
    let mut material = read(SEARCH);
    let row = material
        .report
        .rows
        .iter()
        .find(|row| row.result.measured().is_some())
        .expect("a measured point")
        .clone();
    let pair = material.report.configs.iter().find(|row| row.changes.len() == 2).expect("a pair").clone();
    let name = |index: usize| format!("a_layer_with_a_rather_long_name.block_{index}.weight");
    let mut point = material.plan.points[0].clone();
    material.report.rows = (0..2_000).map(|index| Row { point: name(index), ..row.clone() }).collect();
    material.plan.points.extend((0..2_000).map(|index| {
        point.name = name(index);
        point.clone()
    }));
    let configs = (0..6_000).map(|index| {
        let lowered = [index % 2_000, (index * 7 + 1) % 2_000].map(|index| (name(index), row.bits));
        ConfigRow { changes: lowered.into(), ..pair.clone() }
    });
    material.report.configs = configs.collect();
    material
}

#[test]
fn a_large_experiment_takes_a_page_of_a_bounded_size_that_says_what_is_left_out() {
    let document = Document::new(&large());

    for section in &document.sections {
        if let Some(table) = &section.table {
            assert!(table.rows.len() <= 400, "{}", section.id);
        }
        match section.chart.as_ref().map(|chart| &chart.plot) {
            Some(Plot::Bars(bars)) => {
                let names: BTreeSet<&str> = bars.bars.iter().map(|bar| bar.name.as_str()).collect();
                assert!(names.len() <= 250, "{}", section.id);
            }
            Some(Plot::Heat(heat)) => assert!(heat.names.len() <= 40, "{}", section.id),
            Some(Plot::Scatter(scatter)) => assert!(scatter.marks.len() <= 1_000, "{}", section.id),
            Some(Plot::Timeline(_)) | None => {}
        }
    }
    let section = |id: &str| document.sections.iter().find(|section| section.id == id).unwrap();
    assert!(section("sensitivity-weight").text.iter().any(|text| text.contains("other points")));
    assert_eq!(section("sensitivity-weight").table.as_ref().unwrap().left_out, 1_600);
    assert!(
        section("pairs").text.iter().any(|text| text.contains("pairs are drawn")),
        "{:?}",
        section("pairs").text
    );
    let libraries = html(&self::document(SEARCH)).len();
    let page = html(&document);
    assert!(page.len() < libraries + 3_000_000, "{} bytes", page.len());
    assert!(markup::read(&page).is_ok());
    assert!(svg(&document).unwrap().len() < 3_000_000);
}

#[test]
fn a_report_on_an_experiment_under_way_says_so() {
    let mut material = read(SEARCH);
    material.report.status = "active".to_owned();
    material.standing.stage = "search".to_owned();
    material.report.searches[0].is_over = false;

    let document = Document::new(&material);

    assert!(document.is_going);
    assert!(document.sections[0].text[0].contains("still going in its stage “search”"));
    assert!(html(&document).contains("still going") && markdown(&document).contains("still going"));
}

#[test]
fn an_experiment_of_which_nothing_is_measured_has_a_report() {
    let mut material = read(SEARCH);
    let report = &mut material.report;
    report.status = "active".to_owned();
    (report.float, report.baseline, report.prepared) = (RowState::Open, RowState::Open, None);
    report.rows.iter_mut().for_each(|row| row.result = RowState::Open);
    report.configs.clear();
    report.searches.iter_mut().for_each(|search| search.top.clear());
    report.verified = None;
    material.chronicle = Default::default();

    let document = Document::new(&material);

    assert!(markup::read(&html(&document)).is_ok() && markup::read_xml(&svg(&document).unwrap()).is_ok());
    let text = markdown(&document);
    assert!(text.contains("has found nothing so far") && text.contains("keeps nothing of when"), "{text}");
    for spec in specs(&html(&document)) {
        assert_fields(&spec, &BTreeSet::new());
    }
}

#[test]
fn a_search_that_trains_says_what_its_device_was_like() {
    let device = json!({
        "target": { "probe": "integer", "on": { "board": "pi5" } },
        "class": "Cortex-A76",
        "runtime": "integer, neon",
        "cost": "latency_us",
        "setting": { "batch": 1, "threads": 1, "half_width_ppm": 5000, "at_most_ms": 10000 },
        "repetitions": 3,
        "networks": 4,
        "unsteady": 0,
        "failed": 0,
        "environment": {
            "measurements": 12,
            "governors": ["performance"],
            "affinities": [[0, 2]],
            "mhz": { "least": 2350.5, "most": 2400.0 },
            "celsius": null,
            "load": null,
            "others": null,
            "more": { "throttled": ["0x0"] },
        },
        "found": null,
    });
    let mut material = read(TRAINING);
    material.report.trained[0].device = Some(serde_json::from_value(device).expect("a device of a search"));

    let document = Document::new(&material);

    let text: Vec<&String> = document.sections.iter().flat_map(|section| &section.text).collect();
    let said = text.iter().find(|text| text.starts_with("What the device was like")).expect("it is said");
    let words = [
        "over 12 measurements: ",
        "governor performance; ",
        "processors [0, 2]; ",
        "frequency 2350.50 to 2400.00 MHz; ",
        "throttled 0x0.",
    ];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
}
