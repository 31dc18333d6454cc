//! Entries of the log, sealed anew with the data key of a generation. Their keys and contents stay.

use bytes::Bytes;
use prost::Message;
use tenantry_kv::{Isolation, RangeRequest, Transaction, key_after};

use super::FORMAT_SEALED;
use super::reader::{Open, add_part, place};
use crate::error::Result;
use crate::key_space::{TenantKeys, behind};
use crate::limits::LOG_PART_SIZE_BYTES;
use crate::messages::{LogEntry, read};
use crate::sealing::Sealer;

/// A part of a log, and with what it is sealed.
pub(crate) struct Place<'a> {
    pub(crate) transaction: &'a dyn Transaction,
    pub(crate) keys: &'a TenantKeys,
    pub(crate) bucket: u32,
    pub(crate) sealer: &'a Sealer,
    pub(crate) generation: u32,
}

/// What is to be written, and where to go on.
#[derive(Default)]
pub(crate) struct ResealedLog {
    pub(crate) writes: Vec<(Bytes, Vec<u8>)>,
    pub(crate) looked_at: u64,
    pub(crate) entries: u64,
    /// The last key that was looked at, behind the bucket's prefix; none at the end.
    pub(crate) after: Option<Bytes>,
}

impl Place<'_> {
    /// Looks at the entries behind a key, about `size_bytes_max` bytes of them, at least one.
    pub(crate) async fn reseal(&self, after: Option<&[u8]>, size_bytes_max: usize) -> Result<ResealedLog> {
        let log = self.keys.log(self.bucket)?;
        let prefix = log.prefix().clone();
        let range = log.tuples();
        let begin = after.map_or(range.begin, |after| key_after(&behind(&prefix, after)));
        let mut found = ResealedLog::default();
        let mut open: Option<Open> = None;
        let mut size_bytes = 0;
        let mut next = Some(RangeRequest::new(begin, range.end));
        while let Some(request) = next {
            let batch = self.transaction.get_range(&request, Isolation::Snapshot).await?;
            for row in &batch.rows {
                let (position, part) = place(&log.unpack(&row.key)?)?;
                if open.as_ref().is_none_or(|open| open.position != position) {
                    if let Some(whole) = open.take() {
                        self.reseal_entry(whole, &mut found).await?;
                        if size_bytes >= size_bytes_max {
                            return Ok(found);
                        }
                    }
                    open = Some(Open::new(position));
                }
                if let Some(open) = &mut open {
                    add_part(open, part, row)?;
                }
                size_bytes += row.value.len();
                found.after = Some(row.key.slice(prefix.len()..));
            }
            next = request.after(&batch);
        }
        if let Some(last) = open {
            self.reseal_entry(last, &mut found).await?;
        }
        found.after = None;
        Ok(found)
    }

    async fn reseal_entry(&self, whole: Open, found: &mut ResealedLog) -> Result<()> {
        const NAME: &str = "an entry of the change log";
        found.looked_at += 1;
        let outside: LogEntry = read(&whole.bytes, NAME)?;
        let incarnation = whole.position.incarnation;
        let contents = match &outside.sealed {
            Some(sealed) if outside.format == FORMAT_SEALED && sealed.generation == self.generation => {
                return Ok(());
            }
            Some(sealed) => self.sealer.open_log(self.transaction, incarnation, sealed).await?,
            None => {
                self.sealer.check_clear(NAME)?;
                whole.bytes.clone()
            }
        };
        let sealed = Some(self.sealer.seal_log(incarnation, &contents)?);
        let wall_us = outside.wall_us;
        let entry = LogEntry { format: FORMAT_SEALED, wall_us, sealed, ..LogEntry::default() };
        let bytes = entry.encode_to_vec();
        for (part, bytes) in (0..).zip(bytes.chunks(LOG_PART_SIZE_BYTES)) {
            let key = self.keys.log_part(self.bucket, incarnation, whole.position.stamp, part)?;
            if part == 0 {
                // Whoever removes it meanwhile conflicts.
                self.transaction.get(&key, Isolation::Serializable).await?;
            }
            found.writes.push((key, bytes.to_vec()));
        }
        found.entries += 1;
        Ok(())
    }
}
