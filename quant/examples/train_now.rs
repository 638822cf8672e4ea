//! Trains the quick-start network; to be deleted once `bitloop train` exists.

use std::path::{Path, PathBuf};

use bitloop_core::spec::*;
use bitloop_quant::train::{Progress, train};
use bitloop_quant::{data, executor, model::Model};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let epochs: usize = arguments[2].parse()?;
    let filters = [[12, 16], [24, 32], [48, 64]].map(|block| block.to_vec()).to_vec();
    let spec = TrainSpec {
        name: "convblock".into(),
        architecture: Architecture::ConvBlock(ConvBlock {
            filters,
            kernel: 3,
            max_pooling: false,
            separable: Separable::None,
            xnornet_trick: false,
            batch_norm: true,
            all_conv: false,
            dropout: 0.0,
            initializer: Initializer::HeNormal,
        }),
        data: TrainData { dataset: Dataset::FashionMnist, validation: 5000 },
        optimizer: Optimizer::Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 5e-4 },
        epochs,
        warmup_epochs: 1.0,
        batch: 128,
        label_smoothing: 0.05,
        augmentation: Augmentation { shift: 2, flip: true },
        seed: 1,
        out: "quickstart/convblock.safetensors".into(),
    };
    let out = Path::new(&arguments[1]);
    let folders = [PathBuf::from("/tmp/fashion/usr/share/datasets/fashion-mnist")];
    let images = data::load(Dataset::FashionMnist, Split::Train, &folders)?;
    let stop_after: usize = arguments.get(3).map_or(Ok(usize::MAX), |text| text.parse())?;
    let report = train(&spec, &images, out, &mut |progress| match progress {
        Progress::Step { step, epoch, .. } if epoch == 1 && step >= stop_after => {
            eprintln!("{progress:?}");
            std::process::exit(0)
        }
        Progress::Step { step, .. } if step % 50 != 0 => {}
        other => eprintln!("{other:?}"),
    })?;
    eprintln!("{report:?}");
    let model = Model::load(out)?;
    let macs: u64 = model.graph.layer_costs()?.iter().map(|layer| layer.macs).sum();
    let points = model.graph.points()?;
    eprintln!("macs {macs}, {} points", points.len());
    let test = data::load(Dataset::FashionMnist, Split::Test, &folders)?;
    let mut correct = 0;
    for (pixels, labels) in test.pixels.chunks(784 * 500).zip(test.labels.chunks(500)) {
        let x = executor::normalize(&model.graph.input, pixels, labels.len(), &candle_core::Device::Cpu)?;
        let mut pass = executor::FloatPass { weights: &model.weights };
        let logits = executor::forward(&model.graph, &x, model.graph.logits()?, &mut pass)?;
        let best = logits.argmax(1)?.to_vec1::<u32>()?;
        correct += best.iter().zip(labels).filter(|(a, b)| a == b).count();
    }
    eprintln!("test: {correct} of {}", test.len());
    Ok(())
}
