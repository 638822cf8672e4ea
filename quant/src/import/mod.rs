//! Networks and weights that other programs wrote.

pub mod torch;
