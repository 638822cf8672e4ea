//! The one owner of the state: a thread that decides, applies, stores, and only then answers.
//!
//! A round takes the commands that have come, asks the searchers, serves waiting workers, stores all facts at
//! once and sends the answers. Start at [`Driver::run`]; the rest of the program talks to it through [`Handle`].

mod board;
mod command;
mod excerpt;
mod failures;
mod handle;
mod inspect;
mod lease_times;
mod log;
mod observe;
mod outage;
mod parked;
mod queries;
mod rates;
mod results;
mod searchers;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bitloop_core::digest::Digest;
use bitloop_core::plan::ExperimentId;
use bitloop_core::state::{
    Change, Event, Fact, Input, LEASE_TERM_MS, Rejection, Reply, State, UnixMillis, WorkerId, decide,
};
use bitloop_search::Concluded;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::artifacts::{Artifacts, Misses};
use crate::chronicle::{self, Chronicle, Happened, Keeper};
use crate::clock::Clock;
use crate::data_dir::DataDir;
use crate::metrics::Metrics;
use crate::store::{Store, StoreError};

pub use self::command::RequestError;
pub(crate) use self::failures::TrialFailure;
pub use self::handle::{Beat, Committed, Handle, Submitted};
pub(crate) use self::observe::{Observed, key_digits};
pub(crate) use self::view::LEASE_AGES_MS;
pub use self::view::{LeaseSummary, Overview, Shown, Summary, WorkerSummary};

use self::board::Board;
use self::command::{Answer, Command, Query};
use self::handle::Source;
use self::inspect::Origins;
use self::lease_times::LeaseTimes;
use self::parked::Parked;
use self::queries::QUERIES_WAITING;
use self::results::Results;
use self::searchers::Searchers;
use self::view::Sizes;

/// How long a request for a shard waits for work, in milliseconds: long beside a round trip, short beside the
/// time after which proxies and clients give up.
pub(crate) const LONG_POLL_MS: u64 = 15_000;

/// How often time passes for leases, in milliseconds.
const TICK_MS: u64 = 500;

/// How often a worker sends a heartbeat, in milliseconds: five times in a lease's term.
pub(crate) const HEARTBEAT_MS: u64 = LEASE_TERM_MS / 5;

/// A tick this late, in milliseconds, means that the coordinator itself was held up and nobody else is to blame.
const STALL_MS: u64 = 2_000;

/// Commands that may wait for the driver.
const COMMANDS_WAITING: usize = 256;

/// Conclusions of searchers that may wait for the driver; the threads that have more wait too.
const CONCLUSIONS_WAITING: usize = 16;

/// Commands taken in one round, so that one flush serves all of them.
const COMMANDS_PER_ROUND: usize = 257;

/// Facts after which a round takes no more commands, so that an answer never waits for a long write.
const FACTS_PER_ROUND: usize = 8_192;

/// How often the searchers are asked within a round; what is left comes in the next. Each may propose a thousand trials, of
/// which a round takes some tens of milliseconds at most.
const STEPS_PER_ROUND: usize = 4;

/// What a driver is made of.
pub(crate) struct Parts {
    pub(crate) store: Box<dyn Store>,
    pub(crate) data_dir: DataDir,
    pub(crate) artifacts: Artifacts,
    pub(crate) clock: Clock,
    /// Whether another coordinator worked on the store until now.
    pub(crate) took_over: bool,
}

/// State, store and searchers; see the module.
pub(crate) struct Driver {
    state: State,
    store: Box<dyn Store>,
    searchers: Searchers,
    concluded: mpsc::Receiver<Concluded>,
    parked: Parked,
    results: Results,
    origins: Origins,
    misses: Arc<Misses>,
    missed: watch::Receiver<BTreeSet<Digest>>,
    sizes: Sizes,
    leases: LeaseTimes,
    metrics: Arc<Metrics>,
    chronicle: Chronicle,
    clock: Clock,
    board: Board,
    commands: mpsc::Receiver<Command>,
    round: Round,
    /// Answers to what people have changed, sent when the overview shows that.
    unshown: Vec<Pending>,
    /// Whether the searchers may have more to say although nothing has happened since they were asked.
    is_searching: bool,
    ticked: UnixMillis,
    _keeper: Keeper,
    // Dropped last: while the store is open, nobody else may use the directory.
    _data_dir: DataDir,
}

/// What a round has gathered.
#[derive(Default)]
struct Round {
    began: Duration,
    facts: Vec<Fact>,
    replies: Vec<Pending>,
    /// The same to those who have changed something.
    changes: Vec<Pending>,
    queries: Vec<Query>,
    happened: Happened,
}

/// An answer that waits for the store.
struct Pending {
    worker: Option<WorkerId>,
    reply: oneshot::Sender<Answer>,
    answer: Answer,
}

enum Wake {
    Command(Command),
    Concluded(Concluded),
    Results(results::Said),
    Time,
    Stop,
}

impl Driver {
    /// Loads the store, replays it, and does what is owed at once.
    pub(crate) fn open(mut parts: Parts) -> Result<(Self, Handle), StoreError> {
        // In this order: from now on nobody else appends to what is loaded.
        let epoch = parts.store.raise_epoch()?;
        let loaded = parts.store.load()?;
        let now = parts.clock.now();
        let (sender, commands) = mpsc::channel(COMMANDS_WAITING);
        let (concluding, concluded) = mpsc::channel(CONCLUSIONS_WAITING);
        let (board, watched) = Board::new();
        let artifacts = parts.artifacts;
        let metrics = Arc::new(Metrics::new(epoch));
        let (chronicle, keeper) = Chronicle::open(&parts.data_dir.logs(), epoch, parts.clock.clone());
        let is_blank = chronicle.is_blank();
        info!(epoch, facts = loaded.facts.len(), "store loaded");
        let (mut sizes, mut origins) = (Sizes::default(), Origins::default());
        let mut state = State::replayed(loaded.facts, |state, fact| {
            sizes.extend(sized(fact));
            origins.note(fact);
            if is_blank {
                chronicle.remember(state, fact);
            }
        });
        state.apply(&Change::Started { now }.into());
        let mut driver = Self {
            state,
            store: parts.store,
            searchers: Searchers::new(concluding),
            concluded,
            parked: Parked::default(),
            results: Results::new(parts.data_dir.results()),
            origins,
            missed: artifacts.misses().watched(),
            misses: artifacts.misses(),
            sizes,
            leases: LeaseTimes::default(),
            metrics: metrics.clone(),
            chronicle: chronicle.clone(),
            clock: parts.clock.clone(),
            board,
            commands,
            round: Round::default(),
            unshown: Vec::new(),
            is_searching: true,
            ticked: now,
            _keeper: keeper,
            _data_dir: parts.data_dir,
        };
        chronicle.started(parts.took_over);
        driver.inspect(&artifacts);
        driver.results.owe_missing(&driver.state);
        driver.advance();
        driver.store_facts()?;
        driver.publish();
        let source = Source { overview: watched, metrics, chronicle, clock: parts.clock, opened: now };
        Ok((driver, Handle::new(sender, source, artifacts)))
    }

    /// Works until `stop` is cancelled or every handle is gone. While the store cannot be written it waits for better
    /// times, see `outage.rs`.
    ///
    /// Errors: when the store needs a person, or could not be written when the driver was to stop.
    pub(crate) fn run(mut self, runtime: &Runtime, stop: &CancellationToken) -> Result<(), StoreError> {
        // Nobody waited for it while the store was read.
        self.ticked = self.clock.now();
        // What the first round of `open` left over is taken up at once.
        let mut more = true;
        loop {
            let wake = match more {
                true if !stop.is_cancelled() => self.commands.try_recv().map_or(Wake::Time, Wake::Command),
                true | false => runtime.block_on(self.wait(stop)),
            };
            let first = match wake {
                Wake::Command(command) => Some(command),
                Wake::Concluded(concluded) => {
                    self.conclude(concluded);
                    None
                }
                Wake::Results(said) => {
                    self.results_said(said);
                    None
                }
                Wake::Time => None,
                Wake::Stop => {
                    self.end_results();
                    self.show_changes();
                    self.send_replies();
                    return Ok(());
                }
            };
            more = match self.round(first) {
                Ok(more) => more,
                Err(cause) if cause.is_retryable() => {
                    self.sit_out(cause, runtime, stop)?;
                    true
                }
                Err(cause) => return Err(cause),
            };
        }
    }

    async fn wait(&mut self, stop: &CancellationToken) -> Wake {
        let ticks = self.ticked.after(TICK_MS);
        let due = self.board.due().map_or(ticks, |overview| overview.min(ticks));
        let due = due.0.saturating_sub(self.clock.now().0);
        tokio::select! {
            biased;
            () = stop.cancelled() => Wake::Stop,
            command = self.commands.recv() => command.map_or(Wake::Stop, Wake::Command),
            // The driver has a sender too, so that the channel never closes.
            Some(concluded) = self.concluded.recv() => Wake::Concluded(concluded),
            Some(said) = self.results.next_said() => Wake::Results(said),
            Ok(()) = self.missed.changed() => Wake::Time,
            () = tokio::time::sleep(Duration::from_millis(due)) => Wake::Time,
        }
    }

    /// One round; returns whether there is more to do at once.
    fn round(&mut self, first: Option<Command>) -> Result<bool, StoreError> {
        self.round.began = self.clock.elapsed();
        self.metrics.is_alive(self.clock.now());
        self.tick();
        self.hear_threads();
        let (mut next, mut taken) = (first, 0);
        while let Some(command) = next {
            self.take(command);
            taken += 1;
            let has_room = taken < COMMANDS_PER_ROUND
                && self.round.facts.len() < FACTS_PER_ROUND
                && self.round.queries.len() < QUERIES_WAITING;
            next = if has_room { self.commands.try_recv().ok() } else { None };
        }
        self.advance();
        self.serve_parked();
        self.store_facts()?;
        self.go_on_with_results();
        self.chronicle.tell(&mut self.round.happened);
        self.publish();
        let released = self.send_replies();
        let is_asked = self.answer_queries();
        self.give_pages();
        self.metrics.round_took(self.clock.elapsed().saturating_sub(self.round.began));
        Ok(self.is_searching || released || is_asked)
    }

    fn take(&mut self, command: Command) {
        let (input, reply) = match command {
            Command::Query(query) => return self.round.queries.push(query),
            Command::LastCommit { commit, reply, next } => {
                return self.take_last_commit(&commit, reply, next);
            }
            Command::Input { input, reply } => (input, reply),
        };
        if let Input::Request { worker } = *input {
            return self.take_request(worker, reply);
        }
        let answer = self.step(&input).map_err(RequestError::from);
        // Whoever changes something looks what became of it.
        match matches!(*input, Input::Submit { .. } | Input::Act { .. }) {
            true => self.round.changes.push(Pending { worker: None, reply, answer }),
            false => self.answer_later(None, reply, answer),
        }
    }

    fn answer_later(&mut self, worker: Option<WorkerId>, reply: oneshot::Sender<Answer>, answer: Answer) {
        self.round.replies.push(Pending { worker, reply, answer });
    }

    /// Decides and applies; the only way in which the live state changes.
    fn step(&mut self, input: &Input) -> Result<Reply, Rejection> {
        let now = self.clock.now();
        let decision = decide(&self.state, input, now)?;
        self.metrics.note_decision(&self.state, input, &decision);
        chronicle::note(&self.state, (input, &decision), now, &mut self.round.happened);
        for event in decision.events {
            log::write(&self.state, &event);
            self.state.apply(&event);
            self.leases.note(&event, now);
            self.board.note(&self.state, (input, &event), now);
            if let Event::Fact(fact) = event {
                self.sizes.extend(sized(&fact));
                self.origins.note(&fact);
                self.round.facts.push(fact);
            }
        }
        Ok(decision.reply)
    }

    /// Asks the searchers until they wait, if anything has happened that they may look at.
    fn advance(&mut self) {
        if self.round.facts.is_empty() && !self.is_searching {
            return;
        }
        self.is_searching = true;
        for _ in 0..STEPS_PER_ROUND {
            let answers = self.searchers.ask_all(&self.state);
            if answers.is_empty() {
                self.is_searching = false;
                return;
            }
            for answer in answers {
                // `decide` refuses no answer of a searcher; one that came too late changes nothing.
                if let Err(rejection) = self.step(&answer) {
                    warn!(%rejection, "a searcher's answer was refused");
                }
            }
        }
    }

    fn conclude(&mut self, concluded: Concluded) {
        self.is_searching = true;
        let Some(answer) = self.searchers.has_concluded(&self.state, concluded) else { return };
        if let Err(rejection) = self.step(&answer) {
            warn!(%rejection, "a searcher's answer was refused");
        }
    }

    /// Hears what came of threads while rounds follow each other without a wait.
    fn hear_threads(&mut self) {
        while let Ok(concluded) = self.concluded.try_recv() {
            self.conclude(concluded);
        }
        self.hear_of_results();
        self.hear_of_misses();
    }

    fn store_facts(&mut self) -> Result<(), StoreError> {
        if self.round.facts.is_empty() {
            return Ok(());
        }
        if let Err(cause) = self.store.append(&self.round.facts) {
            self.metrics.store_failed();
            return Err(cause);
        }
        self.metrics.note_stored(&self.round.facts);
        // Whoever sees that an experiment is finished finds its results file.
        for fact in std::mem::take(&mut self.round.facts) {
            if let Fact::ExperimentFinished { experiment } = fact {
                self.results.owe(experiment);
            }
        }
        Ok(())
    }

    /// Sends the round's answers, and those that waited for the overview if it has been taken; returns whether a lease came back
    /// because its worker had gone.
    fn send_replies(&mut self) -> bool {
        let mut released = false;
        let took = self.clock.elapsed().saturating_sub(self.round.began);
        self.unshown.append(&mut self.round.changes);
        let shown = if self.board.is_urgent() { Vec::new() } else { std::mem::take(&mut self.unshown) };
        let replies = std::mem::take(&mut self.round.replies);
        for Pending { worker, reply, answer } in shown.into_iter().chain(replies) {
            self.metrics.note_answer(&answer, took);
            let Err(unsent) = reply.send(answer) else { continue };
            released |= self.take_back(worker, &unsent);
        }
        released
    }

    fn tick(&mut self) {
        let now = self.clock.now();
        let since_ms = now.0.saturating_sub(self.ticked.0);
        if since_ms < TICK_MS {
            return;
        }
        self.ticked = now;
        self.parked.note_tick();
        self.results.owe_again(now);
        let late_ms = since_ms - TICK_MS;
        let stalled_ms = if late_ms > STALL_MS { late_ms } else { 0 };
        self.metrics.ticked(late_ms, stalled_ms);
        if stalled_ms > 0 {
            warn!(stalled_ms, "the coordinator was held up; deadlines move by as much");
        }
        if let Err(rejection) = self.step(&Input::Tick { stalled_ms }) {
            warn!(%rejection, "a tick was refused");
        }
        // By now the workers are excused for as long as the coordinator itself was held up.
        self.metrics.listened(&self.state, (now, since_ms - stalled_ms));
        self.board.note_tick(&self.state);
    }
}

/// How many trials an experiment that is new has in all.
fn sized(fact: &Fact) -> Option<(ExperimentId, u64)> {
    let Fact::ExperimentSubmitted { plan, .. } = fact else { return None };
    Some((plan.id(), searchers::trials_of(plan)))
}
