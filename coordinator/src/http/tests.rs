mod load;

use std::collections::{BTreeMap, BTreeSet};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::*;
use crate::coordinator::Coordinator;
use crate::store::{MemoryStore, Store};
use crate::testing::*;

struct Served {
    coordinator: Coordinator,
    address: std::net::SocketAddr,
    _folder: tempfile::TempDir,
}

async fn served() -> Served {
    served_with(Box::new(MemoryStore::default())).await
}

async fn served_with(store: Box<dyn Store>) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = open_on(folder.path(), store);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(coordinator.handle(), None, listener, CancellationToken::new()));
    Served { coordinator, address, _folder: folder }
}

/// What comes back for some bytes until the connection ends.
async fn exchange(served: &Served, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

async fn metrics(served: &Served) -> BTreeMap<String, f64> {
    let answer = exchange(served, b"GET /metrics HTTP/1.1\r\nhost: here\r\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    parse(body)
}

/// Reads the text format strictly: each family has one HELP and one TYPE, its name ends as its type and unit want it,
/// each sample belongs to the family above it, and each histogram only rises.
fn parse(body: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut last) = (BTreeMap::new(), 0.0);
    let (mut families, mut family, mut kind) = (BTreeSet::new(), String::new(), String::new());
    for line in body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(families.insert(name.to_owned()), "{name} comes twice");
            assert!(name.starts_with("bitloop_") && text.ends_with('.'), "{line}");
            (family, kind, last) = (name.to_owned(), String::new(), 0.0);
            continue;
        }
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            kind = declared.strip_prefix(&format!("{family} ")).unwrap().to_owned();
            assert_eq!(kind == "counter", family.ends_with("_total"), "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind.as_str()), "{line}");
            let has_base_unit =
                !["_ms", "_millis", "_minutes", "_kib", "_mib"].iter().any(|it| family.contains(it));
            assert!(has_base_unit, "{line}");
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        let (bare, labels) = name.split_once('{').unwrap_or((name, "}"));
        assert!(bare.chars().all(|char| char.is_ascii_lowercase() || char == '_'), "{line}");
        let plain = labels.replace(r"\\", "").replace(r#"\""#, "");
        assert!(
            plain.ends_with('}') && plain.matches("=\"").count() * 2 == plain.matches('"').count(),
            "{line}"
        );
        let suffix = bare.strip_prefix(&family).unwrap_or_else(|| panic!("{line} follows {family}"));
        let suffixes = if kind == "histogram" { &["_bucket", "_sum", "_count"][..] } else { &[""] };
        assert!(suffixes.contains(&suffix), "{line} is in a {kind}");
        if suffix == "_bucket" {
            assert!(value >= last, "{line} is less than the bucket before");
            last = value;
        }
        if suffix == "_count" {
            assert_eq!(value, last, "{line} is not the last bucket's");
        }
        assert!(samples.insert(name.to_owned(), value).is_none(), "{line} comes twice");
    }
    samples
}

#[tokio::test]
async fn a_finished_sweep_is_seen_in_the_metrics() {
    let served = served().await;
    let handle = served.coordinator.handle();
    let id = submit(&handle, "sweep").await;
    let worker = register(&handle, "w1").await;
    let shard = handle.request_shard(&worker).await.unwrap().unwrap();
    handle.commit(&worker, reports(&shard), 500.0).await.unwrap();
    handle.commit(&worker, reports(&shard), 500.0).await.unwrap();
    handle.commit(&worker, other_reports(&shard), 500.0).await.unwrap();
    work_off(&handle, &worker, &id).await;
    let mut overview = handle.overview();
    overview.wait_for(|overview| overview.experiments[0].status.is_over()).await.unwrap();

    let metrics = metrics(&served).await;

    for (name, value) in [
        ("bitloop_epoch", 1.0),
        ("bitloop_trials_total{result=\"succeeded\"}", PLAN_TRIALS as f64),
        ("bitloop_trials_total{result=\"failed\"}", 0.0),
        ("bitloop_duplicates_total", 1.0),
        ("bitloop_conflicts_total", 1.0),
        ("bitloop_experiments{status=\"finished\"}", 1.0),
        ("bitloop_experiments{status=\"active\"}", 0.0),
        ("bitloop_queued_trials{kind=\"evaluate\"}", 0.0),
        ("bitloop_leases", 0.0),
        (
            "bitloop_backlog_trials{device=\"any\",exact=\"false\",gpu_memory_gib=\"0\",labels=\"\",probe=\"\"}",
            0.0,
        ),
        (
            "bitloop_waiting_trials{device=\"any\",exact=\"false\",gpu_memory_gib=\"0\",labels=\"\",probe=\"\"}",
            0.0,
        ),
        (
            "bitloop_backlog_seconds{device=\"cpu\",exact=\"true\",gpu_memory_gib=\"0\",labels=\"\",probe=\"\"}",
            0.0,
        ),
        ("bitloop_workers{device=\"cpu\"}", 1.0),
        ("bitloop_busy_seconds_total{device=\"cpu\"}", 0.5 * PLAN_TRIALS as f64),
        ("bitloop_store_failures_total", 0.0),
        ("bitloop_store_writable", 1.0),
        ("bitloop_heartbeats_missed_total", 0.0),
        ("bitloop_leases_older_than{seconds=\"5\"}", 0.0),
    ] {
        assert_eq!(metrics.get(name), Some(&value), "{name}");
    }
    assert!(metrics["bitloop_commit_seconds_count"] >= 4.0);
}

#[tokio::test]
async fn what_is_no_good_request_is_refused() {
    let served = served().await;
    for (request, status) in [
        (&b"GET /healthz HTTP/1.1\r\nhost: here\r\n\r\n"[..], "200"),
        (b"GET / HTTP/1.1\r\nhost: here\r\n\r\n", "404"),
        (b"DELETE /metrics HTTP/1.1\r\nhost: here\r\n\r\n", "405"),
        (b"\x16\x03\x01 this is no HTTP\r\n\r\n", "400"),
    ] {
        let answer = exchange(&served, request).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
    }
}

/// A site of a data directory that has security.
async fn secured(patience: Patience) -> (Served, Arc<Security>) {
    let folder = tempfile::tempdir().unwrap();
    let security = Arc::new(Security::init(folder.path(), &[]).unwrap());
    let coordinator = open_on(folder.path(), Box::new(MemoryStore::default()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let site = Site { handle: coordinator.handle(), security: Some(security.clone()), patience };
    tokio::spawn(serve_site(site, listener, CancellationToken::new()));
    (Served { coordinator, address, _folder: folder }, security)
}

/// The same as [`exchange`], over TLS.
async fn exchange_over_tls(served: &Served, request: &str) -> String {
    let mut roots = RootCertStore::empty();
    let authority = served._folder.path().join("security/ca.pem");
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(served.address).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn metrics_are_shown_to_whoever_has_their_token_and_health_to_everyone() {
    let (served, security) = secured(Patience::default()).await;
    let token = std::fs::read_to_string(security.metrics_token_file()).unwrap();
    let token = token.trim();

    for (authorization, status) in [
        (String::new(), "401"),
        ("authorization: Bearer\r\n".to_owned(), "401"),
        (format!("authorization: Basic {token}\r\n"), "401"),
        (format!("authorization: Bearer {}\r\n", &token[1..]), "401"),
        (format!("authorization: Bearer {token}x\r\n"), "401"),
        (format!("authorization: Bearer {token}\r\n"), "200"),
    ] {
        let request = format!("GET /metrics HTTP/1.1\r\nhost: here\r\n{authorization}\r\n");
        let answer = exchange_over_tls(&served, &request).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{authorization}");
        assert_eq!(answer.contains("bitloop_epoch"), status == "200", "{answer}");
    }
    let health = exchange_over_tls(&served, "GET /healthz HTTP/1.1\r\nhost: here\r\n\r\n").await;
    assert!(health.starts_with("HTTP/1.1 200 ") && health.ends_with("\r\n\r\nok\n"), "{health}");
    // Nothing but an alert is said without TLS.
    let mut plain = TcpStream::connect(served.address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said).await;
    assert!(!String::from_utf8_lossy(&said).contains("HTTP"));
}

#[tokio::test]
async fn slow_clients_are_cut_off() {
    let moment = Duration::from_millis(100);
    let hasty = Patience { head: moment, connection: 3 * moment };
    let (protected, _) = secured(hasty).await;
    let open = served().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let site = Site { handle: open.coordinator.handle(), security: None, patience: hasty };
    tokio::spawn(serve_site(site, listener, CancellationToken::new()));

    for (address, begun) in [
        (address, &b"GET /metrics HTTP/1.1\r\nx-slow: "[..]),
        (address, b""),
        (protected.address, b"\x16\x03\x01\x02\x00"),
        (protected.address, b""),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(begun).await.unwrap();
        let mut answer = Vec::new();
        // This returns only because the server hangs up; an error is an end, too.
        let _ = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await.unwrap();
        assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let served = served().await;
    let moment = Duration::from_millis(100);
    let patience = Patience { head: moment, connection: 3 * moment };
    let site = Site { handle: served.coordinator.handle(), security: None, patience };
    // Far less than the answer.
    let (near, mut far) = tokio::io::duplex(256);

    let asked = far.write_all(b"GET /metrics HTTP/1.1\r\nhost: here\r\n\r\n");
    let exchange = async { tokio::join!(site.serve_connection(near), asked) };
    let (_, asked) = tokio::time::timeout(Duration::from_secs(30), exchange).await.unwrap();

    asked.unwrap();
    let mut answer = Vec::new();
    far.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 OK") && answer.len() <= 256, "{}", answer.len());
}
