//! Folders, databases and buckets that something is kept in. Looked at without being touched: a folder counts as one that
//! can be written when the system says so.

use std::fs;
use std::path::{Path, PathBuf};

use bitloop_coordinator::store::{
    Address, Looked, STORE_FORMAT, ToolError, VerifiedDatabase, look_at_database, look_at_journal,
};
use bitloop_coordinator::{Artifacts, DataDir, DataDirError};
use rustix::fs::{Access, access, statvfs};

use super::Finding;
use super::machine::size;
use crate::show::with_thousands;

/// Free space below which things stop soon, or are about to.
const FREE_BYTES_FAIL: u64 = 64 << 20;
const FREE_BYTES_WARN: u64 = 1 << 30;

/// File systems of other machines: locks and writes that are said to be durable depend on them, too.
const SHARED: [&str; 9] = ["nfs", "nfs4", "cifs", "smb3", "lustre", "beegfs", "gpfs", "ceph", "fuse.sshfs"];

/// Space and rights of a folder that need not be there yet.
struct Ground {
    /// It, or the folder above that is there.
    there: PathBuf,
    free_bytes: u64,
    is_writable: bool,
    file_system: Option<String>,
}

impl Ground {
    fn of(folder: &Path) -> Result<Self, String> {
        let mut there = std::path::absolute(folder).map_err(|cause| cause.to_string())?;
        while !there.exists() && there.pop() {}
        let there = there.canonicalize().map_err(|cause| cause.to_string())?;
        if !there.is_dir() {
            return Err("it is a file".to_owned());
        }
        let space = statvfs(&there).map_err(|cause| cause.to_string())?;
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Ok(Self {
            free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
            is_writable: access(&there, Access::WRITE_OK | Access::EXEC_OK).is_ok(),
            file_system: file_system(&mounts, &there),
            there,
        })
    }

    fn judge(&self, check: &'static str, folder: &Path) -> Vec<Finding> {
        let system = self.file_system.as_deref().unwrap_or("an unknown file system");
        let said = format!("{} on {system}, {} free", folder.display(), size(self.free_bytes));
        let space = match self.free_bytes {
            0..FREE_BYTES_FAIL => {
                Finding::fail(check, said).advise("free some space, or name another folder")
            }
            FREE_BYTES_FAIL..FREE_BYTES_WARN => Finding::warn(check, said).advise("free some space soon"),
            _ => Finding::ok(check, said),
        };
        let mut findings = vec![space];
        if !self.is_writable {
            let said = format!("{} cannot be written by this user", self.there.display());
            findings
                .push(Finding::fail(check, said).advise("change its owner or mode, or name another folder"));
        }
        if SHARED.contains(&system) {
            let said = format!("{} is on {system}, which other machines share", folder.display());
            findings.push(Finding::warn(check, said).advise(
                "name a folder on a disk of this machine: locks and syncs of shared file systems are slow, and not \
                 always kept",
            ));
        }
        findings
    }
}

/// The type of the file system that a path is on, by the system's list of mounts.
fn file_system(mounts: &str, path: &Path) -> Option<String> {
    let mounted = mounts.lines().filter_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        // Spaces in names are written as `\040`.
        let point = PathBuf::from(place.split(' ').nth(4)?.replace("\\040", " "));
        let kind = kind.split(' ').next()?.to_owned();
        path.starts_with(&point).then(|| (point.as_os_str().len(), kind))
    });
    // The last one of several at a place hides the others.
    mounted.max_by_key(|(length, _)| *length).map(|(_, kind)| kind)
}

fn ground(check: &'static str, folder: &Path) -> Vec<Finding> {
    match Ground::of(folder) {
        Ok(ground) => ground.judge(check, folder),
        Err(reason) => {
            vec![
                Finding::fail(check, format!("{}: {reason}", folder.display())).advise("name another folder"),
            ]
        }
    }
}

/// Where a worker keeps what it fetches.
pub(super) fn cache(folder: &Path) -> Vec<Finding> {
    ground("cache", folder)
}

/// A data directory: its disk, and who uses it.
pub(super) fn store(folder: &Path) -> Vec<Finding> {
    let mut findings = ground("store", folder);
    findings.push(match DataDir::look_at(folder) {
        Ok(()) => Finding::ok("store", format!("no coordinator uses {}", folder.display())),
        Err(in_use @ DataDirError::InUse { .. }) => Finding::ok("store", held(&in_use)),
        Err(error) => {
            Finding::fail("store", error.to_string()).advise("name the one of a coordinator with --store")
        }
    });
    findings
}

/// That a coordinator works is as it should be; what to do for another one is not asked here.
fn held(in_use: &DataDirError) -> String {
    let text = in_use.to_string();
    text.split(';').next().unwrap_or_default().to_owned()
}

/// All facts of a data directory that no coordinator uses.
pub(super) fn journal(folder: &Path) -> Finding {
    match look_at_journal(folder) {
        Ok(Some(Looked { facts, epoch, torn_bytes })) => {
            let whole = format!(
                "format {STORE_FORMAT}, {} facts of {} starts, all whole",
                with_thousands(facts),
                with_thousands(epoch)
            );
            match torn_bytes {
                None => Finding::ok("journal", whole),
                Some(bytes) => Finding::warn(
                    "journal",
                    format!("{whole}, then {bytes} bytes of a line without end"),
                )
                .advise(
                    "that comes of a crash; the next start cuts them off, and nothing else is to be done",
                ),
            }
        }
        Ok(None) => Finding::warn("journal", "there is none")
            .advise("the next start of a coordinator writes it from the store"),
        Err(ToolError::DataDir(DataDirError::InUse { .. })) => {
            Finding::ok("journal", "not read, as a coordinator uses it; that one found it whole")
        }
        // Said of the folder already.
        Err(ToolError::DataDir(error)) => Finding::fail("journal", error.to_string()),
        Err(error @ (ToolError::Store(_) | ToolError::NoJournal(_) | ToolError::Differs { .. })) => {
            Finding::fail("journal", error.to_string())
        }
    }
}

/// Facts in a database.
pub(super) fn database(url: &str) -> Finding {
    let looked = Address::parse(url).and_then(|address| look_at_database(&address));
    match looked {
        Ok(VerifiedDatabase { facts, epoch }) => Finding::ok(
            "store",
            format!("the database says that it holds {} facts of {epoch} starts", with_thousands(facts)),
        ),
        Err(error) => Finding::fail("store", error.to_string()),
    }
}

/// Artifacts in a folder or a bucket.
pub(super) fn artifacts(place: &str) -> Finding {
    match Artifacts::look_at(place) {
        Ok(()) => Finding::ok("artifacts", format!("{place} can be read")),
        Err(error) => Finding::fail("artifacts", error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use bitloop_coordinator::store::STORE_FORMAT;

    use super::super::Verdict;
    use super::*;

    const MOUNTS: &str = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        40 22 0:40 / /home rw - nfs4 server:/home rw\n\
        41 40 0:41 / /home/a\\040b rw - tmpfs none rw\n\
        42 40 0:42 / /home/a\\040b rw shared:1 - xfs /dev/sdb rw\n";

    #[test]
    fn the_file_system_is_that_of_the_innermost_mount() {
        let of = |path: &str| file_system(MOUNTS, Path::new(path)).unwrap();
        assert_eq!(
            [of("/var"), of("/home/user"), of("/homes"), of("/home/a b/c")],
            ["ext4", "nfs4", "ext4", "xfs"]
        );
        assert_eq!(file_system("", Path::new("/")), None);
    }

    fn judged(ground: &Ground) -> Vec<Verdict> {
        ground.judge("cache", &ground.there).iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn each_thing_wrong_with_a_folder_is_a_line() {
        let good = || Ground {
            there: PathBuf::from("/x"),
            free_bytes: 1 << 40,
            is_writable: true,
            file_system: Some("ext4".to_owned()),
        };
        assert_eq!(judged(&good()), [Verdict::Ok]);
        assert_eq!(judged(&Ground { free_bytes: 1 << 20, ..good() }), [Verdict::Fail]);
        assert_eq!(judged(&Ground { free_bytes: 512 << 20, ..good() }), [Verdict::Warn]);
        assert_eq!(judged(&Ground { is_writable: false, ..good() }), [Verdict::Ok, Verdict::Fail]);
        let shared = Ground { file_system: Some("nfs4".to_owned()), ..good() };
        assert_eq!(judged(&shared), [Verdict::Ok, Verdict::Warn]);
    }

    #[test]
    fn a_folder_that_is_not_there_yet_is_judged_by_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        let ground = Ground::of(&folder.path().join("not/yet")).unwrap();
        assert_eq!(ground.there, folder.path().canonicalize().unwrap());
        assert!(ground.is_writable && ground.free_bytes > 0 && ground.file_system.is_some());
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert_eq!(cache(&file)[0].verdict, Verdict::Fail);
        assert!(!folder.path().join("not").exists(), "nothing is made");
    }

    #[test]
    fn a_folder_of_artifacts_that_is_not_there_fails() {
        let folder = tempfile::tempdir().unwrap();
        let place = |path: &Path| path.display().to_string();
        assert_eq!(artifacts(&place(folder.path())).verdict, Verdict::Ok);
        assert_eq!(artifacts(&place(&folder.path().join("gone"))).verdict, Verdict::Fail);
        assert_eq!(artifacts("gopher://bucket").verdict, Verdict::Fail);
        // Nobody listens there: port 1 is the system's.
        let said = database("postgres://lab@127.0.0.1:1/bitloop");
        assert_eq!(said.verdict, Verdict::Fail);
        let secret = database("postgres://lab:hunter2@127.0.0.1:1/bitloop");
        assert_eq!(secret.verdict, Verdict::Fail);
        assert!(!secret.line().contains("hunter2"), "{}", secret.line());
    }

    /// A data directory with a history, and what lies in it byte by byte.
    fn directory() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        drop(bitloop_coordinator::Coordinator::open(folder.path()).unwrap());
        folder
    }

    fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>, u32)> {
        let mut found = Vec::new();
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            match path.is_dir() {
                true => found.extend(contents(&path)),
                false => found.push((path.clone(), fs::read(&path).unwrap(), mode)),
            }
        }
        found.sort();
        found
    }

    fn segment(folder: &Path) -> PathBuf {
        folder.join("journal/000001.jsonl")
    }

    #[test]
    fn a_whole_store_is_well_and_stays_as_it_is() {
        let folder = directory();
        let before = contents(folder.path());

        let (stood, read) = (store(folder.path()), journal(folder.path()));

        assert!(stood.iter().all(|finding| finding.verdict != Verdict::Fail), "{stood:?}");
        assert_eq!(read.verdict, Verdict::Ok, "{}", read.line());
        assert!(
            read.said.starts_with(&format!("format {STORE_FORMAT}, 0 facts of 1 starts")),
            "{}",
            read.said
        );
        assert!(before == contents(folder.path()), "nothing has changed");
    }

    #[test]
    fn a_store_in_use_is_left_alone() {
        let folder = directory();
        let coordinator = bitloop_coordinator::Coordinator::open(folder.path()).unwrap();

        let (stood, read) = (store(folder.path()), journal(folder.path()));

        let process = format!("(process {})", std::process::id());
        assert!(stood.iter().any(|finding| finding.said.contains(&process)), "{stood:?}");
        assert!(read.verdict == Verdict::Ok && read.said.starts_with("not read"), "{}", read.line());
        drop(coordinator);
    }

    #[test]
    fn damage_of_each_kind_is_told() {
        let folder = directory();
        let whole = fs::read_to_string(segment(folder.path())).unwrap();

        fs::write(segment(folder.path()), format!("{whole}{{\"sequence\":")).unwrap();
        assert_eq!(journal(folder.path()).verdict, Verdict::Warn);
        let lines: Vec<&str> = whole.lines().collect();
        fs::write(segment(folder.path()), format!("{}\n", lines.join("\n").replacen("epoch", "epic", 1)))
            .unwrap();
        let damaged = journal(folder.path());
        assert!(damaged.verdict == Verdict::Fail && damaged.said.contains("line"), "{}", damaged.line());
        let (this, next) = (format!("\"format\":{STORE_FORMAT}"), format!("\"format\":{}", STORE_FORMAT + 1));
        fs::write(segment(folder.path()), whole.replacen(&this, &next, 1)).unwrap();
        let newer = journal(folder.path());
        assert!(newer.verdict == Verdict::Fail && newer.said.contains("newer bitloop"), "{}", newer.line());
        fs::remove_file(segment(folder.path())).unwrap();
        assert_eq!(journal(folder.path()).verdict, Verdict::Warn);
        let elsewhere = tempfile::tempdir().unwrap();
        let none = store(elsewhere.path());
        assert!(none.iter().any(|finding| finding.verdict == Verdict::Fail), "{none:?}");
    }
}
