//! Every file in `configs/` is one that bitloop can use.

use std::fs;

use bitloop_core::spec::{ExperimentSpec, StageSpec, TrainSpec};
use bitloop_quant::model::Model;
use bitloop_search::autoqkeras::BlockSearch;
use bitloop_tests::{files, root};

#[test]
fn every_config_parses() {
    let paths = files(&root().join("configs"), ".yaml");
    assert!(!paths.is_empty(), "configs/ holds experiments");
    for path in paths {
        let text = fs::read_to_string(&path).expect("configs are text");
        let is_training = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("train_"));
        let parsed = if is_training {
            TrainSpec::parse(&text).map(|spec| spec.name)
        } else {
            ExperimentSpec::parse(&text).map(|spec| spec.name)
        };
        if let Err(error) = parsed {
            panic!("{}:\n{error}", path.display());
        }
    }
}

#[test]
fn every_search_that_trains_fits_its_network() {
    let folder = root().join("configs/autoqkeras");
    let mut searches = 0;
    for path in files(&folder, ".yaml") {
        let text = fs::read_to_string(&path).expect("configs are text");
        let Ok(spec) = ExperimentSpec::parse(&text) else { continue };
        let model = Model::load(&folder.join(spec.model.file())).expect("the network is beside its searches");
        for stage in &spec.stages {
            let StageSpec::AutoQKeras(plan) = stage else { panic!("{}: {stage:?}", path.display()) };
            let search = BlockSearch::new(plan, &model.graph).expect("a search that fits");

            let forecast = search.forecast(1000).expect("a forecast");

            // QTools's energies of these networks with int8 weights and int32 results, in picojoules.
            let reference = match model.graph.name.as_str() {
                "fashion_mnist" => 1_103_195.0,
                "mnist" => 574_175.0,
                other => panic!("{other} is no example of AutoQKeras's"),
            };
            assert_eq!((forecast.reference, forecast.unit), (reference, "pJ"), "{}", path.display());
            assert_eq!(forecast.warnings, Vec::<String>::new(), "{}", path.display());
            searches += 1;
        }
    }
    assert!(searches > 0);
}
