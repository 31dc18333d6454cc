//! The tuple layer: typed values packed into keys that sort as the values do.
//!
//! The bytes are FoundationDB's, so every binding of FoundationDB reads them. Packing is the crate `foundationdb-tuple`. Unpacking goes along with a
//! check that needs no stack, bounds the depth and the length and refuses what no packer writes, so that two different byte strings never mean the same tuple.
//!
//! ```
//! use tenantry_kv::tuple::{self, Element};
//!
//! let key = tuple::pack(&[Element::from("film"), Element::from(1998), Element::Nil])?;
//! assert_eq!(&key[..], b"\x02film\x00\x16\x07\xce\x00");
//! assert_eq!(tuple::unpack(&key)?, [Element::from("film"), Element::from(1998), Element::Nil]);
//! assert!(tuple::unpack(&[5; 10_000]).is_err());
//! # Ok::<_, tenantry_kv::Error>(())
//! ```
//!
//! Integers are 64-bit; the longer ones that other bindings can write are refused by name.

mod check;
mod unpack;

use std::borrow::Cow;

use bytes::Bytes;
use foundationdb_tuple as packed;
use uuid::Uuid;

use crate::error::{Error, ErrorCode, Result};
use crate::limits::{TUPLE_DEPTH_MAX, TUPLE_SIZE_BYTES_MAX};
use crate::versionstamp::Versionstamp;

pub use check::{check, skip};
pub use unpack::unpack;

/// One value in a tuple. Equal elements have equal bytes: floats compare by their bits, so a NaN equals itself.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Element {
    /// No value; sorts first.
    Nil,
    /// A byte string.
    Bytes(Bytes),
    /// A Unicode string; sorts by its UTF-8 bytes.
    String(String),
    /// A tuple in the tuple.
    Tuple(Vec<Element>),
    /// An integer.
    Int(i64),
    /// A single-precision number, in IEEE 754's total order.
    Float(f32),
    /// A double-precision number, in IEEE 754's total order.
    Double(f64),
    /// A truth value; false sorts first.
    Bool(bool),
    /// A UUID.
    Uuid(Uuid),
    /// A versionstamp and two bytes of the application's own. Without a stamp it stands for the transaction's own, filled in at its commit.
    Versionstamp {
        /// The stamp, or `None` for the one to come.
        stamp: Option<Versionstamp>,
        /// Orders what one transaction stamps.
        user_version: u16,
    },
}

impl PartialEq for Element {
    fn eq(&self, other: &Element) -> bool {
        match (self, other) {
            (Element::Nil, Element::Nil) => true,
            (Element::Bytes(one), Element::Bytes(other)) => one == other,
            (Element::String(one), Element::String(other)) => one == other,
            (Element::Tuple(one), Element::Tuple(other)) => one == other,
            (Element::Int(one), Element::Int(other)) => one == other,
            (Element::Float(one), Element::Float(other)) => one.to_bits() == other.to_bits(),
            (Element::Double(one), Element::Double(other)) => one.to_bits() == other.to_bits(),
            (Element::Bool(one), Element::Bool(other)) => one == other,
            (Element::Uuid(one), Element::Uuid(other)) => one == other,
            (
                Element::Versionstamp { stamp, user_version },
                Element::Versionstamp { stamp: other, user_version: other_version },
            ) => stamp == other && user_version == other_version,
            _ => false,
        }
    }
}

impl Eq for Element {}

macro_rules! from {
    ($($source:ty => |$value:ident| $element:expr;)*) => {
        $(impl From<$source> for Element {
            fn from($value: $source) -> Element {
                $element
            }
        })*
    };
}

from! {
    i64 => |value| Element::Int(value);
    i32 => |value| Element::Int(i64::from(value));
    u32 => |value| Element::Int(i64::from(value));
    u16 => |value| Element::Int(i64::from(value));
    bool => |value| Element::Bool(value);
    f32 => |value| Element::Float(value);
    f64 => |value| Element::Double(value);
    &str => |value| Element::String(value.to_owned());
    String => |value| Element::String(value);
    Bytes => |value| Element::Bytes(value);
    &[u8] => |value| Element::Bytes(Bytes::copy_from_slice(value));
    Uuid => |value| Element::Uuid(value);
    Vec<Element> => |value| Element::Tuple(value);
    Versionstamp => |value| Element::Versionstamp { stamp: Some(value), user_version: 0 };
}

impl<T: Into<Element>> From<Option<T>> for Element {
    fn from(value: Option<T>) -> Element {
        value.map_or(Element::Nil, Into::into)
    }
}

impl Element {
    /// The integer, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Element::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The string, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Element::String(value) => Some(value),
            _ => None,
        }
    }

    /// The byte string, if it is one.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Element::Bytes(value) => Some(value),
            _ => None,
        }
    }

    fn lend(&self) -> packed::Element<'_> {
        match self {
            Element::Nil => packed::Element::Nil,
            Element::Bytes(value) => packed::Element::Bytes(packed::Bytes(Cow::Borrowed(value))),
            Element::String(value) => packed::Element::String(Cow::Borrowed(value)),
            Element::Tuple(values) => packed::Element::Tuple(values.iter().map(Element::lend).collect()),
            Element::Int(value) => packed::Element::Int(*value),
            Element::Float(value) => packed::Element::Float(*value),
            Element::Double(value) => packed::Element::Double(*value),
            Element::Bool(value) => packed::Element::Bool(*value),
            Element::Uuid(value) => packed::Element::Uuid(*value),
            Element::Versionstamp { stamp, user_version } => packed::Element::Versionstamp(match stamp {
                Some(stamp) => packed::Versionstamp::complete(*stamp.as_bytes(), *user_version),
                None => packed::Versionstamp::incomplete(*user_version),
            }),
        }
    }

    /// About how many bytes it takes when packed: the room to begin with.
    fn size_bytes_about(&self) -> usize {
        match self {
            Element::Nil | Element::Bool(_) => 1,
            Element::Bytes(value) => value.len() + 2,
            Element::String(value) => value.len() + 2,
            Element::Tuple(values) => 2 + values.iter().map(Element::size_bytes_about).sum::<usize>(),
            Element::Int(_) | Element::Double(_) => 9,
            Element::Float(_) => 5,
            Element::Uuid(_) => 17,
            Element::Versionstamp { .. } => 13,
        }
    }

    /// How deep the tuples in it are nested, looked at with a bounded stack.
    fn depth_within(&self, left: usize) -> bool {
        match self {
            Element::Tuple(values) => left > 0 && values.iter().all(|value| value.depth_within(left - 1)),
            _ => true,
        }
    }
}

/// Packs a tuple.
///
/// # Errors
///
/// 10021 for tuples nested deeper than [`TUPLE_DEPTH_MAX`], 10022 for more bytes than [`TUPLE_SIZE_BYTES_MAX`].
pub fn pack(elements: &[Element]) -> Result<Bytes> {
    pack_after(&[], elements)
}

/// Packs a tuple behind a prefix.
///
/// # Errors
///
/// As [`pack`].
pub fn pack_after(prefix: &[u8], elements: &[Element]) -> Result<Bytes> {
    check_depth(elements)?;
    let mut key =
        Vec::with_capacity(prefix.len() + elements.iter().map(Element::size_bytes_about).sum::<usize>());
    key.extend_from_slice(prefix);
    for element in elements {
        // An element by itself is packed as a tuple of one, and the bytes of a tuple are those of its elements; only a tuple alone would be taken for the whole.
        match element {
            Element::Tuple(_) => {
                packed::pack_into(&packed::Element::Tuple(vec![element.lend()]), &mut key);
            }
            element => {
                packed::pack_into(&element.lend(), &mut key);
            }
        }
    }
    sized(key)
}

/// Packs a tuple with one versionstamp to come behind a prefix: the operand of
/// [`SetVersionstampedKey`](crate::MutationType::SetVersionstampedKey), with the four bytes that tell where the stamp goes.
///
/// # Errors
///
/// As [`pack`]; 10020 when there is not exactly one versionstamp without a stamp.
pub fn pack_with_versionstamp_after(prefix: &[u8], elements: &[Element]) -> Result<Bytes> {
    let missing = elements.iter().map(stamps_missing).sum::<usize>();
    if missing != 1 {
        let detail =
            format!("a stamped key needs exactly one versionstamp without a stamp, this one has {missing}");
        return Err(Error::new(ErrorCode::TUPLE_MALFORMED, detail));
    }
    check_depth(elements)?;
    let mut key = prefix.to_vec();
    let tuple = packed::Element::Tuple(elements.iter().map(Element::lend).collect());
    packed::pack_into_with_versionstamp(&tuple, &mut key);
    sized(key)
}

fn stamps_missing(element: &Element) -> usize {
    match element {
        Element::Versionstamp { stamp: None, .. } => 1,
        Element::Tuple(values) => values.iter().map(stamps_missing).sum(),
        _ => 0,
    }
}

fn check_depth(elements: &[Element]) -> Result<()> {
    match elements.iter().all(|element| element.depth_within(TUPLE_DEPTH_MAX)) {
        true => Ok(()),
        false => Err(too_deep()),
    }
}

fn sized(key: Vec<u8>) -> Result<Bytes> {
    match key.len() <= TUPLE_SIZE_BYTES_MAX {
        true => Ok(key.into()),
        false => Err(too_large(key.len())),
    }
}

/// The first key that does not begin with `prefix`, or `None` if there is no such key (a prefix of nothing but `ff`).
///
/// ```
/// # use tenantry_kv::tuple::prefix_end;
/// assert_eq!(prefix_end(b"a\xff").as_deref(), Some(b"b".as_slice()));
/// assert_eq!(prefix_end(b"\xff"), None);
/// ```
pub fn prefix_end(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

fn too_deep() -> Error {
    let detail = format!("tuples may be nested {TUPLE_DEPTH_MAX} deep: put the inner values side by side");
    Error::new(ErrorCode::TUPLE_TOO_DEEP, detail)
}

fn too_large(size_bytes: usize) -> Error {
    let detail = format!("the packed tuple has {size_bytes} bytes, the limit is {TUPLE_SIZE_BYTES_MAX}");
    Error::new(ErrorCode::TUPLE_TOO_LARGE, detail)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn element() -> impl Strategy<Value = Element> {
        let leaf = prop_oneof![
            Just(Element::Nil),
            proptest::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 0..6)
                .prop_map(|bytes| Element::Bytes(bytes.into())),
            "[\\x00a\u{ff}𝄞]{0,4}".prop_map(Element::String),
            any::<i64>().prop_map(Element::Int),
            (-70_000i64..70_000).prop_map(Element::Int),
            prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0), Just(-1), Just(255), Just(-256)]
                .prop_map(Element::Int),
            any::<u32>().prop_map(|bits| Element::Float(f32::from_bits(bits))),
            any::<u64>().prop_map(|bits| Element::Double(f64::from_bits(bits))),
            any::<bool>().prop_map(Element::Bool),
            any::<u128>().prop_map(|bits| Element::Uuid(Uuid::from_u128(bits))),
            (any::<i64>(), any::<u16>(), any::<u16>()).prop_map(|(version, order, user_version)| {
                Element::Versionstamp {
                    stamp: Some(Versionstamp::new(version & i64::MAX, order)),
                    user_version,
                }
            }),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| proptest::collection::vec(inner, 0..5).prop_map(Element::Tuple))
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(elements in proptest::collection::vec(element(), 0..6)) {
            let bytes = pack(&elements).unwrap();
            prop_assert_eq!(unpack(&bytes).unwrap(), elements);
        }

        #[test]
        fn any_bytes_are_refused_or_mean_one_tuple(bytes in proptest::collection::vec(prop_oneof![
            any::<u8>(), Just(0u8), Just(5), Just(0x0c), Just(0x14), Just(0x15), Just(0x1c), Just(0xff)], 0..24)) {
            if let Ok(elements) = unpack(&bytes) {
                prop_assert_eq!(&pack(&elements).unwrap()[..], &bytes[..]);
            }
        }

        #[test]
        fn skipping_goes_where_the_elements_end(elements in proptest::collection::vec(element(), 0..6)) {
            let bytes = pack(&elements).unwrap();
            for count in 0..=elements.len() {
                prop_assert_eq!(skip(&bytes, count).unwrap(), pack(&elements[..count]).unwrap().len());
            }
            prop_assert!(skip(&bytes, elements.len() + 1).is_err());
        }

        #[test]
        fn integers_sort_as_their_bytes(one in any::<i64>(), other in any::<i64>()) {
            let bytes = |value| pack(&[Element::Int(value)]).unwrap();
            prop_assert_eq!(one.cmp(&other), bytes(one).cmp(&bytes(other)));
        }
    }

    /// The examples of FoundationDB's tuple specification (design/tuple.md).
    #[test]
    fn the_bytes_are_foundationdbs() {
        let packed = |elements: &[Element]| pack(elements).unwrap().to_vec();
        assert_eq!(packed(&[Element::from(b"foo\x00bar".as_slice())]), b"\x01foo\x00\xffbar\x00");
        assert_eq!(packed(&[Element::from("F\u{d4}O\u{0}bar")]), b"\x02F\xc3\x94O\x00\xffbar\x00");
        let nested = vec![Element::from(b"foo\x00bar".as_slice()), Element::Nil, Element::Tuple(Vec::new())];
        assert_eq!(packed(&[Element::Tuple(nested)]), b"\x05\x01foo\x00\xffbar\x00\x00\xff\x05\x00\x00");
        assert_eq!(packed(&[Element::from(-5_551_212)]), b"\x11\xabK\x93");
        assert_eq!(packed(&[Element::Float(-42.0)]), b"\x20\x3d\xd7\xff\xff");
    }

    #[test]
    fn hostile_bytes_are_refused_by_name() {
        let code = |bytes: &[u8]| unpack(bytes).unwrap_err().code();
        assert_eq!(code(&[5; 10_000]), ErrorCode::TUPLE_TOO_DEEP);
        assert_eq!(code(&vec![0; 100_001]), ErrorCode::TUPLE_TOO_LARGE);
        for malformed in [
            b"\x02abc".as_slice(),
            b"\x02\xff\xfe\x00",
            b"\x05\x00\xff",
            b"\x15",
            b"\x15\x00",
            b"\x16\x00\x01",
            b"\x13\xff",
            b"\x1c\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x0c\x00\x00\x00\x00\x00\x00\x00\x00",
            b"\x1d\x09",
            b"\x20\x00",
            b"\x99",
            b"\x30\x00",
            b"\x33\x00",
        ] {
            assert_eq!(code(malformed), ErrorCode::TUPLE_MALFORMED, "{malformed:?}");
        }
        let mut deep = Element::Nil;
        for _ in 0..TUPLE_DEPTH_MAX + 1 {
            deep = Element::Tuple(vec![deep]);
        }
        assert_eq!(pack(&[deep]).unwrap_err().code(), ErrorCode::TUPLE_TOO_DEEP);
    }

    #[test]
    fn a_stamped_key_has_one_stamp_to_come() {
        let open = Element::Versionstamp { stamp: None, user_version: 7 };
        let key = pack_with_versionstamp_after(b"p", &[Element::from(1), open.clone()]).unwrap();
        assert_eq!(
            &key[..],
            b"p\x15\x01\x33\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x07\x04\x00\x00\x00"
        );
        assert!(pack_with_versionstamp_after(b"", &[open.clone(), open]).is_err());
        assert!(pack_with_versionstamp_after(b"", &[]).is_err());
    }
}
