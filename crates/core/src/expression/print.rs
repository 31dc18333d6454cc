//! From a tree to a text in CEL that is read as the same tree.

use std::fmt::Write;

use super::tree::Tree;
use super::{Comparison, Operation, Quantifier};
use crate::value::Value;

/// How tightly operators bind, from the loosest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Or,
    And,
    Relation,
    Sum,
    Product,
    Sign,
    Whole,
}

/// The text of an expression.
pub(super) fn text(tree: &Tree) -> String {
    let mut text = String::new();
    write(tree, Binding::Or, &mut text);
    text
}

/// The text of a value; unlike [`Value`]'s own it tells types apart.
pub(crate) fn value_text(value: &Value) -> String {
    let mut text = String::new();
    write_value(value, &mut text);
    text
}

fn binding(tree: &Tree) -> Binding {
    match tree {
        Tree::Or(_) => Binding::Or,
        Tree::And(_) => Binding::And,
        Tree::Compare(..) | Tree::In(..) => Binding::Relation,
        Tree::Arithmetic(Operation::Add | Operation::Subtract, ..) => Binding::Sum,
        Tree::Arithmetic(..) => Binding::Product,
        Tree::Negate(_) | Tree::Not(_) => Binding::Sign,
        Tree::Literal(Some(Value::Int(number))) if *number < 0 => Binding::Sign,
        Tree::Literal(Some(Value::Float(number))) if number.is_sign_negative() => Binding::Sign,
        _ => Binding::Whole,
    }
}

/// Writes a part where nothing looser than the given binding may stand without brackets.
fn write(tree: &Tree, least: Binding, text: &mut String) {
    match binding(tree) < least {
        true => {
            text.push('(');
            write_bare(tree, text);
            text.push(')');
        }
        false => write_bare(tree, text),
    }
}

fn write_bare(tree: &Tree, text: &mut String) {
    match tree {
        Tree::Literal(None) => text.push_str("null"),
        Tree::Literal(Some(value)) => write_value(value, text),
        Tree::List(elements) => {
            text.push('[');
            write_all(elements, ", ", Binding::Or, text);
            text.push(']');
        }
        Tree::Path(path) => text.push_str(&path.join(".")),
        Tree::Has(inner) => write_call("has", std::slice::from_ref(inner), text),
        Tree::Not(inner) => write_sign('!', inner, text),
        Tree::Negate(inner) => write_sign('-', inner, text),
        Tree::And(parts) => write_all(parts, " && ", Binding::Relation, text),
        Tree::Or(parts) => write_all(parts, " || ", Binding::And, text),
        Tree::Compare(comparison, left, right) => {
            let sign = match comparison {
                Comparison::Equal => " == ",
                Comparison::NotEqual => " != ",
                Comparison::Less => " < ",
                Comparison::LessOrEqual => " <= ",
                Comparison::Greater => " > ",
                Comparison::GreaterOrEqual => " >= ",
            };
            write_pair(left, sign, right, Binding::Sum, Binding::Sum, text);
        }
        Tree::In(left, right) => write_pair(left, " in ", right, Binding::Sum, Binding::Sum, text),
        Tree::Arithmetic(operation, left, right) => {
            let (own, tighter) = match operation {
                Operation::Add | Operation::Subtract => (Binding::Sum, Binding::Product),
                _ => (Binding::Product, Binding::Sign),
            };
            write_pair(left, &format!(" {} ", operation.sign()), right, own, tighter, text);
        }
        Tree::Each(quantifier, list, name, condition) => {
            write(list, Binding::Whole, text);
            text.push_str(if *quantifier == Quantifier::Any { ".exists(" } else { ".all(" });
            text.push_str(name);
            text.push_str(", ");
            write(condition, Binding::Or, text);
            text.push(')');
        }
        Tree::Call(function, arguments) => match arguments.split_first() {
            Some((target, arguments)) if function.is_method() => {
                write(target, Binding::Whole, text);
                text.push('.');
                write_call(function.name(), arguments, text);
            }
            _ => write_call(function.name(), arguments, text),
        },
        Tree::Refused(..) => text.push_str("..."),
    }
}

fn write_pair(left: &Tree, sign: &str, right: &Tree, of_left: Binding, of_right: Binding, text: &mut String) {
    write(left, of_left, text);
    text.push_str(sign);
    write(right, of_right, text);
}

/// Two signs in a row would cancel each other out before they are read.
fn write_sign(sign: char, inner: &Tree, text: &mut String) {
    text.push(sign);
    write(inner, Binding::Whole, text);
}

fn write_all(parts: &[Tree], between: &str, least: Binding, text: &mut String) {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            text.push_str(between);
        }
        write(part, least, text);
    }
}

fn write_call<T: std::borrow::Borrow<Tree>>(name: &str, arguments: &[T], text: &mut String) {
    text.push_str(name);
    text.push('(');
    for (index, argument) in arguments.iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        write(argument.borrow(), Binding::Or, text);
    }
    text.push(')');
}

fn write_value(value: &Value, text: &mut String) {
    // Writing to a string does not fail.
    let _ = match value {
        Value::Bool(value) => write!(text, "{value}"),
        Value::Int(value) => write!(text, "{value}"),
        Value::Float(value) => write!(text, "{value:?}"),
        Value::String(value) => {
            write_quoted(value, text);
            Ok(())
        }
        Value::Enum(value) => {
            write_quoted(value, text);
            Ok(())
        }
        Value::Bytes(bytes) => {
            text.push_str("b\"");
            bytes.iter().try_for_each(|byte| write!(text, "\\x{byte:02x}")).map(|()| text.push('"'))
        }
        Value::Uuid(value) => write!(text, "uuid(\"{value}\")"),
        Value::Timestamp(value) => write!(text, "timestamp(\"{value}\")"),
        Value::Date(value) => write!(text, "date(\"{value}\")"),
        Value::Decimal(value) => write!(text, "decimal(\"{value}\")"),
        Value::List(elements) => {
            text.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    text.push_str(", ");
                }
                write_value(element, text);
            }
            text.push(']');
            Ok(())
        }
        // No literal has these types.
        Value::Json(_) | Value::Struct(_) => write!(text, "{}", value.to_json()),
    };
}

fn write_quoted(content: &str, text: &mut String) {
    text.push('"');
    for character in content.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            character if character.is_control() => {
                let _ = write!(text, "\\u{:04x}", u32::from(character));
            }
            character => text.push(character),
        }
    }
    text.push('"');
}
