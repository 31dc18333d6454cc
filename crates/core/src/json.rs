//! JSON from outside: bounded, and with every key at most once.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value as Json};

use crate::error::{Code, Error, Result, limit, shown};
use crate::limits::JSON_SIZE_BYTES_MAX;

/// The key under which `serde_json` hands numbers to a visitor when it keeps all their digits.
const NUMBER_KEY: &str = "$serde_json::private::Number";

/// Reads one JSON document.
///
/// # Errors
///
/// 20070 for text that is no JSON, nested deeper than 127, or with a key twice in one object, saying where; 20060 for more than
/// [`JSON_SIZE_BYTES_MAX`] bytes.
pub fn parse_json(text: &str) -> Result<Json> {
    if text.len() > JSON_SIZE_BYTES_MAX {
        return Err(limit("the bytes of a JSON document", text.len(), JSON_SIZE_BYTES_MAX));
    }
    match serde_json::from_str::<Strict>(text) {
        Ok(Strict(json)) => Ok(json),
        Err(error) => Err(Error::new(Code::JsonInvalid, error.to_string())),
    }
}

/// JSON with every key at most once.
pub(crate) struct Strict(pub(crate) Json);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Strict, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Json;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> std::result::Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Json, E> {
        Ok(Json::from(value))
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> std::result::Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_unit<E>(self) -> std::result::Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> std::result::Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(element)) = elements.next_element()? {
            list.push(element);
        }
        Ok(Json::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> std::result::Result<Json, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if key == NUMBER_KEY && object.is_empty() {
                let digits: String = entries.next_value()?;
                let number = digits.parse::<Number>();
                return number.map(Json::Number).map_err(|_| de::Error::custom("a number that is none"));
            }
            if object.contains_key(&key) {
                return Err(de::Error::custom(format!("the key {} stands twice in one object", shown(&key))));
            }
            let Strict(value) = entries.next_value()?;
            object.insert(key, value);
        }
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_keep_their_digits_and_order() {
        let text = r#"{"b":[1,2.50,-3e+5,12345678901234567890123],"a":{"x":null,"y":true},"c":"\u0000é"}"#;
        assert_eq!(parse_json(text).unwrap().to_string(), text);
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let code = |text: &str| parse_json(text).unwrap_err().code();
        for text in ["", "{", "{}x", "[1,]", "{\"a\":1,\"a\":2}", "nul", "\"\u{1}\"", "01"] {
            assert_eq!(code(text), Code::JsonInvalid, "{text}");
        }
        assert_eq!(code(&"[".repeat(100_000)), Code::JsonInvalid);
        assert_eq!(code(&" ".repeat(JSON_SIZE_BYTES_MAX + 1)), Code::LimitPassed);
    }
}
