//! What a Rust type says of itself, in the form of a schema file.

use serde_json::{Map, Value as Json, json};

use super::value::TypedField;
use crate::error::{Code, Error, Result, limit, shown};
use crate::limits::TYPE_DEPTH_MAX;

/// The type of a field and its rules, as the table of a field in a schema file.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition(Map<String, Json>);

fn invalid(detail: String) -> Error {
    Error::new(Code::SchemaInvalid, detail)
}

/// A table of a schema file that stands in an attribute, as JSON.
fn table(text: &str) -> Result<Map<String, Json>> {
    match crate::json::parse_json(text)? {
        Json::Object(table) => Ok(table),
        _ => Err(invalid(format!("{} is no table", shown(text)))),
    }
}

impl Definition {
    /// A type without parts, by its name in a schema: `int`, `string`.
    pub fn of(type_name: &str) -> Definition {
        Definition(Map::from_iter([("type".to_owned(), Json::from(type_name))]))
    }

    /// A list of a type.
    pub fn list_of(element: Definition) -> Definition {
        let mut list = Definition::of("list");
        list.0.insert("of".to_owned(), Json::Object(element.0));
        list
    }

    /// An enum. Its values have the ids that are given, or those of their order where none is.
    pub fn enum_of(values: &[(&str, Option<u32>)]) -> Definition {
        let mut made = Definition::of("enum");
        let values = match values.iter().all(|(_, id)| id.is_some()) {
            true => values.iter().map(|(name, id)| ((*name).to_owned(), json!(id))).collect(),
            false => Json::from(values.iter().map(|(name, _)| *name).collect::<Vec<_>>()),
        };
        made.0.insert("values".to_owned(), values);
        made
    }

    /// A struct, whose fields `define` adds. `depth_left` is how deep types may be nested in it.
    ///
    /// # Errors
    ///
    /// 20060 for a type that is nested too deep, such as one that holds itself; what `define` returns.
    pub fn struct_of(
        depth_left: usize,
        define: impl FnOnce(&mut Definition, usize) -> Result<()>,
    ) -> Result<Definition> {
        let mut made = Definition::of("struct");
        made.0.insert("fields".to_owned(), Json::Object(Map::new()));
        define(&mut made, deeper(depth_left)?)?;
        Ok(made)
    }

    /// The same with an integer's bounds.
    #[must_use]
    pub(super) fn with_bounds(mut self, least: Option<i64>, most: Option<i64>) -> Definition {
        self.0.extend(least.map(|least| ("min".to_owned(), Json::from(least))));
        self.0.extend(most.map(|most| ("max".to_owned(), Json::from(most))));
        self
    }

    /// Adds a field of a struct, with what its attributes say: a table of a schema file as JSON, without its type.
    ///
    /// # Errors
    ///
    /// 20022 for a name that stands twice, or rules that the Rust type contradicts; 20060 for types that are nested too deep.
    pub fn field<F: TypedField>(&mut self, name: &str, attributes: &str, depth_left: usize) -> Result<()> {
        let mut defined = F::definition(depth_left)?;
        defined.refine(attributes, name)?;
        if F::IS_OPTIONAL {
            defined.0.insert("optional".to_owned(), Json::Bool(true));
        }
        add(&mut self.0, "fields", name, Json::Object(defined.0))
    }

    /// Adds what the attributes of a type or field say to what its Rust type does.
    ///
    /// # Errors
    ///
    /// 20022 for a bound beyond that of the Rust type, or `of` for what is no list.
    pub fn refine(&mut self, attributes: &str, name: &str) -> Result<()> {
        self.refine_with(table(attributes)?, name)
    }

    fn refine_with(&mut self, attributes: Map<String, Json>, name: &str) -> Result<()> {
        for (word, value) in attributes {
            match (word.as_str(), value) {
                ("of", Json::Object(rules)) => {
                    let Some(Json::Object(element)) = self.0.get_mut("of") else {
                        let detail = format!("the field {} is no list: \"of\" belongs to lists", shown(name));
                        return Err(invalid(detail));
                    };
                    let mut defined = Definition(std::mem::take(element));
                    defined.refine_with(rules, name)?;
                    self.0.insert(word, Json::Object(defined.0));
                }
                ("min" | "max", value) => {
                    check_bound(&word, &value, self.0.get(&word), name)?;
                    self.0.insert(word, value);
                }
                (_, value) => {
                    self.0.insert(word, value);
                }
            }
        }
        Ok(())
    }
}

/// Fails for a bound that lets through what the Rust type does not hold.
fn check_bound(word: &str, value: &Json, of_type: Option<&Json>, name: &str) -> Result<()> {
    let (Some(bound), Some(of_type)) = (value.as_i64(), of_type.and_then(Json::as_i64)) else {
        return Ok(());
    };
    let is_beyond = if word == "min" { bound < of_type } else { bound > of_type };
    match is_beyond {
        true => Err(invalid(format!(
            "the {word} of the field {} is {bound}: its Rust type goes to {of_type}",
            shown(name)
        ))),
        false => Ok(()),
    }
}

fn add(table: &mut Map<String, Json>, part: &str, name: &str, entry: Json) -> Result<()> {
    let entries = table.entry(part).or_insert_with(|| Json::Object(Map::new()));
    match entries {
        Json::Object(entries) if !entries.contains_key(name) => {
            entries.insert(name.to_owned(), entry);
            Ok(())
        }
        _ => Err(invalid(format!("the name {} stands twice in the {part} of one type", shown(name)))),
    }
}

/// One level less.
pub(super) fn deeper(depth_left: usize) -> Result<usize> {
    depth_left.checked_sub(1).ok_or_else(|| {
        limit("the depth of a type (one that holds itself has no end)", TYPE_DEPTH_MAX + 1, TYPE_DEPTH_MAX)
    })
}

/// A record type, as its table in a schema file.
#[derive(Clone, Debug, PartialEq)]
pub struct TypeDefinition {
    name: String,
    table: Definition,
}

impl TypeDefinition {
    /// A type without fields. `attributes` is the part of its table that names none: `id` and `primary_key`.
    ///
    /// # Errors
    ///
    /// 20070 for what is no JSON.
    pub fn of(name: &str, attributes: &str) -> Result<TypeDefinition> {
        Ok(TypeDefinition { name: name.to_owned(), table: Definition(table(attributes)?) })
    }

    /// Adds a field, as [`Definition::field`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn field<F: TypedField>(&mut self, name: &str, attributes: &str) -> Result<()> {
        self.table.field::<F>(name, attributes, TYPE_DEPTH_MAX)
    }

    /// Adds an index: its table as JSON.
    ///
    /// # Errors
    ///
    /// 20022 for a name that stands twice.
    pub fn index(&mut self, name: &str, attributes: &str) -> Result<()> {
        add(&mut self.table.0, "indexes", name, Json::Object(table(attributes)?))
    }

    /// Adds a check of the whole record.
    ///
    /// # Errors
    ///
    /// 20022 for a name that stands twice.
    pub fn check(&mut self, name: &str, expression: &str) -> Result<()> {
        add(&mut self.table.0, "checks", name, Json::from(expression))
    }

    /// Adds a reference to a record type: its table as JSON, but for `to`.
    ///
    /// # Errors
    ///
    /// 20022 for a name that stands twice.
    pub fn reference(&mut self, name: &str, to: &str, attributes: &str) -> Result<()> {
        let mut table = table(attributes)?;
        table.insert("to".to_owned(), Json::from(to));
        add(&mut self.table.0, "references", name, Json::Object(table))
    }

    /// The type's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn into_table(self) -> Json {
        Json::Object(self.table.0)
    }
}
