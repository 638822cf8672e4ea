use bitloop_core::graph::{Conv2d, Graph, INPUT, Input, Linear, Op, Padding, Pool, Shape};
use bitloop_core::spec::{ConvBlock, Separable};

use super::ZooError;

/// Keras's default, which trained QKeras models rely on.
const KERAS_EPS: f64 = 1e-3;

/// Returns AutoQKeras's `ConvBlockNetwork`, with its layer names.
///
/// Errors: `NoFilters`, `NotOnePixel`, `NoImage`, or what the graph's own check finds.
/// Source: `ConvBlockNetwork` of QKeras's `autoqkeras/examples/run` (names and order of layers).
pub fn conv_block(spec: &ConvBlock, name: &str, input: Input, classes: usize) -> Result<Graph, ZooError> {
    let [_, height, width] = *input.shape.0 else {
        return Err(ZooError::NoImage(input.shape));
    };
    if spec.filters.is_empty() || spec.filters.iter().any(|block| block.is_empty() || block.contains(&0)) {
        return Err(ZooError::NoFilters);
    }
    let mut builder = Builder {
        spec,
        channels: input.shape.channels(),
        size: [height, width],
        graph: Graph::new(name, input),
        last: INPUT.to_owned(),
    };
    for block in 0..spec.filters.len() {
        builder.block(block);
    }
    builder.classifier(classes)?;
    builder.graph.shapes()?;
    Ok(builder.graph)
}

struct Builder<'a> {
    spec: &'a ConvBlock,
    graph: Graph,
    /// Node whose output the next layer takes, with its channels and size.
    last: String,
    channels: usize,
    size: [usize; 2],
}

/// A convolution's place in the network.
struct Place {
    suffix: String,
    filters: usize,
    kernel: [usize; 2],
    closes_block: bool,
}

impl Builder<'_> {
    fn block(&mut self, block: usize) {
        let filters = &self.spec.filters[block];
        let kernels = match self.spec.separable {
            Separable::None | Separable::Mobilenet => vec![[self.spec.kernel; 2]],
            Separable::Dsp => vec![[1, self.spec.kernel], [self.spec.kernel, 1]],
        };
        for (index, &filters_here) in filters.iter().enumerate() {
            for (nth, &kernel) in kernels.iter().enumerate() {
                self.convolution(&Place {
                    suffix: self.suffix(block, index),
                    filters: filters_here,
                    kernel,
                    closes_block: index + 1 == filters.len() && nth + 1 == kernels.len(),
                });
            }
        }
        let suffix = self.suffix(block, filters.len() - 1);
        if self.spec.max_pooling {
            self.pooling(&suffix);
        }
        if self.spec.dropout > 0.0 {
            let rate = self.spec.dropout;
            self.push(joined("drop", &suffix), Op::Dropout { rate });
        }
    }

    fn suffix(&self, block: usize, index: usize) -> String {
        let several = self.spec.filters[block].len() > 1;
        match (self.spec.filters.len() > 1, several) {
            (true, true) => format!("{block}_{index}"),
            (true, false) => block.to_string(),
            (false, true) => index.to_string(),
            (false, false) => String::new(),
        }
    }

    fn convolution(&mut self, place: &Place) {
        let [kh, kw] = place.kernel;
        let stride = if place.closes_block && !self.spec.max_pooling { 2 } else { 1 };
        let bias = !self.spec.batch_norm;
        let tag = match self.spec.separable {
            Separable::Mobilenet => {
                self.depthwise(place, stride);
                "11".to_owned()
            }
            Separable::Dsp => format!("{kh}{kw}"),
            Separable::None => String::new(),
        };
        let suffix = joined(&tag, &place.suffix);
        let suffix = suffix.trim_start_matches('_');
        let (kernel, stride) = match self.spec.separable {
            Separable::Mobilenet => ([1, 1], 1),
            Separable::Dsp | Separable::None => (place.kernel, stride),
        };
        self.conv(joined("conv2d", suffix), place.filters, Window { kernel, stride, groups: 1, bias });
        // XNOR-Net: pooling before batch norm and rectifier keeps more of the values apart.
        if !(self.spec.max_pooling && self.spec.xnornet_trick && place.closes_block) {
            self.norm_and_rectifier(joined("bn", suffix), joined("act", suffix));
        }
    }

    fn depthwise(&mut self, place: &Place, stride: usize) {
        let [kh, kw] = place.kernel;
        let suffix = joined(&format!("{kh}{kw}"), &place.suffix);
        let window = Window { kernel: place.kernel, stride, groups: self.channels, bias: false };
        self.conv(format!("conv2d_dw_{suffix}"), self.channels, window);
        self.norm_and_rectifier(format!("conv2d_dw_bn_{suffix}"), format!("conv2d_dw_act_{suffix}"));
    }

    fn pooling(&mut self, suffix: &str) {
        let pool = Pool { kernel: [2, 2], stride: [2, 2], padding: Padding::default(), count_padding: false };
        self.size = self.size.map(|size| size / 2);
        self.push(joined("mp", suffix), Op::MaxPool(pool));
        if self.spec.xnornet_trick {
            self.norm_and_rectifier(joined("mp_bn", suffix), joined("mp_act", suffix));
        }
    }

    fn classifier(&mut self, classes: usize) -> Result<(), ZooError> {
        if !self.spec.all_conv {
            self.push("flatten".to_owned(), Op::Flatten);
            let dense = Linear { out_features: classes, bias: true };
            self.push("dense".to_owned(), Op::Linear(dense));
            self.push("softmax".to_owned(), Op::Softmax { axis: 0 });
            return Ok(());
        }
        if self.size != [1, 1] {
            let [height, width] = self.size;
            return Err(ZooError::NotOnePixel(Shape::image(self.channels, height, width)));
        }
        let window = Window { kernel: [1, 1], stride: 1, groups: 1, bias: true };
        self.conv("dense".to_owned(), classes, window);
        self.push("softmax".to_owned(), Op::Softmax { axis: 0 });
        self.push("flatten".to_owned(), Op::Flatten);
        Ok(())
    }

    fn conv(&mut self, name: String, out_channels: usize, window: Window) {
        let stride = [window.stride; 2];
        let conv = Conv2d {
            out_channels,
            kernel: window.kernel,
            stride,
            padding: Padding::same(self.size, window.kernel, stride),
            dilation: [1, 1],
            groups: window.groups,
            bias: window.bias,
        };
        self.size = self.size.map(|size| size.div_ceil(window.stride));
        self.channels = out_channels;
        self.push(name, Op::Conv2d(conv));
    }

    fn norm_and_rectifier(&mut self, norm: String, rectifier: String) {
        if self.spec.batch_norm {
            self.push(norm, Op::BatchNorm { eps: KERAS_EPS });
        }
        self.push(rectifier, Op::Relu);
    }

    fn push(&mut self, name: String, op: Op) {
        self.last = self.graph.push(name, op, &[&self.last]);
    }
}

struct Window {
    kernel: [usize; 2],
    stride: usize,
    groups: usize,
    bias: bool,
}

fn joined(name: &str, suffix: &str) -> String {
    match suffix {
        "" => name.to_owned(),
        suffix => format!("{name}_{suffix}"),
    }
}
