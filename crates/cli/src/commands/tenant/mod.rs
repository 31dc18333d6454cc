//! `tenantry tenant`.

mod archive;
mod create;
mod delete;
mod labels;
mod seal;
mod verify;

use serde_json::{Value as Json, json};
use tenantry::jobs::Job;
use tenantry::{Database, Suspension, TenantFilter, TenantInfo, TenantState};

use self::labels::{filter_of, labels_of};
use super::{Target, jobs, moment, open_existing};
use crate::arguments::TenantCommand;
use crate::output::{Exit, Failure, Outcome, Printer, count};

pub(crate) async fn run(command: TenantCommand, target: &Target, printer: Printer) -> Outcome {
    let database = open_existing(target).await?;
    match command {
        TenantCommand::Create(arguments) => return create::create(&database, arguments, printer).await,
        TenantCommand::List { labels, state, plan, limit, after } => {
            let mut filter = TenantFilter::all();
            filter.labels = filter_of(&labels);
            filter.state = state.map(|state| state_of(&state)).transpose()?;
            filter.plan = plan;
            let has_more = filter.plan.is_some() || !filter.labels.is_empty();
            if filter.state == Some(TenantState::Deleted) && has_more {
                return Err(Failure::Usage(
                    "deleted tenants are listed without --label and --plan".to_owned(),
                ));
            }
            list(&database, &filter, after.as_deref(), limit as usize, printer).await?;
        }
        TenantCommand::Show { name } => show(&database, &name, printer).await?,
        TenantCommand::Limits(arguments) => super::quotas::limits(arguments, &database, printer).await?,
        TenantCommand::Rename { name, new_name } => {
            let info = database.rename_tenant(&name, &new_name).await?;
            printer.document(&document(&info), || format!("tenant {name} is now {new_name}"))?;
        }
        TenantCommand::Label { name, labels, remove } => {
            let sets = labels_of(&labels)?.into_iter().map(|(label, value)| (label, Some(value)));
            let changes = remove.into_iter().map(|label| (label, None)).chain(sets).collect();
            let info = database.label_tenant(&name, &changes).await?;
            printer.document(&document(&info), || match info.labels.is_empty() {
                true => format!("tenant {name} has no labels"),
                false => format!("tenant {name} has {}", labels::shown(&info.labels)),
            })?;
        }
        TenantCommand::Plan { name, plan } => {
            let info = database.set_tenant_plan(&name, plan.as_deref()).await?;
            printer.document(&document(&info), || match &info.plan {
                Some(plan) => format!("tenant {name} has the plan {plan}"),
                None => format!("tenant {name} has no plan"),
            })?;
        }
        TenantCommand::Suspend { name, read_only, reason } => {
            let suspension = if read_only { Suspension::ReadOnly } else { Suspension::Blocked };
            let info = database.suspend_tenant(&name, suspension, &reason).await?;
            printer.document(&document(&info), || format!("tenant {name} is {}", info.state.name()))?;
        }
        TenantCommand::Resume { name } => {
            let info = database.resume_tenant(&name).await?;
            printer.document(&document(&info), || format!("tenant {name} is {}", info.state.name()))?;
        }
        TenantCommand::Seal(arguments) => return seal::seal(&database, arguments, printer).await,
        TenantCommand::RotateKey(arguments) => return seal::rotate_key(&database, arguments, printer).await,
        TenantCommand::Shred { name, confirm } => seal::shred(&database, &name, &confirm, printer).await?,
        TenantCommand::Delete { name, grace } => {
            return delete::delete(&database, &name, grace, printer).await;
        }
        TenantCommand::Undelete { name, id, new_name } => {
            let info = database.undelete_tenant(&name, id, new_name.as_deref()).await?;
            printer.document(&document(&info), || {
                format!("tenant {} is back, {}", info.name, info.state.name())
            })?;
        }
        TenantCommand::Clone { source, name, background } => {
            let job = database.clone_tenant(&source, &name).await?;
            return match background {
                true => jobs::in_background(&database, job, printer).await,
                false => {
                    jobs::in_foreground(&database, job, printer, |job| cloned(job, &source, &name)).await
                }
            };
        }
        TenantCommand::Verify { name, background } => {
            return verify::verify(&database, &name, background, printer).await;
        }
        TenantCommand::Export { name, output, resume } => {
            return archive::export(&database, &name, output.as_deref(), resume, printer).await;
        }
        TenantCommand::Import { name, file } => {
            return archive::import(&database, &name, &file, printer).await;
        }
        TenantCommand::Hash { name, file } => {
            return archive::hash(&database, name.as_deref(), file.as_deref(), printer).await;
        }
        TenantCommand::Purge { name, id, now, background } => {
            let job = database.purge_tenant(&name, id, now).await?;
            return match background {
                true => jobs::in_background(&database, job, printer).await,
                false => jobs::in_foreground(&database, job, printer, delete::summary).await,
            };
        }
    }
    Ok(Exit::Done)
}

async fn list(
    database: &Database,
    filter: &TenantFilter,
    after: Option<&str>,
    rows_max: usize,
    printer: Printer,
) -> Outcome<()> {
    let page = match filter.state {
        Some(TenantState::Deleted) => database.deleted_tenants(after, rows_max).await?,
        _ => database.tenants_where(filter, after, rows_max).await?,
    };
    let tenants: Vec<Json> = page.tenants.iter().map(document).collect();
    printer.document(&json!({ "tenants": tenants, "after": page.after }), || {
        let row = |info: &TenantInfo| {
            vec![
                info.name.clone(),
                info.schema.clone(),
                info.id.to_string(),
                info.state.name().to_owned(),
                info.plan.clone().unwrap_or_default(),
                labels::shown(&info.labels),
                moment(info.created_us),
            ]
        };
        printer.table(
            &["name", "schema", "id", "state", "plan", "labels", "created"],
            &page.tenants.iter().map(row).collect::<Vec<_>>(),
        )
    })?;
    if let Some(after) = page.after.filter(|_| !printer.json) {
        printer.note(format_args!("there may be more: --after {after:?}"));
    }
    Ok(())
}

async fn show(database: &Database, name: &str, printer: Printer) -> Outcome<()> {
    let tenant = database.tenant(name).await?;
    let schema = tenant.schema().await?;
    let info = tenant.info();
    let mut shown = document(info);
    shown["schema_version"] = json!(schema.version);
    let sealing = tenant.sealing().await?;
    shown["sealing"] = json!(sealing.as_ref().map(seal::document));
    printer.document(&shown, || {
        let mut state = info.state.name().to_owned();
        if info.since_us != 0 {
            state.push_str(&format!(" since {}", moment(info.since_us)));
        }
        let rows = [
            ("name", info.name.clone()),
            ("uuid", info.uuid.to_string()),
            ("id", info.id.to_string()),
            ("schema", format!("{} (version {})", info.schema, schema.version)),
            ("created", moment(info.created_us)),
            ("state", state),
            ("reason", info.reason.clone()),
            ("plan", info.plan.clone().unwrap_or_default()),
            ("labels", labels::shown(&info.labels)),
            ("sealed", sealing.as_ref().map(seal::shown).unwrap_or_default()),
        ];
        let rows = rows.into_iter().filter(|(_, value)| !value.is_empty());
        let rows: Vec<Vec<String>> = rows.map(|(name, value)| vec![name.to_owned(), value]).collect();
        printer.table(&["", ""], &rows).trim_start().to_owned()
    })
}

fn cloned(job: &Job, source: &str, name: &str) -> String {
    let result = job.result.clone().unwrap_or_default();
    let rows = count(result["rows"].as_u64().unwrap_or(0));
    format!("tenant {name} has what {source} had at version {}: {rows} rows written", result["version"])
}

/// What is printed of a tenant with `--json`.
pub(crate) fn document(info: &TenantInfo) -> Json {
    json!({
        "name": info.name,
        "uuid": info.uuid.to_string(),
        "id": info.id,
        "schema": info.schema,
        "created": moment(info.created_us),
        "state": info.state.name(),
        "reason": (!info.reason.is_empty()).then_some(&info.reason),
        "since": (info.since_us != 0).then(|| moment(info.since_us)),
        "purge_due": info.purge_due_us.map(moment),
        "plan": info.plan,
        "labels": info.labels,
    })
}

fn state_of(name: &str) -> Outcome<TenantState> {
    TenantState::from_name(name).ok_or_else(|| {
        let known: Vec<&str> = TenantState::ALL.iter().map(|state| state.name()).collect();
        Failure::Usage(format!("--state {name}: write one of {}", known.join(", ")))
    })
}
