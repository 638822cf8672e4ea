use std::collections::BTreeMap;

use bitloop_core::graph::Shape;
use safetensors::{Dtype, SafeTensors};

use super::{DataError, Images};
use crate::archive::{self, Entry};

const FORMAT_KEY: &str = "bitloop.data_format";
const CLASSES_KEY: &str = "bitloop.classes";
const FORMAT: &str = "1";

impl Images {
    /// Returns the data artifact; the same images always give the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let metadata =
            BTreeMap::from([(FORMAT_KEY, FORMAT.to_owned()), (CLASSES_KEY, self.classes.to_string())]);
        let labels_shape = [self.len()];
        let pixels_shape = [&[self.len()], self.shape.0.as_slice()].concat();
        let labels = self.labels.iter().flat_map(|label| label.to_le_bytes());
        let entries = BTreeMap::from([
            ("labels", Entry { dtype: "U32", shape: &labels_shape, bytes: labels.collect() }),
            ("pixels", Entry { dtype: "U8", shape: &pixels_shape, bytes: self.pixels.clone() }),
        ]);
        archive::to_bytes(metadata, &entries)
    }

    /// Reads a data artifact and checks it completely.
    ///
    /// Errors: `Artifact`, `Version`, `Label`. No bytes make it panic.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DataError> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| artifact(error.to_string()))?;
        let no_metadata = || artifact("it has no metadata".to_owned());
        let metadata = header.metadata().as_ref().ok_or_else(no_metadata)?;
        let version = metadata.get(FORMAT_KEY).ok_or_else(no_metadata)?;
        if version != FORMAT {
            return Err(DataError::Version { found: version.clone(), supported: FORMAT });
        }
        let classes = metadata.get(CLASSES_KEY).and_then(|text| text.parse().ok());
        let classes =
            classes.ok_or_else(|| artifact("it does not say how many classes there are".to_owned()))?;

        let file = SafeTensors::deserialize(bytes).map_err(|error| artifact(error.to_string()))?;
        let labels = tensor(&file, "labels", Dtype::U32)?;
        let pixels = tensor(&file, "pixels", Dtype::U8)?;
        let (&[n], &[images, ref shape @ ..]) = (labels.shape(), pixels.shape()) else {
            return Err(artifact("labels or pixels have no axis".to_owned()));
        };
        if images != n || shape.len() != 3 || pixels.data().is_empty() || file.len() != 2 {
            let (labels, pixels) = (labels.shape(), pixels.shape());
            let reason = format!(
                "labels of shape {labels:?} and pixels of shape {pixels:?} are not (n) and (n, c, h, w)"
            );
            return Err(artifact(reason));
        }
        let images = Self {
            shape: Shape(shape.to_vec()),
            pixels: pixels.data().to_vec(),
            labels: archive::u32_values(labels.data()),
            classes,
        };
        images.check_labels()?;
        Ok(images)
    }
}

fn tensor<'a>(
    file: &SafeTensors<'a>,
    name: &str,
    dtype: Dtype,
) -> Result<safetensors::tensor::TensorView<'a>, DataError> {
    let tensor = file.tensor(name).map_err(|error| artifact(error.to_string()))?;
    if tensor.dtype() != dtype {
        return Err(artifact(format!("`{name}` has type {:?}, not {dtype:?}", tensor.dtype())));
    }
    Ok(tensor)
}

fn artifact(reason: String) -> DataError {
    DataError::Artifact { reason }
}
