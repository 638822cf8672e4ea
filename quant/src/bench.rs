//! What benchmarks compare: kernels that have a fast form beside a plain one.

pub use crate::kernels::Pair;
