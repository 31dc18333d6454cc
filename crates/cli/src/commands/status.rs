//! `tenantry status`.

use serde_json::json;

use super::{Target, open_existing};
use crate::output::{Exit, Outcome, Printer, count};

pub(crate) async fn run(target: &Target, printer: Printer) -> Outcome {
    let database = open_existing(target).await?;
    let statistics = database.statistics().await?;
    let stats = database.stats();
    let profile = database.engine().profile();
    let document = json!({
        "database": { "url": target.url, "name": database.name(), "uuid": database.uuid().to_string(), "format": tenantry::FORMAT_VERSION },
        "engine": { "name": profile.name, "durable": profile.is_durable },
        "tenants": statistics.tenants,
        "size_bytes": statistics.size_bytes,
        "read_version": statistics.read_version,
        "window": { "size_bytes": stats.window_size_bytes, "entries": stats.window_entries, "oldest_version": stats.version_oldest },
        "log": { "size_bytes": stats.log_size_bytes, "bytes_written": stats.log_bytes_written },
        "map": { "applied_version": stats.version_applied, "bytes_written": stats.map_bytes_written },
        "commits": stats.commits,
        "conflicts": stats.conflicts,
        "too_old": stats.too_old,
        "watches": stats.watches,
        "sync_us": { "p50": stats.sync_us.quantile(0.5), "p99": stats.sync_us.quantile(0.99) },
    });
    printer.document(&document, || {
        let rows: Vec<Vec<String>> = [
            ("database", format!("{} at {}", database.name(), target.url)),
            ("uuid", database.uuid().to_string()),
            (
                "engine",
                format!("{}, {}", profile.name, if profile.is_durable { "durable" } else { "in memory" }),
            ),
            ("tenants", count(statistics.tenants)),
            ("size", format!("{} bytes of keys and values", count(statistics.size_bytes))),
            ("log", format!("{} bytes that the map does not hold yet", count(stats.log_size_bytes))),
            ("window", format!("{} bytes of recent writes in memory", count(stats.window_size_bytes))),
        ]
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
        printer.table(&["", ""], &rows).trim_start().to_owned()
    })?;
    Ok(Exit::Done)
}
