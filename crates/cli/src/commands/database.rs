//! `tenantry database` and `tenantry copy`: the database as a whole.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tenantry::{CopyPhase, Database};

use super::{Target, open_existing};
use crate::arguments::{CopyArguments, DatabaseCommand};
use crate::output::{Exit, Outcome, Printer, count};

pub(crate) async fn run(command: DatabaseCommand, target: &Target, printer: Printer) -> Outcome {
    let database = open_existing(target).await?;
    match command {
        DatabaseCommand::ReadOnly { reason } => database.set_read_only(&reason).await?,
        DatabaseCommand::Writable => database.set_writable().await?,
        DatabaseCommand::Scrub => return scrub(&database, printer),
    }
    let state = database.state().await?;
    let document =
        json!({ "read_only": state.is_read_only, "reason": state.reason, "since_us": state.since_us });
    printer.document(&document, || match state.is_read_only {
        true => "the database is read-only".to_owned(),
        false => "the database is writable".to_owned(),
    })?;
    Ok(Exit::Done)
}

/// Opening has read the log; what the map holds is read here.
fn scrub(database: &Database, printer: Printer) -> Outcome {
    let started = Instant::now();
    let keys = database.scrub()?;
    let seconds = started.elapsed().as_secs_f64();
    let document = json!({ "keys": keys, "seconds": (seconds * 1_000.0).round() / 1_000.0 });
    printer.document(&document, || match keys {
        Some(keys) => format!("{} keys read in {seconds:.1} s, every checksum holds", count(keys)),
        None => "a cluster verifies its own files: nothing was read".to_owned(),
    })?;
    Ok(Exit::Done)
}

pub(crate) async fn copy(arguments: CopyArguments, target: &Target, printer: Printer) -> Outcome {
    let from = Target { url: arguments.from.clone(), ..target.clone() };
    let source = open_existing(&from).await?;
    let size_bytes = source.statistics().await?.size_bytes;
    let mut copier = target.options().copier(&source, &arguments.to).await?;
    let started = Instant::now();
    let bar = match printer.json {
        true => ProgressBar::hidden(),
        // Hidden by itself where standard error is no terminal.
        false => ProgressBar::new(size_bytes),
    };
    if let Ok(style) = ProgressStyle::with_template(
        "{msg:10} {wide_bar} {bytes}/{total_bytes}, {binary_bytes_per_sec}, {eta} left",
    ) {
        bar.set_style(style);
    }
    loop {
        let phase = copier.step().await?;
        bar.set_message(match phase {
            CopyPhase::Copying => "copying",
            CopyPhase::Comparing => "comparing",
            _ => "opening",
        });
        bar.set_position(copier.size_bytes());
        if phase == CopyPhase::Done {
            break;
        }
    }
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64();
    // A copy that was interrupted after the comparison does not compare again.
    let hash = (copier.rows_compared() > 0).then(|| copier.target_hash());
    let document = json!({
        "from": arguments.from,
        "to": arguments.to,
        "keys": copier.rows(),
        "size_bytes": copier.size_bytes(),
        "source_hash": hash.as_ref().map(|_| copier.source_hash()),
        "target_hash": hash,
        "seconds": (seconds * 1_000.0).round() / 1_000.0,
    });
    printer.document(&document, || {
        let hash = hash.as_deref().unwrap_or("compared before");
        format!(
            "{} keys, {} bytes, copied in {seconds:.1} s; both sides are equal ({hash}). {} is still read-only.",
            count(copier.rows()),
            count(copier.size_bytes()),
            arguments.from
        )
    })?;
    Ok(Exit::Done)
}
