//! A transaction on one tenant.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tenantry_kv::limits::{CONFLICT_RANGE_OVERHEAD_BYTES, MUTATION_OVERHEAD_BYTES};
use tenantry_kv::tuple::{self, Element};
use tenantry_kv::{Isolation, KvFuture, MutationType, RangeBatch, RangeRequest, TransactionRef};

use super::Tenant;
use super::hooks::Hooks;
use super::indexes::Stamped;
use super::metering::Usage;
use super::raw::StampedKey;
use crate::access::Operation;
use crate::change_log;
use crate::database::{HeaderCheck, Schema, check_state, uuid_of};
use crate::error::{Code, Error, Result, limit};
use crate::limits::{CHANGES_MAX, WRITE_SIZE_BYTES_MAX};
use crate::messages::{Change, TenantHeader};
use crate::meters::Written;
use crate::record::frame;
use crate::schema::RecordType;
use crate::sealing::Sealer;
use crate::tenant_state::{check_begin, check_commit};

/// A transaction on one tenant: it cannot name, read, watch or conflict with a key outside it. Cheap to clone; clones are the same transaction.
#[derive(Clone)]
pub struct TenantTransaction {
    pub(super) tenant: Tenant,
    /// Fenced: it names no key but the tenant's.
    pub(super) transaction: TransactionRef,
    /// The same without the fence.
    beside: TransactionRef,
    pub(super) header: Arc<TenantHeader>,
    schema: Arc<Schema>,
    /// What seals and opens, for a sealed tenant.
    pub(super) sealer: Option<Arc<Sealer>>,
    state: Arc<Mutex<State>>,
    under_way: Arc<Mutex<UnderWay>>,
    usage: Arc<Usage>,
    /// Whoever reads or changes a ranked set holds it: that takes several steps.
    pub(crate) ranks: Arc<futures_util::lock::Mutex<()>>,
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
    /// Keys of the tenant's own space that get the transaction's stamp at the end.
    pub(super) stamped_keys: Vec<StampedKey>,
    pub(super) hooks: Hooks,
    pub(super) written: Written,
    size_bytes: usize,
    /// The tenant's own limit on that.
    size_bytes_max: Option<usize>,
    isolation: Isolation,
    /// Whether something was written that the change log does not have.
    has_bookkeeping: bool,
    is_finished: bool,
    /// Changes of ranked sets that have begun and not ended.
    pub(super) ranks_under_way: usize,
}

impl State {
    fn check_open(&self) -> Result<()> {
        match self.is_finished {
            true => Err(Error::new(
                Code::QueryInvalid,
                "the transaction is over: use it inside its closure alone",
            )),
            false => Ok(()),
        }
    }

    fn count(&mut self, size_bytes: usize) -> Result<()> {
        let total = self.size_bytes.saturating_add(size_bytes);
        if total > WRITE_SIZE_BYTES_MAX {
            return Err(limit(
                "the bytes that a transaction writes, with keys, log and index entries (spread the work over several transactions)",
                total,
                WRITE_SIZE_BYTES_MAX,
            ));
        }
        if let Some(most) = self.size_bytes_max.filter(|most| total > *most) {
            return Err(limit(
                "the bytes that a transaction of this tenant writes (spread the work over several transactions, or have the tenant's limit raised)",
                total,
                most,
            ));
        }
        self.size_bytes = total;
        Ok(())
    }
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
    pub(crate) async fn begin(
        tenant: Tenant,
        transaction: TransactionRef,
        commits: bool,
    ) -> Result<TenantTransaction> {
        let inner = &tenant.database.inner;
        // All that is to be read goes out together.
        let database_state = commits.then(|| inner.begin_state(&*transaction)).transpose()?;
        let id = tenant.info.id;
        let (header, mut check) = inner.likely_header(&*transaction, id, &tenant.keys).await?;
        let refused = match tenant.database.check_tenant(&*transaction, &tenant.info, &header).await {
            Ok(()) => check_begin(&header, id, tenant.pass),
            refused => refused,
        };
        if let Err(refusal) = refused {
            // Who is refused is refused by the header that the tenant has.
            if let Some(check) = check.take() {
                inner.check_header(id, check).await?;
            }
            return Err(refusal);
        }
        let under_way = Arc::new(Mutex::new(UnderWay { header: check, database_state }));
        let schema_uuid = uuid_of(&header.schema_uuid, "the tenant's header")?;
        let schema = inner.schema(&*transaction, schema_uuid, header.schema_version).await?;
        let sealer = Sealer::begin(&inner.data_keys, &*transaction, &tenant.keys, &header).await;
        let limits = inner.effective_limits(&*transaction, &tenant.account, &header).await?;
        let size_bytes_max = limits.as_ref().and_then(|limits| limits.transaction_bytes);
        let state = State {
            size_bytes_max: size_bytes_max.map(|most| usize::try_from(most).unwrap_or(usize::MAX)),
            // What commits nothing conflicts with nobody, so that nothing has to be noted.
            isolation: if commits { Isolation::default() } else { Isolation::Snapshot },
            ..State::default()
        };
        let (state, ranks, usage) =
            (Arc::new(Mutex::new(state)), Arc::default(), Arc::new(Usage::under(limits)));
        let (tenant, fenced) = (tenant.clone(), tenant.keys.fenced(transaction.clone()));
        Ok(TenantTransaction {
            tenant,
            transaction: fenced,
            beside: transaction,
            header,
            schema,
            sealer,
            state,
            under_way,
            usage,
            ranks,
        })
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
    /// 20120 and 20121 where a grant does not allow it, 20140 for more watches than the tenant may have; the future's are the engine's: 1032 when too many watches are outstanding.
    pub fn watch(&self) -> Result<KvFuture<()>> {
        self.authorize(Operation::WatchTenant)?;
        self.watch_key(&self.tenant.keys.log_head()?)
    }

    /// The engine's transaction, which names no key but the tenant's.
    pub(crate) fn fenced_transaction(&self) -> &TransactionRef {
        &self.transaction
    }

    /// The engine's transaction without the fence, for what the layer keeps beside the tenant: jobs, marks of change, the database's state.
    pub(crate) fn engine_transaction(&self) -> &TransactionRef {
        &self.beside
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
        self.read_key(key, isolation)
    }

    /// As [`get_key`](TenantTransaction::get_key) for each of the keys. Keys in their order cost least.
    pub(crate) fn get_keys(&self, keys: &[Bytes], isolation: Isolation) -> Vec<KvFuture<Option<Bytes>>> {
        if !self.lock().pending.is_empty() {
            return keys.iter().map(|key| self.get_key(key, isolation)).collect();
        }
        let reading = self.transaction.get_many(keys, isolation);
        keys.iter().zip(reading).map(|(key, reading)| self.usage.of_key(key.len(), reading)).collect()
    }

    /// As [`get_key`](TenantTransaction::get_key), for a key that is not a record's.
    pub(super) fn read_key(&self, key: &[u8], isolation: Isolation) -> KvFuture<Option<Bytes>> {
        self.usage.of_key(key.len(), self.transaction.get(key, isolation))
    }

    pub(super) fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    /// A range of the tenant's keys. The caller has issued what is pending.
    pub(crate) fn engine_range(&self, request: &RangeRequest) -> KvFuture<RangeBatch> {
        self.engine_range_at(request, self.isolation())
    }

    /// As [`engine_range`](TenantTransaction::engine_range), with an isolation of its own.
    pub(crate) fn engine_range_at(
        &self,
        request: &RangeRequest,
        isolation: Isolation,
    ) -> KvFuture<RangeBatch> {
        self.usage.of_range(self.transaction.get_range(request, isolation))
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
        self.change_with(size_bytes, |_| change)
    }

    /// As [`change`](TenantTransaction::change), for a change that has its ordinal in it.
    pub(super) fn change_with(&self, size_bytes: usize, change: impl FnOnce(u16) -> Change) -> Result<u16> {
        let mut state = self.lock();
        state.check_open()?;
        let ordinal = state.changes.len();
        if ordinal >= CHANGES_MAX {
            return Err(limit("the changes of a transaction", ordinal + 1, CHANGES_MAX));
        }
        let number = u16::try_from(ordinal)
            .map_err(|_| limit("the changes of a transaction", ordinal, CHANGES_MAX))?;
        let change = change(number);
        let logged = change.encoded_len();
        state.count(size_bytes.saturating_add(logged + LOG_OPERATION_OVERHEAD_BYTES))?;
        state.written.count(&change, logged);
        state.changes.push(change);
        Ok(number)
    }

    /// Notes several changes, or none of them where they pass a limit together.
    pub(super) fn changes(&self, changes: Vec<(Change, usize)>) -> Result<Vec<u16>> {
        let mut state = self.lock();
        state.check_open()?;
        let begin = state.changes.len();
        if begin + changes.len() > CHANGES_MAX {
            return Err(limit("the changes of a transaction", begin + changes.len(), CHANGES_MAX));
        }
        let ordinals =
            (begin..begin + changes.len()).map(u16::try_from).collect::<std::result::Result<_, _>>();
        let ordinals = ordinals.map_err(|_| limit("the changes of a transaction", begin, CHANGES_MAX))?;
        let size = |(change, size_bytes): &(Change, usize)| {
            size_bytes.saturating_add(change.encoded_len() + LOG_OPERATION_OVERHEAD_BYTES)
        };
        state.count(changes.iter().map(size).fold(0, usize::saturating_add))?;
        for (change, _) in changes {
            state.written.count(&change, change.encoded_len());
            state.changes.push(change);
        }
        Ok(ordinals)
    }

    /// Whether this transaction has changed anything so far.
    pub(super) fn has_changes(&self) -> bool {
        !self.lock().changes.is_empty()
    }

    /// Counts what is written beside the change log.
    pub(super) fn count_bookkeeping(&self, size_bytes: usize) -> Result<()> {
        let mut state = self.lock();
        state.check_open()?;
        state.count(size_bytes)?;
        state.has_bookkeeping = true;
        Ok(())
    }

    /// How much of [`WRITE_SIZE_BYTES_MAX`] the writes so far take, with keys, log and index entries.
    pub fn size_bytes(&self) -> usize {
        self.lock().size_bytes
    }

    /// How much is left of it, or of the tenant's own limit. A record takes about twice its stored size, its key several times, and its index entries.
    pub fn size_bytes_left(&self) -> usize {
        let state = self.lock();
        let most = state.size_bytes_max.unwrap_or(WRITE_SIZE_BYTES_MAX).min(WRITE_SIZE_BYTES_MAX);
        most.saturating_sub(state.size_bytes)
    }

    /// How many more changes the transaction takes, of [`CHANGES_MAX`].
    pub fn changes_left(&self) -> usize {
        CHANGES_MAX.saturating_sub(self.lock().changes.len())
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
    pub(crate) async fn check_header(&self) -> Result<()> {
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
    pub(crate) async fn finish(&self) -> Result<()> {
        let (pending, stamped_keys, changes, written) = {
            let mut state = self.lock();
            state.is_finished = true;
            if state.ranks_under_way > 0 {
                let detail = "a change of a record did not come to its end: wait for each, and give the transaction up when one fails";
                return Err(Error::new(Code::QueryInvalid, detail));
            }
            if state.changes.is_empty() && !state.has_bookkeeping {
                return Ok(());
            }
            let pending = std::mem::take(&mut state.pending);
            let stamped_keys = std::mem::take(&mut state.stamped_keys);
            (pending, stamped_keys, std::mem::take(&mut state.changes), state.written)
        };
        check_commit(&self.header, self.tenant.info.id, self.tenant.pass)?;
        let database_state = self.under_way().database_state.take();
        match database_state {
            Some(reading) => check_state(reading.await?)?,
            None => self.tenant.database.inner.check_writable(&*self.beside).await?,
        }
        if !changes.is_empty() {
            self.finish_meters(written).await?;
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
        for StampedKey { key, value, .. } in &stamped_keys {
            self.transaction.atomic(MutationType::SetVersionstampedKey, key, value);
        }
        let read_version = self.transaction.read_version().await?;
        let inner = &self.tenant.database.inner;
        let context = change_log::Context {
            keys: &self.tenant.keys,
            space: &inner.keys,
            tenant: self.tenant.info.id,
            header: &self.header,
            actor: self.tenant.database.access.actor(),
            wall_us: inner.env.clock.wall_us(),
            read_version,
            sealer: self.sealer.as_deref(),
        };
        change_log::append(&*self.transaction, &*self.beside, &context, changes)
    }
}
