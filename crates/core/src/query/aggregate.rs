//! Aggregates: counts, sums, averages, least and greatest values, over all records or by groups.
//!
//! They are answered by aggregate indexes where there is one for each measure and the filter asks for groups alone; otherwise by a look at every record that
//! the filter lets through, within a bound.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use rust_decimal::Decimal;
use serde_json::Value as Json;
use tenantry_kv::tuple::{self, Element};
use tenantry_kv::{KeyRange, RangeRequest};

use super::compile;
use super::cursor::{Cursor, Taken};
use super::plan::{self, Request};
use crate::access::Operation;
use crate::error::{Code, Error, Result, limit, shown};
use crate::expression::{Expression, Filter, Node, ParsedFilters, order};
use crate::index_form;
use crate::key_space::{behind, clamp};
use crate::limits::{GROUPS_MAX, ORDER_COLUMNS_MAX, SORTED_MAX};
use crate::schema::{Column, Index, IndexKind, RecordType};
use crate::tenant::{Amount, Tenant, TenantReader, TenantTransaction};
use crate::value::{FieldType, Name, Value};

/// What to compute, of which records, by which groups.
///
/// ```
/// use tenantry_core::{Aggregation, Measure};
///
/// let by_genre = Aggregation::of("film").group_by("genre").measure(Measure::Count).measure(Measure::average("rating"));
/// assert_eq!(by_genre.measures.len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Aggregation {
    /// The record type.
    pub record_type: String,
    /// The condition, in CEL or built: see [`Expression`] and [`Term`](crate::Term).
    pub filter: Option<Filter>,
    /// What `param.NAME` stands for in the condition.
    pub parameters: BTreeMap<String, Value>,
    /// The fields or expressions whose values tell groups apart; none for one group of all records.
    pub group_by: Vec<String>,
    /// What is computed for each group.
    pub measures: Vec<Measure>,
}

/// Something that is computed over a group.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Measure {
    /// How many records there are.
    Count,
    /// The sum of an int, float or decimal; missing where no record has one.
    Sum(String),
    /// The sum divided by the number of records that have the value: a float, or a decimal for decimals.
    Average(String),
    /// The least value.
    Min(String),
    /// The greatest value.
    Max(String),
}

impl Measure {
    /// The sum of a field or expression.
    pub fn sum(of: impl Into<String>) -> Measure {
        Measure::Sum(of.into())
    }

    /// The average of a field or expression.
    pub fn average(of: impl Into<String>) -> Measure {
        Measure::Average(of.into())
    }

    /// The least value of a field or expression.
    pub fn min(of: impl Into<String>) -> Measure {
        Measure::Min(of.into())
    }

    /// The greatest value of a field or expression.
    pub fn max(of: impl Into<String>) -> Measure {
        Measure::Max(of.into())
    }

    /// What it is computed of.
    pub fn of(&self) -> Option<&str> {
        match self {
            Measure::Count => None,
            Measure::Sum(of) | Measure::Average(of) | Measure::Min(of) | Measure::Max(of) => Some(of),
        }
    }

    /// The measure's name.
    pub fn name(&self) -> &'static str {
        match self {
            Measure::Count => "count",
            Measure::Sum(_) => "sum",
            Measure::Average(_) => "average",
            Measure::Min(_) => "min",
            Measure::Max(_) => "max",
        }
    }
}

impl Aggregation {
    /// Over all records of a type.
    pub fn of(record_type: impl Into<String>) -> Aggregation {
        let record_type = record_type.into();
        Aggregation {
            record_type,
            filter: None,
            parameters: BTreeMap::new(),
            group_by: Vec::new(),
            measures: Vec::new(),
        }
    }

    /// The same, over the records for which a condition holds.
    #[must_use]
    pub fn filter(mut self, filter: impl Into<Filter>) -> Aggregation {
        self.filter = Some(filter.into());
        self
    }

    /// The same, with a value for `param.NAME` in the condition, as [`Query::parameter`](super::Query::parameter).
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<Value>) -> Aggregation {
        self.parameters.insert(name.into(), value.into());
        self
    }

    /// The same, with a value from JSON, as [`Query::parameter_from_json`](super::Query::parameter_from_json).
    ///
    /// # Errors
    ///
    /// 20044, as there.
    pub fn parameter_from_json(self, name: &str, json: &Json) -> Result<Aggregation> {
        let value = super::parameter_from_json(name, json, true)?;
        Ok(self.parameter(name, value))
    }

    /// The same, by one more field or expression.
    #[must_use]
    pub fn group_by(mut self, field: impl Into<String>) -> Aggregation {
        self.group_by.push(field.into());
        self
    }

    /// The same, with one more measure.
    #[must_use]
    pub fn measure(mut self, measure: Measure) -> Aggregation {
        self.measures.push(measure);
        self
    }
}

/// One group.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Group {
    /// Its values; `None` for missing.
    pub key: Vec<Option<Value>>,
    /// The measures, in the order in which they were asked for; `None` where no record has a value.
    pub measures: Vec<Option<Value>>,
}

/// The groups that have records, in the order of their keys.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Groups {
    /// The groups.
    pub groups: Vec<Group>,
    /// The indexes that answered; none if the records were looked at.
    pub indexes: Vec<String>,
    /// How many keys were read.
    pub keys_read: usize,
}

/// What is asked for, read and typed.
struct Asked<'a> {
    record_type: &'a RecordType,
    filter: Option<Expression>,
    group: Vec<Column>,
    measures: Vec<(&'a Measure, Option<Typed>)>,
}

struct Typed {
    expression: Expression,
    field_type: FieldType,
    can_be_missing: bool,
}

impl Tenant {
    /// Computes measures over groups of records.
    ///
    /// # Errors
    ///
    /// As [`TenantTransaction::aggregate`].
    pub async fn aggregate(&self, aggregation: &Aggregation) -> Result<Groups> {
        self.read(|transaction| async move { transaction.aggregate(aggregation).await }).await
    }
}

impl TenantReader {
    /// As [`TenantTransaction::aggregate`].
    ///
    /// # Errors
    ///
    /// Its own.
    pub async fn aggregate(&self, aggregation: &Aggregation) -> Result<Groups> {
        self.transaction().aggregate(aggregation).await
    }
}

impl TenantTransaction {
    /// Computes measures over groups of records.
    ///
    /// # Errors
    ///
    /// 20023, 20024, 20040, 20041, 20044 for what does not fit the schema; 20042 for a measure that its type does not have, or whose result no value holds; 20043
    /// when more than 100,000 records would have to be looked at; 20060 for more than 10,000 groups; the engine's own.
    pub async fn aggregate(&self, aggregation: &Aggregation) -> Result<Groups> {
        let record_type = self.permit(Operation::Aggregate, &aggregation.record_type)?.record_type;
        let asked = read(&self.tenant().filters, aggregation, record_type)?;
        match answers(&asked) {
            Some(answers) => self.read_indexes(&asked, &answers).await,
            None => self.read_records(&asked).await,
        }
    }

    /// Reads what the indexes keep, group by group.
    async fn read_indexes(&self, asked: &Asked<'_>, answers: &[Answer<'_>]) -> Result<Groups> {
        let mut found = Found { groups: BTreeMap::new(), measures: answers.len(), keys_read: 0 };
        let mut indexes = Vec::new();
        for (place, answer) in answers.iter().enumerate() {
            if !indexes.contains(&answer.index.name) {
                indexes.push(answer.index.name.clone());
            }
            match answer.index.kind {
                IndexKind::Min | IndexKind::Max => self.read_extremes(answer, place, &mut found).await?,
                _ => self.read_amounts(answer, place, &mut found).await?,
            }
            self.tenant().database.inner.count_index_uses(self.schema(), &[answer.index.id].into());
        }
        let mut groups: Vec<Group> = found.groups.into_values().collect();
        complete(asked, &mut groups);
        Ok(Groups { groups, indexes, keys_read: found.keys_read })
    }

    /// Counts and sums: a key or two for each group.
    async fn read_amounts(&self, answer: &Answer<'_>, place: usize, found: &mut Found) -> Result<()> {
        let prefix = self.tenant().keys.index(answer.index.id)?;
        let range = clamp::index_range(&behind(&prefix, &tuple::pack(&answer.bound)?));
        let mut next = Some(RangeRequest::new(range.begin, range.end));
        let mut count = None;
        while let Some(request) = next {
            let batch = self.engine_range(&request).await?;
            found.keys_read += batch.rows.len();
            for row in &batch.rows {
                let elements = tuple::unpack(&clamp::relative(&prefix, &row.key))?;
                let Some((part, group)) = elements.split_last() else { continue };
                let value = match (&answer.index.kind, part) {
                    (IndexKind::Count, _) => {
                        Amount::from_bytes(Some(&row.value), 8)?.to_integer().map(Value::Int)
                    }
                    (_, Element::Int(0)) => {
                        count = Amount::from_bytes(Some(&row.value), 8)?.to_integer();
                        // A sum of zero has no key of its own.
                        sum_value(answer, None, count)?
                    }
                    _ => sum_value(answer, Some(&row.value), count)?,
                };
                found.group(answer, group)?.measures[place] = value;
            }
            next = request.after(&batch);
        }
        Ok(())
    }

    /// Least and greatest values: from one group to the next, whatever lies between.
    async fn read_extremes(&self, answer: &Answer<'_>, place: usize, found: &mut Found) -> Result<()> {
        let prefix = self.tenant().keys.index(answer.index.id)?;
        let KeyRange { mut begin, end } = clamp::index_range(&behind(&prefix, &tuple::pack(&answer.bound)?));
        while begin < end {
            let first = self.engine_range(&RangeRequest::new(begin.clone(), end.clone()).limit(1)).await?;
            let Some(row) = first.rows.first() else { break };
            found.keys_read += 1;
            let mut elements = tuple::unpack(&clamp::relative(&prefix, &row.key))?;
            let mut extreme = elements.pop();
            let own = behind(&prefix, &tuple::pack(&elements)?);
            begin = clamp::index_range(&own).end;
            if matches!(answer.measure, Measure::Max(_)) {
                let request = RangeRequest::new(own, begin.clone()).limit(1).reverse(true);
                let last = self.engine_range(&request).await?;
                found.keys_read += 1;
                if let Some(row) = last.rows.first() {
                    extreme = tuple::unpack(&clamp::relative(&prefix, &row.key))?.pop();
                }
            }
            let column = answer.index.columns.last().zip(extreme);
            let value = column.and_then(|(column, element)| index_form::value(column, &element));
            found.group(answer, &elements)?.measures[place] = value;
        }
        Ok(())
    }

    /// Looks at every record.
    async fn read_records(&self, asked: &Asked<'_>) -> Result<Groups> {
        self.issue_pending();
        let request = Request {
            record_type: asked.record_type,
            hashes: self.index_hashes(),
            filter: asked.filter.as_ref(),
            order: Vec::new(),
            wanted: Some(asked.wanted()),
            rows_max: SORTED_MAX,
        };
        let Some(plan) = plan::choose(self, &request, None).await? else {
            return Err(Error::new(Code::QueryInvalid, "no path leads to the records"));
        };
        let mut cursor = Cursor::new(self, &request, &plan, None)?;
        let mut groups: BTreeMap<Bytes, (Vec<Element>, Vec<Collected>)> = BTreeMap::new();
        while !cursor.is_exhausted() {
            cursor.fill(STEP_ROWS_MAX).await?;
            if cursor.reads.entries > SORTED_MAX {
                return Err(needs_index(asked));
            }
            while let Some(taken) = cursor.take() {
                let Taken::Record(record) = taken else { continue };
                let values = &record.record.values;
                if request.filter.is_some_and(|filter| !filter.holds(values)) {
                    continue;
                }
                for elements in index_form::rows(&asked.group, values)? {
                    let blank = || (elements.clone(), vec![Collected::default(); asked.measures.len()]);
                    let (_, collected) = groups.entry(tuple::pack(&elements)?).or_insert_with(blank);
                    for (collected, (_, of)) in collected.iter_mut().zip(&asked.measures) {
                        collected.add(of.as_ref(), values);
                    }
                }
            }
            check_groups(groups.len())?;
        }
        let groups = groups.into_values().map(|(elements, collected)| {
            let measures = collected.iter().zip(&asked.measures);
            let measures = measures.map(|(collected, (measure, of))| collected.result(measure, of.as_ref()));
            let key = asked.group.iter().zip(&elements);
            let key = key.map(|(column, element)| index_form::value(column, element)).collect();
            Ok(Group { key, measures: measures.collect::<Result<_>>()? })
        });
        let mut groups: Vec<Group> = groups.collect::<Result<_>>()?;
        complete(asked, &mut groups);
        Ok(Groups { groups, indexes: Vec::new(), keys_read: cursor.reads.keys })
    }
}

/// How many entries one step of a scan takes.
const STEP_ROWS_MAX: usize = 500;

/// The groups that the keys of indexes were found to have.
struct Found {
    groups: BTreeMap<Bytes, Group>,
    measures: usize,
    keys_read: usize,
}

impl Found {
    /// The group of an index's elements.
    fn group(&mut self, answer: &Answer<'_>, elements: &[Element]) -> Result<&mut Group> {
        let own: Vec<Element> =
            answer.places.iter().filter_map(|place| elements.get(*place).cloned()).collect();
        let packed = tuple::pack(&own)?;
        let columns = answer.places.iter().zip(&own);
        let key = columns.map(|(place, element)| index_form::value(&answer.index.columns[*place], element));
        let blank = || Group { key: key.collect(), measures: vec![None; self.measures] };
        check_groups(self.groups.len())?;
        Ok(self.groups.entry(packed).or_insert_with(blank))
    }
}

fn check_groups(groups: usize) -> Result<()> {
    match groups <= GROUPS_MAX {
        true => Ok(()),
        false => Err(limit("the groups of an aggregate", groups, GROUPS_MAX)),
    }
}

fn read<'a>(
    parsed: &ParsedFilters,
    aggregation: &'a Aggregation,
    record_type: &'a RecordType,
) -> Result<Asked<'a>> {
    if aggregation.group_by.len() > ORDER_COLUMNS_MAX {
        return Err(limit("the columns of a group", aggregation.group_by.len(), ORDER_COLUMNS_MAX));
    }
    if aggregation.measures.is_empty() || aggregation.measures.len() > ORDER_COLUMNS_MAX {
        return Err(limit("the measures (at least one)", aggregation.measures.len(), ORDER_COLUMNS_MAX));
    }
    let measure = |measure: &'a Measure| {
        let of = measure.of().map(|text| typed(text, record_type)).transpose()?;
        let is_number = |typed: &Typed| {
            matches!(typed.field_type, FieldType::Int | FieldType::Float | FieldType::Decimal)
        };
        match (measure, &of) {
            (Measure::Sum(text) | Measure::Average(text), Some(of)) if !is_number(of) => {
                let detail = format!("{} is a {} and adds up to nothing", shown(text), of.field_type.name());
                Err(Error::new(Code::QueryInvalid, detail))
            }
            (_, Some(of)) if !of.field_type.has_key_form() => {
                Err(no_order(measure.of().unwrap_or_default(), &of.field_type))
            }
            _ => Ok((measure, of)),
        }
    };
    Ok(Asked {
        record_type,
        filter: compile(parsed, aggregation.filter.as_ref(), &aggregation.parameters, record_type)?,
        group: aggregation
            .group_by
            .iter()
            .map(|text| group_column(text, record_type))
            .collect::<Result<_>>()?,
        measures: aggregation.measures.iter().map(measure).collect::<Result<_>>()?,
    })
}

fn typed(text: &str, record_type: &RecordType) -> Result<Typed> {
    let (expression, field_type) = Expression::parse_value(text, record_type)?;
    let own = expression.as_field().and_then(|name| record_type.field(name).ok());
    let can_be_missing = own.is_none_or(|field| field.is_optional);
    Ok(Typed { expression, field_type, can_be_missing })
}

/// A column of the groups; of a list, each element is a group.
fn group_column(text: &str, record_type: &RecordType) -> Result<Column> {
    let Typed { expression, field_type, .. } = typed(text, record_type)?;
    let (field_type, is_each) = match field_type {
        FieldType::List(element) => (*element, true),
        other => (other, false),
    };
    if !field_type.has_key_form() {
        return Err(no_order(text, &field_type));
    }
    let text = text.to_owned();
    Ok(Column { text, is_descending: false, are_missing_last: false, is_each, expression, field_type })
}

fn no_order(text: &str, field_type: &FieldType) -> Error {
    let detail = format!("{} is a {} and has no order", shown(text), field_type.name());
    Error::new(Code::QueryInvalid, detail)
}

impl Asked<'_> {
    /// The fields that groups, measures and filter need.
    fn wanted(&self) -> BTreeSet<String> {
        let measured = self.measures.iter().filter_map(|(_, of)| of.as_ref()).map(|typed| &typed.expression);
        let groups = self.group.iter().map(|column| &column.expression);
        let expressions = groups.chain(measured).chain(&self.filter);
        expressions.flat_map(Expression::fields).map(str::to_owned).collect()
    }
}

/// An index that keeps a measure of every group.
struct Answer<'a> {
    index: &'a Index,
    measure: &'a Measure,
    /// The values of the first columns that the filter asks for.
    bound: Vec<Element>,
    /// Where the index has the columns of the groups that are asked for.
    places: Vec<usize>,
}

/// The indexes that keep every measure by these groups, where the filter asks for nothing but some groups.
fn answers<'a>(asked: &Asked<'a>) -> Option<Vec<Answer<'a>>> {
    let answers: Vec<Answer<'a>> = asked
        .measures
        .iter()
        .map(|(measure, of)| answer(asked, measure, of.as_ref()))
        .collect::<Option<_>>()?;
    // An index on a value does not know the groups in which no record has one: a count does.
    let knows_all = asked.measures.iter().all(|(_, of)| of.as_ref().is_none_or(|of| !of.can_be_missing));
    let has_count = asked.measures.iter().any(|(measure, _)| **measure == Measure::Count);
    (knows_all || has_count).then_some(answers)
}

fn answer<'a>(asked: &Asked<'a>, measure: &'a Measure, of: Option<&Typed>) -> Option<Answer<'a>> {
    let conjuncts: Vec<&Node> = asked.filter.as_ref().map(Expression::conjuncts).unwrap_or_default();
    asked.record_type.indexes.iter().find_map(|index| {
        let fits = match (measure, &index.kind) {
            (Measure::Count, IndexKind::Count) => true,
            (Measure::Sum(_) | Measure::Average(_), IndexKind::Sum) => true,
            // Both keep every different value.
            (Measure::Min(_) | Measure::Max(_), IndexKind::Min | IndexKind::Max) => true,
            _ => false,
        };
        let (group, rest) = index.columns.split_at(index.group_columns);
        let is_of = match (of, rest) {
            (None, []) => true,
            (Some(of), [column]) => column.expression.root == of.expression.root,
            _ => false,
        };
        if !fits || !is_of {
            return None;
        }
        let bound = bound_groups(group, &conjuncts, index)?;
        let is_same = |column: &Column, other: &Column| {
            column.is_each == other.is_each && column.expression.root == other.expression.root
        };
        let place = |asked: &Column| group.iter().position(|column| is_same(column, asked));
        let places: Vec<usize> = asked.group.iter().map(place).collect::<Option<_>>()?;
        // What is neither bound nor asked for would have to be added up.
        let is_complete = (bound.len()..group.len()).all(|place| places.contains(&place));
        is_complete.then_some(Answer { index, measure, bound, places })
    })
}

/// The values that the filter asks for in the first columns; `None` if it asks for anything else.
fn bound_groups(group: &[Column], conjuncts: &[&Node], index: &Index) -> Option<Vec<Element>> {
    let own: Vec<&Node> =
        index.condition.as_ref().map(|condition| condition.expression.conjuncts()).unwrap_or_default();
    if !own.iter().all(|node| conjuncts.contains(node)) {
        return None;
    }
    let mut open: Vec<&Node> = conjuncts.iter().copied().filter(|node| !own.contains(node)).collect();
    let mut bound = Vec::new();
    for column in group {
        let Some((value, place)) = plan::equal_value(column, &open) else { break };
        bound.push(index_form::element(column, value).ok()?);
        open.remove(place);
    }
    open.is_empty().then_some(bound)
}

/// The sum or average of `count` records that an index keeps.
fn sum_value(answer: &Answer<'_>, sum: Option<&[u8]>, count: Option<i64>) -> Result<Option<Value>> {
    let is_decimal =
        answer.index.columns.last().is_some_and(|column| column.field_type == FieldType::Decimal);
    let sum = match is_decimal {
        true => Amount::from_bytes(sum, Amount::DECIMAL_SIZE_BYTES)?.to_decimal().map(Value::Decimal),
        false => Amount::from_bytes(sum, Amount::INTEGER_SIZE_BYTES)?.to_integer().map(Value::Int),
    };
    let sum = sum.ok_or_else(|| too_large(answer.measure))?;
    finish(answer.measure, sum, count.unwrap_or_default())
}

fn finish(measure: &Measure, sum: Value, count: i64) -> Result<Option<Value>> {
    if count == 0 {
        return Ok(None);
    }
    Ok(Some(match (measure, sum) {
        (Measure::Average(_), Value::Decimal(sum)) => {
            Value::Decimal(sum.checked_div(Decimal::from(count)).ok_or_else(|| too_large(measure))?)
        }
        (Measure::Average(_), Value::Int(sum)) => Value::Float(sum as f64 / count as f64),
        (Measure::Average(_), Value::Float(sum)) => Value::Float(sum / count as f64),
        (_, sum) => sum,
    }))
}

fn too_large(measure: &Measure) -> Error {
    let detail = format!(
        "the {} of {} is larger than its type holds: narrow the filter or the groups",
        measure.name(),
        shown(measure.of().unwrap_or_default())
    );
    Error::new(Code::QueryInvalid, detail)
}

/// What the records of a group came to so far.
#[derive(Clone, Default)]
struct Collected {
    count: i64,
    integers: i128,
    decimals: Option<Amount>,
    floats: f64,
    min: Option<Value>,
    max: Option<Value>,
}

impl Collected {
    /// Adds a record: with the value that is measured, if one is.
    fn add(&mut self, of: Option<&Typed>, values: &[(Name, Value)]) {
        let Some(of) = of else {
            self.count += 1;
            return;
        };
        let Some(value) = of.expression.value(values) else { return };
        self.count += 1;
        match &*value {
            Value::Int(value) => self.integers += i128::from(*value),
            Value::Float(value) => self.floats += value,
            Value::Decimal(value) => {
                let amount = Amount::decimal(*value);
                self.decimals = Some(self.decimals.as_ref().map_or(amount.clone(), |sum| sum.plus(&amount)));
            }
            _ => {}
        }
        let is_beyond = |extreme: &Option<Value>, wanted: Ordering| {
            extreme.as_ref().is_none_or(|extreme| sorted(&of.field_type, &value, extreme) == Some(wanted))
        };
        if is_beyond(&self.min, Ordering::Less) {
            self.min = Some(value.clone().into_owned());
        }
        if is_beyond(&self.max, Ordering::Greater) {
            self.max = Some(value.into_owned());
        }
    }

    fn result(&self, measure: &Measure, of: Option<&Typed>) -> Result<Option<Value>> {
        match measure {
            Measure::Count => Ok(Some(Value::Int(self.count))),
            Measure::Min(_) => Ok(self.min.clone()),
            Measure::Max(_) => Ok(self.max.clone()),
            Measure::Sum(_) | Measure::Average(_) => {
                let sum = match of.map(|typed| &typed.field_type) {
                    Some(FieldType::Int) => i64::try_from(self.integers).ok().map(Value::Int),
                    Some(FieldType::Decimal) => {
                        let nothing = Amount::from_bytes(None, Amount::DECIMAL_SIZE_BYTES)?;
                        self.decimals.as_ref().unwrap_or(&nothing).to_decimal().map(Value::Decimal)
                    }
                    _ => Some(self.floats).filter(|sum| sum.is_finite()).map(Value::Float),
                };
                finish(measure, sum.ok_or_else(|| too_large(measure))?, self.count)
            }
        }
    }
}

/// How two values of a type sort: as in keys, those of an enum by their ids.
fn sorted(field_type: &FieldType, one: &Value, other: &Value) -> Option<Ordering> {
    let FieldType::Enum(values) = field_type else { return order(one, other) };
    let id = |value: &Value| {
        let name = value.as_name()?;
        values.iter().find(|known| *known.name == *name).map(|known| known.id)
    };
    Some(id(one)?.cmp(&id(other)?))
}

/// Without groups there is one, also of no records; and where a count knows all groups, those that it does not know are none.
fn complete(asked: &Asked<'_>, groups: &mut Vec<Group>) {
    if asked.group.is_empty() && groups.is_empty() {
        groups.push(Group { key: Vec::new(), measures: vec![None; asked.measures.len()] });
    }
    for group in groups {
        for (value, (measure, _)) in group.measures.iter_mut().zip(&asked.measures) {
            if value.is_none() && **measure == Measure::Count {
                *value = Some(Value::Int(0));
            }
        }
    }
}

fn needs_index(asked: &Asked<'_>) -> Error {
    let names = |kind: &str, of: Option<&str>| {
        let groups: Vec<String> = asked.group.iter().map(|column| format!("{:?}", column.text)).collect();
        let of = of.map(|of| format!(", of = {of:?}")).unwrap_or_default();
        format!("{{ kind = {kind:?}, group = [{}]{of} }}", groups.join(", "))
    };
    let indexes = asked.measures.iter().map(|(measure, _)| match measure {
        Measure::Count => names("count", None),
        Measure::Average(of) => names("sum", Some(of)),
        other => names(other.name(), other.of()),
    });
    let detail = format!(
        "it would have to look at more than {SORTED_MAX} records: add the index {} to {}, or narrow the filter",
        indexes.collect::<Vec<_>>().join(" and "),
        asked.record_type.name
    );
    Error::new(Code::IndexNeeded, detail)
}
