//! The thread that measures: takes a shard, runs its trials and sends what came out.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use bitloop_core::state::{Obstacle, ObstacleKind, Report};
use bitloop_core::trial::{Outcome, TrialKey, TrialResult, TrialSpec};
use bitloop_core::worker::{self, End, Measured};
use bitloop_proto::trace;
use tokio::sync::mpsc;
use tracing::{Span, debug, info, info_span, warn};

use crate::artifacts::CoordinatorArtifacts;
use crate::clock;
use crate::executor::{ExecuteError, Executor, Setting};
use crate::groups::Groups;
use crate::lines::{self, Ring};
use crate::presence::Presence;

/// More than a shard has trials: while the coordinator is away, compute never waits for a commit.
const PROGRESS_CAPACITY: usize = 1024;

/// A shard to be measured.
pub(crate) struct Order {
    pub(crate) shard: worker::Order,
    /// Ends the work between two blocks of images.
    pub(crate) stop: Arc<AtomicBool>,
    /// What is said while it is measured belongs to this.
    pub(crate) span: Span,
}

/// What the thread says.
pub(crate) enum Progress {
    Measured(Measured),
    /// The order is over; nothing more comes from it.
    Ended(End),
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
        artifacts: CoordinatorArtifacts,
        (presence, lines): (Arc<Presence>, Arc<Ring>),
    ) -> std::io::Result<Self> {
        let (orders, receiver) = mpsc::channel(1);
        let (sender, progress) = mpsc::channel(PROGRESS_CAPACITY);
        let groups = Groups::default();
        let bench = Bench { executor, artifacts, groups, presence, lines, progress: sender };
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
    artifacts: CoordinatorArtifacts,
    groups: Groups,
    presence: Arc<Presence>,
    lines: Arc<Ring>,
    progress: mpsc::Sender<Progress>,
}

impl Bench {
    fn serve(mut self, mut orders: mpsc::Receiver<Order>) {
        lines::keep_lines_of_this_thread(Arc::clone(&self.lines));
        while let Some(order) = orders.blocking_recv() {
            let end = order.span.in_scope(|| {
                let end = self.measure(&order);
                debug!(trials = order.shard.trials.len(), end = word(&end), "the shard is over");
                end
            });
            self.lines.about([]);
            // It ends with the work, not with the next order.
            drop(order);
            self.presence.ordered([]);
            self.presence.running(Vec::new());
            if self.progress.blocking_send(Progress::Ended(end)).is_err() {
                return;
            }
        }
    }

    fn measure(&mut self, order: &Order) -> End {
        let shard = &order.shard.trials;
        self.presence.ordered(shard.iter().map(|(key, _)| *key));
        let mut unbegun = shard.as_slice();
        while !unbegun.is_empty() {
            let (trials, behind) = unbegun.split_at(self.groups.next(unbegun));
            unbegun = behind;
            // What the coordinator asked back meanwhile is somebody else's now.
            let begun = self.presence.begin(trials.iter().map(|(key, _)| *key));
            let left: Vec<_> = trials.iter().filter(|(key, _)| begun.contains(key)).cloned().collect();
            if left.is_empty() {
                continue;
            }
            if let Err(end) = self.measure_together(&left, order) {
                return end;
            }
        }
        End::Finished
    }

    /// Measures trials and sends each outcome as soon as it is there.
    fn measure_together(&mut self, trials: &[(TrialKey, TrialSpec)], order: &Order) -> Result<(), End> {
        if order.stop.load(Ordering::Relaxed) {
            return Err(End::Stopped);
        }
        self.presence.running(trials.iter().map(|(key, _)| *key).collect());
        self.lines.about(trials.iter().map(|(key, _)| key));
        let [(first, spec), ..] = trials else { return Ok(()) };
        let measuring = info_span!(target: trace::TARGET, "measure", trial = %first, trials = trials.len());
        let (took, given, attempt) = measuring.in_scope(|| {
            info!(kind = kind(spec), trials = trials.len(), "measuring");
            let started = clock::now();
            let (given, attempt) = self.attempt(trials, order);
            (clock::elapsed(started), given, attempt)
        });
        drop(measuring);
        let (rest, millis) = (&trials[given..], took.as_millis() as u64);
        if rest.is_empty() {
            self.groups.learn(trials, took);
        }
        match &attempt {
            Ok(Ok(())) if rest.is_empty() => info!(millis, "done"),
            Ok(Ok(())) => info!(millis, given, "stopped before the end, as the work is not wanted any more"),
            Ok(Err(error)) => warn!(millis, given, %error, "trials are given back"),
            Err(reason) => warn!(millis, given, reason, "measuring broke off"),
        }
        match attempt {
            Ok(Ok(())) if rest.is_empty() => Ok(()),
            Ok(Ok(())) => Err(End::Stopped),
            // What it waited for may have been broken off with the order.
            Ok(Err(_)) if order.stop.load(Ordering::Relaxed) => Err(End::Stopped),
            Ok(Err(error)) => Err(gave_up(error.obstacle(), error.to_string(), rest)),
            // It may be this machine: another one tries it first.
            Err(reason) if rest.len() == 1 => Err(gave_up(ObstacleKind::Panic, reason, rest)),
            // One by one, to find the one that panics.
            Err(_) => rest.chunks(1).try_for_each(|trial| self.measure_together(trial, order)),
        }
    }

    /// Returns how many trials have an outcome, and what the executor said, or panicked with.
    fn attempt(
        &mut self,
        trials: &[(TrialKey, TrialSpec)],
        order: &Order,
    ) -> (usize, Result<Result<(), ExecuteError>, String>) {
        let specs: Vec<&TrialSpec> = trials.iter().map(|(_, trial)| trial).collect();
        let artifacts = self.artifacts.during(&order.stop);
        let setting = Setting {
            context: order.shard.context.as_deref(),
            artifacts: &artifacts,
            stop: order.stop.as_ref(),
        };
        let (started, mut given) = (clock::now(), 0);
        let mut give = |outcome: Outcome| {
            let Some((key, _)) = trials.get(given) else { return };
            given += 1;
            if let TrialResult::Failed { reason } = &outcome.result {
                self.lines.about([key]);
                warn!(reason, "the trial fails");
                self.lines.about(trials.iter().map(|(key, _)| key));
            }
            // Outcomes of trials that go together come together, behind the last block of images.
            let compute_ms = clock::elapsed(started).as_secs_f64() * 1e3 / trials.len() as f64;
            if send(&self.progress, (*key, outcome), compute_ms).is_err() {
                order.stop.store(true, Ordering::Relaxed);
            }
        };
        // What the executor keeps may be half done after a panic, so it is told to forget it.
        let attempt = catch_unwind(AssertUnwindSafe(|| self.executor.run(&specs, &setting, &mut give)));
        let attempt = attempt.map_err(|panic| {
            self.executor.reset();
            format!("the measurement panicked: {}", panic_text(panic.as_ref()))
        });
        (given, attempt)
    }
}

fn send(
    progress: &mpsc::Sender<Progress>,
    (key, outcome): (TrialKey, Outcome),
    compute_ms: f64,
) -> Result<(), End> {
    let measured = Measured { report: Report { key, outcome }, compute_ms };
    progress.blocking_send(Progress::Measured(measured)).map_err(|_| End::Stopped)
}

fn gave_up(kind: ObstacleKind, reason: String, trials: &[(TrialKey, TrialSpec)]) -> End {
    End::GaveUp(Obstacle { kind, reason, trials: trials.iter().map(|(key, _)| *key).collect() })
}

/// How a shard ended; why trials were given back was said before.
fn word(end: &End) -> &'static str {
    match end {
        End::Finished => "measured",
        End::Stopped => "stopped",
        End::GaveUp(obstacle) => obstacle.kind.as_str(),
    }
}

fn kind(spec: &TrialSpec) -> &'static str {
    match spec {
        TrialSpec::Prepare(_) => "prepare",
        TrialSpec::Evaluate { .. } => "evaluate",
        TrialSpec::Train(_) => "train",
        TrialSpec::Probe(_) => "probe",
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}
