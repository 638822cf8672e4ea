//! Halves go to the even step from zero, wherever zero's code lies.

use super::*;

const PIXELS: usize = 64;
/// Codes of zero: of the input an even one, of the output both kinds.
const ZERO: u8 = 100;
const ZEROS: [u8; 2] = [120, 121];

/// Half as many steps, as codes around `zero`.
fn halved(codes: &[u8], zero: u8) -> Vec<u8> {
    let half = |code: &u8| (f32::from(*code) - f32::from(ZERO)) / 2.0;
    codes
        .iter()
        .map(|code| (half(code).round_ties_even() + f32::from(zero)).clamp(0.0, 255.0) as u8)
        .collect()
}

/// Stores half of what comes in with a kernel on every instruction set and compares.
fn check(codes: &[u8], channels: usize, kernel: impl Fn(Isa, &Tail<'_>, &mut [u8])) {
    let (scale, shift) = (vec![0.5; channels], vec![0.0; channels]);
    for zero in ZEROS {
        let tail = Tail { scale: &scale, shift: &shift, ending: Ending::Codes { lo: 0, hi: 255, zero } };
        for isa in available() {
            let mut out = vec![7; codes.len()];
            kernel(isa, &tail, &mut out);
            assert_eq!(out, halved(codes, zero), "{isa:?} around {zero}");
        }
    }
}

fn every_code(channels: usize) -> Vec<u8> {
    (0..PIXELS * channels).map(|at| (at * 7) as u8).collect()
}

#[test]
fn convolutions_send_halves_to_the_even_step() {
    for channels in [1, 3, 16, 33, 70] {
        let (x, window) = (every_code(channels), Window::pixelwise([8, PIXELS / 8]));
        let own = |at: usize| at / channels == at % channels;
        let weight: Vec<i8> = (0..channels * channels).map(|at| i8::from(own(at))).collect();
        let shape = ConvShape { window, channels, out_channels: channels, groups: 1 };
        check(&x, channels, |isa, tail, out| {
            IntConv::new(isa, shape, &weight).run(1, &x, ZERO, tail, Out::Codes(out));
        });
        let steps: Vec<f32> = x.iter().map(|code| f32::from(*code) - f32::from(ZERO)).collect();
        let weight: Vec<f32> = weight.iter().map(|weight| f32::from(*weight)).collect();
        check(&x, channels, |isa, tail, out| {
            FloatConv::new(isa, shape, &weight).run(1, &steps, tail, Out::Codes(out));
        });
        check(&x, channels, |isa, tail, out| {
            let conv = IntDepthwise::new(isa, window, channels, &vec![1; channels]);
            conv.run(1, &x, ZERO, tail, Out::Codes(out));
        });
    }
}

#[test]
fn functions_of_pixels_send_halves_to_the_even_step() {
    for channels in [1, 3, 16, 33, 70] {
        let x = every_code(channels);
        let values = Values::Codes { codes: &x, zero: ZERO };
        check(&x, channels, |isa, tail, out| scale_shift(isa, values, tail, Out::Codes(out)));
        check(&x, channels, |isa, tail, out| {
            let pool = Pool { isa, window: Window::pixelwise([8, PIXELS / 8]), channels };
            pool.average(1, values, &Mean { reciprocals: None, tail }, Out::Codes(out));
        });
        let nothing = vec![ZERO; x.len()];
        let operand = |codes, factor| Operand { values: Values::Codes { codes, zero: ZERO }, factor };
        check(&x, channels, |isa, tail, out| {
            let (left, right) = (operand(&x, 0.5), operand(&nothing, 0.5));
            Pair { left, right, repeats: Repeats::Never }.add(isa, tail.ending, Out::Codes(out));
        });
        let ones = vec![ZERO + 1; x.len()];
        check(&x, channels, |isa, tail, out| {
            let (left, right) = (operand(&x, 0.5), operand(&ones, 1.0));
            Pair { left, right, repeats: Repeats::Never }.multiply(isa, tail.ending, Out::Codes(out));
        });
        let steps: Vec<f32> = x.iter().map(|code| f32::from(*code) - f32::from(ZERO)).collect();
        check(&x, channels, |isa, tail, out| {
            let Ending::Codes { lo, hi, zero } = tail.ending else { unreachable!("codes are asked for") };
            quantize(isa, &steps, Steps { scale: 2.0, zero, lo, hi }, out);
        });
    }
}
