//! `bitloop autoscale`: workers by backlog, through a cluster's engine.

use std::time::Duration;

use bitloop_autoscale::{Action, Autoscaler, Demand, Done, Happened, Turn, engine_of};
use bitloop_core::spec::AutoscaleSpec;
use bitloop_proto::transport::Endpoint;
use bitloop_proto::v1::BacklogClass;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::run::StopSignal;
use crate::args::{AutoscaleArguments, Output};
use crate::client::Client;
use crate::clock::Stopwatch;
use crate::failure::{Exit, Failure, Outcome};
use crate::inputs;
use crate::show;

/// The lines that a turn gives people, so that the next one does not repeat them.
#[derive(Default)]
struct Said(Vec<String>);

pub(super) async fn execute(arguments: &AutoscaleArguments, output: Output) -> Outcome {
    let url = &arguments.remote.coordinator;
    let spec = AutoscaleSpec::parse(&inputs::read_text(&arguments.file)?)
        .map_err(|error| Failure::in_file(&arguments.file, &error))?;
    for url in [Some(url), spec.coordinator.as_ref()].into_iter().flatten() {
        Endpoint::parse(url).map_err(|error| Failure::usage(error.to_string()))?;
    }
    let user = ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let engine = engine_of(&spec, url, user)?;
    let mut autoscaler = Autoscaler::new(spec, engine);
    let stopwatch = Stopwatch::start();
    if arguments.once || arguments.dry_run {
        let backlog = Client::connect(&arguments.remote).await?.backlog().await?;
        let (autoscaler, turn) = turn(autoscaler, Some(&backlog), arguments.dry_run, &stopwatch).await?;
        return conclude(&autoscaler, &turn, (arguments.dry_run, output));
    }
    let mut stop = StopSignal::listen()?;
    let mut said = Said::default();
    loop {
        let look = async {
            let answer = match Client::connect(&arguments.remote).await {
                Ok(mut client) => client.backlog().await,
                Err(failure) => Err(failure),
            };
            answer.map_err(|failure| format!("{:#}; nothing is submitted until it answers", failure.error))
        };
        let backlog = tokio::select! {
            backlog = look => backlog,
            () = stop.received() => return Ok(()),
        };
        // What has begun is ended, so that no submission goes unnoted.
        let (next, turn) =
            turn(autoscaler, backlog.as_ref().ok().map(Vec::as_slice), false, &stopwatch).await?;
        autoscaler = next;
        said.say(backlog.err().into_iter().chain(lines(&turn)));
        if output == Output::Json {
            show::json(&turn_json(&autoscaler, &turn))?;
        }
        tokio::select! {
            () = tokio::time::sleep(autoscaler.spec().every) => {}
            () = stop.received() => return Ok(()),
        }
    }
}

/// One turn, on a thread that may wait for the engine's commands.
async fn turn(
    mut autoscaler: Autoscaler,
    backlog: Option<&[BacklogClass]>,
    is_dry: bool,
    stopwatch: &Stopwatch,
) -> Result<(Autoscaler, Turn), Failure> {
    let backlog = backlog.map(|classes| classes.iter().map(demand).collect());
    let now = Duration::from_secs_f64(stopwatch.seconds());
    let turned = spawn_blocking(move || {
        let turn = autoscaler.turn(backlog, is_dry, now);
        (autoscaler, turn)
    });
    Ok(turned.await?)
}

fn demand(class: &BacklogClass) -> Demand {
    let requires = class.requires.clone().unwrap_or_default();
    Demand {
        device: Some(requires.device).filter(|device| !device.is_empty()),
        gpu_memory_bytes: requires.gpu_memory_bytes,
        labels: requires.labels.into_iter().collect(),
        exact: requires.exact,
        trials: class.queued.saturating_add(class.leased),
        // A coordinator whose estimate is no number is taken to know none.
        seconds: if class.seconds.is_finite() { class.seconds } else { 0.0 },
    }
}

/// Shows the one turn; what the engine refused fails the command.
fn conclude(autoscaler: &Autoscaler, turn: &Turn, (is_dry, output): (bool, Output)) -> Outcome {
    Said::default().say(lines(turn));
    match (output, is_dry) {
        (Output::Json, _) => show::json(&turn_json(autoscaler, turn))?,
        (Output::Text, true) => show::data(&dry_text(autoscaler, turn))?,
        (Output::Text, false) => {}
    }
    let is_refused =
        |done: &Done| matches!(done.happened, Some(Happened::Refused { .. } | Happened::NotCancelled { .. }));
    // Without shares the engine did not answer, and there is nothing that was decided.
    match turn.shares.is_empty() || turn.done.iter().any(is_refused) {
        true => Err(Failure::new(Exit::Failed, "the engine did not do all that was asked, as said above")),
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
