//! Record types: their fields, and what can be said of them.

use serde_json::{Map, Value as Json, json};
use tenantry_core::{Record, Value};

use super::values::{ENUM_NAMES, Scalar};
use crate::random::Stream;

/// What a field holds.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Of(Scalar),
    List(Scalar),
    Struct(Vec<(&'static str, Scalar)>),
}

/// A field beside those of the primary key.
#[derive(Clone, Debug)]
pub(super) struct FieldShape {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) is_optional: bool,
}

/// A record type.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) primary_key: Vec<&'static str>,
    pub(super) fields: Vec<FieldShape>,
    /// Whether there are many records, of few different values.
    pub(super) is_large: bool,
}

/// The fields of the primary key, and one that no two records have in common.
const PARTS: &[&str] = &["", "a", "a\0", "b"];
pub(super) const UNIQUE: &str = "serial";
/// How many of a hundred values of a large type are the same: an index of such a field has entries enough to be read side by side with another.
const COMMON_PERCENT: u64 = 75;
/// The first fields of a large type: an enum and a bool.
const COMMON_FIELDS: usize = 2;

impl Shape {
    pub(super) fn random(random: &mut Stream, is_large: bool) -> Shape {
        let primary_key = match random.below(3) {
            0 => vec!["id"],
            1 => vec!["part", "id"],
            _ => vec!["id", "part"],
        };
        let mut kinds: Vec<Kind> = (0..3 + random.below(6)).map(|_| kind(random)).collect();
        if is_large {
            kinds.splice(0..0, [Kind::Of(Scalar::Enum), Kind::Of(Scalar::Bool)]);
        }
        let fields = kinds.into_iter().enumerate().map(|(place, kind)| FieldShape {
            name: format!("f{place}"),
            is_optional: random.percent(60) && !(is_large && place < COMMON_FIELDS),
            kind,
        });
        Shape { primary_key, fields: fields.collect(), is_large }
    }

    /// The fields as a schema has them.
    pub(super) fn to_json(&self) -> Json {
        let mut fields = Map::new();
        fields.insert("id".to_owned(), json!("int"));
        fields.insert("part".to_owned(), json!("string"));
        fields.insert(UNIQUE.to_owned(), json!({ "type": "int", "optional": true }));
        for field in &self.fields {
            let mut table = match &field.kind {
                Kind::Of(scalar) => scalar_json(*scalar),
                Kind::List(scalar) => json!({ "type": "list", "of": scalar_json(*scalar) }),
                Kind::Struct(leaves) => {
                    let leaves = leaves.iter().map(|(name, scalar)| {
                        let mut leaf = scalar_json(*scalar);
                        leaf["optional"] = json!(true);
                        ((*name).to_owned(), leaf)
                    });
                    json!({ "type": "struct", "fields": leaves.collect::<Map<_, _>>() })
                }
            };
            if field.is_optional {
                table["optional"] = json!(true);
            }
            fields.insert(field.name.clone(), table);
        }
        Json::Object(fields)
    }

    /// A record of some key.
    pub(super) fn record(&self, id: i64, serial: i64, random: &mut Stream) -> Record {
        let mut record = Record::new().with("id", id).with("part", part_of(id));
        if random.percent(70) {
            record.set(UNIQUE, serial);
        }
        for (place, field) in self.fields.iter().enumerate() {
            if field.is_optional && random.percent(25) {
                continue;
            }
            let is_common = self.is_large && place < COMMON_FIELDS && random.percent(COMMON_PERCENT);
            let value = match &field.kind {
                Kind::Of(Scalar::Enum) if is_common => Value::Enum(ENUM_NAMES[0].into()),
                Kind::Of(Scalar::Bool) if is_common => Value::Bool(true),
                Kind::Of(scalar) => scalar.value(random),
                Kind::List(scalar) => {
                    Value::List((0..random.below(5)).map(|_| scalar.value(random)).collect())
                }
                Kind::Struct(leaves) => {
                    let leaves = leaves.iter().filter_map(|(name, scalar)| {
                        let value = scalar.value(random);
                        random.percent(70).then(|| ((*name).into(), value))
                    });
                    Value::Struct(leaves.collect())
                }
            };
            record.set(&field.name, value);
        }
        record
    }

    /// Whether most values of a field are the same.
    pub(super) fn is_common(&self, operand: &Operand) -> bool {
        let names = self.fields.iter().take(COMMON_FIELDS).map(|field| field.name.as_str());
        self.is_large
            && matches!(operand, Operand::Field(path, _) if names.into_iter().any(|name| path[..] == [name]))
    }

    /// The columns of the primary key.
    pub(super) fn key_columns(&self) -> Vec<Operand> {
        let operand = |name: &&str| Operand::Field(vec![(*name).to_owned()], key_scalar(name));
        self.primary_key.iter().map(operand).collect()
    }

    /// Every field whose values can stand in keys, with those of structs.
    pub(super) fn scalars(&self) -> Vec<Operand> {
        let mut operands = self.key_columns();
        if !self.primary_key.contains(&"part") {
            operands.push(Operand::Field(vec!["part".to_owned()], Scalar::String));
        }
        operands.push(Operand::Field(vec![UNIQUE.to_owned()], Scalar::Int));
        for field in &self.fields {
            match &field.kind {
                Kind::Of(scalar) => operands.push(Operand::Field(vec![field.name.clone()], *scalar)),
                Kind::List(_) => {}
                Kind::Struct(leaves) => operands.extend(leaves.iter().map(|(leaf, scalar)| {
                    Operand::Field(vec![field.name.clone(), (*leaf).to_owned()], *scalar)
                })),
            }
        }
        operands
    }

    /// A field, or something computed of fields.
    pub(super) fn operand(&self, random: &mut Stream) -> Operand {
        let scalars = self.scalars();
        let operand = random.pick(&scalars).clone();
        if !random.percent(30) {
            return operand;
        }
        match operand {
            Operand::Field(path, scalar) if scalar.is_string() => match random.below(2) {
                0 => Operand::Lower(path),
                _ => Operand::Size(path),
            },
            Operand::Field(path, Scalar::Int) => Operand::Sum(path, vec!["id".to_owned()]),
            operand => match self.lists().first() {
                Some((name, _)) => Operand::Size(vec![name.clone()]),
                None => operand,
            },
        }
    }

    /// The lists, and what they hold.
    pub(super) fn lists(&self) -> Vec<(String, Scalar)> {
        let list = |field: &FieldShape| match field.kind {
            Kind::List(scalar) => Some((field.name.clone(), scalar)),
            _ => None,
        };
        self.fields.iter().filter_map(list).collect()
    }

    /// The names of all fields.
    pub(super) fn names(&self) -> Vec<&str> {
        let own = self.fields.iter().map(|field| field.name.as_str());
        ["id", "part", UNIQUE].into_iter().chain(own).collect()
    }
}

/// A record's id says its part, so that the id alone tells records apart.
fn part_of(id: i64) -> &'static str {
    PARTS[id.rem_euclid(PARTS.len() as i64) as usize]
}

fn key_scalar(name: &str) -> Scalar {
    if name == "part" { Scalar::String } else { Scalar::Int }
}

fn scalar_json(scalar: Scalar) -> Json {
    match scalar {
        Scalar::Enum => json!({ "type": "enum", "values": ENUM_NAMES }),
        scalar => json!({ "type": scalar.name() }),
    }
}

fn kind(random: &mut Stream) -> Kind {
    match random.below(10) {
        0 | 1 => Kind::List(*random.pick(&Scalar::ALL)),
        2 => Kind::Struct(vec![("x", *random.pick(&Scalar::ALL)), ("y", *random.pick(&Scalar::ALL))]),
        3 => Kind::Of(Scalar::Text),
        _ => Kind::Of(*random.pick(&Scalar::ALL)),
    }
}

/// What a comparison or a column is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    Field(Vec<String>, Scalar),
    Lower(Vec<String>),
    /// Of two fields of type int.
    Sum(Vec<String>, Vec<String>),
    /// Of a string or a list.
    Size(Vec<String>),
}

impl Operand {
    pub(super) fn text(&self) -> String {
        match self {
            Operand::Field(path, _) => path.join("."),
            Operand::Lower(path) => format!("lower({})", path.join(".")),
            Operand::Sum(one, other) => format!("{} + {}", one.join("."), other.join(".")),
            Operand::Size(path) => format!("size({})", path.join(".")),
        }
    }

    pub(super) fn scalar(&self) -> Scalar {
        match self {
            Operand::Field(_, scalar) => *scalar,
            Operand::Lower(_) => Scalar::String,
            Operand::Sum(..) | Operand::Size(_) => Scalar::Int,
        }
    }

    /// Its value for a record; `None` for missing.
    pub(super) fn value(&self, record: &Record) -> Option<Value> {
        match self {
            Operand::Field(path, _) => at(record, path).cloned(),
            Operand::Lower(path) => match at(record, path)? {
                Value::String(text) => Some(Value::String(text.to_lowercase())),
                _ => None,
            },
            Operand::Sum(one, other) => match (at(record, one)?, at(record, other)?) {
                (Value::Int(one), Value::Int(other)) => one.checked_add(*other).map(Value::Int),
                _ => None,
            },
            Operand::Size(path) => {
                let size = match at(record, path)? {
                    Value::String(text) => text.chars().count(),
                    Value::List(elements) => elements.len(),
                    _ => return None,
                };
                i64::try_from(size).ok().map(Value::Int)
            }
        }
    }
}

/// The value at a path.
pub(super) fn at<'a>(record: &'a Record, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let value = record.get(first)?;
    match (rest, value) {
        ([], value) => Some(value),
        ([leaf], Value::Struct(leaves)) => {
            leaves.iter().find(|(name, _)| **name == **leaf).map(|(_, value)| value)
        }
        _ => None,
    }
}
