//! From an experiment file to a plan and the artifacts it names.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitloop_core::digest::Digest;
use bitloop_core::placement::Placement;
use bitloop_core::plan::{DataPart, DataParts, Inputs, Plan};
use bitloop_core::spec::{Dataset, ExperimentSpec, PlacementSource, Split};
use bitloop_core::state::Sources;
use bitloop_quant::data::{self, DEBIAN_FOLDER, Images};
use bitloop_quant::model::Model;

use crate::args::DatasetFolder;
use crate::failure::Failure;

/// A plan with the bytes of its artifacts.
pub(crate) struct Prepared {
    pub(crate) plan: Plan,
    pub(crate) sources: Sources,
    pub(crate) artifacts: BTreeMap<Digest, Arc<Vec<u8>>>,
}

/// Reads an experiment file and everything it names.
///
/// Errors: usage failures that name the file, the place in it and what to do.
pub(crate) fn prepare(path: &Path, datasets: &DatasetFolder) -> Result<Prepared, Failure> {
    let spec = read_spec(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let model_path = folder.join(&spec.checkpoint);
    let bytes = fs::read(&model_path).map_err(|error| {
        Failure::usage(format!(
            "model.checkpoint: cannot read {}: {error}; the path starts at the experiment file's folder",
            model_path.display()
        ))
    })?;
    let model = Model::from_bytes(&bytes)
        .map_err(|error| Failure::usage(format!("{}: {error}", model_path.display())))?;
    let model_digest = Digest::of(&bytes);
    let images = data::load(spec.data.dataset, spec.data.split, &dataset_folders(datasets, folder))
        .and_then(|images| images.check_shape(&model.graph.input.shape).map(|()| images))
        .map_err(|error| Failure::usage(format!("data: {error}")))?;
    let mut artifacts = BTreeMap::from([(model_digest, Arc::new(bytes))]);
    let mut sources = Sources::from([(model_path.display().to_string(), model_digest)]);
    let data = split_data(&spec, &images, &mut artifacts, &mut sources)?;
    let inputs = Inputs { model: model_digest, graph: model.graph, data };
    let plan = Plan::new(&spec, inputs).map_err(|error| Failure::in_file(path, &error))?;
    artifacts.retain(|digest, _| plan.artifacts().contains(digest));
    Ok(Prepared { plan, sources, artifacts })
}

/// Reads and checks an experiment file alone.
///
/// Errors: a usage failure with every mistake in it.
pub(crate) fn read_spec(path: &Path) -> Result<ExperimentSpec, Failure> {
    ExperimentSpec::parse(&read_text(path)?).map_err(|error| Failure::in_file(path, &error))
}

/// Reads the rules by which points are placed; a relative path starts at `folder`.
///
/// Errors: a usage failure with every mistake in the file.
pub(crate) fn placement(source: &PlacementSource, folder: &Path) -> Result<Placement, Failure> {
    match source {
        PlacementSource::Preset(name) => {
            Ok(Placement::preset(name).expect("a preset is named after built-in rules"))
        }
        PlacementSource::File(file) => {
            let path = folder.join(file);
            Placement::parse(&read_text(&path)?).map_err(|error| Failure::in_file(&path, &error))
        }
    }
}

/// Reads a text file.
///
/// Errors: a usage failure that names it.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
}

/// Where data sets are looked for, in this order.
pub(crate) fn dataset_folders(datasets: &DatasetFolder, beside: &Path) -> Vec<PathBuf> {
    let given = [&datasets.dataset_dir, &datasets.from_environment];
    let given = given.into_iter().flatten().cloned();
    given.chain([PathBuf::from(DEBIAN_FOLDER), beside.join("quickstart")]).collect()
}

fn split_data(
    spec: &ExperimentSpec,
    images: &Images,
    artifacts: &mut BTreeMap<Digest, Arc<Vec<u8>>>,
    sources: &mut Sources,
) -> Result<DataParts, Failure> {
    let split =
        data::split(images.len(), &spec.data).map_err(|error| Failure::usage(format!("data: {error}")))?;
    let mut part = |name: &str, indices: &[usize]| -> Result<DataPart, Failure> {
        let bytes = images.subset(indices)?.to_bytes();
        let digest = Digest::of(&bytes);
        sources.insert(format!("{} {name} images", data_name(spec)), digest);
        artifacts.insert(digest, Arc::new(bytes));
        Ok(DataPart { digest, images: indices.len() as u64 })
    };
    Ok(DataParts {
        calibration: part("calibration", &split.calibration)?,
        selection: part("selection", &split.selection)?,
        report: part("report", &split.report)?,
    })
}

fn data_name(spec: &ExperimentSpec) -> &'static str {
    match (spec.data.dataset, spec.data.split) {
        (Dataset::FashionMnist, Split::Train) => "fashion_mnist/train",
        (Dataset::FashionMnist, Split::Test) => "fashion_mnist/test",
    }
}
