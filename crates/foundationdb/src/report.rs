//! What a cluster says of itself.

use serde_json::Value;
use tenantry_kv::{Error, ErrorCode, Result};

/// What a cluster and the client library of this process are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterReport {
    /// The client library's release, source revision and protocol, separated by commas.
    pub client_version: String,
    /// What was loaded: a path, or the name that the loader found.
    pub client_library: String,
    /// The API version in use.
    pub api_version: i32,
    /// The releases of the cluster's processes, each once. More than one during an upgrade.
    pub server_versions: Vec<String>,
    /// How many processes the cluster has.
    pub processes: u64,
    /// `single`, `double`, `triple`, `three_data_hall` and so on; empty if the cluster did not say.
    pub redundancy_mode: String,
    /// `memory`, `ssd-2`, `ssd-redwood-1` and so on; empty if the cluster did not say.
    pub storage_engine: String,
    /// Whether the cluster lets clients use FoundationDB's own tenants: `disabled`, `optional_experimental`, `required_experimental`. Tenantry uses none of them, and cannot use a
    /// cluster that requires them.
    pub native_tenants: String,
    /// Whether the cluster is locked.
    pub is_locked: bool,
    /// Whether the cluster takes transactions.
    pub is_available: bool,
    /// How long a read version took just now, in microseconds: a round trip, and the connection if it was the first.
    pub read_version_us: u64,
    /// How long the cluster itself takes to commit, in microseconds, as it last measured; `None` if it did not say.
    pub commit_us: Option<u64>,
    /// What the cluster has to say to its operators, by name.
    pub messages: Vec<String>,
}

impl ClusterReport {
    /// What the status document of a cluster says.
    pub(crate) fn of_status(status: &[u8]) -> Result<ClusterReport> {
        let status: Value = serde_json::from_slice(status).map_err(|error| {
            Error::new(
                ErrorCode::INTERNAL_ERROR,
                format!("the cluster's status is no JSON document: {error}"),
            )
        })?;
        let text = |path: &str| status.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let flag = |path: &str| status.pointer(path).and_then(Value::as_bool).unwrap_or_default();
        let processes = status.pointer("/cluster/processes").and_then(Value::as_object);
        let mut server_versions: Vec<String> = processes
            .iter()
            .flat_map(|processes| processes.values())
            .filter_map(|process| process.get("version").and_then(Value::as_str))
            .map(str::to_owned)
            .collect();
        server_versions.sort();
        server_versions.dedup();
        let commit_seconds = status.pointer("/cluster/latency_probe/commit_seconds").and_then(Value::as_f64);
        let messages = status.pointer("/cluster/messages").and_then(Value::as_array);
        Ok(ClusterReport {
            server_versions,
            processes: processes.map_or(0, |processes| processes.len() as u64),
            redundancy_mode: text("/cluster/configuration/redundancy_mode"),
            storage_engine: text("/cluster/configuration/storage_engine"),
            native_tenants: text("/cluster/configuration/tenant_mode"),
            is_locked: flag("/cluster/database_lock_state/locked"),
            is_available: flag("/client/database_status/available"),
            commit_us: commit_seconds.map(|seconds| (seconds * 1e6) as u64),
            messages: messages
                .into_iter()
                .flatten()
                .filter_map(|message| message.get("name").and_then(Value::as_str).map(str::to_owned))
                .collect(),
            ..ClusterReport::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_and_what_it_lacks_is_empty() {
        let status = br#"{
            "client": {"database_status": {"available": true, "healthy": true}},
            "cluster": {
                "configuration": {"redundancy_mode": "double", "storage_engine": "ssd-2", "tenant_mode": "disabled"},
                "database_lock_state": {"locked": true, "lock_uid": "x"},
                "latency_probe": {"commit_seconds": 0.0021},
                "messages": [{"name": "client_issues", "description": "..."}],
                "processes": {"a": {"version": "7.3.69"}, "b": {"version": "7.3.69"}, "c": {"version": "7.3.68"}}
            }
        }"#;
        let report = ClusterReport::of_status(status).unwrap();
        assert_eq!(report.server_versions, ["7.3.68", "7.3.69"]);
        assert_eq!((report.processes, report.redundancy_mode.as_str()), (3, "double"));
        assert_eq!((report.storage_engine.as_str(), report.native_tenants.as_str()), ("ssd-2", "disabled"));
        assert!(report.is_locked && report.is_available);
        assert_eq!(report.commit_us, Some(2_100));
        assert_eq!(report.messages, ["client_issues"]);
        assert_eq!(ClusterReport::of_status(b"{}").unwrap(), ClusterReport::default());
        assert!(ClusterReport::of_status(b"").is_err());
    }
}
