use bitloop_core::graph::{Conv2d, Graph, INPUT, Input, Linear, Op, Padding};
use bitloop_core::spec::ResNet;

use super::ZooError;

/// PyTorch's default.
const EPS: f64 = 1e-5;
const STAGES: usize = 3;

/// Returns a residual network for small images: three stages of `(depth - 2) / 6` units, width doubling per stage.
///
/// Errors: `Depth`, `NoImage`, or what the graph's own check finds.
/// Source: He et al., "Deep Residual Learning for Image Recognition", 2016, section 4.2; with 1x1 convolutions as
/// shortcuts where the shape changes (their option B).
pub fn resnet(spec: &ResNet, name: &str, input: Input, classes: usize) -> Result<Graph, ZooError> {
    if input.shape.0.len() != 3 {
        return Err(ZooError::NoImage(input.shape));
    }
    if ![8, 14, 20].contains(&spec.depth) {
        return Err(ZooError::Depth(spec.depth));
    }
    let mut builder = Builder { graph: Graph::new(name, input) };
    let stem = builder.conv_and_norm("", "1", INPUT, Window::square(spec.width, 3, spec.stem_stride));
    let mut last = builder.graph.push("relu1", Op::Relu, &[&stem]);
    let mut channels = spec.width;
    for stage in 0..STAGES {
        for unit in 0..(spec.depth - 2) / 6 {
            let stride = if stage > 0 && unit == 0 { 2 } else { 1 };
            let wide = spec.width << stage;
            let prefix = format!("stage{}.unit{}.", stage + 1, unit + 1);
            last = builder.unit(&prefix, &last, Window::square(wide, 3, stride), channels != wide);
            channels = wide;
        }
    }
    let mut graph = builder.graph;
    let pool = graph.push("pool", Op::GlobalAveragePool, &[&last]);
    let dense = Linear { out_features: classes, bias: true };
    graph.push("dense", Op::Linear(dense), &[&pool]);
    graph.shapes()?;
    Ok(graph)
}

#[derive(Clone, Copy)]
struct Window {
    out_channels: usize,
    kernel: usize,
    stride: usize,
}

impl Window {
    fn square(out_channels: usize, kernel: usize, stride: usize) -> Self {
        Self { out_channels, kernel, stride }
    }
}

struct Builder {
    graph: Graph,
}

impl Builder {
    fn unit(&mut self, prefix: &str, input: &str, window: Window, projects: bool) -> String {
        let first = self.conv_and_norm(prefix, "1", input, window);
        let relu = self.graph.push(format!("{prefix}relu1"), Op::Relu, &[&first]);
        let second = self.conv_and_norm(prefix, "2", &relu, Window { stride: 1, ..window });
        let shortcut = if projects || window.stride > 1 {
            let conv = self.conv(format!("{prefix}shortcut.conv"), input, Window { kernel: 1, ..window });
            self.graph.push(format!("{prefix}shortcut.bn"), Op::BatchNorm { eps: EPS }, &[&conv])
        } else {
            input.to_owned()
        };
        let sum = self.graph.push(format!("{prefix}add"), Op::Add, &[&second, &shortcut]);
        self.graph.push(format!("{prefix}relu2"), Op::Relu, &[&sum])
    }

    fn conv_and_norm(&mut self, prefix: &str, number: &str, input: &str, window: Window) -> String {
        let conv = self.conv(format!("{prefix}conv{number}"), input, window);
        self.graph.push(format!("{prefix}bn{number}"), Op::BatchNorm { eps: EPS }, &[&conv])
    }

    fn conv(&mut self, name: String, input: &str, window: Window) -> String {
        // The same number of zeros on all sides, as in PyTorch.
        let padding = window.kernel / 2;
        let conv = Conv2d {
            out_channels: window.out_channels,
            kernel: [window.kernel; 2],
            stride: [window.stride; 2],
            padding: Padding::all(padding),
            dilation: [1, 1],
            groups: 1,
            bias: false,
        };
        self.graph.push(name, Op::Conv2d(conv), &[input])
    }
}
