//! Keys and sizes, the delivery of errors, the life of a transaction, versions.

use bytes::Bytes;

use super::{begin, code, error, fires, is_pending, keys, put, rules, same, value};
use crate::atomic::MutationType;
use crate::conflict_range::ConflictKind;
use crate::engine::Isolation::{Serializable, Snapshot};
use crate::options::{DatabaseOption, TransactionOption};
use crate::range::RangeRequest;
use crate::selector::KeySelector;

rules! {
    "1.1" => |subject| {
        put(subject, &[("b", "1"), ("", "empty key"), ("a", ""), ("ab", "2")]).await?;
        let transaction = begin(subject)?;
        same!(keys(&transaction, &RangeRequest::new("", "c"), Serializable).await, Ok((vec!["".to_owned(), "a".to_owned(), "ab".to_owned(), "b".to_owned()], false)));
        same!(value(subject, b"a").await?.as_deref(), Some(b"".as_slice()));
        same!(value(subject, b"aa").await?, None);
        let together: Vec<Bytes> = [&b"b"[..], b"aa", b"", b"ab", b"a"].map(Bytes::from_static).to_vec();
        for writes in [false, true] {
            let transaction = begin(subject)?;
            if writes {
                transaction.set(b"aa", b"own");
                transaction.clear(b"ab");
            }
            let mut values = Vec::new();
            for reading in transaction.get_many(&together, Serializable) {
                values.push(reading.await.map_err(|error| error.to_string())?);
            }
            let texts = values.iter().map(|value| value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned()));
            let expected = match writes {
                false => [Some("1"), None, Some("empty key"), Some("2"), Some("")],
                true => [Some("1"), Some("own"), Some("empty key"), None, Some("")],
            };
            same!(texts.collect::<Vec<_>>(), expected.map(|text| text.map(str::to_owned)).to_vec());
        }
    }
    "1.2" => |subject| {
        let transaction = begin(subject)?;
        same!(code(transaction.get(b"\xff", Serializable).await), 2004);
        same!(code(transaction.get_key(&KeySelector::first_greater_or_equal(b"\xff".as_slice()), Serializable).await), 0);
        same!(code(transaction.get_key(&KeySelector::first_greater_or_equal(b"\xff\x00".as_slice()), Serializable).await), 2004);
        same!(code(transaction.get_range(&RangeRequest::new("a", b"\xff".as_slice()), Serializable).await), 0);
        same!(code(transaction.get_range(&RangeRequest::new("a", b"\xff\x01".as_slice()), Serializable).await), 2004);
    }
    "1.3" => |subject| {
        for write in 0..4 {
            let transaction = begin(subject)?;
            match write {
                0 => transaction.set(b"\xff", b"v"),
                1 => transaction.clear(b"\xff"),
                2 => transaction.atomic(MutationType::Add, b"\xff\xff", b"v"),
                _ => transaction.clear_range(b"a", b"\xff\x01"),
            }
            same!((write, code(transaction.commit().await)), (write, 2004));
        }
        let transaction = begin(subject)?;
        transaction.clear_range(b"a", b"\xff");
        same!(code(transaction.commit().await), 0);
    }
    "1.4" => |subject| {
        let (longest, too_long) = (vec![b'k'; 10_000], vec![b'k'; 10_001]);
        let transaction = begin(subject)?;
        transaction.set(&longest, &vec![0; 100_000]);
        same!(code(transaction.commit().await), 0);
        let transaction = begin(subject)?;
        transaction.set(&too_long, b"v");
        same!(code(transaction.commit().await), 2102);
        let transaction = begin(subject)?;
        transaction.set(b"k", &vec![0; 100_001]);
        same!(code(transaction.commit().await), 2103);
        let transaction = begin(subject)?;
        transaction.atomic(MutationType::Add, b"k", &vec![0; 100_001]);
        same!(code(transaction.commit().await), 2103);
    }
    "1.5" => |subject| {
        let long = vec![b'k'; 10_020];
        let transaction = begin(subject)?;
        same!(transaction.get(&long, Serializable).await.map_err(|_| ()), Ok(None));
        transaction.clear(&long);
        transaction.clear_range(&long, b"l");
        same!(code(transaction.commit().await), 0);
    }
    "1.6" => |subject| {
        let transaction = begin(subject)?;
        same!(code(transaction.add_conflict_range(b"b", b"a", ConflictKind::Read)), 2005);
        same!(code(transaction.estimated_range_size_bytes(b"b", b"a").await), 2005);
        same!(keys(&transaction, &RangeRequest::new("b", "a"), Serializable).await, Ok((vec![], false)));
        transaction.clear_range(b"b", b"b");
        same!(code(transaction.get(b"k", Serializable).await), 0);
        transaction.clear_range(b"b", b"a");
        same!(code(transaction.get(b"k", Serializable).await), 2005);
    }
    "1.7" => |subject| {
        let transaction = begin(subject)?;
        for number in 0..101u8 {
            transaction.set(&[number], &vec![0; 100_000]);
        }
        same!(code(transaction.commit().await), 2101);
        let transaction = begin(subject)?;
        same!(code(transaction.set_option(TransactionOption::SizeLimitBytes(500))), 0);
        transaction.set(b"k", &[0; 600]);
        same!(code(transaction.commit().await), 2101);
        for size in [31, 10_000_001] {
            let transaction = begin(subject)?;
            let _ = transaction.set_option(TransactionOption::SizeLimitBytes(size));
            same!((size, code(transaction.get(b"k", Serializable).await)), (size, 2006));
        }
    }
    "1.8" => |subject| {
        let transaction = begin(subject)?;
        same!(code(transaction.set_option(TransactionOption::AccessSystemKeys)), 0);
        transaction.set(b"\xff/tenantry-test", b"v");
        same!(transaction.get(b"\xff/tenantry-test", Serializable).await.map_err(|_| ()).ok().flatten().as_deref(), Some(b"v".as_slice()));
        let reader = begin(subject)?;
        same!(code(reader.set_option(TransactionOption::ReadSystemKeys)), 0);
        same!(code(reader.get(b"\xff/tenantry-test", Serializable).await), 0);
        reader.set(b"\xff/tenantry-test", b"v");
        same!(code(reader.commit().await), 2004);
    }
    "2.1" => |subject| {
        let transaction = begin(subject)?;
        transaction.set(b"\xff", b"v");
        transaction.set(b"k", &vec![0; 100_001]);
        transaction.set(b"k", b"v");
        same!(code(transaction.get(b"k", Serializable).await), 2004);
        same!(code(transaction.read_version().await), 2004);
        same!(code(transaction.commit().await), 2004);
        transaction.reset();
        same!(code(transaction.get(b"k", Serializable).await), 0);
        same!(value(subject, b"k").await?, None);
    }
    "2.2" => |subject| {
        let transaction = begin(subject)?;
        transaction.atomic(MutationType::SetVersionstampedValue, b"k", b"0123456789\0\0\0\0");
        same!(code(transaction.get(b"k", Serializable).await), 1036);
        same!(code(transaction.commit().await), 1036);
        same!(value(subject, b"k").await?, None);
    }
    "2.3" => |subject| {
        let transaction = begin(subject)?;
        transaction.set(b"k", b"v");
        same!(code(transaction.get(b"\xff", Serializable).await), 2004);
        same!(code(transaction.commit().await), 0);
    }
    "2.4" => |subject| {
        let transaction = begin(subject)?;
        transaction.set(b"\xff", b"v");
        same!(code(transaction.on_error(&error(1020)).await), 0);
        transaction.set(b"k", b"v");
        same!(code(transaction.commit().await), 0);
    }
    "3.1" => |subject| {
        let transaction = begin(subject)?;
        transaction.set(b"k", b"v");
        same!(code(transaction.commit().await), 0);
        same!(code(transaction.get(b"k", Serializable).await), 2017);
        same!(code(transaction.commit().await), 2017);
        transaction.reset();
        same!(code(transaction.get(b"k", Serializable).await), 0);
    }
    "3.2" => |subject| {
        let transaction = begin(subject)?;
        let (watch, stamp) = (transaction.watch(b"k"), transaction.versionstamp());
        transaction.set(b"k", b"v");
        transaction.reset();
        same!(fires(subject, watch).await?, 1025);
        same!(fires(subject, stamp).await?, 1025);
        same!(code(transaction.commit().await), 0);
        same!(value(subject, b"k").await?, None);
    }
    "3.3" => |subject| {
        let transaction = begin(subject)?;
        transaction.cancel();
        transaction.set(b"k", b"v");
        same!(code(transaction.get(b"k", Serializable).await), 1025);
        // What asks nothing of the database still answers.
        same!(code(transaction.approximate_size_bytes().await), 0);
        same!(code(transaction.commit().await), 1025);
        same!(code(transaction.on_error(&error(1020)).await), 1025);
        transaction.reset();
        same!(code(transaction.get(b"k", Serializable).await), 0);
        // The first error of an operation that returns nothing is kept even so, and comes first.
        transaction.cancel();
        transaction.set_read_version(0);
        same!(code(transaction.get(b"k", Serializable).await), 2010);
        transaction.reset();
        transaction.cancel();
        transaction.set_read_version(0);
        same!(code(transaction.get(b"k", Serializable).await), 2011);
    }
    "3.4" => |subject| {
        for retried in [1007, 1009, 1020, 1021, 1037, 1038, 1042, 1051, 1078, 1213, 1223] {
            same!((retried, code(begin(subject)?.on_error(&error(retried)).await)), (retried, 0));
        }
        for number in [1031, 1025, 2004, 2101, 4100, 1036] {
            let transaction = begin(subject)?;
            same!(code(transaction.on_error(&error(number)).await), number);
            same!(code(transaction.get(b"k", Serializable).await), 1025);
            transaction.reset();
            same!(code(transaction.get(b"k", Serializable).await), 0);
        }
    }
    "3.5" => |subject| {
        let transaction = begin(subject)?;
        let _ = transaction.set_option(TransactionOption::RetryLimit(2));
        same!(code(transaction.on_error(&error(1020)).await), 0);
        same!(code(transaction.on_error(&error(1020)).await), 0);
        same!(code(transaction.on_error(&error(1020)).await), 1020);
        transaction.reset();
        same!(code(transaction.on_error(&error(1020)).await), 0);
    }
    "3.6" => |subject| {
        let transaction = begin(subject)?;
        let _ = transaction.set_option(TransactionOption::SizeLimitBytes(500));
        same!(code(transaction.on_error(&error(1020)).await), 0);
        transaction.set(b"k", &[0; 600]);
        same!(code(transaction.commit().await), 0);
    }
    "3.7" => |subject| {
        let transaction = begin(subject)?;
        let _ = transaction.set_option(TransactionOption::TimeoutMs(1_000));
        if !subject.make_too_old() {
            return Ok(());
        }
        same!(code(transaction.get(b"k", Serializable).await), 1031);
        same!(code(transaction.commit().await), 1031);
        same!(code(transaction.on_error(&error(1020)).await), 1031);
        transaction.reset();
        same!(code(transaction.get(b"k", Serializable).await), 0);
    }
    "4.1" => |subject| {
        let writer = begin(subject)?;
        writer.set(b"k", b"v");
        same!(code(writer.commit().await), 0);
        let committed = writer.committed_version().map_err(|error| error.to_string())?;
        let transaction = begin(subject)?;
        let read = transaction.read_version().await.map_err(|error| error.to_string())?;
        same!(read >= committed && committed > 0, true);
        same!(transaction.read_version().await.map_err(|_| ()), Ok(read));
    }
    "4.2" => |subject| {
        let transaction = begin(subject)?;
        transaction.set_read_version(0);
        same!(code(transaction.get(b"k", Serializable).await), 2011);
        let transaction = begin(subject)?;
        let _ = transaction.read_version().await;
        transaction.set_read_version(1_000);
        same!(code(transaction.get(b"k", Serializable).await), 2010);
    }
    "4.3" => |subject| {
        put(subject, &[("k", "1")]).await?;
        let transaction = begin(subject)?;
        let _ = transaction.read_version().await;
        put(subject, &[("k", "2"), ("l", "2")]).await?;
        same!(transaction.get(b"k", Serializable).await.ok().flatten().as_deref(), Some(b"1".as_slice()));
        same!(keys(&transaction, &RangeRequest::new("", "z"), Snapshot).await, Ok((vec!["k".to_owned()], false)));
        let version = transaction.read_version().await.map_err(|error| error.to_string())?;
        let again = begin(subject)?;
        again.set_read_version(version);
        same!(again.get(b"k", Snapshot).await.ok().flatten().as_deref(), Some(b"1".as_slice()));
    }
    "4.4" => |subject| {
        put(subject, &[("k", "1")]).await?;
        let (reader, writer) = (begin(subject)?, begin(subject)?);
        let _ = reader.read_version().await;
        let _ = writer.get(b"k", Serializable).await;
        writer.set(b"l", b"v");
        if !subject.make_too_old() {
            return Ok(());
        }
        same!(code(reader.get(b"k", Serializable).await), 1007);
        same!(code(writer.commit().await), 1007);
    }
    "4.5" => |subject| {
        let transaction = begin(subject)?;
        transaction.set_read_version(i64::MAX / 4);
        same!(code(transaction.get(b"k", Serializable).await), 1009);
    }
    "4.6" => |subject| {
        put(subject, &[("k", "1")]).await?;
        let transaction = begin(subject)?;
        let stamp = transaction.versionstamp();
        let _ = transaction.get(b"k", Serializable).await;
        same!(code(transaction.add_conflict_range(b"a", b"z", ConflictKind::Read)), 0);
        put(subject, &[("k", "2")]).await?;
        same!(transaction.committed_version().map_err(|_| ()), Ok(-1));
        same!(code(transaction.commit().await), 0);
        same!(transaction.committed_version().map_err(|_| ()), Ok(-1));
        same!(fires(subject, stamp).await?, 2021);
    }
    "4.7" => |subject| {
        let reader = begin(subject)?;
        let _ = reader.get(b"k", Serializable).await;
        reader.set(b"other", b"v");
        let transaction = begin(subject)?;
        same!(code(transaction.add_conflict_range(b"k", b"l", ConflictKind::Write)), 0);
        same!(code(transaction.commit().await), 0);
        same!(transaction.committed_version().is_ok_and(|version| version > 0), true);
        same!(code(reader.commit().await), 1020);
    }
    "4.8" => |subject| {
        put(subject, &[("k", "1")]).await?;
        let (one, other) = (begin(subject)?, begin(subject)?);
        for transaction in [&one, &other] {
            let _ = transaction.get(b"k", Serializable).await;
            transaction.set(b"k", b"2");
        }
        same!(code(one.commit().await), 0);
        same!(code(other.commit().await), 1020);
        let (one, other) = (begin(subject)?, begin(subject)?);
        for transaction in [&one, &other] {
            let _ = transaction.read_version().await;
            transaction.set(b"k", b"3");
        }
        same!(code(one.commit().await), 0);
        same!(code(other.commit().await), 0);
    }
    "4.9" => |subject| {
        put(subject, &[("a", "1"), ("b", "1")]).await?;
        let (refused, reader) = (begin(subject)?, begin(subject)?);
        let _ = refused.get(b"a", Serializable).await;
        refused.set(b"b", b"2");
        let _ = reader.get(b"b", Serializable).await;
        reader.set(b"c", b"2");
        put(subject, &[("a", "2")]).await?;
        same!(code(refused.commit().await), 1020);
        same!(code(reader.commit().await), 0);
    }
    "4.10" => |subject| {
        put(subject, &[("k", "1")]).await?;
        let (reader, absent) = (begin(subject)?, begin(subject)?);
        let _ = reader.get(b"k", Serializable).await;
        reader.set(b"x", b"v");
        let _ = absent.get(b"none", Serializable).await;
        absent.set(b"y", b"v");
        let writer = begin(subject)?;
        writer.set(b"k", b"1");
        writer.clear(b"none");
        same!(code(writer.commit().await), 0);
        same!(code(reader.commit().await), 1020);
        same!(code(absent.commit().await), 1020);
    }
    "4.11" => |subject| {
        put(subject, &[("k", "1")]).await?;
        let blind = begin(subject)?;
        let _ = blind.read_version().await;
        blind.set(b"k", b"2");
        if !subject.make_too_old() {
            return Ok(());
        }
        same!(code(blind.commit().await), 1007);
    }
    "4.12" => |subject| {
        let mut last = None;
        for _ in 0..5 {
            let transaction = begin(subject)?;
            let stamp = transaction.versionstamp();
            transaction.set(b"k", b"v");
            same!(code(transaction.commit().await), 0);
            let stamp = stamp.await.map_err(|error| error.to_string())?;
            same!(transaction.committed_version().map_err(|_| ()), Ok(stamp.version()));
            same!(last < Some(stamp), true);
            last = Some(stamp);
        }
    }
    "4.13" => |subject| {
        put(subject, &[("k", "1")]).await?;
        let transaction = begin(subject)?;
        let stamp = transaction.versionstamp();
        let _ = transaction.get(b"k", Serializable).await;
        transaction.set(b"k", b"2");
        put(subject, &[("k", "3")]).await?;
        same!(code(transaction.commit().await), 1020);
        same!(fires(subject, stamp).await?, 2020);
        same!(fires(subject, transaction.versionstamp()).await?, 2017);
    }
    "11.1" => |subject| {
        for option in [TransactionOption::RetryLimit(-2), TransactionOption::TimeoutMs(-1), TransactionOption::MaxRetryDelayMs(-1)] {
            let transaction = begin(subject)?;
            let _ = transaction.set_option(option.clone());
            same!((&option, code(transaction.get(b"k", Serializable).await)), (&option, 2006));
        }
        let transaction = begin(subject)?;
        let at_once = code(transaction.set_option(TransactionOption::IdempotencyId(vec![0; 15])));
        let deferred = code(transaction.get(b"k", Serializable).await);
        same!(at_once == 2007 || deferred == 2007 || deferred == 2006, true);
        for tag in 0..5u8 {
            same!(code(begin(subject)?.set_option(TransactionOption::Tag(vec![tag]))), 0);
        }
    }
    "11.2" => |subject| {
        let limit = DatabaseOption::TransactionDefault(TransactionOption::SizeLimitBytes(500));
        same!(code(subject.engine().set_option(limit)), 0);
        let transaction = begin(subject)?;
        for _ in 0..2 {
            transaction.set(b"k", &[0; 600]);
            same!(code(transaction.commit().await), 2101);
            transaction.reset();
        }
        let restored = DatabaseOption::TransactionDefault(TransactionOption::SizeLimitBytes(10_000_000));
        same!(code(subject.engine().set_option(restored)), 0);
    }
    "12.1" => |subject| {
        let key = b"\xff/metadataVersion";
        let transaction = begin(subject)?;
        same!(code(transaction.get(key, Serializable).await), 0);
        transaction.atomic(MutationType::SetVersionstampedValue, key, &[0; 14]);
        same!(code(transaction.get(key, Serializable).await), 1036);
        transaction.reset();
        transaction.atomic(MutationType::SetVersionstampedValue, key, &[0; 14]);
        same!(code(transaction.commit().await), 0);
        same!(value(subject, key).await?.map(|value| value.len()), Some(10));
        for wrong in [true, false] {
            let transaction = begin(subject)?;
            match wrong {
                true => transaction.set(key, b"v"),
                false => transaction.atomic(MutationType::SetVersionstampedValue, key, b"0123456789\0\0\0\0"),
            }
            same!(code(transaction.commit().await), 2000);
        }
    }
    "13.1" => |subject| {
        let transaction = begin(subject)?;
        let points = transaction.range_split_points(b"a", b"z", 1_000_000).await.map_err(|error| error.to_string())?;
        same!((points.first().map(|key| &key[..]), points.last().map(|key| &key[..])), (Some(b"a".as_slice()), Some(b"z".as_slice())));
        same!(points.windows(2).all(|pair| pair[0] < pair[1]), true);
        same!(code(transaction.range_split_points(b"z", b"a", 1_000).await), 2005);
        same!(code(transaction.estimated_range_size_bytes(b"a", b"z").await), 0);
        let mut watch = transaction.watch(b"k");
        same!(is_pending(&mut watch).await, true);
    }
}
