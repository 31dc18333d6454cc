//! `tenantry schema`.

use serde_json::json;
use tenantry::limits::SCHEMA_FILE_SIZE_BYTES_MAX;
use tenantry::{Applied, SchemaDefinition};

use super::{Target, open, open_existing, read_text};
use crate::arguments::SchemaCommand;
use crate::output::{Exit, Failure, Outcome, Printer};

pub(crate) async fn run(command: SchemaCommand, target: &Target, printer: Printer) -> Outcome {
    match command {
        SchemaCommand::Apply { file } => {
            let text = read_text(&file, SCHEMA_FILE_SIZE_BYTES_MAX as u64)?;
            let definition = match file.extension().and_then(|extension| extension.to_str()) {
                Some("toml") => SchemaDefinition::from_toml(&text)?,
                Some("json") => SchemaDefinition::from_json(&text)?,
                _ => {
                    return Err(Failure::Usage(format!(
                        "{}: a schema is a .toml or .json file",
                        file.display()
                    )));
                }
            };
            let applied = open(target).await?.apply_schema(&definition).await?;
            let is_new = applied == Applied::Created;
            let types: Vec<&str> =
                definition.types.iter().map(|record_type| record_type.name.as_str()).collect();
            let document = json!({ "schema": definition.name, "created": is_new, "types": types });
            printer.document(&document, || match is_new {
                true => format!("schema {} created, with the types {}", definition.name, types.join(", ")),
                false => format!("schema {} is there already, exactly so", definition.name),
            })?;
        }
        SchemaCommand::Show { name } => {
            let schema = open_existing(target).await?.schema(&name).await?;
            let document = json!({
                "uuid": schema.uuid.to_string(),
                "version": schema.version,
                "definition": schema.definition.to_json(),
            });
            printer.document(&document, || format!("{document:#}"))?;
        }
        SchemaCommand::Proto { name } => {
            let schema = open_existing(target).await?.schema(&name).await?;
            let proto = schema.definition.to_proto();
            printer.document(&json!({ "name": name, "proto": proto }), || proto.trim_end().to_owned())?;
        }
        SchemaCommand::List => {
            let names = open_existing(target).await?.schema_names().await?;
            printer.document(&json!({ "schemas": names }), || names.join("\n"))?;
        }
    }
    Ok(Exit::Done)
}
