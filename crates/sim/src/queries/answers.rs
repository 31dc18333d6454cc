//! What other indexes answer: positions, the order of the last changes, counts, sums, least and greatest values.

use std::cmp::Ordering;

use tenantry_core::{Aggregation, Code, Group, Measure, Record, Value};

use super::check::{Checked, id};
use super::indexes::{ColumnShape, IndexShape, IndexWord};
use super::tally::QueryTally;
use super::values::{compare_sorted, is_same};
use super::world::World;

/// What every index that is no path says, and the positions of those that are.
pub(super) fn check(world: &mut World, tally: &mut QueryTally) -> Checked {
    for place in 0..world.indexes.len() {
        let index = world.indexes[place].clone();
        let told = |error: String| format!("the index {}: {error}", index.name);
        let is_asked = match index.word {
            IndexWord::Rank => positions(world, &index).map(|()| true),
            IndexWord::Version => changes(world, &index).map(|()| true),
            IndexWord::Count | IndexWord::Sum | IndexWord::Min | IndexWord::Max => aggregates(world, &index),
            _ => Ok(false),
        };
        if is_asked.map_err(told)? {
            *tally.indexes.entry(index.word.name()).or_default() += 1;
        }
    }
    Ok(())
}

/// The records of each group of an index, and the group's values.
fn groups(world: &World, index: &IndexShape) -> Vec<(Vec<Option<Value>>, Vec<Record>)> {
    let mut groups: Vec<(Vec<Option<Value>>, Vec<Record>)> = Vec::new();
    for record in world.records.iter().filter(|record| index.holds(record)) {
        let group = values(&index.group, record);
        let is_it = |found: &[Option<Value>]| {
            found
                .iter()
                .zip(&group)
                .all(|(one, other)| compare_sorted(one.as_ref(), other.as_ref()) == Ordering::Equal)
        };
        match groups.iter_mut().find(|(found, _)| is_it(found)) {
            Some((_, records)) => records.push(record.clone()),
            None => groups.push((group, vec![record.clone()])),
        }
    }
    groups
}

fn values(columns: &[ColumnShape], record: &Record) -> Vec<Option<Value>> {
    let value = |column: &ColumnShape| match column {
        ColumnShape::Of { operand, .. } => operand.value(record),
        ColumnShape::Each(..) => None,
    };
    columns.iter().map(value).collect()
}

fn positions(world: &mut World, index: &IndexShape) -> Checked {
    let name = index.name.as_str();
    let tenant = world.all.clone();
    for (group, mut records) in groups(world, index) {
        let key_columns = world.shape.key_columns();
        let by_key = |one: &Record, other: &Record| {
            key_columns.iter().fold(Ordering::Equal, |so_far, column| {
                so_far.then(compare_sorted(column.value(one).as_ref(), column.value(other).as_ref()))
            })
        };
        let by_columns = |one: &Record, other: &Record| {
            index
                .columns
                .iter()
                .fold(Ordering::Equal, |so_far, column| so_far.then_with(|| column.compare(one, other)))
        };
        records.sort_by(|one, other| by_columns(one, other).then_with(|| by_key(one, other)));
        let wanted: Vec<i64> = records.iter().map(id).collect();
        let told = |error: tenantry_core::Error| format!("{group:?}: {error}");
        let found = world.complete(tenant.ranked("t", name, &group, 0, 1_000)).map_err(told)?;
        let found: Vec<i64> = found.iter().map(id).collect();
        if found != wanted {
            return Err(format!("the records of {group:?} stand as {found:?}, not as {wanted:?}"));
        }
        let counted = world.complete(tenant.rank_count("t", name, &group)).map_err(told)?;
        let behind = world.complete(tenant.at_rank("t", name, &group, wanted.len() as u64)).map_err(told)?;
        if counted != wanted.len() as u64 || behind.is_some() {
            return Err(format!("{group:?} has {counted} positions, and {behind:?} behind the last"));
        }
        // Windows in the middle and over the end.
        for (from, rows_max) in [(wanted.len() / 2, 1), (wanted.len() / 3, 2), (wanted.len() - 1, 7)] {
            let found =
                world.complete(tenant.ranked("t", name, &group, from as u64, rows_max)).map_err(told)?;
            let found: Vec<i64> = found.iter().map(id).collect();
            if found != wanted[from..(from + rows_max).min(wanted.len())] {
                return Err(format!("from {from} of {group:?} stand {found:?}; all are {wanted:?}"));
            }
        }
        for (place, record) in records.iter().enumerate() {
            let key = world.key_of(record);
            let rank = world.complete(tenant.rank_of("t", name, &key)).map_err(told)?;
            let before = values(&index.columns, record);
            let of_value = world.complete(tenant.rank_of_value("t", name, &group, &before)).map_err(told)?;
            let less = records.iter().filter(|other| by_columns(other, record).is_lt()).count();
            let of_first =
                world.complete(tenant.rank_of_value("t", name, &group, &before[..1])).map_err(told)?;
            let before_first =
                records.iter().filter(|other| index.columns[0].compare(other, record).is_lt()).count();
            if of_first != before_first as u64 {
                let id = id(record);
                return Err(format!(
                    "the first value of {id} of {group:?} is at {of_first}, not {before_first}"
                ));
            }
            if rank != Some(place as u64) || of_value != less as u64 {
                let id = id(record);
                return Err(format!(
                    "{id} of {group:?} is at {rank:?}, its values at {of_value}; not {place} and {less}"
                ));
            }
        }
    }
    // Those that the index leaves out have none.
    for record in world.records.clone().iter().filter(|record| !index.holds(record)) {
        let key = world.key_of(record);
        let rank = world.complete(tenant.rank_of("t", name, &key)).map_err(|error| error.to_string())?;
        if rank.is_some() {
            return Err(format!("{} is not in the index and stands at {rank:?}", id(record)));
        }
    }
    Ok(())
}

fn changes(world: &mut World, index: &IndexShape) -> Checked {
    let tenant = world.all.clone();
    for (group, records) in groups(world, index) {
        let wanted: Vec<i64> = records.iter().map(id).collect();
        let found = world.complete(tenant.changed_after("t", &index.name, &group, None, 1_000));
        let found: Vec<i64> = found.map_err(|error| error.to_string())?.iter().map(id).collect();
        if found != wanted {
            return Err(format!("the changes of {group:?} are {found:?}, not {wanted:?}"));
        }
    }
    Ok(())
}

/// The groups of an aggregate that the index may answer, beside those of a look at all records. Whether it did.
fn aggregates(world: &mut World, index: &IndexShape) -> Checked<bool> {
    let mut aggregation = Aggregation::of("t");
    let text = |column: &ColumnShape| match column {
        ColumnShape::Of { operand, .. } => operand.text(),
        ColumnShape::Each(list, _) => list.clone(),
    };
    aggregation.group_by = index.group.iter().map(text).collect();
    let of = index.columns.first().map(text).unwrap_or_default();
    aggregation.measures = match index.word {
        IndexWord::Sum => vec![Measure::sum(of.clone()), Measure::average(of)],
        IndexWord::Min => vec![Measure::min(of)],
        IndexWord::Max => vec![Measure::max(of)],
        _ => vec![Measure::Count],
    };
    if !index.condition.is_empty() {
        let parts: Vec<String> = index.condition.iter().map(super::condition::Condition::text).collect();
        aggregation.filter = Some(parts.join(" && ").into());
    }
    let (plain, all) = (world.plain.clone(), world.all.clone());
    let wanted = world.complete(plain.aggregate(&aggregation));
    let found = world.complete(all.aggregate(&aggregation));
    let (wanted, found) = match (wanted, found) {
        (Ok(wanted), Ok(found)) => (wanted.groups, found),
        // A sum that its type does not hold.
        (Err(one), Err(other)) if one.code() == Code::QueryInvalid && one.code() == other.code() => {
            return Ok(false);
        }
        (one, other) => return Err(format!("{aggregation:?}: {other:?}, and without indexes {one:?}")),
    };
    let is_same_group = |one: &Group, other: &Group| {
        let equal = |one: &Option<Value>, other: &Option<Value>| match (one, other) {
            (Some(one), Some(other)) => {
                is_same(one, other) || compare_sorted(Some(one), Some(other)) == Ordering::Equal
            }
            (one, other) => one.is_none() && other.is_none(),
        };
        one.key.iter().zip(&other.key).all(|(one, other)| equal(one, other))
            && one.measures.iter().zip(&other.measures).all(|(one, other)| equal(one, other))
    };
    let has_all = wanted.iter().all(|one| found.groups.iter().any(|other| is_same_group(one, other)));
    if wanted.len() != found.groups.len() || !has_all {
        return Err(format!("{aggregation:?} is {:?}, not {wanted:?}", found.groups));
    }
    if index.word == IndexWord::Count {
        let counted: usize = groups(world, index).iter().map(|(_, records)| records.len()).sum();
        let total: i64 = wanted
            .iter()
            .filter_map(|group| match group.measures.first() {
                Some(Some(Value::Int(count))) => Some(*count),
                _ => None,
            })
            .sum();
        if counted as i64 != total {
            return Err(format!("{total} records were counted, not {counted}"));
        }
    }
    Ok(found.indexes.contains(&index.name))
}
