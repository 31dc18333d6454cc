//! What clients do. Every seed takes some kinds of operations and leaves out others, so that rare mixes come up.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tenantry_kv::runner::Runner;
use tenantry_kv::{
    ConflictKind, Engine, Error, ErrorCode, Isolation, KeySelector, MutationType, RangeRequest,
    TransactionRef, Versionstamp,
};

use crate::executor::give_way;
use crate::finding::{Finding, Oracle};
use crate::history::{Ended, History, Operation, Recorded, marker};
use crate::random::Stream;
use crate::scale::{Part, Scale};

/// What the clients of a seed are like.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    pub(crate) keys: u64,
    /// How likely each kind of operation is, against the others.
    weights: [u64; 9],
    operations_max: u64,
    pub(crate) clients: u64,
    pub(crate) transactions: u64,
}

const NODES: u64 = 7;
const ACCOUNTS: u64 = 5;
const ACCOUNT_SUM: i64 = 1_000;

/// The kinds of operations.
const KINDS: [Part; 9] = [
    Part::Gets,
    Part::Ranges,
    Part::Selectors,
    Part::Sets,
    Part::Clears,
    Part::RangeClears,
    Part::Atomics,
    Part::ReadConflicts,
    Part::WriteConflicts,
];

impl Mix {
    pub(crate) fn new(random: &mut Stream, transactions: u64, scale: &Scale) -> Mix {
        let mut weights = [0; 9];
        for (weight, kind) in weights.iter_mut().zip(KINDS) {
            *weight = *random.pick(&[0, 1, 1, 3, 10]);
            // Something is read and something written.
            *weight += u64::from(matches!(kind, Part::Gets | Part::Sets));
            if !scale.has(kind) {
                *weight = 0;
            }
        }
        Mix {
            keys: *random.pick(&[1, 2, 5, 20, 60, 200]),
            weights,
            operations_max: *random.pick(&[2, 4, 10]),
            clients: (*random.pick(&[1, 2, 3, 5, 8, 16])).min(scale.clients_max),
            transactions,
        }
    }

    fn key(&self, random: &mut Stream) -> Bytes {
        Bytes::from(format!("k{:03}", random.below(self.keys)))
    }

    fn kind(&self, random: &mut Stream) -> Part {
        let mut rest = random.below(self.weights.iter().sum());
        for (weight, kind) in self.weights.iter().zip(KINDS) {
            match rest.checked_sub(*weight) {
                Some(less) => rest = less,
                None => return kind,
            }
        }
        Part::Gets
    }
}

/// What all clients share.
pub(crate) struct Shared {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) history: Rc<RefCell<History>>,
    pub(crate) runner: Runner,
    pub(crate) tally: Rc<RefCell<Tally>>,
}

/// What the invariants of whole workloads need to know.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Increments that were acknowledged, and those of which nothing is known.
    pub(crate) counted: u64,
    pub(crate) counting: u64,
    /// What did not hold.
    pub(crate) broken: Option<Finding>,
    pub(crate) watches_fired: u64,
    pub(crate) commits: u64,
    pub(crate) conflicts: u64,
    pub(crate) too_old: u64,
}

fn event(history: &Rc<RefCell<History>>) -> u64 {
    let mut history = history.borrow_mut();
    history.events += 1;
    history.events
}

/// A client that runs random transactions and records them. It ends when the engine has stopped.
pub(crate) async fn random_client(shared: Rc<Shared>, mix: Mix, mut random: Stream, transactions: u64) {
    for _ in 0..transactions {
        let Ok(transaction) = shared.engine.begin() else { return };
        give_way().await;
        let Ok(read_version) = transaction.read_version().await else { return };
        let number = {
            let read_at = event(&shared.history);
            let mut history = shared.history.borrow_mut();
            history.transactions.push(Recorded {
                read_at,
                read_version,
                operations: Vec::new(),
                is_writer: false,
                ended: Ended::Open,
                ended_at: u64::MAX,
            });
            history.transactions.len() - 1
        };
        let ended = match operate(&shared, &transaction, &mix, &mut random, number).await {
            Ok(ended) => ended,
            Err(error) if error.may_have_committed() => Ended::Unknown,
            Err(error) => Ended::Failed(error.code()),
        };
        let ended_at = event(&shared.history);
        let mut tally = shared.tally.borrow_mut();
        match ended {
            Ended::Committed(_) => tally.commits += 1,
            Ended::Failed(ErrorCode::NOT_COMMITTED) => tally.conflicts += 1,
            Ended::Failed(ErrorCode::TRANSACTION_TOO_OLD) => tally.too_old += 1,
            _ => {}
        }
        let recorded = &mut shared.history.borrow_mut().transactions[number];
        (recorded.ended, recorded.ended_at) = (ended, ended_at);
        if ended == Ended::Failed(ErrorCode::ENGINE_STOPPED) {
            return;
        }
    }
}

async fn operate(
    shared: &Shared,
    transaction: &TransactionRef,
    mix: &Mix,
    random: &mut Stream,
    number: usize,
) -> Result<Ended, Error> {
    let mut has_written = false;
    for _ in 0..1 + random.below(mix.operations_max) {
        if random.percent(70) {
            give_way().await;
        }
        let is_snapshot = random.percent(20);
        let isolation = if is_snapshot { Isolation::Snapshot } else { Isolation::Serializable };
        let key = mix.key(random);
        let other = mix.key(random);
        let (low, high) = if key <= other { (key.clone(), other) } else { (other, key.clone()) };
        let operation = match mix.kind(random) {
            Part::Gets => {
                let found = transaction.get(&key, isolation).await?;
                Operation::Get { key, is_snapshot, found }
            }
            Part::Ranges => {
                let reverse = random.percent(40);
                let limit = *random.pick(&[0, 1, 2, 5]);
                let request = RangeRequest::new(low.clone(), high.clone()).reverse(reverse).limit(limit);
                let batch = transaction.get_range(&request, isolation).await?;
                Operation::Range {
                    begin: low,
                    end: high,
                    reverse,
                    is_snapshot,
                    rows: batch.rows,
                    more: batch.more,
                }
            }
            Part::Selectors => {
                let selector =
                    KeySelector { key, or_equal: random.percent(50), offset: random.below(7) as i32 - 2 };
                let found = transaction.get_key(&selector, isolation).await?;
                Operation::Selector { selector, is_snapshot, found }
            }
            Part::Sets => {
                // Now and then one that spans several pages of the disk.
                let size_bytes_max = if random.percent(10) { 20_000 } else { 60 };
                let value = Bytes::from(vec![random.next_u64() as u8; random.below(size_bytes_max) as usize]);
                transaction.set(&key, &value);
                Operation::Set { key, value }
            }
            Part::Clears => {
                transaction.clear(&key);
                let end = [key.as_ref(), &[0]].concat().into();
                Operation::ClearRange { begin: key, end }
            }
            Part::RangeClears => {
                transaction.clear_range(&low, &high);
                Operation::ClearRange { begin: low, end: high }
            }
            Part::Atomics => {
                let mutation = *random.pick(&[
                    MutationType::Add,
                    MutationType::Max,
                    MutationType::Min,
                    MutationType::BitXor,
                    MutationType::ByteMax,
                    MutationType::AppendIfFits,
                    MutationType::CompareAndClear,
                ]);
                let operand = Bytes::from(random.below(1_000).to_le_bytes()[..4].to_vec());
                transaction.atomic(mutation, &key, &operand);
                Operation::Atomic { mutation, key, operand }
            }
            Part::WriteConflicts => {
                transaction.add_conflict_range(&low, &high, ConflictKind::Write)?;
                Operation::AddWriteConflict { begin: low, end: high }
            }
            _ => {
                transaction.add_conflict_range(&low, &high, ConflictKind::Read)?;
                Operation::AddReadConflict { begin: low, end: high }
            }
        };
        has_written |= matches!(
            operation,
            Operation::Set { .. }
                | Operation::ClearRange { .. }
                | Operation::Atomic { .. }
                | Operation::AddWriteConflict { .. }
        );
        shared.history.borrow_mut().transactions[number].operations.push(operation);
    }
    if !has_written {
        transaction.commit().await?;
        return Ok(Ended::ReadOnly);
    }
    shared.history.borrow_mut().transactions[number].is_writer = true;
    transaction.atomic(MutationType::SetVersionstampedValue, &marker(number), &[0; 14]);
    let stamp = transaction.versionstamp();
    if random.percent(70) {
        give_way().await;
    }
    transaction.commit().await?;
    let stamp: Versionstamp = stamp.await?;
    Ok(Ended::Committed(stamp))
}

/// A client that counts: every logical increment takes effect exactly once, whatever its commits answered.
pub(crate) async fn counting_client(shared: Rc<Shared>, increments: u64) {
    for _ in 0..increments {
        shared.tally.borrow_mut().counting += 1;
        give_way().await;
        let counted = shared
            .runner
            .run(|transaction| async move {
                let value = transaction.get(b"c", Isolation::Serializable).await?;
                give_way().await;
                let value = number(value.as_ref()) + 1;
                transaction.set(b"c", &value.to_le_bytes());
                Ok::<_, Error>(())
            })
            .await;
        let mut tally = shared.tally.borrow_mut();
        match counted {
            Ok(()) => {
                tally.counting -= 1;
                tally.counted += 1;
            }
            // The runner says so when it knows that nothing happened; what it gave up on stays in doubt.
            Err(error) if error.code() == ErrorCode::ENGINE_STOPPED => return,
            Err(_) => {}
        }
    }
}

fn number(value: Option<&Bytes>) -> i64 {
    value.and_then(|value| value[..].try_into().ok()).map_or(0, i64::from_le_bytes)
}

fn account(index: u64) -> Vec<u8> {
    format!("b{index}").into_bytes()
}

fn node(index: u64) -> Vec<u8> {
    format!("r{index}").into_bytes()
}

/// Makes the ring and the accounts, once.
pub(crate) async fn set_up(runner: &Runner) -> Result<(), Error> {
    runner
        .run(|transaction| async move {
            if transaction.get(&node(0), Isolation::Serializable).await?.is_some() {
                return Ok(());
            }
            for index in 0..NODES {
                transaction.set(&node(index), &((index + 1) % NODES).to_le_bytes());
            }
            for index in 0..ACCOUNTS {
                transaction.set(&account(index), &(ACCOUNT_SUM / ACCOUNTS as i64).to_le_bytes());
            }
            Ok::<_, Error>(())
        })
        .await
}

/// A client that moves money and turns the ring, and looks whether both still hold.
pub(crate) async fn invariant_client(shared: Rc<Shared>, mut random: Stream, rounds: u64) {
    for _ in 0..rounds {
        give_way().await;
        let (from, to, amount) = (random.below(ACCOUNTS), random.below(ACCOUNTS), random.below(50) as i64);
        let start = random.below(NODES);
        let kind = random.below(3);
        let done = shared
            .runner
            .run(|transaction| async move {
                match kind {
                    0 => transfer(&transaction, from, to, amount).await.map(|()| None),
                    1 => swap(&transaction, start).await.map(|()| None),
                    _ => broken(&transaction).await,
                }
            })
            .await;
        match done {
            Ok(None) => {}
            Ok(Some(what)) => drop(shared.tally.borrow_mut().broken.get_or_insert(what)),
            Err(error) if error.code() == ErrorCode::ENGINE_STOPPED => return,
            Err(_) => {}
        }
    }
}

async fn transfer(transaction: &TransactionRef, from: u64, to: u64, amount: i64) -> Result<(), Error> {
    let taken = number(transaction.get(&account(from), Isolation::Serializable).await?.as_ref());
    give_way().await;
    transaction.set(&account(from), &(taken - amount).to_le_bytes());
    let given = number(transaction.get(&account(to), Isolation::Serializable).await?.as_ref());
    transaction.set(&account(to), &(given + amount).to_le_bytes());
    Ok(())
}

/// Takes the node behind `start` out and puts it in one further on: the ring stays a ring.
async fn swap(transaction: &TransactionRef, start: u64) -> Result<(), Error> {
    let next = |index: u64| async move {
        Ok::<_, Error>(number(transaction.get(&node(index), Isolation::Serializable).await?.as_ref()) as u64)
    };
    let second = next(start).await?;
    give_way().await;
    let third = next(second).await?;
    let fourth = next(third).await?;
    transaction.set(&node(start), &third.to_le_bytes());
    transaction.set(&node(third), &second.to_le_bytes());
    transaction.set(&node(second), &fourth.to_le_bytes());
    Ok(())
}

/// What is wrong with the ring or the accounts, if anything is.
pub(crate) async fn broken(transaction: &TransactionRef) -> Result<Option<Finding>, Error> {
    let mut at = 0;
    for step in 1..=NODES {
        at = number(transaction.get(&node(at), Isolation::Serializable).await?.as_ref()) as u64;
        if (at == 0) != (step == NODES) {
            let what = format!("the ring of {NODES} comes back after {step}");
            return Ok(Some(Oracle::Ring.says(what)));
        }
    }
    let batch = transaction.get_range(&RangeRequest::new("b", "c"), Isolation::Serializable).await?;
    let sum: i64 = batch.rows.iter().map(|row| number(Some(&row.value))).sum();
    Ok((sum != ACCOUNT_SUM).then(|| Oracle::Bank.says(format!("the accounts hold {sum}, not {ACCOUNT_SUM}"))))
}

/// What the counter says.
pub(crate) async fn counter(transaction: &TransactionRef) -> Result<i64, Error> {
    Ok(number(transaction.get(b"c", Isolation::Serializable).await?.as_ref()))
}

/// A client that watches keys which another one changes later: every watch fires.
pub(crate) async fn watching_client(shared: Rc<Shared>, key: u64, rounds: u64) {
    let key = format!("w{key}").into_bytes();
    for round in 0..rounds {
        let key = &key;
        // Until it sees its round's value it watches; a watch that is lost leaves it waiting for ever.
        loop {
            let watching = shared
                .runner
                .run(|transaction| async move {
                    let value = number(transaction.get(key, Isolation::Serializable).await?.as_ref());
                    Ok::<_, Error>((value, transaction.watch(key)))
                })
                .await;
            let (value, watch) = match watching {
                Ok(watching) => watching,
                Err(error) if error.code() == ErrorCode::ENGINE_STOPPED => return,
                Err(_) => continue,
            };
            if value > round as i64 {
                break;
            }
            if watch.await.is_err() {
                return;
            }
            shared.tally.borrow_mut().watches_fired += 1;
        }
    }
}

/// Changes the keys that are watched, round by round.
pub(crate) async fn waking_client(shared: Rc<Shared>, watched: u64, mut random: Stream, rounds: u64) {
    for round in 1..=rounds {
        for _ in 0..random.below(20) {
            give_way().await;
        }
        // Whoever watches waits for this: it is tried until it is done.
        loop {
            let changed = shared
                .runner
                .run(|transaction| async move {
                    for key in 0..watched {
                        transaction.set(format!("w{key}").as_bytes(), &(round as i64).to_le_bytes());
                    }
                    Ok::<_, Error>(())
                })
                .await;
            match changed {
                Ok(()) => break,
                Err(error) if error.code() == ErrorCode::ENGINE_STOPPED => return,
                Err(_) => give_way().await,
            }
        }
    }
}
