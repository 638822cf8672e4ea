//! Where a database is and who asks for it. The password comes from the environment or a file, and is never shown.

use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

use super::error::DatabaseError;

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// After which silence, and how often, the network is probed for a server that is gone.
const PROBE_AFTER: Duration = Duration::from_secs(10);

/// The port where none is named.
const PORT: u16 = 5432;

/// The address of a database.
#[derive(Clone)]
pub struct Address {
    pub(super) config: Config,
    /// The URL without its parameters.
    pub(super) place: String,
}

impl Address {
    /// Whether a text is meant as such an address, not as a folder.
    pub fn is_meant_by(text: &str) -> bool {
        ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme))
    }

    /// Reads `postgres://USER@HOST:PORT/DATABASE`, and the password as PostgreSQL's own tools do: from `PGPASSWORD`, the file
    /// that `PGPASSFILE` names, or `~/.pgpass`.
    pub fn parse(url: &str) -> Result<Self, DatabaseError> {
        let mut address = Self::without_password(url)?;
        if let Ok(password) = std::env::var("PGPASSWORD") {
            address.config.password(password);
        } else if let Some(file) = password_file()
            && let Some(password) = read_password(&file, &address.config)?
        {
            address.config.password(password);
        }
        Ok(address)
    }

    fn without_password(url: &str) -> Result<Self, DatabaseError> {
        if !Self::is_meant_by(url) {
            return Err(DatabaseError::Address {
                reason: format!("`{url}` does not begin with postgres://"),
            });
        }
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            DatabaseError::Address { reason: super::session::innermost(&error) }
        })?;
        if config.get_password().is_some() {
            return Err(DatabaseError::PasswordInUrl);
        }
        if config.get_hosts().is_empty() || config.get_dbname().is_none() {
            return Err(DatabaseError::Address { reason: "it names no host or no database".to_owned() });
        }
        if !url.contains("sslmode=") {
            let is_near = config.get_hosts().iter().all(is_on_this_machine)
                && config.get_hostaddrs().iter().all(IpAddr::is_loopback);
            config.ssl_mode(if is_near { SslMode::Disable } else { SslMode::Require });
        } else if config.get_ssl_mode() == SslMode::Prefer {
            // With it, whoever is in the middle decides whether anything is encrypted.
            return Err(DatabaseError::Address {
                reason: "name sslmode=require or sslmode=disable".to_owned(),
            });
        }
        config.application_name("bitloop");
        config.connect_timeout(CONNECT_TIMEOUT);
        config.keepalives_idle(PROBE_AFTER);
        // Of several servers, the one that can be written.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        let place = url.split('?').next().unwrap_or(url).to_owned();
        Ok(Self { config, place })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)
    }
}

fn is_on_this_machine(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            let address = name.parse::<IpAddr>();
            name == "localhost" || address.is_ok_and(|address| address.is_loopback())
        }
    }
}

fn password_file() -> Option<PathBuf> {
    let named = std::env::var_os("PGPASSFILE").map(PathBuf::from);
    named.or_else(|| std::env::home_dir().map(|home| home.join(".pgpass")))
}

/// Looks a password up; none if the file is not there, or has none for this address.
fn read_password(file: &Path, config: &Config) -> Result<Option<String>, DatabaseError> {
    let unusable = |reason: String| DatabaseError::PasswordFile { file: file.to_owned(), reason };
    let metadata = match fs::metadata(file) {
        Ok(metadata) => metadata,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(unusable(cause.to_string())),
    };
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(unusable("others may read it; `chmod 600` makes it private".to_owned()));
    }
    let text = fs::read_to_string(file).map_err(|cause| unusable(cause.to_string()))?;
    Ok(text.lines().find_map(|line| password_of(line, config)))
}

/// The password in a line `host:port:database:user:password`, if the line is about this address.
fn password_of(line: &str, config: &Config) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let fields = fields(line);
    let [host, port, database, user, password] = fields.as_slice() else { return None };
    let fits = |pattern: &str, value: &str| pattern == "*" || pattern == value;
    let is_host = config.get_hosts().iter().any(|found| match found {
        Host::Tcp(name) => fits(host, name),
        Host::Unix(folder) => fits(host, "localhost") || fits(host, &folder.display().to_string()),
    });
    let port_of = config.get_ports().first().copied().unwrap_or(PORT).to_string();
    let is_ours = is_host
        && fits(port, &port_of)
        && fits(database, config.get_dbname().unwrap_or_default())
        && fits(user, config.get_user().unwrap_or_default());
    is_ours.then(|| password.clone())
}

/// Splits at colons; a backslash takes the next character as it is.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' => fields.push(String::new()),
            '\\' => fields.last_mut().into_iter().for_each(|field| field.extend(characters.next())),
            other => fields.last_mut().into_iter().for_each(|field| field.push(other)),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_shows_neither_parameters_nor_password() {
        let url = "postgres://lab@db.example:5433/bitloop?connect_timeout=3";

        let mut address = Address::without_password(url).unwrap();
        address.config.password("secret");

        assert_eq!(address.to_string(), "postgres://lab@db.example:5433/bitloop");
        assert_eq!(format!("{address:?}"), address.to_string());
        for wrong in ["postgres://lab:secret@db/bitloop", "postgres://lab@db/bitloop?password=secret"] {
            let refused = Address::without_password(wrong).unwrap_err();
            assert_eq!(refused, DatabaseError::PasswordInUrl);
            assert!(!refused.to_string().contains("secret"));
        }
        for wrong in ["mysql://db/x", "postgres://lab@db", "postgres:///bitloop", "postgres://db:x/bitloop"] {
            let refused = Address::without_password(wrong).unwrap_err();
            assert!(matches!(refused, DatabaseError::Address { .. }), "{wrong}: {refused}");
        }
    }

    #[test]
    fn other_machines_are_reached_by_tls_unless_the_url_says_otherwise() {
        for (url, mode) in [
            ("postgres://lab@db.example/bitloop", SslMode::Require),
            ("postgres://lab@10.0.0.7/bitloop", SslMode::Require),
            ("postgres://lab@localhost,db.example/bitloop", SslMode::Require),
            ("postgres://lab@db.example/bitloop?sslmode=disable", SslMode::Disable),
            ("postgres://lab@127.0.0.1/bitloop", SslMode::Disable),
            ("postgres://lab@%2Fvar%2Frun%2Fpostgresql/bitloop", SslMode::Disable),
            ("postgres://lab@localhost/bitloop?sslmode=require", SslMode::Require),
        ] {
            assert_eq!(Address::without_password(url).unwrap().config.get_ssl_mode(), mode, "{url}");
        }
    }

    #[test]
    fn nothing_in_a_url_leaves_encryption_to_whoever_is_in_the_middle() {
        for wrong in [
            "postgres://lab@db.example/bitloop?sslmode=prefer",
            "postgres://lab@localhost/bitloop?sslmode=prefer",
            "postgres://lab@db.example/bitloop?application_name=sslmode=require",
        ] {
            let refused = Address::without_password(wrong).unwrap_err().to_string();
            assert!(refused.contains("sslmode=require"), "{wrong}: {refused}");
        }
        for (url, mode) in [
            ("postgres://lab@localhost/bitloop?hostaddr=10.0.0.7", SslMode::Require),
            ("postgres://lab@localhost/bitloop?hostaddr=127.0.0.1", SslMode::Disable),
            ("postgres://lab@db.example/bitloop?ssl%6dode=disable", SslMode::Require),
        ] {
            assert_eq!(Address::without_password(url).unwrap().config.get_ssl_mode(), mode, "{url}");
        }
    }

    #[test]
    fn a_password_is_found_as_libpq_finds_it() {
        let config = |url| Address::without_password(url).unwrap().config;
        let near = config("postgres://lab@%2Fvar%2Frun%2Fpostgresql/bitloop");
        let far = config("postgres://lab@db.example:5433/bitloop");
        for (line, of_near, of_far) in [
            ("*:*:*:*:any", Some("any"), Some("any")),
            ("localhost:5432:bitloop:lab:near", Some("near"), None),
            ("/var/run/postgresql:*:bitloop:lab:near", Some("near"), None),
            (r"db.example:5433:*:lab:a\:b\\c", None, Some(r"a:b\c")),
            ("db.example:5432:*:lab:other port", None, None),
            ("*:*:*:somebody:else", None, None),
            ("#*:*:*:*:a comment", None, None),
            ("too:few:fields", None, None),
        ] {
            assert_eq!(password_of(line, &near).as_deref(), of_near, "{line}");
            assert_eq!(password_of(line, &far).as_deref(), of_far, "{line}");
        }
    }

    #[test]
    fn a_file_of_passwords_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pgpass");
        let config = Address::without_password("postgres://lab@db/bitloop").unwrap().config;
        assert_eq!(read_password(&file, &config), Ok(None), "there need not be one");
        fs::write(&file, "# ours\n*:*:*:*:secret\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();

        let refused = read_password(&file, &config).unwrap_err().to_string();

        assert!(refused.contains("chmod 600") && !refused.contains("secret"), "{refused}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read_password(&file, &config), Ok(Some("secret".to_owned())));
    }
}
