use std::ops::RangeInclusive;

use super::sequence::*;
use super::*;

/// Numbers for simulations: splitmix64.
pub(crate) struct Draws(pub(crate) u64);

impl Draws {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(z ^ (z >> 31)) * u128::from(bound)) >> 64) as u64
    }
}

/// Images with so many lost and gained ones, drawn without replacement.
struct Urn {
    lost: u64,
    gained: u64,
    images: u64,
}

impl Urn {
    fn draw(&mut self, draws: &mut Draws, images: u64) -> Evaluation {
        let mut sums = Evaluation { n: images, ..Evaluation::default() };
        for _ in 0..images {
            let drawn = draws.below(self.images);
            if drawn < self.lost {
                self.lost -= 1;
                sums.lost += 1;
            } else if drawn < self.lost + self.gained {
                self.gained -= 1;
                sums.gained += 1;
            }
            self.images -= 1;
        }
        sums
    }
}

fn adaptive(tolerance_ppm: u32, part_images: u64) -> EvaluationMode {
    EvaluationMode::Adaptive(Adaptive { tolerance_ppm, confidence_ppm: 950_000, part_images })
}

/// Measures until the verdict; `false` in the second place if some bounds on the way missed the truth.
fn measure(judge: &Judge, lost: u64, gained: u64, draws: &mut Draws) -> (Progress, bool) {
    let mut urn = Urn { lost, gained, images: judge.images() };
    let truth = lost as i64 - gained as i64;
    let mut progress = judge.start();
    let mut covered = true;
    while let Some(part) = judge.next_part(&progress) {
        judge.add(&mut progress, &urn.draw(draws, part.len)).unwrap();
        let DropBounds { low, high } = judge.drop(&progress);
        covered &= (low..=high).contains(&truth);
    }
    (progress, covered)
}

/// The bounds by trying every pair, with probabilities multiplied out image by image.
///
/// A sample's order does not matter, so the lost images come first, then the gained ones, then the others; both
/// probabilities leave the number of orders out.
fn brute_force(images: u64, counts: [u64; 3], alpha: f64) -> RangeInclusive<i64> {
    let urn = |left: [u64; 3]| {
        let (mut left, mut all, mut probability) = (left.map(|k| k as f64), images as f64, 1.0);
        for (kind, count) in counts.iter().enumerate() {
            for _ in 0..*count {
                probability *= left[kind].max(0.0) / all;
                left[kind] -= 1.0;
                all -= 1.0;
            }
        }
        probability
    };
    let polya = |mut weights: [f64; 3]| {
        let mut probability = 1.0;
        for (kind, count) in counts.iter().enumerate() {
            for _ in 0..*count {
                probability *= weights[kind] / weights.iter().sum::<f64>();
                weights[kind] += 1.0;
            }
        }
        probability
    };
    let prior =
        0.7 * polya([1.0, 1.0, 100.0]) + 0.2 * polya([1.0, 1.0, 1_000.0]) + 0.1 * polya([1.0, 1.0, 4.0]);
    let pairs = (0..=images).flat_map(|lost| (0..=images - lost).map(move |gained| (lost, gained)));
    let kept: Vec<i64> = pairs
        .filter(|(lost, gained)| urn([*lost, *gained, images - lost - gained]) > alpha * prior)
        .map(|(lost, gained)| lost as i64 - gained as i64)
        .collect();
    *kept.iter().min().unwrap()..=*kept.iter().max().unwrap()
}

#[test]
fn bounds_are_those_of_trying_every_pair() {
    let mut draws = Draws(3);
    for images in [1, 2, 3, 7, 16, 40, 90] {
        let ppm = [500_000, 800_000, 950_000, 999_000];
        let sequences = ppm.map(|ppm| (DropSequence::new(images, ppm), 1.0 - f64::from(ppm) / 1e6));
        for _ in 0..60 {
            let n = draws.below(images + 1);
            let lost = draws.below(n + 1);
            let gained = draws.below(n - lost + 1);
            for (sequence, alpha) in &sequences {
                let expected = brute_force(images, [lost, gained, n - lost - gained], *alpha);
                let DropBounds { low, high } = sequence.bounds(lost, gained, n);
                assert_eq!(low..=high, expected, "{lost} lost and {gained} gained of {n} in {images}");
            }
        }
    }
}

#[test]
fn bounds_mirror_when_lost_and_gained_change_places() {
    let sequence = DropSequence::new(3_001, 950_000);
    for (lost, gained, n) in [(0, 0, 100), (3, 0, 200), (20, 31, 700), (600, 2, 1_000), (5, 4, 3_001)] {
        let (one, other) = (sequence.bounds(lost, gained, n), sequence.bounds(gained, lost, n));
        assert_eq!((one.low, one.high), (-other.high, -other.low));
    }
}

#[test]
fn nothing_seen_excludes_nothing_and_all_seen_leaves_one_value() {
    let sequence = DropSequence::new(500, 950_000);

    assert_eq!(sequence.bounds(0, 0, 0), DropBounds::any(500));
    assert_eq!(sequence.bounds(31, 12, 500), DropBounds { low: 19, high: 19 });
    assert_eq!(sequence.bounds(0, 0, 500), DropBounds { low: 0, high: 0 });
    assert_eq!(sequence.bounds(500, 0, 500), DropBounds { low: 500, high: 500 });
}

/// Beyond the table the same counts of many more images leave open what they would if drawn with replacement.
#[test]
fn bounds_on_many_images_scale_with_their_number() {
    let share = |images: u64| {
        let DropBounds { low, high } = DropSequence::new(images, 950_000).bounds(30, 20, 1_000);
        [low as f64 / images as f64, high as f64 / images as f64]
    };
    let [million, billion] = [share(1_000_000), share(1_000_000_000)];
    for (few, many) in million.iter().zip(billion) {
        assert!((few - many).abs() < 1e-4, "{few} {many}");
    }
    assert!(billion[0] < 0.0 && billion[1] > 0.02 && billion[1] < 0.05, "{billion:?}");
}

/// True totals of 2000 images from no disagreement at all to a broken network, each measured 250 times until it is
/// decided. Bounds have to hold at every look, not only at the last.
#[test]
fn bounds_hold_at_all_looks_together_as_often_as_they_say() {
    let (images, repetitions) = (2_000, 250);
    let judge = Judge::new(adaptive(10_000, 64), images);
    let mut draws = Draws(11);
    for (lost, gained) in
        [(0, 0), (1, 0), (0, 3), (9, 6), (29, 14), (20, 20), (70, 30), (262, 36), (1_041, 29)]
    {
        let missed = (0..repetitions).filter(|_| !measure(&judge, lost, gained, &mut draws).1).count();
        // At a coverage of exactly 95 %, 250 repetitions miss more than 24 times once in a thousand.
        assert!(missed <= 24, "{missed} of {repetitions} missed at {lost} lost, {gained} gained");
    }
}

/// A prior can be far off: then intervals are wide, but they hold.
#[test]
fn bounds_hold_for_networks_that_disagree_on_most_images_and_at_low_confidence() {
    let low = Adaptive { tolerance_ppm: 30_000, confidence_ppm: 600_000, part_images: 32 };
    let judge = Judge::new(EvaluationMode::Adaptive(low), 400);
    let mut draws = Draws(5);
    for (lost, gained) in [(200, 200), (180, 140), (10, 300), (2, 2), (40, 30)] {
        let missed = (0..400).filter(|_| !measure(&judge, lost, gained, &mut draws).1).count();
        // 160 are allowed at 60 %; four standard deviations more are 200.
        assert!(missed <= 200, "{missed} of 400 missed at {lost} lost, {gained} gained");
    }
}

#[test]
fn every_verdict_means_what_it_says() {
    let images = 4_000;
    let judge = Judge::new(adaptive(10_000, 96), images);
    let mut draws = Draws(1);
    let mut seen = [0; 3];
    for (lost, gained) in [(2, 1), (60, 40), (500, 30), (1_990, 1_980)] {
        for _ in 0..20 {
            let (progress, _) = measure(&judge, lost, gained, &mut draws);
            let DropBounds { low, high } = judge.drop(&progress);
            match progress.verdict {
                Verdict::Decided => assert!(high - low <= 80 && low <= 40 && progress.sums.n < images),
                Verdict::Harmful => assert!(low > 40 && progress.sums.n < images),
                Verdict::Complete => {
                    assert_eq!(
                        (progress.sums.n, progress.sums.lost, progress.sums.gained),
                        (images, lost, gained)
                    );
                }
                Verdict::Undecided => panic!("measuring ended undecided"),
            }
            seen[match progress.verdict {
                Verdict::Decided => 0,
                Verdict::Harmful => 1,
                Verdict::Complete | Verdict::Undecided => 2,
            }] += 1;
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

/// The sweep of the quick start: (lost, gained) of its 45 configs on 2000 images.
#[rustfmt::skip]
const QUICKSTART: [(u64, u64); 45] = [
    (370, 35), (52, 19), (48, 22), (262, 36), (86, 24), (29, 14), (1044, 27), (534, 28), (23, 15),
    (288, 35), (31, 17), (13, 12), (1041, 29), (142, 39), (30, 11), (69, 19), (25, 14), (9, 6),
    (190, 30), (42, 22), (20, 11), (42, 28), (15, 12), (7, 2), (138, 25), (35, 18), (15, 13),
    (37, 26), (22, 14), (7, 5), (70, 30), (24, 21), (9, 5), (25, 19), (14, 14), (3, 5),
    (58, 36), (19, 11), (13, 4), (32, 22), (16, 14), (7, 3), (169, 43), (47, 19), (21, 14),
];

/// 5 repetitions of the sweep on a population with the quick start's rates: 225 configs, each decided as it comes.
#[test]
fn a_sweep_of_the_shipped_network_s_test_images_takes_a_third_of_them_at_most() {
    let images = 9_744;
    let judge = Judge::new(adaptive(10_000, 128), images);
    let mut draws = Draws(2);
    let (mut measured, mut missed, mut configs) = (0, 0, 0);
    for (lost, gained) in [QUICKSTART; 5].concat() {
        let scaled = |count: u64| (count * images + 1_000) / 2_000;
        let (progress, covered) = measure(&judge, scaled(lost), scaled(gained), &mut draws);
        measured += progress.sums.n;
        missed += u64::from(!covered);
        configs += 1;
    }

    assert!(3 * measured <= configs * images, "{measured} of {}", configs * images);
    assert!(missed * 20 <= configs, "{missed} of {configs} missed");
}

#[test]
fn parts_cover_every_image_once_and_in_order() {
    for (images, part_images) in [(1, 32), (31, 32), (32, 32), (100, 32), (2_000, 128), (5, 1)] {
        let mode = adaptive(10_000, part_images);
        let parts: Vec<ImageRange> = (0..mode.parts(images)).map(|i| mode.part(images, i).unwrap()).collect();

        let mut end = 0;
        for part in &parts {
            assert_eq!(part.start, end);
            assert!(part.len > 0 && part.len <= part_images);
            end += part.len;
        }
        assert_eq!(end, images);
        assert_eq!(mode.part(images, mode.parts(images)), None);
    }
    let whole = EvaluationMode::default();
    assert_eq!((whole.parts(2_000), whole.part(2_000, 0)), (1, Some(ImageRange { start: 0, len: 2_000 })));
}

#[test]
fn a_full_evaluation_is_never_decided_early() {
    let judge = Judge::new(EvaluationMode::Full { part_images: Some(96) }, 1_000);
    let (progress, _) = measure(&judge, 900, 0, &mut Draws(1));

    assert_eq!((progress.sums.n, progress.verdict, progress.parts), (1_000, Verdict::Complete, 11));
}

#[test]
fn sums_that_cannot_be_are_refused_and_change_nothing() {
    let judge = Judge::new(adaptive(10_000, 64), 100);
    for (n, lost, gained) in [(63, 0, 0), (65, 0, 0), (100, 0, 0), (64, 60, 5), (64, u64::MAX, 1)] {
        let mut progress = judge.start();
        let wrong = Evaluation { n, lost, gained, ..Evaluation::default() };
        let error = WrongSums { start: 0, end: 64, n, lost, gained };
        assert_eq!(judge.add(&mut progress, &wrong), Err(error));
        assert_eq!(progress, judge.start());
    }
}
