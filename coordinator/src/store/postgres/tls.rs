//! TLS to a database, by rustls: the server's certificate is always verified.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto, version};

use super::error::DatabaseError;

/// Names a file of certificates that vouch for servers, as for PostgreSQL's own tools.
const ROOTS_VARIABLE: &str = "PGSSLROOTCERT";

/// Makes connections secure.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl Tls {
    /// Trusts the certificates that `PGSSLROOTCERT` names, or else the system's.
    pub(super) fn from_environment() -> Result<Self, DatabaseError> {
        match std::env::var(ROOTS_VARIABLE) {
            Ok(file) => Self::trusting_file(&file),
            Err(_) => {
                let found = rustls_native_certs::load_native_certs();
                Self::trusting("the system's folders", found.certs)
            }
        }
    }

    pub(super) fn trusting_file(file: &str) -> Result<Self, DatabaseError> {
        let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let unusable = |reason: String| DatabaseError::Certificates { place: file.to_owned(), reason };
        let certificates = read.map_err(|error| unusable(error.to_string()))?;
        if certificates.is_empty() {
            return Err(unusable("there are none".to_owned()));
        }
        Self::trusting(file, certificates)
    }

    fn trusting(place: &str, certificates: Vec<CertificateDer<'static>>) -> Result<Self, DatabaseError> {
        let unusable = |reason: String| DatabaseError::Certificates { place: place.to_owned(), reason };
        let mut roots = RootCertStore::empty();
        // The system may have some that rustls does not take; what is needed and missing shows in the handshake.
        roots.add_parsable_certificates(certificates);
        let provider = Arc::new(crypto::ring::default_provider());
        let settings = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| unusable(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self(TlsConnector::from(Arc::new(settings))))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
    type Stream = Secured<S>;
    type TlsConnect = Handshake;
    type Error = Infallible;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Handshake, Infallible> {
        Ok(Handshake { connector: self.0.clone(), domain: domain.to_owned() })
    }
}

/// A handshake with a server of a name.
pub(super) struct Handshake {
    connector: TlsConnector,
    /// Not looked at before the handshake: where a socket's folder is named, there is no domain and no handshake.
    domain: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Handshake {
    type Stream = Secured<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Secured<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let name = ServerName::try_from(self.domain).map_err(io::Error::other)?;
            Ok(Secured(self.connector.connect(name, stream).await?))
        })
    }
}

/// A stream over TLS.
pub(super) struct Secured<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Secured<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Secured<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Secured<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
