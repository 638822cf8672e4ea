//! A disk that is really full: a small file system in memory, mounted for the test where that is allowed.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bitloop_tests::is_required;
use tempfile::TempDir;

use super::*;

const SIZE_MIB: usize = 4;
const FREE_RETRIES: u32 = 100;
const FREE_PAUSE: Duration = Duration::from_millis(20);

/// A small file system; unmounted when it is dropped.
struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// None, with a word on standard error, where this process may mount nothing; `BITLOOP_REQUIRE=tmpfs` makes that
    /// a failure.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={SIZE_MIB}m");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        match mount {
            Ok(done) if done.status.success() => Some(Self { folder }),
            refused => {
                assert!(!is_required("tmpfs"), "no tmpfs: {refused:?}");
                drop(writeln!(std::io::stderr(), "skipped: this process may not mount a tmpfs"));
                None
            }
        }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Takes all the space that is left but for so many bytes.
    fn fill(&self, left: u64) {
        let filler = self.folder.path().join("filler");
        // It ends where the disk does.
        let _ = fs::write(&filler, vec![1; SIZE_MIB << 20]);
        let taken = fs::metadata(&filler).unwrap().len();
        fs::OpenOptions::new()
            .write(true)
            .open(&filler)
            .unwrap()
            .set_len(taken.saturating_sub(left))
            .unwrap();
    }

    /// Gives the space back. A process that another test was just starting may hold the file until it runs a program of its
    /// own, so that this waits until the space is there.
    fn free(&self) {
        let filler = self.folder.path().join("filler");
        let most = vec![1; fs::metadata(&filler).unwrap().len() as usize / 2];
        fs::remove_file(&filler).unwrap();
        let probe = self.folder.path().join("probe");
        let is_free = (0..FREE_RETRIES).any(|_| {
            let written = fs::write(&probe, &most).is_ok();
            fs::remove_file(&probe).unwrap();
            if !written {
                std::thread::sleep(FREE_PAUSE);
            }
            written
        });
        assert!(is_free, "the space never came back");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.folder.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn a_full_disk_loses_nothing_and_goes_on_when_there_is_space() {
    let mut history = facts(1_500);
    // The disk is full among facts of every kind that goes to a tree of its own.
    let losses = facts_with_losses(1_500).split_off(history.len());
    for (index, fact) in losses.into_iter().cycle().take(60).enumerate() {
        history.insert(history.len() - 1 - 20 * index, fact);
    }
    // So that now the journal and now sled is the first to find no space.
    for left in [0, 64 << 10, 300 << 10] {
        let Some(disk) = SmallDisk::mount() else { return };
        let root = disk.root();
        let mut store = DiskStore::open(&root).unwrap();
        store.raise_epoch().unwrap();
        store.append(&history[..100]).unwrap();
        disk.fill(left);

        let mut acknowledged = 100;
        let refused = loop {
            let next = &history[acknowledged..history.len().min(acknowledged + 40)];
            match store.append(next) {
                Ok(()) => acknowledged += next.len(),
                Err(refused) => break refused,
            }
        };
        assert!(refused.is_retryable(), "{refused}");
        assert!(store.append(&history[acknowledged..acknowledged + 40]).is_err(), "it stays full");
        disk.free();
        for batch in history[acknowledged..].chunks(40) {
            store.append(batch).unwrap();
        }

        assert_eq!(store.load().unwrap().facts, history, "{left} bytes were left");
        assert!(!root.join("store.new").exists(), "what failed takes no space");
        drop(store);
        assert_eq!(DiskStore::open(&root).unwrap().load().unwrap().facts, history);
    }
}

#[test]
fn a_start_on_a_full_disk_is_refused_and_works_once_there_is_space() {
    let Some(disk) = SmallDisk::mount() else { return };
    let history = facts(50);
    let mut store = DiskStore::open(&disk.root()).unwrap();
    store.append(&history).unwrap();
    drop(store);
    fs::remove_dir_all(disk.root().join("store")).unwrap();
    disk.fill(0);

    let refused = DiskStore::open(&disk.root()).map(drop);

    assert!(refused.is_err());
    disk.free();
    assert_eq!(DiskStore::open(&disk.root()).unwrap().load().unwrap().facts, history);
}
