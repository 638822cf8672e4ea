//! The command line of `bitloop fit` and `bitloop solve`.

use std::path::PathBuf;

use bitloop_core::bits::Bits;
use bitloop_core::plan::Metric;
use clap::{Args, ValueEnum};

/// Files of measurements.
#[derive(Debug, Args)]
pub(crate) struct Measured {
    /// An experiment's results (CSV or JSON), or published tables of singles, pairs and subsets.
    #[arg(value_name = "DATABASE")]
    pub(crate) databases: Vec<PathBuf>,

    /// What an experiment's results are judged by: `top1_drop` or `loss_increase`.
    #[arg(long, value_name = "WORD", default_value = "top1_drop", value_parser = metric)]
    pub(crate) metric: Metric,
}

#[derive(Debug, Args)]
pub(crate) struct FitArguments {
    #[command(flatten)]
    pub(crate) measured: Measured,

    /// Which predictor: auto, additive, published, ridge or quadratic.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub(crate) method: String,

    /// Judge all predictors by the same rows.
    #[arg(long)]
    pub(crate) compare: bool,

    /// Share of the rows of several changes that predictors don't see and are judged by.
    #[arg(long, value_name = "SHARE", default_value_t = 0.2)]
    pub(crate) held_out: f64,

    /// How often other rows are held out; figures are means.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) splits: u16,

    /// Seed of what is held out.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct SolveArguments {
    #[command(flatten)]
    pub(crate) measured: Measured,

    /// Importance indicators to solve by, instead of measurements.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["databases", "metric", "predictor", "search"])]
    pub(crate) indicators: Option<PathBuf>,

    /// What the layers cost: the output of `bitloop check --output json`, or a published table of layers.
    #[arg(long, value_name = "FILE")]
    pub(crate) layers: PathBuf,

    /// Costs that were measured elsewhere, as a table by point or layer and width; can be given again.
    #[arg(long = "costs", value_name = "FILE")]
    pub(crate) tables: Vec<PathBuf>,

    /// The most that a cost may be, such as `size_mib=14.5`; can be given again.
    #[arg(long = "constraint", value_name = "COST=LIMIT", value_parser = constraint)]
    pub(crate) constraints: Vec<(String, f64)>,

    /// Which solver.
    #[arg(long, value_enum, default_value_t = Solver::Exact)]
    pub(crate) method: Solver,

    /// How losses are predicted; `bitloop fit --compare` tells the predictors apart.
    #[arg(long, value_name = "NAME")]
    pub(crate) predictor: Option<String>,

    /// Repeat a published search, with all that is odd about its counts.
    #[arg(long, value_enum)]
    pub(crate) compat: Option<Compat>,

    /// Which points are searched; others keep their reference width.
    #[arg(long, value_enum)]
    pub(crate) search: Option<Searched>,

    /// Widths that are searched; those that were measured unless given.
    #[arg(long, value_delimiter = ',', value_name = "BITS,..", value_parser = bits)]
    pub(crate) bits: Vec<Bits>,

    /// How many of the best bit configs are printed.
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub(crate) best: u16,

    /// Also print the front against this cost, such as `size_mib`.
    #[arg(long, value_name = "COST")]
    pub(crate) pareto: Option<String>,

    /// The most points of an exact front.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(2..=10_000))]
    pub(crate) pareto_points: u16,

    /// Don't find out what the limits are worth.
    #[arg(long)]
    pub(crate) no_prices: bool,

    /// The most nodes of each exact search; where they run out, the gap that is left is printed.
    #[arg(long, value_name = "N", default_value_t = 20_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) nodes: u64,

    /// Seed of NSGA-II.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,

    /// File for the best bit config: point to bits, as JSON (.json) or YAML (.yaml).
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) by_indicators: ByIndicators,
}

/// What only a search by importance indicators has.
///
/// Measurements go with none of it: that `indicators` are required does not say so, since clap lets what conflicts with
/// something typed be missing.
#[derive(Debug, Args)]
pub(crate) struct ByIndicators {
    /// Limits bit operations to those of all layers at this width of weights.
    #[arg(
        long,
        value_name = "BITS",
        requires_all = ["indicators", "activation_bits"],
        conflicts_with = "databases"
    )]
    pub(crate) weight_bits: Option<f64>,

    /// Limits bit operations to those of all layers at this width of activations.
    #[arg(
        long,
        value_name = "BITS",
        requires_all = ["indicators", "weight_bits"],
        conflicts_with = "databases"
    )]
    pub(crate) activation_bits: Option<f64>,

    /// Limits the weights to the float network's size divided by this.
    #[arg(long, value_name = "RATIO", requires = "indicators", conflicts_with = "databases")]
    pub(crate) compression: Option<f64>,

    /// Limits the size alone: `--weight-bits` and `--activation-bits` may stand there and count for nothing.
    #[arg(long, requires = "indicators", conflicts_with = "databases")]
    pub(crate) no_bitops: bool,

    /// How much a weight's indicator counts beside an activation's.
    #[arg(long, default_value_t = 2.0, requires = "indicators", conflicts_with = "databases")]
    pub(crate) alpha: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Solver {
    /// The best, with a proof.
    Exact,
    /// Lowering by least damage per saving.
    Greedy,
    /// A population that starts from greedy descents.
    Nsga2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compat {
    /// The search of the pairwise-correlation method: widths 4 to 8, its objective, its counts.
    #[value(name = "pairwise_mpq")]
    PairwiseMpq,
    /// The search by importance indicators: its counts, and its erasing of indicators that do not fall with the width.
    Limpq,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Searched {
    /// Weights and activations.
    All,
    /// Weights.
    Weights,
    /// Activations.
    Activations,
}

impl ByIndicators {
    /// The widths of weights and activations whose bit operations are the limit.
    pub(crate) fn mean_bits(&self) -> Option<[f64; 2]> {
        let [weight, activation] = [self.weight_bits?, self.activation_bits?];
        (!self.no_bitops).then_some([weight, activation])
    }
}

fn metric(text: &str) -> Result<Metric, String> {
    let found = Metric::ALL.into_iter().find(|metric| metric.as_str() == text);
    found.ok_or_else(|| format!("choose {}", Metric::ALL.map(Metric::as_str).join(" or ")))
}

fn bits(text: &str) -> Result<Bits, String> {
    let bits: u8 = text.parse().map_err(|_| "write widths such as 2,4,8".to_owned())?;
    Bits::new(bits).map_err(|error| error.to_string())
}

fn constraint(text: &str) -> Result<(String, f64), String> {
    let wrong = || format!("`{text}` is no limit; write a cost and a number, such as size_mib=14.5");
    let (cost, limit) = text.split_once('=').ok_or_else(wrong)?;
    let limit: f64 = limit.trim().parse().map_err(|_| wrong())?;
    match limit.is_finite() && !cost.trim().is_empty() {
        true => Ok((cost.trim().to_owned(), limit)),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use clap::error::ErrorKind;

    use super::*;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        solve: SolveArguments,
    }

    fn solve(words: &str) -> Result<SolveArguments, ErrorKind> {
        let typed = Typed::try_parse_from(format!("solve --layers layers.json {words}").split_whitespace());
        typed.map(|typed| typed.solve).map_err(|error| error.kind())
    }

    #[test]
    fn what_indicators_alone_have_is_refused_beside_measurements_and_without_either() {
        let words = ["--alpha 3", "--compression 8", "--no-bitops", "--weight-bits 3 --activation-bits 4"];
        for words in words {
            assert!(solve(&format!("--indicators file.json {words}")).is_ok(), "{words}");
            let beside = solve(&format!("singles.csv {words}")).unwrap_err();
            assert_eq!(beside, ErrorKind::ArgumentConflict, "{words}");
            assert_eq!(solve(words).unwrap_err(), ErrorKind::MissingRequiredArgument, "{words}");
        }
        let alpha = |words: &str| solve(words).map(|arguments| arguments.by_indicators.alpha);
        assert_eq!((alpha("--indicators file.json"), alpha("singles.csv")), (Ok(2.0), Ok(2.0)));
    }

    #[test]
    fn an_exact_search_has_a_node_at_least() {
        let nodes = |words: &str| solve(words).map(|arguments| arguments.nodes);

        assert_eq!(nodes("singles.csv"), Ok(20_000_000));
        assert_eq!(nodes("singles.csv --nodes 1"), Ok(1));
        assert_eq!(nodes("singles.csv --nodes 0"), Err(ErrorKind::ValueValidation));
    }

    #[test]
    fn a_constraint_is_a_cost_and_a_finite_number() {
        assert_eq!(constraint("size_mib=14.5"), Ok(("size_mib".to_owned(), 14.5)));
        assert_eq!(constraint("bops_g = 2e2"), Ok(("bops_g".to_owned(), 200.0)));
        for wrong in ["", "size_mib", "size_mib=", "=3", "size_mib=many", "size_mib=NaN", "size_mib=inf"] {
            assert!(constraint(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn words_and_widths_that_are_none_are_refused_with_what_there_is() {
        assert_eq!(metric("top1_drop"), Ok(Metric::Top1Drop));
        assert!(metric("top1").unwrap_err().contains("loss_increase"));
        assert!(bits("4").is_ok());
        assert!(bits("9").is_err() && bits("four").is_err());
    }
}
