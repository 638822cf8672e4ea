//! Who may use a coordinator that other machines reach: the authority that signs certificates, the tokens that they
//! are exchanged for, and what TLS shows to clients. `rpc` enforces it call by call.
//!
//! Start at [`Security`]. Everything lies in `security/` of the data directory, for its owner's eyes alone. Secrets
//! leave this module once, as the text of a new token; none of its types shows one in a log.

mod authority;
mod document;
#[cfg(test)]
mod formats;
mod names;
mod revoked;
#[cfg(test)]
mod tests;
mod tokens;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bitloop_core::digest::Digest;
use bitloop_proto::identity::{Identity, JoinToken, Member, Role, create_private_folder, write_private};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::clock::Clock;
use authority::{Authority, Served};
pub use names::{HostName, NotAHost};
use revoked::Revoked;
use tokens::Tokens;
pub use tokens::{TokenTerms, USES_MAX, VALID_MAX};

/// Where it lies in a data directory.
const FOLDER: &str = "security";

/// The identity of whoever may enter the data directory.
const ADMIN_FOLDER: &str = "admin";

/// What `/metrics` asks for beyond loopback.
const METRICS_TOKEN_FILE: &str = "metrics.token";

/// How long a connection outlives the right to it, for answers under way: who shuts out itself learns that it has.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// Why the security of a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    #[error("{} cannot be used: {cause}", .path.display())]
    File { path: PathBuf, cause: io::Error },
    #[error(
        "{} is damaged: {reason}; restore it, or remove the folder {FOLDER} and run `bitloop init` again, after which everyone has to join again",
        .path.display()
    )]
    Damaged { path: PathBuf, reason: String },
    #[error(
        "{} was written by a newer bitloop (format {found}, this one reads {known}); use that version",
        .path.display()
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("no key or certificate can be made: {0}")]
    Crypto(String),
}

/// Why somebody gets no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("this join token is not known here; make one with `bitloop token`")]
    UnknownToken,
    #[error("this join token has expired; make one with `bitloop token`")]
    ExpiredToken,
    #[error("this join token has been used up; make one with `bitloop token`")]
    UsedToken,
    #[error("this identity is revoked; join with a new token, into another folder")]
    Revoked,
    #[error("the public key is none of P-256")]
    PublicKey,
    #[error("the coordinator cannot write down that the token is used; its log says why")]
    Storage,
}

/// A certificate and whom it is from.
pub(crate) struct Issued {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) authority: CertificateDer<'static>,
}

/// The security of a data directory.
pub struct Security {
    folder: PathBuf,
    authority: Authority,
    clock: Clock,
    tokens: Mutex<Tokens>,
    revoked: Revoked,
    served: Mutex<Served>,
    metrics_token: Digest,
}

impl Security {
    /// Makes what a data directory lacks: an authority, the server's certificate for `names` (and for this machine
    /// itself), an administrator's identity, a token for metrics. Keys and tokens that are there stay.
    ///
    /// Errors: [`SecurityError`].
    pub fn init(root: &Path, names: &[HostName]) -> Result<Self, SecurityError> {
        let folder = root.join(FOLDER);
        let clock = Clock::system();
        create_private_folder(&folder).map_err(broken(&folder))?;
        let authority = Authority::load_or_create(&folder, clock.unix_seconds())?;
        let token = folder.join(METRICS_TOKEN_FILE);
        if !token.exists() {
            let secret = Digest::from_bytes(authority::random()?).hex();
            write_private(&token, format!("{secret}\n").as_bytes()).map_err(broken(&token))?;
        }
        authority.serve(&folder, names, clock.unix_seconds())?;
        Self::with(folder, clock)
    }

    /// Whether a data directory has security.
    pub fn is_there(root: &Path) -> bool {
        root.join(FOLDER).exists()
    }

    /// Opens the security of a data directory; none where `bitloop init` was never run.
    ///
    /// Errors: [`SecurityError`].
    pub fn open(root: &Path) -> Result<Option<Self>, SecurityError> {
        Self::open_with(root, Clock::system())
    }

    pub(crate) fn open_with(root: &Path, clock: Clock) -> Result<Option<Self>, SecurityError> {
        match Self::is_there(root) {
            true => Self::with(root.join(FOLDER), clock).map(Some),
            false => Ok(None),
        }
    }

    fn with(folder: PathBuf, clock: Clock) -> Result<Self, SecurityError> {
        create_private_folder(&folder).map_err(broken(&folder))?;
        let authority = Authority::load(&folder)?;
        let served = authority.served(&folder)?;
        let (tokens, revoked) = (Tokens::load(&folder)?, Revoked::load(&folder)?);
        let token = folder.join(METRICS_TOKEN_FILE);
        let secret = fs::read_to_string(&token).map_err(broken(&token))?;
        if secret.trim().is_empty() {
            return Err(SecurityError::Damaged { path: token, reason: "it is empty".to_owned() });
        }
        let metrics_token = Digest::of(secret.trim().as_bytes());
        let (tokens, served) = (Mutex::new(tokens), Mutex::new(served));
        let security = Self { folder, authority, clock, tokens, revoked, served, metrics_token };
        security.renew_own()?;
        Ok(security)
    }

    /// Where the administrator's identity lies, for commands on this machine.
    pub fn admin_folder(&self) -> PathBuf {
        self.folder.join(ADMIN_FOLDER)
    }

    /// The same, of a data directory that may not be open.
    pub fn admin_folder_of(root: &Path) -> PathBuf {
        root.join(FOLDER).join(ADMIN_FOLDER)
    }

    /// The file that holds what `/metrics` asks for.
    pub fn metrics_token_file(&self) -> PathBuf {
        self.folder.join(METRICS_TOKEN_FILE)
    }

    /// The names that the server's certificate is for.
    pub fn names(&self) -> Vec<HostName> {
        lock(&self.served).note.names.clone()
    }

    /// Makes a token; only its hash stays here.
    ///
    /// Errors: [`SecurityError`].
    pub fn issue_token(&self, terms: TokenTerms) -> Result<JoinToken, SecurityError> {
        let secret = authority::random()?;
        lock(&self.tokens).add(&secret, terms, self.clock.unix_seconds())?;
        Ok(JoinToken::new(self.authority.certificate(), secret))
    }

    /// Exchanges a token's secret for a certificate.
    pub(crate) fn admit(&self, secret: &[u8], public_key: &[u8]) -> Result<Issued, Refusal> {
        if !authority::has_form_of_public_key(public_key) {
            return Err(Refusal::PublicKey);
        }
        let now = self.clock.unix_seconds();
        // Whom the certificate is for is durable before it exists, so no token gives one more than it should.
        let (role, name) = lock(&self.tokens).take(secret, public_key, now)?;
        // Who joined with it before may have been shut out since.
        match self.revoked.contains(&name) {
            true => Err(Refusal::Revoked),
            false => self.issue(role, &name, public_key),
        }
    }

    /// Gives a member another certificate.
    pub(crate) fn renew(&self, member: &Member, public_key: &[u8]) -> Result<Issued, Refusal> {
        if self.is_revoked(member) {
            return Err(Refusal::Revoked);
        }
        match authority::has_form_of_public_key(public_key) {
            true => self.issue(member.role, &member.name, public_key),
            false => Err(Refusal::PublicKey),
        }
    }

    /// Shuts a member out, whatever certificate it shows; false if it was before. An administrator of this machine gets
    /// another identity.
    ///
    /// Errors: [`SecurityError`].
    pub(crate) fn revoke(&self, name: &str) -> Result<bool, SecurityError> {
        let is_new = self.revoked.add(name)?;
        self.renew_own()?;
        Ok(is_new)
    }

    /// Whether a member is shut out.
    pub(crate) fn is_revoked(&self, member: &Member) -> bool {
        self.revoked.contains(&member.name)
    }

    /// Ends when a member is to be here no more: with its certificate, or when it is shut out.
    pub(crate) async fn end_of(&self, member: &Member) {
        tokio::select! {
            () = tokio::time::sleep(self.time_left(member)) => {}
            () = self.revoked.of(&member.name) => tokio::time::sleep(LAST_ANSWERS).await,
        }
    }

    fn issue(&self, role: Role, name: &str, public_key: &[u8]) -> Result<Issued, Refusal> {
        let now = self.clock.unix_seconds();
        let member = Member { role, name: name.to_owned(), issued: now, expires: now + lifetime(role) };
        let certificate = self.authority.certify(&member, public_key).map_err(|_| Refusal::PublicKey)?;
        Ok(Issued { certificate, authority: self.authority.certificate().clone() })
    }

    /// What TLS shows to clients; made anew when the server's certificate becomes old.
    ///
    /// Errors: [`SecurityError`]; then the one before should stay in use.
    pub(crate) fn server_config(&self) -> Result<Arc<ServerConfig>, SecurityError> {
        self.served(|served| &served.config)
    }

    /// The same for monitoring over HTTP.
    ///
    /// Errors: those of [`Security::server_config`].
    pub(crate) fn http_config(&self) -> Result<Arc<ServerConfig>, SecurityError> {
        self.served(|served| &served.http)
    }

    fn served(
        &self,
        config: impl FnOnce(&Served) -> &Arc<ServerConfig>,
    ) -> Result<Arc<ServerConfig>, SecurityError> {
        let now = self.clock.unix_seconds();
        let mut served = lock(&self.served);
        if served.is_renewal_due(now) {
            *served = self.authority.serve(&self.folder, &served.note.names, now)?;
        }
        Ok(Arc::clone(config(&served)))
    }

    /// How much longer a certificate is good for.
    pub(crate) fn time_left(&self, member: &Member) -> Duration {
        Duration::from_secs(member.expires.saturating_sub(self.clock.unix_seconds()))
    }

    /// Whether a text is what `/metrics` asks for. Hashes are compared, so that the time taken says nothing of it.
    pub(crate) fn is_metrics_token(&self, text: &str) -> bool {
        Digest::of(text.as_bytes()) == self.metrics_token
    }

    /// Makes the administrator's identity, or a new one in time.
    fn renew_own(&self) -> Result<(), SecurityError> {
        let (folder, now) = (self.admin_folder(), self.clock.unix_seconds());
        let is_current = |identity: &Identity| {
            identity.member().renewal_due() > now && !self.is_revoked(identity.member())
        };
        if Identity::load(&folder).is_ok_and(|identity| is_current(&identity)) {
            return Ok(());
        }
        let name = authority::random_name()?;
        let member = Member { role: Role::Admin, name, issued: now, expires: now + lifetime(Role::Admin) };
        let identity = self.authority.identity(&member)?;
        identity.save(&folder).map_err(|error| SecurityError::Crypto(error.to_string()))
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// How long certificates last, in seconds. Workers renew theirs by themselves; users' commands do when they are used.
fn lifetime(role: Role) -> u64 {
    const DAY: u64 = 24 * 60 * 60;
    match role {
        Role::Worker => 30 * DAY,
        Role::Admin | Role::Submit | Role::Read => 90 * DAY,
    }
}

fn broken(path: &Path) -> impl FnOnce(io::Error) -> SecurityError {
    let path = path.to_owned();
    move |cause| SecurityError::File { path, cause }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks changes by one assignment at a time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
