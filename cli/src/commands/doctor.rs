//! `bitloop doctor`: what a user of a new machine, or of a cluster that does not work, needs to know. Changes nothing and
//! shows no secret; looks at everything at once, and waits for nothing longer than [`PATIENCE`].

mod coordinator;
mod folders;
mod identity;
mod machine;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use bitloop_proto::transport::Endpoint;
use serde::Serialize;

use crate::args::{DEFAULT_DATA_DIR, DatasetFolder, DoctorArguments, Output};
use crate::clock::Stopwatch;
use crate::failure::{Exit, Failure, Outcome};
use crate::show;

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(12);

/// What came of a look at something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and may not for long or not well.
    Warn,
    /// It does not work.
    Fail,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    verdict: Verdict,
    check: &'static str,
    /// What was found.
    said: String,
    /// What to do about it; none if nothing is to be done, or `said` says it.
    advice: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, said: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, check, said: said.into(), advice: None }
    }

    fn warn(check: &'static str, said: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, ..Self::ok(check, said) }
    }

    fn fail(check: &'static str, said: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, ..Self::ok(check, said) }
    }

    fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    fn line(&self) -> String {
        let advice = self.advice.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default();
        // What files and other machines say may have lines of its own.
        let text = format!("{}{advice}", self.said).split_whitespace().collect::<Vec<_>>().join(" ");
        format!("{:<4}  {:<11}  {text}", self.verdict.word(), self.check)
    }
}

/// Something to look at, on a thread of its own.
struct Look {
    findings: Receiver<Vec<Finding>>,
    /// What is said when it takes too long.
    otherwise: Finding,
}

impl Look {
    /// Begins to look. Nothing ends a thread that waits for a file system which does not answer, so nobody waits for the
    /// thread either: it ends with the process.
    fn begin(otherwise: Finding, look: impl FnOnce() -> Vec<Finding> + Send + 'static) -> Self {
        let (sender, findings) = sync_channel(1);
        let looking = move || drop(sender.send(look()));
        match std::thread::Builder::new().spawn(looking) {
            Ok(_) => Self { findings, otherwise },
            Err(cause) => {
                let said = format!("cannot start a thread: {cause}");
                Self { findings, otherwise: Finding { said, ..otherwise } }
            }
        }
    }

    fn end(self, patience: Duration) -> Vec<Finding> {
        match self.findings.recv_timeout(patience) {
            Ok(findings) => findings,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => vec![self.otherwise],
        }
    }
}

pub(super) fn execute(arguments: &DoctorArguments, output: Output) -> Outcome {
    let (looks, reaches) = looks(arguments)?;
    let watch = Stopwatch::start();
    let left = || PATIENCE.saturating_sub(Duration::from_secs_f64(watch.seconds()));
    let mut findings: Vec<Finding> = looks.into_iter().flat_map(|look| look.end(left())).collect();
    let reached = reaches.into_iter().map(|look| look.end(left())).collect();
    findings.extend(coordinator::of_several(reached).into_iter().flatten());
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let failed = count(Verdict::Fail);
    match output {
        Output::Json => show::json(&serde_json::json!({
            "findings": findings,
            "failed": failed,
            "warned": count(Verdict::Warn),
        }))?,
        Output::Text => show::data(&findings.iter().map(Finding::line).collect::<Vec<_>>().join("\n"))?,
    }
    match failed {
        0 => Ok(()),
        failed => Err(Failure::new(Exit::Failed, format!("{failed} of {} checks failed", findings.len()))),
    }
}

/// Begins with everything that was asked for; the ways to coordinators by themselves.
fn looks(arguments: &DoctorArguments) -> Result<(Vec<Look>, Vec<Look>), Failure> {
    let urls = arguments.coordinator.iter().flat_map(|urls| urls.split(','));
    let endpoints: Result<Vec<Endpoint>, _> = urls.map(Endpoint::parse).collect();
    let endpoints = endpoints.map_err(|error| Failure::usage(error.to_string()))?;
    let mut looks = vec![
        Look::begin(Finding::fail("machine", "the system does not tell what it has"), || {
            machine::look(Path::new("/"))
        }),
        Look::begin(
            Finding::fail("gpu", "the driver does not answer").advise("see what `nvidia-smi` says"),
            || vec![machine::gpus(Path::new("/"))],
        ),
    ];
    looks.push(cache(arguments));
    looks.extend(store(arguments.store.as_deref()));
    if let Some(place) = arguments.artifacts.clone() {
        let silent = Finding::fail("artifacts", format!("{place} does not answer"));
        looks.push(Look::begin(silent, move || vec![folders::artifacts(&place)]));
    }
    let folder = identity::folder(arguments.identity.identity.as_deref());
    let is_needed = endpoints.iter().any(Endpoint::is_secured) || arguments.identity.identity.is_some();
    if let Some(folder) = folder.clone() {
        let silent = Finding::fail("identity", format!("{} does not answer", folder.display()));
        looks.push(Look::begin(silent, move || identity::look(&folder, is_needed)));
    }
    Ok((looks, reaches(endpoints, folder.as_deref())))
}

/// Begins to reach each of several coordinators, of which one works and the others stand by.
fn reaches(endpoints: Vec<Endpoint>, identity: Option<&Path>) -> Vec<Look> {
    let reach = |endpoint: Endpoint| {
        let identity = identity.map(Path::to_owned);
        let silent = Finding::fail("coordinator", format!("{endpoint} does not answer in time"));
        Look::begin(silent, move || coordinator::look(&endpoint, identity.as_deref()))
    };
    endpoints.into_iter().map(reach).collect()
}

fn cache(arguments: &DoctorArguments) -> Look {
    let image_cache = std::env::var_os("BITLOOP_IMAGE_CACHE").map(PathBuf::from);
    let of_user = DatasetFolder { dataset_dir: None, from_environment: None, image_cache };
    let folder = arguments.cache_dir.clone().or_else(|| of_user.cache());
    let silent =
        Finding::fail("cache", "its file system does not answer").advise("see whether it is mounted");
    Look::begin(silent, move || match folder {
        Some(folder) => folders::cache(&folder),
        None => {
            vec![Finding::warn("cache", "the user has no cache folder").advise("name one with --cache-dir")]
        }
    })
}

/// Facts, and the folder that they lie in.
fn store(named: Option<&str>) -> Vec<Look> {
    use bitloop_coordinator::store::Address;
    if let Some(url) = named.filter(|named| Address::is_meant_by(named)).map(str::to_owned) {
        let silent = Finding::fail("store", "the database does not answer");
        return vec![Look::begin(silent, move || vec![folders::database(&url)])];
    }
    let folder = PathBuf::from(named.unwrap_or(DEFAULT_DATA_DIR));
    if named.is_none() && !folder.exists() {
        return Vec::new();
    }
    let silent = Finding::fail("store", format!("the file system of {} does not answer", folder.display()))
        .advise("see whether it is mounted");
    // Long histories take longer than a user waits.
    let unread = Finding::warn("journal", format!("not all of it was read within {} s", PATIENCE.as_secs()))
        .advise(format!("`bitloop store verify {}` reads it to the end", folder.display()));
    let journal = folder.clone();
    vec![
        Look::begin(silent, move || folders::store(&folder)),
        Look::begin(unread, move || vec![folders::journal(&journal)]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_answer_is_given_up() {
        let (held, release) = sync_channel::<()>(1);
        let otherwise = Finding::fail("store", "silent");

        let look = Look::begin(otherwise.clone(), move || {
            // Ends with the test.
            let _ = release.recv();
            Vec::new()
        });

        assert_eq!(look.end(Duration::from_millis(1)), [otherwise]);
        drop(held);
    }

    #[test]
    fn a_look_that_panics_is_a_finding() {
        let otherwise = Finding::fail("store", "broke off");

        let look = Look::begin(otherwise.clone(), || panic!("as a test of it"));

        assert_eq!(look.end(Duration::from_secs(60)), [otherwise]);
    }

    #[test]
    fn a_finding_is_one_line() {
        let finding = Finding::warn("disk", "two\nlines").advise("do\tthis");

        assert_eq!(finding.line(), "warn  disk         two lines; do this");
        assert_eq!(Finding::ok("coordinator", "x").line(), "ok    coordinator  x");
    }
}
