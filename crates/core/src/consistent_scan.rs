//! A scan that takes longer than a transaction may, and is consistent at one version all the same.
//!
//! It goes through its regions of a tenant in chunks, each in a transaction of its own and so each at another version. Before it reads a chunk, it applies what the tenant's
//! change log says of everything that it has read already, from the version where it stood up to the version of this very transaction. After each step that has read a chunk,
//! what was found so far is therefore the state of that part of the tenant at one version; after the last chunk it is the state of all of it.
//!
//! What is found comes as changes, to be applied in their order to something that is empty at first. Where the scan goes on is a small cursor, whatever the size of the tenant and
//! however many chunks there were.

use bytes::Bytes;
use prost::Message;
use tenantry_kv::tuple::{self, Element};
use tenantry_kv::{Isolation, MutationType, RangeRequest, StreamingMode, Subspace, Versionstamp, key_after};

use crate::change_log::{LogPosition, Logged, read_after, stamped_key};
use crate::database::mutation_code;
use crate::error::{Code, Error, Result};
use crate::key_space::behind;
use crate::messages::{Before, Change, RawChange, ScanCursor, Space, read};
use crate::record::{RecordVersion, frame};
use crate::record_scan::read_chunk;
use crate::tenant::TenantTransaction;

/// What a step takes of the log, and of chunks, for each unit of its size, in bytes.
const SIZE_BYTES_PER_ROW: usize = 1_000;
/// What a step takes at least.
const SIZE_BYTES_MIN: usize = 10_000;
/// What a step takes at most.
const SIZE_BYTES_MAX: usize = 2_000_000;

/// A part of a tenant that can be scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(dead_code, reason = "records are counted; the rest is for copies of whole tenants")]
pub(crate) enum Region {
    /// The records of a type, by packed primary key.
    Records(u32),
    /// By name.
    Counters,
    /// By name.
    Sequences,
    /// The tenant's own key-value space.
    Raw,
}

/// A change of what was found so far.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Found {
    /// The key has this value: a record's payload, a raw value, a number's eight bytes.
    Put { region: Region, key: Bytes, value: Bytes, version: Option<RecordVersion>, before: Before },
    /// The key is gone.
    Delete { region: Region, key: Bytes },
    /// The raw keys from `begin` to `end` (exclusive) are gone.
    DeleteRange { begin: Bytes, end: Bytes },
    /// The value is to be changed.
    Atomic { region: Region, key: Bytes, mutation: MutationType, operand: Bytes },
}

/// What one step found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FoundPage {
    /// To be applied in this order.
    pub(crate) changes: Vec<Found>,
    /// The version that was read.
    pub(crate) version: i64,
    pub(crate) next: NextStep,
}

/// How the scan goes on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NextStep {
    /// From this cursor.
    More(Bytes),
    /// It is complete: with this page's changes, all that was found is the state at the page's version.
    Done,
    /// The tenant moved to another database since: what was found so far counts for nothing.
    Restart,
}

/// A scan of some regions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConsistentScan {
    regions: Vec<Region>,
    /// The one that is being read, the last key that was read of it, relative to it.
    region: usize,
    after: Option<Bytes>,
    /// Up to where the log is in what was found; none before the first step.
    applied: Option<LogPosition>,
}

impl ConsistentScan {
    /// The scan of some regions, in this order, from the cursor of the step before, which is empty for the first.
    pub(crate) fn new(regions: Vec<Region>, cursor: &[u8]) -> Result<ConsistentScan> {
        if cursor.is_empty() {
            return Ok(ConsistentScan { regions, region: 0, after: None, applied: None });
        }
        let cursor: ScanCursor = read(cursor, "the cursor of a scan")?;
        let stamp = <[u8; 10]>::try_from(&cursor.stamp[..])
            .map_err(|_| Error::new(Code::StoredDataInvalid, "the cursor of a scan has no stamp"))?;
        let stamp = Versionstamp::from_bytes(stamp);
        Ok(ConsistentScan {
            regions,
            region: cursor.region as usize,
            after: cursor.after,
            applied: Some(LogPosition { incarnation: cursor.incarnation, stamp }),
        })
    }

    /// Does a step, of about `rows_max` rows. The transaction has written nothing in the tenant yet; nothing that is read takes part in its conflict check.
    pub(crate) async fn step(
        mut self,
        transaction: &TenantTransaction,
        rows_max: usize,
    ) -> Result<FoundPage> {
        transaction.set_isolation(Isolation::Snapshot);
        let version = transaction.read_version().await?;
        let incarnation = transaction.header().incarnation;
        let size_bytes_max = rows_max.saturating_mul(SIZE_BYTES_PER_ROW);
        let size_bytes_max = size_bytes_max.clamp(SIZE_BYTES_MIN, SIZE_BYTES_MAX);
        let mut changes = Vec::new();
        if let Some(applied) = self.applied {
            if applied.incarnation != incarnation {
                return Ok(FoundPage { changes, version, next: NextStep::Restart });
            }
            let page = read_after(
                &**transaction.engine_transaction(),
                &transaction.tenant().keys,
                transaction.header().log_buckets,
                applied,
                size_bytes_max,
            )
            .await?;
            for logged in &page.entries {
                self.apply(logged, &mut changes)?;
            }
            if let Some(last) = page.entries.last().filter(|_| !page.is_at_end) {
                self.applied = Some(last.position);
                return Ok(FoundPage { changes, version, next: NextStep::More(self.cursor()) });
            }
        }
        self.applied = Some(LogPosition::at_version(incarnation, version));
        let before = changes.len();
        while let Some(region) = self.regions.get(self.region).copied() {
            let rows_left = rows_max.saturating_sub(changes.len() - before);
            if rows_left == 0 {
                return Ok(FoundPage { changes, version, next: NextStep::More(self.cursor()) });
            }
            if self.read(transaction, region, rows_left, size_bytes_max, &mut changes).await? {
                return Ok(FoundPage { changes, version, next: NextStep::More(self.cursor()) });
            }
            (self.region, self.after) = (self.region + 1, None);
        }
        Ok(FoundPage { changes, version, next: NextStep::Done })
    }

    fn cursor(&self) -> Bytes {
        let (incarnation, stamp) = match self.applied {
            Some(applied) => (applied.incarnation, applied.stamp.as_bytes().to_vec()),
            None => (0, vec![0; 10]),
        };
        let region = u32::try_from(self.region).unwrap_or(u32::MAX);
        ScanCursor { region, after: self.after.clone(), incarnation, stamp }.encode_to_vec().into()
    }

    /// Reads the next chunk of a region, and tells whether there is more of it.
    async fn read(
        &mut self,
        transaction: &TenantTransaction,
        region: Region,
        rows_max: usize,
        size_bytes_max: usize,
        changes: &mut Vec<Found>,
    ) -> Result<bool> {
        let before = Before::Absent;
        if let Region::Records(type_id) = region {
            let chunk =
                read_chunk(transaction, type_id, self.after.as_deref(), rows_max, size_bytes_max).await?;
            self.after = chunk.records.last().map(|record| record.key.clone()).or(self.after.take());
            changes.extend(chunk.records.into_iter().map(|record| Found::Put {
                region,
                key: record.key,
                value: record.payload,
                version: Some(record.version),
                before,
            }));
            return Ok(chunk.has_more);
        }
        let (prefix, everything) = prefix_of(transaction, region)?;
        let begin = match &self.after {
            Some(after) => key_after(&behind(&prefix, after)),
            None => everything.begin,
        };
        let request = RangeRequest::new(begin, everything.end).limit(rows_max).mode(StreamingMode::Serial);
        let batch = transaction.engine_range(&request).await?;
        for row in batch.rows {
            let relative = row.key.slice(prefix.len()..);
            let key = match region {
                Region::Raw => relative.clone(),
                _ => name_of(&relative)?,
            };
            self.after = Some(relative);
            changes.push(Found::Put { region, key, value: row.value, version: None, before });
        }
        Ok(batch.more)
    }

    /// Whether a key was read already, and so follows the log.
    fn has_read(&self, region: Region, relative: &[u8]) -> bool {
        match self.regions.iter().position(|candidate| *candidate == region) {
            Some(place) if place == self.region => {
                self.after.as_ref().is_some_and(|after| relative <= &after[..])
            }
            place => place.is_some_and(|place| place < self.region),
        }
    }

    /// What an entry of the log changes of what was read.
    fn apply(&self, logged: &Logged, changes: &mut Vec<Found>) -> Result<()> {
        for operation in &logged.entry.operations {
            let unknown = || {
                let detail = "the change log holds a kind of change that this build does not know";
                Error::new(Code::DatabaseFormat, detail)
            };
            let change = operation.change.as_ref().ok_or_else(unknown)?;
            let found = match change {
                Change::RecordPut(change) => Found::Put {
                    region: Region::Records(change.type_id),
                    key: change.key.clone(),
                    value: frame::logged_payload(change)?,
                    version: Some(RecordVersion {
                        incarnation: logged.position.incarnation,
                        stamp: logged.position.stamp,
                        ordinal: u16::try_from(operation.ordinal).unwrap_or(u16::MAX),
                    }),
                    before: change.before(),
                },
                Change::RecordDelete(change) => {
                    Found::Delete { region: Region::Records(change.type_id), key: change.key.clone() }
                }
                Change::Set(change) => Found::Put {
                    region: region_of(change).ok_or_else(unknown)?,
                    key: change.key.clone(),
                    value: change.value.clone(),
                    version: None,
                    before: Before::Unknown,
                },
                Change::Clear(change) => {
                    Found::Delete { region: region_of(change).ok_or_else(unknown)?, key: change.key.clone() }
                }
                Change::ClearRange(change) => {
                    if self.regions.contains(&Region::Raw) {
                        let (begin, end) = (change.key.clone(), change.value.clone());
                        changes.push(Found::DeleteRange { begin, end });
                    }
                    continue;
                }
                Change::Atomic(change)
                    if change.mutation == mutation_code(MutationType::SetVersionstampedKey) =>
                {
                    Found::Put {
                        region: region_of(change).ok_or_else(unknown)?,
                        key: stamped_key(&change.key, logged.position.stamp)?,
                        value: change.value.clone(),
                        version: None,
                        before: Before::Unknown,
                    }
                }
                Change::Atomic(change) => Found::Atomic {
                    region: region_of(change).ok_or_else(unknown)?,
                    key: change.key.clone(),
                    mutation: i32::try_from(change.mutation)
                        .ok()
                        .and_then(MutationType::from_code)
                        .ok_or_else(unknown)?,
                    operand: change.value.clone(),
                },
            };
            let (region, key) = match &found {
                Found::Put { region, key, .. }
                | Found::Delete { region, key }
                | Found::Atomic { region, key, .. } => (*region, key),
                Found::DeleteRange { .. } => continue,
            };
            if self.has_read(region, &relative(region, key)?) {
                changes.push(found);
            }
        }
        Ok(())
    }
}

/// The region of a raw change; none for the catalog's.
fn region_of(change: &RawChange) -> Option<Region> {
    match change.space() {
        Space::Raw => Some(Region::Raw),
        Space::Counters => Some(Region::Counters),
        Space::Sequences => Some(Region::Sequences),
        Space::Catalog => None,
    }
}

/// The key in the region, as its keys sort.
fn relative(region: Region, key: &Bytes) -> Result<Bytes> {
    match region {
        Region::Records(_) | Region::Raw => Ok(key.clone()),
        Region::Counters | Region::Sequences => {
            // A counter's shard stands behind a zero byte, which no name has.
            let (name, shard) = match key.iter().position(|byte| *byte == 0) {
                Some(place) => (key.slice(..place), Some(key.slice(place + 1..))),
                None => (key.clone(), None),
            };
            let name = String::from_utf8(name.to_vec())
                .map_err(|_| Error::new(Code::StoredDataInvalid, "a name in the change log is not UTF-8"))?;
            let mut elements = vec![Element::String(name)];
            if let Some(shard) = shard {
                let shard = <[u8; 2]>::try_from(&shard[..]).map_err(|_| {
                    Error::new(
                        Code::StoredDataInvalid,
                        "a counter's shard in the change log has not two bytes",
                    )
                })?;
                elements.push(Element::Int(i64::from(u16::from_be_bytes(shard))));
            }
            Ok(tuple::pack(&elements)?)
        }
    }
}

/// The name that a key in the region stands for.
fn name_of(relative: &[u8]) -> Result<Bytes> {
    match &tuple::unpack(relative)?[..] {
        [Element::String(name)] => Ok(Bytes::copy_from_slice(name.as_bytes())),
        // As the change log has it.
        [Element::String(name), Element::Int(shard)] => {
            let shard = u16::try_from(*shard).unwrap_or(u16::MAX).to_be_bytes();
            Ok([name.as_bytes(), &[0], &shard].concat().into())
        }
        _ => Err(Error::new(Code::StoredDataInvalid, "the key of a counter or sequence has no name")),
    }
}

/// The prefix and the keys of a region that is not of records.
fn prefix_of(transaction: &TenantTransaction, region: Region) -> Result<(Bytes, tenantry_kv::KeyRange)> {
    let keys = &transaction.tenant().keys;
    let subspace = match region {
        Region::Counters => keys.counters()?,
        Region::Sequences => keys.sequences()?,
        Region::Raw => Subspace::new(keys.raw()?),
        Region::Records(type_id) => Subspace::new(keys.records(type_id)?),
    };
    Ok((subspace.prefix().clone(), subspace.keys()))
}
