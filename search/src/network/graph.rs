use bitloop_core::graph::{Conv2d, Graph, GraphError, INPUT, Node, Op, Padding, Pool, Shape};

use super::{Class, Kind, Layer, LayerPadding, Network, Weight};

impl Network {
    /// Returns a graph's network: an input layer, then a layer per node, under the nodes' names.
    ///
    /// Shapes become channels last. A convolution with a group per channel is a `DepthwiseConv2D`, so one of a single
    /// channel to a single channel is too. Activations are `Activation` layers of their Keras names (`relu6` and
    /// `hard_swish` among them), dropout stays a layer. What Keras has no layer for keeps a name of its own.
    /// Errors: those of [`Graph::shapes`].
    pub fn of_graph(graph: &Graph) -> Result<Self, GraphError> {
        let shapes = graph.shapes()?;
        let shape_of = |name: &str| match graph.nodes.iter().position(|node| node.name == name) {
            Some(index) => &shapes[index],
            None => &graph.input.shape,
        };
        let shape = channels_last(&graph.input.shape);
        let input = Layer {
            name: INPUT.to_owned(),
            input_shape: vec![shape.clone()],
            output_shape: shape,
            ..Layer::default()
        };
        let layers = graph.nodes.iter().zip(&shapes).map(|(node, output)| {
            let inputs: Vec<&Shape> = node.inputs.iter().map(|name| shape_of(name)).collect();
            layer(node, &inputs, output)
        });
        Ok(Self { layers: std::iter::once(input).chain(layers).collect() })
    }
}

/// `(channels, height, width)` as `(height, width, channels)`; other ranks stay.
fn channels_last(shape: &Shape) -> Vec<usize> {
    match *shape.0 {
        [channels, height, width] => vec![height, width, channels],
        ref other => other.to_vec(),
    }
}

fn layer(node: &Node, inputs: &[&Shape], output: &Shape) -> Layer {
    let bare = Layer {
        name: node.name.clone(),
        inbound: node.inputs.clone(),
        input_shape: inputs.iter().map(|shape| channels_last(shape)).collect(),
        output_shape: channels_last(output),
        ..Layer::default()
    };
    let of = |kind: Kind| Layer { class: Class::plain(kind), ..bare.clone() };
    let other = |name: &str| of(Kind::Other(name.to_owned()));
    let activation = |name: &str| Layer { activation_text: Some(name.to_owned()), ..of(Kind::Activation) };
    match &node.op {
        Op::Conv2d(conv) => convolution(conv, inputs[0], bare),
        Op::Linear(linear) => Layer {
            units: Some(linear.out_features),
            use_bias: linear.bias,
            activation_text: Some("linear".to_owned()),
            weights: weights("kernel", &[inputs[0].elements(), linear.out_features], linear.bias),
            ..of(Kind::Dense)
        },
        Op::BatchNorm { .. } => Layer {
            scale: true,
            center: true,
            weights: ["gamma", "beta", "moving_mean", "moving_variance"]
                .map(|name| Weight::new(name, &[output.channels()]))
                .to_vec(),
            ..of(Kind::BatchNormalization)
        },
        Op::Relu => activation("relu"),
        Op::Relu6 => activation("relu6"),
        Op::HardSwish => activation("hard_swish"),
        Op::HardSigmoid { .. } => activation("hard_sigmoid"),
        Op::Sigmoid => activation("sigmoid"),
        Op::Softmax { .. } => activation("softmax"),
        Op::LeakyRelu { .. } => other("LeakyReLU"),
        Op::PRelu => other("PReLU"),
        Op::Clip { .. } => other("Clip"),
        Op::Add => of(Kind::Add),
        Op::Mul => of(Kind::Multiply),
        Op::Concat { .. } => of(Kind::Concatenate),
        Op::MaxPool(pool) => pooling(pool, inputs[0], of(Kind::MaxPooling2D)),
        Op::AveragePool(pool) => pooling(pool, inputs[0], of(Kind::AveragePooling2D)),
        Op::GlobalAveragePool => of(Kind::GlobalAveragePooling2D),
        Op::Flatten => of(Kind::Flatten),
        Op::Reshape { .. } => of(Kind::Reshape),
        Op::Pad { .. } => of(Kind::ZeroPadding2D),
        Op::Dropout { .. } => of(Kind::Dropout),
        Op::Transpose { .. } => other("Permute"),
        Op::Constant { .. } => other("Constant"),
        Op::Mean { .. } => other("Mean"),
        Op::Slice { .. } => other("Slice"),
        Op::Lrn { .. } => other("LocalResponseNormalization"),
        Op::Identity => other("Identity"),
    }
}

fn convolution(conv: &Conv2d, input: &Shape, bare: Layer) -> Layer {
    let channels = input.channels();
    let [kh, kw] = conv.kernel;
    let is_depthwise = conv.groups == channels && (channels > 1 || conv.out_channels == 1);
    let multiplier = conv.out_channels / channels.max(1);
    let (kind, kernel, shape) = if is_depthwise {
        (Kind::DepthwiseConv2D, "depthwise_kernel", [kh, kw, channels, multiplier])
    } else {
        (Kind::Conv2D, "kernel", [kh, kw, channels / conv.groups.max(1), conv.out_channels])
    };
    Layer {
        class: Class::plain(kind),
        filters: (!is_depthwise).then_some(conv.out_channels),
        depth_multiplier: is_depthwise.then_some(multiplier),
        kernel_size: conv.kernel.to_vec(),
        strides: conv.stride.to_vec(),
        padding: Some(match padding_of(conv.padding, conv.kernel, conv.stride, input) {
            (true, _) => LayerPadding::Same,
            (_, true) => LayerPadding::Valid,
            _ => LayerPadding::Explicit(conv.padding),
        }),
        use_bias: conv.bias,
        activation_text: Some("linear".to_owned()),
        weights: weights(kernel, &shape, conv.bias),
        ..bare
    }
}

fn pooling(pool: &Pool, input: &Shape, bare: Layer) -> Layer {
    Layer {
        pool_size: pool.kernel.to_vec(),
        strides: pool.stride.to_vec(),
        padding: Some(match padding_of(pool.padding, pool.kernel, pool.stride, input) {
            (_, true) => LayerPadding::Valid,
            (true, _) => LayerPadding::Same,
            _ => LayerPadding::Explicit(pool.padding),
        }),
        ..bare
    }
}

/// Whether the numbers are what Keras calls "same", and what it calls "valid"; a 1x1 window is both.
fn padding_of(padding: Padding, kernel: [usize; 2], stride: [usize; 2], input: &Shape) -> (bool, bool) {
    let size = match *input.0 {
        [_, height, width] => [height, width],
        _ => [1, 1],
    };
    (padding == Padding::same(size, kernel, stride), padding == Padding::default())
}

fn weights(kernel: &str, shape: &[usize], bias: bool) -> Vec<Weight> {
    let out = shape.last().copied().unwrap_or(1);
    // A depthwise layer has a bias per output channel, of which its kernel has two axes.
    let channels = if kernel == "depthwise_kernel" { shape[2] * out } else { out };
    let mut weights = vec![Weight::new(kernel, shape)];
    weights.extend(bias.then(|| Weight::new("bias", &[channels])));
    weights
}
