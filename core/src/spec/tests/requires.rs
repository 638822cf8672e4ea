use super::*;
use crate::device::{DeviceKind, Requirements};
use crate::spec::ExperimentSpec;

fn with_requires(text: &str) -> String {
    let stages = "stages:\n  - sensitivity: { single: all }\n";
    assert!(EXPERIMENT.contains("stages:"), "the example has stages");
    let head = &EXPERIMENT[..EXPERIMENT.find("stages:").unwrap()];
    format!("{head}{stages}{text}")
}

#[test]
fn what_workers_must_have_is_read_for_the_experiment_and_for_a_stage() {
    let text = with_requires(
        "    requires: { device: cuda, gpu_memory: 8GiB, labels: { board: orin }, exclusive: true }\nrequires: { device: cpu }\npriority: -3\n",
    );

    let spec = ExperimentSpec::parse(&text).unwrap();

    let cpu = Requirements { device: Some(DeviceKind::Cpu), ..Requirements::NONE };
    assert_eq!((spec.requires, spec.priority), (cpu, -3));
    let own = spec.stage_requires[0].clone().unwrap();
    assert_eq!(own.to_string(), "device cuda, 8 GiB of GPU memory, label board=orin, the device to itself");
}

#[test]
fn what_no_worker_can_have_is_a_mistake() {
    for (text, line) in [
        (
            "requires: { device: gpu }\n",
            "requires.device: expected `cpu` or `cuda`, found text `gpu`; write `cuda` for a GPU",
        ),
        (
            "requires: { gpu_memory: 8 }\n",
            "requires.gpu_memory: expected text, found number 8; put it in quotation marks",
        ),
        (
            "requires: { gpu_memory: 8GB }\n",
            "requires.gpu_memory: `8GB` is no amount of memory; write a whole number and its unit, such as 8GiB or 512MiB",
        ),
        (
            "requires: { device: cpu, gpu_memory: 8GiB }\n",
            "requires.gpu_memory: a CPU has no GPU memory; remove it, or write `device: cuda`",
        ),
        (
            "requires: { labels: { 'a b': c } }\n",
            "requires.labels.a b: `a b: c` is no label; keys and values are 1 to 64 letters, digits, `-`, `_`, `.` and `/`",
        ),
        (
            "priority: 101\n",
            "priority: 101 is no priority; write a whole number from -100 to 100; more goes first",
        ),
    ] {
        assert_eq!(experiment_mistakes(&with_requires(text)), [line], "{text}");
    }
}

#[test]
fn exact_arithmetic_on_a_gpu_is_a_mistake() {
    let text = with_requires("requires: { device: cuda }\n").replace("numerics: float", "numerics: exact");

    let line =
        "requires: exact arithmetic runs on CPU workers only; write `numerics: float`, or ask for no GPU";
    assert_eq!(experiment_mistakes(&text), [line]);
}
