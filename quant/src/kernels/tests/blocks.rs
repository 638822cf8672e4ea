//! Kernels that compute outputs in blocks against those that do not: the same bytes.

use super::super::conv::Geometry;
use super::super::pool::Windows;
use super::super::{depthwise, phases};
use super::*;

fn bits(values: &[f32]) -> Vec<u32> {
    // Which of several NaN is shown does not matter.
    values.iter().map(|value| if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() }).collect()
}

fn random_values(shape: &[usize], rng: &mut Rng) -> Vec<f32> {
    (0..shape.iter().product()).map(|_| rng.normal() as f32).collect()
}

fn check_depthwise(conv: &Conv2d, shape: [usize; 4], rng: &mut Rng) {
    let [n, channels, height, width] = shape;
    let [kh, kw] = conv.kernel;
    let geometry = Geometry::new((n, channels, height, width), (channels, 1, kh, kw), conv).unwrap();
    let (x, weight) = (random_values(&shape, rng), random_values(&[channels, kh, kw], rng));
    let tail = tail(&[0; 3].map(|_| random(&[channels], rng)), 6.0);

    let by_blocks = depthwise::forward_by_blocks(&x, &weight, &geometry, &tail);
    let by_taps = depthwise::forward_by_taps(&x, &weight, &geometry, &tail);

    assert_eq!(bits(&by_blocks), bits(&by_taps), "{conv:?} on {shape:?}");
}

#[test]
fn depthwise_blocks_of_any_geometry_give_the_bytes_of_taps() {
    let mut rng = rng(20, 0);
    for _ in 0..300 {
        let channels = 1 + rng.below(4);
        let (conv, x, _) = random_conv(channels, [1, 1], &mut rng);
        check_depthwise(&conv, [2, channels, x[2], x[3]], &mut rng);
    }
}

#[test]
fn depthwise_blocks_around_their_width_give_the_bytes_of_taps() {
    let mut rng = rng(21, 0);
    for kernel in [3, 5] {
        for stride in [1, 2] {
            for width in (1..12).chain(phases::BLOCK - 3..phases::BLOCK + 4).chain([63, 64, 65, 230]) {
                let conv = Conv2d {
                    out_channels: 2,
                    kernel: [kernel; 2],
                    stride: [stride; 2],
                    padding: Padding {
                        top: kernel / 2,
                        left: kernel / 2,
                        bottom: kernel / 2,
                        right: kernel - 1,
                    },
                    dilation: [1, 1],
                    groups: 2,
                    bias: false,
                };
                check_depthwise(&conv, [1, 2, 1 + rng.below(40), width], &mut rng);
            }
        }
    }
}

#[test]
fn depthwise_blocks_give_the_same_bytes_in_any_number_of_threads() {
    let (conv, _, _) = random_conv(7, [1, 1], &mut rng(22, 0));
    let (x, w) = (random(&[5, 7, 19, 23], &mut rng(22, 1)), random(&[7, 1, 3, 3], &mut rng(22, 2)));
    let conv = Conv2d { kernel: [3, 3], dilation: [1, 1], ..conv };
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        values(&pool.install(|| conv2d(&x, &w, &conv)).unwrap())
            .into_iter()
            .map(f64::to_bits)
            .collect::<Vec<_>>()
    };

    let one = with(1);
    assert_eq!(one, with(2));
    assert_eq!(one, with(3));
}

#[test]
fn pooling_blocks_give_the_bytes_of_windows_with_nan_and_zeros_among_them() {
    let mut rng = rng(23, 0);
    let odd = [f32::NAN, 0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY];
    for _ in 0..300 {
        let kernel = [1 + rng.below(4), 1 + rng.below(4)];
        let mut zeros = |axis: usize| rng.below(kernel[axis]);
        let padding = Padding { top: zeros(0), left: zeros(1), bottom: zeros(0), right: zeros(1) };
        let stride = [1 + rng.below(4), 1 + rng.below(4)];
        let pool = Pool { kernel, stride, padding, count_padding: false };
        let shape = [2, 1 + rng.below(3), kernel[0] + rng.below(20), kernel[1] + rng.below(70)];
        let mut x = random_values(&shape, &mut rng);
        for value in &mut x {
            if rng.below(8) == 0 {
                *value = odd[rng.below(odd.len())];
            }
        }
        let windows = Windows::new(&Tensor::from_slice(&x, &shape, &Device::Cpu).unwrap(), &pool).unwrap();

        let (by_blocks, by_windows) = (windows.largest_by_blocks(&x), windows.largest_by_windows(&x));

        assert_eq!(bits(&by_blocks), bits(&by_windows), "{pool:?} on {shape:?}");
    }
}
