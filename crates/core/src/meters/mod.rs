//! Meters: what a tenant stores and consumes, in keys of its own (8 0).
//!
//! A meter is changed by one atomic addition in the transaction that it counts, so that it is exact, whatever became of the commit, and makes no two transactions conflict. Several
//! numbers share a key ([`packed`]): a transaction that writes adds to two keys, of what is stored and of what was consumed in this hour.
//!
//! What is read is gathered in memory and brought along by the next transaction of the tenant that writes; where there is none, by a reader once in a while. So a process that ends takes
//! along what the tenant read in its last seconds.

mod packed;

use crate::error::Result;
use crate::messages::{Change, RawChange, Space};
use packed::{pack, unpack};

/// A write unit is so many bytes of a change, or a part of them.
pub(crate) const WRITE_UNIT_SIZE_BYTES: u64 = 1_000;
/// A read unit is so many bytes of what one read brought, or a part of them.
pub(crate) const READ_UNIT_SIZE_BYTES: u64 = 4_000;
const HOUR_US: i64 = 3_600_000_000;

/// The hour of a moment, counted from 1970 on.
pub(crate) fn hour_of(wall_us: i64) -> i64 {
    wall_us.div_euclid(HOUR_US)
}

/// The moment at which an hour begins.
pub(crate) fn hour_begin_us(hour: i64) -> i64 {
    hour.saturating_mul(HOUR_US)
}

/// The units of some bytes: at least one.
pub(crate) fn units(size_bytes: u64, unit_size_bytes: u64) -> u64 {
    size_bytes.div_ceil(unit_size_bytes).max(1)
}

/// What a tenant stores. Also a change of that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) records: i64,
    /// Primary keys and payloads, before compression.
    pub(crate) record_bytes: i64,
    /// Of the tenant's own key-value space: what was written to it, for nobody looks what was there before.
    pub(crate) raw_bytes: i64,
}

impl Totals {
    pub(crate) fn to_operand(self) -> Vec<u8> {
        // One is left for what comes.
        pack(&[self.records, self.record_bytes, self.raw_bytes, 0])
    }

    pub(crate) fn from_bytes(bytes: Option<&[u8]>) -> Result<Totals> {
        let [records, record_bytes, raw_bytes, _] = unpack(bytes, "a tenant's meter")?;
        Ok(Totals { records, record_bytes, raw_bytes })
    }

    pub(crate) fn minus(self, other: Totals) -> Totals {
        Totals {
            records: self.records.wrapping_sub(other.records),
            record_bytes: self.record_bytes.wrapping_sub(other.record_bytes),
            raw_bytes: self.raw_bytes.wrapping_sub(other.raw_bytes),
        }
    }

    pub(crate) fn is_zero(self) -> bool {
        self == Totals::default()
    }
}

/// What a tenant consumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Consumed {
    pub(crate) operations: u64,
    pub(crate) read_units: u64,
    pub(crate) read_bytes: u64,
    pub(crate) write_units: u64,
    pub(crate) write_bytes: u64,
    /// Transactions that were turned away.
    pub(crate) throttled: u64,
}

impl Consumed {
    pub(crate) fn to_operand(self) -> Vec<u8> {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let Consumed { operations, read_units, read_bytes, write_units, write_bytes, throttled } = self;
        let counts = [operations, read_units, read_bytes, write_units, write_bytes, throttled, 0, 0];
        pack(&counts.map(number))
    }

    pub(crate) fn from_bytes(bytes: Option<&[u8]>) -> Result<Consumed> {
        let numbers = unpack(bytes, "a tenant's meter of an hour")?;
        let count = |number: i64| u64::try_from(number).unwrap_or_default();
        let [operations, read_units, read_bytes, write_units, write_bytes, throttled, _, _] =
            numbers.map(count);
        Ok(Consumed { operations, read_units, read_bytes, write_units, write_bytes, throttled })
    }

    pub(crate) fn plus(self, other: Consumed) -> Consumed {
        Consumed {
            operations: self.operations + other.operations,
            read_units: self.read_units + other.read_units,
            read_bytes: self.read_bytes + other.read_bytes,
            write_units: self.write_units + other.write_units,
            write_bytes: self.write_bytes + other.write_bytes,
            throttled: self.throttled + other.throttled,
        }
    }

    pub(crate) fn is_zero(self) -> bool {
        self == Consumed::default()
    }
}

/// What a transaction has written so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) stored: Totals,
    pub(crate) changes: u64,
    pub(crate) units: u64,
    pub(crate) size_bytes: u64,
}

impl Written {
    /// Counts a change, of so many bytes as the log has it.
    pub(crate) fn count(&mut self, change: &Change, size_bytes: usize) {
        let size_bytes = size_bytes as u64;
        self.changes += 1;
        self.units += units(size_bytes, WRITE_UNIT_SIZE_BYTES);
        self.size_bytes += size_bytes;
        self.stored.raw_bytes += raw_growth(change);
    }

    /// Counts what a change of a record does to what is stored, whose old and new payload have so many bytes.
    pub(crate) fn count_record(&mut self, key_size_bytes: usize, old: Option<usize>, new: Option<usize>) {
        let size = |payload: Option<usize>| payload.map_or(0, |size| (key_size_bytes + size) as i64);
        self.stored.records += i64::from(new.is_some()) - i64::from(old.is_some());
        self.stored.record_bytes += size(new) - size(old);
    }
}

/// By how much the tenant's own key-value space has grown at the most: what was there is not looked at.
fn raw_growth(change: &Change) -> i64 {
    let of = |change: &RawChange| match change.space() {
        Space::Raw => (change.key.len() + change.value.len()) as i64,
        Space::Counters | Space::Sequences | Space::Catalog => 0,
    };
    match change {
        Change::Set(change) => of(change),
        Change::Atomic(change) if change.space() == Space::Raw && grows(change.mutation) => of(change),
        _ => 0,
    }
}

/// Whether an atomic operation makes something longer each time.
fn grows(mutation: u32) -> bool {
    use tenantry_kv::MutationType::{AppendIfFits, SetVersionstampedKey};
    let mutation = i32::try_from(mutation).ok().and_then(tenantry_kv::MutationType::from_code);
    matches!(mutation, Some(AppendIfFits | SetVersionstampedKey))
}
