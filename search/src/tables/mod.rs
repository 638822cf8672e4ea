//! Published tables of layers and indicators, read strictly: what a solver must know of a network that nobody loads.
//!
//! A file is a form of its own with a reader each. Readers take text and know nothing of files; whoever reads the file
//! puts its name before the error.

mod indicators;
mod layers;
mod limpq_layers;
mod lines;
mod published;
mod results;

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

pub(crate) use indicators::point_name;
pub use indicators::{IndicatorLayer, Indicators};
pub use layers::{PairwiseLayer, PairwiseLayers};
pub use limpq_layers::{LimpqLayer, LimpqLayers};
pub use published::{Place, Published, PublishedError, Table, published};
pub use results::{ResultsError, from_csv, from_report};

/// Which operation counts of a published table are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Those that the published search used, with all that is odd about them: needed to repeat its figures.
    Published,
    /// Those that follow from the layers' true geometry.
    True,
}

/// Why a table of layers or indicators cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TableError {
    /// No JSON of the form that the reader describes.
    #[error("{what} cannot be read: {problem}")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// What is wrong and where.
        problem: String,
    },
    /// A number that must be positive is not.
    #[error("`{key}` of `{of}` is {value}; it must be a positive number")]
    NotPositive {
        /// The layer.
        of: String,
        /// The key.
        key: String,
        /// Its value.
        value: f64,
    },
    /// Two entries have the same name.
    #[error("`{0}` stands there twice; keep one")]
    Duplicate(String),
    /// A name that nothing else in the file, or in the other file, explains.
    #[error("{what} `{name}` is unknown: {hint}")]
    Unknown {
        /// What kind of thing it is.
        what: &'static str,
        /// Its name.
        name: String,
        /// Where it should have been.
        hint: &'static str,
    },
    /// An entry that must be there is not.
    #[error("{what} of `{of}` is missing: {hint}")]
    Missing {
        /// What is missing.
        what: String,
        /// In which entry.
        of: String,
        /// What to do.
        hint: &'static str,
    },
}

impl TableError {
    fn malformed(what: &'static str) -> impl FnOnce(serde_json::Error) -> Self {
        move |error| Self::Malformed { what, problem: error.to_string() }
    }
}

/// Checks that a number is positive and finite.
fn positive(of: &str, key: &str, value: f64) -> Result<(), TableError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(TableError::NotPositive { of: of.to_owned(), key: key.to_owned(), value })
}

/// Reads a map and refuses a key that stands there twice, of which JSON readers would keep the last.
pub(crate) fn unique<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
where
    K: Deserialize<'de> + Ord + fmt::Display + Copy,
    V: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Unique<K, V>(PhantomData<(K, V)>);

    impl<'de, K: Deserialize<'de> + Ord + fmt::Display + Copy, V: Deserialize<'de>> Visitor<'de>
        for Unique<K, V>
    {
        type Value = BTreeMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("numbers by width")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = access.next_entry::<K, V>()? {
                if map.insert(key, value).is_some() {
                    return Err(A::Error::custom(format!("the width {key} stands there twice")));
                }
            }
            Ok(map)
        }
    }

    deserializer.deserialize_map(Unique(PhantomData))
}

#[cfg(test)]
mod tests;
