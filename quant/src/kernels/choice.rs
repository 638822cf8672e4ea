//! Which kernels compute: our own for a set of instructions, our own beside candle's operators, or these alone.

use std::sync::OnceLock;

use candle_core::Device;

use super::nhwc::Isa;

/// The environment variable that forces kernels.
pub const KERNELS_VARIABLE: &str = "BITLOOP_KERNELS";

/// What [`KERNELS_VARIABLE`] says cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelsError {
    /// The name is none.
    #[error(
        "{KERNELS_VARIABLE}: there are no kernels called `{0}`; write scalar, avx2, avx512, vnni, cuda or candle, or unset it"
    )]
    Unknown(String),
    /// This CPU cannot run them.
    #[error(
        "{KERNELS_VARIABLE}: this CPU cannot run the kernels `{0}`; unset it to use the fastest that it can"
    )]
    Unavailable(&'static str),
}

/// The kernels that something is computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernels(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Own(Isa),
    Cuda,
    Candle,
}

/// Who computes the operators of a walk over a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operators {
    /// Our kernels for the CPU.
    Own,
    /// Candle, and our CUDA kernels for what it has nothing fast for. On a CPU the same by our other kernels.
    Cuda,
    /// Candle alone.
    Candle,
}

impl Kernels {
    /// Candle's operators alone, which compute on every device and only `numerics: float`.
    pub const CANDLE: Self = Self(Kind::Candle);

    /// Candle's operators and our CUDA kernels for depthwise convolutions and quantizers: what a GPU runs, and only
    /// `numerics: float`. On a CPU the same walk computes these two by other means, to be tested.
    pub const CUDA: Self = Self(Kind::Cuda);

    /// Returns the kernels that the environment forces, or the fastest for this CPU.
    ///
    /// Errors: `Unknown`, `Unavailable`. The environment is read once.
    pub fn chosen() -> Result<Self, KernelsError> {
        static CHOSEN: OnceLock<Result<Kernels, KernelsError>> = OnceLock::new();
        CHOSEN
            .get_or_init(|| match std::env::var_os(KERNELS_VARIABLE) {
                None => Ok(Self(Kind::Own(Isa::best()))),
                Some(name) => Self::named(&name.to_string_lossy()),
            })
            .clone()
    }

    /// Returns what [`Kernels::chosen`] means on a device: a GPU runs `candle` if that is forced, otherwise `cuda`.
    ///
    /// Errors: those of [`Kernels::chosen`].
    pub fn chosen_for(device: &Device) -> Result<Self, KernelsError> {
        Ok(Self::chosen()?.on(device))
    }

    /// Returns kernels by name.
    ///
    /// Errors: `Unknown`, `Unavailable`.
    pub fn named(name: &str) -> Result<Self, KernelsError> {
        if let Some(known) = [Self::CUDA, Self::CANDLE].into_iter().find(|kernels| kernels.name() == name) {
            return Ok(known);
        }
        match Isa::ALL.into_iter().find(|isa| isa.as_str() == name) {
            None => Err(KernelsError::Unknown(name.to_owned())),
            Some(isa) if !isa.is_available() => Err(KernelsError::Unavailable(isa.as_str())),
            Some(isa) => Ok(Self(Kind::Own(isa))),
        }
    }

    /// All kernels that this CPU can run.
    pub fn available() -> Vec<Self> {
        let own = Isa::ALL.into_iter().filter(|isa| isa.is_available());
        own.map(|isa| Self(Kind::Own(isa))).chain([Self::CUDA, Self::CANDLE]).collect()
    }

    /// The name that [`KERNELS_VARIABLE`] takes.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Own(isa) => isa.as_str(),
            Kind::Cuda => "cuda",
            Kind::Candle => "candle",
        }
    }

    /// Whether they compute `numerics: exact`.
    pub fn are_exact(self) -> bool {
        matches!(self.0, Kind::Own(_))
    }

    /// The same as far as a device can run them; only a CPU runs a CPU's kernels.
    pub(crate) fn on(self, device: &Device) -> Self {
        match self.0 {
            Kind::Own(_) if !device.is_cpu() => Self::CUDA,
            Kind::Own(_) | Kind::Cuda | Kind::Candle => self,
        }
    }

    /// The instructions of our own kernels for the CPU; none where candle's operators compute.
    pub(crate) fn isa(self) -> Option<Isa> {
        match self.0 {
            Kind::Own(isa) => Some(isa),
            Kind::Cuda | Kind::Candle => None,
        }
    }

    /// Who computes operators on a device.
    pub(crate) fn operators(self, device: &Device) -> Operators {
        match self.on(device).0 {
            Kind::Own(_) => Operators::Own,
            Kind::Cuda => Operators::Cuda,
            Kind::Candle => Operators::Candle,
        }
    }
}

/// What the environment forces, or the fastest for this CPU; also if what it says cannot be used, which
/// [`Kernels::chosen`] tells.
impl Default for Kernels {
    fn default() -> Self {
        Self::chosen().unwrap_or(Self(Kind::Own(Isa::best())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_found_by_name() {
        for kernels in Kernels::available() {
            assert_eq!(Kernels::named(kernels.name()), Ok(kernels));
        }
        assert_eq!(Kernels::named("sse"), Err(KernelsError::Unknown("sse".to_owned())));
        assert!(Kernels::available().contains(&Kernels::named("scalar").unwrap()));
    }

    #[test]
    fn only_a_cpus_own_kernels_compute_exactly() {
        for kernels in Kernels::available() {
            let on_candle = [Kernels::CANDLE, Kernels::CUDA].contains(&kernels);
            assert_eq!(kernels.are_exact(), !on_candle, "{kernels:?}");
            assert_eq!(kernels.operators(&Device::Cpu) == Operators::Own, !on_candle, "{kernels:?}");
        }
    }
}
