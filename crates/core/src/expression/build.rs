//! Expressions put together in Rust. They are checked against a record type as texts are, and mean the same as the text that they print as.

use std::fmt;
use std::ops;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::Date;
use rust_decimal::Decimal;
use uuid::Uuid;

use super::tree::{Function, Tree};
use super::{Comparison, Operation, Quantifier, TextTest, print};
use crate::limits::{EXPRESSION_DEPTH_MAX, EXPRESSION_NODES_MAX};
use crate::text::{Language, MatchKind};
use crate::value::Value;

/// One less than of brackets in a text: a date is a leaf here, and has brackets there.
const DEPTH_MAX: usize = EXPRESSION_DEPTH_MAX - 1;

/// A part of an expression: a field, a value, or what is made of them.
///
/// ```
/// use tenantry_core::{Query, field};
///
/// let good = field("rating").gt(8.0).and(field("genre").eq("Comedy"));
/// assert_eq!(good.to_string(), r#"rating > 8.0 && genre == "Comedy""#);
/// let expensive = field("items").any("item", (field("item.price") * 2).ge(field("budget")));
/// assert_eq!(expensive.to_string(), "items.exists(item, item.price * 2 >= budget)");
/// let query = Query::of("film").filter(!good.or(expensive));
/// ```
///
/// Nothing is checked here: what is wrong with it is told when it is used.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct Term {
    pub(super) tree: Tree,
    depth: usize,
    parts: usize,
}

/// A field, by its name or its path with points: `size.width`. In a condition on the elements of a list, the name of the element comes first.
pub fn field(path: &str) -> Term {
    Term::leaf(Tree::Path(path.split('.').map(str::to_owned).collect()))
}

/// A parameter of the query.
pub fn parameter(name: &str) -> Term {
    Term::leaf(Tree::Path(vec![super::check::PARAMETERS.to_owned(), name.to_owned()]))
}

/// A value.
pub fn value(value: impl Into<Value>) -> Term {
    match value.into() {
        Value::List(elements) => list(elements),
        value => Term::leaf(Tree::Literal(Some(value))),
    }
}

fn list(elements: Vec<Value>) -> Term {
    let elements = elements.into_iter().map(|element| Term::leaf(Tree::Literal(Some(element)))).collect();
    Term::of(elements, Tree::List)
}

impl Term {
    fn leaf(tree: Tree) -> Term {
        Term { tree, depth: 0, parts: 1 }
    }

    /// A part made of others. One that is over the limits is let go and remembered as such: what recurses over it never meets it.
    fn of(inner: Vec<Term>, make: impl FnOnce(Vec<Tree>) -> Tree) -> Term {
        let depth = 1 + inner.iter().map(|term| term.depth).max().unwrap_or(0);
        let parts = inner.iter().fold(1usize, |sum, term| sum.saturating_add(term.parts));
        let refused = inner.iter().find_map(|term| match &term.tree {
            Tree::Refused(what, found, most) => Some(Tree::Refused(what, *found, *most)),
            _ => None,
        });
        let tree = match refused {
            Some(refused) => refused,
            None if depth > DEPTH_MAX => Tree::Refused("the depth of an expression", depth, DEPTH_MAX),
            None if parts > EXPRESSION_NODES_MAX => {
                Tree::Refused("the parts of an expression", parts, EXPRESSION_NODES_MAX)
            }
            None => make(inner.into_iter().map(|term| term.tree).collect()),
        };
        Term { tree, depth: depth.min(DEPTH_MAX), parts }
    }

    fn one(self, make: impl FnOnce(Box<Tree>) -> Tree) -> Term {
        Term::of(vec![self], |trees| {
            trees.into_iter().next().map_or(Tree::Literal(None), |tree| make(Box::new(tree)))
        })
    }

    fn two(self, other: impl Into<Term>, make: impl FnOnce(Box<Tree>, Box<Tree>) -> Tree) -> Term {
        Term::of(vec![self, other.into()], |trees| {
            let mut trees = trees.into_iter().map(Box::new);
            match (trees.next(), trees.next()) {
                (Some(left), Some(right)) => make(left, right),
                _ => Tree::Literal(None),
            }
        })
    }

    fn compare(self, comparison: Comparison, other: impl Into<Term>) -> Term {
        self.two(other, |left, right| Tree::Compare(comparison, left, right))
    }

    fn arithmetic(self, operation: Operation, other: impl Into<Term>) -> Term {
        self.two(other, |left, right| Tree::Arithmetic(operation, left, right))
    }

    fn call(self, function: Function, arguments: Vec<Term>) -> Term {
        let all = std::iter::once(self).chain(arguments).collect();
        Term::of(all, |trees| Tree::Call(function, trees))
    }

    /// `==`
    pub fn eq(self, other: impl Into<Term>) -> Term {
        self.compare(Comparison::Equal, other)
    }

    /// `!=`
    pub fn ne(self, other: impl Into<Term>) -> Term {
        self.compare(Comparison::NotEqual, other)
    }

    /// `<`
    pub fn lt(self, other: impl Into<Term>) -> Term {
        self.compare(Comparison::Less, other)
    }

    /// `<=`
    pub fn le(self, other: impl Into<Term>) -> Term {
        self.compare(Comparison::LessOrEqual, other)
    }

    /// `>`
    pub fn gt(self, other: impl Into<Term>) -> Term {
        self.compare(Comparison::Greater, other)
    }

    /// `>=`
    pub fn ge(self, other: impl Into<Term>) -> Term {
        self.compare(Comparison::GreaterOrEqual, other)
    }

    /// `== null`
    pub fn is_null(self) -> Term {
        self.one(|tree| Tree::Compare(Comparison::Equal, tree, Box::new(Tree::Literal(None))))
    }

    /// `!= null`
    pub fn is_not_null(self) -> Term {
        self.one(|tree| Tree::Compare(Comparison::NotEqual, tree, Box::new(Tree::Literal(None))))
    }

    /// `&&`
    pub fn and(self, other: impl Into<Term>) -> Term {
        self.chain(other.into(), true)
    }

    /// `||`
    pub fn or(self, other: impl Into<Term>) -> Term {
        self.chain(other.into(), false)
    }

    /// A chain of the same operator is one part, however long it is.
    fn chain(self, other: Term, is_and: bool) -> Term {
        let is_same = |tree: &Tree| matches!((tree, is_and), (Tree::And(_), true) | (Tree::Or(_), false));
        let mut inner = Vec::new();
        for term in [self, other] {
            let levels = usize::from(is_same(&term.tree));
            inner.push(Term { depth: term.depth.saturating_sub(levels), parts: term.parts - levels, ..term });
        }
        Term::of(inner, |trees| {
            let mut parts = Vec::new();
            for tree in trees {
                match tree {
                    Tree::And(inner) if is_and => parts.extend(inner),
                    Tree::Or(inner) if !is_and => parts.extend(inner),
                    tree => parts.push(tree),
                }
            }
            if is_and { Tree::And(parts) } else { Tree::Or(parts) }
        })
    }

    /// `in` with a list of values.
    pub fn in_list<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Term {
        self.is_in(list(values.into_iter().map(Into::into).collect()))
    }

    /// `in` with a list that is a field or a parameter.
    pub fn is_in(self, list: impl Into<Term>) -> Term {
        self.two(list, Tree::In)
    }

    /// Whether a text begins with another.
    pub fn starts_with(self, part: impl Into<Term>) -> Term {
        self.call(Function::Text(TextTest::StartsWith), vec![part.into()])
    }

    /// Whether a text ends with another.
    pub fn ends_with(self, part: impl Into<Term>) -> Term {
        self.call(Function::Text(TextTest::EndsWith), vec![part.into()])
    }

    /// Whether a text holds another.
    pub fn contains(self, part: impl Into<Term>) -> Term {
        self.call(Function::Text(TextTest::Contains), vec![part.into()])
    }

    /// The characters of a text, the bytes of bytes, the elements of a list.
    pub fn size(self) -> Term {
        self.call(Function::Size, Vec::new())
    }

    /// A text in lowercase.
    pub fn lower(self) -> Term {
        self.call(Function::Lower, Vec::new())
    }

    /// A text in uppercase.
    pub fn upper(self) -> Term {
        self.call(Function::Upper, Vec::new())
    }

    /// Whether a condition holds for any element of a list. The element has a name in it: `field("tags").any("tag", field("tag").eq("new"))`.
    pub fn any(self, name: &str, condition: impl Into<Term>) -> Term {
        self.two(condition, |list, condition| Tree::Each(Quantifier::Any, list, name.to_owned(), condition))
    }

    /// Whether a condition holds for all elements of a list, as [`any`](Term::any).
    pub fn all(self, name: &str, condition: impl Into<Term>) -> Term {
        self.two(condition, |list, condition| Tree::Each(Quantifier::All, list, name.to_owned(), condition))
    }

    /// Whether a text has all of some words.
    pub fn matches(self, words: impl Into<Term>) -> Term {
        self.call(Function::Match(MatchKind::All), vec![words.into()])
    }

    /// Whether a text has any of some words.
    pub fn matches_any(self, words: impl Into<Term>) -> Term {
        self.call(Function::Match(MatchKind::Any), vec![words.into()])
    }

    /// Whether a text has some words one behind the other.
    pub fn matches_phrase(self, words: impl Into<Term>) -> Term {
        self.call(Function::Match(MatchKind::Phrase), vec![words.into()])
    }

    /// Whether a text has all of some words, of the last one only its beginning.
    pub fn matches_prefix(self, words: impl Into<Term>) -> Term {
        self.call(Function::Match(MatchKind::Prefix), vec![words.into()])
    }

    /// A match by the stems that words have in a language: `field("body").matches("running").stemmed(Language::English)`. It has no meaning for anything else.
    pub fn stemmed(mut self, language: Language) -> Term {
        if let Tree::Call(_, arguments) = &mut self.tree {
            arguments.push(Tree::Literal(Some(language.name().into())));
            self.parts += 1;
        }
        self
    }
}

macro_rules! operators {
    ($($operator:ident $method:ident;)*) => {
        $(impl<T: Into<Term>> ops::$operator<T> for Term {
            type Output = Term;

            fn $method(self, other: T) -> Term {
                self.arithmetic(operators!(@ $operator), other)
            }
        })*
    };
    (@ Add) => { Operation::Add };
    (@ Sub) => { Operation::Subtract };
    (@ Mul) => { Operation::Multiply };
    (@ Div) => { Operation::Divide };
    (@ Rem) => { Operation::Remainder };
}

operators! {
    Add add;
    Sub sub;
    Mul mul;
    Div div;
    Rem rem;
}

impl ops::Neg for Term {
    type Output = Term;

    fn neg(self) -> Term {
        self.one(Tree::Negate)
    }
}

impl ops::Not for Term {
    type Output = Term;

    fn not(self) -> Term {
        self.one(Tree::Not)
    }
}

macro_rules! values {
    ($($source:ty),*) => {
        $(impl From<$source> for Term {
            fn from(source: $source) -> Term {
                value(source)
            }
        })*
    };
}

values!(bool, i64, i32, u32, f64, &str, String, Bytes, Uuid, Timestamp, Date, Decimal, Vec<Value>, Value);

impl fmt::Display for Term {
    /// The same expression in CEL.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&print::text(&self.tree))
    }
}
