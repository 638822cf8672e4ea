use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rcgen::KeyPair;
use tokio_rustls::rustls::ClientConfig;
use tracing::{info, warn};

use super::folder::{Identity, IdentityError};
use super::join::{self, JoinError};
use super::member::Member;
use crate::clock;
use crate::transport::{Endpoint, connect_with};
use crate::v1;

/// Longest pause between two looks at the certificate's age: machines that slept notice within it.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// Pause after a renewal that failed.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// An identity in use. Clones share it; connections made after a renewal show the new certificate.
#[derive(Clone, Debug)]
pub struct Membership {
    folder: PathBuf,
    current: Arc<RwLock<Current>>,
}

#[derive(Debug)]
struct Current {
    identity: Arc<Identity>,
    config: Arc<ClientConfig>,
}

impl Current {
    fn new(identity: Identity, folder: &Path) -> Result<Self, IdentityError> {
        let damaged = |error: tokio_rustls::rustls::Error| IdentityError::Damaged {
            folder: folder.to_owned(),
            reason: error.to_string(),
        };
        let config = identity.client_config().map_err(damaged)?;
        Ok(Self { identity: Arc::new(identity), config })
    }
}

impl Membership {
    /// Takes up the identity that a folder holds.
    ///
    /// Errors: [`IdentityError`], also for one that has expired.
    pub fn open(folder: &Path) -> Result<Self, IdentityError> {
        let identity = Identity::load(folder)?;
        if identity.member().expires <= clock::unix_seconds() {
            return Err(IdentityError::Expired(folder.to_owned()));
        }
        let current = Current::new(identity, folder)?;
        Ok(Self { folder: folder.to_owned(), current: Arc::new(RwLock::new(current)) })
    }

    /// Whom it names.
    pub fn member(&self) -> Member {
        self.read(|current| current.identity.member().clone())
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        self.read(|current| Arc::clone(&current.config))
    }

    fn read<T>(&self, look: impl FnOnce(&Current) -> T) -> T {
        // Every update is one assignment, so a panic elsewhere leaves nothing half done.
        look(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, identity: Identity) -> Result<(), IdentityError> {
        let current = Current::new(identity, &self.folder)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(())
    }

    /// Whether a third of the certificate's time or less is left.
    pub fn is_renewal_due(&self) -> bool {
        self.member().renewal_due() <= clock::unix_seconds()
    }

    /// Whether half of the certificate's time is over: when one that many machines share is renewed, so that none of them
    /// has to.
    pub fn is_half_over(&self) -> bool {
        let Member { issued, expires, .. } = self.member();
        issued + expires.saturating_sub(issued) / 2 <= clock::unix_seconds()
    }

    /// Asks whichever coordinator works for another certificate, with a new key, and keeps it in the folder.
    ///
    /// Errors: [`RenewError`]; the one before stays in use.
    pub async fn renew(&self, endpoints: &[Endpoint]) -> Result<(), RenewError> {
        // Workers may share a folder: what another one has renewed is taken over.
        let stored = Identity::load(&self.folder)?;
        if stored.member().renewal_due() > clock::unix_seconds() && *stored.member() != self.member() {
            return Ok(self.replace(stored)?);
        }
        let key = KeyPair::generate().map_err(|error| JoinError::Key(error.to_string()))?;
        let config = self.config();
        let channel = connect_with(endpoints, move || config.clone()).await.map_err(JoinError::from)?;
        let request = v1::RenewRequest { public_key: key.public_key_raw().to_vec() };
        let answer = join::in_time(join::client(channel).renew(request)).await?;
        let identity = join::identity(answer, &key)?;
        identity.save(&self.folder)?;
        info!(member = %identity.member(), "certificate renewed");
        Ok(self.replace(identity)?)
    }

    /// Renews whenever it is due, until it is dropped.
    pub async fn keep_renewed(&self, endpoints: &[Endpoint]) {
        loop {
            let left = self.member().renewal_due().saturating_sub(clock::unix_seconds());
            tokio::time::sleep(Duration::from_secs(left).min(LOOK_AGAIN)).await;
            if !self.is_renewal_due() {
                continue;
            }
            if let Err(error) = self.renew(endpoints).await {
                warn!(%error, "the certificate could not be renewed");
                tokio::time::sleep(TRY_AGAIN).await;
            }
        }
    }
}

/// Why a certificate was not renewed.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The coordinator gives none.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// It cannot be kept.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}
