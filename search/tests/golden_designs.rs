//! Designs against the published tables of measurements.

#[path = "common/reference.rs"]
mod reference;

use std::path::{Path, PathBuf};

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;
use bitloop_search::design::{Design, Items, Pairs, Singles, SubsetSizes, Subsets};
use bitloop_search::predict::statistics::quantile;
use bitloop_search::space::{Space, Variable};
use serde_json::Value;

use reference::{files, folder, json, name, tables, word};

/// The folder of the tables, and what is expected of each model.
fn models() -> Vec<(PathBuf, Value)> {
    let Some(folder) = folder("pairwise_mpq") else { return Vec::new() };
    files(&folder, "_expected.json").iter().map(|path| (folder.clone(), json(path))).collect()
}

/// A column of a model's table of this kind.
fn column(folder: &Path, model: &str, table: &str, title: &str) -> Vec<String> {
    let ending = format!("_{table}.csv");
    let path = tables(folder, model).into_iter().find(|path| name(path).ends_with(&ending));
    let mut reader = csv::Reader::from_path(path.expect("each model has its tables")).expect("tables open");
    let headers = reader.headers().expect("tables have headers").clone();
    let place = headers.iter().position(|header| header == title).expect("the column is there");
    reader.records().map(|record| record.expect("rows are text")[place].to_owned()).collect()
}

fn space(variables: &[String]) -> Space {
    let widths = || [4, 8].map(|bits| Bits::new(bits).expect("4 and 8 are widths")).to_vec();
    let variable = |name: &String| Variable { name: name.clone(), kind: PointKind::Weight, widths: widths() };
    Space { variables: variables.iter().map(variable).collect() }
}

#[test]
fn golden_items_below_the_quantile_and_their_pairs_are_the_published_ones() {
    for (folder, expected) in models() {
        let model = word(&expected["model"]);
        let names = column(&folder, &model, "SingleLayer", "Layer");
        let damages: Vec<f64> = column(&folder, &model, "SingleLayer", "DeltaAcc")
            .iter()
            .map(|text| text.parse().expect("losses are numbers"))
            .collect();
        let at = expected["quantile_q"].as_f64().expect("a number");
        let items = Items::all(&space(&names));

        let kept = items.below_quantile(&damages, at).expect("losses are finite");

        let threshold = quantile(&damages, at);
        assert!((threshold - expected["quantile_value"].as_f64().expect("a number")).abs() < 1e-9);
        assert_eq!(Singles::new(items.clone()).len(), expected["n_variables"]);
        assert_eq!(kept.len(), expected["n_kept"]);
        assert_eq!(Pairs::new(items.clone()).len(), expected["n_pair_rows"]);
        assert_eq!(Pairs::new(kept.clone()).len(), expected["n_pair_rows_filtered"]);
        let left: Vec<&str> = kept.iter().map(|(variable, _)| names[variable as usize].as_str()).collect();
        let outliers = expected["outlier_variables"].as_array().expect("an array");
        assert!(outliers.iter().all(|name| !left.contains(&name.as_str().expect("a name"))), "{model}");
    }
}

#[test]
fn golden_subsets_have_the_published_sizes_in_the_published_numbers() {
    for (folder, expected) in models() {
        let model = word(&expected["model"]);
        let sizes: Vec<u32> = column(&folder, &model, "MultipleLayers", "Layer_num")
            .iter()
            .map(|text| text.parse::<f64>().expect("sizes are numbers") as u32)
            .collect();
        let mut distinct = sizes.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let [min, max] = [distinct[0], distinct[distinct.len() - 1]];
        let names = column(&folder, &model, "SingleLayer", "Layer");
        let spread = SubsetSizes { min, max, step: distinct[1] - min };

        let design = Subsets::new(Items::all(&space(&names)), spread, sizes.len() as u64, 1).expect("sound");

        let times =
            |sizes: &[u32]| distinct.iter().map(|size| sizes.iter().filter(|k| *k == size).count()).collect();
        let ours: Vec<u32> = (0..design.len())
            .map(|index| design.get(index).map_or(0, |config| config.len() as u32))
            .collect();
        let [ours, theirs]: [Vec<usize>; 2] = [times(&ours), times(&sizes)];
        assert_eq!(ours, theirs, "{model}");
    }
}
