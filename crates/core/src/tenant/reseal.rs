//! Seals what was stored before: in clear, or with a data key of another generation. Nothing that a user sees changes by it: no version, no entry of the log.

use prost::Message;
use tenantry_kv::{Isolation, KeyValue, RangeRequest, Subspace, key_after};

use super::idempotency::RESULT_NAME;
use super::records::split;
use super::seal::not_sealed;
use super::transaction::{TenantTransaction, write_size_bytes};
use crate::change_log;
use crate::error::{Code, Error, Result};
use crate::key_space::behind;
use crate::limits::{RAW_SEALED_VALUE_SIZE_BYTES_MAX, RECORD_PART_SIZE_BYTES};
use crate::messages::{IdempotencyRecord, ResealCursor, read};
use crate::record::{RecordKeys, frame};
use crate::record_scan::{StoredRecord, read_chunk};
use crate::schema::Index;
use crate::sealing::{Sealed, Sealer};

/// What a step reads at most, in bytes.
const SIZE_BYTES_MAX: usize = 1_000_000;

/// What is gone through, in this order. The numbers stand in cursors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Records,
    Entries,
    Raw,
    Results,
    Log,
    Hashes,
    End,
}

impl Stage {
    const ALL: [Stage; 7] =
        [Stage::Records, Stage::Entries, Stage::Raw, Stage::Results, Stage::Log, Stage::Hashes, Stage::End];

    fn of(number: u32) -> Stage {
        Stage::ALL.get(number as usize).copied().unwrap_or(Stage::End)
    }
}

/// What a step did.
pub(crate) struct ResealStep {
    /// How many records, values and entries it looked at.
    pub(crate) looked_at: u64,
    pub(crate) is_finished: bool,
}

impl TenantTransaction {
    /// Does the next piece, of about `rows_max` rows.
    pub(crate) async fn reseal(&self, cursor: &mut ResealCursor, rows_max: usize) -> Result<ResealStep> {
        let sealer = self.sealer().ok_or_else(not_sealed)?;
        let generation = sealer.generation()?;
        if cursor.generation != generation {
            // Another data key came meanwhile: everything once more.
            *cursor = ResealCursor { generation, ..ResealCursor::default() };
        }
        self.set_isolation(Isolation::Snapshot);
        let stage = Stage::of(cursor.stage);
        let (looked_at, is_done) = match stage {
            Stage::Records => self.reseal_records(cursor, generation, rows_max).await?,
            Stage::Entries => self.reseal_entries(sealer, cursor, rows_max).await?,
            Stage::Raw => {
                let range = Subspace::new(self.tenant.keys.raw()?);
                self.reseal_values(sealer, cursor, range, Kept::Raw, rows_max).await?
            }
            Stage::Results => {
                let range = self.tenant.keys.idempotency_records()?;
                self.reseal_values(sealer, cursor, range, Kept::Result, rows_max).await?
            }
            Stage::Log => self.reseal_log(sealer, cursor).await?,
            Stage::Hashes => self.rehash_records(cursor, rows_max).await?,
            Stage::End => {
                self.end_reseal(generation)?;
                return Ok(ResealStep { looked_at: 0, is_finished: true });
            }
        };
        if is_done {
            (cursor.after, cursor.part) = (None, cursor.part + 1);
            if !self.has_part(stage, cursor.part) {
                (cursor.stage, cursor.part) = (cursor.stage + 1, 0);
            }
        }
        Ok(ResealStep { looked_at, is_finished: false })
    }

    fn covering_indexes(&self) -> Vec<&Index> {
        let types = self.schema().definition.types.iter();
        let indexes = types.flat_map(|record_type| &record_type.indexes);
        indexes.filter(|index| !index.covering.is_empty()).collect()
    }

    fn has_part(&self, stage: Stage, part: u32) -> bool {
        let parts = match stage {
            Stage::Records => self.schema().definition.types.len(),
            Stage::Entries => self.covering_indexes().len(),
            Stage::Raw | Stage::Results | Stage::End => 1,
            Stage::Log => self.header.log_buckets.max(1) as usize,
            Stage::Hashes => self.rehashed_types().len(),
        };
        (part as usize) < parts
    }

    async fn reseal_records(
        &self,
        cursor: &mut ResealCursor,
        generation: u32,
        rows_max: usize,
    ) -> Result<(u64, bool)> {
        let Some(record_type) = self.schema().definition.types.get(cursor.part as usize) else {
            return Ok((0, true));
        };
        let prefix = self.tenant.keys.records(record_type.id)?;
        let after = cursor.after.as_deref();
        let chunk = read_chunk(self, record_type.id, after, rows_max, SIZE_BYTES_MAX).await?;
        for stored in &chunk.records {
            if stored.generation != Some(generation) {
                let keys = RecordKeys { prefix: behind(&prefix, &stored.key), packed: stored.key.clone() };
                self.reseal_record(&keys, stored).await?;
                cursor.resealed += 1;
            }
        }
        cursor.after = chunk.records.last().map(|stored| stored.key.clone()).or(cursor.after.take());
        Ok((chunk.records.len() as u64, !chunk.has_more))
    }

    /// Writes a record again as it is, with its version.
    async fn reseal_record(&self, keys: &RecordKeys, stored: &StoredRecord) -> Result<()> {
        // Whoever changes it before the commit has sealed it anew already.
        let first_key = keys.part(0)?;
        self.transaction.get(&first_key, Isolation::Serializable).await?;
        let payload_size_bytes = stored.payload.len();
        let (format, packed) = frame::pack(stored.payload.to_vec());
        let incarnation = stored.version.incarnation;
        let (format, packed) =
            self.sealed_record(&keys.prefix, format, incarnation, payload_size_bytes, &packed.into())?;
        let (first, rest) = split(&packed);
        let parts = rest.chunks(RECORD_PART_SIZE_BYTES);
        let further_parts = u16::try_from(parts.len()).unwrap_or(u16::MAX);
        let mut bytes = frame::write(format, incarnation, stored.version.ordinal, further_parts, first);
        if let Some(stamp) = bytes.get_mut(frame::STAMP_POSITION..frame::STAMP_POSITION + 10) {
            stamp.copy_from_slice(stored.version.stamp.as_bytes());
        }
        self.set_again(&first_key, &bytes)?;
        for (part, bytes) in (1..).zip(parts) {
            self.set_again(&keys.part(part)?, bytes)?;
        }
        for part in further_parts + 1..=stored.further_parts {
            self.transaction.clear(&keys.part(part)?);
        }
        Ok(())
    }

    fn set_again(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.count_bookkeeping(write_size_bytes(key.len(), value.len()))?;
        self.transaction.set(key, value);
        Ok(())
    }

    async fn reseal_entries(
        &self,
        sealer: &Sealer,
        cursor: &mut ResealCursor,
        rows_max: usize,
    ) -> Result<(u64, bool)> {
        let Some(index) = self.covering_indexes().get(cursor.part as usize).copied() else {
            return Ok((0, true));
        };
        let range = Subspace::new(self.tenant.keys.index(index.id)?);
        self.reseal_values(sealer, cursor, range, Kept::Entry, rows_max).await
    }

    async fn reseal_values(
        &self,
        sealer: &Sealer,
        cursor: &mut ResealCursor,
        range: Subspace,
        kept: Kept,
        rows_max: usize,
    ) -> Result<(u64, bool)> {
        let prefix = range.prefix().clone();
        let range = range.keys();
        let begin = match &cursor.after {
            Some(after) => key_after(&behind(&prefix, after)),
            None => range.begin,
        };
        let request = RangeRequest::new(begin, range.end).limit(rows_max);
        let batch = self.engine_range(&request).await?;
        let (mut looked_at, mut size_bytes) = (0, 0);
        for row in &batch.rows {
            if size_bytes > SIZE_BYTES_MAX {
                return Ok((looked_at, false));
            }
            size_bytes += row.key.len() + row.value.len();
            looked_at += 1;
            if self.reseal_value(sealer, cursor.generation, kept, row).await? {
                cursor.resealed += 1;
            }
            cursor.after = Some(row.key.slice(prefix.len()..));
        }
        Ok((looked_at, !batch.more && batch.rows.len() < rows_max))
    }

    /// Seals a value anew where that is due, and tells whether it was.
    async fn reseal_value(
        &self,
        sealer: &Sealer,
        generation: u32,
        kept: Kept,
        row: &KeyValue,
    ) -> Result<bool> {
        let mut result: Option<IdempotencyRecord> = None;
        let value = match kept {
            Kept::Raw | Kept::Entry => row.value.clone(),
            Kept::Result => {
                let mut read: IdempotencyRecord = read(&row.value, "an idempotency record")?;
                let value = std::mem::take(&mut read.result);
                result = Some(read);
                value
            }
        };
        if sealer.look_at(&value) == Sealed::By(generation) {
            return Ok(false);
        }
        self.transaction.get(&row.key, Isolation::Serializable).await?;
        let opened = self.opened_value(&row.key, value, kept.name()).await?;
        if kept == Kept::Raw && opened.len() > RAW_SEALED_VALUE_SIZE_BYTES_MAX {
            let key = row.key.slice(self.tenant.keys.raw()?.len()..);
            let detail = format!(
                "the value of the raw key {} has {} bytes, the limit of a sealed tenant is {RAW_SEALED_VALUE_SIZE_BYTES_MAX}: shorten or clear it, then begin the job anew",
                crate::error::shown(&key.escape_ascii().to_string()),
                opened.len()
            );
            return Err(Error::new(Code::SealRefused, detail));
        }
        let sealed = sealer.seal_value(&row.key, &opened)?;
        match result {
            None => self.set_again(&row.key, &sealed)?,
            Some(record) => {
                let record = IdempotencyRecord { result: sealed, ..record };
                self.set_again(&row.key, &record.encode_to_vec())?;
            }
        }
        Ok(true)
    }

    /// One entry of the log, or a few.
    async fn reseal_log(&self, sealer: &Sealer, cursor: &mut ResealCursor) -> Result<(u64, bool)> {
        let place = change_log::Place {
            transaction: &*self.transaction,
            keys: &self.tenant.keys,
            bucket: cursor.part,
            sealer,
            generation: cursor.generation,
        };
        let resealed = place.reseal(cursor.after.as_deref(), SIZE_BYTES_MAX).await?;
        for (key, bytes) in &resealed.writes {
            self.set_again(key, bytes)?;
        }
        cursor.resealed += resealed.entries;
        let is_done = resealed.after.is_none();
        cursor.after = resealed.after;
        Ok((resealed.looked_at, is_done))
    }

    /// Nothing is left of what was before: the header says so, and the data keys before this one go.
    fn end_reseal(&self, generation: u32) -> Result<()> {
        let mut header = self.header().clone();
        let mut sealing = header.sealing.take().ok_or_else(not_sealed)?;
        if (sealing.generation_min, sealing.is_complete) == (generation, true) {
            return Ok(());
        }
        self.clear_open_entries()?;
        (sealing.generation_min, sealing.is_complete) = (generation, true);
        header.sealing = Some(self.sealer().ok_or_else(not_sealed)?.signed(sealing)?);
        let keys = &self.tenant.keys;
        self.set_again(&keys.header()?, &header.encode_to_vec())?;
        let (begin, end) = (keys.data_keys()?.keys().begin, keys.data_key(generation)?);
        self.count_bookkeeping(write_size_bytes(begin.len(), end.len()))?;
        self.transaction.clear_range(&begin, &end);
        Ok(())
    }
}

/// What a value is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Raw,
    Entry,
    Result,
}

impl Kept {
    fn name(self) -> &'static str {
        match self {
            Kept::Raw => "a value of the key-value space",
            Kept::Entry => "an entry of an index",
            Kept::Result => RESULT_NAME,
        }
    }
}
