//! Every file in `configs/` is one that bitloop can use.

use std::fs;

use bitloop_core::spec::{ExperimentSpec, TrainSpec};
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
