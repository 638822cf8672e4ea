//! What the machine is like while a device is measured, as far as Linux tells.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bitloop_core::probe::Environment;

use super::{affinity, frequency};

/// Sensors that show less or more are broken, or not connected.
const CELSIUS: std::ops::Range<f64> = -40.0..150.0;

/// Where the system tells about itself; tests make folders of their own.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    pub(super) proc: PathBuf,
    pub(super) sys: PathBuf,
    /// Megahertz of this thread's processor, where the system does not tell.
    pub(super) mhz: fn() -> Option<f64>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self { proc: PathBuf::from("/proc"), sys: PathBuf::from("/sys"), mhz: || Some(frequency::mhz()) }
    }
}

/// One look at the machine; what cannot be read is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Look {
    governor: Option<String>,
    affinity: Vec<u32>,
    mhz: Option<f64>,
    celsius: Option<f64>,
    load: Option<f64>,
    time: Option<Time>,
}

/// Time of the processors that the process may use, in the system's own unit.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Time {
    /// All that passed, on all of them.
    passed: u64,
    /// In which somebody computed, also another machine on the same processor.
    busy: u64,
    /// In which this process did.
    own: u64,
}

impl Surroundings {
    /// The folder of this process.
    pub(super) fn process(&self) -> PathBuf {
        self.proc.join("self")
    }

    /// Looks at the machine.
    pub(super) fn look(&self) -> Look {
        let affinity = self.affinity();
        Look {
            governor: self.governor(&affinity),
            mhz: self.mhz(&affinity),
            celsius: self.celsius(),
            load: self.load(),
            time: self.time(&affinity),
            affinity,
        }
    }

    /// The processors that this process may use; empty if nobody tells.
    fn affinity(&self) -> Vec<u32> {
        let status = read(&self.process().join("status")).unwrap_or_default();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        list.and_then(affinity::read).unwrap_or_default()
    }

    fn of_processor(&self, processor: u32, file: &str) -> Option<String> {
        read(&self.sys.join(format!("devices/system/cpu/cpu{processor}/cpufreq/{file}")))
    }

    fn governor(&self, affinity: &[u32]) -> Option<String> {
        let governors =
            affinity.iter().filter_map(|processor| self.of_processor(*processor, "scaling_governor"));
        let different: BTreeSet<String> = governors.map(|governor| governor.trim().to_owned()).collect();
        let joined = different.into_iter().collect::<Vec<_>>().join(",");
        Some(joined).filter(|joined| !joined.is_empty())
    }

    /// The mean frequency of the processors.
    fn mhz(&self, affinity: &[u32]) -> Option<f64> {
        let khz = affinity.iter().filter_map(|processor| {
            self.of_processor(*processor, "scaling_cur_freq")?.trim().parse::<f64>().ok()
        });
        let own: Vec<f64> = khz.map(|khz| khz / 1e3).collect();
        if !own.is_empty() {
            return Some(own.iter().sum::<f64>() / own.len() as f64);
        }
        (self.mhz)()
    }

    /// What the hottest sensor shows.
    fn celsius(&self) -> Option<f64> {
        let zones = files(&self.sys.join("class/thermal"), "thermal_zone", |file| file == "temp");
        let monitors = files(&self.sys.join("class/hwmon"), "hwmon", |file| {
            file.starts_with("temp") && file.ends_with("_input")
        });
        let values = zones.iter().chain(&monitors).filter_map(|path| read(path)?.trim().parse::<f64>().ok());
        values.map(|thousandths| thousandths / 1e3).filter(|value| CELSIUS.contains(value)).reduce(f64::max)
    }

    fn load(&self) -> Option<f64> {
        read(&self.proc.join("loadavg"))?.split_whitespace().next()?.parse().ok()
    }

    fn time(&self, affinity: &[u32]) -> Option<Time> {
        let text = read(&self.proc.join("stat"))?;
        let (mut passed, mut busy) = (0, 0);
        for line in text.lines() {
            let Some((name, values)) = line.split_once(' ') else { continue };
            let number: Option<u32> = name.strip_prefix("cpu").and_then(|number| number.parse().ok());
            if number.is_some_and(|number| affinity.contains(&number)) {
                // User, nice, system, idle, waiting for disks, two kinds of interrupts, stolen; guests' is in user's.
                let values: Vec<u64> =
                    values.split_whitespace().take(8).map_while(|value| value.parse().ok()).collect();
                let idle: u64 = values.iter().skip(3).take(2).sum();
                let all: u64 = values.iter().sum();
                (passed, busy) = (passed + all, busy + all - idle);
            }
        }
        let own = read(&self.process().join("stat"))?;
        // The name, which comes second, may hold anything but ends at the last parenthesis.
        let fields: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
        let [user, system] =
            [11, 12].map(|index| fields.get(index).and_then(|field| field.parse::<u64>().ok()));
        (passed > 0).then_some(Time { passed, busy, own: user? + system? })
    }
}

impl Look {
    /// What the machine was like from this look to a later one.
    pub(super) fn until(&self, later: &Self) -> Environment {
        let pair = |before: Option<f64>, after: Option<f64>| Some([before?, after?]);
        Environment {
            governor: later.governor.clone(),
            affinity: later.affinity.clone(),
            mhz: pair(self.mhz, later.mhz),
            celsius: pair(self.celsius, later.celsius),
            load: pair(self.load, later.load),
            others: self.time.zip(later.time).and_then(|(before, after)| others(before, after)),
            more: Default::default(),
        }
    }
}

/// The part of the time that passed in which others computed.
fn others(before: Time, after: Time) -> Option<f64> {
    let passed = after.passed.checked_sub(before.passed).filter(|passed| *passed > 0)?;
    let busy = after.busy.saturating_sub(before.busy);
    let own = after.own.saturating_sub(before.own);
    Some(busy.saturating_sub(own) as f64 / passed as f64)
}

/// Files in the folders below `folder` whose names begin with `prefix`.
fn files(folder: &Path, prefix: &str, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for inner in entries(folder).filter(|path| name(path).is_some_and(|name| name.starts_with(prefix))) {
        found.extend(entries(&inner).filter(|path| name(path).is_some_and(&wanted)));
    }
    found
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn name(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up machine.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn surroundings(&self) -> Surroundings {
            Surroundings { proc: self.0.path().join("proc"), sys: self.0.path().join("sys"), mhz: || None }
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        fn processor(&self, number: u32, governor: &str, khz: &str) {
            let folder = format!("sys/devices/system/cpu/cpu{number}/cpufreq");
            self.write(&format!("{folder}/scaling_governor"), &format!("{governor}\n"));
            self.write(&format!("{folder}/scaling_cur_freq"), &format!("{khz}\n"));
        }

        /// Times of a process on processors 1 and 2 of a machine with three.
        fn times(&self, [own, first, second]: [&str; 3]) {
            self.write("proc/self/stat", &format!("7 (a b) c) S 1 1 1 0 -1 0 0 0 0 0 {own} 0 0 20 0\n"));
            let stat = format!(
                "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 9 9 9 9 9 9 9 9 9 9\ncpu1 {first}\ncpu2 {second}\nintr 5\n"
            );
            self.write("proc/stat", &stat);
        }
    }

    #[test]
    fn everything_that_a_machine_tells_is_noted_down() {
        let machine = Machine::new();
        machine.write("proc/self/status", "Name:\tprobe\nCpus_allowed_list:\t1-2\n");
        machine.write("proc/loadavg", "0.50 0.40 0.30 1/100 5\n");
        machine.processor(0, "powersave", "800000");
        machine.processor(1, "performance", "3000000");
        machine.processor(2, "performance", "3200000");
        machine.write("sys/class/thermal/thermal_zone0/temp", "41000\n");
        machine.write("sys/class/thermal/cooling_device0/temp", "99000\n");
        machine.write("sys/class/hwmon/hwmon0/temp1_input", "52500\n");
        machine.write("sys/class/hwmon/hwmon0/temp2_input", "-273000\n");
        machine.write("sys/class/hwmon/hwmon0/temp1_max", "100000\n");
        machine.times(["10 5", "100 0 0 900 0 0 0 0 0 0", "0 0 0 1000 0 0 0 0 0 0"]);
        let surroundings = machine.surroundings();
        let before = surroundings.look();

        machine.write("proc/loadavg", "1.50 0.40 0.30 1/100 5\n");
        machine.processor(1, "performance", "2000000");
        machine.write("sys/class/hwmon/hwmon0/temp1_input", "60000\n");
        // Of 200 units 160 were busy, 100 of them with the process; waiting for disks is no work, stolen time is.
        machine.times(["100 15", "180 5 5 900 10 0 0 0 0 0", "60 0 0 1030 0 0 0 10 0 0"]);
        let environment = before.until(&surroundings.look());

        assert_eq!(environment.governor.as_deref(), Some("performance"));
        assert_eq!(environment.affinity, [1, 2]);
        assert_eq!(environment.mhz, Some([3100.0, 2600.0]));
        assert_eq!(environment.celsius, Some([52.5, 60.0]));
        assert_eq!(environment.load, Some([0.5, 1.5]));
        assert_eq!(environment.others, Some(0.3));
    }

    #[test]
    fn the_frequency_of_a_processor_without_scaling_is_measured() {
        let machine = Machine::new();
        machine.write("proc/self/status", "Cpus_allowed_list:\t1\n");

        let look = Surroundings { mhz: || Some(2500.5), ..machine.surroundings() }.look();

        assert_eq!((look.mhz, look.governor), (Some(2500.5), None));
    }

    #[test]
    fn a_machine_that_tells_nothing_has_an_empty_environment() {
        let surroundings = Machine::new().surroundings();

        let environment = surroundings.look().until(&surroundings.look());

        assert_eq!(environment, Environment::default());
    }

    #[test]
    fn garbage_is_left_out() {
        let machine = Machine::new();
        machine.write("proc/self/status", "Cpus_allowed_list:\tall\n");
        machine.write("proc/loadavg", "much\n");
        machine.write("sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "fast\n");
        machine.write("sys/class/thermal/thermal_zone0/temp", "hot\n");
        machine.times(["x y", "a b c", "-1"]);
        let surroundings = machine.surroundings();

        let environment = surroundings.look().until(&surroundings.look());

        assert_eq!(environment, Environment::default());
    }
}
