//! Listing tenants.

use std::collections::BTreeMap;

use tenantry_kv::{Isolation, KeyRange, KeyValue, RangeRequest, Transaction};

use crate::access::Operation;
use crate::database::{Database, Inner, TenantInfo, info_of, number_of};
use crate::error::{Code, Error, Result, limit};
use crate::key_space::behind;
use crate::limits::{TENANTS_PAGE_ROWS_MAX, TENANTS_SCANNED_MAX};
use crate::messages::read;
use crate::tenant_state::TenantState;

/// How many names are read together.
const CHUNK_ROWS_MAX: usize = 1_000;

/// Which tenants to list.
///
/// ```
/// use tenantry_core::{TenantFilter, TenantState};
///
/// let filter = TenantFilter::all().label("region", "eu").state(TenantState::Blocked);
/// assert_eq!(filter.state, Some(TenantState::Blocked));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantFilter {
    /// Those that have all of these labels: with this value, or with any.
    pub labels: BTreeMap<String, Option<String>>,
    /// Those in this state alone.
    pub state: Option<TenantState>,
    /// Those of this plan alone.
    pub plan: Option<String>,
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantPage {
    /// The tenants, by name.
    pub tenants: Vec<TenantInfo>,
    /// What to go on after, if there may be more: the last name that was looked at.
    pub after: Option<String>,
}

impl TenantFilter {
    /// Every tenant that has a name.
    pub fn all() -> TenantFilter {
        TenantFilter::default()
    }

    /// The same, of those with a label of this value alone.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> TenantFilter {
        self.labels.insert(name.into(), Some(value.into()));
        self
    }

    /// The same, of those with a label of this name alone, whatever its value.
    #[must_use]
    pub fn has_label(mut self, name: impl Into<String>) -> TenantFilter {
        self.labels.insert(name.into(), None);
        self
    }

    /// The same, of those in a state alone.
    #[must_use]
    pub fn state(mut self, state: TenantState) -> TenantFilter {
        self.state = Some(state);
        self
    }

    /// The same, of those with a plan alone.
    #[must_use]
    pub fn plan(mut self, name: impl Into<String>) -> TenantFilter {
        self.plan = Some(name.into());
        self
    }

    pub(super) fn takes(&self, tenant: &TenantInfo) -> bool {
        let has_label = |(name, value): (&String, &Option<String>)| {
            let found = tenant.labels.get(name);
            found.is_some_and(|found| value.as_ref().is_none_or(|value| value == found))
        };
        self.state.is_none_or(|state| state == tenant.state)
            && (self.plan.is_none() || self.plan == tenant.plan)
            && self.labels.iter().all(has_label)
    }
}

impl Database {
    /// A page of the tenants by name, after a name.
    ///
    /// # Errors
    ///
    /// 20060 for a `limit` over [`TENANTS_PAGE_ROWS_MAX`].
    pub async fn tenants(&self, after: Option<&str>, rows_max: usize) -> Result<TenantPage> {
        self.tenants_where(&TenantFilter::all(), after, rows_max).await
    }

    /// A page of the tenants that a filter asks for, by name, after a name. It may end before it is full, where the filter drops much.
    ///
    /// # Errors
    ///
    /// 20060 for a page of none or of more than [`TENANTS_PAGE_ROWS_MAX`].
    pub async fn tenants_where(
        &self,
        filter: &TenantFilter,
        after: Option<&str>,
        rows_max: usize,
    ) -> Result<TenantPage> {
        self.authorize(Operation::ListTenants).await?;
        if rows_max == 0 || rows_max > TENANTS_PAGE_ROWS_MAX {
            return Err(limit("the tenants of a page", rows_max, TENANTS_PAGE_ROWS_MAX));
        }
        let inner = &self.inner;
        inner
            .runner
            .read(|transaction| async move { page(inner, &*transaction, filter, after, rows_max).await })
            .await
    }
}

async fn page(
    inner: &Inner,
    transaction: &dyn Transaction,
    filter: &TenantFilter,
    after: Option<&str>,
    rows_max: usize,
) -> Result<TenantPage> {
    let mut range = inner.keys.tenant_names()?.tuples();
    if let Some(after) = after {
        range.begin = behind(&inner.keys.tenant_name(after)?, &[0]);
    }
    let mut page = TenantPage { tenants: Vec::new(), after: None };
    let mut scanned = 0;
    // A row more than asked for tells whether there are any behind the page.
    let chunk = (rows_max + 1).min(CHUNK_ROWS_MAX);
    loop {
        let rows = rows(transaction, &range, chunk).await?;
        let ids: Result<Vec<u64>> = rows.iter().map(|row| number_of(&row.value, "a tenant's id")).collect();
        for tenant in tenants_of(inner, transaction, &ids?).await? {
            if page.tenants.len() == rows_max || scanned == TENANTS_SCANNED_MAX {
                return Ok(page);
            }
            scanned += 1;
            page.after = Some(tenant.name.clone());
            if filter.takes(&tenant) {
                page.tenants.push(tenant);
            }
        }
        match rows.last().filter(|_| rows.len() == chunk) {
            Some(last) => range.begin = behind(&last.key, &[0]),
            None => return Ok(TenantPage { after: None, ..page }),
        }
    }
}

/// The first rows of a range.
pub(super) async fn rows(
    transaction: &dyn Transaction,
    range: &KeyRange,
    rows_max: usize,
) -> Result<Vec<KeyValue>> {
    let mut rows = Vec::new();
    let mut next = Some(RangeRequest::new(range.begin.clone(), range.end.clone()).limit(rows_max));
    while let Some(request) = next {
        let batch = transaction.get_range(&request, Isolation::Snapshot).await?;
        next = request.after(&batch);
        rows.extend(batch.rows);
    }
    Ok(rows)
}

/// What the catalog says of some tenants, all asked for together.
pub(super) async fn tenants_of(
    inner: &Inner,
    transaction: &dyn Transaction,
    ids: &[u64],
) -> Result<Vec<TenantInfo>> {
    let mut reading = Vec::with_capacity(ids.len());
    for id in ids {
        reading.push((*id, transaction.get(&inner.keys.tenant(*id)?, Isolation::Snapshot)));
    }
    let mut tenants = Vec::with_capacity(ids.len());
    for (id, entry) in reading {
        let Some(bytes) = entry.await? else {
            let detail = format!("the catalog has no entry for tenant {id}");
            return Err(Error::new(Code::StoredDataInvalid, detail));
        };
        tenants.push(info_of(id, &read(&bytes, "a tenant's entry")?)?);
    }
    Ok(tenants)
}
