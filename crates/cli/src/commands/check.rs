//! `tenantry check`.

use serde_json::Value as Json;
use tenantry::jobs::Check;

use super::jobs::{document, in_background, work_on};
use super::{Target, open_existing};
use crate::arguments::CheckArguments;
use crate::output::{Exit, Outcome, Printer, count, visible};

pub(crate) async fn run(arguments: CheckArguments, target: &Target, printer: Printer) -> Outcome {
    let database = open_existing(target).await?;
    let tenant = database.tenant(&arguments.tenant).await?;
    let record_type = arguments.record_type.as_deref();
    if let Some(record_type) = record_type {
        // A type that does not exist is refused before there is a job.
        tenant.schema().await?.definition.record_type(record_type)?;
    }
    let parameters = Check::parameters(record_type, arguments.repair);
    let id = database.create_job(&Check, Some(&tenant), &parameters).await?;
    if arguments.background {
        return in_background(&database, id, printer).await;
    }
    let job = work_on(&database, id, printer).await?;
    let result = job.result.clone().unwrap_or_default();
    printer.document(&document(&job), || words(&result))?;
    Ok(if faults(&result) > number(&result, "repaired") { Exit::PartlyDone } else { Exit::Done })
}

fn number(result: &Json, name: &str) -> u64 {
    result[name].as_u64().unwrap_or(0)
}

fn faults(result: &Json) -> u64 {
    let kinds = ["missing", "dangling", "wrong", "duplicate", "unreadable", "dangling_references"];
    kinds.iter().map(|name| number(result, name)).sum()
}

fn words(result: &Json) -> String {
    let shown = |name: &str| count(number(result, name));
    let mut lines = vec![format!(
        "{} records and {} entries checked: {} missing, {} dangling, {} wrong, {} duplicate, {} unreadable, {} dangling references; {} repaired",
        shown("records"),
        shown("entries"),
        shown("missing"),
        shown("dangling"),
        shown("wrong"),
        shown("duplicate"),
        shown("unreadable"),
        shown("dangling_references"),
        shown("repaired")
    )];
    let text = |value: &Json| visible(value.as_str().unwrap_or_default());
    for fault in result["faults"].as_array().into_iter().flatten() {
        lines.push(format!("{} {}: {}", text(&fault["index"]), text(&fault["fault"]), text(&fault["key"])));
    }
    lines.extend(
        result["unchecked"].as_array().into_iter().flatten().map(|it| format!("not checked: {}", text(it))),
    );
    lines.join("\n")
}
