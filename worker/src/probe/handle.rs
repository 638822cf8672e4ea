//! A probe as the worker's compute thread sees it: methods that wait for an answer, whatever becomes of processes meanwhile.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bitloop_core::device::ProbeOffer;
use bitloop_core::probe::Patience;
use tracing::{debug, info, warn};

use super::checks::{self, Layered};
use super::command::ProbeCommand;
use super::error::{Breakage, ProbeError, Suspect};
use super::process::{Process, Silence, Wait, excerpt};
use super::protocol::device_name;
use super::restarts::Restarts;
use super::unburied::Unburied;
use super::{Answer, Ask, Hello, InferenceSetting, Network, Reply, Request, Timed};
use crate::clock;

/// Processes made for a request that may break before the request is given up: once, it may have been chance.
const FRESH_MAX: u32 = 2;

/// A probe: a process that is started again whenever it has to be.
pub struct Probe {
    name: String,
    command: ProbeCommand,
    hello: Hello,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    process: Option<Running>,
    restarts: Restarts,
    unburied: Unburied,
    next_id: u64,
    /// Whether it has answered something since it broke last.
    is_trusted: bool,
    /// Whether the last process was ended so that another one measures next, which is no restart to speak of.
    is_renewed: bool,
}

struct Running {
    process: Process,
    /// Whether it has answered nothing yet.
    is_fresh: bool,
}

/// How inferences are timed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timing {
    /// How an inference is made.
    pub setting: InferenceSetting,
    /// How long and how closely.
    pub patience: Patience,
    /// Multiply-adds of an image, which take any device some time; 0 where nobody knows.
    pub macs: u64,
}

impl Timing {
    /// Multiply-adds of an inference.
    fn macs_of_all(&self) -> u64 {
        self.macs.saturating_mul(u64::from(self.setting.batch))
    }
}

/// What a network computes, and what is to come of it.
#[derive(Clone, Copy, Debug)]
pub struct Inference<'a> {
    /// What computes.
    pub config: &'a Network,
    /// Values of its input; see [`Ask::Infer`].
    pub images: &'a Path,
    /// How many images there are.
    pub count: u64,
    /// Nodes whose outputs are wanted beside the logits, in this order.
    pub nodes: &'a [String],
    /// Values of an image's outputs, logits and all nodes together.
    pub elements: u64,
    /// Where they go; what is there is removed.
    pub output: &'a Path,
}

/// One request: what is asked, how long that may take, and what an answer has to be.
struct Question<'a, T> {
    ask: Ask,
    limit: Duration,
    stop: &'a AtomicBool,
    /// Takes the answer and how long one waited for it; says why it cannot be.
    check: &'a dyn Fn(Reply, Duration) -> Result<T, String>,
}

/// A good answer.
enum Answered<T> {
    With(T),
    Failed(String),
    Unable(String),
}

impl Probe {
    /// Starts it and waits until it says what it is.
    ///
    /// Errors: `Absent`, `Stopped`.
    pub fn start(name: &str, command: ProbeCommand, stop: &AtomicBool) -> Result<Self, ProbeError> {
        let mut state = State::default();
        let started =
            start((name, &command), &state.unburied, stop).map_err(|silence| absent(name, silence))?;
        let (process, hello) = started;
        info!(probe = name, class = hello.class, runtime = hello.runtime, "the probe is ready");
        state.process = Some(Running { process, is_fresh: true });
        let state = Mutex::new(state);
        Ok(Self { name: name.to_owned(), command, hello, state })
    }

    /// What experiments call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// What a coordinator hears of it.
    pub fn offer(&self) -> ProbeOffer {
        let Hello { device, runtime, .. } = self.hello.clone();
        // It is compared with what workers call their own GPUs.
        let device = device.map(|device| device_name(&device));
        ProbeOffer { name: self.name.clone(), class: self.hello.device_class(), device, runtime }
    }

    /// Times a network beside its baseline.
    ///
    /// Errors: all of [`ProbeError`].
    pub fn time(
        &self,
        (config, baseline): (&Network, &Network),
        timing: Timing,
        stop: &AtomicBool,
    ) -> Result<Timed, ProbeError> {
        let Timing { setting, patience, .. } = timing;
        let (config, baseline) = (Box::new(config.clone()), Box::new(baseline.clone()));
        self.answer(&Question {
            ask: Ask::Time { config, baseline, setting, patience },
            limit: self.command.limits.of_timing(&patience),
            stop,
            check: &|reply, elapsed| match reply {
                Reply::Timed(timed) => checks::timed(&timed, timing.macs_of_all(), elapsed).map(|()| *timed),
                other => Err(not_asked_for(&other)),
            },
        })
    }

    /// Times the layers of a network, whose nodes have these names.
    ///
    /// Errors: all of [`ProbeError`].
    pub fn layers(
        &self,
        (config, names): (&Network, &BTreeSet<String>),
        timing: Timing,
        stop: &AtomicBool,
    ) -> Result<Layered, ProbeError> {
        let Timing { setting, patience, .. } = timing;
        self.answer(&Question {
            ask: Ask::Layers { config: Box::new(config.clone()), setting, patience },
            limit: self.command.limits.of_timing(&patience),
            stop,
            check: &|reply, elapsed| match reply {
                Reply::Layers { nodes, other, whole, environment } => {
                    let layered = Layered { nodes, other, whole, environment: *environment };
                    checks::layers(&layered, names, (timing.macs_of_all(), elapsed)).map(|()| layered)
                }
                other => Err(not_asked_for(&other)),
            },
        })
    }

    /// Has a network compute; the output is there and has the right length when this returns.
    ///
    /// Errors: all of [`ProbeError`].
    pub fn infer(&self, asked: &Inference<'_>, stop: &AtomicBool) -> Result<(), ProbeError> {
        // What was there before is no answer.
        if let Err(error) = std::fs::remove_file(asked.output)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            let reason = format!("{}: {error}", asked.output.display());
            return Err(ProbeError::NoRoom { probe: self.name.clone(), reason });
        }
        self.answer(&Question {
            ask: Ask::Infer {
                config: Box::new(asked.config.clone()),
                images: asked.images.to_owned(),
                count: asked.count,
                nodes: asked.nodes.to_vec(),
                output: asked.output.to_owned(),
            },
            limit: self.command.limits.request,
            stop,
            check: &|reply, _| match reply {
                Reply::Inferred => checks::output(asked.output, asked.count.saturating_mul(asked.elements)),
                other => Err(not_asked_for(&other)),
            },
        })
    }

    /// Ends the process if it has answered anything: what is measured next is measured by one that has done nothing before.
    pub fn renew(&self) {
        let mut state = self.lock();
        if state.process.as_ref().is_some_and(|running| !running.is_fresh) {
            state.end();
        }
    }

    /// Asks until there is an answer, or the process has broken twice in a row without having done anything before.
    fn answer<T>(&self, question: &Question<'_, T>) -> Result<T, ProbeError> {
        let mut state = self.lock();
        let (mut fresh, mut broken) = (0, None);
        while fresh < FRESH_MAX {
            if broken.is_some() && state.restarts.pause(clock::now()).is_some() {
                break;
            }
            let mut running = self.running(&mut state, question.stop)?;
            state.next_id += 1;
            let silence = match running.process.exchange(state.next_id, question) {
                Ok(answered) => {
                    running.is_fresh = false;
                    state.process = Some(running);
                    state.restarts.answered();
                    // That it cannot be used says nothing for it.
                    state.is_trusted |= !matches!(answered, Answered::Unable(_));
                    return self.good(answered);
                }
                Err(silence) => silence,
            };
            fresh += u32::from(running.is_fresh);
            // Killed with all that it started.
            drop(running);
            match silence {
                Silence::Stopped => return Err(ProbeError::Stopped { probe: self.name.clone() }),
                Silence::Broken { how, reason } => {
                    warn!(probe = self.name, %how, reason, "the probe is ended");
                    state.restarts.failed(clock::now());
                    broken = Some((how, reason));
                }
            }
        }
        let (how, reason) = broken.expect("the loop ends by an answer or a breakage");
        let suspect = if state.is_trusted { Suspect::Trial } else { Suspect::Probe };
        state.is_trusted = false;
        Err(ProbeError::Broken { probe: self.name.clone(), how, reason, suspect })
    }

    fn good<T>(&self, answered: Answered<T>) -> Result<T, ProbeError> {
        let probe = self.name.clone();
        match answered {
            Answered::With(value) => Ok(value),
            Answered::Failed(reason) => Err(ProbeError::Failed { probe, reason }),
            Answered::Unable(reason) => Err(ProbeError::Unable { probe, reason }),
        }
    }

    /// The process that is there, if it is of use, or a new one.
    fn running(&self, state: &mut State, stop: &AtomicBool) -> Result<Running, ProbeError> {
        if let Some(mut running) = state.process.take() {
            match running.process.unasked() {
                Ok(()) => return Ok(running),
                // Nobody asked for it since, so it is held against no trial.
                Err(Silence::Broken { how, reason }) => {
                    warn!(probe = self.name, %how, reason, "the probe is ended between two requests");
                    state.restarts.failed(clock::now());
                }
                Err(Silence::Stopped) => {}
            }
        }
        if let Some(process) = state.unburied.first() {
            // Two on one device would disturb each other.
            let reason = format!("process {process} was killed and is still there, as a driver may keep it");
            return Err(ProbeError::Absent { probe: self.name.clone(), reason });
        }
        if let Some(pause) = state.restarts.pause(clock::now()) {
            let reason = format!("it broke again and again, and is not started for another {pause:.0?}");
            return Err(ProbeError::Absent { probe: self.name.clone(), reason });
        }
        let started = start((&self.name, &self.command), &state.unburied, stop);
        let (process, hello) = started.map_err(|silence| {
            state.restarts.failed(clock::now());
            state.is_trusted = false;
            absent(&self.name, silence)
        })?;
        match std::mem::take(&mut state.is_renewed) {
            true => debug!(probe = self.name, "the probe is started for the next measurement"),
            false => {
                info!(probe = self.name, restarts = state.restarts.started(), "the probe is started again")
            }
        }
        if hello != self.hello {
            state.restarts.failed(clock::now());
            // Times of both would be taken for those of one device.
            let reason = format!(
                "it was {} with {} when the worker started and now calls itself {} with {}; start the worker again if that is right",
                self.hello.class, self.hello.runtime, hello.class, hello.runtime
            );
            return Err(ProbeError::Absent { probe: self.name.clone(), reason });
        }
        Ok(Running { process, is_fresh: true })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic leaves no process behind: it was taken out.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Ends the process, if there is one.
    fn end(&mut self) {
        if let Some(running) = self.process.take() {
            running.process.end();
            self.is_renewed = true;
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.lock().end();
    }
}

impl Process {
    fn exchange<T>(&mut self, id: u64, question: &Question<'_, T>) -> Result<Answered<T>, Silence> {
        let request = serde_json::to_vec(&Request { id, ask: question.ask.clone() });
        let request = request.expect("requests have text for keys");
        let asked = clock::now();
        let line = self.ask(request, Wait { limit: question.limit, stop: question.stop })?;
        let elapsed = clock::elapsed(asked);
        let answer: Answer = serde_json::from_slice(&line).map_err(|error| {
            Silence::lied(format!("it says `{}`, which is no answer: {error}", excerpt(&line)))
        })?;
        if answer.id != id {
            return Err(Silence::lied(format!("it answers request {} when it was asked {id}", answer.id)));
        }
        let answered = match answer.reply {
            Reply::Failed { reason } => Answered::Failed(checks::reason(&reason)),
            Reply::Unable { reason } => Answered::Unable(checks::reason(&reason)),
            reply @ (Reply::Timed(_) | Reply::Layers { .. } | Reply::Inferred) => {
                Answered::With((question.check)(reply, elapsed).map_err(Silence::lied)?)
            }
        };
        match self.unasked() {
            // Nobody knows which of two answers is the right one.
            Err(lied @ Silence::Broken { how: Breakage::Lied, .. }) => Err(lied),
            // The answer is here; whether the process ends behind it is the next request's affair.
            Ok(()) | Err(Silence::Broken { .. } | Silence::Stopped) => Ok(answered),
        }
    }
}

/// Starts a process and reads what it says of itself.
fn start(
    (name, command): (&str, &ProbeCommand),
    unburied: &Unburied,
    stop: &AtomicBool,
) -> Result<(Process, Hello), Silence> {
    let mut process = Process::start(name, command, unburied).map_err(|error| Silence::Broken {
        how: Breakage::Died,
        reason: format!("{} cannot be started: {error}", command.program.display()),
    })?;
    let line = process.line(Wait { limit: command.limits.start, stop })?;
    let hello = checks::hello(&line).map_err(Silence::lied)?;
    Ok((process, hello))
}

fn absent(name: &str, silence: Silence) -> ProbeError {
    let probe = name.to_owned();
    match silence {
        Silence::Broken { reason, .. } => ProbeError::Absent { probe, reason },
        Silence::Stopped => ProbeError::Stopped { probe },
    }
}

fn not_asked_for(reply: &Reply) -> String {
    let what = match reply {
        Reply::Timed(_) => "times",
        Reply::Layers { .. } => "times of layers",
        Reply::Inferred => "that it computed",
        Reply::Failed { .. } | Reply::Unable { .. } => "why not",
    };
    format!("it says {what} when it was asked for something else")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use bitloop_quant::export::CodeTypes;

    use super::super::{Limits, PROTOCOL};
    use super::*;

    #[test]
    fn a_gpu_is_offered_by_the_name_that_its_workers_have_for_it() {
        let hello = Hello {
            protocol: PROTOCOL,
            class: "GPU".to_owned(),
            device: Some("GPU-01234567-89ab-cdef-0123-456789abcdef".to_owned()),
            runtime: "far 1".to_owned(),
            onnx: true,
            codes: CodeTypes::default(),
            abilities: Vec::new(),
        };
        let command = ProbeCommand {
            program: PathBuf::from("/missing"),
            arguments: Vec::new(),
            environment: Default::default(),
            folder: None,
            limits: Limits::default(),
        };
        let probe = Probe { name: "far".to_owned(), command, hello, state: Mutex::default() };

        assert_eq!(probe.offer().device.as_deref(), Some("gpu-0123456789abcdef0123456789abcdef"));
    }
}
