//! `tenantry status`.

use serde_json::{Value as Json, json};
use tenantry::{ClusterReport, PoolStatistics, Stats, TimeHistogram};

use super::{Target, open_existing};
use crate::output::{Exit, Outcome, Printer, count};

pub(crate) async fn run(target: &Target, printer: Printer) -> Outcome {
    let database = open_existing(target).await?;
    let statistics = database.statistics().await?;
    let profile = database.engine_profile();
    let mut document = json!({
        "database": { "url": target.url, "name": database.name(), "uuid": database.uuid().to_string(), "format": tenantry::FORMAT_VERSION },
        "engine": { "name": profile.name, "durable": profile.is_durable },
        "tenants": statistics.tenants,
        "size_bytes": statistics.size_bytes,
        "read_version": statistics.read_version,
    });
    let mut rows = vec![
        ("database", format!("{} at {}", database.name(), target.url)),
        ("uuid", database.uuid().to_string()),
        ("engine", format!("{}, {}", profile.name, if profile.is_durable { "durable" } else { "in memory" })),
        ("tenants", count(statistics.tenants)),
        ("size", format!("{} bytes of keys and values", count(statistics.size_bytes))),
    ];
    add(&mut document, json!({ "pool": pool(&database.pool_statistics()) }));
    if let Some(stats) = database.stats() {
        add(&mut document, embedded(&stats));
        rows.push(("log", format!("{} bytes that the map does not hold yet", count(stats.log_size_bytes))));
        rows.push(("window", format!("{} bytes of recent writes in memory", count(stats.window_size_bytes))));
    }
    if let Some(report) = database.cluster().await? {
        let stats = database.cluster_stats().unwrap_or_default();
        add(
            &mut document,
            json!({
                "cluster": cluster(&report),
                "requests": { "transactions": stats.transactions, "reads": stats.reads, "range_reads": stats.range_reads, "commits": stats.commits },
            }),
        );
        rows.extend(cluster_rows(&report));
    }
    printer.document(&document, || {
        let rows: Vec<Vec<String>> =
            rows.iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]).collect();
        printer.table(&["", ""], &rows).trim_start().to_owned()
    })?;
    Ok(Exit::Done)
}

fn add(document: &mut Json, more: Json) {
    if let (Json::Object(document), Json::Object(more)) = (document, more) {
        document.extend(more);
    }
}

/// The figures of the pool under OpenTelemetry's names.
fn pool(statistics: &PoolStatistics) -> Json {
    let times = |times: &TimeHistogram| {
        let seconds = |us: u64| us as f64 / 1e6;
        let bounds: Vec<f64> = times.bounds_us.iter().map(|bound| seconds(*bound)).collect();
        json!({ "count": times.count, "sum_s": seconds(times.sum_us), "bounds_s": bounds, "counts": times.counts })
    };
    json!({
        "db.client.connection.count": { "used": statistics.used, "idle": statistics.idle() },
        "db.client.connection.max": statistics.max,
        "db.client.connection.pending_requests": statistics.pending_requests,
        "db.client.connection.timeouts": statistics.timeouts,
        "db.client.connection.wait_time": times(&statistics.wait_time),
        "db.client.connection.use_time": times(&statistics.use_time),
    })
}

fn embedded(stats: &Stats) -> Json {
    json!({
        "window": { "size_bytes": stats.window_size_bytes, "entries": stats.window_entries, "oldest_version": stats.version_oldest },
        "log": { "size_bytes": stats.log_size_bytes, "bytes_written": stats.log_bytes_written },
        "map": { "applied_version": stats.version_applied, "bytes_written": stats.map_bytes_written },
        "requests": { "reads": stats.reads, "range_reads": stats.range_reads, "commits": stats.commits },
        "commits": stats.commits,
        "conflicts": stats.conflicts,
        "too_old": stats.too_old,
        "watches": stats.watches,
        "sync_us": { "p50": stats.sync_us.quantile(0.5), "p99": stats.sync_us.quantile(0.99) },
    })
}

fn cluster(report: &ClusterReport) -> Json {
    json!({
        "client_version": report.client_version,
        "client_library": report.client_library,
        "api_version": report.api_version,
        "server_versions": report.server_versions,
        "processes": report.processes,
        "redundancy_mode": report.redundancy_mode,
        "storage_engine": report.storage_engine,
        "native_tenants": report.native_tenants,
        "locked": report.is_locked,
        "available": report.is_available,
        "read_version_us": report.read_version_us,
        "commit_us": report.commit_us,
        "messages": report.messages,
    })
}

fn cluster_rows(report: &ClusterReport) -> Vec<(&'static str, String)> {
    let state = match (report.is_available, report.is_locked) {
        (false, _) => "not available",
        (true, true) => "locked",
        (true, false) => "available",
    };
    let mut rows = vec![
        (
            "cluster",
            format!(
                "{state}, {} processes of release {}, {} redundancy, storage {}",
                report.processes,
                report.server_versions.join(" and "),
                report.redundancy_mode,
                report.storage_engine
            ),
        ),
        (
            "client",
            format!(
                "{} from {}, API version {}",
                report.client_version.split(',').next().unwrap_or_default(),
                report.client_library,
                report.api_version
            ),
        ),
        ("latency", format!("{} microseconds for a read version just now", count(report.read_version_us))),
    ];
    if !report.messages.is_empty() {
        rows.push(("messages", report.messages.join(", ")));
    }
    rows
}
