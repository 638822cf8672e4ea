use std::fs;
use std::path::PathBuf;

use bitloop_core::graph::Shape;
use bitloop_core::spec::{
    Architecture, Augmentation, ConvBlock, Dataset, Initializer, Optimizer, Separable, TrainData,
};

use super::*;
use crate::model::Model;
use crate::rng::rng;

/// A folder of the test's own, emptied.
fn folder(test: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("bitloop-train-{}-{test}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Noise with a bright left or right half, which is the label.
pub(super) fn images() -> Images {
    let mut rng = rng(1, 0);
    let labels: Vec<u32> = (0..160).map(|_| rng.below(2) as u32).collect();
    let pixels = labels.iter().flat_map(|label| {
        let bright = 4 * *label as usize;
        (0..64)
            .map(|pixel| {
                let is_bright = (bright..bright + 4).contains(&(pixel % 8));
                (rng.below(100) + if is_bright { 60 } else { 0 }) as u8
            })
            .collect::<Vec<u8>>()
    });
    Images { shape: Shape::image(1, 8, 8), pixels: pixels.collect(), labels: labels.clone(), classes: 2 }
}

fn spec() -> TrainSpec {
    TrainSpec {
        name: "tiny".into(),
        architecture: Architecture::ConvBlock(ConvBlock {
            filters: vec![vec![4], vec![6]],
            kernel: 3,
            max_pooling: false,
            separable: Separable::None,
            xnornet_trick: false,
            batch_norm: true,
            all_conv: false,
            dropout: 0.1,
            initializer: Initializer::HeNormal,
        }),
        data: TrainData { dataset: Dataset::FashionMnist, validation: 32 },
        optimizer: Optimizer::Sgd { learning_rate: 0.05, momentum: 0.9, weight_decay: 1e-4 },
        epochs: 6,
        warmup_epochs: 0.5,
        batch: 16,
        label_smoothing: 0.05,
        augmentation: Augmentation { shift: 1, flip: false },
        seed: 3,
        out: "unused".into(),
    }
}

fn run(spec: &TrainSpec, out: &Path) -> (Result<Report, TrainError>, Vec<Progress>) {
    let mut seen = Vec::new();
    let report = train(spec, &images(), out, &mut |progress| seen.push(progress));
    (report, seen)
}

#[test]
fn a_small_network_learns_and_the_best_epoch_is_written() {
    let folder = folder("learns");
    let out = folder.join("model.safetensors");

    let (report, seen) = run(&spec(), &out);

    let report = report.unwrap();
    assert!(report.validation_accuracy > 0.9, "{report:?}");
    let mut best = seen.iter().filter_map(|progress| match progress {
        Progress::Epoch { validation_accuracy, is_best, epoch, .. } if *is_best => {
            Some((*epoch, *validation_accuracy))
        }
        _ => None,
    });
    assert_eq!(best.next_back(), Some((report.best_epoch, report.validation_accuracy)));
    assert_eq!(seen.iter().filter(|p| matches!(p, Progress::Step { .. })).count(), 6 * 8);
    assert_eq!(Model::load(&out).unwrap().graph.name, "tiny");
    assert!(!state::path_beside(&out).exists());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn adamw_learns_too() {
    let folder = folder("adamw");
    let mut spec = spec();
    spec.optimizer = Optimizer::AdamW { learning_rate: 0.01, weight_decay: 0.01 };

    let (report, _) = run(&spec, &folder.join("model.safetensors"));

    assert!(report.unwrap().validation_accuracy > 0.9);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_stopped_training_ends_like_one_that_was_never_stopped() {
    let folder = folder("resumes");
    let (whole, resumed) = (folder.join("whole"), folder.join("resumed"));
    let mut epochs = 0;
    // What a stop behind the second epoch leaves on the disk.
    let mut leave = |progress: Progress| {
        epochs += usize::from(matches!(progress, Progress::Epoch { .. }));
        if epochs == 2 && matches!(progress, Progress::Epoch { .. }) {
            fs::copy(&whole, &resumed).unwrap();
            fs::copy(state::path_beside(&whole), state::path_beside(&resumed)).unwrap();
        }
    };
    let expected = train(&spec(), &images(), &whole, &mut leave).unwrap();

    let (report, seen) = run(&spec(), &resumed);

    assert_eq!(seen[0], Progress::Resumed { epochs: 2 });
    assert_eq!(seen.iter().filter(|p| matches!(p, Progress::Step { .. })).count(), 4 * 8);
    assert_eq!(report.unwrap(), expected);
    assert_eq!(fs::read(&resumed).unwrap(), fs::read(&whole).unwrap());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn any_number_of_threads_gives_the_same_checkpoint() {
    let folder = folder("threads");
    let checkpoint = |threads: usize| {
        let out = folder.join(threads.to_string());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(&spec(), &out).0.unwrap());
        fs::read(out).unwrap()
    };

    assert_eq!(checkpoint(1), checkpoint(3));
    fs::remove_dir_all(folder).unwrap();
}

/// Leaves the state of a training of `spec()` behind its first epoch beside the returned checkpoint.
fn stopped_in(folder: &Path) -> PathBuf {
    let (whole, stopped) = (folder.join("whole"), folder.join("stopped"));
    let mut leave = |progress: Progress| {
        if matches!(progress, Progress::Epoch { epoch: 1, .. }) {
            fs::copy(state::path_beside(&whole), state::path_beside(&stopped)).unwrap();
        }
    };
    train(&spec(), &images(), &whole, &mut leave).unwrap();
    stopped
}

#[test]
fn a_state_of_other_settings_or_images_is_refused_and_kept() {
    let folder = folder("changed");
    let stopped = stopped_in(&folder);
    let left = fs::read(state::path_beside(&stopped)).unwrap();
    let mut other = spec();
    other.label_smoothing = 0.1;
    let mut relabelled = images();
    relabelled.labels[0] ^= 1;

    let (settings, seen) = run(&other, &stopped);
    let labels = train(&spec(), &relabelled, &stopped, &mut |_| {});

    let error = settings.unwrap_err();
    assert!(matches!(error, TrainError::Changed { .. }), "{error}");
    assert!(error.to_string().contains("delete the file"), "{error}");
    assert!(matches!(labels, Err(TrainError::Changed { .. })));
    assert!(seen.is_empty());
    assert_eq!(fs::read(state::path_beside(&stopped)).unwrap(), left);
    assert!(!stopped.exists());
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_damaged_state_is_an_error_with_the_way_out() {
    let folder = folder("damaged");
    let stopped = stopped_in(&folder);
    let path = state::path_beside(&stopped);
    let whole = fs::read(&path).unwrap();

    for bytes in [&whole[..whole.len() / 2], b"", b"not a state at all, only some text"] {
        fs::write(&path, bytes).unwrap();
        let error = run(&spec(), &stopped).0.unwrap_err();
        assert!(matches!(error, TrainError::State { .. }), "{error}");
        assert!(error.to_string().contains("delete it"), "{error}");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn nonsense_is_refused_before_anything_is_written() {
    let folder = folder("nonsense");
    let out = folder.join("model.safetensors");
    let changes: [fn(&mut TrainSpec); 6] = [
        |spec| spec.batch = 1,
        |spec| spec.epochs = 0,
        |spec| spec.label_smoothing = 1.0,
        |spec| spec.warmup_epochs = 7.0,
        |spec| spec.data.validation = 0,
        |spec| spec.data.validation = 150,
    ];

    for change in changes {
        let mut spec = spec();
        change(&mut spec);
        let error = run(&spec, &out).0.unwrap_err();
        let is_expected = matches!(error, TrainError::Setting { .. } | TrainError::TooFewImages { .. });
        assert!(is_expected, "{error}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_diverging_loss_stops_the_training() {
    let folder = folder("diverges");
    let mut spec = spec();
    spec.optimizer = Optimizer::Sgd { learning_rate: 1e30, momentum: 0.0, weight_decay: 0.0 };

    let error = run(&spec, &folder.join("model.safetensors")).0.unwrap_err();

    assert!(matches!(error, TrainError::Diverged { .. }), "{error}");
    fs::remove_dir_all(folder).unwrap();
}
