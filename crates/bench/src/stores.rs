//! The stores, behind one small interface.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use fjall::{KeyspaceCreateOptions, OptimisticTxDatabase, OptimisticTxKeyspace, PersistMode};
use pollster::block_on;
use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use tenantry_embedded::{EmbeddedEngine, Settings};
use tenantry_kv::{Engine, Isolation, RangeRequest};

pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
pub(crate) type Key = [u8; 32];

/// A store that threads share.
pub(crate) trait Store: Send + Sync {
    fn name(&self) -> &'static str;
    /// A client for one thread, with a connection of its own where the store has such.
    fn client(&self) -> Outcome<Box<dyn Client>>;
    /// Returns when nothing is left to do in the background.
    fn settle(&self) -> Outcome<()>;
    /// What the store says of itself, for the report.
    fn note(&self) -> String {
        String::new()
    }
}

pub(crate) trait Client: Send {
    /// One durable transaction.
    fn write(&mut self, rows: &[(Key, &[u8])]) -> Outcome<()>;
    /// One durable, serializable transaction that reads a key and writes it back changed. Returns the attempts.
    fn read_modify_write(&mut self, key: &Key) -> Outcome<u32>;
    fn get(&mut self, key: &Key) -> Outcome<bool>;
    /// Reads up to `count` rows from a key on.
    fn scan(&mut self, from: &Key, count: usize) -> Outcome<usize>;
}

fn changed(value: Option<&[u8]>) -> Vec<u8> {
    let mut value = value.map_or_else(|| vec![0; 150], <[u8]>::to_vec);
    value[0] = value[0].wrapping_add(1);
    value
}

/// Opens a store that may use so much memory for pages.
pub(crate) fn open(name: &str, path: &Path, cache_size_bytes: usize) -> Outcome<Arc<dyn Store>> {
    std::fs::create_dir_all(path)?;
    Ok(match name {
        "tenantry" => {
            let mut settings = Settings::default();
            settings.cache_size_bytes = cache_size_bytes;
            let path = path.to_str().ok_or("the path is not UTF-8")?;
            Arc::new(Tenantry(Arc::new(EmbeddedEngine::open(path, settings, tenantry_env::system())?)))
        }
        "redb" => {
            let database = redb::Builder::new().set_cache_size(cache_size_bytes).create(path.join("redb"))?;
            let transaction = database.begin_write()?;
            transaction.open_table(TABLE)?;
            transaction.commit()?;
            Arc::new(Redb(Arc::new(database)))
        }
        "fjall" => {
            let database = OptimisticTxDatabase::builder(path.join("fjall"))
                .cache_size(cache_size_bytes as u64)
                .open()?;
            let keyspace = database.keyspace("rows", KeyspaceCreateOptions::default)?;
            Arc::new(Fjall { database, keyspace })
        }
        "sqlite" => {
            let path = path.join("sqlite");
            let connection = connect(&path, cache_size_bytes)?;
            connection.execute_batch(
                "CREATE TABLE IF NOT EXISTS rows (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
            )?;
            Arc::new(Sqlite { path, cache_size_bytes })
        }
        "lmdb" => {
            #[expect(unsafe_code, reason = "memory-mapped: nobody else may write the file")]
            let env = unsafe { heed::EnvOpenOptions::new().map_size(16 << 30).max_readers(256).open(path)? };
            let mut transaction = env.write_txn()?;
            let database = env.create_database(&mut transaction, None)?;
            transaction.commit()?;
            Arc::new(Lmdb { env, database })
        }
        other => return Err(format!("there is no store {other}").into()),
    })
}

struct Tenantry(Arc<EmbeddedEngine>);

impl Store for Tenantry {
    fn name(&self) -> &'static str {
        "tenantry"
    }

    fn client(&self) -> Outcome<Box<dyn Client>> {
        Ok(Box::new(TenantryClient(self.0.clone())))
    }

    fn settle(&self) -> Outcome<()> {
        loop {
            let stats = self.0.stats();
            if stats.window_entries == 0
                || stats.version_applied >= stats.version_oldest - 1 && stats.log_size_bytes < 4 << 20
            {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    fn note(&self) -> String {
        let stats = self.0.stats();
        format!(
            "batch p50 {}, sync p50 {} us p99 {} us, window {} MB, log {} MB, written log {} MB map {} MB, stalls {}",
            stats.batch_transactions.quantile(0.5),
            stats.sync_us.quantile(0.5),
            stats.sync_us.quantile(0.99),
            stats.window_size_bytes >> 20,
            stats.log_size_bytes >> 20,
            stats.log_bytes_written >> 20,
            stats.map_bytes_written >> 20,
            stats.write_stalls,
        )
    }
}

struct TenantryClient(Arc<EmbeddedEngine>);

impl Client for TenantryClient {
    fn write(&mut self, rows: &[(Key, &[u8])]) -> Outcome<()> {
        let transaction = self.0.begin()?;
        for (key, value) in rows {
            transaction.set(key, value);
        }
        Ok(block_on(transaction.commit())?)
    }

    fn read_modify_write(&mut self, key: &Key) -> Outcome<u32> {
        let transaction = self.0.begin()?;
        let mut attempts = 1;
        loop {
            let value = block_on(transaction.get(key, Isolation::Serializable))?;
            transaction.set(key, &changed(value.as_deref()));
            match block_on(transaction.commit()) {
                Ok(()) => return Ok(attempts),
                // Without the back-off: a fair race against stores that have none.
                Err(error) if error.is_retryable() => transaction.reset(),
                Err(error) => return Err(error.into()),
            }
            attempts += 1;
        }
    }

    fn get(&mut self, key: &Key) -> Outcome<bool> {
        Ok(block_on(self.0.begin()?.get(key, Isolation::Snapshot))?.is_some())
    }

    fn scan(&mut self, from: &Key, count: usize) -> Outcome<usize> {
        let request = RangeRequest::new(from.to_vec(), b"\xff".as_slice()).limit(count);
        Ok(block_on(self.0.begin()?.get_range(&request, Isolation::Snapshot))?.rows.len())
    }
}

const TABLE: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

struct Redb(Arc<redb::Database>);

impl Store for Redb {
    fn name(&self) -> &'static str {
        "redb"
    }

    fn client(&self) -> Outcome<Box<dyn Client>> {
        Ok(Box::new(RedbClient(self.0.clone())))
    }

    fn settle(&self) -> Outcome<()> {
        Ok(())
    }
}

struct RedbClient(Arc<redb::Database>);

impl Client for RedbClient {
    fn write(&mut self, rows: &[(Key, &[u8])]) -> Outcome<()> {
        let transaction = self.0.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (key, value) in rows {
                table.insert(&key[..], *value)?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn read_modify_write(&mut self, key: &Key) -> Outcome<u32> {
        let transaction = self.0.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            let value = changed(table.get(&key[..])?.as_ref().map(redb::AccessGuard::value));
            table.insert(&key[..], &value[..])?;
        }
        transaction.commit()?;
        Ok(1)
    }

    fn get(&mut self, key: &Key) -> Outcome<bool> {
        let transaction = self.0.begin_read()?;
        let value = transaction.open_table(TABLE)?.get(&key[..])?.map(|value| value.value().to_vec());
        Ok(value.is_some())
    }

    fn scan(&mut self, from: &Key, count: usize) -> Outcome<usize> {
        let transaction = self.0.begin_read()?;
        let mut rows = Vec::new();
        for row in transaction.open_table(TABLE)?.range(&from[..]..)?.take(count) {
            let (key, value) = row?;
            rows.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(rows.len())
    }
}

struct Fjall {
    database: OptimisticTxDatabase,
    keyspace: OptimisticTxKeyspace,
}

impl Store for Fjall {
    fn name(&self) -> &'static str {
        "fjall"
    }

    fn client(&self) -> Outcome<Box<dyn Client>> {
        Ok(Box::new(FjallClient { database: self.database.clone(), keyspace: self.keyspace.clone() }))
    }

    fn settle(&self) -> Outcome<()> {
        let inner = self.database.inner();
        while inner.outstanding_flushes() > 0 || inner.active_compactions() > 0 {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Ok(())
    }
}

struct FjallClient {
    database: OptimisticTxDatabase,
    keyspace: OptimisticTxKeyspace,
}

impl Client for FjallClient {
    fn write(&mut self, rows: &[(Key, &[u8])]) -> Outcome<()> {
        let mut transaction = self.database.write_tx()?.durability(Some(PersistMode::SyncAll));
        for (key, value) in rows {
            transaction.insert(&self.keyspace, *key, *value);
        }
        transaction.commit()?.map_err(|_| "a blind write conflicted")?;
        Ok(())
    }

    fn read_modify_write(&mut self, key: &Key) -> Outcome<u32> {
        let mut attempts = 1;
        loop {
            let mut transaction = self.database.write_tx()?.durability(Some(PersistMode::SyncAll));
            use fjall::Readable;
            let value = transaction.get(&self.keyspace, key)?;
            transaction.insert(&self.keyspace, *key, changed(value.as_deref()));
            if transaction.commit()?.is_ok() {
                return Ok(attempts);
            }
            attempts += 1;
        }
    }

    fn get(&mut self, key: &Key) -> Outcome<bool> {
        Ok(self.keyspace.get(key)?.is_some())
    }

    fn scan(&mut self, from: &Key, count: usize) -> Outcome<usize> {
        let mut rows = Vec::new();
        for row in self.keyspace.inner().range(from.to_vec()..).take(count) {
            rows.push(row.into_inner()?);
        }
        Ok(rows.len())
    }
}

struct Sqlite {
    path: std::path::PathBuf,
    cache_size_bytes: usize,
}

pub(crate) fn connect(path: &Path, cache_size_bytes: usize) -> Outcome<rusqlite::Connection> {
    let connection = rusqlite::Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(60))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -((cache_size_bytes >> 10) as i64))?;
    Ok(connection)
}

impl Store for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn client(&self) -> Outcome<Box<dyn Client>> {
        Ok(Box::new(SqliteClient(Mutex::new(connect(&self.path, self.cache_size_bytes)?))))
    }

    fn settle(&self) -> Outcome<()> {
        let connection = connect(&self.path, self.cache_size_bytes)?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }
}

/// SQLite's connections move between threads but are not shared; the lock is never contended.
struct SqliteClient(Mutex<rusqlite::Connection>);

const UPSERT: &str =
    "INSERT INTO rows (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2";

impl SqliteClient {
    fn immediate<T>(
        &mut self,
        work: impl Fn(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Outcome<T> {
        let connection = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let made = work(&transaction)?;
        transaction.commit()?;
        Ok(made)
    }
}

impl Client for SqliteClient {
    fn write(&mut self, rows: &[(Key, &[u8])]) -> Outcome<()> {
        self.immediate(|transaction| {
            let mut statement = transaction.prepare_cached(UPSERT)?;
            rows.iter().try_for_each(|(key, value)| statement.execute((&key[..], *value)).map(|_| ()))
        })
    }

    fn read_modify_write(&mut self, key: &Key) -> Outcome<u32> {
        self.immediate(|transaction| {
            let mut select = transaction.prepare_cached("SELECT value FROM rows WHERE key = ?1")?;
            let value: Option<Vec<u8>> = select.query_row([&key[..]], |row| row.get(0)).ok();
            transaction.prepare_cached(UPSERT)?.execute((&key[..], changed(value.as_deref())))?;
            Ok(1)
        })
    }

    fn get(&mut self, key: &Key) -> Outcome<bool> {
        let connection = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut select = connection.prepare_cached("SELECT value FROM rows WHERE key = ?1")?;
        let value: Option<Vec<u8>> = select.query_row([&key[..]], |row| row.get(0)).ok();
        Ok(value.is_some())
    }

    fn scan(&mut self, from: &Key, count: usize) -> Outcome<usize> {
        let connection = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut select =
            connection.prepare_cached("SELECT key, value FROM rows WHERE key >= ?1 ORDER BY key LIMIT ?2")?;
        let rows = select.query_map((&from[..], count as i64), |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?))
        })?;
        Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?.len())
    }
}

type LmdbDatabase = heed::Database<heed::types::Bytes, heed::types::Bytes>;

struct Lmdb {
    env: heed::Env,
    database: LmdbDatabase,
}

impl Store for Lmdb {
    fn name(&self) -> &'static str {
        "lmdb"
    }

    fn client(&self) -> Outcome<Box<dyn Client>> {
        Ok(Box::new(LmdbClient { env: self.env.clone(), database: self.database }))
    }

    fn settle(&self) -> Outcome<()> {
        Ok(())
    }
}

struct LmdbClient {
    env: heed::Env,
    database: LmdbDatabase,
}

impl Client for LmdbClient {
    fn write(&mut self, rows: &[(Key, &[u8])]) -> Outcome<()> {
        let mut transaction = self.env.write_txn()?;
        for (key, value) in rows {
            self.database.put(&mut transaction, key, value)?;
        }
        Ok(transaction.commit()?)
    }

    fn read_modify_write(&mut self, key: &Key) -> Outcome<u32> {
        let mut transaction = self.env.write_txn()?;
        let value = changed(self.database.get(&transaction, key)?);
        self.database.put(&mut transaction, key, &value)?;
        transaction.commit()?;
        Ok(1)
    }

    fn get(&mut self, key: &Key) -> Outcome<bool> {
        let transaction = self.env.read_txn()?;
        Ok(self.database.get(&transaction, key)?.map(<[u8]>::to_vec).is_some())
    }

    fn scan(&mut self, from: &Key, count: usize) -> Outcome<usize> {
        let transaction = self.env.read_txn()?;
        let mut rows = Vec::new();
        let bounds = (std::ops::Bound::Included(&from[..]), std::ops::Bound::<&[u8]>::Unbounded);
        for row in self.database.range(&transaction, &bounds)?.take(count) {
            let (key, value) = row?;
            rows.push((key.to_vec(), value.to_vec()));
        }
        Ok(rows.len())
    }
}
