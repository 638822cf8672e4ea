//! `bitloop solve`: the best bit config by measurements or indicators within limits, without a coordinator.

use std::fs;
use std::path::Path;

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;
use bitloop_search::cost::Table;
use bitloop_search::offline::{
    self, BitConfig, Database, DatabaseFile, IndicatorSearch, LayersFile, MeasuredSearch, Method, Objective,
    OfflineError, Question, SolveOptions, Wanted,
};
use bitloop_search::predict;
use bitloop_search::tables::{Counts, Indicators};

use crate::args::{Compat, Measured, Output, Searched, SolveArguments, Solver};
use crate::failure::{Exit, Failure, Outcome};
use crate::show;

/// Widths of the published search, of which the tables hold the first and the last.
const PUBLISHED_BITS: std::ops::RangeInclusive<u8> = 4..=8;

pub(super) fn execute(arguments: &SolveArguments, output: Output) -> Outcome {
    let form = arguments.out.as_deref().map(BitConfigForm::of).transpose()?;
    let layers = LayersFile::parse(&read(&arguments.layers)?);
    let layers = layers.map_err(|error| in_file(&arguments.layers, &error))?;
    let question = match &arguments.indicators {
        Some(indicators) => by_indicators(arguments, indicators, &layers)?,
        None => by_measurements(arguments, &layers)?,
    };
    let options = SolveOptions {
        method: match arguments.method {
            Solver::Exact => Method::Exact,
            Solver::Greedy => Method::Greedy,
            Solver::Nsga2 => Method::Nsga2,
        },
        best: usize::from(arguments.best),
        prices: !arguments.no_prices,
        front_max: usize::from(arguments.pareto_points),
        nodes_max: arguments.nodes,
        seed: arguments.seed,
    };
    let answer = offline::answer(&question, &options).map_err(unanswered)?;
    if let (Some(path), Some(form), Some(best)) = (&arguments.out, form, answer.best.first()) {
        let failed = |error| Failure::usage(format!("cannot write {}: {error}", path.display()));
        fs::write(path, form.write(&best.bits)).map_err(failed)?;
    }
    match output {
        Output::Json => show::json(&answer),
        Output::Text => show::data(&show::answer(&answer)),
    }
}

fn by_indicators(arguments: &SolveArguments, path: &Path, layers: &LayersFile) -> Result<Question, Failure> {
    let indicators = Indicators::parse(&read(path)?).map_err(|error| in_file(path, &error))?;
    let LayersFile::Limpq(layers) = layers else {
        let path = arguments.layers.display();
        return Err(Failure::usage(format!(
            "{path} is no table of layers with indicators; name one whose layers have `macs_upstream`"
        )));
    };
    let counts = match arguments.compat {
        None => Counts::True,
        Some(Compat::Limpq) => Counts::Published,
        Some(Compat::PairwiseMpq) => {
            return Err(Failure::usage(
                "--compat pairwise_mpq is for its tables; for indicators there is limpq",
            ));
        }
    };
    if !arguments.tables.is_empty() {
        return Err(Failure::usage("--costs goes with measurements; indicators have size and BOPs alone"));
    }
    let by = &arguments.by_indicators;
    if by.no_bitops && arguments.constraints.iter().any(|(cost, _)| cost.starts_with("bops")) {
        return Err(Failure::usage(
            "--no-bitops goes against a --constraint on BOPs; leave out one of the two",
        ));
    }
    let search = IndicatorSearch {
        bits: arguments.bits.clone(),
        mean_bits: by.mean_bits(),
        compression: by.compression,
        alpha: by.alpha,
        counts,
        wanted: wanted(arguments),
    };
    offline::of_indicators(&indicators, layers, &search).map_err(unanswered)
}

fn by_measurements(arguments: &SolveArguments, layers: &LayersFile) -> Result<Question, Failure> {
    let Database { measurements, published } = database(&arguments.measured)?;
    let is_compat = match arguments.compat {
        None => false,
        Some(Compat::PairwiseMpq) => true,
        Some(Compat::Limpq) => {
            return Err(Failure::usage("--compat limpq goes with --indicators"));
        }
    };
    let objective = match (&arguments.predictor, published) {
        (None, Some(published)) if is_compat => Objective::Given {
            form: offline::published_objective(&published).map_err(unanswered)?,
            words: "the published objective f2, in percentage points of top-1".to_owned(),
        },
        (name, _) => {
            let method = name.as_deref().unwrap_or("auto").parse::<predict::Method>();
            let method = method.map_err(|error| Failure::usage(format!("--predictor: {error}")))?;
            let predictor = predict::fit(method, &measurements);
            Objective::Predicted(predictor.map_err(|error| Failure::usage(error.to_string()))?)
        }
    };
    let published_bits = PUBLISHED_BITS.filter_map(|bits| Bits::new(bits).ok());
    let search = MeasuredSearch {
        kinds: kinds(arguments, is_compat),
        bits: match arguments.bits.is_empty() && is_compat {
            true => published_bits.collect(),
            false => arguments.bits.clone(),
        },
        counts: if is_compat { Counts::Published } else { Counts::True },
        tables: arguments.tables.iter().map(|path| table(path)).collect::<Result<_, _>>()?,
        wanted: wanted(arguments),
    };
    offline::of_measurements(&measurements, objective, layers, &search).map_err(unanswered)
}

/// The searched kinds: for the published search weights alone where only the size is limited.
fn kinds(arguments: &SolveArguments, is_compat: bool) -> Vec<PointKind> {
    let limited = &arguments.constraints;
    let only_size = !limited.is_empty() && limited.iter().all(|(cost, _)| cost.starts_with("size_"));
    let by_default = if is_compat && only_size { Searched::Weights } else { Searched::All };
    match arguments.search.unwrap_or(by_default) {
        Searched::All => vec![PointKind::Weight, PointKind::Activation],
        Searched::Weights => vec![PointKind::Weight],
        Searched::Activations => vec![PointKind::Activation],
    }
}

fn wanted(arguments: &SolveArguments) -> Wanted {
    Wanted { limits: arguments.constraints.clone(), told: Vec::new(), front: arguments.pareto.clone() }
}

fn table(path: &Path) -> Result<Table, Failure> {
    Table::parse(&read(path)?).map_err(|error| in_file(path, &error))
}

/// Reads files of measurements.
pub(super) fn database(measured: &Measured) -> Result<Database, Failure> {
    let files = measured.databases.iter().map(|path| {
        let text = read(path)?;
        Ok(DatabaseFile { name: path.display().to_string(), text })
    });
    let files = files.collect::<Result<Vec<DatabaseFile>, Failure>>()?;
    offline::database(&files, measured.metric).map_err(unanswered)
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
}

fn in_file(path: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::usage(format!("{}: {error}", path.display()))
}

/// Limits that nothing keeps fail the request; anything else is wrong with the command line or a file.
pub(super) fn unanswered(error: OfflineError) -> Failure {
    let exit = if error.is_unanswerable() { Exit::Failed } else { Exit::Usage };
    Failure::new(exit, error.to_string())
}

/// How a bit config is written.
#[derive(Clone, Copy)]
enum BitConfigForm {
    Json,
    Yaml,
}

impl BitConfigForm {
    fn of(path: &Path) -> Result<Self, Failure> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Ok(Self::Json),
            Some("yaml" | "yml") => Ok(Self::Yaml),
            _ => Err(Failure::usage(format!(
                "--out {}: end the file's name in .json or .yaml",
                path.display()
            ))),
        }
    }

    fn write(self, bits: &BitConfig) -> String {
        match self {
            Self::Json => bits.to_json(),
            Self::Yaml => bits.to_yaml(),
        }
    }
}
