//! Arithmetic on values. What has no result, an overflow or a division by zero, is missing.

use std::cmp::Ordering;

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;

use super::Operation;
use crate::limits::EXPRESSION_TEXT_SIZE_BYTES_MAX;
use crate::value::Value;

/// The result for two values. Two integers stay integers, a decimal makes a decimal of both, else a float makes a float of both.
pub(super) fn apply(operation: Operation, left: &Value, right: &Value) -> Option<Value> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => integers(operation, *left, *right).map(Value::Int),
        (Value::Decimal(_), _) | (_, Value::Decimal(_)) => {
            decimals(operation, decimal_of(left)?, decimal_of(right)?).map(Value::Decimal)
        }
        (Value::Float(_), _) | (_, Value::Float(_)) => {
            floats(operation, float_of(left)?, float_of(right)?).map(Value::Float)
        }
        (Value::String(left), Value::String(right)) if operation == Operation::Add => {
            let size_bytes = left.len().checked_add(right.len())?;
            (size_bytes <= EXPRESSION_TEXT_SIZE_BYTES_MAX).then(|| Value::String([&**left, right].concat()))
        }
        _ => None,
    }
}

/// The number with the other sign.
pub(super) fn negate(value: &Value) -> Option<Value> {
    match value {
        Value::Int(value) => value.checked_neg().map(Value::Int),
        Value::Float(value) => Some(Value::Float(-value)),
        Value::Decimal(value) => Some(Value::Decimal(-value)),
        _ => None,
    }
}

fn integers(operation: Operation, left: i64, right: i64) -> Option<i64> {
    match operation {
        Operation::Add => left.checked_add(right),
        Operation::Subtract => left.checked_sub(right),
        Operation::Multiply => left.checked_mul(right),
        Operation::Divide => left.checked_div(right),
        // The one case that overflows in the machine has the remainder 0.
        Operation::Remainder if right == -1 => Some(0),
        Operation::Remainder => left.checked_rem(right),
    }
}

fn floats(operation: Operation, left: f64, right: f64) -> Option<f64> {
    let result = match operation {
        Operation::Add => left + right,
        Operation::Subtract => left - right,
        Operation::Multiply => left * right,
        Operation::Divide => left / right,
        Operation::Remainder => left % right,
    };
    result.is_finite().then_some(result)
}

fn decimals(operation: Operation, left: Decimal, right: Decimal) -> Option<Decimal> {
    match operation {
        Operation::Add => left.checked_add(right),
        Operation::Subtract => left.checked_sub(right),
        Operation::Multiply => left.checked_mul(right),
        Operation::Divide => left.checked_div(right),
        Operation::Remainder => left.checked_rem(right),
    }
}

fn decimal_of(value: &Value) -> Option<Decimal> {
    match value {
        Value::Decimal(value) => Some(*value),
        Value::Int(value) => Some(Decimal::from(*value)),
        Value::Float(value) => Decimal::from_f64(*value),
        _ => None,
    }
}

fn float_of(value: &Value) -> Option<f64> {
    match value {
        Value::Float(value) => Some(*value),
        Value::Int(value) => Some(*value as f64),
        _ => None,
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
