//! How fast this thread's processor runs, as instructions say that it executes.

use std::hint::black_box;

use crate::clock;

/// Pairs of instructions of a chain: some 20 µs, so that reading the clock costs nothing and few chains are interrupted.
const PAIRS: u64 = 32_768;

/// Chains, of which the fastest counts: whatever interrupts one makes it slower.
const CHAINS: usize = 12;

/// Megahertz of the processor that this thread is on.
///
/// A virtual machine is told one frequency for ever, whatever its host's processor does, and there may be no other source. But
/// each instruction of this chain needs what the one before it gives, and both kinds take one cycle on processors of our
/// time: so many instructions took so many cycles.
pub(super) fn mhz() -> f64 {
    let fastest = (0..CHAINS).map(|_| chain_ns()).fold(f64::INFINITY, f64::min);
    2e3 * PAIRS as f64 / fastest
}

/// Nanoseconds of one chain; never none, as a clock may be coarse.
fn chain_ns() -> f64 {
    let start = clock::now();
    let mut value: u64 = black_box(1);
    for _ in 0..PAIRS {
        // No arithmetic makes several of these steps one.
        value = value.rotate_left(1).wrapping_add(0x9e37_79b9);
    }
    black_box(value);
    (clock::elapsed(start).as_nanos() as f64).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_has_a_plausible_frequency() {
        let mhz = mhz();

        // Both ends are a factor of two beyond what processors have, as a build without optimization executes more.
        assert!((50.0..12_000.0).contains(&mhz), "{mhz}");
    }
}
