//! How rows become records: the mapping.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value as Json;

use crate::error::{Code, Error, Result, limit, shown};
use crate::limits::SCHEMA_FILE_SIZE_BYTES_MAX;
use crate::schema::RecordType;
use crate::value::{Field, FieldType, parse_date};

/// How rows become records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ImportMapping {
    /// The column that names the tenant.
    pub tenant_field: Option<String>,
    /// The tenant of the rows that name none. Without it they are refused.
    pub tenant_default: Option<String>,
    /// Whether what a row lacks it lacks on purpose: no defaults are written in its place. For rows that were exported.
    #[serde(default)]
    pub exact: bool,
    /// Columns that are left out.
    #[serde(default)]
    pub ignore: Vec<String>,
    /// The fields that come from elsewhere than a column of their own name, or in another form.
    #[serde(default)]
    pub fields: BTreeMap<String, FieldMapping>,
}

/// Where a field comes from, and in what form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldMapping {
    /// The column. By default the one of the field's name.
    pub from: Option<String>,
    /// How a date is written, in the words of `strftime`: `%b %d %Y` for "Jun 12 1998".
    pub date_format: Option<String>,
    /// The first date that is taken.
    pub earliest: Option<String>,
    /// The last date that is taken.
    pub latest: Option<String>,
    /// Whether a number is taken for a text.
    pub number_as_text: bool,
}

/// `"Column"`, or `{ from = "Column", ... }`.
impl<'de> Deserialize<'de> for FieldMapping {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<FieldMapping, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Full {
            from: Option<String>,
            date_format: Option<String>,
            earliest: Option<String>,
            latest: Option<String>,
            #[serde(default)]
            number_as_text: bool,
        }
        struct MappingVisitor;
        impl<'de> Visitor<'de> for MappingVisitor {
            type Value = FieldMapping;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("the name of a column, or a table")
            }

            fn visit_str<E>(self, column: &str) -> std::result::Result<FieldMapping, E> {
                Ok(FieldMapping { from: Some(column.to_owned()), ..FieldMapping::default() })
            }

            fn visit_map<A: MapAccess<'de>>(self, entries: A) -> std::result::Result<FieldMapping, A::Error> {
                let Full { from, date_format, earliest, latest, number_as_text } =
                    Full::deserialize(MapAccessDeserializer::new(entries))?;
                Ok(FieldMapping { from, date_format, earliest, latest, number_as_text })
            }
        }
        deserializer.deserialize_any(MappingVisitor)
    }
}

impl ImportMapping {
    /// Reads a mapping in TOML.
    ///
    /// # Errors
    ///
    /// 20071 saying what is wrong and where; 20060 for a file that is too large.
    pub fn from_toml(text: &str) -> Result<ImportMapping> {
        if text.len() > SCHEMA_FILE_SIZE_BYTES_MAX {
            return Err(limit("the bytes of an import mapping", text.len(), SCHEMA_FILE_SIZE_BYTES_MAX));
        }
        let invalid = |detail: String| Error::new(Code::ImportMappingInvalid, detail);
        let mapping: ImportMapping =
            toml::from_str(text).map_err(|error| invalid(error.to_string().trim_end().to_owned()))?;
        for (name, field) in &mapping.fields {
            for bound in [&field.earliest, &field.latest].into_iter().flatten() {
                if parse_date(bound).is_none() {
                    return Err(invalid(format!(
                        "{} of the field {} is no date like 1998-06-12",
                        shown(bound),
                        shown(name)
                    )));
                }
            }
        }
        Ok(mapping)
    }

    /// Fails when the mapping names fields that the type does not have.
    ///
    /// # Errors
    ///
    /// 20071 with the names there are.
    pub fn check(&self, record_type: &RecordType) -> Result<()> {
        self.fields.iter().try_for_each(|(name, mapping)| {
            let field = record_type
                .field(name)
                .map_err(|error| Error::new(Code::ImportMappingInvalid, error.detail()))?;
            let is_date = field.field_type == FieldType::Date;
            if !is_date
                && (mapping.date_format.is_some() || mapping.earliest.is_some() || mapping.latest.is_some())
            {
                let detail =
                    format!("the field {} is a {}, not a date", shown(name), field.field_type.name());
                return Err(Error::new(Code::ImportMappingInvalid, detail));
            }
            Ok(())
        })
    }

    pub(super) fn source_of<'a>(&'a self, field: &'a Field) -> (&'a str, Option<&'a FieldMapping>) {
        let mapping = self.fields.get(&*field.name);
        (mapping.and_then(|mapping| mapping.from.as_deref()).unwrap_or(&field.name), mapping)
    }
}

impl FieldMapping {
    pub(super) fn read(&self, json: Json, column: &str) -> Result<Json> {
        let refused = |detail: String| Err(Error::new(Code::ImportRowInvalid, detail));
        if self.number_as_text
            && let Json::Number(number) = &json
        {
            return Ok(Json::String(number.to_string()));
        }
        let Json::String(text) = &json else { return Ok(json) };
        let date = match &self.date_format {
            Some(format) => match Date::strptime(format, text) {
                Ok(date) => Some(date),
                Err(_) => {
                    return refused(format!(
                        "the column {} holds {}, not a date like {format}",
                        shown(column),
                        shown(text)
                    ));
                }
            },
            None => parse_date(text).filter(|_| self.earliest.is_some() || self.latest.is_some()),
        };
        let Some(date) = date else { return Ok(json) };
        let bound = |text: &Option<String>| text.as_deref().and_then(parse_date);
        if bound(&self.earliest).is_some_and(|earliest| date < earliest)
            || bound(&self.latest).is_some_and(|latest| date > latest)
        {
            let from = self.earliest.as_deref().unwrap_or("any date");
            let to = self.latest.as_deref().unwrap_or("any date");
            return refused(format!(
                "the column {} holds {date}, which the mapping does not take: from {from} to {to}",
                shown(column)
            ));
        }
        Ok(Json::String(date.to_string()))
    }
}
