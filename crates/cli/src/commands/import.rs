//! `tenantry import`.

use std::path::Path;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tenantry::limits::SCHEMA_FILE_SIZE_BYTES_MAX;
use tenantry::{Database, Destination, ImportMapping, ImportReport, Importer, Rejection};

use super::{Target, open_existing, read_text};
use crate::arguments::ImportArguments;
use crate::output::{Exit, Failure, Outcome, Printer, add_violations, count, visible};
use crate::rows::Rows;

/// How many rows are in memory at a time, and about how many bytes of the file.
pub(crate) const CHUNK_ROWS: usize = 4_000;
/// How many rows where each piece is acknowledged.
const CHUNK_ROWS_ACKNOWLEDGED: usize = 200;
const CHUNK_SIZE_BYTES: u64 = 8_000_000;

pub(crate) async fn run(arguments: ImportArguments, target: &Target, printer: Printer) -> Outcome {
    let mapping = match &arguments.mapping {
        Some(path) => ImportMapping::from_toml(&read_text(path, SCHEMA_FILE_SIZE_BYTES_MAX as u64)?)?,
        None => ImportMapping::default(),
    };
    let tenant_field = arguments.tenant_field.clone().or_else(|| mapping.tenant_field.clone());
    let (tenant, record_type, file) = match (&arguments.words[..], &tenant_field) {
        ([tenant, record_type, file], None) => (Some(tenant), record_type, file),
        ([record_type, file], Some(_)) => (None, record_type, file),
        ([_, _, _], Some(_)) => {
            return Err(Failure::Usage("name TENANT or the field of the tenant, not both".to_owned()));
        }
        _ => {
            return Err(Failure::Usage(
                "import TENANT TYPE FILE, or import --tenant-field FIELD TYPE FILE".to_owned(),
            ));
        }
    };
    let rows = match file.as_str() {
        "-" => Rows::of_standard_input(),
        path => Rows::open(Path::new(path))?,
    };
    let database = open_existing(target).await?;
    let destination = match (tenant, tenant_field) {
        (Some(tenant), _) => Destination::Tenant(tenant.clone()),
        (None, field) => Destination::Column {
            field: field.unwrap_or_default(),
            schema: schema_for(&database, arguments.schema.as_deref()).await?,
        },
    };
    let importer = Importer::new(&database, destination, record_type, mapping, arguments.replace).await?;
    let started = Instant::now();
    let chunk_rows = if arguments.acknowledge { CHUNK_ROWS_ACKNOWLEDGED } else { CHUNK_ROWS };
    let reject = |rejection: &Rejection| {
        let reason = &rejection.reason;
        match printer.json {
            true => {
                let mut line = json!({
                    "line": rejection.line,
                    "code": reason.number(),
                    "tag": reason.tag(),
                    "reason": reason.detail(),
                });
                add_violations(&mut line, reason);
                printer.line(line)
            }
            false => {
                printer.note(format_args!("line {}: {}", rejection.line, visible(&reason.to_string())));
                Ok(())
            }
        }
    };
    let acknowledge = |line: u64| match arguments.acknowledge {
        true => printer.document(&json!({ "acknowledged_line": line }), || {
            format!("everything up to line {line} is imported or reported")
        }),
        false => Ok(()),
    };
    let Imported { report, ended } = import(importer, rows, printer, chunk_rows, reject, acknowledge).await?;
    let seconds = started.elapsed().as_secs_f64();
    printer.document(&summary(&report, seconds), || {
        format!(
            "{} rows read: {} imported into {} tenants ({} of them new), {} rejected, in {seconds:.1} s",
            count(report.rows_read),
            count(report.rows_imported),
            count(report.tenants),
            count(report.tenants_created),
            count(report.rows_rejected)
        )
    })?;
    match ended {
        None if report.rows_rejected == 0 => Ok(Exit::Done),
        None => Ok(Exit::PartlyDone),
        Some(failure) if report.rows_imported == 0 => Err(failure),
        // What was written before stays written, and the summary has said how much.
        Some(failure) => {
            printer.failure(&failure);
            Ok(Exit::PartlyDone)
        }
    }
}

/// How an import went.
pub(crate) struct Imported {
    pub(crate) report: ImportReport,
    /// Why it did not come to the end of the file.
    pub(crate) ended: Option<Failure>,
}

/// What an import ends with, for programs.
pub(crate) fn summary(report: &ImportReport, seconds: f64) -> serde_json::Value {
    json!({
        "rows_read": report.rows_read,
        "rows_imported": report.rows_imported,
        "rows_rejected": report.rows_rejected,
        "tenants": report.tenants,
        "tenants_created": report.tenants_created,
        "seconds": (seconds * 1_000.0).round() / 1_000.0,
    })
}

/// Imports all rows, so many at a time, with a progress bar on a terminal. Every rejection is handed to `reject`, by line; then the last line up to which everything is
/// imported or rejected to `acknowledge`.
pub(crate) async fn import(
    mut importer: Importer,
    mut rows: Rows,
    printer: Printer,
    chunk_rows: usize,
    mut reject: impl FnMut(&Rejection) -> Outcome<()>,
    mut acknowledge: impl FnMut(u64) -> Outcome<()>,
) -> Outcome<Imported> {
    let bar = match printer.json {
        true => ProgressBar::hidden(),
        // Hidden by itself where standard error is no terminal.
        false => ProgressBar::new(rows.progress().1),
    };
    if let Ok(style) =
        ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes}, {binary_bytes_per_sec}, {eta} left")
    {
        bar.set_style(style);
    }
    loop {
        let mut last_line = 0;
        let chunk = match rows.next_rows(chunk_rows, CHUNK_SIZE_BYTES) {
            Ok(chunk) if !chunk.is_empty() => {
                last_line = chunk.last().map_or(0, |row| row.line);
                importer.write(chunk).await.map_err(Failure::from).map(Some)
            }
            Ok(_) => Ok(None),
            Err(failure) => Err(failure),
        };
        let rejections = match chunk {
            Ok(Some(rejections)) => rejections,
            ended => {
                bar.finish_and_clear();
                return Ok(Imported { report: importer.report().clone(), ended: ended.err() });
            }
        };
        bar.suspend(|| {
            rejections.iter().try_for_each(&mut reject)?;
            acknowledge(last_line)
        })?;
        bar.set_position(rows.progress().0);
    }
}

async fn schema_for(database: &Database, named: Option<&str>) -> Outcome<String> {
    if let Some(name) = named {
        return Ok(name.to_owned());
    }
    let mut names = database.schema_names().await?;
    match (names.pop(), names.is_empty()) {
        (Some(name), true) => Ok(name),
        (None, _) => Err(Failure::NotFound("there is no schema: apply one first".to_owned())),
        (Some(_), false) => {
            Err(Failure::Usage("there are several schemas: name one with --schema".to_owned()))
        }
    }
}
