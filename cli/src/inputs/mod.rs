//! From an experiment file to a plan and the artifacts it names.

mod model;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitloop_core::digest::Digest;
use bitloop_core::graph::Graph;
use bitloop_core::placement::Placement;
use bitloop_core::plan::{DataPart, DataParts, Inputs, Plan, StagePlan};
use bitloop_core::spec::{
    DataSpec, ExperimentSpec, ImageSource, Mistake, Normalization, PlacementSource, SpecError,
};
use bitloop_core::state::Sources;
use bitloop_quant::data::{self, DEBIAN_FOLDER, DataError, Images, Origin, Request};
use bitloop_quant::train;

use crate::args::DatasetFolder;
use crate::failure::Failure;
use crate::show;

pub(crate) use model::load as load_model;

/// A plan with the bytes of its artifacts.
pub(crate) struct Prepared {
    pub(crate) plan: Plan,
    pub(crate) sources: Sources,
    /// Experiments with a higher one go first.
    pub(crate) priority: i32,
    pub(crate) artifacts: BTreeMap<Digest, Arc<Vec<u8>>>,
}

/// Reads an experiment file and everything it names.
///
/// Errors: usage failures that name the file, the place in it and what to do.
pub(crate) fn prepare(path: &Path, datasets: &DatasetFolder) -> Result<Prepared, Failure> {
    let spec = read_spec(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let loaded = model::load(&spec.model, folder)?;
    loaded.remarks().iter().for_each(|remark| show::note(remark));
    let (model_path, mut model) = (loaded.path, loaded.model);
    if let Some(normalization) = &spec.data.normalize {
        normalize(&mut model.graph, normalization).map_err(|error| Failure::in_file(path, &error))?;
    }
    // Equal models have equal bytes, so a model file that is used as it is keeps the digest of the file.
    let bytes = model.to_bytes()?;
    let model_digest = Digest::of(&bytes);
    let read = |data: &DataSpec| images(data, &model.graph, datasets, folder);
    let mut parts = Parts {
        artifacts: BTreeMap::from([(model_digest, Arc::new(bytes))]),
        sources: Sources::from([(model_path.display().to_string(), model_digest)]),
    };
    let data = split_data(&spec.data, read, &mut parts)?;
    let Parts { mut artifacts, sources } = parts;
    let placement = match &spec.quantization {
        Some(quantization) => placement(&quantization.placement, folder)?,
        None => Placement::default(),
    };
    let inputs = Inputs { model: model_digest, graph: model.graph, data, placement };
    let plan = Plan::new(&spec, inputs).map_err(|error| Failure::in_file(path, &error))?;
    let mut mistakes = bitloop_search::check(&plan);
    if plan.stages.iter().any(|stage| matches!(stage, StagePlan::AutoQKeras(_)))
        && let Err(error) = train::check(&plan.graph)
    {
        let hint = "a search that trains needs a network that can be trained here".to_owned();
        mistakes.push(Mistake { path: "model".to_owned(), problem: error.to_string(), hint });
    }
    if !mistakes.is_empty() {
        return Err(Failure::in_file(path, &SpecError { mistakes }));
    }
    for warning in bitloop_search::warnings(&plan) {
        show::note(&format!("warning: {warning}"));
    }
    artifacts.retain(|digest, _| plan.artifacts().contains(digest));
    Ok(Prepared { plan, sources, priority: spec.priority, artifacts })
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

/// Reads the images as the model takes them, and says when it took decoding to get them.
fn images(
    spec: &DataSpec,
    graph: &Graph,
    datasets: &DatasetFolder,
    beside: &Path,
) -> Result<Images, Failure> {
    let (folders, cache) = (dataset_folders(datasets, beside), datasets.cache());
    let request = Request {
        spec,
        beside,
        folders: &folders,
        cache: cache.as_deref(),
        shape: &graph.input.shape,
        classes: classes(graph)?,
    };
    let loaded = data::read(&request)
        .and_then(|loaded| loaded.images.check_shape(&graph.input.shape).map(|()| loaded))
        .map_err(|error| Failure::usage(format!("data: {error}")))?;
    let count = loaded.images.len();
    match loaded.origin {
        Origin::DataSet | Origin::Cache(_) | Origin::Decoded { kept: None } => {}
        Origin::Decoded { kept: Some(Ok(entry)) } => {
            show::note(&format!("images: {count} decoded, kept in {}", entry.display()));
        }
        Origin::Decoded { kept: Some(Err(error)) } => show::note(&format!(
            "warning: {count} images decoded but not kept ({error}); --image-cache names another folder"
        )),
    }
    Ok(loaded.images)
}

/// Number of classes that a network tells apart.
pub(crate) fn classes(graph: &Graph) -> Result<u32, Failure> {
    let logits = graph.logits()?;
    let shapes = graph.shapes()?;
    let shape = graph.nodes.iter().zip(&shapes).find(|(node, _)| node.name == logits).map(|(_, shape)| shape);
    Ok(u32::try_from(shape.unwrap_or(&graph.input.shape).elements())?)
}

/// Replaces how a network's input is normalized; one number stands for all channels.
fn normalize(graph: &mut Graph, normalization: &Normalization) -> Result<(), SpecError> {
    let channels = graph.input.shape.channels();
    let mut mistakes = Vec::new();
    let mut per_channel = |key: &str, numbers: &[f32]| match numbers {
        [one] => vec![*one; channels],
        several => {
            if several.len() != channels {
                mistakes.push(Mistake {
                    path: format!("data.normalize.{key}"),
                    problem: format!(
                        "has {} numbers, the model's input has {channels} channel(s)",
                        several.len()
                    ),
                    hint: "write one number per channel, or one for all".to_owned(),
                });
            }
            several.to_vec()
        }
    };
    let mean = per_channel("mean", &normalization.mean);
    let std = per_channel("std", &normalization.std);
    if !mistakes.is_empty() {
        return Err(SpecError { mistakes });
    }
    graph.input.mean = mean;
    graph.input.std = std;
    Ok(())
}

/// What an experiment's files turned out to hold, by digest and by name.
struct Parts {
    artifacts: BTreeMap<Digest, Arc<Vec<u8>>>,
    sources: Sources,
}

impl Parts {
    /// Keeps some of the images; none are no source.
    fn keep(&mut self, images: &Images, indices: &[usize], name: String) -> Result<DataPart, Failure> {
        let bytes = images.subset(indices)?.to_bytes();
        let digest = Digest::of(&bytes);
        if !indices.is_empty() {
            self.sources.insert(name, digest);
        }
        self.artifacts.insert(digest, Arc::new(bytes));
        Ok(DataPart { digest, images: indices.len() as u64 })
    }
}

/// Reads the images and splits them; those to learn from come from a file of their own where there is one.
fn split_data(
    spec: &DataSpec,
    read: impl Fn(&DataSpec) -> Result<Images, Failure>,
    parts: &mut Parts,
) -> Result<DataParts, Failure> {
    let refused = |error: DataError| Failure::usage(format!("data: {error}"));
    let images = read(spec)?;
    let split = data::split(images.len(), spec).map_err(refused)?;
    let name = |part: &str| format!("{} {part} images", data_name(spec));
    let calibration = parts.keep(&images, &split.calibration, name("calibration"))?;
    let selection = parts.keep(&images, &split.selection, name("selection"))?;
    let report = parts.keep(&images, &split.report, name("report"))?;
    let training = match (spec.training, spec.training_file()) {
        (None, _) => None,
        (Some(_), None) => Some(parts.keep(&images, &split.training, name("training"))?),
        (Some(_), Some(file)) => {
            let images = read(&file)?;
            let chosen = data::training_images(images.len(), &file).map_err(refused)?;
            Some(parts.keep(&images, &chosen, format!("{} training images", data_name(&file)))?)
        }
    };
    Ok(DataParts { calibration, selection, report, training })
}

/// What messages call the images of an experiment.
fn data_name(spec: &DataSpec) -> String {
    match &spec.source {
        ImageSource::Dataset { dataset, split } => format!("{}/{}", dataset.as_str(), split.as_str()),
        ImageSource::Idx { images, .. } | ImageSource::Folder { images, .. } => images.clone(),
    }
}

#[cfg(test)]
mod tests {
    use bitloop_core::graph::{Input, Shape};

    use super::*;

    fn graph() -> Graph {
        Graph::new("x", Input { shape: Shape::image(3, 2, 2), mean: vec![0.0; 3], std: vec![1.0; 3] })
    }

    #[test]
    fn a_normalization_replaces_that_of_the_model() {
        let mut graph = graph();

        normalize(&mut graph, &Normalization { mean: vec![0.5], std: vec![0.1, 0.2, 0.3] }).unwrap();

        assert_eq!((graph.input.mean, graph.input.std), (vec![0.5; 3], vec![0.1, 0.2, 0.3]));
    }

    #[test]
    fn a_normalization_for_other_channels_is_refused() {
        let mut graph = graph();
        let wrong = Normalization { mean: vec![0.5; 2], std: vec![0.1; 4] };

        let error = normalize(&mut graph, &wrong).unwrap_err().to_string();

        assert!(error.contains("data.normalize.mean: has 2 numbers"), "{error}");
        assert!(error.contains("data.normalize.std: has 4 numbers"), "{error}");
        assert_eq!(graph.input.mean, [0.0; 3]);
    }
}
