//! The record layer on the engine, as a ratio to the bare engine.

use std::time::{Duration, Instant};

use pollster::block_on;
use tenantry::{PrimaryKey, Query, Record, SchemaDefinition};
use tenantry_kv::Isolation;

use crate::stores::Outcome;
use crate::{Arguments, Results};

const SCHEMA: &str = r#"
name = "bench"
[types.row]
primary_key = ["id"]
fields = { id = "int", group = "int", name = "string", score = "float", note = "string" }
indexes = { by_group = { fields = ["group"] } }
"#;
const TEXT_SCHEMA: &str = r#"
name = "texts"
[types.text]
primary_key = ["id"]
fields = { id = "int", author = "string", title = "string", body = "string" }
"#;
/// The lengths of the bodies, in bytes, and how many records of each are written.
const TEXTS: [(usize, i64); 3] = [(300, 20_000), (1_000, 20_000), (8_000, 4_000)];
const RECORDS: i64 = 100_000;
const PER_GROUP: i64 = 100;

pub(crate) fn measure(arguments: &Arguments, results: &mut Results) -> Outcome<()> {
    let directory = tempfile::Builder::new().prefix("tenantry-bench-").tempdir_in(".")?;
    let url = arguments.url.clone().unwrap_or_else(|| format!("file:{}", directory.path().display()));
    block_on(async {
        let database =
            tenantry::Options::new().name(format!("bench-{}", std::process::id())).open(&url).await?;
        database.apply_schema(&SchemaDefinition::from_toml(SCHEMA)?).await?;
        let tenant = database.create_tenant("bench", "bench").await?;
        let record = |id: i64| {
            Record::new()
                .with("id", id)
                .with("group", id / PER_GROUP)
                .with("name", format!("record number {id}"))
                .with("score", id as f64)
                .with("note", "x".repeat(90))
        };
        let mut note = |what: &str, value: f64| {
            println!("  {:<10} {what:<44} {value:>12.1}", "records");
            results.entry(what.to_owned()).or_default().push(("tenantry".to_owned(), value));
        };
        let started = Instant::now();
        for begin in (0..RECORDS).step_by(200) {
            tenant
                .run(|transaction| async move {
                    for id in begin..begin + 200 {
                        transaction.insert("row", &record(id)).await?;
                    }
                    Ok::<_, tenantry::Error>(())
                })
                .await?;
        }
        note(
            "f record insert, 200 a transaction, records/s",
            RECORDS as f64 / started.elapsed().as_secs_f64(),
        );
        let window = Duration::from_secs(arguments.seconds) / 6;
        // The same bytes, read bare: the keys under which the records lie, in the same order.
        let engine = tenantry_core::engine_access::engine(&database);
        let keys = {
            let transaction = engine.begin()?;
            let mut next = Some(tenantry_kv::RangeRequest::new("", vec![0xfe]));
            let mut keys = Vec::new();
            while let Some(request) = next {
                let batch = transaction.get_range(&request, Isolation::Snapshot).await?;
                // Records are the only rows of their length: the frame, the fields, and ninety letters at the end.
                let records =
                    batch.rows.iter().filter(|row| row.value.ends_with(&[b'x'; 90]) && row.value.len() < 300);
                keys.extend(records.map(|row| row.key.clone()));
                next = request.after(&batch);
            }
            keys
        };
        assert_eq!(keys.len(), RECORDS as usize);
        let key_of = |number: u64| &keys[(number * 7_919 % RECORDS as u64) as usize];
        let bare = timed(window, |number| {
            let transaction = engine.begin()?;
            assert!(block_on(transaction.get(key_of(number), Isolation::Serializable))?.is_some());
            Ok(())
        })?;
        let transaction = engine.begin()?;
        let bare_inside = timed(window.min(Duration::from_secs(3)), |number| {
            assert!(block_on(transaction.get(key_of(number), Isolation::Serializable))?.is_some());
            Ok(())
        })?;
        drop(transaction);
        let got = timed(window, |number| {
            let key = PrimaryKey::of((number * 7_919 % RECORDS as u64) as i64);
            assert!(block_on(tenant.get("row", &key))?.is_some());
            Ok(())
        })?;
        let inside = block_on(tenant.read(|transaction| async move {
            timed(window.min(Duration::from_secs(3)), |number| {
                let key = PrimaryKey::of((number * 7_919 % RECORDS as u64) as i64);
                assert!(block_on(transaction.get("row", &key))?.is_some());
                Ok(())
            })
            .map_err(|error| tenantry::Error::new(tenantry::Code::Engine, error.to_string()))
        }))?;
        let queried = timed(window, |number| {
            let group = number % (RECORDS / PER_GROUP) as u64;
            let query = Query::of("row").filter(format!("group == {group}"));
            assert_eq!(block_on(tenant.query(&query))?.records.len(), 100);
            Ok(())
        })?;
        note("f engine get p50 us, own transaction", bare.0);
        note("f engine get p50 us, inside a transaction", bare_inside.0);
        note("f record get p50 us, own transaction", got.0);
        note("f record get p99 us, own transaction", got.1);
        note("f record get p50 us, inside a transaction", inside.0);
        note("f query of 100 by index p50 us", queried.0);
        measure_texts(&database, window, &mut note).await?;
        println!(
            "  record get to engine get: {:.2} in its own transaction, {:.2} inside one",
            got.0 / bare.0,
            inside.0 / bare_inside.0
        );
        Ok(())
    })
}

/// Records of text, which compress: what their insert and get cost, and the room they take.
async fn measure_texts(
    database: &tenantry::Database,
    window: Duration,
    note: &mut impl FnMut(&str, f64),
) -> Outcome<()> {
    database.apply_schema(&SchemaDefinition::from_toml(TEXT_SCHEMA)?).await?;
    for (size_bytes, records) in TEXTS {
        let tenant = &database.create_tenant(&format!("texts-{size_bytes}"), "texts").await?;
        let record = |id: i64| {
            Record::new()
                .with("id", id)
                .with("author", format!("author number {}", id % 97))
                .with("title", format!("the title of number {id}"))
                .with("body", text(id as u64, size_bytes))
        };
        let before = database.statistics().await?.size_bytes;
        let records_of: Vec<Record> = (0..records).map(record).collect();
        let started = Instant::now();
        for chunk in records_of.chunks(50) {
            tenant
                .run(|transaction| async move {
                    for record in chunk {
                        transaction.insert("text", record).await?;
                    }
                    Ok::<_, tenantry::Error>(())
                })
                .await?;
        }
        let elapsed = started.elapsed().as_secs_f64();
        note(
            &format!("g text of {size_bytes} bytes insert, 50 a transaction, records/s"),
            records as f64 / elapsed,
        );
        let grown = database.statistics().await?.size_bytes.saturating_sub(before);
        note(&format!("g text of {size_bytes} bytes, bytes with log"), grown as f64 / records as f64);
        let inside = block_on(tenant.read(|transaction| async move {
            timed(window.min(Duration::from_secs(3)), |number| {
                let key = PrimaryKey::of((number * 7_919 % records as u64) as i64);
                assert!(block_on(transaction.get("text", &key))?.is_some());
                Ok(())
            })
            .map_err(|error| tenantry::Error::new(tenantry::Code::Engine, error.to_string()))
        }))?;
        note(&format!("g text of {size_bytes} bytes get p50 us, inside a transaction"), inside.0);
    }
    Ok(())
}

/// Words in an order that does not repeat.
pub(crate) fn text(seed: u64, size_bytes: usize) -> String {
    const WORDS: [&str; 32] = [
        "account",
        "after",
        "again",
        "another",
        "because",
        "before",
        "between",
        "budget",
        "change",
        "customer",
        "delivery",
        "every",
        "from",
        "invoice",
        "later",
        "meeting",
        "month",
        "never",
        "nothing",
        "number",
        "office",
        "order",
        "people",
        "project",
        "question",
        "report",
        "should",
        "something",
        "the",
        "until",
        "which",
        "without",
    ];
    let mut text = String::with_capacity(size_bytes + 16);
    let mut state = crate::mix(seed);
    while text.len() < size_bytes {
        state = crate::mix(state);
        text.push_str(WORDS[(state % 32) as usize]);
        text.push_str(if state & 0x1000 == 0 { " " } else { ", " });
        if state.is_multiple_of(7) {
            text.push_str(&(state >> 48).to_string());
        }
    }
    text.truncate(size_bytes);
    text
}

/// The median and the 99th percentile of one call, in microseconds.
pub(crate) fn timed(window: Duration, mut call: impl FnMut(u64) -> Outcome<()>) -> Outcome<(f64, f64)> {
    let started = Instant::now();
    let mut times = Vec::new();
    for number in 0.. {
        let begun = Instant::now();
        call(number)?;
        times.push(begun.elapsed().as_nanos() as u64);
        if started.elapsed() >= window || times.len() > 3_000_000 {
            break;
        }
    }
    times.sort_unstable();
    let at = |quantile: f64| times[(times.len() as f64 * quantile) as usize] as f64 / 1e3;
    Ok((at(0.5), at(0.99)))
}
