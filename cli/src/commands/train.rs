//! `bitloop train`: a float checkpoint from scratch.

use std::path::Path;
use std::thread::available_parallelism;

use anyhow::Context;
use bitloop_core::spec::{Split, TrainSpec};
use bitloop_quant::data;
use bitloop_quant::train::{self, Report, TrainError};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::args::{Output, TrainArguments};
use crate::failure::{Failure, Outcome};
use crate::inputs;
use crate::show;

pub(super) fn execute(arguments: &TrainArguments, output: Output) -> Outcome {
    let path = &arguments.training;
    let spec = TrainSpec::parse(&inputs::read_text(path)?).map_err(|error| Failure::in_file(path, &error))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let folders = inputs::dataset_folders(&arguments.datasets, folder);
    let images = data::load(spec.data.dataset, Split::Train, &folders)
        .map_err(|error| Failure::usage(format!("data: {error}")))?;
    let out = folder.join(&spec.out);
    let threads = match arguments.threads {
        Some(threads) => usize::from(threads),
        None => available_parallelism()?.get(),
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
    let bar = Bar::new();
    let report: Result<Report, TrainError> =
        pool.install(|| train::train(&spec, &images, &out, &mut |progress| bar.update(progress)));
    bar.0.finish_and_clear();
    let report = report.with_context(|| format!("training {} failed", path.display()))?;
    match output {
        Output::Json => show::json(&json!({
            "model": out,
            "best_epoch": report.best_epoch,
            "validation_accuracy": report.validation_accuracy,
            "validation_loss": report.validation_loss,
            "parameters": report.parameters,
        })),
        Output::Text => show::data(&show::fields(&[
            ("model", out.display().to_string()),
            ("parameters", show::with_thousands(report.parameters as u64)),
            ("best epoch", report.best_epoch.to_string()),
            (
                "validation",
                format!(
                    "top-1 {:.2}%, loss {:.4} on {} held-back training images",
                    report.validation_accuracy * 100.0,
                    report.validation_loss,
                    spec.data.validation
                ),
            ),
        ])),
    }
}

struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let style = ProgressStyle::with_template("{msg} [{bar:32}] {pos}/{len} steps")
            .expect("the template is a constant");
        Self(ProgressBar::new(0).with_style(style.progress_chars("=> ")))
    }

    fn update(&self, progress: train::Progress) {
        match progress {
            train::Progress::Resumed { epochs } => {
                show::note(&format!("resumed: {epochs} epochs already trained"));
            }
            train::Progress::Step { epoch, epochs, step, steps, loss, images_per_s, remaining_s } => {
                self.0.set_length((epochs * steps) as u64);
                self.0.set_position(((epoch - 1) * steps + step) as u64);
                self.0.set_message(format!(
                    "epoch {epoch}/{epochs}, loss {loss:.4}, {images_per_s:.0} images/s, ETA {:.0} s",
                    remaining_s
                ));
            }
            train::Progress::Epoch {
                epoch,
                training_loss,
                validation_accuracy,
                validation_loss,
                is_best,
            } => {
                let best = if is_best { ", best so far" } else { "" };
                let accuracy = validation_accuracy * 100.0;
                let line = format!(
                    "epoch {epoch}: training loss {training_loss:.4}, validation top-1 {accuracy:.2}%, \
                     loss {validation_loss:.4}{best}"
                );
                self.0.suspend(|| show::note(&line));
            }
        }
    }
}
