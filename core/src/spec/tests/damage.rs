use super::{EXPERIMENT, SEARCH, TRAINING};
use crate::spec::{ExperimentSpec, SpecError, TrainSpec};

/// Damaged texts per example; together they take about a second in a debug build.
const TEXTS: u64 = 3000;
/// Changes to each text, at most.
const CHANGES_MAX: usize = 4;
/// Pieces that YAML and the readers treat specially.
const PIECES: [&str; 16] =
    ["[", "]", "{", "}", ":", ": ", "\n", "- ", "*", "&a ", "!t ", "\"", "~", "-1", "1e999", "\u{2028}ß"];

/// Knuth's 64-bit linear congruential generator (MMIX), good enough to choose damage by.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end.max(1)
    }
}

fn damaged(text: &str, random: &mut Lcg) -> String {
    let mut text = text.to_owned();
    for _ in 0..=random.below(CHANGES_MAX) {
        text = if random.below(2) == 0 { damaged_line(&text, random) } else { damaged_char(&text, random) };
    }
    text
}

fn damaged_line(text: &str, random: &mut Lcg) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let (from, to) = (random.below(lines.len()), random.below(lines.len()));
    match random.below(4) {
        0 if !lines.is_empty() => drop(lines.remove(from)),
        1 if !lines.is_empty() => lines.insert(to, lines[from]),
        2 if !lines.is_empty() => lines[to] = lines[from],
        _ => lines.truncate(to),
    }
    lines.join("\n")
}

fn damaged_char(text: &str, random: &mut Lcg) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    let at = random.below(chars.len());
    let end = chars.len().min(at + random.below(3));
    chars.splice(at..end.max(at), PIECES[random.below(PIECES.len())].chars());
    chars.into_iter().collect()
}

fn assert_sound(result: Result<(), SpecError>, text: &str) {
    let Err(error) = result else { return };
    assert!(!error.mistakes.is_empty(), "{text}");
    assert_eq!(error.to_string().lines().count(), error.mistakes.len(), "{text}\n{error}");
}

#[test]
fn damaged_files_never_panic_and_always_say_what_is_wrong() {
    for seed in 0..TEXTS {
        let mut random = Lcg(seed);
        let (experiment, training) = (damaged(EXPERIMENT, &mut random), damaged(TRAINING, &mut random));

        assert_sound(ExperimentSpec::parse(&experiment).map(drop), &experiment);
        assert_sound(TrainSpec::parse(&training).map(drop), &training);

        let search = damaged(SEARCH, &mut random);
        assert_sound(ExperimentSpec::parse(&search).map(drop), &search);
    }
}
