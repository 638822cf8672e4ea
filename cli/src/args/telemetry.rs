//! How every command says what it does: log lines, and traces.

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct Telemetry {
    /// Log more to standard error (finer: the variable BITLOOP_LOG).
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,

    /// Form of the log on standard error.
    #[arg(long, global = true, env = "BITLOOP_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,

    /// Send traces to the OpenTelemetry collector at this URL, over gRPC; needs a build with the feature `otel`.
    #[cfg_attr(
        feature = "otel",
        arg(long, global = true, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL")
    )]
    #[cfg_attr(not(feature = "otel"), arg(long, global = true, value_name = "URL"))]
    pub(crate) otlp_endpoint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line, with timestamp, level, target, fields and spans.
    Json,
}
