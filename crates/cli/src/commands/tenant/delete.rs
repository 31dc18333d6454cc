//! The end of a tenant.

use std::time::Duration;

use serde_json::json;
use tenantry::Database;
use tenantry::jobs::Job;

use super::{document, jobs};
use crate::commands::moment;
use crate::output::{Exit, Outcome, Printer, count};

pub(super) async fn delete(database: &Database, name: &str, grace: Duration, printer: Printer) -> Outcome {
    let info = database.delete_tenant_with_grace(name, grace).await?;
    if grace.is_zero() {
        let job = database.purge_tenant(name, Some(info.id), true).await?;
        return jobs::in_foreground(database, job, printer, summary).await;
    }
    printer.document(&json!({ "deleted": document(&info) }), || {
        let until = info.purge_due_us.map(moment).unwrap_or_default();
        format!("tenant {name} deleted; until {until} \"tenantry tenant undelete\" brings it back")
    })?;
    Ok(Exit::Done)
}

/// What a purge did, for people.
pub(super) fn summary(job: &Job) -> String {
    let result = job.result.clone().unwrap_or_default();
    let number = |name: &str| count(result[name].as_u64().unwrap_or(0));
    match result["purged"].as_bool() {
        Some(true) => format!(
            "purged: {} keys of {} bytes, {} jobs; {} keys are left",
            number("keys"),
            number("size_bytes"),
            number("jobs"),
            number("keys_left")
        ),
        _ => "nothing was purged: the tenant is not deleted any more, or gone already".to_owned(),
    }
}
