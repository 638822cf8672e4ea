use super::*;

/// A larger value wins over the one before, a NaN over everything.
fn largest(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(f32::NEG_INFINITY, |best, x| if best.is_nan() || x.is_nan() { f32::NAN } else { best.max(x) })
}

#[test]
fn max_pooling_is_its_definition_on_every_instruction_set() {
    for step in 0..300 {
        let rng = &mut rng(81, step);
        let (window, channels, images) = (window(rng), channels(rng), rng.below(3));
        let mut x = floats(rng, images * window.pixels() * channels);
        x.iter_mut().filter(|_| rng.below(50) == 0).for_each(|x| *x = f32::NAN);
        let bytes = codes(rng, x.len());
        let (mut best, mut best_codes) = (Vec::new(), Vec::new());
        for image in 0..images {
            for position in 0..window.positions() {
                let sources = sources(&window, position);
                for channel in 0..channels {
                    let place =
                        |(_, pixel): &(usize, usize)| (image * window.pixels() + pixel) * channels + channel;
                    best.push(largest(sources.iter().map(|source| x[place(source)])));
                    best_codes.push(sources.iter().map(|source| bytes[place(source)]).max().unwrap_or(0));
                }
            }
        }
        let (xs, bytes) = (guarded(&x), guarded(&bytes));
        for isa in available() {
            let pool = Pool { isa, window, channels };
            for side in [0, 1] {
                let mut out = Guarded::new(SIDES[side], &vec![7.5; best.len()]);
                pool.max(images, &xs[side], &mut out);
                assert_same(&out, &best, "values");
                let mut out = Guarded::new(SIDES[side], &vec![7; best.len()]);
                pool.max_codes(images, &bytes[side], &mut out);
                assert_eq!(&*out, best_codes);
            }
        }
    }
}

#[test]
fn average_pooling_is_its_definition_on_every_instruction_set() {
    for step in 0..300 {
        let rng = &mut rng(82, step);
        let (window, channels, images) = (window(rng), channels(rng), rng.below(3));
        let is_codes = rng.below(2) == 0;
        let (bytes, zero) = (codes(rng, images * window.pixels() * channels), rng.below(256) as u8);
        let x: Vec<f32> = if is_codes {
            bytes.iter().map(|code| f32::from(*code) - f32::from(zero)).collect()
        } else {
            floats(rng, bytes.len())
        };
        let (scale, shift) = (floats(rng, channels), floats(rng, channels));
        let reciprocals = (rng.below(2) == 0).then(|| floats(rng, window.positions()));
        let mut values = Vec::new();
        for image in 0..images {
            for position in 0..window.positions() {
                let sources = sources(&window, position);
                for channel in 0..channels {
                    let add = |sum, (_, pixel): &(usize, usize)| {
                        sum + x[(image * window.pixels() + pixel) * channels + channel]
                    };
                    let sum: f32 = sources.iter().fold(0.0, add);
                    let sum = reciprocals.as_ref().map_or(sum, |values| sum * values[position]);
                    values.push(sum.mul_add(scale[channel], shift[channel]));
                }
            }
        }
        let (xs, bytes) = (guarded(&x), guarded(&bytes));
        for ending in endings(rng) {
            let tail = Tail { scale: &scale, shift: &shift, ending };
            let mean = Mean { reciprocals: reciprocals.as_deref(), tail: &tail };
            compare(&values, ending, |isa, side, out| {
                let codes = Values::Codes { codes: &bytes[side], zero };
                let x = if is_codes { codes } else { Values::Floats(&xs[side]) };
                Pool { isa, window, channels }.average(images, x, &mean, out);
            });
        }
    }
}

#[test]
fn a_mean_over_a_huge_image_of_codes_is_exact() {
    let size = [300, 257];
    let window = Window { kernel: size, out_size: [1, 1], ..Window::pixelwise(size) };
    let mut x = vec![255; 2 * window.pixels()];
    x[1] = 254;
    let ending = Ending::Float { lo: f32::NEG_INFINITY, hi: f32::INFINITY, grid: None };
    let tail = Tail { scale: &[1.0; 2], shift: &[0.0; 2], ending };
    for isa in available() {
        let mut out = [0.0; 2];
        let codes = Values::Codes { codes: &x, zero: 0 };
        let mean = Mean { reciprocals: None, tail: &tail };
        Pool { isa, window, channels: 2 }.average(1, codes, &mean, Out::Floats(&mut out));
        assert_eq!(out, [(255 * window.pixels()) as f32, (255 * window.pixels() - 1) as f32]);
    }
}
