//! One record of the log.
//!
//! ```text
//! offset  size
//!      0     4  magic "TLR1"
//!      4     4  length of the payload in bytes
//!      8     8  sequence number, one more than the record before
//!     16     8  highest sequence number known to be on disk when this record was written
//!     24     1  kind
//!     25     7  zero
//!     32     8  XXH3 of bytes 0 to 31 and the payload, seeded with the segment's number and the offset in it
//!     40     n  payload, padded with zeros to a multiple of eight
//! ```
//!
//! All numbers are little-endian. The seed binds a record to its place, so that what an earlier use of the same disk space left behind is
//! never taken for a record.

use std::borrow::Cow;

use bytes::Bytes;
use tenantry_kv::Version;
use tenantry_kv::seeded_faults::{Fault, is_active};
use twox_hash::XxHash3_64;

use crate::seam::{Batch, Write};

const MAGIC: &[u8; 4] = b"TLR1";
/// The bytes before the payload.
pub(crate) const HEADER_SIZE: usize = 40;
const CHECKED_HEADER_SIZE: usize = 32;

/// What a record carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    /// The first record of every segment, with the version ceiling so far.
    SegmentStart(Version),
    /// What a batch wrote.
    Batch(Cow<'a, Batch>),
    /// No version above this one may be issued.
    Ceiling(Version),
    /// Nothing: it tells by its header that what stands before it is on disk.
    Mark,
}

/// A record without its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) sequence: u64,
    pub(crate) durable: u64,
    pub(crate) content: Content<'a>,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

impl Place {
    fn seed(self) -> u64 {
        XxHash3_64::oneshot_with_seed(self.segment, &self.offset.to_le_bytes())
    }
}

impl Record<'_> {
    /// The record's bytes at `place`.
    pub(crate) fn encode(&self, place: Place) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_SIZE];
        let kind = match &self.content {
            Content::SegmentStart(ceiling) => {
                bytes.extend_from_slice(&ceiling.to_le_bytes());
                0
            }
            Content::Batch(batch) => {
                encode_batch(batch, &mut bytes);
                1
            }
            Content::Ceiling(version) => {
                bytes.extend_from_slice(&version.to_le_bytes());
                2
            }
            Content::Mark => 3,
        };
        let length = bytes.len() - HEADER_SIZE;
        bytes[0..4].copy_from_slice(MAGIC);
        bytes[4..8].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.durable.to_le_bytes());
        bytes[24] = kind;
        let checksum = checksum(&bytes[..CHECKED_HEADER_SIZE], &bytes[HEADER_SIZE..], place);
        bytes[32..40].copy_from_slice(&checksum.to_le_bytes());
        bytes.resize(HEADER_SIZE + length.next_multiple_of(8), 0);
        bytes
    }

    /// The record that begins at `place`, the first byte of `bytes`, and its length with padding; `None` if there is no valid one.
    pub(crate) fn decode(bytes: &[u8], place: Place) -> Option<(Record<'static>, usize)> {
        let header = bytes.get(..HEADER_SIZE)?;
        if &header[..4] != MAGIC {
            return None;
        }
        let number = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap_or_default());
        let length = u32::from_le_bytes(header[4..8].try_into().unwrap_or_default()) as usize;
        let payload = bytes.get(HEADER_SIZE..HEADER_SIZE.checked_add(length)?)?;
        let is_valid = checksum(&header[..CHECKED_HEADER_SIZE], payload, place) == number(32);
        if !is_valid && !is_active(Fault::LogChecksumNotVerified) {
            return None;
        }
        let content = match header[24] {
            0 => Content::SegmentStart(Version::from_le_bytes(payload.try_into().ok()?)),
            1 => Content::Batch(Cow::Owned(decode_batch(payload)?)),
            2 => Content::Ceiling(Version::from_le_bytes(payload.try_into().ok()?)),
            3 => Content::Mark,
            _ => return None,
        };
        Some((
            Record { sequence: number(8), durable: number(16), content },
            HEADER_SIZE + length.next_multiple_of(8),
        ))
    }
}

fn checksum(header: &[u8], payload: &[u8], place: Place) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot_with_seed(place.seed(), header), payload)
}

/// About how many bytes `batch` takes in the log.
pub(crate) fn encoded_size(batch: &Batch) -> usize {
    let write = |write: &Write| match write {
        Write::Set { key: first, value: second } | Write::ClearRange { begin: first, end: second } => {
            9 + first.len() + second.len()
        }
    };
    HEADER_SIZE + 20 + batch.writes.iter().map(write).sum::<usize>()
}

/// Payload of a batch: version i64, number of writes u32, then for each: tag (0 set, 1 clear range), two lengths u32, two strings.
fn encode_batch(batch: &Batch, bytes: &mut Vec<u8>) {
    bytes.reserve(encoded_size(batch));
    bytes.extend_from_slice(&batch.version.to_le_bytes());
    bytes.extend_from_slice(&u32::try_from(batch.writes.len()).unwrap_or(u32::MAX).to_le_bytes());
    for write in &batch.writes {
        let (tag, first, second) = match write {
            Write::Set { key, value } => (0, key, value),
            Write::ClearRange { begin, end } => (1, begin, end),
        };
        bytes.push(tag);
        bytes.extend_from_slice(&u32::try_from(first.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(second.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(first);
        bytes.extend_from_slice(second);
    }
}

fn decode_batch(payload: &[u8]) -> Option<Batch> {
    let payload = Bytes::copy_from_slice(payload);
    let mut at = 0;
    let mut take = |length: usize| {
        let end = at + length;
        let taken = (end <= payload.len()).then(|| payload.slice(at..end));
        at = end;
        taken
    };
    let version = Version::from_le_bytes(take(8)?.as_ref().try_into().ok()?);
    let count = u32::from_le_bytes(take(4)?.as_ref().try_into().ok()?);
    let mut writes = Vec::new();
    for _ in 0..count {
        let tag = take(1)?[0];
        let first = u32::from_le_bytes(take(4)?.as_ref().try_into().ok()?) as usize;
        let second = u32::from_le_bytes(take(4)?.as_ref().try_into().ok()?) as usize;
        let (first, second) = (take(first)?, take(second)?);
        writes.push(match tag {
            0 => Write::Set { key: first, value: second },
            1 => Write::ClearRange { begin: first, end: second },
            _ => return None,
        });
    }
    (at == payload.len()).then_some(Batch { version, writes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Record<'static> {
        let writes = vec![
            Write::Set { key: "k".into(), value: "value".into() },
            Write::ClearRange { begin: "a".into(), end: "b".into() },
        ];
        Record {
            sequence: 7,
            durable: 6,
            content: Content::Batch(Cow::Owned(Batch { version: 300, writes })),
        }
    }

    /// The bytes of release 0.1: a change here makes old logs unreadable and needs a new magic.
    #[test]
    fn the_bytes_of_a_record() {
        let bytes = sample().encode(Place { segment: 1, offset: 40 });
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        expect_test::expect!["544c523126000000070000000000000006000000000000000100000000000000ddc9c5ff183e132e2c01000000000000020000000001000000050000006b76616c756501010000000100000061620000"].assert_eq(&hex);
    }

    #[test]
    fn a_record_is_bound_to_its_place_and_every_bit_counts() {
        let place = Place { segment: 3, offset: 80 };
        let bytes = sample().encode(place);
        assert_eq!(Record::decode(&bytes, place), Some((sample(), bytes.len())));
        assert_eq!(Record::decode(&bytes, Place { segment: 4, offset: 80 }), None);
        assert_eq!(Record::decode(&bytes, Place { segment: 3, offset: 88 }), None);
        let payload_end = HEADER_SIZE + u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
        for bit in 0..payload_end * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&flipped, place), None, "bit {bit}");
        }
        for length in 0..payload_end {
            assert_eq!(Record::decode(&bytes[..length], place), None, "cut to {length}");
        }
    }
}
