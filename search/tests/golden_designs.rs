//! Designs against the published tables of measurements.

use std::path::{Path, PathBuf};

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;
use bitloop_search::design::{Design, Items, Pairs, Singles, SubsetSizes, Subsets, quantile};
use bitloop_search::space::{Space, Variable};
use serde_json::Value;

/// The folder of the tables and the models it has expectations for.
fn models() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference/pairwise_mpq");
    let Ok(files) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: there is no {}", folder.display());
        return Vec::new();
    };
    let names =
        files.map(|file| file.expect("a folder can be read").file_name().to_string_lossy().into_owned());
    let mut models: Vec<String> =
        names.filter_map(|name| name.strip_suffix("_expected.json").map(str::to_owned)).collect();
    models.sort();
    models.into_iter().map(|model| (folder.clone(), model)).collect()
}

/// A column of the first table of this kind whose name begins like the model's.
fn column(folder: &Path, model: &str, table: &str, name: &str) -> Vec<String> {
    let files = std::fs::read_dir(folder).expect("the folder is there");
    let paths = files.map(|file| file.expect("a folder can be read").path());
    let of_model = |path: &PathBuf| {
        let file = path.file_name().map(|file| file.to_string_lossy().to_lowercase());
        file == Some(format!("{model}_{table}.csv").to_lowercase())
    };
    let path = paths.into_iter().find(of_model).expect("each model has its tables");
    let mut reader = csv::Reader::from_path(path).expect("tables open");
    let headers = reader.headers().expect("tables have headers").clone();
    let place = headers.iter().position(|header| header == name).expect("the column is there");
    reader.records().map(|record| record.expect("rows are text")[place].to_owned()).collect()
}

fn space(variables: &[String]) -> Space {
    let widths = || [4, 8].map(|bits| Bits::new(bits).expect("4 and 8 are widths")).to_vec();
    let variable = |name: &String| Variable { name: name.clone(), kind: PointKind::Weight, widths: widths() };
    Space { variables: variables.iter().map(variable).collect() }
}

#[test]
fn golden_items_below_the_quantile_and_their_pairs_are_the_published_ones() {
    for (folder, model) in models() {
        let text = std::fs::read_to_string(folder.join(format!("{model}_expected.json"))).expect("text");
        let expected: Value = serde_json::from_str(&text).expect("JSON");
        let names = column(&folder, &model, "SingleLayer", "Layer");
        let damages: Vec<f64> = column(&folder, &model, "SingleLayer", "DeltaAcc")
            .iter()
            .map(|text| text.parse().expect("losses are numbers"))
            .collect();
        let at = expected["quantile_q"].as_f64().expect("a number");
        let items = Items::all(&space(&names));

        let kept = items.below_quantile(&damages, at).expect("losses are finite");

        let threshold = quantile(&damages, at).expect("there are losses");
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
    for (folder, model) in models() {
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
