//! The trace that a call belongs to: spans of several processes become one by W3C's header `traceparent`.
//!
//! What records spans is installed by the program ([`carry_with`]); without it nothing is written or read here.

use std::sync::OnceLock;

use tonic::Request;
use tonic::metadata::{MetadataMap, MetadataValue};
use tracing::Span;

/// The target of spans that are part of traces.
pub const TARGET: &str = "bitloop_trace";

/// The header that carries a span's place in its trace.
const HEADER: &str = "traceparent";

/// Longest header that is looked at; version 00 has 55 bytes.
const HEADER_BYTES_MAX: usize = 64;

/// What knows the places of spans in traces.
pub trait Carrier: Send + Sync {
    /// The place of a span, as a header; none if it is not recorded.
    fn context(&self, span: &Span) -> Option<String>;

    /// Puts a new span below another process's, if the header makes sense.
    fn adopt(&self, span: &Span, context: &str);
}

static CARRIER: OnceLock<Box<dyn Carrier>> = OnceLock::new();

/// Installs what records spans, once per process.
pub fn carry_with(carrier: Box<dyn Carrier>) {
    // A second one would be of the same process, and record the same.
    let _ = CARRIER.set(carrier);
}

/// Whether spans are recorded.
pub fn is_carried() -> bool {
    CARRIER.get().is_some()
}

/// The place of a span in its trace.
pub fn context(span: &Span) -> Option<String> {
    CARRIER.get()?.context(span)
}

/// Puts a new span below the one that a header names.
pub fn below(span: Span, context: Option<&str>) -> Span {
    if let (Some(carrier), Some(context)) = (CARRIER.get(), context) {
        carrier.adopt(&span, context);
    }
    span
}

/// Writes a span's place into a request.
pub fn write<T>(request: &mut Request<T>, span: &Span) {
    set(request.metadata_mut(), context(span));
}

/// Writes a place into headers.
pub fn set(metadata: &mut MetadataMap, context: Option<String>) {
    if let Some(value) = context.and_then(|context| MetadataValue::try_from(context).ok()) {
        metadata.insert(HEADER, value);
    }
}

/// Reads a place from headers, if spans are recorded here.
pub fn read(metadata: &MetadataMap) -> Option<String> {
    let text = metadata.get(HEADER).filter(|_| is_carried())?.to_str().ok()?;
    (text.len() <= HEADER_BYTES_MAX).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Carrier for Fixed {
        fn context(&self, _: &Span) -> Option<String> {
            Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned())
        }

        fn adopt(&self, _: &Span, _: &str) {}
    }

    #[test]
    fn a_place_is_written_and_read_back_once_spans_are_recorded() {
        let mut request = Request::new(());
        write(&mut request, &Span::none());
        assert!(request.metadata().is_empty(), "nothing is written before");
        carry_with(Box::new(Fixed));

        write(&mut request, &Span::none());

        assert_eq!(read(request.metadata()), Fixed.context(&Span::none()));
        set(request.metadata_mut(), Some("0".repeat(HEADER_BYTES_MAX + 1)));
        assert_eq!(read(request.metadata()), None, "what is too long is none");
    }
}
