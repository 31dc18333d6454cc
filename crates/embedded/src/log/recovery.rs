//! Reading the log back after a stop of any kind.
//!
//! A record that is not valid is either where a crash cut a write short, which is normal, or damage, which is not. It was cut short
//! only if nothing says that it was on disk: no valid record behind it in its segment that was written when it was already durable, and
//! no later segment that goes on after it.

use std::sync::Arc;

use tenantry_kv::env::{Directory, File};
use tenantry_kv::seeded_faults::{Fault, is_active};
use tenantry_kv::{Error, ErrorCode, Result, Version};

use super::record::{Content, HEADER_SIZE, Place, Record};
use super::{segment_name, segment_number};
use crate::map::Applied;
use crate::seam::Batch;

/// What the log held.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// The batches that the map does not have yet, with their sequence numbers.
    pub(crate) batches: Vec<(u64, Batch)>,
    /// The highest version ceiling.
    pub(crate) ceiling: Version,
    /// The segments, each with the last sequence in it.
    pub(crate) segments: Vec<(u64, u64)>,
    /// Where the log goes on.
    pub(crate) next_segment: u64,
    pub(crate) next_sequence: u64,
}

/// Reads all segments of `directory`, given how far the map has come.
///
/// # Errors
///
/// 10001 naming file, byte and sequence number when a record that was on disk is damaged or missing; 1510.
pub(crate) fn recover(directory: &Arc<dyn Directory>, applied: Applied) -> Result<Recovered> {
    let mut numbers: Vec<u64> = directory.list()?.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    if numbers.is_empty() && applied.sequence > 0 {
        let detail = format!(
            "the map holds record {}, but there is no log: its files are missing; restore the database from a backup",
            applied.sequence
        );
        return Err(Error::new(ErrorCode::STORAGE_CORRUPT, detail));
    }
    let mut recovered =
        Recovered { next_segment: numbers.last().map_or(1, |last| last + 1), ..Recovered::default() };
    let mut expected: Option<u64> = None;
    // Where reading stopped before the end of a segment, in case a later segment shows that this was damage.
    let mut stop: Option<Error> = None;
    for number in numbers {
        let segment = Segment::read(&*directory.open(&segment_name(number), false)?, number)?;
        let Some(first) = segment.first_sequence() else {
            // A crash before the first sync of a segment leaves one without a first record. Then nothing in it was on disk.
            let next_sequence = expected.unwrap_or(applied.sequence + 1);
            if segment.was_durable(&End { offset: 0, next_sequence }) {
                return Err(segment.damage(0, next_sequence));
            }
            stop = Some(segment.damage(0, next_sequence));
            recovered.segments.push((number, next_sequence - 1));
            continue;
        };
        match expected {
            Some(expected) if first != expected => {
                return Err(stop.unwrap_or_else(|| segment.missing(expected, first)));
            }
            None if first > applied.sequence + 1 => return Err(segment.missing(applied.sequence + 1, first)),
            _ => {}
        }
        let end = segment.replay(applied, &mut recovered)?;
        expected = Some(end.next_sequence);
        stop = Some(segment.damage(end.offset, end.next_sequence));
        recovered.segments.push((number, end.next_sequence - 1));
    }
    recovered.next_sequence = expected.unwrap_or(applied.sequence + 1).max(applied.sequence + 1);
    if let Some(expected) = expected
        && expected <= applied.sequence
    {
        let detail = format!(
            "the log ends at record {}, but the map holds record {}: a log file is missing; restore the database from a backup",
            expected - 1,
            applied.sequence
        );
        return Err(Error::new(ErrorCode::STORAGE_CORRUPT, detail));
    }
    Ok(recovered)
}

struct Segment {
    number: u64,
    bytes: Vec<u8>,
}

struct End {
    offset: usize,
    next_sequence: u64,
}

impl Segment {
    fn read(file: &dyn File, number: u64) -> Result<Segment> {
        let length = usize::try_from(file.len()?).unwrap_or(usize::MAX);
        // What a killed process wrote may be in the operating system's memory alone. What is read here counts from now on, so it has to be on disk: without this
        // a power cut after a kill and a restart took records back that later ones build on.
        if !is_active(Fault::RecoverySkipsSync) {
            file.sync_data()?;
        }
        let mut bytes = vec![0; length];
        file.read_at(0, &mut bytes)?;
        Ok(Segment { number, bytes })
    }

    fn record(&self, offset: usize) -> Option<(Record<'static>, usize)> {
        let place = Place { segment: self.number, offset: offset as u64 };
        Record::decode(self.bytes.get(offset..)?, place)
    }

    fn first_sequence(&self) -> Option<u64> {
        let (record, _) = self.record(0)?;
        matches!(record.content, Content::SegmentStart(_)).then_some(record.sequence)
    }

    fn replay(&self, applied: Applied, recovered: &mut Recovered) -> Result<End> {
        let mut end = End { offset: 0, next_sequence: self.first_sequence().unwrap_or(1) };
        while let Some((record, length)) = self.record(end.offset) {
            if record.sequence != end.next_sequence {
                break;
            }
            match record.content {
                Content::Batch(batch) if record.sequence > applied.sequence => {
                    recovered.batches.push((record.sequence, batch.into_owned()));
                }
                Content::Ceiling(ceiling) | Content::SegmentStart(ceiling) => {
                    recovered.ceiling = recovered.ceiling.max(ceiling)
                }
                _ => {}
            }
            end.offset += length;
            end.next_sequence += 1;
        }
        if self.was_durable(&end) {
            return Err(self.damage(end.offset, end.next_sequence));
        }
        Ok(end)
    }

    /// Whether a later record of the segment says that the one which is not valid was on disk.
    fn was_durable(&self, end: &End) -> bool {
        let mut offset = end.offset;
        while offset + HEADER_SIZE <= self.bytes.len() {
            if let Some((record, length)) = self.record(offset) {
                if record.durable >= end.next_sequence {
                    return true;
                }
                offset += length;
            } else {
                offset += 8;
            }
        }
        false
    }

    fn damage(&self, offset: usize, sequence: u64) -> Error {
        let detail = format!(
            "{}: record {sequence} at byte {offset} is damaged, and it was on disk; restore the database from a backup",
            segment_name(self.number)
        );
        Error::new(ErrorCode::STORAGE_CORRUPT, detail)
    }

    fn missing(&self, expected: u64, found: u64) -> Error {
        let detail = format!(
            "{}: begins with record {found}, but record {expected} comes next: a log file is missing; restore the database from a backup",
            segment_name(self.number)
        );
        Error::new(ErrorCode::STORAGE_CORRUPT, detail)
    }
}
