//! Safetensors files without a graph.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use safetensors::{Dtype, SafeTensors};

use super::error::TorchError;
use super::state_dict;
use super::storage::Element;

/// Reads the float tensors of a safetensors file.
pub(super) fn read(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, TorchError> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| TorchError::Safetensors { reason: error.to_string() })?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let Some(element) = element_of(view.dtype()) else {
            return Err(TorchError::Type { name: name.to_owned(), found: view.dtype().to_string() });
        };
        let Some(number) = element.reader().filter(|_| !state_dict::is_counter(name)) else { continue };
        let values: Vec<f32> = view.data().chunks_exact(element.bytes()).map(number).collect();
        let tensor = Tensor::from_vec(values, view.shape(), &Device::Cpu);
        let tensor = tensor.map_err(|source| TorchError::Tensor { name: name.to_owned(), source })?;
        tensors.insert(name.to_owned(), tensor);
    }
    match tensors.is_empty() {
        true => Err(TorchError::NoTensors {
            wrappers: "anything else".to_owned(),
            found: format!("a file of {} tensors of other types", file.len()),
        }),
        false => Ok(tensors),
    }
}

/// Our word for a type; `None` for those that are neither weights nor counters.
fn element_of(dtype: Dtype) -> Option<Element> {
    match dtype {
        Dtype::F16 => Some(Element::F16),
        Dtype::BF16 => Some(Element::Bf16),
        Dtype::F32 => Some(Element::F32),
        Dtype::F64 => Some(Element::F64),
        Dtype::BOOL | Dtype::U8 | Dtype::I8 => Some(Element::Integer { bytes: 1 }),
        Dtype::I16 | Dtype::U16 => Some(Element::Integer { bytes: 2 }),
        Dtype::I32 | Dtype::U32 => Some(Element::Integer { bytes: 4 }),
        Dtype::I64 | Dtype::U64 => Some(Element::Integer { bytes: 8 }),
        _ => None,
    }
}
