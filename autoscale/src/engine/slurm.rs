//! Slurm: `sbatch`, `squeue`, `scancel`.
//!
//! Source: the manual pages of these commands and of `srun`, Slurm 23.11.

use bitloop_core::spec::{AutoscaleSpec, SlurmSpec, SubmissionSpec, WorkerClass};

use super::command::{EngineError, call, unreadable};
use super::{Engine, Phase, Seen, Submission, SubmissionId, WorkerCommand, name};

/// Before its time is over, a worker gets a signal, so that it gives back what it holds; seconds.
const NOTICE_SECONDS: u32 = 60;

pub(super) struct Slurm {
    name: String,
    commands: Option<String>,
    log_dir: Option<String>,
    worker: WorkerCommand,
}

impl Slurm {
    pub(super) fn new(spec: &AutoscaleSpec, worker: WorkerCommand) -> Self {
        let (name, commands, log_dir) = (spec.name.clone(), spec.commands.clone(), spec.log_dir.clone());
        Self { name, commands, log_dir, worker }
    }

    fn call(&self, command: &[String], input: &str) -> Result<String, EngineError> {
        call(self.commands.as_deref(), command, input)
    }
}

impl Engine for Slurm {
    fn submission(&self, class: &WorkerClass, workers: u32) -> Submission {
        let default = SlurmSpec::default();
        let slurm = match &class.submission {
            SubmissionSpec::Slurm(slurm) => slurm,
            SubmissionSpec::Pbs(_) => &default,
        };
        let mut command = vec!["sbatch".to_owned(), "--parsable".to_owned()];
        let mut option = |name: &str, value: Option<String>| {
            command.extend(value.map(|value| format!("--{name}={value}")));
        };
        option("job-name", Some(name(&self.name, &class.name, workers)));
        option("partition", slurm.partition.clone());
        option("account", slurm.account.clone());
        option("qos", slurm.qos.clone());
        // Slurm counts in minutes; a part of one is a whole one.
        option("time", class.time.map(|time| time.as_secs().div_ceil(60).to_string()));
        option("ntasks", Some(workers.to_string()));
        option("cpus-per-task", slurm.cpus.map(|cpus| cpus.to_string()));
        option("mem", slurm.memory_mib.map(|memory| format!("{memory}M")));
        option("gres", slurm.gres.clone());
        // `B`: to the script's own process, which by then is the worker, or srun, which passes it on.
        option("signal", Some(format!("B:TERM@{NOTICE_SECONDS}")));
        option("output", self.log_dir.as_ref().map(|folder| format!("{folder}/%x-%j.log")));
        command.extend(slurm.arguments.iter().cloned());
        let worker = self.worker.of(class, slurm.cpus);
        let script = match workers {
            1 => format!("#!/bin/sh\nexec {worker}\n"),
            _ => format!("#!/bin/sh\nexec srun --ntasks={workers} --kill-on-bad-exit=0 {worker}\n"),
        };
        Submission { command, script }
    }

    fn submit(&self, submission: &Submission) -> Result<SubmissionId, EngineError> {
        let said = self.call(&submission.command, &submission.script)?;
        // Sites have sbatch say more; the id comes last, on a federation with the cluster's name.
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        let id = last.split(';').next().unwrap_or_default().trim();
        match !id.is_empty() && id.chars().all(|char| char.is_ascii_digit()) {
            true => Ok(SubmissionId(id.to_owned())),
            false => Err(unreadable(&submission.command, &said)),
        }
    }

    fn seen(&self) -> Result<Vec<Seen>, EngineError> {
        let command = ["squeue", "--me", "--noheader", "--format=%i|%T|%j"].map(str::to_owned);
        let said = self.call(&command, "")?;
        let seen = |line: &str| {
            let mut parts = line.trim().splitn(3, '|');
            let (id, state, name) = (parts.next()?, parts.next()?, parts.next()?);
            Some(Seen { id: SubmissionId(id.to_owned()), name: name.to_owned(), phase: phase(state) })
        };
        let lines = said.lines().filter(|line| !line.trim().is_empty());
        lines.map(|line| seen(line).ok_or_else(|| unreadable(&command, line))).collect()
    }

    fn cancellation(&self, id: &SubmissionId) -> Vec<String> {
        // One that has started meanwhile goes on.
        vec!["scancel".to_owned(), "--state=PENDING".to_owned(), id.0.clone()]
    }

    fn cancel(&self, id: &SubmissionId) -> Result<(), EngineError> {
        self.call(&self.cancellation(id), "").map(|_| ())
    }
}

/// What a state's word means; one that is unknown counts as running, so that limits hold.
fn phase(state: &str) -> Phase {
    match state {
        "PENDING" | "REQUEUED" | "REQUEUE_HOLD" | "REQUEUE_FED" | "RESV_DEL_HOLD" | "SPECIAL_EXIT" => {
            Phase::Waiting
        }
        "COMPLETING" | "COMPLETED" | "CANCELLED" | "FAILED" | "TIMEOUT" | "NODE_FAIL" | "PREEMPTED"
        | "BOOT_FAIL" | "DEADLINE" | "OUT_OF_MEMORY" | "REVOKED" => Phase::Ended,
        _ => Phase::Running,
    }
}
