//! What a transaction conflicted on, in words: records, indexes and keys of its own tenant, never another's.

use tenantry_kv::KeyRange;
use tenantry_kv::tuple::{self, Element};

use super::transaction::TenantTransaction;
use crate::error::{Result, shown};
use crate::limits::CONFLICTS_SHOWN_MAX;

/// The error that ended a transaction, with what it conflicted on in words, if the engine told: the bytes of keys stay here.
pub(super) fn described(
    transaction: &TenantTransaction,
    error: &tenantry_kv::Error,
) -> Option<tenantry_kv::Error> {
    // It may be a record that the grant does not show.
    if error.conflicts().is_empty() || transaction.tenant.is_limited() {
        return None;
    }
    let mut names: Vec<String> = Vec::new();
    for range in error.conflicts() {
        let Ok(Some(name)) = name_of(transaction, range) else { continue };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut detail = error.detail().unwrap_or_default().to_owned();
    if names.is_empty() {
        return Some(tenantry_kv::Error::new(error.code(), detail));
    }
    let more = names.len().saturating_sub(CONFLICTS_SHOWN_MAX);
    names.truncate(CONFLICTS_SHOWN_MAX);
    detail.push_str(&format!("; it conflicted on {}", names.join(", ")));
    if more > 0 {
        detail.push_str(&format!(" and {more} more"));
    }
    Some(tenantry_kv::Error::new(error.code(), detail))
}

/// What a range is of; `None` for what is no part of the tenant, and of no meaning to its users.
fn name_of(transaction: &TenantTransaction, range: &KeyRange) -> Result<Option<String>> {
    let keys = &transaction.tenant.keys;
    let database = &transaction.tenant.database.inner.keys;
    let begin = &range.begin;
    if *begin == database.database_state()? {
        return Ok(Some("the state of the database".to_owned()));
    }
    if !keys.everything().contains(begin) {
        return Ok(None);
    }
    if *begin == keys.header()? {
        return Ok(Some("the tenant's header: its schema or state changed, or it was deleted".to_owned()));
    }
    for record_type in &transaction.schema().definition.types {
        if let Some(rest) = begin.strip_prefix(&keys.records(record_type.id)?[..]) {
            let name = shown(&record_type.name);
            return Ok(Some(match key_text(rest, record_type.primary_key.len()) {
                Some(key) => format!("the record {name} {key}"),
                None => format!("records of {name}"),
            }));
        }
        for index in &record_type.indexes {
            if begin.starts_with(&keys.index(index.id)?) {
                return Ok(Some(format!("the index {} of {}", shown(&index.name), shown(&record_type.name))));
            }
        }
    }
    if let Some(key) = begin.strip_prefix(&keys.raw()?[..]) {
        return Ok(Some(format!("the raw key {}", shown(&key.escape_ascii().to_string()))));
    }
    let elements = tuple::unpack(&keys.relative(begin)).unwrap_or_default();
    Ok(match &elements[..] {
        [Element::Int(6), Element::Int(0), Element::String(name), ..] => {
            Some(format!("the counter {}", shown(name)))
        }
        [Element::Int(6), Element::Int(1), Element::String(name), ..] => {
            Some(format!("the sequence {}", shown(name)))
        }
        [Element::Int(5), ..] => Some("an idempotency key".to_owned()),
        _ => None,
    })
}

/// The primary key at the begin of a record's key, for people.
fn key_text(rest: &[u8], columns: usize) -> Option<String> {
    let elements = tuple::unpack(rest).ok().filter(|elements| elements.len() >= columns)?;
    let shown = |element: &Element| match element {
        Element::String(text) => shown(text),
        Element::Int(number) => number.to_string(),
        Element::Uuid(uuid) => uuid.to_string(),
        Element::Bool(value) => value.to_string(),
        Element::Double(value) => value.to_string(),
        other => shown(&format!("{other:?}")),
    };
    let shown: Vec<String> = elements[..columns].iter().map(shown).collect();
    match &shown[..] {
        [one] => Some(one.clone()),
        several => Some(format!("[{}]", several.join(", "))),
    }
}
