//! The choice of a path.

use bytes::Bytes;
use tenantry_kv::tuple::{self, Element};

use super::Order;
use crate::error::Result;
use crate::expression::{Comparison, Expression, Node, TextTest};
use crate::index_form::rest_of_key;
use crate::key_form;
use crate::key_space::behind;
use crate::schema::{Column, Index, IndexKind, RecordType};
use crate::value::Value;

/// How to find the records.
pub(super) struct Plan<'a> {
    /// `None` for the primary key.
    pub(super) index: Option<&'a Index>,
    /// The part of the path to scan, relative to its prefix.
    pub(super) begin: Bytes,
    pub(super) end: Bytes,
    pub(super) is_reverse: bool,
    /// Whether the order has to be made in memory.
    pub(super) is_sorted: bool,
    pub(super) bounds: Vec<String>,
}

/// What the filter says of one field by itself.
#[derive(Default)]
struct Bounds {
    equal: Option<Bound>,
    /// With whether the bound itself is taken.
    lower: Option<(Bound, bool)>,
    upper: Option<(Bound, bool)>,
    prefix: Option<String>,
}

struct Bound {
    element: Element,
    /// The value as people see it.
    text: String,
}

/// The first byte behind those of a value that is there: nil is a zero byte.
const BEHIND_NIL: u8 = 1;
/// Behind every element.
const BEHIND_ALL: u8 = 0xff;

pub(super) fn choose<'a>(
    record_type: &'a RecordType,
    filter: Option<&Expression>,
    order: &[Order],
) -> Result<Plan<'a>> {
    let mut best = plan_path(record_type, None, filter, order)?;
    for index in record_type.indexes.iter().filter(|index| is_plain(index)) {
        let candidate = plan_path(record_type, Some(index), filter, order)?;
        if candidate.0 > best.0 {
            best = candidate;
        }
    }
    Ok(best.1)
}

/// Whether an index is an order of all records by fields as they are.
fn is_plain(index: &Index) -> bool {
    matches!(index.kind, IndexKind::Value { .. })
        && index.condition.is_none()
        && index
            .columns
            .iter()
            .all(|column| column.field().is_some() && !column.is_descending && !column.are_missing_last)
}

/// A path with what it is worth: two for each column bound by equality, one for a range, doubled; three for the order; one less for an index, which reads each
/// record by itself.
fn plan_path<'a>(
    record_type: &'a RecordType,
    index: Option<&'a Index>,
    filter: Option<&Expression>,
    order: &[Order],
) -> Result<(i64, Plan<'a>)> {
    let columns: Vec<&str> = match index {
        Some(index) => {
            let own = index.columns.iter().filter_map(Column::field);
            own.chain(rest_of_key(record_type, index).map(String::as_str)).collect()
        }
        None => record_type.primary_key.iter().map(String::as_str).collect(),
    };
    // Behind the columns of a unique entry there may be nothing, so only they can be bound.
    let bindable = index.map_or(columns.len(), |index| index.columns.len());
    let mut equal = Vec::new();
    let mut bounds = Vec::new();
    let mut range = None;
    for column in columns[..bindable].iter().copied() {
        let Some(filter) = filter else { break };
        let found = bounds_of(record_type, filter, column)?;
        if let Some(bound) = found.equal {
            bounds.push(format!("{column} = {}", bound.text));
            equal.push(bound.element);
            continue;
        }
        if found.lower.is_some() || found.upper.is_some() || found.prefix.is_some() {
            range = Some((column, found));
        }
        break;
    }
    let prefix = tuple::pack(&equal)?;
    let (mut begin, mut end) = (prefix.clone(), behind(&prefix, &[BEHIND_ALL]));
    if let Some((column, found)) = &range {
        (begin, end) = range_of(&prefix, column, found, &mut bounds)?;
    }
    let (gives_order, is_reverse) = order_of(&columns, equal.len(), order);
    let worth = 2 * (2 * equal.len() as i64 + i64::from(range.is_some()))
        + if gives_order && !order.is_empty() { 3 } else { 0 }
        - i64::from(index.is_some());
    Ok((worth, Plan { index, begin, end, is_reverse, is_sorted: !gives_order, bounds }))
}

/// Whether the path gives the order: its columns behind those that are bound to one value, all up or all down.
fn order_of(columns: &[&str], equal: usize, order: &[Order]) -> (bool, bool) {
    let is_reverse = order.first().is_some_and(|column| column.is_descending);
    let bound = &columns[..equal];
    let free = order.iter().filter(|column| !bound.contains(&column.field.as_str()));
    let mut path = columns[equal..].iter();
    for column in free {
        match path.next() {
            Some(next) if **next == *column.field && column.is_descending == is_reverse => {}
            // Behind the whole primary key there are no ties left to order.
            None => break,
            _ => return (false, false),
        }
    }
    (true, is_reverse)
}

fn bounds_of(record_type: &RecordType, filter: &Expression, column: &str) -> Result<Bounds> {
    let field_type = &record_type.field(column)?.field_type;
    let is_column = |node: &Node| matches!(node, Node::Field(path) if path.len() == 1 && path[0] == *column);
    let mut bounds = Bounds::default();
    for node in filter.conjuncts() {
        match node {
            Node::Compare(comparison, left, right) => {
                let (comparison, literal) = match (&**left, &**right) {
                    (field, Node::Literal(literal)) if is_column(field) => (*comparison, literal),
                    (Node::Literal(literal), field) if is_column(field) => (comparison.mirrored(), literal),
                    _ => continue,
                };
                // A literal of another numeric type compares, but has no place in the key.
                let Ok(element) = key_form::element(literal.as_ref(), field_type) else { continue };
                let bound = Bound { element, text: shown(literal.as_ref()) };
                match comparison {
                    Comparison::Equal => bounds.equal = Some(bound),
                    _ if literal.is_none() => {}
                    Comparison::Less => bounds.upper = Some((bound, false)),
                    Comparison::LessOrEqual => bounds.upper = Some((bound, true)),
                    Comparison::Greater => bounds.lower = Some((bound, false)),
                    Comparison::GreaterOrEqual => bounds.lower = Some((bound, true)),
                    Comparison::NotEqual => {}
                }
            }
            Node::Text(TextTest::StartsWith, text, part) if is_column(text) => {
                if let Node::Literal(Some(Value::String(prefix))) = &**part {
                    bounds.prefix = Some(prefix.clone());
                }
            }
            field if is_column(field) => {
                bounds.equal = Some(Bound { element: Element::Bool(true), text: "true".to_owned() });
            }
            _ => {}
        }
    }
    Ok(bounds)
}

fn range_of(prefix: &[u8], column: &str, found: &Bounds, bounds: &mut Vec<String>) -> Result<(Bytes, Bytes)> {
    let packed = |element: &Element| tuple::pack_after(prefix, std::slice::from_ref(element));
    let mut begin = behind(prefix, &[BEHIND_NIL]);
    let mut end = behind(prefix, &[BEHIND_ALL]);
    if let Some(text) = &found.prefix {
        // Without the zero byte that ends it.
        let whole = packed(&Element::String(text.clone()))?;
        begin = whole.slice(..whole.len() - 1);
        end = tuple::prefix_end(&begin).unwrap_or(end);
        bounds.push(format!("{column} begins with {text:?}"));
        return Ok((begin, end));
    }
    if let Some((bound, is_included)) = &found.lower {
        begin = packed(&bound.element)?;
        if !is_included {
            begin = behind(&begin, &[BEHIND_ALL]);
        }
        bounds.push(format!("{column} {} {}", if *is_included { ">=" } else { ">" }, bound.text));
    }
    if let Some((bound, is_included)) = &found.upper {
        end = packed(&bound.element)?;
        if *is_included {
            end = behind(&end, &[BEHIND_ALL]);
        }
        bounds.push(format!("{column} {} {}", if *is_included { "<=" } else { "<" }, bound.text));
    }
    Ok((begin, end))
}

fn shown(literal: Option<&Value>) -> String {
    match literal {
        None => "null".to_owned(),
        Some(value @ (Value::String(_) | Value::Enum(_))) => crate::error::shown(&value.to_string()),
        Some(value) => value.to_string(),
    }
}
