//! Why a probe gave nothing, and what follows for the trial.

use std::fmt;

use bitloop_core::trial::TrialResult;

use crate::executor::ExecuteError;

/// What a probe did instead of answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breakage {
    /// It said what cannot be, or what is not of the protocol.
    Lied,
    /// Its process ended, or closed its output.
    Died,
    /// It did not answer in time.
    Hung,
}

impl fmt::Display for Breakage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lied => "lied",
            Self::Died => "died",
            Self::Hung => "hung",
        })
    }
}

/// Whose fault it probably is that a probe broke, twice in a row in processes that were made for the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspect {
    /// The request's: what was asked before was answered.
    Trial,
    /// The probe's: it broke before, too, or has answered nothing yet.
    Probe,
}

/// Why a probe gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// The network cannot be measured on any device of this kind, it says.
    #[error("probe `{probe}`: {reason}")]
    Failed {
        /// Its name.
        probe: String,
        /// What it says.
        reason: String,
    },
    /// It broke twice in a row, each time in a process that was made for the request.
    #[error("probe `{probe}` {how}: {reason}")]
    Broken {
        /// Its name.
        probe: String,
        /// What it did the last time.
        how: Breakage,
        /// The same in detail.
        reason: String,
        /// Whose fault it probably is.
        suspect: Suspect,
    },
    /// Its device cannot be used now, it says.
    #[error("probe `{probe}` is unable to: {reason}")]
    Unable {
        /// Its name.
        probe: String,
        /// What it says.
        reason: String,
    },
    /// It does not start, or as something else, or is left alone for a while after it broke again and again.
    #[error("probe `{probe}` cannot be used: {reason}")]
    Absent {
        /// Its name.
        probe: String,
        /// Why.
        reason: String,
    },
    /// There is no room here for what it is to compute.
    #[error("the output of probe `{probe}` cannot be written: {reason}")]
    NoRoom {
        /// Its name.
        probe: String,
        /// Which file, and why.
        reason: String,
    },
    /// What it was to say is not wanted any more.
    #[error("probe `{probe}` was stopped, as its answer is not wanted any more")]
    Stopped {
        /// Its name.
        probe: String,
    },
}

impl ProbeError {
    /// What becomes of the trial; nothing if it is not wanted any more.
    ///
    /// A probe that broke costs the trial only if it answered what was asked before: so one trial is lost when a device goes.
    ///
    /// Errors: `Device` where the trial may be at fault, too, so that the coordinator tries it later or elsewhere, but not for ever;
    /// `Probe` where it cannot be, as nothing was asked.
    pub fn into_result(self) -> Result<Option<TrialResult>, ExecuteError> {
        let reason = self.to_string();
        match self {
            Self::Failed { .. } | Self::Broken { suspect: Suspect::Trial, .. } => {
                Ok(Some(TrialResult::Failed { reason }))
            }
            Self::Broken { suspect: Suspect::Probe, .. } | Self::Unable { .. } => {
                Err(ExecuteError::Device { reason })
            }
            Self::Absent { .. } | Self::NoRoom { .. } => Err(ExecuteError::Probe { reason }),
            Self::Stopped { .. } => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use bitloop_core::state::ObstacleKind;

    use super::*;

    fn broken(suspect: Suspect) -> ProbeError {
        ProbeError::Broken { probe: "pi5".to_owned(), how: Breakage::Hung, reason: "so".to_owned(), suspect }
    }

    #[test]
    fn what_only_this_trial_does_fails_it_and_what_the_device_does_is_tried_again() {
        let failed = broken(Suspect::Trial).into_result().unwrap();
        let Some(TrialResult::Failed { reason }) = failed else { panic!("{failed:?}") };
        assert_eq!(reason, "probe `pi5` hung: so");

        let unable = ProbeError::Unable { probe: "pi5".to_owned(), reason: "unplugged".to_owned() };
        let said = ["probe `pi5` hung: so", "probe `pi5` is unable to: unplugged"];
        for (error, said) in [broken(Suspect::Probe), unable].into_iter().zip(said) {
            let error = error.into_result().unwrap_err();
            assert_eq!(error.obstacle(), ObstacleKind::Device);
            assert_eq!(error.to_string(), format!("the device cannot be used: {said}"));
        }
        let absent = ProbeError::Absent { probe: "pi5".to_owned(), reason: "no such file".to_owned() };
        let error = absent.into_result().unwrap_err();
        assert_eq!(
            (error.obstacle(), error.to_string().as_str()),
            (ObstacleKind::Supply, "probe `pi5` cannot be used: no such file")
        );
        assert_eq!(ProbeError::Stopped { probe: "pi5".to_owned() }.into_result().unwrap(), None);
    }
}
