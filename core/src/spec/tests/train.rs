use super::{TRAINING, training_mistakes, with};
use crate::spec::{
    Architecture, Augmentation, ConvBlock, Dataset, Initializer, Optimizer, ResNet, Separable, TrainData,
    TrainSpec,
};

fn expected() -> TrainSpec {
    TrainSpec {
        name: "convblock".into(),
        architecture: Architecture::ConvBlock(ConvBlock {
            filters: vec![vec![16], vec![32, 32]],
            kernel: 3,
            max_pooling: true,
            separable: Separable::None,
            xnornet_trick: false,
            batch_norm: true,
            all_conv: false,
            dropout: 0.0,
            initializer: Initializer::HeUniform,
        }),
        data: TrainData { dataset: Dataset::FashionMnist, validation: 5000 },
        optimizer: Optimizer::Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 5e-4 },
        epochs: 20,
        warmup_epochs: 1.5,
        batch: 256,
        label_smoothing: 0.1,
        augmentation: Augmentation { shift: 2, flip: true },
        seed: 7,
        out: "convblock.safetensors".into(),
    }
}

#[test]
fn the_example_is_read() {
    assert_eq!(TrainSpec::parse(TRAINING), Ok(expected()));
}

#[test]
fn a_short_file_has_the_defaults() {
    let text = "\
version: 1
name: small
architecture: { conv_block: { filters: [8] } }
data: { dataset: fashion_mnist, validation: 0 }
optimizer: { sgd: { learning_rate: 1 } }
epochs: 1
out: small.safetensors
";

    let spec = TrainSpec {
        name: "small".into(),
        architecture: Architecture::ConvBlock(ConvBlock {
            filters: vec![vec![8]],
            kernel: 3,
            max_pooling: true,
            separable: Separable::None,
            xnornet_trick: false,
            batch_norm: true,
            all_conv: false,
            dropout: 0.0,
            initializer: Initializer::HeNormal,
        }),
        data: TrainData { dataset: Dataset::FashionMnist, validation: 0 },
        optimizer: Optimizer::Sgd { learning_rate: 1.0, momentum: 0.9, weight_decay: 0.0 },
        epochs: 1,
        warmup_epochs: 0.0,
        batch: 128,
        label_smoothing: 0.0,
        augmentation: Augmentation { shift: 0, flip: false },
        seed: 0,
        out: "small.safetensors".into(),
    };
    assert_eq!(TrainSpec::parse(text), Ok(spec));
}

#[test]
fn the_other_architecture_and_optimizer_are_read() {
    let block = TRAINING.find("  conv_block").unwrap()..TRAINING.find("data:").unwrap();
    let text = with(TRAINING, &TRAINING[block], "  resnet: { depth: 8, stem_stride: 2 }\n");
    let text = with(
        &text,
        "sgd: { learning_rate: 0.1, momentum: 0.9, weight_decay: 5e-4 }",
        "adamw: { learning_rate: 1e-3 }",
    );

    let mut spec = expected();
    spec.architecture = Architecture::ResNet(ResNet { depth: 8, width: 16, stem_stride: 2 });
    spec.optimizer = Optimizer::AdamW { learning_rate: 1e-3, weight_decay: 0.0 };
    assert_eq!(TrainSpec::parse(&text), Ok(spec));
}

#[test]
fn a_dropout_next_to_one_does_not_round_to_one() {
    let text = with(TRAINING, "dropout: 0.0", "dropout: 0.99999999999");

    let Architecture::ConvBlock(network) = TrainSpec::parse(&text).unwrap().architecture else {
        panic!("the example is a conv_block");
    };

    assert!(network.dropout < 1.0);
}

#[test]
fn each_kind_of_mistake_gives_one_line() {
    for (from, to, line) in MISTAKES {
        assert_eq!(training_mistakes(&with(TRAINING, from, to)), [*line], "`{from}` -> `{to}`");
    }
}

/// What is replaced in the example, by what, and what the reader says.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("version: 1", "version: 3", "version: this file is version 3; this bitloop reads version 1"),
    (
        "filters: [16, [32, 32]]",
        "filters: [16, [32, 0]]",
        "architecture.conv_block.filters[1][1]: 0 is out of range; write a whole number from 1 to 4096",
    ),
    (
        "filters: [16, [32, 32]]",
        "filters: [16, []]",
        "architecture.conv_block.filters[1]: the list is empty; write a list such as `[32, 32]`",
    ),
    (
        "filters: [16, [32, 32]]",
        "filters: [16, [[32]]]",
        "architecture.conv_block.filters[1][0]: expected a whole number, found a list; write a whole number from 1 to 4096",
    ),
    (
        "filters: [16, [32, 32]]",
        "filters: 16",
        "architecture.conv_block.filters: expected a list, found number 16; write a list such as `[16, [32, 32]]`",
    ),
    (
        "    filters: [16, [32, 32]]\n",
        "",
        "architecture.conv_block.filters: is missing; add `filters: [16, 32]`",
    ),
    (
        "kernel: 3",
        "kernel: 4",
        "architecture.conv_block.kernel: a kernel of 4 has no middle; write an odd number",
    ),
    (
        "kernel: 3",
        "kernel: 13",
        "architecture.conv_block.kernel: 13 is out of range; write a whole number from 1 to 11",
    ),
    (
        "max_pooling: true",
        "max_pooling: yes",
        "architecture.conv_block.max_pooling: expected `true` or `false`, found text `yes`",
    ),
    (
        "separable: none",
        "separable: depthwise",
        "architecture.conv_block.separable: expected one of `none`, `mobilenet` or `dsp`, found text `depthwise`",
    ),
    (
        "separable: none",
        "separable: mobilnet",
        "architecture.conv_block.separable: expected one of `none`, `mobilenet` or `dsp`, found text `mobilnet`; did you mean `mobilenet`?",
    ),
    (
        "dropout: 0.0",
        "dropout: 1",
        "architecture.conv_block.dropout: 1 is out of range; write a number from 0 to below 1",
    ),
    (
        "dropout: 0.0",
        "dropout: abc",
        "architecture.conv_block.dropout: expected a number, found text `abc`; write a number from 0 to below 1",
    ),
    (
        "initializer: he_uniform",
        "initializer: null",
        "architecture.conv_block.initializer: expected one of `he_normal`, `he_uniform` or `glorot_uniform`, found nothing",
    ),
    ("  conv_block:", "  convblock:", "architecture.convblock: unknown key; did you mean `conv_block`?"),
    (
        "validation: 5000",
        "validation: 5k",
        "data.validation: expected a whole number, found text `5k`; write a whole number from 0 to 1000000000",
    ),
    (
        "optimizer: { sgd: { learning_rate: 0.1, momentum: 0.9, weight_decay: 5e-4 } }",
        "optimizer: sgd",
        "optimizer: expected a mapping with the key `sgd`, `adam` or `adamw`, found text `sgd`; write `sgd: { ... }`",
    ),
    (
        "optimizer: { sgd",
        "optimizer: { lion",
        "optimizer.lion: unknown key; known keys: `sgd`, `adam` and `adamw`",
    ),
    (
        "learning_rate: 0.1",
        "learning_rate: 0",
        "optimizer.sgd.learning_rate: 0 is out of range; write a number from 0.000001 to 10",
    ),
    (
        "learning_rate: 0.1",
        "learning_rate: .inf",
        "optimizer.sgd.learning_rate: inf is not a finite number; write a number from 0.000001 to 10",
    ),
    ("learning_rate: 0.1, ", "", "optimizer.sgd.learning_rate: is missing; add `learning_rate: 0.1`"),
    (
        "momentum: 0.9",
        "momentum: 1.0",
        "optimizer.sgd.momentum: 1 is out of range; write a number from 0 to below 1",
    ),
    (
        "weight_decay: 5e-4",
        "weight_decay: -5e-4",
        "optimizer.sgd.weight_decay: -0.0005 is out of range; write a number from 0 to 1",
    ),
    ("epochs: 20\n", "epochs: 0\n", "epochs: 0 is out of range; write a whole number from 1 to 10000"),
    (
        "warmup_epochs: 1.5",
        "warmup_epochs: 21",
        "warmup_epochs: 21 is out of range; write a number from 0 to 20",
    ),
    (
        "warmup_epochs: 1.5",
        "warm_up_epochs: 1.5",
        "warm_up_epochs: unknown key; did you mean `warmup_epochs`?",
    ),
    ("batch: 256", "batch: 65537", "batch: 65537 is out of range; write a whole number from 1 to 65536"),
    (
        "label_smoothing: 0.1",
        "label_smoothing: .nan",
        "label_smoothing: NaN is not a finite number; write a number from 0 to below 1",
    ),
    (
        "shift: 2",
        "shift: 2.5",
        "augmentation.shift: expected a whole number, found number 2.5; write a whole number from 0 to 16",
    ),
    ("flip: true", "flip: 1", "augmentation.flip: expected `true` or `false`, found number 1"),
    ("out: convblock.safetensors", "out: \"a\\nb\"", "out: text `a\\nb` has control characters; remove them"),
];
