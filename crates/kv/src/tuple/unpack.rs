//! Unpacking: what the walk passes, put together.
//!
//! The crate `foundationdb-tuple` unpacks as well. Behind the walk, which has to come first, it goes over the bytes a second time, into values that then are made into
//! [`Element`]s, and takes more of a page of covered index entries than anything else. The tests pack with the one and unpack with the other.

use std::borrow::Cow;

use bytes::Bytes;
use uuid::Uuid;

use super::Element;
use super::check::{Passed, walk};
use crate::error::Result;
use crate::versionstamp::Versionstamp;

/// Unpacks a tuple.
///
/// # Errors
///
/// 10020 for bytes that [`pack`](super::pack) does not write, 10021 for tuples nested deeper than [`TUPLE_DEPTH_MAX`](crate::limits::TUPLE_DEPTH_MAX), 10022 for more bytes
/// than [`TUPLE_SIZE_BYTES_MAX`](crate::limits::TUPLE_SIZE_BYTES_MAX).
pub fn unpack(bytes: &[u8]) -> Result<Vec<Element>> {
    let mut elements = Vec::with_capacity(4);
    // The tuples around the one that is being read: as many as the depth allows.
    let mut around: Vec<Vec<Element>> = Vec::new();
    walk(bytes, usize::MAX, |passed| match passed {
        Passed::Begin => around.push(std::mem::take(&mut elements)),
        Passed::End => {
            let outer = around.pop().unwrap_or_default();
            let inner = std::mem::replace(&mut elements, outer);
            elements.push(Element::Tuple(inner));
        }
        leaf => elements.push(element(leaf)),
    })?;
    Ok(elements)
}

fn element(leaf: Passed<'_>) -> Element {
    match leaf {
        Passed::Nil | Passed::Begin | Passed::End => Element::Nil,
        Passed::Bytes(escaped) => Element::Bytes(match unescaped(escaped) {
            Cow::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Cow::Owned(bytes) => bytes.into(),
        }),
        // The walk has checked that it is UTF-8: nothing is replaced.
        Passed::String(escaped) => Element::String(match unescaped(escaped) {
            Cow::Borrowed(text) => String::from_utf8_lossy(text).into_owned(),
            Cow::Owned(text) => String::from_utf8_lossy(&text).into_owned(),
        }),
        Passed::Int(value) => Element::Int(value),
        Passed::Float(bytes) => Element::Float(f32::from_bits(match u32::from_be_bytes(bytes) {
            positive if positive >> 31 == 1 => positive ^ (1 << 31),
            negative => !negative,
        })),
        Passed::Double(bytes) => Element::Double(f64::from_bits(match u64::from_be_bytes(bytes) {
            positive if positive >> 63 == 1 => positive ^ (1 << 63),
            negative => !negative,
        })),
        Passed::Bool(value) => Element::Bool(value),
        Passed::Uuid(bytes) => Element::Uuid(Uuid::from_bytes(bytes)),
        Passed::Versionstamp([stamp @ .., high, low]) => Element::Versionstamp {
            stamp: (stamp != [0xff; 10]).then(|| Versionstamp::from_bytes(stamp)),
            user_version: u16::from_be_bytes([high, low]),
        },
    }
}

/// A string without the `ff` behind each of its zero bytes.
fn unescaped(escaped: &[u8]) -> Cow<'_, [u8]> {
    if !escaped.contains(&0) {
        return Cow::Borrowed(escaped);
    }
    let mut bytes = Vec::with_capacity(escaped.len());
    for (index, part) in escaped.split_inclusive(|byte| *byte == 0).enumerate() {
        bytes.extend_from_slice(if index == 0 { part } else { part.strip_prefix(b"\xff").unwrap_or(part) });
    }
    Cow::Owned(bytes)
}
