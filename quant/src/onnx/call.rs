//! One node of a file with its inputs resolved: typed access to attributes and inputs.

use super::encoding::ImportedEncoding;
use super::error::Reason;
use super::schema::attribute_proto::AttributeType;
use super::schema::{AttributeProto, NodeProto, TensorProto};
use super::tensor::{Constant, Values};

/// What a tensor of the file is for us.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// The same for every image.
    Constant(Constant),
    /// The output of a node of our graph, or its input.
    Tensor(String),
    /// The integers that a quantizer makes of a value.
    Codes(Box<Value>, ImportedEncoding),
    /// What a node that cannot be expressed gives, or what depends on it.
    Unknown {
        /// Whether it depends on the image's values; its shape alone does not.
        is_computed: bool,
    },
}

/// A node whose inputs are known.
pub(super) struct Call<'a> {
    pub(super) node: &'a NodeProto,
    pub(super) opset: i64,
    /// `None` where an optional input is left out.
    pub(super) inputs: Vec<Option<Value>>,
}

impl Call<'_> {
    pub(super) fn operator(&self) -> &str {
        &self.node.op_type
    }

    /// The name of the first output, which files always give.
    pub(super) fn output(&self) -> &str {
        self.node.output.first().map(String::as_str).unwrap_or_default()
    }

    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.node.attribute.iter().find(|attribute| attribute.name == name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    fn typed(
        &self,
        name: &'static str,
        kind: AttributeType,
        expected: &'static str,
    ) -> Result<Option<&AttributeProto>, Reason> {
        match self.attribute(name) {
            None => Ok(None),
            Some(attribute) if attribute.r#type == kind as i32 && attribute.ref_attr_name.is_empty() => {
                Ok(Some(attribute))
            }
            Some(_) => Err(Reason::Attribute { name, expected }),
        }
    }

    pub(super) fn int(&self, name: &'static str) -> Result<Option<i64>, Reason> {
        Ok(self.typed(name, AttributeType::Int, "an integer")?.map(|attribute| attribute.i))
    }

    pub(super) fn flag(&self, name: &'static str, default: bool) -> Result<bool, Reason> {
        Ok(self.int(name)?.map_or(default, |value| value != 0))
    }

    pub(super) fn ints(&self, name: &'static str) -> Result<Option<&[i64]>, Reason> {
        let attribute = self.typed(name, AttributeType::Ints, "a list of integers")?;
        Ok(attribute.map(|attribute| attribute.ints.as_slice()))
    }

    pub(super) fn float(&self, name: &'static str, default: f32) -> Result<f32, Reason> {
        Ok(self.typed(name, AttributeType::Float, "a number")?.map_or(default, |attribute| attribute.f))
    }

    pub(super) fn floats(&self, name: &'static str) -> Result<Option<&[f32]>, Reason> {
        let attribute = self.typed(name, AttributeType::Floats, "a list of numbers")?;
        Ok(attribute.map(|attribute| attribute.floats.as_slice()))
    }

    pub(super) fn text(&self, name: &'static str, default: &str) -> Result<String, Reason> {
        match self.typed(name, AttributeType::String, "a text")? {
            None => Ok(default.to_owned()),
            Some(attribute) => String::from_utf8(attribute.s.clone())
                .map_err(|_| Reason::Attribute { name, expected: "a text" }),
        }
    }

    pub(super) fn tensor(&self, name: &'static str) -> Result<Option<&TensorProto>, Reason> {
        let attribute = self.typed(name, AttributeType::Tensor, "a tensor")?;
        Ok(attribute.and_then(|attribute| attribute.t.as_ref()))
    }

    pub(super) fn input(&self, index: usize) -> Option<&Value> {
        self.inputs.get(index).and_then(Option::as_ref)
    }

    /// The node of our graph that gives this input.
    pub(super) fn computed(&self, index: usize) -> Result<&str, Reason> {
        match self.input(index) {
            Some(Value::Tensor(node)) => Ok(node),
            Some(Value::Constant(_)) => Err(Reason::NotComputed { index }),
            Some(Value::Codes(..)) => Err(Reason::Codes { index }),
            Some(Value::Unknown { .. }) | None => Err(Reason::MissingInput { index }),
        }
    }

    /// A constant input, if it is there.
    pub(super) fn constant(&self, index: usize) -> Result<Option<&Constant>, Reason> {
        match self.input(index) {
            None => Ok(None),
            Some(Value::Constant(constant)) => Ok(Some(constant)),
            Some(Value::Tensor(_) | Value::Unknown { .. }) => Err(Reason::NotConstant { index }),
            Some(Value::Codes(..)) => Err(Reason::Codes { index }),
        }
    }

    pub(super) fn required(&self, index: usize) -> Result<&Constant, Reason> {
        self.constant(index)?.ok_or(Reason::MissingInput { index })
    }

    /// A constant input of floats, if it is there.
    pub(super) fn float_constant(&self, index: usize) -> Result<Option<(&Constant, &[f32])>, Reason> {
        let Some(constant) = self.constant(index)? else { return Ok(None) };
        match &constant.values {
            Values::Floats(values) => Ok(Some((constant, values))),
            Values::Integers(_) => Err(Reason::ElementType { index, expected: "floats" }),
        }
    }

    /// A constant input of integers, if it is there.
    pub(super) fn integers(&self, index: usize) -> Result<Option<&[i64]>, Reason> {
        match self.constant(index)?.map(|constant| &constant.values) {
            None => Ok(None),
            Some(Values::Integers(values)) => Ok(Some(values)),
            Some(Values::Floats(_)) => Err(Reason::ElementType { index, expected: "integers" }),
        }
    }

    /// A list of integers that is an attribute in earlier opsets and an input in later ones.
    pub(super) fn attribute_or_input(
        &self,
        name: &'static str,
        index: usize,
    ) -> Result<Option<&[i64]>, Reason> {
        match self.ints(name)? {
            Some(values) => Ok(Some(values)),
            None => self.integers(index),
        }
    }

    /// A single number as input.
    pub(super) fn scalar(&self, index: usize) -> Result<Option<f32>, Reason> {
        match self.float_constant(index)? {
            None => Ok(None),
            Some((_, [value])) => Ok(Some(*value)),
            Some((constant, _)) => Err(Reason::ConstantShape {
                found: constant.shape.clone(),
                expected: "a single number".to_owned(),
            }),
        }
    }
}

/// Returns an axis counted from the front, where negative ones count from behind.
pub(super) fn axis_of(axis: i64, rank: usize) -> Result<usize, Reason> {
    let counted = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    match usize::try_from(counted) {
        Ok(counted) if counted < rank => Ok(counted),
        _ => Err(Reason::Number { what: "axis", value: axis }),
    }
}

/// Returns a number that must not be negative.
pub(super) fn extent_of(what: &'static str, value: i64) -> Result<usize, Reason> {
    /// Above everything that a graph allows, and so small that sums and products of two do not overflow.
    const EXTENT_MAX: i64 = 1 << 31;
    match value {
        0..=EXTENT_MAX => Ok(value as usize),
        _ => Err(Reason::Number { what, value }),
    }
}
