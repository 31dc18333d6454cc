//! What the catalog says of tenants.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use tenantry_kv::{Isolation, Transaction};
use uuid::Uuid;

use super::{Database, Inner, number_of, uuid_of};
use crate::access::Operation;
use crate::error::{Code, Error, Result, shown};
use crate::limits::NAME_SIZE_BYTES_MAX;
use crate::messages::{TenantEntry, TenantHeader, read};
use crate::tenant_state::TenantState;

/// What the catalog says of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantInfo {
    /// Its name; of a deleted tenant, the one that it had.
    pub name: String,
    /// Its own identity, which it keeps when it moves to another database.
    pub uuid: Uuid,
    /// The number of its keys' prefix in this database, never used again.
    pub id: u64,
    /// The name of its schema.
    pub schema: String,
    /// When it was created, in microseconds since 1970.
    pub created_us: i64,
    /// What may be done with it.
    pub state: TenantState,
    /// Why it is in this state, in the words of whoever put it there.
    pub reason: String,
    /// Since when, in microseconds since 1970; 0 if its state was never changed.
    pub since_us: i64,
    /// What whoever manages it noted, by name.
    pub labels: BTreeMap<String, String>,
    /// The name of its plan.
    pub plan: Option<String>,
    /// Of a deleted tenant: from when on it may be purged, in microseconds since 1970.
    pub purge_due_us: Option<i64>,
}

/// A tenant's entry and header, read with a conflict, and about to be changed.
pub(crate) struct StoredTenant {
    pub(crate) id: u64,
    pub(crate) entry: TenantEntry,
    pub(crate) header: TenantHeader,
    header_before: Bytes,
}

impl StoredTenant {
    /// Puts it into a state.
    pub(crate) fn set_state(&mut self, state: TenantState, reason: &str, now_us: i64) {
        (self.entry.state, self.header.state) = (state.number(), state.number());
        (self.entry.reason, self.header.reason) = (reason.to_owned(), reason.to_owned());
        self.entry.since_us = now_us;
    }
}

impl Inner {
    pub(crate) async fn tenant_id(&self, transaction: &dyn Transaction, name: &str) -> Result<u64> {
        let not_found = || Error::new(Code::TenantNotFound, shown(name));
        if name.len() > NAME_SIZE_BYTES_MAX {
            return Err(not_found());
        }
        match transaction.get(&self.keys.tenant_name(name)?, Isolation::Serializable).await? {
            Some(bytes) => number_of(&bytes, "a tenant's id"),
            None => Err(not_found()),
        }
    }

    /// What the catalog says of the tenant of an id, which may be gone.
    pub(crate) async fn tenant_with_id(&self, transaction: &dyn Transaction, id: u64) -> Result<TenantInfo> {
        match transaction.get(&self.keys.tenant(id)?, Isolation::Serializable).await? {
            Some(bytes) => info_of(id, &read(&bytes, "a tenant's entry")?),
            None => {
                Err(Error::new(Code::TenantNotFound, format!("the tenant with the id {id} has been deleted")))
            }
        }
    }

    /// What the catalog says of the tenant of a name.
    pub(crate) async fn tenant_named(&self, transaction: &dyn Transaction, name: &str) -> Result<TenantInfo> {
        let id = self.tenant_id(transaction, name).await?;
        self.tenant_with_id(transaction, id).await.map_err(|error| lacks_entry(id, error))
    }

    /// The entry and header of a tenant, to be changed.
    pub(crate) async fn stored_tenant(&self, transaction: &dyn Transaction, id: u64) -> Result<StoredTenant> {
        let entry = transaction.get(&self.keys.tenant(id)?, Isolation::Serializable);
        let header = transaction.get(&self.keys.tenant_keys(id)?.header()?, Isolation::Serializable);
        let (entry, header) = (entry.await?, header.await?);
        let (Some(entry), Some(header)) = (entry, header) else {
            let detail = format!("the tenant with the id {id} has been deleted");
            return Err(Error::new(Code::TenantNotFound, detail));
        };
        Ok(StoredTenant {
            id,
            entry: read(&entry, "a tenant's entry")?,
            header: read(&header, "a tenant's header")?,
            header_before: header,
        })
    }

    /// Writes a tenant's entry, and its header where it is another one: then everybody who works on the tenant conflicts. `sets` and `clears` are
    /// what else changes in the catalog.
    pub(crate) async fn write_tenant(
        &self,
        transaction: &dyn Transaction,
        tenant: &StoredTenant,
        mut sets: Vec<(Bytes, Bytes)>,
        clears: &[Bytes],
    ) -> Result<TenantInfo> {
        sets.push((self.keys.tenant(tenant.id)?, tenant.entry.encode_to_vec().into()));
        self.write_catalog(transaction, &sets, clears).await?;
        let header = tenant.header.encode_to_vec();
        if header != tenant.header_before {
            transaction.set(&self.keys.tenant_keys(tenant.id)?.header()?, &header);
        }
        info_of(tenant.id, &tenant.entry)
    }
}

impl Database {
    /// What the catalog says of the tenant of a name, in whatever state.
    ///
    /// # Errors
    ///
    /// 20010.
    pub async fn describe_tenant(&self, name: &str) -> Result<TenantInfo> {
        self.authorize_tenant(Operation::DescribeTenant, name).await?;
        self.find_tenant(name).await
    }

    /// As [`describe_tenant`](Database::describe_tenant), whatever a grant says.
    pub(crate) async fn find_tenant(&self, name: &str) -> Result<TenantInfo> {
        let inner = &self.inner;
        inner.runner.read(|transaction| async move { inner.tenant_named(&*transaction, name).await }).await
    }
}

impl Database {
    /// What the catalog says of the tenant of an id.
    pub(crate) async fn tenant_info(&self, id: u64) -> Result<TenantInfo> {
        let inner = &self.inner;
        inner.runner.read(|transaction| async move { inner.tenant_with_id(&*transaction, id).await }).await
    }
}

/// A name that leads to no entry is no tenant that is missing: the catalog is damaged.
fn lacks_entry(id: u64, error: Error) -> Error {
    match error.code() {
        Code::TenantNotFound => {
            Error::new(Code::StoredDataInvalid, format!("the catalog has no entry for tenant {id}"))
        }
        _ => error,
    }
}

pub(crate) fn info_of(id: u64, entry: &TenantEntry) -> Result<TenantInfo> {
    Ok(TenantInfo {
        name: entry.name.clone(),
        uuid: uuid_of(&entry.uuid, "a tenant's entry")?,
        id,
        schema: entry.schema_name.clone(),
        created_us: entry.created_us,
        state: TenantState::stored(entry.state)?,
        reason: entry.reason.clone(),
        since_us: entry.since_us,
        labels: entry.labels.clone(),
        plan: Some(entry.plan.clone()).filter(|plan| !plan.is_empty()),
        purge_due_us: (entry.due_us != 0).then_some(entry.due_us),
    })
}
