//! The record layer beside SQLite: the same records, the same four indexes, the same questions, in one run.
//!
//! Both sync every transaction. SQLite has a connection and prepared statements for each client, WAL mode with `synchronous=FULL`, `BEGIN IMMEDIATE`, and FTS5 for the words. With
//! many tenants its tables have the tenant as the first column of every key and index, as applications do it.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use pollster::block_on;
use rusqlite::{Connection, TransactionBehavior, params};
use tenantry::{
    Aggregation, Database, Durability, Measure, Options, PrimaryKey, Query, Record, SchemaDefinition, Tenant,
    Value,
};

use crate::stores::{Outcome, connect};
use crate::{Arguments, Results, mix};

const SCHEMA: &str = r#"
name = "work"
[types.task]
primary_key = ["id"]
fields = { id = "int", account = "int", status = "string", kind = "string", priority = "int", title = "string", body = "string" }
[types.task.indexes]
by_account = { fields = ["account"] }
by_priority = { fields = ["priority"], covering = ["title"] }
per_status = { kind = "count", group = ["status"] }
words = { kind = "text", fields = ["body"] }
"#;
const SQL_SCHEMA: &str = "
CREATE TABLE task (tenant INTEGER NOT NULL, id INTEGER NOT NULL, account INTEGER NOT NULL, status TEXT NOT NULL, kind TEXT NOT NULL, priority INTEGER NOT NULL,
    title TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (tenant, id)) WITHOUT ROWID;
CREATE INDEX by_account ON task (tenant, account);
CREATE INDEX by_priority ON task (tenant, priority, title);
CREATE INDEX per_status ON task (tenant, status);
CREATE VIRTUAL TABLE words USING fts5(body, tenant UNINDEXED, id UNINDEXED);";
const INSERT: &str = "INSERT INTO task VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
const INSERT_WORDS: &str = "INSERT INTO words VALUES (?1, ?2, ?3)";
const STATES: [&str; 5] = ["cancelled", "done", "new", "open", "waiting"];
const WORDS: [&str; 64] = [
    "account", "after", "again", "answer", "apple", "bank", "before", "board", "budget", "call", "change",
    "city", "copy", "customer", "delay", "delivery", "desk", "doubt", "early", "engine", "error", "event",
    "field", "flow", "form", "garden", "goal", "green", "house", "idea", "invoice", "item", "joint",
    "kitchen", "letter", "level", "market", "meeting", "mirror", "month", "north", "number", "office",
    "order", "paper", "people", "price", "project", "queue", "report", "river", "sample", "school", "season",
    "signal", "stone", "table", "ticket", "train", "travel", "value", "window", "winter", "yellow",
];
const LOAD_ROWS: i64 = 500;
const PER_ACCOUNT: i64 = 100;
const PRIORITIES: u64 = 1_000;

/// A task, in neither form.
struct Task {
    id: i64,
    account: i64,
    status: &'static str,
    priority: i64,
    title: String,
    body: String,
}

fn task(id: i64) -> Task {
    let random = mix(id as u64);
    let word = |place: u64| WORDS[(mix(random ^ place) % 64) as usize];
    Task {
        id,
        account: id / PER_ACCOUNT,
        status: STATES[(random % 5) as usize],
        priority: (mix(random) % PRIORITIES) as i64,
        title: format!("{} {}", word(1), word(2)),
        body: (3..11).map(word).collect::<Vec<_>>().join(" "),
    }
}

impl Task {
    fn record(&self) -> Record {
        Record::new()
            .with("id", self.id)
            .with("account", self.account)
            .with("status", self.status)
            .with("kind", self.status)
            .with("priority", self.priority)
            .with("title", self.title.as_str())
            .with("body", self.body.as_str())
    }

    fn insert(&self, connection: &Connection, tenant: i64) -> rusqlite::Result<()> {
        let values = params![
            tenant,
            self.id,
            self.account,
            self.status,
            self.status,
            self.priority,
            self.title,
            self.body
        ];
        connection.prepare_cached(INSERT)?.execute(values)?;
        connection.prepare_cached(INSERT_WORDS)?.execute(params![self.body, tenant, self.id])?;
        Ok(())
    }
}

/// What is asked, of both. Every answer says how many rows or groups it has, so that the two can be compared.
trait Rival: Sync {
    fn name(&self) -> &'static str;
    fn load(&self, tenant: usize, first: i64, last: i64) -> Outcome<()>;
    /// A client's own way in.
    fn client(&self) -> Outcome<Box<dyn Client + '_>>;
}

trait Client {
    /// One record in a durable transaction.
    fn insert(&mut self, tenant: usize, id: i64) -> Outcome<usize>;
    /// One indexed field of a record, in a durable transaction.
    fn update(&mut self, tenant: usize, id: i64, priority: i64) -> Outcome<usize>;
    fn get(&mut self, tenant: usize, id: i64) -> Outcome<usize>;
    /// A hundred records of an account.
    fn page(&mut self, tenant: usize, account: i64) -> Outcome<usize>;
    /// Up to a hundred titles of a priority, from the index alone.
    fn page_covered(&mut self, tenant: usize, priority: i64) -> Outcome<usize>;
    fn count_by_status(&mut self, tenant: usize) -> Outcome<usize>;
    /// The same by a field that has no index.
    fn count_by_kind(&mut self, tenant: usize) -> Outcome<usize>;
    fn top_ten(&mut self, tenant: usize) -> Outcome<usize>;
    /// Up to twenty records with two words.
    fn search(&mut self, tenant: usize, words: [&str; 2]) -> Outcome<usize>;
}

struct Tenantry {
    _database: Database,
    tenants: Vec<Tenant>,
}

impl Tenantry {
    fn open(url: &str, tenants: usize) -> Outcome<Tenantry> {
        let options =
            Options::new().durability(Durability::Synced).name(format!("beside-{}", std::process::id()));
        let database = block_on(options.open(url))?;
        block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA)?))?;
        let create = |number| block_on(database.create_tenant(&format!("tenant-{number}"), "work"));
        let tenants = (0..tenants).map(create).collect::<Result<_, _>>()?;
        Ok(Tenantry { _database: database, tenants })
    }
}

impl Rival for Tenantry {
    fn name(&self) -> &'static str {
        "tenantry"
    }

    fn load(&self, tenant: usize, first: i64, last: i64) -> Outcome<()> {
        block_on(self.tenants[tenant].run(|transaction| async move {
            for id in first..last {
                transaction.insert("task", &task(id).record()).await?;
            }
            Ok::<_, tenantry::Error>(())
        }))?;
        Ok(())
    }

    fn client(&self) -> Outcome<Box<dyn Client + '_>> {
        Ok(Box::new(self))
    }
}

impl Client for &Tenantry {
    fn insert(&mut self, tenant: usize, id: i64) -> Outcome<usize> {
        block_on(self.tenants[tenant].insert("task", &task(id).record()))?;
        Ok(1)
    }

    fn update(&mut self, tenant: usize, id: i64, priority: i64) -> Outcome<usize> {
        block_on(self.tenants[tenant].update("task", &PrimaryKey::of(id), |record| {
            record.set("priority", priority);
            Ok(())
        }))?;
        Ok(1)
    }

    fn get(&mut self, tenant: usize, id: i64) -> Outcome<usize> {
        Ok(usize::from(block_on(self.tenants[tenant].get("task", &PrimaryKey::of(id)))?.is_some()))
    }

    fn page(&mut self, tenant: usize, account: i64) -> Outcome<usize> {
        let query = Query::of("task").filter("account == param.account").parameter("account", account);
        Ok(block_on(self.tenants[tenant].query(&query))?.records.len())
    }

    fn page_covered(&mut self, tenant: usize, priority: i64) -> Outcome<usize> {
        let query = Query::of("task").filter("priority == param.priority").parameter("priority", priority);
        Ok(block_on(self.tenants[tenant].query(&query.select(["title"])))?.records.len())
    }

    fn count_by_status(&mut self, tenant: usize) -> Outcome<usize> {
        let asked = Aggregation::of("task").group_by("status").measure(Measure::Count);
        Ok(block_on(self.tenants[tenant].aggregate(&asked))?.groups.len())
    }

    fn count_by_kind(&mut self, tenant: usize) -> Outcome<usize> {
        let asked = Aggregation::of("task").group_by("kind").measure(Measure::Count);
        Ok(block_on(self.tenants[tenant].aggregate(&asked))?.groups.len())
    }

    fn top_ten(&mut self, tenant: usize) -> Outcome<usize> {
        let query = Query::of("task").order_by_descending("priority").rows_max(10);
        Ok(block_on(self.tenants[tenant].query(&query))?.records.len())
    }

    fn search(&mut self, tenant: usize, words: [&str; 2]) -> Outcome<usize> {
        let words = Value::from(words.join(" "));
        let query = Query::of("task").filter("matches(body, param.words)").parameter("words", words);
        Ok(block_on(self.tenants[tenant].query(&query.rows_max(20)))?.records.len())
    }
}

struct Sqlite {
    path: std::path::PathBuf,
    cache_size_bytes: usize,
}

impl Sqlite {
    fn open(path: &Path, cache_size_bytes: usize) -> Outcome<Sqlite> {
        let path = path.join("beside.sqlite");
        connect(&path, cache_size_bytes)?.execute_batch(SQL_SCHEMA)?;
        Ok(Sqlite { path, cache_size_bytes })
    }
}

impl Rival for Sqlite {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn load(&self, tenant: usize, first: i64, last: i64) -> Outcome<()> {
        let mut connection = connect(&self.path, self.cache_size_bytes)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        (first..last).try_for_each(|id| task(id).insert(&transaction, tenant as i64))?;
        Ok(transaction.commit()?)
    }

    fn client(&self) -> Outcome<Box<dyn Client + '_>> {
        let connection = connect(&self.path, self.cache_size_bytes)?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(Box::new(SqliteClient(connection)))
    }
}

struct SqliteClient(Connection);

impl SqliteClient {
    fn rows(&self, sql: &str, parameters: impl rusqlite::Params) -> Outcome<usize> {
        let mut statement = self.0.prepare_cached(sql)?;
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

impl Client for SqliteClient {
    fn insert(&mut self, tenant: usize, id: i64) -> Outcome<usize> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        task(id).insert(&transaction, tenant as i64)?;
        transaction.commit()?;
        Ok(1)
    }

    fn update(&mut self, tenant: usize, id: i64, priority: i64) -> Outcome<usize> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let changed = transaction
            .prepare_cached("UPDATE task SET priority = ?3 WHERE tenant = ?1 AND id = ?2")?
            .execute(params![tenant as i64, id, priority])?;
        transaction.commit()?;
        Ok(changed)
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

    fn count_by_kind(&mut self, tenant: usize) -> Outcome<usize> {
        self.rows("SELECT kind, count(*) FROM task WHERE tenant = ?1 GROUP BY kind", [tenant as i64])
    }

    fn top_ten(&mut self, tenant: usize) -> Outcome<usize> {
        let sql = "SELECT * FROM task WHERE tenant = ?1 ORDER BY priority DESC LIMIT 10";
        self.rows(sql, [tenant as i64])
    }

    fn search(&mut self, tenant: usize, words: [&str; 2]) -> Outcome<usize> {
        let sql = "SELECT task.* FROM words JOIN task ON task.tenant = words.tenant AND task.id = words.id \
            WHERE words MATCH ?1 AND words.tenant = ?2 LIMIT 20";
        self.rows(sql, params![words.join(" "), tenant as i64])
    }
}

pub(crate) fn measure(arguments: &Arguments, results: &mut Results) -> Outcome<()> {
    for tenants in [1, 1_000] {
        for name in ["tenantry", "sqlite"] {
            let directory = tempfile::Builder::new().prefix("tenantry-bench-").tempdir_in(".")?;
            let rival: Box<dyn Rival> = match name {
                "sqlite" => Box::new(Sqlite::open(directory.path(), arguments.cache_mib << 20)?),
                _ => {
                    let file = format!("file:{}", directory.path().display());
                    Box::new(Tenantry::open(arguments.url.as_ref().unwrap_or(&file), tenants)?)
                }
            };
            measure_one(&*rival, arguments, tenants, results)?;
        }
    }
    Ok(())
}

fn measure_one(
    rival: &dyn Rival,
    arguments: &Arguments,
    tenants: usize,
    results: &mut Results,
) -> Outcome<()> {
    let of = if tenants == 1 { "one tenant".to_owned() } else { format!("{tenants} tenants") };
    let mut note = |what: &str, value: f64| {
        let what = format!("h {of}: {what}");
        println!("  {:<10} {what:<52} {value:>12.1}", rival.name());
        results.entry(what).or_default().push((rival.name().to_owned(), value));
    };
    let records = (arguments.records as i64 / tenants as i64).max(PER_ACCOUNT);
    let started = Instant::now();
    for tenant in 0..tenants {
        for first in (0..records).step_by(LOAD_ROWS as usize) {
            rival.load(tenant, first, (first + LOAD_ROWS).min(records))?;
        }
    }
    let rows = records as f64 * tenants as f64;
    note("insert, 500 a transaction, records/s", rows / started.elapsed().as_secs_f64());
    let seconds = arguments.seconds as f64 / 6.0;
    let next = AtomicI64::new(records);
    for clients in [1, 64] {
        let per_second = concurrently(rival, clients, seconds, |client, random| {
            client.insert((random % tenants as u64) as usize, next.fetch_add(1, Ordering::Relaxed))
        })?;
        note(&format!("durable inserts of one record/s, {clients} clients"), per_second);
        let per_second = concurrently(rival, clients, seconds, |client, random| {
            let (tenant, id) = ((random % tenants as u64) as usize, (mix(random) % records as u64) as i64);
            client.update(tenant, id, (mix(random ^ 1) % PRIORITIES) as i64)
        })?;
        note(&format!("durable updates of an indexed field/s, {clients} clients"), per_second);
    }
    let mut client = rival.client()?;
    let mut read =
        |what: &str, at_least: usize, ask: &mut dyn FnMut(&mut dyn Client, usize, u64) -> Outcome<usize>| {
            let mut times = Vec::new();
            let begun = Instant::now();
            let mut found = 0;
            for number in 0u64.. {
                let random = mix(number);
                let started = Instant::now();
                match ask(&mut *client, (random % tenants as u64) as usize, mix(random)) {
                    Ok(rows) => found += rows,
                    Err(error) => {
                        println!("  {:<10} h {of}: {what}: {error}", rival.name());
                        return Ok(());
                    }
                }
                times.push(started.elapsed().as_nanos() as u64);
                if begun.elapsed().as_secs_f64() > seconds {
                    break;
                }
            }
            if found < at_least * times.len() {
                return Err(format!("{what}: {found} rows in {} answers", times.len()).into());
            }
            times.sort_unstable();
            note(&format!("{what} p50 us"), times[times.len() / 2] as f64 / 1e3);
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        };
    let in_range = |random: u64, end: i64| (random % end as u64) as i64;
    read("get", 1, &mut |client, tenant, random| client.get(tenant, in_range(random, records)))?;
    read("page of 100 by index", 99, &mut |client, tenant, random| {
        client.page(tenant, in_range(random, records / PER_ACCOUNT))
    })?;
    read("page of up to 100, covered", 0, &mut |client, tenant, random| {
        client.page_covered(tenant, in_range(random, PRIORITIES as i64))
    })?;
    read("count by group", 5, &mut |client, tenant, _| client.count_by_status(tenant))?;
    read("count by group without an index", 5, &mut |client, tenant, _| client.count_by_kind(tenant))?;
    read("top ten by index", 10, &mut |client, tenant, _| client.top_ten(tenant))?;
    read("twenty with two words", 0, &mut |client, tenant, random| {
        client.search(tenant, [WORDS[(random % 64) as usize], WORDS[(mix(random) % 64) as usize]])
    })
}

/// How many operations a second some clients get done, each with a way in of its own.
fn concurrently(
    rival: &dyn Rival,
    clients: u64,
    seconds: f64,
    work: impl Fn(&mut dyn Client, u64) -> Outcome<usize> + Sync,
) -> Outcome<f64> {
    let started = Instant::now();
    let done = std::thread::scope(|scope| {
        let running: Vec<_> = (0..clients)
            .map(|number| {
                let work = &work;
                scope.spawn(move || -> Outcome<u64> {
                    let mut client = rival.client()?;
                    let (mut done, mut random) = (0, mix(number));
                    while started.elapsed().as_secs_f64() < seconds {
                        random = mix(random);
                        work(&mut *client, random)?;
                        done += 1;
                    }
                    Ok(done)
                })
            })
            .collect();
        let mut done = 0;
        for thread in running {
            done += thread.join().map_err(|_| "a client panicked")??;
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(done)
    })?;
    Ok(done as f64 / started.elapsed().as_secs_f64())
}
