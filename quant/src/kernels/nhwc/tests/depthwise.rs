use super::*;

struct Case {
    window: Window,
    channels: usize,
    images: usize,
}

impl Case {
    fn new(rng: &mut Rng) -> Self {
        Self { window: window(rng), channels: channels(rng), images: rng.below(3) }
    }

    /// `fma(sum, scale, shift)` in the order of the output.
    fn values(&self, tail: &Tail<'_>, sum: impl Fn(&[(usize, usize)], usize) -> f32) -> Vec<f32> {
        let mut values = Vec::new();
        for image in 0..self.images {
            for position in 0..self.window.positions() {
                let mut sources = sources(&self.window, position);
                sources.iter_mut().for_each(|(_, pixel)| *pixel += image * self.window.pixels());
                for channel in 0..self.channels {
                    let sum = sum(&sources, channel);
                    values.push(sum.mul_add(tail.scale[channel], tail.shift[channel]));
                }
            }
        }
        values
    }
}

#[test]
fn float_depthwise_is_its_definition_on_every_instruction_set() {
    for step in 0..400 {
        let rng = &mut rng(71, step);
        let case = Case::new(rng);
        let Case { window, channels, images } = case;
        let x = floats(rng, images * window.pixels() * channels);
        let weight = floats(rng, window.taps() * channels);
        let (scale, shift) = (floats(rng, channels), floats(rng, channels));
        let kernels: Vec<_> =
            available().map(|isa| FloatDepthwise::new(isa, window, channels, &weight)).collect();
        let (xs, scales, shifts) = (guarded(&x), guarded(&scale), guarded(&shift));
        for ending in endings(rng) {
            let tail = Tail { scale: &scale, shift: &shift, ending };
            let values = case.values(&tail, |sources, channel| {
                sources.iter().fold(0.0, |sum, (tap, pixel)| {
                    x[pixel * channels + channel].mul_add(weight[channel * window.taps() + tap], sum)
                })
            });
            compare(&values, ending, |isa, side, out| {
                let tail = Tail { scale: &scales[side], shift: &shifts[side], ending };
                kernels[isa as usize].run(images, &xs[side], &tail, out);
            });
        }
    }
}

#[test]
fn int_depthwise_is_its_definition_on_every_instruction_set() {
    for step in 0..400 {
        let rng = &mut rng(72, step);
        let mut case = Case::new(rng);
        if step % 40 == 0 {
            // So many large products that f32 could not hold their sum.
            case.window = Window { before: [24; 2], kernel: [30; 2], ..Window::pixelwise([33, 35]) };
            (case.window.out_size, case.channels) = ([3, 4], 5);
        }
        let Case { window, channels, images } = case;
        let (x, zero) = (codes(rng, images * window.pixels() * channels), rng.below(256) as u8);
        let weight: Vec<i8> = codes(rng, window.taps() * channels).into_iter().map(|w| w as i8).collect();
        let scale: Vec<f32> = floats(rng, channels).iter().map(|x| x / 500.0).collect();
        let shift: Vec<f32> = floats(rng, channels).iter().map(|x| x * 20.0).collect();
        let kernels: Vec<_> =
            available().map(|isa| IntDepthwise::new(isa, window, channels, &weight)).collect();
        let (xs, scales, shifts) = (guarded(&x), guarded(&scale), guarded(&shift));
        for ending in endings(rng) {
            let tail = Tail { scale: &scale, shift: &shift, ending };
            let values = case.values(&tail, |sources, channel| {
                let product = |(tap, pixel): &(usize, usize)| {
                    let w = i32::from(weight[channel * window.taps() + tap]);
                    (i32::from(x[pixel * channels + channel]) - i32::from(zero)) * w
                };
                sources.iter().map(product).sum::<i32>() as f32
            });
            compare(&values, ending, |isa, side, out| {
                let tail = Tail { scale: &scales[side], shift: &shifts[side], ending };
                kernels[isa as usize].run(images, &xs[side], zero, &tail, out);
            });
        }
    }
}

#[test]
fn huge_and_undefined_sums_become_the_ends_of_the_codes() {
    let (window, channels) = (Window { kernel: [3; 2], before: [1; 2], ..Window::pixelwise([5, 9]) }, 70);
    let weight: Vec<i8> = (0..9 * channels).map(|at| if at % 2 == 0 { 127 } else { -128 }).collect();
    let x = vec![255; window.pixels() * channels];
    for (scale, shift) in
        [(1e30, 0.0), (-1e30, 3.0), (0.0, f32::NAN), (1.0, 1e15), (1.0, -1e15), (f32::INFINITY, 0.0)]
    {
        let (scale, shift) = (vec![scale; channels], vec![shift; channels]);
        let ending = Ending::Codes { lo: 3, hi: 250, zero: 31 };
        let tail = Tail { scale: &scale, shift: &shift, ending };
        let stored = available().map(|isa| {
            let mut out = vec![0; x.len()];
            IntDepthwise::new(isa, window, channels, &weight).run(1, &x, 128, &tail, Out::Codes(&mut out));
            out
        });
        let stored: Vec<_> = stored.collect();
        assert!(stored.iter().all(|out| *out == stored[0]));
        assert!(stored[0].iter().all(|code| (3..=250).contains(code)));
        assert!(!shift[0].is_nan() || stored[0].iter().all(|code| *code == 3));
    }
}

#[test]
fn images_of_no_size_and_no_channels_give_nothing() {
    for (size, channels) in [([0, 5], 16), ([5, 0], 16), ([5, 5], 0), ([0, 0], 0)] {
        let window = Window { kernel: [3; 2], before: [0; 2], out_size: [0; 2], ..Window::pixelwise(size) };
        let (scale, ending) = (vec![1.0; channels], Ending::Codes { lo: 0, hi: 255, zero: 0 });
        let tail = Tail { scale: &scale, shift: &scale, ending };
        for isa in available() {
            let weight = vec![1; 9 * channels];
            IntDepthwise::new(isa, window, channels, &weight).run(2, &[], 0, &tail, Out::Codes(&mut []));
        }
    }
}
