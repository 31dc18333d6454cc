//! The runner against an engine whose commits answer "unknown" in every way they can: having committed, not having committed, and
//! committing only later, when nobody waits any more. Each logical transaction takes effect exactly once all the same.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};
use tenantry_kv::env::Env;
use tenantry_kv::runner::{RetryPolicy, Runner};
use tenantry_kv::{
    Bytes, ConflictKind, ConflictReport, DatabaseOption, Engine, EngineProfile, Error, ErrorCode, Isolation,
    KeyRange, KeySelector, KvFuture, MutationType, RangeBatch, RangeRequest, ReadTransaction, Result,
    Transaction, TransactionOption, TransactionRef, Version, Versionstamp, WriteTransaction,
};

/// What happens to a commit.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Pass,
    UnknownAfterCommit,
    UnknownWithoutCommit,
    UnknownAndLate,
    /// The commit takes effect and answers "unknown", and then everything that was late arrives.
    UnknownAfterCommitThenLate,
}

#[derive(Debug)]
struct Unsure {
    inner: ReferenceEngine,
    env: Env,
    code: ErrorCode,
    late: Mutex<Vec<TransactionRef>>,
    late_commits: Mutex<(usize, usize)>,
    /// The share of commits, in percent, that do not pass.
    unsure_percent: u64,
    /// What becomes of the first commits, instead of chance; while there is a script nothing late arrives by itself.
    script: Mutex<VecDeque<Fate>>,
}

impl Unsure {
    fn fate(&self) -> Fate {
        if let Some(fate) = self.script.lock().unwrap().pop_front() {
            return fate;
        }
        if self.env.randomness.next_u64("whether") % 100 >= self.unsure_percent {
            return Fate::Pass;
        }
        [Fate::UnknownAfterCommit, Fate::UnknownWithoutCommit, Fate::UnknownAndLate]
            [(self.env.randomness.next_u64("how") % 3) as usize]
    }

    /// Lets some of the commits arrive that nobody waits for any more.
    fn deliver_late(&self) {
        if !self.script.lock().unwrap().is_empty() {
            return;
        }
        let due = {
            let mut late = self.late.lock().unwrap();
            let keep = if self.env.randomness.next_u64("late").is_multiple_of(2) { late.len() } else { 0 };
            late.split_off(keep)
        };
        self.arrive(due);
    }

    fn arrive(&self, due: Vec<TransactionRef>) {
        for transaction in due {
            let result = pollster::block_on(transaction.commit());
            let mut counts = self.late_commits.lock().unwrap();
            if result.is_ok() { counts.0 += 1 } else { counts.1 += 1 }
        }
    }
}

#[derive(Debug)]
struct UnsureEngine(Arc<Unsure>);

impl Engine for UnsureEngine {
    fn begin(&self) -> Result<TransactionRef> {
        Ok(Arc::new(UnsureTransaction { engine: self.0.clone(), inner: Mutex::new(self.0.inner.begin()?) }))
    }
    fn set_option(&self, option: DatabaseOption) -> Result<()> {
        self.0.inner.set_option(option)
    }
    fn profile(&self) -> EngineProfile {
        EngineProfile::new("unsure", true, false)
    }
}

#[derive(Debug)]
struct UnsureTransaction {
    engine: Arc<Unsure>,
    inner: Mutex<TransactionRef>,
}

impl UnsureTransaction {
    fn inner(&self) -> TransactionRef {
        self.inner.lock().unwrap().clone()
    }
}

impl ReadTransaction for UnsureTransaction {
    fn get(&self, key: &[u8], isolation: Isolation) -> KvFuture<Option<Bytes>> {
        self.engine.deliver_late();
        self.inner().get(key, isolation)
    }
    fn get_key(&self, selector: &KeySelector, isolation: Isolation) -> KvFuture<Bytes> {
        self.inner().get_key(selector, isolation)
    }
    fn get_range(&self, request: &RangeRequest, isolation: Isolation) -> KvFuture<RangeBatch> {
        self.inner().get_range(request, isolation)
    }
    fn read_version(&self) -> KvFuture<Version> {
        self.inner().read_version()
    }
    fn estimated_range_size_bytes(&self, begin: &[u8], end: &[u8]) -> KvFuture<u64> {
        self.inner().estimated_range_size_bytes(begin, end)
    }
    fn range_split_points(&self, begin: &[u8], end: &[u8], chunk_size_bytes: u64) -> KvFuture<Vec<Bytes>> {
        self.inner().range_split_points(begin, end, chunk_size_bytes)
    }
}

impl WriteTransaction for UnsureTransaction {
    fn set(&self, key: &[u8], value: &[u8]) {
        self.inner().set(key, value);
    }
    fn clear(&self, key: &[u8]) {
        self.inner().clear(key);
    }
    fn clear_range(&self, begin: &[u8], end: &[u8]) {
        self.inner().clear_range(begin, end);
    }
    fn atomic(&self, mutation: MutationType, key: &[u8], operand: &[u8]) {
        self.inner().atomic(mutation, key, operand);
    }
    fn add_conflict_range(&self, begin: &[u8], end: &[u8], kind: ConflictKind) -> Result<()> {
        self.inner().add_conflict_range(begin, end, kind)
    }
}

impl Transaction for UnsureTransaction {
    fn set_option(&self, option: TransactionOption) -> Result<()> {
        self.inner().set_option(option)
    }
    fn set_read_version(&self, version: Version) {
        self.inner().set_read_version(version);
    }
    fn commit(&self) -> KvFuture<()> {
        self.engine.deliver_late();
        let fate = if self.inner().has_writes() { self.engine.fate() } else { Fate::Pass };
        match fate {
            Fate::Pass => self.inner().commit(),
            Fate::UnknownAfterCommit => match pollster::block_on(self.inner().commit()) {
                Ok(()) => KvFuture::error(self.engine.code),
                Err(error) => KvFuture::error(error),
            },
            Fate::UnknownWithoutCommit => KvFuture::error(self.engine.code),
            Fate::UnknownAfterCommitThenLate => {
                pollster::block_on(self.inner().commit()).unwrap();
                let due = std::mem::take(&mut *self.engine.late.lock().unwrap());
                self.engine.arrive(due);
                KvFuture::error(self.engine.code)
            }
            Fate::UnknownAndLate => {
                // As on a cluster, the read version is fixed before the commit is sent.
                pollster::block_on(self.inner().read_version()).unwrap();
                let fresh = self.engine.inner.begin().unwrap();
                let late = std::mem::replace(&mut *self.inner.lock().unwrap(), fresh);
                self.engine.late.lock().unwrap().push(late);
                KvFuture::error(self.engine.code)
            }
        }
    }
    fn committed_version(&self) -> Result<Version> {
        self.inner().committed_version()
    }
    fn versionstamp(&self) -> KvFuture<Versionstamp> {
        self.inner().versionstamp()
    }
    fn watch(&self, key: &[u8]) -> KvFuture<()> {
        self.inner().watch(key)
    }
    fn on_error(&self, error: &Error) -> KvFuture<()> {
        self.inner().on_error(error)
    }
    fn reset(&self) {
        self.inner().reset();
    }
    fn cancel(&self) {
        self.inner().cancel();
    }
    fn has_writes(&self) -> bool {
        self.inner().has_writes()
    }
    fn approximate_size_bytes(&self) -> KvFuture<u64> {
        self.inner().approximate_size_bytes()
    }
    fn conflict_ranges(&self, report: ConflictReport) -> KvFuture<Vec<KeyRange>> {
        self.inner().conflict_ranges(report)
    }
}

fn unsure(code: ErrorCode, unsure_percent: u64) -> (Arc<Unsure>, Env) {
    let env = manual_env();
    let inner = ReferenceEngine::new(env.clone());
    let state = Unsure {
        inner,
        env: env.clone(),
        code,
        late: Mutex::default(),
        late_commits: Mutex::default(),
        unsure_percent,
        script: Mutex::default(),
    };
    (Arc::new(state), env)
}

fn add_one(runner: &Runner, blind: bool) -> Result<()> {
    pollster::block_on(runner.run(|transaction| async move {
        if blind {
            transaction.atomic(MutationType::Add, b"counter", &1u64.to_le_bytes());
        } else {
            let count = transaction.get(b"counter", Isolation::Serializable).await?;
            let count = count.map_or(0, |value| u64::from_le_bytes(value.as_ref().try_into().unwrap()));
            transaction.set(b"counter", &(count + 1).to_le_bytes());
        }
        Ok(())
    }))
}

fn counter(engine: &Unsure) -> u64 {
    let transaction = engine.inner.begin().unwrap();
    let value = pollster::block_on(transaction.get(b"counter", Isolation::Serializable)).unwrap();
    value.map_or(0, |value| u64::from_le_bytes(value.as_ref().try_into().unwrap()))
}

fn check_exactly_once(code: ErrorCode, blind: bool) {
    let (engine, env) = unsure(code, 60);
    let policy = RetryPolicy::default();
    let runner = Runner::new(Arc::new(UnsureEngine(engine.clone())), env, "slots/").with_policy(policy);
    for expected in 1..=150 {
        add_one(&runner, blind).unwrap();
        let _ = expected;
    }
    // What is still under way arrives now, and must not count.
    while !engine.late.lock().unwrap().is_empty() {
        engine.deliver_late();
    }
    assert_eq!(counter(&engine), 150, "{code:?}, blind: {blind}");
    let (landed, refused) = *engine.late_commits.lock().unwrap();
    assert!(landed > 0 && refused > 0, "late commits both ways: {landed} landed, {refused} refused");
}

#[test]
fn a_read_modify_write_counts_once_after_1021() {
    check_exactly_once(ErrorCode::COMMIT_UNKNOWN_RESULT, false);
}

#[test]
fn a_blind_add_counts_once_after_1021() {
    check_exactly_once(ErrorCode::COMMIT_UNKNOWN_RESULT, true);
}

#[test]
fn a_blind_add_counts_once_after_a_commit_that_timed_out() {
    check_exactly_once(ErrorCode::TRANSACTION_TIMED_OUT, true);
}

#[test]
fn a_blind_add_counts_once_after_a_change_of_the_cluster_version() {
    check_exactly_once(ErrorCode::CLUSTER_VERSION_CHANGED, true);
}

/// The commit that made a slot was a blind write. Its outcome unknown, the slot was made again, and used; the first commit then arrived late and wrote over the nonce
/// of an attempt that had taken effect. The attempt was taken for one that had not, and ran twice.
#[test]
fn a_slot_that_is_made_late_does_not_hide_that_its_attempt_took_effect() {
    for code in [
        ErrorCode::COMMIT_UNKNOWN_RESULT,
        ErrorCode::TRANSACTION_TIMED_OUT,
        ErrorCode::CLUSTER_VERSION_CHANGED,
    ] {
        let (engine, env) = unsure(code, 0);
        *engine.script.lock().unwrap() = VecDeque::from([
            // The lease, the slot and the slot again, the attempt.
            Fate::Pass,
            Fate::UnknownAndLate,
            Fate::Pass,
            Fate::UnknownAfterCommitThenLate,
        ]);
        let runner = Runner::new(Arc::new(UnsureEngine(engine.clone())), env, "slots/");
        add_one(&runner, true).unwrap();
        assert!(engine.script.lock().unwrap().is_empty(), "every step was reached");
        let late = *engine.late_commits.lock().unwrap();
        assert_eq!(late.0 + late.1, 1, "the slot's first commit arrived");
        assert_eq!(counter(&engine), 1, "{code:?}");
    }
}

/// The control: without slots the same engine applies some transactions twice. If this passes with an exact count, the tests above
/// show nothing.
#[test]
fn without_slots_the_count_is_wrong() {
    let (engine, env) = unsure(ErrorCode::COMMIT_UNKNOWN_RESULT, 60);
    let runner = Runner::for_idempotent_work(Arc::new(UnsureEngine(engine.clone())), env);
    for _ in 0..150 {
        add_one(&runner, true).unwrap();
    }
    assert!(counter(&engine) > 150);
}

#[test]
fn slots_are_reused() {
    let (engine, env) = unsure(ErrorCode::COMMIT_UNKNOWN_RESULT, 0);
    let runner = Runner::new(Arc::new(UnsureEngine(engine.clone())), env, "slots/");
    for _ in 0..20 {
        add_one(&runner, true).unwrap();
    }
    let transaction = engine.inner.begin().unwrap();
    let keys = RangeRequest::new("slots/", "slots0");
    let rows = pollster::block_on(transaction.get_range(&keys, Isolation::Serializable)).unwrap().rows;
    assert_eq!(rows.len(), 2, "one lease and one slot");
}

#[test]
fn an_application_error_ends_the_run_and_writes_nothing() {
    let (engine, env) = unsure(ErrorCode::COMMIT_UNKNOWN_RESULT, 60);
    let runner = Runner::new(Arc::new(UnsureEngine(engine.clone())), env, "slots/");
    let result: Result<()> = pollster::block_on(runner.run(|transaction| async move {
        transaction.set(b"counter", &7u64.to_le_bytes());
        Err(ErrorCode::KEY_OUTSIDE_LEGAL_RANGE.into())
    }));
    assert_eq!(result.unwrap_err().code(), ErrorCode::KEY_OUTSIDE_LEGAL_RANGE);
    assert_eq!(counter(&engine), 0);
}

#[test]
fn the_budget_ends_an_endless_conflict() {
    let (engine, env) = unsure(ErrorCode::COMMIT_UNKNOWN_RESULT, 0);
    let mut policy = RetryPolicy::default();
    policy.attempts_max = 3;
    let runner = Runner::new(Arc::new(UnsureEngine(engine.clone())), env, "slots/").with_policy(policy);
    let mut attempts = 0;
    let result: Result<()> = pollster::block_on(runner.run(|_| {
        attempts += 1;
        async { Err(ErrorCode::NOT_COMMITTED.into()) }
    }));
    let error = result.unwrap_err();
    assert_eq!((error.code(), attempts), (ErrorCode::RETRY_BUDGET_EXHAUSTED, 3));
    assert!(error.to_string().contains("1020"), "names the last error: {error}");
}
