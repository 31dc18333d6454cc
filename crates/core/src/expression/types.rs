//! Types of parts, and how two of them go together.

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;
use uuid::Uuid;

use super::tree::Function;
use super::{Comparison, Node, Operation, invalid, unsupported};
use crate::error::{Result, limit, shown};
use crate::limits::EXPRESSION_TEXT_SIZE_BYTES_MAX;
use crate::value::{FieldType, Value, parse_date, parse_decimal, parse_timestamp};

/// The type of a part.
#[derive(Clone, Debug)]
pub(super) enum Type {
    Null,
    Of(FieldType),
    /// A list of literals, each with its own type.
    Literals,
}

impl Type {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Type::Null => "null",
            Type::Of(field_type) => field_type.name(),
            Type::Literals => "list",
        }
    }
}

/// A part with its type.
#[derive(Clone, Debug)]
pub(super) struct Typed {
    pub(super) node: Node,
    pub(super) kind: Type,
}

impl Typed {
    pub(super) fn new(node: Node, field_type: FieldType) -> Typed {
        Typed { node, kind: Type::Of(field_type) }
    }

    pub(super) fn condition(node: Node) -> Typed {
        Typed::new(node, FieldType::Bool)
    }

    pub(super) fn is_constant(&self) -> bool {
        matches!(self.node, Node::Literal(Some(_)))
    }
}

/// A literal, typed by its value.
pub(super) fn literal(value: Value) -> Result<Typed> {
    let field_type = match &value {
        Value::Bool(_) => FieldType::Bool,
        Value::Int(_) => FieldType::Int,
        Value::Float(number) if number.is_finite() => FieldType::Float,
        Value::Float(_) => return Err(unsupported("a number that is not finite")),
        Value::String(text) => {
            check_size(text.len())?;
            FieldType::String
        }
        // By itself an enum's value is its name; beside a field of the enum it becomes one again.
        Value::Enum(name) => return literal(Value::String(name.to_string())),
        Value::Bytes(bytes) => {
            check_size(bytes.len())?;
            FieldType::Bytes
        }
        Value::Uuid(_) => FieldType::Uuid,
        Value::Timestamp(moment) if moment.subsec_nanosecond() % 1_000 != 0 => {
            return Err(invalid(format!(
                "a timestamp holds whole microseconds, not {moment}: round it, or take the present moment from Tenant::now"
            )));
        }
        Value::Timestamp(_) => FieldType::Timestamp,
        Value::Date(_) => FieldType::Date,
        Value::Decimal(_) => FieldType::Decimal,
        Value::List(_) => {
            return Ok(Typed { node: Node::Literal(Some(value)), kind: Type::Literals });
        }
        Value::Json(_) | Value::Struct(_) => {
            return Err(unsupported(&format!("a literal of the type {}", value.type_name())));
        }
    };
    Ok(Typed::new(Node::Literal(Some(value)), field_type))
}

fn check_size(size_bytes: usize) -> Result<()> {
    match size_bytes <= EXPRESSION_TEXT_SIZE_BYTES_MAX {
        true => Ok(()),
        false => {
            Err(limit("the bytes of a value in an expression", size_bytes, EXPRESSION_TEXT_SIZE_BYTES_MAX))
        }
    }
}

/// The value that a function like `date` makes of a text.
pub(super) fn construct(function: Function, text: &str) -> Result<Typed> {
    let value = match function {
        Function::Date => parse_date(text).map(Value::Date),
        Function::Timestamp => parse_timestamp(text).map(Value::Timestamp),
        Function::Uuid => Uuid::try_parse(text).ok().map(Value::Uuid),
        _ => parse_decimal(text).map(Value::Decimal),
    };
    match value {
        Some(value) => literal(value),
        None => Err(invalid(format!("{} is no {}", shown(text), function.name()))),
    }
}

/// The needle of an `in` and what it is looked for in.
pub(super) fn membership(needle: Typed, list: Typed) -> Result<Typed> {
    let node = match (list.node, &list.kind) {
        (Node::Literal(Some(Value::List(elements))), Type::Literals) => {
            let mut fitting = Vec::new();
            for element in elements {
                let (_, right) = comparable(Comparison::Equal, needle.clone(), literal(element)?)?;
                if let Node::Literal(Some(value)) = right {
                    fitting.push(value);
                }
            }
            Node::Literal(Some(Value::List(fitting)))
        }
        (node, Type::Of(FieldType::List(element))) => {
            // Only the types count here: the element is no literal.
            let element = Typed::new(Node::Field(Vec::new()), (**element).clone());
            let (fitted, _) = comparable(Comparison::Equal, needle, element)?;
            return Ok(Typed::condition(Node::In(Box::new(fitted), Box::new(node))));
        }
        (_, other) => {
            return Err(invalid(format!("\"in\" takes a list on its right, not a {}", other.name())));
        }
    };
    Ok(Typed::condition(Node::In(Box::new(needle.node), Box::new(node))))
}

/// Both sides in types that compare; literals take the type of the field beside them.
pub(super) fn comparable(comparison: Comparison, left: Typed, right: Typed) -> Result<(Node, Node)> {
    let is_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
    let (left_type, right_type) = match (&left.kind, &right.kind) {
        (Type::Null, _) | (_, Type::Null) if is_equality => return Ok((left.node, right.node)),
        (Type::Of(left), Type::Of(right)) => (left.clone(), right.clone()),
        (left, right) => return Err(incomparable(left.name(), right.name(), "")),
    };
    let right_node = fitted(right.node, &right_type, &left_type)?;
    let left_node = fitted(left.node, &left_type, &right_type)?;
    let is_text = |field_type: &FieldType| matches!(field_type, FieldType::String | FieldType::Enum(_));
    let has_enum = [&left_type, &right_type].iter().any(|side| matches!(side, FieldType::Enum(_)));
    if has_enum && is_text(&left_type) && is_text(&right_type) && !is_equality {
        return Err(unsupported("an enum compared by anything but == and !="));
    }
    let is_comparable = (is_number(&left_type) && is_number(&right_type))
        || (is_text(&left_type) && is_text(&right_type))
        || (left_type.has_key_form() && left_type.name() == right_type.name());
    match is_comparable {
        true => Ok((left_node, right_node)),
        false => {
            let hint = match (&left_type, &right_type) {
                (FieldType::Date, FieldType::String) => ": write date(\"1998-06-12\")",
                (FieldType::Timestamp, FieldType::String) => ": write timestamp(\"1998-06-12T20:15:00Z\")",
                (FieldType::Uuid, FieldType::String) => ": write uuid(\"...\")",
                (FieldType::Decimal, FieldType::String) => ": write decimal(\"12.50\")",
                _ => "",
            };
            Err(incomparable(left_type.name(), right_type.name(), hint))
        }
    }
}

/// Both sides of an operation, with the type of its result.
pub(super) fn operands(operation: Operation, left: Typed, right: Typed) -> Result<(Node, Node, FieldType)> {
    let sign = operation.sign();
    let (Type::Of(left_type), Type::Of(right_type)) = (&left.kind, &right.kind) else {
        return Err(invalid(format!(
            "{sign} takes numbers, not a {} and a {}",
            left.kind.name(),
            right.kind.name()
        )));
    };
    let result = match (left_type, right_type) {
        (FieldType::String, FieldType::String) if operation == Operation::Add => FieldType::String,
        (FieldType::Int, FieldType::Int) => FieldType::Int,
        (left, right) if is_number(left) && is_number(right) => {
            match [left, right].contains(&&FieldType::Decimal) {
                true => FieldType::Decimal,
                false => FieldType::Float,
            }
        }
        (left, right) => {
            let takes = if operation == Operation::Add { "numbers or strings" } else { "numbers" };
            return Err(invalid(format!(
                "{sign} takes two {takes}, not a {} and a {}",
                left.name(),
                right.name()
            )));
        }
    };
    let left_node = fitted(left.node, left_type, right_type)?;
    let right_node = fitted(right.node, right_type, left_type)?;
    Ok((left_node, right_node, result))
}

pub(super) fn is_number(field_type: &FieldType) -> bool {
    matches!(field_type, FieldType::Int | FieldType::Float | FieldType::Decimal)
}

/// A literal in the type of the field that it is compared with, where that loses nothing.
fn fitted(node: Node, own: &FieldType, other: &FieldType) -> Result<Node> {
    let Node::Literal(Some(value)) = &node else { return Ok(node) };
    let changed = match (value, own, other) {
        (Value::Int(value), _, FieldType::Float) if (*value as f64) as i128 == i128::from(*value) => {
            Some(Value::Float(*value as f64))
        }
        (Value::Int(value), _, FieldType::Decimal) => Some(Value::Decimal(Decimal::from(*value))),
        (Value::Float(value), _, FieldType::Decimal) => Decimal::from_f64(*value).map(Value::Decimal),
        (Value::String(name), FieldType::String, FieldType::Enum(values)) => {
            let Some(found) = values.iter().find(|value| *value.name == **name) else {
                let known: Vec<&str> = values.iter().map(|value| &*value.name).collect();
                return Err(invalid(format!("{} is none of {}", shown(name), known.join(", "))));
            };
            Some(Value::Enum(found.name.clone()))
        }
        _ => None,
    };
    Ok(changed.map_or(node, |value| Node::Literal(Some(value))))
}

fn incomparable(left: &str, right: &str, hint: &str) -> crate::error::Error {
    invalid(format!("a {left} does not compare with a {right}{hint}"))
}
