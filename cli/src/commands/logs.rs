//! `bitloop logs`: what became of a trial, attempt by attempt.

use std::collections::BTreeSet;

use bitloop_coordinator::{LookError, look_at_trial};
use bitloop_proto::v1::{TrialLogEntry, TrialLogResponse};
use serde_json::{Value, json};

use super::events::before_again;
use crate::args::{LogsArguments, Output};
use crate::client::Client;
use crate::failure::{Exit, Failure, Outcome, Prospect};
use crate::show::{self, moment};

pub(super) async fn execute(arguments: &LogsArguments, output: Output) -> Outcome {
    match (&arguments.data_dir, arguments.follow) {
        (Some(data_dir), _) => {
            let (data_dir, trial) = (data_dir.clone(), arguments.trial.clone());
            let looked = tokio::task::spawn_blocking(move || look_at_trial(&data_dir, &trial)).await?;
            let answer = looked.map_err(|error| match &error {
                LookError::Directory(of) if of.is_usage() => Failure::usage(error.to_string()),
                LookError::Directory(_) | LookError::Trial(_) => {
                    Failure::new(Exit::Failed, error.to_string())
                }
            })?;
            show_all(answer, output)
        }
        (None, false) => print(&mut Client::connect(&arguments.remote).await?, arguments, output).await,
        (None, true) => follow(arguments, output).await,
    }
}

/// Follows a trial to its outcome, also over restarts of the coordinator.
async fn follow(arguments: &LogsArguments, output: Output) -> Outcome {
    let mut shown = BTreeSet::new();
    loop {
        match follow_once(arguments, output, &mut shown).await {
            Err(failure) if !shown.is_empty() && failure.prospect == Prospect::Answer => {
                before_again(&failure).await;
            }
            ended => return ended,
        }
    }
}

/// Prints what is not among the lines that were shown to earlier connections, which the coordinator sends again.
async fn follow_once(arguments: &LogsArguments, output: Output, shown: &mut BTreeSet<String>) -> Outcome {
    let earlier = shown.clone();
    let mut client = Client::connect(&arguments.remote).await?;
    let mut stream = client.trial_log(&arguments.trial, true).await?;
    while let Some(answer) = stream.message().await.map_err(|status| client.failure(status))? {
        let mut lines: Vec<(String, Value)> = head(&answer).into_iter().collect();
        lines.extend(answer.entries.iter().map(|entry| (text(entry), to_json(entry))));
        for (text, value) in lines.into_iter().filter(|(text, _)| !earlier.contains(text)) {
            if !show_line(output, || text.clone(), &value)? {
                return Ok(());
            }
            shown.insert(text);
        }
    }
    Ok(())
}

async fn print(client: &mut Client, arguments: &LogsArguments, output: Output) -> Outcome {
    let mut stream = client.trial_log(&arguments.trial, false).await?;
    let mut whole = TrialLogResponse::default();
    while let Some(answer) = stream.message().await.map_err(|status| client.failure(status))? {
        if !answer.trial.is_empty() {
            (whole.trial, whole.standing) = (answer.trial, answer.standing);
        }
        whole.entries.extend(answer.entries);
    }
    show_all(whole, output)
}

fn show_all(mut log: TrialLogResponse, output: Output) -> Outcome {
    if let Some((text, value)) = head(&log) {
        show_line(output, || text, &value)?;
    }
    // A worker's lines arrive a moment after they were written.
    log.entries.sort_by_key(|entry| entry.unix_ms);
    for entry in &log.entries {
        if !show_line(output, || text(entry), &to_json(entry))? {
            return Ok(());
        }
    }
    Ok(())
}

/// Which trial this is and where it stands, from the first answer.
fn head(answer: &TrialLogResponse) -> Option<(String, Value)> {
    let TrialLogResponse { trial, standing, entries: _ } = answer;
    let value = json!({ "trial": trial, "standing": standing });
    (!trial.is_empty()).then(|| (format!("{trial}: {standing}"), value))
}

/// Writes one line for people or for programs; returns whether anybody reads it.
pub(super) fn show_line(
    output: Output,
    text: impl FnOnce() -> String,
    value: &Value,
) -> Result<bool, Failure> {
    match output {
        Output::Text => show::has_taken(&text()),
        Output::Json => show::has_taken(&value.to_string()),
    }
}

fn text(entry: &TrialLogEntry) -> String {
    let TrialLogEntry { unix_ms, what, attempt, worker, level, text } = entry;
    let time = moment(*unix_ms).unwrap_or_else(|| "-".to_owned());
    let what = if level.is_empty() { what } else { level };
    let attempt = if *attempt == 0 { "-".to_owned() } else { attempt.to_string() };
    let worker = if worker.is_empty() { "-" } else { worker };
    format!("{time}  attempt {attempt}  {worker}  {what:<11}  {}", show::indented(text))
}

fn to_json(entry: &TrialLogEntry) -> Value {
    let TrialLogEntry { unix_ms, what, attempt, worker, level, text } = entry;
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    json!({
        "time": moment(*unix_ms),
        "what": what,
        "attempt": (*attempt > 0).then_some(attempt),
        "worker": some(worker),
        "level": some(level),
        "text": text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_lines_for_people_and_for_programs() {
        let entry = TrialLogEntry {
            unix_ms: 1_795_408_501_007,
            what: "line".to_owned(),
            attempt: 2,
            worker: "w1".to_owned(),
            level: "warn".to_owned(),
            text: "two\nlines".to_owned(),
        };

        assert_eq!(text(&entry), "2026-11-23T04:35:01.007Z  attempt 2  w1  warn         two\n    lines");
        assert_eq!(
            to_json(&entry).to_string(),
            r#"{"attempt":2,"level":"warn","text":"two\nlines","time":"2026-11-23T04:35:01.007Z","what":"line","worker":"w1"}"#
        );
        let gap = TrialLogEntry { what: "left_out".to_owned(), ..TrialLogEntry::default() };
        assert_eq!(text(&gap).trim_end(), "-  attempt -  -  left_out");
        assert_eq!(to_json(&gap)["worker"], Value::Null);
    }
}
