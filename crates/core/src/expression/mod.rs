//! Expressions: the filters of queries, in CEL (the Common Expression Language), typed against a record type.
//!
//! ```
//! use tenantry_core::{Expression, SchemaDefinition};
//!
//! let schema = SchemaDefinition::from_toml(r#"
//!     name = "films"
//!     [types.film]
//!     primary_key = ["title"]
//!     fields = { title = "string", rating = { type = "float", optional = true }, released = "date" }
//! "#)?;
//! let film = schema.record_type("film")?;
//! Expression::parse(r#"rating >= 7.5 && released < date("2000-01-01")"#, film)?;
//! assert!(Expression::parse("rating >= \"good\"", film).is_err());
//! # Ok::<_, tenantry_core::Error>(())
//! ```
//!
//! A missing field equals null and nothing else; every other comparison with it is false. So `!(rating < 5.0)` holds for a record without rating, and
//! `rating >= 5.0` does not. What is computed from something missing is missing, and so is what has no result: an overflow, a division by zero.
//!
//! The way of an expression: a text (`parse`) or a builder (`build`) makes a tree without types (`tree`), which is checked against a record type (`check`,
//! `types`) and becomes nodes, which are evaluated (`evaluate`, `arithmetic`). A tree is also written as text (`print`).

mod arithmetic;
mod bounds;
mod build;
mod check;
mod evaluate;
mod filter;
mod parse;
mod print;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test")]
mod tests;
mod tree;
mod types;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) use self::arithmetic::order;
pub use self::build::{Term, field, parameter, value};
use self::check::Names;
use self::evaluate::Scope;
pub use self::filter::Filter;
pub(crate) use self::filter::ParsedFilters;
pub(crate) use self::print::value_text;
use self::types::{Type, Typed};
use crate::error::{Code, Error, Result};
use crate::text::TextQuery;
use crate::value::{Field, FieldType, Name, Value};

/// A condition on records of one type, or a value that is computed from one.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    pub(crate) root: Node,
}

/// No literal is a NaN, so every expression equals itself.
impl Eq for Expression {}

impl Expression {
    /// Reads a condition on the fields of a type that is not made yet.
    ///
    /// # Errors
    ///
    /// As [`parse`](Expression::parse).
    pub(crate) fn parse_with_fields(text: &str, type_name: &str, fields: &[Field]) -> Result<Expression> {
        Expression::parse_with_fields_and_parameters(text, type_name, fields, &BTreeMap::new())
    }

    /// As [`parse_with_fields`](Expression::parse_with_fields), with values for `param.NAME`.
    ///
    /// # Errors
    ///
    /// As [`parse_with_parameters`](Expression::parse_with_parameters).
    pub(crate) fn parse_with_fields_and_parameters(
        text: &str,
        type_name: &str,
        fields: &[Field],
        parameters: &BTreeMap<String, Value>,
    ) -> Result<Expression> {
        let names = Names { type_name, fields, parameters, claims: None };
        condition(check::check(&parse::parse(text)?, &names)?)
    }

    /// Reads a condition in which `claims.NAME` stands for what is known of whoever asks; a field of that name cannot be named in it. What it names has to be given.
    pub(crate) fn parse_with_claims(
        text: &str,
        type_name: &str,
        fields: &[Field],
        claims: &BTreeMap<String, Value>,
    ) -> Result<Expression> {
        let names = Names { type_name, fields, parameters: &BTreeMap::new(), claims: Some(claims) };
        condition(check::check(&parse::parse(text)?, &names)?)
    }

    /// Fails for a text that is no expression on whatever type.
    pub(crate) fn check_syntax(text: &str) -> Result<()> {
        parse::parse(text).map(|_| ())
    }

    /// Reads an expression of any type on the fields of a type that is not made yet.
    ///
    /// # Errors
    ///
    /// As [`parse_value`](Expression::parse_value).
    pub(crate) fn parse_value_with_fields(
        text: &str,
        type_name: &str,
        fields: &[Field],
    ) -> Result<(Expression, FieldType)> {
        let names = Names { type_name, fields, parameters: &BTreeMap::new(), claims: None };
        let typed = check::check(&parse::parse(text)?, &names)?;
        match typed.kind {
            Type::Of(field_type) => Ok((Expression { root: typed.node }, field_type)),
            Type::Null | Type::Literals => Err(invalid(format!(
                "the expression is a {} by itself, which has no type",
                typed.kind.name()
            ))),
        }
    }

    /// Whether it holds for these fields.
    pub(crate) fn holds(&self, values: &[(Name, Value)]) -> bool {
        evaluate::holds(&self.root, Scope::of(values))
    }

    /// What it comes to for these fields; `None` if that is missing. A condition is never missing, a field of type bool may be.
    pub(crate) fn value<'a>(&'a self, values: &'a [(Name, Value)]) -> Option<Cow<'a, Value>> {
        evaluate::value_of(&self.root, Scope::of(values))
    }

    /// The names of the record's own fields that it depends on.
    pub(crate) fn fields(&self) -> BTreeSet<&str> {
        let mut fields = BTreeSet::new();
        self.root.visit(&mut |node| {
            if let Node::Field(path) = node {
                fields.extend(path.first().map(String::as_str));
            }
        });
        fields
    }

    /// The expression that is one field of the record.
    pub(crate) fn of_field(name: &str) -> Expression {
        Expression { root: Node::Field(vec![name.to_owned()]) }
    }

    /// The field, if the expression is one field of the record and nothing else.
    pub(crate) fn as_field(&self) -> Option<&str> {
        match &self.root {
            Node::Field(path) if path.len() == 1 => path.first().map(String::as_str),
            _ => None,
        }
    }

    /// The conditions that all have to hold.
    pub(crate) fn conjuncts(&self) -> Vec<&Node> {
        match &self.root {
            Node::And(nodes) => nodes.iter().collect(),
            node => vec![node],
        }
    }
}

fn condition(typed: Typed) -> Result<Expression> {
    match typed.kind {
        Type::Of(FieldType::Bool) => Ok(Expression { root: typed.node }),
        other => Err(invalid(format!("a condition is true or false, this one is a {}", other.name()))),
    }
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// The same with its sides exchanged.
    pub(crate) fn mirrored(self) -> Comparison {
        match self {
            Comparison::Less => Comparison::Greater,
            Comparison::LessOrEqual => Comparison::GreaterOrEqual,
            Comparison::Greater => Comparison::Less,
            Comparison::GreaterOrEqual => Comparison::LessOrEqual,
            same => same,
        }
    }
}

/// A test on two texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextTest {
    StartsWith,
    EndsWith,
    Contains,
}

/// An operation on two numbers; the first also on two strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operation {
    fn sign(self) -> &'static str {
        match self {
            Operation::Add => "+",
            Operation::Subtract => "-",
            Operation::Multiply => "*",
            Operation::Divide => "/",
            Operation::Remainder => "%",
        }
    }
}

/// Of how many elements a condition has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantifier {
    Any,
    All,
}

/// A case of letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    Lower,
    Upper,
}

/// A part of an expression, checked for its types.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// A literal; `None` is null.
    Literal(Option<Value>),
    /// A field, by its path.
    Field(Vec<String>),
    /// The element that a condition on a list is about, or a field in it. The number counts the lists around that condition, from the outside.
    Element(usize, Vec<String>),
    Not(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    /// Whether one of the second's elements equals the first.
    In(Box<Node>, Box<Node>),
    Text(TextTest, Box<Node>, Box<Node>),
    Size(Box<Node>),
    Case(Case, Box<Node>),
    Negate(Box<Node>),
    Arithmetic(Operation, Box<Node>, Box<Node>),
    /// A condition on the elements of a list.
    Each(Quantifier, Box<Node>, Box<Node>),
    /// Whether a text has words.
    Match(Box<Node>, TextQuery),
}

impl Node {
    /// Shows every part, the outer ones first.
    pub(crate) fn visit<'a>(&'a self, show: &mut dyn FnMut(&'a Node)) {
        show(self);
        match self {
            Node::Literal(_) | Node::Field(_) | Node::Element(..) => {}
            Node::Not(inner)
            | Node::Size(inner)
            | Node::Case(_, inner)
            | Node::Negate(inner)
            | Node::Match(inner, _) => {
                inner.visit(show);
            }
            Node::And(nodes) | Node::Or(nodes) => nodes.iter().for_each(|node| node.visit(show)),
            Node::Compare(_, left, right)
            | Node::In(left, right)
            | Node::Text(_, left, right)
            | Node::Arithmetic(_, left, right)
            | Node::Each(_, left, right) => {
                left.visit(show);
                right.visit(show);
            }
        }
    }
}

fn invalid(detail: String) -> Error {
    Error::new(Code::ExpressionInvalid, detail)
}

fn unsupported(what: &str) -> Error {
    Error::new(Code::ExpressionUnsupported, format!("{what} is not supported in an expression"))
}
