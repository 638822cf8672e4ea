//! A private PostgreSQL server, made from the installed programs.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::is_required;
use crate::process::await_that;

/// Whom the server runs as where the tests run as root, which PostgreSQL refuses: nobody.
const UNPRIVILEGED: u32 = 65_534;

/// Where Debian puts the programs, for each version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The socket's name within its folder.
pub const SOCKET: &str = ".s.PGSQL.5432";

/// A server that ends with this value. It is reached by a socket alone, and has one user, `bitloop`.
#[derive(Debug)]
pub struct PostgresServer {
    folder: TempDir,
    process: Child,
}

impl PostgresServer {
    /// Starts a server without tables; none, after saying so, where PostgreSQL is not installed.
    ///
    /// Panics: when `BITLOOP_REQUIRE` names `postgres` and it is not there, or when it does not start.
    pub fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(!is_required("postgres"), "BITLOOP_REQUIRE names postgres, but it is not installed");
            drop(writeln!(std::io::stderr(), "skipped: PostgreSQL is not installed"));
            return None;
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        if is_root() {
            chown(folder.path(), Some(UNPRIVILEGED), Some(UNPRIVILEGED)).expect("root gives folders away");
        }
        let data = folder.path().join("data");
        let mut initdb = command(&programs.join("initdb"), folder.path());
        initdb.args([
            "--no-sync",
            "--auth=trust",
            "--username=bitloop",
            "--encoding=UTF8",
            "--locale=C",
            "-D",
        ]);
        let made = initdb.arg(&data).output().expect("initdb can be run");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut postgres = command(&programs.join("postgres"), folder.path());
        postgres.arg("-D").arg(&data).arg("-k").arg(folder.path());
        // Only a socket; and tests pull no plugs.
        postgres.args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=100"]);
        let log = File::create(folder.path().join("log")).expect("a log file");
        let other = log.try_clone().expect("a second handle of it");
        let process = postgres.stderr(other).stdout(log).spawn().expect("postgres can be run");
        let mut server = Self { folder, process };
        let mut is_ready = command(&programs.join("pg_isready"), server.folder());
        is_ready.args(["--quiet", "--username=bitloop", "--host"]).arg(server.folder());
        await_that("PostgreSQL is ready", || {
            assert!(matches!(server.process.try_wait(), Ok(None)), "it ended: {}", server.log());
            is_ready.status().is_ok_and(|status| status.success())
        });
        Some(server)
    }

    /// Where its socket is, which everyone may use.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The URL of a database of it; `postgres` is there from the beginning.
    pub fn url(&self, database: &str) -> String {
        url_in(self.folder(), database)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder().join("log")).unwrap_or_default()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The URL of a database that is reached by the socket in a folder.
pub fn url_in(folder: &Path, database: &str) -> String {
    format!("postgres://bitloop@{}/{database}", folder.display().to_string().replace('/', "%2F"))
}

/// The folder of `postgres` and `initdb`.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let mut folders = versions.chain(std::env::split_paths(&path));
    folders.find(|folder| folder.join("postgres").is_file() && folder.join("initdb").is_file())
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// A command as somebody whom PostgreSQL lets run it.
fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    if is_root() {
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}
