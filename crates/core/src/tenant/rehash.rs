//! Gives hashed indexes the entries that take the tenant's key, while those from before it was sealed are still looked for.

use tenantry_kv::Isolation;

use super::indexes::Contribution;
use super::transaction::{TenantTransaction, write_size_bytes};
use crate::error::Result;
use crate::index_hash::open_entries;
use crate::key_space::behind;
use crate::messages::ResealCursor;
use crate::record::{Record, RecordKeys};
use crate::record_scan::{StoredRecord, read_chunk};
use crate::schema::{Index, RecordType};
use crate::wire;

/// What a step reads of records at most, and about what it writes of entries, in bytes.
const SIZE_BYTES_MAX: usize = 1_000_000;

fn hashed(record_type: &RecordType) -> impl Iterator<Item = &Index> {
    record_type.indexes.iter().filter(|index| index.is_hashed)
}

impl TenantTransaction {
    /// Whether an entry is one that nobody looks for yet.
    pub(crate) fn is_being_built(&self, index: &Index, key: &[u8]) -> Result<bool> {
        let prefix = self.tenant.keys.index(index.id)?;
        Ok(self.index_hashes().is_being_built(index, key.get(prefix.len()..).unwrap_or_default()))
    }

    /// The types whose hashed indexes are to be given other entries.
    pub(super) fn rehashed_types(&self) -> Vec<&RecordType> {
        if self.sealer().is_none_or(|sealer| sealer.is_complete()) {
            return Vec::new();
        }
        let types = self.schema().definition.types.iter();
        types.filter(|record_type| hashed(record_type).next().is_some()).collect()
    }

    /// Writes the entries of the next records. What others write meanwhile has them already.
    pub(super) async fn rehash_records(
        &self,
        cursor: &mut ResealCursor,
        rows_max: usize,
    ) -> Result<(u64, bool)> {
        let Some(record_type) = self.rehashed_types().get(cursor.part as usize).copied() else {
            return Ok((0, true));
        };
        let after = cursor.after.as_deref();
        let chunk = read_chunk(self, record_type.id, after, rows_max, SIZE_BYTES_MAX).await?;
        let mut looked_at = 0;
        for stored in &chunk.records {
            if self.size_bytes() > SIZE_BYTES_MAX {
                return Ok((looked_at, false));
            }
            self.rehash_record(record_type, stored).await?;
            looked_at += 1;
            cursor.resealed += 1;
            cursor.after = Some(stored.key.clone());
        }
        Ok((looked_at, !chunk.has_more))
    }

    async fn rehash_record(&self, record_type: &RecordType, stored: &StoredRecord) -> Result<()> {
        let prefix = behind(&self.tenant.keys.records(record_type.id)?, &stored.key);
        let keys = RecordKeys { prefix, packed: stored.key.clone() };
        // Whoever changes it before the commit changes its entries.
        self.transaction.get(&keys.part(0)?, Isolation::Serializable).await?;
        let (values, unknown) = wire::decode(&stored.payload, &record_type.fields)?;
        let record =
            Record { values, unknown, version: Some(stored.version), is_read: true, ..Record::default() };
        for index in hashed(record_type) {
            for (key, contribution) in self.contributed(record_type, index, &record)? {
                let Contribution::Entry { value, .. } = contribution else { continue };
                if self.is_being_built(index, &key)? {
                    let value = self.sealed_entry(index, &key, value)?;
                    self.count_bookkeeping(write_size_bytes(key.len(), value.len()))?;
                    self.transaction.set(&key, &value);
                }
            }
        }
        Ok(())
    }

    /// Clears the entries from before the tenant was sealed: from the commit on nobody looks for them.
    pub(super) fn clear_open_entries(&self) -> Result<()> {
        for index in self.rehashed_types().into_iter().flat_map(hashed) {
            let (begin, end) = open_entries(&self.tenant.keys.index(index.id)?);
            self.count_bookkeeping(write_size_bytes(begin.len(), end.len()))?;
            self.transaction.clear_range(&begin, &end);
        }
        Ok(())
    }
}
