//! The ONNX graph that grows while a network is written.

use std::collections::{BTreeMap, BTreeSet};

use bitloop_core::graph::{INPUT, Op, Shape};

use super::ExportError;
use super::codes::{CodeTypes, Stored, code_bytes};
use crate::model::Model;
use crate::onnx::schema::attribute_proto::AttributeType;
use crate::onnx::schema::tensor_proto::DataType;
use crate::onnx::schema::{AttributeProto, GraphProto, NodeProto, TensorProto};

/// A graph under construction.
pub(super) struct Writer<'a> {
    pub(super) model: &'a Model,
    pub(super) graph: GraphProto,
    /// The types of codes; none for those of their widths alone.
    pub(super) types: Option<CodeTypes>,
    /// By node, and the input.
    pub(super) shapes: BTreeMap<&'a str, Shape>,
    /// What stands for the output of a node where it is read.
    read: BTreeMap<String, String>,
    taken: BTreeSet<String>,
}

impl<'a> Writer<'a> {
    /// Starts; the names of all nodes are taken for their outputs.
    ///
    /// Errors: `Graph`.
    pub(super) fn new(model: &'a Model, types: Option<CodeTypes>) -> Result<Self, ExportError> {
        let graph = &model.graph;
        let nodes = graph.nodes.iter().map(|node| node.name.as_str());
        let mut shapes = BTreeMap::from([(INPUT, graph.input.shape.clone())]);
        shapes.extend(nodes.clone().zip(graph.shapes()?));
        let taken = std::iter::once(INPUT).chain(nodes).map(str::to_owned).collect();
        let graph = GraphProto { name: graph.name.clone(), ..GraphProto::default() };
        Ok(Self { model, graph, types, shapes, read: BTreeMap::new(), taken })
    }

    /// Returns this name for a tensor, or with the first free number behind it.
    pub(super) fn free(&mut self, name: &str) -> String {
        let mut free = name.to_owned();
        let mut number = 1;
        while !self.taken.insert(free.clone()) {
            free = format!("{name}_{number}");
            number += 1;
        }
        free
    }

    /// Takes a name that other files or readers count on.
    ///
    /// Errors: `Name`.
    fn take(&mut self, name: &str) -> Result<String, ExportError> {
        match self.taken.insert(name.to_owned()) {
            true => Ok(name.to_owned()),
            false => Err(ExportError::Name { name: name.to_owned() }),
        }
    }

    /// The tensor that the consumers of a node read.
    pub(super) fn output_of(&self, node: &str) -> String {
        self.read.get(node).map_or(node, String::as_str).to_owned()
    }

    /// Lets the consumers of a node read a tensor.
    pub(super) fn read_instead(&mut self, node: &str, tensor: String) {
        self.read.insert(node.to_owned(), tensor);
    }

    /// Whether a node gives the same for every image, and has no batch.
    pub(super) fn is_constant(&self, node: &str) -> bool {
        self.model.graph.node(node).is_some_and(|node| matches!(node.op, Op::Constant { .. }))
    }

    /// Appends a node with one output.
    pub(super) fn node(
        &mut self,
        (operator, name): (&str, &str),
        input: Vec<String>,
        output: &str,
        attribute: Vec<AttributeProto>,
    ) {
        self.graph.node.push(NodeProto {
            input,
            output: vec![output.to_owned()],
            name: name.to_owned(),
            op_type: operator.to_owned(),
            attribute,
            domain: String::new(),
        });
    }

    /// Stores a weight of a node under its name, with these extents, and returns the name.
    ///
    /// Errors: `Name`, `Tensor`.
    pub(super) fn weight(&mut self, name: &str, dims: &[usize]) -> Result<String, ExportError> {
        let values = self.values(name)?;
        self.floats(name, dims, &values)
    }

    /// The values of a weight.
    ///
    /// Errors: `Tensor`.
    pub(super) fn values(&self, name: &str) -> Result<Vec<f32>, ExportError> {
        match self.model.weights.get(name) {
            Some(tensor) => Ok(tensor.flatten_all()?.to_vec1()?),
            None => Err(candle_core::Error::Msg(format!("the model has no weight `{name}`")).into()),
        }
    }

    /// Stores floats under exactly this name.
    ///
    /// Errors: `Name`.
    pub(super) fn floats(
        &mut self,
        name: &str,
        dims: &[usize],
        values: &[f32],
    ) -> Result<String, ExportError> {
        let name = self.take(name)?;
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(&name, DataType::Float, dims, bytes);
        Ok(name)
    }

    /// Stores parameters that only this file has, under a free name like this one.
    pub(super) fn scalar(&mut self, name: &str, value: f32) -> String {
        let name = self.free(name);
        self.tensor(&name, DataType::Float, &[], value.to_le_bytes().to_vec());
        name
    }

    /// Stores a list of integers, likewise.
    pub(super) fn integers(&mut self, name: &str, values: &[i64]) -> String {
        let name = self.free(name);
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(&name, DataType::Int64, &[values.len()], bytes);
        name
    }

    fn tensor(&mut self, name: &str, data_type: DataType, dims: &[usize], raw_data: Vec<u8>) {
        self.graph.initializer.push(TensorProto {
            dims: dims.iter().map(|extent| *extent as i64).collect(),
            data_type: data_type as i32,
            name: name.to_owned(),
            raw_data,
            ..TensorProto::default()
        });
    }

    /// Puts a tensor on a grid by QuantizeLinear and DequantizeLinear, and returns what the latter gives.
    ///
    /// A scale per channel lies on the first axis, as it is a weight's. Codes that the type has beyond the grid are clipped
    /// between the two: runtimes fuse both with the nodes around them all the same, which they do not do with a Clip of floats.
    pub(super) fn quantize(&mut self, tensor: &str, stored: &Stored<'_>) -> String {
        let output = self.free(&format!("{}_qdq", stored.name));
        self.quantize_to(tensor, stored, &output);
        output
    }

    /// As [`Writer::quantize`], with the name of what comes out.
    pub(super) fn quantize_to(&mut self, tensor: &str, stored: &Stored<'_>, output: &str) {
        let Stored { name, encoding, element, codes: clipped } = *stored;
        let (scale, attributes) = self.scales(name, encoding.scale());
        let zero_points: Vec<i32> = encoding.offset().iter().map(|offset| -offset).collect();
        let zero_point = self.free(&format!("{name}_zero_point"));
        let dims = scale_dims(zero_points.len());
        self.tensor(&zero_point, element, &dims, code_bytes(&zero_points, element));
        let mut codes = self.free(&format!("{name}_q"));
        let inputs = |first: &str| vec![first.to_owned(), scale.clone(), zero_point.clone()];
        let (quantizer, dequantizer) = (format!("{name}.quantize"), format!("{name}.dequantize"));
        self.node(("QuantizeLinear", &quantizer), inputs(tensor), &codes, attributes.clone());
        if let Some([low, high]) = clipped {
            let mut bounds = vec![codes];
            bounds.extend([("low", low), ("high", high)].map(|(end, code)| {
                let bound = self.free(&format!("{name}_{end}"));
                self.tensor(&bound, element, &[], code_bytes(&[code], element));
                bound
            }));
            codes = self.free(&format!("{name}_clipped"));
            self.node(("Clip", &format!("{name}.clip")), bounds, &codes, Vec::new());
        }
        self.node(("DequantizeLinear", &dequantizer), inputs(&codes), output, attributes);
    }

    /// Stores a bias as integers with steps and returns the dequantized tensor.
    pub(super) fn int32_bias(&mut self, name: &str, codes: &[i32], steps: &[f32]) -> String {
        let stored = self.free(&format!("{name}_q"));
        let bytes = codes.iter().flat_map(|code| code.to_le_bytes()).collect();
        self.tensor(&stored, DataType::Int32, &[codes.len()], bytes);
        let (scale, attributes) = self.scales(name, steps);
        let output = self.free(&format!("{name}_qdq"));
        self.node(
            ("DequantizeLinear", &format!("{name}.dequantize")),
            vec![stored, scale],
            &output,
            attributes,
        );
        output
    }

    fn scales(&mut self, tensor: &str, scales: &[f32]) -> (String, Vec<AttributeProto>) {
        let name = self.free(&format!("{tensor}_scale"));
        let bytes = scales.iter().flat_map(|scale| scale.to_le_bytes()).collect();
        self.tensor(&name, DataType::Float, &scale_dims(scales.len()), bytes);
        let attributes = if scales.len() > 1 { vec![int("axis", 0)] } else { Vec::new() };
        (name, attributes)
    }
}

/// One scale has no axes.
fn scale_dims(scales: usize) -> Vec<usize> {
    if scales > 1 { vec![scales] } else { Vec::new() }
}

/// An attribute of one integer.
pub(super) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        i,
        r#type: AttributeType::Int as i32,
        ..AttributeProto::default()
    }
}

/// An attribute of integers.
pub(super) fn ints(name: &str, values: &[usize]) -> AttributeProto {
    let ints = values.iter().map(|value| *value as i64).collect();
    AttributeProto {
        name: name.to_owned(),
        ints,
        r#type: AttributeType::Ints as i32,
        ..AttributeProto::default()
    }
}

/// An attribute of one number.
pub(super) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        f,
        r#type: AttributeType::Float as i32,
        ..AttributeProto::default()
    }
}
