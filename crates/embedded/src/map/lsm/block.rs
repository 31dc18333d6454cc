//! Blocks: the unit in which a table is read, checked and cached.
//!
//! ```text
//! sealed part   payload | XXH3 of the payload, u64, seeded with the table's number and the part's offset in the file
//! data block    entries | offset of each entry, u32 | number of entries, u32
//! entry         length of the key, u16 | length of the value, u32 (0xffffffff: the key is absent) | key | value
//! ```
//!
//! Numbers are little-endian. The seed makes a part that was written to the wrong place, or that belongs to another table, as bad as a damaged one.

use bytes::Bytes;
use tenantry_kv::seeded_faults::{Fault, is_active};
use twox_hash::XxHash3_64;

pub(super) const CHECKSUM_SIZE: usize = 8;
const ENTRY_HEADER_SIZE: usize = 6;
const ABSENT: u32 = u32::MAX;
/// A value is handed on as a copy unless it is at least this share of its block: whoever keeps it would otherwise keep the whole block.
const SHARED_VALUE_FRACTION: usize = 4;

/// Appends the checksum of what stands in `bytes` from `start` on; `offset` is where that will stand in the file of table `number`.
pub(super) fn seal(bytes: &mut Vec<u8>, start: usize, number: u64, offset: u64) {
    let checksum = checksum(&bytes[start..], number, offset);
    bytes.extend_from_slice(&checksum.to_le_bytes());
}

/// The payload of a sealed part, if it is the one that belongs there.
pub(super) fn unseal(sealed: &Bytes, number: u64, offset: u64) -> Option<Bytes> {
    let (payload, found) = sealed.split_last_chunk::<CHECKSUM_SIZE>()?;
    let is_valid = checksum(payload, number, offset) == u64::from_le_bytes(*found);
    (is_valid || is_active(Fault::BlockChecksumNotVerified)).then(|| sealed.slice(..payload.len()))
}

fn checksum(payload: &[u8], number: u64, offset: u64) -> u64 {
    XxHash3_64::oneshot_with_seed(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ offset, payload)
}

/// A data block in memory. Cheap to clone.
#[derive(Clone)]
pub(super) struct Block {
    payload: Bytes,
    offsets_at: usize,
    count: usize,
}

impl Block {
    /// Takes a payload apart; `None` if it makes no sense.
    pub(super) fn parse(payload: Bytes) -> Option<Block> {
        let (body, count) = payload.split_last_chunk::<4>()?;
        let count = u32::from_le_bytes(*count) as usize;
        let offsets_at = body.len().checked_sub(count.checked_mul(4)?)?;
        let block = Block { offsets_at, count, payload };
        // Once here, so that no look into it has to check again.
        let mut at = 0;
        for index in 0..count {
            let header = block.payload.get(at..at + ENTRY_HEADER_SIZE)?;
            let (key_size, value_size) = sizes(header);
            if block.offset(index) != at {
                return None;
            }
            at += ENTRY_HEADER_SIZE + key_size + value_size.unwrap_or(0);
            if at > offsets_at {
                return None;
            }
        }
        (at == offsets_at).then_some(block)
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.payload.len()
    }

    fn offset(&self, index: usize) -> usize {
        let at = self.offsets_at + 4 * index;
        let bytes = &self.payload[at..at + 4];
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize
    }

    pub(super) fn key(&self, index: usize) -> &[u8] {
        let at = self.offset(index);
        let key_size = usize::from(u16::from_le_bytes([self.payload[at], self.payload[at + 1]]));
        &self.payload[at + ENTRY_HEADER_SIZE..at + ENTRY_HEADER_SIZE + key_size]
    }

    /// The value of an entry, or `None` where the key is absent.
    pub(super) fn value(&self, index: usize) -> Option<Bytes> {
        let at = self.offset(index);
        let (key_size, value_size) = sizes(&self.payload[at..at + ENTRY_HEADER_SIZE]);
        let begin = at + ENTRY_HEADER_SIZE + key_size;
        let end = begin + value_size?;
        Some(match (end - begin) * SHARED_VALUE_FRACTION < self.payload.len() {
            true => Bytes::copy_from_slice(&self.payload[begin..end]),
            false => self.payload.slice(begin..end),
        })
    }

    /// The first entry whose key is not below `key`.
    pub(super) fn lower_bound(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            match self.key(middle) < key {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        low
    }

    /// The entry of `key`, if there is one.
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        let index = self.lower_bound(key);
        (index < self.count && self.key(index) == key).then_some(index)
    }
}

/// The lengths of an entry's key and value.
fn sizes(header: &[u8]) -> (usize, Option<usize>) {
    let key_size = u16::from_le_bytes([header[0], header[1]]);
    let value_size = u32::from_le_bytes([header[2], header[3], header[4], header[5]]);
    (usize::from(key_size), (value_size != ABSENT).then_some(value_size as usize))
}

/// Puts a data block together.
#[derive(Default)]
pub(super) struct BlockBuilder {
    entries: Vec<u8>,
    offsets: Vec<u32>,
}

impl BlockBuilder {
    /// Adds an entry behind the others. Keys are shorter than 64 KiB, values than 4 GiB, as every engine's limits say.
    pub(super) fn add(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.offsets.push(self.entries.len() as u32);
        self.entries.extend_from_slice(&(key.len() as u16).to_le_bytes());
        let value_size = value.map_or(ABSENT, |value| value.len() as u32);
        self.entries.extend_from_slice(&value_size.to_le_bytes());
        self.entries.extend_from_slice(key);
        self.entries.extend_from_slice(value.unwrap_or_default());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.entries.len() + 4 * self.offsets.len() + 4
    }

    /// Appends the block to `bytes` and begins a new one.
    pub(super) fn finish(&mut self, bytes: &mut Vec<u8>) {
        bytes.append(&mut self.entries);
        for offset in &self.offsets {
            bytes.extend_from_slice(&offset.to_le_bytes());
        }
        bytes.extend_from_slice(&(self.offsets.len() as u32).to_le_bytes());
        self.offsets.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(entries: &[(&[u8], Option<&[u8]>)]) -> Vec<u8> {
        let mut builder = BlockBuilder::default();
        entries.iter().for_each(|(key, value)| builder.add(key, *value));
        let mut bytes = Vec::new();
        builder.finish(&mut bytes);
        bytes
    }

    #[test]
    fn what_was_put_in_is_found() {
        let block =
            Block::parse(built(&[(b"", Some(b"empty")), (b"b", None), (b"d", Some(b""))]).into()).unwrap();
        assert_eq!(block.len(), 3);
        assert_eq!(block.value(0).as_deref(), Some(&b"empty"[..]));
        assert_eq!(block.find(b"b"), Some(1));
        assert_eq!(block.value(1), None);
        assert_eq!(block.value(2).as_deref(), Some(&b""[..]));
        assert_eq!([&b"a"[..], b"b", b"c", b"e"].map(|key| block.lower_bound(key)), [1, 1, 2, 3]);
        assert_eq!(block.find(b"c"), None);
    }

    #[test]
    fn a_sealed_part_is_good_in_its_place_alone() {
        let mut bytes = b"payload".to_vec();
        seal(&mut bytes, 0, 7, 4_096);
        let sealed = Bytes::from(bytes.clone());
        assert_eq!(unseal(&sealed, 7, 4_096).as_deref(), Some(&b"payload"[..]));
        assert_eq!(unseal(&sealed, 8, 4_096), None);
        assert_eq!(unseal(&sealed, 7, 0), None);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(&damaged.into(), 7, 4_096), None, "bit {bit}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let good = built(&[(b"a", Some(b"1")), (b"b", Some(b"2"))]);
        for length in 0..good.len() {
            assert!(
                Block::parse(good[..length].to_vec().into()).is_none_or(|block| block.len() == 0),
                "{length}"
            );
        }
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] = 0xff;
            // It may be another block, but never one that cannot be looked into.
            if let Some(block) = Block::parse(bad.into()) {
                (0..block.len()).for_each(|index| drop((block.key(index).len(), block.value(index))));
            }
        }
    }
}
