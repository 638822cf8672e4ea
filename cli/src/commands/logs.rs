//! `bitloop logs`: what became of a trial, attempt by attempt.

use bitloop_proto::v1::{TrialLogEntry, TrialLogResponse};
use serde_json::{Value, json};

use super::local;
use crate::args::{LogsArguments, Output};
use crate::client::Client;
use crate::failure::{Failure, Outcome};
use crate::show::{self, moment};

pub(super) async fn execute(arguments: &LogsArguments, output: Output) -> Outcome {
    let ask = async |client: &mut Client| print(client, arguments, output).await;
    match &arguments.data_dir {
        None => ask(&mut Client::connect(&arguments.remote).await?).await,
        Some(data_dir) => local::asked(data_dir, ask).await,
    }
}

async fn print(client: &mut Client, arguments: &LogsArguments, output: Output) -> Outcome {
    let mut stream = client.trial_log(&arguments.trial, arguments.follow).await?;
    let mut kept = Vec::new();
    while let Some(answer) = stream.message().await.map_err(|status| client.failure(status))? {
        let TrialLogResponse { trial, standing, entries } = answer;
        if !trial.is_empty() {
            let head = json!({ "trial": trial, "standing": standing });
            show_line(output, || format!("{trial}: {standing}"), &head)?;
        }
        match arguments.follow {
            true if !show_entries(&entries, output)? => return Ok(()),
            true => {}
            false => kept.extend(entries),
        }
    }
    // A worker's lines arrive a moment after they were written.
    kept.sort_by_key(|entry| entry.unix_ms);
    show_entries(&kept, output).map(|_| ())
}

/// Writes entries; returns whether anybody reads them.
fn show_entries(entries: &[TrialLogEntry], output: Output) -> Result<bool, Failure> {
    for entry in entries {
        if !show_line(output, || text(entry), &to_json(entry))? {
            return Ok(false);
        }
    }
    Ok(true)
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
