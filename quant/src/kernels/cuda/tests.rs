//! The very text of the kernels, compiled by the C compiler and run thread after thread, against our CPU kernels; and
//! what the host computes for them. No GPU takes part.

use std::io::Write;
use std::process::{Command, Stdio};

use bitloop_core::graph::{Conv2d, Padding};
use candle_core::{Device, Tensor};
use tempfile::TempDir;

mod qkeras;

use super::depthwise::Depthwise;
use super::*;
use crate::kernels::conv::Geometry;
use crate::rng::{Rng, rng};

/// Sums of a dozen products of numbers around 1, each rounded once here and twice there.
const TOLERANCE: f32 = 1e-5;

/// Kernels as a program for this CPU, in a folder that lasts as long.
struct Emulation {
    folder: TempDir,
}

impl Emulation {
    fn build() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = include_str!("emulation.c");
        for (name, text) in [
            ("depthwise.cu", DEPTHWISE_SOURCE),
            ("qkeras.cu", QKERAS_SOURCE),
            ("quantize.cu", QUANTIZE_SOURCE),
            ("emulation.c", source),
        ] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let built = Self { folder };
        // Accesses outside of the tensors end the program, where the compiler has the libraries for that.
        if !built.compile(&["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]) {
            eprintln!("built without sanitizers, which this C compiler lacks");
            assert!(built.compile(&[]), "the kernels are plain C");
        }
        built
    }

    fn compile(&self, extra: &[&str]) -> bool {
        let arguments = ["-std=c99", "-O1", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"];
        let mut compiler = Command::new("cc");
        compiler.args(arguments).args(extra).args(["emulation.c", "-o", "emulation", "-lm"]);
        let done = compiler.current_dir(self.folder.path()).output().expect("a C compiler is there");
        if extra.is_empty() && !done.status.success() {
            eprintln!("{}", String::from_utf8_lossy(&done.stderr));
        }
        done.status.success()
    }

    /// Runs one case: what it begins with, the launch, and the bytes that follow.
    fn run(&self, kind: u8, launch: Launch, bytes: &[u8]) -> Vec<f32> {
        let mut case = vec![kind];
        case.extend(
            [launch.grid, launch.block].as_flattened().iter().flat_map(|extent| extent.to_ne_bytes()),
        );
        case.extend_from_slice(bytes);
        let mut program = Command::new(self.folder.path().join("emulation"))
            // Leaks are found by tracing, which containers forbid.
            .env("ASAN_OPTIONS", "detect_leaks=0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = program.stdin.take().unwrap();
        let feeding = std::thread::spawn(move || stdin.write_all(&case));
        let done = program.wait_with_output().unwrap();
        feeding.join().unwrap().unwrap();
        assert!(done.status.success(), "the kernel failed: {}", done.status);
        done.stdout.as_chunks::<4>().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect()
    }

    fn depthwise(&self, operator: &Depthwise, [x, weight, bias]: [&Tensor; 3], launch: Launch) -> Vec<f32> {
        let (extents, _) = operator.launch().unwrap();
        let mut bytes = memory(&[extents]);
        let counts = [x, weight, bias].map(Tensor::elem_count);
        for count in counts.into_iter().chain([operator.out_shape().elem_count()]) {
            bytes.extend((count as i64).to_ne_bytes());
        }
        for tensor in [x, weight, bias] {
            bytes.extend(memory(&values(tensor)));
        }
        self.run(b'd', launch, &bytes)
    }

    fn quantize(&self, x: &[f32], channels: &[Channel], output: Output, launch: Launch) -> Vec<f32> {
        let header = [output as i64, channels.len() as i64, x.len() as i64];
        let bytes = [memory(&header), memory(channels), memory(x)].concat();
        self.run(b'q', launch, &bytes)
    }
}

/// The bytes that a GPU is handed.
#[expect(unsafe_code, reason = "the layout of structs in memory is what is to be tested")]
fn memory<T: Copy>(values: &[T]) -> Vec<u8> {
    // SAFETY: used for numbers and structs of 4-byte numbers, which have no padding.
    let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) };
    bytes.to_vec()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn random(shape: &[usize], rng: &mut Rng) -> Tensor {
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// A convolution with every extent drawn, and its input's shape; some have no window that fits.
fn drawn(rng: &mut Rng) -> (Conv2d, [usize; 4]) {
    let mut below = |limit: usize| rng.below(limit);
    let channels = 2 + below(4);
    let padding = Padding { top: below(3), left: below(3), bottom: below(3), right: below(3) };
    let conv = Conv2d {
        out_channels: channels * (1 + below(3)),
        kernel: [1 + below(4), 1 + below(4)],
        stride: [1 + below(3), 1 + below(3)],
        padding,
        dilation: [1 + below(3), 1 + below(3)],
        groups: channels,
        bias: true,
    };
    (conv, [1 + below(3), channels, 1 + below(20), 1 + below(20)])
}

#[test]
fn the_depthwise_kernel_computes_what_the_cpu_does() {
    let emulation = Emulation::build();
    let mut rng = rng(31, 0);
    let mut compared = 0;
    for case in 0..120 {
        let (conv, shape) = drawn(&mut rng);
        let x = random(&shape, &mut rng);
        let weight = random(&[conv.out_channels, 1, conv.kernel[0], conv.kernel[1]], &mut rng);
        let bias = random(&[conv.out_channels], &mut rng);
        let upper = [None, Some(f32::INFINITY), Some(1.5)][case % 3];
        let Ok(geometry) = Geometry::new(x.dims4().unwrap(), weight.dims4().unwrap(), &conv) else {
            continue;
        };
        let expected = depthwise(&x, &weight, &conv, (Some(&bias), upper)).unwrap().unwrap();
        let operator = Depthwise { geometry, upper };
        let (_, launch) = operator.launch().unwrap();
        // A grid that is cut short, so that threads have to go on to further planes.
        let narrow = Launch { grid: [launch.grid[0], 1 + case as u32 % 2], block: [launch.block[0], 1] };

        for launch in [launch, narrow] {
            let found = emulation.depthwise(&operator, [&x, &weight, &bias], launch);

            let expected = values(&expected);
            assert_eq!(found.len(), expected.len());
            for (f, e) in found.iter().zip(&expected) {
                assert!(
                    (f - e).abs() <= TOLERANCE * (1.0 + e.abs()),
                    "{conv:?} on {shape:?}: {f} is not {e}"
                );
            }
        }
        compared += 1;
    }
    assert!(compared > 60, "only {compared} of the convolutions have a window");
}

#[test]
fn the_quantize_kernel_computes_what_the_definition_says() {
    let emulation = Emulation::build();
    let mut rng = rng(32, 0);
    // Ties, both ends of the grid and beyond, and what is no number.
    let mut x: Vec<f32> = (-40..40).map(|half_steps| half_steps as f32 * 0.125).collect();
    x.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::MAX, f32::MIN_POSITIVE]);
    x.extend((0..934).map(|_| rng.normal() as f32 * 3.0));
    let asymmetric = Channel { scale: 0.25, low: -3.0, high: 12.0, offset: -3.0 };
    let symmetric = Channel { scale: 0.07, low: -8.0, high: 7.0, offset: 0.0 };
    let wide = Channel { scale: 1e-4, low: -32_768.0, high: 32_767.0, offset: 0.0 };
    let grids = [asymmetric, symmetric, wide, asymmetric];

    for channels in [&grids[..1], &grids[1..2], &grids[..]] {
        for output in [Output::Nearest, Output::Code, Output::Mask] {
            for launch in [quantize::launch(x.len()), Launch { grid: [2, 1], block: [32, 1] }] {
                let found = emulation.quantize(&x, channels, output, launch);

                let per_channel = x.len() / channels.len();
                for (index, (found, x)) in found.iter().zip(&x).enumerate() {
                    let expected = by_definition(*x, channels[index / per_channel], output);
                    let same = *found == expected || (found.is_nan() && expected.is_nan());
                    assert!(same, "{output:?} of {x}: {found} is not {expected}");
                }
            }
        }
    }
}

/// Rounded first, clamped afterwards.
fn by_definition(x: f32, channel: Channel, output: Output) -> f32 {
    let steps = (x / channel.scale).round_ties_even();
    let code = if steps.is_nan() { steps } else { steps.clamp(channel.low, channel.high) };
    match output {
        Output::Nearest => code * channel.scale,
        Output::Code => code - channel.offset,
        Output::Mask => f32::from(u8::from(steps == code)),
    }
}

#[test]
fn grids_cover_every_pixel_and_fit_every_gpu() {
    for (columns, rows) in [(1, 1), (49, 640), (196, 7), (255, 1), (257, 300_000), (112 * 112, 48_000)] {
        let Launch { grid, block } = Launch::over(columns, rows).unwrap();
        let threads = [0, 1].map(|axis| grid[axis] as usize * block[axis] as usize);

        assert!(threads[0] >= columns && threads[0] < columns + BLOCK_THREADS, "{columns}");
        assert!((block[0] as usize).is_multiple_of(WARP) && block[0] * block[1] <= BLOCK_THREADS as u32);
        assert!(threads[1] >= rows || grid[1] as usize == GRID_MAX, "{rows}");
        assert!(grid[1] as usize <= GRID_MAX);
    }
    assert_eq!(Launch::over(1 << 40, 1), None);
    assert_eq!(quantize::launch(0), Launch { grid: [1, 1], block: [256, 1] });
    assert_eq!(quantize::launch(usize::MAX).grid, [4096, 1]);
}

#[test]
fn tensors_beyond_what_the_kernel_counts_are_refused() {
    let conv = Conv2d {
        out_channels: 2,
        kernel: [1, 1],
        stride: [1, 1],
        padding: Padding::default(),
        dilation: [1, 1],
        groups: 2,
        bias: false,
    };
    let geometry = |images| Geometry::new((images, 2, 3, 3), (2, 1, 1, 1), &conv).unwrap();
    let launch = |images| Depthwise { geometry: geometry(images), upper: None }.launch();

    assert!(launch(1 << 29).is_ok());
    let error = launch((1 << 29) + 1).err().unwrap().to_string();
    assert!(error.contains("evaluate fewer images"), "{error}");
}

#[test]
fn what_is_no_depthwise_convolution_is_left_to_others() {
    let mut rng = rng(33, 0);
    let x = random(&[1, 4, 5, 5], &mut rng);
    let conv = |groups| Conv2d {
        out_channels: 4,
        kernel: [3, 3],
        stride: [1, 1],
        padding: Padding::all(1),
        dilation: [1, 1],
        groups,
        bias: false,
    };
    for groups in [1, 2] {
        let weight = random(&[4, 4 / groups, 3, 3], &mut rng);
        assert!(depthwise(&x, &weight, &conv(groups), (None, None)).unwrap().is_none());
    }
    let weight = random(&[4, 1, 3, 3], &mut rng);
    assert!(depthwise(&x, &weight, &conv(4), (None, None)).unwrap().is_some());
    let bias = random(&[3], &mut rng);
    assert!(depthwise(&x, &weight, &conv(4), (Some(&bias), None)).is_err());
}
