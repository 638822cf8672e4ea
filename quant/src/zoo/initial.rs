use std::collections::BTreeMap;

use bitloop_core::graph::{Graph, Op};
use bitloop_core::spec::Initializer;
use candle_core::{Device, Tensor};

use super::ZooError;
use crate::model::expected_tensors;
use crate::rng::{Rng, rng};

/// Standard deviation of a standard normal distribution cut off at two deviations.
const TRUNCATED_DEVIATION: f64 = 0.879_625_661_034_239_8;

/// Draws the weights that a training starts from: layers by `initializer`, biases 0, batch norms the identity.
///
/// Depends on the seed and the graph alone. Errors: those of the graph's check.
pub fn initial_weights(
    graph: &Graph,
    initializer: Initializer,
    seed: u64,
) -> Result<BTreeMap<String, Tensor>, ZooError> {
    let mut weights = BTreeMap::new();
    for (index, (name, shape)) in expected_tensors(graph)?.into_iter().enumerate() {
        let count = shape.iter().product();
        let (node, part) = name.rsplit_once('.').expect("weights are named `<node>.<part>`");
        let values = match part {
            "weight" => {
                let mut rng = rng(seed, index as u64);
                let fan = Fan::of(graph, node, &shape);
                (0..count).map(|_| fan.draw(initializer, &mut rng) as f32).collect()
            }
            "gamma" | "running_var" => vec![1.0; count],
            _ => vec![0.0; count],
        };
        let tensor = Tensor::from_vec(values, shape, &Device::Cpu)
            .map_err(|error| ZooError::Weight { name: name.clone(), reason: error.to_string() })?;
        weights.insert(name, tensor);
    }
    Ok(weights)
}

/// How many values one output depends on, and how many outputs one value reaches.
struct Fan {
    fan_in: f64,
    fan_out: f64,
}

impl Fan {
    fn of(graph: &Graph, node: &str, shape: &[usize]) -> Self {
        let groups = match graph.node(node).map(|node| &node.op) {
            Some(Op::Conv2d(conv)) => conv.groups,
            _ => 1,
        };
        let window: usize = shape[2..].iter().product();
        Self { fan_in: (shape[1] * window) as f64, fan_out: (shape[0] / groups * window) as f64 }
    }

    fn draw(&self, initializer: Initializer, rng: &mut Rng) -> f64 {
        let uniform = |variance: f64, rng: &mut Rng| (2.0 * rng.uniform() - 1.0) * (3.0 * variance).sqrt();
        match initializer {
            Initializer::HeUniform => uniform(2.0 / self.fan_in, rng),
            Initializer::GlorotUniform => uniform(2.0 / (self.fan_in + self.fan_out), rng),
            Initializer::HeNormal => {
                let value = std::iter::repeat_with(|| rng.normal())
                    .find(|value| value.abs() <= 2.0)
                    .expect("the iterator is endless");
                value * (2.0 / self.fan_in).sqrt() / TRUNCATED_DEVIATION
            }
        }
    }
}
