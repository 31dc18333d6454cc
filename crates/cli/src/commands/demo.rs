//! `tenantry demo`: the product on real data, in a temporary database that is gone afterwards.

use std::time::Instant;

use serde_json::{Value as Json, json};
use tenantry::{
    Condition, Destination, ImportMapping, Importer, Isolation, Options, PrimaryKey, Query, Record,
    Rejection, SchemaDefinition, Value,
};

use super::Target;
use super::import::{Imported, import, summary};
use crate::output::{Exit, Failure, Outcome, Printer, count};
use crate::rows::Rows;

const FILMS: &[u8] = include_bytes!("../../data/movies.json");
const SCHEMA: &str = include_str!("../../data/films.toml");
const MAPPING: &str = include_str!("../../data/films_import.toml");
/// How many rejections people are shown.
const REJECTIONS_SHOWN: usize = 5;

pub(crate) async fn run(target: &Target, printer: Printer) -> Outcome {
    let started = Instant::now();
    let unusable = |error| Failure::Io("a temporary directory".to_owned(), error);
    let directory = tempfile::Builder::new().prefix("tenantry-demo-").tempdir().map_err(unusable)?;
    let file = directory.path().join("movies.json");
    std::fs::write(&file, FILMS).map_err(unusable)?;
    // On a cluster the demo has a database of its own, beside those that are there.
    let is_on_cluster = target.url.starts_with("fdb:");
    let url = match is_on_cluster {
        true => target.url.clone(),
        false => format!("file:{}", directory.path().join("db").display()),
    };
    let name = format!("demo-{}-{}", std::process::id(), jiff::Timestamp::now().as_microsecond());
    let options = Options::new().name(name);

    printer.say(
        "Tenantry keeps the records of many customers (tenants) in one database, apart from each other.",
    )?;
    printer.say(format_args!("This demo makes one at {url} and removes it at the end.\n"))?;
    let database = options.open(&url).await?;

    printer.say("1. A schema: one record type, film, with 15 fields, a primary key and three indexes.")?;
    let definition = SchemaDefinition::from_toml(SCHEMA)?;
    database.apply_schema(&definition).await?;

    printer
        .say("2. Import of 3,201 real film records, faults and all. The distributor becomes the tenant.")?;
    let mapping = ImportMapping::from_toml(MAPPING)?;
    let field = mapping.tenant_field.clone().unwrap_or_default();
    let destination = Destination::Column { field, schema: definition.name.clone() };
    let importer = Importer::new(&database, destination, "film", mapping, false).await?;
    let import_started = Instant::now();
    let mut rejections = Vec::new();
    let reject = |rejection: &Rejection| {
        rejections.push(json!({ "line": rejection.line, "tag": rejection.reason.tag(), "reason": rejection.reason.detail() }));
        Ok(())
    };
    let Imported { report, ended } =
        import(importer, Rows::open(&file)?, printer, reject, None::<fn(u64) -> Outcome<()>>).await?;
    if let Some(failure) = ended {
        return Err(failure);
    }
    let mut document = summary(&report, started.elapsed().as_secs_f64());
    printer.say(format_args!(
        "   {} rows read, {} imported into {} tenants in {:.1} s, {} rejected, each with its line and reason:",
        count(report.rows_read),
        count(report.rows_imported),
        count(report.tenants),
        import_started.elapsed().as_secs_f64(),
        report.rows_rejected
    ))?;
    for rejection in rejections.iter().take(REJECTIONS_SHOWN) {
        let reason = rejection["reason"].as_str().unwrap_or_default();
        printer.say(format_args!("     line {}: {reason}", rejection["line"]))?;
    }
    if rejections.len() > REJECTIONS_SHOWN {
        printer.say(format_args!("     and {} more", rejections.len() - REJECTIONS_SHOWN))?;
    }

    printer
        .say("\n3. Three queries on one tenant. Filters are CEL; the planner says which index it took.")?;
    let universal = database.tenant("Universal").await?;
    let mut queries = Vec::new();
    for (title, query) in [
        ("the best rated", Query::of("film").order_by_descending("imdb_rating")),
        (
            "comedies by what they made",
            Query::of("film")
                .filter("genre == \"Comedy\" && worldwide_gross_usd > 0")
                .order_by_descending("worldwide_gross_usd"),
        ),
        (
            "the films of 1998",
            Query::of("film")
                .filter("released >= date(\"1998-01-01\") && released < date(\"1999-01-01\")")
                .order_by("released"),
        ),
    ] {
        let page = universal.query(&query.clone().rows_max(3)).await?;
        printer.say(format_args!("   Universal, {title}:"))?;
        if let Some(filter) = &query.filter {
            printer.say(format_args!("     where {filter}"))?;
        }
        for record in &page.records {
            let text = |field: &str| record.get(field).map(ToString::to_string).unwrap_or_default();
            printer.say(format_args!(
                "     {} ({}), rated {}",
                text("title"),
                text("released"),
                text("imdb_rating")
            ))?;
        }
        printer.say(format_args!("     found by {}", page.explanation))?;
        let titles: Vec<Json> =
            page.records.iter().filter_map(|record| Some(record.get("title")?.to_json())).collect();
        queries.push(json!({ "query": title, "index": page.explanation.index, "scanned": page.explanation.scanned, "titles": titles }));
    }

    printer
        .say("\n4. Isolation: two tenants store a film under the same key and cannot see each other's.")?;
    let fox = database.tenant("20th Century Fox").await?;
    let key = PrimaryKey { values: vec!["The Demo".into(), day("2010-01-01")] };
    let film = |director: &str| {
        Record::new().with("title", "The Demo").with("released", day("2010-01-01")).with("director", director)
    };
    universal.insert("film", &film("Ann at Universal")).await?;
    fox.insert("film", &film("Bob at Fox")).await?;
    let director =
        |record: Option<Record>| record.and_then(|record| Some(record.get("director")?.to_string()));
    let (ours, theirs) =
        (director(universal.get("film", &key).await?), director(fox.get("film", &key).await?));
    universal.delete("film", &key).await?;
    let is_still_there = fox.get("film", &key).await?.is_some();
    let shown = (ours.clone().unwrap_or_default(), theirs.clone().unwrap_or_default());
    printer.say(format_args!("   Universal reads \"{}\", Fox reads \"{}\".", shown.0, shown.1))?;
    printer.say(format_args!(
        "   Universal deletes its film; Fox's is {}.",
        if is_still_there { "still there" } else { "GONE" }
    ))?;
    let is_isolated = ours.as_deref() == Some("Ann at Universal")
        && theirs.as_deref() == Some("Bob at Fox")
        && is_still_there;

    printer.say("\n5. A conflict: somebody changes what a transaction has read. It runs again by itself and loses nothing.")?;
    let votes = |record: &Record| match record.get("imdb_votes") {
        Some(Value::Int(votes)) => *votes,
        _ => 0,
    };
    fox.put("film", &film("Bob at Fox").with("imdb_votes", 0)).await?;
    let (other, key_of, disturbed) = (&fox, &key, &std::cell::Cell::new(false));
    let completed = fox
        .run_completed(|transaction| async move {
            let mut record = transaction.get("film", key_of).await?.unwrap_or_default();
            if !disturbed.replace(true) {
                let mut theirs = record.clone();
                theirs.set("imdb_votes", votes(&theirs) + 10);
                other.put("film", &theirs).await?;
            }
            let more = votes(&record) + 1;
            record.set("imdb_votes", more);
            transaction.put_if("film", &record, Condition::Exists).await
        })
        .await?;
    let total = fox.get("film", &key).await?.map_or(0, |record| votes(&record));
    printer.say(format_args!(
        "   Two writers added 10 and 1 at the same time: {total}, after {} attempts.",
        completed.attempts
    ))?;

    printer.say("\n6. A watch: it fires when the tenant changes.")?;
    let watch = fox.watch().await?;
    fox.run(|transaction| async move { transaction.add_to_counter("views", 1) }).await?;
    watch.await.map_err(tenantry::Error::from)?;
    printer.say("   Fox counted a view, and its watch fired.")?;

    printer.say("\n7. A restart: the database is closed and opened again.")?;
    drop((universal, fox));
    database.close();
    drop(database);
    let database = options.open(&url).await?;
    let tenants = database.statistics().await?.tenants;
    let fox = database.tenant("20th Century Fox").await?;
    let found = fox.get("film", &key).await?.map_or(0, |record| votes(&record));
    let views = fox
        .read(|transaction| async move {
            transaction.set_isolation(Isolation::Snapshot);
            transaction.counter("views").await
        })
        .await?;
    printer.say(format_args!(
        "   {tenants} tenants are there, the film has its {found} votes, the counter its {views} view."
    ))?;
    if is_on_cluster {
        drop(fox);
        database.erase().await?;
    }
    let seconds = started.elapsed().as_secs_f64();
    printer.say(format_args!("\nDone in {seconds:.1} s. To go on: tenantry --help"))?;

    let is_whole = tenants == report.tenants && found == total && views == 1;
    if !is_isolated || !is_whole || total != 11 {
        return Err(Failure::Io(
            "the demo".to_owned(),
            std::io::Error::other("a step did not do what it says"),
        ));
    }
    if printer.json {
        document["seconds"] = json!((seconds * 1_000.0).round() / 1_000.0);
        document["rejections"] = json!(rejections);
        document["queries"] = json!(queries);
        document["isolated"] = json!(is_isolated);
        document["conflict"] = json!({ "attempts": completed.attempts, "votes": total });
        document["watch_fired"] = json!(true);
        document["restart"] = json!({ "tenants": tenants, "votes": found, "views": views });
        printer.line(document)?;
    }
    Ok(Exit::Done)
}

fn day(text: &str) -> Value {
    text.parse().map_or_else(|_| Value::from(text), Value::Date)
}
