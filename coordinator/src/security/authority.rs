use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bitloop_core::digest::Digest;
use bitloop_proto::identity::{
    AUTHORITY_FILE, Identity, Member, PUBLIC_KEY_BYTES, UNCOMPRESSED_POINT, write_private,
};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
    SignatureAlgorithm,
};
use time::OffsetDateTime;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use super::names::{self, HostName, Note};
use super::{SecurityError, broken};

/// The authority's own key, which never leaves this folder.
const KEY_FILE: &str = "ca.key";

/// Key and certificate of the server, in a folder of their own.
const SERVER_FILE: &str = "server.pem";

const DAY: u64 = 24 * 60 * 60;

/// How long the authority lasts. It cannot be renewed without everyone joining again.
const AUTHORITY_LASTS: u64 = 3_650 * DAY;

/// How long the server's certificate lasts; it is renewed with half of it left.
const SERVER_LASTS: u64 = 90 * DAY;

/// Certificates count from a while ago, as machines' clocks differ.
const CLOCKS_DIFFER: u64 = 60 * 60;

/// What HTTP/2 is called in a handshake.
const ALPN_HTTP2: &[u8] = b"h2";

/// What HTTP/1.1 is called in a handshake.
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// Bytes of a serial number, of which RFC 5280 allows twenty; the first bit is zero.
const SERIAL_BYTES: usize = 16;

/// Bytes of which a name is the hexadecimal form.
const NAME_BYTES: usize = 8;

/// Signs certificates.
pub(super) struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn load_or_create(folder: &Path, now: u64) -> Result<Self, SecurityError> {
        if folder.join(KEY_FILE).exists() {
            return Self::load(folder);
        }
        let key = KeyPair::generate().map_err(crypto)?;
        let mut params = parameters(&key);
        (params.not_before, params.not_after) =
            (date(now.saturating_sub(CLOCKS_DIFFER))?, date(now + AUTHORITY_LASTS)?);
        params.serial_number = Some(serial()?);
        let certificate = params.self_signed(&key).map_err(crypto)?;
        let (public, private) = (folder.join(AUTHORITY_FILE), folder.join(KEY_FILE));
        // The key last: what makes an authority is its key.
        write_private(&public, certificate.pem().as_bytes()).map_err(broken(&public))?;
        write_private(&private, key.serialize_pem().as_bytes()).map_err(broken(&private))?;
        Self::load(folder)
    }

    pub(super) fn load(folder: &Path) -> Result<Self, SecurityError> {
        let (public, private) = (folder.join(AUTHORITY_FILE), folder.join(KEY_FILE));
        let key = fs::read_to_string(&private).map_err(broken(&private))?;
        let key = KeyPair::from_pem(&key).map_err(|error| damaged(&private, &error))?;
        let certificate = fs::read(&public).map_err(broken(&public))?;
        let certificate =
            CertificateDer::from_pem_slice(&certificate).map_err(|error| damaged(&public, &error))?;
        let issuer = Issuer::new(parameters(&key), key);
        Ok(Self { certificate, issuer })
    }

    pub(super) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Signs a client's certificate for its public key.
    pub(super) fn certify(
        &self,
        member: &Member,
        public_key: &[u8],
    ) -> Result<CertificateDer<'static>, SecurityError> {
        let mut params = leaf(&member.name, member.issued, member.expires)?;
        params.subject_alt_names = vec![SanType::URI(ia5(&member.to_uri())?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.signed_by(&ClientKey(public_key), &self.issuer).map(Into::into).map_err(crypto)
    }

    /// Makes a key and signs a certificate for it.
    pub(super) fn identity(&self, member: &Member) -> Result<Identity, SecurityError> {
        let key = KeyPair::generate().map_err(crypto)?;
        let certificate = self.certify(member, key.public_key_raw())?;
        Identity::new(self.certificate.clone(), certificate, &key)
            .ok_or_else(|| SecurityError::Crypto("the certificate made names nobody".to_owned()))
    }

    /// Makes what the server shows, and keeps it.
    pub(super) fn serve(&self, folder: &Path, names: &[HostName], now: u64) -> Result<Served, SecurityError> {
        let key = KeyPair::generate().map_err(crypto)?;
        let mut params = leaf("bitloop coordinator", now, now + SERVER_LASTS)?;
        let all = names::local().into_iter().chain(names.iter().cloned());
        let mut alternatives: Vec<SanType> = Vec::new();
        for name in all {
            let name = match name {
                HostName::Dns(name) => SanType::DnsName(ia5(&name)?),
                HostName::Address(address) => SanType::IpAddress(address),
            };
            if !alternatives.contains(&name) {
                alternatives.push(name);
            }
        }
        params.subject_alt_names = alternatives;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer).map_err(crypto)?;
        let note = Note { names: names.to_vec(), issued: now };
        let text = format!("{}{}", key.serialize_pem(), certificate.pem());
        let path = folder.join(SERVER_FILE);
        write_private(&path, text.as_bytes()).map_err(broken(&path))?;
        names::save(folder, &note)?;
        self.served(folder)
    }

    /// Reads what the server shows.
    pub(super) fn served(&self, folder: &Path) -> Result<Served, SecurityError> {
        let path = folder.join(SERVER_FILE);
        let text = fs::read(&path).map_err(broken(&path))?;
        let certificate = CertificateDer::from_pem_slice(&text).map_err(|error| damaged(&path, &error))?;
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| damaged(&path, &error))?;
        let http = http_config(vec![certificate.clone(), self.certificate.clone()], key.clone_key())?;
        let config = self.server_config(certificate, key)?;
        Ok(Served { note: names::load(folder)?, config, http })
    }

    /// For connections of clients, which show a certificate of ours or none; what those without may do is little.
    fn server_config(
        &self,
        certificate: CertificateDer<'static>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Arc<ServerConfig>, SecurityError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).map_err(crypto)?;
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .allow_unauthenticated()
            .build()
            .map_err(crypto)?;
        let builder = ServerConfig::builder_with_provider(provider);
        let mut config = builder
            .with_protocol_versions(&[&TLS13])
            .map_err(crypto)?
            .with_client_cert_verifier(verifier)
            // The authority's certificate goes along for those who know no more than its fingerprint.
            .with_single_cert(vec![certificate, self.certificate.clone()], key)
            .map_err(crypto)?;
        config.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        // A resumed session would be believed without looking at its certificate's end again.
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

/// What the server shows, and since when.
pub(super) struct Served {
    pub(super) note: Note,
    /// For members and those who want to be.
    pub(super) config: Arc<ServerConfig>,
    /// For monitoring, which shows no certificate.
    pub(super) http: Arc<ServerConfig>,
}

impl Served {
    pub(super) fn is_renewal_due(&self, now: u64) -> bool {
        now >= self.note.issued + SERVER_LASTS / 2
    }
}

fn http_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, SecurityError> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13]).map_err(crypto)?.with_no_client_auth();
    let mut config = builder.with_single_cert(chain, key).map_err(crypto)?;
    config.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
    Ok(Arc::new(config))
}

/// A client's public key, as it came over the wire.
struct ClientKey<'a>(&'a [u8]);

impl PublicKeyData for ClientKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// Checks the form of a public key. A point that is not on the curve is of no use to whoever sent it: a handshake
/// with it fails.
pub(super) fn has_form_of_public_key(bytes: &[u8]) -> bool {
    bytes.len() == PUBLIC_KEY_BYTES && bytes[0] == UNCOMPRESSED_POINT
}

/// What a certificate of the authority's own is made from; the same for the same key.
fn parameters(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, format!("bitloop authority {}", Digest::of(key.public_key_raw()).short()));
    params.distinguished_name = name;
    // It signs for clients and servers, and makes no further authorities.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// What every other certificate has.
fn leaf(name: &str, issued: u64, expires: u64) -> Result<CertificateParams, SecurityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(serial()?);
    params.not_before = date(issued.saturating_sub(CLOCKS_DIFFER))?;
    params.not_after = date(expires)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// Random bytes from the system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], SecurityError> {
    let mut bytes = [0; N];
    let filled = ring::default_provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| SecurityError::Crypto("the system gives no random numbers".to_owned()))?;
    Ok(bytes)
}

/// A name for somebody who joins.
pub(super) fn random_name() -> Result<String, SecurityError> {
    let bytes = random::<NAME_BYTES>()?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn serial() -> Result<SerialNumber, SecurityError> {
    let mut bytes = random::<SERIAL_BYTES>()?;
    // A positive number without a leading zero.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn date(unix_seconds: u64) -> Result<OffsetDateTime, SecurityError> {
    let seconds = i64::try_from(unix_seconds).map_err(crypto)?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(crypto)
}

fn ia5(text: &str) -> Result<Ia5String, SecurityError> {
    Ia5String::try_from(text).map_err(crypto)
}

fn crypto(error: impl Display) -> SecurityError {
    SecurityError::Crypto(error.to_string())
}

fn damaged(path: &Path, error: &dyn Display) -> SecurityError {
    SecurityError::Damaged { path: path.to_owned(), reason: error.to_string() }
}
