//! Randomness that one seed decides, in streams by label: a new draw in one place does not shift the others.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tenantry_kv::env::{Entropy, Randomness};

/// One stream.
#[derive(Clone, Debug)]
pub(crate) struct Stream(u64);

impl Stream {
    /// The stream of a seed and a label.
    pub(crate) fn new(seed: u64, label: &str) -> Stream {
        let label = label.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut stream = Stream(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ label);
        stream.next_u64();
        stream
    }

    /// The next number: SplitMix64.
    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound.max(1)
    }

    /// True `percent` times out of a hundred.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of some.
    pub(crate) fn pick<'a, T>(&mut self, some: &'a [T]) -> &'a T {
        &some[self.below(some.len() as u64) as usize]
    }
}

/// The engine's randomness and entropy. Its secrets are none: it is compiled into the simulator alone.
pub(crate) struct SeededRandomness {
    seed: u64,
    streams: Mutex<BTreeMap<&'static str, Stream>>,
    entropy: Mutex<Stream>,
}

impl SeededRandomness {
    pub(crate) fn new(seed: u64) -> SeededRandomness {
        SeededRandomness {
            seed,
            streams: Mutex::default(),
            entropy: Mutex::new(Stream::new(seed, "entropy")),
        }
    }
}

impl Randomness for SeededRandomness {
    fn next_u64(&self, purpose: &'static str) -> u64 {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.entry(purpose).or_insert_with(|| Stream::new(self.seed, purpose)).next_u64()
    }
}

impl Entropy for SeededRandomness {
    fn fill(&self, bytes: &mut [u8]) {
        let mut stream = self.entropy.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            let number = stream.next_u64().to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }
}
