//! The operating system behind the [`Env`] traits: the one place of the product that names its clock, threads and files.
//!
//! ```
//! let env = tenantry_env::system();
//! assert!(env.clock.wall_us() > 0);
//! ```
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "this crate is the operating system's side of the line"
)]

mod storage;
mod timer;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tenantry_kv::env::{Buggify, Clock, Entropy, Env, Randomness, ThreadHandle, Threads};
use tenantry_kv::{Error, ErrorCode, Result};

/// The outside world as it is.
///
/// # Panics
///
/// When the operating system has no randomness to give.
pub fn system() -> Env {
    Env {
        clock: Arc::new(SystemClock { started: Instant::now() }),
        timer: Arc::new(timer::SystemTimer::default()),
        randomness: Arc::new(SystemRandomness::default()),
        entropy: Arc::new(SystemEntropy),
        storage: Arc::new(storage::SystemStorage),
        threads: Arc::new(SystemThreads),
        buggify: Arc::new(NeverBuggify),
    }
}

/// A variable of the process's environment, if it is set to text that is not empty.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

struct SystemClock {
    started: Instant,
}

impl Clock for SystemClock {
    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    fn wall_us(&self) -> i64 {
        match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        }
    }
}

/// One SplitMix64 stream a purpose, each seeded from the operating system.
#[derive(Default)]
struct SystemRandomness {
    streams: Mutex<BTreeMap<&'static str, u64>>,
}

impl Randomness for SystemRandomness {
    fn next_u64(&self, purpose: &'static str) -> u64 {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let state = streams.entry(purpose).or_insert_with(|| {
            let mut seed = [0; 8];
            SystemEntropy.fill(&mut seed);
            u64::from_le_bytes(seed)
        });
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives randomness");
    }
}

struct SystemThreads;

impl Threads for SystemThreads {
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> Result<Box<dyn ThreadHandle>> {
        let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(body);
        match spawned {
            Ok(handle) => Ok(Box::new(SystemThread(handle))),
            Err(error) => Err(Error::new(
                ErrorCode::IO_ERROR,
                format!("the thread {name} could not be started: {error}"),
            )),
        }
    }
}

struct SystemThread(std::thread::JoinHandle<()>);

impl ThreadHandle for SystemThread {
    fn join(self: Box<Self>) -> bool {
        self.0.join().is_ok()
    }
}

struct NeverBuggify;

impl Buggify for NeverBuggify {
    fn fires(&self, _site: &'static str) -> bool {
        false
    }
}
