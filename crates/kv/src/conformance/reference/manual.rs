//! An outside world that moves only when it is told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::env::{
    Buggify, Clock, Directory, Entropy, Env, Randomness, Storage, ThreadHandle, Threads, Timer,
};
use crate::error::{Error, ErrorCode, Result};
use crate::future::KvFuture;

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: Mutex<Duration>,
}

impl ManualClock {
    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wall_us(&self) -> i64 {
        // 2020-01-01T00:00:00Z, and on.
        1_577_836_800_000_000 + i64::try_from(self.monotonic().as_micros()).unwrap_or(i64::MAX / 2)
    }
}

/// Sleeping moves the clock.
struct ManualTimer(Arc<ManualClock>);

impl Timer for ManualTimer {
    fn sleep(&self, duration: Duration) -> KvFuture<()> {
        self.0.advance(duration);
        KvFuture::ready(Ok(()))
    }
}

/// Streams that are the same in every run.
#[derive(Default)]
struct SeededRandomness(Mutex<BTreeMap<&'static str, u64>>);

impl Randomness for SeededRandomness {
    fn next_u64(&self, purpose: &'static str) -> u64 {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seed = purpose.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        split_mix(streams.entry(purpose).or_insert(seed))
    }
}

/// One step of SplitMix64.
pub(in crate::conformance) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

struct CountingEntropy(Mutex<u64>);

impl Entropy for CountingEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            let number = split_mix(&mut state).to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }
}

struct Nothing;

fn nothing() -> Error {
    Error::new(ErrorCode::IO_ERROR, "this outside world has no files and no threads")
}

impl Storage for Nothing {
    fn open_directory(&self, _path: &str) -> Result<Arc<dyn Directory>> {
        Err(nothing())
    }
    fn exists(&self, _path: &str) -> Result<bool> {
        Ok(false)
    }
}

impl Threads for Nothing {
    fn spawn(&self, _name: &str, _body: Box<dyn FnOnce() + Send>) -> Result<Box<dyn ThreadHandle>> {
        Err(nothing())
    }
}

impl Buggify for Nothing {
    fn fires(&self, _site: &'static str) -> bool {
        false
    }
}

/// An outside world for tests: its clock moves only by sleeping, its randomness is the same every time, it has no files and no threads.
/// Its entropy is no secret.
pub fn manual_env() -> Env {
    manual_env_with_clock().0
}

/// As [`manual_env`], with its clock.
pub fn manual_env_with_clock() -> (Env, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let env = Env {
        clock: clock.clone(),
        timer: Arc::new(ManualTimer(clock.clone())),
        randomness: Arc::new(SeededRandomness::default()),
        entropy: Arc::new(CountingEntropy(Mutex::new(1))),
        storage: Arc::new(Nothing),
        threads: Arc::new(Nothing),
        buggify: Arc::new(Nothing),
    };
    (env, clock)
}
