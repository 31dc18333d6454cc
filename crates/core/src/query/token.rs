//! Continuation tokens: sealed, so that nobody reads or makes one, and bound to the tenant in its incarnation, the query and the path.
//!
//! A token is base64url of: `01`, the id of the secret (4 bytes, big-endian), a nonce (12 bytes), and the position with what it belongs to, sealed with
//! AES-256-GCM-SIV.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use bytes::Bytes;
use prost::Message;
use tenantry_kv::seeded_faults::{Fault, is_active};
use twox_hash::XxHash3_64;

use super::Query;
use crate::cipher::{Cipher, NONCE_SIZE_BYTES};
use crate::error::{Code, Error, Result};
use crate::expression::value_text;
use crate::messages::Secret;
use crate::tenant::TenantTransaction;

const FORMAT: u8 = 1;
const HEAD_BYTES: usize = 17;
/// No token is ever longer: a position is a key.
const TEXT_SIZE_BYTES_MAX: usize = 20_000;

#[derive(Clone, PartialEq, Message)]
struct Contents {
    #[prost(bytes = "vec", tag = "1")]
    tenant: Vec<u8>,
    #[prost(fixed64, tag = "2")]
    query: u64,
    #[prost(fixed64, tag = "7")]
    plan: u64,
    #[prost(bytes = "bytes", tag = "4")]
    position: Bytes,
    #[prost(uint32, tag = "5")]
    epoch: u32,
    #[prost(uint32, tag = "6")]
    schema_version: u32,
    #[prost(uint32, tag = "8")]
    incarnation: u32,
}

pub(super) fn seal(
    transaction: &TenantTransaction,
    query: &Query,
    policy: &str,
    plan: u64,
    position: Bytes,
) -> Result<String> {
    let inner = &transaction.tenant().database.inner;
    let secret = inner.newest_secret()?;
    let header = transaction.header();
    let contents = Contents {
        tenant: header.uuid.clone(),
        query: identity(query, policy),
        plan,
        position,
        epoch: header.token_epoch,
        schema_version: header.schema_version,
        incarnation: header.incarnation,
    };
    let mut head = vec![FORMAT];
    head.extend_from_slice(&secret.id.to_be_bytes());
    let mut nonce = [0; NONCE_SIZE_BYTES];
    inner.env.entropy.fill(&mut nonce);
    head.extend_from_slice(&nonce);
    let mut bytes = head.clone();
    cipher(secret)?
        .seal(nonce, &head, &contents.encode_to_vec(), &mut bytes)
        .ok_or_else(|| Error::new(Code::StoredDataInvalid, "the token could not be sealed"))?;
    Ok(BASE64.encode(bytes))
}

/// The plan that a token belongs to, and where it had come to.
pub(super) fn open(
    transaction: &TenantTransaction,
    query: &Query,
    policy: &str,
    text: &str,
) -> Result<(u64, Bytes)> {
    if text.len() > TEXT_SIZE_BYTES_MAX {
        return Err(damaged());
    }
    let bytes = BASE64.decode(text).map_err(|_| damaged())?;
    let (head, sealed) = bytes.split_at_checked(HEAD_BYTES).ok_or_else(damaged)?;
    if head[0] != FORMAT {
        return Err(damaged());
    }
    let id = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let mut nonce = [0; NONCE_SIZE_BYTES];
    nonce.copy_from_slice(&head[5..]);
    let inner = &transaction.tenant().database.inner;
    let secret = inner.secret(id).ok_or_else(damaged)?;
    let opened = cipher(secret)?.open(nonce, head, sealed).ok_or_else(damaged)?;
    let contents = Contents::decode(&opened[..]).map_err(|_| damaged())?;
    let header = transaction.header();
    if contents.tenant != header.uuid && !is_active(Fault::TokenNotBoundToTenant) {
        return Err(Error::new(Code::TokenOfAnotherTenant, "a token is good for the tenant that gave it"));
    }
    if contents.query != identity(query, policy) && !is_active(Fault::TokenNotBoundToQuery) {
        let detail = "the type, the filter, its parameters, the order and the fields have to be those of the page before";
        return Err(Error::new(Code::TokenOfAnotherQuery, detail));
    }
    if (contents.epoch, contents.schema_version) != (header.token_epoch, header.schema_version) {
        return Err(expired());
    }
    if contents.incarnation != header.incarnation && !is_active(Fault::TokenNotBoundToIncarnation) {
        return Err(expired());
    }
    Ok((contents.plan, contents.position))
}

pub(super) fn damaged() -> Error {
    Error::new(Code::TokenDamaged, "take the token as the page before gave it, or begin anew without one")
}

pub(super) fn expired() -> Error {
    Error::new(
        Code::TokenExpired,
        "the tenant's schema or tokens have changed since, or it has moved to another database: begin anew without one",
    )
}

fn cipher(secret: &Secret) -> Result<Cipher> {
    let key = secret.key[..].try_into().ok().and_then(Cipher::new);
    key.ok_or_else(|| {
        Error::new(Code::StoredDataInvalid, "a secret in the database's header has not 32 bytes")
    })
}

/// What a token has to come back with: type, filter, parameters, order, selection, and the same row policy.
fn identity(query: &Query, policy: &str) -> u64 {
    let mut text = Vec::new();
    let mut part = |bytes: &[u8]| {
        text.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        text.extend_from_slice(bytes);
    };
    part(query.record_type.as_bytes());
    part(query.filter.as_ref().map(ToString::to_string).unwrap_or_default().as_bytes());
    part(&(query.parameters.len() as u64).to_le_bytes());
    for (name, value) in &query.parameters {
        part(name.as_bytes());
        part(value_text(value).as_bytes());
    }
    for column in &query.order {
        part(column.field.as_bytes());
        part(&[u8::from(column.is_descending)]);
    }
    query.selected.iter().for_each(|name| part(name.as_bytes()));
    if !policy.is_empty() {
        part(b"policy");
        part(policy.as_bytes());
    }
    XxHash3_64::oneshot(&text)
}
