//! The same records in several tenants: one without indexes, one with all of them, and one for each index that a query can take, with that one alone.
//!
//! In some worlds what is written goes through an engine on a bad day; what is asked never does.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde_json::{Map, Value as Json, json};
use tenantry_core::{Database, Error, PrimaryKey, Record, SchemaDefinition, Tenant, Value};
use tenantry_embedded::{EmbeddedEngine, Settings, Stepper};
use tenantry_kv::env::Clock;
use tenantry_kv::{Engine, ErrorCode};

use super::deletions::Children;
use super::indexes::{self, IndexShape};
use super::shape::Shape;
use crate::disk::SimulatedDisk;
use crate::knobs::SeededBuggify;
use crate::random::{SeededRandomness, Stream};
use crate::simulation::env;
use crate::time::SimulatedTime;
use crate::unreliable::UnreliableEngine;

/// How many records there are at most, and in how many ids they are.
const IDS: u64 = 50;
const WRITES: u64 = 110;
/// For an index that is read side by side with another.
const LARGE_IDS: u64 = 230;
/// Of how many worlds one is large.
const LARGE_ONE_IN: u64 = 50;
/// In how many of a hundred worlds the points of the record layer and the engine take their rare paths.
const RARE_PATHS_PERCENT: u64 = 30;
/// How many of a hundred worlds write through an engine on a bad day, and how many of a hundred of its operations fail.
const BAD_DAYS_PERCENT: u64 = 40;
const FAILURES_PERCENT: u64 = 3;
/// How often what such an engine refuses is tried again where nothing else does.
const TRIES_MAX: usize = 100;
/// The most writes of a transaction.
const TRANSACTION_WRITES: u64 = 6;
/// How often a future may be polled, and the engine gone on with, before it is given up.
const STEPS_MAX: usize = 100_000;

/// A tenant, and what is particular about it.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) tenant: Tenant,
    /// The same, as those who write reach it.
    pub(super) writer: Tenant,
    pub(super) what: String,
    pub(super) is_plain: bool,
}

/// An engine with its tenants, and the records that each of them has.
pub(super) struct World {
    pub(super) shape: Shape,
    pub(super) indexes: Vec<IndexShape>,
    pub(super) plain: Tenant,
    pub(super) all: Tenant,
    /// `all`, as those who write reach it.
    pub(super) all_writer: Tenant,
    pub(super) has_bad_day: bool,
    /// The type of those that refer to the records.
    pub(super) children: Children,
    /// Every tenant; the one without indexes first.
    pub(super) places: Vec<Place>,
    /// In the order of their last changes.
    pub(super) records: Vec<Record>,
    time: SimulatedTime,
    stepper: Stepper,
}

/// Who lets the engine go on where there are no threads.
struct Driver<'a> {
    time: &'a SimulatedTime,
    stepper: &'a mut Stepper,
}

impl Driver<'_> {
    fn complete<T>(&mut self, future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..STEPS_MAX {
            if let Poll::Ready(answer) = future.as_mut().poll(&mut context) {
                return answer;
            }
            if !self.stepper.has_work() {
                self.time.advance(self.time.until_next().unwrap_or(Duration::from_millis(1)));
                self.stepper.step_keeper();
            }
            self.stepper.step_committer();
        }
        let error = tenantry_kv::Error::new(ErrorCode::TRANSACTION_TIMED_OUT, "an answer never came");
        Err(error.into())
    }
}

impl Driver<'_> {
    /// Asks again until it is answered: whoever opens a database has no retry.
    fn persist<T, Asked: Future<Output = Result<T, Error>>>(
        &mut self,
        ask: impl Fn() -> Asked,
    ) -> Result<T, Error> {
        for _ in 1..TRIES_MAX {
            if let Ok(answer) = self.complete(ask()) {
                return Ok(answer);
            }
        }
        self.complete(ask())
    }
}

impl World {
    /// The world of a seed.
    pub(super) fn new(seed: u64) -> Result<World, Error> {
        let mut random = Stream::new(seed, "world");
        let is_large = random.below(LARGE_ONE_IN) == 0;
        let shape = Shape::random(&mut random, is_large);
        let indexes = indexes::random(&shape, &mut random);
        let (disk, time) = (SimulatedDisk::default(), SimulatedTime::default());
        let randomness = Arc::new(SeededRandomness::new(seed));
        // Pages that end early, scans of one entry, attempts that begin again.
        let buggify = Arc::new(SeededBuggify::new(seed, random.percent(RARE_PATHS_PERCENT)));
        let env = env(&disk, &time, &randomness, &buggify);
        let mut settings = Settings::default();
        settings.log_segment_size_bytes = 1 << 20;
        settings.free_space_reserve_bytes = 0;
        let (engine, mut stepper) = EmbeddedEngine::open_stepped("queries", settings, env.clone())?;
        let mut driver = Driver { time: &time, stepper: &mut stepper };
        let engine: Arc<dyn Engine> = Arc::new(engine);
        let database = driver.complete(Database::open(engine.clone(), env.clone(), "queries"))?;
        let has_bad_day = Stream::new(seed, "bad day").percent(BAD_DAYS_PERCENT);
        let percent = if has_bad_day { FAILURES_PERCENT } else { 0 };
        let unsure = Arc::new(UnreliableEngine::with_good_hours(engine, env.timer.clone(), seed, percent));
        let writers = driver.persist(|| Database::open_existing(unsure.clone(), env.clone(), "queries"))?;
        let children = Children::random(&mut Stream::new(seed, "children"));
        let mut create = |name: &str, indexes: &[&IndexShape]| {
            let text = schema(name, &shape, indexes, &children).to_string();
            let schema = SchemaDefinition::from_json(&text)?;
            driver.complete(database.apply_schema(&schema))?;
            let tenant = driver.complete(database.create_tenant(name, name))?;
            let writer = driver.persist(|| writers.tenant(name))?;
            Ok::<_, Error>((tenant, writer))
        };
        let plain = create("plain", &[])?;
        let all = create("all", &indexes.iter().collect::<Vec<_>>())?;
        let place = |(tenant, writer): (Tenant, Tenant), what: &str, is_plain| {
            let what = what.to_owned();
            Place { tenant, writer, what, is_plain }
        };
        let mut places = vec![
            place(plain.clone(), "without indexes", true),
            place(all.clone(), "with all indexes", false),
        ];
        for index in indexes.iter().filter(|index| index.is_path()) {
            let tenant = create(&format!("only_{}", index.name), &[index])?;
            places.push(place(tenant, &format!("with the index {} alone", index.name), false));
        }
        let (plain, _) = plain;
        let (all, all_writer) = all;
        let records = Vec::new();
        let mut world = World {
            shape,
            indexes,
            plain,
            all,
            all_writer,
            has_bad_day,
            children,
            places,
            records,
            time,
            stepper,
        };
        world.fill(&mut random)?;
        Ok(world)
    }

    /// Waits for an answer of one of the tenants.
    pub(super) fn complete<T>(&mut self, future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        Driver { time: &self.time, stepper: &mut self.stepper }.complete(future)
    }

    /// Writes and deletes records at random, in every tenant the same.
    fn fill(&mut self, random: &mut Stream) -> Result<(), Error> {
        let ids = if self.shape.is_large { LARGE_IDS } else { 1 + random.below(IDS) };
        let writes = if self.shape.is_large { 2 * LARGE_IDS } else { random.below(WRITES) };
        let mut serial = 0;
        let mut left = writes;
        while left > 0 {
            let mut changes = Vec::new();
            for _ in 0..(1 + random.below(TRANSACTION_WRITES)).min(left) {
                left -= 1;
                serial += 1;
                let id = random.below(ids) as i64;
                let record = self.shape.record(id, serial, random);
                changes.push((record, random.percent(if self.shape.is_large { 5 } else { 20 })));
            }
            self.write(&changes)?;
            self.remember(changes);
        }
        // Half of the worlds read from the map what the window no longer has.
        if random.percent(50) {
            self.time.advance(Duration::from_secs(10));
            for _ in 0..3 {
                self.stepper.step_committer();
                self.stepper.step_keeper();
            }
        }
        Ok(())
    }

    /// One transaction in each tenant; a record with `true` is deleted.
    fn write(&mut self, changes: &[(Record, bool)]) -> Result<(), Error> {
        let names = self.shape.primary_key.clone();
        let names = &names;
        for Place { writer, .. } in self.places.clone() {
            self.complete(writer.run(|transaction| async move {
                for (record, is_gone) in changes {
                    match is_gone {
                        true => drop(transaction.delete("t", &key_of(names, record)).await?),
                        false => transaction.put("t", record).await?,
                    }
                }
                Ok::<_, Error>(())
            }))?;
        }
        Ok(())
    }

    /// Takes records away, that are gone already where all indexes are.
    pub(super) fn take_away(&mut self, gone: &[Record]) -> Result<(), Error> {
        let names = self.shape.primary_key.clone();
        let keys: &Vec<PrimaryKey> = &gone.iter().map(|record| key_of(&names, record)).collect();
        for Place { writer, .. } in self.places.clone() {
            self.complete(writer.run(|transaction| async move {
                for key in keys {
                    transaction.delete("t", key).await?;
                }
                Ok::<_, Error>(())
            }))?;
        }
        self.records.retain(|record| !gone.iter().any(|other| other.get("id") == record.get("id")));
        Ok(())
    }

    /// The clock, in microseconds since 1970.
    pub(super) fn now_us(&self) -> i64 {
        self.time.wall_us()
    }

    /// Lets time pass until a moment, if it is still to come.
    pub(super) fn wait_until(&mut self, moment_us: i64) {
        let wait_us = u64::try_from(moment_us - self.now_us()).unwrap_or_default();
        self.time.advance(Duration::from_micros(wait_us));
    }

    /// What a transaction has changed: of several changes of a record the last one counts, at its place.
    fn remember(&mut self, changes: Vec<(Record, bool)>) {
        for (record, is_gone) in changes {
            self.records.retain(|other| other.get("id") != record.get("id"));
            if !is_gone {
                self.records.push(record);
            }
        }
    }

    /// The key of a record.
    pub(super) fn key_of(&self, record: &Record) -> PrimaryKey {
        key_of(&self.shape.primary_key, record)
    }

    /// The schema with all indexes, for people.
    pub(super) fn schema_text(&self) -> String {
        schema("all", &self.shape, &self.indexes.iter().collect::<Vec<_>>(), &self.children).to_string()
    }
}

fn key_of(names: &[&str], record: &Record) -> PrimaryKey {
    let values: Vec<Value> = names.iter().filter_map(|name| record.get(name).cloned()).collect();
    PrimaryKey { values }
}

fn schema(name: &str, shape: &Shape, indexes: &[&IndexShape], children: &Children) -> Json {
    let indexes: Map<String, Json> =
        indexes.iter().map(|index| (index.name.clone(), index.to_json())).collect();
    let record_type =
        json!({ "primary_key": shape.primary_key, "fields": shape.to_json(), "indexes": indexes });
    json!({ "name": name, "types": { "t": record_type, "c": children.to_json(&shape.primary_key) } })
}
