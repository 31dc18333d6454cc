//! Random expressions: what is built means what its text means, and nothing panics.

use bytes::Bytes;
use jiff::Timestamp;
use jiff::civil::Date;
use proptest::prelude::*;
use rust_decimal::Decimal;
use uuid::Uuid;

use super::{schema, value};
use crate::error::Error;
use crate::expression::{Expression, Filter, Term, field, parameter, value as literal};
use crate::json::parse_json;
use crate::record::Record;
use crate::text::Language;
use crate::value::Value;

/// A source of choices: a seed gives the same expression at every run.
struct Choices(u64);

impl Choices {
    fn below(&mut self, count: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % count
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Bool,
    Int,
    Float,
    Decimal,
    String,
}

const STRINGS: &[&str] = &[
    "",
    "a",
    "red",
    "big Fish",
    "\"\\\n\t\r\u{0}\u{7f}\u{85}'`",
    "ſß𝔘\u{301}İ",
    "ünï cödé",
    "{[(",
    "//",
    "\\x41",
];
const INTS: &[i64] = &[0, 1, -1, 2, 7, -13, i64::MAX, i64::MIN, 1 << 53];
const FLOATS: &[f64] =
    &[0.0, -0.0, 0.5, -1.5, 1e308, -1e308, 1e-320, 0.1, 123456789.125, 9.223_372_036_854_776e18];
const DECIMALS: &[&str] =
    &["0", "1.50", "-0.10", "79228162514264337593543950335", "0.0000000000000000000000000001"];

/// An expression of a kind; `around` are the names of the elements that are there, with what they are.
fn term(choices: &mut Choices, kind: Kind, depth: usize, around: &mut Vec<(String, bool)>) -> Term {
    if depth == 0 || choices.below(6) == 0 {
        return leaf(choices, kind, around);
    }
    let below = depth - 1;
    match kind {
        Kind::Bool => condition(choices, below, around),
        Kind::String => match choices.below(3) {
            0 => term(choices, kind, below, around) + term(choices, kind, below, around),
            1 => term(choices, kind, below, around).lower(),
            _ => term(choices, kind, below, around).upper(),
        },
        Kind::Int if choices.below(4) == 0 => match choices.below(2) {
            0 => term(choices, Kind::String, below, around).size(),
            _ => field("tags").size(),
        },
        _ if choices.below(5) == 0 => -term(choices, kind, below, around),
        _ => {
            let other = match kind {
                Kind::Float => choices.of(&[Kind::Int, Kind::Float]),
                Kind::Decimal => choices.of(&[Kind::Int, Kind::Decimal]),
                kind => kind,
            };
            let (left, right) = (term(choices, kind, below, around), term(choices, other, below, around));
            let (left, right) = if choices.below(2) == 0 { (left, right) } else { (right, left) };
            match choices.below(5) {
                0 => left + right,
                1 => left - right,
                2 => left * right,
                3 => left / right,
                _ => left % right,
            }
        }
    }
}

fn condition(choices: &mut Choices, depth: usize, around: &mut Vec<(String, bool)>) -> Term {
    let bools =
        |choices: &mut Choices, around: &mut Vec<(String, bool)>| term(choices, Kind::Bool, depth, around);
    match choices.below(12) {
        0 => bools(choices, around).and(bools(choices, around)),
        1 => bools(choices, around).or(bools(choices, around)),
        2 => !bools(choices, around),
        3 => field(choices.of(&["i", "s", "items", "tags", "day", "bytes", "e"])).is_null(),
        4 => field(choices.of(&["i", "s", "items", "tags", "day", "bytes", "e"])).is_not_null(),
        5 => {
            let text = term(choices, Kind::String, depth, around);
            let part = term(choices, Kind::String, depth, around);
            match choices.below(3) {
                0 => text.starts_with(part),
                1 => text.ends_with(part),
                _ => text.contains(part),
            }
        }
        6 => {
            let text = term(choices, Kind::String, depth, around);
            let words = choices.of(&["fish", "big fish", "FISH big bi", "a"]);
            let found = match choices.below(4) {
                0 => text.matches(words),
                1 => text.matches_any(words),
                2 => text.matches_phrase(words),
                _ => text.matches_prefix(words),
            };
            if choices.below(2) == 0 { found.stemmed(Language::English) } else { found }
        }
        7 => match choices.below(4) {
            0 => term(choices, Kind::String, depth, around).is_in(field("tags")),
            1 => term(choices, Kind::String, depth, around).in_list(STRINGS.iter().copied()),
            2 => field("e").in_list(["red", "green"]),
            _ => term(choices, Kind::Int, depth, around).in_list(INTS.iter().copied()),
        },
        8 => quantified(choices, depth, around),
        9 => match choices.below(4) {
            0 => field("day").gt(Date::constant(1998, 6, 12)),
            1 => field("bytes").eq(Bytes::from_static(b"\x00\xff\"\\a")),
            2 => field("e").ne("red"),
            _ => literal(Uuid::from_u128(7))
                .eq(Uuid::from_u128(7))
                .or(literal(Timestamp::UNIX_EPOCH).lt(Timestamp::constant(1, 5_000))),
        },
        _ => {
            let kind = choices.of(&[Kind::Int, Kind::Float, Kind::Decimal, Kind::String, Kind::Bool]);
            let (left, right) = (term(choices, kind, depth, around), term(choices, kind, depth, around));
            match (choices.below(6), kind) {
                (0, _) => left.eq(right),
                (1, _) => left.ne(right),
                (2, _) => left.lt(right),
                (3, _) => left.le(right),
                (4, _) => left.gt(right),
                _ => left.ge(right),
            }
        }
    }
}

fn quantified(choices: &mut Choices, depth: usize, around: &mut Vec<(String, bool)>) -> Term {
    let of_items = around.iter().rfind(|(_, is_item)| *is_item).map(|(name, _)| name.clone());
    let (list, is_item) = match (choices.below(3), of_items) {
        (0, _) => (field("items"), true),
        (1, Some(item)) => (field(&format!("{item}.names")), false),
        _ => (field("tags"), false),
    };
    let name = choices.of(&["x", "y", "z"]).to_owned();
    around.push((name.clone(), is_item));
    let condition = term(choices, Kind::Bool, depth, around);
    around.pop();
    if choices.below(2) == 0 { list.any(&name, condition) } else { list.all(&name, condition) }
}

fn leaf(choices: &mut Choices, kind: Kind, around: &[(String, bool)]) -> Term {
    // A name may be hidden by one further in.
    let visible = |wanted_item: bool| {
        let mut seen: Vec<&str> = Vec::new();
        around.iter().rev().find_map(|(name, is_item)| {
            let is_hidden = seen.contains(&name.as_str());
            seen.push(name);
            (!is_hidden && *is_item == wanted_item).then(|| name.clone())
        })
    };
    match kind {
        Kind::Bool => match choices.below(2) {
            0 => field("b"),
            _ => literal(choices.below(2) == 0),
        },
        Kind::Int => match choices.below(2) {
            0 => field(choices.of(&["id", "i", "j"])),
            _ => literal(choices.of(INTS)),
        },
        Kind::Float => match (choices.below(3), visible(true)) {
            (0, Some(item)) => field(&format!("{item}.price")),
            (1, _) => field("f"),
            _ => literal(choices.of(FLOATS)),
        },
        Kind::Decimal => match choices.below(2) {
            0 => field("d"),
            _ => literal(choices.of(DECIMALS).parse::<Decimal>().unwrap()),
        },
        Kind::String => match (choices.below(3), visible(false)) {
            (0, Some(tag)) => field(&tag),
            (1, _) => field("s"),
            _ => literal(choices.of(STRINGS)),
        },
    }
}

/// A record with much that is missing.
fn record(choices: &mut Choices) -> Record {
    let mut record = Record::new().with("id", choices.of(INTS));
    let mut set = |name: &str, choices: &mut Choices, value: Value| {
        if choices.below(3) > 0 {
            record.set(name, value);
        }
    };
    let value = choices.of(INTS).into();
    set("i", choices, value);
    let value = choices.of(INTS).into();
    set("j", choices, value);
    let value = choices.of(FLOATS).into();
    set("f", choices, value);
    let value = Value::Decimal(choices.of(DECIMALS).parse().unwrap());
    set("d", choices, value);
    let value = choices.of(STRINGS).into();
    set("s", choices, value);
    set("b", choices, true.into());
    set("e", choices, Value::Enum("green".into()));
    set("day", choices, Value::Date(Date::constant(2000, 1, 1)));
    let tags = |choices: &mut Choices| -> Value {
        (0..choices.below(4)).map(|_| choices.of(STRINGS).into()).collect::<Vec<Value>>().into()
    };
    let value = tags(choices);
    set("tags", choices, value);
    let items: Vec<Value> = (0..choices.below(3))
        .map(|_| match choices.below(3) {
            0 => Value::Struct(Vec::new()),
            _ => Value::Struct(vec![
                ("price".into(), choices.of(FLOATS).into()),
                ("names".into(), tags(choices)),
            ]),
        })
        .collect();
    set("items", choices, items.into());
    record
}

fn compile(filter: impl Into<Filter>) -> Result<Expression, Error> {
    let schema = schema();
    let record_type = schema.record_type("t").unwrap();
    filter.into().compile(
        &crate::expression::ParsedFilters::default(),
        &record_type.name,
        &record_type.fields,
        &std::collections::BTreeMap::new(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]
    #[test]
    fn what_is_built_means_what_its_text_means(seed in 1u64.., depth in 0usize..7) {
        let mut choices = Choices(seed);
        let built = term(&mut choices, Kind::Bool, depth, &mut Vec::new());
        let text = built.to_string();
        match (compile(built), compile(text.as_str())) {
            (Ok(built), Ok(read)) => {
                prop_assert_eq!(&built, &read, "{}", text);
                for _ in 0..5 {
                    let record = record(&mut choices);
                    prop_assert_eq!(built.holds(&record.values), built.value(&record.values).as_deref() == Some(&Value::Bool(true)));
                }
            }
            // The text has limits of its own, on its bytes; and arithmetic on literals may have no result.
            (Ok(_), Err(error)) => prop_assert!(text.len() > 8_192, "{}: {}", text, error),
            (Err(built), Err(read)) => prop_assert_eq!(built.code(), read.code(), "{}", text),
            (Err(error), Ok(_)) => prop_assert!(false, "{}: {}", text, error),
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = compile(text.as_str());
    }

    #[test]
    fn no_words_of_the_language_panic(seed in 1u64.., length in 1usize..40) {
        const WORDS: &[&str] = &[
            "i", "s", "tags", "items", "x", "(", ")", "[", "]", "{", "}", ",", ".", "==", "<", "&&", "||", "!", "-", "+", "%", "?", ":", "in", "null",
            "true", "1", "0u", "1.5", "\"a\"", "'", "\"", "\\", "b\"a\"", "r\"", "exists", "all", "has", "size", "matches", "param", "date", "//", "\n", "$",
            "x.exists(y, ", ".exists(x, x ", "`a`", "..", "1e", "0x", "\"\"\"",
        ];
        let mut choices = Choices(seed);
        let text: String = (0..length).map(|_| format!("{} ", choices.of(WORDS))).collect();
        let _ = compile(text.as_str());
        let _ = compile(text.replace(' ', "").as_str());
    }
}

/// Else the property above would say little.
#[test]
fn most_random_expressions_can_be_evaluated() {
    let (mut holding, mut valid) = (0, 0);
    for seed in 1..=1_000 {
        let mut choices = Choices(seed * 0x9e37_79b9_7f4a);
        let built = term(&mut choices, Kind::Bool, 5, &mut Vec::new());
        if let Ok(expression) = compile(built) {
            valid += 1;
            holding += u32::from(expression.holds(&record(&mut choices).values));
        }
    }
    assert!(valid > 600 && (200..valid - 200).contains(&holding), "{valid} valid, {holding} hold");
}

#[test]
fn a_builder_is_refused_as_its_text_would_be() {
    let code = |term: Term| compile(term).unwrap_err().code().tag();
    assert_eq!(code(field("nothing").eq(1)), "FieldNotFound");
    assert_eq!(code(field("s").eq(1)), "ExpressionInvalid");
    assert_eq!(code(field("i") + 1), "ExpressionInvalid");
    assert_eq!(code(field("f").gt(f64::NAN)), "ExpressionUnsupported");
    assert_eq!(code(field("i").eq(parameter("none"))), "ParameterInvalid");
    assert_eq!(code(field("tags").any("a b", true)), "ExpressionInvalid");
    assert_eq!(code(field("tags").any("for", true)), "ExpressionInvalid");
    assert_eq!(code(field("s").size().stemmed(Language::English).eq(1)), "ExpressionInvalid");
    assert_eq!(code(field("s").eq("a".repeat(1_000_001))), "LimitPassed");
    assert_eq!(code(field("i").in_list(0..2_000i64)), "LimitPassed");
}

#[test]
fn however_much_is_built_there_is_an_answer() {
    let deep = (0..100_000).fold(field("b"), |term, _| !term);
    assert_eq!(compile(deep).unwrap_err().code().tag(), "LimitPassed");
    let sum = (0..100_000).fold(field("i"), |term, number| term + i64::from(number));
    assert_eq!(compile(sum.gt(1)).unwrap_err().code().tag(), "LimitPassed");
    let long = (0..100_000i64).fold(field("b"), |term, number| term.or(field("i").eq(number)));
    assert_eq!(compile(long).unwrap_err().code().tag(), "LimitPassed");
    let fitting = (0..300i64).fold(field("b"), |term, number| term.or(field("i").eq(number)));
    let text = fitting.to_string();
    assert_eq!(compile(fitting).unwrap(), compile(text.as_str()).unwrap());
}

#[test]
fn numbers_of_a_document_are_numbers_of_an_expression() {
    let record = parse_json(r#"{"id": 5, "f": 2.5}"#).unwrap();
    assert_eq!(value("id * f", record), 12.5);
}
