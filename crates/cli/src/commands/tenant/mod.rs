//! `tenantry tenant`.

mod labels;

use serde_json::{Value as Json, json};
use tenantry::{Database, Suspension, TenantFilter, TenantInfo, TenantOptions, TenantState};

use self::labels::{filter_of, labels_of};
use super::{Target, moment, open_existing};
use crate::arguments::{CreateArguments, TenantCommand};
use crate::output::{Exit, Failure, Outcome, Printer};

pub(crate) async fn run(command: TenantCommand, target: &Target, printer: Printer) -> Outcome {
    let database = open_existing(target).await?;
    match command {
        TenantCommand::Create(arguments) => create(&database, arguments, printer).await?,
        TenantCommand::List { labels, state, plan, limit, after } => {
            let mut filter = TenantFilter::all();
            filter.labels = filter_of(&labels);
            filter.state = state.map(|state| state_of(&state)).transpose()?;
            filter.plan = plan;
            list(&database, &filter, after.as_deref(), limit as usize, printer).await?;
        }
        TenantCommand::Show { name } => show(&database, &name, printer).await?,
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
        TenantCommand::Delete { name } => {
            let info = database.delete_tenant(&name).await?;
            printer.document(&json!({ "deleted": document(&info) }), || format!("tenant {name} deleted"))?;
        }
    }
    Ok(Exit::Done)
}

async fn create(database: &Database, arguments: CreateArguments, printer: Printer) -> Outcome<()> {
    let CreateArguments { name, schema, labels, plan } = arguments;
    let mut options = TenantOptions::new();
    options.labels = labels_of(&labels)?;
    options.plan = plan;
    let tenant = database.create_tenant_with(&name, &schema, &options).await?;
    printer.document(&document(tenant.info()), || format!("tenant {name} created"))
}

async fn list(
    database: &Database,
    filter: &TenantFilter,
    after: Option<&str>,
    rows_max: usize,
    printer: Printer,
) -> Outcome<()> {
    let page = database.tenants_where(filter, after, rows_max).await?;
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
        ];
        let rows = rows.into_iter().filter(|(_, value)| !value.is_empty());
        let rows: Vec<Vec<String>> = rows.map(|(name, value)| vec![name.to_owned(), value]).collect();
        printer.table(&["", ""], &rows).trim_start().to_owned()
    })
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
