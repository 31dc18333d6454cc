//! Counters in shards, sequences in blocks, identifiers, keys with the stamp of their transaction.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeSet;

use common::{database, tenant};
use futures_util::future::join_all;
use pollster::block_on;
use tenantry_core::{Code, Error, RawRange, Result, Tenant};

fn counter(tenant: &Tenant, name: &str) -> i64 {
    block_on(tenant.read(|transaction| async move { transaction.counter(name).await })).unwrap()
}

fn rows(tenant: &Tenant, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let range = RawRange::prefix(prefix);
    let page = block_on(tenant.read_only(|reader| {
        let range = range.clone();
        async move { reader.raw_range(&range).await }
    }));
    page.unwrap().rows.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

#[test]
fn the_shards_of_a_counter_are_one_number() {
    let tenant = tenant();
    let mut expected = 0i64;
    for (round, shards) in (1i64..).zip([1, 1, 8, 64, 3, 1, 64, 2].into_iter().cycle().take(60)) {
        let amount = if round % 5 == 0 { -round } else { round * 3 };
        expected += amount;
        block_on(tenant.run(|transaction| async move {
            transaction.add_to_sharded_counter("visits", amount, shards)?;
            // A name that another one begins with is another counter.
            transaction.add_to_sharded_counter("visits2", 1, shards)
        }))
        .unwrap();
        assert_eq!(counter(&tenant, "visits"), expected);
    }
    assert_eq!(counter(&tenant, "visits2"), 60);
    assert_eq!(counter(&tenant, "visit"), 0);
    for (name, shards, code) in
        [("v", 0, Code::LimitPassed), ("v", 65, Code::LimitPassed), ("", 2, Code::TenantNameInvalid)]
    {
        let result: Result<()> = block_on(
            tenant.run(|transaction| async move { transaction.add_to_sharded_counter(name, 1, shards) }),
        );
        assert_eq!(result.unwrap_err().code(), code, "{name:?} {shards}");
    }
    // It wraps around, whatever shard has it.
    for shards in [1, 4] {
        block_on(
            tenant.run(
                |transaction| async move { transaction.add_to_sharded_counter("wraps", i64::MAX, shards) },
            ),
        )
        .unwrap();
    }
    assert_eq!(counter(&tenant, "wraps"), -2);
}

#[test]
fn blocks_give_no_number_twice_and_the_sequence_goes_on_behind_them() {
    let tenant = tenant();
    let (one, other) =
        (tenant.sequence_blocks("order", 10).unwrap(), tenant.sequence_blocks("order", 3).unwrap());
    let mut given = BTreeSet::new();
    let mut take = |number: i64| assert!(number > 0 && given.insert(number), "{number} was given twice");
    for round in 0..40 {
        take(block_on(if round % 3 == 0 { other.next() } else { one.next() }).unwrap());
        if round % 7 == 0 {
            let next = tenant.run(|transaction| async move { transaction.next_in_sequence("order").await });
            take(block_on(next).unwrap());
        }
    }
    // Tasks that share a handle.
    for number in block_on(join_all((0..50).map(|_| one.next()))) {
        take(number.unwrap());
    }
    drop(one);
    let again = tenant.sequence_blocks("order", 10).unwrap();
    take(block_on(again.next()).unwrap());
    for (name, block, code) in [
        ("s", 0, Code::LimitPassed),
        ("s", 1_000_001, Code::LimitPassed),
        ("a\u{0}b", 5, Code::TenantNameInvalid),
    ] {
        assert_eq!(tenant.sequence_blocks(name, block).unwrap_err().code(), code, "{name:?} {block}");
    }
    let largest = tenant.sequence_blocks("large", 1_000_000).unwrap();
    assert_eq!((block_on(largest.next()).unwrap(), block_on(largest.next()).unwrap()), (1, 2));
}

#[test]
fn identifiers_sort_by_their_making() {
    let database = database();
    let tenants: Vec<Tenant> =
        ["a", "b"].iter().map(|name| block_on(database.create_tenant(name, "shop")).unwrap()).collect();
    let ids: Vec<_> = (0..5_000).map(|round| tenants[round % 2].new_id()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(ids.iter().all(|id| id.get_version_num() == 7));
}

#[test]
fn stamped_keys_sort_by_their_commits_and_calls() {
    let tenant = tenant();
    let mut stamps = Vec::new();
    for round in 0..5u8 {
        let stamp = block_on(tenant.run(|transaction| async move {
            let first = transaction.raw_set_versionstamped(b"q/", b"", &[round, 0])?;
            transaction.raw_set(b"other", &[round])?;
            let second = transaction.raw_set_versionstamped(b"q/", b"/end", &[round, 1])?;
            assert!(first < second);
            // Its own reads do not see it.
            let page = transaction.raw_range(&RawRange::prefix(b"q/")).await?;
            assert_eq!(page.rows.len(), usize::from(round) * 2);
            Ok::<_, Error>(transaction.versionstamp())
        }))
        .unwrap();
        stamps.push(block_on(stamp).unwrap());
    }
    let found = rows(&tenant, b"q/");
    assert_eq!(found.len(), 10);
    for (place, (key, value)) in found.iter().enumerate() {
        let (round, call) = (place / 2, place % 2);
        assert_eq!(value, &[round as u8, call as u8]);
        assert_eq!(&key[2..12], stamps[round].as_bytes());
        assert_eq!(&key[14..], [&b""[..], b"/end"][call]);
    }
}

#[test]
fn stamped_keys_are_bounded_and_do_not_outlive_a_clear() {
    let tenant = tenant();
    let run = |prefix: usize, suffix: usize, value: usize| -> Result<u16> {
        block_on(tenant.run(|transaction| async move {
            transaction.raw_set_versionstamped(&vec![b'p'; prefix], &vec![b's'; suffix], &vec![0; value])
        }))
    };
    assert_eq!(run(4_944, 4_944, 100_000), Ok(0));
    for (prefix, suffix, value) in
        [(4_944, 4_945, 1), (9_900, 0, 1), (usize::MAX >> 40, 0, 1), (1, 1, 100_001)]
    {
        assert_eq!(run(prefix, suffix, value).unwrap_err().code(), Code::LimitPassed);
    }
    let clear = |begin: &'static [u8], end: &'static [u8]| -> Result<()> {
        block_on(tenant.run(|transaction| async move {
            transaction.raw_clear_range(b"a", b"z")?;
            transaction.raw_set_versionstamped(b"k", b"", b"v")?;
            transaction.raw_clear_range(begin, end)
        }))
    };
    let cases: [(&[u8], &[u8], bool); 5] = [
        (b"a", b"z", false),
        (b"k", b"k\x01", false),
        (b"k\x50", b"kz", false),
        (b"a", b"k", true),
        (b"l", b"z", true),
    ];
    for (begin, end, allowed) in cases {
        let result = clear(begin, end);
        assert_eq!(result.is_ok(), allowed, "{begin:?} {end:?}");
        assert!(allowed || result.unwrap_err().code() == Code::QueryInvalid);
    }
    assert_eq!(rows(&tenant, b"k").len(), 1);
}
