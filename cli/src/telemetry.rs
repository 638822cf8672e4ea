//! What the program says of its work while it works: log lines on standard error, and with the feature `otel` spans for a
//! collector. Standard output stays data.

#[cfg(feature = "otel")]
mod otel;
mod outlet;

use std::io::{IsTerminal, Write, stderr};
use std::sync::OnceLock;
use std::time::Duration;

use serde_json::json;
use tracing::{error, info};
use tracing_subscriber::filter::Directive;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::args::{LogFormat, TelemetryArguments};
use crate::clock;
use crate::failure::Failure;
use crate::show::moment;

use self::outlet::{End, Gap, Outlet};

/// The target of remarks that commands make, which are always shown.
const REMARK: &str = "bitloop_remark";

/// Says what is logged.
const LOG_VARIABLE: &str = "BITLOOP_LOG";

/// Names a collector, to all programs that know OpenTelemetry.
#[cfg(feature = "otel")]
const ENDPOINT_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// How long a service that ends waits for whoever reads its log.
const READER_PATIENCE: Duration = Duration::from_secs(3);

/// What stands where lines of the log are missing.
const LEFT_OUT: &str = "lines of the log were left out here, as nobody read standard error in time";

/// Where remarks go once the log has begun, and in which form.
static OUTLET: OnceLock<(Outlet, LogFormat)> = OnceLock::new();

/// A part of what is done with log lines and spans.
type Part = Box<dyn Layer<Registry> + Send + Sync>;

/// Who reads standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Whoever started the command, which waits until its remarks and errors are taken.
    Present,
    /// Perhaps nobody for long: a service works on, and ends, all the same.
    MayBeAway,
}

/// What is under way; [`Telemetry::end`] sends and writes what is left.
pub(crate) struct Telemetry {
    #[cfg(feature = "otel")]
    traces: Option<otel::Traces>,
    /// Behind the traces, whose end may have something to say; also after a panic.
    _log: End,
}

/// The traces, if there are any, and a warning if there are none although somebody wants them.
#[cfg(feature = "otel")]
type Traced = (Option<otel::Traces>, Option<String>);

impl Telemetry {
    /// Begins to log, and to trace if a collector is named.
    ///
    /// Errors: an endpoint that cannot be sent to, as far as its text tells.
    pub(crate) fn start(arguments: &TelemetryArguments, reader: Reader) -> Result<Self, Failure> {
        // What workers write is for `bitloop logs`, whatever this terminal shows.
        let (filter, unread) = filter(arguments);
        let mut parts = vec![bitloop_worker::log_lines().boxed()];
        #[cfg(feature = "otel")]
        let (traces, untraced) = traced(arguments, &mut parts)?;
        #[cfg(not(feature = "otel"))]
        let untraced = traced(arguments)?;
        let patience = match reader {
            Reader::Present => None,
            Reader::MayBeAway => Some(READER_PATIENCE),
        };
        let gap: Gap = match arguments.log_format {
            LogFormat::Text => gap_text,
            LogFormat::Json => gap_json,
        };
        let outlet = Outlet::open(stderr(), gap, patience)?;
        parts.push(log(arguments, filter, outlet.clone()));
        tracing_subscriber::registry().with(parts).init();
        let (outlet, _) = OUTLET.get_or_init(|| (outlet, arguments.log_format));
        let telemetry = Self {
            #[cfg(feature = "otel")]
            traces,
            _log: End(outlet.clone()),
        };
        unread.iter().chain(&untraced).for_each(|warning| remark(warning));
        Ok(telemetry)
    }

    /// Sends what is left, if somebody takes it, and has what was said written.
    pub(crate) fn end(self) {
        #[cfg(feature = "otel")]
        if let Some(traces) = self.traces {
            traces.end();
        }
    }
}

/// Begins to trace; with a warning instead where only the environment names what cannot be sent to, as a variable that
/// is set for a whole site and other programs.
#[cfg(feature = "otel")]
fn traced(arguments: &TelemetryArguments, parts: &mut Vec<Part>) -> Result<Traced, Failure> {
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
    Ok((traces, warning))
}

#[cfg(not(feature = "otel"))]
fn traced(arguments: &TelemetryArguments) -> Result<Option<String>, Failure> {
    match arguments.otlp_endpoint {
        None => Ok(None),
        Some(_) => Err(Failure::usage(
            "this bitloop was built without traces; build it with `cargo build --release --features otel`, or leave \
             --otlp-endpoint out",
        )),
    }
}

/// Says something to people, on a line of its own; where standard error is for programs, as a line of the log.
pub(crate) fn remark(text: &str) {
    match OUTLET.get() {
        Some((_, LogFormat::Json)) => info!(target: REMARK, "{text}"),
        Some((outlet, LogFormat::Text)) => outlet.remark(format!("{text}\n").as_bytes()),
        // What cannot be said is no reason to end.
        None => drop(writeln!(stderr(), "{text}")),
    }
}

/// Says why a command failed, likewise.
pub(crate) fn remark_error(text: &str) {
    match OUTLET.get() {
        Some((_, LogFormat::Json)) => error!(target: REMARK, "{text}"),
        Some((_, LogFormat::Text)) | None => remark(&format!("error: {text}")),
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

fn log(arguments: &TelemetryArguments, filter: EnvFilter, outlet: Outlet) -> Part {
    let remarks: Directive = format!("{REMARK}=info").parse().expect("this is a directive");
    let lines = tracing_subscriber::fmt::layer().with_writer(outlet);
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

fn gap_text(left_out: u64) -> String {
    format!("{}  WARN {LEFT_OUT} left_out={left_out}\n", now())
}

fn gap_json(left_out: u64) -> String {
    let fields = json!({ "message": LEFT_OUT, "left_out": left_out });
    format!("{}\n", json!({ "timestamp": now(), "level": "WARN", "target": "bitloop", "fields": fields }))
}

fn now() -> String {
    moment(clock::unix_seconds().saturating_mul(1_000)).unwrap_or_default()
}
