//! `tenantry tenant`.

use serde_json::{Value as Json, json};
use tenantry::TenantInfo;

use super::{Target, moment, open_existing};
use crate::arguments::TenantCommand;
use crate::output::{Exit, Outcome, Printer};

pub(crate) async fn run(command: TenantCommand, target: &Target, printer: Printer) -> Outcome {
    let database = open_existing(target).await?;
    match command {
        TenantCommand::Create { name, schema } => {
            let tenant = database.create_tenant(&name, &schema).await?;
            printer.document(&document(tenant.info()), || format!("tenant {name} created"))?;
        }
        TenantCommand::List { limit, after } => {
            let page = database.tenants(after.as_deref(), limit as usize).await?;
            let tenants: Vec<Json> = page.tenants.iter().map(document).collect();
            printer.document(&json!({ "tenants": tenants, "after": page.after }), || {
                let row = |info: &TenantInfo| {
                    vec![info.name.clone(), info.schema.clone(), info.id.to_string(), moment(info.created_us)]
                };
                printer.table(
                    &["name", "schema", "id", "created"],
                    &page.tenants.iter().map(row).collect::<Vec<_>>(),
                )
            })?;
            if let Some(after) = &page.after {
                printer.note(format_args!("there are more: --after {after:?}"));
            }
        }
        TenantCommand::Show { name } => {
            let tenant = database.tenant(&name).await?;
            let schema = tenant.schema().await?;
            let info = tenant.info();
            let mut shown = document(info);
            shown["schema_version"] = json!(schema.version);
            printer.document(&shown, || {
                let rows = [
                    vec!["name".to_owned(), info.name.clone()],
                    vec!["uuid".to_owned(), info.uuid.to_string()],
                    vec!["id".to_owned(), info.id.to_string()],
                    vec!["schema".to_owned(), format!("{} (version {})", info.schema, schema.version)],
                    vec!["created".to_owned(), moment(info.created_us)],
                ];
                printer.table(&["", ""], &rows).trim_start().to_owned()
            })?;
        }
        TenantCommand::Delete { name } => {
            let info = database.delete_tenant(&name).await?;
            printer.document(&json!({ "deleted": document(&info) }), || format!("tenant {name} deleted"))?;
        }
    }
    Ok(Exit::Done)
}

fn document(info: &TenantInfo) -> Json {
    json!({
        "name": info.name,
        "uuid": info.uuid.to_string(),
        "id": info.id,
        "schema": info.schema,
        "created": moment(info.created_us),
    })
}
