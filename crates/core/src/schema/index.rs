//! What an index is.

use crate::error::{Result, shown};
use crate::expression::Expression;
use crate::text::Tokenizer;
use crate::value::{Field, FieldType};

/// Something that is kept beside the records and answers a kind of question: an order, a count, a sum, a rank.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Index {
    /// Its number on disk, from 1, unique in the schema.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// What it keeps.
    pub kind: IndexKind,
    /// Its columns, in their order. Those of the group come first.
    pub columns: Vec<Column>,
    /// How many of the columns, from the first, only tell groups apart: counts, sums and ranks are kept for each group by itself.
    pub group_columns: usize,
    /// The fields that an entry carries along, so that a query which asks for no others reads no record.
    pub covering: Vec<String>,
    /// Records for which this does not hold are not in the index.
    pub condition: Option<Condition>,
    /// Whether entries have one hash in the place of the columns, which for a sealed tenant nobody makes without its key: they are found by equality on all columns, and by nothing
    /// else.
    pub is_hashed: bool,
}

/// What an index keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IndexKind {
    /// The records in the order of the columns.
    Value {
        /// Whether no two records may have the same columns.
        unique: Option<MissingRule>,
    },
    /// How many records there are in a group.
    Count,
    /// The sum of the last column over a group. Records that lack it do not count.
    Sum,
    /// The least value of the last column in a group.
    Min,
    /// The greatest value of the last column in a group.
    Max,
    /// The position of a record in its group, in the order of the columns behind the group's. Schemas do not take it yet.
    Rank,
    /// The records of a group in the order of their last changes.
    Version,
    /// The words of the last column.
    Text {
        /// How texts are cut into words.
        tokenizer: Tokenizer,
    },
    /// The records by the moment in the last column, for the sweep that deletes those whose time has come.
    TimeToLive {
        /// How long after that moment, in seconds.
        after_s: u64,
    },
}

/// What a unique index makes of missing values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingRule {
    /// Records that lack a column are not compared.
    Distinct,
    /// A missing value is a value like any other: it may stand once.
    Equal,
}

impl IndexKind {
    /// The kind's name in a schema.
    pub fn name(&self) -> &'static str {
        match self {
            IndexKind::Value { .. } => "value",
            IndexKind::Count => "count",
            IndexKind::Sum => "sum",
            IndexKind::Min => "min",
            IndexKind::Max => "max",
            IndexKind::Rank => "rank",
            IndexKind::Version => "version",
            IndexKind::Text { .. } => "text",
            IndexKind::TimeToLive { .. } => "time_to_live",
        }
    }
}

/// A column of an index: a field, a field of a struct, an expression, or the elements of a list.
#[derive(Clone, Debug)]
pub struct Column {
    /// The field or expression, as the schema has it.
    pub text: String,
    /// Whether the greatest value comes first.
    pub is_descending: bool,
    /// Whether records that lack the value come last. Without another word they are the least: first, or last in a descending column.
    pub are_missing_last: bool,
    /// Whether the expression is a list and there is one entry for each of its elements.
    pub is_each: bool,
    pub(crate) expression: Expression,
    /// The type of the values in keys: of an element, where there is one entry for each.
    pub(crate) field_type: FieldType,
}

/// What a column's text means follows from the text and the fields.
impl PartialEq for Column {
    fn eq(&self, other: &Column) -> bool {
        (&self.text, self.is_descending, self.are_missing_last, self.is_each)
            == (&other.text, other.is_descending, other.are_missing_last, other.is_each)
    }
}

impl Eq for Column {}

impl Column {
    /// The field, if the column is one field of the record as it is.
    pub fn field(&self) -> Option<&str> {
        match self.is_each {
            true => None,
            false => self.expression.as_field(),
        }
    }

    /// The type of its values: of an element, where there is an entry for each.
    pub fn field_type(&self) -> &FieldType {
        &self.field_type
    }

    /// A column that is a field of the record.
    pub(crate) fn of_field(field: &Field) -> Column {
        Column {
            text: field.name.to_string(),
            is_descending: false,
            are_missing_last: false,
            is_each: false,
            expression: Expression::of_field(&field.name),
            field_type: field.field_type.clone(),
        }
    }
}

/// A condition with its text.
#[derive(Clone, Debug)]
pub struct Condition {
    /// The expression in CEL.
    pub text: String,
    pub(crate) expression: Expression,
}

impl PartialEq for Condition {
    fn eq(&self, other: &Condition) -> bool {
        self.text == other.text
    }
}

impl Eq for Condition {}

impl Index {
    /// Whether no two records may have the same columns.
    pub fn is_unique(&self) -> bool {
        matches!(self.kind, IndexKind::Value { unique: Some(_) })
    }

    /// Whether it orders the records, so that a scan of it finds them.
    pub fn is_ordered(&self) -> bool {
        !self.is_hashed
            && matches!(self.kind, IndexKind::Value { .. } | IndexKind::Rank | IndexKind::TimeToLive { .. })
    }
}

/// Splits `text:desc` into the expression and its direction.
///
/// # Errors
///
/// 20022 for a direction that is neither `asc` nor `desc`.
pub(super) fn split_direction(text: &str) -> Result<(&str, bool)> {
    match text.rsplit_once(':') {
        None => Ok((text, false)),
        Some((expression, "asc")) => Ok((expression, false)),
        Some((expression, "desc")) => Ok((expression, true)),
        // A colon in quotes belongs to the expression.
        Some((_, rest)) if rest.contains(['"', '\'']) => Ok((text, false)),
        Some((_, other)) => Err(super::invalid(format!(
            "the column {} ends in {}; a direction is asc or desc",
            shown(text),
            shown(other)
        ))),
    }
}
