use bitloop_core::rng::rng;

/// Where numbers uniform in 0..1 come from: a tensor at a time, in the order in which a quantizer asks.
pub trait Uniform {
    /// Fills a tensor.
    fn fill(&mut self, draws: &mut [f32]);
}

/// Draws that depend on a seed and a step alone; every tensor of a step gets others.
#[derive(Clone, Debug)]
pub struct Seeded {
    seed: u64,
    tensor: u64,
}

/// Digits of a draw: as many as f32 has, so that 1 is never drawn.
const DRAW_BITS: u32 = 24;

impl Seeded {
    /// Starts at the first tensor of a step.
    pub fn new(seed: u64, step: u64) -> Self {
        Self { seed: rng(seed, step).next_u64(), tensor: 0 }
    }
}

impl Uniform for Seeded {
    fn fill(&mut self, draws: &mut [f32]) {
        let mut rng = rng(self.seed, self.tensor);
        self.tensor += 1;
        let unit = 1.0 / (1_u32 << DRAW_BITS) as f32;
        draws.fill_with(|| (rng.next_u64() >> (u64::BITS - DRAW_BITS)) as f32 * unit);
    }
}
