//! Every file in `configs/` is one that bitloop can use.

use std::fs;
use std::path::Path;

use bitloop_core::graph::{Graph, Input, Shape};
use bitloop_core::spec::{Dataset, ExperimentSpec, ProbesSpec, StageSpec, TrainSpec};
use bitloop_quant::model::Model;
use bitloop_quant::zoo;
use bitloop_search::autoqkeras::BlockSearch;
use bitloop_tests::{files, root};

#[test]
fn every_config_parses() {
    let paths = files(&root().join("configs"), ".yaml");
    assert!(!paths.is_empty(), "configs/ holds experiments");
    for path in paths {
        let text = fs::read_to_string(&path).expect("configs are text");
        let is_training = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("train_"));
        let parsed = if path.starts_with(root().join("configs/probes")) {
            ProbesSpec::parse(&text).map(|spec| format!("{} probes", spec.probes.len()))
        } else if is_training {
            TrainSpec::parse(&text).map(|spec| spec.name)
        } else {
            ExperimentSpec::parse(&text).map(|spec| spec.name)
        };
        if let Err(error) = parsed {
            panic!("{}:\n{error}", path.display());
        }
    }
}

/// The network beside its searches; of one that is not shipped what its training file describes.
fn graph(folder: &Path, checkpoint: &str) -> Graph {
    if let Ok(model) = Model::load(&folder.join(checkpoint)) {
        return model.graph;
    }
    let training = checkpoint.replace(".safetensors", ".yaml");
    let text = fs::read_to_string(folder.join(format!("train_{training}"))).expect("a training file");
    let spec = TrainSpec::parse(&text).expect("a training file that parses");
    let classes = match spec.data.dataset {
        Dataset::Cifar10 => 10,
        Dataset::Cifar100 => 100,
        other => panic!("the network for {} is to be shipped", other.as_str()),
    };
    let input = Input { shape: Shape::image(3, 32, 32), mean: vec![0.0; 3], std: vec![1.0; 3] };
    zoo::build(&spec.architecture, &spec.name, input, classes).expect("a network of the family")
}

#[test]
fn every_search_that_trains_fits_its_network() {
    let folder = root().join("configs/autoqkeras");
    let mut searches = 0;
    for path in files(&folder, ".yaml") {
        let text = fs::read_to_string(&path).expect("configs are text");
        let Ok(spec) = ExperimentSpec::parse(&text) else { continue };
        let graph = graph(&folder, spec.model.file());
        for stage in &spec.stages {
            let StageSpec::AutoQKeras(plan) = stage else { panic!("{}: {stage:?}", path.display()) };
            let search = BlockSearch::new(plan, &graph).expect("a search that fits");

            let forecast = search.forecast(1000).expect("a forecast");

            // QTools's energies of these networks with int8 weights and int32 results, in picojoules.
            // Of the first two QTools itself says so; of the others no more than this model.
            let reference = match graph.name.as_str() {
                "fashion_mnist" => 1_103_195.0,
                "mnist" => 574_175.0,
                "cifar10" => 2_097_988.0,
                "cifar100" => 2_725_740.0,
                other => panic!("{other} has no price here"),
            };
            // Of what a device takes nobody knows anything beforehand: there the forecast goes by bits.
            let is_measured = text.contains("type: measured");
            let expected = if is_measured { (forecast.reference, "bits") } else { (reference, "pJ") };
            assert_eq!((forecast.reference, forecast.unit), expected, "{}", path.display());
            assert!(forecast.blocks.iter().all(|block| block.cost > 0.0), "{}", path.display());
            assert_eq!(forecast.warnings, Vec::<String>::new(), "{}", path.display());
            searches += 1;
        }
    }
    assert_eq!(searches, 9, "searches that train are shipped");
}
