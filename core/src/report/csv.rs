use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::io;

use super::csv_devices::DeviceColumns;
use super::{CONFIDENCE, CSV_FORMAT, ConfigRow, Measured, Report, RowState};
use crate::bits::Bits;
use crate::digest::Digest;
use crate::evaluation::PPM;

/// The columns of every results file, in order; behind them come those of devices, if there are any. They are documented in
/// `docs/results.md`, and a change raises `CSV_FORMAT`.
#[rustfmt::skip]
pub const CSV_COLUMNS: [&str; 31] = [
    "format", "experiment", "model", "data", "numerics", "baseline_bits",
    "stage", "changes", "point", "kind", "bits", "state", "extent", "confidence",
    "n", "correct", "correct_top5", "lost", "gained",
    "top1", "top1_drop", "top1_drop_low", "top1_drop_high",
    "loss", "loss_increase", "loss_increase_low", "loss_increase_high", "kl", "sqnr_db",
    "size_saved_bits", "bops_saved",
];

/// Columns that need a measurement.
const MEASURED_COLUMNS: usize = 15;

/// What stands between the changes of a config.
const BETWEEN_CHANGES: &str = " ";

/// What a row is about, in the columns from `stage` to `bits`.
struct Named<'a> {
    stage: &'a str,
    changes: String,
    /// Point, kind and bits; of several points only the kinds, in the order of `changes`.
    point: [&'a str; 3],
    /// What the columns of devices say.
    on_devices: &'a [String],
}

pub(super) fn render(report: &Report) -> String {
    let mut bytes = Vec::new();
    write(report, report.configs.iter(), &mut bytes).expect("memory takes everything");
    String::from_utf8(bytes).expect("every field is text")
}

/// Writes the table with these rows of configs in place of the report's own.
pub(super) fn write<C: Borrow<ConfigRow>>(
    report: &Report,
    configs: impl Iterator<Item = C>,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let devices = DeviceColumns::of(report);
    let mut table = Table::new((report, &devices), out)?;
    let width = report.baseline_bits.to_string();
    table.references(&report.float, &report.baseline, &width)?;
    for row in &report.rows {
        let bits = row.bits.to_string();
        let point = [row.point.as_str(), row.kind.as_str(), &bits];
        let lowered = (!devices.is_empty()).then(|| BTreeMap::from([(row.point.clone(), row.bits)]));
        let on_devices = lowered.map_or(&[][..], |lowered| devices.config(&lowered));
        let named = Named { stage: "sensitivity", changes: change(&row.point, row.bits), point, on_devices };
        table.row(&named, &row.result, [row.size_saved_bits, row.bops_saved])?;
    }
    for row in configs {
        table.config(row.borrow())?;
    }
    if let Some(verified) = &report.verified {
        table.first = first(report, report.report_data);
        table.references(&verified.float, &verified.baseline, &width)?;
        for row in verified.found.iter().chain(&verified.uniform) {
            table.config(row)?;
        }
    }
    table.writer.flush()
}

fn change(point: &str, bits: Bits) -> String {
    format!("{point}={bits}")
}

struct Table<'a> {
    report: &'a Report,
    devices: &'a DeviceColumns<'a>,
    /// The first columns of every row on the images at hand, up to `baseline_bits`.
    first: [String; 6],
    writer: csv::Writer<&'a mut dyn io::Write>,
    /// The field at hand: a table may have a million rows.
    field: String,
}

impl<'a> Table<'a> {
    fn new(
        (report, devices): (&'a Report, &'a DeviceColumns<'a>),
        out: &'a mut dyn io::Write,
    ) -> csv::Result<Self> {
        let mut writer = csv::Writer::from_writer(out);
        writer.write_record(CSV_COLUMNS.into_iter().chain(devices.names.iter().map(String::as_str)))?;
        Ok(Self { report, devices, first: first(report, report.data), writer, field: String::new() })
    }

    fn text(&mut self, text: &str) -> csv::Result<()> {
        self.writer.write_field(text)
    }

    fn number(&mut self, number: u64) -> csv::Result<()> {
        self.written(|field| write!(field, "{number}"))
    }

    fn real(&mut self, value: f64) -> csv::Result<()> {
        self.written(|field| write_real(field, value))
    }

    fn written(&mut self, write: impl FnOnce(&mut String) -> fmt::Result) -> csv::Result<()> {
        self.field.clear();
        write(&mut self.field).expect("a string takes everything");
        self.writer.write_field(&self.field)
    }

    fn references(&mut self, float: &RowState, baseline: &RowState, width: &str) -> csv::Result<()> {
        let of_baseline = self.devices.config(&BTreeMap::new());
        for (kind, width, result, on_devices) in
            [("float", "", float, &self.devices.float[..]), ("baseline", width, baseline, of_baseline)]
        {
            let named = Named { stage: "", changes: String::new(), point: ["", kind, width], on_devices };
            self.row(&named, result, [0, 0])?;
        }
        Ok(())
    }

    fn config(&mut self, row: &ConfigRow) -> csv::Result<()> {
        let changes: Vec<String> = row.changes.iter().map(|(point, bits)| change(point, *bits)).collect();
        let saved = [
            self.report.baseline_size_bits.saturating_sub(row.size_bits),
            self.report.baseline_bops.saturating_sub(row.bops),
        ];
        let kinds =
            row.changes.keys().map(|point| self.report.kinds.get(point).map_or("", |kind| kind.as_str()));
        let kinds = kinds.collect::<Vec<_>>().join(BETWEEN_CHANGES);
        let alone = if row.changes.len() == 1 { row.changes.first_key_value() } else { None };
        let (point, bits) = alone.map_or(("", String::new()), |(point, bits)| (point, bits.to_string()));
        let named = Named {
            stage: &row.stage,
            changes: changes.join(BETWEEN_CHANGES),
            point: [point, &kinds, &bits],
            on_devices: self.devices.config(&row.changes),
        };
        self.row(&named, &row.result, saved)
    }

    fn row(&mut self, named: &Named<'_>, result: &RowState, saved: [u64; 2]) -> csv::Result<()> {
        for column in &self.first {
            self.writer.write_field(column)?;
        }
        self.text(named.stage)?;
        self.text(&named.changes)?;
        for column in named.point {
            self.text(column)?;
        }
        self.text(result.as_str())?;
        self.text(result.extent())?;
        self.text(&confidence(self.report, result))?;
        match result.measured() {
            Some(measured) => self.numbers(measured)?,
            None => (0..MEASURED_COLUMNS).try_for_each(|_| self.text(""))?,
        }
        for saved in saved {
            self.number(saved)?;
        }
        for cell in named.on_devices {
            self.text(cell)?;
        }
        self.writer.write_record(None::<&[u8]>)
    }

    fn numbers(&mut self, m: &Measured) -> csv::Result<()> {
        for count in [m.n, m.correct, m.correct_top5, m.lost, m.gained] {
            self.number(count)?;
        }
        let [drop, loss] = [&m.top1_drop, &m.loss_increase];
        for real in [m.top1, drop.value, drop.low, drop.high, m.loss, loss.value, loss.low, loss.high, m.kl] {
            self.real(real)?;
        }
        match m.sqnr_db {
            Some(sqnr_db) => self.real(sqnr_db),
            None => self.text(""),
        }
    }
}

fn first(report: &Report, data: Digest) -> [String; 6] {
    [
        CSV_FORMAT.to_string(),
        report.experiment.clone(),
        report.model.to_string(),
        data.to_string(),
        report.numerics.clone(),
        report.baseline_bits.to_string(),
    ]
}

/// Confidence of the interval of the drop.
fn confidence(report: &Report, result: &RowState) -> String {
    match result {
        RowState::Done(_) => CONFIDENCE.to_string(),
        RowState::Partial(_) | RowState::Decided(_) | RowState::Harmful(_) => {
            (f64::from(report.evaluation.confidence_ppm()) / f64::from(PPM)).to_string()
        }
        RowState::Open | RowState::Failed { .. } => String::new(),
    }
}

/// Digits behind the point: a fixed number, so that a table can be compared line by line.
const DIGITS: usize = 6;

/// Ten to the power of [`DIGITS`].
const MILLION: u128 = 1_000_000;

/// Bits of a number's fraction, and what its exponent is too great by.
const FRACTION_BITS: u32 = f64::MANTISSA_DIGITS - 1;
const EXPONENT_BIAS: u32 = 1_075;

/// Writes a number with six digits behind the point, rounded to the nearest, halves to even.
///
/// The standard library takes 20 times as long for numbers whose digits end soon, such as whole ones, and tables are full
/// of those. A number is a whole one times a power of two: below 2^53 its millionths are found by whole numbers alone.
pub(super) fn write_real(field: &mut String, value: f64) -> fmt::Result {
    if !value.is_finite() || value.abs() >= (1_u64 << f64::MANTISSA_DIGITS) as f64 {
        return write!(field, "{value:.DIGITS$}");
    }
    let bits = value.abs().to_bits();
    let (exponent, fraction) = ((bits >> FRACTION_BITS) as u32, bits & ((1 << FRACTION_BITS) - 1));
    // The smallest numbers have no leading one, and the exponent of the next larger ones.
    let digits = if exponent == 0 { fraction } else { fraction | 1 << FRACTION_BITS };
    let shift = EXPONENT_BIAS - exponent.max(1);
    let scaled = u128::from(digits) * MILLION;
    let millionths = match shift {
        0 => scaled,
        1..u128::BITS => {
            let (down, half) = (scaled >> shift, 1 << (shift - 1));
            let rest = scaled & ((1 << shift) - 1);
            down + u128::from(rest > half || (rest == half && down % 2 == 1))
        }
        // Less than half a millionth by far.
        u128::BITS.. => 0,
    };
    let sign = if value.is_sign_negative() { "-" } else { "" };
    // Below 2^53 millionths: no more than 64 bits.
    let (whole, behind) = ((millionths / MILLION) as u64, (millionths % MILLION) as u64);
    write!(field, "{sign}{whole}.{behind:06}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: f64) -> String {
        let mut field = String::new();
        write_real(&mut field, value).unwrap();
        field
    }

    #[test]
    fn numbers_that_end_soon_are_written_as_the_standard_library_writes_them() {
        for value in
            [0.0, -0.0, 1.0, -1.0, 0.5, -0.25, 0.015625, -37.984375, 0.0078125, -1e-9, 2e9, -3e12, 1e300]
        {
            assert_eq!(written(value), format!("{value:.6}"));
        }
        let largest = (1_u64 << 53) as f64;
        for value in
            [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 5e-324, largest, largest - 1.0]
        {
            assert_eq!(written(value), format!("{value:.6}"));
        }
    }

    proptest! {
        #[test]
        fn multiples_of_a_part_are_written_as_the_standard_library_writes_them(parts in any::<i32>(), power in 0..10) {
            let value = f64::from(parts) / f64::from(1 << power);
            prop_assert_eq!(written(value), format!("{:.6}", value));
        }

        #[test]
        fn so_are_ordinary_numbers(value in -1e10..1e10_f64, scale in -12..3) {
            let value = value * 10_f64.powi(scale);
            prop_assert_eq!(written(value), format!("{:.6}", value));
        }

        #[test]
        fn so_are_numbers_between_two_millionths(millionths in any::<i32>(), ulps in -2..3_i64) {
            let middle = (f64::from(millionths) + 0.5) / 1e6;
            let value = f64::from_bits((middle.to_bits() as i64 + ulps) as u64);
            prop_assert_eq!(written(value), format!("{:.6}", value));
        }

        #[test]
        fn so_are_all_others(value in any::<f64>()) {
            prop_assert_eq!(written(value), format!("{:.6}", value));
        }
    }
}
