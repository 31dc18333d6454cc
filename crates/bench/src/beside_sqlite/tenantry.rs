//! The record layer's side.

use std::time::Duration;

use pollster::block_on;
use tenantry::{
    Aggregation, Database, Durability, Measure, Options, PrimaryKey, Query, SchemaDefinition, Settings,
    Tenant, Value, field,
};

use super::{Client, Rival, task};
use crate::Arguments;
use crate::stores::Outcome;

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

pub(super) struct Tenantry {
    database: Database,
    tenants: Vec<Tenant>,
}

impl Tenantry {
    pub(super) fn open(path: &str, tenants: usize, arguments: &Arguments) -> Outcome<Tenantry> {
        let mut settings = Settings::default();
        settings.durability = Durability::Synced;
        settings.cache_size_bytes = arguments.cache_mib << 20;
        let options =
            Options::new().settings(settings).name(format!("beside-{tenants}-{}", std::process::id()));
        let file = format!("file:{path}");
        let database = block_on(options.open(arguments.url.as_ref().unwrap_or(&file)))?;
        block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA)?))?;
        let create = |number| block_on(database.create_tenant(&format!("tenant-{number}"), "work"));
        let tenants = (0..tenants).map(create).collect::<Result<_, _>>()?;
        Ok(Tenantry { database, tenants })
    }
}

impl Rival for Tenantry {
    fn name(&self) -> &'static str {
        "tenantry"
    }

    fn settle(&self) -> Outcome<()> {
        // A cluster does its own work behind.
        while let Some(stats) = self.database.stats() {
            // What is younger than the window's five seconds waits there by contract, not because there is too much of it.
            if stats.window_entries == 0 || stats.version_applied >= stats.version_oldest - 1 {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn client(&self) -> Outcome<Box<dyn Client + '_>> {
        Ok(Box::new(self))
    }
}

impl Client for &Tenantry {
    fn load(&mut self, tenant: usize, first: i64, last: i64) -> Outcome<()> {
        block_on(self.tenants[tenant].run(|transaction| async move {
            for id in first..last {
                transaction.insert("task", &task(id).record()).await?;
            }
            Ok::<_, tenantry::Error>(())
        }))?;
        Ok(())
    }

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

    fn page_covered_built(&mut self, tenant: usize, priority: i64) -> Outcome<Option<usize>> {
        let query = Query::of("task").filter(field("priority").eq(priority)).select(["title"]);
        Ok(Some(block_on(self.tenants[tenant].query(&query))?.records.len()))
    }

    fn count_by_status(&mut self, tenant: usize) -> Outcome<usize> {
        let asked = Aggregation::of("task").group_by("status").measure(Measure::Count);
        Ok(block_on(self.tenants[tenant].aggregate(&asked))?.groups.len())
    }

    fn count_by_kind(&mut self, tenant: usize, end: i64) -> Outcome<usize> {
        let asked = Aggregation::of("task").group_by("kind").measure(Measure::Count);
        let asked = asked.filter(format!("id < {end}"));
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
