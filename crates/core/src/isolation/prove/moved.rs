//! The end of the proof: every key attributed, and the database moved, so that its tenants live on in their next incarnation.

use std::collections::BTreeMap;

use super::Prover;
use super::act::Mark;
use super::operation::Outcome;
use super::subject::{has_plan, is_sealed};
use crate::copy::{Copier, CopyPhase};
use crate::database::Database;
use crate::error::{Code, Result};
use crate::isolation::layout::{KeyKind, KeyOwner};
use crate::isolation::report::Attributed;
use crate::meters::Totals;

/// More steps than a copy takes: each takes along a megabyte.
const COPY_STEPS_MAX: usize = 1_000_000;

impl Prover {
    /// Whose every key is; and that no tenant has a key that it did not write, nor one that it lacks, nor a value of another's.
    pub(super) async fn attribute(&self, database: &Database) -> Result<Attributed> {
        let places: BTreeMap<u64, usize> =
            self.subjects.iter().enumerate().map(|(place, subject)| (subject.id(), place)).collect();
        let mut counts: BTreeMap<(u64, KeyKind), u64> = BTreeMap::new();
        let mut metered: BTreeMap<u64, i64> = BTreeMap::new();
        let mut look = |owner: KeyOwner, kind: KeyKind, relative: &[u8], value: &[u8]| {
            let (KeyOwner::Tenant(id) | KeyOwner::About(id)) = owner else { return None };
            *counts.entry((id, kind)).or_default() += 1;
            let Some(place) = places.get(&id).copied() else {
                return Some(format!("the tenant {id} is none of the proof's"));
            };
            if kind == KeyKind::MeterTotals {
                metered.insert(id, Totals::from_bytes(Some(value)).map_or(-1, |totals| totals.records));
            }
            let mark = &self.subjects[place].mark;
            if mark.is_missing_in(relative) || mark.is_missing_in(value) {
                return Some(format!("the tenant {id} has what is marked as another's"));
            }
            (is_sealed(place) && Mark::is_in(value))
                .then(|| format!("the tenant {id} is sealed and has a value in clear"))
        };
        let mut attributed = database.attribute_keys_with(&mut |_| {}, &mut look).await?;
        for (place, subject) in self.subjects.iter().enumerate() {
            let id = subject.id();
            let count = |kind| counts.get(&(id, kind)).copied().unwrap_or_default();
            let requests = subject.requests.len() as u64;
            let due = [
                (KeyKind::Record, subject.model.records()),
                (KeyKind::Raw, subject.model.raw_keys()),
                (KeyKind::Sequence, subject.model.sequences()),
                (KeyKind::IdempotencyRecord, requests),
                (KeyKind::IdempotencyExpiry, requests),
                (KeyKind::TenantHeader, 1),
                (KeyKind::TenantEntry, 1),
                (KeyKind::DataKey, u64::from(is_sealed(place))),
            ];
            for (kind, due) in due.into_iter().filter(|(kind, due)| count(*kind) != *due) {
                let what =
                    format!("the tenant {id} has {} keys of {}, and wrote {due}", count(kind), kind.name());
                attributed.found(b"", what);
            }
            let records = metered.get(&id).copied().unwrap_or_default();
            if u64::try_from(records) != Ok(subject.model.records()) {
                let what = format!(
                    "the meter of the tenant {id} counts {records} records, and it has {}",
                    subject.model.records()
                );
                attributed.found(b"", what);
            }
            if !has_plan(place) && count(KeyKind::BudgetLease) > 0 {
                attributed.found(b"", format!("the tenant {id} has a lease on a rate, and has no rate"));
            }
        }
        Ok(attributed)
    }

    /// Moves the database to another name on the same engine. Pages of before are worth nothing there; everything else is as it was.
    pub(super) async fn move_all(&mut self) -> Result<()> {
        let inner = self.database.inner.clone();
        self.database.set_read_only("the proof of isolation moves it").await?;
        let name = format!("{} moved", self.database.name());
        let (engine, env) = (self.database.engine().clone(), inner.env.clone());
        let mut copier = Copier::begin(&self.database, engine.clone(), env.clone(), &name).await?;
        let mut phase = CopyPhase::Copying;
        for _ in 0..COPY_STEPS_MAX {
            if phase == CopyPhase::Done {
                break;
            }
            phase = copier.step().await?;
        }
        self.expect(0, "copies of the database", phase, CopyPhase::Done);
        self.database.set_writable().await?;
        let target = Database::open(engine, env, &name).await?;
        target.set_keyring(Some(self.database.keyring()?)).await?;
        for place in 0..self.tenants {
            let tenant = target.tenant(&self.subjects[place].tenant.info().name).await?;
            self.subjects[place].tenant = tenant;
            let Some(token) = self.subjects[place].token.take() else { continue };
            let subject = &self.subjects[place];
            let found = Prover::token_outcome(&subject.tenant, &token, &subject.mark).await?;
            let alone = Outcome::Refused(Code::TokenExpired.number());
            self.expect(place, "pages of an earlier incarnation", found, alone);
        }
        self.look_at_all().await?;
        self.proof.moved = self.attribute(&target).await?;
        target.erase().await
    }
}
