//! Hashed indexes give what a look at all records gives: the same records in three tenants, one without indexes, one in clear and one sealed with hashed ones.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::sync::Arc;

use proptest::prelude::*;
use tenantry::sealing::{Keyring, MemoryKeyStore, RootKey, SecretKey};
use tenantry::{
    Code, Database, Explanation, PrimaryKey, Query, Record, SchemaDefinition, Tenant, TenantOptions, Value,
    block_on,
};

const FIELDS: &str = r#"
[types.account]
primary_key = ["region", "id"]
[types.account.fields]
region = "string"
id = "int"
email = { type = "string", optional = true }
status = { type = "enum", values = ["open", "closed"], optional = true }
cost = { type = "decimal", optional = true }
rating = { type = "float", optional = true }
at = { type = "timestamp", optional = true }
tags = { type = "list", of = "string", optional = true }
place = { type = "struct", optional = true, fields = { city = { type = "string", optional = true } } }
"#;

const INDEXES: &str = r#"
[types.account.indexes]
by_email = { fields = ["lower(email)"], hashed = true }
by_status = { fields = ["status"], hashed = true, covering = ["cost"] }
by_cost = { fields = ["cost"], hashed = true }
by_rating = { fields = ["rating"], hashed = true, covering = ["email"] }
by_at = { fields = ["at", "region"], hashed = true }
by_tag = { fields = [{ each = "tags" }, "status"], hashed = true, covering = ["tags"] }
by_city = { fields = ["place.city"], hashed = true }
closed_by_city = { fields = ["place.city"], hashed = true, where = "status == \"closed\"" }
in_clear = { fields = ["region", "cost"] }
"#;

fn database() -> Database {
    let database = common::database();
    let env = tenantry_env::system();
    let root = RootKey::new(SecretKey::random(&*env.entropy), env.entropy.clone());
    let keyring = Keyring::new(Arc::new(root), Arc::new(MemoryKeyStore::new()));
    block_on(database.set_keyring(Some(keyring))).unwrap();
    database
}

/// Without indexes, with them in clear, and sealed.
fn tenants() -> [Tenant; 3] {
    let database = database();
    for (name, indexes) in [("plain", ""), ("hashed", INDEXES)] {
        let schema = SchemaDefinition::from_toml(&format!("name = \"{name}\"\n{FIELDS}{indexes}")).unwrap();
        block_on(database.apply_schema(&schema)).unwrap();
        assert_eq!(SchemaDefinition::from_json(&schema.to_json().to_string()).unwrap(), schema);
    }
    let create = |name: &str, schema: &str, is_sealed: bool| {
        let options = TenantOptions::new().sealed(is_sealed);
        block_on(database.create_tenant_with(name, schema, &options)).unwrap()
    };
    [create("plain", "plain", false), create("clear", "hashed", false), create("sealed", "hashed", true)]
}

fn account(id: i64, seed: u64) -> Record {
    let pick = |shift: u32, count: u64| ((seed >> shift) % count) as usize;
    let region = ["eu", "us", ""][usize::try_from(id).unwrap_or(0) % 3];
    let mut account = Record::new().with("region", region).with("id", id);
    if pick(0, 4) > 0 {
        account.set("email", ["Ada@x.org", "ada@x.org", "bob", "b\0b"][pick(2, 4)]);
    }
    if pick(8, 3) > 0 {
        account.set("status", Value::Enum(["open", "closed"][pick(10, 2)].into()));
    }
    if pick(12, 4) > 0 {
        let cost = ["1.5", "1.50", "0", "-0.00", "99.999"][pick(14, 5)];
        account.set("cost", Value::Decimal(cost.parse().unwrap()));
    }
    if pick(20, 4) > 0 {
        account.set("rating", [-1.5, 0.0, -0.0, 2.5][pick(22, 4)]);
    }
    if pick(24, 3) > 0 {
        let at = ["2030-01-01T00:00:00Z", "2030-01-01T01:00:00+01:00", "2031-06-01T12:00:00.5Z"][pick(26, 3)];
        account.set("at", Value::Timestamp(at.parse().unwrap()));
    }
    if pick(30, 4) > 0 {
        let tags = ["red", "green", "red", ""];
        account.set("tags", tags[..pick(32, 5)].iter().map(|tag| Value::from(*tag)).collect::<Vec<_>>());
    }
    if pick(40, 3) > 0 {
        let city = (pick(42, 3) > 0).then(|| ("city".into(), ["Bern", "Zug"][pick(44, 2)].into()));
        account.set("place", Value::Struct(city.into_iter().collect()));
    }
    account
}

const FILTERS: &[&str] = &[
    "lower(email) == \"ada@x.org\"",
    "lower(email) == \"b\\u0000b\"",
    "lower(email) in [\"bob\", \"ada@x.org\", \"none\"]",
    "email == null",
    "lower(email) == null",
    "lower(email).startsWith(\"a\")",
    "status == \"open\"",
    "status == null",
    "status == \"open\" && region == \"eu\"",
    "status == \"open\" && id > 3",
    "status in [\"open\", \"closed\"] && rating == 0.0",
    "cost == decimal(\"1.500\")",
    "cost == decimal(\"0\")",
    "cost >= decimal(\"1\")",
    "cost == null || cost == decimal(\"99.999\")",
    "rating == 0.0",
    "rating == -0.0",
    "rating > 0.0",
    "rating == -1.5 || lower(email) == \"bob\"",
    "at == timestamp(\"2030-01-01T00:00:00Z\") && region == \"us\"",
    "at == timestamp(\"2030-01-01T00:00:00Z\")",
    "at == null && region == \"\"",
    "\"red\" in tags && status == \"open\"",
    "\"red\" in tags && status == null",
    "\"\" in tags && status in [\"open\", \"closed\"]",
    "\"green\" in tags",
    "place.city == \"Bern\"",
    "place.city == null",
    "place.city == \"Zug\" && cost == decimal(\"1.5\") && status == \"closed\"",
];

const ORDERS: &[&[&str]] =
    &[&[], &["region", "id"], &["region:desc", "id:desc"], &["cost:desc"], &["status"]];

fn query(filter: &str, order: &[&str]) -> Query {
    order.iter().fold(Query::of("account").filter(filter), |query, column| {
        match column.strip_suffix(":desc") {
            Some(field) => query.order_by_descending(field),
            None => query.order_by(*column),
        }
    })
}

fn all_pages(tenant: &Tenant, query: &Query) -> Vec<Record> {
    let (mut records, mut query) = (Vec::new(), query.clone());
    for _ in 0..1_000 {
        let page = block_on(tenant.query(&query)).unwrap();
        records.extend(page.records);
        match page.next {
            Some(token) => query.after = Some(token),
            None => return records,
        }
    }
    panic!("{query:?} never ends");
}

fn sorted(mut records: Vec<Record>) -> Vec<Record> {
    records.sort_by_key(|record| format!("{:?} {:?}", record.get("region"), record.get("id")));
    records
}

fn explained(tenant: &Tenant, query: &Query) -> Explanation {
    block_on(tenant.query(query)).unwrap().explanation
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]
    #[test]
    fn hashed_indexes_say_what_all_records_say(changes in proptest::collection::vec((0i64..14, any::<u64>(), 0u8..5), 0..50)) {
        let [plain, clear, sealed] = tenants();
        for (id, seed, kind) in &changes {
            for tenant in [&plain, &clear, &sealed] {
                match kind {
                    0 => {
                        let record = account(*id, 0);
                        let values = vec![record.get("region").unwrap().clone(), Value::from(*id)];
                        let key = PrimaryKey { values };
                        block_on(tenant.delete("account", &key)).unwrap();
                    }
                    1 => block_on(tenant.run(|transaction| async move {
                        transaction.put("account", &account(*id, seed.rotate_left(17))).await?;
                        transaction.put("account", &account(*id, *seed)).await
                    })).unwrap(),
                    _ => block_on(tenant.put("account", &account(*id, *seed))).unwrap(),
                }
            }
        }
        for (place, filter) in FILTERS.iter().enumerate() {
            for order in ORDERS.iter().skip((place + changes.len()) % 2).step_by(2) {
                let mut whole = query(filter, order);
                if !order.is_empty() {
                    whole = whole.order_by("region").order_by("id");
                    whole.order.dedup_by(|one, other| one.field == other.field);
                    let mut seen = Vec::new();
                    whole.order.retain(|column| {
                        let is_new = !seen.contains(&column.field);
                        seen.push(column.field.clone());
                        is_new
                    });
                }
                for selected in [&[][..], &["region", "id", "cost"]] {
                    let whole = selected.iter().fold(whole.clone(), |query, name| query.select([*name]));
                    let expected = all_pages(&plain, &whole.clone().rows_max(1_000));
                    for tenant in [&clear, &sealed] {
                        for rows_max in [1, 4, 1_000] {
                            let found = all_pages(tenant, &whole.clone().rows_max(rows_max));
                            match order.is_empty() {
                                true => prop_assert_eq!(sorted(found), sorted(expected.clone()), "{:?}", &whole),
                                false => prop_assert_eq!(&found, &expected, "{:?}", &whole),
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn plans_take_a_hashed_index_for_equality_on_all_its_columns() {
    let [_, clear, sealed] = tenants();
    for tenant in [&clear, &sealed] {
        for id in 0..300 {
            let seed = (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            block_on(tenant.put("account", &account(id, seed))).unwrap();
        }
        let used: &[(&str, &[&str], &str)] = &[
            ("lower(email) == \"bob\"", &[], "index by_email, lower(email) = \"bob\""),
            ("cost == decimal(\"1.50\")", &["region", "id"], "index by_cost, cost = "),
            ("cost == decimal(\"1.5\") && region == \"eu\" && id > 5", &["id"], "index by_cost, cost = "),
            (
                "\"red\" in tags && status == \"open\"",
                &["region"],
                "index by_tag, an element of tags = \"red\" and status = ",
            ),
            ("place.city in [\"Bern\", \"Zug\"]", &["region", "id"], "union of index by_city, place.city = "),
            ("lower(email) == \"bob\" || cost == null", &[], "union of index by_email"),
            (
                "status == \"open\" && region == \"eu\"",
                &[],
                "index by_status, status = \"open\" and region = \"eu\"",
            ),
            (
                "status == \"closed\" && place.city == \"Zug\"",
                &[],
                "index closed_by_city, place.city = \"Zug\"",
            ),
            ("place.city == null", &["region:desc"], "index by_city, place.city = null, from the end"),
        ];
        for (filter, order, begins) in used {
            let shown = explained(tenant, &query(filter, order)).to_string();
            assert!(shown.starts_with(begins), "{filter}: {shown}");
        }
        let refused: &[(&str, &[&str], &str)] = &[
            ("cost > decimal(\"1\")", &[], "by_cost"),
            ("lower(email).startsWith(\"a\")", &[], "by_email"),
            ("at == timestamp(\"2030-01-01T00:00:00Z\")", &[], "by_at"),
            ("\"red\" in tags", &[], "by_tag"),
            ("id > 290", &["rating"], "by_rating"),
        ];
        for (filter, order, index) in refused {
            let found = explained(tenant, &query(filter, order));
            assert_ne!(found.index.as_deref(), Some(*index), "{filter}");
            let why = format!("index {index}: hashed: equality on all its columns only");
            assert!(found.others.contains(&why), "{filter}: {:?}", found.others);
        }
        // Entries alone, the columns among what they carry.
        let covered = query("rating == 0.0", &[]).select(["region", "id", "rating", "email"]).rows_max(1_000);
        let found = explained(tenant, &covered);
        assert!(found.paths[0].is_covering && found.keys_read == found.scanned, "{found:?}");
        let page = block_on(tenant.query(&covered)).unwrap();
        assert!(page.records.iter().all(|record| record.get("rating").is_some()));
        // Where nothing is covered, nothing is carried either.
        assert!(!explained(tenant, &query("cost == null", &[]).select(["cost"])).paths[0].is_covering);
    }
}

/// Both indexes are large and bound in all columns: their entries come in the order of the primary key.
#[test]
fn hashed_indexes_are_intersected() {
    let [plain, clear, sealed] = tenants();
    for tenant in [&plain, &clear, &sealed] {
        for first in (0..900).step_by(100) {
            block_on(tenant.run(|transaction| async move {
                for id in first..first + 100 {
                    let account = Record::new().with("region", "eu").with("id", id);
                    let account = account.with("rating", if id % 2 == 0 { 1.0 } else { 2.0 });
                    let city = if id % 5 == 0 { "Bern" } else { "Zug" };
                    let place = Value::Struct(vec![("city".into(), city.into())]);
                    transaction.put("account", &account.with("place", place)).await?;
                }
                Ok::<_, tenantry::Error>(())
            }))
            .unwrap();
        }
    }
    let asked = query("rating == 1.0 && place.city == \"Bern\"", &[]);
    let expected = all_pages(&plain, &asked);
    assert_eq!(expected.len(), 90);
    for tenant in [&clear, &sealed] {
        assert_eq!(explained(tenant, &asked.clone().rows_max(40)).plan, "intersection");
        assert_eq!(all_pages(tenant, &asked.clone().rows_max(40)), expected);
    }
}

/// A text that is too long for a key is not too long for a hash.
#[test]
fn long_values_can_be_hashed() {
    let [_, clear, sealed] = tenants();
    for tenant in [&clear, &sealed] {
        let long = "x".repeat(50_000);
        let account =
            |id: i64, email: &str| Record::new().with("region", "eu").with("id", id).with("email", email);
        block_on(tenant.put("account", &account(1, &long))).unwrap();
        block_on(tenant.put("account", &account(2, &format!("{long}y")))).unwrap();
        let asked =
            Query::of("account").filter("lower(email) == param.email").parameter("email", long.as_str());
        let page = block_on(tenant.query(&asked)).unwrap();
        assert_eq!(page.explanation.index.as_deref(), Some("by_email"));
        assert_eq!(page.records, [account(1, &long)]);
    }
}

/// The records that refer to another one are found by a hashed index of just these fields.
#[test]
fn references_are_found_by_hashed_indexes() {
    let schema = |index: &str, on_delete: &str| {
        let text = format!(
            "name = \"desk-{on_delete}\"\n[types.person]\nprimary_key = [\"id\"]\nfields = {{ id = \"string\" }}\n\
             [types.ticket]\nprimary_key = [\"number\"]\n\
             fields = {{ number = \"int\", owner = {{ type = \"string\", optional = true }}, title = \"string\" }}\n\
             indexes = {{ by_owner = {index} }}\n\
             references = {{ owner = {{ fields = [\"owner\"], to = \"person\", on_delete = \"{on_delete}\" }} }}\n"
        );
        SchemaDefinition::from_toml(&text)
    };
    let refused = schema("{ fields = [\"owner\", \"title\"], hashed = true }", "cascade").unwrap_err();
    assert!(refused.detail().contains("needs an index that begins with its fields"), "{refused}");
    let database = database();
    for on_delete in ["cascade", "set_null", "restrict"] {
        let schema =
            schema("{ fields = [\"owner\"], hashed = true, covering = [\"title\"] }", on_delete).unwrap();
        block_on(database.apply_schema(&schema)).unwrap();
        for is_sealed in [false, true] {
            let options = TenantOptions::new().sealed(is_sealed);
            let name = format!("{on_delete}-{is_sealed}");
            let tenant = block_on(database.create_tenant_with(&name, &schema.name, &options)).unwrap();
            for person in ["ada", "bob"] {
                block_on(tenant.put("person", &Record::new().with("id", person))).unwrap();
            }
            let ticket = |number: i64, owner: &str| {
                Record::new().with("number", number).with("title", "t").with("owner", owner)
            };
            for (number, owner) in [(1, "ada"), (2, "bob"), (3, "ada")] {
                block_on(tenant.put("ticket", &ticket(number, owner))).unwrap();
            }
            let deleted = block_on(tenant.delete("person", &PrimaryKey::of("ada")));
            let left = all_pages(&tenant, &Query::of("ticket"));
            match on_delete {
                "cascade" => assert_eq!((deleted, left), (Ok(true), vec![ticket(2, "bob")])),
                "set_null" => {
                    assert_eq!((deleted, left.len()), (Ok(true), 3));
                    let orphans = all_pages(&tenant, &Query::of("ticket").filter("owner == null"));
                    assert_eq!(orphans.len(), 2);
                }
                _ => assert_eq!(deleted.map_err(|error| error.code()), Err(Code::ReferenceRestricts)),
            }
        }
    }
}

#[test]
fn hashed_indexes_that_make_no_sense_are_refused_by_name() {
    let cases = [
        ("i = { fields = [\"cost:desc\"], hashed = true }", "no direction"),
        ("i = { fields = [{ field = \"cost\", order = \"desc\" }], hashed = true }", "no direction"),
        (
            "i = { fields = [\"id\", { field = \"cost\", missing = \"last\" }], hashed = true }",
            "no place for what is missing",
        ),
        ("i = { fields = [{ each = \"tags\", order = \"desc\" }], hashed = true }", "no direction"),
        ("i = { fields = [], hashed = true }", "names no field"),
        ("i = { kind = \"rank\", fields = [\"cost\"], hashed = true }", "\"hashed\" belongs to value"),
        ("i = { kind = \"text\", fields = [\"email\"], hashed = true }", "\"hashed\" belongs to value"),
        ("i = { kind = \"count\", group = [\"email\"], hashed = true }", "\"hashed\" belongs to value"),
        ("i = { kind = \"sum\", of = \"cost\", hashed = true }", "\"hashed\" belongs to value"),
        ("i = { kind = \"min\", of = \"cost\", hashed = true }", "\"hashed\" belongs to value"),
        ("i = { kind = \"version\", hashed = true }", "\"hashed\" belongs to value"),
        ("i = { kind = \"time_to_live\", fields = [\"at\"], hashed = true }", "\"hashed\" belongs to value"),
        ("i = { fields = [\"cost\"], hashed = true, missing = \"equal\" }", "not unique"),
        ("i = { fields = [\"cost\"], hashed = \"yes\" }", "invalid type"),
        ("i = { fields = [\"cost\"], hashed = true, group = [\"id\"] }", "belongs to"),
        ("i = { fields = [\"tags\"], hashed = true }", "for each element"),
    ];
    for (index, part) in cases {
        let text = format!("name = \"s\"\n{FIELDS}[types.account.indexes]\n{index}\n");
        let error = SchemaDefinition::from_toml(&text).unwrap_err();
        assert_eq!(error.code(), Code::SchemaInvalid, "{index}");
        assert!(error.detail().contains(part), "{index}: {}", error.detail());
    }
    let text = format!(
        "name = \"s\"\n{FIELDS}[types.account.indexes]\ni = {{ fields = [\"cost\"], hashed = false }}\n"
    );
    let schema = SchemaDefinition::from_toml(&text).unwrap();
    assert!(schema.types[0].indexes[0].is_ordered() && !schema.types[0].indexes[0].is_hashed);
}
