use super::error::SpecError;
use super::file::read_file;
use super::reader::{Fields, Place};
use super::shared::{dataset, file_name, name};
use super::{
    Architecture, Augmentation, ConvBlock, Initializer, Optimizer, ResNet, Separable, TrainData, TrainSpec,
};

/// Most channels of a layer.
const CHANNELS_MAX: usize = 4096;
/// Most blocks of a network, and most convolutions of a block.
const BLOCKS_MAX: usize = 64;
/// Largest kernel; beyond it, kernels are larger than most images are after pooling.
const KERNEL_MAX: usize = 11;
/// Depths of the ResNet family that exist here: 6n + 2.
const RESNET_DEPTHS: [usize; 3] = [8, 14, 20];
pub(super) const EPOCHS_MAX: usize = 10_000;
pub(super) const BATCH_MAX: usize = 65_536;
pub(super) const BATCH_DEFAULT: usize = 128;
/// Most images held back.
const VALIDATION_MAX: usize = 1_000_000_000;
/// Larger shifts move most of a 28x28 image out of sight.
const SHIFT_MAX: usize = 16;
/// Learning rates outside of these are slips of the pen.
const LEARNING_RATE: std::ops::RangeInclusive<f64> = 1e-6..=10.0;
const MOMENTUM_DEFAULT: f64 = 0.9;

const SEPARABLES: [(&str, Separable); 3] =
    [("none", Separable::None), ("mobilenet", Separable::Mobilenet), ("dsp", Separable::Dsp)];
const INITIALIZERS: [(&str, Initializer); 3] = [
    ("he_normal", Initializer::HeNormal),
    ("he_uniform", Initializer::HeUniform),
    ("glorot_uniform", Initializer::GlorotUniform),
];

#[derive(Clone, Copy)]
enum ArchitectureKind {
    ConvBlock,
    ResNet,
}

#[derive(Clone, Copy)]
enum OptimizerKind {
    Sgd,
    Adam,
    AdamW,
}

impl TrainSpec {
    /// Reads a training file; its keys are the names of the fields, below `version: 1`.
    ///
    /// Required: `name`, `architecture`, `data.dataset`, `data.validation` (0 for none), `optimizer`,
    /// `epochs`, `out`; in an architecture `filters` or `depth`; in an optimizer `learning_rate`.
    /// Defaults: `warmup_epochs: 0`, `batch: 128`, `label_smoothing: 0`, `augmentation: { shift: 0, flip: false }`,
    /// `seed: 0`, `momentum: 0.9`, `weight_decay: 0`; for `conv_block` `kernel: 3`, `max_pooling: true`,
    /// `separable: none`, `xnornet_trick: false`, `batch_norm: true`, `all_conv: false`, `dropout: 0`,
    /// `initializer: he_normal`; for `resnet` `width: 16`, `stem_stride: 1`.
    ///
    /// Errors: every mistake in the text, in the order of the file.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let known = [
            "version",
            "name",
            "architecture",
            "data",
            "optimizer",
            "epochs",
            "warmup_epochs",
            "batch",
            "label_smoothing",
            "augmentation",
            "seed",
            "out",
        ];
        read_file(text, &known, training)
    }
}

fn training(fields: &Fields<'_>) -> Option<TrainSpec> {
    let name = fields.required("name", "name: my-network", name);
    let architecture =
        fields.required("architecture", "architecture: { conv_block: { filters: [16, 32] } }", architecture);
    let data = fields.required("data", "data: { dataset: fashion_mnist, validation: 5000 }", data);
    let optimizer = fields.required("optimizer", "optimizer: { sgd: { learning_rate: 0.1 } }", optimizer);
    let epochs = fields.required("epochs", "epochs: 20", |place| place.size(1..=EPOCHS_MAX));
    // A rise that outlasts the training never reaches the learning rate that was asked for.
    let warmup_max = epochs.unwrap_or(EPOCHS_MAX) as f64;
    let warmup_epochs = fields.optional("warmup_epochs", 0.0, |place| place.number(0.0..=warmup_max));
    let batch = fields.optional("batch", BATCH_DEFAULT, |place| place.size(1..=BATCH_MAX));
    let label_smoothing = fields.optional("label_smoothing", 0.0, |place| place.number(0.0..1.0));
    let none = Augmentation { shift: 0, flip: false };
    let augmentation = fields.optional("augmentation", none, augmentation);
    let seed = fields.optional("seed", 0, |place| place.integer(0..=u64::MAX));
    let out = fields.required("out", "out: my-network.safetensors", file_name);
    Some(TrainSpec {
        name: name?,
        architecture: architecture?,
        data: data?,
        optimizer: optimizer?,
        epochs: epochs?,
        warmup_epochs: warmup_epochs?,
        batch: batch?,
        label_smoothing: label_smoothing?,
        augmentation: augmentation?,
        seed: seed?,
        out: out?,
    })
}

fn architecture(place: &Place<'_>) -> Option<Architecture> {
    let kinds = [("conv_block", ArchitectureKind::ConvBlock), ("resnet", ArchitectureKind::ResNet)];
    let (kind, place) = place.variant(&kinds)?;
    match kind {
        ArchitectureKind::ConvBlock => conv_block(&place).map(Architecture::ConvBlock),
        ArchitectureKind::ResNet => resnet(&place).map(Architecture::ResNet),
    }
}

fn conv_block(place: &Place<'_>) -> Option<ConvBlock> {
    let fields = place.fields(&[
        "filters",
        "kernel",
        "max_pooling",
        "separable",
        "xnornet_trick",
        "batch_norm",
        "all_conv",
        "dropout",
        "initializer",
    ])?;
    let filters = fields.required("filters", "filters: [16, 32]", filters);
    let kernel = fields.optional("kernel", 3, kernel);
    let max_pooling = fields.optional("max_pooling", true, Place::flag);
    let separable = fields.optional("separable", Separable::None, |place| place.word(&SEPARABLES));
    let xnornet_trick = fields.optional("xnornet_trick", false, Place::flag);
    let batch_norm = fields.optional("batch_norm", true, Place::flag);
    let all_conv = fields.optional("all_conv", false, Place::flag);
    let dropout = fields.optional("dropout", 0.0, probability);
    let initializer =
        fields.optional("initializer", Initializer::HeNormal, |place| place.word(&INITIALIZERS));
    Some(ConvBlock {
        filters: filters?,
        kernel: kernel?,
        max_pooling: max_pooling?,
        separable: separable?,
        xnornet_trick: xnornet_trick?,
        batch_norm: batch_norm?,
        all_conv: all_conv?,
        dropout: dropout?,
        initializer: initializer?,
    })
}

fn filters(place: &Place<'_>) -> Option<Vec<Vec<usize>>> {
    let blocks = place.list("[16, [32, 32]]", |block| {
        if block.is_list() {
            let convolutions = block.list("[32, 32]", channels)?;
            at_most(block, convolutions, "convolutions in a block")
        } else {
            channels(block).map(|channels| vec![channels])
        }
    })?;
    at_most(place, blocks, "blocks")
}

fn at_most<T>(place: &Place<'_>, items: Vec<T>, what: &str) -> Option<Vec<T>> {
    if items.len() > BLOCKS_MAX {
        return place
            .mistake(format!("{} {what} are too many", items.len()), format!("use at most {BLOCKS_MAX}"));
    }
    Some(items)
}

fn channels(place: &Place<'_>) -> Option<usize> {
    place.size(1..=CHANNELS_MAX)
}

fn kernel(place: &Place<'_>) -> Option<usize> {
    let kernel = place.size(1..=KERNEL_MAX)?;
    if kernel.is_multiple_of(2) {
        return place.mistake(format!("a kernel of {kernel} has no middle"), "write an odd number");
    }
    Some(kernel)
}

fn probability(place: &Place<'_>) -> Option<f32> {
    // Rounding to f32 could give the 1 that the range excludes.
    let probability = place.number(0.0..1.0)?;
    Some((probability as f32).min(1.0_f32.next_down()))
}

fn resnet(place: &Place<'_>) -> Option<ResNet> {
    let fields = place.fields(&["depth", "width", "stem_stride"])?;
    let depth = fields.required("depth", "depth: 8", depth);
    // The last stage has four times as many channels.
    let width = fields.optional("width", 16, |place| place.size(1..=CHANNELS_MAX / 4));
    let stem_stride = fields.optional("stem_stride", 1, |place| place.size(1..=2));
    Some(ResNet { depth: depth?, width: width?, stem_stride: stem_stride? })
}

fn depth(place: &Place<'_>) -> Option<usize> {
    const HINT: &str = "write 8, 14 or 20";
    let number = place.any_integer(HINT)?;
    match RESNET_DEPTHS.iter().find(|depth| i128::try_from(**depth) == Ok(number)) {
        Some(depth) => Some(*depth),
        None => place.mistake(format!("there is no depth of {number}"), HINT),
    }
}

fn data(place: &Place<'_>) -> Option<TrainData> {
    let fields = place.fields(&["dataset", "validation"])?;
    let dataset = fields.required("dataset", "dataset: fashion_mnist", dataset);
    let validation =
        fields.required("validation", "validation: 5000", |place| place.size(0..=VALIDATION_MAX));
    Some(TrainData { dataset: dataset?, validation: validation? })
}

/// A mapping with the optimizer's name; Adam is AdamW without decay.
pub(super) fn optimizer(place: &Place<'_>) -> Option<Optimizer> {
    let kinds = [("sgd", OptimizerKind::Sgd), ("adam", OptimizerKind::Adam), ("adamw", OptimizerKind::AdamW)];
    let (kind, place) = place.variant(&kinds)?;
    match kind {
        OptimizerKind::Adam => adam(&place),
        OptimizerKind::Sgd => sgd(&place),
        OptimizerKind::AdamW => adamw(&place),
    }
}

fn sgd(place: &Place<'_>) -> Option<Optimizer> {
    let fields = place.fields(&["learning_rate", "momentum", "weight_decay"])?;
    let learning_rate = fields.required("learning_rate", "learning_rate: 0.1", learning_rate);
    let momentum = fields.optional("momentum", MOMENTUM_DEFAULT, |place| place.number(0.0..1.0));
    let weight_decay = fields.optional("weight_decay", 0.0, weight_decay);
    Some(Optimizer::Sgd { learning_rate: learning_rate?, momentum: momentum?, weight_decay: weight_decay? })
}

fn adam(place: &Place<'_>) -> Option<Optimizer> {
    let fields = place.fields(&["learning_rate"])?;
    let learning_rate = fields.required("learning_rate", "learning_rate: 0.001", learning_rate);
    Some(Optimizer::AdamW { learning_rate: learning_rate?, weight_decay: 0.0 })
}

fn adamw(place: &Place<'_>) -> Option<Optimizer> {
    let fields = place.fields(&["learning_rate", "weight_decay"])?;
    let learning_rate = fields.required("learning_rate", "learning_rate: 0.001", learning_rate);
    let weight_decay = fields.optional("weight_decay", 0.0, weight_decay);
    Some(Optimizer::AdamW { learning_rate: learning_rate?, weight_decay: weight_decay? })
}

fn learning_rate(place: &Place<'_>) -> Option<f64> {
    place.number(LEARNING_RATE)
}

fn weight_decay(place: &Place<'_>) -> Option<f64> {
    place.number(0.0..=1.0)
}

/// Random changes to training images.
pub(super) fn augmentation(place: &Place<'_>) -> Option<Augmentation> {
    let fields = place.fields(&["shift", "flip"])?;
    let shift = fields.optional("shift", 0, |place| place.size(0..=SHIFT_MAX));
    let flip = fields.optional("flip", false, Place::flag);
    Some(Augmentation { shift: shift?, flip: flip? })
}
