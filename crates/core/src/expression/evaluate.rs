//! Evaluation.

use std::borrow::Cow;
use std::cmp::Ordering;

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;

use super::{Comparison, Node, TextTest};
use crate::value::{Name, Value};

pub(super) fn holds(node: &Node, values: &[(Name, Value)]) -> bool {
    match node {
        Node::Not(inner) => !holds(inner, values),
        Node::And(nodes) => nodes.iter().all(|node| holds(node, values)),
        Node::Or(nodes) => nodes.iter().any(|node| holds(node, values)),
        Node::Compare(comparison, left, right) => {
            compare(*comparison, value_of(left, values).as_deref(), value_of(right, values).as_deref())
        }
        Node::In(needle, list) => match (value_of(needle, values), value_of(list, values).as_deref()) {
            (Some(needle), Some(Value::List(elements))) => {
                elements.iter().any(|element| order(&needle, element) == Some(Ordering::Equal))
            }
            _ => false,
        },
        Node::Text(test, text, part) => {
            match (value_of(text, values).as_deref(), value_of(part, values).as_deref()) {
                (Some(Value::String(text)), Some(Value::String(part))) => match test {
                    TextTest::StartsWith => text.starts_with(part.as_str()),
                    TextTest::EndsWith => text.ends_with(part.as_str()),
                    TextTest::Contains => text.contains(part.as_str()),
                },
                _ => false,
            }
        }
        Node::Has(path) => field(path, values).is_some(),
        node => matches!(value_of(node, values).as_deref(), Some(Value::Bool(true))),
    }
}

fn value_of<'a>(node: &'a Node, values: &'a [(Name, Value)]) -> Option<Cow<'a, Value>> {
    match node {
        Node::Literal(value) => value.as_ref().map(Cow::Borrowed),
        Node::Field(path) => field(path, values).map(Cow::Borrowed),
        Node::Size(inner) => {
            let size = match &*value_of(inner, values)? {
                Value::String(text) => text.chars().count(),
                Value::Bytes(bytes) => bytes.len(),
                Value::List(elements) => elements.len(),
                _ => return None,
            };
            Some(Cow::Owned(Value::Int(i64::try_from(size).unwrap_or(i64::MAX))))
        }
        other => Some(Cow::Owned(Value::Bool(holds(other, values)))),
    }
}

fn field<'a>(path: &[String], values: &'a [(Name, Value)]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let value = values.iter().find(|(name, _)| **name == **first).map(|(_, value)| value)?;
    match (rest, value) {
        ([], value) => Some(value),
        (rest, Value::Struct(fields)) => field(rest, fields),
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

/// How two values of comparable types lie; numbers compare by what they are worth, whatever their type.
pub(crate) fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Float(left), Value::Float(right)) => left.partial_cmp(right),
        (Value::Int(left), Value::Float(right)) => order_mixed(*left, *right),
        (Value::Float(left), Value::Int(right)) => order_mixed(*right, *left).map(Ordering::reverse),
        (Value::Decimal(left), Value::Decimal(right)) => Some(left.cmp(right)),
        (Value::Decimal(left), Value::Int(right)) => Some(left.cmp(&Decimal::from(*right))),
        (Value::Int(left), Value::Decimal(right)) => Some(Decimal::from(*left).cmp(right)),
        (Value::Decimal(left), Value::Float(right)) => {
            Decimal::from_f64(*right).map(|right| left.cmp(&right))
        }
        (Value::Float(left), Value::Decimal(right)) => Decimal::from_f64(*left).map(|left| left.cmp(right)),
        (Value::String(_) | Value::Enum(_), Value::String(_) | Value::Enum(_)) => {
            Some(left.as_name().cmp(&right.as_name()))
        }
        (Value::Bytes(left), Value::Bytes(right)) => Some(left.cmp(right)),
        (Value::Uuid(left), Value::Uuid(right)) => Some(left.cmp(right)),
        (Value::Timestamp(left), Value::Timestamp(right)) => Some(left.cmp(right)),
        (Value::Date(left), Value::Date(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

/// An integer and a float, without losing what a float cannot hold.
fn order_mixed(integer: i64, float: f64) -> Option<Ordering> {
    // Two to the 63rd: every integer lies below, and every float from there on above.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    if float.is_nan() {
        return None;
    }
    if float >= BEYOND {
        return Some(Ordering::Less);
    }
    if float < -BEYOND {
        return Some(Ordering::Greater);
    }
    let whole = float.trunc();
    Some(
        integer
            .cmp(&(whole as i64))
            .then_with(|| 0.0f64.partial_cmp(&(float - whole)).unwrap_or(Ordering::Equal)),
    )
}
