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
//! Supported: `&&`, `||`, `!`, `==`, `!=`, `<`, `<=`, `>`, `>=`, `in` with a list of literals or a list field, `field == null`, `has(struct.field)`, `startsWith`,
//! `endsWith`, `contains`, `size`, and the literals of CEL with `date("...")`, `timestamp("...")`, `uuid("...")` and `decimal("...")`. Whatever else CEL
//! has is refused by name.
//!
//! A missing field equals null and nothing else; every other comparison with it is false. So `!(rating < 5.0)` holds for a record without rating, and
//! `rating >= 5.0` does not.

mod evaluate;
mod parse;

use crate::error::Result;
use crate::schema::RecordType;
use crate::value::{Name, Value};

/// A condition on records of one type.
#[derive(Clone, Debug, PartialEq)]
pub struct Expression {
    pub(crate) root: Node,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    ///
    /// 20040 for what is no CEL or does not fit the types, 20041 for what is not supported, 20024 for an unknown field, 20060 for more than 8,192 bytes, a
    /// depth over 24 or more than 1,000 parts.
    pub fn parse(text: &str, record_type: &RecordType) -> Result<Expression> {
        parse::parse(text, record_type).map(|root| Expression { root })
    }

    /// Whether it holds for these fields.
    pub(crate) fn holds(&self, values: &[(Name, Value)]) -> bool {
        evaluate::holds(&self.root, values)
    }

    /// The conditions that all have to hold.
    pub(crate) fn conjuncts(&self) -> Vec<&Node> {
        match &self.root {
            Node::And(nodes) => nodes.iter().collect(),
            node => vec![node],
        }
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

/// A part of an expression, checked for its types.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// A literal; `None` is null.
    Literal(Option<Value>),
    /// A field, by its path.
    Field(Vec<String>),
    Not(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Compare(Comparison, Box<Node>, Box<Node>),
    /// Whether one of the second's elements equals the first.
    In(Box<Node>, Box<Node>),
    Text(TextTest, Box<Node>, Box<Node>),
    Size(Box<Node>),
    Has(Vec<String>),
}
