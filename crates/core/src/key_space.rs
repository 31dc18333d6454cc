//! Where everything lies. The only place that puts key bytes together; `docs/key-layout.md` has them byte by byte.

pub(crate) mod clamp;
mod fence;

use std::sync::Arc;

use bytes::Bytes;
use tenantry_kv::seeded_faults::{Fault, is_active};
use tenantry_kv::tuple::{self, Element};
use tenantry_kv::{KeyRange, Subspace, TransactionRef, Versionstamp};
use uuid::Uuid;

use crate::error::Result;
use fence::Fence;

/// The catalog's own tenant.
pub(crate) const CATALOG_TENANT: u64 = 0;
/// How many versions share one mark of a change: ten seconds of them.
pub(crate) const CHANGED_BUCKET_VERSIONS: i64 = 10_000_000;

/// The keys of a database, under its root prefix.
#[derive(Clone, Debug)]
pub(crate) struct KeySpace {
    root: Bytes,
}

impl KeySpace {
    pub(crate) fn new(root: Bytes) -> KeySpace {
        KeySpace { root }
    }

    pub(crate) fn root(&self) -> &Bytes {
        &self.root
    }

    fn key(&self, elements: &[Element]) -> Result<Bytes> {
        Ok(tuple::pack_after(&self.root, elements)?)
    }

    /// R 0
    pub(crate) fn database_header(&self) -> Result<Bytes> {
        self.key(&[0.into()])
    }

    /// R 0 1: the state of the database.
    pub(crate) fn database_state(&self) -> Result<Bytes> {
        self.key(&[0.into(), 1.into()])
    }

    /// R 0 2: how far a copy into this database has come.
    pub(crate) fn copy_progress(&self) -> Result<Bytes> {
        self.key(&[0.into(), 2.into()])
    }

    /// R 1, R 2, R 3 and R 9: all that a copy takes along. What else there is belongs to the engine or is on its way.
    pub(crate) fn copied(&self) -> Result<[KeyRange; 4]> {
        let part = |number: i64| Ok(Subspace::new(self.key(&[number.into()])?).keys());
        let [schemas, tenants, jobs, data]: [Result<KeyRange>; 4] = [part(1), part(2), part(3), part(9)];
        Ok([schemas?, tenants?, jobs?, data?])
    }

    /// R 2 2: every tenant's entry.
    pub(crate) fn tenant_entries(&self) -> Result<Subspace> {
        Ok(Subspace::new(self.key(&[2.into(), 2.into()])?))
    }

    /// R 1 0 name: the UUID of a schema.
    pub(crate) fn schema_name(&self, name: &str) -> Result<Bytes> {
        self.key(&[1.into(), 0.into(), name.into()])
    }

    /// R 1 0: every schema's name.
    pub(crate) fn schema_names(&self) -> Result<Subspace> {
        Ok(Subspace::new(self.key(&[1.into(), 0.into()])?))
    }

    /// R 1 1 UUID version: a schema.
    pub(crate) fn schema(&self, uuid: Uuid, version: u32) -> Result<Bytes> {
        self.key(&[1.into(), 1.into(), uuid.into(), version.into()])
    }

    /// R 2 0: the last tenant id that was given.
    pub(crate) fn tenant_last_id(&self) -> Result<Bytes> {
        self.key(&[2.into(), 0.into()])
    }

    /// R 2 1 name: the id of a tenant.
    pub(crate) fn tenant_name(&self, name: &str) -> Result<Bytes> {
        self.key(&[2.into(), 1.into(), name.into()])
    }

    /// R 2 1: every tenant's name.
    pub(crate) fn tenant_names(&self) -> Result<Subspace> {
        Ok(Subspace::new(self.key(&[2.into(), 1.into()])?))
    }

    /// R 2 2 id: what the catalog says of a tenant.
    pub(crate) fn tenant(&self, id: u64) -> Result<Bytes> {
        self.key(&[2.into(), 2.into(), tenant_element(id)])
    }

    /// R 2 3: the deleted tenants, by when somebody looks whether they are to be purged.
    pub(crate) fn purges_due(&self) -> Result<Subspace> {
        Ok(Subspace::new(self.key(&[2.into(), 3.into()])?))
    }

    /// R 2 3 time id
    pub(crate) fn purge_due(&self, look_us: i64, id: u64) -> Result<Bytes> {
        self.key(&[2.into(), 3.into(), look_us.into(), tenant_element(id)])
    }

    /// R 2 4: the deleted tenants, by the names that they had.
    pub(crate) fn deleted_names(&self) -> Result<Subspace> {
        Ok(Subspace::new(self.key(&[2.into(), 4.into()])?))
    }

    /// R 2 4 name: those that had a name.
    pub(crate) fn deleted_names_of(&self, name: &str) -> Result<Subspace> {
        Ok(Subspace::new(self.key(&[2.into(), 4.into(), name.into()])?))
    }

    /// R 2 4 name id
    pub(crate) fn deleted_name(&self, name: &str, id: u64) -> Result<Bytes> {
        self.key(&[2.into(), 4.into(), name.into(), tenant_element(id)])
    }

    /// R 2 5 id: how far the import of an archive into a tenant has come.
    pub(crate) fn archive_progress(&self, id: u64) -> Result<Bytes> {
        self.key(&[2.into(), 5.into(), tenant_element(id)])
    }

    /// R 2 6 name: the limits of a plan.
    pub(crate) fn plan(&self, name: &str) -> Result<Bytes> {
        self.key(&[2.into(), 6.into(), name.into()])
    }

    /// R 2 6: every plan.
    pub(crate) fn plans(&self) -> Result<Subspace> {
        Ok(Subspace::new(self.key(&[2.into(), 6.into()])?))
    }

    /// R 3 0: everything that is stored of jobs, by id.
    pub(crate) fn jobs(&self) -> Result<Subspace> {
        Ok(Subspace::new(self.key(&[3.into(), 0.into()])?))
    }

    /// R 3 0 id part: what a job is (0), how it stands (1), who works on it (2).
    pub(crate) fn job(&self, id: Uuid, part: u32) -> Result<Bytes> {
        self.key(&[3.into(), 0.into(), id.into(), part.into()])
    }

    /// R 3 1: the jobs that have not ended, by tenant and by when somebody may take them.
    pub(crate) fn job_queue(&self) -> Result<Subspace> {
        Ok(Subspace::new(self.key(&[3.into(), 1.into()])?))
    }

    /// R 3 1 tenant due id
    pub(crate) fn job_due(&self, tenant: u64, due_us: i64, id: Uuid) -> Result<Bytes> {
        self.key(&[3.into(), 1.into(), tenant_element(tenant), due_us.into(), id.into()])
    }

    /// R 3 1 tenant: where the tenant's part of the queue begins.
    pub(crate) fn job_queue_of(&self, tenant: u64) -> Result<Bytes> {
        self.key(&[3.into(), 1.into(), tenant_element(tenant)])
    }

    /// R 3 2: the jobs that have ended, by when.
    pub(crate) fn job_ends(&self) -> Result<Subspace> {
        Ok(Subspace::new(self.key(&[3.into(), 2.into()])?))
    }

    /// R 3 2 ended id
    pub(crate) fn job_end(&self, ended_us: i64, id: Uuid) -> Result<Bytes> {
        self.key(&[3.into(), 2.into(), ended_us.into(), id.into()])
    }

    /// R 3 3 tenant: how many jobs of the tenant have not ended.
    pub(crate) fn jobs_unfinished(&self, tenant: u64) -> Result<Bytes> {
        self.key(&[3.into(), 3.into(), tenant_element(tenant)])
    }

    /// R 3 4: how many jobs that have ended are kept.
    pub(crate) fn jobs_ended(&self) -> Result<Bytes> {
        self.key(&[3.into(), 4.into()])
    }

    /// R 5: the runner's slots.
    pub(crate) fn runner_slots(&self) -> Result<Bytes> {
        self.key(&[5.into()])
    }

    /// R 6 bucket tenant: the tenant changed about then.
    pub(crate) fn changed(&self, read_version: i64, tenant: u64) -> Result<Bytes> {
        self.key(&[6.into(), (read_version / CHANGED_BUCKET_VERSIONS).into(), tenant_element(tenant)])
    }

    /// R 6: every mark of a change.
    pub(crate) fn changes(&self) -> Result<Subspace> {
        Ok(Subspace::new(self.key(&[6.into()])?))
    }

    /// R 6 bucket tenant, by the number of the bucket.
    pub(crate) fn changed_in(&self, bucket: i64, tenant: u64) -> Result<Bytes> {
        self.key(&[6.into(), bucket.into(), tenant_element(tenant)])
    }

    /// R 9 id
    pub(crate) fn tenant_keys(&self, id: u64) -> Result<TenantKeys> {
        let id = if is_active(Fault::TenantPrefixShared) && id > 0 { 1 } else { id };
        Ok(TenantKeys { prefix: self.key(&[9.into(), tenant_element(id)])? })
    }
}

fn tenant_element(id: u64) -> Element {
    // Ids are counted from 1; none ever comes near the bound.
    Element::Int(i64::try_from(id).unwrap_or(i64::MAX))
}

/// The keys of one tenant: every one of them begins with the tenant's prefix.
#[derive(Clone, Debug)]
pub(crate) struct TenantKeys {
    prefix: Bytes,
}

impl TenantKeys {
    /// An engine's transaction, for what is done in the tenant: it names no other key.
    pub(crate) fn fenced(&self, transaction: TransactionRef) -> TransactionRef {
        Arc::new(Fence::new(transaction, self.prefix.clone()))
    }

    /// Every key of the tenant.
    pub(crate) fn everything(&self) -> KeyRange {
        Subspace::new(self.prefix.clone()).keys()
    }

    /// Every key of the tenant behind those that say what it is: the header and its data keys.
    pub(crate) fn contents(&self) -> Result<KeyRange> {
        let begin = self.key(&[1.into()])?;
        Ok(KeyRange { begin, ..self.everything() })
    }

    fn key(&self, elements: &[Element]) -> Result<Bytes> {
        Ok(tuple::pack_after(&self.prefix, elements)?)
    }

    /// 0
    pub(crate) fn header(&self) -> Result<Bytes> {
        self.key(&[0.into()])
    }

    /// 0 1 generation: a data key of a sealed tenant.
    pub(crate) fn data_key(&self, generation: u32) -> Result<Bytes> {
        self.key(&[0.into(), 1.into(), generation.into()])
    }

    /// 0 1: the data keys of a sealed tenant.
    pub(crate) fn data_keys(&self) -> Result<Subspace> {
        Ok(Subspace::new(self.key(&[0.into(), 1.into()])?))
    }

    /// 1 type
    pub(crate) fn records(&self, type_id: u32) -> Result<Bytes> {
        self.key(&[1.into(), type_id.into()])
    }

    /// 2 index
    pub(crate) fn index(&self, index_id: u32) -> Result<Bytes> {
        self.key(&[2.into(), index_id.into()])
    }

    /// 2 index group... 0, and 2 index group... 1: the keys of a count or sum. They have an element behind the group, so that a clear of what lies under
    /// the group's key does not miss them.
    pub(crate) fn aggregate(&self, index_id: u32, group: &[Element]) -> Result<AggregateKeys> {
        let group = crate::key_form::pack(group)?;
        let prefix = behind(&self.index(index_id)?, &group);
        let part = |number: i64| Ok::<_, crate::error::Error>(tuple::pack_after(&prefix, &[number.into()])?);
        Ok(AggregateKeys { count: part(0)?, sum: part(1)? })
    }

    /// 3 index: what the keys of all ranked sets of an index begin with.
    pub(crate) fn rank_sets(&self, index_id: u32) -> Result<Bytes> {
        self.key(&[3.into(), index_id.into()])
    }

    /// 3 index group... level: what the keys of a level of a ranked set begin with; the key of its begin.
    pub(crate) fn rank_level(&self, index_id: u32, group: &[u8], level: u32) -> Result<Bytes> {
        let prefix = behind(&self.rank_sets(index_id)?, group);
        Ok(tuple::pack_after(&prefix, &[level.into()])?)
    }

    /// 4 0
    pub(crate) fn log_head(&self) -> Result<Bytes> {
        self.key(&[4.into(), 0.into()])
    }

    /// 4 1 bucket incarnation stamp part: the key of one part of the log entry of the transaction that writes it, as the operand of a stamped key.
    pub(crate) fn log_entry(&self, bucket: u32, incarnation: u32, part: u16) -> Result<Bytes> {
        let stamp = Element::Versionstamp { stamp: None, user_version: part };
        let elements = [4.into(), 1.into(), bucket.into(), incarnation.into(), stamp];
        Ok(tuple::pack_with_versionstamp_after(&self.prefix, &elements)?)
    }

    /// 5 1 time key: when it may go.
    pub(crate) fn idempotency_expiry(&self, expires_us: i64, key: &[u8]) -> Result<Bytes> {
        self.key(&[5.into(), 1.into(), expires_us.into(), Element::Bytes(Bytes::copy_from_slice(key))])
    }

    /// The time and the caller's key in a key of 5 1.
    pub(crate) fn idempotency_expiry_of(&self, key: &[u8]) -> Result<Option<(i64, Bytes)>> {
        Ok(match &tuple::unpack(&self.relative(key))?[..] {
            [_, _, Element::Int(expires_us), Element::Bytes(key)] => Some((*expires_us, key.clone())),
            _ => None,
        })
    }

    /// A key of the tenant behind its prefix; nothing of a key that is not.
    pub(crate) fn behind_prefix<'a>(&self, key: &'a [u8]) -> &'a [u8] {
        key.strip_prefix(&self.prefix[..]).unwrap_or_default()
    }

    /// As [`behind_prefix`](TenantKeys::behind_prefix), a copy.
    pub(crate) fn relative(&self, key: &[u8]) -> Bytes {
        Bytes::copy_from_slice(self.behind_prefix(key))
    }

    /// 5 0: what is kept of transactions that take effect once.
    pub(crate) fn idempotency_records(&self) -> Result<Subspace> {
        Ok(Subspace::new(self.key(&[5.into(), 0.into()])?))
    }

    /// 6 0 name shard: a part of a counter that is spread over several keys.
    pub(crate) fn counter_shard(&self, name: &str, shard: u16) -> Result<Bytes> {
        self.key(&[6.into(), 0.into(), name.into(), i64::from(shard).into()])
    }

    /// 4 1 bucket: the entries of one part of the log.
    pub(crate) fn log(&self, bucket: u32) -> Result<Subspace> {
        Ok(Subspace::new(self.key(&[4.into(), 1.into(), bucket.into()])?))
    }

    /// 4 1 bucket incarnation stamp part: one part of an entry that is there.
    pub(crate) fn log_part(
        &self,
        bucket: u32,
        incarnation: u32,
        stamp: Versionstamp,
        part: u16,
    ) -> Result<Bytes> {
        let stamp = Element::Versionstamp { stamp: Some(stamp), user_version: part };
        self.key(&[4.into(), 1.into(), bucket.into(), incarnation.into(), stamp])
    }

    /// 6 0: every counter.
    pub(crate) fn counters(&self) -> Result<Subspace> {
        Ok(Subspace::new(self.key(&[6.into(), 0.into()])?))
    }

    /// 6 1: every sequence.
    pub(crate) fn sequences(&self) -> Result<Subspace> {
        Ok(Subspace::new(self.key(&[6.into(), 1.into()])?))
    }

    /// 6 0 name
    pub(crate) fn counter(&self, name: &str) -> Result<Bytes> {
        self.key(&[6.into(), 0.into(), name.into()])
    }

    /// 6 1 name
    pub(crate) fn sequence(&self, name: &str) -> Result<Bytes> {
        self.key(&[6.into(), 1.into(), name.into()])
    }

    /// 8 0 0: what the tenant stores.
    pub(crate) fn meter_totals(&self) -> Result<Bytes> {
        self.key(&[8.into(), 0.into(), 0.into()])
    }

    /// 8 0 1 hour: what it consumed in an hour.
    pub(crate) fn meter_hour(&self, hour: i64) -> Result<Bytes> {
        self.key(&[8.into(), 0.into(), 1.into(), hour.into()])
    }

    /// 8 0 1: what it consumed, by hours.
    pub(crate) fn meter_hours(&self) -> Result<Subspace> {
        Ok(Subspace::new(self.key(&[8.into(), 0.into(), 1.into()])?))
    }

    /// 8 1 process: the part of the tenant's rates that a process has.
    pub(crate) fn budget_lease(&self, process: Uuid) -> Result<Bytes> {
        self.key(&[8.into(), 1.into(), process.into()])
    }

    /// 8 1: the parts of all processes.
    pub(crate) fn budget_leases(&self) -> Result<Subspace> {
        Ok(Subspace::new(self.key(&[8.into(), 1.into()])?))
    }

    /// 7: the application's own keys follow as they are.
    pub(crate) fn raw(&self) -> Result<Bytes> {
        self.key(&[7.into()])
    }
}

/// The keys of one group of a count or sum.
pub(crate) struct AggregateKeys {
    /// How many records there are.
    pub(crate) count: Bytes,
    /// Their sum.
    pub(crate) sum: Bytes,
}

/// A key behind a prefix.
pub(crate) fn behind(prefix: &[u8], rest: &[u8]) -> Bytes {
    let mut key = Vec::with_capacity(prefix.len() + rest.len() + 1);
    key.extend_from_slice(prefix);
    key.extend_from_slice(rest);
    key.into()
}
