//! Random queries: some at random, most aimed at an index, so that plans of every kind come up.

use tenantry_core::{Query, Record, Value};

use super::condition::{Comparison, Condition, Literal, OnElement, TextTest};
use super::indexes::{ColumnShape, IndexShape, IndexWord};
use super::shape::{FieldShape, Kind, Operand, Shape};
use super::values::{ENUM_NAMES, Scalar, has_literal, literal};
use super::words::Match;
use crate::random::Stream;

/// A column of an order.
#[derive(Clone, Debug)]
pub(super) struct Sorted {
    pub(super) operand: Operand,
    pub(super) is_descending: bool,
}

/// A query, and what it means.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) condition: Condition,
    pub(super) order: Vec<Sorted>,
    /// The fields that the answer is to have; none for all of them.
    pub(super) selected: Vec<String>,
    pub(super) query: Query,
}

/// Makes queries over the records that there are.
pub(super) struct Asker<'a> {
    pub(super) shape: &'a Shape,
    pub(super) indexes: &'a [IndexShape],
    pub(super) records: &'a [Record],
    pub(super) random: &'a mut Stream,
    parameters: Vec<(String, Value)>,
    /// How many parameters were named so far: no name comes twice.
    named: usize,
}

impl<'a> Asker<'a> {
    pub(super) fn new(
        shape: &'a Shape,
        indexes: &'a [IndexShape],
        records: &'a [Record],
        random: &'a mut Stream,
    ) -> Asker<'a> {
        Asker { shape, indexes, records, random, parameters: Vec::new(), named: 0 }
    }

    pub(super) fn ask(&mut self) -> Asked {
        self.parameters.clear();
        let paths: Vec<&IndexShape> = self.indexes.iter().filter(|index| index.is_path()).collect();
        let aim = match paths.is_empty() || self.random.percent(20) {
            true => None,
            false => Some(*self.random.pick(&paths)),
        };
        let (condition, bound) = match (aim, self.random.below(10)) {
            (Some(_), 7..) if self.shape.is_large => (self.common(), 0),
            (None, _) => (self.condition(2), 0),
            (Some(index), 0..2) => (Condition::Or(vec![self.aimed(index).0, self.branch(&paths)]), 0),
            (Some(index), 2..4) => {
                let (one, bound) = self.aimed(index);
                (Condition::And(vec![one, self.branch(&paths)]), bound)
            }
            (Some(index), _) => self.aimed(index),
        };
        let order = self.order(aim, bound);
        let selected = self.selected(aim);
        let mut query = Query::of("t").filter(condition.text()).select(selected.iter().cloned());
        for (name, value) in std::mem::take(&mut self.parameters) {
            query = query.parameter(name, value);
        }
        for Sorted { operand, is_descending } in &order {
            query = match is_descending {
                true => query.order_by_descending(operand.text()),
                false => query.order_by(operand.text()),
            };
        }
        Asked { condition, order, selected, query }
    }

    /// What the two fields of a large type have in most records: each has an index with many entries for it.
    fn common(&mut self) -> Condition {
        let fields: Vec<Operand> =
            self.shape.scalars().into_iter().filter(|operand| self.shape.is_common(operand)).collect();
        let mut all: Vec<Condition> = Vec::new();
        for operand in fields {
            let value = match operand.scalar() {
                Scalar::Bool => Value::Bool(true),
                _ => Value::Enum(ENUM_NAMES[0].into()),
            };
            let literal = self.as_literal(value);
            let comparison = Comparison::Equal;
            all.push(Condition::Compare { comparison, operand, literal, is_mirrored: false });
        }
        if self.random.percent(50) {
            all.push(self.condition(0));
        }
        Condition::And(all)
    }

    /// Another part of a filter: at random, or aimed at some index too.
    fn branch(&mut self, paths: &[&IndexShape]) -> Condition {
        match self.random.percent(60) {
            true => {
                let index = *self.random.pick(paths);
                self.aimed(index).0
            }
            false => self.condition(1),
        }
    }

    /// Conditions that bind the first columns of an index, and how many.
    fn aimed(&mut self, index: &IndexShape) -> (Condition, usize) {
        let mut all: Vec<Condition> = Vec::new();
        if self.random.percent(85) {
            all.extend(index.condition.iter().cloned());
        }
        let columns = index.all_columns();
        let mut bound = self.random.below(columns.len() as u64 + 1) as usize;
        if index.word == IndexWord::Text {
            bound = index.group.len();
        }
        // It serves nothing else.
        if index.word == IndexWord::Hashed && self.random.percent(80) {
            bound = columns.len();
        }
        for column in &columns[..bound] {
            all.push(match column {
                ColumnShape::Each(list, scalar) => self.element(list, *scalar, true),
                ColumnShape::Of { operand, .. } => self.equal(operand),
            });
        }
        match (index.word, columns.get(bound)) {
            (IndexWord::Text, Some(ColumnShape::Each(list, _))) => {
                let words = Match::random(self.random, index.is_english);
                all.push(Condition::Each {
                    list: list.clone(),
                    is_all: false,
                    condition: OnElement::Match(words),
                });
            }
            (IndexWord::Text, Some(ColumnShape::Of { operand: Operand::Field(path, _), .. })) => {
                all.push(Condition::Match(path.clone(), Match::random(self.random, index.is_english)));
            }
            (_, Some(ColumnShape::Each(list, scalar))) => all.push(self.element(list, *scalar, true)),
            (_, Some(ColumnShape::Of { operand, .. })) => {
                for _ in 0..self.random.below(3) {
                    all.push(self.range(operand));
                }
            }
            _ => {}
        }
        if self.random.percent(30) {
            all.push(self.condition(1));
        }
        if all.is_empty() {
            return (Condition::True, bound);
        }
        (Condition::And(all), bound)
    }

    /// What binds an operand to one value, or to several.
    fn equal(&mut self, operand: &Operand) -> Condition {
        if operand.scalar() == Scalar::Bool && self.random.percent(30) {
            return Condition::IsTrue(operand.clone());
        }
        if self.random.percent(15) {
            return self.within(operand);
        }
        let literal = match self.random.percent(12) {
            true => Literal { value: None, text: "null".to_owned() },
            false => self.literal(operand),
        };
        let is_mirrored = self.random.percent(20);
        Condition::Compare { comparison: Comparison::Equal, operand: operand.clone(), literal, is_mirrored }
    }

    fn range(&mut self, operand: &Operand) -> Condition {
        let scalar = operand.scalar();
        if scalar.is_string() && self.random.percent(40) {
            return self.text(operand);
        }
        let comparisons = match scalar {
            Scalar::Enum => &Comparison::ALL[..2],
            _ => &Comparison::ALL[1..],
        };
        let comparison = *self.random.pick(comparisons);
        let (literal, is_mirrored) = (self.literal(operand), self.random.percent(20));
        Condition::Compare { comparison, operand: operand.clone(), literal, is_mirrored }
    }

    fn text(&mut self, operand: &Operand) -> Condition {
        let test = *self.random.pick(&[
            TextTest::StartsWith,
            TextTest::StartsWith,
            TextTest::EndsWith,
            TextTest::Contains,
        ]);
        let Literal { value, mut text } = self.literal(operand);
        let mut value = value;
        if let (Some(Value::String(whole)), true) = (&value, self.random.percent(50)) {
            // A part of it.
            let part: String = whole.chars().take(1 + self.random.below(3) as usize).collect();
            self.parameters.retain(|(name, _)| format!("param.{name}") != text);
            text = literal(&Value::String(part.clone()));
            value = Some(Value::String(part));
        }
        Condition::Text(test, operand.clone(), Literal { value, text })
    }

    fn within(&mut self, operand: &Operand) -> Condition {
        let values: Vec<Value> = (0..self.random.below(4)).map(|_| self.value(operand)).collect();
        let literal = self.as_literal(Value::List(values));
        Condition::In(operand.clone(), literal)
    }

    /// Something about a list; what asks for one element, or anything.
    fn element(&mut self, list: &str, scalar: Scalar, is_equal: bool) -> Condition {
        let value = self.element_value(list, scalar);
        let literal = self.as_literal(value);
        if is_equal && self.random.percent(50) {
            return Condition::Has(list.to_owned(), literal);
        }
        let condition = match (is_equal, scalar) {
            (true, _) => OnElement::Compare(Comparison::Equal, literal),
            (false, Scalar::Text) if self.random.percent(50) => {
                self.parameters.retain(|(name, _)| format!("param.{name}") != literal.text);
                let is_english = self.random.percent(50);
                OnElement::Match(Match::random(self.random, is_english))
            }
            (false, Scalar::Enum) => OnElement::Compare(*self.random.pick(&Comparison::ALL[..2]), literal),
            (false, _) => OnElement::Compare(*self.random.pick(&Comparison::ALL), literal),
        };
        let is_all = !is_equal && self.random.percent(40);
        Condition::Each { list: list.to_owned(), is_all, condition }
    }

    /// Anything.
    fn condition(&mut self, depth: u32) -> Condition {
        if depth > 0 {
            match self.random.below(8) {
                0 | 1 => return Condition::And(self.some(2, depth - 1)),
                2 | 3 => return Condition::Or(self.some(3, depth - 1)),
                4 => return Condition::Not(Box::new(self.condition(depth - 1))),
                _ => {}
            }
        }
        let operand = self.shape.operand(self.random);
        match self.random.below(9) {
            0 => Condition::True,
            1 => {
                let fields = &self.shape.fields;
                let FieldShape { name, kind, .. } = self.random.pick(fields);
                let mut path = vec![name.clone()];
                if let Kind::Struct(leaves) = kind
                    && self.random.percent(70)
                {
                    path.push(self.random.pick(leaves).0.to_owned());
                }
                let (is_there, by_has) = (self.random.percent(50), self.random.percent(50));
                Condition::IsThere { path, is_there, by_has }
            }
            2 => self.within(&operand),
            3 => match self.shape.lists().first() {
                Some((list, scalar)) => {
                    let is_equal = self.random.percent(40);
                    self.element(list, *scalar, is_equal)
                }
                None => self.equal(&operand),
            },
            4 => {
                let texts: Vec<Operand> =
                    self.shape.scalars().into_iter().filter(|text| text.scalar() == Scalar::Text).collect();
                match texts.first() {
                    Some(Operand::Field(path, _)) => {
                        let is_english = self.random.percent(50);
                        Condition::Match(path.clone(), Match::random(self.random, is_english))
                    }
                    _ => self.range(&operand),
                }
            }
            5 => self.equal(&operand),
            _ => self.range(&operand),
        }
    }

    fn some(&mut self, count: u64, depth: u32) -> Vec<Condition> {
        (0..count).map(|_| self.condition(depth)).collect()
    }

    /// A value that an operand has for some record, or any of its type.
    fn value(&mut self, operand: &Operand) -> Value {
        let found = match self.records.is_empty() || self.random.percent(25) {
            true => None,
            false => operand.value(self.random.pick(self.records)),
        };
        let value = found.unwrap_or_else(|| operand.scalar().value(self.random));
        finite(value)
    }

    fn element_value(&mut self, list: &str, scalar: Scalar) -> Value {
        let found = match self.records.is_empty() {
            true => None,
            false => match self.random.pick(self.records).get(list) {
                Some(Value::List(elements)) if !elements.is_empty() => {
                    Some(self.random.pick(elements).clone())
                }
                _ => None,
            },
        };
        finite(found.unwrap_or_else(|| scalar.value(self.random)))
    }

    fn literal(&mut self, operand: &Operand) -> Literal {
        let mut value = self.value(operand);
        if let (Value::Int(number), true) = (&value, self.random.percent(8)) {
            // A number of another type is compared for what it is worth.
            let halves = if self.random.percent(50) { 0.5 } else { 0.0 };
            value = Value::Float(*number as f64 + halves);
        }
        self.as_literal(value)
    }

    fn as_literal(&mut self, value: Value) -> Literal {
        if !self.random.percent(20) {
            return Literal { text: literal(&value), value: Some(value) };
        }
        self.named += 1;
        let name = format!("p{}", self.named);
        let text = format!("param.{name}");
        self.parameters.push((name, value.clone()));
        Literal { value: Some(value), text }
    }

    /// None, that of an index behind the columns that are bound, or any.
    fn order(&mut self, aim: Option<&IndexShape>, bound: usize) -> Vec<Sorted> {
        let mut order: Vec<Sorted> = Vec::new();
        match (self.random.below(4), aim) {
            (0, _) => {}
            (1 | 2, Some(index)) => {
                let is_reversed = self.random.percent(50);
                let columns = index.all_columns();
                let from = if self.random.percent(80) { bound } else { 0 };
                for column in columns.iter().skip(from) {
                    if let ColumnShape::Of { operand, is_descending, .. } = column {
                        let is_descending = *is_descending != is_reversed;
                        order.push(Sorted { operand: operand.clone(), is_descending });
                    }
                }
                if self.random.percent(30) {
                    let rest = self.shape.key_columns().into_iter();
                    order.extend(rest.map(|operand| Sorted { operand, is_descending: is_reversed }));
                }
            }
            _ => {
                for _ in 0..1 + self.random.below(2) {
                    let (operand, is_descending) = (self.shape.operand(self.random), self.random.percent(50));
                    order.push(Sorted { operand, is_descending });
                }
            }
        }
        let mut seen: Vec<Operand> = Vec::new();
        order.retain(|Sorted { operand, .. }| {
            let is_new = !seen.contains(operand);
            seen.push(operand.clone());
            is_new
        });
        order
    }

    /// All fields, those that an index covers, or some. The primary key is among them.
    fn selected(&mut self, aim: Option<&IndexShape>) -> Vec<String> {
        let mut selected: Vec<String> =
            self.shape.primary_key.iter().map(|name| (*name).to_owned()).collect();
        match aim {
            Some(index) if !index.covering.is_empty() && self.random.percent(70) => {
                selected.extend(index.covering.iter().cloned());
            }
            _ if self.random.percent(75) => return Vec::new(),
            _ => {
                for name in self.shape.names() {
                    if self.random.percent(40) {
                        selected.push(name.to_owned());
                    }
                }
            }
        }
        let mut seen = Vec::new();
        selected.retain(|name| {
            let is_new = !seen.contains(name);
            seen.push(name.clone());
            is_new
        });
        selected
    }
}

/// One that a literal can have.
fn finite(value: Value) -> Value {
    if has_literal(&value) { value } else { Value::Float(0.5) }
}
