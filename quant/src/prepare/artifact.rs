use std::collections::BTreeMap;

use bitloop_core::bits::Bits;
use bitloop_core::graph::{Graph, INPUT, Point, PointKind};
use bitloop_core::trial::Biases;
use candle_core::{Device, Tensor};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::PrepareError;
use crate::archive::{self, Entry};
use crate::model::Model;
use crate::quantizer::{Encoding, Grid};

const FORMAT_KEY: &str = "bitloop.prepared";
const FORMAT: &str = "1";
const GRAPH_KEY: &str = "bitloop.graph";
const TABLE_KEY: &str = "bitloop.points";
const MODEL: &str = "model/";
const BIAS: &str = "bias/";
const SCALE: &str = "scale/";
const OFFSET: &str = "offset/";

/// A model that is ready to be evaluated at any of its candidate widths.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The transformed float network.
    pub model: Model,
    /// Where quantizers stand.
    pub points: Vec<Point>,
    /// What happens to biases.
    pub biases: Biases,
    /// By position of the point and width.
    pub(super) encodings: BTreeMap<(usize, Bits), Encoding>,
    /// Corrected biases `(out,)` by layer and width of its weight.
    pub(super) corrected: BTreeMap<(String, Bits), Tensor>,
}

/// What the file says beside tensors.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    points: Vec<Point>,
    biases: Biases,
    grids: Vec<TableGrid>,
}

/// The grid of a point at a width; scale and offset are tensors.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TableGrid {
    point: usize,
    bits: Bits,
    qmin: i32,
    qmax: i32,
    symmetric: bool,
}

impl Prepared {
    /// A network whose encodings are known, one for each point, at the width of its grid.
    pub(crate) fn with_encodings(
        model: Model,
        points: Vec<Point>,
        encodings: Vec<Encoding>,
        biases: Biases,
    ) -> Self {
        let encodings = encodings.into_iter().enumerate();
        let encodings = encodings.filter_map(|(index, own)| Some(((index, own.grid().bits()?), own)));
        Self { model, points, biases, encodings: encodings.collect(), corrected: BTreeMap::new() }
    }

    /// Returns the encoding of the point at `index` at a width.
    ///
    /// Errors: `MissingWidth`.
    pub fn encoding(&self, index: usize, bits: Bits) -> Result<&Encoding, PrepareError> {
        let point = || self.points.get(index).map_or_else(|| index.to_string(), |point| point.name.clone());
        self.encodings.get(&(index, bits)).ok_or_else(|| PrepareError::MissingWidth { point: point(), bits })
    }

    /// Returns the corrected bias `(out,)` of a layer whose weight has a width; none if biases were not corrected.
    pub fn corrected_bias(&self, layer: &str, bits: Bits) -> Option<&Tensor> {
        self.corrected.get(&(layer.to_owned(), bits))
    }

    /// Returns the file's bytes; equal contents give equal bytes, so their digest names them.
    ///
    /// Errors: `Model` if the network is not valid any more.
    pub fn to_bytes(&self) -> Result<Vec<u8>, PrepareError> {
        self.model.check()?;
        let mut tensors: BTreeMap<String, (&'static str, Vec<usize>, Vec<u8>)> = BTreeMap::new();
        for (name, tensor) in &self.model.weights {
            tensors.insert(format!("{MODEL}{name}"), float_tensor(tensor)?);
        }
        for ((layer, bits), tensor) in &self.corrected {
            tensors.insert(format!("{BIAS}{bits}/{layer}"), float_tensor(tensor)?);
        }
        let mut grids = Vec::new();
        for (&(point, bits), encoding) in &self.encodings {
            let (scale, offset) = (encoding.scale(), encoding.offset());
            let place = format!("{bits}/{}", self.points[point].name);
            tensors.insert(format!("{SCALE}{place}"), ("F32", vec![scale.len()], archive::f32_bytes(scale)));
            let bytes = offset.iter().flat_map(|offset| offset.to_le_bytes()).collect();
            tensors.insert(format!("{OFFSET}{place}"), ("I32", vec![offset.len()], bytes));
            let grid = encoding.grid();
            let (qmin, qmax, symmetric) = (grid.qmin(), grid.qmax(), grid.is_symmetric());
            grids.push(TableGrid { point, bits, qmin, qmax, symmetric });
        }
        let table = Table { points: self.points.clone(), biases: self.biases, grids };
        let metadata = BTreeMap::from([
            (FORMAT_KEY, FORMAT.to_owned()),
            (GRAPH_KEY, text(&self.model.graph)),
            (TABLE_KEY, text(&table)),
        ]);
        let entries = tensors.iter().map(|(name, (dtype, shape, bytes))| {
            (name.as_str(), Entry { dtype, shape: shape.as_slice(), bytes: bytes.clone() })
        });
        Ok(archive::to_bytes(metadata, &entries.collect()))
    }

    /// Reads a prepared model's bytes and checks everything.
    ///
    /// Errors: `NotPrepared`, `Model`, `Quantizer`, `UnknownNode`. No bytes make it panic.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PrepareError> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| damaged(&error))?;
        let metadata = header.metadata().as_ref().ok_or_else(|| damaged(&"it has no metadata"))?;
        let field = |key: &str| metadata.get(key).ok_or_else(|| damaged(&format!("it has no `{key}`")));
        let found = field(FORMAT_KEY)?;
        if found != FORMAT {
            return Err(damaged(&format!("its format is {found}, this program reads {FORMAT}")));
        }
        let graph: Graph = serde_json::from_str(field(GRAPH_KEY)?).map_err(|error| damaged(&error))?;
        let table: Table = serde_json::from_str(field(TABLE_KEY)?).map_err(|error| damaged(&error))?;
        let file = SafeTensors::deserialize(bytes).map_err(|error| damaged(&error))?;

        let mut weights = BTreeMap::new();
        let mut corrected = BTreeMap::new();
        for name in file.names() {
            if let Some(weight) = name.strip_prefix(MODEL) {
                weights.insert(weight.to_owned(), read_float(&file, name)?);
            } else if let Some((bits, layer)) = name.strip_prefix(BIAS).and_then(|rest| rest.split_once('/'))
            {
                let bits = bits.parse().ok().and_then(|bits: u8| Bits::new(bits).ok());
                let bits = bits.ok_or_else(|| damaged(&format!("`{name}` has no width")))?;
                corrected.insert((layer.to_owned(), bits), read_float(&file, name)?);
            }
        }
        let mut encodings = BTreeMap::new();
        for grid in &table.grids {
            let point = table.points.get(grid.point);
            let point = point.ok_or_else(|| damaged(&format!("it has no point {}", grid.point)))?;
            encodings.insert((grid.point, grid.bits), read_encoding(&file, grid, point)?);
        }
        let model = Model::new(graph, weights)?;
        check_biases(&model, &corrected)?;
        let prepared = Self { model, points: table.points, biases: table.biases, encodings, corrected };
        prepared.check_points()?;
        Ok(prepared)
    }

    /// Checks that every point is of a tensor that the network has.
    pub(super) fn check_points(&self) -> Result<(), PrepareError> {
        let graph = &self.model.graph;
        for point in &self.points {
            let is_there = |node: &str| node == INPUT || graph.node(node).is_some();
            let nodes = match point.kind {
                PointKind::Weight => std::slice::from_ref(&point.node),
                PointKind::Activation => point.tensors.as_slice(),
            };
            let has_weight = |node: &str| self.model.weights.contains_key(&format!("{node}.weight"));
            let missing = nodes.iter().find(|node| match point.kind {
                PointKind::Weight => !has_weight(node),
                PointKind::Activation => !is_there(node),
            });
            if let Some(node) = missing {
                return Err(PrepareError::UnknownNode { point: point.name.clone(), node: node.clone() });
            }
        }
        Ok(())
    }
}

fn check_biases(model: &Model, corrected: &BTreeMap<(String, Bits), Tensor>) -> Result<(), PrepareError> {
    for ((layer, _), bias) in corrected {
        let weight = model.weights.get(&format!("{layer}.weight"));
        if weight.and_then(|weight| weight.dims().first()) != Some(&bias.elem_count()) || bias.rank() != 1 {
            return Err(damaged(&format!("the corrected bias of `{layer}` does not fit")));
        }
        let values = bias.to_vec1::<f32>().map_err(|error| damaged(&error))?;
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(damaged(&format!("the corrected bias of `{layer}` has the value {value}")));
        }
    }
    Ok(())
}

fn read_encoding(file: &SafeTensors<'_>, grid: &TableGrid, point: &Point) -> Result<Encoding, PrepareError> {
    let place = format!("{}/{}", grid.bits, point.name);
    let tensor = |kind: &str, dtype: Dtype| {
        let name = format!("{kind}{place}");
        let view = file.tensor(&name).map_err(|error| damaged(&error))?;
        if view.dtype() != dtype {
            return Err(damaged(&format!("`{name}` is of another type")));
        }
        Ok(view.data().to_vec())
    };
    let scale = archive::f32_values(&tensor(SCALE, Dtype::F32)?);
    let offset = tensor(OFFSET, Dtype::I32)?;
    let offset = archive::u32_values(&offset).into_iter().map(u32::cast_signed).collect();
    let encoding = Grid::new(grid.qmin, grid.qmax, grid.symmetric)
        .and_then(|grid| Encoding::given(grid, scale, offset))
        .map_err(|source| PrepareError::Quantizer { point: point.name.clone(), source })?;
    let scales = encoding.scale().len();
    if point.kind == PointKind::Activation && scales > 1 {
        let (name, bits) = (&point.name, grid.bits);
        return Err(damaged(&format!("`{name}` has {scales} scales at {bits} bits, activations have one")));
    }
    Ok(encoding)
}

fn float_tensor(tensor: &Tensor) -> Result<(&'static str, Vec<usize>, Vec<u8>), PrepareError> {
    let values = tensor.flatten_all().and_then(|flat| flat.to_vec1::<f32>());
    let values = values.map_err(|error| damaged(&error))?;
    Ok(("F32", tensor.dims().to_vec(), archive::f32_bytes(&values)))
}

fn read_float(file: &SafeTensors<'_>, name: &str) -> Result<Tensor, PrepareError> {
    let view = file.tensor(name).map_err(|error| damaged(&error))?;
    if view.dtype() != Dtype::F32 {
        return Err(damaged(&format!("`{name}` is of another type")));
    }
    Tensor::from_vec(archive::f32_values(view.data()), view.shape(), &Device::Cpu)
        .map_err(|error| damaged(&error))
}

fn damaged(reason: &dyn std::fmt::Display) -> PrepareError {
    PrepareError::NotPrepared { reason: reason.to_string() }
}

fn text<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("graphs and tables have only text keys and finite numbers")
}
