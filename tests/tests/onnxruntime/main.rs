//! ONNX Runtime as a device: it computes what is simulated, and says what layers take.
//!
//! Needs a library, which `BITLOOP_TEST_ONNXRUNTIME` names (its file, or a folder such as a Python environment).

#![expect(clippy::unwrap_used, reason = "test code, also outside of test functions")]

mod agreement;
mod experiment;
#[path = "../labelled/mod.rs"]
mod labelled;
mod networks;
mod probe;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use bitloop_core::bits::BitConfig;
use bitloop_quant::export::{CodeTypes, Exported, onnx_for_device};
use bitloop_quant::prepare::Prepared;
use bitloop_tests::is_required;
use bitloop_worker::adapter::{Adapter, Inputs, Loaded, open};
use bitloop_worker::probe::{InferenceSetting, Network};

use networks::BASELINE;

/// Names the library.
const LIBRARY: &str = "BITLOOP_TEST_ONNXRUNTIME";

const SETTING: InferenceSetting = InferenceSetting { batch: 1, threads: 1 };

/// Where it is; none, after saying so, where there is none.
fn library() -> Option<PathBuf> {
    let Some(library) = std::env::var_os(LIBRARY) else {
        assert!(!is_required("onnxruntime"), "BITLOOP_REQUIRE names onnxruntime, but {LIBRARY} is not set");
        drop(writeln!(std::io::stderr(), "skipped: {LIBRARY} names no library of onnxruntime"));
        return None;
    };
    Some(PathBuf::from(library))
}

/// ONNX Runtime; none, after saying so, where there is none.
fn adapter(codes: CodeTypes) -> Option<Box<dyn Adapter>> {
    let library = library()?;
    let codes = match codes {
        CodeTypes::Native => "native",
        CodeTypes::Int8 => "int8",
    };
    Some(open(&format!("onnxruntime=lib={},codes={codes}", library.display())).unwrap())
}

/// A file of a network for a device.
struct Written {
    folder: tempfile::TempDir,
}

impl Written {
    fn new(prepared: &Prepared, config: &BitConfig, types: CodeTypes) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let exported = Exported::at(prepared, config, BASELINE).unwrap();
        std::fs::write(folder.path().join("network.onnx"), onnx_for_device(&exported, types).unwrap())
            .unwrap();
        Self { folder }
    }

    fn network(&self) -> Network {
        Network {
            prepared: None,
            onnx: Some(self.folder.path().join("network.onnx")),
            bits: Default::default(),
        }
    }

    /// What it gives for images: the logits, then what each of the nodes gives, for all images.
    fn infer(&self, loaded: &mut dyn Loaded, images: &[f32], count: u64, nodes: &[String]) -> Vec<f32> {
        let path = |name: &str| self.folder.path().join(name);
        let bytes: Vec<u8> = images.iter().flat_map(|value| value.to_le_bytes()).collect();
        std::fs::write(path("images"), bytes).unwrap();
        let (images, output) = (path("images"), path("output"));
        loaded.infer(&Inputs { images: &images, count, nodes, output: &output }).unwrap();
        floats(&output)
    }
}

fn floats(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}
