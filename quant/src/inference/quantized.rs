use std::collections::BTreeMap;
use std::sync::Arc;

use bitloop_core::bits::{Bits, Choice};
use bitloop_core::graph::{Point, PointKind};

use super::InferenceError;
use crate::evaluate::EvaluateError;
use crate::executor;
use crate::prepare::Prepared;

/// How far a value may lie from a pixel's, in parts of the step from one pixel's value to the next.
const PIXEL_TOLERANCE: f32 = 0.01;

/// A prepared network, and what each of its points gets.
#[derive(Clone)]
pub struct Quantized {
    prepared: Arc<Prepared>,
    choices: Vec<Choice>,
}

impl Quantized {
    /// Takes a width for each point by its name, or none where it stays float.
    ///
    /// Errors: `MissingPoint`, `UnknownPoint`, `Bits`, and `Evaluate` if a point was not prepared at its width.
    pub fn new(
        prepared: Arc<Prepared>,
        widths: &BTreeMap<String, Option<u32>>,
    ) -> Result<Self, InferenceError> {
        let mut choices = Vec::with_capacity(prepared.points.len());
        for (index, point) in prepared.points.iter().enumerate() {
            let width = widths.get(&point.name);
            let width = width.ok_or_else(|| InferenceError::MissingPoint(point.name.clone()))?;
            choices.push(match width {
                None => Choice::Float,
                Some(width) => {
                    let bits = u8::try_from(*width).ok().and_then(|bits| Bits::new(bits).ok());
                    let wrong = || InferenceError::Bits { point: point.name.clone(), bits: *width };
                    let bits = bits.ok_or_else(wrong)?;
                    prepared.encoding(index, bits)?;
                    Choice::Bits(bits)
                }
            });
        }
        let is_there = |name: &str| prepared.points.iter().any(|point| point.name == name);
        match widths.keys().find(|name| !is_there(name)) {
            Some(unknown) => Err(InferenceError::UnknownPoint(unknown.clone())),
            None => Ok(Self { prepared, choices }),
        }
    }

    /// The network.
    pub fn prepared(&self) -> &Prepared {
        &self.prepared
    }

    pub(super) fn shared(&self) -> Arc<Prepared> {
        Arc::clone(&self.prepared)
    }

    pub(super) fn choice(&self, point: usize) -> Choice {
        self.choices[point]
    }

    /// Elements of what a node gives for an image.
    ///
    /// Errors: `UnknownNode`, `Evaluate`.
    pub fn elements(&self, node: &str) -> Result<usize, InferenceError> {
        let graph = &self.prepared.model.graph;
        let shapes = graph.shapes().map_err(EvaluateError::from)?;
        let position = graph.nodes.iter().position(|known| known.name == node);
        let position = position.ok_or_else(|| InferenceError::UnknownNode(node.to_owned()))?;
        Ok(shapes[position].elements())
    }

    /// The step of the grid that a node's output lies on, if it has a quantizer.
    pub fn step(&self, node: &str) -> Option<f32> {
        let is_its = |point: &Point| {
            point.kind == PointKind::Activation && point.tensors.iter().any(|tensor| tensor == node)
        };
        let index = self.prepared.points.iter().position(is_its)?;
        match self.choices[index] {
            Choice::Float => None,
            Choice::Bits(bits) => self.prepared.encoding(index, bits).ok()?.scale().first().copied(),
        }
    }

    /// Returns the normalized values of pixels.
    ///
    /// Shapes: `(n, channels, height, width)` bytes -> the same, f32. Errors: `Images`.
    pub fn values(&self, pixels: &[u8]) -> Result<Vec<f32>, InferenceError> {
        let input = &self.prepared.model.graph.input;
        let elements = input.shape.elements();
        if !pixels.len().is_multiple_of(elements.max(1)) {
            return Err(InferenceError::Images { values: pixels.len(), elements });
        }
        let tables = executor::pixel_values(input)?;
        let plane = (elements / tables.len().max(1)).max(1);
        let value = |(index, pixel): (usize, &u8)| tables[index / plane % tables.len()][usize::from(*pixel)];
        Ok(pixels.iter().enumerate().map(value).collect())
    }

    /// Returns the pixels whose normalized values these are.
    ///
    /// Shapes: `(n, channels, height, width)` f32 -> the same, bytes. Errors: `Images`, `NoPixel`.
    pub fn pixels(&self, values: &[f32]) -> Result<Vec<u8>, InferenceError> {
        let input = &self.prepared.model.graph.input;
        let elements = input.shape.elements();
        if !values.len().is_multiple_of(elements.max(1)) {
            return Err(InferenceError::Images { values: values.len(), elements });
        }
        let tables = executor::pixel_values(input)?;
        let plane = (elements / tables.len().max(1)).max(1);
        let pixel = |(index, value): (usize, &f32)| {
            let channel = index / plane % tables.len();
            let (mean, std) = (input.mean[channel], input.std[channel]);
            let pixel = ((value * std + mean) * 255.0).round().clamp(0.0, 255.0) as u8;
            let distance = (value - tables[channel][usize::from(pixel)]).abs();
            // A value that is NaN is near to no pixel's.
            let is_near = distance <= PIXEL_TOLERANCE / (255.0 * std.abs());
            if is_near { Ok(pixel) } else { Err(InferenceError::NoPixel { index, value: *value }) }
        };
        values.iter().enumerate().map(pixel).collect()
    }
}
