//! The statistics' artifact: safetensors with ranges as f32, and counts as bytes of variable number, since most bins
//! hold few values.

use std::collections::BTreeMap;

use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::{CalibrationError, Statistics};
use crate::archive::{self, Entry};
use crate::quantizer::{HistogramParts, Observer};

const FORMAT_KEY: &str = "bitloop.statistics_format";
/// Version of the statistics' file; 1 was JSON with ranges alone.
const FORMAT: &str = "2";
const IMAGES_KEY: &str = "bitloop.images";
const POINTS_KEY: &str = "bitloop.points";
const RANGES: &str = "ranges";
const COUNTS: &str = "counts";

/// Which parts of a point stand in the file, in this order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilePoint {
    name: String,
    /// Bins of the fine and of the coarse histogram; 0 if it was not kept.
    bins: [u32; 2],
}

impl Statistics {
    /// Returns the statistics' artifact; the same statistics always give the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (mut points, mut ranges, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        for (name, observer) in &self.observers {
            let (min, max) = observer.range().expect("a point without values is refused");
            ranges.extend([min, max]);
            let histograms = observer.histograms();
            let bins = [0, 1].map(|kind| histograms[kind].as_ref().map_or(0, |h| h.counts.len() as u32));
            points.push(FilePoint { name: name.clone(), bins });
            for HistogramParts { range, limits, counts: bins } in histograms.into_iter().flatten() {
                ranges.extend([range.0, range.1, limits.0, limits.1]);
                bins.into_iter().for_each(|count| write_count(&mut counts, count));
            }
        }
        let points = serde_json::to_string(&points).expect("names and numbers have a JSON form");
        let metadata = BTreeMap::from([
            (FORMAT_KEY, FORMAT.to_owned()),
            (IMAGES_KEY, self.images.to_string()),
            (POINTS_KEY, points),
        ]);
        let (ranges_shape, counts_shape) = ([ranges.len()], [counts.len()]);
        let entries = BTreeMap::from([
            (RANGES, Entry { dtype: "F32", shape: &ranges_shape, bytes: archive::f32_bytes(&ranges) }),
            (COUNTS, Entry { dtype: "U8", shape: &counts_shape, bytes: counts }),
        ]);
        archive::to_bytes(metadata, &entries)
    }

    /// Reads the statistics' artifact and checks it completely.
    ///
    /// Errors: `NotStatistics`, `Version`. No bytes make it panic.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CalibrationError> {
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| damaged(e.to_string()))?;
        let metadata = header.metadata().as_ref();
        let text = |key: &str| {
            let value = metadata.and_then(|metadata| metadata.get(key));
            value.ok_or_else(|| damaged(format!("it has no `{key}`")))
        };
        let version = text(FORMAT_KEY)?;
        if version != FORMAT {
            return Err(CalibrationError::Version { found: version.clone(), supported: FORMAT });
        }
        let images = text(IMAGES_KEY)?.parse().map_err(|_| damaged("its images are no number".to_owned()))?;
        let points: Vec<FilePoint> =
            serde_json::from_str(text(POINTS_KEY)?).map_err(|e| damaged(e.to_string()))?;

        let file = SafeTensors::deserialize(bytes).map_err(|e| damaged(e.to_string()))?;
        let ranges = archive::f32_values(tensor(&file, RANGES, Dtype::F32)?);
        let mut reader = Reader { ranges: &ranges, counts: tensor(&file, COUNTS, Dtype::U8)? };
        let mut observers = BTreeMap::new();
        for FilePoint { name, bins } in points {
            let observer = reader.observer(bins);
            let observer = observer.ok_or_else(|| damaged(format!("point `{name}` makes no sense")))?;
            if observers.insert(name.clone(), observer).is_some() {
                return Err(damaged(format!("point `{name}` is there twice")));
            }
        }
        if !reader.ranges.is_empty() || !reader.counts.is_empty() || file.len() != 2 {
            return Err(damaged("it holds more than its points".to_owned()));
        }
        Ok(Self { images, observers })
    }
}

fn damaged(reason: String) -> CalibrationError {
    CalibrationError::NotStatistics { reason }
}

fn tensor<'a>(file: &SafeTensors<'a>, name: &str, dtype: Dtype) -> Result<&'a [u8], CalibrationError> {
    let tensor = file.tensor(name).map_err(|e| damaged(e.to_string()))?;
    if tensor.dtype() != dtype {
        return Err(damaged(format!("`{name}` has type {:?}, not {dtype:?}", tensor.dtype())));
    }
    Ok(tensor.data())
}

/// What has not been read yet.
struct Reader<'a> {
    ranges: &'a [f32],
    counts: &'a [u8],
}

impl Reader<'_> {
    fn observer(&mut self, bins: [u32; 2]) -> Option<Observer> {
        let range = self.pair()?;
        let [fine, coarse] = bins;
        let histograms = [self.histogram(fine)?, self.histogram(coarse)?];
        Observer::from_parts(range, histograms)
    }

    fn pair(&mut self) -> Option<(f32, f32)> {
        let (pair, rest) = self.ranges.split_first_chunk::<2>()?;
        self.ranges = rest;
        Some((pair[0], pair[1]))
    }

    fn histogram(&mut self, bins: u32) -> Option<Option<HistogramParts>> {
        if bins == 0 {
            return Some(None);
        }
        let (range, limits) = (self.pair()?, self.pair()?);
        // Every count has a byte at least, so a wrong number of bins costs no memory.
        let counts = (0..bins).map(|_| read_count(&mut self.counts)).collect::<Option<Vec<u64>>>()?;
        Some(Some(HistogramParts { range, limits, counts }))
    }
}

/// Writes seven bits a byte, lowest first; the eighth says that more follow (LEB128).
fn write_count(bytes: &mut Vec<u8>, mut count: u64) {
    while count >= 0x80 {
        bytes.push(count as u8 | 0x80);
        count >>= 7;
    }
    bytes.push(count as u8);
}

/// Reads what [`write_count`] wrote, in that form only: no needless bytes, nothing beyond 64 bits.
fn read_count(bytes: &mut &[u8]) -> Option<u64> {
    let mut count = 0_u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part || (byte == 0 && shift > 0) {
            return None;
        }
        count |= part << shift;
        if byte < 0x80 {
            return Some(count);
        }
    }
    None
}
