//! Deletions of many records in bounded steps, each a transaction: those of a query, with its token to go on with, and one with all that it takes along.

use futures_util::future::try_join_all;
use tenantry_kv::{EngineError, ErrorCode, Isolation};

use crate::access::Operation;
use crate::error::{Code, Error, Result};
use crate::limits::CASCADE_RECORDS_MAX;
use crate::messages::CascadeCursor;
use crate::query::Query;
use crate::record::PrimaryKey;
use crate::tenant::{CascadeStep, Cascaded, Tenant, TenantTransaction};

/// What one step deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeletedPage {
    /// How many records. None does not mean that there are no more: the token does.
    pub deleted: u64,
    /// What to go on with, if there may be more: the token of the query, for [`Query::after`].
    pub next: Option<String>,
}

impl TenantTransaction {
    /// Deletes the records of one page of a query: at most [`Query::rows_max`] of them, from its token on.
    ///
    /// # Errors
    ///
    /// 20060 for more than one transaction can delete: ask for fewer; as [`query`](TenantTransaction::query) and [`delete`](TenantTransaction::delete)
    /// otherwise.
    pub async fn delete_where(&self, query: &Query) -> Result<DeletedPage> {
        let record_type = self.permit(Operation::DeleteWhere, &query.record_type)?.record_type;
        self.check_deletion(record_type)?;
        let page = self.query(query).await?;
        let keys: Vec<_> = page
            .records
            .iter()
            .map(|record| {
                self.record_keys(record_type, &record.elements(&record_type.primary_key, record_type)?)
            })
            .collect::<Result<_>>()?;
        // Once more, with a conflict whatever the isolation, and side by side.
        let loads = keys.iter().map(|keys| self.load_shown(record_type, keys, Isolation::Serializable));
        let stored = try_join_all(loads).await?;
        let mut deleted = 0;
        for (keys, stored) in keys.iter().zip(stored) {
            // One that was deleted before it may have deleted or changed this one as well.
            let stored = match self.is_referred_to(record_type) {
                true => self.load_shown(record_type, keys, Isolation::Serializable).await?,
                false => stored,
            };
            if let Some(stored) = stored {
                self.delete_record(record_type, keys, &stored).await?;
                deleted += 1;
            }
        }
        Ok(DeletedPage { deleted, next: page.next })
    }
}

impl Tenant {
    /// As [`TenantTransaction::delete_where`], in a transaction of its own.
    ///
    /// # Errors
    ///
    /// Its own; as [`run`](Tenant::run).
    pub async fn delete_where(&self, query: &Query) -> Result<DeletedPage> {
        self.run(|transaction| async move { transaction.delete_where(query).await }).await
    }

    /// Deletes all records that a query asks for, in as many transactions as it takes, and returns how many these were. What others write meanwhile may be
    /// deleted or not.
    ///
    /// [`Query::rows_max`] is how many one transaction deletes at the most; it takes fewer where so many are too much for one.
    ///
    /// # Errors
    ///
    /// As [`delete_where`](Tenant::delete_where). What was deleted before the error stays deleted.
    pub async fn delete_all_where(&self, query: &Query) -> Result<u64> {
        self.delete_some_where(query, u64::MAX).await.map(|page| page.deleted)
    }

    /// As [`delete_all_where`](Tenant::delete_all_where), but no more than so many records.
    ///
    /// # Errors
    ///
    /// As [`delete_all_where`](Tenant::delete_all_where).
    pub async fn delete_some_where(&self, query: &Query, records_max: u64) -> Result<DeletedPage> {
        let mut step = query.clone();
        let mut rows_max = query.rows_max;
        let mut deleted = 0;
        loop {
            // Of a query for no records at a time, the first step says what is wrong with it.
            step.rows_max = rows_max.min(usize::try_from(records_max - deleted).unwrap_or(usize::MAX));
            match self.patient().delete_where(&step).await {
                Ok(page) => {
                    deleted += page.deleted;
                    if page.next.is_none() || deleted >= records_max {
                        return Ok(DeletedPage { deleted, next: page.next });
                    }
                    step.after = page.next;
                }
                Err(error) if step.rows_max > 1 && is_too_much(&error) => rows_max = step.rows_max / 2,
                Err(error) => return Err(error),
            }
        }
    }
}

impl Tenant {
    /// Deletes the record of a key with all that its deletion takes along, in as many transactions as it takes: those that refer to it before it, so that at no time
    /// a record refers to one that is not there. Records that come to refer to it meanwhile go as well.
    ///
    /// # Errors
    ///
    /// 20039 when a record forbids it that does not go as well, 20046 for more than 1,000 records that refer to one another in a circle; as
    /// [`delete`](Tenant::delete) otherwise. What was deleted before the error stays deleted.
    pub async fn delete_cascading(&self, record_type: &str, key: &PrimaryKey) -> Result<Cascaded> {
        self.authorize_type(Operation::DeleteCascading, record_type)?;
        let mut cursor = CascadeCursor::default();
        let mut records_max = CASCADE_RECORDS_MAX;
        loop {
            let from = &cursor;
            let patient = self.patient();
            let step = patient.run(|transaction| async move {
                transaction.cascade(record_type, key, from.clone(), records_max).await
            });
            match step.await {
                Ok(CascadeStep::More(next)) => cursor = next,
                Ok(CascadeStep::Done(done)) => return Ok(done),
                Ok(CascadeStep::Refused(_, error)) => return Err(error),
                Err(error) if records_max > 1 && is_too_much(&error) => records_max /= 2,
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether half of the work may go through: a limit of a transaction, or its five seconds.
pub(crate) fn is_too_much(error: &Error) -> bool {
    let engine_code = error.engine_error().map(tenantry_kv::Error::code);
    error.code() == Code::LimitPassed
        || matches!(
            engine_code,
            Some(
                ErrorCode::TRANSACTION_TOO_LARGE
                    | ErrorCode::TRANSACTION_TOO_OLD
                    | ErrorCode::RETRY_DEADLINE_PASSED
            )
        )
}
