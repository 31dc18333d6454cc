//! Read-your-writes, selectors and range reads.

use super::{begin, code, keys, put, rules, same};
use crate::atomic::MutationType;
use crate::engine::Isolation::{Serializable, Snapshot};
use crate::options::TransactionOption;
use crate::range::{RangeRequest, StreamingMode};
use crate::selector::KeySelector;

fn names(list: &str) -> Vec<String> {
    list.split_whitespace().map(str::to_owned).collect()
}

const STAMPED: &[u8] = b"0123456789\0\0\0\0";

rules! {
    "5.1" => |subject| {
        put(subject, &[("a", "1"), ("b", "1"), ("c", "1")]).await?;
        let transaction = begin(subject)?;
        transaction.set(b"bb", b"2");
        transaction.clear(b"a");
        transaction.clear_range(b"c", b"d");
        transaction.atomic(MutationType::Add, b"b", &[1]);
        same!(keys(&transaction, &RangeRequest::new("", "z"), Serializable).await, Ok((names("b bb"), false)));
        same!(transaction.get(b"b", Serializable).await.ok().flatten().as_deref(), Some(b"2".as_slice()));
        same!(transaction.get(b"a", Serializable).await.ok().flatten(), None);
        same!(transaction.get_key(&KeySelector::last_less_than("z"), Serializable).await.ok().as_deref(), Some(b"bb".as_slice()));
        transaction.set(b"cc", b"3");
        same!(keys(&transaction, &RangeRequest::new("", "z").reverse(true), Serializable).await, Ok((names("cc bb b"), false)));
    }
    "5.2" => |subject| {
        put(subject, &[("k", "1")]).await?;
        let transaction = begin(subject)?;
        transaction.set(b"k", b"2");
        same!(transaction.get(b"k", Snapshot).await.ok().flatten().as_deref(), Some(b"2".as_slice()));
        let _ = transaction.set_option(TransactionOption::SnapshotReadYourWritesDisable);
        same!(transaction.get(b"k", Snapshot).await.ok().flatten().as_deref(), Some(b"1".as_slice()));
        same!(transaction.get(b"k", Serializable).await.ok().flatten().as_deref(), Some(b"2".as_slice()));
        let _ = transaction.set_option(TransactionOption::SnapshotReadYourWritesEnable);
        same!(transaction.get(b"k", Snapshot).await.ok().flatten().as_deref(), Some(b"2".as_slice()));
    }
    "5.3" => |subject| {
        put(subject, &[("k", "1")]).await?;
        let transaction = begin(subject)?;
        same!(code(transaction.set_option(TransactionOption::ReadYourWritesDisable)), 0);
        transaction.set(b"k", b"2");
        same!(transaction.get(b"k", Serializable).await.ok().flatten().as_deref(), Some(b"1".as_slice()));
        same!(code(transaction.watch(b"k").await), 1034);
        let late = begin(subject)?;
        let _ = late.get(b"k", Serializable).await;
        let _ = late.set_option(TransactionOption::ReadYourWritesDisable);
        same!(code(late.get(b"k", Serializable).await), 2000);
    }
    "5.4" => |subject| {
        let transaction = begin(subject)?;
        transaction.atomic(MutationType::SetVersionstampedValue, b"k", STAMPED);
        same!(code(transaction.get(b"k", Snapshot).await), 1036);
        same!(code(transaction.get_range(&RangeRequest::new("a", "z"), Snapshot).await), 1036);
        transaction.set(b"k", b"v");
        same!(code(transaction.get(b"k", Snapshot).await), 1036);
        transaction.clear(b"k");
        same!(transaction.get(b"k", Snapshot).await.map_err(|_| ()), Ok(None));
    }
    "5.5" => |subject| {
        put(subject, &[("a", "1"), ("z", "1")]).await?;
        let transaction = begin(subject)?;
        transaction.atomic(MutationType::SetVersionstampedKey, b"k0123456789\x01\0\0\0", b"v");
        same!(code(transaction.get(b"k\xff", Snapshot).await), 1036);
        same!(code(transaction.get_key(&KeySelector::first_greater_than("a"), Snapshot).await), 1036);
        same!(code(transaction.get(b"a", Snapshot).await), 0);
        transaction.clear_range(b"k", b"l");
        same!(transaction.get_key(&KeySelector::first_greater_than("a"), Snapshot).await.ok().as_deref(), Some(b"z".as_slice()));
    }
    "5.6" => |subject| {
        let transaction = begin(subject)?;
        let _ = transaction.set_option(TransactionOption::BypassUnreadable);
        transaction.atomic(MutationType::SetVersionstampedValue, b"k", STAMPED);
        same!(transaction.get(b"k", Snapshot).await.ok().flatten().as_deref(), Some(STAMPED));
        same!(code(transaction.commit().await), 0);
        let transaction = begin(subject)?;
        let _ = transaction.set_option(TransactionOption::BypassUnreadable);
        transaction.atomic(MutationType::SetVersionstampedValue, b"l", STAMPED);
        same!(keys(&transaction, &RangeRequest::new("l", "z"), Snapshot).await, Err(1036));
        same!(code(transaction.get_key(&KeySelector::first_greater_than("k"), Snapshot).await), 1036);
    }
    "5.7" => |subject| {
        put(subject, &[("a", "1"), ("b", "1")]).await?;
        let transaction = begin(subject)?;
        transaction.atomic(MutationType::SetVersionstampedValue, b"k", STAMPED);
        same!(keys(&transaction, &RangeRequest::new("a", "z").limit(2), Snapshot).await, Ok((names("a b"), true)));
        same!(keys(&transaction, &RangeRequest::new("a", "z").limit(3), Snapshot).await, Err(1036));
    }
    "6.1" => |subject| {
        put(subject, &[("b", "1"), ("d", "1"), ("f", "1")]).await?;
        let transaction = begin(subject)?;
        for (selector, expected) in [
            (KeySelector::last_less_than("d"), "b"),
            (KeySelector::last_less_or_equal("d"), "d"),
            (KeySelector::first_greater_than("d"), "f"),
            (KeySelector::first_greater_or_equal("d"), "d"),
            (KeySelector::last_less_or_equal("e"), "d"),
            (KeySelector::first_greater_or_equal("e"), "f"),
        ] {
            let found = transaction.get_key(&selector, Serializable).await.map_err(|error| error.to_string())?;
            same!((&selector, &found[..]), (&selector, expected.as_bytes()));
        }
    }
    "6.2" => |subject| {
        put(subject, &[("b", "1"), ("d", "1"), ("f", "1"), ("h", "1")]).await?;
        let transaction = begin(subject)?;
        transaction.clear(b"f");
        for (selector, expected) in [
            (KeySelector::first_greater_or_equal("b").plus(2), "h"),
            (KeySelector::last_less_than("h").plus(-1), "b"),
            (KeySelector::first_greater_than("b").plus(1), "h"),
            (KeySelector::last_less_or_equal("d").plus(-1), "b"),
        ] {
            let found = transaction.get_key(&selector, Serializable).await.map_err(|error| error.to_string())?;
            same!((&selector, &found[..]), (&selector, expected.as_bytes()));
        }
    }
    "6.3" => |subject| {
        put(subject, &[("b", "1")]).await?;
        let transaction = begin(subject)?;
        for (selector, expected) in [
            (KeySelector::last_less_than("b"), b"".as_slice()),
            (KeySelector::last_less_than("b").plus(-100), b""),
            (KeySelector::first_greater_than("b"), b"\xff"),
            (KeySelector::first_greater_than("b").plus(100), b"\xff"),
            (KeySelector::first_greater_or_equal(b"\xff".as_slice()), b"\xff"),
            (KeySelector::last_less_than(b"\xff".as_slice()), b"b"),
        ] {
            let found = transaction.get_key(&selector, Serializable).await.map_err(|error| error.to_string())?;
            same!((&selector, &found[..]), (&selector, expected));
        }
    }
    "6.4" => |subject| {
        put(subject, &[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")]).await?;
        let transaction = begin(subject)?;
        // Crossed keys, but the offsets uncross them.
        let crossed = RangeRequest::between(KeySelector::first_greater_or_equal("c").plus(-2), KeySelector::first_greater_or_equal("a").plus(3));
        same!(keys(&transaction, &crossed, Serializable).await, Ok((names("a b c"), false)));
        let inverted = RangeRequest::between(KeySelector::first_greater_or_equal("b").plus(2), KeySelector::first_greater_or_equal("c").plus(-1));
        same!(keys(&transaction, &inverted, Serializable).await, Ok((vec![], false)));
    }
    "7.1" => |subject| {
        let transaction = begin(subject)?;
        let range = |mode| RangeRequest::new("a", "z").mode(mode);
        same!(code(transaction.get_range(&range(StreamingMode::Exact), Serializable).await), 2210);
        same!(code(transaction.get_range(&range(StreamingMode::Exact).limit(1), Serializable).await), 0);
        same!(code(transaction.get_range(&range(StreamingMode::Iterator { iteration: 0 }), Serializable).await), 2000);
        same!(code(transaction.get_range(&range(StreamingMode::Iterator { iteration: 1 }), Serializable).await), 0);
    }
    "7.2" => |subject| {
        put(subject, &[("a", "1"), ("b", "1"), ("c", "1")]).await?;
        let transaction = begin(subject)?;
        for (limit, more) in [(0, false), (2, true), (3, true), (4, false)] {
            let found = keys(&transaction, &RangeRequest::new("a", "z").limit(limit), Serializable).await;
            same!((limit, found.map(|found| found.1)), (limit, Ok(more)));
        }
    }
    "7.3" => |subject| {
        put(subject, &[("a", "1"), ("b", "1"), ("c", "1")]).await?;
        let transaction = begin(subject)?;
        let range = RangeRequest::new("a", "z").reverse(true).limit(2);
        same!(keys(&transaction, &range, Serializable).await, Ok((names("c b"), true)));
        let batch = transaction.get_range(&range, Serializable).await.map_err(|error| error.to_string())?;
        same!(range.after(&batch).is_none(), true);
        let all = RangeRequest::new("a", "z").reverse(true);
        same!(keys(&transaction, &all, Serializable).await, Ok((names("c b a"), false)));
    }
    "7.4" => |subject| {
        let rows: Vec<String> = (0..50).map(|number| format!("k{number:03}")).collect();
        let pairs: Vec<(&str, &str)> = rows.iter().map(|key| (key.as_str(), "some value")).collect();
        put(subject, &pairs).await?;
        let transaction = begin(subject)?;
        for reverse in [false, true] {
            for mode in [StreamingMode::Small, StreamingMode::Iterator { iteration: 1 }, StreamingMode::WantAll] {
                let mut found = Vec::new();
                let mut next = Some(RangeRequest::new("k", "l").mode(mode).reverse(reverse).target_bytes(100));
                while let Some(request) = next {
                    let batch = transaction.get_range(&request, Serializable).await.map_err(|error| error.to_string())?;
                    same!(batch.rows.is_empty() && batch.more, false);
                    found.extend(batch.rows.iter().map(|row| String::from_utf8_lossy(&row.key).into_owned()));
                    next = request.after(&batch);
                }
                if reverse {
                    found.reverse();
                }
                same!(found, rows);
            }
        }
    }
    "7.5" => |subject| {
        put(subject, &[("a", "1")]).await?;
        let transaction = begin(subject)?;
        same!(keys(&transaction, &RangeRequest::new("a", "a"), Serializable).await, Ok((vec![], false)));
        same!(keys(&transaction, &RangeRequest::new("b", "a"), Serializable).await, Ok((vec![], false)));
        same!(super::shown(transaction.conflict_ranges(crate::ConflictReport::Read).await), "");
    }
}
