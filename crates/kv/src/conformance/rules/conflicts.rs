//! Conflict ranges, exactly.

use super::super::read_all;
use super::{begin, code, put, rules, same, shown};
use crate::atomic::MutationType;
use crate::conflict_range::{ConflictKind, ConflictReport};
use crate::engine::Isolation::{Serializable, Snapshot};
use crate::engine::TransactionRef;
use crate::options::TransactionOption;
use crate::range::RangeRequest;
use crate::selector::KeySelector;

async fn reads(transaction: &TransactionRef) -> String {
    shown(transaction.conflict_ranges(ConflictReport::Read).await)
}

async fn writes(transaction: &TransactionRef) -> String {
    shown(transaction.conflict_ranges(ConflictReport::Write).await)
}

const FOUR: &[(&str, &str)] = &[("b", "1"), ("d", "1"), ("f", "1"), ("h", "1")];

rules! {
    "8.1" => |subject| {
        put(subject, FOUR).await?;
        let transaction = begin(subject)?;
        let _ = transaction.get(b"b", Serializable).await;
        let _ = transaction.get(b"none", Serializable).await;
        same!(reads(&transaction).await, "b..b\\x00 none..none\\x00");
    }
    "8.2" => |subject| {
        put(subject, FOUR).await?;
        for (selector, expected) in [
            (KeySelector::first_greater_or_equal("c"), "c..d\\x00"),
            (KeySelector::first_greater_than("d"), "d\\x00..f\\x00"),
            (KeySelector::last_less_than("f"), "d..f"),
            (KeySelector::last_less_or_equal("f"), "f..f\\x00"),
            (KeySelector::first_greater_than("h"), "h\\x00..\\xff\\x00"),
            (KeySelector::last_less_than("a"), "..a"),
        ] {
            let transaction = begin(subject)?;
            let _ = transaction.get_key(&selector, Serializable).await;
            same!((&selector, reads(&transaction).await), (&selector, expected.to_owned()));
        }
    }
    "8.3" => |subject| {
        put(subject, FOUR).await?;
        for (limit, expected) in [(0, "a..z"), (2, "a..d\\x00"), (4, "a..h\\x00"), (9, "a..z")] {
            let transaction = begin(subject)?;
            let _ = read_all(&transaction, &RangeRequest::new("a", "z").limit(limit), Serializable).await;
            same!((limit, reads(&transaction).await), (limit, expected.to_owned()));
        }
    }
    "8.4" => |subject| {
        put(subject, FOUR).await?;
        for (limit, expected) in [(0, "a..z"), (2, "f..z"), (9, "a..z")] {
            let transaction = begin(subject)?;
            let request = RangeRequest::new("a", "z").limit(limit).reverse(true);
            let _ = read_all(&transaction, &request, Serializable).await;
            same!((limit, reads(&transaction).await), (limit, expected.to_owned()));
        }
    }
    "8.5" => |subject| {
        put(subject, FOUR).await?;
        let transaction = begin(subject)?;
        transaction.set(b"d", b"2");
        transaction.clear_range(b"f", b"g");
        transaction.atomic(MutationType::Add, b"h", &[1]);
        let _ = transaction.get(b"d", Serializable).await;
        let _ = transaction.get(b"h", Serializable).await;
        same!(reads(&transaction).await, "h..h\\x00");
        let _ = read_all(&transaction, &RangeRequest::new("a", "z"), Serializable).await;
        same!(reads(&transaction).await, "a..d d\\x00..f g..z");
        let later = begin(subject)?;
        let _ = later.get(b"b", Serializable).await;
        later.set(b"b", b"2");
        same!(reads(&later).await, "b..b\\x00");
    }
    "8.6" => |subject| {
        put(subject, FOUR).await?;
        let transaction = begin(subject)?;
        let _ = transaction.get(b"b", Snapshot).await;
        let _ = transaction.get_range(&RangeRequest::new("a", "z"), Snapshot).await;
        let _ = transaction.get_key(&KeySelector::first_greater_than("b"), Snapshot).await;
        same!(reads(&transaction).await, "");
        drop(transaction.watch(b"b"));
        same!(reads(&transaction).await, "b..b\\x00");
    }
    "8.7" => |subject| {
        let transaction = begin(subject)?;
        transaction.set(b"a", b"1");
        transaction.clear(b"c");
        transaction.clear_range(b"e", b"g");
        transaction.atomic(MutationType::Add, b"i", &[1]);
        let _ = transaction.set_option(TransactionOption::NextWriteNoWriteConflictRange);
        transaction.set(b"k", b"1");
        transaction.set(b"m", b"1");
        same!(writes(&transaction).await, "a..a\\x00 c..c\\x00 e..g i..i\\x00 m..m\\x00");
    }
    "8.8" => |subject| {
        put(subject, FOUR).await?;
        let transaction = begin(subject)?;
        let _ = transaction.set_option(TransactionOption::ReportConflictingKeys);
        for key in [b"b", b"d", b"h"] {
            let _ = transaction.get(key, Serializable).await;
        }
        let _ = transaction.get_range(&RangeRequest::new("e", "g"), Serializable).await;
        transaction.set(b"x", b"v");
        put(subject, &[("d", "2"), ("f", "2")]).await?;
        same!(code(transaction.commit().await), 1020);
        same!(shown(transaction.conflict_ranges(ConflictReport::Conflicting).await), "d..d\\x00 e..g");
    }
    "8.9" => |subject| {
        put(subject, FOUR).await?;
        // A limited read does not conflict with what lies behind its last row; it does with what appears in front of it.
        for (written, expected) in [("e", 0), ("c", 1020)] {
            let transaction = begin(subject)?;
            let _ = transaction.get_range(&RangeRequest::new("a", "z").limit(2), Serializable).await;
            transaction.set(b"x", b"v");
            put(subject, &[(written, "2")]).await?;
            same!((written, code(transaction.commit().await)), (written, expected));
        }
    }
    "8.10" => |subject| {
        let (reader, writer) = (begin(subject)?, begin(subject)?);
        let _ = reader.read_version().await;
        same!(code(reader.add_conflict_range(b"a", b"m", ConflictKind::Read)), 0);
        reader.set(b"x", b"v");
        writer.clear_range(b"l", b"z");
        same!(code(writer.commit().await), 0);
        same!(code(reader.commit().await), 1020);
    }
    "8.11" => |subject| {
        // An edge off the keys moves with every key that appears beyond; a limit spares the edge that the read did not come to, and only that.
        put(subject, FOUR).await?;
        for (reverse, limit, expected) in [(false, 0, "..\\xff"), (true, 0, "..\\xff"), (false, 2, "..d\\x00"), (true, 2, "f..\\xff")] {
            let transaction = begin(subject)?;
            let (first, last) = (KeySelector::new("c", false, -5), KeySelector::new("g", false, 7));
            let request = RangeRequest::between(first, last).limit(limit).reverse(reverse);
            let _ = read_all(&transaction, &request, Serializable).await;
            same!((reverse, limit, reads(&transaction).await), (reverse, limit, expected.to_owned()));
        }
        let transaction = begin(subject)?;
        let behind = RangeRequest::between(KeySelector::first_greater_or_equal("a"), KeySelector::new("g", false, 7));
        let _ = transaction.get_range(&behind.limit(1).reverse(true), Serializable).await;
        transaction.set(b"x", b"v");
        put(subject, &[("i", "1")]).await?;
        same!(code(transaction.commit().await), 1020);
    }
}
