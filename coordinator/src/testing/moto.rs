//! A server that speaks S3, for tests: moto's, from PyPI.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use bitloop_tests::is_required;

/// Names the `moto_server` to start.
const PROGRAM: &str = "BITLOOP_TEST_MOTO";

/// A running server with one bucket, `artifacts`. It ends with this value.
pub(crate) struct Moto {
    server: Child,
    address: String,
}

impl Moto {
    /// Starts a server; none, after saying so, where there is none to start.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = std::env::var_os(PROGRAM) else {
            assert!(!is_required("moto"), "BITLOOP_REQUIRE names moto, but {PROGRAM} is not set");
            drop(writeln!(std::io::stderr(), "skipped: {PROGRAM} names no moto_server"));
            return None;
        };
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", "0"]).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut server = command.spawn().unwrap();
        let mut lines = BufReader::new(server.stderr.take().unwrap()).lines().map(Result::unwrap);
        let address = lines.find_map(|line| Some(line.split_once("Running on http://")?.1.trim().to_owned()));
        // It writes a line for each request, and must not wait for a reader.
        std::thread::spawn(move || lines.count());
        let moto = Self { server, address: address.unwrap() };
        moto.ask("PUT /artifacts");
        Some(moto)
    }

    /// Where it is, as the tools of S3 are told in their environment.
    pub(crate) fn settings(&self) -> impl Iterator<Item = (String, String)> + use<> {
        let settings = [
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_ACCESS_KEY_ID", "somebody".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ];
        settings.into_iter().map(|(key, value)| (key.to_owned(), value))
    }

    /// Uploads that were begun, but neither completed nor given up.
    pub(crate) fn unfinished_uploads(&self) -> usize {
        self.ask("GET /artifacts?uploads").matches("<Upload>").count()
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let host = &self.address;
        write!(
            stream,
            "{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
