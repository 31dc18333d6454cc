//! Values of every type with their extremes, how they compare, and how CEL writes them.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::str::FromStr;

use bytes::Bytes;
use tenantry_core::Value;

use super::words;
use crate::random::Stream;

/// A type whose values can stand in keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Bool,
    Int,
    Float,
    Decimal,
    String,
    /// A string of words.
    Text,
    Bytes,
    Uuid,
    Timestamp,
    Date,
    Enum,
}

/// The values of every enum, in the order of their ids, which is not that of the alphabet.
pub(super) const ENUM_NAMES: [&str; 4] = ["open", "late", "done", "Open"];

const INTS: &[i64] = &[i64::MIN, -3, -1, 0, 1, 2, 7, 1 << 53, (1 << 53) + 1, i64::MAX];
const FLOATS: &[f64] = &[
    f64::NEG_INFINITY,
    f64::MIN,
    -1.5,
    -0.0,
    0.0,
    f64::MIN_POSITIVE,
    0.1,
    2.0,
    9_007_199_254_740_992.0,
    1e300,
    f64::INFINITY,
];
const DECIMALS: &[&str] = &[
    "-9999999999999999999999999999",
    "-1.50",
    "-1.5",
    "0",
    "0.00",
    "0.0000000000000000000000000001",
    "1",
    "1.000",
    "99.999999999999999999",
    "9999999999999999999999999999",
];
const STRINGS: &[&str] = &[
    "",
    "a",
    "A",
    "a\0",
    "a\0b",
    "ab",
    "b\"\\\n",
    "é",
    "É",
    "e\u{301}",
    "ß",
    "日本",
    "\u{7f}\u{85}",
    "\u{ffff}",
    "\u{10ffff}",
];
const BYTES: &[&[u8]] = &[b"", b"\0", b"\0\0", b"\0\xff", b"a", b"ab", b"\xff", b"\xff\xff"];
const UUIDS: &[&str] = &[
    "00000000-0000-0000-0000-000000000000",
    "00000000-0000-0000-0000-0000000000ff",
    "7fffffff-ffff-ffff-ffff-ffffffffffff",
    "80000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
];
const TIMESTAMPS: &[&str] = &[
    "0001-01-01T00:00:00Z",
    "1969-12-31T23:59:59.999999Z",
    "1970-01-01T00:00:00Z",
    "2024-02-29T12:00:00.000001Z",
    "2024-02-29T12:00:00.5Z",
    "9999-12-30T00:00:00Z",
];
const DATES: &[&str] = &["0001-01-01", "1969-12-31", "1970-01-01", "2024-02-29", "9999-12-31"];

impl Scalar {
    pub(super) const ALL: [Scalar; 11] = [
        Scalar::Bool,
        Scalar::Int,
        Scalar::Float,
        Scalar::Decimal,
        Scalar::String,
        Scalar::Text,
        Scalar::Bytes,
        Scalar::Uuid,
        Scalar::Timestamp,
        Scalar::Date,
        Scalar::Enum,
    ];

    /// Its name in a schema.
    pub(super) fn name(self) -> &'static str {
        match self {
            Scalar::Bool => "bool",
            Scalar::Int => "int",
            Scalar::Float => "float",
            Scalar::Decimal => "decimal",
            Scalar::String | Scalar::Text => "string",
            Scalar::Bytes => "bytes",
            Scalar::Uuid => "uuid",
            Scalar::Timestamp => "timestamp",
            Scalar::Date => "date",
            Scalar::Enum => "enum",
        }
    }

    pub(super) fn is_string(self) -> bool {
        matches!(self, Scalar::String | Scalar::Text)
    }

    /// A value of the type, often an extreme, often one that others have too.
    pub(super) fn value(self, random: &mut Stream) -> Value {
        match self {
            Scalar::Bool => Value::Bool(random.percent(50)),
            Scalar::Int => Value::Int(*random.pick(INTS)),
            Scalar::Float => Value::Float(*random.pick(FLOATS)),
            Scalar::Decimal => parsed(random.pick::<&str>(DECIMALS), Value::Decimal),
            Scalar::String => Value::from(*random.pick(STRINGS)),
            Scalar::Text => Value::String(words::text(random)),
            Scalar::Bytes => Value::Bytes(Bytes::from_static(random.pick::<&[u8]>(BYTES))),
            Scalar::Uuid => parsed(random.pick::<&str>(UUIDS), Value::Uuid),
            Scalar::Timestamp => parsed(random.pick::<&str>(TIMESTAMPS), Value::Timestamp),
            Scalar::Date => parsed(random.pick::<&str>(DATES), Value::Date),
            Scalar::Enum => Value::Enum((*random.pick(&ENUM_NAMES)).into()),
        }
    }
}

/// A value from its text. One that cannot be read becomes a value of another type, which the database refuses by name.
fn parsed<T: FromStr>(text: &str, make: fn(T) -> Value) -> Value {
    text.parse().map_or_else(|_| Value::List(Vec::new()), make)
}

/// Whether a literal can have the value.
pub(super) fn has_literal(value: &Value) -> bool {
    !matches!(value, Value::Float(number) if !number.is_finite())
}

/// A value as CEL writes it beside a field of its type.
pub(super) fn literal(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Bool(value) => text = value.to_string(),
        Value::Int(value) => text = value.to_string(),
        Value::Float(value) => text = format!("{value:?}"),
        Value::String(value) => quote(value, &mut text),
        Value::Enum(value) => quote(value, &mut text),
        Value::Bytes(bytes) => {
            let bytes: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            text = format!("b\"{bytes}\"");
        }
        Value::Uuid(value) => text = format!("uuid(\"{value}\")"),
        Value::Timestamp(value) => text = format!("timestamp(\"{value}\")"),
        Value::Date(value) => text = format!("date(\"{value}\")"),
        Value::Decimal(value) => text = format!("decimal(\"{value}\")"),
        Value::List(elements) => {
            text = format!("[{}]", elements.iter().map(literal).collect::<Vec<_>>().join(", "));
        }
        // No literal has these types.
        _ => text.push_str("null"),
    }
    text
}

fn quote(content: &str, text: &mut String) {
    text.push('"');
    for character in content.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            character if character.is_control() => {
                // Writing to a string does not fail.
                let _ = write!(text, "\\u{:04x}", u32::from(character));
            }
            character => text.push(character),
        }
    }
    text.push('"');
}

/// How two values compare; `None` for those that do not.
pub(super) fn compare(one: &Value, other: &Value) -> Option<Ordering> {
    Some(match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => one.cmp(other),
        (Value::Int(one), Value::Int(other)) => one.cmp(other),
        (Value::Float(one), Value::Float(other)) => one.partial_cmp(other)?,
        (Value::Int(one), Value::Float(other)) => compare_with_float(*one, *other),
        (Value::Float(one), Value::Int(other)) => compare_with_float(*other, *one).reverse(),
        (Value::Decimal(one), Value::Decimal(other)) => one.cmp(other),
        // The order of UTF-8 is that of the code points.
        (Value::String(one), Value::String(other)) => one.as_bytes().cmp(other.as_bytes()),
        (Value::Bytes(one), Value::Bytes(other)) => one.cmp(other),
        (Value::Uuid(one), Value::Uuid(other)) => one.as_bytes().cmp(other.as_bytes()),
        (Value::Timestamp(one), Value::Timestamp(other)) => one.cmp(other),
        (Value::Date(one), Value::Date(other)) => one.cmp(other),
        (Value::Enum(one), Value::Enum(other)) => {
            let id = |name: &str| ENUM_NAMES.iter().position(|known| *known == name);
            id(one).cmp(&id(other))
        }
        _ => return None,
    })
}

/// For what both are worth: no integer is rounded.
fn compare_with_float(int: i64, float: f64) -> Ordering {
    const BEHIND_INTS: f64 = 9_223_372_036_854_775_808.0;
    if float >= BEHIND_INTS {
        return Ordering::Less;
    }
    if float < -BEHIND_INTS {
        return Ordering::Greater;
    }
    let whole = float.trunc();
    int.cmp(&(whole as i64)).then_with(|| 0.0_f64.partial_cmp(&(float - whole)).unwrap_or(Ordering::Equal))
}

/// How two values that may be missing sort: missing is the least.
pub(super) fn compare_sorted(one: Option<&Value>, other: Option<&Value>) -> Ordering {
    match (one, other) {
        (Some(one), Some(other)) => compare(one, other).unwrap_or(Ordering::Equal),
        (one, other) => one.is_some().cmp(&other.is_some()),
    }
}

/// Whether two values are the same to the last bit: the sign of a zero and the zeros behind a point too.
pub(super) fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Float(one), Value::Float(other)) => one.to_bits() == other.to_bits(),
        (Value::Decimal(one), Value::Decimal(other)) => one.serialize() == other.serialize(),
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same(one, other))
        }
        (Value::Struct(one), Value::Struct(other)) => {
            let has = |(name, value): &(_, Value)| {
                other.iter().any(|(other_name, other)| other_name == name && is_same(value, other))
            };
            one.len() == other.len() && one.iter().all(has)
        }
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_can_be_made_and_integers_compare_with_floats() {
        let mut random = Stream::new(1, "values");
        for scalar in Scalar::ALL {
            for _ in 0..50 {
                assert_eq!(scalar.value(&mut random).type_name(), scalar.name());
            }
        }
        let compared = |int: i64, float: f64| compare(&Value::Int(int), &Value::Float(float));
        assert_eq!(compared(i64::MAX, 9_223_372_036_854_775_808.0), Some(Ordering::Less));
        assert_eq!(compared(i64::MIN, -9_223_372_036_854_775_808.0), Some(Ordering::Equal));
        assert_eq!(compared((1 << 53) + 1, 9_007_199_254_740_992.0), Some(Ordering::Greater));
        assert_eq!(compared(-1, -1.5), Some(Ordering::Greater));
        assert_eq!(compared(0, -0.0), Some(Ordering::Equal));
        assert_eq!(compared(7, f64::INFINITY), Some(Ordering::Less));
    }
}
