//! The choice of a plan.
//!
//! Every path that the filter bounds or that gives the order is a candidate; so is a union of paths, one for each branch of an `||` or each element of an
//! `in`, and an intersection of two indexes. Rules say what each is worth; where several indexes are bound and the rules cannot tell, a look at the
//! first entries of each does.

mod bounds;
mod cost;
mod scan;
mod text;

use std::collections::BTreeSet;

use twox_hash::XxHash3_64;

pub(super) use scan::ScanPlan;
pub(super) use text::Word;

use super::Order;
use crate::error::{Code, Error, Result, limit, shown};
use crate::expression::{Comparison, Expression, Node};
use crate::index_form::rest_of_key;
use crate::index_hash::IndexHashes;
use crate::limits::{ORDER_COLUMNS_MAX, UNION_BRANCHES_MAX};
use crate::schema::{Column, RecordType};
use crate::tenant::TenantTransaction;
use crate::value::Value;

/// What is asked for, read and typed.
pub(super) struct Request<'a, 'q> {
    pub(super) record_type: &'a RecordType,
    pub(super) hashes: IndexHashes<'a>,
    pub(super) filter: Option<&'q Expression>,
    pub(super) order: Vec<SortColumn>,
    /// The fields that the answer and the filter need; `None` for whole records.
    pub(super) wanted: Option<BTreeSet<String>>,
    pub(super) rows_max: usize,
}

impl Request<'_, '_> {
    /// The fields that the filter binds to one value, for the index that it would take.
    pub(super) fn equal_fields(&self) -> Vec<&str> {
        let conjuncts = self.filter.map(Expression::conjuncts).unwrap_or_default();
        let bound = conjuncts.into_iter().filter_map(|node| match node {
            Node::Compare(Comparison::Equal, left, right) => match (&**left, &**right) {
                (Node::Field(path), Node::Literal(_)) | (Node::Literal(_), Node::Field(path)) => {
                    path.first().filter(|_| path.len() == 1).map(String::as_str)
                }
                _ => None,
            },
            _ => None,
        });
        bound.collect()
    }
}

/// A column of the order.
pub(super) struct SortColumn {
    pub(super) column: Column,
    can_be_missing: bool,
}

/// How to find the records.
pub(super) struct Plan<'a> {
    pub(super) shape: Shape<'a>,
    /// Whether the order has to be made in memory.
    pub(super) is_sorted: bool,
    /// What was known of how much there is to look at, as text.
    pub(super) statistics: Vec<String>,
    /// The other candidates, and why they were not taken.
    pub(super) others: Vec<String>,
    cost: f64,
}

pub(super) enum Shape<'a> {
    /// One path.
    Scan(ScanPlan<'a>),
    /// Several paths one after another, or, to keep an order, side by side. A record that an earlier branch has is not taken again.
    Union { branches: Vec<Branch<'a>>, is_merged: bool },
    /// The records that two indexes have, both bound to one value in all columns, so that their entries come in the order of the primary key.
    Intersection(ScanPlan<'a>, ScanPlan<'a>),
}

pub(super) struct Branch<'a> {
    pub(super) scan: ScanPlan<'a>,
    /// What tells the branch's records from the others': the scan has all for which it holds, and may have more.
    pub(super) condition: Expression,
}

impl<'a> Plan<'a> {
    /// Its paths.
    pub(super) fn scans(&self) -> Vec<&ScanPlan<'a>> {
        match &self.shape {
            Shape::Scan(scan) => vec![scan],
            Shape::Union { branches, .. } => branches.iter().map(|branch| &branch.scan).collect(),
            Shape::Intersection(one, other) => vec![one, other],
        }
    }

    /// The indexes that it uses, each once.
    pub(super) fn index_ids(&self) -> BTreeSet<u32> {
        self.scans().into_iter().filter_map(|scan| scan.index.map(|index| index.id)).collect()
    }

    /// Identifies the plan for the tokens of its pages.
    pub(super) fn signature(&self) -> u64 {
        let mut text = vec![u8::from(self.is_sorted)];
        let mut part = |kind: u8, scan: &ScanPlan<'_>| {
            text.push(kind);
            text.extend_from_slice(&scan.index.map_or(0, |index| index.id).to_le_bytes());
            text.push(u8::from(scan.is_reverse));
            // A text index has a path for each word; and two unions may be of one index, each bound by another condition.
            text.extend_from_slice(scan.word.as_ref().map_or(&[], |word| word.text().as_bytes()));
            for bound in [&scan.begin, &scan.end] {
                text.extend_from_slice(&bound.len().to_le_bytes());
                text.extend_from_slice(bound);
            }
        };
        match &self.shape {
            Shape::Scan(scan) => part(0, scan),
            Shape::Union { branches, is_merged } => {
                branches.iter().for_each(|branch| part(1 + u8::from(*is_merged), &branch.scan));
            }
            Shape::Intersection(one, other) => {
                part(3, one);
                part(3, other);
            }
        }
        XxHash3_64::oneshot(&text)
    }

    fn name(&self) -> String {
        match &self.shape {
            Shape::Scan(scan) => scan.name(),
            Shape::Union { branches, .. } => {
                let names: BTreeSet<String> = branches.iter().map(|branch| branch.scan.name()).collect();
                format!("union over {}", names.into_iter().collect::<Vec<_>>().join(" and "))
            }
            Shape::Intersection(one, other) => format!("intersection of {} and {}", one.name(), other.name()),
        }
    }
}

/// Reads the order of a query.
pub(super) fn sort_columns(order: &[Order], record_type: &RecordType) -> Result<Vec<SortColumn>> {
    if order.len() > ORDER_COLUMNS_MAX {
        return Err(limit("the columns of an order", order.len(), ORDER_COLUMNS_MAX));
    }
    let mut columns: Vec<SortColumn> = Vec::with_capacity(order.len());
    for Order { field, is_descending } in order {
        let (expression, field_type) = Expression::parse_value(field, record_type)?;
        if !field_type.has_key_form() {
            let detail = format!("{} is a {} and has no order", shown(field), field_type.name());
            return Err(Error::new(Code::QueryInvalid, detail));
        }
        if columns.iter().any(|earlier| earlier.column.expression == expression) {
            return Err(Error::new(Code::QueryInvalid, format!("the order names {} twice", shown(field))));
        }
        let own = expression.as_field().and_then(|name| record_type.field(name).ok());
        let can_be_missing = own.is_none_or(|field| field.is_optional);
        // What is missing is the least.
        let (text, is_descending, are_missing_last) = (field.clone(), *is_descending, *is_descending);
        let column = Column { text, is_descending, are_missing_last, is_each: false, expression, field_type };
        columns.push(SortColumn { column, can_be_missing });
    }
    Ok(columns)
}

/// The one value that a condition asks for in a column, and the condition's place.
pub(super) fn equal_value<'n>(column: &Column, conjuncts: &[&'n Node]) -> Option<(Option<&'n Value>, usize)> {
    conjuncts.iter().enumerate().find_map(|(place, node)| {
        let bounds = bounds::Bounds::of(column, std::slice::from_ref(node));
        bounds.equal.map(|value| (value, place))
    })
}

/// The best plan, or the one with the signature `wanted`, if it is still there.
pub(super) async fn choose<'a>(
    transaction: &TenantTransaction,
    request: &Request<'a, '_>,
    wanted: Option<u64>,
) -> Result<Option<Plan<'a>>> {
    let conjuncts: Vec<&Node> = request.filter.map(Expression::conjuncts).unwrap_or_default();
    let mut paths = scan::paths(request, &conjuncts)?;
    let measured = match wanted {
        Some(_) => cost::Measured::default(),
        None => cost::measure(transaction, request.record_type, &paths).await?,
    };
    let mut plans = Vec::new();
    plans.extend(intersections(request, &paths, &measured, wanted.is_some()));
    plans.extend(unions(request, &conjuncts)?);
    paths.reverse();
    plans.extend(paths.into_iter().map(|scan| {
        let cost = cost::of_scan(request, &scan, conjuncts.len(), &measured);
        let is_sorted = !scan.gives_order;
        plan(Shape::Scan(scan), is_sorted, cost)
    }));
    if let Some(wanted) = wanted {
        return Ok(plans.into_iter().rev().find(|plan| plan.signature() == wanted));
    }
    // Of equals the last: the primary key, then the indexes in their order, are worth most.
    let best = plans.iter().enumerate().fold(None::<(usize, f64)>, |best, (place, plan)| match best {
        Some((_, cost)) if cost < plan.cost => best,
        _ => Some((place, plan.cost)),
    });
    let Some((place, cost)) = best else { return Ok(None) };
    let mut chosen = plans.remove(place);
    plans.retain(|other| other.is_worth_a_word());
    chosen.others =
        plans.iter().rev().map(|other| format!("{}: {}", other.name(), other.why_not(cost))).collect();
    chosen.others.extend(scan::refused(request, &conjuncts));
    chosen.statistics = measured.shown();
    Ok(Some(chosen))
}

fn plan(shape: Shape<'_>, is_sorted: bool, cost: f64) -> Plan<'_> {
    Plan { shape, is_sorted, statistics: Vec::new(), others: Vec::new(), cost }
}

impl Plan<'_> {
    /// Paths that neither the filter nor the order speaks of need no explanation.
    fn is_worth_a_word(&self) -> bool {
        match &self.shape {
            Shape::Scan(scan) => {
                scan.index.is_none() || scan.is_bound() || (!self.is_sorted && scan.gives_order)
            }
            _ => true,
        }
    }

    fn why_not(&self, chosen_cost: f64) -> String {
        let order = if self.is_sorted { ", its order to be made in memory" } else { "" };
        format!("about {:.0} reads{order}, where the plan takes {:.0}", self.cost, chosen_cost)
    }
}

/// A union over the branches of one condition, for each condition that has branches which all bind a path.
fn unions<'a>(request: &Request<'a, '_>, conjuncts: &[&Node]) -> Result<Vec<Plan<'a>>> {
    let mut plans = Vec::new();
    for (place, node) in conjuncts.iter().enumerate() {
        let Some(conditions) = branches_of(node) else { continue };
        let mut branches = Vec::with_capacity(conditions.len());
        let (mut cost, mut cost_max) = (0.0, 0.0f64);
        let is_of_words = text::branches_of(node).is_some();
        for condition in conditions {
            let own = condition.conjuncts();
            let others =
                conjuncts.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, node)| *node);
            let all: Vec<&Node> = others.chain(own.iter().copied()).collect();
            let measured = cost::Measured::default();
            let found = scan::paths(request, &all)?;
            let fits = |scan: &ScanPlan<'_>| scan.is_bound() && (!is_of_words || scan.word.is_some());
            let costs = found.into_iter().filter(fits).map(|scan| {
                let cost = cost::of_scan(request, &scan, all.len(), &measured);
                (scan, cost)
            });
            let best = costs.min_by(|(_, one), (_, other)| one.total_cmp(other));
            let Some((scan, branch_cost)) = best else { break };
            cost += branch_cost;
            cost_max = cost_max.max(branch_cost);
            drop(own);
            branches.push(Branch { scan, condition });
        }
        // Broken off: a branch would have to look at everything.
        if branches.len() == branches_of(node).map_or(0, |conditions| conditions.len()) {
            let is_merged =
                !request.order.is_empty() && branches.iter().all(|branch| branch.scan.gives_order);
            let is_sorted = !request.order.is_empty() && !is_merged;
            // However many words there are, the page is full as soon.
            if is_of_words && !is_sorted {
                cost = cost_max + branches.len() as f64;
            }
            plans.push(plan(Shape::Union { branches, is_merged }, is_sorted, cost));
        }
    }
    Ok(plans)
}

/// The conditions of which one has to hold. `None` where there is one alone, or too many.
fn branches_of(node: &Node) -> Option<Vec<Expression>> {
    let branches: Vec<Expression> = match node {
        Node::Or(nodes) => nodes.iter().map(|node| Expression { root: node.clone() }).collect(),
        Node::In(needle, list) => match &**list {
            Node::Literal(Some(Value::List(values))) => {
                let mut different: Vec<&Value> = Vec::new();
                different.extend(
                    values
                        .iter()
                        .enumerate()
                        .filter_map(|(place, value)| (!values[..place].contains(value)).then_some(value)),
                );
                let equal = |value: &Value| {
                    let literal = Box::new(Node::Literal(Some(value.clone())));
                    Expression { root: Node::Compare(Comparison::Equal, needle.clone(), literal) }
                };
                different.into_iter().map(equal).collect()
            }
            _ => return None,
        },
        node => text::branches_of(node)?,
    };
    (2..=UNION_BRANCHES_MAX).contains(&branches.len()).then_some(branches)
}

/// Two indexes, or two words of one, that are each bound to one value in every column and have much in them. Whoever goes on with a plan does not look at how
/// much there is: then it may be any two.
fn intersections<'a>(
    request: &Request<'a, '_>,
    paths: &[ScanPlan<'a>],
    measured: &cost::Measured,
    is_resumed: bool,
) -> Vec<Plan<'a>> {
    let is_whole = |scan: &&ScanPlan<'a>| {
        scan.index.is_some_and(|index| {
            let rest = rest_of_key(request.record_type, index).count();
            !index.is_unique()
                && scan.equal_columns == index.columns.len()
                && rest == request.record_type.primary_key.len()
                && index.columns.iter().all(|column| !column.is_each)
        }) && (is_resumed || measured.is_large(scan))
    };
    let whole: Vec<&ScanPlan<'a>> = paths.iter().filter(is_whole).collect();
    // The entries come in the order of the primary key, and no other.
    let by_key = |scan: &ScanPlan<'a>| ScanPlan { is_reverse: false, is_covering: false, ..scan.clone() };
    let is_sorted = !request.order.is_empty();
    let cost = cost::of_intersection(request, is_sorted);
    let pairs = whole.iter().enumerate().flat_map(|(place, one)| {
        whole[place + 1..].iter().map(|other| Shape::Intersection(by_key(one), by_key(other)))
    });
    let plans = pairs.map(|shape| plan(shape, is_sorted, cost));
    plans.take(if is_resumed { usize::MAX } else { 1 }).collect()
}
