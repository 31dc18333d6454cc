//! Whether a record fits its type: the form of its values, the rules of its fields, the checks of the whole. Every violation is found, not the first alone.

use std::cmp::Ordering;

use serde_json::Value as Json;

use crate::error::{Error, Result, shown};
use crate::limits::JSON_DEPTH_MAX;
use crate::value::{Check, Constraints, Field, FieldType, Name, NamedCheck, Value, unknown_field};
use crate::violation::{Path, Violations, missing_field, rule};

/// The one name that stands for the value in the check of a field.
pub(crate) const CHECKED_NAME: &str = "value";

/// Fails with every violation unless the values are a record of the type. What is missing and has a default counts as there.
pub(crate) fn check_record(
    values: &[(Name, Value)],
    type_name: &str,
    fields: &[Field],
    checks: &[NamedCheck],
) -> Result<()> {
    let mut violations = Violations::of(type_name);
    check_fields(values, fields, &Path::RECORD, &mut violations);
    // A check of the whole says nothing where the parts are not what it was written for.
    if violations.misfits() == 0 {
        check_whole(values, checks, &mut violations);
    }
    Error::of_violations(violations)
}

fn check_whole(values: &[(Name, Value)], checks: &[NamedCheck], violations: &mut Violations<'_>) {
    for NamedCheck { name, check } in checks {
        if !check.holds(values) {
            let detail = format!("the check {} does not hold: {}", shown(name), check.text());
            violations.add(&Path::RECORD, "checks", format!("{name}: {}", check.text()), detail);
        }
    }
}

/// Checks the values of a record or struct against its fields.
fn check_fields(
    values: &[(Name, Value)],
    fields: &[Field],
    path: &Path<'_>,
    violations: &mut Violations<'_>,
) {
    for (index, (name, value)) in values.iter().enumerate() {
        let path = path.field(name);
        let Some(field) = fields.iter().find(|field| *field.name == **name) else {
            unknown_field(&path, fields, violations);
            continue;
        };
        if values[..index].iter().any(|(earlier, _)| earlier == name) {
            let detail = format!("the field {} is given twice", shown(&path.to_string()));
            violations.add(&path, rule::TWICE, "", detail);
            continue;
        }
        check_value(value, &field.field_type, field.constraints.as_deref(), &path, violations);
    }
    for field in fields {
        if field.is_required() && !values.iter().any(|(name, _)| *name == field.name) {
            missing_field(&path.field(&field.name), violations);
        }
    }
}

/// Checks those values of a record that are there.
pub(crate) fn check_values(values: &[(Name, Value)], fields: &[Field], violations: &mut Violations<'_>) {
    for (name, value) in values {
        if let Some(field) = fields.iter().find(|field| field.name == *name) {
            let path = Path::RECORD.field(name);
            check_value(value, &field.field_type, field.constraints.as_deref(), &path, violations);
        }
    }
}

/// Checks the form of a value, and then its rules and those of its parts.
pub(crate) fn check_value(
    value: &Value,
    field_type: &FieldType,
    constraints: Option<&Constraints>,
    path: &Path<'_>,
    violations: &mut Violations<'_>,
) {
    if violations.is_cut() {
        return;
    }
    if let Some(problem) = misfit(value, field_type, path) {
        violations.add(path, rule::TYPE, field_type.name(), problem);
        return;
    }
    if let Some(constraints) = constraints {
        check_range(value, constraints, path, violations);
        check_length(value, field_type, constraints, path, violations);
        check_pattern(value, constraints, path, violations);
    }
    let misfits_outside = violations.misfits();
    match (value, field_type) {
        (Value::List(elements), FieldType::List(element_type)) => {
            let constraints = constraints.and_then(|constraints| constraints.elements.as_deref());
            for (index, element) in elements.iter().enumerate() {
                check_value(element, element_type, constraints, &path.element(index), violations);
            }
        }
        (Value::Struct(values), FieldType::Struct(fields)) => check_fields(values, fields, path, violations),
        _ => {}
    }
    if let Some(check) = constraints.and_then(|constraints| constraints.check.as_ref())
        && violations.misfits() == misfits_outside
    {
        check_expression(value, check, path, violations);
    }
}

/// What is wrong with the form of a value, but for its parts.
fn misfit(value: &Value, field_type: &FieldType, path: &Path<'_>) -> Option<String> {
    let name = || shown(&path.to_string());
    match (value, field_type) {
        (Value::Float(value), FieldType::Float) if value.is_nan() => {
            Some(format!("the field {} takes no NaN", name()))
        }
        (Value::Timestamp(value), FieldType::Timestamp) if value.subsec_nanosecond() % 1_000 != 0 => {
            Some(format!(
                "the field {} holds whole microseconds, not {value}: round it, or take the present moment from Tenant::now",
                name()
            ))
        }
        (Value::Json(json), FieldType::Json) if is_nested_deeper(json, JSON_DEPTH_MAX) => {
            Some(format!("the field {} takes JSON of a depth up to {JSON_DEPTH_MAX}", name()))
        }
        (Value::Enum(_) | Value::String(_), FieldType::Enum(values)) => {
            let found = value.as_name().unwrap_or_default();
            let is_known = values.iter().any(|value| *value.name == *found);
            (!is_known)
                .then(|| format!("the field {} takes {}, not {}", name(), field_type.names(), shown(found)))
        }
        _ if value.type_name() == field_type.name() => None,
        _ => Some(format!(
            "the field {} is of type {}, the value of type {}",
            name(),
            field_type.name(),
            value.type_name()
        )),
    }
}

/// Whether lists and objects are nested deeper than so many.
fn is_nested_deeper(json: &Json, depth_left: usize) -> bool {
    match (json, depth_left) {
        (Json::Array(_) | Json::Object(_), 0) => true,
        (Json::Array(elements), depth) => elements.iter().any(|json| is_nested_deeper(json, depth - 1)),
        (Json::Object(fields), depth) => fields.values().any(|json| is_nested_deeper(json, depth - 1)),
        _ => false,
    }
}

fn check_range(value: &Value, constraints: &Constraints, path: &Path<'_>, violations: &mut Violations<'_>) {
    let mut bound = |word: &'static str, limit: &Option<Value>, wrong: Ordering, words: &str| {
        if let Some(limit) = limit
            && order(value, limit) == Some(wrong)
        {
            let detail =
                format!("the field {} holds {value}, {words} is {limit} ({word})", shown(&path.to_string()));
            violations.add(path, word, limit.to_string(), detail);
        }
    };
    bound("min", &constraints.min, Ordering::Less, "the least");
    bound("max", &constraints.max, Ordering::Greater, "the most");
}

/// How two values of the same type that has a range lie.
pub(crate) fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Float(left), Value::Float(right)) => left.partial_cmp(right),
        (Value::Decimal(left), Value::Decimal(right)) => Some(left.cmp(right)),
        (Value::Date(left), Value::Date(right)) => Some(left.cmp(right)),
        (Value::Timestamp(left), Value::Timestamp(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

fn check_length(
    value: &Value,
    field_type: &FieldType,
    constraints: &Constraints,
    path: &Path<'_>,
    violations: &mut Violations<'_>,
) {
    if constraints.min_length.is_none() && constraints.max_length.is_none() {
        return;
    }
    let length = match value {
        Value::String(text) => text.chars().count(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(elements) => elements.len(),
        _ => return,
    };
    let unit = field_type.length_unit().unwrap_or_default();
    let mut bound =
        |word: &'static str, limit: Option<usize>, is_wrong: fn(usize, usize) -> bool, words: &str| {
            if let Some(limit) = limit
                && is_wrong(length, limit)
            {
                let detail = format!(
                    "the field {} has {length} {unit}, {words} {limit} ({word})",
                    shown(&path.to_string())
                );
                violations.add(path, word, limit.to_string(), detail);
            }
        };
    bound("min_length", constraints.min_length, |length, limit| length < limit, "at least");
    bound("max_length", constraints.max_length, |length, limit| length > limit, "at most");
}

fn check_pattern(value: &Value, constraints: &Constraints, path: &Path<'_>, violations: &mut Violations<'_>) {
    if let (Value::String(text), Some(pattern)) = (value, &constraints.pattern)
        && !pattern.matches(text)
    {
        let detail = format!(
            "the field {} holds {}, which does not match {} (pattern)",
            shown(&path.to_string()),
            shown(text),
            pattern.text()
        );
        violations.add(path, "pattern", pattern.text(), detail);
    }
}

fn check_expression(value: &Value, check: &Check, path: &Path<'_>, violations: &mut Violations<'_>) {
    if !check.holds(&[(CHECKED_NAME.into(), value.clone())]) {
        let detail = format!(
            "the field {} holds {}, for which {} does not hold (check)",
            shown(&path.to_string()),
            shown(&value.to_string()),
            check.text()
        );
        violations.add(path, "check", check.text(), detail);
    }
}

impl Value {
    /// Fails unless the value is of the type, its parts included.
    ///
    /// # Errors
    ///
    /// 20032 naming the field and both types; 20037 for rules of the fields of structs in it.
    pub fn check(&self, field_type: &FieldType, name: &str) -> Result<()> {
        let mut violations = Violations::of("");
        check_value(self, field_type, None, &Path::Root(name), &mut violations);
        Error::of_violations(violations)
    }
}
