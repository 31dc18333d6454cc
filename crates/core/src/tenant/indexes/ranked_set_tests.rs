//! The keys of a set beside those that its elements ask for.

use std::sync::Arc;

use pollster::block_on;
use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};
use tenantry_kv::{Engine, TransactionRef};

use super::*;
use crate::key_space::KeySpace;

const INDEX: u32 = 7;

fn engine() -> Arc<dyn Engine> {
    Arc::new(ReferenceEngine::new(manual_env()))
}

fn keys() -> TenantKeys {
    KeySpace::new(Bytes::from_static(b"r")).tenant_keys(1).unwrap()
}

fn set(transaction: &TransactionRef) -> RankedSet<'_> {
    let group = key_form::pack(&["a".into()]).unwrap();
    RankedSet::new(transaction, &keys(), INDEX, &group).unwrap()
}

fn element(number: usize) -> Bytes {
    key_form::pack(&[(number as i64).into(), "x".into()]).unwrap()
}

/// All keys of a set with these elements, as they have to be.
fn expected(set: &RankedSet<'_>, count: usize) -> Vec<KeyValue> {
    let mut rows: Vec<KeyValue> =
        (0..count).map(|number| KeyValue::new(set.key(0, &element(number)), Bytes::new())).collect();
    for level in 1..LEVELS {
        let mut member = Bytes::new();
        let mut counted = 0_u64;
        let mut close = |member: &Bytes, counted: u64| {
            if counted > 0 {
                rows.push(KeyValue::new(set.key(level, member), counted.to_le_bytes().to_vec()));
            }
        };
        for element in (0..count).map(element) {
            if member_levels(&element) >= level {
                close(&member, counted);
                (member, counted) = (element, 0);
            }
            counted += 1;
        }
        close(&member, counted);
    }
    rows
}

fn stored(set: &RankedSet<'_>) -> Vec<KeyValue> {
    let rows = |level: usize| block_on(set.rows(level, &[], BEHIND_ALL, Isolation::Snapshot)).unwrap();
    (0..LEVELS).flat_map(rows).collect()
}

#[test]
fn the_keys_are_those_of_the_elements_whatever_the_order_of_the_changes() {
    const STEPS: usize = 50;
    let engine = engine();
    // Every element in an order that jumps about; then all but the first 200 go again; then those.
    for (count, is_insert, left) in [(600, true, 600), (400, false, 200), (200, false, 0)] {
        let numbers: Vec<usize> = (0..count).map(|step| step * 7_919 % count).collect();
        for numbers in numbers.chunks(STEPS) {
            let transaction = engine.begin().unwrap();
            let set = set(&transaction);
            for number in numbers {
                let number = if is_insert { *number } else { number + left };
                block_on(set.change(&element(number), is_insert)).unwrap();
                // Once more changes nothing.
                block_on(set.change(&element(number), is_insert)).unwrap();
            }
            block_on(transaction.commit()).unwrap();
        }
        let transaction = engine.begin().unwrap();
        let set = set(&transaction);
        assert_eq!(stored(&set), expected(&set, left));
    }
    // Nothing stays behind.
    let transaction = engine.begin().unwrap();
    let everything = RangeRequest::new(&b""[..], &b"\xff"[..]);
    assert!(block_on(transaction.get_range(&everything, Isolation::Snapshot)).unwrap().rows.is_empty());
}

#[test]
fn what_is_written_is_whole_at_every_position() {
    const COUNT: usize = 3_000;
    let engine = engine();
    let writing = engine.begin().unwrap();
    for KeyValue { key, value } in expected(&set(&writing), COUNT) {
        writing.set(&key, &value);
    }
    block_on(writing.commit()).unwrap();
    let transaction = engine.begin().unwrap();
    let set = set(&transaction);
    for place in (0..COUNT).step_by(37) {
        assert_eq!(block_on(set.rank(&element(place), Isolation::Snapshot)).unwrap(), place as u64);
        let found = block_on(set.at(place as u64, 1, Isolation::Snapshot)).unwrap();
        assert_eq!(found, [element(place)]);
    }
    assert_eq!(block_on(set.count_all(Isolation::Snapshot)).unwrap(), COUNT as u64);
    assert_eq!(block_on(set.at(COUNT as u64, 1, Isolation::Snapshot)).unwrap(), Vec::<Bytes>::new());
    // A count that does not fit the elements is told as damage.
    let level = set.key(1, &[]);
    transaction.set(&level, b"short");
    let error = block_on(set.at(5, 1, Isolation::Snapshot)).unwrap_err();
    assert_eq!(error.code(), Code::StoredDataInvalid);
}
