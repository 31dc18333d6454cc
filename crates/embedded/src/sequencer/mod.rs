//! The sequencer: gives every batch of transactions the next version and makes it happen.
//!
//! One call of [`Sequencer::commit`] takes a batch through all its steps: resolve, evaluate, append, sync, enter into the window, publish.
//! It is synchronous and knows no thread: the driver gives it one, a simulator calls it itself.

mod draft;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tenantry_kv::env::Env;
use tenantry_kv::limits::MVCC_WINDOW_VERSIONS;
use tenantry_kv::seeded_faults::{Fault, is_active};
use tenantry_kv::{Error, ErrorCode, KeyRange, Result, Version, Versionstamp};

use crate::log::Log;
use crate::resolver::Resolver;
use crate::seam::{Batch, CommitRequest, Committed, Done, Refused, Snapshots, Write};
use crate::settings::Durability;
use crate::stats::{Counters, count};
use crate::store::Store;
use crate::versions::Versions;
use crate::watches::Watches;
use draft::Draft;

/// The key that, when present, locks the database.
pub(crate) const LOCK_KEY: &[u8] = b"\xff/dbLocked";

/// A commit that waits for its batch.
pub(crate) struct Waiting {
    pub(crate) request: CommitRequest,
    pub(crate) done: Done,
}

/// What the sequencer shares with transactions and with the keeper of the map.
pub(crate) struct Shared {
    pub(crate) env: Env,
    pub(crate) store: Store,
    pub(crate) versions: Mutex<Versions>,
    pub(crate) watches: Arc<Watches>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) is_locked: AtomicBool,
    /// Set by the keeper while the disk has too little room.
    pub(crate) is_disk_full: AtomicBool,
    /// Why the engine has stopped, if it has.
    pub(crate) stopped: Mutex<Option<Error>>,
    pub(crate) resolver_entries: std::sync::atomic::AtomicU64,
}

impl Shared {
    pub(crate) fn versions(&self) -> MutexGuard<'_, Versions> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails when the engine has stopped.
    pub(crate) fn check_running(&self) -> Result<()> {
        match &*self.stopped.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(error) => Err(error.clone()),
        }
    }

    /// Stops the engine: everything from now on fails with `why`.
    pub(crate) fn stop(&self, why: &Error) {
        let error = match why.code() {
            ErrorCode::ENGINE_STOPPED => why.clone(),
            _ => Error::new(
                ErrorCode::ENGINE_STOPPED,
                format!("{why}; close the database, mend the cause, and open it again"),
            ),
        };
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error.clone());
        self.watches.stop(&error);
    }
}

/// The sequencer.
pub(crate) struct Sequencer {
    shared: Arc<Shared>,
    resolver: Resolver,
    log: Option<Log>,
    durability: Durability,
    /// The sequence numbers of a log-less engine.
    volatile_sequence: u64,
    /// When the log was last synced under relaxed durability, and whether it has to be.
    synced_at: Duration,
    is_sync_due: bool,
}

impl Sequencer {
    /// A sequencer that goes on at the state in `shared`. `log` is `None` for a volatile engine.
    pub(crate) fn new(shared: Arc<Shared>, log: Option<Log>, durability: Durability) -> Sequencer {
        let mut resolver = Resolver::default();
        resolver.forget(shared.store.oldest());
        let sequencer = Sequencer {
            shared,
            resolver,
            log,
            durability,
            volatile_sequence: 0,
            synced_at: Duration::ZERO,
            is_sync_due: false,
        };
        sequencer.tell_durable();
        sequencer
    }

    /// Takes a batch of commits, in the order of their arrival, to their outcomes.
    pub(crate) fn commit(&mut self, waiting: Vec<Waiting>) {
        if let Err(error) = self.shared.check_running() {
            return refuse_all(waiting.into_iter().map(|waiting| waiting.done), &error);
        }
        if self.shared.is_disk_full.load(Ordering::Acquire) {
            self.shared.counters.disk_full.fetch_add(waiting.len() as u64, Ordering::Relaxed);
            let error = Error::new(
                ErrorCode::DISK_FULL,
                "the disk has less room than the reserve: writes are refused until there is more, reads go on",
            );
            return refuse_all(waiting.into_iter().map(|waiting| waiting.done), &error);
        }
        let version = match self.begin_batch() {
            Ok(version) => version,
            Err(error) => {
                if error.code() != ErrorCode::DISK_FULL {
                    self.shared.stop(&error);
                }
                return refuse_all(waiting.into_iter().map(|waiting| waiting.done), &error);
            }
        };
        self.shared.counters.batch_transactions.record(waiting.len() as u64);
        let (draft, accepted) = self.resolve(version, waiting);
        match self.make_durable(version, draft) {
            Ok(entered) => {
                if let Some((sequence, batch)) = entered {
                    self.publish(version, sequence, batch);
                } else {
                    self.shared.versions().end_batch(version);
                }
                self.shared.counters.commits.fetch_add(accepted.len() as u64, Ordering::Relaxed);
                for (done, stamp) in accepted {
                    done(Ok(Committed { stamp }));
                }
            }
            Err(error) => {
                // A refusal for want of room came before any write: these transactions did not happen.
                let refusal =
                    if error.code() == ErrorCode::DISK_FULL { error } else { self.outcome_unknown(&error) };
                self.shared.versions().end_batch(version);
                refuse_all(accepted.into_iter().map(|(done, _)| done), &refusal);
            }
        }
        self.shared.resolver_entries.store(self.resolver.len() as u64, Ordering::Relaxed);
    }

    /// Housekeeping, to be called about ten times a second and when nothing else is to be done.
    pub(crate) fn tick(&mut self) {
        let now = self.shared.env.clock.monotonic();
        let result = self.raise_ceiling(now).and_then(|()| self.sync_if_due(now));
        match result {
            Err(error) if error.code() == ErrorCode::DISK_FULL => {
                // Nothing was written. Versions stand still at their ceiling, and reads with them, until there is room.
                self.shared.is_disk_full.store(true, Ordering::Release);
            }
            Err(error) => self.shared.stop(&error),
            Ok(()) => {}
        }
        let oldest = {
            let mut versions = self.shared.versions();
            versions.read_version(now) - MVCC_WINDOW_VERSIONS
        };
        self.shared.store.raise_oldest(oldest);
        self.resolver.forget(self.shared.store.oldest());
    }

    /// Brings everything acknowledged to disk.
    ///
    /// # Errors
    ///
    /// 1510 and ever after 10004.
    pub(crate) fn sync(&mut self) -> Result<()> {
        let Some(log) = &mut self.log else { return Ok(()) };
        self.is_sync_due = false;
        log.sync()?;
        self.tell_durable();
        Ok(())
    }

    /// With relaxed durability the map waits for the log: what only the operating system has would be in the map and not in the log after a power cut.
    fn tell_durable(&self) {
        if let (Durability::Relaxed { .. }, Some(log)) = (self.durability, &self.log) {
            self.shared.store.set_durable(log.durable());
        }
    }

    /// Brings everything to disk and says so at the log's end. Nothing is committed after this.
    ///
    /// # Errors
    ///
    /// As [`sync`](Sequencer::sync).
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.sync()?;
        if let Some(log) = &mut self.log {
            // Where this cannot be written the log is as good as after a crash.
            let _ = log.seal();
        }
        Ok(())
    }

    /// Says in the log that its last record is on disk, when nothing else is to be written.
    pub(crate) fn mark(&mut self) {
        if let Some(log) = &mut self.log
            && self.durability == Durability::Synced
            && let Err(error) = log.mark()
        {
            self.shared.stop(&error);
        }
    }

    fn begin_batch(&mut self) -> Result<Version> {
        let now = self.shared.env.clock.monotonic();
        if let Some(version) = self.shared.versions().begin_batch(now) {
            return Ok(version);
        }
        self.raise_ceiling(now)?;
        let version = self.shared.versions().begin_batch(now);
        version.ok_or_else(|| Error::new(ErrorCode::INTERNAL_ERROR, "the version ceiling did not rise"))
    }

    fn raise_ceiling(&mut self, now: Duration) -> Result<()> {
        let Some(ceiling) = self.shared.versions().ceiling_due(now) else { return Ok(()) };
        if let Some(log) = &mut self.log {
            log.reserve_for_ceiling()?;
            log.append_ceiling(ceiling)?;
            log.sync()?;
        }
        self.shared.versions().raise_ceiling(ceiling);
        Ok(())
    }

    fn sync_if_due(&mut self, now: Duration) -> Result<()> {
        if let (Durability::Relaxed { interval }, Some(log)) = (self.durability, &mut self.log)
            && self.is_sync_due
            && now.saturating_sub(self.synced_at) >= interval
        {
            log.sync()?;
            self.is_sync_due = false;
            self.synced_at = now;
        }
        self.tell_durable();
        Ok(())
    }

    /// Decides over each transaction and collects what the accepted ones write.
    fn resolve(&mut self, version: Version, waiting: Vec<Waiting>) -> (Draft, Vec<(Done, Versionstamp)>) {
        let mut draft = Draft::default();
        let mut accepted = Vec::with_capacity(waiting.len());
        // What the store holds below this batch: the newest published version.
        let below = self.shared.versions().readable();
        for Waiting { request, done } in waiting {
            let accepted_before = if is_active(Fault::StampsOfOneBatchEqual) { 0 } else { accepted.len() };
            let order = u16::try_from(accepted_before).unwrap_or(u16::MAX);
            let stamp = Versionstamp::new(version, order);
            match self.accept(request, stamp, below, &mut draft) {
                Ok(()) => accepted.push((done, stamp)),
                Err(refused) => done(Err(refused)),
            }
        }
        (draft, accepted)
    }

    fn accept(
        &mut self,
        request: CommitRequest,
        stamp: Versionstamp,
        below: Version,
        draft: &mut Draft,
    ) -> std::result::Result<(), Refused> {
        let refused = |error: Error, conflicting: Vec<KeyRange>| Refused { error, conflicting };
        if self.shared.is_locked.load(Ordering::Acquire) && !request.is_lock_aware {
            return Err(refused(ErrorCode::DATABASE_LOCKED.into(), Vec::new()));
        }
        let read_version = request.read_version.unwrap_or(below);
        let oldest = self.shared.store.oldest().max(self.resolver.oldest());
        if read_version < oldest && !is_active(Fault::TooOldCheckSkipped) {
            count(&self.shared.counters.too_old);
            let detail =
                format!("read version {read_version} is older than {oldest}, the oldest that is kept");
            return Err(refused(Error::new(ErrorCode::TRANSACTION_TOO_OLD, detail), Vec::new()));
        }
        let conflicting =
            self.resolver.conflicts(read_version, &request.read_conflicts, request.reports_conflicts);
        if !conflicting.is_empty() {
            count(&self.shared.counters.conflicts);
            let conflicting = if request.reports_conflicts { conflicting } else { Vec::new() };
            return Err(refused(ErrorCode::NOT_COMMITTED.into(), conflicting));
        }
        let evaluated = draft
            .evaluate(request.mutations, stamp, &self.shared.store, below)
            .map_err(|error| refused(error, Vec::new()))?;
        if !(is_active(Fault::ResolverForgetsWrite) && stamp.version() % 4 == 0) {
            self.resolver.record(stamp.version(), &request.write_conflicts);
        }
        if !evaluated.stamped.is_empty() {
            self.resolver.record(stamp.version(), &evaluated.stamped);
        }
        Ok(())
    }

    /// Appends and syncs. The batch with its sequence number, if there is anything in it.
    fn make_durable(&mut self, version: Version, draft: Draft) -> Result<Option<(u64, Batch)>> {
        if draft.is_empty() {
            return Ok(None);
        }
        let batch = Batch { version, writes: draft.into_writes() };
        let Some(log) = &mut self.log else {
            self.volatile_sequence += 1;
            return Ok(Some((self.volatile_sequence, batch)));
        };
        log.reserve(&batch)?;
        let sequence = log.append(&batch)?;
        match self.durability {
            Durability::Synced => {
                let clock = &self.shared.env.clock;
                let started = clock.monotonic();
                if !is_active(Fault::AcknowledgedBeforeSync) {
                    log.sync()?;
                }
                let took = clock.monotonic().saturating_sub(started);
                self.shared.counters.sync_us.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            }
            Durability::Relaxed { .. } => self.is_sync_due = true,
        }
        Ok(Some((sequence, batch)))
    }

    fn publish(&mut self, version: Version, sequence: u64, batch: Batch) {
        let locks = batch.writes.iter().any(|write| touches(write, LOCK_KEY));
        // Entered before it is published: a reader at this version finds everything.
        let batch = Arc::new(batch);
        self.shared.store.enter(sequence, batch.clone());
        self.shared.versions().end_batch(version);
        if locks {
            let value = self.shared.store.get(LOCK_KEY, version);
            self.shared.is_locked.store(matches!(value, Ok(Some(_))), Ordering::Release);
        }
        let fired = self.shared.watches.fire(&batch.writes);
        self.shared.counters.watches_fired.fetch_add(fired, Ordering::Relaxed);
    }

    fn outcome_unknown(&mut self, error: &Error) -> Error {
        self.shared.stop(error);
        Error::new(
            ErrorCode::COMMIT_UNKNOWN_RESULT,
            format!(
                "the log could not be written ({error}): whether the transaction is on disk shows when the database is opened again"
            ),
        )
    }
}

fn touches(write: &Write, at: &[u8]) -> bool {
    match write {
        Write::Set { key, .. } => key == at,
        Write::ClearRange { begin, end } => begin.as_ref() <= at && at < end.as_ref(),
    }
}

fn refuse_all(waiting: impl Iterator<Item = Done>, error: &Error) {
    for done in waiting {
        done(Err(Refused { error: error.clone(), conflicting: Vec::new() }));
    }
}
