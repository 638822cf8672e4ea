use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::str::FromStr;

use bitloop_proto::identity::write_private;
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::pki_types::DnsName;

use super::{SecurityError, broken, document};

/// What the server's certificate was made from, so that it can be renewed.
pub(super) const NOTE_FILE: &str = "server.json";

/// The form of that file. Of format 0, which had no number, are those without.
pub(super) const FORMAT: u32 = 1;

/// The server's certificate in our own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) names: Vec<HostName>,
    /// In seconds since 1970.
    pub(super) issued: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    format: u32,
    names: Vec<String>,
    issued: u64,
}

/// What a client may call the coordinator's machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostName {
    /// A name, as DNS knows it.
    Dns(String),
    /// An address.
    Address(IpAddr),
}

/// The text names no machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is neither a host name nor an address; write what clients will write between https:// and the port"
)]
pub struct NotAHost(String);

impl FromStr for HostName {
    type Err = NotAHost;

    fn from_str(text: &str) -> Result<Self, NotAHost> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        match DnsName::try_from(text) {
            Ok(_) => Ok(Self::Dns(text.to_owned())),
            Err(_) => Err(NotAHost(text.to_owned())),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// What this machine calls itself, whatever its name is.
pub(super) fn local() -> [HostName; 3] {
    [
        HostName::Dns("localhost".to_owned()),
        HostName::Address(Ipv4Addr::LOCALHOST.into()),
        HostName::Address(Ipv6Addr::LOCALHOST.into()),
    ]
}

pub(super) fn save(folder: &Path, note: &Note) -> Result<(), SecurityError> {
    let path = folder.join(NOTE_FILE);
    let names = note.names.iter().map(ToString::to_string).collect();
    let text = serde_json::to_vec_pretty(&Document { format: FORMAT, names, issued: note.issued });
    text.map_err(io::Error::other).and_then(|text| write_private(&path, &text)).map_err(broken(&path))
}

pub(super) fn load(folder: &Path) -> Result<Note, SecurityError> {
    let path = folder.join(NOTE_FILE);
    let bytes = fs::read(&path).map_err(broken(&path))?;
    let damaged = |reason: String| SecurityError::Damaged { path: path.clone(), reason };
    let document: Document = document::read(&path, &bytes, FORMAT)?;
    let names: Result<_, NotAHost> = document.names.iter().map(|name| name.parse()).collect();
    Ok(Note { names: names.map_err(|error| damaged(error.to_string()))?, issued: document.issued })
}
