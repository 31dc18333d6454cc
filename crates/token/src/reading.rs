//! Objects of JSON whose members are all known.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Map, Value as Json};
use tenantry_core::{Error, Result, parse_json};

/// An object that is taken apart: what is left at the end is not known.
pub(crate) struct Object {
    what: String,
    members: Map<String, Json>,
    refused: fn(String) -> Error,
}

impl Object {
    /// Reads a text that is one object, with every key once.
    pub(crate) fn parse(what: &str, text: &[u8], refused: fn(String) -> Error) -> Result<Object> {
        let text = std::str::from_utf8(text).map_err(|_| refused(format!("{what} is not UTF-8")))?;
        let json = parse_json(text).map_err(|error| refused(format!("{what}: {}", error.detail())))?;
        Object::of(what, json, refused)
    }

    pub(crate) fn of(what: &str, json: Json, refused: fn(String) -> Error) -> Result<Object> {
        match json {
            Json::Object(members) => Ok(Object { what: what.to_owned(), members, refused }),
            _ => Err(refused(format!("{what} is no object"))),
        }
    }

    /// The same under another name in errors.
    pub(crate) fn called(self, what: String) -> Object {
        Object { what, ..self }
    }

    pub(crate) fn error(&self, detail: &str) -> Error {
        (self.refused)(format!("{} {detail}", self.what))
    }

    /// A member, which is then known.
    pub(crate) fn take(&mut self, name: &str) -> Option<Json> {
        self.members.remove(name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    pub(crate) fn needed(&mut self, name: &str) -> Result<Json> {
        self.take(name).ok_or_else(|| self.error(&format!("has no {name:?}")))
    }

    /// A text that has to be there, of so many bytes at the most and one at least.
    pub(crate) fn text(&mut self, name: &str, size_bytes_max: usize) -> Result<String> {
        let json = self.needed(name)?;
        self.as_text(name, json, size_bytes_max)
    }

    pub(crate) fn optional_text(&mut self, name: &str, size_bytes_max: usize) -> Result<Option<String>> {
        self.take(name).map(|json| self.as_text(name, json, size_bytes_max)).transpose()
    }

    pub(crate) fn as_text(&self, name: &str, json: Json, size_bytes_max: usize) -> Result<String> {
        match json {
            Json::String(text) if (1..=size_bytes_max).contains(&text.len()) => Ok(text),
            Json::String(text) => {
                let found = text.len();
                Err(self.error(&format!("has a {name:?} of {found} bytes, not 1 to {size_bytes_max}")))
            }
            _ => Err(self.error(&format!("has a {name:?} that is no text"))),
        }
    }

    /// Bytes in base64url without padding, in their one form.
    pub(crate) fn bytes(&mut self, name: &str, size_bytes_max: usize) -> Result<Vec<u8>> {
        let text = self.text(name, size_bytes_max.div_ceil(3) * 4)?;
        BASE64.decode(text).map_err(|_| self.error(&format!("has a {name:?} that is not base64url")))
    }

    /// A whole number.
    pub(crate) fn number(&mut self, name: &str, most: i64) -> Result<i64> {
        let json = self.needed(name)?;
        match json.as_i64().filter(|number| (0..=most).contains(number)) {
            Some(number) => Ok(number),
            None => Err(self.error(&format!("has a {name:?} that is no whole number of 0 to {most}"))),
        }
    }

    /// A list of texts.
    pub(crate) fn texts(
        &mut self,
        name: &str,
        most: usize,
        size_bytes_max: usize,
    ) -> Result<Option<Vec<String>>> {
        let elements = match self.take(name) {
            None => return Ok(None),
            Some(Json::Array(elements)) => elements,
            Some(_) => return Err(self.error(&format!("has a {name:?} that is no list"))),
        };
        if elements.len() > most {
            return Err(self.error(&format!("has {} {name:?}, the limit is {most}", elements.len())));
        }
        elements
            .into_iter()
            .map(|json| self.as_text(name, json, size_bytes_max))
            .collect::<Result<_>>()
            .map(Some)
    }

    /// Fails for what was not asked for.
    pub(crate) fn finish(self) -> Result<()> {
        match self.members.keys().next() {
            None => Ok(()),
            Some(name) => {
                let cut: String = name.chars().take(80).collect();
                Err(self.error(&format!("has {cut:?}, which is not known")))
            }
        }
    }
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64.encode(bytes)
}

/// What a part of a token holds: base64url in its one form.
pub(crate) fn decode(what: &str, text: &str) -> Result<Vec<u8>> {
    BASE64.decode(text).map_err(|_| crate::invalid(format!("the {what} is not base64url")))
}
