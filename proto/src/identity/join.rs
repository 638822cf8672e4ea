use std::time::Duration;

use rcgen::KeyPair;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::folder::Identity;
use super::tls;
use super::token::JoinToken;
use crate::status::is_retryable;
use crate::transport::{ConnectError, Endpoint, connect_with};
use crate::v1;
use crate::v1::membership_client::MembershipClient;

/// Bytes of an uncompressed point on P-256.
pub const PUBLIC_KEY_BYTES: usize = 65;

/// How such a point begins.
pub const UNCOMPRESSED_POINT: u8 = 4;

/// Deadline of one answer: the coordinator writes to its disk first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// Largest answer: two certificates.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Nobody answers, or somebody who is not the coordinator that the token is of.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The coordinator does not answer to its end; try again.
    #[error("the coordinator does not answer: {0}")]
    Unanswered(String),
    /// The coordinator does not want this client.
    #[error("{0}")]
    Refused(String),
    /// The answer makes no sense.
    #[error("the coordinator's answer is malformed; use the same bitloop version everywhere")]
    Malformed,
    /// The system gives no random numbers, or no TLS.
    #[error("no key can be made: {0}")]
    Key(String),
}

impl JoinError {
    /// Whether the same may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Unanswered(_) => true,
            Self::Refused(_) | Self::Malformed | Self::Key(_) => false,
        }
    }

    pub(super) fn of_status(status: &Status) -> Self {
        let message = status.message().to_owned();
        match is_retryable(status.code()) {
            true => Self::Unanswered(message),
            false => Self::Refused(message),
        }
    }
}

/// A client that wants to become a member. It keeps its key between attempts: the coordinator answers an attempt
/// whose answer was lost again, without taking it for another use of the token.
pub struct Joining {
    endpoints: Vec<Endpoint>,
    token: JoinToken,
    key: KeyPair,
}

impl Joining {
    /// Makes a key, for whichever of the coordinators works.
    ///
    /// Errors: `Key`.
    pub fn new(endpoints: Vec<Endpoint>, token: JoinToken) -> Result<Self, JoinError> {
        let key = KeyPair::generate().map_err(|error| JoinError::Key(error.to_string()))?;
        Ok(Self { endpoints, token, key })
    }

    /// Asks the coordinator for a certificate, after it has proved to be the token's.
    ///
    /// Errors: [`JoinError`].
    pub async fn attempt(&self) -> Result<Identity, JoinError> {
        let config = tls::pinned_config(self.token.authority());
        let config = config.map_err(|error| JoinError::Key(error.to_string()))?;
        let mut client = client(connect_with(&self.endpoints, move || config.clone()).await?);
        let request = v1::JoinRequest {
            secret: self.token.secret().to_vec(),
            public_key: self.key.public_key_raw().to_vec(),
        };
        let answer = in_time(client.join(request)).await?;
        let identity = identity(answer, &self.key)?;
        match bitloop_core::digest::Digest::of(&identity.authority) == *self.token.authority() {
            true => Ok(identity),
            false => Err(JoinError::Malformed),
        }
    }
}

pub(super) fn client(channel: Channel) -> MembershipClient<Channel> {
    MembershipClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)
}

pub(super) fn identity(answer: v1::Certificate, key: &KeyPair) -> Result<Identity, JoinError> {
    let v1::Certificate { certificate, authority } = answer;
    let (certificate, authority) = (CertificateDer::from(certificate), CertificateDer::from(authority));
    let identity = Identity::new(authority, certificate, key).ok_or(JoinError::Malformed)?;
    // A certificate for another key than the one sent is found here rather than at its first use.
    identity.client_config().map_err(|_| JoinError::Malformed)?;
    Ok(identity)
}

pub(super) async fn in_time<T>(
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, JoinError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, Box::pin(answer)).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(JoinError::of_status(&status)),
        Err(_) => Err(JoinError::Unanswered(format!("nothing within {} s", ANSWER_TIMEOUT.as_secs()))),
    }
}
