use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::autoscale::{
    AUTOSCALE_LABEL, AutoscaleSpec, Offers, PauseSpec, PbsSpec, SlurmSpec, SubmissionSpec, WorkerClass,
};
use super::error::SpecError;
use super::file::read_file_like;
use super::reader::{Fields, Place};
use super::requires_reader::{LABELS_MAX, bytes, device, is_label, labels};
use super::shared::{file_name, plain_name, time};
use crate::device::DeviceKind;

const EXAMPLE: &str = "deploy/slurm/autoscale.yaml is an example to start from";

/// Longest name of a file or class: engines cut long names off, and ours must be found again.
const NAME_BYTES_MAX: usize = 32;
/// Most workers of a class; far above what one coordinator was tried with.
const WORKERS_MAX: u64 = 10_000;
/// Most processors of a worker, as its `--threads`.
const CPUS_MAX: u64 = 256;
const CLASSES_MAX: usize = 32;
const PROBES_MAX: usize = 32;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAYS_30: Duration = Duration::from_secs(30 * 24 * 3_600);

const EVERY_DEFAULT: Duration = Duration::from_secs(30);
const TARGET_DEFAULT: Duration = Duration::from_secs(600);
const IDLE_EXIT_DEFAULT: Duration = Duration::from_secs(600);
const PAUSE_DEFAULT: PauseSpec = PauseSpec { after: 3, first: Duration::from_secs(60), longest: HOUR };
const WAITING_DEFAULT: u32 = 4;

/// Arguments that would hide submissions from us, start others than we count, or wait for them.
const SLURM_OURS: [&str; 16] = [
    "--parsable",
    "--job-name",
    "-J",
    "--array",
    "-a",
    "--wrap",
    "--ntasks",
    "-n",
    "--signal",
    "--clusters",
    "-M",
    "--wait",
    "-W",
    "--test-only",
    "--time",
    "-t",
];
const PBS_OURS: [&str; 9] = ["-N", "-J", "-I", "-z", "-f", "-Wblock", "-lselect", "-lwalltime", "-lnodes"];

#[derive(Clone, Copy, PartialEq)]
enum Engine {
    Slurm,
    Pbs,
}

const ENGINES: [(&str, Engine); 2] = [("slurm", Engine::Slurm), ("pbs", Engine::Pbs)];

impl AutoscaleSpec {
    /// Reads an autoscale file; its keys are described in docs/autoscaling.md, below `version: 1`.
    ///
    /// Errors: every mistake in the text, in the order of the file.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let known = [
            "version",
            "name",
            "engine",
            "coordinator",
            "identity",
            "program",
            "commands",
            "log_dir",
            "every",
            "pause",
            "classes",
        ];
        read_file_like(EXAMPLE, text, &known, autoscale)
    }
}

fn autoscale(fields: &Fields<'_>) -> Option<AutoscaleSpec> {
    let name = fields.required("name", "name: lab", name);
    let engine = fields.required("engine", "engine: slurm", |place| place.word(&ENGINES));
    let coordinator = fields.optional("coordinator", None, |place| word(place).map(Some));
    let identity = fields.optional("identity", None, |place| folder(place).map(Some));
    let program = fields.optional("program", "bitloop".to_owned(), program);
    let commands = fields.optional("commands", None, |place| folder(place).map(Some));
    let log_dir = fields.optional("log_dir", None, |place| folder(place).map(Some));
    let every = fields.optional("every", EVERY_DEFAULT, |place| time(place, MILLISECOND..=HOUR));
    let pause = fields.optional("pause", PAUSE_DEFAULT, pause);
    // Of another engine's keys nothing can be said before the engine is known.
    let classes = match engine {
        Some(engine) => fields.required("classes", "classes: { cpu: { ... } }", |place| {
            classes(place, engine, every.unwrap_or(EVERY_DEFAULT))
        }),
        None => None,
    };
    Some(AutoscaleSpec {
        name: name?,
        coordinator: coordinator?,
        identity: identity?,
        program: program?,
        commands: commands?,
        log_dir: log_dir?,
        every: every?,
        pause: pause?,
        classes: classes?,
    })
}

fn pause(place: &Place<'_>) -> Option<PauseSpec> {
    let fields = place.fields(&["after", "first", "longest"])?;
    let after = fields.optional("after", PAUSE_DEFAULT.after, |place| count(place, 1..=1_000));
    let first = fields.optional("first", PAUSE_DEFAULT.first, |place| time(place, MILLISECOND..=DAYS_30));
    let longest =
        fields.optional("longest", PAUSE_DEFAULT.longest, |place| time(place, MILLISECOND..=DAYS_30));
    let (after, first, longest) = (after?, first?, longest?);
    if longest < first {
        return fields.mistake("longest", "is shorter than the first pause", "write at least as much");
    }
    Some(PauseSpec { after, first, longest })
}

fn classes(place: &Place<'_>, engine: Engine, every: Duration) -> Option<Vec<WorkerClass>> {
    let entries = place.entries("cpu: { offers: { device: cpu }, workers: { max: 8 } }")?;
    if entries.len() > CLASSES_MAX {
        return place
            .mistake(format!("{} classes", entries.len()), format!("at most {CLASSES_MAX} are read"));
    }
    let read: Vec<_> = entries.iter().map(|(name, here)| class(name, here, engine, every)).collect();
    read.into_iter().collect()
}

fn class(key: &str, place: &Place<'_>, engine: Engine, every: Duration) -> Option<WorkerClass> {
    let name = plain_name(place, key, NAME_BYTES_MAX);
    let word = ENGINES.iter().find(|(_, known)| *known == engine).map(|(word, _)| *word)?;
    let fields = place.fields(&["offers", "workers", "waiting", "target", "idle_exit", "time", word])?;
    let offers = fields.required("offers", "offers: { device: cpu }", offers);
    let workers = fields.required("workers", "workers: { max: 8 }", workers);
    let waiting_max = fields.optional("waiting", WAITING_DEFAULT, |place| count(place, 1..=1_000));
    let target = fields.optional("target", TARGET_DEFAULT, |place| time(place, MILLISECOND..=DAYS_30));
    let idle_exit = fields.optional("idle_exit", IDLE_EXIT_DEFAULT, |place| idle_exit(place, every));
    let limit = fields.optional("time", None, |place| time(place, SECOND..=DAYS_30).map(Some));
    let submission = fields.required(word, &format!("{word}: {{}}"), |place| match engine {
        Engine::Slurm => slurm(place).map(SubmissionSpec::Slurm),
        Engine::Pbs => pbs(place).map(SubmissionSpec::Pbs),
    });
    let (offers, workers, idle_exit, limit) = (offers?, workers?, idle_exit?, limit?);
    if offers.device == DeviceKind::Cuda && workers.per_submission > 1 {
        let hint = "write `per_submission: 1`; the engine then gives each worker its own GPU";
        return fields.mistake("workers", "a submission of several workers would share one GPU", hint);
    }
    if limit.is_some_and(|limit| limit <= idle_exit) {
        let hint = "give workers more time, or let them leave sooner";
        return fields.mistake("time", "is not longer than `idle_exit`", hint);
    }
    let Workers { min, max, per_submission } = workers;
    Some(WorkerClass {
        name: name?,
        offers,
        workers_min: min,
        workers_max: max,
        waiting_max: waiting_max?,
        per_submission,
        target: target?,
        idle_exit,
        time: limit,
        submission: submission?,
    })
}

/// A worker that leaves is told from one that fails by how long it lived, as far as looks at the engine can tell.
fn idle_exit(place: &Place<'_>, every: Duration) -> Option<Duration> {
    let idle_exit = time(place, MILLISECOND..=DAYS_30)?;
    if idle_exit < 2 * every {
        return place.mistake("is less than twice `every`", "let workers wait longer, or look more often");
    }
    Some(idle_exit)
}

fn offers(place: &Place<'_>) -> Option<Offers> {
    let fields = place.fields(&["device", "gpu_memory", "labels", "probes"])?;
    let device = fields.required("device", "device: cpu", device);
    let gpu_memory_bytes = fields.optional("gpu_memory", 0, bytes);
    let labels = fields.optional("labels", BTreeMap::new(), labels);
    let probes = fields.optional("probes", BTreeMap::new(), probes);
    let (device, gpu_memory_bytes) = (device?, gpu_memory_bytes?);
    if device == DeviceKind::Cpu && gpu_memory_bytes > 0 {
        return fields.mistake("gpu_memory", "a CPU has no GPU's memory", "remove it");
    }
    let labels = labels?;
    if labels.contains_key(AUTOSCALE_LABEL) || labels.len() >= LABELS_MAX {
        let most = LABELS_MAX - 1;
        let problem =
            format!("`{AUTOSCALE_LABEL}` is a label that bitloop adds itself, beside {most} at most");
        return fields.mistake("labels", problem, "take one out");
    }
    Some(Offers { device, gpu_memory_bytes, labels, probes: probes? })
}

/// Reads `{ integer: integer, board: external=/opt/lab/probes.yaml }`.
fn probes(place: &Place<'_>) -> Option<BTreeMap<String, String>> {
    const EXAMPLE: &str = "integer: integer=cpus=0-3";
    let entries = place.entries(EXAMPLE)?;
    if entries.len() > PROBES_MAX {
        return place.mistake(format!("{} probes", entries.len()), format!("at most {PROBES_MAX} are read"));
    }
    let read = entries.iter().map(|(name, here)| match is_label(name) {
        true => Some(((*name).to_owned(), word(here)?)),
        false => here.mistake(
            format!("`{name}` is no probe"),
            format!("write its name and the value of `--probe` that has a worker offer it: `{EXAMPLE}`"),
        ),
    });
    let read: Vec<_> = read.collect();
    read.into_iter().collect()
}

struct Workers {
    min: u32,
    max: u32,
    per_submission: u32,
}

fn workers(place: &Place<'_>) -> Option<Workers> {
    let fields = place.fields(&["min", "max", "per_submission"])?;
    let min = fields.optional("min", 0, |place| count(place, 0..=WORKERS_MAX));
    let max = fields.required("max", "max: 8", |place| count(place, 1..=WORKERS_MAX));
    let per_submission = fields.optional("per_submission", 1, |place| count(place, 1..=WORKERS_MAX));
    let (min, max, per_submission) = (min?, max?, per_submission?);
    if min > max {
        return fields.mistake("min", "is more than `max`", format!("write at most {max}"));
    }
    if per_submission > max {
        return fields.mistake("per_submission", "is more than `max`", format!("write at most {max}"));
    }
    Some(Workers { min, max, per_submission })
}

fn slurm(place: &Place<'_>) -> Option<SlurmSpec> {
    let fields = place.fields(&["partition", "account", "qos", "gres", "cpus", "memory", "arguments"])?;
    let text = |key| fields.optional(key, None, |place: &Place<'_>| word(place).map(Some));
    let (partition, account, qos, gres) = (text("partition"), text("account"), text("qos"), text("gres"));
    let cpus = fields.optional("cpus", None, |place| count(place, 1..=CPUS_MAX).map(Some));
    let memory_mib = fields.optional("memory", None, |place| bytes(place).map(|bytes| Some(bytes >> 20)));
    let arguments = fields.optional("arguments", Vec::new(), |place| arguments(place, &SLURM_OURS));
    Some(SlurmSpec {
        partition: partition?,
        account: account?,
        qos: qos?,
        gres: gres?,
        cpus: cpus?,
        memory_mib: memory_mib?,
        arguments: arguments?,
    })
}

fn pbs(place: &Place<'_>) -> Option<PbsSpec> {
    let fields = place.fields(&["queue", "account", "chunk", "cpus", "arguments"])?;
    let text = |key| fields.optional(key, None, |place: &Place<'_>| word(place).map(Some));
    let (queue, account, chunk) = (text("queue"), text("account"), text("chunk"));
    let cpus = fields.optional("cpus", None, |place| count(place, 1..=CPUS_MAX).map(Some));
    let arguments = fields.optional("arguments", Vec::new(), |place| arguments(place, &PBS_OURS));
    Some(PbsSpec { queue: queue?, account: account?, chunk: chunk?, cpus: cpus?, arguments: arguments? })
}

/// Options for an engine's command, each one word: anything else would be taken for the name of a script.
fn arguments(place: &Place<'_>, ours: &[&str]) -> Option<Vec<String>> {
    place.list("[--exclude=node7]", |place| {
        let text = place.text()?;
        if !text.starts_with('-') || text.trim_start_matches('-').is_empty() {
            let hint = "write option and value as one word, such as `--exclude=node7` or `-Aproject`";
            return place.mistake(format!("`{text}` is no option"), hint);
        }
        let option = text.split('=').next().unwrap_or(text);
        // The engines' commands take the beginning of a long option for the whole of it.
        let is = |own: &&&str| match own.starts_with("--") {
            true => option.len() > 2 && own.starts_with(option),
            false => text.starts_with(**own),
        };
        match ours.iter().find(is) {
            Some(own) => place.mistake(format!("`{own}` is set by bitloop"), "remove it"),
            None => Some(text.to_owned()),
        }
    })
}

fn count(place: &Place<'_>, range: RangeInclusive<u64>) -> Option<u32> {
    Some(u32::try_from(place.integer(range)?).expect("all ranges here are of u32"))
}

/// A name that is part of names in the engine, where `.` parts them.
fn name(place: &Place<'_>) -> Option<String> {
    plain_name(place, place.text()?, NAME_BYTES_MAX)
}

/// A value that stays one word of an option.
fn word(place: &Place<'_>) -> Option<String> {
    let text = place.text()?;
    let allowed = |char: char| char.is_ascii_alphanumeric() || "-_.,:=+/@%[]".contains(char);
    if text.chars().all(allowed) && !text.starts_with('-') {
        return Some(text.to_owned());
    }
    place.mistake(
        format!("`{text}` is no single word"),
        "leave out spaces and quotation marks, and `-` in front",
    )
}

fn program(place: &Place<'_>) -> Option<String> {
    let text = file_name(place)?;
    if text.starts_with('/') || (text != "." && text != ".." && !text.starts_with('-') && !text.contains('/'))
    {
        return Some(text);
    }
    place.mistake(
        format!("`{text}` is no program"),
        "write an absolute path, or a name that is on the nodes' PATH",
    )
}

fn folder(place: &Place<'_>) -> Option<String> {
    let text = file_name(place)?;
    if text.starts_with('/') {
        return Some(text);
    }
    place.mistake(format!("`{text}` is not absolute"), "write a path that begins with `/`")
}
