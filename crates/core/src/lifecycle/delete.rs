//! The end of a tenant.

use crate::access::Operation;
use crate::database::{Database, TenantInfo};
use crate::error::{Error, Result};

impl Database {
    /// Deletes a tenant with everything in it. The name is free again, the id is never.
    ///
    /// # Errors
    ///
    /// 20010.
    pub async fn delete_tenant(&self, name: &str) -> Result<TenantInfo> {
        self.authorize_tenant(Operation::DeleteTenant, name).await?;
        let inner = &self.inner;
        let info = inner
            .runner
            .run(|transaction| async move {
                let info = inner.tenant_named(&*transaction, name).await?;
                let clears = [inner.keys.tenant_name(name)?, inner.keys.tenant(info.id)?];
                inner.write_catalog(&*transaction, &[], &clears).await?;
                // Everybody who works on the tenant has read its header and conflicts with this.
                let everything = inner.keys.tenant_keys(info.id)?.everything();
                transaction.clear_range(&everything.begin, &everything.end);
                Ok::<_, Error>(info)
            })
            .await?;
        inner.forget_header(info.id);
        Ok(info)
    }
}
