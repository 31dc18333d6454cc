//! `tenantry usage`, `tenantry tenant limits`, `tenantry plan`, `tenantry reconcile`.

use serde_json::{Value as Json, json};
use tenantry::jobs::{Job, Reconcile};
use tenantry::{Database, HourUsage, Limit, Tenant, TenantLimits, TenantUsage};

use super::jobs::{in_background, in_foreground};
use super::{Target, moment, open_existing};
use crate::arguments::{By, LimitsArguments, PlanCommand, ReconcileArguments, UsageArguments};
use crate::output::{Exit, Failure, Outcome, Printer, count};

/// How many tenants are listed at a time.
const TENANTS_TOGETHER: usize = 1_000;

/// `tenantry usage`.
pub(crate) async fn usage(arguments: UsageArguments, target: &Target, printer: Printer) -> Outcome {
    let database = open_existing(target).await?;
    match &arguments.tenant {
        Some(name) => {
            let tenant = database.tenant(name).await?;
            let usage = tenant.usage(0).await?;
            let mut document = usage_document(&tenant, &usage);
            let by_hour = arguments.by == Some(By::Hour);
            if by_hour {
                document["hours"] = usage.hours.iter().map(hour_document).collect();
            }
            printer.document(&document, || words(&usage, by_hour, printer))?;
        }
        None => of_all(&database, printer).await?,
    }
    Ok(Exit::Done)
}

/// The usage of every tenant: a line for each with --json, which may be many.
async fn of_all(database: &Database, printer: Printer) -> Outcome<()> {
    let mut after = None;
    loop {
        let page = database.tenants(after.as_deref(), TENANTS_TOGETHER).await?;
        let mut rows = Vec::new();
        for info in &page.tenants {
            let tenant = database.tenant(&info.name).await?;
            let usage = tenant.usage(0).await?;
            if printer.json {
                printer.line(usage_document(&tenant, &usage))?;
                continue;
            }
            let total = total(&usage);
            let numbers = [
                usage.records,
                usage.stored_size_bytes(),
                total.operations,
                total.read_units,
                total.write_units,
            ];
            rows.push([vec![info.name.clone()], numbers.map(count).to_vec()].concat());
        }
        let header = ["tenant", "records", "bytes", "operations", "read units", "write units"];
        printer.say(printer.table(&header, &rows))?;
        after = page.after;
        if after.is_none() {
            return Ok(());
        }
    }
}

fn total(usage: &TenantUsage) -> HourUsage {
    let mut total = HourUsage::default();
    for hour in &usage.hours {
        total.operations += hour.operations;
        total.read_units += hour.read_units;
        total.read_size_bytes += hour.read_size_bytes;
        total.write_units += hour.write_units;
        total.write_size_bytes += hour.write_size_bytes;
        total.throttled += hour.throttled;
    }
    total
}

fn usage_document(tenant: &Tenant, usage: &TenantUsage) -> Json {
    json!({
        "tenant": tenant.info().name,
        "stored": {
            "records": usage.records,
            "record_bytes": usage.record_size_bytes,
            "raw_bytes": usage.raw_size_bytes,
            "bytes": usage.stored_size_bytes(),
        },
        "consumed": consumed(&total(usage)),
    })
}

fn hour_document(hour: &HourUsage) -> Json {
    let mut document = consumed(hour);
    document["begin"] = json!(moment(hour.begin_us));
    document
}

fn consumed(usage: &HourUsage) -> Json {
    json!({
        "operations": usage.operations,
        "read_units": usage.read_units,
        "read_bytes": usage.read_size_bytes,
        "write_units": usage.write_units,
        "write_bytes": usage.write_size_bytes,
        "throttled": usage.throttled,
    })
}

fn words(usage: &TenantUsage, by_hour: bool, printer: Printer) -> String {
    let stored = format!(
        "{} records of {} bytes, {} bytes in the key-value space",
        count(usage.records),
        count(usage.record_size_bytes),
        count(usage.raw_size_bytes)
    );
    let row = |name: String, hour: &HourUsage| {
        let numbers = [
            hour.operations,
            hour.read_units,
            hour.read_size_bytes,
            hour.write_units,
            hour.write_size_bytes,
            hour.throttled,
        ];
        [vec![name], numbers.map(count).to_vec()].concat()
    };
    let mut rows = Vec::new();
    if by_hour {
        rows.extend(usage.hours.iter().map(|hour| row(moment(hour.begin_us), hour)));
    }
    rows.push(row("all".to_owned(), &total(usage)));
    let header =
        ["hour", "operations", "read units", "bytes read", "write units", "bytes written", "turned away"];
    format!("{stored}\n{}", printer.table(&header, &rows))
}

/// `tenantry tenant limits`.
pub(crate) async fn limits(arguments: LimitsArguments, database: &Database, printer: Printer) -> Outcome<()> {
    let tenant = database.tenant(&arguments.tenant).await?;
    if !arguments.set.is_empty() {
        let limits = parsed(tenant.quota().await?.own, &arguments.set, true)?;
        tenant.set_limits(&limits).await?;
    }
    let quota = tenant.quota().await?;
    let document = json!({
        "tenant": tenant.info().name,
        "plan": quota.plan,
        "own": limits_document(&quota.own),
        "effective": limits_document(&quota.effective),
    });
    printer.document(&document, || {
        let from = |limit: Limit| match (quota.own.is_set(limit), quota.effective.is_set(limit)) {
            (true, _) => "its own".to_owned(),
            (false, true) => format!("plan {}", quota.plan.as_deref().unwrap_or_default()),
            (false, false) => String::new(),
        };
        let row =
            |limit: Limit| vec![limit.name().to_owned(), shown(quota.effective.get(limit)), from(limit)];
        printer.table(&["limit", "value", "from"], &Limit::ALL.map(row))
    })
}

fn shown(value: Option<u64>) -> String {
    value.map_or("none".to_owned(), count)
}

fn limits_document(limits: &TenantLimits) -> Json {
    let of = |limit: &Limit| (limit.name().to_owned(), json!(limits.get(*limit)));
    Json::Object(Limit::ALL.iter().filter(|limit| limits.is_set(**limit)).map(of).collect())
}

/// Limits with some of them set by words: `NAME=NUMBER`, `NAME=none`, and for a tenant `NAME=plan`.
fn parsed(limits: TenantLimits, words: &[String], has_plan: bool) -> Outcome<TenantLimits> {
    words.iter().try_fold(limits, |limits, word| {
        let unusable = || {
            let plan = if has_plan { ", or NAME=plan to follow the plan" } else { "" };
            Failure::Usage(format!("{word:?}: write NAME=NUMBER, or NAME=none for no limit{plan}"))
        };
        let (name, value) = word.split_once('=').ok_or_else(unusable)?;
        let limit = Limit::from_name(name)?;
        Ok(match value {
            "none" => limits.without(limit),
            "plan" if has_plan => limits.unset(limit),
            value => limits.with(limit, value.parse().map_err(|_| unusable())?),
        })
    })
}

/// `tenantry plan`.
pub(crate) async fn plan(command: PlanCommand, target: &Target, printer: Printer) -> Outcome {
    let database = open_existing(target).await?;
    match command {
        PlanCommand::Set { name, set } => {
            let before = match database.plan(&name).await {
                Err(error) if error.tag() == "PlanNotFound" => TenantLimits::none(),
                before => before?,
            };
            let limits = parsed(before, &set, false)?;
            database.set_plan(&name, &limits).await?;
            printer.document(&plan_document(&name, &limits), || format!("plan {name} set"))?;
        }
        PlanCommand::Show { name } => {
            let limits = database.plan(&name).await?;
            printer.document(&plan_document(&name, &limits), || {
                let row = |limit: Limit| vec![limit.name().to_owned(), shown(limits.get(limit))];
                printer.table(&["limit", "value"], &Limit::ALL.map(row))
            })?;
        }
        PlanCommand::List => {
            let plans = database.plans().await?;
            let documents: Vec<Json> =
                plans.iter().map(|(name, limits)| plan_document(name, limits)).collect();
            printer.document(&json!({ "plans": documents }), || {
                let named = |(name, limits): &(String, TenantLimits)| {
                    let set = Limit::ALL.into_iter().filter_map(|limit| Some((limit, limits.get(limit)?)));
                    let words: Vec<String> =
                        set.map(|(limit, value)| format!("{limit} {}", count(value))).collect();
                    vec![name.clone(), words.join(", ")]
                };
                printer.table(&["plan", "limits"], &plans.iter().map(named).collect::<Vec<_>>())
            })?;
        }
    }
    Ok(Exit::Done)
}

fn plan_document(name: &str, limits: &TenantLimits) -> Json {
    json!({ "plan": name, "limits": limits_document(limits) })
}

/// `tenantry reconcile`.
pub(crate) async fn reconcile(arguments: ReconcileArguments, target: &Target, printer: Printer) -> Outcome {
    let database = open_existing(target).await?;
    let tenant = database.tenant(&arguments.tenant).await?;
    let id = database.create_job(&Reconcile, Some(&tenant), &json!({})).await?;
    match arguments.background {
        true => in_background(&database, id, printer).await,
        false => in_foreground(&database, id, printer, recounted).await,
    }
}

fn recounted(job: &Job) -> String {
    let result = job.result.clone().unwrap_or_default();
    let off = &result["off"];
    let about = if result["raw_is_exact"] == json!(true) { "" } else { "about " };
    format!(
        "{} records of {} bytes, {about}{} bytes in the key-value space; the meters were off by {}, {} and {}",
        result["records"],
        result["record_bytes"],
        result["raw_bytes"],
        off["records"],
        off["record_bytes"],
        off["raw_bytes"]
    )
}
