use super::*;

fn spec(engine: &str, class: &str) -> AutoscaleSpec {
    let text = format!(
        "version: 1\nname: lab\nengine: {engine}\nprogram: '/opt/our tools/bitloop'\nlog_dir: /scratch/logs\n\
         classes:\n  all: {class}\n"
    );
    AutoscaleSpec::parse(&text).unwrap()
}

fn submission(engine: &str, class: &str, workers: u32) -> Submission {
    let spec = spec(engine, class);
    let engine = engine_of(&spec, "http://head:7717", Some("me".to_owned())).unwrap();
    engine.submission(&spec.classes[0], workers)
}

#[test]
fn slurm_is_told_everything_and_a_worker_takes_the_place_of_the_script() {
    let class = "{ offers: { device: cuda, labels: { site: 'a.1' } }, workers: { max: 4 }, time: 90m, \
                 slurm: { partition: gpu, gres: 'gpu:1', cpus: 4, memory: 8GiB, arguments: [--exclude=n1] } }";
    let Submission { command, script } = submission("slurm", class, 1);

    let expected = "sbatch --parsable --job-name=bitloop.lab.all.1 --partition=gpu --time=90 --ntasks=1 \
                    --cpus-per-task=4 --mem=8192M --gres=gpu:1 --signal=B:TERM@60 \
                    --output=/scratch/logs/%x-%j.log --exclude=n1";
    assert_eq!(command.join(" "), expected);
    assert_eq!(
        script,
        "#!/bin/sh\nexec '/opt/our tools/bitloop' worker --coordinator http://head:7717 --device cuda:0 --threads 4 \
         --label autoscale=lab --label site=a.1 --idle-exit 600000ms --connect-timeout 600000ms\n"
    );
}

#[test]
fn workers_are_told_where_their_identity_lies_and_nothing_of_it() {
    let text = "version: 1\nname: lab\nengine: slurm\nidentity: '/home/ana/my worker'\nclasses:\n  \
                all: { offers: { device: cpu }, workers: { max: 4 }, slurm: {} }\n";
    let spec = AutoscaleSpec::parse(text).unwrap();
    let engine = engine_of(&spec, "https://head:7717", None).unwrap();

    let Submission { command, script } = engine.submission(&spec.classes[0], 1);

    assert!(
        script.contains(" --coordinator https://head:7717 --identity '/home/ana/my worker' --device "),
        "{script}"
    );
    assert!(
        !command.join(" ").contains("identity"),
        "names and options of submissions are for everyone's eyes"
    );
}

#[test]
fn workers_are_started_with_the_probes_that_their_class_offers() {
    let class = "{ offers: { device: cpu, labels: { board: pi5 }, probes: { integer: integer=cpus=2-3, \
                 one: external=/opt/lab/probes.yaml, two: external=/opt/lab/probes.yaml } }, workers: { max: 4 }, slurm: {} }";

    let Submission { script, .. } = submission("slurm", class, 1);

    let options =
        " --label board=pi5 --probe external=/opt/lab/probes.yaml --probe integer=cpus=2-3 --idle-exit ";
    assert!(script.contains(options), "{script}");
}

#[test]
fn several_workers_are_started_by_srun_and_by_pbsdsh() {
    let slurm = submission(
        "slurm",
        "{ offers: { device: cpu }, workers: { max: 8, per_submission: 8 }, slurm: {} }",
        8,
    );
    assert!(
        slurm.script.contains("exec srun --ntasks=8 --kill-on-bad-exit=0 '/opt/our tools/bitloop' worker ")
    );
    assert!(slurm.command.contains(&"--ntasks=8".to_owned()));
    let class = "{ offers: { device: cpu }, workers: { max: 8, per_submission: 8 }, time: 2h, \
                 pbs: { queue: workq, cpus: 16, chunk: 'mem=32gb', arguments: [-lplace=scatter] } }";
    let pbs = submission("pbs", class, 3);
    assert_eq!(
        pbs.command.join(" "),
        "qsub -N bitloop.lab.all.3 -q workq -l select=3:ncpus=16:mem=32gb -l walltime=7200 -j oe -o /scratch/logs/ \
         -lplace=scatter"
    );
    assert!(pbs.script.contains("exec pbsdsh -- '/opt/our tools/bitloop' worker "), "{}", pbs.script);
}

#[test]
fn words_reach_the_program_as_they_are() {
    for (word, expected) in [
        ("http://head:7717", "http://head:7717"),
        ("", "''"),
        ("$(rm -rf ~)", "'$(rm -rf ~)'"),
        ("it's; `x`", r"'it'\''s; `x`'"),
    ] {
        assert_eq!(quoted(word), expected);
    }
}

#[test]
fn names_are_known_again_and_those_of_others_are_not() {
    assert_eq!(parse_name(&name("lab", "gpu-a100", 12), "lab"), Some(("gpu-a100", 12)));
    for other in
        ["bitloop.lab2.cpu.1", "bitloop.lab.cpu", "bitloop.lab.cpu.0", "bitloop.lab.cpu.x", "lab.cpu.1"]
    {
        assert_eq!(parse_name(other, "lab"), None, "{other}");
    }
}

#[test]
fn a_command_that_does_not_end_is_ended() {
    let command = ["sleep", "600"].map(str::to_owned);
    let error = command::call_within(Duration::from_millis(100), None, &command, "").unwrap_err();
    assert!(matches!(error, EngineError::TooSlow { .. }) && error.is_unclear(), "{error}");
}

#[test]
fn a_command_that_is_not_there_is_named() {
    let command = ["sbatch".to_owned()];
    let error = command::call(Some("/nowhere"), &command, "").unwrap_err();
    assert!(error.to_string().starts_with("`sbatch` cannot be started"), "{error}");
    assert!(!error.is_unclear());
}

#[test]
fn pbs_needs_to_know_who_asks() {
    let spec = spec("pbs", "{ offers: { device: cpu }, workers: { max: 1 }, pbs: {} }");
    let error = engine_of(&spec, "http://head:7717", None).err();
    assert!(matches!(error, Some(EngineError::NoUser)));
}

#[test]
fn a_command_that_gave_up_waiting_may_have_been_heard() {
    let said = |text: &str| {
        let command = ["sh", "-c", &format!("echo '{text}' >&2; exit 1")].map(str::to_owned);
        command::call(None, &command, "").unwrap_err()
    };

    assert!(said("sbatch: error: Batch job submission failed: Socket timed out on send/recv").is_unclear());
    assert!(!said("sbatch: error: Batch job submission failed: Invalid account").is_unclear());
}
