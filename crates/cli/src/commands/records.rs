//! `tenantry get`, `put`, `delete` and `query`.

use std::collections::BTreeMap;
use std::io::Read;

use serde_json::{Value as Json, json};
use tenantry::jobs::CascadeDelete;
use tenantry::limits::JSON_SIZE_BYTES_MAX;
use tenantry::{
    Condition, Database, Filter, Order, PrimaryKey, Query, Record, RecordType, RecordVersion, Tenant,
    parse_json,
};

use super::jobs::{document as job_document, in_background, work_on};
use super::{Target, open_existing};
use crate::arguments::{
    ConditionArguments, DeleteArguments, GetArguments, ParameterArguments, PutArguments, QueryArguments,
};
use crate::output::{Exit, Failure, Outcome, Printer, count, visible};

pub(crate) async fn get(arguments: GetArguments, target: &Target, printer: Printer) -> Outcome {
    let GetArguments { tenant, record_type, keys } = arguments;
    let tenant = open_existing(target).await?.tenant(&tenant).await?;
    let schema = tenant.schema().await?;
    let definition = schema.definition.record_type(&record_type)?;
    let keys: Vec<PrimaryKey> =
        keys.iter().map(|key| PrimaryKey::parse(key, definition)).collect::<Result<_, _>>()?;
    if let [key] = &keys[..] {
        return get_one(&tenant, &record_type, key, printer).await;
    }
    let found = tenant.get_many(&record_type, &keys).await?;
    let documents: Vec<Json> =
        found.iter().map(|record| record.as_ref().map_or(Json::Null, document)).collect();
    let records: Vec<&Record> = found.iter().flatten().collect();
    printer.document(&json!({ "records": documents }), || table(definition, &records, printer))?;
    let missing = keys.iter().zip(&found).filter(|(_, record)| record.is_none());
    missing.for_each(|(key, _)| printer.note(format_args!("there is no {record_type} with the key {key}")));
    Ok(if records.len() == keys.len() { Exit::Done } else { Exit::NotFound })
}

async fn get_one(tenant: &Tenant, record_type: &str, key: &PrimaryKey, printer: Printer) -> Outcome {
    let Some(record) = tenant.get(record_type, key).await? else {
        return Err(Failure::NotFound(format!("there is no {record_type} with the key {key}")));
    };
    printer.document(&document(&record), || {
        let mut rows: Vec<Vec<String>> =
            record.fields().map(|(name, value)| vec![name.to_owned(), value.to_string()]).collect();
        rows.push(vec!["(version)".to_owned(), version_of(&record).unwrap_or_default()]);
        printer.table(&["field", "value"], &rows)
    })?;
    Ok(Exit::Done)
}

fn document(record: &Record) -> Json {
    json!({ "record": record.to_json(), "version": version_of(record) })
}

fn version_of(record: &Record) -> Option<String> {
    record.version().map(|version| version.to_string())
}

pub(crate) async fn put(arguments: PutArguments, target: &Target, printer: Printer) -> Outcome {
    let text = match arguments.record.as_str() {
        "-" => read_standard_input()?,
        text => text.to_owned(),
    };
    let tenant = open_existing(target).await?.tenant(&arguments.tenant).await?;
    let schema = tenant.schema().await?;
    let record_type = schema.definition.record_type(&arguments.record_type)?;
    let (name, json) = (&record_type.name, parse_json(&text)?);
    let key = match arguments.merge {
        true => {
            let key = key_of_patch(&json, record_type)?;
            tenant.merge_patch_if(name, &key, &json, condition(&arguments.condition)?).await?;
            key
        }
        false => {
            let record = Record::from_json(&json, record_type)?;
            let condition = match condition(&arguments.condition)? {
                Condition::Always if arguments.insert => Condition::IsAbsent,
                Condition::Always if arguments.replace_only => Condition::Exists,
                condition => condition,
            };
            let record = &record;
            let written = tenant.run(|transaction| async move {
                // The defaults first, to know the key that is written.
                let record = transaction.with_defaults(name, record)?;
                transaction.put_if(name, &record, condition).await?;
                Ok::<_, tenantry::Error>(record)
            });
            written.await?.primary_key(record_type)?
        }
    };
    let values: Vec<Json> = key.values.iter().map(tenantry::Value::to_json).collect();
    printer
        .document(&json!({ "put": { "type": name, "key": values } }), || format!("{name} {key} written"))?;
    Ok(Exit::Done)
}

fn condition(arguments: &ConditionArguments) -> Outcome<Condition<'_>> {
    Ok(match (&arguments.if_version, &arguments.if_matches) {
        (Some(version), _) => Condition::HasVersion(version.parse::<RecordVersion>()?),
        (None, Some(expression)) => Condition::Matches(expression),
        (None, None) => Condition::Always,
    })
}

/// The key of the record that a merge patch is for: its fields stand in the patch.
fn key_of_patch(patch: &Json, record_type: &RecordType) -> Outcome<PrimaryKey> {
    let values = record_type.primary_key.iter().map(|name| match patch.get(name) {
        Some(json) => Ok(tenantry::Value::from_json(json, &record_type.field(name)?.field_type, name)?),
        None => Err(Failure::Usage(format!(
            "--merge: the patch names the record by its key, and {name} is missing"
        ))),
    });
    Ok(PrimaryKey { values: values.collect::<Outcome<_>>()? })
}

pub(crate) async fn delete(arguments: DeleteArguments, target: &Target, printer: Printer) -> Outcome {
    let database = open_existing(target).await?;
    let tenant = database.tenant(&arguments.tenant).await?;
    let Some(key) = &arguments.key else { return delete_where(&arguments, &tenant, printer).await };
    let record_type = &arguments.record_type;
    let schema = tenant.schema().await?;
    let key = PrimaryKey::parse(key, schema.definition.record_type(record_type)?)?;
    if arguments.cascade {
        return delete_cascading(&arguments, &database, &tenant, &key, printer).await;
    }
    if !tenant.delete_if(record_type, &key, condition(&arguments.condition)?).await? {
        return Err(Failure::NotFound(format!("there is no {record_type} with the key {key}")));
    }
    let values: Vec<Json> = key.values.iter().map(tenantry::Value::to_json).collect();
    let document = json!({ "deleted": { "type": record_type, "key": values } });
    printer.document(&document, || format!("{record_type} {key} deleted"))?;
    Ok(Exit::Done)
}

async fn delete_cascading(
    arguments: &DeleteArguments,
    database: &Database,
    tenant: &Tenant,
    key: &PrimaryKey,
    printer: Printer,
) -> Outcome {
    let record_type = &arguments.record_type;
    if !tenant.exists(record_type, key).await? {
        return Err(Failure::NotFound(format!("there is no {record_type} with the key {key}")));
    }
    let parameters = CascadeDelete::parameters(record_type, key);
    let id = database.create_job(&CascadeDelete, Some(tenant), &parameters).await?;
    if arguments.background {
        return in_background(database, id, printer).await;
    }
    let job = work_on(database, id, printer).await?;
    let result = job.result.clone().unwrap_or_default();
    let number = |name: &str| count(result[name].as_u64().unwrap_or(0));
    let refusal = result["refusal"].as_str();
    printer.document(&job_document(&job), || {
        let done = format!("{} records deleted, {} changed", number("deleted"), number("changed"));
        match refusal {
            Some(refusal) => format!("{done}; {record_type} {key} stays: {}", visible(refusal)),
            None => done,
        }
    })?;
    Ok(if refusal.is_some() { Exit::PartlyDone } else { Exit::Done })
}

/// How many records one transaction deletes, or one page counts.
const STEP_ROWS_MAX: usize = 1_000;

async fn delete_where(arguments: &DeleteArguments, tenant: &Tenant, printer: Printer) -> Outcome {
    let record_type = &arguments.record_type;
    let mut query = Query::of(record_type).rows_max(STEP_ROWS_MAX);
    query.filter = arguments.filter.as_deref().map(Filter::from);
    query = with_parameters(query, &arguments.parameters)?;
    query.after = arguments.after.clone();
    let most = arguments.limit.unwrap_or(u64::MAX);
    if arguments.dry_run {
        let mut found = 0;
        loop {
            query.rows_max = STEP_ROWS_MAX.min(usize::try_from(most - found).unwrap_or(STEP_ROWS_MAX));
            let page = tenant.query(&query).await?;
            found += page.records.len() as u64;
            query.after = page.next;
            if query.after.is_none() || found >= most {
                break;
            }
        }
        let document = json!({ "would_delete": { "type": record_type, "count": found } });
        printer.document(&document, || format!("{found} records of {record_type} would be deleted"))?;
        return Ok(Exit::Done);
    }
    let page = tenant.delete_some_where(&query, most).await?;
    let document = json!({ "deleted": { "type": record_type, "count": page.deleted }, "next": page.next });
    printer.document(&document, || format!("{} records of {record_type} deleted", page.deleted))?;
    if let Some(token) = page.next.filter(|_| !printer.json) {
        printer.note(format_args!("there may be more: --after {token}"));
    }
    Ok(Exit::Done)
}

pub(crate) async fn query(arguments: QueryArguments, target: &Target, printer: Printer) -> Outcome {
    let mut query = Query::of(&arguments.record_type).rows_max(arguments.limit);
    query.filter = arguments.filter.as_deref().map(Filter::from);
    query = with_parameters(query, &arguments.parameters)?;
    query.after = arguments.after;
    query.selected = arguments.select;
    for column in &arguments.order {
        let (field, is_descending) = match column.rsplit_once(':') {
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
    let mut document = json!({ "records": records, "next": page.next, "stop": page.stop.name() });
    if arguments.explain {
        document["explanation"] = page.explanation.to_json();
    }
    printer.document(&document, || match schema.definition.record_type(&query.record_type) {
        Ok(record_type) => table(record_type, &page.records.iter().collect::<Vec<_>>(), printer),
        Err(error) => error.to_string(),
    })?;
    if arguments.explain {
        printer.say(format_args!("\n{}", visible(&page.explanation.to_string())))?;
        for line in page.explanation.statistics.iter().chain(&page.explanation.others) {
            printer.say(format_args!("  {}", visible(line)))?;
        }
    }
    if let Some(token) = &page.next
        && !printer.json
    {
        printer.note(format_args!("there may be more: --after {token}"));
    }
    Ok(Exit::Done)
}

/// A query with the values of --param.
pub(super) fn with_parameters(mut query: Query, arguments: &ParameterArguments) -> Outcome<Query> {
    for (name, json) in parameters(arguments)? {
        query = query.parameter_from_json(&name, &json)?;
    }
    Ok(query)
}

/// The values of --param, by their names.
pub(super) fn parameters(arguments: &ParameterArguments) -> Outcome<BTreeMap<String, Json>> {
    let mut parameters = BTreeMap::new();
    for argument in &arguments.parameters {
        let usage = |what: String| Failure::Usage(format!("--param {argument}: {what}"));
        let (name, text) = argument
            .split_once('=')
            .ok_or_else(|| usage("write NAME=JSON, and a text in quotes: name='\"Heat\"'".to_owned()))?;
        let json = parse_json(text).map_err(|error| usage(error.to_string()))?;
        if parameters.insert(name.to_owned(), json).is_some() {
            return Err(usage("it is given twice".to_owned()));
        }
    }
    Ok(parameters)
}

/// Records as rows. Columns that are empty in all of them are left out.
pub(super) fn table(record_type: &RecordType, records: &[&Record], printer: Printer) -> String {
    if records.is_empty() {
        return "no records".to_owned();
    }
    let names: Vec<&str> = record_type
        .fields
        .iter()
        .map(|field| &*field.name)
        .filter(|name| records.iter().any(|record| record.get(name).is_some()))
        .collect();
    let cell = |record: &Record, name: &str| record.get(name).map(ToString::to_string).unwrap_or_default();
    let row = |record: &&Record| names.iter().map(|name| cell(record, name)).collect::<Vec<_>>();
    printer.table(&names, &records.iter().map(row).collect::<Vec<_>>())
}

fn read_standard_input() -> Outcome<String> {
    let mut text = String::new();
    let unusable = |error| Failure::Io("standard input".to_owned(), error);
    std::io::stdin().take(JSON_SIZE_BYTES_MAX as u64 + 1).read_to_string(&mut text).map_err(unusable)?;
    Ok(text)
}
