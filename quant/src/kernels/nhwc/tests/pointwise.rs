use super::*;

/// Values or codes in guarded memory, and what they stand for in steps.
struct Input {
    floats: [Guarded<f32>; 2],
    codes: [Guarded<u8>; 2],
    zero: u8,
    is_codes: bool,
    steps: Vec<f32>,
}

impl Input {
    fn new(rng: &mut Rng, len: usize) -> Self {
        let (values, bytes, zero) = (floats(rng, len), codes(rng, len), rng.below(256) as u8);
        let is_codes = rng.below(2) == 0;
        let steps = bytes.iter().map(|code| f32::from(*code) - f32::from(zero));
        let steps = if is_codes { steps.collect() } else { values.clone() };
        Self { floats: guarded(&values), codes: guarded(&bytes), zero, is_codes, steps }
    }

    fn values(&self, side: usize) -> Values<'_> {
        if self.is_codes {
            return Values::Codes { codes: &self.codes[side], zero: self.zero };
        }
        Values::Floats(&self.floats[side])
    }
}

#[test]
fn sums_and_products_are_their_definitions_on_every_instruction_set() {
    for step in 0..300 {
        let rng = &mut rng(91, step);
        let (images, pixels, channels) = (rng.below(4), between(rng, 1, 5), channels(rng));
        let len = images * pixels * channels;
        let spread = rng.below(2) == 0;
        let left = Input::new(rng, len);
        let right = Input::new(rng, if spread { images * channels } else { len });
        let [a, b] = [0, 1].map(|_| rng.normal() as f32 / 10.0);
        let repeats = if spread { Repeats::Pixels { pixels, channels } } else { Repeats::Never };
        let partner = |at: usize| {
            let image = at / (pixels * channels);
            right.steps[if spread { image * channels + at % channels } else { at }]
        };
        let pairs: Vec<(f32, f32)> = (0..len).map(|at| (left.steps[at], partner(at))).collect();
        let sums: Vec<f32> = pairs.iter().map(|(l, r)| l.mul_add(a, r * b)).collect();
        let products: Vec<f32> = pairs.iter().map(|(l, r)| (l * r) * (a * b)).collect();
        for ending in endings(rng) {
            let pair = |side| Pair {
                left: Operand { values: left.values(side), factor: a },
                right: Operand { values: right.values(side), factor: b },
                repeats,
            };
            compare(&sums, ending, |isa, side, out| pair(side).add(isa, ending, out));
            compare(&products, ending, |isa, side, out| pair(side).multiply(isa, ending, out));
        }
    }
}

#[test]
fn a_plain_sum_keeps_every_bit() {
    let values = [0.0, -0.0, 1e-45, -3.5, f32::MAX, f32::INFINITY];
    let (left, right): (Vec<f32>, Vec<f32>) = values.iter().flat_map(|a| values.map(|b| (*a, b))).unzip();
    let operand = |values| Operand { values: Values::Floats(values), factor: 1.0 };
    let pair = Pair { left: operand(&left), right: operand(&right), repeats: Repeats::Never };
    let ending = Ending::Float { lo: f32::NEG_INFINITY, hi: f32::INFINITY, grid: None };
    for isa in available() {
        let mut out = vec![0.0; left.len()];
        pair.add(isa, ending, Out::Floats(&mut out));
        assert!((0..out.len()).all(|at| out[at].to_bits() == (left[at] + right[at]).to_bits()));
        pair.multiply(isa, ending, Out::Floats(&mut out));
        let products = |at: usize| left[at] * right[at];
        assert!((0..out.len()).all(|at| {
            products(at).is_nan() && out[at].is_nan() || out[at].to_bits() == products(at).to_bits()
        }));
    }
}

#[test]
fn scale_and_shift_per_channel_are_fused_on_every_instruction_set() {
    for step in 0..200 {
        let rng = &mut rng(92, step);
        let (pixels, channels) = (rng.below(6), channels(rng));
        let x = Input::new(rng, pixels * channels);
        let (scale, shift) = (floats(rng, channels), floats(rng, channels));
        let (scales, shifts) = (guarded(&scale), guarded(&shift));
        let value = |at: usize| x.steps[at].mul_add(scale[at % channels], shift[at % channels]);
        let values: Vec<f32> = (0..x.steps.len()).map(value).collect();
        for ending in endings(rng) {
            compare(&values, ending, |isa, side, out| {
                let tail = Tail { scale: &scales[side], shift: &shifts[side], ending };
                scale_shift(isa, x.values(side), &tail, out);
            });
        }
    }
}

#[test]
fn quantizing_divides_clamps_and_rounds_half_to_even() {
    for step in 0..200 {
        let rng = &mut rng(93, step);
        let mut x = floats(rng, rng.clone().below(200));
        let (lo, width) = (rng.below(100) as u8, rng.below(150) as u8);
        let steps =
            Steps { scale: 0.01 + rng.uniform() as f32, zero: rng.below(256) as u8, lo, hi: lo + width };
        let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.5 * steps.scale, 3.5 * steps.scale];
        x.iter_mut().zip(special).for_each(|(x, special)| *x = special);
        let [lo, hi, zero] = [steps.lo, steps.hi, steps.zero].map(f32::from);
        let code = |x: &f32| {
            let steps = x / steps.scale;
            let steps = if steps.is_nan() { lo - zero } else { steps.clamp(lo - zero, hi - zero) };
            (steps.round_ties_even() + zero) as u8
        };
        let expected: Vec<u8> = x.iter().map(code).collect();
        let restored: Vec<f32> =
            expected.iter().map(|code| (f32::from(*code) - zero) * steps.scale).collect();
        let xs = guarded(&x);
        for isa in available() {
            for side in [0, 1] {
                let mut out = Guarded::new(SIDES[side], &vec![7; x.len()]);
                quantize(isa, &xs[side], steps, &mut out);
                assert_eq!(&*out, expected);
                let mut floats = Guarded::new(SIDES[side], &vec![7.5; x.len()]);
                dequantize(isa, &out, (steps.zero, steps.scale), &mut floats);
                assert_eq!(&*floats, restored);
            }
        }
    }
}

#[test]
fn tables_give_any_function_of_a_code() {
    let rng = &mut rng(94, 0);
    let table: [u8; 256] = std::array::from_fn(|_| rng.below(256) as u8);
    let values: [f32; 256] = std::array::from_fn(|_| rng.normal() as f32);
    for len in [0, 1, 15, 16, 63, 64, 65, 128, 200, 1000] {
        let x = codes(rng, len);
        let xs = guarded(&x);
        for side in [0, 1] {
            for isa in available() {
                let mut out = Guarded::new(SIDES[side], &vec![7; len]);
                lookup(isa, &xs[side], &table, &mut out);
                assert!(x.iter().zip(&*out).all(|(x, out)| table[usize::from(*x)] == *out));
            }
            let mut out = Guarded::new(SIDES[side], &vec![7.5; len]);
            lookup_floats(&xs[side], &values, &mut out);
            assert!(x.iter().zip(&*out).all(|(x, out)| values[usize::from(*x)] == *out));
        }
    }
}

#[test]
fn pictures_become_inputs_with_the_channels_inside() {
    for step in 0..60 {
        let rng = &mut rng(95, step);
        let (images, count, channels) = (rng.below(3), rng.below(150), between(rng, 1, 4));
        let tables: Vec<[u8; 256]> =
            (0..channels).map(|_| std::array::from_fn(|_| rng.below(256) as u8)).collect();
        let floats: Vec<[f32; 256]> = tables.iter().map(|table| table.map(|x| f32::from(x) - 0.5)).collect();
        let pictures = codes(rng, images * count * channels);
        let expected: Vec<u8> = (0..pictures.len())
            .map(|at| {
                let (channel, pixel, image) =
                    (at % channels, at / channels % count, at / channels / count.max(1));
                let picture = &pictures[image * count * channels..];
                tables[channel][usize::from(picture[channel * count + pixel])]
            })
            .collect();
        let guards = guarded(&pictures);
        for side in [0, 1] {
            let mut out = Guarded::new(SIDES[side], &vec![7; pictures.len()]);
            pixels(&guards[side], count, Tables::Codes(&tables, &mut out));
            assert_eq!(&*out, expected);
            let mut out = Guarded::new(SIDES[side], &vec![7.5; pictures.len()]);
            pixels(&guards[side], count, Tables::Floats(&floats, &mut out));
            assert!(out.iter().zip(&expected).all(|(out, code)| *out == f32::from(*code) - 0.5));
        }
    }
}
