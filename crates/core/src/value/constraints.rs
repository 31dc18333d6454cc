//! The rules that a schema lays down for the values of a field, besides their type.

use std::fmt;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use super::{FieldType, Name, Value};
use crate::limits::{PATTERN_PROGRAM_SIZE_BYTES_MAX, PATTERN_SIZE_BYTES_MAX};

/// How deep the groups of a pattern may be nested.
const PATTERN_DEPTH_MAX: u32 = 50;

/// The rules for the values of a field, or for the elements of a list.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Constraints {
    /// What is written when a record comes without the field.
    pub default: Option<DefaultValue>,
    /// The least value.
    pub min: Option<Value>,
    /// The greatest value.
    pub max: Option<Value>,
    /// The least length: characters of a string, bytes, elements of a list.
    pub min_length: Option<usize>,
    /// The greatest length.
    pub max_length: Option<usize>,
    /// What the whole of a string matches.
    pub pattern: Option<Pattern>,
    /// What has to hold of the value.
    pub check: Option<Check>,
    /// The rules for each element of a list.
    pub elements: Option<Box<Constraints>>,
}

/// No value of a schema is NaN.
impl Eq for Constraints {}

impl Constraints {
    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        *self == Constraints::default()
    }
}

/// What is written when a record comes without a field.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DefaultValue {
    /// This very value.
    Literal(Value),
    /// The moment of the write, by the clock of [`Env`](tenantry_kv::env::Env).
    Now,
    /// A new random UUID.
    NewUuid,
}

impl FieldType {
    /// Whether its values have a least and a greatest: what `min` and `max` belong to.
    pub(crate) fn has_range(&self) -> bool {
        use FieldType::{Date, Decimal, Float, Int, Timestamp};
        matches!(self, Int | Float | Decimal | Date | Timestamp)
    }

    /// What the length of its values counts, if they have one.
    pub(crate) fn length_unit(&self) -> Option<&'static str> {
        match self {
            FieldType::String => Some("characters"),
            FieldType::Bytes => Some("bytes"),
            FieldType::List(_) => Some("elements"),
            _ => None,
        }
    }
}

/// A regular expression that the whole of a string has to match. It is matched in time linear in the string.
#[derive(Clone)]
pub struct Pattern {
    text: Box<str>,
    regex: Regex,
}

impl Pattern {
    /// Compiles a pattern; a sentence about what is wrong with it otherwise.
    pub(crate) fn new(text: &str) -> Result<Pattern, String> {
        if text.len() > PATTERN_SIZE_BYTES_MAX {
            return Err(format!("has {} bytes, the limit is {PATTERN_SIZE_BYTES_MAX}", text.len()));
        }
        // For itself first: what closes a group that it did not open would get out of the one around it.
        compile(text)?;
        let regex = compile(&format!(r"\A(?:{text})\z"))
            .map_err(|problem| format!("{problem} once it is anchored to the whole value"))?;
        Ok(Pattern { text: text.into(), regex })
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

fn compile(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern)
        .size_limit(PATTERN_PROGRAM_SIZE_BYTES_MAX)
        .dfa_size_limit(PATTERN_PROGRAM_SIZE_BYTES_MAX)
        .nest_limit(PATTERN_DEPTH_MAX)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => format!(
            "takes more than {PATTERN_PROGRAM_SIZE_BYTES_MAX} bytes once it is compiled: bound the length by max_length and write + in place of a count"
        ),
        // The last line has the reason; those before it draw the place.
        other => other.to_string().lines().last().unwrap_or_default().trim().to_owned(),
    })
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Pattern({:?})", self.text)
    }
}

/// An expression that has to hold, of the value of a field or of a whole record.
#[derive(Clone)]
pub struct Check {
    text: Box<str>,
    holds: Arc<dyn Fn(&[(Name, Value)]) -> bool + Send + Sync>,
}

impl Check {
    /// A check of the fields that the function is given.
    pub(crate) fn new(text: &str, holds: impl Fn(&[(Name, Value)]) -> bool + Send + Sync + 'static) -> Check {
        Check { text: text.into(), holds: Arc::new(holds) }
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it holds for these fields.
    pub(crate) fn holds(&self, values: &[(Name, Value)]) -> bool {
        (self.holds)(values)
    }
}

impl PartialEq for Check {
    fn eq(&self, other: &Check) -> bool {
        self.text == other.text
    }
}

impl Eq for Check {}

impl fmt::Debug for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Check({:?})", self.text)
    }
}

/// A check of a whole record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamedCheck {
    /// Its name, which stands in errors.
    pub name: String,
    /// What has to hold of the record.
    pub check: Check,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_the_whole_value() {
        let matches = |pattern: &str, text: &str| Pattern::new(pattern).unwrap().matches(text);
        assert!(matches("a|ab", "ab") && !matches("a|ab", "abc") && !matches("a|ab", "xa"));
        assert!(!matches("a$", "a\n") && !matches("(?m)^a$", "b\na"));
        assert!(matches("", "") && !matches("", "x"));
        assert!(matches(".", "🎬") && matches(r"\p{Lu}\w+", "Zürich"));
        // Exponential where somebody goes back and forth.
        assert!(!matches("(a|a)*(a*)*b", &"a".repeat(100_000)));
    }

    #[test]
    fn patterns_that_cannot_be_are_refused() {
        let cases = [
            ("(", "unclosed group"),
            ("a)|(?:b", "unopened group"),
            ("[z-a]", "invalid character class range"),
            ("(?x)a # comment", "anchored"),
            (r"(a)\1", "backreferences are not supported"),
            ("(?=a)", "look-around"),
            (r"\w{1,999}", "max_length"),
            ("a{1,99999}", "max_length"),
        ];
        for (pattern, part) in cases {
            let problem = Pattern::new(pattern).unwrap_err();
            assert!(problem.contains(part), "{pattern}: {problem}");
        }
        assert!(Pattern::new(&"(".repeat(60)).is_err());
        let nested = format!("{}a{}", "(".repeat(60), ")".repeat(60));
        assert!(Pattern::new(&nested).unwrap_err().contains("nest"));
        assert!(Pattern::new(&"a".repeat(PATTERN_SIZE_BYTES_MAX)).is_ok());
        assert!(Pattern::new(&"a".repeat(PATTERN_SIZE_BYTES_MAX + 1)).unwrap_err().contains("1001"));
    }
}
