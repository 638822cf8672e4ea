use std::fmt;
use std::str::FromStr;

use bitloop_core::digest::Digest;
use tokio_rustls::rustls::pki_types::CertificateDer;

const PREFIX: &str = "bitloop-join";

/// Bytes of a token's secret.
pub const SECRET_BYTES: usize = 32;

/// What a client joins with: a secret, and whom to tell it.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    authority: Digest,
    secret: [u8; SECRET_BYTES],
}

impl JoinToken {
    /// A token of the authority with this certificate.
    pub fn new(authority: &CertificateDer<'_>, secret: [u8; SECRET_BYTES]) -> Self {
        Self { authority: Digest::of(authority), secret }
    }

    /// The fingerprint of the authority that the coordinator must prove to be of.
    pub fn authority(&self) -> &Digest {
        &self.authority
    }

    /// What is told to the coordinator, and to nobody else.
    pub fn secret(&self) -> &[u8; SECRET_BYTES] {
        &self.secret
    }

    /// The text to be shown once. There is no `Display`, so that no log shows it by accident.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}-{}-{}", self.authority.hex(), Digest::from_bytes(self.secret).hex())
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("authority", &self.authority).finish_non_exhaustive()
    }
}

/// The text is no token; it is not repeated, as it may be most of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no join token; take the line that `bitloop init` or `bitloop token` printed, as a whole")]
pub struct NotAToken;

impl FromStr for JoinToken {
    type Err = NotAToken;

    fn from_str(text: &str) -> Result<Self, NotAToken> {
        let parts = text.trim().strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('-'));
        let (authority, secret) = parts.and_then(|rest| rest.split_once('-')).ok_or(NotAToken)?;
        let authority: Digest = authority.parse().map_err(|_| NotAToken)?;
        let secret: Digest = secret.parse().map_err(|_| NotAToken)?;
        Ok(Self { authority, secret: *secret.as_bytes() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_never_shown_by_debug_or_errors() {
        let token = JoinToken::new(&CertificateDer::from(&b"authority"[..]), [0xab; SECRET_BYTES]);
        let text = token.reveal();

        assert_eq!(text.len(), 2 * 64 + 2 + PREFIX.len());
        assert_eq!(format!("{text}\n").parse(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains("abab"));
        for wrong in ["", "bitloop-join-", &text[1..], &text[..text.len() - 1], &text.replace('a', "g")] {
            let refused = wrong.parse::<JoinToken>().unwrap_err();
            assert!(!refused.to_string().contains("abab"), "{refused}");
        }
    }
}
