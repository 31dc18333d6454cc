//! `tenantry rank`: positions, by a rank index.

use serde_json::{Value as Json, json};
use tenantry::{Column, Index, PrimaryKey, Record, Value, parse_json};

use super::records::table;
use super::{Target, open_existing};
use crate::arguments::RankArguments;
use crate::output::{Exit, Failure, Outcome, Printer, count};

pub(crate) async fn run(arguments: RankArguments, target: &Target, printer: Printer) -> Outcome {
    let RankArguments { tenant, record_type, index, of, at, limit, group, value } = arguments;
    let tenant = open_existing(target).await?.tenant(&tenant).await?;
    let schema = tenant.schema().await?;
    let definition = schema.definition.record_type(&record_type)?;
    if let Some(key) = of {
        let key = PrimaryKey::parse(&key, definition)?;
        let Some(rank) = tenant.rank_of(&record_type, &index, &key).await? else {
            return Err(Failure::NotFound(format!(
                "there is no {record_type} with the key {key} in the index {index}"
            )));
        };
        return shown(rank, printer);
    }
    // Which index it is, and how many values it takes, is checked below.
    let named = definition.indexes.iter().find(|other| other.name == index);
    let (group_columns, own_columns) = named.map(columns).unwrap_or_default();
    let group = values("--group", &group, group_columns)?;
    if let Some(value) = value {
        let value = values("--value", &value, own_columns)?;
        return shown(tenant.rank_of_value(&record_type, &index, &group, &value).await?, printer);
    }
    let from = at.unwrap_or(0);
    let records = tenant.ranked(&record_type, &index, &group, from, limit).await?;
    let documents: Vec<Json> = records.iter().map(Record::to_json).collect();
    printer.document(&json!({ "from": from, "records": documents }), || {
        table(definition, &records.iter().collect::<Vec<_>>(), printer)
    })?;
    Ok(Exit::Done)
}

fn shown(rank: u64, printer: Printer) -> Outcome {
    printer.document(&json!({ "rank": rank }), || count(rank))?;
    Ok(Exit::Done)
}

/// Those of the group, and the others.
fn columns(index: &Index) -> (&[Column], &[Column]) {
    index.columns.split_at(index.group_columns.min(index.columns.len()))
}

/// Values of columns, from a JSON list.
fn values(option: &str, text: &str, columns: &[Column]) -> Result<Vec<Option<Value>>, Failure> {
    let json = parse_json(text)?;
    let Json::Array(values) = &json else {
        return Err(Failure::Usage(format!("{option} {text}: write a JSON list, such as '[\"blue\"]'")));
    };
    let value = |(place, json): (usize, &Json)| match (json, columns.get(place)) {
        (Json::Null, _) | (_, None) => Ok(None),
        (json, Some(column)) => Value::from_json(json, column.field_type(), &column.text).map(Some),
    };
    Ok(values.iter().enumerate().map(value).collect::<Result<_, tenantry::Error>>()?)
}
