//! Every kernel against a scalar reference on random shapes, and the same bytes from any number of threads.

use bitloop_core::graph::{Conv2d, Padding, Pool};
use candle_core::{Device, Result, Tensor, Var};

use crate::rng::{Rng, rng};

use super::*;

mod blocks;

/// Sums of a few hundred products of numbers around 1, taken in another order.
const TOLERANCE: f64 = 2e-4;

fn random(shape: &[usize], rng: &mut Rng) -> Tensor {
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f64> {
    let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values.into_iter().map(f64::from).collect()
}

fn assert_close(found: &Tensor, expected: &[f64], what: &str) {
    let found = values(found);
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= TOLERANCE * (1.0 + e.abs()), "{what}[{index}]: {f} is not {e}");
    }
}

/// Output and gradients of `sum(operator(inputs) * r)`, with `r` of the output's shape.
fn with_gradients(
    inputs: &[&Tensor],
    r: impl FnOnce(&[usize]) -> Tensor,
    operator: impl Fn(&[&Tensor]) -> Result<Tensor>,
) -> (Tensor, Vec<Tensor>, Tensor) {
    let variables: Vec<Var> = inputs.iter().map(|input| Var::from_tensor(input).unwrap()).collect();
    let y = operator(&variables.iter().map(Var::as_tensor).collect::<Vec<_>>()).unwrap();
    let r = r(y.dims());
    let gradients = (&y * &r).unwrap().sum_all().unwrap().backward().unwrap();
    let gradients = variables.iter().map(|variable| gradients.get(variable).unwrap().clone());
    (y, gradients.collect(), r)
}

struct Reference {
    y: Vec<f64>,
    dx: Vec<f64>,
    dw: Vec<f64>,
}

/// The definition, one product at a time; `r` is the gradient of the output.
fn naive_conv(x: &Tensor, w: &Tensor, conv: &Conv2d, r: &Tensor) -> Reference {
    let (n, channels, height, width) = x.dims4().unwrap();
    let (_, _, out_height, out_width) = r.dims4().unwrap();
    let (x, w, r) = (values(x), values(w), values(r));
    let per_group = channels / conv.groups;
    let [kh, kw] = conv.kernel;
    let mut reference = Reference { y: vec![0.0; r.len()], dx: vec![0.0; x.len()], dw: vec![0.0; w.len()] };
    for (index, gradient) in r.iter().enumerate() {
        let (image, out) =
            (index / (conv.out_channels * out_height * out_width), index / (out_height * out_width));
        let out = out % conv.out_channels;
        let (oy, ox) = (index / out_width % out_height, index % out_width);
        let group = out / (conv.out_channels / conv.groups);
        for tap in 0..per_group * kh * kw {
            let (c, ky, kx) = (tap / (kh * kw), tap / kw % kh, tap % kw);
            let iy = (oy * conv.stride[0] + ky * conv.dilation[0]).wrapping_sub(conv.padding.top);
            let ix = (ox * conv.stride[1] + kx * conv.dilation[1]).wrapping_sub(conv.padding.left);
            if iy >= height || ix >= width {
                continue;
            }
            let pixel = ((image * channels + group * per_group + c) * height + iy) * width + ix;
            let weight = out * per_group * kh * kw + tap;
            reference.y[index] += x[pixel] * w[weight];
            reference.dx[pixel] += gradient * w[weight];
            reference.dw[weight] += gradient * x[pixel];
        }
    }
    assert!(n > 0);
    reference
}

fn random_conv(groups: usize, per_group: [usize; 2], rng: &mut Rng) -> (Conv2d, Vec<usize>, Vec<usize>) {
    let kernel = [1 + rng.below(4), 1 + rng.below(4)];
    let mut zeros = || rng.below(3);
    let padding = Padding { top: zeros(), left: zeros(), bottom: zeros(), right: zeros() };
    let stride = [1 + rng.below(3), 1 + rng.below(3)];
    let dilation = [1 + rng.below(2), 1 + rng.below(3)];
    let size = [0, 1].map(|axis| (kernel[axis] - 1) * dilation[axis] + 1 + rng.below(6));
    let out_channels = groups * per_group[1];
    let conv = Conv2d { out_channels, kernel, stride, padding, dilation, groups, bias: false };
    let x = vec![1 + rng.below(20), groups * per_group[0], size[0], size[1]];
    let w = vec![conv.out_channels, per_group[0], kernel[0], kernel[1]];
    (conv, x, w)
}

fn check_conv(conv: &Conv2d, x: &[usize], w: &[usize], rng: &mut Rng) {
    let what = format!("{conv:?} on {x:?}");
    let (x, w) = (random(x, rng), random(w, rng));

    let (y, gradients, r) =
        with_gradients(&[&x, &w], |shape| random(shape, rng), |t| conv2d(t[0], t[1], conv));

    let reference = naive_conv(&x, &w, conv, &r);
    assert_close(&y, &reference.y, &what);
    assert_close(&gradients[0], &reference.dx, &format!("dx of {what}"));
    assert_close(&gradients[1], &reference.dw, &format!("dw of {what}"));
}

#[test]
fn dense_and_grouped_convolutions_equal_their_definition() {
    let mut rng = rng(1, 0);
    for _ in 0..40 {
        let groups = [1, 1, 2, 3][rng.below(4)];
        let per_group = [1 + rng.below(5), 1 + rng.below(6)];
        let (conv, x, w) = random_conv(groups, per_group, &mut rng);
        check_conv(&conv, &x, &w, &mut rng);
    }
}

#[test]
fn depthwise_convolutions_equal_their_definition() {
    let mut rng = rng(2, 0);
    for _ in 0..40 {
        let channels = 1 + rng.below(5);
        let (conv, x, w) = random_conv(channels, [1, 1], &mut rng);
        check_conv(&conv, &x, &w, &mut rng);
    }
}

#[test]
fn depthwise_lines_longer_than_the_lanes_equal_their_definition() {
    let conv = Conv2d {
        out_channels: 3,
        kernel: [3, 3],
        stride: [1, 1],
        padding: Padding::all(1),
        dilation: [1, 1],
        groups: 3,
        bias: false,
    };
    check_conv(&conv, &[2, 3, 4, 37], &[3, 1, 3, 3], &mut rng(3, 0));
}

#[test]
fn pointwise_and_single_pixel_convolutions_equal_their_definition() {
    let mut rng = rng(4, 0);
    let pointwise = |stride, padding| Conv2d {
        out_channels: 7,
        kernel: [1, 1],
        stride: [stride; 2],
        padding: Padding::all(padding),
        dilation: [1, 1],
        groups: 1,
        bias: false,
    };
    check_conv(&pointwise(1, 0), &[3, 5, 6, 4], &[7, 5, 1, 1], &mut rng);
    check_conv(&pointwise(2, 0), &[3, 5, 6, 5], &[7, 5, 1, 1], &mut rng);
    check_conv(&pointwise(1, 1), &[3, 5, 2, 2], &[7, 5, 1, 1], &mut rng);
    check_conv(&pointwise(1, 0), &[1, 1, 1, 1], &[7, 1, 1, 1], &mut rng);
    let wide = Conv2d { kernel: [3, 3], padding: Padding::all(1), ..pointwise(1, 0) };
    check_conv(&wide, &[40, 2, 1, 1], &[7, 2, 3, 3], &mut rng);
}

#[test]
fn a_constant_input_gets_no_gradient_but_its_weight_does() {
    let mut rng = rng(5, 0);
    let conv = Conv2d {
        out_channels: 2,
        kernel: [3, 3],
        stride: [1, 1],
        padding: Padding::all(1),
        dilation: [1, 1],
        groups: 1,
        bias: false,
    };
    let x = random(&[2, 1, 5, 5], &mut rng);
    let w = Var::from_tensor(&random(&[2, 1, 3, 3], &mut rng)).unwrap();

    let gradients = conv2d(&x, &w, &conv).unwrap().sum_all().unwrap().backward().unwrap();

    assert!(gradients.get(&x).is_none());
    assert!(gradients.get(&w).is_some());
}

#[test]
fn a_misfit_is_refused_not_computed() {
    let mut rng = rng(6, 0);
    let conv = Conv2d {
        out_channels: 2,
        kernel: [3, 3],
        stride: [1, 1],
        padding: Padding::default(),
        dilation: [1, 1],
        groups: 1,
        bias: false,
    };
    let w = random(&[2, 3, 3, 3], &mut rng);

    assert!(conv2d(&random(&[1, 2, 5, 5], &mut rng), &w, &conv).is_err());
    assert!(conv2d(&random(&[1, 3, 2, 5], &mut rng), &w, &conv).is_err());
    assert!(linear(&random(&[1, 3], &mut rng), &random(&[2, 4], &mut rng)).is_err());
}

#[test]
fn a_linear_layer_equals_its_definition() {
    let mut rng = rng(7, 0);
    for (n, inputs, outputs) in [(1, 1, 1), (5, 3, 2), (33, 70, 65), (64, 9, 100)] {
        let (x, w) = (random(&[n, inputs], &mut rng), random(&[outputs, inputs], &mut rng));

        let (y, gradients, r) =
            with_gradients(&[&x, &w], |shape| random(shape, &mut rng), |t| linear(t[0], t[1]));

        assert_close(&y, &values(&x.matmul(&w.t().unwrap()).unwrap()), "y");
        assert_close(&gradients[0], &values(&r.matmul(&w).unwrap()), "dx");
        assert_close(&gradients[1], &values(&r.t().unwrap().matmul(&x).unwrap()), "dw");
    }
}

/// Output and gradient of both poolings by their definition: `(max, dmax, average, daverage)`.
fn naive_pool(x: &Tensor, pool: &Pool, r: &Tensor) -> [Vec<f64>; 4] {
    let (_, _, height, width) = x.dims4().unwrap();
    let (_, _, out_height, out_width) = r.dims4().unwrap();
    let (x, r) = (values(x), values(r));
    let mut result = [vec![0.0; r.len()], vec![0.0; x.len()], vec![0.0; r.len()], vec![0.0; x.len()]];
    for index in 0..r.len() {
        let plane = index / (out_height * out_width);
        let (oy, ox) = (index / out_width % out_height, index % out_width);
        let mut window = Vec::new();
        for ky in 0..pool.kernel[0] {
            for kx in 0..pool.kernel[1] {
                let iy = (oy * pool.stride[0] + ky).wrapping_sub(pool.padding.top);
                let ix = (ox * pool.stride[1] + kx).wrapping_sub(pool.padding.left);
                if iy < height && ix < width {
                    window.push((plane * height + iy) * width + ix);
                }
            }
        }
        let largest = *window.iter().max_by(|a, b| x[**a].total_cmp(&x[**b])).unwrap();
        result[0][index] = x[largest];
        result[1][largest] += r[index];
        let counted = if pool.count_padding { pool.kernel[0] * pool.kernel[1] } else { window.len() } as f64;
        result[2][index] = window.iter().map(|pixel| x[*pixel]).sum::<f64>() / counted;
        for pixel in &window {
            result[3][*pixel] += r[index] / counted;
        }
    }
    result
}

#[test]
fn poolings_equal_their_definition() {
    let mut rng = rng(8, 0);
    for _ in 0..40 {
        let kernel = [1 + rng.below(4), 1 + rng.below(4)];
        let mut zeros = |axis: usize| rng.below(kernel[axis]);
        let padding = Padding { top: zeros(0), left: zeros(1), bottom: zeros(0), right: zeros(1) };
        let stride = [1 + rng.below(4), 1 + rng.below(4)];
        let pool = Pool { kernel, stride, padding, count_padding: rng.below(2) == 1 };
        let shape = [1 + rng.below(3), 1 + rng.below(3), kernel[0] + rng.below(6), kernel[1] + rng.below(6)];
        let x = random(&shape, &mut rng);

        let (y, gradients, r) =
            with_gradients(&[&x], |shape| random(shape, &mut rng), |t| max_pool(t[0], &pool));
        let (mean, mean_gradients, _) = with_gradients(&[&x], |_| r.clone(), |t| average_pool(t[0], &pool));

        let [max, dmax, average, daverage] = naive_pool(&x, &pool, &r);
        assert_close(&y, &max, &format!("max of {pool:?}"));
        assert_close(&gradients[0], &dmax, &format!("gradient of max of {pool:?}"));
        assert_close(&mean, &average, &format!("mean of {pool:?}"));
        assert_close(&mean_gradients[0], &daverage, &format!("gradient of mean of {pool:?}"));
    }
}

#[test]
fn a_maximum_shows_a_nan() {
    let pool = Pool { kernel: [1, 3], stride: [1, 1], padding: Padding::default(), count_padding: false };
    let x = Tensor::new(&[[[[5.0f32, f32::NAN, 7.0]]]], &Device::Cpu).unwrap();

    assert!(values(&max_pool(&x, &pool).unwrap())[0].is_nan());
}

#[test]
fn rectifiers_cut_values_and_gradients() {
    let x = Tensor::new(&[-1.0f32, 0.0, 2.0, 6.0, 9.0], &Device::Cpu).unwrap();
    let ones = |shape: &[usize]| Tensor::ones(shape, candle_core::DType::F32, &Device::Cpu).unwrap();

    let (y, gradients, _) = with_gradients(&[&x], ones, |t| relu(t[0], f32::INFINITY));
    let (y6, gradients6, _) = with_gradients(&[&x], ones, |t| relu(t[0], 6.0));

    assert_eq!(values(&y), [0.0, 0.0, 2.0, 6.0, 9.0]);
    assert_eq!(values(&gradients[0]), [0.0, 0.0, 1.0, 1.0, 1.0]);
    assert_eq!(values(&y6), [0.0, 0.0, 2.0, 6.0, 6.0]);
    assert_eq!(values(&gradients6[0]), [0.0, 0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let conv = |groups: usize, out_channels: usize| Conv2d {
        out_channels,
        kernel: [3, 3],
        stride: [2, 1],
        padding: Padding::all(1),
        dilation: [1, 1],
        groups,
        bias: false,
    };
    let network = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut rng = rng(10, 0);
            let shapes: [&[usize]; 4] = [&[37, 4, 9, 9], &[6, 4, 3, 3], &[6, 1, 3, 3], &[70, 6 * 3 * 9]];
            let inputs: Vec<Tensor> = shapes.iter().map(|shape| random(shape, &mut rng)).collect();
            let (y, mut gradients, _) = with_gradients(
                &inputs.iter().collect::<Vec<_>>(),
                |shape| random(shape, &mut rng),
                |t| {
                    let x = conv2d(t[0], t[1], &conv(1, 6))?;
                    let x = relu(&x, 6.0)?;
                    linear(&conv2d(&x, t[2], &conv(6, 6))?.flatten_from(1)?, t[3])
                },
            );
            gradients.push(y);
            gradients
                .iter()
                .flat_map(|tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap())
                .map(f32::to_bits)
                .collect::<Vec<u32>>()
        })
    };

    let one = network(1);
    assert_eq!(one, network(2));
    assert_eq!(one, network(3));
}

/// The definition of a tail behind `y`, in f64.
fn naive_tail(y: &Tensor, [bias, scale, shift]: &[Tensor; 3], upper: f64) -> Vec<f64> {
    let channels = bias.elem_count();
    let plane = y.elem_count() / (y.dims()[0] * channels);
    let (bias, scale, shift) = (values(bias), values(scale), values(shift));
    let along = values(y).into_iter().enumerate();
    let value = |(index, y): (usize, f64)| {
        let channel = index / plane % channels;
        ((y + bias[channel]) * scale[channel] + shift[channel]).clamp(0.0, upper)
    };
    along.map(value).collect()
}

fn tail(parts: &[Tensor; 3], upper: f32) -> Tail {
    let [bias, scale, shift] = parts;
    let tail = Tail::identity(bias.elem_count()).with_bias(bias).unwrap();
    tail.with_scale_and_shift(scale, shift).unwrap().with_rectifier(upper)
}

#[test]
fn tails_equal_their_definition_behind_every_kernel() {
    let mut rng = rng(11, 0);
    for round in 0..40 {
        let (groups, per_group) = ([1, 2, 3][round % 3], [1 + rng.below(3), 1 + rng.below(4)]);
        let per_group = if round % 5 == 0 { [1, 1] } else { per_group };
        let (conv, x, w) = random_conv(groups, per_group, &mut rng);
        let (x, w) = (random(&x, &mut rng), random(&w, &mut rng));
        let parts = [0; 3].map(|_| random(&[conv.out_channels], &mut rng));
        let upper = if round % 2 == 0 { 0.5 } else { f32::INFINITY };

        let plain = conv2d(&x, &w, &conv).unwrap();
        let expected = naive_tail(&plain, &parts, upper.into());
        let found = conv2d_then(&x, &w, &conv, tail(&parts, upper)).unwrap();
        assert_close(&found, &expected, "a tail behind a convolution");
        let found = apply_tail(&plain, &tail(&parts, upper)).unwrap();
        assert_close(&found, &expected, "a tail alone");

        let other = random(plain.dims(), &mut rng);
        let expected = naive_tail(&(&plain + &other).unwrap(), &parts, upper.into());
        let found = add(&plain, &other, &tail(&parts, upper)).unwrap();
        assert_close(&found, &expected, "a tail behind a sum");

        let (x, w) = (random(&[round + 1, 5], &mut rng), random(&[conv.out_channels, 5], &mut rng));
        let expected = naive_tail(&linear(&x, &w).unwrap(), &parts, upper.into());
        let found = linear_then(&x, &w, tail(&parts, upper)).unwrap();
        assert_close(&found, &expected, "a tail behind a linear layer");
    }
}

#[test]
fn an_empty_tail_changes_no_bit_and_nan_stays() {
    let x = Tensor::new(&[[[0.0f32, -0.0, f32::NAN, f32::INFINITY, -1e-45]]], &Device::Cpu).unwrap();
    let bits = |x: &Tensor| values(x).into_iter().map(f64::to_bits).collect::<Vec<_>>();
    let minus_zeros = Tensor::new(&[[[-0.0f32; 5]]], &Device::Cpu).unwrap();

    let found = apply_tail(&x, &Tail::identity(1).with_rectifier(6.0)).unwrap();

    assert_eq!(bits(&apply_tail(&x, &Tail::identity(1)).unwrap()), bits(&x));
    assert_eq!(bits(&add(&x, &minus_zeros, &Tail::identity(1)).unwrap()), bits(&x));
    let found = values(&found);
    assert_eq!((found[0], found[3], found[4]), (0.0, 6.0, 0.0));
    assert!(found[1].is_sign_negative() && found[2].is_nan());
}

#[test]
fn tails_that_do_not_fit_are_refused() {
    let x = random(&[1, 3, 2, 2], &mut rng(12, 0));

    assert!(apply_tail(&x, &Tail::identity(2)).is_err());
    assert!(add(&x, &x.narrow(3, 0, 1).unwrap(), &Tail::identity(3)).is_err());
    assert!(
        Tail::identity(2)
            .with_bias(&Tensor::zeros(3, candle_core::DType::F32, &Device::Cpu).unwrap())
            .is_err()
    );
}

#[test]
fn tails_give_the_same_bytes_in_any_number_of_threads() {
    let mut rng = rng(13, 0);
    let conv = Conv2d {
        out_channels: 5,
        kernel: [3, 3],
        stride: [2, 2],
        padding: Padding { top: 0, left: 1, bottom: 1, right: 0 },
        dilation: [1, 1],
        groups: 1,
        bias: false,
    };
    let (x, w) = (random(&[37, 4, 7, 9], &mut rng), random(&[5, 4, 3, 3], &mut rng));
    let parts = [0; 3].map(|_| random(&[5], &mut rng));
    let network = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let y = conv2d_then(&x, &w, &conv, tail(&parts, 6.0)).unwrap();
            let y = add(&y, &apply_tail(&y, &tail(&parts, 6.0)).unwrap(), &tail(&parts, 6.0)).unwrap();
            values(&y).into_iter().map(f64::to_bits).collect::<Vec<_>>()
        })
    };

    let one = network(1);
    assert_eq!(one, network(2));
    assert_eq!(one, network(3));
}
