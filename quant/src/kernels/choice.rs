//! Which kernels compute: our own for a set of instructions, or candle's operators.

use std::sync::OnceLock;

use super::nhwc::Isa;

/// The environment variable that forces kernels.
pub const KERNELS_VARIABLE: &str = "BITLOOP_KERNELS";

/// What [`KERNELS_VARIABLE`] says cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelsError {
    /// The name is none.
    #[error(
        "{KERNELS_VARIABLE}: there are no kernels called `{0}`; write scalar, avx2, avx512, vnni or candle, or unset it"
    )]
    Unknown(String),
    /// This CPU cannot run them.
    #[error(
        "{KERNELS_VARIABLE}: this CPU cannot run the kernels `{0}`; unset it to use the fastest that it can"
    )]
    Unavailable(&'static str),
}

/// The kernels of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernels(Option<Isa>);

impl Kernels {
    /// Candle's operators, which compute on every device and only `numerics: float`.
    pub const CANDLE: Self = Self(None);

    /// Returns the kernels that the environment forces, or the fastest for this CPU.
    ///
    /// Errors: `Unknown`, `Unavailable`. The environment is read once.
    pub fn chosen() -> Result<Self, KernelsError> {
        static CHOSEN: OnceLock<Result<Kernels, KernelsError>> = OnceLock::new();
        CHOSEN
            .get_or_init(|| match std::env::var_os(KERNELS_VARIABLE) {
                None => Ok(Self(Some(Isa::best()))),
                Some(name) => Self::named(&name.to_string_lossy()),
            })
            .clone()
    }

    /// Returns kernels by name.
    ///
    /// Errors: `Unknown`, `Unavailable`.
    pub fn named(name: &str) -> Result<Self, KernelsError> {
        if name == Self::CANDLE.name() {
            return Ok(Self::CANDLE);
        }
        match Isa::ALL.into_iter().find(|isa| isa.as_str() == name) {
            None => Err(KernelsError::Unknown(name.to_owned())),
            Some(isa) if !isa.is_available() => Err(KernelsError::Unavailable(isa.as_str())),
            Some(isa) => Ok(Self(Some(isa))),
        }
    }

    /// All kernels that this CPU can run.
    pub fn available() -> Vec<Self> {
        let own = Isa::ALL.into_iter().filter(|isa| isa.is_available());
        own.map(|isa| Self(Some(isa))).chain([Self::CANDLE]).collect()
    }

    /// The name that [`KERNELS_VARIABLE`] takes.
    pub fn name(self) -> &'static str {
        self.0.map_or("candle", Isa::as_str)
    }

    /// The instructions of our own kernels; none for candle's operators.
    pub(crate) fn isa(self) -> Option<Isa> {
        self.0
    }
}

/// Whether candle's operators are forced in this process.
pub(crate) fn is_candle_forced() -> bool {
    Kernels::chosen() == Ok(Kernels::CANDLE)
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
}
