//! Measuring well, over any adapter: what is timed in which order, and what is noted down beside it.

use std::collections::BTreeMap;

use bitloop_core::probe::{Environment, Pacing, Patience, Round, Session, Side, Step};

use super::environment::{Look, Surroundings};
use super::memory::Memory;
use super::{
    Adapter, AdapterError, Ask, EnergyReading, InferenceSetting, Inputs, Loaded, Meter, Network, Reply, Timed,
};

/// Images of an inference that anybody measures; a slip of the pen beyond that would take all memory.
const BATCH_MAX: u32 = 1 << 16;
const THREADS_MAX: u32 = 1 << 10;

/// Inferences after which a network has all the memory that it ever has.
const TO_PEAK: u64 = 3;

/// Stretches of each side over which energy is counted.
const STRETCHES: usize = 4;

/// Repetitions whose layers are told at most: a reply should stay small.
const LAYER_ROUNDS_MAX: f64 = 500.0;

/// What measures.
pub(super) struct Measuring<'a> {
    pub(super) adapter: &'a mut dyn Adapter,
    pub(super) surroundings: Surroundings,
    /// What the process had before any network.
    pub(super) memory: Memory,
}

impl Measuring<'_> {
    /// Does what is asked for.
    ///
    /// Errors: `Failed`, `Unable`.
    pub(super) fn reply(&mut self, ask: &Ask) -> Result<Reply, AdapterError> {
        match ask {
            Ask::Time { config, baseline, setting, patience } => {
                check(*setting, patience)?;
                let timed = self.time([config.as_ref(), baseline.as_ref()], *setting, *patience)?;
                Ok(Reply::Timed(Box::new(timed)))
            }
            Ask::Layers { config, setting, patience } => {
                check(*setting, patience)?;
                self.layers(config, *setting, *patience)
            }
            Ask::Infer { config, images, count, nodes, output } => {
                let setting = InferenceSetting { batch: 1, threads: 1 };
                let inputs = Inputs { images, count: *count, nodes, output };
                self.adapter.load(config, setting)?.infer(&inputs)?;
                Ok(Reply::Inferred)
            }
        }
    }

    fn time(
        &mut self,
        [config, baseline]: [&Network; 2],
        setting: InferenceSetting,
        patience: Patience,
    ) -> Result<Timed, AdapterError> {
        let mut config = self.adapter.load(config, setting)?;
        let peak_memory_bytes = self.peak(config.as_mut())?;
        let mut sides = [config, self.adapter.load(baseline, setting)?];
        let before = self.surroundings.look();
        let rounds = paced(patience, |side, inferences| {
            let loaded = sides[side as usize].as_mut();
            warmed(loaded, inferences)?;
            timed(loaded, inferences)
        })?;
        let environment = self.environment(&before);
        let energy = match self.adapter.meter() {
            Some(mut meter) => energy(meter.as_mut(), &mut sides, &rounds)?,
            None => None,
        };
        let rounds = rounds.iter().map(|round| [round.config, round.baseline]).collect();
        Ok(Timed { rounds, peak_memory_bytes, energy, environment })
    }

    /// What this machine was like since a look at it.
    fn environment(&self, before: &Look) -> Environment {
        told_of(self.adapter.hello().device.as_deref(), before.until(&self.surroundings.look()))
    }

    /// The most memory that the process has while it executes a network, which is the only one that it holds.
    fn peak(&self, loaded: &mut dyn Loaded) -> Result<Option<u64>, AdapterError> {
        if !self.adapter.is_in_this_process() || !self.memory.forget() {
            return Ok(None);
        }
        timed(loaded, TO_PEAK)?;
        Ok(self.memory.peak())
    }

    /// Whole inferences and ones that are taken apart have turns, so that the price of looking can be told.
    fn layers(
        &mut self,
        config: &Network,
        setting: InferenceSetting,
        patience: Patience,
    ) -> Result<Reply, AdapterError> {
        let mut loaded = self.adapter.load(config, setting)?;
        let mut repetitions: Vec<BTreeMap<String, f64>> = Vec::new();
        let turn_ns = patience.turn_ns.max(patience.at_most_ns / (2.0 * LAYER_ROUNDS_MAX));
        let before = self.surroundings.look();
        let rounds = paced(Patience { turn_ns, ..patience }, |side, inferences| match side {
            Side::Config => {
                warmed(loaded.as_mut(), inferences)?;
                timed(loaded.as_mut(), inferences)
            }
            Side::Baseline => {
                let layers = mean_layers(loaded.as_mut(), inferences)?;
                let elapsed = layers.values().sum::<f64>() * inferences as f64;
                repetitions.push(layers);
                Ok(elapsed)
            }
        })?;
        let environment = Box::new(self.environment(&before));
        // The warm-up's do not count.
        let repetitions = repetitions.split_off(repetitions.len() - rounds.len());
        let mut nodes: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (name, nanoseconds) in repetitions.into_iter().flatten() {
            nodes.entry(name).or_default().push(nanoseconds);
        }
        let other = nodes.remove("").unwrap_or_default();
        let whole = rounds.iter().map(|round| round.config).collect();
        Ok(Reply::Layers { nodes, other, whole, environment })
    }
}

/// What is told of this machine where a device is measured. Of another device than its processor it is the host: others that
/// compute there do not take that device's time, and its frequency is another one, so that neither makes its times unsteady.
fn told_of(device: Option<&str>, host: Environment) -> Environment {
    match device {
        None => host,
        Some(_) => Environment { others: None, mhz: None, ..host },
    }
}

/// Refuses what cannot be measured.
fn check(setting: InferenceSetting, patience: &Patience) -> Result<(), AdapterError> {
    let InferenceSetting { batch, threads } = setting;
    let Patience { rounds_min, half_width, at_most_ns, warm_up_ns, turn_ns } = *patience;
    let wrong = if !(1..=BATCH_MAX).contains(&batch) {
        format!("a batch of {batch} images is none; give 1 to {BATCH_MAX}")
    } else if !(1..=THREADS_MAX).contains(&threads) {
        format!("{threads} threads compute nothing; give 1 to {THREADS_MAX}")
    } else if rounds_min == 0
        || !(half_width > 0.0 && at_most_ns > 0.0 && warm_up_ns >= 0.0 && turn_ns >= 0.0)
    {
        "`patience` has a number that is 0 or negative".to_owned()
    } else {
        return Ok(());
    };
    Err(AdapterError::Failed(wrong))
}

/// Times turns of both sides until it is enough.
fn paced(
    patience: Patience,
    mut time: impl FnMut(Side, u64) -> Result<f64, AdapterError>,
) -> Result<Vec<Round>, AdapterError> {
    let mut pacing = Pacing::new(patience);
    while let Step::Time { side, inferences } = pacing.step() {
        let elapsed = time(side, inferences)?;
        pacing.timed(side, elapsed);
    }
    Ok(pacing.rounds().to_vec())
}

/// Lets caches forget the other side before a turn of several inferences; one that is longer than a turn has forgotten it anyway.
fn warmed(loaded: &mut dyn Loaded, inferences: u64) -> Result<(), AdapterError> {
    if inferences > 1 { timed(loaded, 1).map(|_| ()) } else { Ok(()) }
}

fn timed(loaded: &mut dyn Loaded, inferences: u64) -> Result<f64, AdapterError> {
    let elapsed = loaded.time(inferences)?;
    if elapsed.is_finite() && elapsed > 0.0 {
        return Ok(elapsed);
    }
    Err(AdapterError::Unable(format!(
        "the device's clock says that {inferences} inferences took {elapsed} ns"
    )))
}

/// Nanoseconds of each node, the mean of so many inferences.
fn mean_layers(loaded: &mut dyn Loaded, inferences: u64) -> Result<BTreeMap<String, f64>, AdapterError> {
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for (name, nanoseconds) in loaded.layers(inferences as usize)?.into_iter().flatten() {
        if !(nanoseconds.is_finite() && nanoseconds >= 0.0) {
            let reason = format!("the device's clock says that node `{name}` took {nanoseconds} ns");
            return Err(AdapterError::Unable(reason));
        }
        *sums.entry(name).or_default() += nanoseconds;
    }
    sums.values_mut().for_each(|sum| *sum /= inferences as f64);
    Ok(sums)
}

/// Counts the joules of an inference of both sides, in stretches that alternate as turns do; none if the counter fails.
fn energy(
    meter: &mut dyn Meter,
    sides: &mut [Box<dyn Loaded>; 2],
    rounds: &[Round],
) -> Result<Option<EnergyReading>, AdapterError> {
    let Some(session) = Session::of(rounds) else { return Ok(None) };
    let medians = [session.config.median, session.baseline.median];
    let inferences = medians.map(|one| (meter.stretch_ns() / one).ceil().max(1.0) as u64);
    let mut joules = vec![[0.0; 2]; STRETCHES];
    for (stretch, joules) in joules.iter_mut().enumerate() {
        let order = if stretch % 2 == 0 { [0, 1] } else { [1, 0] };
        for side in order {
            let Some(before) = meter.joules() else { return Ok(None) };
            timed(sides[side].as_mut(), inferences[side])?;
            let Some(after) = meter.joules() else { return Ok(None) };
            joules[side] = (after - before) / inferences[side] as f64;
        }
    }
    Ok(Some(EnergyReading { source: meter.source(), joules }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_computes_beside_another_device_is_not_said_to_disturb_it() {
        let host = Environment {
            others: Some(0.9),
            load: Some([3.0, 4.0]),
            mhz: Some([2e3; 2]),
            ..Environment::default()
        };

        assert_eq!(told_of(None, host.clone()), host);
        let beside = told_of(Some("gpu-1"), host.clone());
        assert_eq!((beside.others, beside.mhz), (None, None));
        assert_eq!(beside.load, host.load, "what the host was like is told");
    }
}
