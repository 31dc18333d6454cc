//! What records contribute to an index, and what a change of it writes.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::amount::Amount;
use super::entry_size_bytes;
use super::ranked_set::{Place, RankChange};
use crate::error::{Result, limit};
use crate::limits::INDEX_ENTRIES_MAX;

/// What one record contributes to one index, by key.
#[derive(Default)]
pub(super) struct Contributions {
    entries: BTreeMap<Bytes, Contribution>,
    /// How many of them stand there once more.
    again: usize,
    stamped: Vec<Stamped>,
    rank: Option<Place>,
}

#[derive(Clone, PartialEq)]
pub(crate) enum Contribution {
    Entry {
        value: Bytes,
        /// Whether no other record may have this key.
        is_exclusive: bool,
    },
    /// Is added to the key.
    Amount(Amount),
}

/// An entry whose key ends in the transaction's stamp.
pub(crate) struct Stamped {
    /// The key before the stamp.
    pub(crate) prefix: Bytes,
    pub(crate) value: Bytes,
}

impl Stamped {
    /// What the write makes the engine count.
    pub(super) fn size_bytes(&self) -> usize {
        const STAMP_SIZE_BYTES: usize = 13;
        super::write_size_bytes(self.prefix.len() + STAMP_SIZE_BYTES + 4, self.value.len())
    }
}

/// One write.
pub(super) enum Write {
    Set(Bytes, Bytes),
    Clear(Bytes),
    Add { key: Bytes, operand: Vec<u8>, can_reach_zero: bool },
}

impl Write {
    /// What it makes the engine count.
    pub(super) fn size_bytes(&self) -> usize {
        match self {
            Write::Set(key, value) => entry_size_bytes(key, value.len()),
            Write::Clear(key) => entry_size_bytes(key, 0),
            Write::Add { key, operand, can_reach_zero } => {
                entry_size_bytes(key, operand.len()) * (1 + usize::from(*can_reach_zero))
            }
        }
    }
}

impl Contributions {
    /// What there is by key, but for what is written with a stamp that is still to come.
    pub(super) fn into_entries(self) -> BTreeMap<Bytes, Contribution> {
        self.entries
    }

    fn check_room(&self) -> Result<()> {
        let entries = self.entries.len() - self.again;
        match entries < INDEX_ENTRIES_MAX {
            true => Ok(()),
            false => Err(limit("the entries of one record in one index", entries + 1, INDEX_ENTRIES_MAX)),
        }
    }

    /// An entry.
    pub(super) fn put(&mut self, key: Bytes, value: Bytes, is_exclusive: bool) -> Result<()> {
        self.check_room()?;
        self.entries.insert(key, Contribution::Entry { value, is_exclusive });
        Ok(())
    }

    /// An entry that was put, once more under another hash. It takes no room of its own.
    pub(super) fn put_again(&mut self, key: Bytes, value: Bytes, is_exclusive: bool) {
        self.again += 1;
        self.entries.insert(key, Contribution::Entry { value, is_exclusive });
    }

    /// An amount that is added to a key.
    pub(super) fn add(&mut self, key: Bytes, amount: Amount) -> Result<()> {
        self.check_room()?;
        match self.entries.get_mut(&key) {
            Some(Contribution::Amount(so_far)) => *so_far = so_far.plus(&amount),
            _ => {
                self.entries.insert(key, Contribution::Amount(amount));
            }
        }
        Ok(())
    }

    /// An entry that is written with the transaction's stamp.
    pub(super) fn stamp(&mut self, entry: Stamped) {
        self.stamped.push(entry);
    }

    /// A place in a ranked set.
    pub(super) fn rank(&mut self, place: Place) {
        self.rank = Some(place);
    }

    /// The place, if there is one.
    pub(super) fn place(&self) -> Option<&Place> {
        self.rank.as_ref()
    }

    /// What changes in ranked sets when these take the place of the old ones.
    pub(super) fn rank_changes(&self, old: &Contributions) -> Vec<RankChange> {
        if self.rank == old.rank {
            return Vec::new();
        }
        let gone = old.rank.iter().map(|place| RankChange { place: place.clone(), is_insert: false });
        let new = self.rank.iter().map(|place| RankChange { place: place.clone(), is_insert: true });
        gone.chain(new).collect()
    }

    /// The keys that no other record may have and that the old record did not have either.
    pub(super) fn exclusive_beside<'a>(&'a self, old: &'a Contributions) -> impl Iterator<Item = &'a Bytes> {
        self.entries.iter().filter_map(|(key, contribution)| {
            let is_exclusive = matches!(contribution, Contribution::Entry { is_exclusive: true, .. });
            (is_exclusive && !old.entries.contains_key(key)).then_some(key)
        })
    }

    /// What is to be written for these in place of the old ones.
    pub(super) fn replacing(self, old: Contributions) -> (Vec<Write>, Vec<Stamped>) {
        let mut writes = Vec::new();
        for (key, contribution) in &old.entries {
            match (contribution, self.entries.get(key)) {
                (Contribution::Entry { .. }, None) => writes.push(Write::Clear(key.clone())),
                (Contribution::Amount(gone), None) => writes.extend(add(key, &gone.negated())),
                _ => {}
            }
        }
        for (key, contribution) in self.entries {
            let before = old.entries.get(&key);
            match contribution {
                contribution if before == Some(&contribution) => {}
                Contribution::Entry { value, .. } => writes.push(Write::Set(key, value)),
                Contribution::Amount(amount) => {
                    let change = match before {
                        Some(Contribution::Amount(gone)) => amount.plus(&gone.negated()),
                        _ => amount,
                    };
                    writes.extend(add(&key, &change));
                }
            }
        }
        (writes, self.stamped)
    }
}

fn add(key: &Bytes, change: &Amount) -> Option<Write> {
    let operand = change.to_bytes();
    (!change.is_zero()).then(|| Write::Add { key: key.clone(), operand, can_reach_zero: true })
}
