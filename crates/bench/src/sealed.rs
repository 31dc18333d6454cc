//! What it costs that a tenant is sealed: the same records in a sealed tenant and in one that is not, by turns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pollster::block_on;
use tenantry::sealing::{Keyring, MemoryKeyStore, RootKey};
use tenantry::{PrimaryKey, Query, Record, SchemaDefinition, Tenant, TenantOptions};

use crate::records::{text, timed};
use crate::stores::Outcome;
use crate::{Arguments, Results};

const SCHEMA: &str = r#"
name = "sealed"
[types.row]
primary_key = ["id"]
fields = { id = "int", group = "int", name = "string", score = "float", note = "string" }
indexes = { by_group = { fields = ["group"], covering = ["name"] } }
[types.text]
primary_key = ["id"]
fields = { id = "int", body = "string" }
"#;
const RECORDS: i64 = 50_000;
const PER_GROUP: i64 = 100;
const TEXTS: i64 = 5_000;
const TEXT_SIZE_BYTES: usize = 1_000;
/// How often the two take turns: a machine that gets slower meanwhile does so for both.
const ROUNDS: u32 = 5;

/// The tenants, and what is told of them.
const WORDS: [&str; 2] = ["plain", "sealed"];

pub(crate) fn measure(arguments: &Arguments, results: &mut Results) -> Outcome<()> {
    let directory = tempfile::Builder::new().prefix("tenantry-bench-").tempdir_in(".")?;
    let url = arguments.url.clone().unwrap_or_else(|| format!("file:{}", directory.path().display()));
    let database =
        block_on(tenantry::Options::new().name(format!("sealed-{}", std::process::id())).open(&url))?;
    let entropy = tenantry_env::system().entropy;
    let root = RootKey::parse(&RootKey::generate(&*entropy), entropy)?;
    let keyring = Keyring::new(Arc::new(root), Arc::new(MemoryKeyStore::new()));
    block_on(database.set_keyring(Some(keyring)))?;
    block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA)?))?;
    let tenants = WORDS.map(|name| {
        let options = TenantOptions::new().sealed(name == "sealed");
        block_on(database.create_tenant_with(name, "sealed", &options))
    });
    let [plain, sealed] = tenants;
    let tenants = [plain?, sealed?];
    let mut note = |what: &str, values: [f64; 2]| {
        println!(
            "  {:<10} {what:<44} plain {:>10.2} sealed {:>10.2} ratio {:.3}",
            "sealed",
            values[0],
            values[1],
            values[1] / values[0]
        );
        for (word, value) in WORDS.iter().zip(values) {
            results.entry(format!("h {word}: {what}")).or_default().push(("tenantry".to_owned(), value));
        }
    };
    note("record insert, 200 a transaction, us", inserted(&tenants, RECORDS, 200, "row", row)?);
    note("text of 1,000 bytes insert, 50 a transaction, us", inserted(&tenants, TEXTS, 50, "text", prose)?);
    let window = Duration::from_secs(arguments.seconds) / 40;
    note(
        "record get p50 us, own transaction",
        in_turns(|which| {
            let tenant = &tenants[which];
            Ok(timed(window, |number| {
                assert!(block_on(tenant.get("row", &key(number, RECORDS)))?.is_some());
                Ok(())
            })?
            .0)
        })?,
    );
    for (record_type, records) in [("row", RECORDS), ("text", TEXTS)] {
        let what = format!("{record_type} get p50 us, inside a transaction");
        note(
            &what,
            in_turns(|which| {
                let median = block_on(tenants[which].read(|transaction| async move {
                    timed(window.min(Duration::from_secs(3)), |number| {
                        assert!(block_on(transaction.get(record_type, &key(number, records)))?.is_some());
                        Ok(())
                    })
                    .map_err(|error| tenantry::Error::new(tenantry::Code::Engine, error.to_string()))
                }))?;
                Ok(median.0)
            })?,
        );
    }
    for (what, selects) in [("page of 100 by index p50 us", false), ("page of 100, covered, p50 us", true)] {
        note(
            what,
            in_turns(|which| {
                let tenant = &tenants[which];
                Ok(timed(window, |number| {
                    let group = number % (RECORDS / PER_GROUP) as u64;
                    let mut query = Query::of("row").filter(format!("group == {group}"));
                    if selects {
                        query = query.select(["id", "name"]);
                    }
                    assert_eq!(block_on(tenant.query(&query))?.records.len(), PER_GROUP as usize);
                    Ok(())
                })?
                .0)
            })?,
        );
    }
    Ok(())
}

fn key(number: u64, records: i64) -> PrimaryKey {
    PrimaryKey::of((number * 7_919 % records as u64) as i64)
}

fn row(id: i64) -> Record {
    Record::new()
        .with("id", id)
        .with("group", id / PER_GROUP)
        .with("name", format!("record number {id}"))
        .with("score", id as f64)
        .with("note", "x".repeat(90))
}

fn prose(id: i64) -> Record {
    Record::new().with("id", id).with("body", text(id as u64, TEXT_SIZE_BYTES))
}

/// The microseconds of one insert, the tenants by turns.
fn inserted(
    tenants: &[Tenant; 2],
    records: i64,
    together: usize,
    record_type: &str,
    record: fn(i64) -> Record,
) -> Outcome<[f64; 2]> {
    let ids: Vec<i64> = (0..records).collect();
    let mut times = [Duration::ZERO; 2];
    for (number, chunk) in ids.chunks(together).enumerate() {
        let written: Vec<Record> = chunk.iter().map(|id| record(*id)).collect();
        // None is always the first.
        for which in [number % 2, 1 - number % 2] {
            let (written, started) = (&written, Instant::now());
            block_on(tenants[which].run(|transaction| async move {
                for record in written {
                    transaction.insert(record_type, record).await?;
                }
                Ok::<_, tenantry::Error>(())
            }))?;
            times[which] += started.elapsed();
        }
    }
    Ok(times.map(|time| time.as_secs_f64() * 1e6 / records as f64))
}

/// The median of what several turns of each measured.
fn in_turns(mut measured: impl FnMut(usize) -> Outcome<f64>) -> Outcome<[f64; 2]> {
    let mut found = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (which, values) in found.iter_mut().enumerate() {
            values.push(measured(which)?);
        }
    }
    Ok(found.map(|mut values| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }))
}
