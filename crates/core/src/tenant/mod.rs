//! A tenant, and transactions on it.

mod cascade;
mod conflicts;
mod counters;
mod hooks;
mod idempotency;
mod indexes;
mod metering;
mod operations;
mod permits;
mod raw;
mod reader;
mod records;
mod references;
mod rehash;
mod reseal;
mod restore;
mod run;
mod seal;
mod seals;
mod sequence_blocks;
mod transaction;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tenantry_kv::runner::Runner;
use tenantry_kv::{EngineError, KvFuture, Transaction};
use uuid::Uuid;

use crate::admission::{Account, Admitted, Class};
use crate::database::{Database, Schema, TenantInfo};
use crate::error::{Error, Result};
use crate::expression::ParsedFilters;
use crate::key_space::TenantKeys;
use crate::record::{PrimaryKey, Record};
use crate::tenant_state::Pass;
use run::start;

pub(crate) use cascade::CascadeStep;
pub use cascade::Cascaded;
pub use idempotency::Idempotent;
pub(crate) use indexes::{Amount, Contribution, RankedSet, expiry_us, no_amount};
pub(crate) use permits::Permit;
pub use raw::{RawPage, RawRange};
pub use reader::TenantReader;
pub use records::Condition;
pub(crate) use records::Stored;
pub use run::{Priority, RunOptions};
pub use seal::SealingStatus;
pub use sequence_blocks::SequenceBlocks;
pub use transaction::TenantTransaction;

/// A tenant: a key space of its own, with records of its schema. Cheap to clone.
///
/// Every method that names records runs one transaction with retry; [`run`](Tenant::run) runs several operations in one.
#[derive(Clone)]
pub struct Tenant {
    pub(crate) database: Database,
    pub(crate) info: Arc<TenantInfo>,
    pub(crate) keys: TenantKeys,
    pub(crate) filters: Arc<ParsedFilters>,
    pub(crate) pass: Pass,
    pub(crate) account: Arc<Account>,
    /// Whether its transactions wait for their turn for as long as it takes.
    is_patient: bool,
}

impl fmt::Debug for Tenant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Tenant({:?}, {})", self.info.name, self.info.uuid)
    }
}

impl Database {
    /// The tenant of a name, in whatever state: two keys are read, however many tenants there are.
    ///
    /// # Errors
    ///
    /// 20010, also for a tenant that the handle's grant is not on; 20123 for a row policy that does not fit the tenant's schema, 20125 and 20126 for a grant that is not valid any more.
    pub async fn tenant(&self, name: &str) -> Result<Tenant> {
        self.check_name_granted(name)?;
        let tenant = Tenant::new(self.clone(), self.find_tenant(name).await?)?;
        if self.grant().is_some() {
            let schema = tenant.schema().await?;
            self.access.check_policies((schema.uuid, schema.version), &schema.definition.types)?;
        }
        Ok(tenant)
    }

    /// The tenant of an id, as `transaction` sees it; 20010 when it has been deleted.
    pub(crate) async fn tenant_with_id(&self, transaction: &dyn Transaction, id: u64) -> Result<Tenant> {
        let info = self.inner.tenant_with_id(transaction, id).await?;
        Tenant::new(self.clone(), info)
    }
}

impl Tenant {
    pub(crate) fn new(database: Database, info: TenantInfo) -> Result<Tenant> {
        let keys = database.inner.keys.tenant_keys(info.id)?;
        let account = database.inner.quotas.admission.account(info.id);
        Ok(Tenant {
            database,
            info: Arc::new(info),
            keys,
            filters: Arc::default(),
            pass: Pass::Ordinary,
            account,
            is_patient: false,
        })
    }

    /// The same tenant for work of many transactions: its limits slow that down, and do not end it in the middle.
    pub(crate) fn patient(&self) -> Tenant {
        Tenant { is_patient: true, ..self.clone() }
    }

    /// The same tenant for somebody who is let through in other states.
    pub(crate) fn with_pass(mut self, pass: Pass) -> Tenant {
        self.pass = pass;
        self
    }

    /// The database that it belongs to, with the same grant, if it has one.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// What the catalog said of it when this handle was made.
    pub fn info(&self) -> &TenantInfo {
        &self.info
    }

    /// The schema that its records follow; also while the tenant is suspended.
    ///
    /// # Errors
    ///
    /// 20010 when the tenant has been deleted.
    pub async fn schema(&self) -> Result<Arc<Schema>> {
        let tenant = self.clone().with_pass(Pass::Operator);
        tenant.read(|transaction| async move { Ok(transaction.schema().clone()) }).await
    }

    /// Runs `body` in a transaction and commits it, again and again until it has taken effect exactly once.
    ///
    /// `body` may be called several times and must have no effect outside its transaction that may not happen more than once.
    ///
    /// # Errors
    ///
    /// What `body` returned, unless it wraps an engine error that asks for a retry; 20010 when the tenant has been deleted, 20013 to 20015 when its state forbids it; the engine's own,
    /// and those of [`Runner::run`](tenantry_kv::runner::Runner::run). 20141 when it did not get its turn, and 20140 when the tenant would store more than it may: see `docs/quotas.md`.
    pub async fn run<T, E, F, Fut>(&self, body: F) -> Result<T, E>
    where
        F: FnMut(TenantTransaction) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<Error> + From<tenantry_kv::Error> + EngineError,
    {
        self.run_completed(body).await.map(|completed| completed.value)
    }

    /// Runs `body` for its reads alone: nothing it writes is committed.
    ///
    /// # Errors
    ///
    /// As [`run`](Tenant::run), but for unknown outcomes, which there are none.
    pub async fn read<T, E, F, Fut>(&self, body: F) -> Result<T, E>
    where
        F: FnMut(TenantTransaction) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<Error> + From<tenantry_kv::Error> + EngineError,
    {
        self.read_as(Class::Normal, body).await
    }

    /// As [`read`](Tenant::read), in a class of its own.
    pub(crate) async fn read_as<T, E, F, Fut>(&self, class: Class, body: F) -> Result<T, E>
    where
        F: FnMut(TenantTransaction) -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: From<Error> + From<tenantry_kv::Error> + EngineError,
    {
        let runner = &self.database.inner.runner;
        let permit = self.admit(class, runner).await?;
        let body = Mutex::new(body);
        let cost = Mutex::default();
        let result = runner
            .read(|transaction| {
                let (body, cost, tenant) = (&body, &cost, self.clone());
                async move {
                    let running = TenantTransaction::begin(tenant, transaction, false).await?;
                    let work = start(body, running.clone());
                    let value = work.await;
                    running.close_usage(cost, false);
                    running.check_header().await?;
                    value
                }
            })
            .await;
        let now = permit.close(cost.into_inner().unwrap_or_else(PoisonError::into_inner));
        self.maintain(now).await;
        result
    }

    /// Waits for its turn: see [`crate::admission`].
    async fn admit(&self, class: Class, runner: &Runner) -> Result<Admitted<'_>> {
        let deadline = runner.policy().deadline;
        let wait_max = match self.is_patient {
            true => None,
            false => Some(if deadline.is_zero() { Duration::MAX } else { deadline }),
        };
        self.database.inner.admit(&self.account, self.info.id, &self.keys, class, wait_max).await
    }

    /// A new identifier: a UUID of version 7, greater than every one that this handle of the database gave before, and sorting by time with those of others.
    pub fn new_id(&self) -> Uuid {
        let inner = &self.database.inner;
        inner.ids.next(&inner.env)
    }

    /// The present moment, as [`Database::now`].
    pub fn now(&self) -> Timestamp {
        self.database.now()
    }

    /// Writes a record that must not exist yet.
    ///
    /// # Errors
    ///
    /// 20031 when it does, 20034 for a unique index, 20032 for a record that does not fit its type, 20023; as [`run`](Tenant::run).
    pub async fn insert(&self, record_type: &str, record: &Record) -> Result<()> {
        self.run(|transaction| async move { transaction.insert(record_type, record).await }).await
    }

    /// Writes a record, whether or not it exists.
    ///
    /// # Errors
    ///
    /// As [`insert`](Tenant::insert), but for 20031.
    pub async fn put(&self, record_type: &str, record: &Record) -> Result<()> {
        self.run(|transaction| async move { transaction.put(record_type, record).await }).await
    }

    /// The record of a key, if there is one.
    ///
    /// # Errors
    ///
    /// 20023, 20033 for a key that does not fit; as [`run`](Tenant::run).
    pub async fn get(&self, record_type: &str, key: &PrimaryKey) -> Result<Option<Record>> {
        self.read(|transaction| async move { transaction.get(record_type, key).await }).await
    }

    /// Deletes the record of a key; false when there was none.
    ///
    /// # Errors
    ///
    /// As [`get`](Tenant::get).
    pub async fn delete(&self, record_type: &str, key: &PrimaryKey) -> Result<bool> {
        self.run(|transaction| async move { transaction.delete(record_type, key).await }).await
    }

    /// Fires when anything in the tenant has changed since now.
    ///
    /// # Errors
    ///
    /// 20010; 20140 for more watches than the tenant may have, 1032 when too many watches are outstanding.
    pub async fn watch(&self) -> Result<KvFuture<()>> {
        self.run(|transaction| async move { transaction.watch() }).await
    }
}
