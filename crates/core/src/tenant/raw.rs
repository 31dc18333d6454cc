//! The tenant's own key-value space.

use bytes::Bytes;
use tenantry_kv::{KeyRange, KvFuture, MutationType, RangeRequest, Versionstamp};

use super::transaction::{TenantTransaction, write_size_bytes};
use crate::access::Operation;
use crate::database::mutation_code;
use crate::error::{Code, Error, Result, limit};
use crate::key_space::{behind, clamp};
use crate::limits::{RAW_SEALED_VALUE_SIZE_BYTES_MAX, RAW_VALUE_SIZE_BYTES_MAX};
use crate::messages::{Change, RawChange, Space};
use crate::sealing::VALUE_SEAL_SIZE_BYTES_MAX;

/// The stamp of a transaction, and two bytes that count.
const STAMP_AND_ORDINAL_SIZE_BYTES: usize = 12;

/// A key that gets the transaction's stamp at its end.
pub(super) struct StampedKey {
    /// Where it may come to lie.
    range: KeyRange,
    /// With the place of the stamp behind it.
    pub(super) key: Bytes,
    pub(super) value: Bytes,
}

/// A range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawRange {
    /// The first key.
    pub begin: Bytes,
    /// The key to end before; `None` for the end of the space.
    pub end: Option<Bytes>,
    /// The most rows. Default 100; at most 10,000.
    pub rows_max: usize,
    /// Whether to read from the end.
    pub reverse: bool,
}

impl RawRange {
    /// The whole space.
    pub fn all() -> RawRange {
        RawRange { begin: Bytes::new(), end: None, rows_max: 100, reverse: false }
    }

    /// The keys from `begin` to `end` (exclusive).
    pub fn new(begin: impl Into<Bytes>, end: impl Into<Bytes>) -> RawRange {
        RawRange { begin: begin.into(), end: Some(end.into()), ..RawRange::all() }
    }

    /// The keys that begin with `prefix`.
    pub fn prefix(prefix: &[u8]) -> RawRange {
        let end = tenantry_kv::tuple::prefix_end(prefix);
        RawRange { begin: Bytes::copy_from_slice(prefix), end, ..RawRange::all() }
    }

    /// The same with another bound on the rows.
    #[must_use]
    pub fn rows_max(mut self, rows_max: usize) -> RawRange {
        self.rows_max = rows_max;
        self
    }

    /// The same from the end.
    #[must_use]
    pub fn reverse(mut self, reverse: bool) -> RawRange {
        self.reverse = reverse;
        self
    }
}

/// Some rows of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawPage {
    /// Keys, relative to the space, and values.
    pub rows: Vec<(Bytes, Bytes)>,
    /// The range to go on with, if there may be more.
    pub next: Option<RawRange>,
}

impl TenantTransaction {
    /// The value of a key of the tenant's own space.
    ///
    /// # Errors
    ///
    /// 20060 for a key that is too long; the engine's own.
    pub async fn raw_get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.authorize(Operation::RawGet)?;
        let at = self.tenant.keys.raw_key(key)?;
        match self.read_key(&at, self.isolation()).await? {
            Some(value) => self.opened_raw(&at, value).await.map(Some),
            None => Ok(None),
        }
    }

    /// Sets a key of the tenant's own space.
    ///
    /// # Errors
    ///
    /// 20060 for a key or value that is too long, or too much in one transaction.
    pub fn raw_set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.authorize(Operation::RawSet)?;
        let at = self.tenant.keys.raw_key(key)?;
        self.check_value(value)?;
        let stored = self.sealed_value(&at, Bytes::copy_from_slice(value))?;
        self.change(Change::Set(change(key, value, Space::Raw)), write_size_bytes(at.len(), stored.len()))?;
        self.transaction.set(&at, &stored);
        Ok(())
    }

    /// Removes a key of the tenant's own space.
    ///
    /// # Errors
    ///
    /// As [`raw_set`](TenantTransaction::raw_set).
    pub fn raw_clear(&self, key: &[u8]) -> Result<()> {
        self.authorize(Operation::RawClear)?;
        let at = self.tenant.keys.raw_key(key)?;
        self.change(Change::Clear(change(key, b"", Space::Raw)), write_size_bytes(at.len(), at.len() + 1))?;
        self.transaction.clear(&at);
        Ok(())
    }

    /// Removes the keys from `begin` to `end` (exclusive).
    ///
    /// # Errors
    ///
    /// 20042 for an inverted range; as [`raw_set`](TenantTransaction::raw_set).
    pub fn raw_clear_range(&self, begin: &[u8], end: &[u8]) -> Result<()> {
        self.authorize(Operation::RawClearRange)?;
        let cleared = self.tenant.keys.raw_cleared(begin, end)?;
        self.check_no_stamped_key(&cleared)?;
        let (from, to) = (cleared.begin, cleared.end);
        self.change(
            Change::ClearRange(change(begin, end, Space::Raw)),
            write_size_bytes(from.len().max(to.len()), to.len()),
        )?;
        self.transaction.clear_range(&from, &to);
        Ok(())
    }

    /// Changes a key of the tenant's own space by an atomic operation, without reading it.
    ///
    /// # Errors
    ///
    /// 20042 for the operations with a versionstamp; 20116 in a sealed tenant, whose values the engine cannot compute with; as [`raw_set`](TenantTransaction::raw_set).
    pub fn raw_atomic(&self, mutation: MutationType, key: &[u8], operand: &[u8]) -> Result<()> {
        self.authorize(Operation::RawAtomic)?;
        if matches!(mutation, MutationType::SetVersionstampedKey | MutationType::SetVersionstampedValue) {
            return Err(Error::new(Code::QueryInvalid, "versionstamps are set by the change log alone"));
        }
        if self.sealer.is_some() {
            let detail =
                "count with a counter, which stays in clear, or read the value and set it in one transaction";
            return Err(Error::new(Code::SealedValueAtomic, detail));
        }
        let at = self.tenant.keys.raw_key(key)?;
        self.check_value(operand)?;
        let mut change = change(key, operand, Space::Raw);
        change.mutation = mutation_code(mutation);
        self.change(Change::Atomic(change), write_size_bytes(at.len(), operand.len()))?;
        self.transaction.atomic(mutation, &at, operand);
        Ok(())
    }

    /// Sets a key that holds the stamp of this transaction: `prefix`, the stamp (10 bytes), an ordinal (2 bytes, big-endian), `suffix`. Such keys sort in the order of the commits and, within a
    /// transaction, in that of the calls. Returns the ordinal; the stamp is known with the commit: see [`versionstamp`](TenantTransaction::versionstamp).
    ///
    /// It is written at the end of the transaction, whose own reads do not see it.
    ///
    /// # Errors
    ///
    /// As [`raw_set`](TenantTransaction::raw_set).
    pub fn raw_set_versionstamped(&self, prefix: &[u8], suffix: &[u8], value: &[u8]) -> Result<u16> {
        self.authorize(Operation::RawSetVersionstamped)?;
        let rest_size_bytes = STAMP_AND_ORDINAL_SIZE_BYTES.saturating_add(suffix.len());
        let (begin, range) = self.tenant.keys.raw_stamped(prefix, rest_size_bytes)?;
        self.check_value(value)?;
        // The ordinal is that of the change: the next one, and this transaction's alone.
        let with_offset = |before: &[u8], ordinal: u16| {
            let mut key = before.to_vec();
            key.extend_from_slice(&[0; 10]);
            key.extend_from_slice(&ordinal.to_be_bytes());
            key.extend_from_slice(suffix);
            key.extend_from_slice(&(before.len() as u32).to_le_bytes());
            key
        };
        let stored_size_bytes = value.len() + self.sealer.as_ref().map_or(0, |_| VALUE_SEAL_SIZE_BYTES_MAX);
        let size_bytes = write_size_bytes(
            begin.len() + STAMP_AND_ORDINAL_SIZE_BYTES + suffix.len() + 4,
            stored_size_bytes,
        );
        let ordinal = self.change_with(size_bytes, |ordinal| {
            let mut logged = change(&with_offset(prefix, ordinal), value, Space::Raw);
            logged.mutation = mutation_code(MutationType::SetVersionstampedKey);
            Change::Atomic(logged)
        })?;
        let key: Bytes = with_offset(&begin, ordinal).into();
        let value = match &self.sealer {
            // Behind the key stands the place of the stamp.
            Some(sealer) => sealer.seal_stamped_value(&key[..key.len() - 4], begin.len(), value)?,
            None => Bytes::copy_from_slice(value),
        };
        self.lock().stamped_keys.push(StampedKey { range, key, value });
        Ok(ordinal)
    }

    /// The stamp that this transaction will have: to be asked for inside of it, and awaited after its commit.
    pub fn versionstamp(&self) -> KvFuture<Versionstamp> {
        self.transaction.versionstamp()
    }

    /// A stamped key is written at the end, so that it would outlive a clear behind it.
    fn check_no_stamped_key(&self, cleared: &KeyRange) -> Result<()> {
        match self.lock().stamped_keys.iter().any(|stamped| stamped.range.intersects(cleared)) {
            true => Err(Error::new(
                Code::QueryInvalid,
                "this transaction has set a key with its stamp in the range: clear the range before that, or in another transaction",
            )),
            false => Ok(()),
        }
    }

    /// The rows of a range of the tenant's own space.
    ///
    /// # Errors
    ///
    /// 20042 for an inverted range, 20060 for too many rows or a key that is too long; the engine's own.
    pub async fn raw_range(&self, range: &RawRange) -> Result<RawPage> {
        self.authorize(Operation::RawRange)?;
        clamp::check_rows("rows of a range", range.rows_max)?;
        let prefix = self.tenant.keys.raw()?;
        let KeyRange { begin, end } = self.tenant.keys.raw_range(&range.begin, range.end.as_deref())?;
        let mut page = RawPage::default();
        let mut next = Some(RangeRequest::new(begin, end).limit(range.rows_max).reverse(range.reverse));
        while let Some(request) = next {
            let batch = self.engine_range(&request).await?;
            for row in &batch.rows {
                let value = self.opened_raw(&row.key, row.value.clone()).await?;
                page.rows.push((clamp::relative(&prefix, &row.key), value));
            }
            next = request.after(&batch);
        }
        if page.rows.len() == range.rows_max
            && let Some((last, _)) = page.rows.last()
        {
            let mut rest = range.clone();
            match range.reverse {
                true => rest.end = Some(last.clone()),
                false => rest.begin = behind(last, &[0]),
            }
            page.next = Some(rest);
        }
        Ok(page)
    }

    /// Fires when a key of the tenant's own space has another value than this transaction sees. It becomes active with the commit.
    ///
    /// # Errors
    ///
    /// 20060 for a key that is too long, 20140 for more watches than the tenant may have; the future's are the engine's.
    pub fn raw_watch(&self, key: &[u8]) -> Result<KvFuture<()>> {
        self.authorize(Operation::RawWatch)?;
        self.watch_key(&self.tenant.keys.raw_watch_key(key)?)
    }

    fn check_value(&self, value: &[u8]) -> Result<()> {
        let (what, most) = match self.sealer {
            None => ("the bytes of a value", RAW_VALUE_SIZE_BYTES_MAX),
            Some(_) => ("the bytes of a value of a sealed tenant", RAW_SEALED_VALUE_SIZE_BYTES_MAX),
        };
        match value.len() <= most {
            true => Ok(()),
            false => Err(limit(what, value.len(), most)),
        }
    }
}

pub(super) fn change(key: &[u8], value: &[u8], space: Space) -> RawChange {
    let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
    RawChange { key, value, mutation: 0, space: space as i32 }
}
