//! The same over real connections where `security.rs` asks a table: strangers, wrong roles, and clients that do not read.

use bitloop_proto::transport::CONNECT_TIMEOUT;
use hyper_util::rt::TokioIo;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http;
use tonic::transport::Uri;

use super::*;

/// A channel of somebody who shows no certificate.
pub(in crate::rpc::tests) async fn stranger(secured: &Secured) -> Channel {
    let (config, address) = (tls(&secured.folder.path().join("security/ca.pem"), None), secured.address);
    let connector = tower::service_fn(move |_: Uri| {
        let connector = TlsConnector::from(Arc::clone(&config));
        async move {
            let name = ServerName::try_from("127.0.0.1").map_err(io::Error::other)?;
            connector.connect(name, TcpStream::connect(address).await?).await.map(TokioIo::new)
        }
    });
    let settings = tonic::transport::Endpoint::from_static("http://coordinator");
    settings.connect_timeout(CONNECT_TIMEOUT).connect_with_connector(connector).await.unwrap()
}

/// What a method answers to a request without a message.
async fn called(channel: &Channel, path: &str) -> Code {
    let mut channel = channel.clone();
    std::future::poll_fn(|context| channel.poll_ready(context)).await.unwrap();
    let request = http::Request::post(format!("http://coordinator{path}"));
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    let answer = channel.call(request.body(Body::empty()).unwrap()).await.unwrap();
    // Refusals come at once, in the head; what is worked on has its status at the end.
    answer.headers().get("grpc-status").map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

#[tokio::test]
async fn over_the_wire_a_stranger_may_call_nothing_but_join() {
    let secured = Secured::start().await;
    let stranger = stranger(&secured).await;

    for path in methods() {
        let refused = called(&stranger, &path).await == Code::Unauthenticated;
        assert_eq!(refused, path != "/bitloop.v1.Membership/Join", "{path}");
    }
}

#[tokio::test]
async fn over_the_wire_a_role_may_call_what_the_table_gives_it() {
    let secured = Secured::start().await;

    for role in Role::ALL {
        let channel = secured.join(role).await;
        for path in methods() {
            let is_denied = called(&channel, &path).await == Code::PermissionDenied;
            assert_eq!(is_denied, access::check(&member(role), &path).is_err(), "{path} for {role}");
        }
    }
}

#[tokio::test]
async fn a_stranger_who_pings_and_never_reads_is_cut_off() {
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    // Long enough to fill the connection before its end.
    let patience = Duration::from_secs(2);
    let secured = Secured::start_with(Limits { stranger_patience: patience, ..hasty() }).await;
    let config = tls(&secured.folder.path().join("security/ca.pem"), None);
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let raw = socket.connect(secured.address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = TlsConnector::from(config).connect(name, raw).await.unwrap();
    stream.write_all(&[HTTP2_PREFACE, SETTINGS].concat()).await.unwrap();

    // The answers to the pings fill the connection, then the server takes no more: nothing but its end ends this.
    let pings = PING.repeat(512);
    let flood = async { while stream.write_all(&pings).await.is_ok() {} };
    let flooded = tokio::time::timeout(PATIENCE, flood).await;

    assert!(flooded.is_ok(), "a client without a certificate stays as long as it does not read");
    secured.join(Role::Read).await;
}

/// Shakes hands without a certificate and begins to speak HTTP/2, from one of this machine's addresses.
async fn stranger_at(secured: &Secured, host: [u8; 4]) -> impl tokio::io::AsyncRead + Unpin {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((host, 0).into()).unwrap();
    let raw = socket.connect(secured.address).await.unwrap();
    let config = tls(&secured.folder.path().join("security/ca.pem"), None);
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = TlsConnector::from(config).connect(name, raw).await.unwrap();
    stream.write_all(HTTP2_PREFACE).await.unwrap();
    stream
}

#[tokio::test]
async fn one_address_leaves_strangers_of_others_their_places() {
    let limits = Limits { stranger_patience: PATIENCE, greeting_patience: PATIENCE, ..hasty() };
    let limits = Limits { strangers: 2, strangers_per_address: 1, ..limits };
    let secured = Secured::start_with(limits).await;

    let mut first = stranger_at(&secured, [127, 0, 0, 1]).await;
    assert!(first.read(&mut [0; 64]).await.unwrap() > 0);
    assert!(is_cut_off(stranger_at(&secured, [127, 0, 0, 1]).await).await);

    let mut other = stranger_at(&secured, [127, 0, 0, 2]).await;
    assert!(other.read(&mut [0; 64]).await.unwrap() > 0);
}

#[tokio::test]
async fn a_connection_ends_in_time_though_its_peer_does_not_read() {
    let (near, _far) = tokio::io::duplex(64);
    let mut link =
        Link::new(near, Peer::InProcess).ending_with(tokio::time::sleep(Duration::from_millis(100)));

    // Nobody reads what is more than the pipe takes, and nothing asks the connection for bytes to read.
    let written = tokio::time::timeout(PATIENCE, link.write_all(&[0; 1_024])).await;

    assert!(written.expect("it does not end while it is written to").is_err());
    assert!(link.flush().await.is_err());
}

#[tokio::test]
async fn a_member_has_so_many_workers_and_the_next_one_when_one_leaves() {
    let secured = Secured::start().await;
    let mut own = Client::new(secured.join(Role::Worker).await);
    let mut other = Client::new(secured.join(Role::Worker).await);
    for number in 0..owners::OF_A_MEMBER_MAX {
        own.register(registration(&format!("w{number}"))).await.unwrap();
    }

    let refused = own.register(registration("one more")).await.unwrap_err();

    assert_eq!(refused.code(), Code::ResourceExhausted);
    own.register(registration("w0")).await.unwrap();
    other.register(registration("other")).await.unwrap();
    own.leave(v1::LeaveRequest { worker: "w0".to_owned() }).await.unwrap();
    own.register(registration("one more")).await.unwrap();
}

#[tokio::test]
async fn each_method_takes_messages_of_its_own_size() {
    let secured = Secured::start().await;
    let mut client = Client::new(secured.join(Role::Admin).await);
    let long = || "x".repeat(100 * 1024);

    let refused = client.show_experiment(v1::ShowExperimentRequest { experiment: long() }).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    let digests = vec![vec![0; 1024]; 4 * 1024];
    let refused = client.missing_artifacts(v1::MissingArtifactsRequest { digests }).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    let chunk = v1::ArtifactChunk { digest: vec![0; 32], data: vec![0; 2 << 20] };
    let refused = client.store_artifact(tokio_stream::iter([chunk])).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");

    // These are read: as many digests as there may be, and a plan that is none.
    let digests = vec![vec![0; 32]; bitloop_proto::convert::DIGESTS_MAX];
    client.missing_artifacts(v1::MissingArtifactsRequest { digests }).await.unwrap();
    let request = v1::SubmitRequest { plan: vec![b' '; 15 << 20], ..v1::SubmitRequest::default() };
    assert_eq!(client.submit(request).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn what_shall_be_explained_is_a_name_and_not_asked_without_end() {
    let secured = Secured::start().await;
    let channel = secured.join(Role::Read).await;
    let mut client = Client::new(channel.clone());
    let mut explain = async |subject: &str| {
        let refused = client.explain(v1::ExplainRequest { subject: subject.to_owned() }).await.unwrap_err();
        (refused.code(), refused.message().to_owned())
    };

    for subject in ["x".repeat(1_000).as_str(), "\u{1b}[2J"] {
        let (code, message) = explain(subject).await;
        assert_eq!(code, Code::InvalidArgument, "{message}");
        assert!(!message.contains(subject), "{message}");
    }
    // Far fewer than the calls that anyone may make.
    let mut refused = 0;
    for _ in 0..1_000 {
        refused += usize::from(explain("nothing").await.0 == Code::ResourceExhausted);
    }
    assert!(refused > 0);
    assert_eq!(list(channel).await, Ok(0), "what costs little goes on");
}
