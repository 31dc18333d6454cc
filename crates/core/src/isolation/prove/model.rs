//! One tenant as it has to be, alone in the world: plain ordered maps that know nothing of keys, prefixes or indexes.

use std::collections::{BTreeMap, BTreeSet};

use super::operation::{After, Item, Operation, Outcome};
use crate::error::Code;
use crate::limits::{PAGE_ROWS_MAX, RAW_KEY_SIZE_BYTES_MAX};

/// The bytes of a stamp and an ordinal in a key.
const STAMP_AND_ORDINAL_SIZE_BYTES: usize = 12;

/// An item, and when it was changed last.
#[derive(Clone, Debug)]
struct Kept {
    item: Item,
    changed: u64,
}

/// A key that gets a stamp at the end of the transaction.
#[derive(Clone, Debug)]
struct Stamped {
    prefix: Vec<u8>,
    suffix: Vec<u8>,
    value: Vec<u8>,
    ordinal: u16,
}

/// A tenant, and what a transaction on it has under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    /// Whether the engine cannot compute with its values.
    pub(super) is_sealed: bool,
    items: BTreeMap<Vec<u8>, Kept>,
    pairs: BTreeMap<(&'static str, i64), String>,
    raw: BTreeMap<Vec<u8>, Vec<u8>>,
    counters: BTreeMap<&'static str, i64>,
    sequences: BTreeMap<&'static str, i64>,
    /// How many changes of items there were.
    changes: u64,
    /// The items that the transaction has written, which have no version before its end.
    written: BTreeSet<Vec<u8>>,
    stamped: Vec<Stamped>,
}

fn refused(code: Code) -> Outcome {
    Outcome::Refused(code.number())
}

impl Model {
    /// What comes of an operation of the transaction that is under way.
    pub(super) fn apply(&mut self, operation: &Operation) -> Outcome {
        match operation {
            Operation::Put(item) => self.write(item, true),
            Operation::Insert(item) => self.write(item, false),
            Operation::Delete(id) => Outcome::Flag(self.items.remove(id).is_some()),
            Operation::Get(id) => Outcome::Item(self.items.get(id).map(|kept| kept.item.clone())),
            Operation::Exists(id) => Outcome::Flag(self.items.contains_key(id)),
            Operation::All(_) => self.ids(|_| true),
            Operation::OfGroup(group) => self.ids(|item| item.group == *group),
            Operation::OfCode(code) => self.ids(|item| item.code.as_deref() == Some(code)),
            Operation::OfWord(word) => self.ids(|item| item.words.split(' ').any(|it| it == *word)),
            Operation::Amounts => self.amounts(),
            Operation::RankOf(id) => self.rank_of(id),
            Operation::Ranked { group, from, rows_max } => {
                let ranked =
                    self.ranked(*group).into_iter().skip(usize::try_from(*from).unwrap_or(usize::MAX));
                Outcome::Ids(ranked.take(*rows_max).collect())
            }
            Operation::Changed { group, after } => self.changed(*group, *after),
            Operation::PutPair { name, number, value } => {
                self.pairs.insert((name, *number), value.clone());
                Outcome::Done
            }
            Operation::DeletePair { name, number } => {
                Outcome::Flag(self.pairs.remove(&(*name, *number)).is_some())
            }
            Operation::PairsOf(name) => {
                let of_name = self.pairs.keys().filter(|(other, _)| other == name);
                Outcome::Numbers(of_name.map(|(_, number)| *number).collect())
            }
            Operation::CounterAdd { name, amount, .. } => {
                let counter = self.counters.entry(name).or_default();
                *counter = counter.wrapping_add(*amount);
                Outcome::Done
            }
            Operation::Counter(name) => Outcome::Number(self.counters.get(name).copied().unwrap_or_default()),
            Operation::Sequence(name) => {
                let last = self.sequences.entry(name).or_default();
                *last += 1;
                Outcome::Number(*last)
            }
            Operation::TokenOfAnother(_) => refused(Code::TokenOfAnotherTenant),
            Operation::TooManyRows(rows) if (1..=PAGE_ROWS_MAX).contains(rows) => self.ids(|_| true),
            Operation::TooManyRows(_) => refused(Code::LimitPassed),
            raw => self.apply_raw(raw),
        }
    }

    fn apply_raw(&mut self, operation: &Operation) -> Outcome {
        let is_too_long = |key: &[u8]| key.len() > RAW_KEY_SIZE_BYTES_MAX;
        match operation {
            Operation::RawAdd(..) if self.is_sealed => refused(Code::SealedValueAtomic),
            Operation::RawGet(key)
            | Operation::RawSet(key, _)
            | Operation::RawClear(key)
            | Operation::RawAdd(key, _)
                if is_too_long(key) =>
            {
                refused(Code::LimitPassed)
            }
            Operation::RawGet(key) => Outcome::Value(self.raw.get(key).cloned()),
            Operation::RawSet(key, value) => {
                self.raw.insert(key.clone(), value.clone());
                Outcome::Done
            }
            Operation::RawClear(key) => {
                self.raw.remove(key);
                Outcome::Done
            }
            Operation::RawAdd(key, amount) => {
                let mut number = [0; 8];
                for (place, byte) in number.iter_mut().zip(self.raw.get(key).into_iter().flatten()) {
                    *place = *byte;
                }
                let sum = u64::from_le_bytes(number).wrapping_add(*amount);
                self.raw.insert(key.clone(), sum.to_le_bytes().to_vec());
                Outcome::Done
            }
            Operation::RawClearRange(begin, end) => {
                if begin > end || self.has_stamped_in(begin, end) {
                    return refused(Code::QueryInvalid);
                }
                self.raw.retain(|key, _| key < begin || key >= end);
                Outcome::Done
            }
            Operation::RawRange { begin, end, rows_max, is_reverse } => {
                if *rows_max == 0 || *rows_max > PAGE_ROWS_MAX {
                    return refused(Code::LimitPassed);
                }
                if end.as_ref().is_some_and(|end| begin > end) {
                    return refused(Code::QueryInvalid);
                }
                let rows = self
                    .raw
                    .iter()
                    .filter(|(key, _)| *key >= begin && end.as_ref().is_none_or(|end| *key < end));
                let rows = rows.map(|(key, value)| (key.clone(), value.clone()));
                Outcome::Rows(match is_reverse {
                    true => rows.rev().take(*rows_max).collect(),
                    false => rows.take(*rows_max).collect(),
                })
            }
            Operation::RawStamped { prefix, suffix, value } => {
                if prefix.len() + STAMP_AND_ORDINAL_SIZE_BYTES + suffix.len() > RAW_KEY_SIZE_BYTES_MAX {
                    return refused(Code::LimitPassed);
                }
                let (prefix, suffix, value) = (prefix.clone(), suffix.clone(), value.clone());
                self.stamped.push(Stamped { prefix, suffix, value, ordinal: 0 });
                Outcome::Ordinal(0)
            }
            _ => Outcome::Done,
        }
    }

    /// The ordinal that the transaction gave to the last key with a stamp.
    pub(super) fn note_ordinal(&mut self, ordinal: u16) {
        if let Some(last) = self.stamped.last_mut() {
            last.ordinal = ordinal;
        }
    }

    /// Ends the transaction: what has its stamp is there now.
    pub(super) fn commit(&mut self, stamp: Option<[u8; 10]>) {
        self.written.clear();
        for Stamped { prefix, suffix, value, ordinal } in std::mem::take(&mut self.stamped) {
            if let Some(stamp) = stamp {
                let key = [&prefix[..], &stamp, &ordinal.to_be_bytes(), &suffix].concat();
                self.raw.insert(key, value);
            }
        }
    }

    /// Removes the items whose time has come, and tells how many these were.
    pub(super) fn expire(&mut self) -> u64 {
        let before = self.items.len();
        self.items.retain(|_, kept| !kept.item.has_expired);
        (before - self.items.len()) as u64
    }

    /// The ids of all items, and the raw keys.
    pub(super) fn everything(&self) -> (BTreeSet<Vec<u8>>, BTreeMap<Vec<u8>, Vec<u8>>) {
        (self.items.keys().cloned().collect(), self.raw.clone())
    }

    /// How many records there are, of every type.
    pub(super) fn records(&self) -> u64 {
        (self.items.len() + self.pairs.len()) as u64
    }

    pub(super) fn raw_keys(&self) -> u64 {
        self.raw.len() as u64
    }

    pub(super) fn sequences(&self) -> u64 {
        self.sequences.len() as u64
    }

    /// How many items there are.
    pub(super) fn count(&self) -> u64 {
        self.items.len() as u64
    }

    /// The number that the order of changes stands at for an item.
    pub(super) fn place_of(&self, id: &[u8]) -> Option<u64> {
        self.items.get(id).map(|kept| kept.changed)
    }

    fn write(&mut self, item: &Item, replaces: bool) -> Outcome {
        if !replaces && self.items.contains_key(&item.id) {
            return refused(Code::RecordExists);
        }
        let has_code =
            |other: &Kept| item.code.is_some() && other.item.code == item.code && other.item.id != item.id;
        if self.items.values().any(has_code) {
            return refused(Code::UniqueViolation);
        }
        self.changes += 1;
        self.written.insert(item.id.clone());
        self.items.insert(item.id.clone(), Kept { item: item.clone(), changed: self.changes });
        Outcome::Done
    }

    fn ids(&self, condition: impl Fn(&Item) -> bool) -> Outcome {
        let found = self.items.values().filter(|kept| condition(&kept.item));
        Outcome::Ids(found.map(|kept| kept.item.id.clone()).collect())
    }

    fn amounts(&self) -> Outcome {
        let mut groups: BTreeMap<i64, [i64; 4]> = BTreeMap::new();
        for Kept { item, .. } in self.items.values() {
            let [_, count, sum, least] = groups.entry(item.group).or_insert([item.group, 0, 0, i64::MAX]);
            *count += 1;
            *sum += item.amount;
            *least = item.amount.min(*least);
        }
        Outcome::Amounts(groups.into_values().collect())
    }

    /// The ids of a group by amount, then by id.
    fn ranked(&self, group: i64) -> Vec<Vec<u8>> {
        let of_group = self.items.values().filter(|kept| kept.item.group == group);
        let mut ranked: Vec<(i64, &Vec<u8>)> =
            of_group.map(|kept| (kept.item.amount, &kept.item.id)).collect();
        ranked.sort();
        ranked.into_iter().map(|(_, id)| id.clone()).collect()
    }

    fn rank_of(&self, id: &[u8]) -> Outcome {
        let group = self.items.get(id).map(|kept| kept.item.group);
        let place = group.and_then(|group| self.ranked(group).iter().position(|other| other == id));
        Outcome::Rank(place.map(|place| place as u64))
    }

    fn changed(&self, group: i64, after: After) -> Outcome {
        let of_group = self
            .items
            .values()
            .filter(|kept| kept.item.group == group && !self.written.contains(&kept.item.id));
        let mut changed: Vec<&Kept> = of_group.collect();
        changed.sort_by_key(|kept| kept.changed);
        if let After::Own(_, place) = after {
            changed.retain(|kept| kept.changed > place);
        }
        let ids = changed.into_iter().map(|kept| kept.item.id.clone()).collect();
        match after {
            After::Anothers(_) => Outcome::LastOf(ids),
            After::Begin | After::Own(..) => Outcome::Ids(ids),
        }
    }

    /// Whether a key with a stamp may come to lie in a range.
    fn has_stamped_in(&self, begin: &[u8], end: &[u8]) -> bool {
        self.stamped.iter().any(|stamped| {
            let behind = [&stamped.prefix[..], &[0xff; 11]].concat();
            begin < end && stamped.prefix.as_slice() < end && begin < behind.as_slice()
        })
    }
}
