//! Paths of text indexes: one for each word that is looked for, or for how a word begins.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use tenantry_kv::tuple::{self, Element};

use super::bounds::Bounds;
use super::scan::{ScanPlan, column_name, is_same, order_of, settled_by_condition, shown};
use super::{Request, SortColumn};
use crate::error::Result;
use crate::expression::{Expression, Node, Quantifier};
use crate::index_form::{self, BEHIND_ALL};
use crate::key_space::behind;
use crate::limits::TEXT_PATHS_MAX;
use crate::schema::{Column, Index};
use crate::text::{MatchKind, TextQuery, Tokenizer};

/// What a scan of a text index is bound to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::query) enum Word {
    Whole(String),
    /// Every word that begins so. A record may have several of them.
    Begin(String),
}

impl Word {
    pub(super) fn text(&self) -> &str {
        match self {
            Word::Whole(text) | Word::Begin(text) => text,
        }
    }
}

impl fmt::Display for Word {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Word::Whole(text) => write!(formatter, "the word {text:?}"),
            Word::Begin(text) => write!(formatter, "a word that begins with {text:?}"),
        }
    }
}

/// A condition on words: the text, or the list of which an element has to have them, and whether it is a list.
fn words_of(node: &Node) -> Option<(&Node, bool, &TextQuery)> {
    match node {
        Node::Match(text, query) => Some((text, false, query)),
        Node::Each(Quantifier::Any, list, condition) => match &**condition {
            Node::Match(element, query) => match &**element {
                Node::Element(0, path) if path.is_empty() => Some((list, true, query)),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// The conditions on one word of which one has to hold. `None` for a condition that is not of this kind.
pub(super) fn branches_of(node: &Node) -> Option<Vec<Expression>> {
    let (_, _, query) = words_of(node)?;
    let queries: Vec<TextQuery> = match (query.kind, &query.prefix) {
        (MatchKind::Any, _) => query.words.iter().map(|word| query.of_word(word)).collect(),
        (MatchKind::Prefix, Some(prefix)) if query.words.is_empty() && !prefix.is_one_range() => {
            vec![query.of_word(&prefix.whole), query.of_begin(&prefix.begin)]
        }
        _ => return None,
    };
    let with_query = |query: TextQuery| match node {
        Node::Each(quantifier, list, condition) => match &**condition {
            Node::Match(element, _) => {
                let condition = Box::new(Node::Match(element.clone(), query));
                Some(Node::Each(*quantifier, list.clone(), condition))
            }
            _ => None,
        },
        Node::Match(text, _) => Some(Node::Match(text.clone(), query)),
        _ => None,
    };
    queries.into_iter().map(|query| with_query(query).map(|root| Expression { root })).collect()
}

/// What every record that fits has in its entries.
fn needed(query: &TextQuery) -> Vec<Word> {
    match (query.kind, &query.prefix) {
        (MatchKind::Any, _) if query.words.len() > 1 => Vec::new(),
        (_, Some(prefix)) if query.words.is_empty() && prefix.is_one_range() => {
            vec![Word::Begin(prefix.begin.clone())]
        }
        _ => query.words.iter().cloned().map(Word::Whole).collect(),
    }
}

/// The paths of a text index whose group is bound: one for each word.
pub(super) fn paths<'a>(
    request: &Request<'a, '_>,
    index: &'a Index,
    tokenizer: Tokenizer,
    conjuncts: &[&Node],
) -> Result<Vec<ScanPlan<'a>>> {
    let (Some(mut settled), Some((column, group))) =
        (settled_by_condition(index, conjuncts), index.columns.split_last())
    else {
        return Ok(Vec::new());
    };
    let mut equal: Vec<Element> = Vec::with_capacity(index.columns.len());
    let mut bounds = Vec::new();
    for column in group {
        let found = Bounds::of(column, conjuncts);
        let Some(value) = found.equal else { return Ok(Vec::new()) };
        bounds.push(format!("{} = {}", column_name(column), shown(value)));
        equal.push(index_form::element(column, value)?);
        settled += found.conditions;
    }
    let queries = conjuncts.iter().filter_map(|node| words_of(node)).filter(|(text, is_each, query)| {
        **text == column.expression.root && *is_each == column.is_each && query.tokenizer == tokenizer
    });
    let needed: Vec<Vec<Word>> = queries.map(|(_, _, query)| needed(query)).collect();
    let words: BTreeSet<&Word> = needed.iter().flatten().collect();
    let mut words: Vec<&Word> = words.into_iter().collect();
    // The longest are likely the rarest.
    words.sort_by_key(|word| std::cmp::Reverse(word.text().chars().count()));
    words.truncate(TEXT_PATHS_MAX);
    let path = |word: &Word| {
        let mut plan = ScanPlan {
            index: Some(index),
            begin: tuple::pack(&equal)?,
            end: bytes::Bytes::new(),
            is_reverse: false,
            is_covering: false,
            gives_order: false,
            bounds: bounds.iter().cloned().chain([format!("{} has {word}", column_name(column))]).collect(),
            word: Some(word.clone()),
            equal_columns: equal.len(),
            has_range: false,
            is_one: false,
            // Of a condition on several words one settles a part, and more of it than no condition would.
            settled: settled + needed.iter().filter(|words| words.contains(word)).count(),
        };
        bind(&mut plan, request, column, group, word)?;
        Ok(plan)
    };
    words.into_iter().map(path).collect()
}

/// Binds a plan that is bound to a group to a word of it.
fn bind(
    plan: &mut ScanPlan<'_>,
    request: &Request<'_, '_>,
    column: &Column,
    group: &[Column],
    word: &Word,
) -> Result<()> {
    match word {
        Word::Whole(text) => {
            plan.begin = tuple::pack_after(&plan.begin, &[Element::String(text.clone())])?;
            plan.end = behind(&plan.begin, &[BEHIND_ALL]);
            plan.equal_columns += 1;
            // The entries of one word come in the order of the primary key.
            let mut columns: Vec<Cow<'_, Column>> = group.iter().map(Cow::Borrowed).collect();
            for name in &request.record_type.primary_key {
                columns.push(Cow::Owned(Column::of_field(request.record_type.field(name)?)));
            }
            (plan.gives_order, plan.is_reverse) = order_of(&columns, group.len(), &request.order);
        }
        Word::Begin(text) => {
            (plan.begin, plan.end) = index_form::text_range(&plan.begin, column, text)?;
            plan.has_range = true;
            let is_bound = |sorted: &SortColumn| group.iter().any(|column| is_same(column, sorted));
            plan.gives_order = request.order.iter().all(is_bound);
        }
    }
    Ok(())
}
