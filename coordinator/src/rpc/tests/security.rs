//! What a coordinator that other machines reach lets in, over real connections; and the table of who may call what.

mod costs;
mod wire;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use bitloop_proto::identity::{Identity, JoinError, JoinToken, Joining, Member, Membership, Role};
use bitloop_proto::transport::{Connection, Endpoint, connect};
use bitloop_proto::v1::membership_client::MembershipClient;
use expect_test::expect;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use super::super::access;
use super::*;
use crate::clock::Clock;
use crate::security::TokenTerms;

pub(super) use self::wire::stranger;

const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Nothing takes longer unless it never comes.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Secured {
    pub(super) security: Arc<Security>,
    coordinator: Arc<Coordinator>,
    pub(super) address: SocketAddr,
    pub(super) endpoint: Endpoint,
    pub(super) folder: TempDir,
}

impl Secured {
    pub(super) async fn start() -> Self {
        Self::start_with(Limits::default()).await
    }

    async fn start_with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let security = Arc::new(Security::init(folder.path(), &[]).unwrap());
        let store = Box::new(MemoryStore::default());
        let coordinator = Arc::new(open_on(folder.path(), store));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let port = Port { listener, security: Some(security.clone()), limits };
        tokio::spawn(serve_tcp(coordinator.handle(), port, CancellationToken::new()));
        let endpoint = Endpoint::parse(&format!("https://{address}")).unwrap();
        Self { security, coordinator, address, endpoint, folder }
    }

    pub(super) fn token(&self, role: Role) -> JoinToken {
        self.security.issue_token(TokenTerms { role, uses: 1, valid: PATIENCE }).unwrap()
    }

    /// Joins over the wire, and connects with what it got.
    pub(super) async fn join(&self, role: Role) -> Channel {
        let joining = Joining::new(vec![self.endpoint.clone()], self.token(role)).unwrap();
        let identity = joining.attempt().await.unwrap();
        assert_eq!(identity.member().role, role);
        let own = self.folder.path().join(&identity.member().name);
        identity.save(&own).unwrap();
        self.connect(&own).await.unwrap()
    }

    pub(super) async fn connect(
        &self,
        identity: &Path,
    ) -> Result<Channel, bitloop_proto::transport::ConnectError> {
        let membership = Membership::open(identity).unwrap();
        Connection::Secured(vec![self.endpoint.clone()], membership).connect().await
    }

    /// What the server says to someone who shows this certificate, or none; an error if it hangs up.
    async fn shake_hands(&self, shown: Option<&Path>) -> std::io::Result<usize> {
        let config = tls(&self.folder.path().join("security/ca.pem"), shown);
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = TlsConnector::from(config).connect(name, stream).await?;
        stream.write_all(HTTP2_PREFACE).await?;
        stream.read(&mut [0; 64]).await
    }
}

pub(super) fn tls(authority: &Path, shown: Option<&Path>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let mut config = match shown {
        Some(identity) => {
            let certificate = CertificateDer::from_pem_file(identity).unwrap();
            let key = PrivateKeyDer::from_pem_file(identity).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

pub(super) async fn list(channel: Channel) -> Result<usize, Code> {
    let listed = Client::new(channel).list_experiments(v1::ListExperimentsRequest {}).await;
    listed.map(|answer| answer.into_inner().experiments.len()).map_err(|status| status.code())
}

fn member(role: Role) -> Peer {
    Peer::Member(Member { role, name: "0a".to_owned(), issued: 0, expires: 1 })
}

/// Every method of the services in the `.proto` file, as paths.
fn methods() -> BTreeSet<String> {
    let proto = include_str!("../../../../proto/bitloop/v1/coordinator.proto");
    let mut service = "";
    let mut methods = BTreeSet::new();
    for words in
        proto.lines().map(|line| line.split([' ', '(']).filter(|word| !word.is_empty()).collect::<Vec<_>>())
    {
        match words[..] {
            ["service", name, ..] => service = name,
            ["rpc", method, ..] => {
                methods.insert(format!("/bitloop.v1.{service}/{method}"));
            }
            _ => {}
        }
    }
    assert!(methods.len() >= 20, "{methods:?}");
    methods
}

#[test]
fn every_method_has_its_roles() {
    let everyone = Role::ALL.map(|role| (role.word(), member(role)));
    let stranger = ("stranger", Peer::Stranger { address: "192.0.2.1".parse().unwrap() });
    let mut table = String::new();
    for path in methods() {
        assert!(access::access(&path).is_some(), "{path} is missing in the table of access.rs");
        let may = everyone.iter().chain([&stranger]).filter(|(_, peer)| access::check(peer, &path).is_ok());
        let may: Vec<&str> = may.map(|(word, _)| *word).collect();
        writeln!(table, "{} {}", path.trim_start_matches("/bitloop.v1."), may.join(" ")).unwrap();
    }

    expect![[r#"
        Coordinator/ActOnExperiment admin submit
        Coordinator/Backlog admin submit read
        Coordinator/Commit admin worker
        Coordinator/Events admin submit read
        Coordinator/Explain admin submit read
        Coordinator/FetchArtifact admin submit read worker
        Coordinator/FetchContext admin worker
        Coordinator/Heartbeat admin worker
        Coordinator/Leave admin worker
        Coordinator/ListExperiments admin submit read
        Coordinator/ListWorkers admin submit read
        Coordinator/MissingArtifacts admin submit
        Coordinator/Overview admin submit read
        Coordinator/Register admin worker
        Coordinator/Release admin worker
        Coordinator/RequestShard admin worker
        Coordinator/Results admin submit read
        Coordinator/ShowExperiment admin submit read
        Coordinator/StoreArtifact admin submit worker
        Coordinator/Submit admin submit
        Coordinator/TrialLog admin submit read
        Coordinator/WatchExperiment admin submit read
        Coordinator/WriteLines admin worker
        Membership/IssueToken admin
        Membership/Join admin submit read worker stranger
        Membership/Renew admin submit read worker
        Membership/Revoke admin
    "#]]
    .assert_eq(&table);
}

#[test]
fn what_is_no_method_is_refused_to_everyone() {
    for path in [
        "",
        "/",
        "/bitloop.v1.Coordinator/Shutdown",
        "/bitloop.v1.Coordinator/submit",
        "/other.Service/Submit",
    ] {
        for peer in [member(Role::Admin), Peer::InProcess, Peer::Open { connection: 1 }] {
            assert_eq!(access::check(&peer, path).unwrap_err().code(), Code::Unimplemented, "{path}");
        }
    }
}

#[tokio::test]
async fn each_role_reaches_what_is_its_own_and_nothing_else() {
    let secured = Secured::start().await;

    for (role, lists, acts, registers) in [
        (Role::Admin, true, true, true),
        (Role::Submit, true, true, false),
        (Role::Read, true, false, false),
        (Role::Worker, false, false, true),
    ] {
        let channel = secured.join(role).await;
        let mut client = Client::new(channel.clone());
        let is_denied = |code: Code| code == Code::PermissionDenied;

        assert_eq!(list(channel.clone()).await.is_ok(), lists, "{role}");
        let action = v1::ActOnExperimentRequest { experiment: "none".to_owned(), action: 1 };
        assert_eq!(!is_denied(client.act_on_experiment(action).await.unwrap_err().code()), acts, "{role}");
        let registered = client.register(registration(role.word())).await;
        assert_eq!(!registered.is_err_and(|status| is_denied(status.code())), registers, "{role}");
        let events = client.events(v1::EventsRequest::default()).await;
        assert_eq!(!events.is_err_and(|status| is_denied(status.code())), lists, "{role}");
        let logs = client.trial_log(v1::TrialLogRequest::default()).await;
        assert_eq!(!logs.is_err_and(|status| is_denied(status.code())), lists, "{role}");
        let lines = v1::WriteLinesRequest { worker: role.word().to_owned(), ..Default::default() };
        let written = client.write_lines(lines).await;
        assert_eq!(!written.is_err_and(|status| is_denied(status.code())), registers, "{role}");
        let token = v1::IssueTokenRequest { role: 1, uses: 1, valid_seconds: 60 };
        let made = MembershipClient::new(channel).issue_token(token).await;
        assert_eq!(!made.is_err_and(|status| is_denied(status.code())), role == Role::Admin, "{role}");
    }
}

#[tokio::test]
async fn whoever_shows_no_certificate_may_only_try_to_join() {
    let secured = Secured::start().await;
    let plain = Endpoint::parse(&format!("http://{}", secured.address)).unwrap();

    // Without TLS nothing is said at all.
    let unspoken = list(connect(&plain).await.unwrap()).await.unwrap_err();
    let broken = [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::Internal];
    assert!(broken.contains(&unspoken), "{unspoken:?}");
    assert!(connect(&secured.endpoint).await.is_err());
    assert!(secured.shake_hands(None).await.unwrap() > 0);
    let stranger = Peer::Stranger { address: secured.address.ip() };
    for path in methods().iter().filter(|path| !path.ends_with("/Join")) {
        assert_eq!(access::check(&stranger, path).unwrap_err().code(), Code::Unauthenticated);
    }
}

#[tokio::test]
async fn a_join_token_that_is_replayed_gives_nothing() {
    let secured = Secured::start().await;
    let token = secured.token(Role::Worker);
    let first = Joining::new(vec![secured.endpoint.clone()], token.clone()).unwrap();
    let thief = Joining::new(vec![secured.endpoint.clone()], token).unwrap();

    let joined = first.attempt().await.unwrap();

    let refused = thief.attempt().await.unwrap_err();
    assert!(matches!(&refused, JoinError::Refused(text) if text.contains("used up")), "{refused}");
    assert!(!refused.is_retryable());
    let again = first.attempt().await.unwrap();
    assert_eq!(again.member().name, joined.member().name);
}

#[tokio::test]
async fn a_token_is_never_told_to_another_coordinator() {
    let (own, other) = (Secured::start().await, Secured::start().await);
    let token = own.token(Role::Worker);

    let misled =
        Joining::new(vec![other.endpoint.clone()], token.clone()).unwrap().attempt().await.unwrap_err();

    assert!(matches!(misled, JoinError::Connect(_)), "{misled}");
    Joining::new(vec![own.endpoint.clone()], token).unwrap().attempt().await.unwrap();
}

#[tokio::test]
async fn certificates_of_another_authority_and_expired_ones_are_refused() {
    let secured = Secured::start().await;
    let good = secured.folder.path().join("security/admin/identity.pem");
    assert!(secured.shake_hands(Some(&good)).await.unwrap() > 0);

    let foreign = tempfile::tempdir().unwrap();
    Security::init(foreign.path(), &[]).unwrap();
    let refused = secured.shake_hands(Some(&foreign.path().join("security/admin/identity.pem"))).await;
    assert!(refused.is_err(), "{refused:?}");

    // The same authority at a time when its certificates of then have ended.
    let long_ago = Clock::system().now().0 - 400 * 24 * 60 * 60 * 1_000;
    let clock = Clock::manual(Arc::new(long_ago.into()));
    std::fs::remove_dir_all(secured.folder.path().join("security/admin")).unwrap();
    Security::open_with(secured.folder.path(), clock).unwrap();
    assert!(
        Identity::load(good.parent().unwrap()).unwrap().member().expires < Clock::system().unix_seconds()
    );
    let refused = secured.shake_hands(Some(&good)).await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(Membership::open(good.parent().unwrap()).unwrap_err().to_string().contains("has expired"));
}

#[tokio::test]
async fn no_worker_speaks_for_another_one() {
    let secured = Secured::start().await;
    let mut own = Client::new(secured.join(Role::Worker).await);
    let mut other = Client::new(secured.join(Role::Worker).await);
    let epoch = own.register(registration("w1")).await.unwrap().into_inner().epoch;
    let worker = || "w1".to_owned();

    let denied =
        |answer: Result<(), tonic::Status>| assert_eq!(answer.unwrap_err().code(), Code::PermissionDenied);
    denied(other.register(registration("w1")).await.map(drop));
    denied(other.leave(v1::LeaveRequest { worker: worker() }).await.map(drop));
    let beat = v1::HeartbeatRequest { worker: worker(), epoch, lease: None, running: Vec::new() };
    denied(other.heartbeat(beat.clone()).await.map(drop));
    denied(other.request_shard(v1::RequestShardRequest { worker: worker(), epoch }).await.map(drop));
    denied(
        other
            .release(v1::ReleaseRequest {
                worker: worker(),
                epoch,
                lease: 1,
                trials: Vec::new(),
                obstacle: None,
            })
            .await
            .map(drop),
    );
    let commit = v1::CommitRequest { worker: worker(), epoch, wants_shard: true, ..Default::default() };
    denied(other.commit(commit).await.map(drop));

    own.heartbeat(beat).await.unwrap();
    own.leave(v1::LeaveRequest { worker: worker() }).await.unwrap();
    other.register(registration("w1")).await.unwrap();
}

#[tokio::test]
async fn messages_that_are_too_large_are_refused() {
    let secured = Secured::start().await;
    let channel = secured.join(Role::Admin).await;

    let public_key = vec![4; membership::REQUEST_BYTES_MAX + 1];
    let refused =
        MembershipClient::new(channel.clone()).renew(v1::RenewRequest { public_key }).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    let digests = vec![vec![0; 1 << 20]; bitloop_proto::transport::MAX_MESSAGE_BYTES >> 20];
    let refused =
        Client::new(channel.clone()).missing_artifacts(v1::MissingArtifactsRequest { digests }).await;
    assert_eq!(refused.unwrap_err().code(), Code::OutOfRange);

    assert_eq!(list(channel).await, Ok(0));
}

#[tokio::test]
async fn a_renewed_certificate_takes_over_without_a_new_token() {
    let secured = Secured::start().await;
    let folder = secured.folder.path().join("own");
    let joining = Joining::new(vec![secured.endpoint.clone()], secured.token(Role::Read)).unwrap();
    joining.attempt().await.unwrap().save(&folder).unwrap();
    let before = std::fs::read(folder.join("identity.pem")).unwrap();
    let membership = Membership::open(&folder).unwrap();
    let name = membership.member().name;

    membership.renew(std::slice::from_ref(&secured.endpoint)).await.unwrap();

    assert_ne!(std::fs::read(folder.join("identity.pem")).unwrap(), before);
    assert_eq!(Membership::open(&folder).unwrap().member().name, name);
    let connection = Connection::Secured(vec![secured.endpoint.clone()], membership);
    assert_eq!(list(connection.connect().await.unwrap()).await, Ok(0));
}

#[tokio::test]
async fn an_old_certificate_is_renewed_by_itself() {
    let secured = Secured::start().await;
    let long_ago = Clock::system().now().0 - 25 * 24 * 60 * 60 * 1_000;
    let then = Clock::manual(Arc::new(long_ago.into()));
    let past = Security::open_with(secured.folder.path(), then).unwrap().unwrap();
    let token = past.issue_token(TokenTerms { role: Role::Worker, uses: 1, valid: PATIENCE }).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let issued = past.admit(token.secret(), key.public_key_raw()).unwrap();
    let folder = secured.folder.path().join("own");
    Identity::new(issued.authority, issued.certificate, &key).unwrap().save(&folder).unwrap();
    let membership = Membership::open(&folder).unwrap();
    let before = membership.member();
    assert!(membership.is_renewal_due());

    let admin = secured.connect(&secured.security.admin_folder()).await.unwrap();
    let renewed = async {
        while membership.is_renewal_due() {
            list(admin.clone()).await.unwrap();
        }
    };
    tokio::select! {
        () = membership.keep_renewed(std::slice::from_ref(&secured.endpoint)) => unreachable!("it renews for ever"),
        () = renewed => {}
    }

    let after = Membership::open(&folder).unwrap().member();
    assert_eq!((after.role, &after.name), (before.role, &before.name));
    assert!(after.expires > before.expires);
}

#[tokio::test]
async fn a_name_of_an_artifact_leads_to_no_other_file() {
    let secured = Secured::start().await;
    let mut client = Client::new(secured.join(Role::Admin).await);
    let key = || std::fs::read(secured.folder.path().join("security/ca.key")).unwrap();
    let before = key();

    for name in [&b"../security/ca.key"[..], b"/etc/passwd", b"..", b"", &[b'.'; 31], &[b'/'; 33]] {
        let digest = name.to_vec();
        let refused = client.fetch_artifact(v1::FetchArtifactRequest { digest: digest.clone() }).await;
        assert_eq!(refused.err().unwrap().code(), Code::InvalidArgument);
        let chunk = v1::ArtifactChunk { digest, data: b"mine".to_vec() };
        let refused = client.store_artifact(tokio_stream::iter([chunk])).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    }
    // Of the right length it is 64 hexadecimal digits, whatever they mean.
    let digest = b"../../../../../../../etc/passwd\0".to_vec();
    let chunk = v1::ArtifactChunk { digest, data: b"mine".to_vec() };
    let refused = client.store_artifact(tokio_stream::iter([chunk])).await.unwrap_err();
    assert!(refused.message().contains("arrived as"), "{refused}");

    assert_eq!(key(), before);
    assert_eq!(std::fs::read_dir(secured.folder.path().join("artifacts")).unwrap().count(), 0);
}

/// Whether the server hangs up by itself.
async fn is_cut_off(mut stream: impl tokio::io::AsyncRead + Unpin) -> bool {
    let mut rest = Vec::new();
    // An error is an end, too; bytes before it are an alert or the server's own greeting.
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.is_ok()
}

fn hasty() -> Limits {
    let moment = Duration::from_millis(100);
    Limits { greeting_patience: moment, stranger_patience: 3 * moment, strangers: 1, ..Limits::default() }
}

#[tokio::test]
async fn slow_clients_of_a_secured_port_are_cut_off() {
    let secured = Secured::start_with(hasty()).await;
    let ca = secured.folder.path().join("security/ca.pem");
    let name = ServerName::try_from("127.0.0.1").unwrap();

    let silent = TcpStream::connect(secured.address).await.unwrap();
    assert!(is_cut_off(silent).await, "a client that says nothing");
    let mut slow = TcpStream::connect(secured.address).await.unwrap();
    slow.write_all(b"\x16\x03\x01\x02\x00").await.unwrap();
    assert!(is_cut_off(slow).await, "a client that does not finish its handshake");
    let raw = TcpStream::connect(secured.address).await.unwrap();
    let shaken = TlsConnector::from(tls(&ca, None)).connect(name.clone(), raw).await.unwrap();
    assert!(is_cut_off(shaken).await, "a client that says nothing after its handshake");
    let raw = TcpStream::connect(secured.address).await.unwrap();
    let mut polite = TlsConnector::from(tls(&ca, None)).connect(name, raw).await.unwrap();
    polite.write_all(HTTP2_PREFACE).await.unwrap();
    assert!(is_cut_off(polite).await, "a client without a certificate that stays");

    let admin = secured.connect(&secured.security.admin_folder()).await.unwrap();
    assert_eq!(list(admin).await, Ok(0));
}

#[tokio::test]
async fn slow_clients_of_an_open_port_are_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = open_on(folder.path(), Box::new(MemoryStore::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let port = Port { listener, security: None, limits: hasty() };
    tokio::spawn(serve_tcp(coordinator.handle(), port, CancellationToken::new()));

    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(&HTTP2_PREFACE[..10]).await.unwrap();
    assert!(is_cut_off(slow).await);

    let endpoint = Endpoint::parse(&format!("http://{address}")).unwrap();
    assert_eq!(list(connect(&endpoint).await.unwrap()).await, Ok(0));
}

#[tokio::test]
async fn those_without_certificates_take_no_more_than_their_places() {
    let limits = Limits { stranger_patience: PATIENCE, greeting_patience: PATIENCE, ..hasty() };
    let secured = Secured::start_with(limits).await;
    let ca = secured.folder.path().join("security/ca.pem");
    let shake = || async {
        let raw = TcpStream::connect(secured.address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = TlsConnector::from(tls(&ca, None)).connect(name, raw).await.unwrap();
        stream.write_all(HTTP2_PREFACE).await.unwrap();
        stream
    };

    let mut first = shake().await;
    assert!(first.read(&mut [0; 64]).await.unwrap() > 0);
    assert!(is_cut_off(shake().await).await);

    let admin = secured.connect(&secured.security.admin_folder()).await.unwrap();
    assert_eq!(list(admin).await, Ok(0));
    assert_eq!(secured.coordinator.handle().experiments().unwrap(), []);
}
