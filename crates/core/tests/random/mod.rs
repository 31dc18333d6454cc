//! Random rules, random records, and a plain look at both: it knows JSON alone.
#![allow(dead_code, clippy::unwrap_used, reason = "a test")]

use serde_json::{Map, Value as Json, json};

/// A generator that a seed determines (splitmix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn of(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }

    fn small(&mut self) -> i64 {
        self.below(21) as i64 - 10
    }
}

/// A field with its rules.
pub(crate) struct Rule {
    kind: Kind,
    is_optional: bool,
    min: Option<i64>,
    max: Option<i64>,
    /// A value that a check forbids.
    forbidden: Option<i64>,
    min_length: Option<usize>,
    max_length: Option<usize>,
    /// Whether strings are of a, b and é alone.
    is_patterned: bool,
}

enum Kind {
    Int,
    Float,
    Decimal,
    Date,
    Timestamp,
    String,
    Bytes,
    List(Box<Rule>),
    Struct(Vec<Rule>),
}

pub(crate) fn rules(random: &mut Random) -> Vec<Rule> {
    (0..1 + random.below(5)).map(|_| rule(random, 2, true)).collect()
}

fn rule(random: &mut Random, depth_left: u32, is_field: bool) -> Rule {
    let kind = match random.below(if depth_left == 0 { 7 } else { 9 }) {
        0 => Kind::Int,
        1 => Kind::Float,
        2 => Kind::Decimal,
        3 => Kind::Date,
        4 => Kind::Timestamp,
        5 => Kind::String,
        6 => Kind::Bytes,
        7 => Kind::List(Box::new(rule(random, depth_left - 1, false))),
        _ => Kind::Struct((0..1 + random.below(2)).map(|_| rule(random, depth_left - 1, true)).collect()),
    };
    let has_range = matches!(kind, Kind::Int | Kind::Float | Kind::Decimal | Kind::Date | Kind::Timestamp);
    let has_length = matches!(kind, Kind::String | Kind::Bytes | Kind::List(_));
    let min = (has_range && random.one_in(2)).then(|| random.small());
    let max = (has_range && random.one_in(2)).then(|| min.unwrap_or(-10) + random.below(12) as i64);
    let min_length = (has_length && random.one_in(2)).then(|| random.below(3) as usize);
    let max_length =
        (has_length && random.one_in(2)).then(|| min_length.unwrap_or(0) + random.below(3) as usize);
    Rule {
        is_optional: is_field && random.one_in(2),
        min,
        max,
        forbidden: (matches!(kind, Kind::Int) && random.one_in(3)).then(|| random.small()),
        min_length,
        max_length,
        is_patterned: matches!(kind, Kind::String) && random.one_in(2),
        kind,
    }
}

/// A number in the form of a kind; its order is the number's.
fn number(kind: &Kind, number: i64) -> Json {
    match kind {
        Kind::Float => json!(number as f64 / 2.0),
        Kind::Decimal => json!(format!(
            "{}{}.{}0",
            if number < 0 { "-" } else { "" },
            number.abs() / 4,
            ["0", "25", "5", "75"][(number.abs() % 4) as usize]
        )),
        Kind::Date => {
            json!(format!("2001-{:02}-{:02}", 6 + number.div_euclid(20), 1 + number.rem_euclid(20)))
        }
        Kind::Timestamp => json!(format!("2001-01-01T12:{:02}:00.{:06}Z", 30 + number, 500 + number)),
        _ => json!(number),
    }
}

fn fields(rules: &[Rule]) -> Json {
    let fields = rules.iter().enumerate().map(|(index, rule)| {
        let mut field = table(rule);
        if rule.is_optional {
            field.insert("optional".to_owned(), json!(true));
        }
        (format!("f{index}"), Json::Object(field))
    });
    Json::Object(fields.collect())
}

fn table(rule: &Rule) -> Map<String, Json> {
    let name = match &rule.kind {
        Kind::Int => "int",
        Kind::Float => "float",
        Kind::Decimal => "decimal",
        Kind::Date => "date",
        Kind::Timestamp => "timestamp",
        Kind::String => "string",
        Kind::Bytes => "bytes",
        Kind::List(_) => "list",
        Kind::Struct(_) => "struct",
    };
    let mut table = Map::new();
    let mut add = |word: &str, json: Option<Json>| table.extend(json.map(|json| (word.to_owned(), json)));
    add("type", Some(json!(name)));
    add("min", rule.min.map(|min| number(&rule.kind, min)));
    add("max", rule.max.map(|max| number(&rule.kind, max)));
    add("min_length", rule.min_length.map(Json::from));
    add("max_length", rule.max_length.map(Json::from));
    add("pattern", rule.is_patterned.then(|| json!("[abé]*")));
    add("check", rule.forbidden.map(|forbidden| json!(format!("value != {forbidden}"))));
    match &rule.kind {
        Kind::List(element) => add("of", Some(Json::Object(self::table(element)))),
        Kind::Struct(inner) => add("fields", Some(fields(inner))),
        _ => {}
    }
    table
}

pub(crate) fn schema(rules: &[Rule]) -> Json {
    let mut all = json!({ "id": "int" });
    all.as_object_mut().unwrap().extend(fields(rules).as_object().unwrap().clone());
    json!({ "name": "s", "types": { "t": { "primary_key": ["id"], "fields": all, "checks": { "odd": "id != 13" } } } })
}

/// A value and the number behind it, if there is one.
fn value(rule: &Rule, random: &mut Random) -> Json {
    match &rule.kind {
        Kind::String => {
            let letters = (0..random.below(6)).map(|_| ["a", "b", "é", "a", "Z"][random.below(5) as usize]);
            json!(letters.collect::<String>())
        }
        Kind::Bytes => json!(["", "AA==", "AAA=", "AAAA", "AAAAAA=="][random.below(5) as usize]),
        Kind::List(element) => {
            json!((0..random.below(5)).map(|_| value(element, random)).collect::<Vec<_>>())
        }
        Kind::Struct(inner) => object(inner, random),
        kind => number(kind, random.small()),
    }
}

fn object(rules: &[Rule], random: &mut Random) -> Json {
    let mut object = Map::new();
    for (index, rule) in rules.iter().enumerate() {
        match random.below(if rule.is_optional { 4 } else { 30 }) {
            0 => {}
            1 => drop(object.insert(format!("f{index}"), Json::Null)),
            _ => drop(object.insert(format!("f{index}"), value(rule, random))),
        }
    }
    Json::Object(object)
}

pub(crate) fn record(rules: &[Rule], random: &mut Random) -> Json {
    let mut record = object(rules, random);
    record["id"] = json!(random.below(14));
    record
}

/// What a record breaks, by path and rule.
pub(crate) fn broken(rules: &[Rule], record: &Json) -> Vec<(String, String)> {
    let mut found = Vec::new();
    broken_fields(rules, record, "", &mut found);
    if record["id"] == json!(13) && !found.iter().any(|(_, rule)| rule == "required") {
        found.push((String::new(), "checks".to_owned()));
    }
    found
}

/// Whether a record lacks what it must have: what is around it is not looked at then.
fn is_whole(rule: &Rule, value: &Json) -> bool {
    match &rule.kind {
        Kind::List(element) => value.as_array().unwrap().iter().all(|value| is_whole(element, value)),
        Kind::Struct(inner) => {
            inner.iter().enumerate().all(|(index, rule)| match value.get(format!("f{index}")) {
                None | Some(Json::Null) => rule.is_optional,
                Some(value) => is_whole(rule, value),
            })
        }
        _ => true,
    }
}

fn missing(rule: &Rule, value: &Json, path: &str, found: &mut Vec<(String, String)>) {
    match &rule.kind {
        Kind::List(element) => {
            for (index, value) in value.as_array().unwrap().iter().enumerate() {
                missing(element, value, &format!("{path}[{index}]"), found);
            }
        }
        Kind::Struct(inner) => {
            for (index, rule) in inner.iter().enumerate() {
                let path = format!("{path}.f{index}");
                match value.get(format!("f{index}")) {
                    None | Some(Json::Null) if rule.is_optional => {}
                    None | Some(Json::Null) => found.push((path, "required".to_owned())),
                    Some(value) => missing(rule, value, &path, found),
                }
            }
        }
        _ => {}
    }
}

fn broken_fields(rules: &[Rule], object: &Json, prefix: &str, found: &mut Vec<(String, String)>) {
    for (index, rule) in rules.iter().enumerate() {
        let path = format!("{prefix}f{index}");
        match object.get(format!("f{index}")) {
            None | Some(Json::Null) if rule.is_optional => {}
            None | Some(Json::Null) => found.push((path, "required".to_owned())),
            // JSON whose form is wrong becomes no value, and has no rules that it could break.
            Some(value) if !is_whole(rule, value) => missing(rule, value, &path, found),
            Some(value) => broken_value(rule, value, &path, found),
        }
    }
}

fn broken_value(rule: &Rule, value: &Json, path: &str, found: &mut Vec<(String, String)>) {
    let mut add = |is_broken: bool, rule: &str| {
        if is_broken {
            found.push((path.to_owned(), rule.to_owned()));
        }
    };
    let place = (-40..=40).find(|place| number(&rule.kind, *place) == *value);
    add(rule.min.is_some_and(|min| place.unwrap() < min), "min");
    add(rule.max.is_some_and(|max| place.unwrap() > max), "max");
    add(rule.forbidden.is_some_and(|forbidden| place.unwrap() == forbidden), "check");
    let length = match (&rule.kind, value) {
        (Kind::Bytes, Json::String(text)) => text.len() / 4 * 3 - text.matches('=').count(),
        (_, Json::String(text)) => text.chars().count(),
        (_, Json::Array(elements)) => elements.len(),
        _ => 0,
    };
    add(rule.min_length.is_some_and(|min| length < min), "min_length");
    add(rule.max_length.is_some_and(|max| length > max), "max_length");
    add(rule.is_patterned && value.as_str().unwrap().contains('Z'), "pattern");
    match &rule.kind {
        Kind::List(element) => {
            for (index, value) in value.as_array().unwrap().iter().enumerate() {
                broken_value(element, value, &format!("{path}[{index}]"), found);
            }
        }
        Kind::Struct(inner) => broken_fields(inner, value, &format!("{path}."), found),
        _ => {}
    }
}
