//! One path: the primary key or an index, and the part of it to look at.

use std::borrow::Cow;

use bytes::Bytes;
use tenantry_kv::tuple::{self, Element};

use super::bounds::{Bounds, follows};
use super::text::Word;
use super::{Request, SortColumn};
use crate::error::Result;
use crate::expression::Node;
use crate::index_form::{self, BEHIND_ALL, rest_of_key};
use crate::key_space::behind;
use crate::schema::{Column, Index, IndexKind, RecordType};
use crate::value::{Value, shown_value};

/// A part of a path, to be scanned.
#[derive(Clone)]
pub(in crate::query) struct ScanPlan<'a> {
    /// `None` for the primary key.
    pub(in crate::query) index: Option<&'a Index>,
    /// The part of the path, relative to its prefix.
    pub(in crate::query) begin: Bytes,
    pub(in crate::query) end: Bytes,
    pub(in crate::query) is_reverse: bool,
    /// Whether entries hold all that the query wants to know.
    pub(in crate::query) is_covering: bool,
    /// Whether the records come in the order that is asked for.
    pub(in crate::query) gives_order: bool,
    /// What bounds it, as text.
    pub(in crate::query) bounds: Vec<String>,
    /// What a text index is bound to behind its group.
    pub(in crate::query) word: Option<Word>,
    /// How many columns are bound to one value.
    pub(super) equal_columns: usize,
    pub(super) has_range: bool,
    /// Whether there can be one record at most.
    pub(super) is_one: bool,
    /// How many of the filter's conditions are settled by the bounds.
    pub(super) settled: usize,
}

impl ScanPlan<'_> {
    /// Whether it looks at a part of the path alone.
    pub(super) fn is_bound(&self) -> bool {
        self.equal_columns > 0 || self.has_range
    }

    /// What people call the path.
    pub(in crate::query) fn name(&self) -> String {
        match (self.index, &self.word) {
            (None, _) => "primary key".to_owned(),
            (Some(index), None) => format!("index {}", index.name),
            (Some(index), Some(word)) => format!("index {} at {word}", index.name),
        }
    }
}

/// Every path that a query can take, the primary key first. `conjuncts` are the conditions that all have to hold.
pub(super) fn paths<'a>(request: &Request<'a, '_>, conjuncts: &[&Node]) -> Result<Vec<ScanPlan<'a>>> {
    let mut paths = Vec::new();
    for index in std::iter::once(None).chain(request.record_type.indexes.iter().map(Some)) {
        match index.map(|index| (index, &index.kind)) {
            Some((index, IndexKind::Text { tokenizer })) => {
                paths.extend(super::text::paths(request, index, *tokenizer, conjuncts)?);
            }
            // The entries of a rank index are those of a value index with the same columns.
            None | Some((_, IndexKind::Value { .. } | IndexKind::Rank)) => {
                paths.extend(path(request, index, conjuncts)?);
            }
            Some(_) => {}
        }
    }
    Ok(paths)
}

fn path<'a>(
    request: &Request<'a, '_>,
    index: Option<&'a Index>,
    conjuncts: &[&Node],
) -> Result<Option<ScanPlan<'a>>> {
    let record_type = request.record_type;
    let mut settled = 0;
    if let Some(index) = index {
        match settled_by_condition(index, conjuncts) {
            Some(count) => settled += count,
            None => return Ok(None),
        }
    }
    let columns = path_columns(record_type, index)?;
    // Behind the columns of an exclusive entry there may be nothing, so only they can be bound; behind those of any other stands the primary key.
    let bindable = match index {
        Some(index) if index.is_unique() => index.columns.len(),
        _ => columns.len(),
    };
    let mut plan = ScanPlan {
        index,
        begin: Bytes::new(),
        end: Bytes::new(),
        is_reverse: false,
        is_covering: index.is_none_or(|index| is_covering(request, record_type, index)),
        gives_order: false,
        bounds: Vec::new(),
        equal_columns: 0,
        has_range: false,
        is_one: false,
        word: None,
        settled,
    };
    let mut equal: Vec<Element> = Vec::new();
    let mut has_missing = false;
    let mut range = None;
    for column in &columns[..bindable] {
        let found = Bounds::of(column, conjuncts);
        if let Some(value) = found.equal {
            plan.bounds.push(format!("{} = {}", column_name(column), shown(value)));
            equal.push(index_form::element(column, value)?);
            has_missing |= value.is_none();
            plan.settled += found.conditions;
            continue;
        }
        if found.is_range() {
            range = Some((column, found));
        }
        break;
    }
    // A record has one entry for each element, and one of them has to be asked for by name.
    if columns[..bindable].iter().skip(equal.len()).any(|column| column.is_each) {
        return Ok(None);
    }
    let own = index.map_or(0, |index| index.columns.len());
    if index.is_some_and(|index| index.is_hashed) && equal.len() < own {
        return Ok(None);
    }
    plan.equal_columns = equal.len();
    plan.is_one = match index {
        None => equal.len() == columns.len(),
        Some(index) => index.is_unique() && equal.len() == bindable && !has_missing,
    };
    let prefix = match index.filter(|index| index.is_hashed) {
        Some(index) => {
            let (columns, rest) = equal.split_at(own);
            let hash = request.hashes.element(index, columns)?;
            tuple::pack_after(&tuple::pack(&[hash])?, rest)?
        }
        None => tuple::pack(&equal)?,
    };
    (plan.begin, plan.end) = (prefix.clone(), behind(&prefix, &[BEHIND_ALL]));
    if let Some((column, found)) = range {
        plan.has_range = true;
        plan.settled += found.conditions;
        (plan.begin, plan.end) = range_of(&prefix, column, &found, &mut plan.bounds)?;
    }
    (plan.gives_order, plan.is_reverse) = order_of(&columns, equal.len(), &request.order);
    Ok(Some(plan))
}

/// The hashed indexes that the filter or the order speaks of and cannot use, and why, for people.
pub(super) fn refused(request: &Request<'_, '_>, conjuncts: &[&Node]) -> Vec<String> {
    let is_bound = |column: &Column| Bounds::of(column, conjuncts).equal.is_some();
    let is_named = |column: &Column| {
        Bounds::of(column, conjuncts).conditions > 0
            || request.order.iter().any(|sorted| is_same(column, sorted))
    };
    let refused = request.record_type.indexes.iter().filter(|index| {
        index.is_hashed && index.columns.iter().any(is_named) && !index.columns.iter().all(is_bound)
    });
    refused.map(|index| format!("index {}: hashed: equality on all its columns only", index.name)).collect()
}

/// How many conditions of the filter an index's own settles. `None` if the index lacks records that the filter may ask for.
pub(super) fn settled_by_condition(index: &Index, conjuncts: &[&Node]) -> Option<usize> {
    let wanted =
        index.condition.as_ref().map(|condition| condition.expression.conjuncts()).unwrap_or_default();
    let has_all = wanted.iter().all(|node| follows(node, conjuncts));
    has_all.then(|| wanted.iter().filter(|node| conjuncts.contains(node)).count())
}

/// The columns of a path: its own, and those of the primary key behind them.
fn path_columns<'a>(record_type: &'a RecordType, index: Option<&'a Index>) -> Result<Vec<Cow<'a, Column>>> {
    let of_key = |name: &String| Ok(Cow::Owned(Column::of_field(record_type.field(name)?)));
    match index {
        None => record_type.primary_key.iter().map(of_key).collect(),
        Some(index) => {
            let own = index.columns.iter().map(|column| Ok(Cow::Borrowed(column)));
            own.chain(rest_of_key(record_type, index).map(of_key)).collect()
        }
    }
}

fn is_covering(request: &Request<'_, '_>, record_type: &RecordType, index: &Index) -> bool {
    let Some(wanted) = &request.wanted else { return false };
    !index.covering.is_empty() && wanted.iter().all(|name| index_form::covers(record_type, index, name))
}

/// Whether the path gives the order, and whether it has to be scanned from its end: its columns behind those that are bound to one value, all as they are or
/// all the other way round.
pub(super) fn order_of(columns: &[Cow<'_, Column>], equal: usize, order: &[SortColumn]) -> (bool, bool) {
    let is_bound = |sorted: &SortColumn| columns[..equal].iter().any(|column| is_same(column, sorted));
    let mut free = order.iter().filter(|sorted| !is_bound(sorted)).peekable();
    let mut path = columns[equal..].iter();
    let is_reverse = match (free.peek(), path.as_slice().first()) {
        (Some(sorted), Some(column)) => sorted.column.is_descending != column.is_descending,
        // Without an order of its own the query takes the path's.
        _ => order.first().is_some_and(|sorted| sorted.column.is_descending),
    };
    for sorted in free {
        match path.next() {
            Some(column)
                if is_same(column, sorted)
                    && (column.is_descending != sorted.column.is_descending) == is_reverse
                    // Missing values are the least, or cannot be.
                    && (column.are_missing_last == column.is_descending || !sorted.can_be_missing) => {}
            // Behind the whole primary key there are no ties left to order.
            None => break,
            _ => return (false, false),
        }
    }
    (true, is_reverse)
}

pub(super) fn is_same(column: &Column, sorted: &SortColumn) -> bool {
    !column.is_each && column.expression.root == sorted.column.expression.root
}

fn range_of(
    prefix: &[u8],
    column: &Column,
    found: &Bounds<'_>,
    texts: &mut Vec<String>,
) -> Result<(Bytes, Bytes)> {
    let name = column_name(column);
    if let Some(text) = found.text {
        texts.push(format!("{name} begins with {text:?}"));
        return index_form::text_range(prefix, column, text);
    }
    if let Some((value, is_included)) = found.lower {
        texts.push(format!("{name} {} {}", if is_included { ">=" } else { ">" }, shown(Some(value))));
    }
    if let Some((value, is_included)) = found.upper {
        texts.push(format!("{name} {} {}", if is_included { "<=" } else { "<" }, shown(Some(value))));
    }
    index_form::range(prefix, column, found.lower, found.upper)
}

pub(super) fn column_name(column: &Column) -> String {
    if column.is_each { format!("an element of {}", column.text) } else { column.text.clone() }
}

pub(super) fn shown(literal: Option<&Value>) -> String {
    literal.map_or_else(|| "null".to_owned(), shown_value)
}
