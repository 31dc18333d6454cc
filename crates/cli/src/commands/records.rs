//! `tenantry get`, `put`, `delete` and `query`.

use std::io::Read;

use serde_json::{Value as Json, json};
use tenantry::limits::JSON_SIZE_BYTES_MAX;
use tenantry::{Condition, Order, PrimaryKey, Query, Record, RecordVersion, parse_json};

use super::{Target, open_existing};
use crate::arguments::{KeyArguments, PutArguments, QueryArguments};
use crate::output::{Exit, Failure, Outcome, Printer, visible};

pub(crate) async fn get(arguments: KeyArguments, target: &Target, printer: Printer) -> Outcome {
    let KeyArguments { tenant, record_type, key } = arguments;
    let tenant = open_existing(target).await?.tenant(&tenant).await?;
    let schema = tenant.schema().await?;
    let key = PrimaryKey::parse(&key, schema.definition.record_type(&record_type)?)?;
    let Some(record) = tenant.get(&record_type, &key).await? else {
        return Err(Failure::NotFound(format!("there is no {record_type} with the key {key}")));
    };
    let version = record.version().map(|version| version.to_string());
    printer.document(&json!({ "record": record.to_json(), "version": version }), || {
        let mut rows: Vec<Vec<String>> =
            record.fields().map(|(name, value)| vec![name.to_owned(), value.to_string()]).collect();
        rows.push(vec!["(version)".to_owned(), version.clone().unwrap_or_default()]);
        printer.table(&["field", "value"], &rows)
    })?;
    Ok(Exit::Done)
}

pub(crate) async fn put(arguments: PutArguments, target: &Target, printer: Printer) -> Outcome {
    let text = match arguments.record.as_str() {
        "-" => read_standard_input()?,
        text => text.to_owned(),
    };
    let tenant = open_existing(target).await?.tenant(&arguments.tenant).await?;
    let schema = tenant.schema().await?;
    let record_type = schema.definition.record_type(&arguments.record_type)?;
    let record = Record::from_json(&parse_json(&text)?, record_type)?;
    let condition = match &arguments.if_version {
        Some(version) => Condition::HasVersion(version.parse::<RecordVersion>()?),
        None if arguments.insert => Condition::IsAbsent,
        None => Condition::Always,
    };
    let (name, record) = (&record_type.name, &record);
    tenant.run(|transaction| async move { transaction.put_if(name, record, condition).await }).await?;
    let key = record.primary_key(record_type)?;
    let values: Vec<Json> = key.values.iter().map(tenantry::Value::to_json).collect();
    printer
        .document(&json!({ "put": { "type": name, "key": values } }), || format!("{name} {key} written"))?;
    Ok(Exit::Done)
}

pub(crate) async fn delete(arguments: KeyArguments, target: &Target, printer: Printer) -> Outcome {
    let KeyArguments { tenant, record_type, key } = arguments;
    let tenant = open_existing(target).await?.tenant(&tenant).await?;
    let schema = tenant.schema().await?;
    let key = PrimaryKey::parse(&key, schema.definition.record_type(&record_type)?)?;
    if !tenant.delete(&record_type, &key).await? {
        return Err(Failure::NotFound(format!("there is no {record_type} with the key {key}")));
    }
    let values: Vec<Json> = key.values.iter().map(tenantry::Value::to_json).collect();
    let document = json!({ "deleted": { "type": record_type, "key": values } });
    printer.document(&document, || format!("{record_type} {key} deleted"))?;
    Ok(Exit::Done)
}

pub(crate) async fn query(arguments: QueryArguments, target: &Target, printer: Printer) -> Outcome {
    let mut query = Query::of(&arguments.record_type).rows_max(arguments.limit);
    query.filter = arguments.filter;
    query.after = arguments.after;
    for column in &arguments.order {
        let (field, is_descending) = match column.split_once(':') {
            None | Some((_, "asc")) => (column.trim_end_matches(":asc"), false),
            Some((field, "desc")) => (field, true),
            Some(_) => return Err(Failure::Usage(format!("--order {column}: write FIELD or FIELD:desc"))),
        };
        query.order.push(Order { field: field.to_owned(), is_descending });
    }
    let tenant = open_existing(target).await?.tenant(&arguments.tenant).await?;
    let schema = tenant.schema().await?;
    let page = tenant.query(&query).await?;
    let records: Vec<Json> = page.records.iter().map(Record::to_json).collect();
    let mut document = json!({ "records": records, "next": page.next });
    if arguments.explain {
        let explanation = &page.explanation;
        document["explanation"] = json!({
            "text": explanation.to_string(),
            "index": explanation.index,
            "bounds": explanation.bounds,
            "reverse": explanation.is_reverse,
            "filtered": explanation.is_filtered,
            "sorted_in_memory": explanation.is_sorted,
            "entries_scanned": explanation.scanned,
        });
    }
    printer.document(&document, || {
        let record_type = schema.definition.record_type(&query.record_type);
        let fields = record_type.map_or(Vec::new(), |record_type| record_type.fields.clone());
        // Columns that are empty on the whole page are left out.
        let names: Vec<&str> = fields
            .iter()
            .map(|field| &*field.name)
            .filter(|name| page.records.iter().any(|record| record.get(name).is_some()))
            .collect();
        let cell =
            |record: &Record, name: &str| record.get(name).map(ToString::to_string).unwrap_or_default();
        let row = |record: &Record| names.iter().map(|name| cell(record, name)).collect::<Vec<_>>();
        match page.records.is_empty() {
            true => "no records".to_owned(),
            false => printer.table(&names, &page.records.iter().map(row).collect::<Vec<_>>()),
        }
    })?;
    if arguments.explain {
        printer.say(format_args!("\n{}", visible(&page.explanation.to_string())))?;
    }
    if let Some(token) = &page.next
        && !printer.json
    {
        printer.note(format_args!("there may be more: --after {token}"));
    }
    Ok(Exit::Done)
}

fn read_standard_input() -> Outcome<String> {
    let mut text = String::new();
    let unusable = |error| Failure::Io("standard input".to_owned(), error);
    std::io::stdin().take(JSON_SIZE_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(unusable)?;
    Ok(text)
}
