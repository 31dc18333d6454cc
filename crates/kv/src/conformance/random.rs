//! Random transactions, interleaved, on an engine and on the [reference](super::reference) engine in lock-step: every answer, every
//! conflict range and every outcome has to be the same.
//!
//! One seed decides everything. The keys are few and close together, so that transactions meet: the [`Tally`] tells how many conflicted and how many
//! were too old.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::reference::{ReferenceEngine, manual_env_with_clock, split_mix};
use super::{Subject, read_all};
use crate::atomic::MutationType;
use crate::conflict_range::{ConflictKind, ConflictReport, KeyRange};
use crate::engine::{Engine, Isolation, TransactionRef};
use crate::error::{Error, ErrorCode, Result};
use crate::future::KvFuture;
use crate::options::TransactionOption;
use crate::range::{RangeBatch, RangeRequest, StreamingMode};
use crate::selector::KeySelector;

/// How many transactions are open at a time.
const OPEN_TRANSACTIONS: usize = 5;
/// The first byte of keys and values that hold a versionstamp, which is different on each engine.
const STAMPED: u8 = b'S';

/// What a run came across.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Operations, commits included.
    pub operations: u64,
    /// Commits that wrote something.
    pub commits: u64,
    /// Commits refused with 1020.
    pub conflicts: u64,
    /// Reads and commits refused with 1007.
    pub too_old: u64,
    /// Reads and commits refused with 1036.
    pub unreadable: u64,
}

impl Tally {
    /// Adds another run's.
    pub fn add(&mut self, other: Tally) {
        self.operations += other.operations;
        self.commits += other.commits;
        self.conflicts += other.conflicts;
        self.too_old += other.too_old;
        self.unreadable += other.unreadable;
    }
}

/// The first difference between the engine and the reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The seed that shows it again.
    pub seed: u64,
    /// What was done, the step at which they differ last.
    pub steps: Vec<String>,
    /// What the reference says.
    pub expected: String,
    /// What the engine says.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "seed {}: the engine differs from the reference", self.seed)?;
        for step in &self.steps {
            writeln!(formatter, "  {step}")?;
        }
        write!(formatter, "expected {}\nfound    {}", self.expected, self.found)
    }
}

/// Runs `steps` operations chosen by `seed`. The engine has to be empty, and is left as it is.
///
/// # Errors
///
/// The first difference.
pub async fn run(
    subject: &dyn Subject,
    seed: u64,
    steps: usize,
) -> std::result::Result<Tally, Box<Difference>> {
    let (env, clock) = manual_env_with_clock();
    let reference = ReferenceEngine::new(env);
    let mut pair = Pair {
        seed,
        random: seed,
        steps: Vec::new(),
        stamps: BTreeMap::new(),
        tally: Tally::default(),
        open: Vec::new(),
        past: [Past::default(); OPEN_TRANSACTIONS],
        is_client_library: subject.is_client_library(),
    };
    for _ in 0..OPEN_TRANSACTIONS {
        let opened = pair.begin(subject.engine(), &reference)?;
        pair.open.push(opened);
    }
    for _ in 0..steps {
        if pair.chance(150) == 0 && subject.make_too_old() {
            clock.advance(Duration::from_secs(6));
            pair.steps.push("every read version so far becomes too old".to_owned());
        }
        pair.step(subject.engine(), &reference).await?;
        pair.tally.operations += 1;
    }
    let last = pair.begin(subject.engine(), &reference)?;
    let all = RangeRequest::new("", "\u{7f}\u{7f}").mode(StreamingMode::WantAll);
    pair.steps.push(format!("at the end: {all:?}"));
    let expected = last.expected.get_range(&all, Isolation::Snapshot).await;
    let found = last.found.get_range(&all, Isolation::Snapshot).await;
    pair.compare(expected, found, show_batch)?;
    Ok(pair.tally)
}

/// One transaction on both engines.
struct Twin {
    expected: TransactionRef,
    found: TransactionRef,
}

struct Pair {
    seed: u64,
    random: u64,
    steps: Vec<String>,
    /// The reference's stamps and the engine's.
    stamps: BTreeMap<[u8; 10], [u8; 10]>,
    tally: Tally,
    open: Vec<Twin>,
    /// What each of them has done so far.
    past: [Past; OPEN_TRANSACTIONS],
    /// See [`Subject::is_client_library`].
    is_client_library: bool,
}

/// What a transaction has done so far that decides what can be compared.
#[derive(Clone, Copy, Default)]
struct Past {
    has_stamped_key: bool,
    /// It does without read-your-writes.
    is_bare: bool,
    has_compared_and_cleared: bool,
}

type Compared = std::result::Result<(), Box<Difference>>;

impl Pair {
    fn chance(&mut self, outcomes: u64) -> u64 {
        split_mix(&mut self.random) % outcomes
    }

    fn begin(
        &mut self,
        engine: &dyn Engine,
        reference: &ReferenceEngine,
    ) -> std::result::Result<Twin, Box<Difference>> {
        match (reference.begin(), engine.begin()) {
            (Ok(expected), Ok(found)) => Ok(Twin { expected, found }),
            (expected, found) => Err(self.difference(format!("{expected:?}"), format!("{found:?}"))),
        }
    }

    fn difference(&self, expected: String, found: String) -> Box<Difference> {
        Box::new(Difference { seed: self.seed, steps: self.steps.clone(), expected, found })
    }

    fn key(&mut self) -> Bytes {
        match self.chance(40) {
            0 => Bytes::new(),
            1 => Bytes::from_static(b"\xff"),
            2 => Bytes::from_static(b"k\xff\xff"),
            3 => Bytes::from_static(b"S"),
            _ => Bytes::from(vec![b'k', b'0' + self.chance(10) as u8]),
        }
    }

    fn value(&mut self) -> Bytes {
        let length = self.chance(4) as usize;
        (0..length).map(|_| self.chance(4) as u8 * 85).collect::<Vec<u8>>().into()
    }

    fn isolation(&mut self) -> Isolation {
        if self.chance(4) == 0 { Isolation::Snapshot } else { Isolation::Serializable }
    }

    fn selector(&mut self) -> KeySelector {
        let offset = self.chance(9) as i32 - 4;
        let offset = if self.chance(2) == 0 { 1 } else { offset };
        KeySelector::new(self.key(), self.chance(2) == 0, offset)
    }

    /// Whether the engine and the reference count the same keys for the selectors of this transaction.
    fn selectors_agree(&self, index: usize) -> bool {
        !(self.is_client_library && self.past[index].has_compared_and_cleared)
    }

    fn request(&mut self, index: usize) -> RangeRequest {
        let mut request = match self.chance(3) {
            0 if self.selectors_agree(index) => RangeRequest::between(self.selector(), self.selector()),
            _ => {
                let (one, other) = (self.key(), self.key());
                RangeRequest::new(one.clone().min(other.clone()), one.max(other))
            }
        };
        request.limit = [0, 0, 1, 2, 3, 5][self.chance(6) as usize];
        request.reverse = self.chance(3) == 0;
        request
    }

    /// Fails unless both results say the same, once the engines' stamps are taken for equal.
    fn compare<T>(&mut self, expected: Result<T>, found: Result<T>, show: impl Fn(&T) -> String) -> Compared {
        let shown = |result: &Result<T>| match result {
            Ok(value) => show(value),
            Err(error) => format!("error {}", error.code().number()),
        };
        if let Err(error) = &expected {
            match error.code().number() {
                1007 => self.tally.too_old += 1,
                1020 => self.tally.conflicts += 1,
                1036 => self.tally.unreadable += 1,
                _ => {}
            }
        }
        let (mut expected, found) = (shown(&expected), shown(&found));
        for (ours, theirs) in &self.stamps {
            expected = expected.replace(&ours.escape_ascii().to_string(), &theirs.escape_ascii().to_string());
        }
        if expected == found { Ok(()) } else { Err(self.difference(expected, found)) }
    }

    async fn step(&mut self, engine: &dyn Engine, reference: &ReferenceEngine) -> Compared {
        let index = self.chance(OPEN_TRANSACTIONS as u64) as usize;
        let (expected, found) = (self.open[index].expected.clone(), self.open[index].found.clone());
        let twin = Twin { expected, found };
        match self.chance(24) {
            0..=9 => self.read(index, &twin).await,
            10..=18 => {
                self.write(index, &twin);
                Ok(())
            }
            19 => self.set_option(index, &twin),
            20 => self.compare_conflict_ranges(index, &twin).await,
            21 if self.chance(4) == 0 => {
                self.steps.push(format!("{index}: reset"));
                twin.expected.reset();
                twin.found.reset();
                self.past[index] = Past::default();
                Ok(())
            }
            _ => {
                self.commit(index, &twin).await?;
                self.open[index] = self.begin(engine, reference)?;
                self.past[index] = Past::default();
                Ok(())
            }
        }
    }

    async fn read(&mut self, index: usize, twin: &Twin) -> Compared {
        let isolation = self.isolation();
        // Whether a read that needs no data takes a read version is up to the engine; here both have one.
        let versions = (twin.expected.read_version().await, twin.found.read_version().await);
        self.compare(versions.0, versions.1, |_| "a read version".to_owned())?;
        match self.chance(3) {
            0 => {
                let key = self.key();
                // Every other time with two keys more, around it.
                let more = [[&b"k"[..], &key].concat().into(), Bytes::from_static(b"k5")];
                let keys: Vec<Bytes> = match self.steps.len() % 2 {
                    0 => std::iter::once(key).chain(more).collect(),
                    _ => vec![key],
                };
                let names: Vec<_> = keys.iter().map(|key| key.escape_ascii().to_string()).collect();
                self.steps.push(format!("{index}: get {} {isolation:?}", names.join(" ")));
                let expected: Vec<_> = keys.iter().map(|key| twin.expected.get(key, isolation)).collect();
                let found = match &keys[..] {
                    [key] => vec![twin.found.get(key, isolation)],
                    keys => twin.found.get_many(keys, isolation),
                };
                let show =
                    |value: &Option<Bytes>| value.as_ref().map_or("absent".to_owned(), |value| shown(value));
                let steps = self.steps.len();
                for (expected, found) in expected.into_iter().zip(found) {
                    // Where both began anew, the rest is of before.
                    if self.steps.len() == steps {
                        self.compare_reads(index, twin, expected, found, show).await?;
                    }
                }
                Ok(())
            }
            1 if self.selectors_agree(index) => {
                let selector = self.selector();
                self.steps.push(format!("{index}: get_key {selector:?} {isolation:?}"));
                let (expected, found) =
                    (twin.expected.get_key(&selector, isolation), twin.found.get_key(&selector, isolation));
                self.compare_reads(index, twin, expected, found, |key| shown(key)).await
            }
            _ => {
                let request = self.request(index);
                self.steps.push(format!("{index}: get_range {request:?} {isolation:?}"));
                let expected = read_all(&twin.expected, &request, isolation).await;
                let found = read_all(&twin.found, &request, isolation).await;
                if self.is_client_library && !has_plain_ends(&request) {
                    let is_empty = matches!(&found, Ok(batch) if batch.rows.is_empty());
                    let spares_a_look = found.is_ok() && is_unreadable(&expected);
                    if is_empty || spares_a_look || meets_an_end(&twin.expected, &request).await {
                        if !spares_a_look {
                            self.compare(expected, found, show_batch)?;
                        }
                        self.start_anew(index, twin);
                        return Ok(());
                    }
                }
                self.compare_reads(index, twin, KvFuture::ready(expected), KvFuture::ready(found), show_batch)
                    .await
            }
        }
    }

    /// As [`compare_futures`](Self::compare_futures); but an engine may answer from the transaction's own writes where the reference, which always
    /// looks at the database, finds the read version too old. And the range that a versionstamped key makes unreadable begins at the read version, which
    /// one engine may share with the last commit and the other not. What follows would differ, so both start anew.
    async fn compare_reads<T>(
        &mut self,
        index: usize,
        twin: &Twin,
        expected: KvFuture<T>,
        found: KvFuture<T>,
        show: impl Fn(&T) -> String,
    ) -> Compared {
        let (expected, found) = (expected.await, found.await);
        let is_too_old = matches!(&expected, Err(error) if error.code() == ErrorCode::TRANSACTION_TOO_OLD);
        let may_be_local = is_too_old && twin.expected.has_writes();
        let answers_from_own_writes = may_be_local && (found.is_ok() || is_unreadable(&found));
        let sees_other_stamps =
            self.past[index].has_stamped_key && is_unreadable(&expected) != is_unreadable(&found);
        if answers_from_own_writes || sees_other_stamps {
            self.tally.too_old += u64::from(is_too_old);
            self.start_anew(index, twin);
            return Ok(());
        }
        self.compare(expected, found, show)
    }

    /// Both engines were right, and what follows may differ.
    fn start_anew(&mut self, index: usize, twin: &Twin) {
        self.steps.push(format!("{index}: reset, since both may be right"));
        twin.expected.reset();
        twin.found.reset();
        self.past[index] = Past::default();
    }

    async fn compare_futures<T>(
        &mut self,
        expected: KvFuture<T>,
        found: KvFuture<T>,
        show: impl Fn(&T) -> String,
    ) -> Compared {
        let (expected, found) = (expected.await, found.await);
        self.compare(expected, found, show)
    }

    fn write(&mut self, index: usize, twin: &Twin) {
        let (key, value) = (self.key(), self.value());
        let both = |write: &dyn Fn(&TransactionRef)| {
            write(&twin.expected);
            write(&twin.found);
        };
        let step = match self.chance(8) {
            0..=2 => {
                both(&|transaction| transaction.set(&key, &value));
                format!("set {} {}", shown(&key), shown(&value))
            }
            3 => {
                both(&|transaction| transaction.clear(&key));
                format!("clear {}", shown(&key))
            }
            4 => {
                let other = self.key();
                let (begin, end) = (key.clone().min(other.clone()), key.max(other));
                both(&|transaction| transaction.clear_range(&begin, &end));
                format!("clear_range {} {}", shown(&begin), shown(&end))
            }
            5 => {
                let other = self.key();
                let (begin, end) = (key.clone().min(other.clone()), key.max(other));
                let kind = if self.chance(2) == 0 { ConflictKind::Read } else { ConflictKind::Write };
                both(&|transaction| drop(transaction.add_conflict_range(&begin, &end, kind)));
                format!("add_conflict_range {} {} {kind:?}", shown(&begin), shown(&end))
            }
            _ => {
                let mutation = MutationType::ALL[self.chance(12) as usize];
                let (key, operand) = match mutation {
                    MutationType::SetVersionstampedKey => {
                        let tail = self.chance(3) as u8;
                        self.past[index].has_stamped_key = true;
                        let mut key = vec![STAMPED];
                        key.extend_from_slice(&[0; 10]);
                        key.push(tail);
                        key.extend_from_slice(&1u32.to_le_bytes());
                        (Bytes::from(key), value)
                    }
                    MutationType::SetVersionstampedValue => {
                        (key, Bytes::from_static(b"S0123456789\x01\0\0\0"))
                    }
                    MutationType::CompareAndClear => {
                        self.past[index].has_compared_and_cleared = true;
                        (key, value)
                    }
                    _ => (key, value),
                };
                both(&|transaction| transaction.atomic(mutation, &key, &operand));
                format!("{mutation:?} {} {}", shown(&key), shown(&operand))
            }
        };
        self.steps.push(format!("{index}: {step}"));
    }

    fn set_option(&mut self, index: usize, twin: &Twin) -> Compared {
        let option = match self.chance(8) {
            0 => TransactionOption::SnapshotReadYourWritesDisable,
            1 => TransactionOption::SnapshotReadYourWritesEnable,
            2 => TransactionOption::BypassUnreadable,
            3 if self.chance(4) == 0 => {
                // It is refused after a read, except, in the client library, after one that told nothing.
                if self.is_client_library {
                    self.start_anew(index, twin);
                }
                self.past[index].is_bare = true;
                TransactionOption::ReadYourWritesDisable
            }
            4 => TransactionOption::ReportConflictingKeys,
            _ => TransactionOption::NextWriteNoWriteConflictRange,
        };
        self.steps.push(format!("{index}: option {option:?}"));
        let (expected, found) = (twin.expected.set_option(option.clone()), twin.found.set_option(option));
        self.compare(expected, found, |()| "set".to_owned())
    }

    async fn compare_conflict_ranges(&mut self, index: usize, twin: &Twin) -> Compared {
        // A transaction that can no longer read, or reads past its own writes, need not tell what it conflicts with.
        let versions = (twin.expected.read_version().await, twin.found.read_version().await);
        if versions.0.is_err() || versions.1.is_err() || self.past[index].is_bare {
            return self.compare(versions.0, versions.1, |_| "a read version".to_owned());
        }
        if self.is_client_library && self.past[index].has_stamped_key {
            return Ok(());
        }
        self.steps.push(format!("{index}: read conflict ranges"));
        let (expected, found) = (
            twin.expected.conflict_ranges(ConflictReport::Read),
            twin.found.conflict_ranges(ConflictReport::Read),
        );
        self.compare_futures(expected, found, |ranges| show_ranges(ranges)).await
    }

    async fn commit(&mut self, index: usize, twin: &Twin) -> Compared {
        self.steps.push(format!("{index}: commit"));
        let stamps = (twin.expected.versionstamp(), twin.found.versionstamp());
        let (expected, found) = (twin.expected.commit().await, twin.found.commit().await);
        let has_committed = expected.is_ok();
        let has_conflicted = matches!(&expected, Err(error) if error.code().number() == 1020);
        self.compare(expected, found, |()| "committed".to_owned())?;
        let past = self.past[index];
        let has_other_ranges = self.is_client_library && (past.is_bare || past.has_stamped_key);
        if has_conflicted && !has_other_ranges {
            let report = ConflictReport::Conflicting;
            let (expected, found) =
                (twin.expected.conflict_ranges(report), twin.found.conflict_ranges(report));
            self.compare_futures(expected, found, |ranges| show_ranges(ranges)).await?;
        }
        if has_committed {
            let (expected, found) = (stamps.0.await, stamps.1.await);
            if let (Ok(expected), Ok(found)) = (&expected, &found) {
                self.stamps.insert(*expected.as_bytes(), *found.as_bytes());
                self.tally.commits += 1;
            }
            let outcome = |result: std::result::Result<_, Error>| result.map(|_| ());
            self.compare(outcome(expected), outcome(found), |()| "stamped".to_owned())?;
        }
        Ok(())
    }
}

/// Whether a selector of the request leads to the beginning or the end of all keys, or to where it cannot be told.
async fn meets_an_end(transaction: &TransactionRef, request: &RangeRequest) -> bool {
    for selector in [&request.begin, &request.end] {
        match transaction.get_key(selector, Isolation::Snapshot).await {
            Ok(key) if !key.is_empty() && key[..] < b"\xff"[..] => {}
            _ => return true,
        }
    }
    false
}

fn is_unreadable<T>(result: &Result<T>) -> bool {
    matches!(result, Err(error) if error.code() == ErrorCode::ACCESSED_UNREADABLE)
}

/// Whether a range goes from a key to a key, whatever there is.
fn has_plain_ends(request: &RangeRequest) -> bool {
    [&request.begin, &request.end].iter().all(|selector| !selector.or_equal && selector.offset == 1)
}

fn shown(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

fn show_batch(batch: &RangeBatch) -> String {
    let rows: Vec<String> =
        batch.rows.iter().map(|row| format!("{}: {}", shown(&row.key), shown(&row.value))).collect();
    format!("[{}] more: {}", rows.join(", "), batch.more)
}

fn show_ranges(ranges: &[KeyRange]) -> String {
    let ranges: Vec<String> =
        ranges.iter().map(|range| format!("{}..{}", shown(&range.begin), shown(&range.end))).collect();
    ranges.join(", ")
}
