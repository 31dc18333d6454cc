//! From the file's form of an index to the index, with every rule checked.

use super::index::{Column, Condition, Index, IndexKind, MissingRule, split_direction};
use super::source::{ColumnSource, IndexSource};
use super::{check_count, invalid};
use crate::error::{Error, Result, shown};
use crate::expression::Expression;
use crate::limits::{COLUMNS_MAX, TIME_TO_LIVE_AFTER_S_MAX};
use crate::text::{Language, Tokenizer};
use crate::value::{Field, FieldType};

/// Whose index it is: for messages, and for what its expressions may name.
struct Owner<'a> {
    index: String,
    type_name: &'a str,
    fields: &'a [Field],
}

impl Owner<'_> {
    fn refused(&self, why: impl AsRef<str>) -> Error {
        invalid(format!("the index {} of {} {}", shown(&self.index), shown(self.type_name), why.as_ref()))
    }
}

pub(super) fn define_index(
    id: u32,
    name: String,
    source: IndexSource,
    type_name: &str,
    fields: &[Field],
) -> Result<Index> {
    let owner = Owner { index: name.clone(), type_name, fields };
    let kind = define_kind(&source, &owner)?;
    let IndexSource { group, fields: rest, of, covering, condition, hashed: is_hashed, .. } = source;
    let group_columns = group.len();
    let mut columns = Vec::new();
    for column in group.into_iter().chain(rest).chain(of) {
        columns.push(define_column(column, &owner)?);
    }
    check_count(&format!("the columns of the index {}", shown(&name)), columns.len(), COLUMNS_MAX)?;
    check_columns(&kind, &columns, group_columns, &owner)?;
    if is_hashed {
        check_hashed(&columns, &owner)?;
    }
    check_covering(&kind, &covering, &owner)?;
    let condition = condition.map(|text| define_condition(text, &owner)).transpose()?;
    Ok(Index { id, name, kind, columns, group_columns, covering, condition, is_hashed })
}

/// The kind, once every word of the source belongs to it.
fn define_kind(source: &IndexSource, owner: &Owner<'_>) -> Result<IndexKind> {
    let kind = source.kind.as_deref().unwrap_or("value");
    let belongs = |word: &str, is_there: bool, kinds: &[&str]| match is_there && !kinds.contains(&kind) {
        true => Err(owner.refused(format!(
            "is of kind {}: \"{word}\" belongs to {}",
            shown(kind),
            kinds.join(", ")
        ))),
        false => Ok(()),
    };
    let known = ["value", "count", "sum", "min", "max", "rank", "version", "text", "time_to_live"];
    if !known.contains(&kind) {
        return Err(owner.refused(format!("has the kind {}; there are {}", shown(kind), known.join(", "))));
    }
    belongs("unique", source.unique, &["value"])?;
    belongs("hashed", source.hashed, &["value"])?;
    belongs("missing", source.missing.is_some(), &["value"])?;
    belongs("covering", !source.covering.is_empty(), &["value"])?;
    belongs("language", source.language.is_some(), &["text"])?;
    belongs("tokenizer_version", source.tokenizer_version.is_some(), &["text"])?;
    belongs("after_s", source.after_s.is_some(), &["time_to_live"])?;
    belongs("of", source.of.is_some(), &["sum", "min", "max"])?;
    belongs("fields", !source.fields.is_empty(), &["value", "rank", "text", "time_to_live"])?;
    belongs("group", !source.group.is_empty(), &["count", "sum", "min", "max", "rank", "version", "text"])?;
    let unique = match (source.unique, source.missing.as_deref()) {
        (false, None) => None,
        (false, Some(_)) => return Err(owner.refused("says \"missing\" and is not unique")),
        (true, None | Some("distinct")) => Some(MissingRule::Distinct),
        (true, Some("equal")) => Some(MissingRule::Equal),
        (true, Some(other)) => {
            return Err(owner.refused(format!("says missing = {}; it is distinct or equal", shown(other))));
        }
    };
    let after_s = source.after_s.unwrap_or(0);
    if after_s > TIME_TO_LIVE_AFTER_S_MAX {
        return Err(owner.refused(format!(
            "keeps records for {after_s} seconds more; the limit is {TIME_TO_LIVE_AFTER_S_MAX}"
        )));
    }
    Ok(match kind {
        "count" => IndexKind::Count,
        "sum" => IndexKind::Sum,
        "min" => IndexKind::Min,
        "max" => IndexKind::Max,
        "rank" => IndexKind::Rank,
        "version" => IndexKind::Version,
        "text" => IndexKind::Text { tokenizer: define_tokenizer(source, owner)? },
        "time_to_live" => IndexKind::TimeToLive { after_s },
        _ => IndexKind::Value { unique },
    })
}

/// How a text index cuts its texts into words.
fn define_tokenizer(source: &IndexSource, owner: &Owner<'_>) -> Result<Tokenizer> {
    let language = source.language.as_deref().map(|name| {
        Language::of_name(name).ok_or_else(|| {
            let known: Vec<&str> = Language::ALL.iter().map(|language| language.name()).collect();
            owner.refused(format!("has the language {}; there are {}", shown(name), known.join(", ")))
        })
    });
    let tokenizer = Tokenizer::new(language.transpose()?);
    match source.tokenizer_version {
        Some(version) if version != Tokenizer::VERSION => Err(owner.refused(format!(
            "has words of version {version} of the tokenizer; this build makes those of version {}",
            Tokenizer::VERSION
        ))),
        _ => Ok(tokenizer),
    }
}

fn define_column(source: ColumnSource, owner: &Owner<'_>) -> Result<Column> {
    let (text, mut is_descending) = match source.is_each {
        true => (source.text.as_str(), false),
        false => split_direction(&source.text)?,
    };
    match source.order.as_deref() {
        None => {}
        Some("asc") => is_descending = false,
        Some("desc") => is_descending = true,
        Some(other) => {
            return Err(owner.refused(format!("has the order {}; it is asc or desc", shown(other))));
        }
    }
    let are_missing_last = match source.missing.as_deref() {
        None => is_descending,
        Some("first") => false,
        Some("last") => true,
        Some(other) => {
            return Err(
                owner.refused(format!("has the missing values {}; they are first or last", shown(other)))
            );
        }
    };
    let (expression, found) = Expression::parse_value_with_fields(text, owner.type_name, owner.fields)
        .map_err(|error| owner.refused(format!("has the column {}: {}", shown(text), error.detail())))?;
    let field_type = match (source.is_each, found) {
        (false, found) => found,
        (true, FieldType::List(element)) => *element,
        (true, found) => {
            return Err(owner.refused(format!(
                "takes each element of {}, which is no list but a {}",
                shown(text),
                found.name()
            )));
        }
    };
    if !field_type.has_key_form() {
        return Err(owner.refused(format!(
            "has the column {}: a {} has no order{}",
            shown(text),
            field_type.name(),
            if matches!(field_type, FieldType::List(_)) {
                " (an entry for each element: { each = ... })"
            } else {
                ""
            }
        )));
    }
    let text = text.to_owned();
    Ok(Column { text, is_descending, are_missing_last, is_each: source.is_each, expression, field_type })
}

fn check_columns(kind: &IndexKind, columns: &[Column], group: usize, owner: &Owner<'_>) -> Result<()> {
    let own = &columns[group..];
    for (index, column) in columns.iter().enumerate() {
        if columns[..index]
            .iter()
            .any(|earlier| earlier.text == column.text && earlier.is_each == column.is_each)
        {
            return Err(owner.refused(format!("names {} twice", shown(&column.text))));
        }
    }
    if columns.iter().filter(|column| column.is_each).count() > 1 {
        return Err(owner.refused("takes each element of more than one list: it can of one"));
    }
    let asks = match kind {
        IndexKind::Value { .. } | IndexKind::Rank if own.is_empty() => Some("names no field"),
        IndexKind::Sum | IndexKind::Min | IndexKind::Max if own.len() != 1 => {
            Some("needs \"of\": the field that it is about")
        }
        IndexKind::Text { .. } | IndexKind::TimeToLive { .. } if own.len() != 1 => Some("is on one field"),
        _ => None,
    };
    if let Some(asks) = asks {
        return Err(owner.refused(asks));
    }
    let takes = |what: &str, fits: fn(&FieldType) -> bool| match own {
        [column] if !fits(&column.field_type) => Err(owner.refused(format!(
            "is on {}, which is a {}: it takes {what}",
            shown(&column.text),
            column.field_type.name()
        ))),
        _ => Ok(()),
    };
    match kind {
        IndexKind::Sum => takes("an int or a decimal", |field_type| {
            matches!(field_type, FieldType::Int | FieldType::Decimal)
        }),
        IndexKind::Text { .. } => takes("a string", |field_type| matches!(field_type, FieldType::String)),
        IndexKind::TimeToLive { .. } => {
            takes("a timestamp", |field_type| matches!(field_type, FieldType::Timestamp))
        }
        _ => Ok(()),
    }?;
    let plain = |column: &Column| !column.is_each && !column.is_descending && !column.are_missing_last;
    match kind {
        IndexKind::Value { .. } => Ok(()),
        // A record has one position; every other kind has one way to look at its columns.
        IndexKind::Rank if columns.iter().all(|column| !column.is_each) => Ok(()),
        IndexKind::Rank => Err(owner.refused("takes each element of a list: a record has one position")),
        _ if columns.iter().all(|column| plain(column) || column.is_each && column_may_be_each(kind)) => {
            Ok(())
        }
        _ => Err(owner.refused(format!("is of kind {}: its columns have no direction", kind.name()))),
    }
}

/// A hash has no order.
fn check_hashed(columns: &[Column], owner: &Owner<'_>) -> Result<()> {
    match columns.iter().find(|column| column.is_descending || column.are_missing_last) {
        Some(column) => Err(owner.refused(format!(
            "is hashed, so that its entries have no order: {} has no direction, and no place for what is missing",
            shown(&column.text)
        ))),
        None => Ok(()),
    }
}

fn column_may_be_each(kind: &IndexKind) -> bool {
    matches!(kind, IndexKind::Count | IndexKind::Text { .. })
}

fn check_covering(kind: &IndexKind, covering: &[String], owner: &Owner<'_>) -> Result<()> {
    debug_assert!(covering.is_empty() || matches!(kind, IndexKind::Value { .. }));
    for (index, name) in covering.iter().enumerate() {
        if !owner.fields.iter().any(|field| *field.name == **name) {
            let known: Vec<&str> = owner.fields.iter().map(|field| &*field.name).collect();
            return Err(owner.refused(format!(
                "covers the field {}; there are {}",
                shown(name),
                known.join(", ")
            )));
        }
        if covering[..index].contains(name) {
            return Err(owner.refused(format!("covers {} twice", shown(name))));
        }
    }
    Ok(())
}

fn define_condition(text: String, owner: &Owner<'_>) -> Result<Condition> {
    match Expression::parse_with_fields(&text, owner.type_name, owner.fields) {
        Ok(expression) => Ok(Condition { text, expression }),
        Err(error) => Err(owner.refused(format!("has the condition {}: {}", shown(&text), error.detail()))),
    }
}
