//! The thread that measures: takes a shard, runs its trials one after another and sends what came out.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use bitloop_core::state::Report;
use bitloop_core::trial::{EvaluateContext, Outcome, TrialKey, TrialResult, TrialSpec};
use tokio::sync::mpsc;

use crate::artifacts::Artifacts;
use crate::clock;
use crate::executor::{ExecuteError, Executor};
use crate::pending::Measured;
use crate::presence::Presence;

/// More than a shard has trials: while the coordinator is away, compute never waits for a commit.
const PROGRESS_CAPACITY: usize = 1024;

/// A shard to be measured.
pub(crate) struct Order {
    pub(crate) context: Option<Arc<EvaluateContext>>,
    pub(crate) trials: Vec<(TrialKey, TrialSpec)>,
    /// Ends the work between two blocks of images.
    pub(crate) stop: Arc<AtomicBool>,
}

/// What the thread says.
pub(crate) enum Progress {
    Measured(Measured),
    /// The order is over; nothing more comes from it.
    Ended(End),
}

/// How an order ended.
#[derive(Debug)]
pub(crate) enum End {
    Finished,
    Stopped,
    GaveUp { reason: String },
}

/// The running thread; it ends when `orders` is dropped and its order is over.
pub(crate) struct Compute {
    pub(crate) orders: mpsc::Sender<Order>,
    pub(crate) progress: mpsc::Receiver<Progress>,
    thread: JoinHandle<()>,
}

impl Compute {
    pub(crate) fn start(
        executor: Box<dyn Executor>,
        artifacts: Box<dyn Artifacts + Send>,
        presence: Arc<Presence>,
    ) -> std::io::Result<Self> {
        let (orders, receiver) = mpsc::channel(1);
        let (sender, progress) = mpsc::channel(PROGRESS_CAPACITY);
        let bench = Bench { executor, artifacts, presence, progress: sender };
        let thread =
            std::thread::Builder::new().name("compute".to_owned()).spawn(move || bench.serve(receiver))?;
        Ok(Self { orders, progress, thread })
    }

    /// Lets the thread end and returns it for joining.
    pub(crate) fn finish(self) -> JoinHandle<()> {
        self.thread
    }
}

struct Bench {
    executor: Box<dyn Executor>,
    artifacts: Box<dyn Artifacts + Send>,
    presence: Arc<Presence>,
    progress: mpsc::Sender<Progress>,
}

impl Bench {
    fn serve(mut self, mut orders: mpsc::Receiver<Order>) {
        while let Some(order) = orders.blocking_recv() {
            let end = self.measure(&order);
            self.presence.running(None);
            if self.progress.blocking_send(Progress::Ended(end)).is_err() {
                return;
            }
        }
    }

    fn measure(&mut self, order: &Order) -> End {
        for (key, spec) in &order.trials {
            if order.stop.load(Ordering::Relaxed) {
                return End::Stopped;
            }
            self.presence.running(Some(*key));
            let started = clock::now();
            let outcome = match self.attempt(spec, order) {
                Ok(Some(outcome)) => outcome,
                Ok(None) => return End::Stopped,
                Err(error) => return End::GaveUp { reason: error.to_string() },
            };
            let compute_ms = clock::elapsed(started).as_secs_f64() * 1e3;
            let measured = Measured { report: Report { key: *key, outcome }, compute_ms };
            if self.progress.blocking_send(Progress::Measured(measured)).is_err() {
                return End::Stopped;
            }
        }
        End::Finished
    }

    fn attempt(&mut self, spec: &TrialSpec, order: &Order) -> Result<Option<Outcome>, ExecuteError> {
        let context = order.context.as_deref();
        // What the executor keeps may be half done after a panic, so it is told to forget it.
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            self.executor.run(spec, context, self.artifacts.as_ref(), &order.stop)
        }));
        attempt.unwrap_or_else(|panic| {
            self.executor.reset();
            let reason = format!("the measurement panicked: {}", panic_text(panic.as_ref()));
            let result = TrialResult::Failed { reason };
            Ok(Some(Outcome { result, provenance: self.executor.provenance() }))
        })
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
