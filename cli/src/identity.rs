//! Which identity a command shows to a coordinator, and how it gets one.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use bitloop_coordinator::security::Security;
use bitloop_proto::identity::{
    IDENTITY_FILE, Identity, IdentityError, JoinError, JoinToken, Joining, Membership, Role,
    create_private_folder,
};
use bitloop_proto::transport::{Connection, Endpoint};

use crate::args::{DEFAULT_DATA_DIR, Remote};
use crate::clock::Stopwatch;
use crate::failure::{Exit, Failure};
use crate::show;

/// What group and others may do with a file.
pub(crate) const OTHERS: u32 = 0o077;

/// Holds a token itself.
const TOKEN_VARIABLE: &str = "BITLOOP_JOIN_TOKEN";

/// Pause between two attempts to join.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Reads where the coordinator is, or one that may take over.
pub(crate) fn endpoints(urls: &str) -> Result<Vec<Endpoint>, Failure> {
    let endpoints: Result<Vec<Endpoint>, _> = urls.split(',').map(Endpoint::parse).collect();
    let endpoints = endpoints.map_err(|error| Failure::usage(error.to_string()))?;
    let of = |is_secured| endpoints.iter().find(|endpoint| endpoint.is_secured() == is_secured);
    match (of(true), of(false)) {
        (Some(endpoint), Some(open)) => {
            Err(Failure::usage(format!("{open} is not protected as {endpoint} is; write https for all")))
        }
        (Some(_) | None, Some(_) | None) => Ok(endpoints),
    }
}

/// How a user's command reaches the coordinator: over https with an identity, which is renewed in passing when it is
/// old.
pub(crate) async fn connection(remote: &Remote) -> Result<Connection, Failure> {
    let endpoints = endpoints(&remote.coordinator)?;
    if !endpoints.iter().any(Endpoint::is_secured) {
        return Connection::parse(&remote.coordinator).map_err(|error| Failure::usage(error.to_string()));
    }
    let folder = match &remote.identity.identity {
        Some(folder) => folder.clone(),
        None => Security::admin_folder_of(Path::new(DEFAULT_DATA_DIR)),
    };
    let membership = Membership::open(&folder).map_err(|error| {
        let hint =
            "name the folder of yours with --identity or BITLOOP_IDENTITY, or get one with `bitloop join`";
        Failure::usage(format!("{error}; {hint}"))
    })?;
    if membership.is_renewal_due()
        && let Err(error) = membership.renew(&endpoints).await
    {
        show::note(&format!("note: the identity in {} was not renewed: {error}", folder.display()));
    }
    Ok(Connection::Secured(endpoints, membership))
}

/// Reads a join token from a file or from the environment.
pub(crate) fn token(file: Option<&Path>) -> Result<Option<JoinToken>, Failure> {
    let (text, place) = match file {
        Some(file) => {
            let text = std::fs::read_to_string(file);
            let text =
                text.map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?;
            if std::fs::metadata(file)?.permissions().mode() & OTHERS != 0 {
                show::note(&format!("warning: others may read {0}; `chmod 600 {0}`", file.display()));
            }
            (text, file.display().to_string())
        }
        None => match std::env::var(TOKEN_VARIABLE) {
            Ok(text) => (text, TOKEN_VARIABLE.to_owned()),
            Err(_) => return Ok(None),
        },
    };
    let token = text.parse().map_err(|error| Failure::usage(format!("{place}: {error}")))?;
    Ok(Some(token))
}

/// Exchanges a token for an identity, for as long as that takes, or `patience`.
pub(crate) async fn join(
    endpoints: &[Endpoint],
    token: JoinToken,
    patience: Option<Duration>,
) -> Result<Identity, Failure> {
    let joining = Joining::new(endpoints.to_vec(), token)?;
    let waited = Stopwatch::start();
    let mut is_told = false;
    loop {
        let error = match joining.attempt().await {
            Ok(identity) => return Ok(identity),
            Err(error) => error,
        };
        let is_late = patience.is_some_and(|patience| waited.seconds() >= patience.as_secs_f64());
        if !error.is_retryable() || is_late {
            let exit = match &error {
                JoinError::Connect(_) | JoinError::Unanswered(_) => Exit::Unreachable,
                JoinError::Refused(_) | JoinError::Malformed | JoinError::Key(_) => Exit::Failed,
            };
            return Err(Failure { exit, ..anyhow::Error::new(error).context("cannot join").into() });
        }
        if !is_told {
            show::note(&format!("waiting to join: {error}"));
            is_told = true;
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
}

/// The identity that workers on many machines show, in a folder that all of them see.
pub(crate) struct SharedIdentity {
    folder: PathBuf,
    membership: Membership,
}

impl SharedIdentity {
    /// Opens the folder. `urls` are where its workers find the coordinator, for what a message tells to do.
    pub(crate) fn open(folder: &Path, urls: &str) -> Result<Self, Failure> {
        let hint = format!(
            "`bitloop token --role worker` makes a token, and `bitloop join --coordinator {urls} --identity {} \
             --token-file FILE` the identity",
            folder.display()
        );
        let membership = Membership::open(folder)
            .map_err(|error| Failure::usage(format!("workers need {error}; {hint}")))?;
        let member = membership.member();
        if member.role != Role::Worker {
            return Err(Failure::usage(format!(
                "{} holds the identity {member}; whoever runs workers needs no more than the role worker; {hint}",
                folder.display()
            )));
        }
        let own = folder.join(IDENTITY_FILE);
        if std::fs::metadata(&own)?.permissions().mode() & OTHERS != 0 {
            return Err(Failure::usage(format!("others may read {0}; `chmod 600 {0}`", own.display())));
        }
        Ok(Self { folder: folder.to_owned(), membership })
    }

    /// Renews it with half of its time left, so that no worker has to; returns why that came to nothing.
    pub(crate) async fn keep_young(&self, remote: &Remote) -> Option<String> {
        if !self.membership.is_half_over() {
            return None;
        }
        let renewed = match endpoints(&remote.coordinator) {
            Ok(endpoints) => self.membership.renew(&endpoints).await.map_err(anyhow::Error::new),
            Err(failure) => Err(failure.error),
        };
        let folder = self.folder.display();
        renewed.err().map(|error| format!("the workers' identity in {folder} was not renewed: {error:#}"))
    }
}

/// What a worker joins with, and where it keeps what it gets.
pub(crate) struct WorkerIdentity {
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// The token, if it was given one.
    pub(crate) token: Option<JoinToken>,
    /// How long it waits for the coordinator; for ever if none.
    pub(crate) patience: Option<Duration>,
}

impl WorkerIdentity {
    /// The identity in the folder; without a good one there the token is exchanged for one.
    pub(crate) async fn take_up(self, endpoints: &[Endpoint]) -> Result<Membership, Failure> {
        let Self { folder, token, patience } = self;
        // One that is there needs no lock, which file servers may not have.
        if let Ok(membership) = Membership::open(&folder) {
            return Ok(membership);
        }
        create_private_folder(&folder).with_context(|| format!("cannot use {}", folder.display()))?;
        // Of workers that share the folder, one joins, and the others find what it got.
        let lock = File::create(folder.join("lock")).context("cannot lock the identity")?;
        let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await?;
        let _lock = lock.context("cannot lock the identity")?;
        let missing = match Membership::open(&folder) {
            Ok(membership) => return Ok(membership),
            Err(missing @ (IdentityError::NotThere(_) | IdentityError::Expired(_))) => missing,
            Err(error @ (IdentityError::File { .. } | IdentityError::Damaged { .. })) => {
                return Err(error.into());
            }
        };
        let Some(token) = token else {
            return Err(Failure::usage(format!(
                "{missing}; give this worker a join token with --join-token-file or {TOKEN_VARIABLE} (`bitloop token \
                 --role worker` makes one), or name another folder with --identity"
            )));
        };
        join(endpoints, token, patience).await?.save(&folder)?;
        Ok(Membership::open(&folder)?)
    }
}
