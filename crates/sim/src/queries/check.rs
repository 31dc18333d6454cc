//! Every path says what a look at the model says: each query in each tenant, at several page sizes, with every record to the last bit.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use tenantry_core::{Explanation, Query, Record, Tenant, Value};

use super::ask::{Asked, Asker, Sorted};
use super::indexes::IndexWord;
use super::tally::QueryTally;
use super::values::{compare_sorted, is_same};
use super::world::{Place, World};
use crate::random::Stream;

/// How many records a page has; the last one is all of them.
const PAGE_SIZES: [usize; 4] = [1_000, 1, 2, 7];
/// How many pages a query may have for each record that there is, before it is said to have no end.
const PAGES_EACH: usize = 20;

pub(super) type Checked<T = ()> = Result<T, String>;

/// One query, everywhere.
pub(super) fn check(world: &mut World, random: &mut Stream, tally: &mut QueryTally) -> Checked {
    let asked = Asker::new(&world.shape, &world.indexes, &world.records, random).ask();
    let mut expected: Vec<Record> =
        world.records.iter().filter(|record| asked.condition.holds(record)).cloned().collect();
    expected.sort_by(|one, other| compare(&asked, one, other));
    tally.rows += expected.len() as u64;
    tally.queries += 1;
    for place in world.places.clone() {
        in_tenant(world, &place, &asked, &expected, random, tally)
            .map_err(|error| format!("{}\n{}, {error}", shown(&asked), place.what))?;
    }
    Ok(())
}

fn shown(asked: &Asked) -> String {
    let order: Vec<String> = asked
        .order
        .iter()
        .map(|Sorted { operand, is_descending }| {
            format!("{}{}", operand.text(), if *is_descending { ":desc" } else { "" })
        })
        .collect();
    let Query { parameters, .. } = &asked.query;
    let condition = asked.condition.text();
    format!("{condition}\nparameters {parameters:?}, order {order:?}, fields {:?}", asked.selected)
}

/// All page sizes in a tenant. Where no index helps, a tenant that is not the first one says no more than that.
fn in_tenant(
    world: &mut World,
    place: &Place,
    asked: &Asked,
    expected: &[Record],
    random: &mut Stream,
    tally: &mut QueryTally,
) -> Checked {
    for rows_max in PAGE_SIZES {
        let mut query = asked.query.clone().rows_max(rows_max);
        if rows_max != PAGE_SIZES[0] && random.percent(10) {
            // Pages that end early.
            query = match random.percent(50) {
                true => query.scanned_max(1 + random.below(4) as usize),
                false => query.size_bytes_max(1 + random.below(200) as usize),
            };
        }
        let told = |error: String| {
            format!(
                "{rows_max} a page (scanned_max {}, size_bytes_max {}): {error}",
                query.scanned_max, query.size_bytes_max
            )
        };
        let (found, explanation) = all_pages(world, &place.tenant, &query, tally).map_err(&told)?;
        compare_rows(world, asked, &found, expected)
            .map_err(|error| told(format!("{error}\nthe plan: {explanation}")))?;
        if rows_max == PAGE_SIZES[0] {
            note(world, &explanation, tally);
            if !place.is_plain && !uses_index(&explanation) {
                break;
            }
        }
    }
    Ok(())
}

fn all_pages(
    world: &mut World,
    tenant: &Tenant,
    query: &Query,
    tally: &mut QueryTally,
) -> Checked<(Vec<Record>, Explanation)> {
    let mut query = query.clone();
    let (mut found, mut explanation) = (Vec::new(), None);
    for _ in 0..PAGES_EACH * (world.records.len() + 1) {
        tally.pages += 1;
        let page = world.complete(tenant.query(&query)).map_err(|error| error.to_string())?;
        if page.records.len() > query.rows_max {
            return Err(format!("a page has {} records", page.records.len()));
        }
        found.extend(page.records);
        let explanation = explanation.get_or_insert(page.explanation);
        match page.next {
            Some(token) => query.after = Some(token),
            None => return Ok((found, explanation.clone())),
        }
    }
    Err(format!("the pages come to no end; so far {} records", found.len()))
}

fn uses_index(explanation: &Explanation) -> bool {
    explanation.paths.iter().any(|path| path.index.is_some())
}

/// The same records, each once; in the order that is asked for.
fn compare_rows(world: &World, asked: &Asked, found: &[Record], expected: &[Record]) -> Checked {
    let by_id: BTreeMap<i64, &Record> = expected.iter().map(|record| (id(record), record)).collect();
    let mut seen: Vec<i64> = Vec::with_capacity(found.len());
    for record in found {
        let id = id(record);
        let Some(model) = by_id.get(&id) else {
            return Err(format!("a record too many: {}", record.to_json()));
        };
        if seen.contains(&id) {
            return Err(format!("a record twice: {}", record.to_json()));
        }
        seen.push(id);
        for name in world.shape.names() {
            let is_selected = asked.selected.is_empty() || asked.selected.iter().any(|field| field == name);
            let wanted = model.get(name).filter(|_| is_selected);
            let is_right = match (record.get(name), wanted) {
                (Some(one), Some(other)) => is_same(one, other),
                (one, other) => one.is_none() && other.is_none(),
            };
            if !is_right {
                let found = record.get(name);
                return Err(format!("the field {name} of {id} is {found:?}, not {wanted:?}"));
            }
        }
    }
    if let Some(missing) = expected.iter().find(|record| !seen.contains(&id(record))) {
        return Err(format!("a record is missing: {}", missing.to_json()));
    }
    for (place, (one, other)) in seen.iter().zip(expected).enumerate() {
        // What the order leaves open may come either way.
        if compare(asked, by_id[one], other) != Ordering::Equal {
            return Err(format!("at {place} stands {one} and not {}", id(other)));
        }
    }
    Ok(())
}

pub(super) fn id(record: &Record) -> i64 {
    match record.get("id") {
        Some(Value::Int(id)) => *id,
        _ => i64::MIN,
    }
}

fn compare(asked: &Asked, one: &Record, other: &Record) -> Ordering {
    asked.order.iter().fold(Ordering::Equal, |so_far, column| {
        let value = |record: &Record| column.operand.value(record);
        let ordering = compare_sorted(value(one).as_ref(), value(other).as_ref());
        so_far.then(if column.is_descending { ordering.reverse() } else { ordering })
    })
}

/// What a plan exercised.
fn note(world: &World, explanation: &Explanation, tally: &mut QueryTally) {
    let mut plans = vec![match (explanation.plan, uses_index(explanation)) {
        ("scan", false) => "scan of the primary key",
        ("scan", true) => "scan of an index",
        (plan, _) => plan,
    }];
    let mut is = |holds: bool, what: &'static str| {
        if holds {
            plans.push(what);
        }
    };
    is(explanation.is_sorted, "sorted in memory");
    is(explanation.paths.iter().any(|path| path.is_reverse), "from the end");
    is(explanation.paths.iter().any(|path| path.is_covering), "covered by an index");
    is(!explanation.statistics.is_empty(), "chosen by a look at the entries");
    for plan in plans {
        *tally.plans.entry(plan).or_default() += 1;
    }
    let names = explanation.paths.iter().filter_map(|path| path.index.as_ref());
    let words: Vec<IndexWord> = names
        .filter_map(|name| world.indexes.iter().find(|index| index.name == *name))
        .map(|index| index.word)
        .collect();
    for word in words {
        *tally.indexes.entry(word.name()).or_default() += 1;
    }
}
