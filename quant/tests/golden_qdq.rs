//! Networks that come with quantizers (`../shared/reference/aimet/net_*/export/*_qdq.onnx`): their encodings go through
//! import, model file, preparation and its artifact unchanged, and simulated they give the outputs of ONNX Runtime.

mod common;

use bitloop_core::bits::Bits;
use bitloop_core::placement::Placement;
use bitloop_quant::model::Model;
use bitloop_quant::onnx::{ImportOptions, Imported, import_file};
use common::given::Given;
use common::{nets, values};
use std::io::Write as _;

/// Absolute, of outputs, as the data's README states; more for activations of 16 bit.
const TOLERANCE: f32 = 1e-4;
const FINE_TOLERANCE: f32 = 1e-3;
/// Share of outputs that must lie within the tolerance; rounding at ties moves the others by up to two steps.
const SHARE: f64 = 0.95;

const RULES: &str = include_str!("../../core/tests/rules/default_config.yaml");

/// Asserts that every encoding of the file is in the model, but for those that are named with a reason.
fn check_import(imported: &Imported, name: &str) {
    for (point, theirs) in &imported.encodings {
        if let Some(reason) = imported.left_out.get(point) {
            eprintln!("{name}: {point} is left out: {reason}");
            assert!(point.ends_with(".bias"), "{name}: {point} is left out: {reason}");
            continue;
        }
        let ours = &imported.model.encodings[point];
        assert_eq!(ours.scale(), theirs.scale, "{name}: {point}");
        let zero_points: Vec<i32> = ours.offset().iter().map(|offset| -offset).collect();
        assert_eq!(zero_points, theirs.zero_point, "{name}: {point}");
        assert_eq!(ours.grid().bits().map(Bits::get), Some(theirs.element.bits()), "{name}: {point}");
    }
}

#[test]
fn golden_encodings_of_a_file_are_those_that_are_simulated() {
    for net in nets() {
        let Ok(folder) = std::fs::read_dir(net.folder.join("export")) else {
            drop(writeln!(std::io::stderr(), "skipped: {} has no exports", net.name));
            continue;
        };
        let paths = folder.map(|entry| entry.expect("the folder can be listed").path());
        for path in paths.filter(|path| path.to_string_lossy().ends_with("_qdq.onnx")) {
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            let imported = import_file(&path, &ImportOptions::default()).expect("the file is read");
            check_import(&imported, &name);
            let bytes = imported.model.to_bytes().expect("the model is valid");
            let model = Model::from_bytes(&bytes).expect("its file is read");
            assert_eq!(model.encodings, imported.model.encodings, "{name}");

            let points = Placement::parse(RULES).expect("the rules file has no mistake").points(&model.graph);
            let given = Given::new(&name, &model, points.expect("the network is right"));

            let ours = given.output(&net.x_eval());
            let (ours, theirs) = (values(&ours), values(net.tensor(&format!("60_ort/{name}"))));
            let differences: Vec<f32> = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).collect();
            let output = &model.graph.output().expect("the graph has nodes").name;
            let output = &model.encodings[&format!("{output}.output")];
            let fine = output.grid().bits().is_some_and(|bits| bits.get() == 16);
            let tolerance = if fine { FINE_TOLERANCE } else { TOLERANCE };
            let near = differences.iter().filter(|difference| **difference <= tolerance).count();
            let worst = differences.iter().copied().fold(0.0, f32::max);
            eprintln!(
                "{name}: {} encodings kept, {near} of {} outputs within {tolerance}, worst {worst}",
                model.encodings.len(),
                ours.len()
            );
            assert!(near as f64 >= SHARE * ours.len() as f64, "{name}");
            assert!(worst <= 2.0 * output.scale()[0] + TOLERANCE, "{name}: {worst}");
        }
    }
}
