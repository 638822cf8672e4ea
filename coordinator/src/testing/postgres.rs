//! A private PostgreSQL server for tests, made from the installed programs, and a wire to it that can be cut.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use super::services::is_required;
use crate::background::Background;
use crate::store::Address;

/// Whom the server runs as where the tests run as root, which PostgreSQL refuses: nobody.
const UNPRIVILEGED: u32 = 65_534;

/// Where Debian puts the programs, for each version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The socket's name within its folder.
const SOCKET: &str = ".s.PGSQL.5432";

const LONG: std::time::Duration = std::time::Duration::from_secs(60);

/// The server that tests at the same time share; it ends with the last of them.
static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

static DATABASES: AtomicU32 = AtomicU32::new(0);

struct Server {
    folder: TempDir,
    process: Child,
    background: Background,
}

/// A database of its own for one test.
pub(crate) struct Database {
    server: Arc<Server>,
    name: String,
}

impl Database {
    /// Makes an empty database; none, after saying so, where PostgreSQL is not installed.
    pub(crate) fn create() -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(!is_required("postgres"), "BITLOOP_REQUIRE names postgres, but it is not installed");
            eprintln!("skipped: PostgreSQL is not installed");
            return None;
        };
        // A test that failed elsewhere leaves the server as good as it was.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let server = shared.upgrade().unwrap_or_else(|| Arc::new(Server::start(&programs)));
        *shared = Arc::downgrade(&server);
        drop(shared);
        let name = format!("test{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        server.execute("postgres", &format!("CREATE DATABASE {name}"));
        Some(Self { server, name })
    }

    pub(crate) fn address(&self) -> Address {
        self.address_in(self.server.folder.path())
    }

    fn address_in(&self, folder: &Path) -> Address {
        Address::parse(&url(folder, &self.name)).unwrap()
    }

    /// Runs statements as somebody else would.
    pub(crate) fn execute(&self, statements: &str) {
        self.server.execute(&self.name, statements);
    }

    /// One number that a query gives.
    pub(crate) fn number(&self, query: &str) -> i64 {
        let query = query.to_owned();
        self.server.ask(&self.name, async move |client| client.query_one(&query, &[]).await.unwrap().get(0))
    }

    /// Ends the connections of coordinators, as the death of their network would.
    pub(crate) fn cut_off(&self) {
        let name = &self.name;
        self.execute(&format!(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
             WHERE datname = '{name}' AND application_name = 'bitloop'"
        ));
    }

    /// A wire to the database that loses an answer when it is told to.
    pub(crate) fn wire(&self) -> Wire {
        Wire::to(self)
    }
}

fn url(folder: &Path, database: &str) -> String {
    format!("postgres://bitloop@{}/{database}", folder.display().to_string().replace('/', "%2F"))
}

/// The folder of `postgres` and `initdb`.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let mut folders = versions.chain(std::env::split_paths(&path));
    folders.find(|folder| folder.join("postgres").is_file() && folder.join("initdb").is_file())
}

/// A command as somebody whom PostgreSQL lets run it.
fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    }
    command.current_dir(folder).stdin(Stdio::null());
    command
}

impl Server {
    fn start(programs: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            chown(folder.path(), Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
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
        let made = initdb.arg(&data).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut postgres = command(&programs.join("postgres"), folder.path());
        postgres.arg("-D").arg(&data).arg("-k").arg(folder.path());
        // Only a socket; and tests pull no plugs.
        postgres.args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=100"]);
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let process = postgres.stderr(log.try_clone().unwrap()).stdout(log).spawn().unwrap();
        let server = Self { folder, process, background: Background::start("test-database").unwrap() };
        server.wait_until_ready();
        server
    }

    fn wait_until_ready(&self) {
        let config: tokio_postgres::Config = url(self.folder.path(), "postgres").parse().unwrap();
        let log = self.folder.path().join("log");
        let ready = self.background.wait(LONG, async move {
            let mut attempts = tokio::time::interval(std::time::Duration::from_millis(20));
            while config.connect(NoTls).await.is_err() {
                attempts.tick().await;
            }
        });
        assert!(ready.is_some(), "{}", fs::read_to_string(log).unwrap());
    }

    fn execute(&self, database: &str, statements: &str) {
        let statements = statements.to_owned();
        self.ask(database, async move |client| client.batch_execute(&statements).await.unwrap());
    }

    fn ask<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        database: &str,
        question: impl FnOnce(Client) -> F + Send + 'static,
    ) -> T {
        let config: tokio_postgres::Config = url(self.folder.path(), database).parse().unwrap();
        let asking = async move {
            let (client, connection) = config.connect(NoTls).await.unwrap();
            tokio::spawn(connection);
            question(client).await
        };
        self.background.wait(LONG, asking).expect("the server answers")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Passes bytes on between coordinators and a database, until it is told to lose an answer.
pub(crate) struct Wire {
    folder: TempDir,
    address: Address,
    loses_answers: Arc<AtomicBool>,
}

impl Wire {
    fn to(database: &Database) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let server = database.server.folder.path().join(SOCKET);
        let loses_answers = Arc::new(AtomicBool::new(false));
        let loses = loses_answers.clone();
        // It ends with the process: nobody connects any more after the test.
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                pass_on(near, UnixStream::connect(&server).unwrap(), &loses);
            }
        });
        let address = database.address_in(folder.path());
        Self { folder, address, loses_answers }
    }

    pub(crate) fn address(&self) -> Address {
        assert!(self.folder.path().join(SOCKET).exists());
        self.address.clone()
    }

    /// The next answer of the database is lost, and its connection with it.
    pub(crate) fn lose_next_answer(&self) {
        self.loses_answers.store(true, Ordering::SeqCst);
    }
}

fn pass_on(near: UnixStream, far: UnixStream, loses: &Arc<AtomicBool>) {
    let (mut from_near, mut to_far) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    std::thread::spawn(move || {
        // A connection that ends is what this is for.
        let _ = std::io::copy(&mut from_near, &mut to_far);
        let _ = to_far.shutdown(Shutdown::Both);
    });
    let (mut from_far, mut to_near, loses) = (far, near, loses.clone());
    std::thread::spawn(move || {
        let mut buffer = [0; 1 << 14];
        while let Ok(len @ 1..) = from_far.read(&mut buffer) {
            if loses.swap(false, Ordering::SeqCst) || to_near.write_all(&buffer[..len]).is_err() {
                break;
            }
        }
        let _ = to_near.shutdown(Shutdown::Both);
        let _ = from_far.shutdown(Shutdown::Both);
    });
}
