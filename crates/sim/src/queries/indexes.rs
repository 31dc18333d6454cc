//! Indexes of every kind over the fields of a record type.

use std::cmp::Ordering;

use serde_json::{Map, Value as Json, json};
use tenantry_core::Record;

use super::condition::{Comparison, Condition, Literal};
use super::shape::{Kind, Operand, Shape, UNIQUE};
use super::values::{Scalar, compare_sorted, has_literal, literal};
use crate::random::Stream;

/// A column of an index.
#[derive(Clone, Debug)]
pub(super) enum ColumnShape {
    Of {
        operand: Operand,
        is_descending: bool,
        /// Where missing values stand if not where the direction puts them.
        are_missing_first: Option<bool>,
    },
    /// Each element of a list.
    Each(String, Scalar),
}

impl ColumnShape {
    fn plain(operand: Operand) -> ColumnShape {
        ColumnShape::Of { operand, is_descending: false, are_missing_first: None }
    }

    fn to_json(&self) -> Json {
        match self {
            ColumnShape::Each(list, _) => json!({ "each": list }),
            ColumnShape::Of { operand, is_descending: false, are_missing_first: None } => {
                Json::from(operand.text())
            }
            ColumnShape::Of { operand, is_descending, are_missing_first } => {
                let mut column = json!({ "field": operand.text() });
                column["order"] = Json::from(if *is_descending { "desc" } else { "asc" });
                if let Some(are_first) = are_missing_first {
                    column["missing"] = Json::from(if *are_first { "first" } else { "last" });
                }
                column
            }
        }
    }

    /// How the column sorts two records.
    pub(super) fn compare(&self, one: &Record, other: &Record) -> Ordering {
        let ColumnShape::Of { operand, is_descending, are_missing_first } = self else {
            return Ordering::Equal;
        };
        let (one, other) = (operand.value(one), operand.value(other));
        let ordering = compare_sorted(one.as_ref(), other.as_ref());
        let ordering = if *is_descending { ordering.reverse() } else { ordering };
        match (one.is_some() == other.is_some(), are_missing_first) {
            (false, Some(are_first)) => {
                let missing_first = one.is_some().cmp(&other.is_some());
                if *are_first { missing_first } else { missing_first.reverse() }
            }
            _ => ordering,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum IndexWord {
    Value,
    Unique,
    Elements,
    Covering,
    Sparse,
    Hashed,
    Text,
    Rank,
    Count,
    Sum,
    Min,
    Max,
    Version,
    TimeToLive,
}

impl IndexWord {
    /// For people: a kind, and what is told apart of the kind `value`.
    pub(super) fn name(self) -> &'static str {
        match self {
            IndexWord::Value => "value",
            IndexWord::Unique => "value, unique",
            IndexWord::Elements => "value, elements of a list",
            IndexWord::Covering => "value, covering",
            IndexWord::Sparse => "value, sparse",
            IndexWord::Hashed => "value, hashed",
            IndexWord::Text => "text",
            IndexWord::Rank => "rank",
            IndexWord::Count => "count",
            IndexWord::Sum => "sum",
            IndexWord::Min => "min",
            IndexWord::Max => "max",
            IndexWord::Version => "version",
            IndexWord::TimeToLive => "time_to_live",
        }
    }

    fn kind(self) -> &'static str {
        match self {
            IndexWord::Value
            | IndexWord::Unique
            | IndexWord::Elements
            | IndexWord::Covering
            | IndexWord::Sparse
            | IndexWord::Hashed => "value",
            other => other.name(),
        }
    }
}

/// An index.
#[derive(Clone, Debug)]
pub(super) struct IndexShape {
    pub(super) name: String,
    pub(super) word: IndexWord,
    pub(super) group: Vec<ColumnShape>,
    pub(super) columns: Vec<ColumnShape>,
    pub(super) covering: Vec<String>,
    pub(super) condition: Vec<Condition>,
    /// Of a text index: whether its words are stems.
    pub(super) is_english: bool,
}

impl IndexShape {
    /// Whether a query can take it.
    pub(super) fn is_path(&self) -> bool {
        matches!(self.word.kind(), "value" | "text" | "rank")
    }

    /// The columns of its entries.
    pub(super) fn all_columns(&self) -> Vec<&ColumnShape> {
        self.group.iter().chain(&self.columns).collect()
    }

    /// Whether it has an entry for a record, as far as its condition says.
    pub(super) fn holds(&self, record: &Record) -> bool {
        self.condition.iter().all(|condition| condition.holds(record))
    }

    pub(super) fn to_json(&self) -> Json {
        let mut index = Map::new();
        let mut put = |name: &str, value: Json| drop(index.insert(name.to_owned(), value));
        let list = |columns: &[ColumnShape]| {
            Json::from(columns.iter().map(ColumnShape::to_json).collect::<Vec<_>>())
        };
        put("kind", Json::from(self.word.kind()));
        if !self.group.is_empty() {
            put("group", list(&self.group));
        }
        match (self.word, &self.columns[..]) {
            (_, []) => {}
            (IndexWord::Sum | IndexWord::Min | IndexWord::Max, [of, ..]) => put("of", of.to_json()),
            (_, columns) => put("fields", list(columns)),
        }
        if !self.covering.is_empty() {
            put("covering", json!(self.covering));
        }
        if !self.condition.is_empty() {
            let parts: Vec<String> = self.condition.iter().map(Condition::text).collect();
            put("where", Json::from(parts.join(" && ")));
        }
        if self.word == IndexWord::Unique {
            put("unique", Json::from(true));
        }
        if self.word == IndexWord::Hashed {
            put("hashed", Json::from(true));
        }
        if self.is_english {
            put("language", Json::from("english"));
        }
        if self.word == IndexWord::TimeToLive {
            put("after_s", Json::from(super::deletions::AFTER_S));
        }
        Json::Object(index)
    }
}

/// Some indexes of a record type, each of a name of its own.
pub(super) fn random(shape: &Shape, random: &mut Stream) -> Vec<IndexShape> {
    let mut maker = Maker { shape, random };
    let mut indexes = Vec::new();
    if shape.is_large {
        // Two whose columns have few values.
        for place in 0..2 {
            let scalar = if place == 0 { Scalar::Enum } else { Scalar::Bool };
            let operand = Operand::Field(vec![shape.fields[place].name.clone()], scalar);
            indexes.push(maker.index(IndexWord::Value, Vec::new(), vec![ColumnShape::plain(operand)]));
        }
    }
    for _ in 0..2 + maker.random.below(4) {
        indexes.extend(maker.path());
    }
    for _ in 0..1 + maker.random.below(3) {
        indexes.extend(maker.other());
    }
    for (place, index) in indexes.iter_mut().enumerate() {
        index.name = format!("i{place}");
    }
    indexes
}

struct Maker<'a> {
    shape: &'a Shape,
    random: &'a mut Stream,
}

impl Maker<'_> {
    fn index(&mut self, word: IndexWord, group: Vec<ColumnShape>, columns: Vec<ColumnShape>) -> IndexShape {
        let has_condition = word == IndexWord::Sparse
            || !matches!(word, IndexWord::Unique | IndexWord::Version) && self.random.percent(10);
        let condition = if has_condition { self.condition() } else { Vec::new() };
        let name = String::new();
        IndexShape { name, word, group, columns, covering: Vec::new(), condition, is_english: false }
    }

    /// One that a query can take.
    fn path(&mut self) -> Option<IndexShape> {
        match self.random.below(10) {
            0 => {
                let operand = Operand::Field(vec![UNIQUE.to_owned()], Scalar::Int);
                Some(self.index(IndexWord::Unique, Vec::new(), vec![ColumnShape::plain(operand)]))
            }
            1 => {
                let lists = self.shape.lists();
                let (list, scalar) = lists.first()?.clone();
                let mut columns = self.columns(2);
                columns.truncate(1 + self.random.below(2) as usize);
                let place = self.random.below(columns.len() as u64 + 1) as usize;
                columns.insert(place, ColumnShape::Each(list, scalar));
                Some(self.index(IndexWord::Elements, Vec::new(), columns))
            }
            2 => {
                let columns = self.columns(2);
                let mut index = self.index(IndexWord::Covering, Vec::new(), columns);
                let names = self.shape.names();
                for name in names {
                    if self.random.percent(60) {
                        index.covering.push(name.to_owned());
                    }
                }
                (!index.covering.is_empty()).then_some(index)
            }
            3 => {
                let columns = self.columns(3);
                Some(self.index(IndexWord::Sparse, Vec::new(), columns))
            }
            4 | 5 => {
                let (group, columns) = (self.group(), self.columns(2));
                let columns: Vec<ColumnShape> =
                    columns.into_iter().filter(|column| !has_column(&group, column)).collect();
                (!columns.is_empty()).then(|| self.index(IndexWord::Rank, group, columns))
            }
            6 | 7 => self.text(),
            8 => Some(self.hashed()),
            _ => {
                let columns = self.columns(3);
                Some(self.index(IndexWord::Value, Vec::new(), columns))
            }
        }
    }

    /// One of columns that have no direction, with or without the elements of a list, which may cover fields.
    fn hashed(&mut self) -> IndexShape {
        let mut columns: Vec<ColumnShape> = Vec::new();
        for column in self.columns(2) {
            if let ColumnShape::Of { operand, .. } = column {
                columns.push(ColumnShape::plain(operand));
            }
        }
        if let Some((list, scalar)) = self.shape.lists().first().filter(|_| self.random.percent(25)) {
            columns.push(ColumnShape::Each(list.clone(), *scalar));
        }
        let mut index = self.index(IndexWord::Hashed, Vec::new(), columns);
        if self.random.percent(50) {
            index.covering = self.shape.names().into_iter().map(str::to_owned).collect();
            index.covering.truncate(1 + self.random.below(4) as usize);
        }
        index
    }

    /// One that answers something else.
    fn other(&mut self) -> Option<IndexShape> {
        let mut group = self.group();
        let (word, columns) = match self.random.below(6) {
            0 => (IndexWord::Count, Vec::new()),
            1 => (IndexWord::Sum, self.of(|scalar| matches!(scalar, Scalar::Int | Scalar::Decimal))),
            2 => (IndexWord::Min, self.of(|_| true)),
            3 => (IndexWord::Max, self.of(|_| true)),
            4 => (IndexWord::Version, Vec::new()),
            _ => (IndexWord::TimeToLive, self.of(|scalar| scalar == Scalar::Timestamp)),
        };
        match word {
            IndexWord::Count | IndexWord::Version => {}
            IndexWord::TimeToLive => group.clear(),
            _ => group.retain(|column| !has_column(&columns, column)),
        }
        let needs_column = !matches!(word, IndexWord::Count | IndexWord::Version);
        (columns.len() == usize::from(needs_column)).then(|| self.index(word, group, columns))
    }

    /// A field of a type, if there is one.
    fn of(&mut self, fits: fn(Scalar) -> bool) -> Vec<ColumnShape> {
        let mut fitting = self.shape.scalars();
        fitting.retain(|operand| fits(operand.scalar()));
        let picked = fitting.get(self.random.below(fitting.len() as u64) as usize);
        picked.map(|operand| ColumnShape::plain(operand.clone())).into_iter().collect()
    }

    fn text(&mut self) -> Option<IndexShape> {
        let group = self.group();
        let texts: Vec<ColumnShape> = self
            .shape
            .fields
            .iter()
            .filter_map(|field| match &field.kind {
                Kind::Of(Scalar::Text) => {
                    Some(ColumnShape::plain(Operand::Field(vec![field.name.clone()], Scalar::Text)))
                }
                Kind::List(Scalar::Text) => Some(ColumnShape::Each(field.name.clone(), Scalar::Text)),
                _ => None,
            })
            .filter(|column| !has_column(&group, column))
            .collect();
        let column = texts.get(self.random.below(texts.len() as u64) as usize)?.clone();
        let mut index = self.index(IndexWord::Text, group, vec![column]);
        index.is_english = self.random.percent(50);
        Some(index)
    }

    /// No column or one, without direction.
    fn group(&mut self) -> Vec<ColumnShape> {
        match self.random.percent(50) {
            true => vec![ColumnShape::plain(self.shape.operand(self.random))],
            false => Vec::new(),
        }
    }

    fn columns(&mut self, most: u64) -> Vec<ColumnShape> {
        let mut columns: Vec<ColumnShape> = Vec::new();
        for _ in 0..1 + self.random.below(most) {
            let column = ColumnShape::Of {
                operand: self.shape.operand(self.random),
                is_descending: self.random.percent(40),
                are_missing_first: self.random.percent(20).then(|| self.random.percent(50)),
            };
            if !has_column(&columns, &column) {
                columns.push(column);
            }
        }
        columns
    }

    /// Up to two conditions, without parameters.
    fn condition(&mut self) -> Vec<Condition> {
        let mut conditions = Vec::new();
        for _ in 0..1 + self.random.below(2) {
            let scalars = self.shape.scalars();
            let operand = self.random.pick(&scalars).clone();
            let Operand::Field(path, scalar) = &operand else { continue };
            let value = scalar.value(self.random);
            conditions.push(match self.random.percent(50) || !has_literal(&value) {
                true => Condition::IsThere { path: path.clone(), is_there: true, by_has: false },
                false => Condition::Compare {
                    comparison: *self.random.pick(match scalar {
                        Scalar::Enum => &[Comparison::Equal],
                        _ => &[Comparison::Equal, Comparison::GreaterOrEqual],
                    }),
                    literal: Literal { text: literal(&value), value: Some(value) },
                    operand,
                    is_mirrored: false,
                },
            });
        }
        conditions
    }
}

/// Whether a column is among others, in whatever direction.
fn has_column(columns: &[ColumnShape], column: &ColumnShape) -> bool {
    columns.iter().any(|other| match (other, column) {
        (ColumnShape::Of { operand: one, .. }, ColumnShape::Of { operand: other, .. }) => one == other,
        (ColumnShape::Each(one, _), ColumnShape::Each(other, _)) => one == other,
        _ => false,
    })
}
