//! Arguments of `bitloop report`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::OnExperiment;

#[derive(Debug, Args)]
pub(crate) struct ReportArguments {
    #[command(flatten)]
    pub(crate) on: OnExperiment,

    /// Data directory to look in, instead of asking a coordinator; none may be using it.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,

    /// Form of the report; by default that of the file's ending, or a page.
    #[arg(long, value_enum)]
    pub(crate) format: Option<ReportFormat>,

    /// File to write, replaced as a whole; `-` is standard output, as it is without one.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// One page with charts and tables that needs no network.
    Html,
    /// Text and tables, as GitHub's Markdown.
    Md,
    /// The document that the others are made from.
    Json,
    /// The charts, below each other.
    Svg,
}

impl ReportFormat {
    /// The form that a file's ending names.
    pub(crate) fn of_ending(ending: &str) -> Option<Self> {
        match ending {
            "html" | "htm" => Some(Self::Html),
            "md" => Some(Self::Md),
            "json" => Some(Self::Json),
            "svg" => Some(Self::Svg),
            _ => None,
        }
    }
}
