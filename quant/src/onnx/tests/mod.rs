//! Files are built with the schema's own types, imported, and run on known values.

mod damage;
mod folding;
mod operators;
mod quantizers;
mod structure;

use bitloop_core::graph::Op;
use candle_core::{Device, Tensor};
use prost::Message;

use super::schema::attribute_proto::AttributeType;
use super::schema::tensor_proto::DataType;
use super::schema::tensor_shape_proto::Dimension;
use super::schema::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};
use super::{ImportError, ImportOptions, Imported, import};
use crate::executor::{FloatPass, forward};

/// A file with one input `x` and, unless changed, one output `y`.
#[derive(Clone)]
pub(super) struct File {
    pub(super) proto: ModelProto,
}

pub(super) fn value_info(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|dim| Dimension { dim_value: *dim, dim_param: String::new() }).collect();
    let shape = Some(TensorShapeProto { dim });
    let tensor_type = Some(type_proto::Tensor { elem_type: DataType::Float as i32, shape });
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }) }
}

pub(super) fn float_tensor(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: DataType::Float as i32,
        float_data: values.to_vec(),
        ..TensorProto::default()
    }
}

pub(super) fn integer_tensor(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: DataType::Int64 as i32,
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: kind as i32, ..AttributeProto::default() }
}

pub(super) fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { i, ..attribute(name, AttributeType::Int) }
}

pub(super) fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { ints: ints.to_vec(), ..attribute(name, AttributeType::Ints) }
}

pub(super) fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto { f, ..attribute(name, AttributeType::Float) }
}

pub(super) fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto { s: s.as_bytes().to_vec(), ..attribute(name, AttributeType::String) }
}

pub(super) fn tensor(name: &str, t: TensorProto) -> AttributeProto {
    AttributeProto { t: Some(t), ..attribute(name, AttributeType::Tensor) }
}

impl File {
    pub(super) fn new(opset: i64, input: &[i64]) -> Self {
        let graph = GraphProto {
            name: "net".to_owned(),
            input: vec![value_info("x", input)],
            output: vec![value_info("y", &[])],
            ..GraphProto::default()
        };
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: opset }];
        Self {
            proto: ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..ModelProto::default() },
        }
    }

    pub(super) fn graph(&mut self) -> &mut GraphProto {
        self.proto.graph.as_mut().unwrap()
    }

    pub(super) fn constant(mut self, tensor: TensorProto) -> Self {
        self.graph().initializer.push(tensor);
        self
    }

    pub(super) fn floats(self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        self.constant(float_tensor(name, dims, values))
    }

    pub(super) fn integers(self, name: &str, values: &[i64]) -> Self {
        self.constant(integer_tensor(name, &[values.len() as i64], values))
    }

    /// Appends a node; `edges` reads as `x w -> y`, where `_` leaves an input out.
    pub(super) fn node(mut self, operator: &str, edges: &str, attribute: &[AttributeProto]) -> Self {
        let (inputs, outputs) = edges.split_once("->").unwrap();
        let names =
            |part: &str| part.split_whitespace().map(|name| name.replace('_', "")).collect::<Vec<_>>();
        self.graph().node.push(NodeProto {
            name: String::new(),
            op_type: operator.to_owned(),
            input: names(inputs),
            output: names(outputs),
            attribute: attribute.to_vec(),
            domain: String::new(),
        });
        self
    }

    pub(super) fn import(&self) -> Result<Imported, ImportError> {
        self.import_with(&ImportOptions::default())
    }

    pub(super) fn import_with(&self, options: &ImportOptions) -> Result<Imported, ImportError> {
        import(&self.proto.encode_to_vec(), None, options)
    }

    /// The message of the error that importing gives.
    pub(super) fn error(&self) -> String {
        self.import().map(|imported| imported.model.graph).unwrap_err().to_string()
    }

    /// Kinds of the operators, and the output for one image.
    pub(super) fn run(&self, input: &[f32]) -> (Vec<&'static str>, Vec<f32>) {
        let imported = self.import().unwrap();
        let kinds = imported.model.graph.nodes.iter().map(|node| node.op.kind()).collect();
        (kinds, run(&imported, input))
    }
}

pub(super) fn run(imported: &Imported, input: &[f32]) -> Vec<f32> {
    let graph = &imported.model.graph;
    // Two equal images, so that whatever forgets the batch shows.
    let shape = [&[2], graph.input.shape.0.as_slice()].concat();
    let input = Tensor::from_vec([input, input].concat(), shape, &Device::Cpu).unwrap();
    let last = &graph.output().unwrap().name;
    let mut pass = FloatPass { weights: &imported.model.weights };
    let outputs = forward(graph, &input, last, &mut pass).unwrap();
    let images: Vec<Vec<f32>> = outputs.flatten_from(1).unwrap().to_vec2().unwrap();
    assert_eq!(images[0], images[1]);
    images[0].clone()
}

pub(super) fn assert_near(ours: &[f32], expected: &[f32]) {
    assert_eq!(ours.len(), expected.len(), "{ours:?}");
    for (one, other) in ours.iter().zip(expected) {
        assert!((one - other).abs() <= 1e-5 * other.abs().max(1.0), "{ours:?}, expected {expected:?}");
    }
}

pub(super) fn only_op(imported: &Imported) -> &Op {
    assert_eq!(imported.model.graph.nodes.len(), 1, "{:?}", imported.model.graph.nodes);
    &imported.model.graph.nodes[0].op
}
