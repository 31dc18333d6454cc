//! Queries: a filter, an order, a limit, and a token to go on with.
//!
//! The planner takes the primary key, an index, a union of several, or what two indexes have in common, as rules and a look at the first entries say. What
//! the paths do not settle is checked on each record. An order that no path gives is made in memory, within a bound.

mod aggregate;
mod cursor;
mod execute;
mod explanation;
mod plan;
mod scan;
mod stream;
mod token;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prost::Message;
use serde_json::Value as Json;

use self::execute::Place;
use self::plan::Request;
use crate::access::Operation;
use crate::error::{Code, Error, Result, limit, shown};
use crate::expression::{Expression, Filter, ParsedFilters};
use crate::key_space::clamp;
use crate::limits::{PAGE_ROWS_DEFAULT, PAGE_SIZE_BYTES, SCANNED_MAX, SORTED_MAX};
use crate::record::Record;
use crate::schema::RecordType;
use crate::tenant::{Permit, Tenant, TenantReader, TenantTransaction};
use crate::value::{FieldType, Value};

pub use aggregate::{Aggregation, Group, Groups, Measure};
pub use explanation::{Explanation, PathExplanation};

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
    /// The fields that the answer is to have; none for all of them. Records that have some fields alone have no version.
    pub selected: Vec<String>,
    /// The entries that the page may look at before it ends early. Default 20,000; at most 100,000.
    pub scanned_max: usize,
    /// The bytes of records after which the page ends early. Default and most: 4,000,000.
    pub size_bytes_max: usize,
    /// The time after which the page ends early. Every page gets on by one entry at least.
    pub time_limit: Option<Duration>,
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
        Query {
            record_type,
            filter: None,
            parameters: BTreeMap::new(),
            order: Vec::new(),
            rows_max: PAGE_ROWS_DEFAULT,
            after: None,
            selected: Vec::new(),
            scanned_max: SCANNED_MAX,
            size_bytes_max: PAGE_SIZE_BYTES,
            time_limit: None,
        }
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

    /// The same, with some fields of each record alone. Where an index covers them, no record is read.
    #[must_use]
    pub fn select<Name: Into<String>>(mut self, fields: impl IntoIterator<Item = Name>) -> Query {
        self.selected.extend(fields.into_iter().map(Into::into));
        self
    }

    /// The same, with another bound on the entries that a page looks at.
    #[must_use]
    pub fn scanned_max(mut self, scanned_max: usize) -> Query {
        self.scanned_max = scanned_max;
        self
    }

    /// The same, with another bound on the bytes of a page.
    #[must_use]
    pub fn size_bytes_max(mut self, size_bytes_max: usize) -> Query {
        self.size_bytes_max = size_bytes_max;
        self
    }

    /// The same, with a bound on the time that a page takes.
    #[must_use]
    pub fn time_limit(mut self, time_limit: Duration) -> Query {
        self.time_limit = Some(time_limit);
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
    /// Why the page ends where it does.
    pub stop: StopReason,
    /// What to go on with, if there may be more. Opaque, sealed, and good for this query on this tenant alone.
    pub next: Option<String>,
    /// How the records were found.
    pub explanation: Explanation,
}

/// Why a page ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// There is nothing more.
    #[default]
    Exhausted,
    /// It has as many records as were asked for.
    Rows,
    /// As many entries were looked at as may be for one page.
    Scanned,
    /// It has as many bytes as a page may have.
    SizeBytes,
    /// The time was up.
    Time,
}

impl StopReason {
    /// The reason in one word.
    pub fn name(self) -> &'static str {
        match self {
            StopReason::Exhausted => "exhausted",
            StopReason::Rows => "rows",
            StopReason::Scanned => "scanned",
            StopReason::SizeBytes => "size_bytes",
            StopReason::Time => "time",
        }
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
    /// One page of the records that a query asks for. A row policy of the grant counts like a condition more; then the page tells nothing of what was looked at, and looks at 20,000
    /// entries at least.
    ///
    /// # Errors
    ///
    /// 20023, 20024, 20040, 20041, 20042 for a query that does not fit the schema; 20043 when it has to sort more records than it may; 20050 to 20053 for a
    /// token that is not this query's on this tenant; 20060; the engine's own.
    pub async fn query(&self, query: &Query) -> Result<Page> {
        clamp::check_rows("records of a page", query.rows_max)?;
        check_bounds(query)?;
        let Permit { record_type, policy } = self.permit(Operation::Query, &query.record_type)?;
        let asked = query.filter.as_ref();
        let mut filter = compile(&self.tenant().filters, asked, &query.parameters, record_type)?;
        let mut query = Cow::Borrowed(query);
        if let Some(policy) = &policy {
            filter = Some(policy.and(filter));
            // Small bounds would count the records that the policy does not show.
            query.to_mut().scanned_max = query.scanned_max.max(SCANNED_MAX);
        }
        let (query, policy) = (&*query, policy.as_ref().map_or("", |policy| policy.identity()));
        let request = Request {
            record_type,
            hashes: self.index_hashes(),
            filter: filter.as_ref(),
            order: plan::sort_columns(&query.order, record_type)?,
            wanted: wanted(query, filter.as_ref(), record_type)?,
            rows_max: query.rows_max,
        };
        let resumed =
            query.after.as_deref().map(|text| token::open(self, query, policy, text)).transpose()?;
        self.issue_pending();
        let plan = plan::choose(self, &request, resumed.as_ref().map(|(plan, _)| *plan)).await?;
        let plan = plan.ok_or_else(token::expired)?;
        let position = resumed.map(|(_, position)| position);
        let rows = match plan.is_sorted {
            true => execute::sorted(self, query, &request, &plan, position).await?,
            false => {
                let position = position.map(cursor::Position::decode).transpose();
                let position = position.map_err(|_| token::damaged())?;
                execute::in_order(self, query, &request, &plan, position).await?
            }
        };
        self.tenant().database.inner.count_index_uses(self.schema(), &plan.index_ids());
        let position = rows.place.as_ref().map(|place| match place {
            Place::Position(position) => position.encode_to_vec().into(),
            Place::SortKey(key) => key.clone(),
        });
        let next = position
            .map(|position| token::seal(self, query, policy, plan.signature(), position))
            .transpose()?;
        let mut explanation = Explanation::of(&plan, &request, &rows);
        if !policy.is_empty() {
            explanation.hide_counts();
        }
        let records = match query.selected.is_empty() {
            true => rows.records,
            false => {
                let selected = rows.records.into_iter();
                selected.map(|record| record.selected(&query.selected, record_type)).collect()
            }
        };
        Ok(Page { records, stop: rows.stop, next, explanation })
    }
}

/// The condition of a query or an aggregate.
pub(crate) fn compile(
    parsed: &ParsedFilters,
    filter: Option<&Filter>,
    parameters: &BTreeMap<String, Value>,
    record_type: &RecordType,
) -> Result<Option<Expression>> {
    match (filter, parameters.keys().next()) {
        (Some(filter), _) => {
            filter.compile(parsed, &record_type.name, &record_type.fields, parameters).map(Some)
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

fn check_bounds(query: &Query) -> Result<()> {
    if query.scanned_max == 0 || query.scanned_max > SORTED_MAX {
        return Err(limit("the entries that a page looks at (at least one)", query.scanned_max, SORTED_MAX));
    }
    if query.size_bytes_max == 0 || query.size_bytes_max > PAGE_SIZE_BYTES {
        return Err(limit("the bytes of a page (at least one)", query.size_bytes_max, PAGE_SIZE_BYTES));
    }
    Ok(())
}

/// The fields that the answer, the filter and the order need; `None` for whole records.
fn wanted(
    query: &Query,
    filter: Option<&Expression>,
    record_type: &RecordType,
) -> Result<Option<BTreeSet<String>>> {
    if query.selected.is_empty() {
        return Ok(None);
    }
    let mut wanted = BTreeSet::new();
    for name in &query.selected {
        record_type.field(name)?;
        wanted.insert(name.clone());
    }
    wanted.extend(filter.iter().flat_map(|filter| filter.fields()).map(str::to_owned));
    for column in &query.order {
        let (expression, _) = Expression::parse_value(&column.field, record_type)?;
        wanted.extend(expression.fields().into_iter().map(str::to_owned));
    }
    Ok(Some(wanted))
}
