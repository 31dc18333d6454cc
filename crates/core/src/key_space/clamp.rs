//! Every clamp that keeps a tenant within its own keys. What a caller names is put behind the tenant's prefix here, and both ends of whatever is read, cleared or watched are bounded
//! here; no other module makes a bound from a caller's bytes.
//!
//! Each clamp can be removed alone (`tenantry_kv::seeded_faults`), to show that the proof of isolation finds it.

use bytes::Bytes;
use tenantry_kv::limits::USER_SPACE_END;
use tenantry_kv::seeded_faults::{Fault, is_active};
use tenantry_kv::tuple::Element;
use tenantry_kv::{KeyRange, Subspace, Versionstamp, key_after};

use super::{TenantKeys, behind};
use crate::error::{Code, Error, Result, limit};
use crate::limits::{PAGE_ROWS_MAX, RAW_KEY_SIZE_BYTES_MAX};

/// Where the keys of a tuple's elements end.
const BEHIND_ALL: u8 = 0xff;
/// What ten bytes of a stamp and one of an ordinal never pass.
const BEHIND_STAMPS: [u8; 11] = [BEHIND_ALL; 11];

/// The application's own keys.
impl TenantKeys {
    /// 7 key.
    ///
    /// # Errors
    ///
    /// 20060 for a key that is too long.
    pub(crate) fn raw_key(&self, key: &[u8]) -> Result<Bytes> {
        check_key(key.len(), "the bytes of a key")?;
        self.raw_behind(key, Fault::RawKeyNotClamped)
    }

    /// 7 key, to be watched.
    ///
    /// # Errors
    ///
    /// As [`raw_key`](TenantKeys::raw_key).
    pub(crate) fn raw_watch_key(&self, key: &[u8]) -> Result<Bytes> {
        check_key(key.len(), "the bytes of a key")?;
        self.raw_behind(key, Fault::WatchKeyNotClamped)
    }

    /// 7 prefix, of a key that gets `rest_size_bytes` with its stamp; and all that it can become.
    ///
    /// # Errors
    ///
    /// As [`raw_key`](TenantKeys::raw_key).
    pub(crate) fn raw_stamped(&self, prefix: &[u8], rest_size_bytes: usize) -> Result<(Bytes, KeyRange)> {
        check_key(prefix.len().saturating_add(rest_size_bytes), "the bytes of a key, its stamp included")?;
        let begin = self.raw_behind(prefix, Fault::StampedKeyNotClamped)?;
        let end = behind(&begin, &BEHIND_STAMPS);
        Ok((begin.clone(), KeyRange::new(begin, end)))
    }

    /// 7 begin to 7 end, or to the end of the space, to be read.
    ///
    /// # Errors
    ///
    /// 20042 for an inverted range.
    pub(crate) fn raw_range(&self, begin: &[u8], end: Option<&[u8]>) -> Result<KeyRange> {
        let everything = Subspace::new(self.raw()?).keys();
        let mut range = KeyRange::new(self.raw_bound(begin)?, everything.end);
        if let Some(end) = end {
            check_order(begin, end)?;
            range.end = self.raw_bound(end)?;
        } else if is_active(Fault::RawRangeEndNotClamped) {
            range.end = Bytes::from_static(USER_SPACE_END);
        }
        if begin.is_empty() && is_active(Fault::RawRangeBeginNotClamped) {
            range.begin = self.unclamped();
        }
        Ok(range)
    }

    /// 7 begin to 7 end, to be cleared.
    ///
    /// # Errors
    ///
    /// 20042 for an inverted range.
    pub(crate) fn raw_cleared(&self, begin: &[u8], end: &[u8]) -> Result<KeyRange> {
        check_order(begin, end)?;
        let end = match is_active(Fault::RawClearRangeNotClamped) {
            true => behind(&self.unclamped(), end).max(self.raw_bound(begin)?),
            false => self.raw_bound(end)?,
        };
        Ok(KeyRange::new(self.raw_bound(begin)?, end))
    }

    /// A bound of a range: one byte more than a key, so that it can lie right behind the longest one.
    fn raw_bound(&self, key: &[u8]) -> Result<Bytes> {
        let cut = key.get(..RAW_KEY_SIZE_BYTES_MAX + 1).unwrap_or(key);
        Ok(behind(&self.raw()?, cut))
    }

    fn raw_behind(&self, key: &[u8], fault: Fault) -> Result<Bytes> {
        match is_active(fault) {
            true => Ok(behind(&self.unclamped(), key)),
            false => Ok(behind(&self.raw()?, key)),
        }
    }

    /// What a removed clamp puts keys behind: a prefix of this tenant's and of its neighbours'.
    fn unclamped(&self) -> Bytes {
        self.prefix.slice(..self.prefix.len().saturating_sub(1))
    }
}

/// What the layer keeps for the tenant.
impl TenantKeys {
    /// 4 1 bucket: what the log has in one part behind the transaction of a stamp.
    pub(crate) fn log_range(&self, bucket: u32, incarnation: u32, stamp: Versionstamp) -> Result<KeyRange> {
        let log = self.log(bucket)?;
        let last_part = Element::Versionstamp { stamp: Some(stamp), user_version: u16::MAX };
        let begin = key_after(&log.pack(&[incarnation.into(), last_part])?);
        Ok(KeyRange::new(begin, upper(log.tuples().end, Fault::LogReadNotClamped)))
    }

    /// 5 0 key: what is kept of a transaction that takes effect once for this key of the caller's.
    pub(crate) fn idempotency_record(&self, key: &[u8]) -> Result<Bytes> {
        match is_active(Fault::IdempotencyKeyNotClamped) {
            true => Ok(behind(&self.unclamped(), key)),
            false => self.key(&[5.into(), 0.into(), Element::Bytes(Bytes::copy_from_slice(key))]),
        }
    }

    /// 5 1: what may go at a time.
    pub(crate) fn idempotency_expiries(&self, until_us: i64) -> Result<KeyRange> {
        let begin = self.key(&[5.into(), 1.into()])?;
        let end = behind(&self.key(&[5.into(), 1.into(), until_us.into()])?, &[BEHIND_ALL]);
        Ok(KeyRange::new(begin, upper(end, Fault::IdempotencyExpiriesNotClamped)))
    }

    /// 6 0 name: a counter with all its parts.
    pub(crate) fn counter_parts(&self, name: &str) -> Result<KeyRange> {
        let begin = self.counter(name)?;
        let end = behind(&begin, &[BEHIND_ALL]);
        Ok(KeyRange::new(begin, upper(end, Fault::CounterRangeNotClamped)))
    }
}

/// The part of a path (an index, the records of a type) that a query asks for: `begin` and `end` stand behind the path's prefix.
pub(crate) fn path_range(prefix: &[u8], begin: &[u8], end: &[u8]) -> KeyRange {
    KeyRange::new(behind(prefix, begin), upper(behind(prefix, end), Fault::IndexScanNotClamped))
}

/// Every key of an index that begins so.
pub(crate) fn index_range(prefix: &[u8]) -> KeyRange {
    KeyRange::new(
        Bytes::copy_from_slice(prefix),
        upper(behind(prefix, &[BEHIND_ALL]), Fault::IndexRangeNotClamped),
    )
}

/// The records of a type, whose keys begin with `prefix`; those behind a packed primary key alone, with its further parts.
pub(crate) fn records_range(prefix: &Bytes, after: Option<&[u8]>) -> KeyRange {
    let everything = Subspace::new(prefix.clone()).tuples();
    let begin = match after {
        Some(key) => behind(&behind(prefix, key), &[BEHIND_ALL]),
        None => everything.begin,
    };
    KeyRange::new(begin, upper(everything.end, Fault::RecordScanNotClamped))
}

/// A key behind a prefix; nothing of a key that does not begin with it.
pub(crate) fn relative(prefix: &[u8], key: &Bytes) -> Bytes {
    match key.starts_with(prefix) {
        true => key.slice(prefix.len()..),
        false => Bytes::new(),
    }
}

/// Fails unless a page may have so many rows.
///
/// # Errors
///
/// 20060 for none or more than 10,000.
pub(crate) fn check_rows(what: &str, rows_max: usize) -> Result<()> {
    let most = if is_active(Fault::RowsNotClamped) { usize::MAX } else { PAGE_ROWS_MAX };
    match rows_max == 0 || rows_max > most {
        true => Err(limit(&format!("the {what} (at least one)"), rows_max, PAGE_ROWS_MAX)),
        false => Ok(()),
    }
}

/// The end of a range, unless its clamp is removed.
fn upper(end: Bytes, fault: Fault) -> Bytes {
    match is_active(fault) {
        true => Bytes::from_static(USER_SPACE_END),
        false => end,
    }
}

fn check_key(size_bytes: usize, what: &str) -> Result<()> {
    match size_bytes <= RAW_KEY_SIZE_BYTES_MAX {
        true => Ok(()),
        false => Err(limit(what, size_bytes, RAW_KEY_SIZE_BYTES_MAX)),
    }
}

fn check_order(begin: &[u8], end: &[u8]) -> Result<()> {
    match begin <= end {
        true => Ok(()),
        false => Err(Error::new(Code::QueryInvalid, "the range ends before it begins")),
    }
}
