//! What a check tells of what it found.

use crate::limits::{CHECK_FAULTS_MAX, CHECK_FAULTS_SIZE_BYTES_MAX};
use crate::messages::{CheckCursor, StoredFault};
use crate::schema::{Index, RecordType};

/// How much of a key is told.
const KEY_CHARACTERS_MAX: usize = 80;
/// What the JSON of a fault has beside its texts, in bytes.
const FAULT_OVERHEAD_BYTES: usize = 36;
/// How many wrong entries are remembered, so that they are not counted as dangling again.
const TOLD_MAX: usize = 250;
/// How many indexes are told that were not looked at.
const UNCHECKED_MAX: usize = 20;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// A record's contribution is not there.
    Missing,
    /// An entry has no record, or one that does not contribute it.
    Dangling,
    /// Another value is stored than the records contribute.
    Wrong,
    /// Two records contribute what only one may have.
    Duplicate,
    /// A record refers to one that is not there.
    DanglingReference,
}

impl CheckCursor {
    /// Counts a fault of an index or a reference, and keeps it if it is one of the first.
    pub(super) fn found(&mut self, record_type: &RecordType, name: &str, kind: FaultKind, key: &str) {
        let (count, fault) = match kind {
            FaultKind::Missing => (&mut self.missing, "missing"),
            FaultKind::Dangling => (&mut self.dangling, "dangling"),
            FaultKind::Wrong => (&mut self.wrong, "wrong"),
            FaultKind::Duplicate => (&mut self.duplicate, "duplicate"),
            FaultKind::DanglingReference => (&mut self.dangling_references, "dangling reference"),
        };
        *count += 1;
        self.keep(format!("{}.{name}", record_type.name), fault, key);
    }

    /// Counts a record that cannot be read.
    pub(super) fn found_unreadable(&mut self, record_type: &RecordType, key: &str) {
        self.unreadable += 1;
        self.unreadable_type_id = record_type.id;
        self.keep(record_type.name.clone(), "unreadable", key);
    }

    /// Whether a record of the type cannot be read, so that nobody knows what all of them come to.
    pub(super) fn has_unreadable(&self, record_type: &RecordType) -> bool {
        self.unreadable > 0 && self.unreadable_type_id == record_type.id
    }

    fn keep(&mut self, index: String, fault: &str, key: &str) {
        let key = key.chars().take(KEY_CHARACTERS_MAX).collect();
        let fault = StoredFault { index, fault: fault.to_owned(), key };
        let size_bytes: usize = self.faults.iter().map(size_bytes).sum();
        let has_room = size_bytes + self::size_bytes(&fault) <= CHECK_FAULTS_SIZE_BYTES_MAX;
        if self.faults.len() < CHECK_FAULTS_MAX && has_room {
            self.faults.push(fault);
        }
    }

    /// Remembers an entry as told.
    pub(super) fn tell(&mut self, key: &[u8]) {
        if self.told.len() < TOLD_MAX {
            self.told.push(hash(key));
        }
    }

    pub(super) fn is_told(&self, key: &[u8]) -> bool {
        self.told.contains(&hash(key))
    }

    /// Notes that an index was not looked at.
    pub(super) fn skip(&mut self, record_type: &RecordType, index: &Index, why: &str) {
        if self.unchecked.len() < UNCHECKED_MAX {
            let name: String =
                format!("{}.{}", record_type.name, index.name).chars().take(KEY_CHARACTERS_MAX).collect();
            self.unchecked.push(format!("{name}: {why}"));
        }
    }
}

/// What a fault takes as JSON.
fn size_bytes(fault: &StoredFault) -> usize {
    let text = |text: &str| serde_json::Value::from(text).to_string().len();
    text(&fault.index) + text(&fault.fault) + text(&fault.key) + FAULT_OVERHEAD_BYTES
}

/// FNV-1a.
fn hash(key: &[u8]) -> u64 {
    key.iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
