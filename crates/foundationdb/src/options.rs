//! Options: of the client library, and those of transactions and databases in the library's numbers.

use tenantry_kv::{Error, ErrorCode, Result, StreamingMode, TransactionOption};

/// The most network threads of a process. FoundationDB's client library takes up to 1,024; each has a copy of the library in memory and connections of its own, and a
/// process that needs this many is better several.
pub const CLIENT_THREADS_MAX: u32 = 64;

/// How the client library of this process is found and run. The first engine that is opened decides: the library can be loaded and started once in a process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientOptions {
    /// The library's path. Default: what the operating system's loader finds as libfdb_c, then the folders of FoundationDB's packages.
    pub library_path: Option<String>,
    /// How many network threads there are, each with a handle of its own to the cluster; transactions are shared out among them. Default 1, and at most
    /// [`CLIENT_THREADS_MAX`]. More than one need the path of the library, which is then copied and loaded that many times; not on Windows.
    pub client_threads: u32,
    /// Where the library puts its copies for more than one thread, until they are loaded. Default the library's, which is `/tmp`. They are code: a folder that others
    /// can write to, or from which nothing may be executed, will not do. Since release 7.3.
    pub temporary_directory: Option<String>,
    /// The folder for the library's trace files; `None` for no traces. Default none.
    pub trace_directory: Option<String>,
    /// The form of the traces: `xml` or `json`. Default the library's, which is `xml`.
    pub trace_format: Option<String>,
    /// The file with the certificate for TLS (PEM).
    pub tls_certificate_path: Option<String>,
    /// The file with the key for TLS (PEM).
    pub tls_key_path: Option<String>,
    /// The file with the authorities for TLS (PEM).
    pub tls_authorities_path: Option<String>,
    /// The password of the TLS key.
    pub tls_password: Option<String>,
    /// The peers that TLS accepts, in FoundationDB's syntax.
    pub tls_verify_peers: Option<String>,
    /// A folder with libraries of other releases: the one that speaks the cluster's protocol is used, also when that changes (a rolling upgrade).
    pub external_client_directory: Option<String>,
    /// The share of the places in the library, in percent, that misbehave on purpose and the share of visits in which they do: commits of unknown outcome, late
    /// answers, errors to retry. For tests. Default none.
    pub buggify_percent: Option<(u8, u8)>,
    /// Knobs of the library, `name=value`.
    pub knobs: Vec<String>,
    /// After how many milliseconds, from a transaction's creation or reset, everything in it fails with 1031: what protects from a cluster that does not answer.
    /// Default 60,000; 0 for never.
    pub transaction_timeout_ms: u32,
    /// How many times a transaction may be retried by `on_error`; -1 for ever. Default 10,000.
    pub transaction_retry_limit: i32,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            library_path: None,
            client_threads: 1,
            temporary_directory: None,
            trace_directory: None,
            trace_format: None,
            tls_certificate_path: None,
            tls_key_path: None,
            tls_authorities_path: None,
            tls_password: None,
            tls_verify_peers: None,
            external_client_directory: None,
            buggify_percent: None,
            knobs: Vec::new(),
            transaction_timeout_ms: 60_000,
            transaction_retry_limit: 10_000,
        }
    }
}

/// An option of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetworkOption {
    pub(crate) code: i32,
    pub(crate) name: &'static str,
    pub(crate) value: Vec<u8>,
}

impl NetworkOption {
    pub(crate) fn text(code: i32, name: &'static str, value: &str) -> NetworkOption {
        NetworkOption { code, name, value: value.as_bytes().to_vec() }
    }

    fn number(code: i32, name: &'static str, value: i64) -> NetworkOption {
        NetworkOption { code, name, value: value.to_le_bytes().to_vec() }
    }
}

impl ClientOptions {
    /// Fails for what no library takes.
    pub(crate) fn check(&self) -> Result<()> {
        if (1..=CLIENT_THREADS_MAX).contains(&self.client_threads) {
            return Ok(());
        }
        let detail = format!(
            "client_threads is {}: it has to lie between 1 and {CLIENT_THREADS_MAX}",
            self.client_threads
        );
        Err(Error::new(ErrorCode::INVALID_OPTION_VALUE, detail))
    }

    /// The options in the library's numbers (`fdb_c_options.g.h` of release 7.3), in the order in which they are to be set.
    pub(crate) fn network_options(&self) -> Vec<NetworkOption> {
        let mut options = Vec::new();
        let texts = [
            (30, "trace_enable", &self.trace_directory),
            (34, "trace_format", &self.trace_format),
            (54, "tls_password", &self.tls_password),
            (43, "tls_cert_path", &self.tls_certificate_path),
            (46, "tls_key_path", &self.tls_key_path),
            (53, "tls_ca_path", &self.tls_authorities_path),
            (47, "tls_verify_peers", &self.tls_verify_peers),
            (63, "external_client_directory", &self.external_client_directory),
            (91, "client_tmp_dir", &self.temporary_directory),
        ];
        for (code, name, value) in texts {
            options.extend(value.iter().map(|value| NetworkOption::text(code, name, value)));
        }
        options.extend(self.knobs.iter().map(|knob| NetworkOption::text(40, "knob", knob)));
        if self.client_threads > 1 {
            options.push(NetworkOption::number(65, "client_threads_per_version", self.client_threads.into()));
        }
        if let Some((activated, fired)) = self.buggify_percent {
            options.push(NetworkOption::text(80, "client_buggify_enable", ""));
            options.push(NetworkOption::number(
                82,
                "client_buggify_section_activated_probability",
                activated.into(),
            ));
            options.push(NetworkOption::number(83, "client_buggify_section_fired_probability", fired.into()));
        }
        options
    }
}

/// A transaction option in the library's numbers. A request to trace needs two.
pub(crate) fn encoded(option: &TransactionOption) -> Vec<(i32, Option<Vec<u8>>)> {
    let value = match option {
        TransactionOption::TimeoutMs(number)
        | TransactionOption::RetryLimit(number)
        | TransactionOption::MaxRetryDelayMs(number)
        | TransactionOption::SizeLimitBytes(number) => Some(number.to_le_bytes().to_vec()),
        TransactionOption::DebugTransactionIdentifier(identifier) => {
            return vec![(403, Some(identifier.as_bytes().to_vec())), (404, None)];
        }
        TransactionOption::IdempotencyId(bytes)
        | TransactionOption::Tag(bytes)
        | TransactionOption::AutoThrottleTag(bytes) => Some(bytes.clone()),
        _ => None,
    };
    vec![(option.code(), value)]
}

/// The database option that makes `option` a default of every transaction, where the library has one. Its numbers are other ones (504 and above).
pub(crate) fn database_code(option: &TransactionOption) -> Option<i32> {
    match option {
        TransactionOption::TimeoutMs(_)
        | TransactionOption::RetryLimit(_)
        | TransactionOption::MaxRetryDelayMs(_)
        | TransactionOption::SizeLimitBytes(_)
        | TransactionOption::UsedDuringCommitProtectionDisable => Some(option.code()),
        TransactionOption::AutomaticIdempotency => Some(506),
        _ => None,
    }
}

/// A streaming mode and its iteration in the library's numbers.
pub(crate) fn streaming_mode(mode: StreamingMode) -> (i32, i32) {
    match mode {
        StreamingMode::WantAll => (-2, 0),
        StreamingMode::Iterator { iteration } => (-1, i32::try_from(iteration).unwrap_or(i32::MAX)),
        StreamingMode::Exact => (0, 0),
        StreamingMode::Small => (1, 0),
        StreamingMode::Medium => (2, 0),
        StreamingMode::Large => (3, 0),
        // A mode that is newer than this table reads like the largest.
        _ => (4, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_encoded_as_the_library_wants_them() {
        let timeout = encoded(&TransactionOption::TimeoutMs(1_000));
        assert_eq!(timeout, [(500, Some(vec![0xe8, 3, 0, 0, 0, 0, 0, 0]))]);
        assert_eq!(encoded(&TransactionOption::LockAware), [(700, None)]);
        let traced = encoded(&TransactionOption::DebugTransactionIdentifier("x".to_owned()));
        assert_eq!(traced, [(403, Some(b"x".to_vec())), (404, None)]);
        assert_eq!(database_code(&TransactionOption::AutomaticIdempotency), Some(506));
        assert_eq!(database_code(&TransactionOption::LockAware), None, "700 of a database is another option");
        assert_eq!(streaming_mode(StreamingMode::Iterator { iteration: u32::MAX }), (-1, i32::MAX));
    }

    #[test]
    fn the_password_comes_before_the_key_that_it_opens() {
        let options = ClientOptions {
            tls_key_path: Some("key.pem".to_owned()),
            tls_password: Some("secret".to_owned()),
            client_threads: 4,
            buggify_percent: Some((25, 10)),
            ..ClientOptions::default()
        };
        let codes: Vec<i32> = options.network_options().iter().map(|option| option.code).collect();
        assert_eq!(codes, [54, 46, 65, 80, 82, 83]);
        assert_eq!(ClientOptions::default().network_options(), []);
    }
}
