//! The end of a tenant, and the way back while its grace lasts.

use std::time::Duration;

use bytes::Bytes;
use tenantry_kv::tuple::Element;
use tenantry_kv::{Isolation, Transaction};

use super::list::{TenantPage, rows, tenants_of};
use super::parked;
use crate::access::Operation;
use crate::database::{Database, Inner, StoredTenant, TenantInfo, info_of};
use crate::error::{Code, Error, Result, limit, shown};
use crate::key_space::behind;
use crate::limits::{NAME_SIZE_BYTES_MAX, TENANT_GRACE, TENANT_GRACE_MAX, TENANTS_PAGE_ROWS_MAX};
use crate::names::check_name;
use crate::tenant_state::TenantState;

/// How many deleted tenants of one name a way back looks at.
const SAME_NAME_MAX: usize = 10;

impl Database {
    /// Deletes a tenant: its name is free at once, and nobody reads or writes it any more (20010). It can be brought back for seven days ([`TENANT_GRACE`]); then whoever runs jobs purges it.
    ///
    /// # Errors
    ///
    /// 20010; 20003, 20004 for a database that may not change.
    pub async fn delete_tenant(&self, name: &str) -> Result<TenantInfo> {
        self.delete_tenant_with_grace(name, TENANT_GRACE).await
    }

    /// As [`delete_tenant`](Database::delete_tenant), with another grace: none at all, or up to ten years.
    ///
    /// # Errors
    ///
    /// 20060 for a longer one; as [`delete_tenant`](Database::delete_tenant).
    pub async fn delete_tenant_with_grace(&self, name: &str, grace: Duration) -> Result<TenantInfo> {
        self.authorize_tenant(Operation::DeleteTenant, name).await?;
        if grace > TENANT_GRACE_MAX {
            let (found, most) = (grace.as_secs() as usize, TENANT_GRACE_MAX.as_secs() as usize);
            return Err(limit("the seconds of the grace of a deleted tenant", found, most));
        }
        let inner = &self.inner;
        inner
            .runner
            .run(|transaction| async move {
                let id = inner.tenant_id(&*transaction, name).await?;
                let mut tenant = inner.stored_tenant(&*transaction, id).await?;
                let now_us = inner.env.clock.wall_us();
                let due_us = now_us.saturating_add(i64::try_from(grace.as_micros()).unwrap_or(i64::MAX));
                tenant.entry.state_before = tenant.entry.state;
                (tenant.entry.state, tenant.header.state) =
                    (TenantState::Deleted.number(), TenantState::Deleted.number());
                tenant.entry.since_us = now_us;
                (tenant.entry.due_us, tenant.entry.look_us) = (due_us, due_us);
                let sets = vec![
                    (inner.keys.purge_due(due_us, id)?, Bytes::new()),
                    (inner.keys.deleted_name(name, id)?, Bytes::new()),
                ];
                inner.write_tenant(&*transaction, &tenant, sets, &[inner.keys.tenant_name(name)?]).await
            })
            .await
    }

    /// Brings a deleted tenant back, in the state that it had: under the name that it had, or another. Where several deleted tenants had the name, `id` says which.
    ///
    /// # Errors
    ///
    /// 20010 when no deleted tenant had that name; 20017 when several had it; 20018 when its purge has begun; 20011 when another tenant has the name by now; 20012 for a new name that cannot
    /// be one; 20003, 20004 for a database that may not change.
    pub async fn undelete_tenant(
        &self,
        name: &str,
        id: Option<u64>,
        new_name: Option<&str>,
    ) -> Result<TenantInfo> {
        self.authorize(Operation::ManageDeletedTenants).await?;
        let target = new_name.unwrap_or(name);
        check_name("tenant", target)?;
        let inner = &self.inner;
        inner
            .runner
            .run(|transaction| async move {
                let mut tenant = inner.deleted(&*transaction, name, id).await?;
                if tenant.entry.is_purging {
                    let detail = format!("{}: a part of it is gone already", shown(name));
                    return Err(Error::new(Code::TenantPurging, detail));
                }
                let name_key = inner.keys.tenant_name(target)?;
                if transaction.get(&name_key, Isolation::Serializable).await?.is_some() {
                    let detail = format!("{}: bring the deleted one back under another name", shown(target));
                    return Err(Error::new(Code::TenantExists, detail));
                }
                let clears = [
                    inner.keys.purge_due(tenant.entry.look_us, tenant.id)?,
                    inner.keys.deleted_name(name, tenant.id)?,
                ];
                let state = TenantState::stored(tenant.entry.state_before)?.number();
                (tenant.entry.state, tenant.header.state, tenant.entry.state_before) = (state, state, 0);
                (tenant.entry.due_us, tenant.entry.look_us) = (0, 0);
                tenant.entry.since_us = inner.env.clock.wall_us();
                tenant.entry.purge_job.clear();
                tenant.entry.name = target.to_owned();
                parked::release(inner, &*transaction, tenant.id).await?;
                let sets = vec![(name_key, Bytes::copy_from_slice(&tenant.id.to_le_bytes()))];
                inner.write_tenant(&*transaction, &tenant, sets, &clears).await
            })
            .await
    }

    /// The deleted tenant that had a name; where several had it, `id` says which.
    ///
    /// # Errors
    ///
    /// 20010, 20017.
    pub async fn deleted_tenant(&self, name: &str, id: Option<u64>) -> Result<TenantInfo> {
        self.authorize(Operation::ManageDeletedTenants).await?;
        let inner = &self.inner;
        inner
            .runner
            .read(|transaction| async move {
                let tenant = inner.deleted(&*transaction, name, id).await?;
                info_of(tenant.id, &tenant.entry)
            })
            .await
    }

    /// A page of the deleted tenants that are not purged yet, by the names that they had; `after` is what the page before ended with.
    ///
    /// # Errors
    ///
    /// 20060 for a page of none or of more than [`TENANTS_PAGE_ROWS_MAX`].
    pub async fn deleted_tenants(&self, after: Option<&str>, rows_max: usize) -> Result<TenantPage> {
        self.authorize(Operation::ManageDeletedTenants).await?;
        if rows_max == 0 || rows_max > TENANTS_PAGE_ROWS_MAX {
            return Err(limit("the tenants of a page", rows_max, TENANTS_PAGE_ROWS_MAX));
        }
        let inner = &self.inner;
        inner
            .runner
            .read(|transaction| async move {
                let names = inner.keys.deleted_names()?;
                let mut range = names.tuples();
                // A name has no zero byte at its end, so the id behind one is told apart.
                if let Some((name, id)) = after.and_then(|after| after.rsplit_once('\0')) {
                    let key = inner.keys.deleted_name(name, id.parse().unwrap_or(u64::MAX))?;
                    range.begin = behind(&key, &[0]);
                }
                let rows = rows(&*transaction, &range, rows_max).await?;
                let ids: Result<Vec<u64>> =
                    rows.iter().map(|row| Ok(name_and_id(&names.unpack(&row.key)?)?.1)).collect();
                let tenants = tenants_of(inner, &*transaction, &ids?).await?;
                let after = tenants.last().filter(|_| rows.len() == rows_max);
                let after = after.map(|info| format!("{}\0{}", info.name, info.id));
                Ok(TenantPage { tenants, after })
            })
            .await
    }
}

impl Inner {
    /// The entry and header of a deleted tenant, to be changed.
    async fn deleted(
        &self,
        transaction: &dyn Transaction,
        name: &str,
        id: Option<u64>,
    ) -> Result<StoredTenant> {
        let not_found =
            || Error::new(Code::TenantNotFound, format!("no deleted tenant had the name {}", shown(name)));
        if name.len() > NAME_SIZE_BYTES_MAX {
            return Err(not_found());
        }
        let id = match id {
            Some(id) => {
                let key = self.keys.deleted_name(name, id)?;
                let found = transaction.get(&key, Isolation::Serializable).await?;
                found.map(|_| id).ok_or_else(not_found)?
            }
            None => {
                let of_name = self.keys.deleted_names_of(name)?;
                let rows = rows(transaction, &of_name.tuples(), SAME_NAME_MAX).await?;
                let mut ids = Vec::with_capacity(rows.len());
                for row in &rows {
                    ids.push(id_of(&of_name.unpack(&row.key)?)?);
                }
                match ids[..] {
                    [] => return Err(not_found()),
                    [id] => id,
                    _ => {
                        let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
                        let detail = format!("{}: say which by its id: {}", shown(name), ids.join(", "));
                        return Err(Error::new(Code::TenantAmbiguous, detail));
                    }
                }
            }
        };
        self.stored_tenant(transaction, id).await
    }
}

fn id_of(elements: &[Element]) -> Result<u64> {
    match elements {
        [Element::Int(id)] => Ok(u64::try_from(*id).unwrap_or(0)),
        _ => Err(Error::new(Code::StoredDataInvalid, "the key of a deleted tenant has no id")),
    }
}

fn name_and_id(elements: &[Element]) -> Result<(&str, u64)> {
    match elements {
        [Element::String(name), id] => Ok((name, id_of(std::slice::from_ref(id))?)),
        _ => Err(Error::new(Code::StoredDataInvalid, "the key of a deleted tenant has no name and id")),
    }
}
