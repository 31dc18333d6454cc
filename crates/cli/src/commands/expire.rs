//! `tenantry expire`.

use serde_json::{Value as Json, json};
use tenantry::jobs::{Expire, Job, JobId};
use tenantry::{Database, IndexKind, Tenant};

use super::jobs::{in_background, in_foreground, work_on};
use super::{Target, open_existing};
use crate::arguments::ExpireArguments;
use crate::output::{Exit, Outcome, Printer, count};

/// How many tenants are listed at a time.
const TENANTS_TOGETHER: usize = 1_000;

pub(crate) async fn run(arguments: ExpireArguments, target: &Target, printer: Printer) -> Outcome {
    let database = open_existing(target).await?;
    if let Some(name) = &arguments.tenant {
        let id = create(&database, &database.tenant(name).await?).await?;
        return match arguments.background {
            true => in_background(&database, id, printer).await,
            false => in_foreground(&database, id, printer, |job| words(job_numbers(job))).await,
        };
    }
    let (mut tenants, mut numbers) = (0_u64, (0, 0));
    let mut after = None;
    loop {
        let page = database.tenants(after.as_deref(), TENANTS_TOGETHER).await?;
        for info in &page.tenants {
            let tenant = database.tenant(&info.name).await?;
            if !expires(&tenant).await? {
                continue;
            }
            tenants += 1;
            let id = create(&database, &tenant).await?;
            if !arguments.background {
                let (expired, refused) = job_numbers(&work_on(&database, id, printer).await?);
                numbers = (numbers.0 + expired, numbers.1 + refused);
            }
        }
        after = page.after;
        if after.is_none() {
            break;
        }
    }
    let (expired, refused) = numbers;
    let document = match arguments.background {
        true => json!({ "tenants": tenants }),
        false => json!({ "tenants": tenants, "expired": expired, "refused": refused }),
    };
    printer.document(&document, || match arguments.background {
        true => format!("{} jobs wait for a worker: tenantry jobs run --until-idle", count(tenants)),
        false => format!("{} tenants: {}", count(tenants), words(numbers)),
    })?;
    Ok(Exit::Done)
}

async fn create(database: &Database, tenant: &Tenant) -> Outcome<JobId> {
    Ok(database.create_job(&Expire, Some(tenant), &json!({})).await?)
}

/// Whether the tenant's schema lets records expire.
async fn expires(tenant: &Tenant) -> Outcome<bool> {
    let schema = tenant.schema().await?;
    let mut indexes = schema.definition.types.iter().flat_map(|record_type| &record_type.indexes);
    Ok(indexes.any(|index| matches!(index.kind, IndexKind::TimeToLive { .. })))
}

/// How many records a job deleted, and how many it was not allowed to.
fn job_numbers(job: &Job) -> (u64, u64) {
    let number = |name: &str| job.result.as_ref().and_then(|result: &Json| result[name].as_u64());
    (number("expired").unwrap_or(0), number("refused").unwrap_or(0))
}

fn words((expired, refused): (u64, u64)) -> String {
    match refused {
        0 => format!("{} records expired", count(expired)),
        _ => format!(
            "{} records expired, {} stay because of what refers to them",
            count(expired),
            count(refused)
        ),
    }
}
