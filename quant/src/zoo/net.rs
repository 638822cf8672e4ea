use std::ops::Range;

use bitloop_core::graph::{Conv2d, Graph, INPUT, Input, Linear, Op, Padding, Pool};

use super::registry::COLOURS;
use super::{Strides, ZooError};

/// The node that widens a grey image to the three channels that published networks take.
pub(super) const SHIM: &str = "shim";
/// Halvings of the resolution that [`Strides::SmallImages`] leaves out.
const HALVINGS_LEFT_OUT: usize = 2;

/// A graph under construction: what the published networks are put together from.
pub(super) struct Net {
    graph: Graph,
    style: Style,
    halvings_to_leave_out: usize,
}

/// What all layers of a network have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// Of the batch norms.
    pub(super) eps: f64,
    /// Of the convolutions.
    pub(super) zeros: Zeros,
    /// Behind the batch norms.
    pub(super) rectifier: Rectifier,
}

/// How a convolution is padded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Zeros {
    /// `kernel / 2` on every side, as PyTorch's networks do.
    Symmetric,
    /// TensorFlow's "same", which depends on the image's size.
    Same,
}

/// Which rectifier a network uses.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rectifier {
    Relu,
    Relu6,
}

/// The output of a node.
#[derive(Clone)]
pub(super) struct Wire {
    pub(super) name: String,
    pub(super) channels: usize,
    size: [usize; 2],
}

impl Wire {
    fn renamed(&self, name: String) -> Self {
        Self { name, ..self.clone() }
    }
}

/// A convolution without bias and with a square window.
#[derive(Clone, Copy)]
pub(super) struct Filter {
    pub(super) out_channels: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) groups: usize,
}

impl Filter {
    /// Mixes channels at each pixel.
    pub(super) fn pointwise(out_channels: usize) -> Self {
        Self { out_channels, kernel: 1, stride: 1, groups: 1 }
    }

    /// Sees every channel in a window.
    pub(super) fn dense(out_channels: usize, kernel: usize, stride: usize) -> Self {
        Self { out_channels, kernel, stride, groups: 1 }
    }

    /// Filters every channel of `input` alone.
    pub(super) fn depthwise(input: &Wire, kernel: usize, stride: usize) -> Self {
        Self { out_channels: input.channels, kernel, stride, groups: input.channels }
    }
}

/// Names of what stands between the last feature map and the logits.
pub(super) struct Head {
    pub(super) pool: &'static str,
    /// Name and rate.
    pub(super) dropout: Option<(&'static str, f32)>,
    pub(super) linear: &'static str,
}

impl Net {
    /// Starts a network on a graph without nodes; the wire is the image.
    ///
    /// Errors: `NoImage`, or a shape or normalization that no graph can have.
    pub(super) fn new(graph: Graph, strides: Strides, style: Style) -> Result<(Self, Wire), ZooError> {
        let [channels, height, width] = *graph.input.shape.0 else {
            return Err(ZooError::NoImage(graph.input.shape));
        };
        check_input(&graph.input)?;
        let halvings_to_leave_out = match strides {
            Strides::Published => 0,
            Strides::SmallImages => HALVINGS_LEFT_OUT,
        };
        let image = Wire { name: INPUT.to_owned(), channels, size: [height, width] };
        Ok((Self { graph, style, halvings_to_leave_out }, image))
    }

    /// Appends the convolution that makes three channels of one.
    pub(super) fn shim(&mut self, image: &Wire) -> Wire {
        self.convolution(SHIM.to_owned(), image, (Filter::pointwise(COLOURS), true))
    }

    /// Returns the stride of the next step that halves the resolution where it is published.
    pub(super) fn halving(&mut self) -> usize {
        if self.halvings_to_leave_out == 0 {
            return 2;
        }
        self.halvings_to_leave_out -= 1;
        1
    }

    /// Returns the stride of a step: `published`, or 1 where a halving is to be left out.
    pub(super) fn stride(&mut self, published: usize) -> usize {
        if published == 2 { self.halving() } else { published }
    }

    /// Appends a convolution without bias.
    pub(super) fn conv(&mut self, name: impl Into<String>, input: &Wire, filter: Filter) -> Wire {
        self.convolution(name.into(), input, (filter, false))
    }

    fn convolution(&mut self, name: String, input: &Wire, (filter, bias): (Filter, bool)) -> Wire {
        let (kernel, stride) = ([filter.kernel; 2], [filter.stride; 2]);
        let padding = match self.style.zeros {
            Zeros::Symmetric => Padding::all(filter.kernel / 2),
            Zeros::Same => Padding::same(input.size, kernel, stride),
        };
        let out_channels = filter.out_channels;
        let op = Op::Conv2d(Conv2d {
            out_channels,
            kernel,
            stride,
            padding,
            dilation: [1, 1],
            groups: filter.groups,
            bias,
        });
        let name = self.graph.push(name, op, &[&input.name]);
        Wire { name, channels: out_channels, size: windows(input.size, &Window { kernel, stride, padding }) }
    }

    /// Appends a batch norm.
    pub(super) fn norm(&mut self, name: impl Into<String>, input: &Wire) -> Wire {
        let eps = self.style.eps;
        self.unary(name, Op::BatchNorm { eps }, input)
    }

    /// Appends the network's rectifier.
    pub(super) fn rectifier(&mut self, name: impl Into<String>, input: &Wire) -> Wire {
        let op = match self.style.rectifier {
            Rectifier::Relu => Op::Relu,
            Rectifier::Relu6 => Op::Relu6,
        };
        self.unary(name, op, input)
    }

    /// Appends a convolution, its batch norm and, with a third name, a rectifier.
    pub(super) fn block<const N: usize>(&mut self, names: [String; N], input: &Wire, filter: Filter) -> Wire {
        let mut names = names.into_iter();
        let mut wire = match names.next() {
            Some(conv) => self.conv(conv, input, filter),
            None => return input.clone(),
        };
        if let Some(norm) = names.next() {
            wire = self.norm(norm, &wire);
        }
        match names.next() {
            Some(rectifier) => self.rectifier(rectifier, &wire),
            None => wire,
        }
    }

    /// Appends a sum of two tensors of one shape.
    pub(super) fn add(&mut self, name: impl Into<String>, left: &Wire, right: &Wire) -> Wire {
        let name = self.graph.push(name, Op::Add, &[&left.name, &right.name]);
        left.renamed(name)
    }

    /// Appends a 3x3 max pooling that halves the resolution; none where the halving is to be left out.
    pub(super) fn halving_max_pool(&mut self, name: &str, input: Wire) -> Wire {
        if self.halving() == 1 {
            return input;
        }
        let (kernel, stride, padding) = ([3, 3], [2, 2], Padding::all(1));
        let pool = Pool { kernel, stride, padding, count_padding: false };
        let name = self.graph.push(name, Op::MaxPool(pool), &[&input.name]);
        Wire { name, size: windows(input.size, &Window { kernel, stride, padding }), ..input }
    }

    /// Appends a slice of channels.
    pub(super) fn channels(&mut self, name: String, input: &Wire, range: Range<usize>) -> Wire {
        let channels = range.len();
        let slice = Op::Slice { axis: 0, start: range.start, end: range.end, step: 1 };
        Wire { channels, ..self.unary(name, slice, input) }
    }

    /// Appends the channels of one tensor behind those of another of equal size.
    pub(super) fn concat(&mut self, name: String, [left, right]: [&Wire; 2]) -> Wire {
        let name = self.graph.push(name, Op::Concat { axis: 0 }, &[&left.name, &right.name]);
        Wire { name, channels: left.channels + right.channels, size: left.size }
    }

    /// Appends a channel shuffle: of `groups` equal parts, first the first channel of each, then the second, ...
    ///
    /// Needs a number of channels that `groups` divides; the graph's own check finds any other.
    pub(super) fn shuffle(&mut self, name: &str, input: &Wire, groups: usize) -> Wire {
        let [height, width] = input.size;
        let split = Op::Reshape { shape: vec![groups, input.channels / groups, height, width] };
        let wire = self.unary(format!("{name}_split"), split, input);
        let wire = self.unary(format!("{name}_swap"), Op::Transpose { perm: vec![1, 0, 2, 3] }, &wire);
        self.unary(name, Op::Reshape { shape: vec![input.channels, height, width] }, &wire)
    }

    /// Appends pooling, dropout and classifier, and returns the graph.
    ///
    /// Errors: what the graph's own check finds, such as an image that is too small.
    pub(super) fn classifier(mut self, input: &Wire, head: &Head, classes: usize) -> Result<Graph, ZooError> {
        let mut last = self.graph.push(head.pool, Op::GlobalAveragePool, &[&input.name]);
        if let Some((name, rate)) = head.dropout {
            last = self.graph.push(name, Op::Dropout { rate }, &[&last]);
        }
        let linear = Linear { out_features: classes, bias: true };
        self.graph.push(head.linear, Op::Linear(linear), &[&last]);
        self.graph.shapes()?;
        Ok(self.graph)
    }

    fn unary(&mut self, name: impl Into<String>, op: Op, input: &Wire) -> Wire {
        let name = self.graph.push(name, op, &[&input.name]);
        input.renamed(name)
    }
}

/// Sizes are computed while building, so absurd ones are refused before.
fn check_input(input: &Input) -> Result<(), ZooError> {
    let mut alone = Graph::new("", input.clone());
    alone.push("identity", Op::Identity, &[INPUT]);
    alone.shapes()?;
    Ok(())
}

struct Window {
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
}

/// Positions of a window; at least one, as the graph's own check says better what does not fit.
fn windows(size: [usize; 2], window: &Window) -> [usize; 2] {
    let Window { kernel, stride, padding } = window;
    let around = [padding.top + padding.bottom, padding.left + padding.right];
    [0, 1].map(|axis| (size[axis] + around[axis]).saturating_sub(kernel[axis]) / stride[axis] + 1)
}
