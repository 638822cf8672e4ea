use bitloop_worker::probe::ProbeOption;
use clap::Args;

/// What a worker measures devices with.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Probes {
    /// Offer a probe, which measures how long networks take: `integer`, `onnxruntime`, `candle-cuda`, or programs of your own,
    /// `external=FILE`; may be repeated.
    #[arg(long = "probe", value_name = "NAME[=OPTIONS]")]
    pub(crate) options: Vec<ProbeOption>,
}
