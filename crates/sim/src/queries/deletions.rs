//! What takes records away besides those who delete them: times to live, and deletions that take others along. At the end a check, which must find nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use tenantry_core::jobs::{Check, JobKinds, Worker};
use tenantry_core::{Code, PrimaryKey, Query, Record, Value};

use super::check::{Checked, id};
use super::indexes::{ColumnShape, IndexShape, IndexWord};
use super::tally::QueryTally;
use super::world::World;
use crate::random::Stream;

/// How long records are kept behind the moment in their index.
pub(super) const AFTER_S: i64 = 60;
/// Moments around the two at which records of the worlds come to their end while a world lasts: just before, at them, and long behind.
const MOMENTS_US: [i64; 5] = [
    FIRST_END_US - 1,
    FIRST_END_US,
    FIRST_END_US + 499_998,
    FIRST_END_US + 499_999,
    FIRST_END_US + 86_400_000_000,
];
/// 2024-02-29T12:01:00.000001Z
const FIRST_END_US: i64 = 1_709_208_060_000_001;
const CHILDREN: u64 = 24;
const DELETIONS: u64 = 8;

/// The records that refer to those of a world, and to one another.
#[derive(Clone, Debug)]
pub(super) struct Children {
    /// What becomes of them when the one that they refer to is deleted.
    on_delete: &'static str,
}

#[derive(Clone, Debug, PartialEq)]
struct Child {
    /// The id of the record.
    owner: Option<i64>,
    /// Goes with it.
    parent: Option<i64>,
}

type Model = BTreeMap<i64, Child>;

impl Children {
    pub(super) fn random(random: &mut Stream) -> Children {
        Children { on_delete: random.pick::<&str>(&["cascade", "cascade", "set_null", "restrict"]) }
    }

    /// The type as a schema has it. Its references are to a key of these fields.
    pub(super) fn to_json(&self, primary_key: &[&str]) -> Json {
        let columns: Vec<String> = primary_key.iter().map(|name| format!("owner_{name}")).collect();
        json!({
            "primary_key": ["n"],
            "fields": {
                "n": "int",
                "parent": { "type": "int", "optional": true },
                "owner_id": { "type": "int", "optional": true },
                "owner_part": { "type": "string", "optional": true },
            },
            "indexes": { "by_owner": { "fields": columns }, "by_parent": { "fields": ["parent"] } },
            "references": {
                "owner": { "fields": columns, "to": "t", "on_delete": self.on_delete },
                "parent": { "fields": ["parent"], "to": "c", "on_delete": "cascade" },
            },
        })
    }
}

/// Lets records expire, deletes some with what refers to them, and looks at everything that is left.
pub(super) fn check(world: &mut World, random: &mut Stream, tally: &mut QueryTally) -> Checked {
    expire(world, random, tally).map_err(|what| format!("times to live: {what}"))?;
    let children = cascade(world, random, tally).map_err(|what| format!("deletions: {what}"))?;
    super::answers::check(world, tally)?;
    check_all(world, children.len()).map_err(|what| format!("the check: {what}"))?;
    tally.checks += 1;
    tally.bad_days += u64::from(world.has_bad_day);
    Ok(())
}

/// When a record comes to its end by an index.
fn end_us(index: &IndexShape, record: &Record) -> Option<i64> {
    let Some(ColumnShape::Of { operand, .. }) = index.columns.first() else { return None };
    match operand.value(record) {
        Some(Value::Timestamp(moment)) if index.holds(record) => {
            Some(moment.as_microsecond().saturating_add(AFTER_S * 1_000_000))
        }
        _ => None,
    }
}

fn expire(world: &mut World, random: &mut Stream, tally: &mut QueryTally) -> Checked {
    let indexes: Vec<IndexShape> =
        world.indexes.iter().filter(|index| index.word == IndexWord::TimeToLive).cloned().collect();
    let is_over = |record: &Record, now_us: i64| {
        indexes.iter().filter_map(|index| end_us(index, record)).any(|end_us| end_us <= now_us)
    };
    if random.percent(60) {
        world.wait_until(*random.pick(&MOMENTS_US));
    }
    let (writer, before_us) = (world.all_writer.clone(), world.now_us());
    let expired = world.complete(writer.expire()).map_err(|error| error.to_string())?;
    let after_us = world.now_us();
    let left = ids(world)?;
    let (mut gone, mut kept) = (Vec::new(), Vec::new());
    for record in &world.records {
        if left.contains(&id(record)) { kept.push(record.clone()) } else { gone.push(record.clone()) }
    }
    // What came to its end meanwhile may be there or not.
    if let Some(record) = kept.iter().find(|record| is_over(record, before_us)) {
        return Err(format!("at {before_us} it is over with {}, which is there", record.to_json()));
    }
    if let Some(record) = gone.iter().find(|record| !is_over(record, after_us)) {
        return Err(format!("at {after_us} it is not over with {}, which is gone", record.to_json()));
    }
    if left.len() != kept.len() || (expired.expired, expired.refused) != (gone.len() as u64, 0) {
        return Err(format!("{expired:?}, and {} records are gone", gone.len()));
    }
    if !gone.is_empty() {
        *tally.indexes.entry(IndexWord::TimeToLive.name()).or_default() += 1;
    }
    world.take_away(&gone).map_err(|error| error.to_string())
}

/// The ids of the records that are there.
fn ids(world: &mut World) -> Checked<BTreeSet<i64>> {
    Ok(all(world, "t")?.iter().map(id).collect())
}

/// All records of a type.
fn all(world: &mut World, record_type: &str) -> Checked<Vec<Record>> {
    let (tenant, mut query, mut found) = (world.all.clone(), Query::of(record_type), Vec::new());
    loop {
        let page = world.complete(tenant.query(&query)).map_err(|error| error.to_string())?;
        found.extend(page.records);
        match page.next {
            Some(token) => query.after = Some(token),
            None => return Ok(found),
        }
    }
}

fn cascade(world: &mut World, random: &mut Stream, tally: &mut QueryTally) -> Checked<Model> {
    let mut model = fill(world, random)?;
    for _ in 0..random.below(DELETIONS) {
        if random.percent(25) {
            let number = random.below(CHILDREN) as i64;
            let (writer, key) = (world.all_writer.clone(), PrimaryKey::of(number));
            let found = world.complete(writer.delete("c", &key)).map_err(|error| error.to_string())?;
            if found != model.contains_key(&number) {
                return Err(format!("the child {number} was deleted: {found}"));
            }
            with_children(&mut model, BTreeSet::from([number]));
        } else if !world.records.is_empty() {
            let record = random.pick(&world.records).clone();
            delete_owner(world, &mut model, &record, random.percent(50))?;
            tally.cascades += 1;
        }
        compare(world, &model)?;
    }
    Ok(model)
}

/// Deletes a record in one transaction or in several, and in the model.
fn delete_owner(world: &mut World, model: &mut Model, record: &Record, is_in_steps: bool) -> Checked {
    let (writer, key, owner) = (world.all_writer.clone(), world.key_of(record), id(record));
    let own: BTreeSet<i64> =
        model.iter().filter(|(_, child)| child.owner == Some(owner)).map(|(number, _)| *number).collect();
    let is_refused = world.children.on_delete == "restrict" && !own.is_empty();
    let deleted = match is_in_steps {
        true => world.complete(writer.delete_cascading("t", &key)).map(|done| (done.deleted, done.changed)),
        false => world.complete(writer.delete("t", &key)).map(|found| (u64::from(found), 0)),
    };
    let deleted = match deleted {
        Err(error) if is_refused && error.code() == Code::ReferenceRestricts => return Ok(()),
        Ok(deleted) if !is_refused => deleted,
        other => return Err(format!("{owner} with {} children was deleted: {other:?}", own.len())),
    };
    let mut expected = (1, 0);
    match world.children.on_delete {
        "cascade" => expected.0 += with_children(model, own),
        _ => {
            expected.1 = own.len() as u64;
            for number in own {
                model.entry(number).and_modify(|child| child.owner = None);
            }
        }
    }
    if is_in_steps && deleted != expected || deleted.0 == 0 {
        return Err(format!("the deletion of {owner} deleted and changed {deleted:?}, not {expected:?}"));
    }
    world.take_away(std::slice::from_ref(record)).map_err(|error| error.to_string())
}

/// Takes some children out of the model, and all that go with them. How many there were.
fn with_children(model: &mut Model, mut gone: BTreeSet<i64>) -> u64 {
    loop {
        let further: Vec<i64> = model
            .iter()
            .filter(|(number, child)| {
                !gone.contains(number) && child.parent.is_some_and(|parent| gone.contains(&parent))
            })
            .map(|(number, _)| *number)
            .collect();
        if further.is_empty() {
            break;
        }
        gone.extend(further);
    }
    gone.iter().filter(|number| model.remove(number).is_some()).count() as u64
}

/// Writes children, each to a record or to none, and to a child before it, to itself, or to none.
fn fill(world: &mut World, random: &mut Stream) -> Checked<Model> {
    let mut model = Model::new();
    let mut records = Vec::new();
    for number in 0..random.below(CHILDREN) as i64 {
        let mut record = Record::new().with("n", number);
        let owner = match world.records.is_empty() || random.percent(25) {
            true => None,
            // Few of them, so that they have several.
            false => world.records.get(random.below((world.records.len() as u64).min(6)) as usize),
        };
        if let Some(owner) = owner {
            for (name, field) in [("id", "owner_id"), ("part", "owner_part")] {
                if world.shape.primary_key.contains(&name)
                    && let Some(value) = owner.get(name)
                {
                    record.set(field, value.clone());
                }
            }
        }
        let parent = random.percent(50).then(|| random.below(number as u64 + 1) as i64);
        if let Some(parent) = parent {
            record.set("parent", parent);
        }
        model.insert(number, Child { owner: owner.map(id), parent });
        records.push(record);
    }
    let (writer, records) = (world.all_writer.clone(), &records);
    world
        .complete(writer.run(|transaction| async move {
            for record in records {
                transaction.insert("c", record).await?;
            }
            Ok::<_, tenantry_core::Error>(())
        }))
        .map_err(|error| error.to_string())?;
    compare(world, &model)?;
    Ok(model)
}

/// The children are those of the model, and the records those that the world knows.
fn compare(world: &mut World, model: &Model) -> Checked {
    let found = all(world, "c")?;
    let int = |record: &Record, name: &str| match record.get(name) {
        Some(Value::Int(value)) => Some(*value),
        _ => None,
    };
    let child = |record: &Record| {
        let child = Child { owner: int(record, "owner_id"), parent: int(record, "parent") };
        Some((int(record, "n")?, child))
    };
    let found: Model = found.iter().filter_map(child).collect();
    if found != *model {
        return Err(format!("the children are {found:?}, not {model:?}"));
    }
    let known: BTreeSet<i64> = world.records.iter().map(id).collect();
    match ids(world)? {
        found if found == known => Ok(()),
        found => Err(format!("the records are {found:?}, not {known:?}")),
    }
}

/// A check of everything finds no fault.
fn check_all(world: &mut World, children: usize) -> Checked {
    let tenant = world.all.clone();
    let job = world.complete(async {
        let database = tenant.database();
        let job = database.create_job(&Check, Some(&tenant), &Check::parameters(None, false)).await?;
        Worker::new(database, JobKinds::standard()).run_job(job, |_| {}).await
    });
    let job = job.map_err(|error| error.to_string())?;
    let result = job.result.ok_or_else(|| format!("it failed: {:?}", job.error))?;
    let kinds =
        ["missing", "dangling", "wrong", "duplicate", "unreadable", "dangling_references", "repaired"];
    let is_clean = kinds.iter().all(|kind| result[kind] == 0) && result["unchecked"] == json!([]);
    match is_clean && result["records"] == world.records.len() + children {
        true => Ok(()),
        false => Err(result.to_string()),
    }
}
