//! Reaching a coordinator step by step, so that what fails has a name: its address, the connection, TLS.
//!
//! Commands connect through [`crate::transport`]; this is for whoever wants to know why that fails.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error};

use crate::identity::{Membership, TlsConnector};
use crate::transport::{CONNECT_TIMEOUT, Endpoint};

/// Why a step came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReachError {
    /// The host has no address.
    #[error("`{host}` has no address ({reason}); check its spelling, and that this machine's DNS knows it")]
    Name {
        /// What was looked up.
        host: String,
        /// What the system says.
        reason: String,
    },
    /// Nothing came back.
    #[error(
        "{address} does not answer within {} s; check that the machine runs, and that no firewall drops the port",
        CONNECT_TIMEOUT.as_secs()
    )]
    Silent {
        /// Where.
        address: SocketAddr,
    },
    /// Nobody listens, or there is no way.
    #[error(
        "{address} refuses the connection ({reason}); start `bitloop coordinator --listen` there, or correct the port"
    )]
    Refused {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        reason: String,
    },
    /// It speaks something else.
    #[error(
        "{address} does not speak TLS; if its coordinator has no certificates, write http:// for https://"
    )]
    NotTls {
        /// Where.
        address: SocketAddr,
    },
    /// Its certificate is from elsewhere.
    #[error(
        "the coordinator's certificate is not from this identity's authority; join that coordinator with a token of its own"
    )]
    OtherAuthority,
    /// Its certificate is for other names.
    #[error(
        "the coordinator's certificate is not for `{host}`; add the name there with `bitloop init --name {host}`, or write \
         a name that it has"
    )]
    OtherName {
        /// What the URL says.
        host: String,
    },
    /// Its certificate is of another time.
    #[error(
        "the coordinator's certificate is not valid at this machine's date; set the clocks of both, then restart the \
         coordinator"
    )]
    OtherTime,
    /// It does not want this identity.
    #[error("the coordinator refuses this identity ({reason}); join again with a new token")]
    NotWanted {
        /// What it says.
        reason: String,
    },
    /// Anything else.
    #[error(
        "there is no TLS with {address}: {reason}; check that nothing stands between, and use the same version"
    )]
    Tls {
        /// Where.
        address: SocketAddr,
        /// What happened.
        reason: String,
    },
}

/// Looks a host up.
///
/// Errors: `Name`.
pub async fn resolve(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, ReachError> {
    let failed = |reason: String| ReachError::Name { host: endpoint.place().0.to_owned(), reason };
    let looking = tokio::time::timeout(CONNECT_TIMEOUT, lookup_host(endpoint.place()));
    let found = match looking.await {
        Ok(found) => found.map_err(|cause| failed(cause.to_string()))?,
        Err(_) => return Err(failed(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
    };
    let addresses: Vec<SocketAddr> = found.collect();
    match addresses.is_empty() {
        true => Err(failed("none is known".to_owned())),
        false => Ok(addresses),
    }
}

/// Connects to the first address that accepts, as clients do.
///
/// Errors: `Silent` or `Refused`, of the last address.
pub async fn dial(addresses: &[SocketAddr]) -> Result<SocketAddr, ReachError> {
    let mut last = None;
    for address in addresses {
        last = Some(match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(*address),
            Ok(Err(cause)) => ReachError::Refused { address: *address, reason: cause.to_string() },
            Err(_) => ReachError::Silent { address: *address },
        });
    }
    let nothing = || ReachError::Name { host: String::new(), reason: "none is known".to_owned() };
    Err(last.unwrap_or_else(nothing))
}

/// Shakes hands as a member, and waits for the first byte: only then has the other side looked at the identity.
///
/// Errors: what is wrong with either side's certificate, or that TLS is not spoken at `address`.
pub async fn greet(
    endpoint: &Endpoint,
    address: SocketAddr,
    membership: &Membership,
) -> Result<(), ReachError> {
    let host = endpoint.place().0.to_owned();
    let connector = TlsConnector { host: host.clone(), port: address.port(), config: membership.config() };
    let greeting = async {
        let mut stream = connector.connect().await?;
        match stream.read(&mut [0; 1]).await? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it hangs up")),
            _ => Ok(()),
        }
    };
    match tokio::time::timeout(CONNECT_TIMEOUT, greeting).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(cause)) => Err(of_handshake(&cause, (host, address))),
        Err(_) => {
            let reason = format!("no answer within {} s", CONNECT_TIMEOUT.as_secs());
            Err(ReachError::Tls { address, reason })
        }
    }
}

fn of_handshake(cause: &io::Error, (host, address): (String, SocketAddr)) -> ReachError {
    let tls = cause.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(Error::InvalidCertificate(certificate)) => match certificate {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => ReachError::OtherAuthority,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                ReachError::OtherName { host }
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => ReachError::OtherTime,
            other => ReachError::Tls { address, reason: format!("{other:?}") },
        },
        Some(Error::InvalidMessage(_)) => ReachError::NotTls { address },
        Some(Error::AlertReceived(AlertDescription::ProtocolVersion)) => {
            ReachError::Tls { address, reason: "it speaks no TLS 1.3".to_owned() }
        }
        Some(Error::AlertReceived(alert)) => ReachError::NotWanted { reason: format!("{alert:?}") },
        Some(other) => ReachError::Tls { address, reason: other.to_string() },
        None => ReachError::Tls { address, reason: cause.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn each_step_has_an_error_of_its_own() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = Endpoint::parse(&format!("http://{address}")).unwrap();
        assert_eq!(resolve(&endpoint).await, Ok(vec![address]));
        assert_eq!(dial(&[address]).await, Ok(address));
        drop(listener);

        let refused = dial(&[address]).await.unwrap_err();
        assert!(matches!(refused, ReachError::Refused { .. }), "{refused}");
        let nowhere = Endpoint::parse("http://no-such-host.invalid:1").unwrap();
        let unknown = resolve(&nowhere).await.unwrap_err();
        assert!(
            matches!(&unknown, ReachError::Name { host, .. } if host == "no-such-host.invalid"),
            "{unknown}"
        );
    }

    #[test]
    fn what_a_handshake_fails_of_is_told_apart() {
        let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let of = |error: Error| of_handshake(&io::Error::other(error), ("lab".to_owned(), address));
        let certificate = |wrong: CertificateError| of(Error::InvalidCertificate(wrong));

        assert_eq!(certificate(CertificateError::UnknownIssuer), ReachError::OtherAuthority);
        assert_eq!(certificate(CertificateError::Expired), ReachError::OtherTime);
        assert_eq!(
            certificate(CertificateError::NotValidForName),
            ReachError::OtherName { host: "lab".to_owned() }
        );
        let unwanted = of(Error::AlertReceived(AlertDescription::CertificateExpired));
        assert!(matches!(unwanted, ReachError::NotWanted { .. }));
        let closed = of_handshake(&io::Error::other("gone"), ("lab".to_owned(), address));
        assert_eq!(closed, ReachError::Tls { address, reason: "gone".to_owned() });
    }
}
