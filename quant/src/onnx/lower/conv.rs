//! Convolution and batch normalization.

use bitloop_core::graph::{Conv2d, Op};

use super::super::builder::Builder;
use super::super::call::{Call, Value, extent_of};
use super::super::error::Reason;
use super::super::names::name_of;
use super::window::{Window, window};
use super::{Lowered, image_size};

/// Conv.
pub(in super::super) fn conv(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let input = call.computed(0)?.to_owned();
    let size = image_size(builder, call)?;
    let (weight, values) = call.float_constant(1)?.ok_or(Reason::MissingInput { index: 1 })?;
    let [out_channels, per_group, height, width] = weight.shape[..] else {
        return Err(Reason::Feature("only 2-d convolutions are supported"));
    };
    let groups = extent_of("group", call.int("group")?.unwrap_or(1))?;
    let channels = builder.shape(&input).channels();
    if per_group.checked_mul(groups) != Some(channels) {
        let expected = format!("{groups} group(s) of a {channels}-channel input");
        return Err(Reason::ConstantShape { found: weight.shape.clone(), expected });
    }
    let Window { kernel, stride, dilation, padding } = window(call, size, Some([height, width]))?;
    let bias = call.float_constant(2)?;
    if let Some((bias, _)) = bias
        && bias.shape != [out_channels]
    {
        return Err(Reason::ConstantShape {
            found: bias.shape.clone(),
            expected: format!("({out_channels},)"),
        });
    }
    let op =
        Op::Conv2d(Conv2d { out_channels, kernel, stride, padding, dilation, groups, bias: bias.is_some() });
    let name = builder.push(&name_of(call), op, &[&input])?;
    builder.weight(&name, "weight", &weight.shape, values.to_vec())?;
    builder.encoding(&name, "weight", weight.encoding.clone());
    if let Some((bias, values)) = bias {
        builder.weight(&name, "bias", &bias.shape, values.to_vec())?;
        builder.encoding(&name, "bias", bias.encoding.clone());
    }
    Ok(vec![Value::Tensor(name)])
}

/// BatchNormalization with fixed statistics.
pub(in super::super) fn batch_norm(builder: &mut Builder, call: &Call<'_>) -> Lowered {
    let input = call.computed(0)?.to_owned();
    if call.flag("training_mode", false)? {
        return Err(Reason::Feature("it is in training mode; export the model for inference"));
    }
    let channels = builder.shape(&input).channels();
    let parts = ["gamma", "beta", "running_mean", "running_var"];
    let mut tensors = Vec::new();
    for (index, part) in (1..).zip(parts) {
        let (constant, values) = call.float_constant(index)?.ok_or(Reason::MissingInput { index })?;
        if constant.shape != [channels] {
            let expected = format!("({channels},)");
            return Err(Reason::ConstantShape { found: constant.shape.clone(), expected });
        }
        tensors.push((part, values.to_vec()));
    }
    // Frameworks keep the decimal number in f64; the shortest one that rounds to what the file has is what they meant.
    let eps = call.float("epsilon", 1e-5)?;
    let eps = eps.to_string().parse().unwrap_or(f64::from(eps));
    let name = builder.push(&name_of(call), Op::BatchNorm { eps }, &[&input])?;
    for (part, values) in tensors {
        builder.weight(&name, part, &[channels], values)?;
    }
    Ok(vec![Value::Tensor(name)])
}
