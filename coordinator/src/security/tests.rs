use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU64, Ordering};

use bitloop_proto::identity::PUBLIC_KEY_BYTES;
use tempfile::TempDir;

use super::*;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A data directory on a clock that the test sets.
struct Secured {
    security: Security,
    millis: Arc<AtomicU64>,
    folder: TempDir,
}

impl Secured {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        drop(Security::init(folder.path(), &[]).unwrap());
        let millis = Arc::new(AtomicU64::new(Clock::system().now().0));
        let security = Self::open(&folder, &millis);
        Self { security, millis, folder }
    }

    fn open(folder: &TempDir, millis: &Arc<AtomicU64>) -> Security {
        Security::open_with(folder.path(), Clock::manual(millis.clone())).unwrap().unwrap()
    }

    fn restart(&mut self) {
        self.security = Self::open(&self.folder, &self.millis);
    }

    fn pass(&self, time: Duration) {
        self.millis.fetch_add(time.as_millis() as u64, Ordering::SeqCst);
    }

    fn token(&self, uses: u32) -> JoinToken {
        self.security.issue_token(TokenTerms { role: Role::Worker, uses, valid: HOUR }).unwrap()
    }

    fn admit(&self, token: &JoinToken, key: u8) -> Result<Member, Refusal> {
        let issued = self.security.admit(token.secret(), &public_key(key))?;
        Ok(Member::of_certificate(&issued.certificate).unwrap())
    }
}

fn public_key(key: u8) -> [u8; PUBLIC_KEY_BYTES] {
    let mut bytes = [key; PUBLIC_KEY_BYTES];
    bytes[0] = 4;
    bytes
}

fn all_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { all_files(&path) } else { vec![path] }).collect()
}

#[test]
fn what_init_makes_is_its_owners_alone_and_stays_when_it_is_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["lab.example".parse().unwrap(), "192.0.2.7".parse().unwrap()];
    let first = Security::init(folder.path(), &names[..1]).unwrap();
    let read = |name: &str| fs::read(folder.path().join("security").join(name)).unwrap();
    let kept = ["ca.pem", "ca.key", "metrics.token", "admin/identity.pem"];
    let before = kept.map(read);
    assert_eq!(first.names(), names[..1]);

    let second = Security::init(folder.path(), &names).unwrap();

    assert_eq!(kept.map(read), before);
    assert_eq!(second.names(), names);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let root = folder.path().join("security");
    let files = all_files(&root);
    assert_eq!(files.len(), 7, "{files:?}");
    assert!(files.iter().all(|file| mode(file) == 0o600), "{files:?}");
    assert_eq!((mode(&root), mode(&root.join("admin"))), (0o700, 0o700));
}

#[test]
fn a_token_is_good_for_its_uses_and_only_for_those() {
    let mut secured = Secured::new();
    let token = secured.token(2);

    let (first, second) = (secured.admit(&token, 1).unwrap(), secured.admit(&token, 2).unwrap());

    assert_ne!(first.name, second.name);
    assert_eq!(first.role, Role::Worker);
    assert_eq!(secured.admit(&token, 3), Err(Refusal::UsedToken));
    secured.restart();
    assert_eq!(secured.admit(&token, 3), Err(Refusal::UsedToken));
    // Whoever lost the answer asks again with its key, and is the same member.
    assert_eq!(secured.admit(&token, 1).unwrap().name, first.name);
}

#[test]
fn a_token_is_good_for_its_time() {
    let secured = Secured::new();
    let token = secured.token(5);
    secured.admit(&token, 1).unwrap();

    secured.pass(HOUR);

    assert_eq!(secured.admit(&token, 2), Err(Refusal::ExpiredToken));
    assert_eq!(secured.admit(&token, 1), Err(Refusal::ExpiredToken));
    // Expired tokens are forgotten when the next one is made.
    secured.token(1);
    assert_eq!(secured.admit(&token, 2), Err(Refusal::UnknownToken));
}

#[test]
fn only_a_hash_of_a_token_is_kept() {
    let secured = Secured::new();
    let token = secured.token(1);
    secured.admit(&token, 1).unwrap();

    let secret = Digest::from_bytes(*token.secret()).hex();
    for file in all_files(secured.folder.path()) {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        assert!(!text.contains(&secret), "{}", file.display());
    }
    assert!(!format!("{:?}", secured.security).contains(&secret));
}

#[test]
fn a_token_nobody_made_and_a_key_that_is_none_are_refused() {
    let secured = Secured::new();
    let token = secured.token(1);

    assert_eq!(secured.security.admit(b"", &public_key(1)).err(), Some(Refusal::UnknownToken));
    assert_eq!(secured.security.admit(&[7; 32], &public_key(1)).err(), Some(Refusal::UnknownToken));
    for wrong in [&b""[..], b"key", &[4; PUBLIC_KEY_BYTES - 1], &[5; PUBLIC_KEY_BYTES]] {
        assert_eq!(secured.security.admit(token.secret(), wrong).err(), Some(Refusal::PublicKey));
    }

    // None of that has used the token.
    secured.admit(&token, 1).unwrap();
}

#[test]
fn a_token_is_not_good_while_its_use_cannot_be_written_down() {
    let secured = Secured::new();
    let token = secured.token(1);
    let hidden = secured.folder.path().join("hidden");
    fs::rename(secured.folder.path().join("security"), &hidden).unwrap();

    assert_eq!(secured.admit(&token, 1), Err(Refusal::Storage));

    fs::rename(&hidden, secured.folder.path().join("security")).unwrap();
    secured.admit(&token, 2).unwrap();
}

#[test]
fn a_renewed_certificate_has_the_same_name_and_role_and_a_later_end() {
    let secured = Secured::new();
    let member = secured.admit(&secured.token(1), 1).unwrap();
    assert_eq!(secured.security.time_left(&member), Duration::from_secs(30 * 24 * 60 * 60));
    secured.pass(HOUR);

    let renewed = secured.security.renew(&member, &public_key(2)).unwrap();

    let renewed = Member::of_certificate(&renewed.certificate).unwrap();
    assert_eq!((&renewed.name, renewed.role), (&member.name, member.role));
    assert_eq!(renewed.expires, member.expires + HOUR.as_secs());
    secured.pass(400 * 24 * HOUR);
    assert_eq!(secured.security.time_left(&renewed), Duration::ZERO);
}

#[test]
fn who_is_shut_out_stays_out_after_a_restart_and_at_a_standby_that_takes_over() {
    let mut secured = Secured::new();
    let token = secured.token(2);
    let (member, other) = (secured.admit(&token, 1).unwrap(), secured.admit(&token, 2).unwrap());
    let folder = secured.folder.path().join("security/revoked");

    assert!(secured.security.revoke(&member.name).unwrap());

    assert!(!secured.security.revoke(&member.name).unwrap(), "once is enough");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    // What a crash has left half written shuts nobody out, and harms nothing.
    fs::write(folder.join(format!("{}.7.part", other.name)), "").unwrap();
    // A standby opens the same folder when it takes over, as a restart does.
    for _ in 0..2 {
        assert!(secured.security.is_revoked(&member) && !secured.security.is_revoked(&other));
        assert_eq!(secured.security.renew(&member, &public_key(3)).err(), Some(Refusal::Revoked));
        assert_eq!(secured.admit(&token, 1), Err(Refusal::Revoked));
        assert_eq!(secured.admit(&token, 2).unwrap().name, other.name);
        secured.restart();
    }
}

#[test]
fn nobody_is_shut_out_when_that_cannot_be_written_down() {
    let secured = Secured::new();
    let member = secured.admit(&secured.token(1), 1).unwrap();
    let hidden = secured.folder.path().join("hidden");
    fs::rename(secured.folder.path().join("security"), &hidden).unwrap();

    let refused = secured.security.revoke(&member.name).unwrap_err().to_string();

    assert!(refused.contains(&member.name), "{refused}");
    assert!(!secured.security.is_revoked(&member), "whoever asked was told that it came to nothing");
}

#[test]
fn an_administrators_identity_that_was_shut_out_is_made_anew() {
    let secured = Secured::new();
    let admin = || Identity::load(&secured.security.admin_folder()).unwrap().member().name.clone();
    let before = admin();

    secured.security.revoke(&before).unwrap();

    assert_ne!(admin(), before);
}

#[test]
fn the_servers_certificate_and_the_administrators_identity_are_renewed_in_time() {
    let mut secured = Secured::new();
    let admin = || Identity::load(&secured.folder.path().join("security/admin")).unwrap().member().clone();
    let (config, before) = (secured.security.server_config().unwrap(), admin());
    assert!(Arc::ptr_eq(&config, &secured.security.server_config().unwrap()));

    secured.pass(61 * 24 * HOUR);
    secured.restart();

    assert!(!Arc::ptr_eq(&config, &secured.security.server_config().unwrap()));
    let after = Identity::load(&secured.security.admin_folder()).unwrap();
    assert!(after.member().expires > before.expires && after.member().role == Role::Admin);
}

#[test]
fn damage_is_named_by_its_file() {
    for file in ["ca.pem", "ca.key", "server.pem", "server.json", "tokens.json", "metrics.token"] {
        let secured = Secured::new();
        secured.token(1);
        fs::write(secured.folder.path().join("security").join(file), "").unwrap();

        let refused = Security::open(secured.folder.path()).unwrap_err().to_string();

        assert!(refused.contains(file) && refused.contains("is damaged"), "{refused}");
    }
}

#[test]
fn names_that_no_machine_has_are_refused() {
    for wrong in ["", "two words", "https://host", "host:80", "-", "host/path", "a..b"] {
        assert!(wrong.parse::<HostName>().is_err(), "{wrong}");
    }
    for right in ["host", "lab.example", "192.0.2.7", "2001:db8::1"] {
        assert_eq!(right.parse::<HostName>().unwrap().to_string(), right);
    }
}
