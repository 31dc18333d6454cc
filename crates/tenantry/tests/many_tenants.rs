//! Memory with few tenants and with many.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "a test that prints its figures"
)]

use std::process::Command;

use tenantry::{Database, Options, PrimaryKey, Record, SchemaDefinition, Settings, TenantOptions, block_on};

const SCHEMA: &str = "name = \"s\"\n[types.note]\nprimary_key = [\"id\"]\nfields = { id = \"int\" }\n";
/// What a process that this test starts does, and on what.
const PART: &str = "TENANTRY_TEST_MANY_TENANTS";
/// How often a tenant is opened and read.
const OPENED: usize = 30_000;
const LIMIT_KB: i64 = 10_000;
const CACHE_SIZE_BYTES: usize = 4 << 20;

fn create(path: &str, count: usize) {
    let database = block_on(tenantry::open(path)).unwrap();
    block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
    let names: Vec<(String, TenantOptions)> = (0..count)
        .map(|number| (format!("t{number}"), TenantOptions::new().label("region", "eu").plan("small")))
        .collect();
    for batch in names.chunks(10_000) {
        assert_eq!(block_on(database.create_tenants("s", batch)).unwrap().created, batch.len());
    }
}

/// Opens tenants all over the database, reads each, and writes some; the resident memory at the end, in kB.
fn work(path: &str, count: usize) {
    // The engine's cache of blocks takes what it is given, whatever is in them: little, so that the rest shows.
    let mut settings = Settings::default();
    settings.cache_size_bytes = CACHE_SIZE_BYTES;
    let database: Database = block_on(Options::new().settings(settings).open(path)).unwrap();
    for number in 0..OPENED {
        let name = format!("t{}", (number * 7_919) % count);
        let tenant = block_on(database.tenant(&name)).unwrap();
        block_on(tenant.get("note", &PrimaryKey::of(1))).unwrap();
        if number % 300 == 0 {
            block_on(tenant.put("note", &Record::new().with("id", 1))).unwrap();
        }
    }
    println!("resident_kb={}", resident_kb());
}

fn resident_kb() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Runs a part in a process of its own, and gives what it printed of its memory.
fn in_process(part: &str, path: &str, count: usize) -> i64 {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "memory_is_the_same_with_a_hundred_tenants_and_a_hundred_thousand",
            "--nocapture",
        ])
        .env(PART, format!("{part} {count} {path}"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let found =
        text.split_whitespace().find_map(|word| word.split_once("resident_kb=").map(|(_, kb)| kb.to_owned()));
    found.map_or(0, |kb| kb.parse().unwrap())
}

#[test]
#[cfg(target_os = "linux")]
#[ignore = "creates a hundred thousand tenants: about a minute"]
fn memory_is_the_same_with_a_hundred_tenants_and_a_hundred_thousand() {
    if let Ok(part) = std::env::var(PART) {
        let mut words = part.splitn(3, ' ');
        let (what, count, path) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let count = count.parse().unwrap();
        return if what == "create" { create(path, count) } else { work(path, count) };
    }
    let mut resident = Vec::new();
    for count in [100, 100_000] {
        let directory = tempfile::tempdir().unwrap();
        let path = format!("file:{}", directory.path().join("db").display());
        in_process("create", &path, count);
        let kb = in_process("work", &path, count);
        println!("{count} tenants: {kb} kB resident after {OPENED} opened");
        resident.push(kb);
    }
    let more = resident[1] - resident[0];
    println!("with 100,000 tenants {more} kB more than with 100");
    assert!(resident[0] > 0 && more < LIMIT_KB, "{resident:?}");
}
