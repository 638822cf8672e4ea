use super::lines::Lines;
use crate::kernels::nhwc::simd::{Ended, Finish, Simd};
use crate::kernels::nhwc::taps::taps_inside;

/// Sums in i32, for windows so large that f32 could round; value by value, as such windows are rare.
pub(super) struct Exact<'a>(pub(super) Lines<'a, u8>);

impl Ended for Exact<'_> {
    #[inline(always)]
    fn run<S: Simd, E: Finish<S>>(self, simd: S, finish: E, out: &mut [E::Item]) {
        assert!(S::LANES == 1, "one value at a time");
        let Lines { window, channels, tail, .. } = self.0;
        let width = window.out_size[1];
        for index in 0..out.len() {
            let (channel, position) = (index % channels, index / channels);
            let (row, column) = (position / width, position % width);
            let image = row / window.out_size[0];
            let sum = self.sum(image, [row % window.out_size[0], column], channel) as f32;
            let (scale, shift) = (simd.splat(tail.scale[channel]), simd.splat(tail.shift[channel]));
            finish.put(simd, (out, index), simd.fma(simd.splat(sum), scale, shift));
        }
    }
}

impl Exact<'_> {
    fn sum(&self, image: usize, [row, column]: [usize; 2], channel: usize) -> i32 {
        let Lines { window, channels, x, zero, weight, .. } = self.0;
        let mut sum = 0;
        for down in taps_inside(window, 0, row) {
            for right in taps_inside(window, 1, column) {
                let y = row * window.stride[0] + down * window.dilation[0] - window.before[0];
                let at = column * window.stride[1] + right * window.dilation[1] - window.before[1];
                let pixel = (image * window.size[0] + y) * window.size[1] + at;
                let w = weight[(down * window.kernel[1] + right) * channels + channel];
                sum += (i32::from(x[pixel * channels + channel]) - zero as i32) * w as i32;
            }
        }
        sum
    }
}
