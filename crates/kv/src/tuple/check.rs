//! The walk over packed bytes, with a counter for the depth in place of a stack: it checks them, and shows what it passes to whoever unpacks.

use super::{too_deep, too_large};
use crate::error::{Error, ErrorCode, Result};
use crate::limits::{TUPLE_DEPTH_MAX, TUPLE_SIZE_BYTES_MAX};

// Type codes: FoundationDB's design/tuple.md.
const NIL: u8 = 0x00;
const BYTES: u8 = 0x01;
const STRING: u8 = 0x02;
const NESTED: u8 = 0x05;
const INT_NEGATIVE: std::ops::RangeInclusive<u8> = 0x0c..=0x13;
const INT_ZERO: u8 = 0x14;
const INT_POSITIVE: std::ops::RangeInclusive<u8> = 0x15..=0x1c;
const FLOAT: u8 = 0x20;
const DOUBLE: u8 = 0x21;
const FALSE: u8 = 0x26;
const TRUE: u8 = 0x27;
const UUID: u8 = 0x30;
const VERSIONSTAMP: u8 = 0x33;

/// Checks that the bytes are a packed tuple in its only form.
///
/// # Errors
///
/// 10020, 10021 and 10022, naming the place.
pub fn check(bytes: &[u8]) -> Result<()> {
    walk(bytes, usize::MAX, |_| {}).map(|_| ())
}

/// Where the first `count` elements of a packed tuple end, in bytes. They are checked as [`check`] does; what lies behind them is not looked at.
///
/// # Errors
///
/// As [`check`]; 10020 when there are fewer elements.
pub fn skip(bytes: &[u8], count: usize) -> Result<usize> {
    match walk(bytes, count, |_| {})? {
        (at, 0) => Ok(at),
        (at, missing) => Err(malformed(&format!("the tuple has {missing} elements too few"), at)),
    }
}

/// What a walk passes.
#[derive(Debug)]
pub(super) enum Passed<'a> {
    Nil,
    /// Escaped: behind each zero byte stands an `ff`.
    Bytes(&'a [u8]),
    /// Escaped as bytes are, and UTF-8 without the escapes.
    String(&'a [u8]),
    /// A nested tuple begins.
    Begin,
    /// It ends.
    End,
    Int(i64),
    /// As it is packed.
    Float([u8; 4]),
    /// As it is packed.
    Double([u8; 8]),
    Bool(bool),
    Uuid([u8; 16]),
    /// The stamp and the user version.
    Versionstamp([u8; 12]),
}

/// Walks over `count` elements, or all there are, and shows what it passes. Returns where they end, and how many are missing.
#[inline]
pub(super) fn walk<'a>(
    bytes: &'a [u8],
    count: usize,
    mut pass: impl FnMut(Passed<'a>),
) -> Result<(usize, usize)> {
    if bytes.len() > TUPLE_SIZE_BYTES_MAX {
        return Err(too_large(bytes.len()));
    }
    let (mut depth, mut left) = (0usize, count);
    let mut at = 0;
    while left > 0
        && let Some(code) = bytes.get(at)
    {
        let body = at + 1;
        let (passed, end) = match *code {
            NIL if depth > 0 && bytes.get(body) == Some(&0xff) => (Passed::Nil, body + 1),
            NIL if depth > 0 => {
                depth -= 1;
                (Passed::End, body)
            }
            NIL => (Passed::Nil, body),
            BYTES => {
                let end = terminated(bytes, body)?;
                (Passed::Bytes(&bytes[body..end - 1]), end)
            }
            STRING => {
                let end = terminated(bytes, body)?;
                let escaped = &bytes[body..end - 1];
                check_string(escaped, body)?;
                (Passed::String(escaped), end)
            }
            NESTED if depth == TUPLE_DEPTH_MAX => return Err(too_deep()),
            NESTED => {
                depth += 1;
                pass(Passed::Begin);
                at = body;
                continue;
            }
            INT_ZERO => (Passed::Int(0), body),
            FALSE => (Passed::Bool(false), body),
            TRUE => (Passed::Bool(true), body),
            code if INT_POSITIVE.contains(&code) => {
                let length = usize::from(code - INT_ZERO);
                let digits = part(bytes, body, length)?;
                let is_beyond = length == 8 && digits[0] >= 0x80;
                check_integer(digits[0] == 0, is_beyond, at)?;
                (Passed::Int(big_endian(digits, 0) as i64), body + length)
            }
            code if INT_NEGATIVE.contains(&code) => {
                let length = usize::from(INT_ZERO - code);
                let digits = part(bytes, body, length)?;
                let is_beyond = length == 8 && digits < &i64::MAX.to_be_bytes()[..];
                check_integer(digits[0] == 0xff, is_beyond, at)?;
                // The complement of the amount, in its length.
                (Passed::Int(big_endian(digits, u64::MAX).wrapping_add(1) as i64), body + length)
            }
            FLOAT => (Passed::Float(fixed(bytes, body)?), body + 4),
            DOUBLE => (Passed::Double(fixed(bytes, body)?), body + 8),
            UUID => (Passed::Uuid(fixed(bytes, body)?), body + 16),
            VERSIONSTAMP => (Passed::Versionstamp(fixed(bytes, body)?), body + 12),
            0x0b | 0x1d => return Err(malformed("an integer of more than 64 bits", at)),
            _ => return Err(malformed(&format!("no element begins with {code:#04x}"), at)),
        };
        pass(passed);
        at = end;
        left -= usize::from(depth == 0);
    }
    match depth {
        0 => Ok((at, left)),
        _ => Err(malformed("a nested tuple has no end", bytes.len())),
    }
}

/// The number of some digits, behind others that are all alike.
fn big_endian(digits: &[u8], before: u64) -> u64 {
    digits.iter().fold(before, |number, digit| number << 8 | u64::from(*digit))
}

fn malformed(what: &str, at: usize) -> Error {
    Error::new(ErrorCode::TUPLE_MALFORMED, format!("{what} (at byte {at})"))
}

/// Where the element behind a byte string begins: the string ends with a zero byte that no `ff` follows.
fn terminated(bytes: &[u8], from: usize) -> Result<usize> {
    let mut at = from;
    while let Some(zero) = bytes[at..].iter().position(|byte| *byte == 0) {
        at += zero + 1;
        if bytes.get(at) != Some(&0xff) {
            return Ok(at);
        }
        at += 1;
    }
    Err(malformed("a string has no end", from))
}

fn part(bytes: &[u8], from: usize, length: usize) -> Result<&[u8]> {
    bytes.get(from..from + length).ok_or_else(|| malformed("the bytes end inside an element", from))
}

fn fixed<const LENGTH: usize>(bytes: &[u8], from: usize) -> Result<[u8; LENGTH]> {
    let part = bytes.get(from..).and_then(|rest| rest.first_chunk());
    part.copied().ok_or_else(|| malformed("the bytes end inside an element", from))
}

fn check_integer(has_spare_digit: bool, is_beyond: bool, at: usize) -> Result<()> {
    if has_spare_digit {
        return Err(malformed("an integer is longer than it has to be", at));
    }
    if is_beyond {
        return Err(malformed("an integer of more than 64 bits", at));
    }
    Ok(())
}

/// Checks UTF-8 with the escapes (`00 ff`) taken out.
fn check_string(escaped: &[u8], at: usize) -> Result<()> {
    let parts = escaped.split_inclusive(|byte| *byte == 0);
    for (index, part) in parts.enumerate() {
        let part = if index == 0 { part } else { part.strip_prefix(b"\xff").unwrap_or(part) };
        if std::str::from_utf8(part).is_err() {
            return Err(malformed("a string is not UTF-8", at));
        }
    }
    Ok(())
}
