//! SQLite's side, as whoever knows it well would set it up.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::{Client, Rival, Task, task};
use crate::stores::{Outcome, connect};

const SCHEMA: &str = "
CREATE TABLE task (tenant INTEGER NOT NULL, id INTEGER NOT NULL, account INTEGER NOT NULL, status TEXT NOT NULL, kind TEXT NOT NULL, priority INTEGER NOT NULL,
    title TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (tenant, id)) WITHOUT ROWID;
CREATE INDEX by_account ON task (tenant, account);
CREATE INDEX by_priority ON task (tenant, priority, title);
CREATE INDEX per_status ON task (tenant, status);
CREATE VIRTUAL TABLE words USING fts5(body, content='');";
const INSERT: &str = "INSERT INTO task VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const INSERT_WORDS: &str = "INSERT INTO words (rowid, body) VALUES (?1, ?2)";
/// The row of a record's words says tenant and key, so that a search looks at a range of rows and at no other tenant's.
const TENANT_BITS: u32 = 32;

pub(super) struct Sqlite {
    path: PathBuf,
    cache_size_bytes: usize,
    /// Writers line up here: SQLite's own way of waiting sleeps and tries again.
    writer: Mutex<()>,
}

impl Sqlite {
    pub(super) fn open(path: &Path, cache_size_bytes: usize) -> Outcome<Sqlite> {
        let path = path.join("beside.sqlite");
        connect(&path, cache_size_bytes)?.execute_batch(SCHEMA)?;
        Ok(Sqlite { path, cache_size_bytes, writer: Mutex::new(()) })
    }
}

impl Rival for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn settle(&self) -> Outcome<()> {
        let connection = connect(&self.path, self.cache_size_bytes)?;
        Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
    }

    fn prepare(&self) -> Outcome<()> {
        // Without statistics it scans the primary key where an index would find a hundred records.
        Ok(connect(&self.path, self.cache_size_bytes)?.execute_batch("ANALYZE")?)
    }

    fn client(&self) -> Outcome<Box<dyn Client + '_>> {
        let connection = connect(&self.path, self.cache_size_bytes)?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(Box::new(SqliteClient { connection, writer: &self.writer }))
    }
}

fn insert(transaction: &Transaction<'_>, task: &Task, tenant: i64) -> rusqlite::Result<()> {
    let values = params![
        tenant,
        task.id,
        task.account,
        task.status,
        task.status,
        task.priority,
        task.title,
        task.body
    ];
    transaction.prepare_cached(INSERT)?.execute(values)?;
    let row = (tenant << TENANT_BITS) | task.id;
    transaction.prepare_cached(INSERT_WORDS)?.execute(params![row, task.body])?;
    Ok(())
}

struct SqliteClient<'a> {
    connection: Connection,
    writer: &'a Mutex<()>,
}

impl SqliteClient<'_> {
    fn write<T>(&mut self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Outcome<T> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let made = work(&transaction)?;
        transaction.commit()?;
        Ok(made)
    }

    fn rows(&self, sql: &str, parameters: impl rusqlite::Params) -> Outcome<usize> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let columns = statement.column_count();
        let mut rows = statement.query(parameters)?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            // Every value is taken out, as whoever asks would.
            for column in 0..columns {
                std::hint::black_box(row.get::<_, rusqlite::types::Value>(column)?);
            }
            count += 1;
        }
        Ok(count)
    }
}

impl Client for SqliteClient<'_> {
    fn load(&mut self, tenant: usize, first: i64, last: i64) -> Outcome<()> {
        self.write(|transaction| {
            (first..last).try_for_each(|id| insert(transaction, &task(id), tenant as i64))
        })
    }

    fn insert(&mut self, tenant: usize, id: i64) -> Outcome<usize> {
        let task = task(id);
        self.write(|transaction| insert(transaction, &task, tenant as i64))?;
        Ok(1)
    }

    fn update(&mut self, tenant: usize, id: i64, priority: i64) -> Outcome<usize> {
        self.write(|transaction| {
            transaction
                .prepare_cached("UPDATE task SET priority = ?3 WHERE tenant = ?1 AND id = ?2")?
                .execute(params![tenant as i64, id, priority])
        })
    }

    fn get(&mut self, tenant: usize, id: i64) -> Outcome<usize> {
        self.rows("SELECT * FROM task WHERE tenant = ?1 AND id = ?2", params![tenant as i64, id])
    }

    fn page(&mut self, tenant: usize, account: i64) -> Outcome<usize> {
        let sql = "SELECT * FROM task WHERE tenant = ?1 AND account = ?2 LIMIT 100";
        self.rows(sql, params![tenant as i64, account])
    }

    fn page_covered(&mut self, tenant: usize, priority: i64) -> Outcome<usize> {
        let sql = "SELECT title FROM task WHERE tenant = ?1 AND priority = ?2 LIMIT 100";
        self.rows(sql, params![tenant as i64, priority])
    }

    fn count_by_status(&mut self, tenant: usize) -> Outcome<usize> {
        self.rows("SELECT status, count(*) FROM task WHERE tenant = ?1 GROUP BY status", [tenant as i64])
    }

    fn count_by_kind(&mut self, tenant: usize, end: i64) -> Outcome<usize> {
        let sql = "SELECT kind, count(*) FROM task WHERE tenant = ?1 AND id < ?2 GROUP BY kind";
        self.rows(sql, params![tenant as i64, end])
    }

    fn top_ten(&mut self, tenant: usize) -> Outcome<usize> {
        let sql = "SELECT * FROM task WHERE tenant = ?1 ORDER BY priority DESC LIMIT 10";
        self.rows(sql, [tenant as i64])
    }

    fn search(&mut self, tenant: usize, words: [&str; 2]) -> Outcome<usize> {
        let sql = "SELECT task.* FROM words JOIN task ON task.tenant = ?2 AND task.id = words.rowid - ?3 \
            WHERE words MATCH ?1 AND words.rowid BETWEEN ?3 AND ?4 LIMIT 20";
        let first = (tenant as i64) << TENANT_BITS;
        let last = first + (1 << TENANT_BITS) - 1;
        self.rows(sql, params![words.join(" "), tenant as i64, first, last])
    }
}
