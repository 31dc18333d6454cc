//! The engine: handles to a cluster.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tenantry_kv::env::Env;
use tenantry_kv::{
    DatabaseOption, Engine, EngineProfile, Error, ErrorCode, Isolation, ReadTransaction, Result,
    TransactionOption, TransactionRef,
};

use crate::binding::{Client, RawDatabase, RawTransaction};
use crate::counts::{Counts, Stats};
use crate::options::{ClientOptions, database_code};
use crate::report::ClusterReport;
use crate::transaction::{FoundationDbTransaction, set_option};

const OPTION_MAX_WATCHES: i32 = 20;
const OPTION_SNAPSHOT_RYW_ENABLE: i32 = 26;
const OPTION_SNAPSHOT_RYW_DISABLE: i32 = 27;
/// Where the library answers with the state of the cluster, as JSON (FoundationDB's documentation, "Special keys").
const STATUS_KEY: &[u8] = b"\xff\xff/status/json";
/// How long the state of the cluster is waited for.
const STATUS_TIMEOUT_MS: i64 = 10_000;

/// A FoundationDB cluster as an engine.
///
/// Cheap to share. Dropping it closes its handles; the client library and its network stay for other engines of the process.
pub struct FoundationDbEngine {
    client: &'static Client,
    /// One for each network thread.
    databases: Vec<Arc<RawDatabase>>,
    next: AtomicUsize,
    defaults: Arc<Defaults>,
    counts: Arc<Counts>,
    env: Env,
}

impl fmt::Debug for FoundationDbEngine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("FoundationDbEngine").field("client", &self.client).finish_non_exhaustive()
    }
}

/// The defaults for transactions that the library has no database option for: they are set anew on every transaction.
#[derive(Debug, Default)]
pub(crate) struct Defaults {
    options: Mutex<Vec<TransactionOption>>,
}

impl Defaults {
    pub(crate) fn apply(&self, raw: &RawTransaction) -> Result<()> {
        let options = self.options.lock().unwrap_or_else(PoisonError::into_inner);
        options.iter().try_for_each(|option| set_option(raw, option))
    }

    fn add(&self, option: TransactionOption) {
        let mut options = self.options.lock().unwrap_or_else(PoisonError::into_inner);
        options.retain(|known| known.code() != option.code());
        options.push(option);
    }
}

impl FoundationDbEngine {
    /// Opens the cluster that a cluster file names; `None` stands for the library's default (the variable FDB_CLUSTER_FILE, `./fdb.cluster`, the system's). The
    /// cluster is not contacted: one that does not answer shows in the first transaction, as 1031 after its timeout.
    ///
    /// The first call in a process loads the client library and starts its network, by `options`; later ones need the same.
    ///
    /// # Errors
    ///
    /// 10040 when the client library cannot be loaded, or is none or too old, naming what was tried and what to install; 2007 when the process uses other options
    /// already; 1515 and 2104 when there is no cluster file or it is none; 10004 after [`stop_network`](crate::stop_network).
    pub fn open(cluster_file: Option<&str>, options: &ClientOptions, env: Env) -> Result<FoundationDbEngine> {
        if options.client_threads == 0 || options.client_threads > 64 {
            let detail =
                format!("client_threads is {}: it has to lie between 1 and 64", options.client_threads);
            return Err(Error::new(ErrorCode::INVALID_OPTION_VALUE, detail));
        }
        let client = Client::start(options, &env)?;
        let databases = (0..options.client_threads)
            .map(|_| RawDatabase::open(client, cluster_file).map(Arc::new))
            .collect::<Result<Vec<_>>>()
            .map_err(|error| {
                let file = cluster_file.unwrap_or("the default cluster file");
                Error::new(error.code(), format!("{file} cannot be used: {error}"))
            })?;
        let engine = FoundationDbEngine {
            client,
            databases,
            next: AtomicUsize::new(0),
            defaults: Arc::default(),
            counts: Arc::default(),
            env,
        };
        for default in [
            TransactionOption::TimeoutMs(options.transaction_timeout_ms.into()),
            TransactionOption::RetryLimit(options.transaction_retry_limit.into()),
        ] {
            engine.set_option(DatabaseOption::TransactionDefault(default))?;
        }
        Ok(engine)
    }

    /// What the cluster and the client library are: asks the cluster, waiting up to ten seconds.
    ///
    /// # Errors
    ///
    /// 1031 when the cluster does not answer.
    pub async fn report(&self) -> Result<ClusterReport> {
        let transaction = self.transaction()?;
        set_option(transaction.raw(), &TransactionOption::TimeoutMs(STATUS_TIMEOUT_MS))?;
        set_option(transaction.raw(), &TransactionOption::LockAware)?;
        let started = self.env.clock.monotonic();
        transaction.read_version().await?;
        let read_version_us = self.env.clock.monotonic().saturating_sub(started).as_micros();
        let status = transaction.get(STATUS_KEY, Isolation::Snapshot).await?.unwrap_or_default();
        let mut report = ClusterReport::of_status(&status)?;
        report.client_version = self.client.version();
        report.client_library = self.client.path().to_owned();
        report.api_version = self.client.api_version();
        report.read_version_us = u64::try_from(read_version_us).unwrap_or(u64::MAX);
        Ok(report)
    }

    /// What was asked of the cluster since the engine was opened.
    pub fn stats(&self) -> Stats {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            transactions: count(&self.counts.transactions),
            reads: count(&self.counts.reads),
            range_reads: count(&self.counts.range_reads),
            commits: count(&self.counts.commits),
        }
    }

    /// The API version of the client library that is used: 730 or 710.
    pub fn api_version(&self) -> i32 {
        self.client.api_version()
    }

    fn transaction(&self) -> Result<FoundationDbTransaction> {
        self.counts.transactions.fetch_add(1, Ordering::Relaxed);
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.databases.len();
        FoundationDbTransaction::new(
            self.databases[index].begin()?,
            self.defaults.clone(),
            self.counts.clone(),
        )
    }

    fn set_database_option(&self, code: i32, value: &[u8]) -> Result<()> {
        self.databases.iter().try_for_each(|database| database.set_option(code, value))
    }
}

impl Engine for FoundationDbEngine {
    fn begin(&self) -> Result<TransactionRef> {
        Ok(Arc::new(self.transaction()?))
    }

    fn set_option(&self, option: DatabaseOption) -> Result<()> {
        match option {
            DatabaseOption::MaxWatches(watches) => {
                self.set_database_option(OPTION_MAX_WATCHES, &watches.to_le_bytes())
            }
            DatabaseOption::SnapshotReadYourWrites(true) => {
                self.set_database_option(OPTION_SNAPSHOT_RYW_ENABLE, &[])
            }
            DatabaseOption::SnapshotReadYourWrites(false) => {
                self.set_database_option(OPTION_SNAPSHOT_RYW_DISABLE, &[])
            }
            DatabaseOption::TransactionDefault(option) => {
                option.validate()?;
                match (database_code(&option), &option) {
                    (Some(code), _) => {
                        let value = crate::options::encoded(&option).swap_remove(0).1.unwrap_or_default();
                        self.set_database_option(code, &value)
                    }
                    (None, TransactionOption::LockAware | TransactionOption::ReadLockAware) => {
                        self.defaults.add(option);
                        Ok(())
                    }
                    _ => {
                        let detail =
                            format!("option {} cannot be a default of all transactions", option.code());
                        Err(Error::new(ErrorCode::INVALID_OPTION, detail))
                    }
                }
            }
            other => {
                let detail = format!("{other:?} is no option of this engine");
                Err(Error::new(ErrorCode::INVALID_OPTION, detail))
            }
        }
    }

    fn profile(&self) -> EngineProfile {
        EngineProfile::new("foundationdb", true, true)
    }
}
