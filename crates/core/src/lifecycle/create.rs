//! New tenants.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use tenantry_kv::seeded_faults::{Fault, is_active};
use tenantry_kv::{Isolation, Transaction};

use super::labels::{check_labels, check_plan};
use crate::access::Operation;
use crate::database::{Database, FORMAT_VERSION, TenantInfo, info_of, new_uuid, number_of};
use crate::error::{Code, Error, Result, shown};
use crate::messages::{TenantEntry, TenantHeader};
use crate::names::check_name;
use crate::tenant::Tenant;
use crate::tenant_state::TenantState;

/// What a new tenant gets besides its name and schema.
///
/// ```
/// use tenantry_core::TenantOptions;
///
/// let options = TenantOptions::new().label("region", "eu").plan("small");
/// assert_eq!((options.labels["region"].as_str(), options.plan.as_deref()), ("eu", Some("small")));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantOptions {
    /// Notes on the tenant, by name: at most 32, names of 63 and values of 255 bytes.
    pub labels: BTreeMap<String, String>,
    /// The name of its plan.
    pub plan: Option<String>,
    /// Whether it is sealed from the begin, with a key of its own in the key store.
    pub is_sealed: bool,
}

impl TenantOptions {
    /// No labels and no plan.
    pub fn new() -> TenantOptions {
        TenantOptions::default()
    }

    /// The same with a label more.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> TenantOptions {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// The same with a plan.
    #[must_use]
    pub fn plan(mut self, name: impl Into<String>) -> TenantOptions {
        self.plan = Some(name.into());
        self
    }

    /// The same, sealed or not.
    #[must_use]
    pub fn sealed(mut self, is_sealed: bool) -> TenantOptions {
        self.is_sealed = is_sealed;
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_labels(&self.labels)?;
        check_plan(self.plan.as_deref())
    }
}

impl Database {
    /// Creates a tenant with a schema.
    ///
    /// # Errors
    ///
    /// 20012 for a name that cannot be one, 20011 when it exists, 20020 when the schema does not; 20003, 20004 for a database that may not change.
    pub async fn create_tenant(&self, name: &str, schema: &str) -> Result<Tenant> {
        self.create_tenant_with(name, schema, &TenantOptions::new()).await
    }

    /// Creates a tenant with a schema, labels and a plan.
    ///
    /// # Errors
    ///
    /// 20016 for labels or a plan that cannot be a tenant's; 20110 for a sealed one where the database was given no keyring, and the key store's; as
    /// [`create_tenant`](Database::create_tenant).
    pub async fn create_tenant_with(
        &self,
        name: &str,
        schema: &str,
        options: &TenantOptions,
    ) -> Result<Tenant> {
        self.authorize(Operation::CreateTenant).await?;
        check_name("tenant", name)?;
        options.check()?;
        let inner = &self.inner;
        let uuid = new_uuid(&inner.env);
        let created_us = inner.env.clock.wall_us();
        // The key is durable before there is a tenant that needs it.
        let seal = &match options.is_sealed {
            true => Some(self.new_seal(uuid, true).await?),
            false => None,
        };
        let info = inner
            .runner
            .run(|transaction| async move {
                let schema_uuid = inner.schema_uuid(&*transaction, schema).await?;
                let new = NewTenant {
                    name,
                    schema: (schema, schema_uuid.as_bytes(), 1),
                    options,
                    uuid: uuid.as_bytes(),
                    created_us,
                    state: TenantState::Active,
                };
                let info = self.add_tenant(&*transaction, &new).await?;
                if let Some(seal) = seal {
                    seal.write(&*transaction, &inner.keys.tenant_keys(info.id)?, new.header())?;
                }
                Ok::<_, Error>(info)
            })
            .await?;
        Tenant::new(self.clone(), info)
    }

    /// Writes a new tenant with the next id.
    pub(crate) async fn add_tenant(
        &self,
        transaction: &dyn Transaction,
        new: &NewTenant<'_>,
    ) -> Result<TenantInfo> {
        let keys = &self.inner.keys;
        let name_key = keys.tenant_name(new.name)?;
        if transaction.get(&name_key, Isolation::Serializable).await?.is_some() {
            return Err(Error::new(Code::TenantExists, shown(new.name)));
        }
        let last_key = keys.tenant_last_id()?;
        let last = transaction.get(&last_key, Isolation::Serializable).await?;
        let id = last.map_or(Ok(0), |bytes| number_of(&bytes, "the last tenant id"))? + 1;
        let id = if is_active(Fault::TenantIdUsedTwice) { 1 } else { id };
        let (entry, header) = (new.entry(), new.header());
        let writes = [
            (last_key, Bytes::copy_from_slice(&id.to_le_bytes())),
            (name_key, Bytes::copy_from_slice(&id.to_le_bytes())),
            (keys.tenant(id)?, entry.encode_to_vec().into()),
        ];
        self.inner.write_catalog(transaction, &writes, &[]).await?;
        transaction.set(&keys.tenant_keys(id)?.header()?, &header.encode_to_vec());
        info_of(id, &entry)
    }
}

/// A tenant that is about to be.
pub(crate) struct NewTenant<'a> {
    pub(crate) name: &'a str,
    /// Name, UUID and version.
    pub(crate) schema: (&'a str, &'a [u8; 16], u32),
    pub(crate) options: &'a TenantOptions,
    pub(crate) uuid: &'a [u8; 16],
    pub(crate) created_us: i64,
    pub(crate) state: TenantState,
}

impl NewTenant<'_> {
    pub(super) fn entry(&self) -> TenantEntry {
        TenantEntry {
            uuid: self.uuid.to_vec(),
            name: self.name.to_owned(),
            created_us: self.created_us,
            schema_uuid: self.schema.1.to_vec(),
            schema_name: self.schema.0.to_owned(),
            state: self.state.number(),
            labels: self.options.labels.clone(),
            plan: self.options.plan.clone().unwrap_or_default(),
            ..TenantEntry::default()
        }
    }

    pub(crate) fn header(&self) -> TenantHeader {
        TenantHeader {
            format: FORMAT_VERSION,
            uuid: self.uuid.to_vec(),
            incarnation: 1,
            token_epoch: 1,
            schema_uuid: self.schema.1.to_vec(),
            schema_version: self.schema.2,
            log_buckets: 1,
            state: self.state.number(),
            plan: self.options.plan.clone().unwrap_or_default(),
            ..TenantHeader::default()
        }
    }
}
