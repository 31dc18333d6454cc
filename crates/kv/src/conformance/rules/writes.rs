//! Atomic operations and watches.

use super::{begin, code, fires, is_pending, put, rules, same, value};
use crate::atomic::MutationType::{
    self, Add, AppendIfFits, BitAnd, BitOr, BitXor, ByteMax, ByteMin, CompareAndClear, Max, Min,
};
use crate::engine::Isolation::{Serializable, Snapshot};
use crate::options::DatabaseOption;

/// Operation, old value, operand, new value.
type Case = (MutationType, Option<&'static [u8]>, &'static [u8], Option<&'static [u8]>);

const TABLE: &[Case] = &[
    (Add, None, &[1, 2], Some(&[1, 2])),
    (Add, Some(&[]), &[1, 2], Some(&[1, 2])),
    (Add, Some(&[255, 255, 7]), &[1, 0], Some(&[0, 0])),
    (Add, Some(&[255]), &[1, 0], Some(&[0, 1])),
    (Add, Some(&[1]), &[], Some(&[])),
    (BitAnd, None, &[6, 1], Some(&[6, 1])),
    (BitAnd, Some(&[]), &[6, 1], Some(&[0, 0])),
    (BitAnd, Some(&[3]), &[6, 1], Some(&[2, 0])),
    (BitOr, Some(&[3]), &[6, 1], Some(&[7, 1])),
    (BitXor, Some(&[3, 3, 3]), &[6, 1], Some(&[5, 2])),
    (BitXor, None, &[6], Some(&[6])),
    (AppendIfFits, None, b"b", Some(b"b")),
    (AppendIfFits, Some(b"a"), b"b", Some(b"ab")),
    (AppendIfFits, Some(b"a"), b"", Some(b"a")),
    (Max, None, &[1], Some(&[1])),
    (Max, Some(&[0, 2]), &[1, 1], Some(&[0, 2])),
    (Max, Some(&[9, 9, 9]), &[1, 1], Some(&[9, 9])),
    (Min, None, &[1], Some(&[1])),
    (Min, Some(&[]), &[1], Some(&[0])),
    (Min, Some(&[0, 2]), &[1, 1], Some(&[1, 1])),
    (ByteMin, None, b"b", Some(b"b")),
    (ByteMin, Some(b""), b"b", Some(b"")),
    (ByteMin, Some(b"ab"), b"b", Some(b"ab")),
    (ByteMax, Some(b"ab"), b"b", Some(b"b")),
    (ByteMax, Some(b"ba"), b"b", Some(b"ba")),
    (CompareAndClear, None, b"x", None),
    (CompareAndClear, Some(b"x"), b"x", None),
    (CompareAndClear, Some(b"x"), b"y", Some(b"x")),
    (CompareAndClear, Some(b""), b"", None),
];

rules! {
    "9.1" => |subject| {
        for (number, (mutation, old, operand, expected)) in TABLE.iter().enumerate() {
            let key = format!("k{number}").into_bytes();
            let transaction = begin(subject)?;
            if let Some(old) = old {
                transaction.set(&key, old);
            }
            same!(code(transaction.commit().await), 0);
            let transaction = begin(subject)?;
            transaction.atomic(*mutation, &key, operand);
            // Through the transaction's own view, and after the commit.
            let own = transaction.get(&key, Snapshot).await.map_err(|error| error.to_string())?;
            same!((number, mutation, own.as_deref()), (number, mutation, *expected));
            transaction.reset();
            transaction.atomic(*mutation, &key, operand);
            same!(code(transaction.commit().await), 0);
            same!((number, mutation, value(subject, &key).await?.as_deref()), (number, mutation, *expected));
        }
    }
    "9.2" => |subject| {
        put(subject, &[("k", "\u{1}")]).await?;
        let transaction = begin(subject)?;
        let _ = transaction.read_version().await;
        transaction.atomic(Add, b"k", &[1]);
        put(subject, &[("k", "\u{5}")]).await?;
        same!(code(transaction.commit().await), 0);
        same!(value(subject, b"k").await?.as_deref(), Some([6].as_slice()));
    }
    "9.3" => |subject| {
        put(subject, &[("k", "\u{1}"), ("l", "\u{1}")]).await?;
        let transaction = begin(subject)?;
        transaction.atomic(Add, b"k", &[1]);
        transaction.clear_range(b"a", b"z");
        transaction.atomic(Add, b"k", &[3]);
        transaction.atomic(Max, b"k", &[2]);
        transaction.atomic(Add, b"l", &[1]);
        transaction.clear(b"l");
        same!(code(transaction.commit().await), 0);
        same!(value(subject, b"k").await?.as_deref(), Some([3].as_slice()));
        same!(value(subject, b"l").await?, None);
    }
    "9.4" => |subject| {
        for operand in [b"123".as_slice(), b"0123456789\x01\0\0\0", b"0123456789\xff\xff\xff\xff", b"01234567\0\0\0\0"] {
            for mutation in [MutationType::SetVersionstampedValue, MutationType::SetVersionstampedKey] {
                let transaction = begin(subject)?;
                match mutation {
                    MutationType::SetVersionstampedKey => transaction.atomic(mutation, operand, b"v"),
                    _ => transaction.atomic(mutation, b"k", operand),
                }
                same!((operand, mutation, code(transaction.get(b"x", Serializable).await)), (operand, mutation, 2000));
            }
        }
    }
    "9.5" => |subject| {
        let transaction = begin(subject)?;
        let stamp = transaction.versionstamp();
        transaction.atomic(MutationType::SetVersionstampedKey, b"k0123456789\x01\0\0\0", b"key");
        transaction.atomic(MutationType::SetVersionstampedValue, b"v", b"ab0123456789cd\x02\0\0\0");
        same!(code(transaction.commit().await), 0);
        let stamp = stamp.await.map_err(|error| error.to_string())?;
        let key = [b"k".as_slice(), stamp.as_bytes()].concat();
        same!(value(subject, &key).await?.as_deref(), Some(b"key".as_slice()));
        let expected = [b"ab".as_slice(), stamp.as_bytes(), b"cd"].concat();
        same!(value(subject, b"v").await?.as_deref(), Some(&expected[..]));
    }
    "9.6" => |subject| {
        let transaction = begin(subject)?;
        transaction.set(b"k", &vec![b'x'; 99_999]);
        same!(code(transaction.commit().await), 0);
        for (operand, length) in [("yy", 99_999), ("y", 100_000)] {
            let transaction = begin(subject)?;
            transaction.atomic(AppendIfFits, b"k", operand.as_bytes());
            same!(code(transaction.commit().await), 0);
            same!(value(subject, b"k").await?.map(|value| value.len()), Some(length));
        }
    }
    "10.1" => |subject| {
        put(subject, &[("k", "1")]).await?;
        let transaction = begin(subject)?;
        let mut watch = transaction.watch(b"k");
        same!(code(transaction.commit().await), 0);
        same!(is_pending(&mut watch).await, true);
        put(subject, &[("other", "1"), ("k", "1")]).await?;
        same!(is_pending(&mut watch).await, true);
        put(subject, &[("k", "2")]).await?;
        same!(fires(subject, watch).await?, 0);
    }
    "10.2" => |subject| {
        put(subject, &[("k", "1")]).await?;
        let transaction = begin(subject)?;
        let watch = transaction.watch(b"k");
        // A change between the read version and the commit counts.
        put(subject, &[("k", "2")]).await?;
        same!(code(transaction.commit().await), 0);
        same!(fires(subject, watch).await?, 0);
    }
    "10.3" => |subject| {
        put(subject, &[("k", "1")]).await?;
        let transaction = begin(subject)?;
        let watch = transaction.watch(b"k");
        let _ = transaction.get(b"k", Serializable).await;
        transaction.set(b"x", b"v");
        put(subject, &[("k", "2")]).await?;
        same!(code(transaction.commit().await), 1020);
        same!(fires(subject, watch).await?, 1020);
    }
    "10.4" => |subject| {
        put(subject, &[("k", "1")]).await?;
        let transaction = begin(subject)?;
        transaction.set(b"k", b"2");
        let mut watch = transaction.watch(b"k");
        same!(code(transaction.commit().await), 0);
        same!(is_pending(&mut watch).await, true);
        put(subject, &[("k", "3")]).await?;
        same!(fires(subject, watch).await?, 0);
        let transaction = begin(subject)?;
        let watch = transaction.watch(b"k");
        transaction.set(b"k", b"4");
        same!(code(transaction.commit().await), 0);
        same!(fires(subject, watch).await?, 0);
    }
    "10.5" => |subject| {
        let transaction = begin(subject)?;
        same!(code(transaction.watch(b"\xff\x01").await), 2004);
        same!(code(transaction.watch(&vec![b'k'; 10_001]).await), 2102);
        same!(code(subject.engine().set_option(DatabaseOption::MaxWatches(1))), 0);
        let transaction = begin(subject)?;
        let (first, second) = (transaction.watch(b"k"), transaction.watch(b"l"));
        // Which of the two fails, and whether at once or with the commit, is up to the engine.
        let _ = transaction.commit().await;
        let outcomes = [fires(subject, second).await?, fires(subject, first).await?];
        same!(outcomes.contains(&1032), true);
        same!(code(subject.engine().set_option(DatabaseOption::MaxWatches(10_000))), 0);
    }
}
