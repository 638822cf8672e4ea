//! Depthwise convolution of codes by dot products of four bytes (`vpdpbusd`).
//!
//! The four bytes are a column of the window, or four rows of it: four rows of 64 channels are interleaved, which gives
//! four vectors, the quarters, of 16 channels each. One interleaving serves all windows that see the column. The padding
//! counts as the code of zero: rows of it are read from a row that has nothing else, columns of it are left out.

#![expect(
    unsafe_code,
    reason = "vector instructions, loads and stores through pointers without a check for each"
)]

use std::arch::x86_64::*;
use std::cell::RefCell;
use std::mem::size_of_val;
use std::ops::Range;

use crate::kernels::nhwc::taps::{taps_inside, whole_columns};
use crate::kernels::nhwc::{Ending, Isa, Tail, Window};

/// Channels of a block.
const BLOCK: usize = 64;
/// Lanes of a quarter.
const LANES: usize = 16;
/// Rows of a dot product.
const ROWS: usize = 4;
/// Groups of rows that the table of a line has place for.
const GROUPS_MAX: usize = 2;
/// Output columns whose sums are taken together.
const TOGETHER: usize = 4;

/// A packed weight.
#[derive(Clone, Debug)]
pub(super) struct Dots {
    window: Window,
    channels: usize,
    /// `(blocks, groups, kw, quarters, lanes, rows)`; zeros beyond the channels and below the window.
    weight: Vec<i8>,
    /// `(kw, blocks, quarters, lanes)`: sums of the columns of the window.
    sums: Vec<i32>,
}

/// What depends on the call, in the order of the quarters.
#[derive(Default)]
struct Prepared {
    /// `(blocks, quarters, lanes)`.
    scale: Vec<f32>,
    shift: Vec<f32>,
    /// `(kw + 1, blocks, quarters, lanes)`: what takes the zero out of a column's sums; the last is that of all columns.
    start: Vec<i32>,
    /// A row of zeros.
    row: Vec<u8>,
}

thread_local! {
    static PREPARED: RefCell<Prepared> = RefCell::default();
}

/// Kinds of blocks: with all channels, with more than half of them, and with so few that two pixels lie side by side.
const FULL: usize = 0;
const PART: usize = 1;
const HALF: usize = 2;

/// Channel of a lane after the interleaving, which works within 128 bits; both halves of a `HALF` block have the same.
fn channel(place: usize, channels: usize) -> usize {
    let (block, quarter, lane) = (place / BLOCK, place % BLOCK / LANES, place % LANES);
    let half = channels - block * BLOCK <= BLOCK / 2;
    let part = if half { lane / 4 % 2 } else { lane / 4 };
    block * BLOCK + part * LANES + quarter * 4 + lane % 4
}

impl Dots {
    /// Packs a weight `(kh * kw, channels)`; none where another way is better.
    pub(super) fn new(window: Window, channels: usize, weight: &[i8]) -> Option<Self> {
        const FEW_CHANNELS: usize = 16;
        let [height, width] = window.kernel;
        let groups = height.div_ceil(ROWS);
        if channels <= FEW_CHANNELS || groups > GROUPS_MAX {
            return None;
        }
        let padded = channels.next_multiple_of(BLOCK);
        let mut packed = vec![0; padded * groups * width * ROWS];
        let mut sums = vec![0; width * padded];
        for place in (0..padded).filter(|place| channel(*place, channels) < channels) {
            let (block, lane) = (place / BLOCK, place % BLOCK);
            for tap in 0..height * width {
                let (row, column) = (tap / width, tap % width);
                let w = weight[tap * channels + channel(place, channels)];
                let panel = (block * groups + row / ROWS) * width + column;
                packed[(panel * BLOCK + lane) * ROWS + row % ROWS] = w;
                sums[column * padded + place] += i32::from(w);
            }
        }
        Some(Self { window, channels, weight: packed, sums })
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.weight.as_slice()) + size_of_val(self.sums.as_slice())
    }

    fn padded(&self) -> usize {
        self.channels.next_multiple_of(BLOCK)
    }

    /// Whether no value can leave i32 on its way to a code, so that packing with saturation is clamping.
    pub(super) fn can_store(&self, tail: &Tail<'_>) -> bool {
        const LARGEST_PRODUCT: f32 = 255.0 * 128.0;
        const LIMIT: f32 = (1 << 30) as f32;
        let largest = self.window.taps() as f32 * LARGEST_PRODUCT;
        let values = tail.scale.iter().zip(tail.shift);
        // A comparison that NaN fails.
        matches!(tail.ending, Ending::Codes { .. })
            && values.into_iter().all(|(scale, shift)| scale.abs() * largest + shift.abs() < LIMIT)
    }

    /// Convolves images, whose lengths were checked, to codes that `can_store` allows.
    pub(super) fn run(&self, (x, zero): (&[u8], u8), tail: &Tail<'_>, out: &mut [u8]) {
        let Ending::Codes { lo, hi, zero: target } = tail.ending else { unreachable!("asked before") };
        assert!(Isa::Vnni.is_available(), "this CPU has no {}", Isa::Vnni.as_str());
        if out.is_empty() {
            return;
        }
        PREPARED.with_borrow_mut(|prepared| {
            self.prepare(prepared, zero, tail);
            // SAFETY: the CPU has the instructions, and whoever calls has compared the lengths.
            unsafe { self.lines(x, prepared, [lo, hi, target], out) }
        });
    }

    fn prepare(&self, prepared: &mut Prepared, zero: u8, tail: &Tail<'_>) {
        let places = 0..self.padded();
        let of = |values: &[f32], place| values.get(channel(place, self.channels)).copied().unwrap_or(0.0);
        prepared.scale.clear();
        prepared.scale.extend(places.clone().map(|place| of(tail.scale, place)));
        prepared.shift.clear();
        prepared.shift.extend(places.map(|place| of(tail.shift, place)));
        prepared.row.clear();
        prepared.row.resize(self.window.size[1] * self.channels, zero);
        prepared.start.clear();
        prepared.start.extend(self.sums.iter().map(|sum| -i32::from(zero) * sum));
        let whole = prepared.start.len();
        prepared.start.resize(whole + self.padded(), 0);
        let (columns, all) = prepared.start.split_at_mut(whole);
        for column in columns.chunks_exact(all.len()) {
            all.iter_mut().zip(column).for_each(|(sum, part)| *sum += part);
        }
    }

    /// SAFETY: the CPU has the instructions; `x` and `out` have the lengths of whole images.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn lines(&self, x: &[u8], prepared: &Prepared, [lo, hi, zero]: [u8; 3], out: &mut [u8]) {
        let window = &self.window;
        let (line, image) = (window.size[1] * self.channels, window.pixels() * self.channels);
        let whole = whole_columns(window);
        let [lo, hi] = [lo, hi].map(|code| _mm512_set1_epi8(code.cast_signed()));
        let zero = _mm512_set1_epi16(i16::from(zero));
        for (index, out) in out.chunks_exact_mut(window.out_size[1] * self.channels).enumerate() {
            let row = index % window.out_size[0];
            let x = &x[index / window.out_size[0] * image..];
            let mut rows = [prepared.row.as_ptr(); ROWS * GROUPS_MAX];
            for tap in taps_inside(window, 0, row) {
                let y = row * window.stride[0] + tap * window.dilation[0] - window.before[0];
                rows[tap] = x[y * line..].as_ptr();
            }
            let line = Line { dots: self, prepared, rows, out: out.as_mut_ptr(), lo, hi, zero };
            // SAFETY: as for this function; all rows have the length of one.
            unsafe { line.run(&whole) }
        }
    }
}

/// One line of the output.
struct Line<'a> {
    dots: &'a Dots,
    prepared: &'a Prepared,
    rows: [*const u8; ROWS * GROUPS_MAX],
    out: *mut u8,
    lo: __m512i,
    hi: __m512i,
    /// The code of zero, in 16 bits.
    zero: __m512i,
}

/// A vector of sums for each quarter.
type Quarters = [__m512i; 4];

// SAFETY, for all below: the CPU has the instructions; columns and channels are those of the line and its rows; only lanes of
// channels are read and written.
impl Line<'_> {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn run(&self, whole: &Range<usize>) {
        let window = &self.dots.window;
        let mut whole = whole.clone();
        // SAFETY: the columns in `whole` see no padding at the sides.
        unsafe {
            match (window.kernel[1], window.stride[1], window.dilation[1]) {
                _ if whole.len() < TOGETHER => whole = 0..0,
                (3, 1, 1) => self.columns::<3, 1>(&whole),
                (3, 2, 1) => self.columns::<3, 2>(&whole),
                (5, 1, 1) => self.columns::<5, 1>(&whole),
                (5, 2, 1) => self.columns::<5, 2>(&whole),
                _ => whole = 0..0,
            }
            for column in (0..whole.start).chain(whole.end..window.out_size[1]) {
                self.column(column);
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn columns<const TAPS: usize, const STRIDE: usize>(&self, whole: &Range<usize>) {
        let blocks = self.dots.channels / BLOCK;
        for next in whole.clone().step_by(2 * TOGETHER) {
            let columns = [next, next + TOGETHER].map(|column| column.min(whole.end - TOGETHER));
            let both = next + TOGETHER < whole.end;
            // SAFETY: as above.
            unsafe {
                for block in 0..blocks {
                    self.together::<TAPS, STRIDE, FULL>([columns[0]; 2], block);
                    if both {
                        self.together::<TAPS, STRIDE, FULL>([columns[1]; 2], block);
                    }
                }
                match self.dots.channels % BLOCK {
                    0 => (),
                    1..=32 => self.together::<TAPS, STRIDE, HALF>(columns, blocks),
                    _ => {
                        self.together::<TAPS, STRIDE, PART>([columns[0]; 2], blocks);
                        if both {
                            self.together::<TAPS, STRIDE, PART>([columns[1]; 2], blocks);
                        }
                    }
                }
            }
        }
    }

    /// Some columns from the first of `columns` on, and in a `HALF` block as many from the second.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn together<const TAPS: usize, const STRIDE: usize, const KIND: usize>(
        &self,
        columns: [usize; 2],
        block: usize,
    ) {
        let (window, channels) = (&self.dots.window, self.dots.channels);
        // SAFETY: as above.
        unsafe {
            let mut sums = [self.start(window.kernel[1], block); TOGETHER];
            let first = columns.map(|column| (column * STRIDE - window.before[1]) * channels + block * BLOCK);
            for group in 0..window.kernel[0].div_ceil(ROWS) {
                let weight = self.weight(block, group);
                for place in 0..(TOGETHER - 1) * STRIDE + TAPS {
                    let quarters = self.interleave::<KIND>(
                        group,
                        [first[0] + place * channels, first[1] + place * channels],
                    );
                    for (at, sums) in sums.iter_mut().enumerate() {
                        if place >= at * STRIDE && place - at * STRIDE < TAPS {
                            dot(sums, &quarters, weight.add((place - at * STRIDE) * BLOCK * ROWS));
                        }
                    }
                }
            }
            for (at, sums) in sums.iter().enumerate() {
                self.store::<KIND>(sums, [columns[0] + at, columns[1] + at], block);
            }
        }
    }

    /// One output column, wherever it lies.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn column(&self, column: usize) {
        let blocks = self.dots.channels / BLOCK;
        // SAFETY: as above.
        unsafe {
            for block in 0..blocks {
                self.single::<FULL>(column, block);
            }
            match self.dots.channels % BLOCK {
                0 => (),
                1..=32 => self.single::<HALF>(column, blocks),
                _ => self.single::<PART>(column, blocks),
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn single<const KIND: usize>(&self, column: usize, block: usize) {
        let (window, channels) = (&self.dots.window, self.dots.channels);
        // SAFETY: as above; the columns of the taps are inside the image.
        unsafe {
            let mut sums = [_mm512_setzero_si512(); 4];
            for tap in taps_inside(window, 1, column) {
                for (sum, start) in sums.iter_mut().zip(self.start(tap, block)) {
                    *sum = _mm512_add_epi32(*sum, start);
                }
                let place = column * window.stride[1] + tap * window.dilation[1] - window.before[1];
                for group in 0..window.kernel[0].div_ceil(ROWS) {
                    let quarters = self.interleave::<KIND>(group, [place * channels + block * BLOCK; 2]);
                    dot(&mut sums, &quarters, self.weight(block, group).add(tap * BLOCK * ROWS));
                }
            }
            self.store::<KIND>(&sums, [column; 2], block);
        }
    }

    /// What the sums of a column of the window start with; that of all columns has the index behind the last.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn start(&self, column: usize, block: usize) -> Quarters {
        let at = column * self.dots.padded() + block * BLOCK;
        let mut quarters = [_mm512_setzero_si512(); 4];
        for (index, quarter) in quarters.iter_mut().enumerate() {
            // SAFETY: as above.
            *quarter =
                unsafe { _mm512_loadu_si512(self.prepared.start.as_ptr().add(at + index * LANES).cast()) };
        }
        quarters
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn weight(&self, block: usize, group: usize) -> *const i8 {
        let [height, width] = self.dots.window.kernel;
        let panel = (block * height.div_ceil(ROWS) + group) * width;
        // SAFETY: as above.
        unsafe { self.dots.weight.as_ptr().add(panel * BLOCK * ROWS) }
    }

    /// The channels of a block in the four rows of a group, `at` values from their beginnings: the first of them alone, or
    /// both side by side.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn interleave<const KIND: usize>(&self, group: usize, at: [usize; 2]) -> Quarters {
        let mut rows = [_mm512_setzero_si512(); ROWS];
        for (index, row) in rows.iter_mut().enumerate() {
            // SAFETY: as above.
            *row = unsafe {
                let x = at.map(|at| self.rows[group * ROWS + index].add(at).cast::<i8>());
                match KIND {
                    FULL => _mm512_loadu_si512(x[0].cast()),
                    PART => _mm512_maskz_loadu_epi8(self.rest(), x[0]),
                    _ => {
                        let rest = self.rest() as __mmask32;
                        let [low, high] = x.map(|x| _mm256_maskz_loadu_epi8(rest, x));
                        _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
                    }
                }
            };
        }
        let [a, b, c, d] = rows;
        let (ab, cd) = (_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d));
        let (ab_high, cd_high) = (_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d));
        [
            _mm512_unpacklo_epi16(ab, cd),
            _mm512_unpackhi_epi16(ab, cd),
            _mm512_unpacklo_epi16(ab_high, cd_high),
            _mm512_unpackhi_epi16(ab_high, cd_high),
        ]
    }

    /// The channels of the last block.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    fn rest(&self) -> __mmask64 {
        (1 << (self.dots.channels % BLOCK)) - 1
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    unsafe fn store<const KIND: usize>(&self, sums: &Quarters, columns: [usize; 2], block: usize) {
        let mut codes = *sums;
        // SAFETY: as above.
        unsafe {
            for (index, code) in codes.iter_mut().enumerate() {
                let at = block * BLOCK + index * LANES;
                let scale = _mm512_loadu_ps(self.prepared.scale.as_ptr().add(at));
                let shift = _mm512_loadu_ps(self.prepared.shift.as_ptr().add(at));
                *code = _mm512_cvtps_epi32(_mm512_fmadd_ps(_mm512_cvtepi32_ps(*code), scale, shift));
            }
            let [a, b, c, d] = codes;
            // Clamping after rounding is the same, as the ends are integers, and packing and adding saturate.
            let [low, high] = [_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d)];
            let codes =
                _mm512_packus_epi16(_mm512_adds_epi16(low, self.zero), _mm512_adds_epi16(high, self.zero));
            let codes = _mm512_min_epu8(_mm512_max_epu8(codes, self.lo), self.hi);
            let out = columns.map(|column| self.out.add(column * self.dots.channels + block * BLOCK));
            match KIND {
                FULL => _mm512_storeu_si512(out[0].cast(), codes),
                PART => _mm512_mask_storeu_epi8(out[0].cast(), self.rest(), codes),
                _ => {
                    let rest = self.rest() as __mmask32;
                    _mm256_mask_storeu_epi8(out[0].cast(), rest, _mm512_castsi512_si256(codes));
                    _mm256_mask_storeu_epi8(out[1].cast(), rest, _mm512_extracti64x4_epi64::<1>(codes));
                }
            }
        }
    }
}

/// Adds the dot products of a column's rows with its weights.
///
/// SAFETY: as above.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn dot(sums: &mut Quarters, quarters: &Quarters, weight: *const i8) {
    for (index, (sum, quarter)) in sums.iter_mut().zip(quarters).enumerate() {
        // SAFETY: as above.
        let weight = unsafe { _mm512_loadu_si512(weight.add(index * BLOCK).cast()) };
        *sum = _mm512_dpbusd_epi32(*sum, *quarter, weight);
    }
}
