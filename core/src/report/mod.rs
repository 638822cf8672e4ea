//! What an experiment measured, computed from the ledger alone: one row per point and width of its sweep, one per config
//! of several points, and what its searches found.
//!
//! A report holds no times and no worker names, so it is the same bytes wherever and however often the trials ran; what was
//! measured on devices is as it was measured.
//! Its JSON form is a versioned document; its CSV form is described in `docs/results.md`.

mod csv;
mod csv_devices;
mod devices;
mod effort;
mod environment;
mod interval;
mod measured;
mod network_names;
mod price_of_changes;
mod prices;
mod refusal;
mod search;
mod searched_device;
mod so_far;
mod trained;
mod trained_csv;

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use crate::bits::{BitConfig, Bits};
use crate::digest::Digest;
use crate::evaluation::EvaluationMode;
use crate::graph::{GraphError, LayerCost, Point, PointKind};
use crate::plan::{Plan, StagePlan};
use crate::state::{Experiment, Ledger};
use crate::sweep::Sweep;
use crate::trial::{PreparedStep, TrialResult};

pub use self::csv::CSV_COLUMNS;
pub use self::devices::{DeviceFront, DeviceReport, Failure, FidelityRow, Finalist, FrontRow, NetworkRow};
pub use self::effort::{Effort, MeasuredBy};
pub use self::environment::{EnvironmentSummary, Range};
pub use self::interval::{Interval, mean_difference, paired_difference};
pub use self::measured::Evaluations;
pub use self::measured::{Measured, RowState};
use self::prices::Prices;
use self::search::Configs;
pub use self::search::{ConfigRow, SearchReport, TopRow, Verified, uniform_configs};
pub use self::searched_device::SearchedDevice;
pub use self::trained::{BlockRows, FoundNetwork, TrainedRow, TrainedSearch};
pub use self::trained_csv::{TRAINED_CSV_COLUMNS, TRAINED_CSV_FORMAT};

/// Version of the report's JSON form.
pub const REPORT_FORMAT: u32 = 5;

/// Version of the report's CSV form: since 5, columns of devices follow the others.
pub const CSV_FORMAT: u32 = 5;

/// The oldest version whose losses this one reads.
pub const OLDEST_CSV_FORMAT: u32 = 4;

/// Confidence of every interval in a report but those of [`EvaluationMode::Adaptive`], which name their own.
pub const CONFIDENCE: f64 = 0.95;

/// The baseline with one point lowered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The point's name.
    pub point: String,
    /// Whether it is a weight or an activation.
    pub kind: PointKind,
    /// Its width.
    pub bits: Bits,
    /// What came of it.
    pub result: RowState,
    /// Bits of weight storage saved beside the baseline.
    pub size_saved_bits: u64,
    /// Bit operations per image saved beside the baseline.
    pub bops_saved: u64,
}

/// Why a report was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The plan's graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Who takes the text.
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// The results of one experiment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`REPORT_FORMAT`].
    pub format: u32,
    /// The experiment's id.
    pub experiment: String,
    /// Where it stands.
    pub status: String,
    /// The model file.
    pub model: Digest,
    /// The selection images.
    pub data: Digest,
    /// The report images.
    pub report_data: Digest,
    /// The arithmetic.
    pub numerics: String,
    /// How many images a config is measured on.
    pub evaluation: EvaluationMode,
    /// Selection images.
    pub images: u64,
    /// Images that the rows are measured on, all rows together.
    pub images_evaluated: u64,
    /// Width of every point in the baseline.
    pub baseline_bits: Bits,
    /// The prepared model: transformed, with the encodings of every point; none before it is made.
    pub prepared: Option<Digest>,
    /// What the transforms came to, in order; empty if none had to be judged.
    pub steps: Vec<PreparedStep>,
    /// The float network.
    pub float: RowState,
    /// The baseline itself.
    pub baseline: RowState,
    /// Whether a point is a weight or an activation, by its name, for every point of the model.
    pub kinds: BTreeMap<String, PointKind>,
    /// The points that the sweep lowers, in graph order, then by width.
    pub rows: Vec<Row>,
    /// What else sweeps and searches measured, each config once, in the order in which they were proposed: configs of
    /// several lowered points, and of one that no sweep lowers.
    pub configs: Vec<ConfigRow>,
    /// What each search came to, in the order of the stages.
    pub searches: Vec<SearchReport>,
    /// What each search that trains came to, in the order of the stages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trained: Vec<TrainedSearch>,
    /// What was measured on devices, one per probe stage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceReport>,
    /// What was measured on the report images; none if nothing is to be.
    pub verified: Option<Verified>,
    /// Bits of weight storage of the baseline.
    pub baseline_size_bits: u64,
    /// Bit operations per image of the baseline.
    pub baseline_bops: u64,
}

impl Report {
    /// Gathers what the ledger knows of an experiment.
    ///
    /// Errors: those of the plan's graph.
    pub fn new(ledger: &Ledger, experiment: &Experiment) -> Result<Self, GraphError> {
        let (prices, sweep) = (Prices::new(&experiment.plan)?, sweep_of(&experiment.plan));
        let configs = Configs::new(ledger, experiment, &prices);
        let but_configs = Self::but_configs(ledger, (&configs, &sweep))?;
        Ok(Self { configs: configs.rows(&sweep).collect(), ..but_configs })
    }

    /// Writes the CSV form of the report on an experiment. Of a large one neither the rows nor the text are there as a whole.
    ///
    /// Errors: those of the plan's graph, and of who takes the text.
    pub fn write_csv(
        ledger: &Ledger,
        experiment: &Experiment,
        out: &mut dyn io::Write,
    ) -> Result<(), WriteError> {
        let (prices, sweep) = (Prices::new(&experiment.plan)?, sweep_of(&experiment.plan));
        let configs = Configs::new(ledger, experiment, &prices);
        let report = Self::but_configs(ledger, (&configs, &sweep))?;
        match report.trained.is_empty() {
            true => csv::write(&report, configs.rows(&sweep), out)?,
            false => out.write_all(trained_csv::render(&report).as_bytes())?,
        }
        Ok(())
    }

    /// All but the rows of configs of several points.
    fn but_configs(ledger: &Ledger, (configs, sweep): (&Configs<'_>, &Sweep)) -> Result<Self, GraphError> {
        let experiment = configs.experiment();
        let plan = &experiment.plan;
        let points = &plan.points;
        let layers = plan.layer_costs()?;
        let baseline = plan.candidates.baseline;
        let touched = Touched::new(&layers);
        let lowered = |index: u64| {
            let (point, bits) = sweep.lowered(index)?;
            let point = &points[point.0 as usize];
            let result = configs.on_selection().result(&sweep.config(index));
            Some(row(baseline, point, bits, touched.macs(point), result))
        };
        let rows: Vec<Row> = (0..sweep.size()).filter_map(lowered).collect();
        let of_baseline = configs.prices().of(&BitConfig::baseline());
        let (prepared, steps) = preparation(ledger, experiment);
        Ok(Self {
            format: REPORT_FORMAT,
            experiment: experiment.id.0.clone(),
            status: experiment.status.as_str().to_owned(),
            model: plan.model,
            data: plan.data.selection.digest,
            report_data: plan.data.report.digest,
            numerics: plan.numerics.as_str().to_owned(),
            evaluation: plan.evaluation,
            images: plan.data.selection.images,
            images_evaluated: rows.iter().filter_map(|row| row.result.measured()).map(|m| m.n).sum(),
            baseline_bits: baseline,
            prepared,
            steps,
            float: configs.on_selection().reference(&plan.float_config()),
            baseline: configs.on_selection().reference(&BitConfig::baseline()),
            kinds: points.iter().map(|point| (point.name.clone(), point.kind)).collect(),
            rows,
            configs: Vec::new(),
            searches: configs.searches(),
            trained: trained::searches(ledger, experiment),
            devices: devices::of(ledger, experiment),
            verified: configs.verified(),
            baseline_size_bits: of_baseline.size_bits,
            baseline_bops: of_baseline.bops,
        })
    }

    /// The rows by damage: largest drop first, then largest increase of the loss; unmeasured ones last.
    pub fn by_damage(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        let damage = |row: &Row| {
            let measured = row.result.measured();
            let of = |value: Option<f64>| value.unwrap_or(f64::NEG_INFINITY);
            (of(measured.map(|m| m.top1_drop.value)), of(measured.map(|m| m.loss_increase.value)))
        };
        rows.sort_by(|a, b| {
            let (a, b) = (damage(a), damage(b));
            b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1))
        });
        rows
    }

    /// The report as a CSV text with a header; see [`CSV_COLUMNS`], behind which come those of devices, or [`TRAINED_CSV_COLUMNS`] for searches that train.
    pub fn to_csv(&self) -> String {
        match self.trained.is_empty() {
            true => csv::render(self),
            false => trained_csv::render(self),
        }
    }
}

/// The sweep of the plan's points one by one, empty if there is none.
fn sweep_of(plan: &Plan) -> Sweep {
    let single = plan.stages.iter().find_map(|stage| match stage {
        StagePlan::Sensitivity { single, .. } => Some(single.as_slice()),
        StagePlan::Prepare
        | StagePlan::Search(_)
        | StagePlan::Probe(_)
        | StagePlan::AutoQKeras(_)
        | StagePlan::Verify { .. } => None,
    });
    Sweep::new(plan, single.unwrap_or_default())
}

/// What the prepare stage gave, if it is done.
fn preparation(ledger: &Ledger, experiment: &Experiment) -> (Option<Digest>, Vec<PreparedStep>) {
    let stages = experiment.plan.stages.iter().zip(&experiment.stages);
    let mut trials =
        stages.filter(|(plan, _)| matches!(plan, StagePlan::Prepare)).flat_map(|(_, stage)| &stage.trials);
    let outcome = trials.next().and_then(|key| ledger.outcome_for(experiment, key));
    match outcome.map(|outcome| &outcome.result) {
        Some(TrialResult::Prepared { artifact, steps }) => (Some(*artifact), steps.clone()),
        _ => (None, Vec::new()),
    }
}

/// Multiply-accumulates that a point's width has a part in.
struct Touched<'a> {
    by_weight: BTreeMap<&'a str, u64>,
    by_input: BTreeMap<&'a str, u64>,
}

impl<'a> Touched<'a> {
    fn new(layers: &'a [LayerCost]) -> Self {
        let by_weight = layers.iter().map(|layer| (layer.node.as_str(), layer.macs)).collect();
        let mut by_input = BTreeMap::new();
        for layer in layers {
            if let Some(point) = &layer.input_point {
                *by_input.entry(point.as_str()).or_default() += layer.macs;
            }
        }
        Self { by_weight, by_input }
    }

    fn macs(&self, point: &Point) -> u64 {
        let found = match point.kind {
            PointKind::Weight => self.by_weight.get(point.node.as_str()),
            PointKind::Activation => self.by_input.get(point.name.as_str()),
        };
        // An activation that no layer reads, such as the network's output, has a part in none.
        found.copied().unwrap_or(0)
    }
}

fn row(baseline: Bits, point: &Point, bits: Bits, macs: u64, result: RowState) -> Row {
    let saved_bits = u64::from(baseline.get().saturating_sub(bits.get()));
    Row {
        point: point.name.clone(),
        kind: point.kind,
        bits,
        result,
        size_saved_bits: match point.kind {
            PointKind::Weight => point.elements as u64 * saved_bits,
            PointKind::Activation => 0,
        },
        bops_saved: macs * saved_bits * u64::from(baseline.get()),
    }
}

#[cfg(test)]
mod tests;
