//! Whether values cost time that go from a layer to one of another width, as a sentence for people.

use super::DeviceReport;
use crate::latency::{Correction, Terms};

/// Nanoseconds of a millisecond.
const MS_NS: f64 = 1e6;

impl DeviceReport {
    /// What a change of width between neighbours costs on this device, or that it could not be told, and what predictions are then;
    /// none before there is a model.
    pub fn price_of_changes(&self) -> Option<String> {
        self.correction.as_ref().map(sentence)
    }
}

fn sentence(correction: &Correction) -> String {
    let Correction { terms, fixed, scale, per_change, with_changes, .. } = correction;
    let told = match *with_changes {
        0 => ", as no network that was measured has such values".to_owned(),
        1 => " from 1 network that has such values".to_owned(),
        count => format!(" from {count} networks that have such values"),
    };
    let shifted = format!("the sum of layers times {scale:.4}, and {:.4} ms", fixed / MS_NS);
    let kept = match terms {
        Terms::Plain => "the sum of layers as it is".to_owned(),
        Terms::Mean => format!("{:.4} ms for every network", fixed / MS_NS),
        Terms::Scaled => format!("the sum of layers times {scale:.4}"),
        Terms::Affine => shifted,
        Terms::Changes => {
            return format!(
                "A value that goes from a layer to one of another width costs {per_change:.4} ns, told{told}; predictions are {shifted}, \
                 besides."
            );
        }
    };
    format!(
        "No price of values that go from a layer to one of another width could be told{told}; predictions are {kept}."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_named_with_what_it_is_told_from_and_so_is_that_there_is_none() {
        let of = |terms, with_changes| {
            let numbers = Correction { fixed: 2e5, scale: 1.25, per_change: 0.5, ..Correction::default() };
            sentence(&Correction { terms, with_changes, ..numbers })
        };

        assert_eq!(
            of(Terms::Changes, 16),
            "A value that goes from a layer to one of another width costs 0.5000 ns, told from 16 networks that have such \
             values; predictions are the sum of layers times 1.2500, and 0.2000 ms, besides."
        );
        let untold = "No price of values that go from a layer to one of another width could be told from 1 network that has such \
                      values; predictions are ";
        let kept = [
            (Terms::Plain, "the sum of layers as it is."),
            (Terms::Mean, "0.2000 ms for every network."),
            (Terms::Scaled, "the sum of layers times 1.2500."),
            (Terms::Affine, "the sum of layers times 1.2500, and 0.2000 ms."),
        ];
        for (terms, kept) in kept {
            assert_eq!(of(terms, 1), format!("{untold}{kept}"));
        }
        assert!(
            of(Terms::Plain, 0).contains("could be told, as no network that was measured has such values")
        );
    }
}
