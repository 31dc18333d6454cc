//! A reader of tuples, byte by byte, written from FoundationDB's description of the format and apart from the code that writes keys: what both understand in the same way is what is
//! on disk.

use std::fmt;

/// One element of a tuple.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    Nil,
    Bytes(Vec<u8>),
    Text(String),
    Tuple,
    /// An integer of up to eight bytes.
    Integer(i128),
    Float,
    Double,
    Bool,
    Uuid([u8; 16]),
    /// Ten bytes of a stamp, two of a number.
    Stamp,
}

/// Why bytes are no tuple.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// They end within an element.
    Truncated,
    /// No element begins with this byte.
    UnknownCode(u8),
    /// A text is not UTF-8.
    NotUtf8,
    /// An integer begins with a byte that it does not need.
    NotShortest,
    /// More tuples in each other than anybody writes.
    TooDeep,
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Truncated => formatter.write_str("the key ends within an element"),
            Malformed::UnknownCode(code) => write!(formatter, "no element begins with the byte {code:02x}"),
            Malformed::NotUtf8 => formatter.write_str("a text is not UTF-8"),
            Malformed::NotShortest => formatter.write_str("an integer is longer than it has to be"),
            Malformed::TooDeep => formatter.write_str("tuples are nested too deep"),
        }
    }
}

const NIL: u8 = 0x00;
const BYTES: u8 = 0x01;
const TEXT: u8 = 0x02;
const TUPLE: u8 = 0x05;
/// An integer of no byte: zero. Those of 1 to 8 bytes stand above it, negative ones below.
const ZERO: u8 = 0x14;
const INTEGER_SIZE_BYTES_MAX: u8 = 8;
const FLOAT: u8 = 0x20;
const DOUBLE: u8 = 0x21;
const FALSE: u8 = 0x26;
const TRUE: u8 = 0x27;
const UUID: u8 = 0x30;
const STAMP: u8 = 0x33;
/// The byte behind a zero byte that belongs to the element.
const ESCAPE: u8 = 0xff;
const DEPTH_MAX: usize = 16;

/// Bytes that are read from the front.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next element; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Item>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.item(0).map(Some)
    }

    fn item(&mut self, depth: usize) -> Result<Item, Malformed> {
        let code = self.byte()?;
        Ok(match code {
            NIL => Item::Nil,
            BYTES => Item::Bytes(self.terminated()?),
            TEXT => Item::Text(String::from_utf8(self.terminated()?).map_err(|_| Malformed::NotUtf8)?),
            TUPLE => {
                self.nested(depth)?;
                Item::Tuple
            }
            FLOAT => self.take(4).map(|_| Item::Float)?,
            DOUBLE => self.take(8).map(|_| Item::Double)?,
            FALSE | TRUE => Item::Bool,
            UUID => Item::Uuid(self.take(16)?.try_into().map_err(|_| Malformed::Truncated)?),
            STAMP => self.take(12).map(|_| Item::Stamp)?,
            code if code.abs_diff(ZERO) <= INTEGER_SIZE_BYTES_MAX => Item::Integer(self.integer(code)?),
            code => return Err(Malformed::UnknownCode(code)),
        })
    }

    fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    fn take(&mut self, size_bytes: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(size_bytes).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Bytes up to a zero byte that no escape follows.
    fn terminated(&mut self) -> Result<Vec<u8>, Malformed> {
        let mut found = Vec::new();
        loop {
            match self.byte()? {
                0 if self.rest.first() == Some(&ESCAPE) => {
                    self.byte()?;
                    found.push(0);
                }
                0 => return Ok(found),
                byte => found.push(byte),
            }
        }
    }

    /// Elements up to a zero byte; nil is a zero byte with the escape.
    fn nested(&mut self, depth: usize) -> Result<(), Malformed> {
        if depth >= DEPTH_MAX {
            return Err(Malformed::TooDeep);
        }
        loop {
            match self.rest {
                [NIL, ESCAPE, rest @ ..] => self.rest = rest,
                [NIL, rest @ ..] => {
                    self.rest = rest;
                    return Ok(());
                }
                _ => self.item(depth + 1).map(drop)?,
            }
        }
    }

    fn integer(&mut self, code: u8) -> Result<i128, Malformed> {
        let size_bytes = code.abs_diff(ZERO);
        let is_negative = code < ZERO;
        let bytes = self.take(size_bytes.into())?;
        let unneeded = if is_negative { 0xff } else { 0x00 };
        if bytes.first() == Some(&unneeded) {
            return Err(Malformed::NotShortest);
        }
        let magnitude = bytes.iter().fold(0i128, |number, byte| number << 8 | i128::from(*byte));
        // A negative number is written as what is missing to all ones.
        Ok(if is_negative { magnitude - ((1 << (8 * u32::from(size_bytes))) - 1) } else { magnitude })
    }
}

#[cfg(test)]
mod tests {
    use tenantry_kv::tuple::{self, Element};

    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Item>, Malformed> {
        let mut reader = Reader::new(bytes);
        let mut items = Vec::new();
        while let Some(item) = reader.next()? {
            items.push(item);
        }
        Ok(items)
    }

    #[test]
    fn integers_at_every_length_are_what_was_written() {
        let mut numbers = vec![0, 1, -1, i64::MAX, i64::MIN, i64::MIN + 1];
        for bits in 0..63 {
            numbers.extend([-1, 0, 1].map(|near| (1i64 << bits) + near));
            numbers.extend([-1, 0, 1].map(|near| -(1i64 << bits) + near));
        }
        for number in numbers {
            let packed = tuple::pack(&[Element::Int(number)]).unwrap();
            assert_eq!(read(&packed), Ok(vec![Item::Integer(number.into())]), "{number}");
        }
    }

    #[test]
    fn every_kind_of_element_ends_where_it_was_written_to_end() {
        let behind = Element::String("behind".to_owned());
        let nested = vec![Element::Nil, Element::Bytes(vec![0, 0xff, 0].into()), Element::Tuple(vec![])];
        let elements = [
            (Element::Nil, Item::Nil),
            (Element::Bytes(vec![0, 0xff, 0, 1].into()), Item::Bytes(vec![0, 0xff, 0, 1])),
            (Element::Bytes(vec![].into()), Item::Bytes(vec![])),
            (Element::String("a\0b\u{ff}".to_owned()), Item::Text("a\0b\u{ff}".to_owned())),
            (Element::Tuple(nested), Item::Tuple),
            (Element::Double(-0.5), Item::Double),
            (Element::Bool(true), Item::Bool),
            (Element::Uuid(uuid::Uuid::from_bytes([7; 16])), Item::Uuid([7; 16])),
        ];
        for (element, item) in elements {
            let packed = tuple::pack(&[element, behind.clone()]).unwrap();
            assert_eq!(read(&packed), Ok(vec![item, Item::Text("behind".to_owned())]));
        }
        let stamp = tenantry_kv::Versionstamp::new(i64::MAX, 3);
        let stamp = Element::Versionstamp { stamp: Some(stamp), user_version: 1 };
        assert_eq!(read(&tuple::pack(&[stamp]).unwrap()), Ok(vec![Item::Stamp]));
    }

    #[test]
    fn what_is_no_tuple_is_told() {
        let cases: [(&[u8], Malformed); 8] = [
            (b"\x01a", Malformed::Truncated),
            (b"\x15", Malformed::Truncated),
            (b"\x30\x00", Malformed::Truncated),
            (b"\x02\xff\x00", Malformed::NotUtf8),
            (b"\x16\x00\x01", Malformed::NotShortest),
            (b"\x12\xff\xfe", Malformed::NotShortest),
            (b"\xff", Malformed::UnknownCode(0xff)),
            (&[TUPLE; 5_000], Malformed::TooDeep),
        ];
        for (bytes, why) in cases {
            assert_eq!(read(bytes), Err(why), "{}", bytes[..bytes.len().min(9)].escape_ascii());
        }
    }
}
