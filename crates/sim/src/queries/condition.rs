//! Conditions: what they mean for a record, and how CEL writes them.

use std::cmp::Ordering;

use tenantry_core::{Record, Value};

use super::shape::{Operand, at};
use super::values::compare;
use super::words::Match;

/// A value of a condition, as it stands in the text: a literal or a parameter.
#[derive(Clone, Debug)]
pub(super) struct Literal {
    /// `None` for null.
    pub(super) value: Option<Value>,
    pub(super) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    pub(super) const ALL: [Comparison; 6] = [
        Comparison::Equal,
        Comparison::NotEqual,
        Comparison::Less,
        Comparison::LessOrEqual,
        Comparison::Greater,
        Comparison::GreaterOrEqual,
    ];

    fn sign(self) -> &'static str {
        match self {
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }

    /// With the sides exchanged.
    fn mirrored(self) -> Comparison {
        match self {
            Comparison::Less => Comparison::Greater,
            Comparison::LessOrEqual => Comparison::GreaterOrEqual,
            Comparison::Greater => Comparison::Less,
            Comparison::GreaterOrEqual => Comparison::LessOrEqual,
            same => same,
        }
    }

    /// A missing value equals what is missing too, and every other comparison with it is false.
    fn holds(self, left: Option<&Value>, right: Option<&Value>) -> bool {
        let (Some(left), Some(right)) = (left, right) else {
            let are_both_missing = left.is_none() && right.is_none();
            return match self {
                Comparison::Equal => are_both_missing,
                Comparison::NotEqual => !are_both_missing,
                _ => false,
            };
        };
        let ordering = compare(left, right);
        match self {
            Comparison::Equal => ordering == Some(Ordering::Equal),
            Comparison::NotEqual => ordering != Some(Ordering::Equal),
            Comparison::Less => ordering == Some(Ordering::Less),
            Comparison::LessOrEqual => ordering.is_some_and(Ordering::is_le),
            Comparison::Greater => ordering == Some(Ordering::Greater),
            Comparison::GreaterOrEqual => ordering.is_some_and(Ordering::is_ge),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextTest {
    StartsWith,
    EndsWith,
    Contains,
}

impl TextTest {
    fn name(self) -> &'static str {
        match self {
            TextTest::StartsWith => "startsWith",
            TextTest::EndsWith => "endsWith",
            TextTest::Contains => "contains",
        }
    }

    fn holds(self, text: &str, part: &str) -> bool {
        match self {
            TextTest::StartsWith => text.starts_with(part),
            TextTest::EndsWith => text.ends_with(part),
            TextTest::Contains => text.contains(part),
        }
    }
}

/// A condition on an element of a list.
#[derive(Clone, Debug)]
pub(super) enum OnElement {
    Compare(Comparison, Literal),
    Match(Match),
}

#[derive(Clone, Debug)]
pub(super) enum Condition {
    True,
    And(Vec<Condition>),
    Or(Vec<Condition>),
    Not(Box<Condition>),
    /// The operand on the left, or on the right.
    Compare {
        comparison: Comparison,
        operand: Operand,
        literal: Literal,
        is_mirrored: bool,
    },
    /// A field of type bool by itself.
    IsTrue(Operand),
    /// Whether a field of any type is there; `has(...)` or by null.
    IsThere {
        path: Vec<String>,
        is_there: bool,
        by_has: bool,
    },
    In(Operand, Literal),
    /// Whether a list has a value.
    Has(String, Literal),
    Each {
        list: String,
        is_all: bool,
        condition: OnElement,
    },
    Text(TextTest, Operand, Literal),
    Match(Vec<String>, Match),
}

impl Condition {
    pub(super) fn text(&self) -> String {
        let inner = |condition: &Condition| match condition {
            Condition::And(_) | Condition::Or(_) => format!("({})", condition.text()),
            other => other.text(),
        };
        let joined = |conditions: &[Condition], sign: &str| {
            conditions.iter().map(inner).collect::<Vec<_>>().join(sign)
        };
        match self {
            Condition::True => "true".to_owned(),
            Condition::And(conditions) => joined(conditions, " && "),
            Condition::Or(conditions) => joined(conditions, " || "),
            Condition::Not(condition) => format!("!({})", condition.text()),
            Condition::Compare { comparison, operand, literal, is_mirrored } => match is_mirrored {
                false => format!("{} {} {}", operand.text(), comparison.sign(), literal.text),
                true => format!("{} {} {}", literal.text, comparison.mirrored().sign(), operand.text()),
            },
            Condition::IsTrue(operand) => operand.text(),
            Condition::IsThere { path, is_there, by_has } => match (by_has, is_there) {
                (true, true) => format!("has({})", path.join(".")),
                (true, false) => format!("!has({})", path.join(".")),
                (false, is_there) => {
                    format!("{} {} null", path.join("."), if *is_there { "!=" } else { "==" })
                }
            },
            Condition::In(operand, literal) => format!("{} in {}", operand.text(), literal.text),
            Condition::Has(list, literal) => format!("{} in {list}", literal.text),
            Condition::Each { list, is_all, condition } => {
                let inner = match condition {
                    OnElement::Compare(comparison, literal) => {
                        format!("e {} {}", comparison.sign(), literal.text)
                    }
                    OnElement::Match(words) => words.text("e"),
                };
                format!("{list}.{}(e, {inner})", if *is_all { "all" } else { "exists" })
            }
            Condition::Text(test, operand, literal) => {
                format!("{}.{}({})", operand.text(), test.name(), literal.text)
            }
            Condition::Match(path, words) => words.text(&path.join(".")),
        }
    }

    pub(super) fn holds(&self, record: &Record) -> bool {
        match self {
            Condition::True => true,
            Condition::And(conditions) => conditions.iter().all(|condition| condition.holds(record)),
            Condition::Or(conditions) => conditions.iter().any(|condition| condition.holds(record)),
            Condition::Not(condition) => !condition.holds(record),
            Condition::Compare { comparison, operand, literal, .. } => {
                comparison.holds(operand.value(record).as_ref(), literal.value.as_ref())
            }
            Condition::IsTrue(operand) => operand.value(record) == Some(Value::Bool(true)),
            Condition::IsThere { path, is_there, .. } => at(record, path).is_some() == *is_there,
            Condition::In(operand, literal) => match (operand.value(record), &literal.value) {
                (Some(value), Some(Value::List(elements))) => has(elements, &value),
                _ => false,
            },
            Condition::Has(list, literal) => match (record.get(list), &literal.value) {
                (Some(Value::List(elements)), Some(value)) => has(elements, value),
                _ => false,
            },
            Condition::Each { list, is_all, condition } => {
                let holds = |element: &Value| match (condition, element) {
                    (OnElement::Compare(comparison, literal), element) => {
                        comparison.holds(Some(element), literal.value.as_ref())
                    }
                    (OnElement::Match(words), Value::String(text)) => words.holds(text),
                    _ => false,
                };
                let Some(Value::List(elements)) = record.get(list) else { return *is_all };
                if *is_all { elements.iter().all(holds) } else { elements.iter().any(holds) }
            }
            Condition::Text(test, operand, literal) => match (operand.value(record), &literal.value) {
                (Some(Value::String(text)), Some(Value::String(part))) => test.holds(&text, part),
                _ => false,
            },
            Condition::Match(path, words) => match at(record, path) {
                Some(Value::String(text)) => words.holds(text),
                _ => false,
            },
        }
    }
}

fn has(elements: &[Value], value: &Value) -> bool {
    elements.iter().any(|element| compare(element, value) == Some(Ordering::Equal))
}
