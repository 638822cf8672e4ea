//! Windows of convolutions and pooling: kernel, stride, dilation and padding out of attributes.

use bitloop_core::graph::Padding;

use super::super::call::{Call, extent_of};
use super::super::error::Reason;

/// How a window slides, as the file says it.
pub(super) struct Window {
    pub(super) kernel: [usize; 2],
    pub(super) stride: [usize; 2],
    pub(super) dilation: [usize; 2],
    pub(super) padding: Padding,
}

/// Largest kernel, stride, dilation or padding that is read, so that no sum of them overflows.
const WINDOW_MAX: usize = 1 << 16;

/// Reads a window over an image of this `size`.
///
/// `kernel` is what the weight says; without one the attribute `kernel_shape` must.
pub(super) fn window(
    call: &Call<'_>,
    size: [usize; 2],
    kernel: Option<[usize; 2]>,
) -> Result<Window, Reason> {
    let kernel = match (pair(call, "kernel_shape")?, kernel) {
        (Some(stated), Some(actual)) if stated != actual => {
            return Err(Reason::Attribute { name: "kernel_shape", expected: "the extents of the weight" });
        }
        (_, Some(kernel)) | (Some(kernel), None) => kernel,
        (None, None) => return Err(Reason::Attribute { name: "kernel_shape", expected: "given" }),
    };
    let stride = pair(call, "strides")?.unwrap_or([1, 1]);
    let dilation = pair(call, "dilations")?.unwrap_or([1, 1]);
    if [kernel, stride, dilation].as_flattened().iter().any(|extent| !(1..=WINDOW_MAX).contains(extent)) {
        return Err(Reason::Feature(
            "kernel, strides and dilations must be at least 1, and not absurdly large",
        ));
    }
    let reach = [0, 1].map(|axis| (kernel[axis] - 1) * dilation[axis] + 1);
    let auto_pad = call.text("auto_pad", "NOTSET")?;
    let padding = match auto_pad.as_str() {
        "NOTSET" | "" => explicit_padding(call)?,
        "VALID" => Padding::default(),
        "SAME_UPPER" => Padding::same(size, reach, stride),
        "SAME_LOWER" => {
            let Padding { top, left, bottom, right } = Padding::same(size, reach, stride);
            Padding { top: bottom, left: right, bottom: top, right: left }
        }
        _ => return Err(Reason::Attribute { name: "auto_pad", expected: "one of the standard's words" }),
    };
    Ok(Window { kernel, stride, dilation, padding })
}

fn explicit_padding(call: &Call<'_>) -> Result<Padding, Reason> {
    let Some(pads) = call.ints("pads")? else { return Ok(Padding::default()) };
    let [top, left, bottom, right] = pads else {
        return Err(Reason::Attribute { name: "pads", expected: "four numbers" });
    };
    let side = |value: &i64| match extent_of("a padding", *value)? {
        padding if padding <= WINDOW_MAX => Ok(padding),
        _ => Err(Reason::Number { what: "a padding", value: *value }),
    };
    Ok(Padding { top: side(top)?, left: side(left)?, bottom: side(bottom)?, right: side(right)? })
}

fn pair(call: &Call<'_>, name: &'static str) -> Result<Option<[usize; 2]>, Reason> {
    match call.ints(name)? {
        None => Ok(None),
        Some([down, right]) => Ok(Some([extent_of(name, *down)?, extent_of(name, *right)?])),
        Some(_) => Err(Reason::Attribute { name, expected: "two numbers, as images have height and width" }),
    }
}
