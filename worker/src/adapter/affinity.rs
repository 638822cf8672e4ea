//! Which processors a process may use.

use super::{Adapter, AdapterError, Hello, InferenceSetting, Loaded, Meter, Network};

/// An adapter on a thread that is kept on some processors.
pub(super) struct Pinned {
    adapter: Box<dyn Adapter>,
    list: String,
}

impl Pinned {
    /// The adapter, where [`pin`] was given this list.
    pub(super) fn new(adapter: Box<dyn Adapter>, list: String) -> Self {
        Self { adapter, list }
    }
}

impl Adapter for Pinned {
    /// Times on some processors are put beside none on others, so that they are a part of what executes.
    fn hello(&self) -> Hello {
        let hello = self.adapter.hello();
        Hello { runtime: format!("{} cpus {}", hello.runtime, self.list), ..hello }
    }

    fn load(
        &mut self,
        network: &Network,
        setting: InferenceSetting,
    ) -> Result<Box<dyn Loaded>, AdapterError> {
        self.adapter.load(network, setting)
    }

    fn meter(&self) -> Option<Box<dyn Meter>> {
        self.adapter.meter()
    }

    fn is_in_this_process(&self) -> bool {
        self.adapter.is_in_this_process()
    }
}

/// Reads a list of numbers as Linux writes it, such as `0-3,8`; none if it is none.
pub(super) fn read(list: &str) -> Option<Vec<u32>> {
    /// More processors than any machine has.
    const PROCESSORS_MAX: u32 = 1 << 16;
    let mut processors = Vec::new();
    for range in list.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= PROCESSORS_MAX {
            return None;
        }
        processors.extend(first..=last);
    }
    (!processors.is_empty()).then_some(processors)
}

/// Keeps this thread, and those that it starts, on some processors; `list` has `+` between its ranges, as commas separate options.
///
/// Errors: `Unable`.
pub(super) fn pin(list: &str) -> Result<(), AdapterError> {
    let wrong = || {
        AdapterError::Unable(format!(
            "the option `cpus` cannot be `{list}`; give numbers of processors, such as cpus=0-3 or cpus=0+2"
        ))
    };
    let processors = read(&list.replace('+', ",")).ok_or_else(wrong)?;
    pin_to(&processors).map_err(|reason| {
        AdapterError::Unable(format!(
            "this process cannot be kept on the processors {list}: {reason}; `taskset -p $$` shows those it may use"
        ))
    })
}

#[cfg(target_os = "linux")]
fn pin_to(processors: &[u32]) -> Result<(), String> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let allowed = sched_getaffinity(None).map_err(|error| error.to_string())?;
    let mut set = CpuSet::new();
    for processor in processors {
        let number = *processor as usize;
        // The system would leave out in silence what is not there.
        if number >= CpuSet::MAX_CPU || !allowed.is_set(number) {
            return Err(format!("it may not use processor {processor}"));
        }
        set.set(number);
    }
    sched_setaffinity(None, &set).map_err(|error| error.to_string())
}

#[cfg(not(target_os = "linux"))]
fn pin_to(_processors: &[u32]) -> Result<(), String> {
    Err("this is done on Linux alone".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_read() {
        assert_eq!(read("0-3,8\n"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(read("5"), Some(vec![5]));
        for wrong in ["", "a", "3-1", "0-", "-1", "0-99999999"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_thread_stays_on_the_processors_that_it_is_given() {
        // A thread of its own, so that the tests beside it are not moved.
        let pinned = std::thread::spawn(|| {
            let allowed = || std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let list = |status: String| {
                let line = status
                    .lines()
                    .find_map(|line| line.strip_prefix("Cpus_allowed_list:").map(str::to_owned));
                read(&line.unwrap()).unwrap()
            };
            let first = list(allowed())[0];
            pin(&first.to_string()).unwrap();
            let error = pin("1023").unwrap_err().to_string();
            (first, list(allowed()), error)
        });

        let (first, after, error) = pinned.join().unwrap();

        assert_eq!(after, [first]);
        assert!(error.contains("may not use processor 1023"), "{error}");
        assert!(pin("all").unwrap_err().to_string().contains("cpus=0-3"));
    }
}
