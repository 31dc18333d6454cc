//! Merge patches (RFC 7396) on records: what a patch does not name stays as it is, to the bit.

use serde_json::{Map, Value as Json};

use crate::error::{Code, Error, Result, shown};
use crate::limits::JSON_DEPTH_MAX;
use crate::value::{Field, FieldType, Name, Value};

/// Changes values as a patch says: null takes a field out, an object goes into a struct or JSON field, everything else takes the field's place.
///
/// Whether what is left fits the record type is for [`Record::check`](crate::Record::check) to say.
///
/// # Errors
///
/// 20032 for a patch that is no object, names a field that is not there, or has a value of another type.
pub(crate) fn apply(values: &mut Vec<(Name, Value)>, fields: &[Field], patch: &Json) -> Result<()> {
    match patch.as_object() {
        Some(object) => apply_fields(values, fields, object, ""),
        None => Err(Error::new(Code::RecordInvalid, "a merge patch is an object: {\"field\": value}")),
    }
}

/// The depth is bounded by that of the fields.
fn apply_fields(
    values: &mut Vec<(Name, Value)>,
    fields: &[Field],
    patch: &Map<String, Json>,
    path: &str,
) -> Result<()> {
    for (name, json) in patch {
        let full_name = format!("{path}{name}");
        let Some(field) = fields.iter().find(|field| *field.name == **name) else {
            let known = fields.iter().map(|field| &*field.name).collect::<Vec<_>>().join(", ");
            let detail = format!("there is no field {}; there are {known}", shown(&full_name));
            return Err(Error::new(Code::RecordInvalid, detail));
        };
        let place = values.iter().position(|(known, _)| *known == field.name);
        if json.is_null() {
            if let Some(place) = place {
                values.remove(place);
            }
            continue;
        }
        let old = place.map(|place| std::mem::replace(&mut values[place].1, Value::Bool(false)));
        let new = patched(old, &field.field_type, json, &full_name)?;
        match place {
            Some(place) => values[place].1 = new,
            None => values.push((field.name.clone(), new)),
        }
    }
    Ok(())
}

fn patched(old: Option<Value>, field_type: &FieldType, json: &Json, name: &str) -> Result<Value> {
    match (field_type, json) {
        (FieldType::Struct(fields), Json::Object(patch)) => {
            let mut values = match old {
                Some(Value::Struct(values)) => values,
                _ => Vec::new(),
            };
            apply_fields(&mut values, fields, patch, &format!("{name}."))?;
            Ok(Value::Struct(values))
        }
        (FieldType::Json, Json::Object(_)) => {
            let old = match old {
                Some(Value::Json(old)) => old,
                _ => Json::Null,
            };
            Ok(Value::Json(merge(old, json, JSON_DEPTH_MAX, name)?))
        }
        _ => Value::from_json(json, field_type, name),
    }
}

/// RFC 7396, section 2.
fn merge(target: Json, patch: &Json, depth_left: usize, name: &str) -> Result<Json> {
    let Some(depth_left) = depth_left.checked_sub(1) else {
        let detail = format!("the field {} takes JSON of a depth up to {JSON_DEPTH_MAX}", shown(name));
        return Err(Error::new(Code::RecordInvalid, detail));
    };
    let Json::Object(patch) = patch else { return Ok(patch.clone()) };
    let mut object = match target {
        Json::Object(object) => object,
        _ => Map::new(),
    };
    for (key, value) in patch {
        if value.is_null() {
            object.shift_remove(key);
            continue;
        }
        let old = object.get_mut(key).map_or(Json::Null, std::mem::take);
        object.insert(key.clone(), merge(old, value, depth_left, name)?);
    }
    Ok(Json::Object(object))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_json;

    /// Every case of RFC 7396's appendix.
    #[test]
    fn json_is_merged_as_the_standard_says() {
        let cases = [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            (r#"[1,2]"#, r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            (r#"{}"#, r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ];
        for (target, patch, expected) in cases {
            let merged =
                merge(parse_json(target).unwrap(), &parse_json(patch).unwrap(), JSON_DEPTH_MAX, "f").unwrap();
            assert_eq!(merged.to_string(), expected, "{target} {patch}");
        }
    }

    #[test]
    fn a_patch_that_is_nested_too_deep_is_refused() {
        let nested =
            |depth: usize| (0..depth).fold(Json::from(1), |inner, _| serde_json::json!({ "a": inner }));
        assert!(merge(Json::Null, &nested(JSON_DEPTH_MAX - 1), JSON_DEPTH_MAX, "f").is_ok());
        let error = merge(Json::Null, &nested(JSON_DEPTH_MAX), JSON_DEPTH_MAX, "f").unwrap_err();
        assert_eq!(error.code(), Code::RecordInvalid);
    }
}
