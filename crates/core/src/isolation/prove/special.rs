//! What takes more than a transaction: requests that take effect once, watches, sweeps, jobs, scans that are consistent at one version, and pages for others to steal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::{Either, FutureExt, select};

use super::Prover;
use super::act::{Mark, act, paged};
use super::operation::{Operation, Outcome};
use super::plan::name;
use crate::consistent_scan::{ConsistentScan, Found, NextStep, Region};
use crate::error::{Code, Error, Result};
use crate::isolation::tuple_reader::{Item, Reader};
use crate::jobs::{Count, JobId, JobKind, JobKinds, Verify, Worked, Worker};

/// How long a watch has to fire.
const WATCH_TIME_MAX: Duration = Duration::from_secs(10);
/// More steps than a job or a scan takes: where isolation is broken, it may have no end.
const STEPS_MAX: usize = 1_000;
/// How long to wait for a job that waits itself.
const JOB_PAUSE: Duration = Duration::from_secs(1);
/// The sequence that requests take their results from.
const REQUESTS: &str = "requests";

impl Prover {
    /// One of them.
    pub(super) async fn special(&mut self) -> Result<()> {
        let place = self.random.index(self.tenants);
        match self.random.below(100) {
            0..=37 => self.request(place).await,
            38..=67 => self.give_token(place).await,
            68..=71 => self.sweep(place).await,
            72..=76 => self.expire(place).await,
            77..=86 => self.scan(place).await,
            87..=94 => self.watch(place).await,
            95..=96 => self.count(place).await,
            _ => self.verify(place).await,
        }
    }

    pub(super) fn expect<T: PartialEq + std::fmt::Debug>(
        &mut self,
        place: usize,
        what: &'static str,
        found: T,
        alone: T,
    ) {
        self.proof.count(what);
        if found != alone {
            let name = self.subjects[place].tenant.info().name.clone();
            self.proof.mismatch(&name, format!("{what} gave {found:?}, alone it gives {alone:?}"));
        }
    }

    /// A request by a key that every tenant uses.
    async fn request(&mut self, place: usize) -> Result<()> {
        let key = name(&mut self.random);
        let fingerprint = self.random.below(2);
        let subject = &mut self.subjects[place];
        let done = subject
            .tenant
            .run_idempotent(key.as_bytes(), &[fingerprint as u8], |transaction| async move {
                transaction.next_in_sequence(REQUESTS).await
            })
            .await;
        let found = match done {
            Ok(done) => Ok((done.value, done.is_repeated)),
            Err(error) if error.code() == Code::Engine => return Err(error),
            Err(error) => Err(error.code()),
        };
        let alone = match subject.requests.get(key) {
            Some((first, _)) if *first != fingerprint => Err(Code::IdempotencyKeyReused),
            Some((_, result)) => Ok((*result, true)),
            None => {
                let Outcome::Number(result) = subject.model.apply(&Operation::Sequence(REQUESTS)) else {
                    return Ok(());
                };
                subject.requests.insert(key, (fingerprint, result));
                Ok((result, false))
            }
        };
        self.expect(place, "idempotency keys of everybody's", found, alone);
        Ok(())
    }

    /// The begin of a page, which others will try.
    async fn give_token(&mut self, place: usize) -> Result<()> {
        let subject = &mut self.subjects[place];
        let page = subject.tenant.query(&paged(1)).await?;
        let is_due = subject.model.count() > 1;
        let has_token = page.next.is_some();
        subject.token = page.next.or(subject.token.take());
        // The last page may have a token too.
        self.expect(place, "pages given", has_token || !is_due, true);
        Ok(())
    }

    /// No result's time is over.
    async fn sweep(&mut self, place: usize) -> Result<()> {
        let removed = self.subjects[place].tenant.remove_expired_idempotency_records().await;
        let removed = removed.map_err(|error| error.number());
        self.expect(place, "sweeps of idempotency keys", removed, Ok(0));
        Ok(())
    }

    async fn expire(&mut self, place: usize) -> Result<()> {
        let subject = &mut self.subjects[place];
        let expired = subject.tenant.expire().await.map(|expired| (expired.expired, expired.refused));
        let alone = subject.model.expire();
        let expired = expired.map_err(|error| error.number());
        self.expect(place, "sweeps of what has expired", expired, Ok((alone, 0)));
        Ok(())
    }

    /// A key that every tenant has: another's change lets nobody know, the tenant's own does.
    async fn watch(&mut self, place: usize) -> Result<()> {
        let other = (place + 1) % self.tenants;
        let key = name(&mut self.random).as_bytes().to_vec();
        let watched = &key;
        let watch = self.subjects[place]
            .tenant
            .run(|transaction| async move { transaction.raw_watch(watched) })
            .await?;
        let value = |prover: &mut Prover, place: usize| {
            let value = format!("{} watched {}", prover.subjects[place].mark.0, prover.random.next());
            (place, vec![Operation::RawSet(key.clone(), value.into_bytes())])
        };
        let of_other = value(self, other);
        self.run_side_by_side(vec![of_other]).await?;
        let mut watch = watch;
        // Where outcomes can be unknown, a watch may fire for nothing.
        let has_fired = (&mut watch).now_or_never().is_some() && self.proof.counts_conflicts;
        self.expect(place, "watches beside another's change", has_fired, false);
        if has_fired {
            return Ok(());
        }
        let own = value(self, place);
        self.run_side_by_side(vec![own]).await?;
        let time = self.database.inner.env.timer.sleep(WATCH_TIME_MAX);
        let fires = matches!(select(watch, time).await, Either::Left((Ok(()), _)));
        self.expect(place, "watches of one's own change", fires, true);
        Ok(())
    }

    async fn job(
        &self,
        place: usize,
        kind: &dyn JobKind,
        parameters: &serde_json::Value,
    ) -> Result<serde_json::Value> {
        let tenant = &self.subjects[place].tenant;
        let id = self.database.create_job(kind, Some(tenant), parameters).await?;
        self.finish(id).await
    }

    /// Does the steps of a job, and tells its result, or what became of it.
    pub(super) async fn finish(&self, id: JobId) -> Result<serde_json::Value> {
        let mut worker = Worker::new(&self.database, JobKinds::standard());
        for _ in 0..STEPS_MAX {
            if self.database.job(id).await?.state.has_ended() {
                break;
            }
            if let Worked::Idle { next_us: Some(_) } = worker.run_one_step().await? {
                self.database.inner.env.timer.sleep(JOB_PAUSE).await?;
            }
        }
        let job = self.database.job(id).await?;
        if !job.state.has_ended() {
            return Ok("the job does not end".into());
        }
        Ok(job.result.unwrap_or_else(|| job.error.map(|error| error.message).into()))
    }

    async fn count(&mut self, place: usize) -> Result<()> {
        let result = self.job(place, &Count, &Count::parameters("item")).await?;
        let alone = Some(self.subjects[place].model.count());
        self.expect(place, "jobs that count", result["count"].as_u64(), alone);
        Ok(())
    }

    /// Every key, record and entry of the log, and every index beside the records.
    async fn verify(&mut self, place: usize) -> Result<()> {
        let result = self.job(place, &Verify, &serde_json::json!({})).await?;
        let model = &self.subjects[place].model;
        let alone = [model.records(), model.raw_keys()].map(Some);
        let found = ["records", "raw_keys"].map(|count| result[count].as_u64());
        let fault = result["sound"]
            .as_bool()
            .filter(|is_sound| *is_sound)
            .map_or(result.to_string(), |_| String::new());
        self.expect(place, "verifications", (found, fault), (alone, String::new()));
        Ok(())
    }

    /// A scan in small steps, with transactions of the tenant and its neighbours between them: what it found is the tenant at the end.
    async fn scan(&mut self, place: usize) -> Result<()> {
        let other = (place + 1) % self.tenants;
        let mut cursor = Vec::new();
        let mut found = Scanned::default();
        let mut is_done = false;
        for _ in 0..STEPS_MAX {
            let step = self.step(place, &cursor).await;
            let page = match step {
                Ok(page) => page,
                Err(error) if error.code() == Code::Engine && is_retried(&error) => return Err(error),
                Err(error) => {
                    self.expect(place, "consistent scans", error.to_string(), String::new());
                    return Ok(());
                }
            };
            page.changes.iter().for_each(|change| found.apply(change));
            match page.next {
                NextStep::More(next) => cursor = next.to_vec(),
                NextStep::Restart => (cursor, found) = (Vec::new(), Scanned::default()),
                NextStep::Done => {
                    is_done = true;
                    break;
                }
            }
            let plans = [place, other].map(|place| (place, self.plan(place)));
            self.run_side_by_side(plans.into()).await?;
        }
        let (ids, raw) = self.subjects[place].model.everything();
        self.expect(place, "consistent scans", (is_done, found.ids, found.raw), (true, ids, raw));
        Ok(())
    }

    async fn step(&self, place: usize, cursor: &[u8]) -> Result<crate::consistent_scan::FoundPage> {
        const ROWS_MAX: usize = 7;
        self.subjects[place]
            .tenant
            .read(|transaction| async move {
                let type_id = transaction.record_type("item")?.id;
                let regions = vec![Region::Records(type_id), Region::Raw];
                ConsistentScan::new(regions, cursor)?.step(&transaction, ROWS_MAX).await
            })
            .await
    }

    /// A look at what another's token brings in the database that a tenant has moved to.
    pub(super) async fn token_outcome(tenant: &crate::Tenant, token: &str, mark: &Mark) -> Result<Outcome> {
        let operation = &Operation::TokenOfAnother(token.to_owned());
        tenant
            .read(|transaction| async move { act(&transaction, operation, mark, &mut Vec::new()).await })
            .await
    }
}

/// Whether an error asks for another attempt, or for another time.
pub(super) fn is_retried(error: &Error) -> bool {
    use tenantry_kv::{EngineError, ErrorKind};
    error.engine_error().is_some_and(|engine| {
        let kinds = [
            ErrorKind::Conflict,
            ErrorKind::TooOld,
            ErrorKind::OutcomeUnknown,
            ErrorKind::Unavailable,
            ErrorKind::Cancelled,
        ];
        kinds.contains(&engine.kind())
    })
}

/// What a scan has found so far.
#[derive(Default)]
struct Scanned {
    ids: BTreeSet<Vec<u8>>,
    raw: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Scanned {
    fn apply(&mut self, change: &Found) {
        match change {
            Found::Put { region: Region::Raw, key, value, .. } => {
                self.raw.insert(key.to_vec(), value.to_vec());
            }
            Found::Put { key, .. } => self.ids.extend(id_of(key)),
            Found::Delete { region: Region::Raw, key, .. } => drop(self.raw.remove(&key[..])),
            Found::Delete { key, .. } => {
                if let Some(id) = id_of(key) {
                    self.ids.remove(&id);
                }
            }
            Found::DeleteRange { begin, end } => {
                self.raw.retain(|key, _| key[..] < begin[..] || key[..] >= end[..]);
            }
            Found::Atomic { key, operand, .. } => {
                let number = |bytes: &[u8]| {
                    let mut number = [0; 8];
                    number.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
                    u64::from_le_bytes(number)
                };
                let value = self.raw.entry(key.to_vec()).or_default();
                *value = number(value).wrapping_add(number(operand)).to_le_bytes().to_vec();
            }
        }
    }
}

/// The id of an item, from its packed primary key.
fn id_of(packed: &[u8]) -> Option<Vec<u8>> {
    match Reader::new(packed).next() {
        Ok(Some(Item::Bytes(id))) => Some(id),
        _ => None,
    }
}
