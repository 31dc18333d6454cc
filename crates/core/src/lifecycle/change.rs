//! What can become of a tenant while it lives: another name, other labels, a suspension.

use std::collections::BTreeMap;

use bytes::Bytes;
use tenantry_kv::Isolation;

use super::labels::{check_labels, check_plan};
use super::parked;
use crate::access::Operation;
use crate::database::{Database, TenantInfo, info_of};
use crate::error::{Code, Error, Result, limit, shown};
use crate::limits::REASON_SIZE_BYTES_MAX;
use crate::names::check_name;
use crate::tenant_state::TenantState;

/// How a tenant is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Suspension {
    /// It is read, and not written.
    ReadOnly,
    /// It is neither read nor written.
    Blocked,
}

impl Database {
    /// Gives a tenant another name. Handles on it, and what is under way in it, go on.
    ///
    /// # Errors
    ///
    /// 20010; 20012 for a name that cannot be one, 20011 when another tenant has it; 20003, 20004 for a database that may not change.
    pub async fn rename_tenant(&self, name: &str, new_name: &str) -> Result<TenantInfo> {
        self.authorize(Operation::RenameTenant).await?;
        check_name("tenant", new_name)?;
        let inner = &self.inner;
        inner
            .runner
            .run(|transaction| async move {
                let id = inner.tenant_id(&*transaction, name).await?;
                let mut tenant = inner.stored_tenant(&*transaction, id).await?;
                if name == new_name {
                    return info_of(id, &tenant.entry);
                }
                let new_key = inner.keys.tenant_name(new_name)?;
                if transaction.get(&new_key, Isolation::Serializable).await?.is_some() {
                    return Err(Error::new(Code::TenantExists, shown(new_name)));
                }
                tenant.entry.name = new_name.to_owned();
                let sets = vec![(new_key, Bytes::copy_from_slice(&id.to_le_bytes()))];
                inner.write_tenant(&*transaction, &tenant, sets, &[inner.keys.tenant_name(name)?]).await
            })
            .await
    }

    /// Gives a tenant labels, in the place of those that it has of these names; `None` takes one away.
    ///
    /// # Errors
    ///
    /// 20010; 20016 for labels that cannot be a tenant's, or too many of them; 20003, 20004 for a database that may not change.
    pub async fn label_tenant(
        &self,
        name: &str,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<TenantInfo> {
        self.authorize_tenant(Operation::LabelTenant, name).await?;
        let inner = &self.inner;
        inner
            .runner
            .run(|transaction| async move {
                let id = inner.tenant_id(&*transaction, name).await?;
                let mut tenant = inner.stored_tenant(&*transaction, id).await?;
                for (label, value) in changes {
                    match value {
                        Some(value) => drop(tenant.entry.labels.insert(label.clone(), value.clone())),
                        None => drop(tenant.entry.labels.remove(label)),
                    }
                }
                check_labels(&tenant.entry.labels)?;
                inner.write_tenant(&*transaction, &tenant, Vec::new(), &[]).await
            })
            .await
    }

    /// Gives a tenant a plan, or none.
    ///
    /// # Errors
    ///
    /// 20010; 20016 for a name that cannot be a plan's; 20003, 20004 for a database that may not change.
    pub async fn set_tenant_plan(&self, name: &str, plan: Option<&str>) -> Result<TenantInfo> {
        self.authorize(Operation::SetPlan).await?;
        check_plan(plan)?;
        let inner = &self.inner;
        inner
            .runner
            .run(|transaction| async move {
                let id = inner.tenant_id(&*transaction, name).await?;
                let mut tenant = inner.stored_tenant(&*transaction, id).await?;
                tenant.entry.plan = plan.unwrap_or_default().to_owned();
                tenant.header.plan = tenant.entry.plan.clone();
                inner.write_tenant(&*transaction, &tenant, Vec::new(), &[]).await
            })
            .await
    }

    /// Suspends a tenant, or changes how it is suspended. Every transaction that begins after this is refused with the reason (20013 when it has written, 20014), in every process; none
    /// that began before it and writes commits after it. Jobs of the tenant that are refused wait until it is resumed.
    ///
    /// # Errors
    ///
    /// 20010; 20015 for a tenant that is being filled; 20060 for a reason over 1,000 bytes; 20003, 20004 for a database that may not change.
    pub async fn suspend_tenant(
        &self,
        name: &str,
        suspension: Suspension,
        reason: &str,
    ) -> Result<TenantInfo> {
        self.authorize_tenant(Operation::SuspendTenant, name).await?;
        let state = match suspension {
            Suspension::ReadOnly => TenantState::ReadOnly,
            Suspension::Blocked => TenantState::Blocked,
        };
        self.set_tenant_state(name, state, reason).await
    }

    /// Ends the suspension of a tenant; its jobs go on. For one that is not suspended nothing changes.
    ///
    /// # Errors
    ///
    /// 20010; 20015 for a tenant that is being filled; 20003, 20004 for a database that may not change.
    pub async fn resume_tenant(&self, name: &str) -> Result<TenantInfo> {
        self.authorize_tenant(Operation::SuspendTenant, name).await?;
        self.set_tenant_state(name, TenantState::Active, "").await
    }

    async fn set_tenant_state(&self, name: &str, state: TenantState, reason: &str) -> Result<TenantInfo> {
        if reason.len() > REASON_SIZE_BYTES_MAX {
            return Err(limit("the bytes of a reason", reason.len(), REASON_SIZE_BYTES_MAX));
        }
        let inner = &self.inner;
        inner
            .runner
            .run(|transaction| async move {
                let id = inner.tenant_id(&*transaction, name).await?;
                let mut tenant = inner.stored_tenant(&*transaction, id).await?;
                match TenantState::stored(tenant.header.state)? {
                    TenantState::Filling => {
                        let detail = "wait until the clone or import into it is complete, or delete it";
                        return Err(Error::new(Code::TenantFilling, detail));
                    }
                    before if before == state && tenant.header.reason == reason => {
                        return info_of(id, &tenant.entry);
                    }
                    _ => {}
                }
                tenant.set_state(state, reason, inner.env.clock.wall_us());
                parked::release(inner, &*transaction, id).await?;
                inner.write_tenant(&*transaction, &tenant, Vec::new(), &[]).await
            })
            .await
    }
}
