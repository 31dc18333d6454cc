//! The limits of tenants as the catalog has them: plans, and what of both holds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tenantry_kv::env::Env;
use tenantry_kv::{Isolation, RangeRequest, Transaction};
use uuid::Uuid;

use super::catalog::name_of;
use super::{CACHE_ENTRIES_MAX, Database, Inner, lock};
use crate::access::{Action, Operation};
use crate::admission::{Account, Admission, Effective, PoolSettings, PoolStatistics, TenantLimits};
use crate::error::{Code, Error, Result, limit, shown};
use crate::key_space::TenantKeys;
use crate::limits::PLANS_MAX;
use crate::messages::{StoredLimits, TenantHeader, read};
use crate::names::check_name;
use crate::tenant_state::{Pass, check_begin};

/// How long a plan is taken for what it was: others' changes of it hold after this time.
const PLAN_KNOWN_FOR: Duration = Duration::from_secs(2);

/// What a process knows of limits.
pub(crate) struct Quotas {
    pub(crate) admission: Admission,
    plans: Mutex<BTreeMap<String, KnownPlan>>,
    /// Grows with every plan that is found changed.
    plan_epoch: AtomicU64,
    /// The name under which this process has its leases, once it has any.
    pub(super) process: OnceLock<Uuid>,
}

#[derive(Clone, Copy)]
struct KnownPlan {
    read_at: Duration,
    limits: TenantLimits,
}

impl Quotas {
    pub(super) fn new(env: &Env) -> Quotas {
        Quotas {
            admission: Admission::new(env),
            plans: Mutex::default(),
            plan_epoch: AtomicU64::new(1),
            process: OnceLock::new(),
        }
    }
}

impl Database {
    /// Changes how many transactions on tenants run and wait in this process.
    ///
    /// # Errors
    ///
    /// 20060 for settings out of bounds; 20120.
    pub async fn set_pool_settings(&self, settings: PoolSettings) -> Result<()> {
        self.authorize(Operation::SetPool).await?;
        self.inner.quotas.admission.set_settings(settings)
    }

    /// How the places of transactions are used in this process. Nothing is told to a grant without [`Action::ViewDatabase`].
    pub fn pool_statistics(&self) -> PoolStatistics {
        if self.grant().is_some_and(|grant| !grant.allows(Action::ViewDatabase)) {
            return PoolStatistics::default();
        }
        self.inner.quotas.admission.statistics()
    }

    /// Creates a plan, or gives it other limits: they hold for all its tenants, in every process within a few seconds.
    ///
    /// # Errors
    ///
    /// 20012 for a name that cannot be one, 20142 for limits that make no sense, 20060 for more than a thousand plans.
    pub async fn set_plan(&self, name: &str, limits: &TenantLimits) -> Result<()> {
        self.authorize(Operation::ManagePlans).await?;
        check_name("plan", name)?;
        limits.check()?;
        let stored = Bytes::from(limits.to_stored().encode_to_vec());
        let inner = &self.inner;
        inner
            .runner
            .run(|transaction| {
                let stored = stored.clone();
                async move {
                    let key = inner.keys.plan(name)?;
                    if transaction.get(&key, Isolation::Serializable).await?.is_none() {
                        let plans = inner.plans(&*transaction).await?.len();
                        if plans >= PLANS_MAX {
                            return Err(limit("the plans of a database", plans + 1, PLANS_MAX));
                        }
                    }
                    inner.write_catalog(&*transaction, &[(key, stored)], &[]).await
                }
            })
            .await?;
        lock(&inner.quotas.plans).remove(name);
        Ok(())
    }

    /// The limits of a plan.
    ///
    /// # Errors
    ///
    /// 20143.
    pub async fn plan(&self, name: &str) -> Result<TenantLimits> {
        self.authorize(Operation::ViewPlans).await?;
        self.inner.plan(name).await
    }

    /// All plans by name.
    ///
    /// # Errors
    ///
    /// 20120; the engine's own.
    pub async fn plans(&self) -> Result<Vec<(String, TenantLimits)>> {
        self.authorize(Operation::ViewPlans).await?;
        let inner = &self.inner;
        inner.runner.read(|transaction| async move { inner.plans(&*transaction).await }).await
    }
}

impl Inner {
    /// The limits of a plan.
    pub(crate) async fn plan(&self, name: &str) -> Result<TenantLimits> {
        self.runner.read(|transaction| async move { self.stored_plan(&*transaction, name).await }).await
    }

    async fn plans(&self, transaction: &dyn Transaction) -> Result<Vec<(String, TenantLimits)>> {
        let plans = self.keys.plans()?;
        let range = plans.tuples();
        let mut listed = Vec::new();
        let mut next = Some(RangeRequest::new(range.begin, range.end));
        while let Some(request) = next {
            let batch = transaction.get_range(&request, Isolation::Snapshot).await?;
            for row in &batch.rows {
                let stored: StoredLimits = read(&row.value, "a plan")?;
                let name = name_of(&plans.unpack(&row.key)?);
                listed.extend(name.map(|name| (name, TenantLimits::from_stored(&stored))));
            }
            next = request.after(&batch);
        }
        Ok(listed)
    }

    async fn stored_plan(&self, transaction: &dyn Transaction, name: &str) -> Result<TenantLimits> {
        check_name("plan", name)?;
        match transaction.get(&self.keys.plan(name)?, Isolation::Serializable).await? {
            Some(bytes) => Ok(TenantLimits::from_stored(&read(&bytes, "a plan")?)),
            None => Err(Error::new(Code::PlanNotFound, format!("{}: set it first", shown(name)))),
        }
    }

    /// The limits of a plan as they were lately; none of one that is not there.
    async fn known_plan(&self, transaction: &dyn Transaction, name: &str) -> Result<TenantLimits> {
        let now = self.env.clock.monotonic();
        let known = lock(&self.quotas.plans).get(name).copied();
        if let Some(known) = known
            && now.saturating_sub(known.read_at) < PLAN_KNOWN_FOR
        {
            return Ok(known.limits);
        }
        let bytes = transaction.get(&self.keys.plan(name)?, Isolation::Snapshot).await?;
        let limits = match bytes {
            Some(bytes) => TenantLimits::from_stored(&read(&bytes, "a plan")?),
            None => TenantLimits::none(),
        };
        let mut plans = lock(&self.quotas.plans);
        if plans.len() >= CACHE_ENTRIES_MAX {
            plans.clear();
        }
        plans.insert(name.to_owned(), KnownPlan { read_at: now, limits });
        if known.is_none_or(|known| known.limits != limits) {
            self.quotas.plan_epoch.fetch_add(1, Ordering::SeqCst);
        }
        Ok(limits)
    }

    /// The limits that hold for a tenant with this header; none for one without. Whoever finds that they changed tells the admission.
    pub(crate) async fn effective_limits(
        &self,
        transaction: &dyn Transaction,
        account: &Arc<Account>,
        header: &Arc<TenantHeader>,
    ) -> Result<Option<Arc<Effective>>> {
        let admission = &self.quotas.admission;
        if header.limits.is_none() && header.plan.is_empty() {
            if account.has_known_limits() && account.note_limits(header, 0, None) {
                admission.set_limits(account, None);
            }
            return Ok(None);
        }
        let plan = match header.plan.is_empty() {
            true => TenantLimits::none(),
            false => self.known_plan(transaction, &header.plan).await?,
        };
        let epoch = self.quotas.plan_epoch.load(Ordering::SeqCst);
        if let Some(known) = account.known_limits(header, epoch) {
            return Ok(Some(known));
        }
        let own = header.limits.as_ref().map(TenantLimits::from_stored).unwrap_or_default();
        let effective = Arc::new(Effective::of(&own.over(&plan)));
        if account.note_limits(header, epoch, Some(&effective)) {
            admission.set_limits(account, Some(&effective));
        }
        Ok(Some(effective))
    }

    /// Changes the limits that stand in a tenant's header.
    pub(crate) async fn change_limits(
        &self,
        id: u64,
        keys: &TenantKeys,
        limits: &TenantLimits,
    ) -> Result<()> {
        limits.check()?;
        self.runner
            .run(|transaction| async move {
                // Everybody who works on the tenant has read its header and conflicts with this.
                let mut header = TenantHeader::clone(&*self.header(&*transaction, id, keys).await?);
                check_begin(&header, id, Pass::Operator)?;
                header.limits = Some(limits.to_stored()).filter(|_| !limits.is_empty());
                let write = (keys.header()?, Bytes::from(header.encode_to_vec()));
                self.write_catalog(&*transaction, &[write], &[]).await
            })
            .await
    }
}
