//! The published tables, and how they are split for held-out figures.

#![allow(dead_code, reason = "each test takes what it needs")]

#[path = "reference.rs"]
pub(crate) mod reference;

use std::path::{Path, PathBuf};

use bitloop_core::rng::rng;
use bitloop_search::measurements::{Measurements, Row};
use bitloop_search::predict::Predictor;
use bitloop_search::predict::statistics::{pearson, pearson_within, rmse, spearman};
use bitloop_search::tables::{Published, Table, published};
use serde_json::Value;

use reference::{files, folder, json, name, tables, text, word};

/// All tables of a model.
pub(crate) fn read(folder: &Path, model: &str) -> Published {
    let files: Vec<(String, String)> =
        tables(folder, model).iter().map(|path| (name(path), text(path))).collect();
    let tables: Vec<Table<'_>> = files.iter().map(|(label, text)| Table { label, text }).collect();
    published(&tables).expect("published tables are good")
}

/// Every `*_expected.json` with the tables of its model.
pub(crate) fn models() -> Vec<(Value, Published)> {
    let Some(folder) = folder("pairwise_mpq") else { return Vec::new() };
    let files = files(&folder, "_expected.json");
    assert!(!files.is_empty(), "there are no expected numbers");
    let with_tables = |path: &PathBuf| {
        let expected = json(path);
        let published = read(&folder, &word(&expected["model"]));
        (expected, published)
    };
    files.iter().map(with_tables).collect()
}

/// What a predictor learns from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Share {
    /// This part of the subsets, and the pair table.
    Part(f64),
    /// This many subsets, without the pair table.
    Subsets(usize),
}

/// Splits rows by a seeded shuffle of the subsets: what is fitted to, and the subsets held out.
pub(crate) fn split(all: &Measurements, share: Share, seed: u64) -> (Measurements, Vec<Row>) {
    let (subsets, mut rows): (Vec<Row>, Vec<Row>) =
        all.rows.iter().cloned().partition(|row| row.changes.len() > 2);
    let mut subsets = subsets;
    rng(seed, 0).shuffle(&mut subsets);
    let count = match share {
        Share::Part(part) => (part * subsets.len() as f64).round() as usize,
        Share::Subsets(count) => {
            rows.retain(|row| row.changes.len() == 1);
            count
        }
    };
    let held_out = subsets.split_off(count);
    rows.extend(subsets);
    (Measurements { rows, ..all.clone() }, held_out)
}

/// Figures of held-out rows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) pearson: f64,
    pub(crate) spearman: f64,
    pub(crate) rmse: f64,
    /// Pearson within one number of changes, averaged.
    pub(crate) within: f64,
    /// Share of rows that their interval holds.
    pub(crate) coverage: f64,
}

impl Figures {
    pub(crate) fn of(predictor: &dyn Predictor, all: &Measurements, rows: &[Row]) -> Self {
        let predictions: Vec<_> = rows.iter().map(|row| predictor.predict(&row.levels(&all.space))).collect();
        let values: Vec<f64> = predictions.iter().map(|prediction| prediction.value).collect();
        let losses: Vec<f64> = rows.iter().map(|row| row.loss).collect();
        let sizes: Vec<usize> = rows.iter().map(|row| row.changes.len()).collect();
        let held =
            predictions.iter().zip(&losses).filter(|(p, loss)| (p.low..=p.high).contains(*loss)).count();
        Self {
            pearson: pearson(&values, &losses),
            spearman: spearman(&values, &losses),
            rmse: rmse(&values, &losses),
            within: pearson_within(&sizes, &values, &losses),
            coverage: held as f64 / rows.len() as f64,
        }
    }

    pub(crate) fn mean(all: &[Self]) -> Self {
        let mean = |of: fn(&Self) -> f64| all.iter().map(of).sum::<f64>() / all.len() as f64;
        Self {
            pearson: mean(|f| f.pearson),
            spearman: mean(|f| f.spearman),
            rmse: mean(|f| f.rmse),
            within: mean(|f| f.within),
            coverage: mean(|f| f.coverage),
        }
    }
}
