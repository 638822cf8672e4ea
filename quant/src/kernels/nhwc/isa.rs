//! Which vector instructions the kernels use.

/// A set of instructions, from the plainest to the fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Isa {
    /// No vector instructions of our own choosing: the reference that all others are compared with.
    Scalar,
    /// 256-bit vectors with fused multiply-add.
    Avx2,
    /// 512-bit vectors (F, BW, VL, DQ).
    Avx512,
    /// 512-bit vectors with dot products of bytes.
    Vnni,
}

impl Isa {
    /// Every set, the fastest last.
    pub(crate) const ALL: [Self; 4] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Vnni];

    /// The name that `BITLOOP_KERNELS` takes.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Vnni => "vnni",
        }
    }

    /// Whether this CPU has the instructions.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn is_available(self) -> bool {
        let avx2 = || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = || {
            avx2()
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
        };
        match self {
            Self::Scalar => true,
            Self::Avx2 => avx2(),
            Self::Avx512 => avx512(),
            Self::Vnni => avx512() && is_x86_feature_detected!("avx512vnni"),
        }
    }

    /// Whether this CPU has the instructions.
    #[cfg(not(target_arch = "x86_64"))]
    pub(crate) fn is_available(self) -> bool {
        self == Self::Scalar
    }

    /// The fastest set that this CPU has.
    pub(crate) fn best() -> Self {
        let mut available = Self::ALL.into_iter().filter(|isa| isa.is_available());
        available.next_back().unwrap_or(Self::Scalar)
    }
}
