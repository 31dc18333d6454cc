//! References: what they ask of a schema, and records that come and go, beside a model.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;
mod random;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use pollster::block_on;
use random::Random;
use serde_json::{Value as Json, json};
use tenantry_core::{
    Code, Database, Error, Kind, PrimaryKey, Query, Record, Result, SchemaDefinition, Tenant, limits,
};
use tenantry_kv::conformance::reference::manual_env;

fn tenant_of(text: &str) -> Tenant {
    let schema = SchemaDefinition::from_toml(text).unwrap();
    assert_eq!(SchemaDefinition::from_json(&schema.to_json().to_string()).unwrap(), schema);
    let env = manual_env();
    let engine = common::engine::engine(&env);
    let database = block_on(Database::open(engine, env, &common::engine::name("test"))).unwrap();
    block_on(database.apply_schema(&schema)).unwrap();
    block_on(database.create_tenant("acme", &schema.name)).unwrap()
}

fn put(tenant: &Tenant, record_type: &str, record: Json) -> Result<()> {
    let schema = block_on(tenant.schema())?;
    let record = Record::from_json(&record, schema.definition.record_type(record_type)?)?;
    block_on(tenant.put(record_type, &record))
}

fn all(tenant: &Tenant, record_type: &str) -> Vec<Json> {
    let page = block_on(tenant.query(&Query::of(record_type).rows_max(10_000))).unwrap();
    page.records.iter().map(Record::to_json).collect()
}

#[test]
fn references_that_cannot_be_are_refused_with_the_schema() {
    let schema = |child: &str| {
        format!(
            "name = \"s\"\n[types.a]\nprimary_key = [\"x\", \"y\"]\nfields = {{ x = \"int\", y = {{ type = \"enum\", values = [\"p\", \"q\"] }} }}\n\
             [types.b]\nprimary_key = [\"id\"]\nfields = {{ id = \"int\", x = \"int\", y = {{ type = \"enum\", values = [\"p\", \"q\"] }}, s = \"string\", z = {{ type = \"enum\", values = [\"q\"] }}, l = {{ type = \"list\", of = \"int\" }}, b = {{ type = \"int\", optional = true }} }}\n{child}"
        )
    };
    let index = "[types.b.indexes]\ni = { fields = [\"x\", \"y\"] }\n";
    let cases = [
        (
            format!("{index}[types.b.references]\nr = {{ fields = [\"x\", \"y\"], to = \"c\" }}"),
            "there are a, b",
        ),
        (format!("{index}[types.b.references]\nr = {{ fields = [\"x\"], to = \"a\" }}"), "is x, y"),
        (format!("{index}[types.b.references]\nr = {{ fields = [], to = \"a\" }}"), "names no field"),
        (
            format!("{index}[types.b.references]\nr = {{ fields = [\"x\", \"w\"], to = \"a\" }}"),
            "names the field \"w\"",
        ),
        (format!("{index}[types.b.references]\nr = {{ fields = [\"x\", \"x\"], to = \"a\" }}"), "twice"),
        (
            format!("{index}[types.b.references]\nr = {{ fields = [\"s\", \"y\"], to = \"a\" }}"),
            "\"s\" is of type string, \"x\" of \"a\" is of type int",
        ),
        (
            format!("{index}[types.b.references]\nr = {{ fields = [\"x\", \"z\"], to = \"a\" }}"),
            "with other values",
        ),
        (
            format!(
                "{index}[types.b.references]\nr = {{ fields = [\"x\", \"y\"], to = \"a\", on_delete = \"set_null\" }}"
            ),
            "\"x\" is not optional",
        ),
        (
            format!(
                "{index}[types.b.references]\nr = {{ fields = [\"x\", \"y\"], to = \"a\", on_delete = \"explode\" }}"
            ),
            "explode",
        ),
        (
            format!(
                "{index}[types.b.references]\nr = {{ fields = [\"x\", \"y\"], to = \"a\", on_update = \"cascade\" }}"
            ),
            "unknown field",
        ),
        (
            format!("{index}[types.b.references]\n\"r s\" = {{ fields = [\"x\", \"y\"], to = \"a\" }}"),
            "cannot be named so",
        ),
        (
            format!(
                "{index}[types.b.references]\nr = {{ fields = [\"x\", \"y\"], to = \"a\" }}\nq = {{ fields = [\"x\", \"y\"], to = \"a\" }}"
            ),
            "same fields",
        ),
        (
            "[types.b.references]\nr = { fields = [\"x\", \"y\"], to = \"a\" }".to_owned(),
            "add under [types.b.indexes]: by_x_y = { fields = [\"x\", \"y\"] }",
        ),
        (
            "[types.b.references]\nr = { fields = [\"b\"], to = \"b\" }".to_owned(),
            "by_b = { fields = [\"b\"] }",
        ),
    ];
    for (child, part) in cases {
        let error = SchemaDefinition::from_toml(&schema(&child)).unwrap_err();
        assert!(error.to_string().contains(part), "{child}\n{error}");
    }
    // Indexes that do not have every record, or not in this order, find nobody.
    for index in [
        "{ fields = [\"y\", \"x\"] }",
        "{ fields = [\"x\"] }",
        "{ fields = [\"x\", \"y\"], where = \"id > 1\" }",
        "{ fields = [\"x\", \"y\", { each = \"l\" }] }",
        "{ kind = \"count\", group = [\"x\", \"y\"] }",
        "{ fields = [\"x + 0\", \"y\"] }",
    ] {
        let text = schema(&format!(
            "[types.b.indexes]\ni = {index}\n[types.b.references]\nr = {{ fields = [\"x\", \"y\"], to = \"a\" }}"
        ));
        assert!(
            SchemaDefinition::from_toml(&text).unwrap_err().to_string().contains("needs an index"),
            "{index}"
        );
    }
    for index in ["{ fields = [\"x:desc\", \"y\", \"s\"] }", "{ fields = [\"x\", \"y\"], unique = true }"] {
        let text = schema(&format!(
            "[types.b.indexes]\ni = {index}\n[types.b.references]\nr = {{ fields = [\"x\", \"y\"], to = \"a\" }}"
        ));
        SchemaDefinition::from_toml(&text).unwrap();
    }
}

const FAMILY: &str = r#"
name = "family"

[types.node]
primary_key = ["id"]
fields = { id = "int", parent = { type = "int", optional = true } }
indexes = { by_parent = { fields = ["parent"] } }
references = { parent = { fields = ["parent"], to = "node", on_delete = "cascade" } }

[types.item]
primary_key = ["id"]
[types.item.fields]
id = "int"
home = { type = "int", optional = true }
site = { type = "int", optional = true }
owner = { type = "int", optional = true }
twin = { type = "int", optional = true }
[types.item.indexes]
by_home = { fields = ["home", "site"] }
by_site = { fields = ["site:desc"] }
by_owner = { fields = ["owner"] }
by_twin = { fields = ["twin"], unique = true }
sites = { kind = "count", group = ["site"] }
[types.item.references]
home = { fields = ["home"], to = "node", on_delete = "cascade" }
site = { fields = ["site"], to = "node", on_delete = "set_null" }
owner = { fields = ["owner"], to = "node" }
twin = { fields = ["twin"], to = "item", on_delete = "set_null" }

[types.tag]
primary_key = ["node", "name"]
fields = { node = "int", name = "string" }
references = { node = { fields = ["node"], to = "node", on_delete = "cascade" } }

[types.use]
primary_key = ["id"]
fields = { id = "int", node = { type = "int", optional = true }, name = { type = "string", optional = true } }
indexes = { by_tag = { fields = ["node", "name:desc"] } }
references = { tag = { fields = ["node", "name"], to = "tag", on_delete = "restrict" } }
"#;

/// Records by type and key.
#[derive(Clone, Default, PartialEq, Debug)]
struct Model(BTreeMap<(&'static str, String), Json>);

/// A reference: the type, its fields, the type it names, what becomes of it.
const REFERENCES: [(&str, &[&str], &str, &str); 7] = [
    ("node", &["parent"], "node", "cascade"),
    ("item", &["home"], "node", "cascade"),
    ("item", &["site"], "node", "set_null"),
    ("item", &["owner"], "node", "restrict"),
    ("item", &["twin"], "item", "set_null"),
    ("tag", &["node"], "node", "cascade"),
    ("use", &["node", "name"], "tag", "restrict"),
];

const KEYS: [(&str, &[&str]); 4] =
    [("node", &["id"]), ("item", &["id"]), ("tag", &["node", "name"]), ("use", &["id"])];

fn key_of(record_type: &str, record: &Json) -> String {
    let (_, fields) = KEYS.iter().find(|(name, _)| *name == record_type).unwrap();
    Json::from(fields.iter().map(|field| record[field].clone()).collect::<Vec<_>>()).to_string()
}

impl Model {
    /// The key that a reference of a record names.
    fn named(fields: &[&str], record: &Json) -> Option<String> {
        let values: Vec<Json> =
            fields.iter().map(|field| record.get(field).cloned().unwrap_or_default()).collect();
        (!values.contains(&Json::Null)).then(|| Json::from(values).to_string())
    }

    fn put(&mut self, record_type: &'static str, record: &Json) -> Option<Code> {
        let key = key_of(record_type, record);
        if let Some(twin) = record.get("twin") {
            let has_it = |((name, other), one): (&(&str, String), &Json)| {
                *name == "item" && *other != key && one.get("twin") == Some(twin)
            };
            if self.0.iter().any(has_it) {
                return Some(Code::UniqueViolation);
            }
        }
        for (_, fields, to, _) in REFERENCES.iter().filter(|(child, ..)| *child == record_type) {
            let Some(named) = Model::named(fields, record) else { continue };
            if !self.0.contains_key(&(*to, named.clone())) && (*to, &named) != (record_type, &key) {
                return Some(Code::ReferenceNotFound);
            }
        }
        self.0.insert((record_type, key), record.clone());
        None
    }

    fn delete(&mut self, record_type: &'static str, key: &str) -> Option<Code> {
        if !self.0.contains_key(&(record_type, key.to_owned())) {
            return None;
        }
        let mut gone = BTreeSet::from([(record_type, key.to_owned())]);
        loop {
            let before = gone.len();
            for (child, fields, to, on_delete) in REFERENCES {
                for ((name, key), record) in &self.0 {
                    let named = Model::named(fields, record);
                    if *name == child
                        && on_delete == "cascade"
                        && named.is_some_and(|named| gone.contains(&(to, named)))
                    {
                        gone.insert((name, key.clone()));
                    }
                }
            }
            if gone.len() == before {
                break;
            }
        }
        let mut rest = self.clone();
        rest.0.retain(|place, _| !gone.contains(place));
        for (child, fields, to, on_delete) in REFERENCES {
            for ((name, _), record) in &mut rest.0 {
                if *name == child
                    && Model::named(fields, record).is_some_and(|named| gone.contains(&(to, named)))
                {
                    if on_delete == "restrict" {
                        return Some(Code::ReferenceRestricts);
                    }
                    record.as_object_mut().unwrap().retain(|field, _| !fields.contains(&field.as_str()));
                }
            }
        }
        *self = rest;
        None
    }
}

fn random_record(random: &mut Random) -> (&'static str, Json) {
    let id = |random: &mut Random| random.below(7);
    let mut record = json!({ "id": id(random) });
    let maybe = |record: &mut Json, field: &str, one_in: u64, random: &mut Random| {
        if random.below(one_in) == 0 {
            record[field] = json!(random.below(7));
        }
    };
    match random.below(9) {
        0..3 => {
            maybe(&mut record, "parent", 2, random);
            ("node", record)
        }
        3..6 => {
            for (field, one_in) in [("home", 3), ("site", 2), ("owner", 8), ("twin", 3)] {
                maybe(&mut record, field, one_in, random);
            }
            ("item", record)
        }
        6..8 => ("tag", json!({ "node": id(random), "name": (["a", "b"][random.below(2) as usize]) })),
        _ => {
            maybe(&mut record, "node", 2, random);
            record["name"] = json!((["a", "b"][random.below(2) as usize]));
            ("use", record)
        }
    }
}

#[test]
fn records_come_and_go_as_the_model_says() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for seed in 0..20 {
        let tenant = tenant_of(FAMILY);
        let schema = block_on(tenant.schema()).unwrap();
        let mut random = Random::of(seed);
        let mut model = Model::default();
        for step in 0..120 {
            // Some in one transaction, which goes on behind what was refused.
            let work: Vec<(bool, &'static str, Json)> = (0..1 + random.below(3))
                .map(|_| {
                    let (record_type, record) = random_record(&mut random);
                    (random.below(10) < 3, record_type, record)
                })
                .collect();
            let expected: Vec<Option<Code>> = work
                .iter()
                .map(|(deletes, record_type, record)| match deletes {
                    true => model.delete(record_type, &key_of(record_type, record)),
                    false => model.put(record_type, record),
                })
                .collect();
            let definition = &schema.definition;
            let work = &work;
            let found: Vec<Option<Code>> = block_on(tenant.run(|transaction| async move {
                let mut found = Vec::new();
                for (deletes, name, record) in work {
                    let record_type = definition.record_type(name)?;
                    let record = Record::from_json(record, record_type)?;
                    let done = match deletes {
                        true => transaction.delete(name, &record.primary_key(record_type)?).await.map(drop),
                        false => transaction.put(name, &record).await,
                    };
                    found.push(done.err().map(|error| error.code()));
                }
                Ok::<_, Error>(found)
            }))
            .unwrap();
            assert_eq!(found, expected, "seed {seed} step {step}: {work:?}");
            for code in found {
                *seen.entry(format!("{code:?}")).or_default() += 1;
            }
            compare(&tenant, &model, &format!("seed {seed} step {step}: {work:?}"));
        }
    }
    for code in ["None", "Some(ReferenceNotFound)", "Some(ReferenceRestricts)", "Some(UniqueViolation)"] {
        assert!(seen.get(code).is_some_and(|count| *count > 15), "{code}: {seen:?}");
    }
}

/// The records are the model's, and every index has exactly them.
fn compare(tenant: &Tenant, model: &Model, context: &str) {
    for (record_type, _) in KEYS {
        let mut found: Vec<(String, Json)> = all(tenant, record_type)
            .into_iter()
            .map(|record| (key_of(record_type, &record), record))
            .collect();
        found.sort_by(|one, other| one.0.cmp(&other.0));
        let expected: Vec<(String, Json)> = model
            .0
            .iter()
            .filter(|((name, _), _)| *name == record_type)
            .map(|((_, key), record)| (key.clone(), record.clone()))
            .collect();
        assert_eq!(found, expected, "{record_type}, {context}");
    }
    for (record_type, fields, ..) in REFERENCES.iter().filter(|(name, ..)| *name != "tag") {
        let page =
            block_on(tenant.query(&Query::of(*record_type).order_by(fields[0]).rows_max(1_000))).unwrap();
        assert_eq!(
            page.records.len(),
            all(tenant, record_type).len(),
            "{record_type} by {fields:?}, {context}"
        );
    }
}

#[test]
fn a_missing_target_is_named_with_every_other_one() {
    let tenant = tenant_of(FAMILY);
    let error = put(&tenant, "item", json!({"id": 1, "home": 5, "owner": 6})).unwrap_err();
    assert_eq!((error.code(), error.kind()), (Code::ReferenceNotFound, Kind::Refused));
    let found: Vec<[&str; 4]> = error
        .violations()
        .iter()
        .map(|one| [one.record_type.as_str(), one.field.as_str(), one.rule, one.limit.as_str()])
        .collect();
    assert_eq!(found, [["item", "home", "references", "node"], ["item", "owner", "references", "node"]]);
    assert!(
        error.detail().contains("the reference \"home\" names the \"node\" \"5\", which is not there"),
        "{error}"
    );
    assert!(all(&tenant, "item").is_empty());
    // Itself, and null in one of two fields, are no other record.
    put(&tenant, "node", json!({"id": 1, "parent": 1})).unwrap();
    put(&tenant, "use", json!({"id": 1, "node": 9})).unwrap();
    assert_eq!(
        put(&tenant, "use", json!({"id": 1, "node": 1, "name": "a"})).unwrap_err().code(),
        Code::ReferenceNotFound
    );
    assert!(block_on(tenant.delete("node", &PrimaryKey::of(1))).unwrap());
}

#[test]
fn restricting_records_are_named() {
    let tenant = tenant_of(FAMILY);
    put(&tenant, "node", json!({"id": 1})).unwrap();
    put(&tenant, "node", json!({"id": 2, "parent": 1})).unwrap();
    put(&tenant, "item", json!({"id": 7, "owner": 2})).unwrap();
    let error = block_on(tenant.delete("node", &PrimaryKey::of(1))).unwrap_err();
    assert_eq!((error.code(), error.kind()), (Code::ReferenceRestricts, Kind::Refused));
    assert!(
        error
            .detail()
            .contains("the \"node\" \"2\" cannot be deleted: the \"item\" \"7\" refers to it by \"owner\""),
        "{error}"
    );
    assert_eq!(all(&tenant, "node").len(), 2);
    // One that goes as well forbids nothing.
    put(&tenant, "item", json!({"id": 7, "owner": 2, "home": 1})).unwrap();
    assert!(block_on(tenant.delete("node", &PrimaryKey::of(1))).unwrap());
    assert!(all(&tenant, "node").is_empty() && all(&tenant, "item").is_empty());
}

#[test]
fn too_many_at_once_are_refused_whole() {
    let tenant = tenant_of(FAMILY);
    let many = limits::CASCADE_RECORDS_MAX as i64;
    put(&tenant, "node", json!({"id": 0})).unwrap();
    for chunk in (1..=many + 1).collect::<Vec<_>>().chunks(200) {
        block_on(tenant.run(|transaction| async move {
            for id in chunk {
                transaction.insert("node", &Record::new().with("id", *id).with("parent", 0)).await?;
            }
            Ok::<_, Error>(())
        }))
        .unwrap();
    }
    let error = block_on(tenant.delete("node", &PrimaryKey::of(0))).unwrap_err();
    assert_eq!((error.code(), error.kind()), (Code::CascadeTooLarge, Kind::Limit));
    assert!(error.detail().contains("1000") && error.detail().contains("delete_cascading"), "{error}");
    assert_eq!(all(&tenant, "node").len(), many as usize + 2);
    // Two fewer, one of which hangs on another.
    block_on(tenant.delete("node", &PrimaryKey::of(1))).unwrap();
    put(&tenant, "node", json!({"id": many, "parent": many + 1})).unwrap();
    assert!(block_on(tenant.delete("node", &PrimaryKey::of(0))).unwrap());
    assert!(all(&tenant, "node").is_empty());
}

#[test]
fn delete_by_query_meets_what_it_took_along() {
    let tenant = tenant_of(FAMILY);
    for id in [1, 2, 3] {
        put(&tenant, "node", json!({"id": id})).unwrap();
    }
    for (id, parent) in [(1, 3), (2, 1), (3, 2)] {
        put(&tenant, "node", json!({"id": id, "parent": parent})).unwrap();
    }
    put(&tenant, "item", json!({"id": 1, "site": 2})).unwrap();
    let deleted = block_on(tenant.delete_all_where(&Query::of("node"))).unwrap();
    assert_eq!(deleted, 1, "the ring goes with the first of it");
    assert!(all(&tenant, "node").is_empty());
    assert_eq!(all(&tenant, "item"), [json!({"id": 1})]);
}

#[test]
fn what_becomes_null_keeps_to_the_rules() {
    let tenant = tenant_of(
        r#"
name = "s"
[types.a]
primary_key = ["id"]
fields = { id = "int" }
[types.b]
primary_key = ["id"]
fields = { id = "int", a = { type = "int", optional = true, default = 1 }, other = { type = "int", optional = true } }
indexes = { by_a = { fields = ["a"] }, one = { fields = ["a", "other"], unique = true, missing = "equal" } }
checks = { one_of = "a != null || other != null" }
references = { a = { fields = ["a"], to = "a", on_delete = "set_null" } }
"#,
    );
    for id in [1, 2] {
        put(&tenant, "a", json!({"id": id})).unwrap();
    }
    put(&tenant, "b", json!({"id": 1, "a": 2})).unwrap();
    let refused = |id: i64| block_on(tenant.delete("a", &PrimaryKey::of(id))).unwrap_err();
    let error = refused(2);
    assert_eq!((error.code(), error.violations()[0].record_type.as_str()), (Code::ConstraintViolated, "b"));
    // Two that would become equal; neither is written when the other is looked at.
    put(&tenant, "b", json!({"id": 1, "a": 1, "other": 7})).unwrap();
    put(&tenant, "b", json!({"id": 2, "a": 2, "other": 7})).unwrap();
    assert!(block_on(tenant.delete("a", &PrimaryKey::of(1))).unwrap());
    assert_eq!(refused(2).code(), Code::UniqueViolation);
    put(&tenant, "b", json!({"id": 1, "a": 2, "other": 8})).unwrap();
    put(&tenant, "b", json!({"id": 3, "a": 2, "other": 9})).unwrap();
    assert!(block_on(tenant.delete("a", &PrimaryKey::of(2))).unwrap());
    // No default takes the place of what was set to null.
    let expected = [json!({"id": 1, "other": 8}), json!({"id": 2, "other": 7}), json!({"id": 3, "other": 9})];
    assert_eq!(all(&tenant, "b"), expected);
}

/// Of a deletion and a new child, each of which finds the other not yet there, one comes too late.
#[test]
fn a_deletion_and_a_new_child_never_both_commit() {
    for (child_type, child) in [
        ("item", json!({"id": 1, "owner": 1})),
        ("tag", json!({"node": 1, "name": "a"})),
        ("node", json!({"id": 2, "parent": 1})),
    ] {
        let tenant = tenant_of(FAMILY);
        put(&tenant, "node", json!({"id": 1})).unwrap();
        let (tenant, child, disturbed) = (&tenant, &child, &Cell::new(false));
        let attempts = &Cell::new(0);
        let deletion: Result<bool> = block_on(tenant.run(|transaction| async move {
            attempts.set(attempts.get() + 1);
            let deleted = transaction.delete("node", &PrimaryKey::of(1)).await?;
            if !disturbed.replace(true) {
                put(tenant, child_type, child.clone())?;
            }
            Ok(deleted)
        }));
        match child_type {
            "item" => assert_eq!(deletion.unwrap_err().code(), Code::ReferenceRestricts),
            _ => assert!(deletion.unwrap()),
        }
        assert_eq!(attempts.get(), 2, "{child_type}");
        assert_eq!(all(tenant, child_type).len(), usize::from(child_type == "item"));
    }
    for (child_type, child) in
        [("item", json!({"id": 1, "owner": 1})), ("tag", json!({"node": 1, "name": "a"}))]
    {
        let tenant = tenant_of(FAMILY);
        put(&tenant, "node", json!({"id": 1})).unwrap();
        let schema = block_on(tenant.schema()).unwrap();
        let record = Record::from_json(&child, schema.definition.record_type(child_type).unwrap()).unwrap();
        let (tenant, record, disturbed) = (&tenant, &record, &Cell::new(false));
        let insertion: Result<()> = block_on(tenant.run(|transaction| async move {
            transaction.set_isolation(tenantry_kv::Isolation::Snapshot);
            transaction.insert(child_type, record).await?;
            if !disturbed.replace(true) {
                assert!(tenant.delete("node", &PrimaryKey::of(1)).await?);
            }
            Ok(())
        }));
        assert_eq!(insertion.unwrap_err().code(), Code::ReferenceNotFound, "{child_type}");
        assert!(all(tenant, child_type).is_empty());
    }
}
