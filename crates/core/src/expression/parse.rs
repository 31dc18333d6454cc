//! From text to a typed expression. The parser is the crate `cel`; before it sees the text, its length and depth are bounded, since the parser
//! recurses.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::parser::Parser;
use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;
use uuid::Uuid;

use super::{Comparison, Node, TextTest};
use crate::error::{Code, Error, Result, limit, shown};
use crate::limits::{EXPRESSION_DEPTH_MAX, EXPRESSION_NODES_MAX, EXPRESSION_SIZE_BYTES_MAX};
use crate::schema::RecordType;
use crate::value::{Field, FieldType, Value, parse_date, parse_decimal, parse_timestamp};

pub(super) fn parse(text: &str, record_type: &RecordType) -> Result<Node> {
    check_text(text)?;
    let parsed = Parser::new().max_recursion_depth(96).parse(text).map_err(|errors| {
        let first = errors.to_string().lines().take(3).collect::<Vec<_>>().join(" ");
        Error::new(Code::ExpressionInvalid, first)
    })?;
    let mut reader = Reader { record_type, nodes_left: EXPRESSION_NODES_MAX };
    let typed = reader.read(&parsed, 0)?;
    match typed.kind {
        Type::Bool | Type::Field(FieldType::Bool) => Ok(typed.node),
        other => {
            let detail = format!("a filter is true or false, this one is {}", other.name());
            Err(Error::new(Code::ExpressionInvalid, detail))
        }
    }
}

/// Bounds what makes the parser recurse: brackets, runs of signs, conditionals.
fn check_text(text: &str) -> Result<()> {
    if text.len() > EXPRESSION_SIZE_BYTES_MAX {
        return Err(limit("the bytes of an expression", text.len(), EXPRESSION_SIZE_BYTES_MAX));
    }
    let (mut depth, mut deepest, mut signs, mut conditionals, mut dots) =
        (0usize, 0usize, 0usize, 0usize, 0usize);
    let mut quote: Option<u8> = None;
    let mut is_escaped = false;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().copied().enumerate() {
        if let Some(open) = quote {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                byte if byte == open => quote = None,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' | b'\'' => {
                // Quotes of these kinds end elsewhere than this walk would think.
                if bytes[at..].starts_with(&[byte; 3]) {
                    return Err(unsupported("a text in triple quotes"));
                }
                if at > 0 && matches!(bytes[at - 1], b'r' | b'R') {
                    return Err(unsupported("a raw text (r\"...\")"));
                }
                quote = Some(byte);
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'?' => conditionals += 1,
            b'.' => dots += 1,
            _ => {}
        }
        signs = match byte {
            b'!' | b'-' => signs + 1,
            byte if byte.is_ascii_whitespace() => signs,
            _ => 0,
        };
        deepest = deepest.max(depth).max(signs).max(conditionals);
    }
    if deepest > EXPRESSION_DEPTH_MAX {
        return Err(limit("the depth of an expression", deepest, EXPRESSION_DEPTH_MAX));
    }
    if dots > EXPRESSION_NODES_MAX {
        return Err(limit("the parts of an expression", dots, EXPRESSION_NODES_MAX));
    }
    Ok(())
}

/// The type of a part.
#[derive(Clone, Debug)]
enum Type {
    Null,
    Bool,
    Field(FieldType),
    /// A list of literals, each with its own type.
    Literals,
}

impl Type {
    fn name(&self) -> &'static str {
        match self {
            Type::Null => "null",
            Type::Bool => "bool",
            Type::Field(field_type) => field_type.name(),
            Type::Literals => "list",
        }
    }
}

struct Typed {
    node: Node,
    kind: Type,
}

struct Reader<'a> {
    record_type: &'a RecordType,
    nodes_left: usize,
}

impl Reader<'_> {
    fn read(&mut self, expression: &IdedExpr, depth: usize) -> Result<Typed> {
        // The parser nests some constructs more than once for each bracket.
        if depth > EXPRESSION_DEPTH_MAX * 4 {
            return Err(limit("the depth of an expression", depth, EXPRESSION_DEPTH_MAX * 4));
        }
        self.nodes_left = self.nodes_left.checked_sub(1).ok_or_else(|| {
            limit("the parts of an expression", EXPRESSION_NODES_MAX + 1, EXPRESSION_NODES_MAX)
        })?;
        match &expression.expr {
            Expr::Literal(literal) => read_literal(literal),
            Expr::Ident(_) | Expr::Select(_) => self.read_path(expression),
            Expr::Call(call) => self.read_call(call, depth),
            Expr::List(list) => {
                let mut elements = Vec::new();
                for element in &list.elements {
                    match self.read(element, depth + 1)?.node {
                        Node::Literal(Some(value)) => elements.push(value),
                        _ => return Err(unsupported("a list with anything but literals in it")),
                    }
                }
                Ok(Typed { node: Node::Literal(Some(Value::List(elements))), kind: Type::Literals })
            }
            Expr::Map(_) => Err(unsupported("a map")),
            Expr::Struct(_) => Err(unsupported("a message")),
            Expr::Comprehension(_) => Err(unsupported("a macro over a list (all, exists, map, filter)")),
            Expr::Unspecified => Err(Error::new(Code::ExpressionInvalid, "the expression is empty")),
        }
    }

    /// A field, or `has(field)`.
    fn read_path(&self, expression: &IdedExpr) -> Result<Typed> {
        let mut path = Vec::new();
        let mut at = expression;
        let is_test = matches!(&expression.expr, Expr::Select(select) if select.test);
        loop {
            match &at.expr {
                Expr::Ident(name) => {
                    path.push(name.clone());
                    break;
                }
                Expr::Select(select) => {
                    path.push(select.field.clone());
                    at = &select.operand;
                }
                _ => return Err(unsupported("a field of something that is no field")),
            }
        }
        path.reverse();
        let field = self.field(&path)?;
        Ok(match is_test {
            true => Typed { node: Node::Has(path), kind: Type::Bool },
            false => Typed { node: Node::Field(path), kind: Type::Field(field.field_type.clone()) },
        })
    }

    fn field(&self, path: &[String]) -> Result<&Field> {
        let mut fields = self.record_type.fields.as_slice();
        let mut found = None;
        for (index, name) in path.iter().enumerate() {
            let Some(field) = fields.iter().find(|field| *field.name == **name) else {
                let known: Vec<&str> = fields.iter().map(|field| &*field.name).collect();
                let detail = format!(
                    "{} in the type {}; there are {}",
                    shown(&path[..=index].join(".")),
                    shown(&self.record_type.name),
                    known.join(", ")
                );
                return Err(Error::new(Code::FieldNotFound, detail));
            };
            fields = match &field.field_type {
                FieldType::Struct(fields) => fields,
                _ => &[],
            };
            found = Some(field);
        }
        found.ok_or_else(|| Error::new(Code::FieldNotFound, "a field has a name"))
    }

    fn read_call(&mut self, call: &CallExpr, depth: usize) -> Result<Typed> {
        let comparison = match call.func_name.as_str() {
            operators::EQUALS => Some(Comparison::Equal),
            operators::NOT_EQUALS => Some(Comparison::NotEqual),
            operators::LESS => Some(Comparison::Less),
            operators::LESS_EQUALS => Some(Comparison::LessOrEqual),
            operators::GREATER => Some(Comparison::Greater),
            operators::GREATER_EQUALS => Some(Comparison::GreaterOrEqual),
            _ => None,
        };
        match (call.func_name.as_str(), &call.target, call.args.as_slice()) {
            (name @ (operators::LOGICAL_AND | operators::LOGICAL_OR), None, [_, _]) => {
                self.read_chain(name, call, depth)
            }
            (operators::LOGICAL_NOT, None, [inner]) => {
                let inner = self.read_bool(inner, depth)?;
                Ok(Typed { node: Node::Not(Box::new(inner)), kind: Type::Bool })
            }
            (operators::NEGATE, None, [inner]) => match self.read(inner, depth + 1)?.node {
                Node::Literal(Some(Value::Int(value))) => typed_literal(Value::Int(value.wrapping_neg())),
                Node::Literal(Some(Value::Float(value))) => typed_literal(Value::Float(-value)),
                _ => Err(unsupported("a minus before anything but a number")),
            },
            (_, None, [left, right]) if comparison.is_some() => {
                let comparison = comparison.unwrap_or(Comparison::Equal);
                let (left, right) = (self.read(left, depth + 1)?, self.read(right, depth + 1)?);
                let (left, right) = comparable(comparison, left, right)?;
                Ok(Typed {
                    node: Node::Compare(comparison, Box::new(left), Box::new(right)),
                    kind: Type::Bool,
                })
            }
            (operators::IN, None, [needle, list]) => {
                let (needle, list) = (self.read(needle, depth + 1)?, self.read(list, depth + 1)?);
                read_in(needle, list)
            }
            (name @ ("startsWith" | "endsWith" | "contains"), Some(target), [part]) => {
                let test = match name {
                    "startsWith" => TextTest::StartsWith,
                    "endsWith" => TextTest::EndsWith,
                    _ => TextTest::Contains,
                };
                let (text, part) = (self.read(target, depth + 1)?, self.read(part, depth + 1)?);
                for side in [&text, &part] {
                    if !matches!(side.kind, Type::Field(FieldType::String)) {
                        let detail = format!("{name} takes strings, not a {}", side.kind.name());
                        return Err(Error::new(Code::ExpressionInvalid, detail));
                    }
                }
                Ok(Typed {
                    node: Node::Text(test, Box::new(text.node), Box::new(part.node)),
                    kind: Type::Bool,
                })
            }
            ("size", None, [inner]) => self.read_size(inner, depth),
            ("size", Some(inner), []) => self.read_size(inner, depth),
            (name @ ("date" | "timestamp" | "uuid" | "decimal"), None, [argument]) => {
                let Node::Literal(Some(Value::String(text))) = self.read(argument, depth + 1)?.node else {
                    return Err(unsupported(&format!("{name}() of anything but a text in quotes")));
                };
                read_constructor(name, &text)
            }
            (operators::CONDITIONAL, ..) => Err(unsupported("a conditional (?:)")),
            (
                operators::ADD
                | operators::SUBSTRACT
                | operators::MULTIPLY
                | operators::DIVIDE
                | operators::MODULO,
                ..,
            ) => Err(unsupported("arithmetic")),
            (operators::INDEX | operators::OPT_INDEX, ..) => {
                Err(unsupported("an element of a list by its place"))
            }
            (name, ..) => Err(unsupported(&format!("the function {}", shown(name)))),
        }
    }

    /// A chain of the same operator: read along, not down, however long it is.
    fn read_chain(&mut self, name: &str, call: &CallExpr, depth: usize) -> Result<Typed> {
        let mut parts = Vec::new();
        let mut waiting: Vec<&IdedExpr> = call.args.iter().rev().collect();
        while let Some(next) = waiting.pop() {
            match &next.expr {
                Expr::Call(inner) if inner.func_name == name && inner.args.len() == 2 => {
                    waiting.extend(inner.args.iter().rev());
                }
                _ => parts.push(self.read_bool(next, depth)?),
            }
        }
        let node = if name == operators::LOGICAL_AND { Node::And(parts) } else { Node::Or(parts) };
        Ok(Typed { node, kind: Type::Bool })
    }

    fn read_bool(&mut self, expression: &IdedExpr, depth: usize) -> Result<Node> {
        let typed = self.read(expression, depth + 1)?;
        match typed.kind {
            Type::Bool | Type::Field(FieldType::Bool) => Ok(typed.node),
            other => {
                let detail = format!("&&, || and ! take conditions, not a {}", other.name());
                Err(Error::new(Code::ExpressionInvalid, detail))
            }
        }
    }

    fn read_size(&mut self, inner: &IdedExpr, depth: usize) -> Result<Typed> {
        let typed = self.read(inner, depth + 1)?;
        match typed.kind {
            Type::Field(FieldType::String | FieldType::Bytes | FieldType::List(_)) => {
                Ok(Typed { node: Node::Size(Box::new(typed.node)), kind: Type::Field(FieldType::Int) })
            }
            other => Err(Error::new(Code::ExpressionInvalid, format!("a {} has no size", other.name()))),
        }
    }
}

fn read_literal(literal: &LiteralValue) -> Result<Typed> {
    match literal {
        LiteralValue::Boolean(value) => {
            Ok(Typed { node: Node::Literal(Some(Value::Bool(*value.inner()))), kind: Type::Bool })
        }
        LiteralValue::Int(value) => typed_literal(Value::Int(*value.inner())),
        LiteralValue::UInt(value) => match i64::try_from(*value.inner()) {
            Ok(value) => typed_literal(Value::Int(value)),
            Err(_) => Err(unsupported("an unsigned integer of 2^63 or more")),
        },
        LiteralValue::Double(value) => typed_literal(Value::Float(*value.inner())),
        LiteralValue::String(value) => typed_literal(Value::String(value.inner().to_owned())),
        LiteralValue::Bytes(value) => {
            typed_literal(Value::Bytes(bytes::Bytes::copy_from_slice(value.inner())))
        }
        LiteralValue::Null => Ok(Typed { node: Node::Literal(None), kind: Type::Null }),
    }
}

fn typed_literal(value: Value) -> Result<Typed> {
    let field_type = match &value {
        Value::Int(_) => FieldType::Int,
        Value::Float(_) => FieldType::Float,
        Value::Bytes(_) => FieldType::Bytes,
        Value::Uuid(_) => FieldType::Uuid,
        Value::Timestamp(_) => FieldType::Timestamp,
        Value::Date(_) => FieldType::Date,
        Value::Decimal(_) => FieldType::Decimal,
        _ => FieldType::String,
    };
    Ok(Typed { node: Node::Literal(Some(value)), kind: Type::Field(field_type) })
}

fn read_constructor(name: &str, text: &str) -> Result<Typed> {
    let value = match name {
        "date" => parse_date(text).map(Value::Date),
        "timestamp" => parse_timestamp(text).map(Value::Timestamp),
        "uuid" => Uuid::try_parse(text).ok().map(Value::Uuid),
        _ => parse_decimal(text).map(Value::Decimal),
    };
    match value {
        Some(value) => typed_literal(value),
        None => Err(Error::new(Code::ExpressionInvalid, format!("{} is no {name}", shown(text)))),
    }
}

fn read_in(needle: Typed, list: Typed) -> Result<Typed> {
    let node = match (list.node, &list.kind) {
        (Node::Literal(Some(Value::List(elements))), Type::Literals) => {
            let mut fitting = Vec::new();
            for element in elements {
                let literal = match element {
                    Value::Bool(value) => {
                        Typed { node: Node::Literal(Some(Value::Bool(value))), kind: Type::Bool }
                    }
                    element => typed_literal(element)?,
                };
                let side = Typed { node: needle.node.clone(), kind: needle.kind.clone() };
                let (_, right) = comparable(Comparison::Equal, side, literal)?;
                if let Node::Literal(Some(value)) = right {
                    fitting.push(value);
                }
            }
            Node::Literal(Some(Value::List(fitting)))
        }
        (node, Type::Field(FieldType::List(element))) => {
            let side = Typed { node: needle.node.clone(), kind: needle.kind.clone() };
            comparable(
                Comparison::Equal,
                side,
                Typed { node: Node::Size(Box::new(node.clone())), kind: Type::Field((**element).clone()) },
            )?;
            node
        }
        (_, other) => {
            let detail = format!("\"in\" takes a list on its right, not a {}", other.name());
            return Err(Error::new(Code::ExpressionInvalid, detail));
        }
    };
    Ok(Typed { node: Node::In(Box::new(needle.node), Box::new(node)), kind: Type::Bool })
}

/// Both sides in types that compare; literals take the type of the field beside them.
fn comparable(comparison: Comparison, left: Typed, right: Typed) -> Result<(Node, Node)> {
    let is_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
    let (left_type, right_type) = match (&left.kind, &right.kind) {
        (Type::Null, _) | (_, Type::Null) if is_equality => return Ok((left.node, right.node)),
        (Type::Bool | Type::Field(FieldType::Bool), Type::Bool | Type::Field(FieldType::Bool)) => {
            return Ok((left.node, right.node));
        }
        (Type::Field(left), Type::Field(right)) => (left.clone(), right.clone()),
        (left, right) => return Err(incomparable(left.name(), right.name(), "")),
    };
    let right_node = fitted(right.node, &right_type, &left_type)?;
    let left_node = fitted(left.node, &left_type, &right_type)?;
    let is_number =
        |field_type: &FieldType| matches!(field_type, FieldType::Int | FieldType::Float | FieldType::Decimal);
    let is_text = |field_type: &FieldType| matches!(field_type, FieldType::String | FieldType::Enum(_));
    if let FieldType::Enum(_) = left_type
        && !is_equality
    {
        return Err(Error::new(Code::ExpressionUnsupported, "an enum compares with == and != alone"));
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
                let detail = format!("{} is none of {}", shown(name), known.join(", "));
                return Err(Error::new(Code::ExpressionInvalid, detail));
            };
            Some(Value::Enum(found.name.clone()))
        }
        _ => None,
    };
    Ok(changed.map_or(node, |value| Node::Literal(Some(value))))
}

fn incomparable(left: &str, right: &str, hint: &str) -> Error {
    Error::new(Code::ExpressionInvalid, format!("a {left} does not compare with a {right}{hint}"))
}

fn unsupported(what: &str) -> Error {
    Error::new(Code::ExpressionUnsupported, format!("{what} is not supported in a filter"))
}
