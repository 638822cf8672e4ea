//! `bitloop events`: what happened on the cluster.

use std::time::Duration;

use bitloop_proto::v1::{ClusterEvent, EventsRequest};
use serde_json::{Value, json};

use super::logs::show_line;
use crate::args::{EventsArguments, Output, Since};
use crate::client::Client;
use crate::failure::{Exit, Failure, Outcome, Prospect};
use crate::show::{self, moment};

/// Pause between two attempts to find a coordinator that has gone, or to be answered by one that has too much to do.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn execute(arguments: &EventsArguments, output: Output) -> Outcome {
    let mut request = EventsRequest {
        experiment: arguments.experiment.clone().unwrap_or_default(),
        follow: arguments.follow,
        ..EventsRequest::default()
    };
    match &arguments.since {
        None => {}
        Some(Since::Cursor(cursor)) => request.after.clone_from(cursor),
        Some(Since::Ago(ago)) => request.since_ms = u64::try_from(ago.as_millis())?.max(1),
    }
    let mut has_seen = false;
    loop {
        match once(arguments, &mut request, (output, &mut has_seen)).await {
            Ok(is_read) if !arguments.follow || !is_read => return Ok(()),
            Ok(_) => tokio::time::sleep(RETRY_PAUSE).await,
            Err(failure) if arguments.follow && has_seen && failure.prospect == Prospect::Answer => {
                before_again(&failure).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// Says why there is no answer, and waits for a moment in which there may be one.
pub(super) async fn before_again(failure: &Failure) {
    let next = match failure.exit {
        Exit::Unreachable => "looking for it",
        Exit::Failed | Exit::Usage => "asking again",
    };
    show::note(&format!("{:#}; {next}", failure.error));
    tokio::time::sleep(RETRY_PAUSE).await;
}

/// Prints events until the stream ends, and notes in the request what has been seen; returns whether anybody reads them.
async fn once(
    arguments: &EventsArguments,
    request: &mut EventsRequest,
    (output, has_seen): (Output, &mut bool),
) -> Result<bool, Failure> {
    let mut client = Client::connect(&arguments.remote).await?;
    let mut stream = client.events(request.clone()).await?;
    *has_seen = true;
    while let Some(answer) = stream.message().await.map_err(|status| client.failure(status))? {
        if answer.missed > 0 {
            // Nobody knows any more which experiments they were of.
            let whose = if arguments.experiment.is_some() { ", of any experiment," } else { "" };
            let missed = || format!("{} events{whose} before these are not kept any more", answer.missed);
            show_line(output, missed, &json!({ "missed": answer.missed }))?;
        }
        for event in &answer.events {
            if !show_line(output, || text(event), &to_json(event))? {
                return Ok(false);
            }
        }
        request.after = answer.cursor;
        // What has been seen says more than a time that goes on.
        request.since_ms = 0;
    }
    Ok(true)
}

fn text(event: &ClusterEvent) -> String {
    let time = moment(event.unix_ms).unwrap_or_else(|| "-".to_owned());
    let mut about = Vec::new();
    if !event.trial.is_empty() {
        about.push(format!("trial {}", event.trial));
    }
    about.extend(event.experiments.iter().map(|experiment| format!("experiment {experiment}")));
    if !event.worker.is_empty() {
        about.push(format!("worker {}", event.worker));
    }
    let colon = if about.is_empty() { "" } else { ": " };
    let text = show::indented(&event.text);
    format!("{time}  {:<21}  {}{colon}{text}", event.kind, about.join(", "))
}

fn to_json(event: &ClusterEvent) -> Value {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    json!({
        "cursor": event.cursor,
        "time": moment(event.unix_ms),
        "kind": event.kind,
        "experiments": event.experiments,
        "worker": some(&event.worker),
        "trial": some(&event.trial),
        "text": event.text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_for_people_and_for_programs() {
        let event = ClusterEvent {
            cursor: "3-14".to_owned(),
            unix_ms: 1_795_408_501_000,
            kind: "trial_failed".to_owned(),
            experiments: vec!["sweep-1".to_owned()],
            worker: "w1".to_owned(),
            trial: "0123456789abcdef".to_owned(),
            text: "no such layer".to_owned(),
        };

        assert_eq!(
            text(&event),
            "2026-11-23T04:35:01.000Z  trial_failed           trial 0123456789abcdef, experiment sweep-1, \
             worker w1: no such layer"
        );
        assert_eq!(
            to_json(&event).to_string(),
            r#"{"cursor":"3-14","experiments":["sweep-1"],"kind":"trial_failed","text":"no such layer","time":"2026-11-23T04:35:01.000Z","trial":"0123456789abcdef","worker":"w1"}"#
        );
        let started = ClusterEvent { kind: "coordinator_started".to_owned(), ..ClusterEvent::default() };
        assert_eq!(text(&started).trim_end(), "-  coordinator_started");
        assert_eq!(to_json(&started)["time"], Value::Null);
    }
}
