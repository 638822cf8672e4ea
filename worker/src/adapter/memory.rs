//! How much memory this process has at most, as Linux counts it.

use std::path::PathBuf;

/// Makes Linux forget the most memory that a process had so far.
const FORGET_PEAK: &str = "5";

/// The memory of one process, over its folder in `/proc`.
#[derive(Debug)]
pub(super) struct Memory {
    folder: PathBuf,
    /// What it had when this was made, in bytes.
    before: Option<u64>,
}

impl Memory {
    /// Notes down what the process has now.
    pub(super) fn new(folder: PathBuf) -> Self {
        let mut memory = Self { folder, before: None };
        memory.before = memory.field("VmRSS:");
        memory
    }

    /// Begins to look for a peak; `false` where that cannot be done.
    pub(super) fn forget(&self) -> bool {
        std::fs::write(self.folder.join("clear_refs"), FORGET_PEAK).is_ok()
    }

    /// The most bytes that the process had since it began to look, beyond what it had first.
    pub(super) fn peak(&self) -> Option<u64> {
        Some(self.field("VmHWM:")?.saturating_sub(self.before?))
    }

    fn field(&self, name: &str) -> Option<u64> {
        let status = std::fs::read_to_string(self.folder.join("status")).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_counts_from_what_there_was_first() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let status = |text: &str| std::fs::write(at.join("status"), text).unwrap();
        status("Name:\tprobe\nVmHWM:\t    9000 kB\nVmRSS:\t    1000 kB\n");
        std::fs::write(at.join("clear_refs"), "").unwrap();
        let memory = Memory::new(at.to_path_buf());

        assert!(memory.forget());
        status("Name:\tprobe\nVmHWM:\t    3000 kB\nVmRSS:\t    2000 kB\n");

        assert_eq!(memory.peak(), Some(2000 * 1024));
        assert_eq!(std::fs::read_to_string(at.join("clear_refs")).unwrap(), FORGET_PEAK);
    }

    #[test]
    fn where_nothing_can_be_read_there_is_no_peak() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::new(folder.path().join("missing"));

        assert!(!memory.forget());
        assert_eq!(memory.peak(), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory() {
        let memory = Memory::new(PathBuf::from("/proc/self"));

        assert!(memory.before.is_some_and(|bytes| bytes > 0));
        assert!(memory.peak().is_some());
    }
}
