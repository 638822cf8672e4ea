//! `bitloop import`: a network from elsewhere becomes a model file.

use std::path::Path;

use bitloop_core::graph::Shape;
use bitloop_core::spec::{ModelSpec, StridesSpec};
use bitloop_quant::model::Model;
use serde_json::json;

use crate::args::{Early, ImportArguments, Output};
use crate::failure::{Failure, Outcome};
use crate::inputs;
use crate::show;

pub(super) fn execute(arguments: &ImportArguments, output: Output) -> Outcome {
    let spec = spec(arguments)?;
    let mut loaded = inputs::load_model(&spec, Path::new(""))?;
    normalize(&mut loaded.model, arguments)?;
    let model = &loaded.model;
    model.save(&arguments.out).map_err(|error| Failure::usage(error.to_string()))?;
    let graph = &model.graph;
    let macs: u64 = graph.layer_costs()?.iter().map(|layer| layer.macs).sum();
    let parameters = graph.parameters()?;
    if output == Output::Json {
        return show::json(&json!({
            "out": arguments.out,
            "name": graph.name,
            "input": graph.input,
            "nodes": graph.nodes.len(),
            "parameters": parameters,
            "macs": macs,
            "encodings": model.encodings.len(),
            "left_out": loaded.left_out,
        }));
    }
    loaded.remarks().iter().for_each(|remark| show::note(remark));
    let input = format!(
        "{}, normalized with mean {:?} and std {:?}",
        graph.input.shape, graph.input.mean, graph.input.std
    );
    show::data(&show::fields(&[
        ("written", arguments.out.display().to_string()),
        ("model", graph.name.clone()),
        ("input", input),
        ("nodes", graph.nodes.len().to_string()),
        ("parameters", show::with_thousands(parameters as u64)),
        ("MACs", show::with_thousands(macs)),
        ("encodings", model.encodings.len().to_string()),
    ]))
}

fn spec(arguments: &ImportArguments) -> Result<ModelSpec, Failure> {
    let file = arguments.file.display().to_string();
    let input = arguments.input.as_ref().map(|shape| shape.0);
    match &arguments.architecture {
        Some(architecture) => Ok(ModelSpec::Weights {
            architecture: architecture.clone(),
            file,
            input,
            strides: match arguments.strides {
                Early::Published => StridesSpec::Published,
                Early::SmallImages => StridesSpec::SmallImages,
            },
        }),
        None if arguments.strides == Early::SmallImages => {
            Err(Failure::usage("--strides small-images needs --architecture"))
        }
        None if arguments.file.extension().is_some_and(|extension| extension == "onnx") => {
            Ok(ModelSpec::Onnx { file, input })
        }
        None => Err(Failure::usage(format!(
            "{file} is not called *.onnx; weights alone do not say what they are for: add `--architecture NAME`"
        ))),
    }
}

/// Sets how the input is normalized; one number stands for all channels.
fn normalize(model: &mut Model, arguments: &ImportArguments) -> Result<(), Failure> {
    let input = &mut model.graph.input;
    let channels = Shape::channels(&input.shape);
    let per_channel = |option: &str, numbers: &[f32]| match numbers {
        [one] => Ok(vec![*one; channels]),
        several if several.len() == channels => Ok(several.to_vec()),
        several => Err(Failure::usage(format!(
            "--{option} has {} numbers, the input has {channels} channel(s); give one per channel, or one for all",
            several.len()
        ))),
    };
    if !arguments.mean.is_empty() {
        input.mean = per_channel("mean", &arguments.mean)?;
    }
    if !arguments.std.is_empty() {
        input.std = per_channel("std", &arguments.std)?;
    }
    Ok(())
}
