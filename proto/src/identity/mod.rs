//! Who a client is: its role and key, the certificate that proves them, and the token that it joins with.
//!
//! Start at [`Identity`]; [`Membership`] is one in use, which renews itself. The coordinator's part, which signs and
//! enforces, is in its own crate. Nothing here writes a secret anywhere but into a file of mode 0600.

mod folder;
mod join;
mod member;
mod membership;
mod private;
mod role;
mod tls;
mod token;

pub use folder::{AUTHORITY_FILE, IDENTITY_FILE, Identity, IdentityError};
pub use join::{JoinError, Joining, PUBLIC_KEY_BYTES, UNCOMPRESSED_POINT};
pub use member::Member;
pub use membership::{Membership, RenewError};
pub use private::{create_private_folder, write_private};
pub use role::{Role, UnknownRole};
pub(crate) use tls::TlsConnector;
pub use token::{JoinToken, NotAToken, SECRET_BYTES};
