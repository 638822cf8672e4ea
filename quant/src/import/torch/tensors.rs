//! From descriptions and bytes to tensors.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::error::TorchError;
use super::pickle::{Pickle, TensorParts};
use super::state_dict;
use super::storage::Element;

/// Elements that the tensors may have together for each byte of the file. One byte has half an element at most; the
/// rest is for storages that several tensors share.
const ELEMENTS_PER_BYTE_MAX: usize = 4;

/// The bytes of storages, each of its described length.
#[derive(Debug, Default)]
pub(super) struct Storages<'a>(BTreeMap<&'a str, &'a [u8]>);

impl<'a> Storages<'a> {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Errors: `StorageSize`.
    pub(super) fn insert(
        &mut self,
        key: &'a str,
        bytes: &'a [u8],
        expected: usize,
    ) -> Result<(), TorchError> {
        if bytes.len() != expected {
            return Err(TorchError::StorageSize { key: key.to_owned(), expected, found: bytes.len() });
        }
        self.0.insert(key, bytes);
        Ok(())
    }
}

/// What a storage should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Described {
    element: Element,
    pub(super) elements: usize,
    pub(super) bytes: usize,
}

/// Returns what each storage should be.
///
/// Errors: `Storage` for a key with two descriptions, or one of more bytes than there are addresses.
pub(super) fn described<'a>(pickle: &Pickle<'a>) -> Result<BTreeMap<&'a str, Described>, TorchError> {
    let mut found = BTreeMap::new();
    for storage in pickle.storages() {
        let wrong = || TorchError::Storage { key: storage.key.to_owned() };
        let bytes = storage.elements.checked_mul(storage.element.bytes()).ok_or_else(wrong)?;
        let description = Described { element: storage.element, elements: storage.elements, bytes };
        if *found.entry(storage.key).or_insert(description) != description {
            return Err(wrong());
        }
    }
    Ok(found)
}

/// Makes the tensors of the state dict.
///
/// Errors: `Shape` for tensors that do not fit their storage, `TooManyElements`, and those of
/// [`state_dict::tensors`]. All are found before the first tensor is made.
pub(super) fn read(
    pickle: &Pickle<'_>,
    storages: &Storages<'_>,
    file_bytes: usize,
) -> Result<BTreeMap<String, Tensor>, TorchError> {
    let parts = state_dict::tensors(pickle)?;
    let limit = file_bytes.saturating_mul(ELEMENTS_PER_BYTE_MAX);
    let mut total = 0usize;
    let mut places = Vec::with_capacity(parts.len());
    for (name, parts) in parts {
        let place = Place::of(name, parts, storages)?;
        total = total.saturating_add(place.elements);
        if total > limit {
            return Err(TorchError::TooManyElements { limit });
        }
        places.push((name, parts, place));
    }
    let made = places.into_iter().map(|(name, parts, place)| {
        let tensor = Tensor::from_vec(place.values(parts), parts.shape.as_slice(), &Device::Cpu);
        let tensor = tensor.map_err(|source| TorchError::Tensor { name: name.to_owned(), source })?;
        Ok((name.to_owned(), tensor))
    });
    made.collect()
}

/// Where a tensor lies, checked.
struct Place<'a> {
    /// What the tensor's offset counts from.
    bytes: &'a [u8],
    number: fn(&[u8]) -> f32,
    elements: usize,
}

impl<'a> Place<'a> {
    fn of(name: &str, parts: &TensorParts<'_>, storages: &Storages<'a>) -> Result<Self, TorchError> {
        let storage = &parts.storage;
        let wrong = || TorchError::Storage { key: storage.key.to_owned() };
        let number = parts.element.reader().ok_or_else(|| no_weight(name, parts.element))?;
        if storage.element != parts.element && storage.element != Element::Untyped {
            return Err(wrong());
        }
        let width = storage.element.bytes();
        let (start, length) = storage.view;
        // The view lies within the storage, whose length in bytes is known not to overflow.
        let bytes = storages.0.get(storage.key).and_then(|bytes| bytes.get(start * width..));
        let bytes = bytes.and_then(|bytes| bytes.get(..length * width)).ok_or_else(wrong)?;
        let available = bytes.len() / parts.element.bytes();
        let elements = elements_within(parts, available).ok_or_else(|| TorchError::Shape {
            name: name.to_owned(),
            shape: parts.shape.clone(),
            strides: parts.strides.clone(),
            offset: parts.offset,
            elements: available,
        })?;
        Ok(Self { bytes, number, elements })
    }

    /// The values in row-major order.
    fn values(&self, parts: &TensorParts<'_>) -> Vec<f32> {
        if self.elements == 0 {
            return Vec::new();
        }
        let width = parts.element.bytes();
        let bytes = &self.bytes[parts.offset * width..];
        if is_row_major(parts) {
            return bytes.chunks_exact(width).take(self.elements).map(self.number).collect();
        }
        let mut values = Vec::with_capacity(self.elements);
        let mut index = vec![0; parts.shape.len()];
        let mut at = 0;
        for _ in 0..self.elements {
            values.push((self.number)(&bytes[at * width..][..width]));
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                at += parts.strides[axis];
                if index[axis] < parts.shape[axis] {
                    break;
                }
                at -= index[axis] * parts.strides[axis];
                index[axis] = 0;
            }
        }
        values
    }
}

/// Returns the number of elements, if all lie within the storage and are not more than it has.
fn elements_within(parts: &TensorParts<'_>, available: usize) -> Option<usize> {
    // With 1 for 0, so that no product of some of the extents overflows either.
    let most =
        parts.shape.iter().try_fold(1usize, |product, extent| product.checked_mul((*extent).max(1)))?;
    if parts.shape.contains(&0) {
        return (most <= isize::MAX as usize).then_some(0);
    }
    let steps = parts.shape.iter().zip(&parts.strides);
    let mut last = steps.map(|(extent, stride)| (extent - 1).checked_mul(*stride));
    let last = last.try_fold(parts.offset, |sum, step| sum.checked_add(step?))?;
    (last < available && most <= available).then_some(most)
}

fn is_row_major(parts: &TensorParts<'_>) -> bool {
    let mut expected = 1;
    parts.shape.iter().zip(&parts.strides).rev().all(|(extent, stride)| {
        let fits = *extent == 1 || *stride == expected;
        expected *= extent;
        fits
    })
}

fn no_weight(name: &str, element: Element) -> TorchError {
    let found = match element {
        Element::Other { name, .. } => name.to_owned(),
        other => format!("{other:?}").to_lowercase(),
    };
    TorchError::Type { name: name.to_owned(), found }
}
