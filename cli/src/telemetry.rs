//! What the program says of its work while it works: log lines on standard error, and with the feature `otel` spans for a
//! collector. Standard output stays data.

#[cfg(feature = "otel")]
mod otel;

use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{error, info};
use tracing_subscriber::filter::Directive;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::args::{LogFormat, TelemetryArguments};
use crate::failure::Failure;

/// The target of remarks that commands make, which are always shown.
const REMARK: &str = "bitloop_remark";

/// Says what is logged.
const LOG_VARIABLE: &str = "BITLOOP_LOG";

/// Names a collector, to all programs that know OpenTelemetry.
#[cfg(feature = "otel")]
const ENDPOINT_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Whether standard error holds JSON alone.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// A part of what is done with log lines and spans.
type Part = Box<dyn Layer<Registry> + Send + Sync>;

/// What is under way; [`Telemetry::end`] sends what is left.
pub(crate) struct Telemetry {
    #[cfg(feature = "otel")]
    traces: Option<otel::Traces>,
}

impl Telemetry {
    /// Begins to log, and to trace if a collector is named.
    ///
    /// Errors: an endpoint that cannot be sent to, as far as its text tells.
    pub(crate) fn start(arguments: &TelemetryArguments) -> Result<Self, Failure> {
        // What workers write is for `bitloop logs`, whatever this terminal shows.
        let (filter, unread) = filter(arguments);
        let mut parts = vec![log(arguments, filter), bitloop_worker::log_lines().boxed()];
        let (telemetry, untraced) = Self::traced(arguments, &mut parts)?;
        tracing_subscriber::registry().with(parts).init();
        IS_JSON.store(arguments.log_format == LogFormat::Json, Ordering::Relaxed);
        unread.iter().chain(&untraced).for_each(|warning| remark(warning));
        Ok(telemetry)
    }

    /// Begins to trace; with a warning instead where only the environment names what cannot be sent to, as a variable that
    /// is set for a whole site and other programs.
    #[cfg(feature = "otel")]
    fn traced(
        arguments: &TelemetryArguments,
        parts: &mut Vec<Part>,
    ) -> Result<(Self, Option<String>), Failure> {
        let named = arguments.otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty());
        let of_environment = std::env::var(ENDPOINT_VARIABLE).ok();
        let (traces, warning) = match named.map(otel::Traces::start).transpose() {
            Ok(traces) => (traces, None),
            Err(failure) if of_environment == arguments.otlp_endpoint => {
                (None, Some(format!("warning: {ENDPOINT_VARIABLE}: {:#}; nothing is traced", failure.error)))
            }
            Err(failure) => return Err(failure),
        };
        parts.extend(traces.as_ref().map(otel::Traces::part));
        Ok((Self { traces }, warning))
    }

    #[cfg(not(feature = "otel"))]
    fn traced(arguments: &TelemetryArguments, _: &mut Vec<Part>) -> Result<(Self, Option<String>), Failure> {
        match arguments.otlp_endpoint {
            None => Ok((Self {}, None)),
            Some(_) => Err(Failure::usage(
                "this bitloop was built without traces; build it with `cargo build --release --features otel`, or leave \
                 --otlp-endpoint out",
            )),
        }
    }

    /// Sends what is left, if somebody takes it.
    pub(crate) fn end(self) {
        #[cfg(feature = "otel")]
        if let Some(traces) = self.traces {
            traces.end();
        }
    }
}

/// Says something to people, on a line of its own; where standard error is for programs, as a line of the log.
pub(crate) fn remark(text: &str) {
    match IS_JSON.load(Ordering::Relaxed) {
        true => info!(target: REMARK, "{text}"),
        // What cannot be said is no reason to end.
        false => drop(writeln!(stderr(), "{text}")),
    }
}

/// Says why a command failed, likewise.
pub(crate) fn remark_error(text: &str) {
    match IS_JSON.load(Ordering::Relaxed) {
        true => error!(target: REMARK, "{text}"),
        false => remark(&format!("error: {text}")),
    }
}

/// Which lines are logged, and a warning if what the environment says of it cannot be read.
fn filter(arguments: &TelemetryArguments) -> (EnvFilter, Option<String>) {
    let default = if arguments.verbose { "info,bitloop=debug" } else { "warn" };
    let named = std::env::var(LOG_VARIABLE).ok().filter(|named| !named.is_empty());
    match named.as_ref().map(EnvFilter::try_new) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => {
            let warning = format!(
                "warning: {LOG_VARIABLE} is not followed: {error}; write it as in {LOG_VARIABLE}=warn,bitloop=debug"
            );
            (EnvFilter::new(default), Some(warning))
        }
        None => (EnvFilter::new(default), None),
    }
}

fn log(arguments: &TelemetryArguments, filter: EnvFilter) -> Part {
    let remarks: Directive = format!("{REMARK}=info").parse().expect("this is a directive");
    let lines = tracing_subscriber::fmt::layer().with_writer(stderr);
    match arguments.log_format {
        LogFormat::Text => {
            let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            lines.with_ansi(colours).with_target(false).with_filter(filter).boxed()
        }
        LogFormat::Json => {
            let filter = filter.add_directive(remarks);
            lines.json().with_current_span(false).with_filter(filter).boxed()
        }
    }
}
