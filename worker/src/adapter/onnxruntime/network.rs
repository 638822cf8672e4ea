use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use bitloop_core::rng::rng;
use bitloop_quant::onnx::{Kernels, with_outputs};
use ort::memory::Allocator;
use ort::session::{IoBinding, Session};
use ort::value::{Outlet, Tensor, TensorRef, ValueType};

use super::super::images::{Output, each_block};
use super::super::{AdapterError, InferenceSetting, Inputs, Loaded};
use super::profile::{self, WARM_UP};
use super::{Runtime, Source};
use crate::clock;

/// Inferences that are taken apart by one session: at least, as it has to be made for them, and at most, as its profile lies in
/// memory.
const PROFILED_MIN: usize = 50;
const PROFILED_MAX: usize = 500;

/// Seed of the images that times are measured with.
const SEED: u64 = 8;

/// A network that is ready, its input and outputs in their places, so that nothing but inference is timed.
pub(super) struct LoadedNetwork {
    runtime: Runtime,
    file: PathBuf,
    setting: InferenceSetting,
    session: Session,
    binding: IoBinding,
    /// Inferences that were taken apart and nobody has asked for yet.
    apart: VecDeque<BTreeMap<String, f64>>,
}

impl LoadedNetwork {
    /// Makes a network ready.
    ///
    /// Errors: `Failed`, `Unable`.
    pub(super) fn new(
        runtime: Runtime,
        file: PathBuf,
        setting: InferenceSetting,
    ) -> Result<Self, AdapterError> {
        let session = runtime.session(&Source::File(&file), setting, None)?;
        let binding = bound(&session).map_err(|error| refused(&error))?;
        Ok(Self { runtime, file, setting, session, binding, apart: VecDeque::new() })
    }
}

impl Loaded for LoadedNetwork {
    fn time(&mut self, inferences: u64) -> Result<f64, AdapterError> {
        let start = clock::now();
        for _ in 0..inferences {
            self.session.run_binding(&self.binding).map_err(|error| stopped(&error))?;
        }
        Ok(clock::elapsed(start).as_secs_f64() * 1e9)
    }

    fn layers(&mut self, inferences: usize) -> Result<Vec<BTreeMap<String, f64>>, AdapterError> {
        while self.apart.len() < inferences {
            let more = (inferences - self.apart.len()).clamp(PROFILED_MIN, PROFILED_MAX);
            let more = self.taken_apart(more)?;
            self.apart.extend(more);
        }
        Ok(self.apart.drain(..inferences).collect())
    }

    fn infer(&mut self, inputs: &Inputs<'_>) -> Result<(), AdapterError> {
        // Outputs within the network may keep its nodes from being fused, so that the logits are not taken from there.
        let mut within = match inputs.nodes {
            [] => None,
            nodes => Some(self.telling(nodes)?),
        };
        let shape = input(&self.session).map_err(|error| refused(&error))?.1;
        let elements = shape.iter().product();
        let (mut output, mut index) = (Output::create(inputs.output)?, 0);
        each_block(inputs, elements, |images| {
            for image in images.chunks_exact(elements) {
                let logits = outputs(&mut self.session, &shape, image, &[]);
                let mut parts = logits.map_err(|error| stopped(&error))?;
                if let Some((session, tensors)) = &mut within {
                    let nodes = outputs(session, &shape, image, tensors);
                    parts.extend(nodes.map_err(|error| stopped(&error))?);
                }
                // Each part stands behind those of all images before it.
                let mut start = 0;
                for part in &parts {
                    let length = part.len() as u64;
                    output.seek(start + index * length)?;
                    output.write(part)?;
                    start += inputs.count * length;
                }
                index += 1;
            }
            Ok(())
        })?;
        output.finish()
    }
}

impl LoadedNetwork {
    /// A session that gives what nodes give, and the names of these outputs.
    ///
    /// Errors: `Failed`, `Unable`.
    fn telling(&self, nodes: &[String]) -> Result<(Session, Vec<String>), AdapterError> {
        let (file, tensors) = with_outputs(&read(&self.file)?, nodes)
            .map_err(|error| AdapterError::Failed(error.to_string()))?;
        Ok((self.runtime.session(&Source::Bytes(&file), self.setting, None)?, tensors))
    }

    /// Times of inferences by node, from a session that writes a profile: it does so until it ends.
    ///
    /// Errors: `Failed`, `Unable`.
    fn taken_apart(&self, inferences: usize) -> Result<Vec<BTreeMap<String, f64>>, AdapterError> {
        let kernels = Kernels::of(&read(&self.file)?);
        let kernels = kernels.map_err(|error| AdapterError::Failed(error.to_string()))?;
        let folder = tempfile::tempdir();
        let folder =
            folder.map_err(|error| AdapterError::Unable(format!("no folder for profiles: {error}")))?;
        let source = Source::File(&self.file);
        let mut session =
            self.runtime.session(&source, self.setting, Some(&folder.path().join("profile")))?;
        let binding = bound(&session).map_err(|error| refused(&error))?;
        for _ in 0..inferences + WARM_UP {
            session.run_binding(&binding).map_err(|error| stopped(&error))?;
        }
        let written = session.end_profiling().map_err(|error| stopped(&error))?;
        profile::by_node(&read(Path::new(&written))?, &kernels, inferences)
    }
}

/// Puts a batch of random images at the input and room at the outputs.
fn bound(session: &Session) -> ort::Result<IoBinding> {
    let (name, shape) = input(session)?;
    let elements = shape.iter().product::<usize>();
    let mut rng = rng(SEED, 0);
    let values: Vec<f32> = (0..elements).map(|_| rng.normal() as f32).collect();
    let mut binding = session.create_binding()?;
    binding.bind_input(name, &Tensor::from_array((shape, values))?)?;
    for outlet in session.outputs() {
        let room = Tensor::<f32>::new(&Allocator::default(), extents(outlet)?)?;
        binding.bind_output(outlet.name(), room)?;
    }
    Ok(binding)
}

/// Name and shape of the one input.
fn input(session: &Session) -> ort::Result<(String, Vec<usize>)> {
    match session.inputs() {
        [outlet] => Ok((outlet.name().to_owned(), extents(outlet)?)),
        several => Err(ort::Error::new(format!("the network has {} inputs", several.len()))),
    }
}

fn extents(outlet: &Outlet) -> ort::Result<Vec<usize>> {
    let open = || ort::Error::new(format!("the shape of `{}` is not fixed", outlet.name()));
    let ValueType::Tensor { shape, .. } = outlet.dtype() else { return Err(open()) };
    shape.iter().map(|extent| usize::try_from(*extent).map_err(|_| open())).collect()
}

/// What an image gives: the outputs of these names, or the first one.
fn outputs(
    session: &mut Session,
    shape: &[usize],
    image: &[f32],
    names: &[String],
) -> ort::Result<Vec<Vec<f32>>> {
    let given = session.run(ort::inputs![TensorRef::from_array_view((shape, image))?])?;
    if names.is_empty() {
        return Ok(vec![given[0].try_extract_tensor::<f32>()?.1.to_vec()]);
    }
    names.iter().map(|name| Ok(given[name.as_str()].try_extract_tensor::<f32>()?.1.to_vec())).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, AdapterError> {
    fs::read(path).map_err(|error| unread(path, &error))
}

pub(super) fn unread(path: &Path, error: &std::io::Error) -> AdapterError {
    AdapterError::Unable(format!("cannot read {}: {error}", path.display()))
}

fn refused(error: &ort::Error) -> AdapterError {
    AdapterError::Failed(format!("onnxruntime cannot execute the network: {error}"))
}

fn stopped(error: &ort::Error) -> AdapterError {
    AdapterError::Unable(format!("onnxruntime stopped: {error}"))
}
