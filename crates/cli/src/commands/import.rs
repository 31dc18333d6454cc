//! `tenantry import`.

use std::future::{Future, poll_fn};
use std::path::Path;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tenantry::limits::SCHEMA_FILE_SIZE_BYTES_MAX;
use tenantry::{Database, Destination, ImportMapping, ImportReport, Importer, ReadRow, Rejection};

use super::{Target, open_existing, read_text};
use crate::arguments::ImportArguments;
use crate::feed::{Feed, Piece};
use crate::output::{Exit, Failure, Outcome, Printer, add_violations, count, visible};
use crate::rows::Rows;

/// How many rows are read at a time.
const PIECE_ROWS: usize = 1_000;
/// How many where each piece is acknowledged.
const PIECE_ROWS_ACKNOWLEDGED: usize = 200;

pub(crate) async fn run(arguments: ImportArguments, target: &Target, printer: Printer) -> Outcome {
    let mut mapping = match &arguments.mapping {
        Some(path) => ImportMapping::from_toml(&read_text(path, SCHEMA_FILE_SIZE_BYTES_MAX as u64)?)?,
        None => ImportMapping::default(),
    };
    mapping.exact |= arguments.exact;
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
    let acknowledge = |line: u64| {
        printer.document(&json!({ "acknowledged_line": line }), || {
            format!("everything up to line {line} is imported or reported")
        })
    };
    let acknowledge = arguments.acknowledge.then_some(acknowledge);
    let Imported { report, ended } = import(importer, rows, printer, reject, acknowledge).await?;
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

/// Imports all rows, with a progress bar on a terminal. Every rejection is handed to `reject`, by line. With `acknowledge`, rows are written piece by piece, and it gets the last
/// line of each when everything up to it is imported or rejected.
pub(crate) async fn import(
    mut importer: Importer,
    rows: Rows,
    printer: Printer,
    mut reject: impl FnMut(&Rejection) -> Outcome<()>,
    mut acknowledge: Option<impl FnMut(u64) -> Outcome<()>>,
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
    let piece_rows = if acknowledge.is_some() { PIECE_ROWS_ACKNOWLEDGED } else { PIECE_ROWS };
    let feed = Feed::start(rows, importer.reader(), piece_rows)?;
    let mut ended = None;
    loop {
        let event = next_event(&feed, &mut importer).await;
        let is_over = matches!(event, Event::Over);
        let mut last_line = 0;
        let outcome = match event {
            Event::Piece(Piece { rows, position }) => {
                bar.set_position(position);
                last_line = rows.last().map_or(0, ReadRow::line);
                importer.submit(rows).await
            }
            Event::Advanced(outcome) => outcome,
            Event::Over => importer.finish().await,
            Event::Failed(failure) => {
                ended = Some(failure);
                importer.finish().await
            }
        };
        let outcome = match (&acknowledge, outcome) {
            (Some(_), Ok(())) => importer.finish().await,
            (_, outcome) => outcome,
        };
        let is_written = outcome.is_ok();
        if let Err(error) = outcome {
            ended = Some(error.into());
        }
        bar.suspend(|| {
            importer.take_rejections().iter().try_for_each(&mut reject)?;
            match &mut acknowledge {
                Some(acknowledge) if is_written && last_line > 0 => acknowledge(last_line),
                _ => Ok(()),
            }
        })?;
        if is_over || ended.is_some() {
            bar.finish_and_clear();
            return Ok(Imported { report: importer.report().clone(), ended });
        }
    }
}

/// What goes on.
enum Event {
    Piece(Piece),
    /// The file has no more rows.
    Over,
    /// It cannot be read further.
    Failed(Failure),
    /// A transaction has ended, or the import has.
    Advanced(tenantry::Result<()>),
}

/// Waits for the next rows, unless there are enough, and for the transactions meanwhile.
async fn next_event(feed: &Feed, importer: &mut Importer) -> Event {
    let (is_full, is_idle) = (importer.is_full(), importer.is_idle());
    let mut advance = pin!(importer.advance());
    poll_fn(|context| {
        if !is_full && let Poll::Ready(piece) = feed.poll_next(context) {
            return Poll::Ready(match piece {
                Some(Ok(piece)) => Event::Piece(piece),
                Some(Err(failure)) => Event::Failed(failure),
                None => Event::Over,
            });
        }
        match is_idle {
            true => Poll::Pending,
            false => advance.as_mut().poll(context).map(|outcome| Event::Advanced(outcome.map(drop))),
        }
    })
    .await
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
