//! The CSV form of searches that train.

use super::*;
use crate::autoqkeras::{Comparison, Compat, Order, Place};
use crate::trial::{NodeQuantizers, Trained};

fn trained(correct: u64, epochs: u32) -> Trained {
    Trained {
        artifact: (epochs > 0).then(|| Digest::of(b"checkpoint")),
        epochs,
        best_epoch: epochs,
        n: 80,
        correct,
        loss_sum: 20.0,
        learning_rate: if epochs > 0 { 0.001 } else { 0.0 },
    }
}

fn quantizers() -> BTreeMap<String, NodeQuantizers> {
    let quantizer = |text: &str| Some(text.parse().unwrap());
    let kernel = quantizer("quantized_bits(4,0,1)");
    let conv = NodeQuantizers { kernel, bias: quantizer("quantized_bits(8,3,1)"), activation: None };
    let relu = NodeQuantizers { activation: quantizer("quantized_relu(6,2)"), ..NodeQuantizers::default() };
    [("conv".to_owned(), conv), ("relu".to_owned(), relu)].into()
}

/// A trial that is not done.
fn open(slot: u32, size: f64) -> TrainedRow {
    TrainedRow {
        place: Place { bracket: 1, rung: 0, slot },
        failed: None,
        trained: None,
        score: None,
        size: Comparison { reference: 4_096.0, trial: size, delta: 0.05, total_factor: -0.5 },
        least: Some(0.875),
        quantizers: quantizers(),
        outputs: BTreeMap::new(),
    }
}

fn done(slot: u32, trained: Trained) -> TrainedRow {
    let score = Some(trained.accuracy() * 1.05);
    TrainedRow { trained: Some(trained), score, ..open(slot, 1_024.0) }
}

/// A search with every purpose and every state that a row can have.
fn search() -> TrainedSearch {
    let failed = TrainedRow { failed: Some("the loss, \"early\", is NaN".to_owned()), ..open(2, 1_536.0) };
    let mut promoted = done(0, trained(72, 4));
    promoted.place.rung = 1;
    promoted.outputs = BTreeMap::from([("conv".to_owned(), 6)]);
    let blocks = vec![
        BlockRows {
            pattern: "^(conv|relu)$, \"first\"".to_owned(),
            trials: vec![done(0, trained(69, 2)), promoted.clone(), failed],
            best: Some(1),
        },
        BlockRows { pattern: String::new(), trials: vec![open(3, 3_000.5)], best: None },
    ];
    TrainedSearch {
        stage: 1,
        unit: "bits".to_owned(),
        reference: Comparison { reference: 4_096.0, trial: 4_096.0, delta: 0.0, total_factor: 0.0 },
        least_accuracy: Some(0.875),
        float: Some(trained(75, 0)),
        float_on_report: Some(trained(74, 0)),
        order: Order::Canonical,
        blocks,
        fine_tuning: Some(done(0, trained(76, 8))),
        found: Some(FoundNetwork {
            model: Digest::of(b"checkpoint"),
            size: promoted.size,
            selection: Some(trained(76, 8)),
            report: Some(trained(73, 0)),
            quantizers: promoted.quantizers,
            compat: Compat::default(),
            outputs: promoted.outputs,
        }),
        is_over: true,
        trials: Vec::new(),
        device: None,
    }
}

#[test]
fn golden_csv_of_format_1_of_a_search_that_trains() {
    let report = Report { trained: vec![search()], ..golden_report() };

    let expected = include_str!("../golden_trained_v1.csv");
    assert_eq!(report.to_csv(), expected, "a changed results file needs a new TRAINED_CSV_FORMAT");
}
