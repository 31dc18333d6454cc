//! A filter over the keys of a table: it says which keys are certainly not there.
//!
//! A Bloom filter in buckets of 64 bytes (a cache line), ten bits a key: a look touches one line, and about one absent key in eighty is not told.

use twox_hash::XxHash3_64;

const BUCKET_SIZE: usize = 64;
const BITS_PER_KEY: usize = 10;
const PROBES: u32 = 6;

/// What the filter knows a key by.
pub(super) fn hash(key: &[u8]) -> u64 {
    XxHash3_64::oneshot(key)
}

/// The filter of the keys with these hashes.
pub(super) fn build(hashes: &[u64]) -> Vec<u8> {
    let buckets = (hashes.len() * BITS_PER_KEY).div_ceil(BUCKET_SIZE * 8);
    let mut bytes = vec![0; buckets * BUCKET_SIZE];
    for hash in hashes {
        let start = bucket(*hash, buckets) * BUCKET_SIZE;
        for bit in bits(*hash) {
            bytes[start + bit / 8] |= 1 << (bit % 8);
        }
    }
    bytes
}

/// Whether the key with this hash may be among those of the filter.
pub(super) fn may_contain(filter: &[u8], hash: u64) -> bool {
    let buckets = filter.len() / BUCKET_SIZE;
    if buckets == 0 {
        return false;
    }
    let start = bucket(hash, buckets) * BUCKET_SIZE;
    let bucket = &filter[start..start + BUCKET_SIZE];
    bits(hash).all(|bit| bucket[bit / 8] & (1 << (bit % 8)) != 0)
}

fn bucket(hash: u64, buckets: usize) -> usize {
    // The upper half chooses the bucket, the lower half the bits.
    (((hash >> 32) * buckets as u64) >> 32) as usize
}

fn bits(hash: u64) -> impl Iterator<Item = usize> {
    let (mut bit, step) = (hash as u32, (hash as u32).rotate_right(15) | 1);
    (0..PROBES).map(move |_| {
        bit = bit.wrapping_add(step);
        (bit >> 23) as usize
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_and_few_others() {
        let present: Vec<u64> = (0..10_000u64).map(|number| hash(&number.to_be_bytes())).collect();
        let filter = build(&present);
        assert!(present.iter().all(|hash| may_contain(&filter, *hash)));
        let others = (10_000..110_000u64).filter(|number| may_contain(&filter, hash(&number.to_be_bytes())));
        let mistaken = others.count();
        assert!(mistaken < 3_000, "{mistaken} of 100,000");
        assert!(!may_contain(&build(&[]), 1));
    }
}
