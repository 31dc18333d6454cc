//! Queries: a filter, an order, a limit, and a token to go on with.
//!
//! The planner takes the primary key or one index: the one that binds the most columns by equality, then by a range, and gives the order. What the
//! path does not settle is checked on each record. An order that no path gives is made in memory, within a bound.

mod execute;
mod plan;
mod token;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value as Json;

use crate::error::{Code, Error, Result, limit, shown};
use crate::expression::{Expression, Filter};
use crate::limits::{ORDER_COLUMNS_MAX, PAGE_ROWS_DEFAULT, PAGE_ROWS_MAX};
use crate::record::Record;
use crate::schema::RecordType;
use crate::tenant::{Tenant, TenantReader, TenantTransaction};
use crate::value::{FieldType, Value};

/// What to look for.
///
/// ```
/// use tenantry_core::Query;
///
/// let query = Query::of("film").filter("rating >= 7.5").order_by_descending("rating").rows_max(10);
/// assert_eq!(query.rows_max, 10);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Query {
    /// The record type.
    pub record_type: String,
    /// The condition, in CEL or built: see [`Expression`] and [`Term`](crate::Term).
    pub filter: Option<Filter>,
    /// What `param.NAME` stands for in the condition.
    pub parameters: BTreeMap<String, Value>,
    /// The columns to sort by. Records that lack one come first, or last in descending order.
    pub order: Vec<Order>,
    /// The most records of a page. Default 100; at most 10,000.
    pub rows_max: usize,
    /// The token of the page before.
    pub after: Option<String>,
}

/// A column of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The field.
    pub field: String,
    /// Whether the greatest comes first.
    pub is_descending: bool,
}

impl Query {
    /// All records of a type, in the order of their primary keys.
    pub fn of(record_type: impl Into<String>) -> Query {
        let record_type = record_type.into();
        let (filter, parameters, order) = (None, BTreeMap::new(), Vec::new());
        Query { record_type, filter, parameters, order, rows_max: PAGE_ROWS_DEFAULT, after: None }
    }

    /// The same, with a condition.
    #[must_use]
    pub fn filter(mut self, filter: impl Into<Filter>) -> Query {
        self.filter = Some(filter.into());
        self
    }

    /// The same, with a value for `param.NAME` in the condition, which has to use it. It stands there like a literal, so that what people type is never read as CEL.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<Value>) -> Query {
        self.parameters.insert(name.into(), value.into());
        self
    }

    /// The same, with a value for `param.NAME` from JSON: true or false, a number, a string, or a list of these. A date is a string: `date(param.day)`.
    ///
    /// # Errors
    ///
    /// 20044 for null, an object, a list in a list, or a number that neither an int nor a float holds.
    pub fn parameter_from_json(self, name: &str, json: &Json) -> Result<Query> {
        let value = parameter_from_json(name, json, true)?;
        Ok(self.parameter(name, value))
    }

    /// The same, sorted by one more field.
    #[must_use]
    pub fn order_by(mut self, field: impl Into<String>) -> Query {
        self.order.push(Order { field: field.into(), is_descending: false });
        self
    }

    /// The same, sorted by one more field, the greatest first.
    #[must_use]
    pub fn order_by_descending(mut self, field: impl Into<String>) -> Query {
        self.order.push(Order { field: field.into(), is_descending: true });
        self
    }

    /// The same, with another bound on the page.
    #[must_use]
    pub fn rows_max(mut self, rows_max: usize) -> Query {
        self.rows_max = rows_max;
        self
    }

    /// The same, going on behind a page.
    #[must_use]
    pub fn after(mut self, token: impl Into<String>) -> Query {
        self.after = Some(token.into());
        self
    }
}

/// Some of the records that a query asks for.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// The records. Fewer than asked for, even none, does not mean that there are no more: the token does.
    pub records: Vec<Record>,
    /// What to go on with, if there may be more. Opaque, sealed, and good for this query on this tenant alone.
    pub next: Option<String>,
    /// How the records were found.
    pub explanation: Explanation,
}

/// How a query was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The index; `None` for the primary key.
    pub index: Option<String>,
    /// The conditions that bound the scan, as text.
    pub bounds: Vec<String>,
    /// Whether the scan runs from the end.
    pub is_reverse: bool,
    /// Whether each record is checked against the filter.
    pub is_filtered: bool,
    /// Whether the order was made in memory.
    pub is_sorted: bool,
    /// How many entries were looked at.
    pub scanned: usize,
}

impl fmt::Display for Explanation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.index {
            Some(index) => write!(formatter, "index {index}")?,
            None => write!(formatter, "primary key")?,
        }
        match self.bounds.is_empty() {
            true => write!(formatter, ", all entries")?,
            false => write!(formatter, ", {}", self.bounds.join(" and "))?,
        }
        if self.is_reverse {
            write!(formatter, ", from the end")?;
        }
        if self.is_filtered {
            write!(formatter, ", each record checked")?;
        }
        if self.is_sorted {
            write!(formatter, ", sorted in memory")?;
        }
        write!(formatter, "; {} entries looked at", self.scanned)
    }
}

impl Tenant {
    /// One page of the records that a query asks for.
    ///
    /// # Errors
    ///
    /// As [`TenantTransaction::query`].
    pub async fn query(&self, query: &Query) -> Result<Page> {
        self.read(|transaction| async move { transaction.query(query).await }).await
    }
}

impl TenantReader {
    /// As [`TenantTransaction::query`].
    ///
    /// # Errors
    ///
    /// Its own.
    pub async fn query(&self, query: &Query) -> Result<Page> {
        self.transaction().query(query).await
    }
}

impl TenantTransaction {
    /// One page of the records that a query asks for.
    ///
    /// # Errors
    ///
    /// 20023, 20024, 20040, 20041, 20042 for a query that does not fit the schema; 20043 when it has to sort more records than it may; 20050 to 20053 for a
    /// token that is not this query's on this tenant; 20060; the engine's own.
    pub async fn query(&self, query: &Query) -> Result<Page> {
        if query.rows_max == 0 || query.rows_max > PAGE_ROWS_MAX {
            return Err(limit("the records of a page (at least one)", query.rows_max, PAGE_ROWS_MAX));
        }
        let record_type = self.record_type(&query.record_type)?;
        check_order(&query.order, record_type)?;
        let filter = compile(query, record_type)?;
        let plan = plan::choose(record_type, filter.as_ref(), &query.order)?;
        let position = match &query.after {
            Some(text) => Some(token::open(self, query, &plan, text)?),
            None => None,
        };
        execute::run(self, query, record_type, filter.as_ref(), &plan, position).await
    }
}

fn compile(query: &Query, record_type: &RecordType) -> Result<Option<Expression>> {
    match (&query.filter, query.parameters.keys().next()) {
        (Some(filter), _) => {
            filter.compile(&record_type.name, &record_type.fields, &query.parameters).map(Some)
        }
        (None, Some(name)) => {
            let detail = format!("the query has the parameter {} and no condition", shown(name));
            Err(Error::new(Code::ParameterInvalid, detail))
        }
        (None, None) => Ok(None),
    }
}

fn parameter_from_json(name: &str, json: &Json, may_be_list: bool) -> Result<Value> {
    let refused = |what: &str| {
        let detail = format!("the parameter {} cannot be {what}", shown(name));
        Err(Error::new(Code::ParameterInvalid, detail))
    };
    match json {
        Json::Bool(value) => Ok(Value::Bool(*value)),
        Json::String(text) => Ok(Value::String(text.clone())),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Ok(Value::Int(number)),
            None => Value::from_json(json, &FieldType::Float, name)
                .or_else(|_| refused("a number that neither an int nor a float holds")),
        },
        Json::Array(elements) if may_be_list => {
            let elements = elements.iter().map(|element| parameter_from_json(name, element, false));
            Ok(Value::List(elements.collect::<Result<_>>()?))
        }
        Json::Array(_) => refused("a list of lists"),
        Json::Null => refused("null: write == null in the condition"),
        Json::Object(_) => refused("an object"),
    }
}

fn check_order(order: &[Order], record_type: &RecordType) -> Result<()> {
    if order.len() > ORDER_COLUMNS_MAX {
        return Err(limit("the columns of an order", order.len(), ORDER_COLUMNS_MAX));
    }
    for (index, column) in order.iter().enumerate() {
        let field = record_type.field(&column.field)?;
        if !field.field_type.has_key_form() {
            let detail =
                format!("{} is a {} and has no order", shown(&column.field), field.field_type.name());
            return Err(Error::new(Code::QueryInvalid, detail));
        }
        if order[..index].iter().any(|earlier| earlier.field == column.field) {
            return Err(Error::new(
                Code::QueryInvalid,
                format!("the order names {} twice", shown(&column.field)),
            ));
        }
    }
    Ok(())
}
