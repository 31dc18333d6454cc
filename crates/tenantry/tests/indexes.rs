//! Every kind of index gives what a look at all records gives: the same records in two tenants, one whose schema has every kind of index, one whose schema has none.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::collections::BTreeSet;

use proptest::prelude::*;
use tenantry::{
    Aggregation, Code, Group, Measure, PrimaryKey, Query, Record, SchemaDefinition, StopReason, Tenant,
    Value, block_on,
};

type Checked<T> = Result<T, TestCaseError>;

const FIELDS: &str = r#"
[types.task]
primary_key = ["id"]
[types.task.fields]
id = "int"
account = "string"
status = { type = "enum", values = ["open", "done", "late"], optional = true }
points = { type = "int", optional = true }
cost = { type = "decimal", optional = true }
rating = { type = "float", optional = true }
email = "string"
tags = { type = "list", of = "string", optional = true }
due = { type = "timestamp", optional = true }
place = { type = "struct", optional = true, fields = { city = { type = "string", optional = true } } }
body = { type = "string", optional = true }
notes = { type = "list", of = "string", optional = true }
"#;

const INDEXES: &str = r#"
[types.task.indexes]
by_account_points = { fields = ["account", "points:desc"] }
by_points_last = { fields = [{ field = "points", missing = "last" }] }
by_cost_desc = { fields = ["cost:desc", "account"] }
by_rating_desc_first = { fields = [{ field = "rating", order = "desc", missing = "first" }] }
by_status = { fields = ["status"] }
by_account = { fields = ["account"] }
by_email = { fields = ["lower(email)"] }
by_tag = { fields = [{ each = "tags" }, "points"] }
by_city = { fields = ["place.city"] }
open_by_due = { fields = ["due"], where = "status == \"open\"" }
covering = { fields = ["account", "status"], covering = ["points", "cost", "email"] }
by_sum = { fields = ["points + id"] }
count_all = { kind = "count" }
count_status = { kind = "count", group = ["status"] }
count_account_status = { kind = "count", group = ["account", "status"] }
count_tags = { kind = "count", group = [{ each = "tags" }] }
open_count = { kind = "count", group = ["account"], where = "status == \"open\"" }
points_by_account = { kind = "sum", group = ["account"], of = "points" }
costs_by_account = { kind = "sum", group = ["account"], of = "cost" }
sum_ids = { kind = "sum", of = "id" }
min_points = { kind = "min", group = ["account"], of = "points" }
max_cost = { kind = "max", group = ["account"], of = "cost" }
last_status = { kind = "max", group = ["account"], of = "status" }
count_account = { kind = "count", group = ["account"] }
changes = { kind = "version" }
rating_ranks = { kind = "rank", group = ["account"], fields = ["rating:desc", "points"] }
cost_ranks = { kind = "rank", fields = ["cost", "lower(email)"], where = "status != null" }
expiry = { kind = "time_to_live", fields = ["due"], after_s = 60 }
words = { kind = "text", fields = ["body"] }
stems = { kind = "text", group = ["account"], fields = ["body"], language = "english" }
all_stems = { kind = "text", fields = ["body"], language = "english" }
tag_words = { kind = "text", group = [{ each = "tags" }], fields = ["body"], language = "german" }
note_words = { kind = "text", fields = [{ each = "notes" }] }
open_words = { kind = "text", fields = ["body"], where = "status == \"open\"", language = "french" }
"#;

fn tenants() -> (Tenant, Tenant) {
    let database = common::database();
    for (name, indexes) in [("plain", ""), ("indexed", INDEXES)] {
        let schema = SchemaDefinition::from_toml(&format!("name = \"{name}\"\n{FIELDS}{indexes}")).unwrap();
        block_on(database.apply_schema(&schema)).unwrap();
        // The stored form means the same.
        assert_eq!(SchemaDefinition::from_json(&schema.to_json().to_string()).unwrap(), schema);
    }
    let create = |name: &str| block_on(database.create_tenant(name, name)).unwrap();
    (create("plain"), create("indexed"))
}

fn task(id: i64, seed: u64) -> Record {
    let pick = |shift: u32, count: u64| (seed >> shift) % count;
    let mut task = Record::new()
        .with("id", id)
        .with("account", ["a", "a\0", "ab", ""][pick(0, 4) as usize])
        .with("email", ["Ada@X.org", "ada@x.org", "Éva@x.org", "bob"][pick(4, 4) as usize]);
    if pick(8, 4) > 0 {
        task.set("status", Value::Enum(["open", "done", "late"][pick(10, 3) as usize].into()));
    }
    if pick(12, 4) > 0 {
        task.set("points", [i64::MIN, -3, 0, 3, 700, i64::MAX][pick(14, 6) as usize]);
    }
    if pick(18, 4) > 0 {
        let cost = ["-1.50", "0", "1.5", "99.999999999999999999"][pick(20, 4) as usize];
        task.set("cost", Value::Decimal(cost.parse().unwrap()));
    }
    if pick(22, 4) > 0 {
        task.set("rating", [-1.5, 0.0, -0.0, 2.5][pick(24, 4) as usize]);
    }
    if pick(28, 4) > 0 {
        let tags = ["red", "green", "red", "", "blue"];
        task.set(
            "tags",
            tags[..pick(30, 6) as usize].iter().map(|tag| Value::from(*tag)).collect::<Vec<_>>(),
        );
    }
    if pick(36, 3) > 0 {
        task.set(
            "due",
            Value::Timestamp(
                ["2030-01-01T00:00:00Z", "2031-06-01T12:00:00.5Z"][pick(38, 2) as usize].parse().unwrap(),
            ),
        );
    }
    if pick(40, 3) > 0 {
        let city = (pick(42, 3) > 0).then(|| ("city".into(), ["Bern", "Zug"][pick(44, 2) as usize].into()));
        task.set("place", Value::Struct(city.into_iter().collect()));
    }
    if pick(46, 8) > 0 {
        task.set("body", BODIES[pick(48, BODIES.len() as u64) as usize]);
    }
    if pick(52, 3) > 0 {
        let notes = BODIES[pick(54, 4) as usize..].iter().take(pick(56, 4) as usize);
        task.set("notes", notes.map(|body| Value::from(*body)).collect::<Vec<_>>());
    }
    task
}

const BODIES: &[&str] = &[
    "",
    "The quick brown fox; the quick red fox jumps over running dogs.",
    "fox",
    "Quick runs of foxes, quickly run: quicksand",
    "CAFÉ Cafe\u{301} ｃａｆé",
    "日本語の本 カタカナ",
    "Straße\0straßen ΟΔΟΣ",
    " ... -- !?",
];

const FILTERS: &[&str] = &[
    "true",
    "account == \"a\"",
    "account == \"a\" && points > 0",
    "account == \"a\" && points <= 3 && points > -4",
    "points == null",
    "points >= 0",
    "cost < decimal(\"1.5\") && cost >= decimal(\"-1.5\")",
    "cost == decimal(\"1.50\")",
    "rating > -1.0",
    "rating == 0.0",
    "lower(email) == \"ada@x.org\"",
    "lower(email).startsWith(\"é\")",
    "\"red\" in tags",
    "tags.exists(tag, tag == \"green\") && points > 0",
    "\"\" in tags && \"blue\" in tags",
    "place.city == \"Bern\"",
    "place.city == null",
    "status == \"open\" && due > timestamp(\"2030-01-01T00:00:00Z\")",
    "status == \"open\" && due != null",
    "status in [\"open\", \"late\"]",
    "status == \"done\" || points > 100",
    "(account == \"ab\" || place.city == \"Zug\") && status != null",
    "account in [\"a\", \"\"] && status == \"open\"",
    "id in [1, 3, 5, 1] || lower(email) == \"bob\"",
    "account == \"a\" && status == \"open\"",
    "status == \"open\" && account == \"a\" && place.city == \"Bern\"",
    "points + id > 5",
    "account.startsWith(\"a\") && !(\"red\" in tags)",
    "id > 3 && id <= 9",
    "matches(body, \"fox\")",
    "matches(body, \"FOX quick\") && points > 0",
    "matches(body, \"fox\") && matches(body, \"fox quick\") && !matches(body, \"red\")",
    "matches(body, \"runs\", \"english\") && account == \"a\"",
    "matches(body, \"jumped dog\", \"english\") && account in [\"a\", \"ab\"]",
    "matchesAny(body, \"café fox wolf 日\")",
    "matchesAny(body, \"dogs sand\", \"english\") && status != null",
    "matchesPhrase(body, \"quick red fox\")",
    "matchesPhrase(body, \"日本\") || matches(body, \"οδος\")",
    "matchesPrefix(body, \"qu\")",
    "matchesPrefix(body, \"fox qu\")",
    "matchesPrefix(body, \"running\", \"english\")",
    "matchesPrefix(body, \"r\", \"english\") && account == \"a\"",
    "matches(body, \"straßen\", \"german\") && \"red\" in tags",
    "notes.exists(note, matches(note, \"quick fox\"))",
    "notes.exists(note, matchesAny(note, \"fox café\"))",
    "notes.exists(note, matchesPrefix(note, \"f\"))",
    "notes.all(note, matches(note, \"fox\"))",
    "matches(body, \"quick\", \"french\") && status == \"open\"",
];

const ORDERS: &[&[&str]] = &[
    &[],
    &["id"],
    &["points:desc"],
    &["points"],
    &["account", "points:desc"],
    &["account:desc", "points"],
    &["cost:desc"],
    &["cost"],
    &["rating:desc"],
    &["lower(email)", "id:desc"],
    &["due"],
    &["place.city:desc"],
];

fn query(filter: &str, order: &[&str]) -> Query {
    order.iter().fold(Query::of("task").filter(filter), |query, column| match column.strip_suffix(":desc") {
        Some(field) => query.order_by_descending(field),
        None => query.order_by(*column),
    })
}

fn all_pages(tenant: &Tenant, query: &Query) -> Vec<Record> {
    let mut records = Vec::new();
    let mut query = query.clone();
    for _ in 0..1_000 {
        let page = block_on(tenant.query(&query)).unwrap();
        assert!(page.records.len() <= query.rows_max);
        assert_eq!(page.next.is_none(), page.stop == StopReason::Exhausted);
        records.extend(page.records);
        match page.next {
            Some(token) => query.after = Some(token),
            None => return records,
        }
    }
    panic!("{query:?} never ends");
}

fn ids(records: &[Record]) -> Vec<i64> {
    let id = |record: &Record| match record.get("id") {
        Some(Value::Int(id)) => *id,
        other => panic!("{other:?}"),
    };
    records.iter().map(id).collect()
}

fn check_query(plain: &Tenant, indexed: &Tenant, query: &Query) -> Checked<()> {
    // Where the order leaves ties, the primary key breaks them on both sides.
    let mut whole = query.clone();
    if !whole.order.is_empty() && !whole.order.iter().any(|column| column.field == "id") {
        whole = whole.order_by("id");
    }
    let expected = all_pages(plain, &whole.clone().rows_max(10_000));
    for rows_max in [1, 2, 7, 10_000] {
        let found = all_pages(indexed, &whole.clone().rows_max(rows_max));
        let (mut found_ids, mut expected_ids) = (ids(&found), ids(&expected));
        if query.order.is_empty() {
            found_ids.sort_unstable();
            expected_ids.sort_unstable();
        }
        prop_assert_eq!(&found_ids, &expected_ids, "{:?}, {} a page", query, rows_max);
        for record in &found {
            prop_assert!(expected.iter().any(|expected| expected == record), "{:?}: {:?}", query, record);
        }
    }
    Ok(())
}

/// Positions beside a sorted look at all records.
fn check_ranks(plain: &Tenant, indexed: &Tenant) -> Checked<()> {
    let accounts = ["a", "a\0", "ab", "", "nobody"];
    let by_account = accounts.map(|account| {
        let filter = format!("account == {}", serde_json::Value::from(account));
        let sorted = query(&filter, &["rating:desc", "points", "id"]);
        ("rating_ranks", vec![Some(Value::from(account))], sorted)
    });
    let whole = ("cost_ranks", Vec::new(), query("status != null", &["cost", "lower(email)", "id"]));
    for (index, group, sorted) in by_account.into_iter().chain([whole]) {
        let sorted = all_pages(plain, &sorted);
        let ranked = block_on(indexed.ranked("task", index, &group, 0, 1_000)).unwrap();
        prop_assert_eq!(&ranked, &sorted, "{} {:?}", index, group);
        let count = block_on(indexed.rank_count("task", index, &group)).unwrap();
        prop_assert_eq!(count, sorted.len() as u64);
        for (place, id) in ids(&sorted).into_iter().enumerate() {
            let rank = block_on(indexed.rank_of("task", index, &PrimaryKey::of(id))).unwrap();
            prop_assert_eq!(rank, Some(place as u64), "{} {:?}: {}", index, group, id);
            let found = block_on(indexed.at_rank("task", index, &group, place as u64)).unwrap();
            prop_assert_eq!(found.as_ref(), sorted.get(place));
        }
    }
    Ok(())
}

const GROUPS: &[&[&str]] = &[
    &[],
    &["account"],
    &["status"],
    &["account", "status"],
    &["status", "account"],
    &["tags"],
    &["lower(email)"],
];
const AGGREGATE_FILTERS: &[Option<&str>] = &[
    None,
    Some("account == \"a\""),
    Some("status == \"open\""),
    Some("status == \"open\" && account == \"a\""),
    Some("status == null"),
    Some("points > 0"),
];

fn measures() -> Vec<Vec<Measure>> {
    vec![
        vec![Measure::Count],
        vec![Measure::sum("cost"), Measure::Count],
        vec![Measure::average("cost")],
        vec![Measure::sum("id")],
        vec![Measure::min("points"), Measure::max("points"), Measure::Count],
        vec![Measure::max("cost")],
        vec![Measure::max("status"), Measure::Count],
        vec![Measure::min("status")],
        vec![Measure::min("email"), Measure::average("rating")],
    ]
}

fn check_aggregates(plain: &Tenant, indexed: &Tenant) -> Checked<BTreeSet<String>> {
    let mut used = BTreeSet::new();
    for group in GROUPS {
        for filter in AGGREGATE_FILTERS {
            for measures in measures() {
                let mut aggregation = Aggregation::of("task");
                aggregation.group_by = group.iter().map(|text| (*text).to_owned()).collect();
                aggregation.filter = filter.map(Into::into);
                aggregation.measures = measures;
                let run = |tenant: &Tenant| block_on(tenant.aggregate(&aggregation)).unwrap();
                let (expected, found) = (run(plain), run(indexed));
                prop_assert!(expected.indexes.is_empty());
                used.extend(found.indexes.iter().cloned());
                prop_assert_eq!(sorted(found.groups), sorted(expected.groups), "{:?}", aggregation);
            }
        }
    }
    Ok(used)
}

fn sorted(mut groups: Vec<Group>) -> Vec<Group> {
    groups.sort_by_key(|group| format!("{:?}", group.key));
    groups
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4, ..ProptestConfig::default() })]
    #[test]
    fn every_index_says_what_all_records_say(changes in proptest::collection::vec((0i64..14, any::<u64>(), 0u8..5), 0..40)) {
        let (plain, indexed) = tenants();
        for (id, seed, kind) in &changes {
            for tenant in [&plain, &indexed] {
                match kind {
                    0 => drop(block_on(tenant.delete("task", &PrimaryKey::of(*id))).unwrap()),
                    // Twice in one transaction: what the first write put into the indexes goes with the second.
                    1 => block_on(tenant.run(|transaction| async move {
                        transaction.put("task", &task(*id, seed.rotate_left(17))).await?;
                        transaction.put("task", &task(*id, *seed)).await
                    })).unwrap(),
                    _ => block_on(tenant.put("task", &task(*id, *seed))).unwrap(),
                }
            }
        }
        for (place, filter) in FILTERS.iter().enumerate() {
            // Every filter meets every order in a few cases.
            for order in ORDERS.iter().skip((place + changes.len()) % 3).step_by(3) {
                check_query(&plain, &indexed, &query(filter, order))?;
            }
        }
        check_aggregates(&plain, &indexed)?;
        check_ranks(&plain, &indexed)?;
        // Nothing stays behind the last record.
        for id in 0..14 {
            block_on(indexed.delete("task", &PrimaryKey::of(id))).unwrap();
        }
        let whole = block_on(indexed.aggregate(&Aggregation::of("task").group_by("account").measure(Measure::Count))).unwrap();
        prop_assert!(whole.groups.is_empty());
    }
}

fn filled(count: i64) -> (Tenant, Tenant) {
    let (plain, indexed) = tenants();
    for tenant in [&plain, &indexed] {
        for first in (0..count).step_by(100) {
            block_on(tenant.run(|transaction| async move {
                for id in first..(first + 100).min(count) {
                    transaction
                        .put("task", &task(id, (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)))
                        .await?;
                }
                Ok::<_, tenantry::Error>(())
            }))
            .unwrap();
        }
    }
    (plain, indexed)
}

#[test]
fn plans_are_what_they_should_be() {
    let (plain, indexed) = filled(1_000);
    let explained = |query: &Query| block_on(indexed.query(query)).unwrap().explanation;
    let cases: &[(&str, &[&str], &str)] = &[
        ("account == \"a\"", &["points:desc"], "index by_account_points, account = \"a\"; "),
        ("account == \"a\"", &["rating:desc", "points"], "index rating_ranks, account = \"a\"; "),
        ("account == \"a\"", &["points"], "index by_account_points, account = \"a\", from the end"),
        ("\"blue\" in tags && points > 0", &[], "index by_tag, an element of tags = \"blue\" and points > 0"),
        ("lower(email) == \"bob\"", &[], "index by_email, lower(email) = \"bob\""),
        ("place.city == \"Zug\"", &[], "index by_city, place.city = \"Zug\""),
        (
            "status == \"open\" && due > timestamp(\"2030-01-01T00:00:00Z\")",
            &["due"],
            "index open_by_due, due > ",
        ),
        (
            "points + id > 995 && points + id < 1000",
            &[],
            "index by_sum, points + id > 995 and points + id < 1000",
        ),
    ];
    for (filter, order, begins) in cases {
        let shown = explained(&query(filter, order)).to_string();
        assert!(shown.replace(", each record checked", "").starts_with(begins), "{filter}: {shown}");
    }
    let union = explained(&query("lower(email) == \"bob\" || place.city == \"Zug\"", &[]));
    assert_eq!(union.plan, "union");
    let ordered = explained(&query("account in [\"a\", \"ab\"]", &["points:desc"]).rows_max(3));
    assert_eq!((ordered.plan, ordered.is_sorted), ("union", false), "{ordered}");
    assert!(ordered.keys_read < 30, "{}", ordered.keys_read);
    let both = explained(&query("account == \"a\" && status == \"done\" && place.city == \"Bern\"", &[]));
    assert!(!both.statistics.is_empty() && !both.others.is_empty(), "{both:?}");
    for (filter, order, _) in cases {
        check_query(&plain, &indexed, &query(filter, order)).unwrap();
    }
}

/// Two indexes fit; which one is taken depends on how much is in each.
#[test]
fn a_look_at_the_entries_decides() {
    let (_, tenant) = tenants();
    let insert = |first: i64, count: i64, status: &str, city: &str| {
        block_on(tenant.run(|transaction| async move {
            for id in first..first + count {
                let place = Value::Struct(vec![("city".into(), city.into())]);
                let task = Record::new().with("id", id).with("account", format!("{id}")).with("email", "e");
                let task = task.with("status", Value::Enum(status.into())).with("place", place);
                transaction.insert("task", &task).await?;
            }
            Ok::<_, tenantry::Error>(())
        }))
        .unwrap();
    };
    insert(0, 300, "open", "Bern");
    insert(1_000, 3, "done", "Bern");
    insert(2_000, 3, "open", "Zug");
    let explained = |filter: &str| {
        let page = block_on(tenant.query(&Query::of("task").filter(filter))).unwrap();
        (page.explanation, page.records.len())
    };
    let (few_done, rows) = explained("status == \"done\" && place.city == \"Bern\"");
    assert_eq!((few_done.index.as_deref(), rows), (Some("by_status"), 3), "{few_done}");
    assert!(
        few_done.statistics.contains(&"index by_status: 3 entries".to_owned()),
        "{:?}",
        few_done.statistics
    );
    let (few_zug, rows) = explained("status == \"open\" && place.city == \"Zug\"");
    assert_eq!((few_zug.index.as_deref(), rows), (Some("by_city"), 3), "{few_zug}");
    // Both have much: what they have in common is found in the entries.
    let (both, rows) = explained("status == \"open\" && place.city == \"Bern\"");
    assert_eq!((both.plan, rows), ("intersection", 100), "{both}");
    let all = all_pages(
        &tenant,
        &Query::of("task").filter("status == \"open\" && place.city == \"Bern\"").rows_max(7),
    );
    assert_eq!(ids(&all), (0..300).collect::<Vec<_>>());
    let schema = block_on(tenant.schema()).unwrap();
    let uses = tenant.database().index_uses(&schema);
    let of = |name: &str| uses.iter().find(|(_, index, _)| index == name).unwrap().2;
    assert!(of("by_city") > 0 && of("by_status") > 0 && of("by_email") == 0);
}

#[test]
fn words_are_found_by_their_entries() {
    let (plain, indexed) = filled(1_000);
    let explained = |filter: &str| block_on(indexed.query(&query(filter, &[]))).unwrap().explanation;
    let cases = [
        ("matches(body, \"FOX\")", "scan", "index words, body has the word \"fox\""),
        (
            "matchesPhrase(body, \"running dogs\")",
            "intersection",
            "index words, body has the word \"running\"",
        ),
        ("matches(body, \"wolf fox\")", "scan", "index words, body has the word \"wolf\""),
        ("matchesAny(body, \"wolf fox\")", "union", "index words, body has the word \"fox\""),
        ("matchesPrefix(body, \"qu\")", "scan", "index words, body has a word that begins with \"qu\""),
        (
            "matchesPrefix(body, \"running\", \"english\")",
            "union",
            "index all_stems, body has the word \"run\"",
        ),
        (
            "notes.exists(note, matches(note, \"quickly\"))",
            "scan",
            "index note_words, an element of notes has",
        ),
        // No index has these stems.
        ("matches(body, \"fox\", \"dutch\")", "scan", "primary key, all entries"),
        ("notes.all(note, matches(note, \"fox\"))", "scan", "primary key, all entries"),
    ];
    for (filter, plan, path) in cases {
        let found = explained(filter);
        assert_eq!(found.plan, plan, "{filter}: {found}");
        assert!(found.paths[0].to_string().starts_with(path), "{filter}: {found}");
        check_query(&plain, &indexed, &query(filter, &[])).unwrap();
        check_query(&plain, &indexed, &query(filter, &["id:desc"])).unwrap();
        check_query(&plain, &indexed, &query(filter, &["points"])).unwrap();
    }
    let in_order = query("matches(body, \"fox\")", &["id:desc"]).rows_max(5);
    let page = block_on(indexed.query(&in_order)).unwrap();
    assert!(!page.explanation.is_sorted && page.explanation.scanned <= 6, "{}", page.explanation);
}

#[test]
fn covered_queries_read_no_record() {
    let (plain, indexed) = filled(300);
    let select = ["id", "account", "status", "points", "cost", "email"];
    let query = query("account == \"a\" && status == \"open\" && points > 0", &[]).select(select);
    let page = block_on(indexed.query(&query)).unwrap();
    assert!(page.explanation.paths[0].is_covering, "{}", page.explanation);
    assert_eq!(page.explanation.keys_read, page.explanation.scanned);
    assert!(!page.records.is_empty() && page.records.iter().all(|record| record.version().is_none()));
    let mut expected = block_on(plain.query(&query)).unwrap().records;
    let mut found = page.records;
    for records in [&mut found, &mut expected] {
        records.sort_by_key(|record| record.get("id").unwrap().to_string());
    }
    assert_eq!(found, expected);
    let names: Vec<&str> = found[0].fields().map(|(name, _)| name).collect();
    let in_order: Vec<&str> = select.into_iter().filter(|name| names.contains(name)).collect();
    assert_eq!(names, in_order);
    // A decimal keeps its zeros.
    assert!(found.iter().any(|record| record.get("cost").is_some_and(|cost| cost.to_string() == "-1.50")));
    let wider = query.clone().select(["rating"]);
    assert!(!block_on(indexed.query(&wider)).unwrap().explanation.paths[0].is_covering);
}

#[test]
fn least_and_greatest_values_cost_a_key_or_two() {
    for count in [1_000, 4_000] {
        let (_, indexed) = filled(count);
        for measure in [Measure::min("points"), Measure::max("points")] {
            let aggregation =
                Aggregation::of("task").filter("account == \"ab\"").measure(measure).measure(Measure::Count);
            // The count is kept by account and status, and so is no answer here: every measure has to be.
            let groups = block_on(indexed.aggregate(&aggregation));
            assert!(groups.is_ok());
        }
        let ids = Aggregation::of("task").measure(Measure::sum("id")).measure(Measure::Count);
        let groups = block_on(indexed.aggregate(&ids)).unwrap();
        assert_eq!(groups.groups[0].measures, [Some((count * (count - 1) / 2).into()), Some(count.into())]);
        assert!(groups.keys_read <= 4, "{} keys", groups.keys_read);
        assert_eq!(groups.indexes, ["sum_ids", "count_all"]);
    }
}

/// In the order in which the schema names them: an index and a look at all records say the same.
#[test]
fn the_values_of_an_enum_are_in_their_own_order() {
    let (plain, indexed) = filled(100);
    let aggregation = Aggregation::of("task").group_by("account").measure(Measure::max("status"));
    let aggregation = aggregation.measure(Measure::Count);
    let (looked, kept) =
        [&plain, &indexed].map(|tenant| block_on(tenant.aggregate(&aggregation)).unwrap()).into();
    assert_eq!((looked.indexes.len(), kept.indexes.len()), (0, 2));
    let last = Some(Value::Enum("late".into()));
    assert!(looked.groups.iter().all(|group| group.measures[0] == last), "{:?}", looked.groups);
    assert_eq!(sorted(looked.groups), sorted(kept.groups));
}

#[test]
fn unique_indexes_follow_their_rule_for_missing_values() {
    let database = common::database();
    let text = r#"
        name = "people"
        [types.person]
        primary_key = ["id"]
        fields = { id = "int", email = { type = "string", optional = true }, desk = { type = "int", optional = true }, keys = { type = "list", of = "string", optional = true } }
        indexes.by_email = { fields = ["lower(email)"], unique = true }
        indexes.by_desk = { fields = ["desk"], unique = true, missing = "equal" }
        indexes.by_key = { fields = [{ each = "keys" }], unique = true }
    "#;
    block_on(database.apply_schema(&SchemaDefinition::from_toml(text).unwrap())).unwrap();
    let tenant = block_on(database.create_tenant("people", "people")).unwrap();
    let insert = |record: Record| block_on(tenant.insert("person", &record)).map_err(|error| error.code());
    let person = |id: i64| Record::new().with("id", id);
    insert(person(1).with("email", "Ada@x.org").with("desk", 1)).unwrap();
    assert_eq!(insert(person(2).with("email", "aDA@X.ORG").with("desk", 2)), Err(Code::UniqueViolation));
    insert(person(3).with("desk", 3)).unwrap();
    insert(person(4)).unwrap();
    assert_eq!(insert(person(5)), Err(Code::UniqueViolation));
    let keys = |keys: &[&str]| keys.iter().map(|key| Value::from(*key)).collect::<Vec<_>>();
    insert(person(6).with("desk", 6).with("keys", keys(&["a", "b", "a"]))).unwrap();
    assert_eq!(insert(person(7).with("desk", 7).with("keys", keys(&["c", "b"]))), Err(Code::UniqueViolation));
    insert(person(8).with("desk", 8).with("keys", keys(&["c"]))).unwrap();
    let found = block_on(tenant.query(&Query::of("person").filter("\"b\" in keys"))).unwrap();
    assert_eq!(ids(&found.records), [6]);
    assert_eq!(found.explanation.index.as_deref(), Some("by_key"));
}

#[test]
fn schemas_with_indexes_that_make_no_sense_are_refused_by_name() {
    let cases = [
        ("i = { fields = [] }", "names no field"),
        ("i = { fields = [\"none\"] }", "has the column \"none\""),
        ("i = { fields = [\"tags\"] }", "for each element"),
        ("i = { fields = [{ each = \"points\" }] }", "no list"),
        ("i = { fields = [{ each = \"tags\" }, { each = \"tags\" }] }", "twice"),
        ("i = { fields = [\"points:down\"] }", "a direction is asc or desc"),
        ("i = { fields = [{ field = \"points\", order = \"up\" }] }", "asc or desc"),
        ("i = { fields = [{ field = \"points\", missing = \"never\" }] }", "first or last"),
        ("i = { fields = [\"points\"], missing = \"equal\" }", "not unique"),
        ("i = { kind = \"text\", fields = [\"points\"] }", "takes a string"),
        ("i = { kind = \"text\", fields = [\"body\"], language = \"klingon\" }", "there are arabic, "),
        ("i = { kind = \"text\", fields = [\"body\"], tokenizer_version = 2 }", "version 2 of the tokenizer"),
        ("i = { kind = \"text\", fields = [\"body:desc\"] }", "no direction"),
        ("i = { fields = [\"body\"], language = \"english\" }", "belongs to text"),
        ("i = { kind = \"rank\", group = [\"account\"] }", "names no field"),
        ("i = { kind = \"rank\", fields = [{ each = \"tags\" }] }", "one position"),
        ("i = { kind = \"bitmap\", fields = [\"points\"] }", "has the kind"),
        ("i = { kind = \"sum\" }", "needs \\\"of\\\""),
        ("i = { kind = \"sum\", of = \"rating\" }", "takes an int or a decimal"),
        ("i = { kind = \"count\", fields = [\"points\"] }", "belongs to"),
        ("i = { kind = \"count\", group = [\"points:desc\"] }", "no direction"),
        ("i = { kind = \"time_to_live\", fields = [\"points\"] }", "takes a timestamp"),
        ("i = { fields = [\"points\"], covering = [\"none\"] }", "covers the field"),
        ("i = { fields = [\"points\"], where = \"points\" }", "has the condition"),
        ("i = { fields = [\"points\"], speed = 1 }", "unknown field"),
        ("i = { fields = [{ field = \"points\", each = \"tags\" }] }", "either"),
        ("i = { kind = \"time_to_live\", fields = [\"due\"], after_s = 99999999999 }", "the limit is"),
    ];
    for (index, part) in cases {
        let text = format!("name = \"s\"\n{FIELDS}[types.task.indexes]\n{index}\n");
        let error = SchemaDefinition::from_toml(&text).unwrap_err();
        assert_eq!(error.code(), Code::SchemaInvalid, "{index}");
        assert!(error.detail().contains(&part.replace("\\\"", "\"")), "{index}: {}", error.detail());
    }
}

#[test]
fn pages_end_early_for_a_reason_and_get_on() {
    let (_, indexed) = filled(100);
    let all = all_pages(&indexed, &query("true", &["id"]));
    let bounded = [
        (query("id == -1 || points > 600", &["id"]).scanned_max(1), StopReason::Scanned),
        (query("true", &["id"]).size_bytes_max(1), StopReason::SizeBytes),
        (query("true", &["id"]).time_limit(std::time::Duration::ZERO), StopReason::Time),
    ];
    for (query, stop) in bounded {
        let page = block_on(indexed.query(&query)).unwrap();
        assert_eq!(page.stop, stop);
        let mut whole = query.clone();
        whole.rows_max = 1;
        let found = all_pages(&indexed, &whole);
        let mut unbounded = whole.clone();
        (unbounded.scanned_max, unbounded.size_bytes_max, unbounded.time_limit) = (20_000, 4_000_000, None);
        assert_eq!(ids(&found), ids(&all_pages(&indexed, &unbounded)));
    }
    assert_eq!(all.len(), 100);
    for query in [
        Query::of("task").scanned_max(0),
        Query::of("task").size_bytes_max(0),
        Query::of("task").scanned_max(1_000_000),
    ] {
        assert_eq!(block_on(indexed.query(&query)).unwrap_err().code(), Code::LimitPassed);
    }
}

#[test]
fn a_stream_gives_every_record() {
    use futures_util::TryStreamExt;
    let (_, indexed) = filled(100);
    let query = query("points > 0 || account == \"a\"", &["points:desc", "id"]).rows_max(7);
    let expected = all_pages(&indexed, &query);
    let streamed: Vec<Record> = block_on(indexed.stream(query).try_collect()).unwrap();
    assert!(expected.len() > 14);
    assert_eq!(ids(&streamed), ids(&expected));
    let refused: Result<Vec<Record>, _> = block_on(indexed.stream(Query::of("none")).try_collect());
    assert_eq!(refused.unwrap_err().code(), Code::TypeNotFound);
}

/// The order of the last changes, also after several in one transaction and after deletions.
#[test]
fn records_come_in_the_order_of_their_changes() {
    let (plain, tenant) = filled(0);
    for id in [5, 3, 8, 1] {
        block_on(tenant.put("task", &task(id, 7))).unwrap();
    }
    block_on(tenant.run(|transaction| async move {
        transaction.put("task", &task(3, 9)).await?;
        transaction.put("task", &task(9, 9)).await?;
        transaction.put("task", &task(3, 11)).await?;
        transaction.delete("task", &PrimaryKey::of(1)).await
    }))
    .unwrap();
    let after =
        |after, rows_max| block_on(tenant.changed_after("task", "changes", &[], after, rows_max)).unwrap();
    let all = after(None, 100);
    assert_eq!(ids(&all), [5, 8, 9, 3]);
    assert!(all.windows(2).all(|pair| pair[0].version() < pair[1].version()));
    let first = after(None, 2);
    assert_eq!(ids(&after(first[1].version(), 100)), [9, 3]);
    assert_eq!(after(all[3].version(), 100), []);
    // Read and written back: it is the last to have changed.
    block_on(tenant.run(|transaction| async move {
        let record = transaction.get("task", &PrimaryKey::of(8)).await?.unwrap();
        transaction.put("task", &record).await?;
        // What has no version yet is not shown.
        assert_eq!(ids(&transaction.changed_after("task", "changes", &[], None, 100).await?), [5, 9, 3]);
        Ok::<_, tenantry::Error>(())
    }))
    .unwrap();
    assert_eq!(ids(&after(None, 100)), [5, 9, 3, 8]);
    let refused = |tenant: &Tenant, index: &str, group: &[Option<Value>]| {
        block_on(tenant.changed_after("task", index, group, None, 10)).unwrap_err().code()
    };
    assert_eq!(refused(&tenant, "by_email", &[]), Code::QueryInvalid);
    assert_eq!(refused(&tenant, "changes", &[None]), Code::QueryInvalid);
    assert_eq!(refused(&plain, "changes", &[]), Code::QueryInvalid);
}
