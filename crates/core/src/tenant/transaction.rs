//! A transaction on one tenant.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tenantry_kv::limits::{CONFLICT_RANGE_OVERHEAD_BYTES, MUTATION_OVERHEAD_BYTES};
use tenantry_kv::tuple::{self, Element};
use tenantry_kv::{Isolation, KvFuture, MutationType, RangeBatch, RangeRequest, TransactionRef};

use super::Tenant;
use super::indexes::Stamped;
use crate::change_log;
use crate::database::{HeaderCheck, Schema, check_state, uuid_of};
use crate::error::{Code, Error, Result, limit};
use crate::limits::{CHANGES_MAX, WRITE_SIZE_BYTES_MAX};
use crate::messages::{Change, TenantHeader};
use crate::record::frame;
use crate::schema::RecordType;

/// A transaction on one tenant: it cannot name, read, watch or conflict with a key outside it. Cheap to clone; clones are the same transaction.
#[derive(Clone)]
pub struct TenantTransaction {
    pub(super) tenant: Tenant,
    pub(super) transaction: TransactionRef,
    pub(super) header: Arc<TenantHeader>,
    schema: Arc<Schema>,
    state: Arc<Mutex<State>>,
    under_way: Arc<Mutex<UnderWay>>,
}

/// What was asked for at the begin and is needed at the end.
#[derive(Default)]
struct UnderWay {
    header: Option<HeaderCheck>,
    database_state: Option<KvFuture<Option<Bytes>>>,
}

/// The ordinal, tags and lengths of one operation in the log.
const LOG_OPERATION_OVERHEAD_BYTES: usize = 16;

/// What a write makes the engine count: the mutation and its conflict range.
pub(super) fn write_size_bytes(key_size_bytes: usize, value_size_bytes: usize) -> usize {
    MUTATION_OVERHEAD_BYTES + key_size_bytes + value_size_bytes + read_size_bytes(key_size_bytes)
}

/// What the read of a key makes the engine count: its conflict range.
pub(super) fn read_size_bytes(key_size_bytes: usize) -> usize {
    CONFLICT_RANGE_OVERHEAD_BYTES + 2 * key_size_bytes + 1
}

/// What the transaction has written so far.
#[derive(Default)]
pub(super) struct State {
    /// Part 0 of the records that were written, which get their stamp at the end.
    pub(super) pending: BTreeMap<Bytes, Pending>,
    pub(super) changes: Vec<Change>,
    size_bytes: usize,
    isolation: Isolation,
    is_finished: bool,
}

pub(super) struct Pending {
    pub(super) frame: Bytes,
    /// The place of the change in the transaction.
    ordinal: u16,
    /// Its entries in indexes that are ordered by version.
    stamped: Vec<Stamped>,
    /// Whether the engine has it, for range reads.
    is_issued: bool,
}

impl fmt::Debug for TenantTransaction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TenantTransaction({:?})", self.tenant)
    }
}

impl TenantTransaction {
    /// A transaction on `tenant`, which `commits` or only reads.
    pub(super) async fn begin(
        tenant: Tenant,
        transaction: TransactionRef,
        commits: bool,
    ) -> Result<TenantTransaction> {
        let inner = &tenant.database.inner;
        // All that is to be read goes out together.
        let database_state = commits.then(|| inner.begin_state(&*transaction)).transpose()?;
        let (header, check) = inner.likely_header(&*transaction, tenant.info.id, &tenant.keys).await?;
        let under_way = Arc::new(Mutex::new(UnderWay { header: check, database_state }));
        let schema_uuid = uuid_of(&header.schema_uuid, "the tenant's header")?;
        let schema = inner.schema(&*transaction, schema_uuid, header.schema_version).await?;
        let state = Arc::default();
        Ok(TenantTransaction { tenant: tenant.clone(), transaction, header, schema, state, under_way })
    }

    /// The schema that holds in this transaction.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Makes the reads that follow take no part in the conflict check, or again take part in it.
    ///
    /// With snapshot reads somebody else may change what was read before this transaction commits. What a write has to know (whether the record exists, its old
    /// index entries, unique values) is read with a conflict all the same.
    pub fn set_isolation(&self, isolation: Isolation) {
        self.lock().isolation = isolation;
    }

    /// The version that this transaction reads at.
    ///
    /// # Errors
    ///
    /// The engine's own.
    pub async fn read_version(&self) -> Result<i64> {
        Ok(self.transaction.read_version().await?)
    }

    /// Fires when anything in the tenant has changed since this transaction's read version. It becomes active with the commit.
    ///
    /// # Errors
    ///
    /// None at once; the future's are the engine's: 1032 when too many watches are outstanding.
    pub fn watch(&self) -> Result<KvFuture<()>> {
        Ok(self.transaction.watch(&self.tenant.keys.log_head()?))
    }

    /// The engine's transaction, for what the layer writes beside the tenant.
    pub(crate) fn engine_transaction(&self) -> &TransactionRef {
        &self.transaction
    }

    pub(crate) fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    pub(crate) fn header(&self) -> &TenantHeader {
        &self.header
    }

    pub(crate) fn record_type(&self, name: &str) -> Result<&RecordType> {
        self.schema.definition.record_type(name)
    }

    pub(crate) fn isolation(&self) -> Isolation {
        self.lock().isolation
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a key of the tenant, through what this transaction wrote.
    pub(crate) fn get_key(&self, key: &[u8], isolation: Isolation) -> KvFuture<Option<Bytes>> {
        let state = self.lock();
        if let Some(pending) = state.pending.get(key) {
            return KvFuture::ready(Ok(Some(pending.frame.clone())));
        }
        drop(state);
        self.transaction.get(key, isolation)
    }

    /// A range of the tenant's keys. The caller has issued what is pending.
    pub(crate) fn engine_range(&self, request: &RangeRequest) -> KvFuture<RangeBatch> {
        self.transaction.get_range(request, self.isolation())
    }

    /// Gives the engine what is pending, so that range reads see it.
    pub(crate) fn issue_pending(&self) {
        for (key, pending) in &mut self.lock().pending {
            if !pending.is_issued {
                self.transaction.set(key, &pending.frame);
                pending.is_issued = true;
            }
        }
    }

    /// Notes a change, within the limits of a transaction, and returns its ordinal. `size_bytes` is what it makes the engine count, but for the log.
    pub(super) fn change(&self, change: Change, size_bytes: usize) -> Result<u16> {
        let ordinals = self.changes(vec![(change, size_bytes)])?;
        ordinals
            .first()
            .copied()
            .ok_or_else(|| limit("the changes of a transaction", CHANGES_MAX + 1, CHANGES_MAX))
    }

    /// Notes several changes, or none of them where they pass a limit together.
    pub(super) fn changes(&self, changes: Vec<(Change, usize)>) -> Result<Vec<u16>> {
        let mut state = self.lock();
        if state.is_finished {
            return Err(Error::new(
                Code::QueryInvalid,
                "the transaction is over: use it inside its closure alone",
            ));
        }
        let begin = state.changes.len();
        if begin + changes.len() > CHANGES_MAX {
            return Err(limit("the changes of a transaction", begin + changes.len(), CHANGES_MAX));
        }
        let size = |(change, size_bytes): &(Change, usize)| {
            size_bytes.saturating_add(change.encoded_len() + LOG_OPERATION_OVERHEAD_BYTES)
        };
        let total = changes.iter().map(size).fold(state.size_bytes, usize::saturating_add);
        if total > WRITE_SIZE_BYTES_MAX {
            return Err(limit(
                "the bytes that a transaction writes, with keys, log and index entries (spread the work over several transactions)",
                total,
                WRITE_SIZE_BYTES_MAX,
            ));
        }
        let ordinals =
            (begin..begin + changes.len()).map(u16::try_from).collect::<std::result::Result<_, _>>();
        let ordinals = ordinals.map_err(|_| limit("the changes of a transaction", begin, CHANGES_MAX))?;
        state.size_bytes = total;
        state.changes.extend(changes.into_iter().map(|(change, _)| change));
        Ok(ordinals)
    }

    /// Whether this transaction has changed anything so far.
    pub(super) fn has_changes(&self) -> bool {
        !self.lock().changes.is_empty()
    }

    pub(super) fn put_pending(&self, key: Bytes, frame: Bytes, ordinal: u16, stamped: Vec<Stamped>) {
        self.lock().pending.insert(key, Pending { frame, ordinal, stamped, is_issued: false });
    }

    pub(super) fn clear_pending(&self, key: &[u8]) {
        self.lock().pending.remove(key);
    }

    /// Whether this transaction wrote the record of a key.
    pub(super) fn has_pending(&self, key: &[u8]) -> bool {
        self.lock().pending.contains_key(key)
    }

    /// Makes sure that the header is the one that this transaction took for it. To be called before anything that it did counts.
    pub(super) async fn check_header(&self) -> Result<()> {
        let check = self.under_way().header.take();
        match check {
            Some(check) => self.tenant.database.inner.check_header(self.tenant.info.id, check).await,
            None => Ok(()),
        }
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Issues what carries the transaction's stamp: the last step before the commit.
    pub(super) async fn finish(&self) -> Result<()> {
        let (pending, changes) = {
            let mut state = self.lock();
            state.is_finished = true;
            (std::mem::take(&mut state.pending), std::mem::take(&mut state.changes))
        };
        if changes.is_empty() {
            return Ok(());
        }
        let database_state = self.under_way().database_state.take();
        match database_state {
            Some(reading) => check_state(reading.await?)?,
            None => self.tenant.database.inner.check_writable(&*self.transaction).await?,
        }
        for (key, pending) in pending {
            let mut operand = Vec::with_capacity(pending.frame.len() + 4);
            operand.extend_from_slice(&pending.frame);
            operand.extend_from_slice(&(frame::STAMP_POSITION as u32).to_le_bytes());
            self.transaction.atomic(MutationType::SetVersionstampedValue, &key, &operand);
            for entry in pending.stamped {
                let stamp = Element::Versionstamp { stamp: None, user_version: pending.ordinal };
                let key = tuple::pack_with_versionstamp_after(&entry.prefix, &[stamp])?;
                self.transaction.atomic(MutationType::SetVersionstampedKey, &key, &entry.value);
            }
        }
        let read_version = self.transaction.read_version().await?;
        let inner = &self.tenant.database.inner;
        let context = change_log::Context {
            keys: &self.tenant.keys,
            space: &inner.keys,
            tenant: self.tenant.info.id,
            header: &self.header,
            wall_us: inner.env.clock.wall_us(),
            read_version,
        };
        change_log::append(&*self.transaction, &context, changes)
    }
}
