//! `bitloop doctor`: what the real program says of machines, folders and coordinators that something is wrong with.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;

use bitloop_tests::process::{Process, Said, await_that, bitloop, say};
use tokio::net::TcpSocket;

fn doctor(folder: &Path, arguments: &[&str]) -> Said {
    say(folder, [&["doctor"], arguments].concat())
}

/// The lines of a check: verdict, and what was said.
fn lines<'a>(said: &'a Said, check: &str) -> Vec<(&'a str, &'a str)> {
    let lines = said.out.lines().filter_map(|line| {
        let (verdict, rest) = (line.get(..4)?.trim(), line.get(6..)?);
        let (found, text) = (rest.get(..11)?.trim(), rest.get(13..)?);
        (found == check).then_some((verdict, text))
    });
    lines.collect()
}

fn verdicts<'a>(said: &'a Said, check: &str) -> Vec<&'a str> {
    lines(said, check).into_iter().map(|(verdict, _)| verdict).collect()
}

/// A coordinator in `data` of a folder.
fn coordinator(folder: &Path, listen: &str) -> (Process, String) {
    let coordinator =
        Process::start(bitloop(folder, ["coordinator", "--listen", listen, "--data-dir", "data"]));
    await_that("the coordinator listens", || coordinator.out().contains("listening on "));
    let url = coordinator.out().trim().trim_start_matches("listening on ").replace("0.0.0.0", "127.0.0.1");
    (coordinator, url)
}

/// A URL at which connections are refused for as long as the socket lives: it is bound, so that nobody else gets its port.
fn refusing() -> (TcpSocket, String) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let url = format!("http://{}", socket.local_addr().expect("an address"));
    (socket, url)
}

/// A URL at which every connection is accepted and closed, as by a tunnel whose far end refuses.
fn tunnel_to_nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    // Ends with the test's process.
    thread::spawn(move || listener.incoming().for_each(drop));
    url
}

#[test]
fn every_line_says_how_it_is_what_it_is_of_and_what_was_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = doctor(folder.path(), &["--cache-dir", "cache"]).ok();

    let checks: Vec<&str> =
        said.out.lines().map(|line| line.get(6..17).expect("lines have columns").trim()).collect();
    assert_eq!(
        &checks[..6],
        ["version", "processor", "memory", "open files", "gpu", "cache"],
        "{}",
        said.out
    );
    for line in said.out.lines() {
        assert!(["ok    ", "warn  ", "fail  "].iter().any(|word| line.starts_with(word)), "{line}");
        assert_eq!(line.get(17..19), Some("  "), "{line}");
    }
    let version = format!("bitloop {} for", env!("CARGO_PKG_VERSION"));
    assert!(lines(&said, "version")[0].1.starts_with(&version), "{}", said.out);
    assert!(!folder.path().join("cache").exists(), "it makes nothing");
}

#[test]
fn json_holds_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = doctor(folder.path(), &["--store", "nothing", "--output", "json"]);

    assert_eq!(said.status.code(), Some(1));
    let value: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
    let findings = value["findings"].as_array().expect("a list");
    for finding in findings {
        let fields: Vec<&String> = finding.as_object().expect("an object").keys().collect();
        assert_eq!(fields, ["advice", "check", "said", "verdict"]);
    }
    let failed = findings.iter().filter(|finding| finding["verdict"] == "fail").count();
    assert_eq!(value["failed"], failed);
    assert!(failed >= 1 && said.err.contains("checks failed"), "{}", said.err);
}

#[test]
fn a_coordinator_that_works_has_no_failing_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_coordinator, url) = coordinator(folder.path(), "127.0.0.1:0");

    let said = doctor(folder.path(), &["--coordinator", &url, "--store", "data"]).ok();

    for check in ["dns", "tcp", "grpc", "protocol", "clock"] {
        assert_eq!(verdicts(&said, check), ["ok"], "{check}: {}", said.out);
    }
    assert_eq!(verdicts(&said, "workers"), ["warn"], "{}", said.out);
    assert!(
        lines(&said, "store").iter().any(|(_, text)| text.contains("in use by another bitloop (process "))
    );
}

#[test]
fn commands_find_the_one_of_two_coordinators_that_works_and_the_other_is_no_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_coordinator, url) = coordinator(folder.path(), "127.0.0.1:0");
    let (_refusing, standby) = refusing();
    let urls = format!("{standby},{url}");

    let said = doctor(folder.path(), &["--coordinator", &urls]).ok();

    assert_eq!(verdicts(&said, "tcp"), ["warn", "ok"], "{}", said.out);
    assert!(lines(&said, "tcp")[0].1.contains("stands by"), "{}", said.out);
    say(folder.path(), ["list", "--coordinator", &urls]).ok();
    let kinds = say(folder.path(), ["events", "--output", "json", "--coordinator", &urls]).ok().out;
    assert!(kinds.contains("coordinator_started"), "{kinds}");
    let mixed = say(folder.path(), ["list", "--coordinator", &format!("{url},https://localhost:1")]);
    assert!(mixed.status.code() == Some(2) && mixed.err.contains("write https for all"), "{}", mixed.err);
}

#[test]
fn commands_go_on_behind_a_tunnel_that_ends_at_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_coordinator, url) = coordinator(folder.path(), "127.0.0.1:0");
    let urls = format!("{},{url}", tunnel_to_nobody());

    say(folder.path(), ["list", "--coordinator", &urls]).ok();
    let said = doctor(folder.path(), &["--coordinator", &urls]).ok();

    assert_eq!(verdicts(&said, "grpc"), ["warn", "ok"], "{}", said.out);
    assert!(lines(&said, "grpc")[0].1.contains("stands by"), "{}", said.out);
    let worker =
        Process::start(bitloop(folder.path(), ["worker", "--coordinator", &urls, "--cache-dir", "cache"]));
    let workers = ["workers", "--output", "json", "--coordinator", &url];
    await_that("the worker is there", || say(folder.path(), workers).ok().out.contains("\"id\""));
    drop(worker);
}

#[test]
fn each_step_to_a_coordinator_that_fails_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = format!("http://{}", listener.local_addr().expect("an address"));
    let (_refusing, gone) = refusing();
    let urls = ["http://no-such-host.invalid:1", gone.as_str(), silent.as_str()];

    let said = doctor(folder.path(), &["--coordinator", &urls.join(",")]);

    assert_eq!(said.status.code(), Some(1), "{}", said.out);
    // In the order of the URLs: no address; an address and nobody there; somebody there who says nothing.
    assert_eq!(verdicts(&said, "dns"), ["fail", "ok", "ok"], "{}", said.out);
    assert_eq!(verdicts(&said, "tcp"), ["fail", "ok"], "{}", said.out);
    assert_eq!(verdicts(&said, "grpc"), ["fail"], "{}", said.out);
    let wrong = doctor(folder.path(), &["--coordinator", "somewhere"]);
    assert_eq!(wrong.status.code(), Some(2), "a mistake of the command line is not a finding");
}

#[test]
fn what_is_wrong_between_members_is_named() {
    let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    for folder in [&folder, &other] {
        say(folder.path(), ["init", "--data-dir", "data"]).ok();
    }
    let (_coordinator, url) = coordinator(folder.path(), "0.0.0.0:0");
    let admin = folder.path().join("data/security/admin");
    let stranger = other.path().join("data/security/admin").display().to_string();
    let of =
        |identity: &str, url: &str| doctor(folder.path(), &["--coordinator", url, "--identity", identity]);

    let good = of("data/security/admin", &url).ok();
    for check in ["tls", "grpc", "protocol", "role", "identity"] {
        assert_eq!(verdicts(&good, check), ["ok"], "{check}: {}", good.out);
    }
    let foreign = of(&stranger, &url);
    assert_eq!(verdicts(&foreign, "tls"), ["fail"], "{}", foreign.out);
    assert!(lines(&foreign, "tls")[0].1.contains("not from this identity's authority"), "{}", foreign.out);
    let none = of("nowhere", &url);
    assert_eq!((verdicts(&none, "identity"), verdicts(&none, "tls")), (vec!["fail"], vec!["fail"]));
    let plain = of("data/security/admin", &url.replace("https", "http"));
    assert_eq!(verdicts(&plain, "grpc"), ["fail"], "{}", plain.out);
    assert!(plain.out.contains("write https:// for http://"), "{}", plain.out);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = format!("https://{}", listener.local_addr().expect("an address"));
    assert_eq!(verdicts(&of("data/security/admin", &silent), "tls"), ["fail"]);

    fs::set_permissions(admin.join("identity.pem"), fs::Permissions::from_mode(0o644)).expect("a mode");
    let open = of("data/security/admin", &url);
    assert!(
        lines(&open, "identity")
            .iter()
            .any(|(verdict, text)| *verdict == "fail" && text.contains("chmod 600"))
    );
    let key = fs::read_to_string(admin.join("identity.pem")).expect("a key");
    let secret = key.lines().nth(1).expect("PEM has lines");
    for said in [&good, &foreign, &plain, &open] {
        assert!(!said.out.contains(secret) && !said.err.contains(secret), "a secret is shown");
    }
}
