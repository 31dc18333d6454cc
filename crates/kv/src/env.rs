//! The outside world as five traits and one struct: clock, timer, randomness, storage, threads.
//!
//! The library floors never name the operating system. They are handed an [`Env`]; the crate `tenantry-env` has the real one, a
//! simulator has its own.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::future::KvFuture;

/// The outside world. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Waiting.
    pub timer: Arc<dyn Timer>,
    /// Randomness for scheduling, back-off and sampling.
    pub randomness: Arc<dyn Randomness>,
    /// Randomness for identifiers and secrets.
    pub entropy: Arc<dyn Entropy>,
    /// Directories of files.
    pub storage: Arc<dyn Storage>,
    /// Threads.
    pub threads: Arc<dyn Threads>,
    /// Named rare paths that a simulator can force.
    pub buggify: Arc<dyn Buggify>,
}

impl fmt::Debug for Env {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Env")
    }
}

/// What time it is.
pub trait Clock: Send + Sync {
    /// The time since some fixed moment; never goes back.
    fn monotonic(&self) -> Duration;
    /// Microseconds since 1970-01-01T00:00:00Z. May jump; nothing is ordered by it.
    fn wall_us(&self) -> i64;
}

/// Waiting.
pub trait Timer: Send + Sync {
    /// A future that is ready after `duration`. Dropping it gives the wait up.
    fn sleep(&self, duration: Duration) -> KvFuture<()>;
}

/// Randomness in sub-streams by purpose, so that a new draw in one place does not shift all others.
pub trait Randomness: Send + Sync {
    /// The next number of the stream called `purpose`.
    fn next_u64(&self, purpose: &'static str) -> u64;
}

/// Cryptographic randomness. A trait of its own: an implementation for production has no seeded constructor.
pub trait Entropy: Send + Sync {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// A provider of directories.
pub trait Storage: Send + Sync {
    /// The directory at `path`, created (durably, with its parents) if it does not exist.
    ///
    /// # Errors
    ///
    /// 1510 with the operating system's message.
    fn open_directory(&self, path: &str) -> Result<Arc<dyn Directory>>;
    /// Whether something exists at `path`.
    ///
    /// # Errors
    ///
    /// 1510 with the operating system's message.
    fn exists(&self, path: &str) -> Result<bool>;
}

/// One directory of files. Names have no separators. Creations, renames and removals are durable after
/// [`sync`](Directory::sync).
pub trait Directory: Send + Sync {
    /// The file called `name`, created empty if it does not exist and `create` says so.
    ///
    /// # Errors
    ///
    /// 10006 when it does not exist; 1510.
    fn open(&self, name: &str, create: bool) -> Result<Arc<dyn File>>;
    /// As [`open`](Directory::open) with `create`; where the system knows owners of files, nobody but the owner can read a file that this creates.
    ///
    /// # Errors
    ///
    /// 1510.
    fn open_private(&self, name: &str) -> Result<Arc<dyn File>> {
        self.open(name, true)
    }
    /// The file called `name`, to be read: also where it may not be written.
    ///
    /// # Errors
    ///
    /// 10006 when it does not exist; 1510.
    fn open_to_read(&self, name: &str) -> Result<Arc<dyn File>> {
        self.open(name, false)
    }
    /// Gives `from` the name `to`, replacing what has it.
    ///
    /// # Errors
    ///
    /// 1510.
    fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// Removes the file called `name`; one that does not exist is no error.
    ///
    /// # Errors
    ///
    /// 1510.
    fn remove(&self, name: &str) -> Result<()>;
    /// The names of all files, sorted.
    ///
    /// # Errors
    ///
    /// 1510.
    fn list(&self) -> Result<Vec<String>>;
    /// Makes the directory's entries durable.
    ///
    /// # Errors
    ///
    /// 1510; a failed sync must not be tried again.
    fn sync(&self) -> Result<()>;
    /// Takes the file called `name` as an exclusive lock and writes `owner` into it, behind what the system calls the process. Dropping the guard frees it.
    ///
    /// # Errors
    ///
    /// 10003 when another process has it, with what that one wrote as its owner.
    fn lock(&self, name: &str, owner: &str) -> Result<Box<dyn LockGuard>>;
    /// The bytes that can still be written to this directory's disk.
    ///
    /// # Errors
    ///
    /// 1510.
    fn free_bytes(&self) -> Result<u64>;
}

/// A held lock.
pub trait LockGuard: Send + Sync {}

/// One file. All methods may be called from several threads.
pub trait File: Send + Sync {
    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    ///
    /// 1510, also when the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;
    /// Writes all of `bytes` at `offset`, growing the file if needed.
    ///
    /// # Errors
    ///
    /// 10002 when the disk is full; 1510.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()>;
    /// The length in bytes.
    ///
    /// # Errors
    ///
    /// 1510.
    fn len(&self) -> Result<u64>;
    /// Whether the file is empty.
    ///
    /// # Errors
    ///
    /// 1510.
    fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or extends (with zeros) the file.
    ///
    /// # Errors
    ///
    /// 10002, 1510.
    fn set_len(&self, length: u64) -> Result<()>;
    /// Makes everything written so far durable, the length included.
    ///
    /// # Errors
    ///
    /// 1510; a failed sync must not be tried again.
    fn sync_data(&self) -> Result<()>;
}

/// Threads.
pub trait Threads: Send + Sync {
    /// Runs `body` on a thread of its own.
    ///
    /// # Errors
    ///
    /// 1510 when the operating system has no more threads.
    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> Result<Box<dyn ThreadHandle>>;
}

/// A running thread.
pub trait ThreadHandle: Send + Sync {
    /// Waits until it has ended. True if it ended without a panic.
    fn join(self: Box<Self>) -> bool;
}

/// Named points in the code that take the rare path when a simulator has armed them.
pub trait Buggify: Send + Sync {
    /// Whether the point called `site` takes the rare path this time. Always false in production.
    fn fires(&self, site: &'static str) -> bool;
}
