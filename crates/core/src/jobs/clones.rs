//! Clones: the job that fills a new tenant with what another one has, and how it is made.

use serde_json::json;
use tenantry_kv::Isolation;

use super::create;
use super::job::JobId;
use super::kinds::CloneTenant;
use crate::access::Operation;
use crate::database::{Database, new_uuid};
use crate::error::{Code, Error, Result};
use crate::lifecycle::{NewTenant, TenantOptions};
use crate::messages::{TenantHeader, read};
use crate::names::check_name;
use crate::tenant_state::TenantState;

impl Database {
    /// Makes a new tenant that has what another one has, as that is at one version: its records, counters, sequences and raw keys, its schema, labels and plan. The source goes on taking writes.
    /// A job does the work; until it is done the new tenant is in the state [`Filling`](TenantState::Filling).
    ///
    /// # Errors
    ///
    /// 20010; 20110 to 20117 for the keys of a sealed source; 20012 for a name that cannot be one, 20011 when it exists; 20015 for a source that is being filled itself; as [`create_job`](Database::create_job).
    pub async fn clone_tenant(&self, source: &str, name: &str) -> Result<JobId> {
        self.authorize(Operation::CloneTenant).await?;
        check_name("tenant", name)?;
        let inner = &self.inner;
        let (uuid, job) = (new_uuid(&inner.env), create::new_id(inner));
        // What is sealed stays so: the clone of a sealed tenant has a key of its own.
        let seal = &match self.tenant(source).await?.stored_sealing().await? {
            Some(_) => Some(self.new_seal(uuid, true).await?),
            None => None,
        };
        inner
            .runner
            .run(|transaction| async move {
                let info = inner.tenant_named(&*transaction, source).await?;
                let key = inner.keys.tenant_keys(info.id)?.header()?;
                let Some(bytes) = transaction.get(&key, Isolation::Serializable).await? else {
                    return Err(Error::new(Code::StoredDataInvalid, "the tenant to clone has no header"));
                };
                let header: TenantHeader = read(&bytes, "a tenant's header")?;
                if info.state == TenantState::Filling {
                    let detail = "the tenant to clone is not complete itself";
                    return Err(Error::new(Code::TenantFilling, detail));
                }
                let schema_uuid = crate::database::uuid_of(&header.schema_uuid, "the tenant's header")?;
                let mut options = TenantOptions::new();
                (options.labels, options.plan) = (info.labels, info.plan);
                let new = NewTenant {
                    name,
                    schema: (&info.schema, schema_uuid.as_bytes(), header.schema_version),
                    options: &options,
                    uuid: uuid.as_bytes(),
                    created_us: inner.env.clock.wall_us(),
                    state: TenantState::Filling,
                };
                let target = self.add_tenant(&*transaction, &new).await?;
                match (&header.sealing, seal) {
                    (None, _) => {}
                    (Some(_), Some(seal)) => {
                        seal.write(&*transaction, &inner.keys.tenant_keys(target.id)?, new.header())?;
                    }
                    (Some(_), None) => {
                        let detail = "the tenant to clone has been sealed since: clone it again";
                        return Err(Error::new(Code::SealRefused, detail));
                    }
                }
                let parameters = json!({ "source": info.id, "target": target.id });
                let definition = create::define(inner, &CloneTenant, None, &parameters)?;
                create::enqueue(inner, &*transaction, job, &definition).await
            })
            .await?;
        Ok(JobId(job))
    }
}
