use serde::Serialize;

use super::{NumberKind, NumberType, Process};

/// What an operator is made of, as far as its price goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Circuit {
    /// A multiplier.
    Mul,
    /// An adder.
    Add,
    /// A multiplexer.
    Mux,
    /// Exclusive or, bit by bit.
    Xor,
    /// And, bit by bit.
    And,
    /// A shifter.
    Shifter,
}

const ADD_FP32_PJ: f64 = 0.9;
const MUL_FP32_PJ: f64 = 3.7;
const ADD_FP16_PJ: f64 = 0.4;
const MUL_FP16_PJ: f64 = 1.1;
/// Fixed-point addition per bit.
const ADD_PJ_PER_BIT: f64 = 0.003_125;
/// Fixed-point multiplication of `b` times `b` bits: this times `b^2`, and ...
const MUL_PJ_PER_BIT_SQUARED: f64 = 0.002_994_791_667;
/// ... this times `b`.
const MUL_PJ_PER_BIT: f64 = 0.001_041_666_667;
/// 1300 pJ for 64 bits, read or written.
const DRAM_PJ_PER_BIT: f64 = 20.312_5;
/// SRAM, read or written, per word, as a cubic of the base-2 logarithm of the memory's bits: without a constant term.
const SRAM_PJ: [f64; 3] = [0.208_900_804, -0.026_884_785_8, 0.000_902_427_321];
/// Bits that SRAM gives at a time.
const SRAM_WORD_BITS: u64 = 64;

/// What operations and memories cost.
pub(super) trait Prices {
    /// Returns the picojoules of one operation on `gate_bits` bits, with results of type `output`.
    ///
    /// Fixed point: `add(b) = 0.003125 b`, also for multiplexers, shifters, xor and and;
    /// `mul(b) = 0.002994791667 b^2 + 0.001041666667 b`. Floating point has one price of `add` and `mul` for 16 and one for
    /// 32 bits; the other circuits work on bits and cost what they cost in fixed point. `None` where `qkeras` is set and
    /// QTools has no such price: floating point other than `add` and `mul`.
    fn operation_pj(self, circuit: Circuit, gate_bits: f64, output: &NumberType, qkeras: bool)
    -> Option<f64>;

    /// Picojoules of reading or writing `bits` from or to DRAM.
    fn dram_pj(self, bits: u64) -> f64;

    /// Returns the picojoules of reading or writing `bits` from or to an SRAM of `size_bits`.
    ///
    /// `ceil(bits / 64) * max(0, 0.000902427321 L^3 - 0.0268847858 L^2 + 0.208900804 L)` with `L = log2(size)`. The cubic
    /// falls between some 2^5 and 2^15 bits: a larger memory can cost less.
    fn sram_pj(self, bits: u64, size_bits: u64) -> f64;
}

impl Prices for Process {
    fn operation_pj(
        self,
        circuit: Circuit,
        gate_bits: f64,
        output: &NumberType,
        qkeras: bool,
    ) -> Option<f64> {
        let Self::Horowitz = self;
        let half = output.bits <= 16;
        match (output.kind, circuit) {
            (NumberKind::Float, Circuit::Add) => Some(if half { ADD_FP16_PJ } else { ADD_FP32_PJ }),
            (NumberKind::Float, Circuit::Mul) => Some(if half { MUL_FP16_PJ } else { MUL_FP32_PJ }),
            (NumberKind::Float, _) if qkeras => None,
            (_, Circuit::Mul) => {
                Some((MUL_PJ_PER_BIT_SQUARED * gate_bits * gate_bits + MUL_PJ_PER_BIT * gate_bits).max(0.0))
            }
            (_, Circuit::Add | Circuit::Mux | Circuit::Xor | Circuit::And | Circuit::Shifter) => {
                Some((ADD_PJ_PER_BIT * gate_bits).max(0.0))
            }
        }
    }

    fn dram_pj(self, bits: u64) -> f64 {
        let Self::Horowitz = self;
        DRAM_PJ_PER_BIT * bits as f64
    }

    fn sram_pj(self, bits: u64, size_bits: u64) -> f64 {
        let Self::Horowitz = self;
        if bits == 0 || size_bits == 0 {
            return 0.0;
        }
        let log = libm::log2(size_bits as f64);
        let [linear, square, cube] = SRAM_PJ;
        let word = cube * log * log * log + square * log * log + linear * log;
        bits.div_ceil(SRAM_WORD_BITS) as f64 * word.max(0.0)
    }
}
