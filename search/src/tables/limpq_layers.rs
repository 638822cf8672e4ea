use std::collections::BTreeSet;

use serde::Deserialize;

use super::{Counts, TableError, positive};

/// The layers of a network whose importance indicators were published.
///
/// A JSON document of these keys and no others; `note` may be left out:
/// ```json
/// { "model": "resnet50", "input": [1, 3, 224, 224], "note": "...", "fixed_8bit": ["conv1", "fc"],
///   "layers": [ { "index": 0, "name": "conv1", "c_in": 3, "c_out": 64, "k": 7, "stride": 2, "out_h": 112,
///                 "searchable": false, "params": 9408, "spatial_upstream": 12656, "macs_upstream": 119067648,
///                 "spatial_true": 12544, "macs_true": 118013952 } ] }
/// ```
/// Layers that are not searchable are those in `fixed_8bit`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimpqLayers {
    /// The network's name.
    pub model: String,
    /// Images, channels, height and width of the input.
    pub input: [u64; 4],
    /// For people.
    #[serde(default)]
    pub note: Option<String>,
    /// Layers that stay at 8 bits.
    pub fixed_8bit: Vec<String>,
    /// The layers.
    pub layers: Vec<LimpqLayer>,
}

/// One of [`LimpqLayers`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimpqLayer {
    /// Its place, from 0.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Input channels.
    pub c_in: u64,
    /// Output channels.
    pub c_out: u64,
    /// Height and width of the window.
    pub k: u64,
    /// Steps of the window.
    pub stride: u64,
    /// Rows of its output.
    pub out_h: u64,
    /// Whether its widths are searched.
    pub searchable: bool,
    /// Number of weights.
    pub params: u64,
    /// Positions of the published count.
    pub spatial_upstream: u64,
    /// Published multiply-accumulates.
    pub macs_upstream: u64,
    /// Positions of its true output.
    pub spatial_true: u64,
    /// True multiply-accumulates.
    pub macs_true: u64,
}

impl LimpqLayer {
    /// Its multiply-accumulates by one of the counts.
    pub fn macs(&self, counts: Counts) -> u64 {
        match counts {
            Counts::Published => self.macs_upstream,
            Counts::True => self.macs_true,
        }
    }
}

impl LimpqLayers {
    /// Reads the layers from their document.
    ///
    /// Errors: `Malformed`; `NotPositive`; `Duplicate`; `Unknown` where `fixed_8bit` and `searchable` do not fit.
    pub fn parse(text: &str) -> Result<Self, TableError> {
        let table: Self = serde_json::from_str(text).map_err(TableError::malformed("the table of layers"))?;
        let mut seen = BTreeSet::new();
        for layer in &table.layers {
            if !seen.insert(layer.name.as_str()) {
                return Err(TableError::Duplicate(layer.name.clone()));
            }
            let numbers = [
                ("params", layer.params),
                ("macs_upstream", layer.macs_upstream),
                ("macs_true", layer.macs_true),
            ];
            for (key, value) in numbers {
                positive(&layer.name, key, value as f64)?;
            }
            if layer.searchable == table.fixed_8bit.contains(&layer.name) {
                return Err(TableError::Unknown {
                    what: "whether a width is searched of",
                    name: layer.name.clone(),
                    hint: "a layer is either searchable or in fixed_8bit",
                });
            }
        }
        match table.fixed_8bit.iter().find(|name| !seen.contains(name.as_str())) {
            Some(other) => Err(TableError::Unknown {
                what: "the layer",
                name: other.clone(),
                hint: "fixed_8bit names one that is not among the layers",
            }),
            None => Ok(table),
        }
    }

    /// The layers whose widths are searched, in order.
    pub fn searched(&self) -> impl Iterator<Item = &LimpqLayer> {
        self.layers.iter().filter(|layer| layer.searchable)
    }

    /// The layers that stay at 8 bits, in order.
    pub fn fixed(&self) -> impl Iterator<Item = &LimpqLayer> {
        self.layers.iter().filter(|layer| !layer.searchable)
    }
}
