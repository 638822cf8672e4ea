//! What a user or a worker proves itself with.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bitloop_coordinator::security::Security;
use bitloop_proto::identity::{IDENTITY_FILE, Identity, IdentityError, Member};

use super::Finding;
use crate::args::DEFAULT_DATA_DIR;
use crate::clock;
use crate::identity::OTHERS;

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// The folder that commands take the identity from: the one named, or the administrator's if it is here.
pub(super) fn folder(named: Option<&Path>) -> Option<PathBuf> {
    named.map(Path::to_owned).or_else(|| {
        let admin = Security::admin_folder_of(Path::new(DEFAULT_DATA_DIR));
        admin.exists().then_some(admin)
    })
}

/// Whether it is there, nobody else's, and good for how long.
pub(super) fn look(folder: &Path, is_needed: bool) -> Vec<Finding> {
    let identity = match Identity::load(folder) {
        Ok(identity) => identity,
        Err(missing @ IdentityError::NotThere(_)) if !is_needed => {
            return vec![Finding::ok("identity", missing.to_string())];
        }
        Err(error) => {
            return vec![
                Finding::fail("identity", error.to_string())
                    .advise("name another folder with --identity, or get an identity with `bitloop join`"),
            ];
        }
    };
    let mut findings = vec![age(identity.member(), clock::unix_seconds())];
    findings.extend(readers(folder));
    if !identity.is_of_its_authority() {
        findings.push(
            Finding::fail("identity", format!("ca.pem in {} did not sign its certificate", folder.display()))
                .advise("remove the folder and join again: files of two identities are mixed in it"),
        );
    }
    findings
}

fn age(member: &Member, now: u64) -> Finding {
    let days = |seconds: u64| format!("{} days", seconds / DAY_SECONDS);
    if member.expires <= now {
        let said = format!("{member} expired {} ago", days(now - member.expires));
        return Finding::fail("identity", said).advise("join again with a new token");
    }
    if member.issued > now + DAY_SECONDS {
        let said = format!("{member} was made {} after today", days(member.issued - now));
        return Finding::fail("identity", said).advise("set this machine's clock");
    }
    let said = format!("{member}, good for {}", days(member.expires - now));
    match member.renewal_due() <= now {
        true => Finding::warn("identity", said)
            .advise("the next command that reaches the coordinator renews it; a worker does so by itself"),
        false => Finding::ok("identity", said),
    }
}

/// Who else may read the key.
fn readers(folder: &Path) -> Vec<Finding> {
    let wide =
        [(folder.to_owned(), "700"), (folder.join(IDENTITY_FILE), "600")].into_iter().filter(|(path, _)| {
            fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & OTHERS != 0)
        });
    let found = wide.map(|(path, mode)| {
        Finding::fail("identity", format!("others may use {}", path.display()))
            .advise(format!("`chmod {mode} {}`, and join again if somebody may have read it", path.display()))
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use bitloop_proto::identity::Role;

    use super::super::Verdict;
    use super::*;

    fn member() -> Member {
        Member {
            role: Role::Read,
            name: "ab".to_owned(),
            issued: 100 * DAY_SECONDS,
            expires: 190 * DAY_SECONDS,
        }
    }

    #[test]
    fn an_identity_is_good_until_it_ends() {
        let on = |day: u64| age(&member(), day * DAY_SECONDS);
        assert_eq!((on(110).verdict, on(110).said.as_str()), (Verdict::Ok, "read ab, good for 80 days"));
        assert_eq!(on(170).verdict, Verdict::Warn);
        assert_eq!((on(200).verdict, on(200).said.as_str()), (Verdict::Fail, "read ab expired 10 days ago"));
        assert_eq!(on(50).verdict, Verdict::Fail);
    }

    /// A data directory's administrator.
    fn admin() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let folder = Security::init(root.path(), &[]).unwrap().admin_folder();
        (root, folder)
    }

    fn verdicts(folder: &Path) -> Vec<Verdict> {
        look(folder, true).iter().map(|finding| finding.verdict).collect()
    }

    #[test]
    fn each_thing_wrong_with_an_identity_is_told() {
        let ((_root, folder), (_other, others)) = (admin(), admin());
        assert_eq!(verdicts(&folder), [Verdict::Ok]);

        fs::set_permissions(folder.join(IDENTITY_FILE), fs::Permissions::from_mode(0o644)).unwrap();
        let read = look(&folder, true);
        assert_eq!(verdicts(&folder), [Verdict::Ok, Verdict::Fail]);
        assert!(read[1].advice.as_ref().unwrap().contains("chmod 600"), "{}", read[1].line());
        fs::set_permissions(folder.join(IDENTITY_FILE), fs::Permissions::from_mode(0o600)).unwrap();
        fs::copy(others.join("ca.pem"), folder.join("ca.pem")).unwrap();
        assert_eq!(verdicts(&folder), [Verdict::Ok, Verdict::Fail]);
        fs::write(folder.join(IDENTITY_FILE), "no key").unwrap();
        assert_eq!(verdicts(&folder), [Verdict::Fail]);
        fs::remove_file(folder.join(IDENTITY_FILE)).unwrap();
        assert_eq!(verdicts(&folder), [Verdict::Fail]);
        assert_eq!(look(&folder, false)[0].verdict, Verdict::Ok);
    }
}
