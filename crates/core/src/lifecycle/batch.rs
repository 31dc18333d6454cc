//! Many new tenants at a time: many in a transaction, many transactions under way.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::stream::{StreamExt, iter};
use prost::Message;
use tenantry_kv::{Isolation, Transaction};
use uuid::Uuid;

use super::create::{NewTenant, TenantOptions};
use crate::access::Operation;
use crate::database::{Database, new_uuid, number_of};
use crate::error::{Code, Error, Result, limit, shown};
use crate::limits::TENANTS_BATCH_MAX;
use crate::names::check_name;
use crate::tenant_state::TenantState;

/// How many tenants one transaction creates.
const TRANSACTION_TENANTS: usize = 250;
/// How many transactions are under way.
const TRANSACTIONS: usize = 8;

/// A tenant of a batch that was refused.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RefusedTenant {
    /// Its place in the batch.
    pub index: usize,
    /// Why: 20011, 20012, 20016, 20060, 20114.
    pub error: Error,
}

/// What came of a batch.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CreatedTenants {
    /// How many tenants there are now that were not there before.
    pub created: usize,
    /// The others, in the order of the batch.
    pub refused: Vec<RefusedTenant>,
}

/// A tenant of a batch that can be created, if there is none of its name.
struct Candidate<'a> {
    index: usize,
    name: &'a str,
    options: &'a TenantOptions,
    id: u64,
    uuid: Uuid,
}

impl Database {
    /// Creates many tenants with one schema, thousands of them in a second: each is created or told why it was not. Ids are taken in one block, so that the transactions do not wait for each other;
    /// those of tenants that are refused are not used again.
    ///
    /// # Errors
    ///
    /// 20060 for more than 10,000 tenants, 20020; 20003, 20004 for a database that may not change; the engine's own, after which some of the tenants may be there: to create them again is safe,
    /// those are refused with 20011.
    pub async fn create_tenants(
        &self,
        schema: &str,
        tenants: &[(String, TenantOptions)],
    ) -> Result<CreatedTenants> {
        self.authorize(Operation::CreateTenant).await?;
        if tenants.len() > TENANTS_BATCH_MAX {
            return Err(limit("the tenants of a batch", tenants.len(), TENANTS_BATCH_MAX));
        }
        let mut outcome = CreatedTenants::default();
        let mut candidates = Vec::with_capacity(tenants.len());
        let mut names = BTreeSet::new();
        for (index, (name, options)) in tenants.iter().enumerate() {
            let refusal = check_name("tenant", name).and_then(|()| options.check());
            let refusal = refusal.and_then(|()| match options.is_sealed {
                false => Ok(()),
                true => {
                    Err(Error::new(Code::SealRefused, "a sealed tenant is created by itself, with its key"))
                }
            });
            let refusal = refusal.and_then(|()| match names.insert(name) {
                true => Ok(()),
                false => {
                    Err(Error::new(Code::TenantExists, format!("{}: it is in the batch twice", shown(name))))
                }
            });
            match refusal {
                Ok(()) => {
                    let uuid = new_uuid(&self.inner.env);
                    candidates.push(Candidate { index, name, options, id: 0, uuid });
                }
                Err(error) => outcome.refused.push(RefusedTenant { index, error }),
            }
        }
        let (schema_uuid, first) = self.take_tenant_ids(schema, candidates.len() as u64).await?;
        for (candidate, id) in candidates.iter_mut().zip(first..) {
            candidate.id = id;
        }
        let parts = candidates.chunks(TRANSACTION_TENANTS);
        let mut under_way = iter(parts.map(|part| self.create_part((schema, schema_uuid), part)))
            .buffer_unordered(TRANSACTIONS);
        while let Some(refused) = under_way.next().await {
            outcome.refused.extend(refused?);
        }
        outcome.refused.sort_by_key(|refused| refused.index);
        outcome.created = tenants.len() - outcome.refused.len();
        Ok(outcome)
    }

    /// Takes a block of ids, which nobody else gets, and returns the first, and the schema.
    async fn take_tenant_ids(&self, schema: &str, count: u64) -> Result<(Uuid, u64)> {
        let inner = &self.inner;
        inner
            .runner
            .run(|transaction| async move {
                let schema_uuid = inner.schema_uuid(&*transaction, schema).await?;
                let last_key = inner.keys.tenant_last_id()?;
                let last = transaction.get(&last_key, Isolation::Serializable).await?;
                let last = last.map_or(Ok(0), |bytes| number_of(&bytes, "the last tenant id"))?;
                if count > 0 {
                    let taken = Bytes::copy_from_slice(&(last + count).to_le_bytes());
                    inner.write_catalog(&*transaction, &[(last_key, taken)], &[]).await?;
                }
                Ok((schema_uuid, last + 1))
            })
            .await
    }

    /// Creates some tenants in one transaction, and tells those that are there already.
    async fn create_part(&self, schema: (&str, Uuid), part: &[Candidate<'_>]) -> Result<Vec<RefusedTenant>> {
        let inner = &self.inner;
        let created_us = inner.env.clock.wall_us();
        inner
            .runner
            .run(|transaction| async move {
                let (sets, headers, refused) = self.writes(&*transaction, schema, part, created_us).await?;
                if !sets.is_empty() {
                    inner.write_catalog(&*transaction, &sets, &[]).await?;
                }
                for (key, header) in headers {
                    transaction.set(&key, &header);
                }
                Ok(refused)
            })
            .await
    }

    #[allow(clippy::type_complexity, reason = "rows of the catalog, rows of headers, and who has neither")]
    async fn writes(
        &self,
        transaction: &dyn Transaction,
        schema: (&str, Uuid),
        part: &[Candidate<'_>],
        created_us: i64,
    ) -> Result<(Vec<(Bytes, Bytes)>, Vec<(Bytes, Bytes)>, Vec<RefusedTenant>)> {
        let keys = &self.inner.keys;
        let mut reading = Vec::with_capacity(part.len());
        for candidate in part {
            let name_key = keys.tenant_name(candidate.name)?;
            let existing = transaction.get(&name_key, Isolation::Serializable);
            reading.push((candidate, name_key, existing));
        }
        let (mut sets, mut headers, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for (candidate, name_key, existing) in reading {
            if existing.await?.is_some() {
                let error = Error::new(Code::TenantExists, shown(candidate.name));
                refused.push(RefusedTenant { index: candidate.index, error });
                continue;
            }
            let new = NewTenant {
                name: candidate.name,
                schema: (schema.0, schema.1.as_bytes(), 1),
                options: candidate.options,
                uuid: candidate.uuid.as_bytes(),
                created_us,
                state: TenantState::Active,
            };
            let id = candidate.id;
            sets.push((name_key, Bytes::copy_from_slice(&id.to_le_bytes())));
            sets.push((keys.tenant(id)?, new.entry().encode_to_vec().into()));
            headers.push((keys.tenant_keys(id)?.header()?, new.header().encode_to_vec().into()));
        }
        Ok((sets, headers, refused))
    }
}
