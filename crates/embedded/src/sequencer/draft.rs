//! A batch in the making: the writes so far, and what they make of each key.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use tenantry_kv::limits::APPEND_IF_FITS_BYTES_MAX;
use tenantry_kv::{
    Error, ErrorCode, KeyRange, MutationType, Result, Version, Versionstamp, VersionstampOffset,
};

use crate::seam::{Mutation, Snapshots, Write};

/// The writes of the batch so far. Keys are looked up in them only once somebody asks: most batches have no atomic operation.
#[derive(Default)]
pub(super) struct Draft {
    writes: Vec<Write>,
    effect: Option<Effect>,
}

#[derive(Default)]
struct Effect {
    keys: BTreeMap<Bytes, Option<Bytes>>,
    cleared: Vec<(Bytes, Bytes)>,
}

/// What evaluating one transaction brought.
pub(super) struct Evaluated {
    /// The ranges that its stamped keys add to what it writes.
    pub(super) stamped: Vec<KeyRange>,
}

impl Draft {
    /// The writes.
    pub(super) fn into_writes(self) -> Vec<Write> {
        self.writes
    }

    /// Whether nothing was written.
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Adds what a transaction writes, given the state `below` the batch at `version`. If it fails, the batch is as before.
    pub(super) fn evaluate(
        &mut self,
        mutations: Vec<Mutation>,
        stamp: Versionstamp,
        below: &dyn Snapshots,
        version: Version,
    ) -> Result<Evaluated> {
        let length = self.writes.len();
        let evaluated = self.try_evaluate(mutations, stamp, below, version);
        if evaluated.is_err() {
            self.writes.truncate(length);
            self.effect = None;
        }
        evaluated
    }

    fn try_evaluate(
        &mut self,
        mutations: Vec<Mutation>,
        stamp: Versionstamp,
        below: &dyn Snapshots,
        version: Version,
    ) -> Result<Evaluated> {
        let mut evaluated = Evaluated { stamped: Vec::new() };
        let mut mutations = mutations.into_iter().peekable();
        while let Some(mutation) = mutations.next() {
            match mutation {
                Mutation::Set { key, value } => self.write(Write::Set { key, value }),
                Mutation::ClearRange { begin, end } => self.write(Write::ClearRange { begin, end }),
                Mutation::Atomic { mutation: MutationType::SetVersionstampedKey, key, operand } => {
                    let key = Bytes::from(VersionstampOffset::parse(&key)?.fill(stamp.as_bytes()));
                    evaluated.stamped.push(KeyRange::of_key(&key));
                    self.write(Write::Set { key, value: operand });
                }
                Mutation::Atomic { mutation: MutationType::SetVersionstampedValue, key, operand } => {
                    let value = Bytes::from(VersionstampOffset::parse(&operand)?.fill(stamp.as_bytes()));
                    self.write(Write::Set { key, value });
                }
                Mutation::Atomic { mutation, key, mut operand } => {
                    // Appends of one transaction to one key fit or do not fit as a whole.
                    if mutation == MutationType::AppendIfFits {
                        while let Some(Mutation::Atomic { mutation: next, key: at, operand: more }) =
                            mutations.peek()
                            && *next == mutation
                            && *at == key
                            && operand.len() + more.len() <= APPEND_IF_FITS_BYTES_MAX
                        {
                            operand = [operand.as_ref(), more.as_ref()].concat().into();
                            mutations.next();
                        }
                    }
                    let old = self.value(&key, below, version)?;
                    match mutation.apply(old.as_ref(), &operand) {
                        new if new == old => {
                            if let Some(value) = new {
                                self.write(Write::Set { key, value });
                            }
                        }
                        Some(value) => self.write(Write::Set { key, value }),
                        None => {
                            let end = tenantry_kv::key_after(&key);
                            self.write(Write::ClearRange { begin: key, end });
                        }
                    }
                }
            }
        }
        Ok(evaluated)
    }

    fn write(&mut self, write: Write) {
        if let Some(effect) = &mut self.effect {
            effect.add(&write);
        }
        self.writes.push(write);
    }

    fn value(&mut self, key: &[u8], below: &dyn Snapshots, version: Version) -> Result<Option<Bytes>> {
        let effect = self.effect.get_or_insert_with(|| {
            let mut effect = Effect::default();
            self.writes.iter().for_each(|write| effect.add(write));
            effect
        });
        if let Some(value) = effect.keys.get(key) {
            return Ok(value.clone());
        }
        if effect.cleared.iter().any(|(begin, end)| begin.as_ref() <= key && key < end.as_ref()) {
            return Ok(None);
        }
        below.get(key, version).map_err(|error| match error.code() {
            // The newest version is always readable; if it is not, that is a defect and no reason to retry.
            ErrorCode::TRANSACTION_TOO_OLD => Error::new(ErrorCode::INTERNAL_ERROR, error.to_string()),
            _ => error,
        })
    }
}

impl Effect {
    fn add(&mut self, write: &Write) {
        match write {
            Write::Set { key, value } => {
                self.keys.insert(key.clone(), Some(value.clone()));
            }
            Write::ClearRange { begin, end } if crate::window::is_point(begin, end) => {
                self.keys.insert(begin.clone(), None);
            }
            Write::ClearRange { begin, end } => {
                if begin < end {
                    let range = (Bound::Included(begin.as_ref()), Bound::Excluded(end.as_ref()));
                    self.keys.range_mut::<[u8], _>(range).for_each(|(_, value)| *value = None);
                    self.cleared.push((begin.clone(), end.clone()));
                }
            }
        }
    }
}
