use super::{EXPERIMENT, experiment_mistakes, with};
use crate::evaluation::{Adaptive, EvaluationMode};
use crate::spec::ExperimentSpec;

fn evaluation(text: &str) -> String {
    with(EXPERIMENT, "stages:", &format!("evaluation: {text}\nstages:"))
}

fn adaptive(tolerance_ppm: u32, confidence_ppm: u32, part_images: u64) -> EvaluationMode {
    EvaluationMode::Adaptive(Adaptive { tolerance_ppm, confidence_ppm, part_images })
}

#[test]
fn both_modes_are_read_and_full_in_one_part_is_the_default() {
    let full = |part_images| EvaluationMode::Full { part_images };
    assert_eq!(ExperimentSpec::parse(EXPERIMENT).unwrap().evaluation, full(None));
    for (text, expected) in [
        ("full", full(None)),
        ("{ mode: full }", full(None)),
        ("{ mode: full, part: 1024 }", full(Some(1024))),
        ("{ mode: adaptive, tolerance: 1 }", adaptive(10_000, 950_000, 128)),
        ("{ mode: adaptive, tolerance: 0.25, confidence: 0.99, part: 32 }", adaptive(2_500, 990_000, 32)),
        ("{ mode: adaptive, tolerance: 0.0001, confidence: 0.999999 }", adaptive(1, 999_999, 128)),
        (
            "{ mode: adaptive, tolerance: 100, confidence: 0.5, part: 1000000000 }",
            adaptive(1_000_000, 500_000, 1_000_000_000),
        ),
    ] {
        let read = ExperimentSpec::parse(&evaluation(text)).map(|spec| spec.evaluation);
        assert_eq!(read, Ok(expected), "{text}");
    }
}

#[test]
fn each_mistake_has_its_place_and_a_hint() {
    for (text, line) in [
        ("partial", "evaluation: expected `full` or `adaptive`, found text `partial`"),
        (
            "adaptve",
            "evaluation: expected `full` or `adaptive`, found text `adaptve`; did you mean `adaptive`?",
        ),
        ("adaptive", "evaluation: it is not said how exact; write `{ mode: adaptive, tolerance: 1.0 }`"),
        ("1000", "evaluation: expected `full` or `adaptive`, found number 1000"),
        ("{ tolerance: 1.0 }", "evaluation.mode: is missing; add `mode: adaptive`"),
        ("{ mode: adaptive }", "evaluation.tolerance: is missing; add `tolerance: 1.0`"),
        (
            "{ mode: adaptive, tolerance: 0 }",
            "evaluation.tolerance: 0 is out of range; write a number from 0.0001 to 100",
        ),
        (
            "{ mode: adaptive, tolerance: 0.12345 }",
            "evaluation.tolerance: 0.12345 has more than four decimals; round it to four",
        ),
        (
            "{ mode: adaptive, tolerance: 1, confidence: 95 }",
            "evaluation.confidence: 95 is out of range; write a number from 0.5 to 0.999999",
        ),
        (
            "{ mode: adaptive, tolerance: 1, part: 100 }",
            "evaluation.part: 100 is not a multiple of 32; write 128: workers take 32 images at a time",
        ),
        (
            "{ mode: full, part: 0 }",
            "evaluation.part: 0 is out of range; write a whole number from 32 to 1000000000",
        ),
        (
            "{ mode: full, tolerance: 1 }",
            "evaluation.tolerance: says nothing where all images are measured; remove it, or write `mode: adaptive`",
        ),
        (
            "{ mode: adaptive, tolerance: 1, parts: 128 }",
            "evaluation.parts: unknown key; did you mean `part`?",
        ),
    ] {
        assert_eq!(experiment_mistakes(&evaluation(text)), [line], "{text}");
    }
}

#[test]
fn several_mistakes_are_reported_together() {
    let lines =
        experiment_mistakes(&evaluation("{ mode: adaptive, tolerance: -1, confidence: 2, part: 33 }"));
    let paths: Vec<&str> = lines.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(paths, ["evaluation.tolerance", "evaluation.confidence", "evaluation.part"]);
}
