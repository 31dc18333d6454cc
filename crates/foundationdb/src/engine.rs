//! The engine: handles to a cluster.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tenantry_kv::env::Env;
use tenantry_kv::{
    DatabaseOption, Engine, EngineProfile, Error, ErrorCode, Isolation, ReadTransaction, Result, Transaction,
    TransactionOption, TransactionRef,
};

use crate::binding::{Client, RawDatabase, RawTransaction};
use crate::counts::{Counts, Stats};
use crate::handles::Handles;
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
    handles: Handles,
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
    /// 10040 when the client library cannot be loaded or started, or is none or too old, naming what was tried and what to install; 2006 for a number of threads that is out of bounds, or that
    /// the library does not take; 2007 when the process uses other options already, another number of threads among them, or when the library has no such option; 1515 and 2104 when there is no cluster file or it is none; 10004 after [`stop_network`](crate::stop_network).
    pub fn open(cluster_file: Option<&str>, options: &ClientOptions, env: Env) -> Result<FoundationDbEngine> {
        options.check()?;
        let client = Client::start(options, &env)?;
        let databases = RawDatabase::open_on_each_thread(client, cluster_file).map_err(|error| {
            let file = cluster_file.unwrap_or("the default cluster file");
            Error::new(error.code(), format!("{file} cannot be used: {error}"))
        })?;
        let engine = FoundationDbEngine {
            client,
            handles: Handles::new(databases),
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
        // From the transaction's beginning, with all its attempts.
        transaction.set_option(TransactionOption::TimeoutMs(STATUS_TIMEOUT_MS))?;
        let (status, read_version_us) = loop {
            match self.status(&transaction).await {
                Ok(status) => break status,
                Err(error) => transaction.on_error(&error).await?,
            }
        };
        let mut report = ClusterReport::of_status(&status)?;
        report.client_version = self.client.version();
        report.client_library = self.client.path().to_owned();
        report.api_version = self.client.api_version();
        report.read_version_us = u64::try_from(read_version_us).unwrap_or(u64::MAX);
        Ok(report)
    }

    /// The state of the cluster, and how many microseconds a read version took.
    async fn status(&self, transaction: &FoundationDbTransaction) -> Result<(Bytes, u128)> {
        transaction.set_option(TransactionOption::LockAware)?;
        let started = self.env.clock.monotonic();
        transaction.read_version().await?;
        let read_version_us = self.env.clock.monotonic().saturating_sub(started).as_micros();
        let status = transaction.get(STATUS_KEY, Isolation::Snapshot).await?.unwrap_or_default();
        Ok((status, read_version_us))
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

    /// How many network threads the client library of this process has. Each transaction is on one of them, in turn, and so are its watches.
    pub fn client_threads(&self) -> u32 {
        self.client.options().client_threads
    }

    /// The API version of the client library that is used: 730 or 710.
    pub fn api_version(&self) -> i32 {
        self.client.api_version()
    }

    fn transaction(&self) -> Result<FoundationDbTransaction> {
        self.counts.transactions.fetch_add(1, Ordering::Relaxed);
        FoundationDbTransaction::new(self.handles.next().begin()?, self.defaults.clone(), self.counts.clone())
    }

    fn set_database_option(&self, code: i32, value: &[u8]) -> Result<()> {
        self.handles.iter().try_for_each(|database| database.set_option(code, value))
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
