use std::fmt;

use tokio_rustls::rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::role::Role;

/// How the alternative name of a client's certificate begins.
const SCHEME: &str = "bitloop://";

/// Longest name of a member.
const NAME_BYTES_MAX: usize = 64;

/// Whom a certificate names. Its signature is not looked at here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it may do.
    pub role: Role,
    /// Its name, which renewed certificates keep.
    pub name: String,
    /// When the certificate was made, in seconds since 1970.
    pub issued: u64,
    /// When it ends.
    pub expires: u64,
}

impl Member {
    /// The alternative name that stands in its certificate.
    pub fn to_uri(&self) -> String {
        format!("{SCHEME}{}/{}/{}/{}", self.role, self.name, self.issued, self.expires)
    }

    fn from_uri(uri: &str) -> Option<Self> {
        let mut parts = uri.strip_prefix(SCHEME)?.split('/');
        let (role, name) = (parts.next()?.parse().ok()?, parts.next()?);
        let (issued, expires) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        if parts.next().is_some() || !Self::is_name(name) {
            return None;
        }
        Some(Self { role, name: name.to_owned(), issued, expires })
    }

    /// Whether a text may be a member's name: letters and digits.
    pub fn is_name(text: &str) -> bool {
        (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
    }

    /// From when on it should be renewed: with a third of its time left.
    pub fn renewal_due(&self) -> u64 {
        self.expires - self.expires.saturating_sub(self.issued) / 3
    }

    /// Reads a client's certificate; none if it is not one of ours, such as the server's.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = EndEntityCert::try_from(certificate).ok()?;
        let mut names = certificate.valid_uri_names();
        let member = Self::from_uri(names.next()?)?;
        // One certificate, one member.
        names.next().is_none().then_some(member)
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_read_back_and_nothing_else_is_one() {
        let member = Member { role: Role::Worker, name: "0a1b".to_owned(), issued: 1_000, expires: 4_000 };
        assert_eq!(member.renewal_due(), 3_000);
        assert_eq!(Member::from_uri(&member.to_uri()), Some(member));

        for wrong in [
            "https://worker/0a1b/17/18",
            "bitloop://worker/0a1b/17",
            "bitloop://worker/0a1b/17/18/",
            "bitloop://worker//17/18",
            "bitloop://root/0a1b/17/18",
            "bitloop://worker/a b/17/18",
            "bitloop://worker/0a1b/17/-18",
        ] {
            assert_eq!(Member::from_uri(wrong), None, "{wrong}");
        }
    }
}
