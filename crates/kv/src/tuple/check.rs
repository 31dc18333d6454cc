//! The check before unpacking: a walk over the bytes with a counter for the depth in place of a stack.

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
    walk(bytes, usize::MAX).map(|_| ())
}

/// Where the first `count` elements of a packed tuple end, in bytes. They are checked as [`check`] does; what lies behind them is not looked at.
///
/// # Errors
///
/// As [`check`]; 10020 when there are fewer elements.
pub fn skip(bytes: &[u8], count: usize) -> Result<usize> {
    match walk(bytes, count)? {
        (at, 0) => Ok(at),
        (at, missing) => Err(malformed(&format!("the tuple has {missing} elements too few"), at)),
    }
}

/// Walks over `count` elements, or all there are. Returns where they end, and how many are missing.
fn walk(bytes: &[u8], count: usize) -> Result<(usize, usize)> {
    if bytes.len() > TUPLE_SIZE_BYTES_MAX {
        return Err(too_large(bytes.len()));
    }
    let (mut depth, mut left) = (0usize, count);
    let mut at = 0;
    while left > 0
        && let Some(code) = bytes.get(at)
    {
        let body = at + 1;
        at = match *code {
            NIL if depth > 0 && bytes.get(body) == Some(&0xff) => body + 1,
            NIL => {
                depth = depth.saturating_sub(1);
                body
            }
            BYTES => terminated(bytes, body)?,
            STRING => {
                let end = terminated(bytes, body)?;
                check_string(&bytes[body..end - 1], body)?;
                end
            }
            NESTED if depth == TUPLE_DEPTH_MAX => return Err(too_deep()),
            NESTED => {
                depth += 1;
                body
            }
            INT_ZERO | FALSE | TRUE => body,
            code if INT_POSITIVE.contains(&code) => {
                let length = usize::from(code - INT_ZERO);
                let digits = fixed(bytes, body, length)?;
                let is_beyond = length == 8 && digits[0] >= 0x80;
                check_integer(digits[0] == 0, is_beyond, at)?;
                body + length
            }
            code if INT_NEGATIVE.contains(&code) => {
                let length = usize::from(INT_ZERO - code);
                let digits = fixed(bytes, body, length)?;
                let is_beyond = length == 8 && digits < &i64::MAX.to_be_bytes()[..];
                check_integer(digits[0] == 0xff, is_beyond, at)?;
                body + length
            }
            FLOAT => body + fixed(bytes, body, 4)?.len(),
            DOUBLE => body + fixed(bytes, body, 8)?.len(),
            UUID => body + fixed(bytes, body, 16)?.len(),
            VERSIONSTAMP => body + fixed(bytes, body, 12)?.len(),
            0x0b | 0x1d => return Err(malformed("an integer of more than 64 bits", at)),
            _ => return Err(malformed(&format!("no element begins with {code:#04x}"), at)),
        };
        left -= usize::from(depth == 0);
    }
    match depth {
        0 => Ok((at, left)),
        _ => Err(malformed("a nested tuple has no end", bytes.len())),
    }
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

fn fixed(bytes: &[u8], from: usize, length: usize) -> Result<&[u8]> {
    bytes.get(from..from + length).ok_or_else(|| malformed("the bytes end inside an element", from))
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
