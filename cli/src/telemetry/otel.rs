//! Spans to an OpenTelemetry collector, over gRPC. Sent by threads of their own from a queue with an end: a collector that
//! is slow or not there loses spans, which is said, and holds nothing up.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bitloop_proto::trace;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::Runtime;
use tracing::{Span, info, warn};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;

use super::Part;
use crate::failure::Failure;

/// How long one batch of spans may take on its way.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the end of the program waits for the last ones.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// What traces are called by where several programs send theirs.
const SERVICE: &str = "bitloop";

/// Where collectors take OTLP over HTTP, which many programs are told to use and bitloop does not speak.
const HTTP_PORT: &str = "4318";

/// The way to a collector.
pub(super) struct Traces {
    provider: SdkTracerProvider,
    way: Arc<Way>,
    /// What the connection lives on; the program's own may be gone before the last span is sent.
    runtime: Runtime,
}

impl Traces {
    /// Sends to `http://HOST:PORT` from now on; whether somebody is there is found out by sending.
    ///
    /// Errors: what is no such URL.
    pub(super) fn start(endpoint: &str) -> Result<Self, Failure> {
        if !endpoint.starts_with("http://") {
            return Err(Failure::usage(format!(
                "traces cannot go to `{endpoint}`; write --otlp-endpoint http://HOST:PORT with the gRPC port of a collector \
                 (4317 as a rule), and have it on this machine if what lies between is not to be trusted"
            )));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("bitloop-traces")
            .enable_all()
            .build()?;
        let _entered = runtime.enter();
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT);
        let exporter = exporter.build().map_err(|error| {
            Failure::usage(format!("traces cannot go to `{endpoint}`: {error}; write http://HOST:PORT"))
        })?;
        let way = Arc::new(Way { endpoint: endpoint.to_owned(), is_lost: AtomicBool::new(false) });
        let exporter = Telling { exporter, way: way.clone() };
        let resource = Resource::builder().with_service_name(SERVICE).build();
        let provider =
            SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        trace::carry_with(Box::new(W3c::default()));
        drop(_entered);
        Ok(Self { provider, way, runtime })
    }

    /// Takes the spans that are part of traces, whatever the log shows.
    pub(super) fn part(&self) -> Part {
        let tracer = self.provider.tracer(SERVICE);
        let spans = tracing_opentelemetry::layer().with_tracer(tracer).with_location(false);
        spans
            .with_filter(filter_fn(|metadata| metadata.is_span() && metadata.target() == trace::TARGET))
            .boxed()
    }

    pub(super) fn end(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(END_TIMEOUT) {
            self.way.lose(&error);
        }
        self.runtime.shutdown_background();
    }
}

/// Whether spans arrive; said when that changes.
#[derive(Debug)]
struct Way {
    endpoint: String,
    is_lost: AtomicBool,
}

impl Way {
    fn lose(&self, reason: &dyn Display) {
        if self.is_lost.swap(true, Ordering::Relaxed) {
            return;
        }
        let authority = self.endpoint.split("://").nth(1).and_then(|rest| rest.split('/').next());
        let port = authority.and_then(|authority| authority.rsplit_once(':')).map(|(_, port)| port);
        let hint = match port {
            Some(HTTP_PORT) => {
                format!("; {HTTP_PORT} is the port for OTLP over HTTP, which bitloop does not speak")
            }
            Some(_) | None => String::new(),
        };
        warn!(
            endpoint = self.endpoint,
            %reason,
            "spans are lost: nobody took them over gRPC; name the gRPC port of a collector, 4317 as a rule{hint}"
        );
    }

    fn arrive(&self) {
        if self.is_lost.swap(false, Ordering::Relaxed) {
            info!(endpoint = self.endpoint, "spans arrive again");
        }
    }
}

/// An exporter that says when it loses spans.
#[derive(Debug)]
struct Telling {
    exporter: opentelemetry_otlp::SpanExporter,
    way: Arc<Way>,
}

impl SpanExporter for Telling {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let exported = self.exporter.export(batch).await;
        match &exported {
            Ok(()) => self.way.arrive(),
            Err(error) => self.way.lose(error),
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Places in traces as the W3C writes them.
#[derive(Default)]
struct W3c(TraceContextPropagator);

/// The one header of a place that bitloop carries.
const HEADER: &str = "traceparent";

impl trace::Carrier for W3c {
    fn context(&self, span: &Span) -> Option<String> {
        let mut headers = HashMap::new();
        self.0.inject_context(&span.context(), &mut headers);
        headers.remove(HEADER)
    }

    fn adopt(&self, span: &Span, context: &str) {
        let headers = HashMap::from([(HEADER.to_owned(), context.to_owned())]);
        // A span that is not recorded has no place.
        let _ = span.set_parent(self.0.extract(&headers));
    }
}
