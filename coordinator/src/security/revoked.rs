use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bitloop_proto::identity::{Member, create_private_folder, write_private};
use tokio::sync::watch;

use super::{SecurityError, broken};

/// Holds an empty file for each member that is shut out, with its name. So nothing that is written at the same time, as by a
/// coordinator that was taken over from, can undo it.
const REVOKED_FOLDER: &str = "revoked";

/// Members that can be shut out; for more than that a new authority is due.
const MEMBERS_MAX: usize = 10_000;

/// Who is shut out, whatever certificate they show.
#[derive(Debug)]
pub(super) struct Revoked {
    folder: PathBuf,
    names: watch::Sender<BTreeSet<String>>,
}

impl Revoked {
    pub(super) fn load(security: &Path) -> Result<Self, SecurityError> {
        let folder = security.join(REVOKED_FOLDER);
        let read = || {
            create_private_folder(&folder)?;
            fs::File::open(security)?.sync_all()?;
            let mut names = BTreeSet::new();
            for entry in fs::read_dir(&folder)? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                // What was not written to its end has another name.
                if Member::is_name(&name) {
                    names.insert(name);
                }
            }
            Ok(names)
        };
        let names: BTreeSet<String> = read().map_err(broken(&folder))?;
        Ok(Self { names: watch::Sender::new(names), folder })
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.borrow().contains(name)
    }

    /// Shuts a member out, durably before it counts; false if it was before.
    pub(super) fn add(&self, name: &str) -> Result<bool, SecurityError> {
        if self.contains(name) {
            return Ok(false);
        }
        let path = self.folder.join(name);
        if self.names.borrow().len() >= MEMBERS_MAX {
            let many = format!("{MEMBERS_MAX} members are shut out; make a new authority");
            return Err(broken(&path)(io::Error::other(many)));
        }
        write_private(&path, b"").map_err(broken(&path))?;
        Ok(self.names.send_if_modified(|names| names.insert(name.to_owned())))
    }

    /// Ends when the member is shut out.
    pub(super) async fn of(&self, name: &str) {
        // The sender lives as long as this.
        let _ = self.names.subscribe().wait_for(|names| names.contains(name)).await;
    }
}
