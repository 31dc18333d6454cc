//! Evaluation. Nothing here fails: what has no value is missing, and a condition on it does not hold.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::arithmetic::{self, order};
use super::{Case, Comparison, Node, Quantifier, TextTest};
use crate::limits::EXPRESSION_TEXT_SIZE_BYTES_MAX;
use crate::value::{Name, Value};

/// What names stand for.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    values: &'a [(Name, Value)],
    element: Option<&'a Element<'a>>,
}

/// The element that a condition on a list is about, inside those of the lists around it.
struct Element<'a> {
    level: usize,
    value: &'a Value,
    outer: Option<&'a Element<'a>>,
}

impl<'a> Scope<'a> {
    pub(super) fn of(values: &'a [(Name, Value)]) -> Scope<'a> {
        Scope { values, element: None }
    }

    fn element(self, level: usize) -> Option<&'a Value> {
        let mut element = self.element?;
        while element.level != level {
            element = element.outer?;
        }
        Some(element.value)
    }
}

pub(super) fn holds(node: &Node, scope: Scope<'_>) -> bool {
    match node {
        Node::Not(inner) => !holds(inner, scope),
        Node::And(nodes) => nodes.iter().all(|node| holds(node, scope)),
        Node::Or(nodes) => nodes.iter().any(|node| holds(node, scope)),
        Node::Compare(comparison, left, right) => {
            compare(*comparison, value_of(left, scope).as_deref(), value_of(right, scope).as_deref())
        }
        Node::In(needle, list) => match (value_of(needle, scope), value_of(list, scope).as_deref()) {
            (Some(needle), Some(Value::List(elements))) => {
                elements.iter().any(|element| order(&needle, element) == Some(Ordering::Equal))
            }
            _ => false,
        },
        Node::Text(test, text, part) => {
            match (value_of(text, scope).as_deref(), value_of(part, scope).as_deref()) {
                (Some(Value::String(text)), Some(Value::String(part))) => match test {
                    TextTest::StartsWith => text.starts_with(part.as_str()),
                    TextTest::EndsWith => text.ends_with(part.as_str()),
                    TextTest::Contains => text.contains(part.as_str()),
                },
                _ => false,
            }
        }
        Node::Match(text, query) => match value_of(text, scope).as_deref() {
            Some(Value::String(text)) => query.matches(text),
            _ => false,
        },
        Node::Each(quantifier, list, condition) => holds_for_elements(*quantifier, list, condition, scope),
        Node::Literal(_)
        | Node::Field(_)
        | Node::Element(..)
        | Node::Size(_)
        | Node::Case(..)
        | Node::Negate(_)
        | Node::Arithmetic(..) => matches!(value_of(node, scope).as_deref(), Some(Value::Bool(true))),
    }
}

pub(super) fn value_of<'a>(node: &'a Node, scope: Scope<'a>) -> Option<Cow<'a, Value>> {
    match node {
        Node::Literal(value) => value.as_ref().map(Cow::Borrowed),
        Node::Field(path) => field(path, scope.values).map(Cow::Borrowed),
        Node::Element(level, path) => inside(scope.element(*level)?, path).map(Cow::Borrowed),
        Node::Size(inner) => {
            let size = match &*value_of(inner, scope)? {
                Value::String(text) => text.chars().count(),
                Value::Bytes(bytes) => bytes.len(),
                Value::List(elements) => elements.len(),
                _ => return None,
            };
            Some(Cow::Owned(Value::Int(i64::try_from(size).unwrap_or(i64::MAX))))
        }
        Node::Case(case, inner) => match &*value_of(inner, scope)? {
            Value::String(text) => {
                let text = match case {
                    Case::Lower => text.to_lowercase(),
                    Case::Upper => text.to_uppercase(),
                };
                (text.len() <= EXPRESSION_TEXT_SIZE_BYTES_MAX).then(|| Cow::Owned(Value::String(text)))
            }
            _ => None,
        },
        Node::Negate(inner) => arithmetic::negate(&*value_of(inner, scope)?).map(Cow::Owned),
        Node::Arithmetic(operation, left, right) => {
            let (left, right) = (value_of(left, scope)?, value_of(right, scope)?);
            arithmetic::apply(*operation, &left, &right).map(Cow::Owned)
        }
        Node::Not(_)
        | Node::And(_)
        | Node::Or(_)
        | Node::Compare(..)
        | Node::In(..)
        | Node::Text(..)
        | Node::Match(..)
        | Node::Each(..) => Some(Cow::Owned(Value::Bool(holds(node, scope)))),
    }
}

/// A list that is missing has no elements.
fn holds_for_elements(quantifier: Quantifier, list: &Node, condition: &Node, scope: Scope<'_>) -> bool {
    let list = value_of(list, scope);
    let elements = match list.as_deref() {
        Some(Value::List(elements)) => elements.as_slice(),
        _ => &[],
    };
    let level = scope.element.map_or(0, |element| element.level + 1);
    let mut holds = elements.iter().map(|value| {
        let element = Element { level, value, outer: scope.element };
        holds(condition, Scope { values: scope.values, element: Some(&element) })
    });
    match quantifier {
        Quantifier::Any => holds.any(|holds| holds),
        Quantifier::All => holds.all(|holds| holds),
    }
}

fn field<'a>(path: &[String], values: &'a [(Name, Value)]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    inside(values.iter().find(|(name, _)| **name == **first).map(|(_, value)| value)?, rest)
}

/// A field of the structs in a value; the value itself for an empty path.
fn inside<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    match (path, value) {
        ([], value) => Some(value),
        (path, Value::Struct(fields)) => field(path, fields),
        _ => None,
    }
}

fn compare(comparison: Comparison, left: Option<&Value>, right: Option<&Value>) -> bool {
    let (Some(left), Some(right)) = (left, right) else {
        let are_both_missing = left.is_none() && right.is_none();
        return match comparison {
            Comparison::Equal => are_both_missing,
            Comparison::NotEqual => !are_both_missing,
            _ => false,
        };
    };
    let ordering = order(left, right);
    match comparison {
        Comparison::Equal => ordering == Some(Ordering::Equal),
        Comparison::NotEqual => ordering != Some(Ordering::Equal),
        Comparison::Less => ordering == Some(Ordering::Less),
        Comparison::LessOrEqual => matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
        Comparison::Greater => ordering == Some(Ordering::Greater),
        Comparison::GreaterOrEqual => matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
    }
}
