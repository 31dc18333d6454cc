//! An expression before it is checked: what a text and a builder have in common.

use super::{Comparison, Operation, Quantifier, TextTest};
use crate::text::MatchKind;
use crate::value::Value;

/// A part of an expression without types.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tree {
    /// A literal; `None` is null.
    Literal(Option<Value>),
    List(Vec<Tree>),
    /// A field, the element of a macro or a parameter, with the fields in it.
    Path(Vec<String>),
    Has(Box<Tree>),
    Not(Box<Tree>),
    And(Vec<Tree>),
    Or(Vec<Tree>),
    Compare(Comparison, Box<Tree>, Box<Tree>),
    In(Box<Tree>, Box<Tree>),
    Arithmetic(Operation, Box<Tree>, Box<Tree>),
    Negate(Box<Tree>),
    /// A condition on the elements of a list, which have a name in it.
    Each(Quantifier, Box<Tree>, String, Box<Tree>),
    Call(Function, Vec<Tree>),
    /// What stands where a builder passed a limit: the limit's name, what was found, and the limit.
    Refused(&'static str, usize, usize),
}

/// A function that is called by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// Of two texts; a method of the first.
    Text(TextTest),
    Size,
    Lower,
    Upper,
    Date,
    Timestamp,
    Uuid,
    Decimal,
    /// Of a text, the words that are looked for, and perhaps the language that they are stemmed in.
    Match(MatchKind),
}

impl Function {
    /// Every function with its name.
    pub(super) const ALL: [(&'static str, Function); 14] = [
        ("startsWith", Function::Text(TextTest::StartsWith)),
        ("endsWith", Function::Text(TextTest::EndsWith)),
        ("contains", Function::Text(TextTest::Contains)),
        ("size", Function::Size),
        ("lower", Function::Lower),
        ("upper", Function::Upper),
        ("date", Function::Date),
        ("timestamp", Function::Timestamp),
        ("uuid", Function::Uuid),
        ("decimal", Function::Decimal),
        ("matches", Function::Match(MatchKind::All)),
        ("matchesAny", Function::Match(MatchKind::Any)),
        ("matchesPhrase", Function::Match(MatchKind::Phrase)),
        ("matchesPrefix", Function::Match(MatchKind::Prefix)),
    ];

    pub(super) fn of_name(name: &str) -> Option<Function> {
        Function::ALL.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
    }

    pub(super) fn name(self) -> &'static str {
        Function::ALL.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }

    /// Whether it is called on its first argument: `title.contains("a")`.
    pub(super) fn is_method(self) -> bool {
        matches!(self, Function::Text(_))
    }
}
