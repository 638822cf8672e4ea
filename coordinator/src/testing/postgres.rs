//! A database of its own for each test, on one private PostgreSQL server, and a wire to it that can be cut.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bitloop_tests::postgres::{PostgresServer, SOCKET, url_in};
use tempfile::TempDir;
use tokio_postgres::types::FromSqlOwned;
use tokio_postgres::{Client, NoTls};

use crate::background::Background;
use crate::store::Address;

const LONG: std::time::Duration = std::time::Duration::from_secs(60);

/// The server that tests at the same time share; it ends with the last of them.
static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

static DATABASES: AtomicU32 = AtomicU32::new(0);

struct Server {
    server: PostgresServer,
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
        // A test that failed elsewhere leaves the server as good as it was.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let server = match shared.upgrade() {
            Some(server) => server,
            None => Arc::new(Server::start()?),
        };
        *shared = Arc::downgrade(&server);
        drop(shared);
        let name = format!("test{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        server.execute("postgres", &format!("CREATE DATABASE {name}"));
        Some(Self { server, name })
    }

    pub(crate) fn address(&self) -> Address {
        self.address_in(self.server.server.folder())
    }

    fn address_in(&self, folder: &Path) -> Address {
        Address::parse(&url_in(folder, &self.name)).unwrap()
    }

    /// Runs statements as somebody else would.
    pub(crate) fn execute(&self, statements: &str) {
        self.server.execute(&self.name, statements);
    }

    /// One number that a query gives.
    pub(crate) fn number(&self, query: &str) -> i64 {
        self.one(query)
    }

    /// One text that a query gives.
    pub(crate) fn text(&self, query: &str) -> String {
        self.one(query)
    }

    fn one<T: FromSqlOwned + Send + 'static>(&self, query: &str) -> T {
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

impl Server {
    fn start() -> Option<Self> {
        let background = Background::start("test-database").unwrap();
        Some(Self { server: PostgresServer::start()?, background })
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
        let config: tokio_postgres::Config = self.server.url(database).parse().unwrap();
        let asking = async move {
            let (client, connection) = config.connect(NoTls).await.unwrap();
            tokio::spawn(connection);
            question(client).await
        };
        self.background.wait(LONG, asking).expect("the server answers")
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
        let server = database.server.server.folder().join(SOCKET);
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
