use serde::{Deserialize, Serialize};

use super::{NetworkReadings, Readings};
use crate::probe::{Environment, Estimate, Session, Unsteady, median, t_quantile};

/// What the level of a device may move by from hour to hour while nobody fixes its frequency, as a part of it: on virtual machines, and
/// where caches are shared, sessions of one hour say nothing of the next one. About twice the deviation of the hours in docs/experiments/devices.
const BY_THE_HOUR: f64 = 0.025;

/// The part of the looks at a frequency that says how far it moved; others may have been looks at something else.
const MOST_LOOKS: f64 = 0.9;

/// Parts of the sessions on a device whose levels are compared.
const PARTS: usize = 3;

/// Makes the median distance an estimate of a normal distribution's standard deviation.
const TO_DEVIATION: f64 = 1.4826;

/// What a device is usually like, as all sessions on it say together.
///
/// Each process measures a network in turns with the baseline, so there is a pair of times for each. Processes differ: memory lies
/// elsewhere, others are busy. How much of what slows the baseline down slows networks down, too, is one number for the device,
/// and what is then left between processes another one; a network's own few repetitions could tell neither.
///
/// The device has a level besides, which moves with time and takes all processes of a while with it. What processes differ by lies
/// above and below that, and is not the next measurement's, which is of as many processes: so the level is that of many of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Usual {
    /// What the baseline takes in the middle of all processes, in nanoseconds.
    pub baseline_ns: f64,
    /// A network takes longer by this part of what the baseline takes longer: 0 if they have nothing to do with each other, 1 if
    /// their ratio is always the same.
    pub follows: f64,
    /// Standard deviation of what is left between processes, as a part of the time.
    pub spread: f64,
    /// How far the level moves: in each third of the sessions what the baseline takes in the middle is within this part of
    /// [`Self::baseline_ns`].
    pub level: f64,
    /// Whether somebody keeps the frequency of the device where it is.
    pub is_fixed: bool,
    /// How far the frequency moved to either side of its middle, as a part of it, where that is known: nine of ten looks at it, before
    /// and behind measurements, lie that near.
    #[serde(default)]
    pub clock: Option<f64>,
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
    pub(super) fn of(readings: &Readings) -> Option<Self> {
        let networks: Vec<Vec<&Session>> =
            readings.networks.values().map(|network| sessions(network).collect()).collect();
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
        let repeated = networks.iter().filter(|sessions| sessions.len() > 1).count();
        Some(Self {
            baseline_ns,
            follows,
            spread: TO_DEVIATION * median(&mut left).unwrap_or_default(),
            level: level(readings, baseline_ns),
            clock: clock(&readings.environments),
            is_fixed: readings.environments.iter().all(Environment::has_fixed_frequency),
            freedom: deviations.len() - repeated,
        })
    }

    /// What a network takes while the device is as usual, in nanoseconds, with an interval that holds what it would come to if it
    /// were measured as often once more, at another level; none without sessions.
    ///
    /// More repetitions narrow what processes differ by, and not what the level moves by: that is the machine's.
    pub(super) fn time(&self, network: &NetworkReadings) -> Option<Estimate> {
        self.at_level(network, self.moves())
    }

    /// What the level moves a network by, as a part of its time.
    fn moves(&self) -> f64 {
        let seen = self.follows * self.level;
        if self.is_fixed { seen } else { seen.max(BY_THE_HOUR) }
    }

    /// Whether an interval is too wide for the level alone, which no repetition narrows.
    pub(super) fn moves_too_far(&self) -> bool {
        Unsteady::if_wide(around(1.0, self.moves())).is_some()
    }

    /// The same at one level, which networks that are compared with one another have in common.
    pub(super) fn beside_others(&self, network: &NetworkReadings) -> Option<Estimate> {
        self.at_level(network, 0.0)
    }

    /// A network that scatters more than others do has its own scatter.
    fn at_level(&self, network: &NetworkReadings, moved: f64) -> Option<Estimate> {
        let as_usual = |session: &Session| {
            let slower = session.baseline.median / self.baseline_ns - 1.0;
            session.config.scaled((1.0 + self.follows * slower).recip())
        };
        let sessions: Vec<Estimate> = sessions(network).map(as_usual).collect();
        let median = median(&mut sessions.iter().map(|session| session.median).collect::<Vec<_>>())?;
        let scatter = t_quantile(self.freedom) * self.spread.max(scatter(&sessions, median));
        // A process's own interval is of its many rounds: however few processes there are, they know that.
        let widest = sessions.iter().map(Estimate::half_width).fold(scatter, f64::max);
        // Both measurements have as many processes, this one and the next.
        let processes = widest * (2.0 / sessions.len() as f64).sqrt();
        Some(around(median, processes.hypot(moved)))
    }
}

/// A time with this part of it to both sides.
fn around(median: f64, part: f64) -> Estimate {
    Estimate { median, low: (median * (1.0 - part)).max(0.0), high: median * (1.0 + part) }
}

/// The repetitions of a network that count.
fn sessions(network: &NetworkReadings) -> impl Iterator<Item = &Session> {
    network.relied_on().map(|(_, session)| session)
}

/// How far the baseline's level lies from its middle in a third of the sessions at most, as a part of it: in the order in which they were
/// proposed, which is about that of time.
///
/// What it does from second to second is in the middle of any measurement. An hour that a third of the sessions are of tells what
/// hours make.
fn level(readings: &Readings, baseline_ns: f64) -> f64 {
    let relied_on = readings.networks.values().flat_map(NetworkReadings::relied_on);
    let mut sessions: Vec<(usize, f64)> =
        relied_on.map(|(before, session)| (*before, session.baseline.median)).collect();
    sessions.sort_by_key(|(before, _)| *before);
    let parts = sessions.chunks(sessions.len().div_ceil(PARTS).max(1));
    let moved = parts.filter_map(|part| {
        let mut baselines: Vec<f64> = part.iter().map(|(_, baseline)| *baseline).collect();
        Some((median(&mut baselines)? / baseline_ns - 1.0).abs())
    });
    moved.fold(0.0, f64::max)
}

fn clock(environments: &[Environment]) -> Option<f64> {
    let mut mhz: Vec<f64> = environments.iter().filter_map(|environment| environment.mhz).flatten().collect();
    let middle = median(&mut mhz).filter(|middle| *middle > 0.0)?;
    let mut moved: Vec<f64> = mhz.iter().map(|mhz| (mhz / middle - 1.0).abs()).collect();
    moved.sort_by(f64::total_cmp);
    let most = (MOST_LOOKS * moved.len() as f64).ceil() as usize;
    moved.get(most.checked_sub(1)?).copied()
}

/// Standard deviation of sessions' medians, as a part of the one in the middle; nothing of a single one.
fn scatter(sessions: &[Estimate], middle: f64) -> f64 {
    let square = |session: &Estimate| (session.median / middle - 1.0).powi(2);
    let freedom = sessions.len().saturating_sub(1).max(1) as f64;
    (sessions.iter().map(square).sum::<f64>() / freedom).sqrt()
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
