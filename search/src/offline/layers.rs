use bitloop_core::bits::Bits;
use bitloop_core::graph::{Graph, Point};
use serde::Deserialize;
use serde_json::Value;

use super::OfflineError;
use crate::cost::Subject;
use crate::space::Space;
use crate::tables::{Counts, LimpqLayers, PairwiseLayers};

/// A file that says what the layers of a network cost, in one of three forms that its keys tell apart.
#[derive(Clone, Debug, PartialEq)]
pub enum LayersFile {
    /// A network of bitloop's own: what `bitloop check --output json` prints.
    Network(Box<NetworkFile>),
    /// A network of the published pairwise-correlation database.
    PairwiseMpq(PairwiseLayers),
    /// A network whose importance indicators were published.
    Limpq(LimpqLayers),
}

/// A network as it is quantized; other keys of the document are not read.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct NetworkFile {
    /// The graph that points stand in.
    pub graph: Graph,
    /// Where quantizers stand.
    pub points: Vec<Point>,
    /// Width of what is not searched.
    pub baseline_bits: Bits,
}

impl LayersFile {
    /// Reads a file in whichever form it has.
    ///
    /// Errors: `Layers` if it has none of them; `Table` if it has one but is wrong.
    pub fn parse(text: &str) -> Result<Self, OfflineError> {
        let wrong = |error: serde_json::Error| OfflineError::Layers(error.to_string());
        let document: Value = serde_json::from_str(text).map_err(wrong)?;
        let has = |key: &str| document.get(key).is_some();
        if has("graph") {
            let network: NetworkFile = serde_json::from_str(text).map_err(wrong)?;
            network.graph.shapes().map_err(|error| OfflineError::Layers(error.to_string()))?;
            return Ok(Self::Network(Box::new(network)));
        }
        if has("variables") {
            return Ok(Self::PairwiseMpq(PairwiseLayers::parse(text)?));
        }
        if has("fixed_8bit") {
            return Ok(Self::Limpq(LimpqLayers::parse(text)?));
        }
        Err(OfflineError::Layers(
            "it has neither `graph` (as `bitloop check --output json` prints it), nor `variables` (pairwise_mpq), nor \
             `fixed_8bit` (limpq)"
                .to_owned(),
        ))
    }

    /// What costs over a space are counted for.
    ///
    /// Errors: `Table` or `Cost` where the space is not of this network.
    pub fn subject<'a>(&'a self, counts: Counts, space: &'a Space) -> Result<Subject<'a>, OfflineError> {
        match self {
            Self::Network(network) => {
                Ok(Subject::of_graph(&network.graph, &network.points, network.baseline_bits, space)?)
            }
            Self::PairwiseMpq(layers) => Ok(Subject::of_pairwise_mpq(layers, counts, space)?),
            Self::Limpq(layers) => Ok(Subject::of_limpq(layers, counts, space)?),
        }
    }
}
