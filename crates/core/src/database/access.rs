//! A database as the holder of a grant sees it, and the epochs by which grants are revoked.

use prost::Message;
use tenantry_kv::{Isolation, Transaction};

use super::{Database, Inner, TenantInfo};
use crate::access::{Access, Grant, GrantedTenant, Operation};
use crate::error::{Code, Error, Result, limit, shown};
use crate::key_space::CATALOG_TENANT;
use crate::messages::TenantHeader;
use crate::tenant::Tenant;

impl Database {
    /// The same database as the holder of a grant sees it: every operation on it, on tenants that it opens, and on what comes from these, keeps to the grant.
    ///
    /// The handle that it is called on stays as it is: keep it from those who are to have no more than the grant.
    ///
    /// # Errors
    ///
    /// 20123 and 20124 for a grant that cannot be meant; 20120 where this handle has a grant already; 20060.
    pub fn with_grant(&self, grant: Grant) -> Result<Database> {
        if self.access.grant().is_some() {
            let detail = "the handle has a grant, which cannot be exchanged for another";
            return Err(Error::new(Code::AccessDenied, detail));
        }
        let access = Access::of(grant)?;
        Ok(Database { inner: self.inner.clone(), access })
    }

    /// The tenant of a name, as the holder of a grant sees it.
    ///
    /// # Errors
    ///
    /// As [`with_grant`](Database::with_grant) and [`tenant`](Database::tenant).
    pub async fn tenant_with_grant(&self, name: &str, grant: Grant) -> Result<Tenant> {
        self.with_grant(grant)?.tenant(name).await
    }

    /// The grant that this handle keeps to, if it has one.
    pub fn grant(&self) -> Option<&Grant> {
        self.access.grant()
    }

    /// A tenant as a grant on it names it: with its identity, and with the epoch of the tokens that are good now.
    ///
    /// # Errors
    ///
    /// 20010; 20120.
    pub async fn granted_tenant(&self, name: &str) -> Result<GrantedTenant> {
        self.authorize_tenant(Operation::ViewTokenEpoch, name).await?;
        let inner = &self.inner;
        inner
            .runner
            .read(|transaction| async move {
                let (info, header) = inner.info_and_header(&*transaction, name).await?;
                Ok(GrantedTenant::new(name, info.uuid, header.token_epoch))
            })
            .await
    }

    /// The epoch of the tokens for all tenants that are good now.
    ///
    /// # Errors
    ///
    /// 20120; the engine's own.
    pub async fn token_epoch(&self) -> Result<u32> {
        self.authorize(Operation::ViewDatabase).await?;
        let inner = &self.inner;
        inner
            .runner
            .read(|transaction| async move { inner.catalog_header(&*transaction).await })
            .await
            .map(|header: TenantHeader| header.token_epoch)
    }

    /// Revokes every grant on a tenant that names its epoch: the next one is good from now on, which is returned. Whoever holds such a grant, in whatever process, is refused from its next
    /// transaction on; one that runs goes on for five seconds at the most. Continuation tokens of queries are no longer good either.
    ///
    /// Grants on all tenants have an epoch of their own: see [`revoke_all_tokens`](Database::revoke_all_tokens).
    ///
    /// # Errors
    ///
    /// 20010; 20120; 20003, 20004 for a database that may not change.
    pub async fn revoke_tokens(&self, name: &str) -> Result<u32> {
        self.authorize_tenant(Operation::RevokeTokens, name).await?;
        let inner = &self.inner;
        inner
            .runner
            .run(|transaction| async move {
                inner.check_writable(&*transaction).await?;
                let id = inner.tenant_id(&*transaction, name).await?;
                inner.raise_epoch(&*transaction, id).await
            })
            .await
    }

    /// Revokes every grant on all tenants that names the database's epoch, and returns the next one.
    ///
    /// # Errors
    ///
    /// 20120; 20003, 20004 for a database that may not change.
    pub async fn revoke_all_tokens(&self) -> Result<u32> {
        self.authorize(Operation::RevokeAllTokens).await?;
        let inner = &self.inner;
        inner
            .runner
            .run(|transaction| async move {
                inner.check_writable(&*transaction).await?;
                inner.raise_epoch(&*transaction, CATALOG_TENANT).await
            })
            .await
    }

    /// Fails unless an operation on the database is allowed.
    pub(crate) async fn authorize(&self, operation: Operation) -> Result<()> {
        if self.access.grant().is_none() {
            return Ok(());
        }
        self.access.authorize(operation, self.inner.env.clock.wall_us())?;
        let inner = &self.inner;
        let access = &self.access;
        inner
            .runner
            .read(|transaction| async move { inner.check_database(&*transaction, access).await })
            .await
    }

    /// Fails unless an operation on a tenant is allowed that does not run in a transaction on it. A tenant that the grant is not on is not there.
    pub(crate) async fn authorize_tenant(&self, operation: Operation, name: &str) -> Result<()> {
        if self.access.grant().is_none() {
            return Ok(());
        }
        self.check_name_granted(name)?;
        self.access.authorize(operation, self.inner.env.clock.wall_us())?;
        let inner = &self.inner;
        inner
            .runner
            .read(|transaction| async move {
                let (info, header) = inner.info_and_header(&*transaction, name).await?;
                self.check_tenant(&*transaction, &info, &header).await
            })
            .await
    }

    /// Fails for a tenant that the grant is not on, as if there were none.
    pub(crate) fn check_name_granted(&self, name: &str) -> Result<()> {
        match self.access.covers_name(name) {
            true => Ok(()),
            false => Err(Error::new(Code::TenantNotFound, shown(name))),
        }
    }

    /// Fails unless the grant is good, on a tenant with this header, now.
    pub(crate) async fn check_tenant(
        &self,
        transaction: &dyn Transaction,
        info: &TenantInfo,
        header: &TenantHeader,
    ) -> Result<()> {
        let access = &self.access;
        if access.grant().is_none() {
            return Ok(());
        }
        access.check_time(self.inner.env.clock.wall_us())?;
        access.check_tenant(&info.name, &header.uuid, header.token_epoch)?;
        self.inner.check_database(transaction, access).await
    }
}

impl Inner {
    /// Fails for a grant on all tenants of another database, or one that was revoked.
    async fn check_database(&self, transaction: &dyn Transaction, access: &Access) -> Result<()> {
        if !access.needs_database_epoch() {
            return Ok(());
        }
        let header = self.catalog_header(transaction).await?;
        access.check_database(self.uuid.as_bytes(), header.token_epoch)
    }

    async fn catalog_header(&self, transaction: &dyn Transaction) -> Result<TenantHeader> {
        let key = self.keys.tenant_keys(CATALOG_TENANT)?.header()?;
        let bytes = transaction.get(&key, Isolation::Snapshot).await?;
        self.header_of(CATALOG_TENANT, bytes).map(|header| TenantHeader::clone(&header))
    }

    async fn info_and_header(
        &self,
        transaction: &dyn Transaction,
        name: &str,
    ) -> Result<(TenantInfo, TenantHeader)> {
        let id = self.tenant_id(transaction, name).await?;
        let info = self.tenant_with_id(transaction, id).await?;
        let header = self.header(transaction, id, &self.keys.tenant_keys(id)?).await?;
        Ok((info, TenantHeader::clone(&header)))
    }

    async fn raise_epoch(&self, transaction: &dyn Transaction, id: u64) -> Result<u32> {
        let keys = self.keys.tenant_keys(id)?;
        let mut header = TenantHeader::clone(&*self.header(transaction, id, &keys).await?);
        header.token_epoch = header
            .token_epoch
            .checked_add(1)
            .ok_or_else(|| limit("the epochs of tokens", u32::MAX as usize, u32::MAX as usize))?;
        transaction.set(&keys.header()?, &header.encode_to_vec());
        Ok(header.token_epoch)
    }
}
