//! `bitloop autoscale`: workers by backlog, through a cluster's engine.

mod state_file;

use std::collections::BTreeMap;

use bitloop_autoscale::{Action, Autoscaler, Demand, Done, Happened, Notice, Other, Turn, Work, engine_of};
use bitloop_core::device::{DeviceKind, Offer, ProbeNeed};
use bitloop_core::spec::{AUTOSCALE_LABEL, AutoscaleSpec, Offers};
use bitloop_core::state::WorkerInfo;
use bitloop_proto::v1::{BacklogClass, WorkerSummary};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::run::StopSignal;
use crate::args::{AutoscaleArguments, Output, Remote};
use crate::client::Client;
use crate::failure::{Exit, Failure, Outcome};
use crate::identity::{self, SharedIdentity};
use crate::inputs;
use crate::show;

use state_file::StateFile;

/// The lines that a turn gives people, so that the next one does not repeat them.
#[derive(Default)]
struct Said(Vec<String>);

pub(super) async fn execute(arguments: &AutoscaleArguments, output: Output) -> Outcome {
    let url = &arguments.remote.coordinator;
    let spec = AutoscaleSpec::parse(&inputs::read_text(&arguments.file)?)
        .map_err(|error| Failure::in_file(&arguments.file, &error))?;
    identity::endpoints(url)?;
    let workers_identity = workers_identity(&spec, url)?;
    let user = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let engine = engine_of(&spec, url, user)?;
    let state = StateFile::open(arguments.state.as_deref(), arguments.dry_run)?;
    let memory = state.read(&spec)?;
    let mut autoscaler = Autoscaler::new(spec, engine).remembering(memory);
    if !arguments.dry_run {
        // Nothing is submitted that could not be written down.
        state.write(&autoscaler)?;
    }
    if arguments.once || arguments.dry_run {
        let work = work(&arguments.remote, &autoscaler.spec().name).await?;
        if let (Some(identity), false) = (&workers_identity, arguments.dry_run)
            && let Some(line) = identity.keep_young(&arguments.remote).await
        {
            show::note(&line);
        }
        let (autoscaler, turn) = turn(autoscaler, Some(work), arguments.dry_run, &state).await?;
        return conclude(&autoscaler, &turn, (arguments.dry_run, output));
    }
    let mut stop = StopSignal::listen()?;
    let mut said = Said::default();
    loop {
        let look = async {
            let aged = match &workers_identity {
                Some(identity) => identity.keep_young(&arguments.remote).await,
                None => None,
            };
            let answer = work(&arguments.remote, &autoscaler.spec().name).await;
            let away =
                |failure: Failure| format!("{:#}; nothing is submitted until it answers", failure.error);
            (aged, answer.map_err(away))
        };
        let (aged, work) = tokio::select! {
            looked = look => looked,
            () = stop.received() => return Ok(()),
        };
        let (work, away) = match work {
            Ok(work) => (Some(work), None),
            Err(away) => (None, Some(away)),
        };
        // What has begun is ended, so that no submission goes unnoted.
        let (next, turn) = turn(autoscaler, work, false, &state).await?;
        autoscaler = next;
        said.say(aged.into_iter().chain(away).chain(lines(&turn)));
        if output == Output::Json {
            show::json(&turn_json(&autoscaler, &turn))?;
        }
        tokio::select! {
            () = tokio::time::sleep(autoscaler.spec().every) => {}
            () = stop.received() => return Ok(()),
        }
    }
}

/// One turn, on a thread that may wait for the engine's commands, after which what is known is written down.
async fn turn(
    mut autoscaler: Autoscaler,
    work: Option<Work>,
    is_dry: bool,
    state: &StateFile,
) -> Result<(Autoscaler, Turn), Failure> {
    let now = state.now();
    let turned = spawn_blocking(move || {
        let turn = autoscaler.turn(work, is_dry, now);
        (autoscaler, turn)
    });
    let (autoscaler, mut turn) = turned.await?;
    // What was submitted is told all the same, and the next turn knows of it.
    if !is_dry && let Err(failure) = state.write(&autoscaler) {
        turn.notices.push(Notice::NotKept { reason: format!("{:#}", failure.error) });
    }
    Ok((autoscaler, turn))
}

/// What workers show to the coordinator, over https; none over http.
fn workers_identity(spec: &AutoscaleSpec, url: &str) -> Result<Option<SharedIdentity>, Failure> {
    let urls = spec.coordinator.as_deref().unwrap_or(url);
    let is_secured = identity::endpoints(urls)?.iter().any(|endpoint| endpoint.is_secured());
    match (&spec.identity, is_secured) {
        (Some(folder), true) => SharedIdentity::open(folder.as_ref(), urls).map(Some),
        (Some(_), false) => Err(Failure::usage(format!(
            "`identity:` is for https://HOST:PORT, and workers reach {urls} without TLS; take it out"
        ))),
        (None, true) => {
            show::note(
                "warning: workers are given no identity for https; name the folder of one with `identity:`, unless \
                 `program` brings one",
            );
            Ok(None)
        }
        (None, false) => Ok(None),
    }
}

/// Looks at the coordinator: open work, and the workers that are not of the file with this name.
async fn work(remote: &Remote, name: &str) -> Result<Work, Failure> {
    let mut client = Client::connect(remote).await?;
    let demands = client.backlog().await?.iter().map(demand).collect();
    let others = client.workers().await?.into_iter().filter_map(|worker| other(worker, name)).collect();
    Ok(Work { demands, others })
}

/// A worker of others; none for one of ours, which the engine's list tells of.
fn other(worker: WorkerSummary, name: &str) -> Option<Other> {
    // One that cannot be read is of another version, and of no use here.
    let info: WorkerInfo = worker.info?.try_into().ok()?;
    if info.labels.get(AUTOSCALE_LABEL).is_some_and(|label| label == name) {
        return None;
    }
    let gpu_memory_bytes = match info.device.kind {
        DeviceKind::Cpu => 0,
        DeviceKind::Cuda => {
            Offer { device: &info.device, share: info.share, labels: &info.labels, probes: &info.probes }
                .share_memory()
        }
    };
    let offers =
        Offers { device: info.device.kind, gpu_memory_bytes, labels: info.labels, probes: BTreeMap::new() };
    Some(Other { offers, exact: !info.float_only, probes: info.probes })
}

fn demand(class: &BacklogClass) -> Demand {
    let requires = class.requires.clone().unwrap_or_default();
    Demand {
        device: Some(requires.device).filter(|device| !device.is_empty()),
        gpu_memory_bytes: requires.gpu_memory_bytes,
        labels: requires.labels.into_iter().collect(),
        exact: requires.exact,
        probe: (!requires.probe.is_empty()).then(|| ProbeNeed {
            name: requires.probe,
            class: Some(requires.probe_class).filter(|class| !class.is_empty()),
        }),
        trials: class.queued.saturating_add(class.leased),
        // A coordinator whose estimate is no number is taken to know none.
        seconds: if class.seconds.is_finite() { class.seconds } else { 0.0 },
    }
}

/// Shows the one turn; what the engine refused, or what could not be written down, fails the command.
fn conclude(autoscaler: &Autoscaler, turn: &Turn, (is_dry, output): (bool, Output)) -> Outcome {
    Said::default().say(lines(turn));
    match (output, is_dry) {
        (Output::Json, _) => show::json(&turn_json(autoscaler, turn))?,
        (Output::Text, true) => show::data(&dry_text(autoscaler, turn))?,
        (Output::Text, false) => {}
    }
    let is_refused =
        |done: &Done| matches!(done.happened, Some(Happened::Refused { .. } | Happened::NotCancelled { .. }));
    let is_unkept = |notice: &Notice| matches!(notice, Notice::NotKept { .. });
    // Without shares the engine did not answer, and there is nothing that was decided.
    if turn.shares.is_empty() || turn.done.iter().any(is_refused) {
        return Err(Failure::new(Exit::Failed, "the engine did not do all that was asked, as said above"));
    }
    match turn.notices.iter().any(is_unkept) {
        true => Err(Failure::new(Exit::Failed, "the next start will not know all of this, as said above")),
        false => Ok(()),
    }
}

impl Said {
    fn say(&mut self, lines: impl IntoIterator<Item = String>) {
        let lines: Vec<String> = lines.into_iter().collect();
        for line in lines.iter().filter(|line| !self.0.contains(line)) {
            show::note(line);
        }
        self.0 = lines;
    }
}

/// What people should know of a turn.
fn lines(turn: &Turn) -> Vec<String> {
    let happened = turn.done.iter().filter_map(|done| match done.happened.as_ref()? {
        Happened::Submitted { class, id, workers } => {
            Some(format!("class {class}: submitted {id} with {workers} worker(s)"))
        }
        Happened::Cancelled { class, id } => Some(format!("class {class}: cancelled {id}")),
        // They are among the notices.
        Happened::Refused { .. } | Happened::NotCancelled { .. } => None,
    });
    happened.chain(turn.notices.iter().map(ToString::to_string)).collect()
}

fn dry_text(autoscaler: &Autoscaler, turn: &Turn) -> String {
    let mut text = String::new();
    for (class, share) in autoscaler.spec().classes.iter().zip(&turn.shares) {
        let counts = autoscaler.memory().counts(&class.name);
        text += &format!(
            "class {}: {:.0} s of work, {} worker(s) wanted; {} run, {} wait in the queue\n",
            class.name, share.seconds, share.workers, counts.running, counts.waiting
        );
    }
    for done in &turn.done {
        // As words, not as a line for a shell: none is involved.
        text += &format!("\n{:?}\n", done.call.command);
        for line in done.call.script.lines() {
            text += &format!("    {line}\n");
        }
    }
    text
}

fn turn_json(autoscaler: &Autoscaler, turn: &Turn) -> Value {
    let classes = autoscaler.spec().classes.iter().enumerate().map(|(index, class)| {
        let counts = autoscaler.memory().counts(&class.name);
        let share = turn.shares.get(index);
        json!({
            "class": class.name,
            "seconds": share.map(|share| share.seconds),
            "workers_wanted": share.map(|share| share.workers),
            "workers_running": counts.running,
            "workers_waiting": counts.waiting,
        })
    });
    json!({
        "classes": classes.collect::<Vec<_>>(),
        "actions": turn.done.iter().map(done_json).collect::<Vec<_>>(),
        "notices": turn.notices.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn done_json(done: &Done) -> Value {
    let (word, class) = match &done.action {
        Action::Submit { class, .. } => ("submit", class),
        Action::Cancel { class, .. } => ("cancel", class),
    };
    let id = match (&done.happened, &done.action) {
        (Some(Happened::Submitted { id, .. }), _) | (_, Action::Cancel { id, .. }) => Some(&id.0),
        (_, Action::Submit { .. }) => None,
    };
    let is_done = done
        .happened
        .as_ref()
        .is_some_and(|happened| matches!(happened, Happened::Submitted { .. } | Happened::Cancelled { .. }));
    json!({
        "action": word,
        "class": class,
        "command": done.call.command,
        "script": done.call.script,
        "id": id,
        "done": is_done,
    })
}

#[cfg(test)]
mod tests {
    use bitloop_core::device::{Device, ProbeOffer, Share};
    use bitloop_core::state::WorkerId;
    use bitloop_proto::v1::Requirements;

    use super::*;

    fn worker(label: Option<&str>, device: Device) -> WorkerSummary {
        let label = label.map(|value| (AUTOSCALE_LABEL.to_owned(), value.to_owned()));
        let info = WorkerInfo {
            id: WorkerId("w1".to_owned()),
            host: "host".to_owned(),
            machine: "machine".to_owned(),
            share: if device.kind == DeviceKind::Cuda { Share::new(2_500).unwrap() } else { Share::NONE },
            labels: label.into_iter().collect::<BTreeMap<_, _>>(),
            float_only: device.kind == DeviceKind::Cuda,
            device,
            probes: Vec::new(),
            threads: 1,
        };
        WorkerSummary { info: Some((&info).into()), ..WorkerSummary::default() }
    }

    #[test]
    fn our_own_workers_are_not_among_those_of_others() {
        let cpu = || Device { id: "cpu".to_owned(), class: "a".to_owned(), ..Device::default() };
        let gpu = Device { kind: DeviceKind::Cuda, memory_bytes: 64 << 30, ..cpu() };

        assert_eq!(other(worker(Some("lab"), cpu()), "lab"), None);
        assert!(other(worker(Some("lab2"), cpu()), "lab").is_some_and(|other| other.exact));
        let part = other(worker(None, gpu), "lab").unwrap();
        assert_eq!((part.offers.gpu_memory_bytes, part.exact), (16 << 30, false), "a quarter of the GPU");
        assert_eq!(other(WorkerSummary::default(), "lab"), None);
    }

    #[test]
    fn what_needs_a_probe_is_told_from_what_any_worker_does() {
        let class = |probe: &str, probe_class: &str| BacklogClass {
            requires: Some(Requirements {
                probe: probe.to_owned(),
                probe_class: probe_class.to_owned(),
                ..Requirements::default()
            }),
            queued: 3,
            ..BacklogClass::default()
        };
        let need = |name: &str, class: Option<&str>| {
            Some(ProbeNeed { name: name.to_owned(), class: class.map(str::to_owned) })
        };

        assert_eq!(demand(&class("", "")).probe, None);
        assert_eq!(demand(&class("snpe", "")).probe, need("snpe", None));
        assert_eq!(demand(&class("snpe", "Orin")).probe, need("snpe", Some("Orin")));

        let mut info = WorkerInfo::try_from(
            worker(None, Device { id: "cpu".to_owned(), class: "a".to_owned(), ..Device::default() })
                .info
                .unwrap(),
        )
        .unwrap();
        let offer = ProbeOffer {
            name: "snpe".to_owned(),
            class: "Orin".to_owned(),
            device: None,
            runtime: "SNPE 2".to_owned(),
        };
        info.probes.push(offer.clone());
        let summary = WorkerSummary { info: Some((&info).into()), ..WorkerSummary::default() };
        assert_eq!(other(summary, "lab").unwrap().probes, [offer]);
    }
}
