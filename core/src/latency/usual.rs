use super::NetworkReadings;
use crate::probe::{Estimate, Session, t_quantile};

/// Makes the median distance an estimate of a normal distribution's standard deviation.
const TO_DEVIATION: f64 = 1.4826;

/// What a device is usually like, as all sessions on it say together.
///
/// Each process measures a network in turns with the baseline, so there is a pair of times for each. Processes differ: memory lies
/// elsewhere, others are busy. How much of what slows the baseline down slows networks down, too, is one number for the device,
/// and what is then left between processes another one; a network's own few repetitions could tell neither.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usual {
    /// What the baseline takes in the middle of all processes, in nanoseconds.
    pub baseline_ns: f64,
    /// A network takes longer by this part of what the baseline takes longer: 0 if they have nothing to do with each other, 1 if
    /// their ratio is always the same.
    pub follows: f64,
    /// Standard deviation of what is left between processes, as a part of the time.
    pub spread: f64,
    /// Sessions behind these numbers, less the networks they are of: none where each was measured once.
    pub freedom: usize,
}

/// A session's deviations from its network's mean, as parts of it.
struct Deviation {
    config: f64,
    baseline: f64,
    /// Means of few values lie near them; this makes up for it.
    few: f64,
}

impl Usual {
    /// Looks at the sessions that count; none if there are none.
    pub(super) fn of<'a>(networks: impl Iterator<Item = &'a NetworkReadings>) -> Option<Self> {
        let networks: Vec<Vec<&Session>> = networks.map(|network| network.relied_on().collect()).collect();
        let mut baselines: Vec<f64> =
            networks.iter().flatten().map(|session| session.baseline.median).collect();
        baselines.sort_by(f64::total_cmp);
        let baseline_ns = *baselines.get(baselines.len() / 2)?;
        let deviations: Vec<Deviation> = networks.iter().flat_map(|sessions| deviations(sessions)).collect();
        let products = |of: fn(&Deviation) -> f64| deviations.iter().map(of).sum::<f64>();
        let both = products(|deviation| deviation.baseline * deviation.config);
        let own = products(|deviation| deviation.baseline * deviation.baseline);
        // Where nothing tells, turns with the baseline are what there is.
        let follows = if own > 0.0 { (both / own).clamp(0.0, 1.0) } else { 1.0 };
        let mut left: Vec<f64> = deviations
            .iter()
            .map(|deviation| (deviation.config - follows * deviation.baseline).abs() * deviation.few)
            .collect();
        left.sort_by(f64::total_cmp);
        let middle = left.get(left.len() / 2).copied().unwrap_or_default();
        let repeated = networks.iter().filter(|sessions| sessions.len() > 1).count();
        Some(Self { baseline_ns, follows, spread: TO_DEVIATION * middle, freedom: left.len() - repeated })
    }

    /// What a network takes while the device is as usual, in nanoseconds, with an interval that holds one more process's median;
    /// none without sessions.
    ///
    /// The interval is as wide as processes differ on this device, and never narrower than any session's own, or than they lie apart.
    pub(super) fn time(&self, network: &NetworkReadings) -> Option<Estimate> {
        let as_usual = |session: &Session| {
            let slower = session.baseline.median / self.baseline_ns - 1.0;
            session.config.scaled((1.0 + self.follows * slower).recip())
        };
        let sessions: Vec<Estimate> = network.relied_on().map(as_usual).collect();
        let own = Estimate::over(&sessions)?;
        let reach = match self.freedom {
            0 => 0.0,
            freedom => {
                t_quantile(freedom) * self.spread * (1.0 + 1.0 / sessions.len() as f64).sqrt() * own.median
            }
        };
        let (low, high) = (own.low.min(own.median - reach).max(0.0), own.high.max(own.median + reach));
        Some(Estimate { median: own.median, low, high })
    }
}

/// Of one network: nothing of a single session, which is its own mean.
fn deviations(sessions: &[&Session]) -> Vec<Deviation> {
    let count = sessions.len() as f64;
    if sessions.len() < 2 {
        return Vec::new();
    }
    let mean = |of: fn(&Session) -> f64| sessions.iter().map(|session| of(session)).sum::<f64>() / count;
    let (config, baseline) = (mean(|session| session.config.median), mean(|session| session.baseline.median));
    let few = (count / (count - 1.0)).sqrt();
    let deviation = |session: &&Session| Deviation {
        config: session.config.median / config - 1.0,
        baseline: session.baseline.median / baseline - 1.0,
        few,
    };
    sessions.iter().map(deviation).collect()
}
