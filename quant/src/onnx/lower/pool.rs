//! Pooling and means.

use bitloop_core::graph::{Op, Padding, Pool};

use super::super::builder::Builder;
use super::super::call::Call;
use super::super::error::Reason;
use super::super::names::name_of;
use super::window::{Window, window};
use super::{Lowered, image_axis, image_size, rank, single};

/// MaxPool.
pub(in super::super) fn max_pool(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let window = pooling_window(builder, call)?;
    let Window { kernel, stride, padding, .. } = window.with_overhang();
    single(builder, call, Op::MaxPool(Pool { kernel, stride, padding, count_padding: false }))
}

/// AveragePool.
pub(in super::super) fn average_pool(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let pooling = pooling_window(builder, call)?;
    let counts = call.flag("count_include_pad", false)?;
    let padding = pooling.window.padding;
    let overhang = pooling.overhang;
    let Window { kernel, stride, padding: whole, .. } = pooling.with_overhang();
    if !counts || overhang == [0, 0] || padding == Padding::default() {
        let count_padding = counts && padding != Padding::default();
        return single(
            builder,
            call,
            Op::AveragePool(Pool { kernel, stride, padding: whole, count_padding }),
        );
    }
    // What a rounded-up window reaches beyond the padding is not counted, the padding is: so the zeros become part of
    // the image.
    let (name, input) = (name_of(call), call.computed(0)?.to_owned());
    let zeros = Op::Pad {
        before: vec![0, padding.top, padding.left],
        after: vec![0, padding.bottom, padding.right],
        value: 0.0,
    };
    let padded = builder.push(&format!("{name}.padded"), zeros, &[&input])?;
    let padding = Padding { top: 0, left: 0, bottom: overhang[0], right: overhang[1] };
    let op = Op::AveragePool(Pool { kernel, stride, padding, count_padding: false });
    Ok(vec![builder.push_value(&name, op, &padded)?])
}

/// GlobalAveragePool, which keeps height and width as 1.
pub(in super::super) fn global_average_pool(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    image_size(builder, call)?;
    single(builder, call, Op::Mean { axes: vec![1, 2], keep: true })
}

/// GlobalMaxPool.
pub(in super::super) fn global_max_pool(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let kernel = image_size(builder, call)?;
    let (stride, padding) = (kernel, Padding::default());
    single(builder, call, Op::MaxPool(Pool { kernel, stride, padding, count_padding: false }))
}

/// ReduceMean behind the batch.
pub(in super::super) fn reduce_mean(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let rank = rank(builder, call, 0)?;
    let axes = call.attribute_or_input("axes", 1)?.filter(|axes| !axes.is_empty());
    let mut axes = match axes {
        Some(axes) => axes.iter().map(|axis| image_axis(*axis, rank)).collect::<Result<Vec<_>, _>>()?,
        None if call.flag("noop_with_empty_axes", false)? => return super::unchanged(call),
        None => return Err(Reason::Batch),
    };
    axes.sort_unstable();
    axes.dedup();
    let keep = call.flag("keepdims", true)?;
    match (axes.as_slice(), rank, keep) {
        ([1, 2], 3, false) => single(builder, call, Op::GlobalAveragePool),
        _ if axes.len() == rank && !keep => Err(Reason::Feature("no axis would be left beside the batch")),
        _ => single(builder, call, Op::Mean { axes, keep }),
    }
}

/// A window that may reach beyond the padding below and right, where the number of windows is rounded up.
struct Pooling {
    window: Window,
    overhang: [usize; 2],
}

impl Pooling {
    fn with_overhang(self) -> Window {
        let Self { mut window, overhang: [below, right] } = self;
        window.padding.bottom += below;
        window.padding.right += right;
        window
    }
}

fn pooling_window(builder: &Builder, call: &Call<'_>) -> Result<Pooling, Reason> {
    let size = image_size(builder, call)?;
    let window = window(call, size, None)?;
    if window.dilation != [1, 1] {
        return Err(Reason::Attribute { name: "dilations", expected: "1, as pooling windows have no gaps" });
    }
    if call.int("storage_order")?.unwrap_or(0) != 0 {
        return Err(Reason::Attribute { name: "storage_order", expected: "0" });
    }
    let overhang = match call.flag("ceil_mode", false)? {
        true => {
            let Padding { top, left, bottom, right } = window.padding;
            [(0, top, bottom), (1, left, right)].map(|(axis, before, after)| {
                overhang(size[axis], [before, after], [window.kernel[axis], window.stride[axis]])
            })
        }
        false => [0, 0],
    };
    Ok(Pooling { window, overhang })
}

/// How far the last window reaches beyond the padding when the number of windows is rounded up.
///
/// A window that would begin behind the image and the padding before it is left out, as ONNX Runtime and PyTorch do.
fn overhang(size: usize, [before, after]: [usize; 2], [kernel, stride]: [usize; 2]) -> usize {
    let padded = size + before + after;
    let Some(room) = padded.checked_sub(kernel) else { return 0 };
    let mut windows = room.div_ceil(stride) + 1;
    if (windows - 1) * stride >= size + before {
        windows -= 1;
    }
    ((windows - 1) * stride + kernel).saturating_sub(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_rounded_up_unless_they_begin_behind_the_image() {
        // (size, padding, kernel and stride) -> how far beyond.
        let cases = [
            ((5, [0, 0], [2, 2]), 1),
            ((6, [0, 0], [2, 2]), 0),
            ((112, [0, 0], [3, 2]), 1),
            ((4, [1, 1], [2, 2]), 0),
            ((5, [1, 1], [2, 2]), 0),
            ((3, [1, 1], [3, 2]), 0),
        ];
        for ((size, padding, window), expected) in cases {
            assert_eq!(overhang(size, padding, window), expected, "{size} {padding:?} {window:?}");
        }
    }
}
