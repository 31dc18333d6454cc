//! Access tokens: JSON web tokens (RFC 7519, signed as RFC 7515 says) that carry a [`Grant`](tenantry_core::Grant).
//!
//! A token is checked strictly, and in this order: its size, its three parts, its header, the key that the header names, the signature, and then, never before, what it says. The
//! algorithm is the *key's*: a header that names another one is refused, so that no token chooses how it is checked. Whatever is not known (members of the header, claims, actions, a key twice in one
//! object) is refused by name.
//!
//! ```
//! use tenantry_core::{Grant, GrantedTenant, Role};
//! use tenantry_kv::conformance::reference::manual_env;
//! use tenantry_token::{Algorithm, KeySet, SigningKey, TokenClaims, Verifier};
//! use uuid::Uuid;
//!
//! let env = manual_env();
//! let key = SigningKey::generate(Algorithm::EdDsa)?;
//! let now_s = env.clock.wall_us() / 1_000_000;
//! let claims = TokenClaims::new("https://login.example.com", "tenantry", "ann", now_s, 3_600)
//!     .role(Role::Reader)
//!     .tenant(GrantedTenant::new("acme", Uuid::from_u128(7), 1));
//! let token = key.sign(&claims)?;
//!
//! let keys = KeySet::from_json(&KeySet::of(vec![key.verifying_key()?])?.to_json())?;
//! let verifier = Verifier::new(keys, "https://login.example.com", "tenantry");
//! let verified = verifier.verify(&token, &env)?;
//! assert_eq!(verified.grant.subject(), "ann");
//! assert!(verifier.verify(&token[..token.len() - 8], &env).is_err());
//! # Ok::<_, tenantry_core::Error>(())
//! ```
//!
//! **Architecture invariant:** this crate reads no clock: the time is that of the [`Env`](tenantry_kv::env::Env) that it is handed.
#![forbid(unsafe_code)]

mod algorithm;
mod claims;
mod key_set;
pub mod limits;
mod reading;
mod signing;
mod verifying;

pub use algorithm::Algorithm;
pub use claims::{ClaimedRole, ClaimedTenants, TokenClaims};
pub use key_set::{KeySet, VerifyingKey};
pub use signing::SigningKey;
pub use verifying::{Inspected, Verified, Verifier};

use tenantry_core::{Code, Error};

/// The error of a token.
fn invalid(detail: impl Into<String>) -> Error {
    Error::new(Code::AccessTokenInvalid, detail)
}

/// The error of a key.
fn key_invalid(detail: impl Into<String>) -> Error {
    Error::new(Code::AccessKeyInvalid, detail)
}
