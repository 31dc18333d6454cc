//! New tenants: one, or as many as a file names or a number says.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use serde_json::{Value as Json, json};
use tenantry::{Database, TenantOptions, limits};

use super::document;
use super::labels::labels_of;
use crate::arguments::CreateArguments;
use crate::output::{Exit, Failure, Outcome, Printer, count};

/// The longest line of a file of tenants, in bytes: a name, a plan, and every label that a tenant can have.
const LINE_SIZE_BYTES_MAX: usize = 64_000;
/// How many of those that are refused are printed.
const REFUSED_SHOWN_MAX: usize = 100;

/// A tenant that is to be created.
type New = (String, TenantOptions);

pub(super) async fn create(database: &Database, arguments: CreateArguments, printer: Printer) -> Outcome {
    let mut options = TenantOptions::new().sealed(arguments.sealed);
    options.labels = labels_of(&arguments.labels)?;
    options.plan.clone_from(&arguments.plan);
    let schema = &arguments.schema;
    if let Some(name) = &arguments.name {
        let tenant = database.create_tenant_with(name, schema, &options).await?;
        printer.document(&document(tenant.info()), || format!("tenant {name} created"))?;
        return Ok(Exit::Done);
    }
    let source: Box<dyn Iterator<Item = Outcome<New>>> = match (&arguments.from, arguments.count) {
        (Some(path), _) => Box::new(Lines::open(path, options)?),
        (None, number) => {
            let (number, prefix) = (number.unwrap_or(0), arguments.prefix.unwrap_or_default());
            let width = number.to_string().len();
            Box::new((1..=number).map(move |at| Ok((format!("{prefix}{at:0width$}"), options.clone()))))
        }
    };
    create_all(database, schema, source, printer).await
}

async fn create_all(
    database: &Database,
    schema: &str,
    mut source: Box<dyn Iterator<Item = Outcome<New>>>,
    printer: Printer,
) -> Outcome {
    let started = std::time::Instant::now();
    let (mut created, mut refused, mut shown) = (0, 0, Vec::new());
    loop {
        let batch = source.by_ref().take(limits::TENANTS_BATCH_MAX).collect::<Outcome<Vec<New>>>()?;
        if batch.is_empty() {
            break;
        }
        let outcome = database.create_tenants(schema, &batch).await?;
        created += outcome.created;
        refused += outcome.refused.len();
        for tenant in outcome.refused {
            if shown.len() < REFUSED_SHOWN_MAX {
                let name = batch.get(tenant.index).map(|(name, _)| name.as_str()).unwrap_or_default();
                if !printer.json {
                    printer.note(format_args!("{name:?}: {}", tenant.error));
                }
                shown.push(json!({ "name": name, "code": tenant.error.number(), "tag": tenant.error.tag(),
                    "message": tenant.error.to_string() }));
            }
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let document = json!({ "created": created, "refused": refused, "refusals": shown,
        "seconds": (seconds * 1e3).round() / 1e3 });
    printer.document(&document, || {
        let refused =
            if refused > 0 { format!(", {} refused", count(refused as u64)) } else { String::new() };
        format!("{} tenants created{refused} in {seconds:.2} s", count(created as u64))
    })?;
    Ok(if refused > 0 { Exit::PartlyDone } else { Exit::Done })
}

/// The tenants of a file: a name on each line, or a JSON object with name, labels and plan.
struct Lines {
    name: String,
    number: u64,
    reader: Box<dyn BufRead>,
    /// What every tenant gets besides.
    options: TenantOptions,
}

impl Lines {
    fn open(path: &Path, options: TenantOptions) -> Outcome<Lines> {
        let name = path.display().to_string();
        let reader: Box<dyn BufRead> = match name.as_str() {
            "-" => Box::new(BufReader::new(io::stdin())),
            _ => {
                Box::new(BufReader::new(File::open(path).map_err(|error| Failure::Io(name.clone(), error))?))
            }
        };
        Ok(Lines { name, number: 0, reader, options })
    }

    fn refused(&self, why: &str) -> Failure {
        Failure::Usage(format!("{}, line {}: {why}", self.name, self.number))
    }

    fn tenant(&mut self) -> Outcome<Option<New>> {
        loop {
            let mut line = Vec::new();
            self.number += 1;
            let mut limited = self.reader.by_ref().take(LINE_SIZE_BYTES_MAX as u64 + 1);
            limited.read_until(b'\n', &mut line).map_err(|error| Failure::Io(self.name.clone(), error))?;
            if line.len() > LINE_SIZE_BYTES_MAX {
                return Err(self.refused(&format!("it is longer than {LINE_SIZE_BYTES_MAX} bytes")));
            }
            if line.is_empty() {
                return Ok(None);
            }
            let text = std::str::from_utf8(&line).map_err(|_| self.refused("it is not UTF-8"))?;
            let text = text.trim_end_matches(['\n', '\r']);
            if text.is_empty() {
                continue;
            }
            return match text.starts_with('{') {
                true => self.of_json(text).map(Some),
                false => Ok(Some((text.to_owned(), self.options.clone()))),
            };
        }
    }

    fn of_json(&self, text: &str) -> Outcome<New> {
        let document = tenantry::parse_json(text)?;
        let Json::Object(members) = document else { return Err(self.refused("it is no JSON object")) };
        let (mut name, mut options) = (None, self.options.clone());
        for (member, value) in members {
            match (member.as_str(), value) {
                ("name", Json::String(text)) => name = Some(text),
                ("plan", Json::String(text)) => options.plan = Some(text),
                ("plan", Json::Null) => options.plan = None,
                ("labels", Json::Object(labels)) => {
                    for (label, value) in labels {
                        let Json::String(value) = value else {
                            return Err(self.refused(&format!("the label {label:?} is no text")));
                        };
                        options.labels.insert(label, value);
                    }
                }
                _ => {
                    let form =
                        "write {\"name\": \"acme\", \"plan\": \"small\", \"labels\": {\"region\": \"eu\"}}";
                    return Err(self.refused(&format!("{member:?} cannot be so: {form}")));
                }
            }
        }
        name.map(|name| (name, options)).ok_or_else(|| self.refused("it has no name"))
    }
}

impl Iterator for Lines {
    type Item = Outcome<New>;

    fn next(&mut self) -> Option<Outcome<New>> {
        self.tenant().transpose()
    }
}
