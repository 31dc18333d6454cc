//! Subspaces: a prefix, and the tuples behind it.

use std::fmt;

use bytes::Bytes;

use crate::conflict_range::KeyRange;
use crate::error::{Error, ErrorCode, Result};
use crate::tuple::{self, Element};

/// A part of the key space: every key that begins with a prefix.
///
/// ```
/// use tenantry_kv::Subspace;
/// use tenantry_kv::tuple::Element;
///
/// let films = Subspace::new(b"app".as_slice()).child(&[Element::from("films")])?;
/// let key = films.pack(&[Element::from(7)])?;
/// assert_eq!(films.unpack(&key)?, [Element::from(7)]);
/// assert!(films.unpack(b"elsewhere").is_err());
/// # Ok::<_, tenantry_kv::Error>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subspace {
    prefix: Bytes,
}

impl Subspace {
    /// The subspace of a prefix.
    pub fn new(prefix: impl Into<Bytes>) -> Subspace {
        Subspace { prefix: prefix.into() }
    }

    /// The prefix of all its keys.
    pub fn prefix(&self) -> &Bytes {
        &self.prefix
    }

    /// The subspace of the keys that go on with `elements`.
    ///
    /// # Errors
    ///
    /// As [`tuple::pack`].
    pub fn child(&self, elements: &[Element]) -> Result<Subspace> {
        self.pack(elements).map(Subspace::new)
    }

    /// The key of `elements`.
    ///
    /// # Errors
    ///
    /// As [`tuple::pack`].
    pub fn pack(&self, elements: &[Element]) -> Result<Bytes> {
        tuple::pack_after(&self.prefix, elements)
    }

    /// The elements of a key.
    ///
    /// # Errors
    ///
    /// 10023 for a key that does not begin with the prefix; as [`tuple::unpack`].
    pub fn unpack(&self, key: &[u8]) -> Result<Vec<Element>> {
        match key.strip_prefix(&self.prefix[..]) {
            Some(rest) => tuple::unpack(rest),
            None => Err(Error::new(
                ErrorCode::OUTSIDE_SUBSPACE,
                format!("the key {} does not begin with {}", key.escape_ascii(), self.prefix.escape_ascii()),
            )),
        }
    }

    /// Whether a key lies in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix)
    }

    /// Every tuple in it: all keys but the prefix alone and those that are no tuples.
    pub fn tuples(&self) -> KeyRange {
        let with = |byte: u8| [&self.prefix[..], &[byte]].concat();
        KeyRange::new(with(0), with(0xff))
    }

    /// Every key in it. Up to the end of the user's key space if nothing but `ff` is in the prefix.
    pub fn keys(&self) -> KeyRange {
        let end = tuple::prefix_end(&self.prefix)
            .unwrap_or_else(|| Bytes::from_static(crate::limits::USER_SPACE_END));
        KeyRange::new(self.prefix.clone(), end)
    }
}

impl fmt::Debug for Subspace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Subspace({})", self.prefix.escape_ascii())
    }
}
