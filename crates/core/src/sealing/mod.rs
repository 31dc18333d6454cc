//! Tenants whose contents are sealed: whoever has the database, or a copy of it, and not the tenant's key reads nothing of them.
//!
//! A *root key* ([`KeyWrapper`]: in memory, or a service that never gives it away) wraps the *keys of tenants*, which a store outside the database has ([`KeyStore`]). A tenant's key wraps
//! the *data keys*, one for each generation, which the database has; they seal what is stored. So the root key changes without touching data, a data key without touching the others, and
//! when a tenant's key is destroyed, everything that was ever sealed for it is gone, in every copy.
//!
//! `docs/encryption.md` says what is sealed, to what it is bound, and what stays readable.

mod certificate;
mod data_keys;
mod file_store;
mod header_seal;
mod keyring;
mod sealer;
mod secret;
mod store;
#[cfg(test)]
mod tests;
mod wrapping;

pub(crate) use certificate::Shredded;
pub use certificate::{Certificate, VerifiedCertificate};
pub(crate) use data_keys::{DataKeys, new_data_key};
pub use file_store::FileKeyStore;
pub use keyring::{Keyring, KeyringStatus, RootRotation};
pub(crate) use sealer::{MARKER_FIRST_BYTE, MARKER_SIZE_BYTES, Sealed, Sealer, VALUE_SEAL_SIZE_BYTES_MAX};
pub use secret::{KEY_SIZE_BYTES, SecretKey};
pub use store::{KeyEntry, KeyState, KeyStore, MemoryKeyStore};
pub use wrapping::{KeyFuture, KeyWrapper, RootKey};
