//! From text to a tree. The parser is the crate `cel`; before it sees the text, its length and depth are bounded (`bounds`), since the parser recurses.

use cel::Env;
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators};

use super::tree::{Function, Tree};
use super::{Comparison, Operation, Quantifier, bounds, unsupported};
use crate::error::{Code, Error, Result, limit, shown};
use crate::limits::{EXPRESSION_CHAIN_MAX, NAME_SIZE_BYTES_MAX};
use crate::value::Value;

/// What is nested in a tree: operators in a row, and more than one part for some brackets.
pub(super) const TREE_DEPTH_MAX: usize = EXPRESSION_CHAIN_MAX;

pub(super) fn parse(text: &str) -> Result<Tree> {
    if is_name(text) {
        return Ok(Tree::Path(vec![text.to_owned()]));
    }
    bounds::check(text)?;
    // Without macros: `has`, `exists` and `all` come as the calls that they are written as.
    let parser = Env::default().with_optional_support(false).parser().max_recursion_depth(96);
    let parsed = parser.parse(text).map_err(|errors| {
        let first = errors.to_string().lines().take(3).collect::<Vec<_>>().join(" ");
        Error::new(Code::ExpressionInvalid, first)
    })?;
    read(&parsed, 0)
}

/// Whether the text is one name and nothing else, as the columns of orders are: that needs no parser.
fn is_name(text: &str) -> bool {
    // The words that CEL has or keeps for itself are left to the parser.
    text.len() <= NAME_SIZE_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && !RESERVED.contains(&text)
}

/// See the language's definition, "Syntax": RESERVED, and the literals.
const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

fn read(expression: &IdedExpr, depth: usize) -> Result<Tree> {
    if depth > TREE_DEPTH_MAX {
        return Err(limit("the depth of an expression", depth, TREE_DEPTH_MAX));
    }
    match &expression.expr {
        Expr::Literal(literal) => Ok(Tree::Literal(read_literal(literal)?)),
        Expr::Ident(_) | Expr::Select(_) => read_path(expression),
        Expr::Call(call) => read_call(call, depth),
        Expr::List(list) => {
            let elements = list.elements.iter().map(|element| read(element, depth + 1));
            Ok(Tree::List(elements.collect::<Result<_>>()?))
        }
        Expr::Map(_) => Err(unsupported("a map")),
        Expr::Struct(_) => Err(unsupported("a message")),
        Expr::Comprehension(_) => Err(unsupported("a macro over a list")),
        Expr::Unspecified => Err(Error::new(Code::ExpressionInvalid, "the expression is empty")),
    }
}

fn read_literal(literal: &LiteralValue) -> Result<Option<Value>> {
    Ok(Some(match literal {
        LiteralValue::Boolean(value) => Value::Bool(*value.inner()),
        LiteralValue::Int(value) => Value::Int(*value.inner()),
        LiteralValue::UInt(value) => match i64::try_from(*value.inner()) {
            Ok(value) => Value::Int(value),
            Err(_) => return Err(unsupported("an unsigned integer of 2^63 or more")),
        },
        LiteralValue::Double(value) => Value::Float(*value.inner()),
        LiteralValue::String(value) => Value::String(value.inner().to_owned()),
        LiteralValue::Bytes(value) => Value::Bytes(bytes::Bytes::copy_from_slice(value.inner())),
        LiteralValue::Null => return Ok(None),
    }))
}

fn read_path(expression: &IdedExpr) -> Result<Tree> {
    let mut path = Vec::new();
    let mut at = expression;
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
    Ok(Tree::Path(path))
}

fn read_call(call: &CallExpr, depth: usize) -> Result<Tree> {
    let inner = |expression: &IdedExpr| read(expression, depth + 1);
    let boxed = |expression: &IdedExpr| inner(expression).map(Box::new);
    let name = call.func_name.as_str();
    match (name, &call.target, call.args.as_slice()) {
        (operators::LOGICAL_AND, None, [_, _]) => Ok(Tree::And(read_chain(call, depth)?)),
        (operators::LOGICAL_OR, None, [_, _]) => Ok(Tree::Or(read_chain(call, depth)?)),
        (operators::LOGICAL_NOT, None, [operand]) => Ok(Tree::Not(boxed(operand)?)),
        (operators::NEGATE, None, [operand]) => Ok(Tree::Negate(boxed(operand)?)),
        (operators::IN, None, [needle, list]) => Ok(Tree::In(boxed(needle)?, boxed(list)?)),
        (operators::CONDITIONAL, ..) => Err(unsupported("a conditional (?:)")),
        (operators::INDEX | operators::OPT_INDEX, ..) => {
            Err(unsupported("an element of a list by its place"))
        }
        (_, None, [left, right]) if comparison_of(name).is_some() => {
            let comparison = comparison_of(name).unwrap_or(Comparison::Equal);
            Ok(Tree::Compare(comparison, boxed(left)?, boxed(right)?))
        }
        (_, None, [left, right]) if operation_of(name).is_some() => {
            let operation = operation_of(name).unwrap_or(Operation::Add);
            Ok(Tree::Arithmetic(operation, boxed(left)?, boxed(right)?))
        }
        ("has", None, [operand]) => Ok(Tree::Has(boxed(operand)?)),
        (operators::EXISTS | operators::ALL, Some(list), [variable, condition]) => {
            let Expr::Ident(variable) = &variable.expr else {
                let detail = format!("{name} takes a name for the elements first: {name}(x, x == 1)");
                return Err(Error::new(Code::ExpressionInvalid, detail));
            };
            let quantifier = if name == operators::EXISTS { Quantifier::Any } else { Quantifier::All };
            Ok(Tree::Each(quantifier, boxed(list)?, variable.clone(), boxed(condition)?))
        }
        ("exists_one" | "existsOne" | "map" | "filter", Some(_), _) => {
            Err(unsupported(&format!("the macro {name} over a list (there are exists and all)")))
        }
        ("matches", Some(_), _) => Err(unsupported("a regular expression (text.matches)")),
        (_, target, arguments) => match Function::of_name(name) {
            Some(function) if function.is_method() == target.is_some() || function == Function::Size => {
                let arguments = target.as_deref().into_iter().chain(arguments).map(inner);
                Ok(Tree::Call(function, arguments.collect::<Result<_>>()?))
            }
            Some(function) => {
                let form = if function.is_method() { "text.NAME(...)" } else { "NAME(...)" };
                let detail = format!("{name} is called as {}", form.replace("NAME", name));
                Err(Error::new(Code::ExpressionInvalid, detail))
            }
            None => Err(unsupported(&format!("the function {}", shown(name)))),
        },
    }
}

/// A chain of the same operator: read along, not down, however long it is.
fn read_chain(call: &CallExpr, depth: usize) -> Result<Vec<Tree>> {
    let mut parts = Vec::new();
    let mut waiting: Vec<&IdedExpr> = call.args.iter().rev().collect();
    while let Some(next) = waiting.pop() {
        match &next.expr {
            Expr::Call(inner) if inner.func_name == call.func_name && inner.args.len() == 2 => {
                waiting.extend(inner.args.iter().rev());
            }
            _ => parts.push(read(next, depth + 1)?),
        }
    }
    Ok(parts)
}

fn comparison_of(operator: &str) -> Option<Comparison> {
    Some(match operator {
        operators::EQUALS => Comparison::Equal,
        operators::NOT_EQUALS => Comparison::NotEqual,
        operators::LESS => Comparison::Less,
        operators::LESS_EQUALS => Comparison::LessOrEqual,
        operators::GREATER => Comparison::Greater,
        operators::GREATER_EQUALS => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn operation_of(operator: &str) -> Option<Operation> {
    Some(match operator {
        operators::ADD => Operation::Add,
        operators::SUBSTRACT => Operation::Subtract,
        operators::MULTIPLY => Operation::Multiply,
        operators::DIVIDE => Operation::Divide,
        operators::MODULO => Operation::Remainder,
        _ => return None,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    /// Brackets take a name to the parser, and change nothing.
    #[test]
    fn a_name_alone_is_what_the_parser_makes_of_it() {
        for word in RESERVED.into_iter().chain(["title", "_", "__", "x1", "has", "param", "inn", "True"]) {
            assert_eq!(parse(word).ok(), parse(&format!("({word})")).ok(), "{word}");
        }
        assert!(parse("title").is_ok() && parse("in").is_err() && parse("1x").is_err());
    }
}
