use bitloop_core::graph::{Conv2d, Pool, Shape};

use crate::kernels::nhwc::{ConvShape, Window};

/// Channels, rows and columns; features are pixels of many channels.
pub(super) fn image(shape: &Shape) -> Option<[usize; 3]> {
    match *shape.0.as_slice() {
        [features] => Some([features, 1, 1]),
        [channels, height, width] => Some([channels, height, width]),
        _ => None,
    }
}

pub(super) fn conv_shape(conv: &Conv2d, [channels, height, width]: [usize; 3], out: [usize; 3]) -> ConvShape {
    let window = Window {
        size: [height, width],
        kernel: conv.kernel,
        stride: conv.stride,
        dilation: conv.dilation,
        before: [conv.padding.top, conv.padding.left],
        out_size: [out[1], out[2]],
    };
    ConvShape { window, channels, out_channels: conv.out_channels, groups: conv.groups }
}

/// A linear layer sees the whole image at once, the channels being the first axis of its weight.
pub(super) fn linear_shape([channels, height, width]: [usize; 3], out_channels: usize) -> ConvShape {
    ConvShape { window: Window::covering([height, width]), channels, out_channels, groups: 1 }
}

pub(super) fn pool_window(pool: &Pool, [_, height, width]: [usize; 3], out: [usize; 3]) -> Window {
    Window {
        size: [height, width],
        kernel: pool.kernel,
        stride: pool.stride,
        dilation: [1, 1],
        before: [pool.padding.top, pool.padding.left],
        out_size: [out[1], out[2]],
    }
}
