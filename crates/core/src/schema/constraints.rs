//! The rules of fields and record types, from the file's form and back.

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::invalid;
use super::source::{Entries, FieldSource, SchemaSource};
use crate::error::{Error, Result, limit, shown};
use crate::expression::Expression;
use crate::json::Strict;
use crate::limits::{CHECKS_MAX, LENGTH_BOUND_MAX, PATTERNS_MAX};
use crate::validation::{CHECKED_NAME, check_value, order};
use crate::value::{Check, Constraints, DefaultValue, Field, FieldType, NamedCheck, Pattern, Value};
use crate::violation::{Path, Violations};

/// The rules of a field as the file has them.
#[derive(Default)]
pub(super) struct ConstraintsSource {
    pub(super) default: Option<Literal>,
    pub(super) min: Option<Literal>,
    pub(super) max: Option<Literal>,
    pub(super) min_length: Option<u64>,
    pub(super) max_length: Option<u64>,
    pub(super) pattern: Option<String>,
    pub(super) check: Option<String>,
}

/// A value as the file has it.
pub(super) struct Literal(pub(super) Json);

impl<'de> Deserialize<'de> for Literal {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Literal, D::Error> {
        let Strict(json) = Strict::deserialize(deserializer)?;
        Ok(Literal(without_dates(json)))
    }
}

/// TOML's own dates and times as texts.
fn without_dates(json: Json) -> Json {
    /// The one key of the object that TOML's dates and times are handed over as.
    const DATE_KEY: &str = "$__toml_private_datetime";
    match json {
        Json::Object(object) => match object.get(DATE_KEY) {
            Some(date) => date.clone(),
            None => {
                Json::Object(object.into_iter().map(|(name, json)| (name, without_dates(json))).collect())
            }
        },
        Json::Array(elements) => Json::Array(elements.into_iter().map(without_dates).collect()),
        other => other,
    }
}

/// Fails for more patterns than a schema may have: each takes memory once it is compiled.
pub(super) fn check_pattern_count(source: &SchemaSource) -> Result<()> {
    fn of_field(field: &FieldSource) -> usize {
        let own = usize::from(field.constraints.pattern.is_some());
        let elements = field.of.as_deref().map_or(0, of_field);
        own + elements + field.fields.as_ref().map_or(0, of_fields)
    }
    fn of_fields(Entries(fields): &Entries<FieldSource>) -> usize {
        fields.iter().map(|(_, field)| of_field(field)).sum()
    }
    let Entries(types) = &source.types;
    match types.iter().map(|(_, given)| of_fields(&given.fields)).sum::<usize>() {
        found if found <= PATTERNS_MAX => Ok(()),
        found => Err(limit("the patterns of a schema", found, PATTERNS_MAX)),
    }
}

/// The rules of a field of a type. `elements` are those of its elements, if it is a list.
pub(super) fn define(
    source: ConstraintsSource,
    field_type: &FieldType,
    elements: Option<Box<Constraints>>,
    path: &str,
) -> Result<Option<Box<Constraints>>> {
    let ConstraintsSource { default, min, max, min_length, max_length, pattern, check } = source;
    let belongs = |word: &str, is_there: bool, does_belong: bool, types: &str| match is_there && !does_belong
    {
        true => Err(invalid(format!(
            "{} is of type {}: \"{word}\" belongs to {types}",
            shown(path),
            shown(field_type.name())
        ))),
        false => Ok(()),
    };
    let ranges = "int, float, decimal, date and timestamp";
    belongs("min", min.is_some(), field_type.has_range(), ranges)?;
    belongs("max", max.is_some(), field_type.has_range(), ranges)?;
    let has_length = field_type.length_unit().is_some();
    belongs("min_length", min_length.is_some(), has_length, "string, bytes and list")?;
    belongs("max_length", max_length.is_some(), has_length, "string, bytes and list")?;
    belongs("pattern", pattern.is_some(), *field_type == FieldType::String, "string")?;
    let bound = |word: &str, bound: Option<Literal>| {
        bound.map(|Literal(json)| literal(&json, field_type, word, path)).transpose()
    };
    let length = |word: &str, bound: Option<u64>| match bound {
        None => Ok(None),
        Some(bound) => match usize::try_from(bound).ok().filter(|bound| *bound <= LENGTH_BOUND_MAX) {
            Some(bound) => Ok(Some(bound)),
            None => Err(invalid(format!(
                "the {word} of {} is {bound}: it goes from 0 to {LENGTH_BOUND_MAX}",
                shown(path)
            ))),
        },
    };
    let mut constraints = Constraints {
        default: None,
        min: bound("min", min)?,
        max: bound("max", max)?,
        min_length: length("min_length", min_length)?,
        max_length: length("max_length", max_length)?,
        pattern: pattern.map(|text| define_pattern(&text, path)).transpose()?,
        check: check.map(|text| define_field_check(&text, field_type, path)).transpose()?,
        elements,
    };
    check_bounds(&constraints, path)?;
    if let Some(Literal(json)) = default {
        let default = define_default(&json, field_type, path)?;
        check_default(&default, field_type, &constraints, path)?;
        constraints.default = Some(default);
    }
    Ok((!constraints.is_empty()).then(|| Box::new(constraints)))
}

fn literal(json: &Json, field_type: &FieldType, word: &str, path: &str) -> Result<Value> {
    Value::from_json(json, field_type, path)
        .map_err(|error| invalid(format!("the {word} of {}: {}", shown(path), error.detail())))
}

fn check_bounds(constraints: &Constraints, path: &str) -> Result<()> {
    let crossed = |word: &str, least: String, most: String| {
        let detail =
            format!("{} takes no value at all: min{word} {least} is over max{word} {most}", shown(path));
        Err(invalid(detail))
    };
    if let (Some(min), Some(max)) = (&constraints.min, &constraints.max)
        && order(min, max) == Some(std::cmp::Ordering::Greater)
    {
        return crossed("", min.to_string(), max.to_string());
    }
    if let (Some(min), Some(max)) = (constraints.min_length, constraints.max_length)
        && min > max
    {
        return crossed("_length", min.to_string(), max.to_string());
    }
    Ok(())
}

fn define_pattern(text: &str, path: &str) -> Result<Pattern> {
    Pattern::new(text).map_err(|problem| invalid(format!("the pattern of {} {problem}", shown(path))))
}

fn define_field_check(text: &str, field_type: &FieldType, path: &str) -> Result<Check> {
    let value = Field {
        id: 1,
        name: CHECKED_NAME.into(),
        field_type: field_type.clone(),
        is_optional: false,
        constraints: None,
    };
    define_check(text, &[value], path)
}

fn define_check(text: &str, fields: &[Field], path: &str) -> Result<Check> {
    let expression = Expression::parse_with_fields(text, path, fields)
        .map_err(|error| invalid(format!("the check of {}: {error}", shown(path))))?;
    Ok(Check::new(text, move |values| expression.holds(values)))
}

/// The checks of a record type, in the order of the file.
pub(super) fn define_checks(
    Entries(checks): Entries<String>,
    fields: &[Field],
    type_name: &str,
) -> Result<Vec<NamedCheck>> {
    if checks.len() > CHECKS_MAX {
        return Err(limit(&format!("the checks of {}", shown(type_name)), checks.len(), CHECKS_MAX));
    }
    let define = |(name, text): (String, String)| {
        super::check::check_name("check", &name)?;
        let check = define_check(&text, fields, &format!("{type_name}.{name}"))?;
        Ok(NamedCheck { name, check })
    };
    checks.into_iter().map(define).collect()
}

fn define_default(json: &Json, field_type: &FieldType, path: &str) -> Result<DefaultValue> {
    let is_word = |word: &str| {
        json.as_object()
            .is_some_and(|object| object.len() == 1 && object.get(word) == Some(&Json::Bool(true)))
    };
    match field_type {
        FieldType::Timestamp if is_word("now") => Ok(DefaultValue::Now),
        FieldType::Uuid if is_word("uuid") => Ok(DefaultValue::NewUuid),
        FieldType::Json | FieldType::Struct(_) => {
            Ok(DefaultValue::Literal(literal(json, field_type, "default", path)?))
        }
        _ if is_word("now") || is_word("uuid") => Err(invalid(format!(
            "the default of {}: {{ now = true }} belongs to timestamp, {{ uuid = true }} to uuid",
            shown(path)
        ))),
        field_type => Ok(DefaultValue::Literal(literal(json, field_type, "default", path)?)),
    }
}

/// Fails when a default breaks a rule of its own field.
fn check_default(
    default: &DefaultValue,
    field_type: &FieldType,
    constraints: &Constraints,
    path: &str,
) -> Result<()> {
    let DefaultValue::Literal(value) = default else { return Ok(()) };
    let mut violations = Violations::of("");
    check_value(value, field_type, Some(constraints), &Path::Root(path), &mut violations);
    Error::of_violations(violations).map_err(|error| {
        invalid(format!("the default of {} breaks its own rule: {}", shown(path), error.detail()))
    })
}

/// Writes the rules of a field into its table.
pub(super) fn write(constraints: &Constraints, written: &mut Map<String, Json>) {
    let mut add = |word: &str, json: Option<Json>| written.extend(json.map(|json| (word.to_owned(), json)));
    add("default", constraints.default.as_ref().map(write_default));
    add("min", constraints.min.as_ref().map(Value::to_json));
    add("max", constraints.max.as_ref().map(Value::to_json));
    add("min_length", constraints.min_length.map(Json::from));
    add("max_length", constraints.max_length.map(Json::from));
    add("pattern", constraints.pattern.as_ref().map(|pattern| Json::from(pattern.text())));
    add("check", constraints.check.as_ref().map(|check| Json::from(check.text())));
}

fn write_default(default: &DefaultValue) -> Json {
    match default {
        DefaultValue::Literal(value) => value.to_json(),
        DefaultValue::Now => json!({ "now": true }),
        DefaultValue::NewUuid => json!({ "uuid": true }),
    }
}
