//! `tenantry tenant seal`, `rotate-key` and `shred`.

use serde_json::{Value as Json, json};
use tenantry::jobs::{Job, Reseal};
use tenantry::{Database, SealingStatus, Tenant};

use super::super::jobs::{in_background, in_foreground};
use super::moment;
use crate::arguments::SealArguments;
use crate::output::{Exit, Failure, Outcome, Printer, count};

pub(super) async fn seal(database: &Database, arguments: SealArguments, printer: Printer) -> Outcome {
    let tenant = database.tenant(&arguments.name).await?;
    let status = tenant.seal().await?;
    if !status.needs_reseal() {
        printer
            .document(&document(&status), || format!("tenant {} is {}", arguments.name, shown(&status)))?;
        return Ok(Exit::Done);
    }
    reseal(database, &tenant, arguments, printer).await
}

pub(super) async fn rotate_key(database: &Database, arguments: SealArguments, printer: Printer) -> Outcome {
    let tenant = database.tenant(&arguments.name).await?;
    tenant.rotate_data_key().await?;
    reseal(database, &tenant, arguments, printer).await
}

/// Seals what is there.
async fn reseal(database: &Database, tenant: &Tenant, arguments: SealArguments, printer: Printer) -> Outcome {
    let id = database.create_job(&Reseal, Some(tenant), &json!({})).await?;
    if arguments.background {
        return in_background(database, id, printer).await;
    }
    let summary = |job: &Job| {
        let result = job.result.clone().unwrap_or_default();
        let number = |name: &str| count(result[name].as_u64().unwrap_or(0));
        format!(
            "tenant {} is sealed with its data key {}: {} records, values and log entries were sealed",
            arguments.name,
            result["generation"],
            number("resealed")
        )
    };
    in_foreground(database, id, printer, summary).await
}

pub(super) async fn shred(database: &Database, name: &str, confirm: &str, printer: Printer) -> Outcome<()> {
    if name != confirm {
        let what = format!("--confirm {confirm} is not the name {name}: nothing was destroyed");
        return Err(Failure::Usage(what));
    }
    let certificate = database.tenant(name).await?.shred().await?;
    // The certificate is the document, for people too: it is to be kept.
    printer.line(match printer.json {
        true => certificate.to_json().to_string(),
        false => serde_json::to_string_pretty(certificate.to_json()).unwrap_or_default(),
    })
}

pub(super) fn document(status: &SealingStatus) -> Json {
    json!({
        "generation": status.generation,
        "generation_min": status.generation_min,
        "complete": status.is_complete,
        "key": status.key_id.to_string(),
        "shredded": status.shredded_us.map(moment),
    })
}

/// For people.
pub(super) fn shown(status: &SealingStatus) -> String {
    match status.shredded_us {
        Some(at_us) => format!("shredded at {}", moment(at_us)),
        None if status.is_complete => format!("sealed with its data key {}", status.generation),
        None => "sealed, but for what was written before: run \"tenantry tenant seal\" to its end".to_owned(),
    }
}
