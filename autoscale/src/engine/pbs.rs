//! PBS: `qsub`, `qstat`, `qdel`, as of OpenPBS and PBS Professional.
//!
//! Source: the manual pages of these commands and of `pbsdsh`, OpenPBS 23.06.

use bitloop_core::spec::{AutoscaleSpec, PbsSpec, SubmissionSpec, WorkerClass};

use super::command::{EngineError, call, unreadable};
use super::{Engine, Phase, Seen, Submission, SubmissionId, WorkerCommand, name};

pub(super) struct Pbs {
    name: String,
    commands: Option<String>,
    log_dir: Option<String>,
    worker: WorkerCommand,
    /// Lists are of all users.
    user: String,
}

impl Pbs {
    pub(super) fn new(
        spec: &AutoscaleSpec,
        worker: WorkerCommand,
        user: Option<String>,
    ) -> Result<Self, EngineError> {
        let user = user.filter(|user| !user.is_empty()).ok_or(EngineError::NoUser)?;
        let (name, commands, log_dir) = (spec.name.clone(), spec.commands.clone(), spec.log_dir.clone());
        Ok(Self { name, commands, log_dir, worker, user })
    }

    fn call(&self, command: &[String], input: &str) -> Result<String, EngineError> {
        call(self.commands.as_deref(), command, input)
    }
}

impl Engine for Pbs {
    fn submission(&self, class: &WorkerClass, workers: u32) -> Submission {
        let default = PbsSpec::default();
        let pbs = match &class.submission {
            SubmissionSpec::Pbs(pbs) => pbs,
            SubmissionSpec::Slurm(_) => &default,
        };
        let mut command = vec!["qsub".to_owned()];
        let mut option = |name: &str, value: Option<String>| {
            command.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
        };
        option("-N", Some(name(&self.name, &class.name, workers)));
        option("-q", pbs.queue.clone());
        option("-A", pbs.account.clone());
        let cpus = pbs.cpus.unwrap_or(1);
        let chunk = pbs.chunk.as_ref().map(|chunk| format!(":{chunk}")).unwrap_or_default();
        option("-l", Some(format!("select={workers}:ncpus={cpus}{chunk}")));
        option("-l", class.time.map(|time| format!("walltime={}", time.as_secs())));
        option("-j", Some("oe".to_owned()));
        option("-o", self.log_dir.as_ref().map(|folder| format!("{folder}/")));
        command.extend(pbs.arguments.iter().cloned());
        let worker = self.worker.of(class, Some(cpus));
        let script = match workers {
            1 => format!("#!/bin/sh\nexec {worker}\n"),
            // One on each chunk.
            _ => format!("#!/bin/sh\nexec pbsdsh -- {worker}\n"),
        };
        Submission { command, script }
    }

    fn submit(&self, submission: &Submission) -> Result<SubmissionId, EngineError> {
        let said = self.call(&submission.command, &submission.script)?;
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim();
        let allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | '-' | '_');
        match last.starts_with(|char: char| char.is_ascii_digit()) && last.chars().all(allowed) {
            true => Ok(SubmissionId(last.to_owned())),
            false => Err(unreadable(&submission.command, &said)),
        }
    }

    fn seen(&self) -> Result<Vec<Seen>, EngineError> {
        let command = ["qstat", "-f"].map(str::to_owned);
        let said = self.call(&command, "")?;
        if !said.trim().is_empty() && !said.trim_start().starts_with("Job Id:") {
            return Err(unreadable(&command, &said));
        }
        // Long values go on in lines that begin with a tab.
        let whole = said.replace("\r\n", "\n").replace("\n\t", "");
        let entries = whole.split("Job Id:").skip(1);
        Ok(entries.filter_map(|entry| self.of_this_user(entry)).collect())
    }

    /// Unlike Slurm's, this also ends what has started since it was seen to wait: PBS knows no condition, and holding a
    /// submission first would leave it held where this process is killed in between.
    fn cancellation(&self, id: &SubmissionId) -> Vec<String> {
        vec!["qdel".to_owned(), id.0.clone()]
    }

    fn cancel(&self, id: &SubmissionId) -> Result<(), EngineError> {
        self.call(&self.cancellation(id), "").map(|_| ())
    }
}

impl Pbs {
    fn of_this_user(&self, entry: &str) -> Option<Seen> {
        let mut lines = entry.lines();
        let id = lines.next()?.trim().to_owned();
        let (mut name, mut state, mut owner) = (None, None, None);
        for (key, value) in lines.filter_map(|line| line.trim().split_once(" = ")) {
            match key {
                "Job_Name" => name = Some(value.to_owned()),
                "job_state" => state = Some(value),
                "Job_Owner" => owner = value.split('@').next(),
                _ => {}
            }
        }
        let is_own = owner == Some(self.user.as_str());
        is_own.then_some(Seen { id: SubmissionId(id), name: name?, phase: phase(state?) })
    }
}

/// What a state's letter means; one that is unknown counts as running, so that limits hold.
fn phase(state: &str) -> Phase {
    match state {
        "Q" | "H" | "W" | "T" => Phase::Waiting,
        "E" | "F" | "X" | "C" => Phase::Ended,
        _ => Phase::Running,
    }
}
