use crate::measurements::{Measurements, Metric};
use crate::tables::{Published, Table, from_csv, from_report, published};

use super::OfflineError;

/// How the header of an experiment's CSV file begins.
const CSV_HEADER: &str = "format,";

/// A file of measurements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseFile {
    /// What messages call it.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// Measurements with what else their files say.
#[derive(Clone, Debug, PartialEq)]
pub struct Database {
    /// The measured rows.
    pub measurements: Measurements,
    /// What only published tables hold.
    pub published: Option<Published>,
}

/// Reads measurements: the results of one experiment, as a CSV file or a JSON report, or published tables of singles, pairs
/// and subsets, in any order.
///
/// `metric` is what an experiment's results are judged by; published tables have the drop of top-1 alone.
///
/// Errors: `NoDatabase` without files; `ManyDatabases` for results together with other files; `Results` and `Published`
/// where one of them is wrong; `MetricNotPublished`.
pub fn database(files: &[DatabaseFile], metric: Metric) -> Result<Database, OfflineError> {
    let is_report = |file: &DatabaseFile| content(file).trim_start().starts_with('{');
    let is_results =
        |file: &DatabaseFile| is_report(file) || content(file).trim_start().starts_with(CSV_HEADER);
    match files {
        [] => Err(OfflineError::NoDatabase),
        [file] if is_results(file) => {
            let read = if is_report(file) { from_report } else { from_csv };
            let wrong = |error| OfflineError::Results { file: file.name.clone(), error };
            Ok(Database { measurements: read(content(file), metric).map_err(wrong)?, published: None })
        }
        files => {
            if let Some(file) = files.iter().find(|file| is_results(file)) {
                return Err(OfflineError::ManyDatabases(file.name.clone()));
            }
            if metric != Metric::Top1Drop {
                return Err(OfflineError::MetricNotPublished(metric.as_str()));
            }
            let tables = files.iter().map(|file| Table { label: &file.name, text: &file.text });
            let published = published(&tables.collect::<Vec<_>>())?;
            Ok(Database { measurements: published.measurements.clone(), published: Some(published) })
        }
    }
}

/// The text behind the byte order mark that some editors and spreadsheets put in front of it.
fn content(file: &DatabaseFile) -> &str {
    file.text.trim_start_matches('\u{feff}')
}
