use std::time::Duration;

use crate::device::DeviceKind;
use crate::spec::{AutoscaleSpec, SlurmSpec, SubmissionSpec};

const SLURM: &str = "\
version: 1
name: lab
engine: slurm
coordinator: http://head:7717
identity: /home/ana/worker identity
program: /opt/bitloop/bin/bitloop
commands: /opt/slurm/bin
log_dir: /scratch/logs
every: 20s
pause: { after: 4, first: 2m, longest: 30m }
classes:
  gpu:
    offers: { device: cuda, gpu_memory: 16GiB, labels: { site: lab } }
    workers: { min: 1, max: 4 }
    waiting: 2
    target: 15m
    idle_exit: 5m
    time: 4h
    slurm:
      { partition: gpu, account: nets, qos: low, gres: 'gpu:1', cpus: 4, memory: 32GiB,
        arguments: [--exclude=node7, --constraint=a100] }
  cpu:
    offers: { device: cpu, probes: { integer: integer=cpus=0-3, board: external=/opt/lab/probes.yaml } }
    workers: { max: 32, per_submission: 8 }
    slurm: {}
";

fn mistakes(text: &str) -> Vec<String> {
    let error = AutoscaleSpec::parse(text).expect_err("the text has mistakes");
    error.mistakes.iter().map(ToString::to_string).collect()
}

#[test]
fn every_key_is_read() {
    let spec = AutoscaleSpec::parse(SLURM).unwrap();

    assert_eq!((spec.name.as_str(), spec.every), ("lab", Duration::from_secs(20)));
    assert_eq!(spec.identity.as_deref(), Some("/home/ana/worker identity"));
    assert_eq!((spec.pause.after, spec.pause.longest), (4, Duration::from_secs(1_800)));
    let [gpu, cpu] = spec.classes.as_slice() else { panic!("{:?}", spec.classes) };
    assert_eq!((gpu.name.as_str(), cpu.name.as_str()), ("gpu", "cpu"), "the order of the file is kept");
    assert_eq!((gpu.offers.device, gpu.offers.gpu_memory_bytes), (DeviceKind::Cuda, 16 << 30));
    assert_eq!(gpu.offers.labels["site"], "lab");
    assert_eq!(cpu.offers.probes["board"], "external=/opt/lab/probes.yaml");
    assert_eq!((cpu.offers.probes.len(), gpu.offers.probes.len()), (2, 0));
    assert_eq!((gpu.workers_min, gpu.workers_max, gpu.waiting_max, gpu.per_submission), (1, 4, 2, 1));
    assert_eq!(gpu.time, Some(Duration::from_secs(4 * 3_600)));
    let SubmissionSpec::Slurm(slurm) = &gpu.submission else { panic!("{gpu:?}") };
    assert_eq!(
        (slurm.gres.as_deref(), slurm.cpus, slurm.memory_mib),
        (Some("gpu:1"), Some(4), Some(32 << 10))
    );
    assert_eq!(slurm.arguments, ["--exclude=node7", "--constraint=a100"]);
    assert_eq!((cpu.workers_min, cpu.per_submission, cpu.waiting_max, cpu.time), (0, 8, 4, None));
    assert_eq!(cpu.submission, SubmissionSpec::Slurm(SlurmSpec::default()));
}

#[test]
fn every_mistake_is_said_at_once_with_its_place() {
    let text = SLURM
        .replace("name: lab", "name: 'a b'")
        .replace("identity: /home/ana/worker identity", "identity: worker")
        .replace("[--exclude=node7, --constraint=a100]", "[script.sh, --job-name=x, -n4, -t60]")
        .replace("time: 4h", "time: 5m")
        .replace("max: 32, per_submission: 8", "max: 4, per_submission: 8")
        .replace("gres: 'gpu:1'", "gres: 'gpu:1; rm'");

    let found = mistakes(&text).join("\n");

    for expected in [
        "name: `a b` is no name",
        "identity: `worker` is not absolute",
        "classes.gpu.slurm.arguments[0]: `script.sh` is no option",
        "classes.gpu.slurm.arguments[1]: `--job-name` is set by bitloop",
        "classes.gpu.slurm.arguments[2]: `-n` is set by bitloop",
        "classes.gpu.slurm.arguments[3]: `-t` is set by bitloop",
        "classes.gpu.slurm.gres: `gpu:1; rm` is no single word",
        "classes.gpu.time: is not longer than `idle_exit`",
        "classes.cpu.workers.per_submission: is more than `max`; write at most 4",
    ] {
        assert!(found.contains(expected), "{expected} is missing from\n{found}");
    }
    assert_eq!(found.lines().count(), 9, "{found}");
}

#[test]
fn the_label_by_which_workers_are_known_is_bitloops_own() {
    let found = mistakes(&SLURM.replace("site: lab", "autoscale: lab"));
    let expected =
        "classes.gpu.offers.labels: `autoscale` is a label that bitloop adds itself, beside 15 at most";
    assert!(found.iter().any(|mistake| mistake.starts_with(expected)), "{found:?}");
}

#[test]
fn a_probe_is_a_name_and_the_word_that_has_workers_offer_it() {
    let of = |probes: &str| {
        mistakes(
            &SLURM.replace("{ integer: integer=cpus=0-3, board: external=/opt/lab/probes.yaml }", probes),
        )
    };

    let name = of("{ 'a b': integer }");
    let words = of("{ integer: 'integer --force' }");
    let list = of("[integer]");

    assert!(
        name[0].starts_with("classes.cpu.offers.probes.a b: `a b` is no probe; write its name and "),
        "{name:?}"
    );
    assert!(
        words[0].contains("classes.cpu.offers.probes.integer: `integer --force` is no single word"),
        "{words:?}"
    );
    assert!(list[0].starts_with("classes.cpu.offers.probes: "), "{list:?}");
}

#[test]
fn one_gpu_is_not_shared_and_idle_workers_are_told_from_failed_ones() {
    let shared = mistakes(&SLURM.replace("{ min: 1, max: 4 }", "{ max: 4, per_submission: 2 }"));
    assert!(shared[0].contains("would share one GPU"), "{shared:?}");
    let hasty = mistakes(&SLURM.replace("idle_exit: 5m", "idle_exit: 30s"));
    assert!(hasty[0].contains("less than twice `every`"), "{hasty:?}");
}

#[test]
fn keys_of_another_engine_are_unknown() {
    let found = mistakes(&SLURM.replace("engine: slurm", "engine: pbs")).join("\n");
    assert!(found.contains("classes.gpu.slurm: unknown key"), "{found}");
}
