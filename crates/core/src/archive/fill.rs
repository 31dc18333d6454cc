//! Filling a tenant: changes from elsewhere are applied to it.

use crate::database::{Database, StoredTenant};
use crate::error::{Code, Error, Result};
use crate::limits::WRITE_SIZE_BYTES_MAX;
use crate::messages::{ArchiveChange, ArchivePart};
use crate::tenant::TenantTransaction;
use crate::tenant_state::TenantState;
use tenantry_kv::Transaction;

/// How full a transaction is when the rest of the changes is left to the next one.
const FULL_SIZE_BYTES: usize = WRITE_SIZE_BYTES_MAX / 3;

/// Applies changes from a place on, and returns the place to go on from: the end, unless they are more than fits into a transaction.
pub(crate) async fn apply(
    transaction: &TenantTransaction,
    changes: &[ArchiveChange],
    from: usize,
) -> Result<usize> {
    for (index, change) in changes.iter().enumerate().skip(from) {
        if index > from && transaction.size_bytes() >= FULL_SIZE_BYTES {
            return Ok(index);
        }
        apply_one(transaction, change).await?;
    }
    Ok(changes.len())
}

/// Applies all changes, or fails with 20060.
pub(crate) async fn apply_all(transaction: &TenantTransaction, changes: &[ArchiveChange]) -> Result<()> {
    for change in changes {
        apply_one(transaction, change).await?;
    }
    Ok(())
}

async fn apply_one(transaction: &TenantTransaction, change: &ArchiveChange) -> Result<()> {
    let ArchiveChange { type_id, key, value, end, .. } = change;
    let part = ArchivePart::try_from(change.part).map_err(|_| {
        Error::new(Code::ArchiveFormat, "it has rows of a kind that this build does not know")
    })?;
    match (part, end) {
        (ArchivePart::Raw, Some(end)) => transaction.raw_clear_range(key, end),
        (_, Some(_)) => Err(Error::new(Code::ArchiveDamaged, "a range of something else than raw keys")),
        (ArchivePart::Record, None) => transaction.restore_record(*type_id, key, value.as_ref()).await,
        (ArchivePart::Raw, None) => match value {
            Some(value) => transaction.raw_set(key, value),
            None => transaction.raw_clear(key),
        },
        (ArchivePart::Counter, None) => transaction.restore_counter(key, value.as_ref()),
        (ArchivePart::Sequence, None) => transaction.restore_sequence(key, value.as_ref()),
    }
}

/// Empties a tenant that is being filled, to begin anew.
pub(crate) fn clear(transaction: &TenantTransaction) -> Result<()> {
    let contents = transaction.tenant().keys.contents()?;
    transaction.engine_transaction().clear_range(&contents.begin, &contents.end);
    Ok(())
}

/// Makes a tenant that was filled one like any other. The transaction that filled it has finished and commits next.
pub(crate) async fn complete(database: &Database, transaction: &dyn Transaction, id: u64) -> Result<()> {
    let inner = &database.inner;
    let mut tenant: StoredTenant = inner.stored_tenant(transaction, id).await?;
    tenant.set_state(TenantState::Active, "", inner.env.clock.wall_us());
    let progress = inner.keys.archive_progress(id)?;
    transaction.clear(&progress);
    inner.write_tenant(transaction, &tenant, Vec::new(), &[]).await.map(drop)
}
