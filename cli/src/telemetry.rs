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
        let mut parts = vec![log(arguments), bitloop_worker::log_lines().boxed()];
        let telemetry = Self::traced(arguments, &mut parts)?;
        tracing_subscriber::registry().with(parts).init();
        IS_JSON.store(arguments.log_format == LogFormat::Json, Ordering::Relaxed);
        Ok(telemetry)
    }

    #[cfg(feature = "otel")]
    fn traced(arguments: &TelemetryArguments, parts: &mut Vec<Part>) -> Result<Self, Failure> {
        let named = arguments.otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty());
        let traces = named.map(otel::Traces::start).transpose()?;
        parts.extend(traces.as_ref().map(otel::Traces::part));
        Ok(Self { traces })
    }

    #[cfg(not(feature = "otel"))]
    fn traced(arguments: &TelemetryArguments, _: &mut Vec<Part>) -> Result<Self, Failure> {
        match arguments.otlp_endpoint {
            None => Ok(Self {}),
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

fn log(arguments: &TelemetryArguments) -> Part {
    let default = if arguments.verbose { "info,bitloop=debug" } else { "warn" };
    let filter = EnvFilter::try_from_env("BITLOOP_LOG").unwrap_or_else(|_| EnvFilter::new(default));
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
