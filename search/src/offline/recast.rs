use bitloop_core::bits::Bits;

use super::OfflineError;
use crate::form::{Form, Two};
use crate::space::{Space, Variable};

/// Returns a form over `from` as one over `to`, which searches some of its variables, at other widths if need be.
///
/// What `to` leaves out stays at its reference. A width that `from` does not have is interpolated linearly, in bits,
/// between its neighbours; two of a pair, one after the other.
///
/// Errors: `NotMeasured` for a variable or a reference that `from` does not have; `OutsideOfMeasured` for a width that
/// has no neighbour on one side.
///
/// Source: the search of the published pairwise-correlation tables (repository `pairwise_correlation_mpq`), which counts a
/// loss at 4 bits by `(8 - bits) / 4`.
pub(super) fn recast(form: &Form, from: &Space, to: &Space) -> Result<Form, OfflineError> {
    if let Some(other) = to.variables.iter().find(|variable| from.find(&variable.name).is_none()) {
        return Err(OfflineError::NotMeasured { point: other.name.clone() });
    }
    let moved = from.variables.iter().map(|variable| Moved::new(variable, to));
    let moved = moved.collect::<Result<Vec<Moved>, _>>()?;
    let mut recast = Form::constant(form.constant, to);
    for (term, moved) in form.one.iter().zip(&moved) {
        if !term.is_empty() {
            let values: Vec<f64> = moved.mixes.iter().map(|mix| mix.of(|level| term[level])).collect();
            add_one(&mut recast, moved, &values);
        }
    }
    for two in &form.two {
        let across = from.variables[two.b].widths.len();
        let (a, b) = (&moved[two.a], &moved[two.b]);
        let value = |left: &Mix, right: &Mix| left.of(|a| right.of(|b| two.values[a * across + b]));
        let values: Vec<f64> =
            a.mixes.iter().flat_map(|left| b.mixes.iter().map(move |right| value(left, right))).collect();
        match (a.variable, b.variable) {
            (Some(a), Some(b)) => recast.two.push(Two { a, b, values }),
            // The one that is left out has one level, so that the values are those of the other.
            (Some(_), None) => add_one(&mut recast, a, &values),
            (None, _) => add_one(&mut recast, b, &values),
        }
    }
    recast.by_changed = form.by_changed.iter().copied().take(to.variables.len() + 1).collect();
    Ok(recast)
}

fn add_one(form: &mut Form, moved: &Moved, values: &[f64]) {
    let Some(variable) = moved.variable else {
        form.constant += values[0];
        return;
    };
    let term = &mut form.one[variable];
    term.resize(values.len(), 0.0);
    term.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

/// Where a variable went.
struct Moved {
    /// The variable of the other space; none if it is left out.
    variable: Option<usize>,
    /// How each of its levels there, or its reference, is made of levels here.
    mixes: Vec<Mix>,
}

/// A share of one level and the rest of another.
struct Mix {
    low: usize,
    high: usize,
    share_of_high: f64,
}

impl Mix {
    fn of(&self, value: impl Fn(usize) -> f64) -> f64 {
        if self.low == self.high {
            return value(self.low);
        }
        value(self.low) + self.share_of_high * (value(self.high) - value(self.low))
    }

    fn one(level: usize) -> Self {
        Self { low: level, high: level, share_of_high: 0.0 }
    }

    fn new(from: &Variable, bits: Bits) -> Result<Self, OfflineError> {
        let above = from.widths.partition_point(|width| *width < bits);
        match from.widths.get(above) {
            Some(width) if *width == bits => Ok(Self::one(above)),
            Some(wide) if above > 0 => {
                let narrow = from.widths[above - 1].get();
                let share = f64::from(bits.get() - narrow) / f64::from(wide.get() - narrow);
                Ok(Self { low: above - 1, high: above, share_of_high: share })
            }
            _ => {
                let widths: Vec<String> = from.widths.iter().map(ToString::to_string).collect();
                let point = from.name.clone();
                Err(OfflineError::OutsideOfMeasured { point, bits, measured: widths.join(", ") })
            }
        }
    }
}

impl Moved {
    fn new(from: &Variable, to: &Space) -> Result<Self, OfflineError> {
        let Some(variable) = to.find(&from.name) else {
            return Ok(Self { variable: None, mixes: vec![Mix::one(usize::from(from.reference()))] });
        };
        let widths = &to.variables[variable].widths;
        if widths.last() != from.widths.last() {
            return Err(OfflineError::WithoutReference {
                point: from.name.clone(),
                reference: from.widths[usize::from(from.reference())],
            });
        }
        let mixes = widths.iter().map(|bits| Mix::new(from, *bits)).collect::<Result<_, _>>()?;
        Ok(Self { variable: Some(variable), mixes })
    }
}

/// The assignment of `from` that an assignment of `to` is, or none if it has a width that `from` does not.
pub(super) fn measured_levels(from: &Space, to: &Space, levels: &[u8]) -> Option<Vec<u8>> {
    let mut measured = from.reference();
    for (at, variable) in to.variables.iter().enumerate() {
        let place = from.find(&variable.name)?;
        let bits = to.width(at, levels);
        measured[place] = from.variables[place].widths.iter().position(|width| *width == bits)? as u8;
    }
    Some(measured)
}

#[cfg(test)]
mod tests {
    use bitloop_core::graph::PointKind;
    use bitloop_core::rng::rng;

    use super::*;

    fn space(widths: &[&[u8]], names: &[&str]) -> Space {
        let bits = |widths: &[u8]| widths.iter().map(|bits| Bits::new(*bits).unwrap()).collect();
        let variables = widths.iter().zip(names).map(|(widths, name)| Variable {
            name: (*name).to_owned(),
            kind: PointKind::Weight,
            widths: bits(widths),
        });
        Space { variables: variables.collect() }
    }

    fn form() -> (Form, Space) {
        let from = space(&[&[4, 8], &[2, 4, 8], &[4, 8]], &["a", "b", "c"]);
        let mut form = Form::constant(1.5, &from);
        form.one[0] = vec![3.0, 0.25];
        form.one[1] = vec![7.0, 2.0, 0.5];
        form.two.push(Two { a: 0, b: 1, values: vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0] });
        form.two.push(Two { a: 2, b: 1, values: vec![5.0, 6.0, 9.0, 3.0, 2.0, 1.0] });
        form.by_changed = vec![0.0, 0.5, 2.0, 9.0];
        (form, from)
    }

    #[test]
    fn at_measured_widths_nothing_changes_whatever_is_left_out() {
        let (form, from) = form();
        let to = space(&[&[2, 3, 4, 8], &[4, 6, 8]], &["b", "a"]);
        let recast = recast(&form, &from, &to).unwrap();
        let mut rng = rng(1, 0);
        let mut measured = 0;

        for _ in 0..200 {
            let levels: Vec<u8> =
                to.variables.iter().map(|variable| rng.below(variable.widths.len()) as u8).collect();
            let Some(before) = measured_levels(&from, &to, &levels) else { continue };
            let (found, expected) = (recast.value(&to, &levels), form.value(&from, &before));
            assert!((found - expected).abs() < 1e-12, "{levels:?}: {found} {expected}");
            measured += 1;
        }
        assert!(measured > 50);
        assert_eq!(recast.by_changed.len(), 3);
    }

    #[test]
    fn between_measured_widths_the_form_is_linear_in_bits() {
        let (form, from) = form();
        let to = space(&[&[2, 3, 4, 8], &[4, 6, 8]], &["b", "a"]);
        let recast = recast(&form, &from, &to).unwrap();
        let changed = |levels: &[u8]| form.by_changed[to.changed(levels)];
        let plain = |levels: &[u8]| recast.value(&to, levels) - changed(levels);

        // `b` at 3 bits is halfway between 2 and 4, `a` at 6 halfway between 4 and 8.
        assert_eq!(plain(&[1, 2]), (plain(&[0, 2]) + plain(&[2, 2])) / 2.0);
        assert_eq!(plain(&[0, 1]), (plain(&[0, 0]) + plain(&[0, 2])) / 2.0);
        let corners = plain(&[0, 0]) + plain(&[2, 0]) + plain(&[0, 2]) + plain(&[2, 2]);
        assert!((plain(&[1, 1]) - corners / 4.0).abs() < 1e-12);
    }

    #[test]
    fn what_was_not_measured_is_refused() {
        let (form, from) = form();
        let error = |widths: &[u8], name: &str| {
            recast(&form, &from, &space(&[widths], &[name])).unwrap_err().to_string()
        };

        assert!(error(&[4, 8], "d").contains("`d`"));
        assert!(error(&[3, 4, 8], "a").contains("3 bits of `a`"));
        assert!(error(&[4], "a").contains("8 bits of `a`"));
    }
}
