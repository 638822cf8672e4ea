use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pem::{EncodeConfig, LineEnding, Pem};
use rcgen::KeyPair;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::member::Member;
use super::private::{create_private_folder, write_private};
use super::tls;

/// The authority's certificate, which is no secret.
pub const AUTHORITY_FILE: &str = "ca.pem";

/// Key and certificate in one file, so that they always belong together.
pub const IDENTITY_FILE: &str = "identity.pem";

/// A key, the certificate for it, and the authority that signed it.
pub struct Identity {
    pub(super) authority: CertificateDer<'static>,
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: PrivateKeyDer<'static>,
    member: Member,
}

/// Why there is no identity to use.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is none.
    #[error("there is no identity in {}", .0.display())]
    NotThere(PathBuf),
    /// Its files cannot be read or written.
    #[error("the identity in {} cannot be used: {cause}", .folder.display())]
    File {
        /// Where.
        folder: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The files are not what they should be.
    #[error("the identity in {} is damaged: {reason}; remove the folder and join again", .folder.display())]
    Damaged {
        /// Where.
        folder: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It is too old.
    #[error("the identity in {} has expired; join again with a new token", .0.display())]
    Expired(PathBuf),
}

impl Identity {
    /// Puts together what an authority answered; none if that is no certificate for a client.
    pub fn new(
        authority: CertificateDer<'static>,
        certificate: CertificateDer<'static>,
        key: &KeyPair,
    ) -> Option<Self> {
        let member = Member::of_certificate(&certificate)?;
        let key = PrivateKeyDer::try_from(key.serialize_der()).ok()?;
        Some(Self { authority, certificate, key, member })
    }

    /// Reads the identity in a folder.
    ///
    /// Errors: [`IdentityError`]; whether it has expired is not asked here.
    pub fn load(folder: &Path) -> Result<Self, IdentityError> {
        let damaged = |reason: String| IdentityError::Damaged { folder: folder.to_owned(), reason };
        let read = |name: &str| match fs::read(folder.join(name)) {
            Ok(bytes) => Ok(bytes),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                Err(IdentityError::NotThere(folder.to_owned()))
            }
            Err(cause) => Err(IdentityError::File { folder: folder.to_owned(), cause }),
        };
        let (authority, own) = (read(AUTHORITY_FILE)?, read(IDENTITY_FILE)?);
        let certificate = |bytes: &[u8]| CertificateDer::from_pem_slice(bytes);
        let authority = certificate(&authority).map_err(|error| damaged(error.to_string()))?;
        let certificate = certificate(&own).map_err(|error| damaged(error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(&own).map_err(|error| damaged(error.to_string()))?;
        let member = Member::of_certificate(&certificate)
            .ok_or_else(|| damaged("its certificate is none of bitloop's".to_owned()))?;
        let identity = Self { authority, certificate, key, member };
        identity.client_config().map_err(|reason| damaged(reason.to_string()))?;
        Ok(identity)
    }

    /// Writes it to a folder that nobody but its owner may enter.
    ///
    /// Errors: what the system says.
    pub fn save(&self, folder: &Path) -> Result<(), IdentityError> {
        let broken = |cause| IdentityError::File { folder: folder.to_owned(), cause };
        create_private_folder(folder).map_err(broken)?;
        let own = [to_pem("PRIVATE KEY", self.key.secret_der()), to_pem("CERTIFICATE", &self.certificate)];
        write_private(&folder.join(AUTHORITY_FILE), to_pem("CERTIFICATE", &self.authority).as_bytes())
            .and_then(|()| write_private(&folder.join(IDENTITY_FILE), own.concat().as_bytes()))
            .map_err(broken)
    }

    /// Whom it names.
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// Whether the authority beside it signed its certificate; when that was made and when it ends is not asked here.
    pub fn is_of_its_authority(&self) -> bool {
        let within = self.member.issued.midpoint(self.member.expires);
        tls::is_signed(&self.certificate, &self.authority, within)
    }

    pub(super) fn client_config(&self) -> Result<Arc<ClientConfig>, tokio_rustls::rustls::Error> {
        tls::client_config(self)
    }
}

fn to_pem(label: &str, der: &[u8]) -> String {
    pem::encode_config(&Pem::new(label, der), EncodeConfig::new().set_line_ending(LineEnding::LF))
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("member", &self.member).finish_non_exhaustive()
    }
}
