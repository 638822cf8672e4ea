use std::collections::BTreeMap;

use super::{Kind, Layer, Network};

/// Why a network's channels cannot be carried through.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResizeError {
    /// A layer takes the output of one that is not before it.
    #[error("the layer `{layer}` takes the output of `{inbound}`, which does not stand before it")]
    UnknownInbound {
        /// The layer.
        layer: String,
        /// What it names.
        inbound: String,
    },
    /// A layer depends on the number of its channels in a way that is not known.
    #[error("the layer `{layer}` of class `{class}` fixes its shape; keep the filters before it")]
    Fixed {
        /// The layer.
        layer: String,
        /// Its class.
        class: String,
    },
    /// Tensors that are merged have different shapes.
    #[error(
        "the layer `{layer}` merges tensors of shapes {shapes:?}; change the filters of all its branches"
    )]
    Merge {
        /// The layer.
        layer: String,
        /// What it would take.
        shapes: Vec<Vec<usize>>,
    },
}

impl Network {
    /// Carries changed `filters`, `units` and depth multipliers through all shapes and weights.
    ///
    /// Only channels (last axes) change: windows, strides and extents of images stay as they are.
    /// Errors: `UnknownInbound`; `Fixed` where a reshape or an unknown layer would get another shape; `Merge`.
    pub fn resize(&mut self) -> Result<(), ResizeError> {
        let mut known: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for layer in &mut self.layers {
            if !layer.inbound.is_empty() {
                layer.resize(&known)?;
            }
            known.insert(layer.name.clone(), layer.output_shape.clone());
        }
        Ok(())
    }
}

impl Layer {
    fn resize(&mut self, known: &BTreeMap<String, Vec<usize>>) -> Result<(), ResizeError> {
        let inputs = self
            .inbound
            .iter()
            .map(|name| {
                known.get(name).cloned().ok_or_else(|| ResizeError::UnknownInbound {
                    layer: self.name.clone(),
                    inbound: name.clone(),
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let output = self.resized_output(&inputs)?;
        self.resize_weights(last(&inputs[0]), last(&output));
        self.input_shape = inputs;
        self.output_shape = output;
        Ok(())
    }

    fn resized_output(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>, ResizeError> {
        let input = &inputs[0];
        let with_channels = |channels: usize| {
            let mut shape = self.output_shape.clone();
            if let Some(extent) = shape.last_mut() {
                *extent = channels;
            }
            shape
        };
        match &self.class.kind {
            Kind::Dense => Ok(with_channels(self.units.unwrap_or(last(&self.output_shape)))),
            Kind::Conv1D
            | Kind::Conv2D
            | Kind::Conv2DTranspose
            | Kind::SeparableConv1D
            | Kind::SeparableConv2D => Ok(with_channels(self.filters.unwrap_or(last(&self.output_shape)))),
            Kind::DepthwiseConv2D => Ok(with_channels(last(input) * self.depth_multiplier.unwrap_or(1))),
            Kind::Activation | Kind::AdaptiveActivation | Kind::BatchNormalization | Kind::Dropout => {
                Ok(input.clone())
            }
            Kind::MaxPooling2D
            | Kind::AveragePooling2D
            | Kind::GlobalAveragePooling2D
            | Kind::ZeroPadding2D
            | Kind::UpSampling2D => Ok(with_channels(last(input))),
            Kind::Add | Kind::Subtract | Kind::Multiply | Kind::Maximum | Kind::Minimum | Kind::Average => {
                self.merged(inputs, with_channels)
            }
            Kind::Concatenate => self.joined(inputs, with_channels),
            Kind::Flatten => Ok(vec![input.iter().product()]),
            Kind::Reshape
            | Kind::InputLayer
            | Kind::SimpleRnn
            | Kind::Lstm
            | Kind::Gru
            | Kind::Bidirectional
            | Kind::Other(_) => self.unchanged(inputs),
        }
    }

    /// Elementwise: every input has the output's channels, or one that repeats.
    fn merged(
        &self,
        inputs: &[Vec<usize>],
        with_channels: impl Fn(usize) -> Vec<usize>,
    ) -> Result<Vec<usize>, ResizeError> {
        let channels = inputs.iter().map(|shape| last(shape)).max().unwrap_or(1);
        let fits = inputs.iter().all(|shape| last(shape) == channels || last(shape) == 1);
        if fits { Ok(with_channels(channels)) } else { Err(self.merge_error(inputs)) }
    }

    /// Joined along the channels; another axis can be told by the channels that all inputs have in common.
    fn joined(
        &self,
        inputs: &[Vec<usize>],
        with_channels: impl Fn(usize) -> Vec<usize>,
    ) -> Result<Vec<usize>, ResizeError> {
        let before: usize = self.input_shape.iter().map(|shape| last(shape)).sum();
        if before == last(&self.output_shape) {
            return Ok(with_channels(inputs.iter().map(|shape| last(shape)).sum()));
        }
        self.merged(inputs, with_channels)
    }

    /// A layer that gives the shape that it takes goes on doing so; any other one has to get what it had.
    fn unchanged(&self, inputs: &[Vec<usize>]) -> Result<Vec<usize>, ResizeError> {
        if inputs == self.input_shape {
            return Ok(self.output_shape.clone());
        }
        let keeps_shape = self.input_shape == [self.output_shape.clone()] && self.weights.is_empty();
        match (keeps_shape, &self.class.kind) {
            (true, Kind::Other(_)) => Ok(inputs[0].clone()),
            _ => Err(ResizeError::Fixed { layer: self.name.clone(), class: self.class.to_string() }),
        }
    }

    fn merge_error(&self, inputs: &[Vec<usize>]) -> ResizeError {
        ResizeError::Merge { layer: self.name.clone(), shapes: inputs.to_vec() }
    }

    fn resize_weights(&mut self, input: usize, output: usize) {
        let input_before = self.input_shape.first().map_or(input, |shape| last(shape));
        for weight in &mut self.weights {
            let rank = weight.shape.len();
            match weight.name.as_str() {
                "depthwise_kernel" if rank >= 2 => {
                    weight.shape[rank - 2] = input;
                    weight.shape[rank - 1] = self.depth_multiplier.unwrap_or(weight.shape[rank - 1]);
                }
                "pointwise_kernel" if rank >= 2 => {
                    weight.shape[rank - 2] = input * self.depth_multiplier.unwrap_or(1);
                    weight.shape[rank - 1] = output;
                }
                // The transpose's kernel has its outputs before its inputs.
                "kernel" if rank >= 2 && self.class.kind == Kind::Conv2DTranspose => {
                    weight.shape[rank - 2] = output;
                    weight.shape[rank - 1] = input;
                }
                "kernel" if rank >= 2 => {
                    let groups = (input_before / weight.shape[rank - 2].max(1)).max(1);
                    weight.shape[rank - 2] = input / groups;
                    weight.shape[rank - 1] = output;
                }
                _ if rank == 1 => weight.shape[0] = output,
                _ => {}
            }
        }
    }
}

fn last(shape: &[usize]) -> usize {
    shape.last().copied().unwrap_or(1)
}
