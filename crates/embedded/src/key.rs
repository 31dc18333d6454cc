//! A key as the ordered maps in memory hold it: short ones in place, so that comparing two of them touches no other memory.
//!
//! A search in an ordered map of a few hundred thousand keys compares about eighteen; where each of them lies somewhere else, it waits for memory most of the time.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

/// The longest key that is held in place: with it a key takes 40 bytes.
const SHORT_SIZE_MAX: usize = 38;

/// A key.
#[derive(Clone)]
pub(crate) struct Key(Form);

#[derive(Clone)]
enum Form {
    Short { length: u8, bytes: [u8; SHORT_SIZE_MAX] },
    Long(Bytes),
}

impl Key {
    /// The key as bytes that are shared.
    pub(crate) fn to_bytes(&self) -> Bytes {
        match &self.0 {
            Form::Short { .. } => Bytes::copy_from_slice(self),
            Form::Long(bytes) => bytes.clone(),
        }
    }
}

impl From<&Bytes> for Key {
    fn from(key: &Bytes) -> Key {
        if key.len() > SHORT_SIZE_MAX {
            return Key(Form::Long(key.clone()));
        }
        let mut bytes = [0; SHORT_SIZE_MAX];
        bytes[..key.len()].copy_from_slice(key);
        Key(Form::Short { length: key.len() as u8, bytes })
    }
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Form::Short { length, bytes } => &bytes[..usize::from(*length)],
            Form::Long(bytes) => bytes,
        }
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        **self == **other
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Key) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Key) -> Ordering {
        (**self).cmp(&**other)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_bytes(), formatter)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_takes_as_much_room_as_is_said() {
        assert_eq!(size_of::<Key>(), 40);
    }

    proptest! {
        #[test]
        fn keys_are_what_they_were_and_in_the_order_of_their_bytes(
            first in prop::collection::vec(any::<u8>(), 0..80),
            second in prop::collection::vec(0..2u8, 30..45),
            cut in 0..50usize,
        ) {
            let third = &second[..cut.min(second.len())];
            let all = [Bytes::from(first), Bytes::from(second.clone()), Bytes::copy_from_slice(third)];
            for one in &all {
                prop_assert_eq!(&Key::from(one).to_bytes(), one);
                for other in &all {
                    prop_assert_eq!(Key::from(one).cmp(&Key::from(other)), one.cmp(other));
                    prop_assert_eq!(Key::from(one) == Key::from(other), one == other);
                }
            }
        }
    }
}
