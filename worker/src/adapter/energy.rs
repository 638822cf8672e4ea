//! Energy counters of the machine.
//!
//! What a counter says is what the whole package or board took from its supply while it executed: what it takes when idle, and
//! whatever else ran on it, is in it. So it is the price of executing inferences one after another on this machine, and no
//! property of the network alone.

use std::path::{Path, PathBuf};

/// Where Linux shows counters of power.
const POWERCAP: &str = "/sys/class/powercap";

/// Counters of processors begin with this; others count the same a second time.
const ZONE: &str = "intel-rapl:";

/// A processor's counter moves every millisecond: a stretch of so many nanoseconds is a few hundred steps.
const RAPL_STRETCH_NS: f64 = 0.3e9;

/// Counts joules since it was made.
pub trait Meter {
    /// Which counter it is, such as `rapl package-0`.
    fn source(&self) -> String;

    /// Nanoseconds that a stretch takes at least for the counter to say anything about it.
    fn stretch_ns(&self) -> f64;

    /// Joules since it was made; none if the counter cannot be read any more.
    fn joules(&mut self) -> Option<f64>;
}

/// The energy counters of this machine's processor packages; none where Linux shows none, or not to this user.
pub fn rapl() -> Option<Box<dyn Meter>> {
    Rapl::below(Path::new(POWERCAP)).map(|rapl| Box::new(rapl) as Box<dyn Meter>)
}

/// The counters of all packages together.
struct Rapl {
    zones: Vec<Zone>,
}

/// A package's counter, which begins anew at 0 when it is full.
struct Zone {
    name: String,
    counter: PathBuf,
    /// How far it counts, in microjoules.
    range: u64,
    last: u64,
    total: u64,
}

impl Rapl {
    fn below(folder: &Path) -> Option<Self> {
        let entries = std::fs::read_dir(folder).ok()?.flatten();
        let mut zones: Vec<Zone> = entries.filter_map(|entry| Zone::open(&entry.path())).collect();
        zones.sort_by(|left, right| left.name.cmp(&right.name));
        (!zones.is_empty()).then_some(Self { zones })
    }
}

impl Zone {
    fn open(folder: &Path) -> Option<Self> {
        let file = folder.file_name()?.to_str()?;
        // What has a second number is a part of a package.
        let is_whole = file.strip_prefix(ZONE).is_some_and(|number| !number.contains(':'));
        let name = std::fs::read_to_string(folder.join("name")).ok()?.trim().to_owned();
        if !is_whole || !name.starts_with("package") {
            return None;
        }
        let counter = folder.join("energy_uj");
        let (range, last) = (number(&folder.join("max_energy_range_uj"))?, number(&counter)?);
        Some(Self { name, counter, range, last, total: 0 })
    }

    fn microjoules(&mut self) -> Option<u64> {
        let now = number(&self.counter)?;
        let full = if now < self.last { self.range } else { 0 };
        self.total += (now + full).saturating_sub(self.last);
        self.last = now;
        Some(self.total)
    }
}

impl Meter for Rapl {
    fn source(&self) -> String {
        let names: Vec<&str> = self.zones.iter().map(|zone| zone.name.as_str()).collect();
        format!("rapl {}", names.join("+"))
    }

    fn stretch_ns(&self) -> f64 {
        RAPL_STRETCH_NS
    }

    fn joules(&mut self) -> Option<f64> {
        let zones = self.zones.iter_mut().map(Zone::microjoules);
        let total: u64 = zones.collect::<Option<Vec<u64>>>()?.iter().sum();
        Some(total as f64 * 1e-6)
    }
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, zone: &str, [name, energy, range]: [&str; 3]) {
        let zone = folder.join(zone);
        std::fs::create_dir_all(&zone).unwrap();
        std::fs::write(zone.join("name"), format!("{name}\n")).unwrap();
        std::fs::write(zone.join("energy_uj"), format!("{energy}\n")).unwrap();
        std::fs::write(zone.join("max_energy_range_uj"), format!("{range}\n")).unwrap();
    }

    #[test]
    fn packages_are_added_up_and_their_parts_do_not_count_again() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        write(at, "intel-rapl:0", ["package-0", "1000000", "9000000"]);
        write(at, "intel-rapl:0:0", ["core", "500000", "9000000"]);
        write(at, "intel-rapl:1", ["package-1", "0", "9000000"]);
        write(at, "intel-rapl:2", ["psys", "0", "9000000"]);
        write(at, "intel-rapl-mmio:0", ["package-0", "1000000", "9000000"]);
        let mut meter = Rapl::below(at).unwrap();
        assert_eq!(meter.joules(), Some(0.0));

        write(at, "intel-rapl:0", ["package-0", "3000000", "9000000"]);
        write(at, "intel-rapl:0:0", ["core", "8000000", "9000000"]);
        write(at, "intel-rapl:1", ["package-1", "500000", "9000000"]);

        assert_eq!(meter.source(), "rapl package-0+package-1");
        assert_eq!(meter.joules(), Some(2.5));
    }

    #[test]
    fn a_counter_that_was_full_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        write(at, "intel-rapl:0", ["package-0", "8500000", "9000000"]);
        let mut meter = Rapl::below(at).unwrap();

        write(at, "intel-rapl:0", ["package-0", "1500000", "9000000"]);
        assert_eq!(meter.joules(), Some(2.0));
        write(at, "intel-rapl:0", ["package-0", "2500000", "9000000"]);
        assert_eq!(meter.joules(), Some(3.0));
    }

    #[test]
    fn what_cannot_be_read_gives_no_energy() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        assert!(Rapl::below(at).is_none() && Rapl::below(&at.join("missing")).is_none());
        write(at, "intel-rapl:0", ["package-0", "", "9000000"]);
        assert!(Rapl::below(at).is_none(), "a counter that only root may read");
        write(at, "intel-rapl:0", ["package-0", "5", "9000000"]);
        let mut meter = Rapl::below(at).unwrap();

        std::fs::remove_file(at.join("intel-rapl:0/energy_uj")).unwrap();

        assert_eq!(meter.joules(), None);
    }
}
