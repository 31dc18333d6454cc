//! `tenantry aggregate`: counts, sums and extremes of a tenant's records, by groups.

use serde_json::{Map, Value as Json, json};
use tenantry::{Aggregation, Filter, Measure, Value};

use super::records::parameters;
use super::{Target, open_existing};
use crate::arguments::AggregateArguments;
use crate::output::{Exit, Failure, Outcome, Printer, count};

pub(crate) async fn run(arguments: AggregateArguments, target: &Target, printer: Printer) -> Outcome {
    let mut aggregation = Aggregation::of(&arguments.record_type);
    aggregation.filter = arguments.filter.map(Filter::from);
    aggregation.group_by = arguments.group_by;
    aggregation.measures = arguments.measures.iter().map(|text| measure(text)).collect::<Outcome<_>>()?;
    for (name, json) in parameters(&arguments.parameters)? {
        aggregation = aggregation.parameter_from_json(&name, &json)?;
    }
    let tenant = open_existing(target).await?.tenant(&arguments.tenant).await?;
    let found = tenant.aggregate(&aggregation).await?;
    let json = |value: &Option<Value>| value.as_ref().map_or(Json::Null, Value::to_json);
    let groups = found.groups.iter().map(|group| {
        let key = aggregation.group_by.iter().cloned().zip(group.key.iter().map(json));
        let measures = arguments.measures.iter().cloned().zip(group.measures.iter().map(json));
        json!({ "key": key.collect::<Map<_, _>>(), "measures": measures.collect::<Map<_, _>>() })
    });
    let document = json!({
        "groups": groups.collect::<Vec<_>>(),
        "indexes": found.indexes,
        "keys_read": found.keys_read,
    });
    printer.document(&document, || {
        let header: Vec<&str> =
            aggregation.group_by.iter().chain(&arguments.measures).map(String::as_str).collect();
        let text = |value: &Option<Value>| value.as_ref().map(ToString::to_string).unwrap_or_default();
        let rows: Vec<Vec<String>> = found
            .groups
            .iter()
            .map(|group| group.key.iter().chain(&group.measures).map(text).collect())
            .collect();
        let by = match found.indexes.is_empty() {
            true => "a look at the records".to_owned(),
            false => format!("the indexes {}", found.indexes.join(" and ")),
        };
        let keys = count(found.keys_read as u64);
        format!("{}\n\nby {by}, {keys} keys read", printer.table(&header, &rows))
    })?;
    Ok(Exit::Done)
}

fn measure(text: &str) -> Outcome<Measure> {
    match text.split_once(':') {
        None if text == "count" => Ok(Measure::Count),
        Some(("sum", of)) => Ok(Measure::sum(of)),
        Some(("average", of)) => Ok(Measure::average(of)),
        Some(("min", of)) => Ok(Measure::min(of)),
        Some(("max", of)) => Ok(Measure::max(of)),
        _ => Err(Failure::Usage(format!(
            "{text} is no measure: write count, sum:FIELD, average:FIELD, min:FIELD or max:FIELD"
        ))),
    }
}
