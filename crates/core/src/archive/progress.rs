//! How far an import has come, as the database has it.

use prost::Message;
use tenantry_kv::{Isolation, Transaction};

use crate::database::Inner;
use crate::error::{Code, Error, Result};
use crate::messages::{ArchiveProgress, read};

pub(super) async fn load(
    inner: &Inner,
    transaction: &dyn Transaction,
    id: u64,
) -> Result<Option<ArchiveProgress>> {
    let bytes = transaction.get(&inner.keys.archive_progress(id)?, Isolation::Serializable).await?;
    bytes.map(|bytes| read(&bytes, "the progress of an import")).transpose()
}

/// Notes `next`, if the import still is where this one left it.
pub(super) async fn go_on(
    inner: &Inner,
    transaction: &dyn Transaction,
    id: u64,
    expected: &ArchiveProgress,
    next: &ArchiveProgress,
) -> Result<()> {
    if load(inner, transaction, id).await?.as_ref() != Some(expected) {
        let detail = "another process fills the same tenant: let one of them run alone";
        return Err(Error::new(Code::ArchiveDiffers, detail));
    }
    transaction.set(&inner.keys.archive_progress(id)?, &next.encode_to_vec());
    Ok(())
}
