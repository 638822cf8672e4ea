use bitloop_core::autoqkeras::Compat;
use bitloop_core::qkeras::Quantizer;

use super::element::{Element, Pass, Placed};
use super::groups::Groups;
use super::{FitError, Uniform, bits, curves, drawn, linear, powers, relu, signs, ternary};
use crate::kernels::cuda::FittedMap;

/// Which axis has scales of its own where a quantizer does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channel {
    /// The last, as in QKeras.
    #[default]
    Last,
    /// The first, as weights lie in bitloop.
    First,
    /// None: one scale for all values, as QKeras's depthwise kernels have, whose last axis is 1 long.
    None,
}

/// Values with their shape, row by row.
#[derive(Clone, Copy, Debug)]
pub struct Values<'v> {
    /// The values.
    pub data: &'v [f32],
    /// Length of every axis.
    pub shape: &'v [usize],
    /// The axis of channels.
    pub channel: Channel,
}

/// Whether a network is trained or used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It is used: only `bernoulli` draws.
    #[default]
    Inference,
    /// It is trained: what is stochastic draws.
    Training,
}

/// Whose results are wanted where QKeras does what it does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arithmetic {
    /// What the parameters promise: a vector's automatic scale is one for all its values; stochastic rounding of a ReLU
    /// is to its codes; a ternary value can be drawn with a given scale; one bit with an automatic scale is an error.
    #[default]
    Corrected,
    /// QKeras's own results: a vector's automatic scale that is found by least squares is one for each value;
    /// stochastic rounding of a ReLU is to half codes; drawing ternary values with a given scale is an error; one bit with
    /// an automatic scale gives NaN.
    Qkeras,
}

impl From<Compat> for Arithmetic {
    fn from(compat: Compat) -> Self {
        match compat {
            Compat::Bitloop => Self::Corrected,
            Compat::Qkeras => Self::Qkeras,
        }
    }
}

/// How a quantizer is fitted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fitting {
    /// Whether there is training.
    pub phase: Phase,
    /// Whose results are wanted.
    pub arithmetic: Arithmetic,
    /// Whether `quantized_bits` passes no gradient where it clips; in QKeras it does.
    pub clip_gradient: bool,
}

/// A quantizer's scale in the shape that QKeras gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    /// No axes for one number, else as many as the values have, or one for a list.
    pub shape: Vec<usize>,
    /// The scales.
    pub data: Vec<f32>,
}

/// A quantizer with all that it finds by looking at values, and with the random numbers of one step.
///
/// It maps values one by one: forward and backward can be given the same values in buffers of the caller's.
pub struct Fitted {
    pass: Box<dyn Pass>,
    groups: Groups,
    scale: Option<Scale>,
    values: usize,
}

/// What families of quantizers fit with.
pub(super) struct Fitter<'v> {
    pub(super) values: Values<'v>,
    pub(super) fitting: Fitting,
    uniform: &'v mut dyn Uniform,
}

/// Finds a quantizer's scales for values, and draws what it needs from `uniform`, a tensor like the values at a time, in
/// QKeras's order.
///
/// Scales are reduced over all axes but the channels', or but `scale_axis`; sums are taken in f64 and an order that depends on
/// the shape alone, and rounded once. Quantizers whose `alpha` is not automatic need no look at the values.
///
/// Errors: see [`FitError`].
/// Source: QKeras 0.9.0; golden data. Not covered by golden data: the stochastic rounding of `binary` (to eighths of twice
/// the largest magnitude), `ternary` (to thirds of the scale), `quantized_tanh`, `quantized_sigmoid` and
/// `quantized_linear` (to codes), and automatic scales of vectors in `quantized_linear` (one).
pub fn fit(
    quantizer: &Quantizer,
    values: Values<'_>,
    fitting: Fitting,
    uniform: &mut dyn Uniform,
) -> Result<Fitted, FitError> {
    quantizer.check()?;
    let Values { data, shape, .. } = values;
    if shape.is_empty() || shape.iter().product::<usize>() != data.len() {
        return Err(FitError::Shape { values: data.len(), shape: shape.to_vec() });
    }
    let mut fitter = Fitter { values, fitting, uniform };
    let fitter = &mut fitter;
    match quantizer {
        Quantizer::Bits(parameters) => bits::fit(parameters, fitter),
        Quantizer::Relu(parameters) => relu::fit(parameters, fitter),
        Quantizer::Po2(parameters) => powers::fit(parameters, fitter),
        Quantizer::ReluPo2(parameters) => powers::fit_relu(parameters, fitter),
        Quantizer::Binary(parameters) => signs::fit(parameters, fitter),
        Quantizer::Ternary(parameters) => ternary::fit(parameters, fitter),
        Quantizer::StochasticTernary(parameters) => drawn::fit_ternary(parameters, fitter),
        Quantizer::StochasticBinary(parameters) => drawn::fit_binary(parameters, fitter),
        Quantizer::Bernoulli(parameters) => drawn::fit_bernoulli(parameters, fitter),
        Quantizer::Tanh(parameters) => Ok(curves::fit_tanh(parameters, fitter)),
        Quantizer::Sigmoid(parameters) => Ok(curves::fit_sigmoid(parameters, fitter)),
        Quantizer::Linear(parameters) => linear::fit(parameters, fitter),
        Quantizer::Ulaw(parameters) => Ok(curves::fit_ulaw(parameters)),
        Quantizer::Hswish(parameters) => curves::fit_hswish(parameters, fitter),
    }
    .map(|fitted| Fitted { values: data.len(), ..fitted })
}

impl Fitter<'_> {
    pub(super) fn is_training(&self) -> bool {
        self.fitting.phase == Phase::Training
    }

    /// Draws so many tensors.
    pub(super) fn draws(&mut self, tensors: usize) -> Vec<Vec<f32>> {
        let drawn = (0..tensors).map(|_| {
            let mut draws = vec![0.0; self.values.data.len()];
            self.uniform.fill(&mut draws);
            draws
        });
        drawn.collect()
    }

    /// The same for other values.
    pub(super) fn with<'s>(&'s mut self, values: Values<'s>) -> Fitter<'s> {
        Fitter { values, fitting: self.fitting, uniform: self.uniform }
    }
}

impl Fitted {
    pub(super) fn new<E: Element + 'static>(
        element: E,
        (groups, found): (Groups, Vec<E::At>),
        draws: Vec<Vec<f32>>,
    ) -> Self {
        let placed = Placed { element, groups: groups.clone(), found, draws };
        Self { pass: Box::new(placed), groups, scale: None, values: 0 }
    }

    /// Adds the scales of the groups.
    pub(super) fn with_scale(self, scales: Vec<f32>) -> Self {
        let groups = self.groups.clone();
        self.with_scale_of(&groups, scales)
    }

    /// Adds the scales of other groups.
    pub(super) fn with_scale_of(self, groups: &Groups, scales: Vec<f32>) -> Self {
        let data = scales.iter().flat_map(|scale| std::iter::repeat_n(*scale, groups.repeats)).collect();
        Self { scale: Some(Scale { shape: groups.shape.clone(), data }), ..self }
    }

    /// Puts a function before the quantizer.
    pub(super) fn behind(self, through: impl FnOnce(Box<dyn Pass>) -> Box<dyn Pass>) -> Self {
        Self { pass: through(self.pass), ..self }
    }

    /// The same map for a GPU.
    #[cfg_attr(not(any(feature = "cuda", test)), expect(dead_code, reason = "kernels for GPUs take it"))]
    pub(crate) fn map(&self) -> FittedMap<'_> {
        self.pass.map()
    }

    /// The scale that QKeras's attribute of this name has; `None` for quantizers without one.
    pub fn scale(&self) -> Option<&Scale> {
        self.scale.as_ref()
    }

    /// Writes the quantized values of those that it was fitted to.
    ///
    /// Panics: slices of other lengths than the values it was fitted to.
    pub fn forward(&self, x: &[f32], y: &mut [f32]) {
        assert!([x.len(), y.len()] == [self.values; 2], "slices are as long as the values fitted to");
        self.pass.forward(x, y);
    }

    /// Writes the gradient with respect to the values, given that with respect to the quantized values; scales count as
    /// constants.
    ///
    /// Panics: slices of other lengths than the values it was fitted to.
    pub fn backward(&self, x: &[f32], gradient: &[f32], passed: &mut [f32]) {
        let lengths = [x.len(), gradient.len(), passed.len()];
        assert!(lengths == [self.values; 3], "slices are as long as the values fitted to");
        self.pass.backward(x, gradient, passed);
    }
}
