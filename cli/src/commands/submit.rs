//! `bitloop submit`, and what it shares with `run`: handing in a plan and saying what is known of it already.

use bitloop_core::state::Sources;
use bitloop_proto::v1::ExperimentSummary;

use crate::args::{Output, SubmitArguments};
use crate::client::{Client, Submitted};
use crate::failure::{Failure, Outcome};
use crate::inputs::{self, Prepared};
use crate::show;

pub(super) async fn execute(arguments: &SubmitArguments, output: Output) -> Outcome {
    let prepared = inputs::prepare(&arguments.experiment, &arguments.datasets)?;
    let mut client = Client::connect(&arguments.remote).await?;
    let (fresh, summary) = hand_in(&mut client, &prepared).await?;
    match output {
        Output::Json => {
            let mut value = show::summary_json(&summary);
            value["fresh"] = fresh.into();
            show::json(&value)
        }
        Output::Text => show::data(&summary.id),
    }
}

/// Submits a plan; says on standard error what of it is measured already and which inputs changed since last time.
pub(super) async fn hand_in(
    client: &mut Client,
    prepared: &Prepared,
) -> Result<(bool, ExperimentSummary), Failure> {
    let earlier = client.list().await?;
    let Submitted { fresh, summary, warnings } = client.submit(prepared).await?;
    for warning in warnings {
        show::note(&format!("warning: {warning}; `bitloop explain {}` says why", summary.id));
    }
    if fresh {
        for other in earlier.iter().filter(|other| other.name == prepared.plan.name) {
            let (_, _, sources) = client.show(&other.id).await?;
            for line in changed_inputs(&other.id, &sources, &prepared.sources) {
                show::note(&line);
            }
        }
        if summary.reused > 0 {
            show::note(&format!(
                "reused: {} of {} trials were measured by earlier experiments",
                summary.reused, summary.total
            ));
        }
    } else {
        show::note(&format!("resumed: {} of {} trials already measured", summary.settled, summary.total));
    }
    Ok((fresh, summary))
}

fn changed_inputs(other: &str, before: &Sources, now: &Sources) -> Vec<String> {
    let changed = now.iter().filter_map(|(path, digest)| {
        let was = before.get(path).filter(|was| *was != digest)?;
        Some(format!("note: {path} has changed since {other}: it was {was} and is {digest}"))
    });
    changed.collect()
}

#[cfg(test)]
mod tests {
    use bitloop_core::digest::Digest;

    use super::*;

    #[test]
    fn only_inputs_with_another_digest_are_named() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let before = Sources::from([("model".into(), a), ("data".into(), a), ("gone".into(), a)]);
        let now = Sources::from([("model".into(), b), ("data".into(), a), ("new".into(), a)]);

        let lines = changed_inputs("exp-1", &before, &now);

        assert_eq!(lines, [format!("note: model has changed since exp-1: it was {a} and is {b}")]);
    }
}
