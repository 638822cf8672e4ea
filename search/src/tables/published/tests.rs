//! Small tables, and each way in which one is unusable.

use super::*;
use crate::measurements::Row;
use bitloop_core::graph::PointKind;

const SINGLE: &str =
    "model,Layer,DeltaAcc,Influence,DeltaBops\n1,a.quant_act,0.5,0.1,1\n2,a.conv,0.25,,1\n3,b.conv,1,0,1\n";
const PAIR: &str = "Model,Layer1,Layer2,Delta_acc1,Delta_acc2,Accuracy,Delta_acc\n\
                    1,a.quant_act,a.conv,0.5,0.25,69,1\n2,a.quant_act,b.conv,0.5,1,68,2\n";
const SUBSET: &str =
    "\u{feff}Model,BOPs,F1,F2,Accuracy,Delta Acc,Layer_num,Config\nm,40,1.75,0,67,3,3,\"[0, 0, 0]\"\n";

fn read(texts: &[&str]) -> Result<Published, PublishedError> {
    let labels = ["first.csv", "second.csv", "third.csv"];
    let tables: Vec<_> = texts.iter().zip(labels).map(|(text, label)| Table { label, text }).collect();
    published(&tables)
}

fn refusal(texts: &[&str]) -> String {
    read(texts).expect_err("the table is bad").to_string()
}

#[test]
fn tables_are_joined_in_any_order() {
    let read = read(&[SUBSET, PAIR, SINGLE]).expect("good tables");

    let rows = &read.measurements.rows;
    assert_eq!(rows.iter().map(|row| row.changes.len()).collect::<Vec<_>>(), [1, 1, 1, 3, 2, 2]);
    assert_eq!(rows[3], Row { changes: vec![(0, 0), (1, 0), (2, 0)], loss: 3.0, error: None });
    assert_eq!(read.influence, [Some(0.1), None, Some(0.0)]);
    assert_eq!(read.baseline_accuracy, Some(70.0));
    assert_eq!(read.bops_g, [None, None, None, Some(40.0), None, None]);
    let kinds: Vec<_> = read.measurements.space.variables.iter().map(|variable| variable.kind).collect();
    assert_eq!(kinds, [PointKind::Activation, PointKind::Weight, PointKind::Weight]);
    assert_eq!(read.measurements.space.width(0, &[0, 1, 1]).get(), 4);
}

#[test]
fn a_bad_table_is_refused_with_its_place() {
    let cases = [
        (refusal(&[PAIR]), "0 of the tables are single tables (Layer, DeltaAcc); give exactly one"),
        (refusal(&[SINGLE, SINGLE]), "2 of the tables are single tables (Layer, DeltaAcc); give exactly one"),
        (refusal(&["a,b\n1,2\n"]), "first.csv, line 1: the header is none of"),
        (
            refusal(&[&SINGLE.replace("DeltaAcc", "Loss")]),
            "first.csv, line 1: there is no column \"DeltaAcc\"",
        ),
        (
            refusal(&[&SINGLE.replace("0.25", "NaN")]),
            "first.csv, line 3: DeltaAcc is \"NaN\"; write a finite number",
        ),
        (refusal(&[&SINGLE.replace("0.25", "inf")]), "first.csv, line 3: DeltaAcc is \"inf\""),
        (refusal(&[&SINGLE.replace("0.25", "")]), "first.csv, line 3: DeltaAcc is \"\""),
        (
            refusal(&[&SINGLE.replace("b.conv", "a.conv")]),
            "first.csv, line 4: layer \"a.conv\" stands there again",
        ),
        (refusal(&[&SINGLE.replace("1,0,1", "1,0")]), "first.csv, line 4: "),
        (
            refusal(&[SINGLE, &PAIR.replace("b.conv", "c.conv")]),
            "second.csv, line 3: layer \"c.conv\" is not in",
        ),
        (
            refusal(&[SINGLE, &PAIR.replace("b.conv", "a.quant_act")]),
            "second.csv, line 3: layer \"a.quant_act\" stands",
        ),
        (
            refusal(&[SINGLE, &PAIR.replace("0.5,1,", "0.5,1.5,")]),
            "second.csv, line 3: Delta_acc2 is 1.5, but other rows",
        ),
        (
            refusal(&[SINGLE, &PAIR.replace("68", "67")]),
            "second.csv, line 3: Accuracy is 67, but other rows give 68",
        ),
        (
            refusal(&[SINGLE, &SUBSET.replace("0, 0, 0", "0, 0")]),
            "second.csv, line 2: Config must be a list of 3",
        ),
        (refusal(&[SINGLE, &SUBSET.replace("0, 0, 0", "0, 2, 0")]), "but holds \"2\""),
        (
            refusal(&[SINGLE, &SUBSET.replace("1.75", "1.7")]),
            "second.csv, line 2: F1 is 1.7, but other rows give 1.75",
        ),
        (
            refusal(&[SINGLE, SUBSET, SUBSET]),
            "third.csv, line 2: these layers stand already in second.csv, line 2",
        ),
    ];

    for (found, expected) in cases {
        assert!(found.contains(expected), "{found:?} does not hold {expected:?}");
    }
}

#[test]
fn lines_are_counted_as_an_editor_counts_them() {
    let bad = SINGLE.replace("0.25", "NaN");
    for (text, line) in [
        (bad.clone(), 3),
        (bad.replace('\n', "\r\n"), 3),
        (format!("\u{feff}{}", bad.replace('\n', "\r\n")), 3),
        (bad.replace("\n2,", "\n\n\n2,"), 5),
        (bad.replace("\n2,", "\r\n\r\n2,"), 4),
        (bad.replace("a.quant_act", "\"a.\nquant_act\""), 4),
    ] {
        let found = refusal(&[&text]);
        assert!(found.starts_with(&format!("first.csv, line {line}: DeltaAcc")), "{text:?}: {found}");
    }
    let short = SINGLE.replace("2,a.conv,0.25,,1", "2,a.conv").replace('\n', "\r\n");
    let found = refusal(&[&short]);
    assert_eq!(found, "first.csv, line 3: there are 2 fields, not 5 as in the header");
}
