//! Networks as files, which is how probes are given them.

use std::fs;
use std::sync::Arc;

use bitloop_core::bits::{BitConfig, Choice, PointIndex};
use bitloop_core::digest::Digest;
use bitloop_quant::export::{self, CodeTypes, Exported};
use bitloop_quant::inference::Quantized;
use bitloop_quant::prepare::Prepared;

use super::{Hello, Network};
use crate::artifacts::{ArtifactCache, ArtifactError, Artifacts};
use crate::executor::Obstacle;

/// The prepared network that was asked for last, in a folder of this process.
pub(crate) struct Staged {
    folder: ArtifactCache,
    digest: Digest,
    prepared: Arc<Prepared>,
}

/// What the prepared network is called there.
const PREPARED: &str = "prepared.safetensors";

impl Staged {
    /// Fetches a prepared network.
    pub(super) fn fetch(digest: &Digest, artifacts: &dyn Artifacts) -> Result<Self, Obstacle> {
        let bytes = artifacts.fetch(digest)?;
        let prepared = Prepared::from_bytes(&bytes).map_err(|error| Obstacle::Failed(error.to_string()))?;
        let folder = ArtifactCache::open(None)?;
        let staged = Self { folder, digest: *digest, prepared: Arc::new(prepared) };
        staged.write(PREPARED, &bytes)?;
        Ok(staged)
    }

    /// Whether it is this one.
    pub(super) fn is(&self, digest: &Digest) -> bool {
        self.digest == *digest
    }

    /// Multiply-adds of an image.
    pub(super) fn macs(&self) -> Result<u64, Obstacle> {
        let layers = self.prepared.model.graph.layer_costs_with(&self.prepared.points);
        let layers = layers.map_err(|error| Obstacle::Failed(error.to_string()))?;
        Ok(layers.iter().fold(0, |sum: u64, layer| sum.saturating_add(layer.macs)))
    }

    /// The network at the widths of a config, in memory.
    pub(super) fn quantized(&self, network: &Network) -> Result<Quantized, Obstacle> {
        Quantized::new(Arc::clone(&self.prepared), &network.bits)
            .map_err(|error| Obstacle::Failed(error.to_string()))
    }

    /// The same as files, of a name that no other network of a request has.
    pub(super) fn network(
        &self,
        name: &str,
        (config, baseline): (&BitConfig, Choice),
        hello: &Hello,
    ) -> Result<Network, Obstacle> {
        let choice = |index: usize| config.choice(PointIndex(index as u32), baseline);
        let points = self.prepared.points.iter().enumerate();
        let bits = points.map(|(index, point)| {
            let width = match choice(index) {
                Choice::Float => None,
                Choice::Bits(bits) => Some(bits.get()),
            };
            (point.name.clone(), width)
        });
        let onnx = match hello.onnx {
            false => None,
            true => {
                let path = format!("{name}.onnx");
                self.write(&path, &self.exported((config, baseline), hello.codes)?)?;
                Some(self.folder.file(&path))
            }
        };
        Ok(Network { prepared: Some(self.folder.file(PREPARED)), onnx, bits: bits.collect() })
    }

    fn exported(
        &self,
        (config, baseline): (&BitConfig, Choice),
        codes: CodeTypes,
    ) -> Result<Vec<u8>, Obstacle> {
        let exported = Exported::at(&self.prepared, config, baseline);
        let written = exported.and_then(|exported| export::onnx_for_device(&exported, codes));
        written.map_err(|error| Obstacle::Failed(format!("the network cannot be exported: {error}")))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ArtifactError> {
        let path = self.folder.file(name);
        fs::write(&path, bytes).map_err(|source| ArtifactError::Cache { path, source })
    }

    /// A file that a request is about.
    pub(super) fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.file(name)
    }
}
