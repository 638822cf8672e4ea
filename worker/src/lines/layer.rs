//! The layer of tracing that lines come through.

use std::cell::RefCell;
use std::fmt::{self, Write};
use std::sync::Arc;

use bitloop_proto::convert::{LINE_BYTES_MAX, LogLevel};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::Ring;

thread_local! {
    static RING: RefCell<Option<Arc<Ring>>> = const { RefCell::new(None) };
}

/// From now on, what this thread says goes to a ring.
pub(crate) fn keep_lines_of_this_thread(ring: Arc<Ring>) {
    RING.with_borrow_mut(|kept| *kept = Some(ring));
}

/// Takes what workers' compute threads say, and nothing else.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineLayer;

/// The layer for programs that run workers: it looks at events of workers and of what computes for them.
pub fn log_lines<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    let targets = ["bitloop_worker", "bitloop_quant"].map(|target| (target, LevelFilter::DEBUG));
    LineLayer.with_filter(Targets::new().with_targets(targets))
}

impl<S: Subscriber> Layer<S> for LineLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(ring) = RING.with_borrow(Clone::clone) else { return };
        let mut text = Text::default();
        event.record(&mut text);
        ring.push(level(*event.metadata().level()), &text.whole());
    }
}

fn level(level: Level) -> LogLevel {
    match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        Level::DEBUG | Level::TRACE => LogLevel::Debug,
    }
}

/// An event's message, then its fields.
#[derive(Debug, Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn whole(self) -> String {
        self.message + &self.fields
    }

    fn add(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        // Whatever is longer is cut anyway.
        if self.message.len() + self.fields.len() > LINE_BYTES_MAX {
            return;
        }
        let _ = match field.name() {
            "message" => self.message.write_fmt(value),
            name => write!(self.fields, " {name}={value}"),
        };
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format_args!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use bitloop_core::digest::Digest;
    use bitloop_core::trial::TrialKey;
    use tracing::{debug, info, info_span, subscriber, trace, warn};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::registry;

    use super::*;

    #[test]
    fn what_the_compute_thread_says_about_trials_is_kept_and_nothing_else() {
        let ring = Arc::new(Ring::default());
        let theirs = Arc::clone(&ring);
        let measure = move || {
            let _listening = subscriber::set_default(registry().with(log_lines()));
            info!("not yet a compute thread");
            keep_lines_of_this_thread(Arc::clone(&theirs));
            info!("about no trial");
            theirs.about(&[TrialKey(Digest::of(b"trial"))]);
            // Spans are of no account: those of traces, and those that another thread has opened, are unknown to the layer.
            info_span!(target: "bitloop::trace", "shard").in_scope(|| {
                info!(epoch = 3, loss = 0.5, "trained");
                info_span!("inner").in_scope(|| warn!(reason = "too\u{1b}[31m hot\nby far", "it fails"));
                debug!("a detail");
                trace!("nobody wants this");
                info!(target: "h2::codec", "a frame");
            });
            theirs.about([]);
            info!("about no trial any more");
        };

        std::thread::spawn(measure).join().unwrap();

        let lines = ring.batch().unwrap().lines;
        let lines: Vec<_> = lines.iter().map(|line| (line.level.as_str(), line.text.as_str())).collect();
        assert_eq!(
            lines,
            [
                ("info", "trained epoch=3 loss=0.5"),
                ("warn", "it fails reason=too\u{fffd}[31m hot by far"),
                ("debug", "a detail"),
            ]
        );
    }
}
