//! What a database does is the same on every engine: on the embedded one always, and on a cluster when TENANTRY_TEST_FDB_CLUSTER_FILE names a cluster file (the
//! databases that the tests make there have names of their own, and are removed).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::disallowed_types, reason = "a test")]

use std::io::Write;

use tenantry::{
    CopyPhase, Database, Isolation, Options, PrimaryKey, Query, Record, SchemaDefinition, block_on,
};

const CLUSTER_FILE: &str = "TENANTRY_TEST_FDB_CLUSTER_FILE";
const SCHEMA: &str = r#"
    name = "shop"
    [types.item]
    primary_key = ["id"]
    fields = { id = "int", group = "int", note = "string" }
    indexes = { by_group = { fields = ["group"] } }
"#;

/// The URL of the cluster, or `None`, said plainly.
fn cluster(test: &str) -> Option<String> {
    let path = std::env::var(CLUSTER_FILE).ok();
    if path.is_none() {
        // Past the test harness, which keeps what a passing test prints to itself.
        let _ = writeln!(
            std::io::stderr(),
            "{test} did not run on a cluster: {CLUSTER_FILE} names no cluster file"
        );
    }
    path.map(|path| format!("fdb:{path}"))
}

/// A name that no other run has.
fn options(test: &str) -> Options {
    let time = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    Options::new().name(format!("test-{test}-{}-{}", std::process::id(), time.as_micros()))
}

fn item(id: i64) -> Record {
    Record::new().with("id", id).with("group", id / 10).with("note", format!("number {id}"))
}

fn fill(database: &Database, tenants: &[&str]) {
    block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
    for name in tenants {
        let tenant = block_on(database.create_tenant(name, "shop")).unwrap();
        block_on(tenant.run(|transaction| async move {
            for id in 0..100 {
                transaction.insert("item", &item(id)).await?;
            }
            transaction.add_to_counter("items", 100)
        }))
        .unwrap();
    }
}

/// Reads of keys, batches of ranges.
fn requests(database: &Database) -> (u64, u64) {
    match (database.stats(), database.cluster_stats()) {
        (Some(stats), _) => (stats.reads, stats.range_reads),
        (_, Some(stats)) => (stats.reads, stats.range_reads),
        _ => unreachable!("one of the two"),
    }
}

fn check_costs(database: &Database) {
    fill(database, &["acme"]);
    let tenant = block_on(database.tenant("acme")).unwrap();
    let get = |id: i64| block_on(tenant.get("item", &PrimaryKey::of(id))).unwrap();
    assert!(get(1).is_some());
    let before = requests(database);
    for id in 0..50 {
        assert!(get(id).is_some());
    }
    let after = requests(database);
    // The tenant's header and the record.
    assert_eq!((after.0 - before.0, after.1 - before.1), (100, 0));

    // A record that is known to be new: the header, the database's state, and whether its key is free.
    let before = requests(database);
    for id in 1_000..1_010 {
        block_on(tenant.insert("item", &item(id))).unwrap();
    }
    let after = requests(database);
    assert!(after.0 - before.0 <= 30 + 10, "{before:?} {after:?}");
    assert_eq!(after.1, before.1);
}

#[test]
fn a_record_costs_as_many_reads_as_is_said() {
    check_costs(&block_on(Options::new().open("memory:")).unwrap());
    if let Some(url) = cluster("a_record_costs_as_many_reads_as_is_said") {
        let database = block_on(options("costs").open(&url)).unwrap();
        check_costs(&database);
        block_on(database.erase()).unwrap();
    }
}

/// Everything that a tenant shows.
fn contents(database: &Database, tenant: &str) -> (Vec<Record>, Vec<Record>, i64) {
    let tenant = block_on(database.tenant(tenant)).unwrap();
    let records = |query: Query| block_on(tenant.query(&query.rows_max(1_000))).unwrap().records;
    let counter = block_on(tenant.read(|transaction| async move {
        transaction.set_isolation(Isolation::Snapshot);
        transaction.counter("items").await
    }));
    (records(Query::of("item")), records(Query::of("item").filter("group == 7")), counter.unwrap())
}

fn move_to(source: &Database, options: &Options, url: &str) -> Database {
    block_on(source.set_read_only("it moves")).unwrap();
    let mut copier = block_on(options.copier(source, url)).unwrap();
    while block_on(copier.step()).unwrap() != CopyPhase::Done {}
    assert_eq!(copier.source_hash(), copier.target_hash());
    drop(copier);
    block_on(options.open(url)).unwrap()
}

/// Through as many engines as there are, and back to the first kind: nothing is lost, and versions go on rising.
#[test]
fn a_database_moves_between_engines() {
    let temporary = tempfile::tempdir().unwrap();
    let place = |name: &str| format!("file:{}", temporary.path().join(name).display());
    let mut urls = vec![place("second")];
    urls.extend(cluster("a_database_moves_between_engines"));
    urls.push(place("third"));
    let options = options("move");
    let mut database = block_on(options.open(&place("first"))).unwrap();
    fill(&database, &["acme", "globex"]);
    let mut version = None;
    for (round, url) in urls.iter().enumerate() {
        let before = [contents(&database, "acme"), contents(&database, "globex")];
        let moved = move_to(&database, &options, url);
        assert_eq!([contents(&moved, "acme"), contents(&moved, "globex")], before);
        let tenant = block_on(moved.tenant("globex")).unwrap();
        block_on(tenant.put("item", &item(1_000 + round as i64))).unwrap();
        let key = PrimaryKey::of(1_000 + round as i64);
        let written = block_on(tenant.get("item", &key)).unwrap().unwrap().version();
        assert!(written > version, "{written:?} after {version:?}");
        version = written;
        if url.starts_with("fdb:") {
            // Whatever became of the one before, on the cluster nothing is left behind.
            let temporary = place("after the cluster");
            let next = move_to(&moved, &options, &temporary);
            block_on(moved.set_writable()).unwrap();
            block_on(moved.erase()).unwrap();
            database = next;
        } else {
            database = moved;
        }
    }
    assert_eq!(contents(&database, "globex").0.len(), 100 + urls.len());
}
