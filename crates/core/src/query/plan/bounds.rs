//! What conditions say of one column by itself.

use crate::expression::{Comparison, Node, Quantifier, TextTest};
use crate::index_form;
use crate::schema::Column;
use crate::value::Value;

/// What a filter says of one column.
#[derive(Default)]
pub(super) struct Bounds<'a> {
    /// The one value; `Some(None)` for missing.
    pub(super) equal: Option<Option<&'a Value>>,
    /// With whether the bound itself is taken.
    pub(super) lower: Option<(&'a Value, bool)>,
    pub(super) upper: Option<(&'a Value, bool)>,
    pub(super) text: Option<&'a str>,
    /// How many conditions say all this.
    pub(super) conditions: usize,
}

/// What a condition that is a field of type bool asks for.
static TRUE: Value = Value::Bool(true);

impl<'a> Bounds<'a> {
    /// What `conjuncts` say of a column.
    pub(super) fn of(column: &Column, conjuncts: &[&'a Node]) -> Bounds<'a> {
        let mut bounds = Bounds::default();
        for node in conjuncts {
            match column.is_each {
                true => bounds.add_element(column, node),
                false => bounds.add(column, node),
            }
        }
        bounds
    }

    pub(super) fn is_range(&self) -> bool {
        self.lower.is_some() || self.upper.is_some() || self.text.is_some()
    }

    fn add(&mut self, column: &Column, node: &'a Node) {
        let own = &column.expression.root;
        match node {
            Node::Compare(comparison, left, right) => {
                let (comparison, literal) = match (&**left, &**right) {
                    (side, Node::Literal(literal)) if side == own => (*comparison, literal.as_ref()),
                    (Node::Literal(literal), side) if side == own => {
                        (comparison.mirrored(), literal.as_ref())
                    }
                    _ => return,
                };
                self.add_comparison(column, comparison, literal);
            }
            Node::Text(TextTest::StartsWith, text, part) if **text == *own => {
                if let Node::Literal(Some(Value::String(prefix))) = &**part {
                    self.text = Some(prefix);
                    self.conditions += 1;
                }
            }
            side if side == own => {
                self.equal = Some(Some(&TRUE));
                self.conditions += 1;
            }
            _ => {}
        }
    }

    fn add_comparison(&mut self, column: &Column, comparison: Comparison, literal: Option<&'a Value>) {
        // A literal of another numeric type compares, but has no place in the key.
        if index_form::element(column, literal).is_err() {
            return;
        }
        match (comparison, literal) {
            (Comparison::Equal, literal) => self.equal = Some(literal),
            (Comparison::Less, Some(value)) => self.upper = Some((value, false)),
            (Comparison::LessOrEqual, Some(value)) => self.upper = Some((value, true)),
            (Comparison::Greater, Some(value)) => self.lower = Some((value, false)),
            (Comparison::GreaterOrEqual, Some(value)) => self.lower = Some((value, true)),
            _ => return,
        }
        self.conditions += 1;
    }

    /// For a column with an entry for each element: only what asks for one element finds no record twice.
    fn add_element(&mut self, column: &Column, node: &'a Node) {
        let list = &column.expression.root;
        let literal = match node {
            Node::In(needle, found) if **found == *list => literal(needle),
            Node::Each(Quantifier::Any, found, condition) if **found == *list => match &**condition {
                Node::Compare(Comparison::Equal, left, right) => match (&**left, &**right) {
                    (Node::Element(0, path), other) | (other, Node::Element(0, path)) if path.is_empty() => {
                        literal(other)
                    }
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        };
        if let Some(value) = literal
            && index_form::element(column, Some(value)).is_ok()
        {
            self.equal = Some(Some(value));
            self.conditions += 1;
        }
    }
}

fn literal(node: &Node) -> Option<&Value> {
    match node {
        Node::Literal(value) => value.as_ref(),
        _ => None,
    }
}

/// Whether a condition follows from those of a filter, as far as can be seen at once.
pub(super) fn follows(condition: &Node, conjuncts: &[&Node]) -> bool {
    if conjuncts.contains(&condition) {
        return true;
    }
    let Node::Compare(Comparison::NotEqual, left, right) = condition else { return false };
    let side = match (&**left, &**right) {
        (side, Node::Literal(None)) | (Node::Literal(None), side) => side,
        _ => return false,
    };
    // What is compared with a value is there.
    conjuncts.iter().any(|node| match node {
        Node::Compare(comparison, left, right) => {
            let is_with_value =
                |one: &Node, other: &Node| one == side && matches!(other, Node::Literal(Some(_)));
            *comparison != Comparison::NotEqual && (is_with_value(left, right) || is_with_value(right, left))
        }
        Node::Text(_, text, _) | Node::Match(text, _) => **text == *side,
        _ => false,
    })
}
