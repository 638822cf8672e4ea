use std::fmt;
use std::str::FromStr;

use crate::convert::ConvertError;
use crate::v1;

/// What a client may do; it stands in its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Everything, also making tokens.
    Admin,
    /// Submit, pause, resume and cancel experiments; and read.
    Submit,
    /// See experiments, results and workers.
    Read,
    /// Measure; nothing that users do.
    Worker,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Submit, Self::Read, Self::Worker];

    /// The word for it in commands and certificates.
    pub fn word(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Worker => "worker",
        }
    }

    /// Whether it includes what `least` may do.
    pub fn includes(self, least: Self) -> bool {
        match self {
            Self::Admin => true,
            Self::Submit => matches!(least, Self::Submit | Self::Read),
            Self::Read => least == Self::Read,
            Self::Worker => least == Self::Worker,
        }
    }

    /// Reads the number of a [`v1::Role`].
    ///
    /// Errors: `Missing` for the unspecified one, `UnknownValue`.
    pub fn from_wire(value: i32) -> Result<Self, ConvertError> {
        let field = "role";
        match v1::Role::try_from(value) {
            Ok(v1::Role::Admin) => Ok(Self::Admin),
            Ok(v1::Role::Submit) => Ok(Self::Submit),
            Ok(v1::Role::Read) => Ok(Self::Read),
            Ok(v1::Role::Worker) => Ok(Self::Worker),
            Ok(v1::Role::Unspecified) => Err(ConvertError::Missing { field }),
            Err(_) => Err(ConvertError::UnknownValue { field, value }),
        }
    }
}

impl From<Role> for v1::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::Admin => Self::Admin,
            Role::Submit => Self::Submit,
            Role::Read => Self::Read,
            Role::Worker => Self::Worker,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A word that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there are the roles admin, submit, read and worker")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(word: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.word() == word).ok_or(UnknownRole)
    }
}
