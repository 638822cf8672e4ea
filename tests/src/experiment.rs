//! Small experiments on the quick start's network and images.

use std::fs;
use std::path::{Path, PathBuf};

use crate::root;

/// An experiment file with its own copies of model and images.
#[derive(Debug)]
pub struct Experiment {
    folder: PathBuf,
    /// Its file.
    pub file: PathBuf,
}

impl Experiment {
    /// Writes an experiment that measures `points` on `selection` images into a new folder.
    pub fn new(folder: &Path, name: &str, points: &str, selection: u32) -> Self {
        let own = folder.join("quickstart");
        fs::create_dir_all(own.join("fashion-mnist")).expect("a folder for the inputs");
        let shipped = root().join("configs/quickstart");
        for file in [
            "convblock.safetensors",
            "fashion-mnist/t10k-images-idx3-ubyte.gz",
            "fashion-mnist/t10k-labels-idx1-ubyte.gz",
        ] {
            fs::copy(shipped.join(file), own.join(file))
                .expect("the quick start's inputs are in the repository");
        }
        let text = format!(
            "version: 1\nname: {name}\nnumerics: float\nmodel: {{ checkpoint: quickstart/convblock.safetensors }}\n\
             data: {{ dataset: fashion_mnist, split: test, calibration: 64, selection: {selection}, seed: 3 }}\n\
             quantization:\n  weights: {{ bits: [2, 3, 4] }}\n  activations: {{ bits: [2, 4] }}\n  baseline: 8\n\
             stages:\n  - sensitivity: {{ single: {points} }}\n"
        );
        let file = folder.join(format!("{name}.yaml"));
        fs::write(&file, text).expect("the experiment file");
        Self { folder: folder.to_owned(), file }
    }

    /// Writes an experiment with these stages, one a line, that evaluates on `selection` images with exact arithmetic.
    pub fn with_stages(folder: &Path, name: &str, stages: &[&str], selection: u32) -> Self {
        let experiment = Self::new(folder, name, "all", selection);
        let text = fs::read_to_string(&experiment.file).expect("the experiment file");
        let (head, _) = text.split_once("stages:\n").expect("an experiment has stages");
        let stages: String = stages.iter().map(|stage| format!("  - {stage}\n")).collect();
        let head =
            head.replace("numerics: float", "numerics: exact").replace("seed: 3", "report: 256, seed: 3");
        fs::write(&experiment.file, format!("{head}stages:\n{stages}")).expect("the experiment file");
        experiment
    }

    /// Writes an experiment with a stage that trains, of which `settings` are the lines, learning from 512 of the images.
    pub fn that_trains(folder: &Path, name: &str, settings: &str) -> Self {
        let experiment = Self::new(folder, name, "all", 256);
        let settings: String = settings.lines().map(|line| format!("      {line}\n")).collect();
        let text = format!(
            "version: 1\nname: {name}\nmodel: {{ checkpoint: quickstart/convblock.safetensors }}\n\
             data:\n  idx: {{ images: quickstart/fashion-mnist/t10k-images-idx3-ubyte.gz, labels: quickstart/fashion-mnist/t10k-labels-idx1-ubyte.gz }}\n  \
             training: 512\n  selection: 256\n  report: 256\n  seed: 3\n\
             stages:\n  - autoqkeras:\n{settings}"
        );
        fs::write(&experiment.file, text).expect("the experiment file");
        experiment
    }

    /// Writes something else where `from` stands in its file.
    pub fn replace(&self, from: &str, to: &str) {
        let text = fs::read_to_string(&self.file).expect("the experiment file");
        assert!(text.contains(from), "{from} does not stand in\n{text}");
        fs::write(&self.file, text.replace(from, to)).expect("the experiment file");
    }

    /// The file's path as an argument.
    pub fn path(&self) -> String {
        self.file.display().to_string()
    }

    /// The model file.
    pub fn checkpoint(&self) -> PathBuf {
        self.folder.join("quickstart/convblock.safetensors")
    }

    /// Takes model and images away, as on a machine that never had them.
    pub fn remove_inputs(&self) {
        fs::remove_dir_all(self.folder.join("quickstart")).expect("the inputs are there");
    }
}

/// The results file that a data directory holds, if there is exactly one.
pub fn results_file(data_dir: &Path) -> Option<Vec<u8>> {
    let mut files = crate::files(&data_dir.join("results"), ".csv");
    let only = files.pop()?;
    files.is_empty().then(|| fs::read(only).expect("a results file can be read"))
}
