//! What a look at every key found.

use std::collections::BTreeMap;

use super::layout::{KeyKind, KeyOwner};
use crate::limits::ISOLATION_FINDINGS_MAX;

/// Keys of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyCount {
    /// How many there are.
    pub keys: u64,
    /// What they take with their values, in bytes.
    pub size_bytes: u64,
}

impl KeyCount {
    pub(super) fn add(&mut self, size_bytes: usize) {
        self.keys += 1;
        self.size_bytes += size_bytes as u64;
    }
}

/// Something that is not as it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The key, behind the root of the database, with what is no letter escaped.
    pub key: String,
    /// What is wrong with it.
    pub what: String,
}

/// What a scan of every key found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attributed {
    /// The keys that were attributed, by their kind.
    pub kinds: BTreeMap<KeyKind, KeyCount>,
    /// Those in each tenant's own part, by the tenant's id.
    pub tenants: BTreeMap<u64, KeyCount>,
    /// How many keys are wrong: nobody's, or a tenant's that is not there.
    pub wrong: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
    /// At how many versions the database was read.
    pub versions: u64,
}

impl Attributed {
    /// Every key, whether attributed or not, with its value.
    pub fn total(&self) -> KeyCount {
        let mut total = KeyCount { keys: self.wrong, size_bytes: 0 };
        for count in self.kinds.values() {
            total.keys += count.keys;
            total.size_bytes += count.size_bytes;
        }
        total
    }

    /// Whether every key has an owner that is there.
    pub fn is_clean(&self) -> bool {
        self.wrong == 0
    }

    pub(super) fn count(&mut self, owner: KeyOwner, kind: KeyKind, size_bytes: usize) {
        self.kinds.entry(kind).or_default().add(size_bytes);
        if let KeyOwner::Tenant(id) = owner {
            self.tenants.entry(id).or_default().add(size_bytes);
        }
    }

    pub(super) fn found(&mut self, relative: &[u8], what: impl Into<String>) {
        self.wrong += 1;
        if self.findings.len() < ISOLATION_FINDINGS_MAX {
            const SHOWN_BYTES_MAX: usize = 200;
            let shown = relative.get(..SHOWN_BYTES_MAX).unwrap_or(relative);
            self.findings.push(Finding { key: shown.escape_ascii().to_string(), what: what.into() });
        }
    }
}
