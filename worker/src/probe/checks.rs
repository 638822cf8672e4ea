//! What a probe says is believed as far as it can be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use bitloop_core::probe::Environment;
use bitloop_proto::convert::{name, to_log_line};
use serde_json::Value;

use super::process::excerpt;
use super::{Ability, EnergyReading, Hello, PROTOCOL, Timed};

/// Most rounds, stretches or repetitions of an answer; as many as [`super::lines::ANSWER_BYTES_MAX`] holds.
const VALUES_MAX: usize = 100_000;

/// No inference is faster, in nanoseconds. Networks unrolled into an FPGA take some tens of them; seconds and milliseconds that are
/// given as nanoseconds mostly come out below, microseconds those of the smallest networks alone.
const INFERENCE_NS_MIN: f64 = 10.0;

/// No device computes more multiply-adds of a network in a nanosecond: 10^16 a second, several times what the largest accelerators
/// promise with integers of 8 bits. Milliseconds that are given as nanoseconds come out above where a device computes 10^10 a second, as a
/// processor's core does; microseconds where it computes 10^13. Of networks with fewer than a hundred million
/// multiply-adds [`INFERENCE_NS_MIN`] says more.
const MACS_PER_NS_MAX: f64 = 1e7;

/// The clock of a device may run faster than the worker's by this part, and its beginning and end are not ours.
const CLOCK_PART: f64 = 0.01;
const CLOCK_NS: f64 = 1e6;

/// Layers that are timed one by one may take longer together than the whole, whose layers overlap or are not held up by a clock:
/// of a hundred layers of two microseconds each, a profile of ONNX Runtime came to 3.5 times the whole. Units differ by more.
const LAYERS_PART_MAX: f64 = 20.0;

/// What is in no layer is in `other`, so that they cannot come to next to nothing together.
const LAYERS_PART_MIN: f64 = 0.01;

/// More than any machine has: a pebibyte.
const MEMORY_BYTES_MAX: u64 = 1 << 50;

/// More than a rack takes, in watts. Microjoules given as joules come out above.
const WATTS_MAX: f64 = 100e3;

/// Processors of the largest machines.
const PROCESSORS_MAX: usize = 16_384;

/// Things about the environment that have no field of their own.
const MORE_MAX: usize = 64;

/// A part of the processors' time is counted in ticks, which may be a few too many.
const PART_MAX: f64 = 1.1;

/// What came of timing layers.
#[derive(Clone, Debug, PartialEq)]
pub struct Layered {
    /// Nanoseconds of each node, a value for each repetition.
    pub nodes: BTreeMap<String, Vec<f64>>,
    /// What belongs to no node, as often; empty if there is nothing.
    pub other: Vec<f64>,
    /// Whole inferences.
    pub whole: Vec<f64>,
    /// What the device was like.
    pub environment: Environment,
}

type Checked<T = ()> = Result<T, String>;

/// Reads the first line of a probe.
///
/// Errors: why it is none.
pub(super) fn hello(line: &[u8]) -> Checked<Hello> {
    let no_hello = |error| format!("it says `{}`, which is no hello: {error}", excerpt(line));
    let value: Value = serde_json::from_slice(line).map_err(no_hello)?;
    // Another protocol may have other fields; complaints about them would only mislead.
    match value.get("protocol").and_then(Value::as_u64) {
        Some(protocol) if protocol != u64::from(PROTOCOL) => {
            return Err(format!("it speaks protocol {protocol}, this bitloop speaks protocol {PROTOCOL}"));
        }
        Some(_) | None => {}
    }
    let hello: Hello = serde_json::from_value(value).map_err(no_hello)?;
    for (field, text) in [("class", Some(&hello.class)), ("runtime", Some(&hello.runtime))]
        .into_iter()
        .chain([("device", hello.device.as_ref())])
    {
        text.map_or(Ok(()), |text| text_of(field, text))?;
    }
    text_of("class", &hello.device_class())?;
    let abilities: BTreeSet<Ability> = hello.abilities.iter().copied().collect();
    if abilities.len() != hello.abilities.len() {
        return Err("it has an ability twice".to_owned());
    }
    Ok(hello)
}

/// What is wrong with the times of inferences of so many multiply-adds, for which one waited so long.
pub(super) fn timed(timed: &Timed, macs: u64, elapsed: Duration) -> Checked {
    count("rounds", timed.rounds.len())?;
    timed.rounds.iter().flatten().try_for_each(|time| inference(*time, macs))?;
    let sum: f64 = timed.rounds.iter().flatten().sum();
    within("inferences", sum, elapsed)?;
    if let Some(bytes) = timed.peak_memory_bytes
        && bytes > MEMORY_BYTES_MAX
    {
        return Err(format!("it says that {bytes} bytes of memory were used"));
    }
    if let Some(reading) = &timed.energy {
        energy(reading, timed)?;
    }
    environment(&timed.environment)
}

fn energy(reading: &EnergyReading, timed: &Timed) -> Checked {
    text_of("energy.source", &reading.source)?;
    count("stretches of energy", reading.joules.len())?;
    for side in [0, 1] {
        let time_s = mean(timed.rounds.iter().map(|round| round[side])) * 1e-9;
        for joules in reading.joules.iter().map(|stretch| stretch[side]) {
            if !joules.is_finite() || joules < 0.0 {
                return Err(format!("it says that an inference took {joules} J"));
            }
            if joules > WATTS_MAX * time_s {
                let watts = joules / time_s;
                return Err(format!(
                    "it says {joules} J of inferences of {time_s} s, which is {watts:.0} W: is it joules?"
                ));
            }
        }
    }
    Ok(())
}

/// What is wrong with the times of layers of a network with these nodes, as [`timed`].
pub(super) fn layers(
    layered: &Layered,
    names: &BTreeSet<String>,
    (macs, elapsed): (u64, Duration),
) -> Checked {
    let Layered { nodes, other, whole, environment: surroundings } = layered;
    count("whole inferences", whole.len())?;
    whole.iter().try_for_each(|time| inference(*time, macs))?;
    within("inferences", whole.iter().sum(), elapsed)?;
    if let Some(unknown) = nodes.keys().find(|node| !names.contains(*node)) {
        let unknown = excerpt(unknown.as_bytes());
        return Err(format!("it says how long `{unknown}` takes, which the network does not have"));
    }
    let repetitions = nodes.values().map(Vec::len).next().unwrap_or_default();
    count("repetitions of layers", repetitions)?;
    if nodes.values().any(|times| times.len() != repetitions)
        || !(other.is_empty() || other.len() == repetitions)
    {
        return Err("it says of some layers more often than of others how long they take".to_owned());
    }
    let times = || nodes.values().flatten().chain(other);
    if let Some(wrong) = times().find(|time| !time.is_finite() || **time < 0.0) {
        return Err(format!("it says that a layer takes {wrong} ns"));
    }
    let all = || nodes.values().chain((!other.is_empty()).then_some(other));
    let parts = (0..repetitions).map(|repetition| all().map(|times| times[repetition]).sum());
    // Where others compute meanwhile, single kernels take a hundred times as long, and no mean means anything.
    let (parts, whole) = (middle(parts.collect()), middle(whole.clone()));
    if !(LAYERS_PART_MIN * whole..=LAYERS_PART_MAX * whole).contains(&parts) {
        return Err(format!(
            "it says {parts:.0} ns of all layers together and {whole:.0} ns of the whole: are both nanoseconds?"
        ));
    }
    environment(surroundings)
}

/// Whether a file has so many values.
pub(super) fn output(path: &Path, values: u64) -> Checked {
    let wanted = values.saturating_mul(size_of::<f32>() as u64);
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => Err("what it left as its output is no file".to_owned()),
        Ok(found) if found.len() != wanted => {
            Err(format!("its output has {} bytes, {wanted} were asked for", found.len()))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(format!("it says that it computed, and its output is not there: {error}")),
    }
}

/// A probe's reason as it may stand in a log.
pub(super) fn reason(text: &str) -> String {
    match text.trim() {
        "" => "it does not say why".to_owned(),
        text => to_log_line(text),
    }
}

fn environment(environment: &Environment) -> Checked {
    let Environment { governor, affinity, mhz, celsius, load, others, more } = environment;
    governor.as_ref().map_or(Ok(()), |text| text_of("environment.governor", text))?;
    if affinity.len() > PROCESSORS_MAX || more.len() > MORE_MAX {
        return Err("it says too much about its environment".to_owned());
    }
    for (name, text) in more {
        text_of("environment.more", name)?;
        text_of("environment.more", text)?;
    }
    // Far beyond what is, so that only other units are caught.
    let ranges = [("mhz", mhz, 0.0..=1e6), ("celsius", celsius, -273.15..=1e3), ("load", load, 0.0..=1e6)];
    for (field, values, range) in ranges {
        if let Some(wrong) = values.iter().flatten().find(|value| !range.contains(*value)) {
            return Err(format!("it says environment.{field} {wrong}"));
        }
    }
    match others {
        Some(others) if !(0.0..=PART_MAX).contains(others) => {
            Err(format!("it says environment.others {others}, which is no part"))
        }
        Some(_) | None => Ok(()),
    }
}

fn count(what: &str, found: usize) -> Checked {
    match found {
        0 => Err(format!("it gives no {what}")),
        1..=VALUES_MAX => Ok(()),
        _ => Err(format!("it gives {found} {what}, at most {VALUES_MAX} are taken")),
    }
}

/// Whether an inference of so many multiply-adds may take so long.
fn inference(time_ns: f64, macs: u64) -> Checked {
    if !time_ns.is_finite() || time_ns < INFERENCE_NS_MIN {
        return Err(format!("it says that an inference takes {time_ns} ns: is it nanoseconds?"));
    }
    match macs as f64 <= time_ns * MACS_PER_NS_MAX {
        true => Ok(()),
        false => Err(format!(
            "it says that an inference of {macs} multiply-adds takes {time_ns} ns, which no device can: is it nanoseconds?"
        )),
    }
}

/// Whether inferences of so long together fit into the time that one waited for them.
fn within(what: &str, sum_ns: f64, elapsed: Duration) -> Checked {
    let elapsed_ns = elapsed.as_secs_f64() * 1e9;
    match sum_ns <= elapsed_ns * (1.0 + CLOCK_PART) + CLOCK_NS {
        true => Ok(()),
        false => Err(format!(
            "it says {:.6} s of {what} within {:.6} s: is it nanoseconds?",
            sum_ns * 1e-9,
            elapsed_ns * 1e-9
        )),
    }
}

fn text_of(field: &'static str, text: &str) -> Checked {
    let checked = name(field, text.to_owned()).map_err(|error| error.to_string())?;
    match checked.trim().is_empty() {
        true => Err(format!("field `{field}` is empty")),
        false => Ok(()),
    }
}

/// The middle one of finite values, of which there is at least one.
fn middle(mut values: Vec<f64>) -> f64 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f64::total_cmp).1
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

#[cfg(test)]
mod tests;
