//! Processes that were killed and are still there, as a driver may keep them: their device is still in use.

use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// Those of one probe.
#[derive(Clone, Debug, Default)]
pub(super) struct Unburied(Arc<Mutex<Vec<Pid>>>);

impl Unburied {
    /// A process was killed and has not ended.
    pub(super) fn add(&self, process: Pid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(process);
    }

    /// One that has not ended yet; those that have are waited for.
    pub(super) fn first(&self) -> Option<u32> {
        let mut left = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        left.retain(|process| matches!(waitid(WaitId::Pid(*process), options), Ok(None)));
        left.first().map(|process| process.as_raw_nonzero().get().unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_there_until_it_has_ended() {
        let unburied = Unburied::default();
        // It ends with its input, and nobody else waits for it.
        let mut process = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        unburied.add(Pid::from_child(&process));

        assert_eq!(unburied.first(), Some(process.id()));
        drop(process.stdin.take());
        while unburied.first().is_some() {
            std::thread::yield_now();
        }
        assert!(process.wait().is_err(), "it has been waited for");
    }
}
