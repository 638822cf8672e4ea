use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bitloop_core::digest::Digest;
use bitloop_proto::identity::{Role, write_private};
use serde::{Deserialize, Serialize};
use tracing::error;

use super::{Refusal, SecurityError, authority, broken, document};

/// The tokens that may still be used; their hashes, not they themselves.
pub(super) const TOKENS_FILE: &str = "tokens.json";

/// The form of that file.
pub(super) const FORMAT: u32 = 1;

/// Tokens at a time; beyond that somebody makes them without need.
const TOKENS_MAX: usize = 10_000;

/// Certificates that one token may give.
pub const USES_MAX: u32 = 10_000;

/// How long a token may be good for.
pub const VALID_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenTerms {
    /// The role of those who join with it.
    pub role: Role,
    /// How many may.
    pub uses: u32,
    /// For how long.
    pub valid: Duration,
}

/// The tokens that are out.
#[derive(Debug)]
pub(super) struct Tokens {
    path: PathBuf,
    held: Held,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Held {
    format: u32,
    /// By the hash of the secret. A secret has 256 random bits, so its hash needs no salt.
    tokens: BTreeMap<Digest, Token>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    role: String,
    uses: u32,
    expires: u64,
    /// Public keys that got a certificate, with the names in them: whoever lost the answer may ask again.
    taken: BTreeMap<Digest, String>,
}

impl Tokens {
    pub(super) fn load(folder: &Path) -> Result<Self, SecurityError> {
        let path = folder.join(TOKENS_FILE);
        let held = match fs::read(&path) {
            Ok(bytes) => document::read(&path, &bytes, FORMAT)?,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                Held { format: FORMAT, tokens: BTreeMap::new() }
            }
            Err(cause) => return Err(broken(&path)(cause)),
        };
        Ok(Self { path, held })
    }

    /// Makes a change durable before it counts.
    fn change(&mut self, change: impl FnOnce(&mut Held)) -> io::Result<()> {
        let mut held = self.held.clone();
        change(&mut held);
        let bytes = serde_json::to_vec_pretty(&held).map_err(io::Error::other)?;
        write_private(&self.path, &bytes)?;
        self.held = held;
        Ok(())
    }

    pub(super) fn add(&mut self, secret: &[u8], terms: TokenTerms, now: u64) -> Result<(), SecurityError> {
        let path = self.path.clone();
        let live = self.held.tokens.values().filter(|token| token.expires > now).count();
        if live >= TOKENS_MAX {
            let cause = io::Error::other(format!("{live} tokens are out; wait until some expire"));
            return Err(broken(&path)(cause));
        }
        let uses = terms.uses.clamp(1, USES_MAX);
        let expires = now + terms.valid.min(VALID_MAX).as_secs();
        let token = Token { role: terms.role.to_string(), uses, expires, taken: BTreeMap::new() };
        self.change(|held| {
            held.tokens.retain(|_, token| token.expires > now);
            held.tokens.insert(Digest::of(secret), token);
        })
        .map_err(broken(&path))
    }

    /// Uses a token for a public key; returns the role and the name of who joins.
    pub(super) fn take(
        &mut self,
        secret: &[u8],
        public_key: &[u8],
        now: u64,
    ) -> Result<(Role, String), Refusal> {
        let (hash, key) = (Digest::of(secret), Digest::of(public_key));
        let token = self.held.tokens.get(&hash).ok_or(Refusal::UnknownToken)?;
        if token.expires <= now {
            return Err(Refusal::ExpiredToken);
        }
        let role: Role = token.role.parse().map_err(|_| Refusal::UnknownToken)?;
        if let Some(name) = token.taken.get(&key) {
            return Ok((role, name.clone()));
        }
        if token.taken.len() >= token.uses as usize {
            return Err(Refusal::UsedToken);
        }
        let name = authority::random_name().map_err(|_| Refusal::Storage)?;
        let changed = self.change(|held| {
            if let Some(token) = held.tokens.get_mut(&hash) {
                token.taken.insert(key, name.clone());
            }
        });
        match changed {
            Ok(()) => Ok((role, name)),
            Err(cause) => {
                error!(%cause, "the use of a join token could not be written down, so it is refused");
                Err(Refusal::Storage)
            }
        }
    }
}
