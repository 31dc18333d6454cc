//! A struct says of itself what a schema file says, and its values go through records unharmed.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use jiff::Timestamp;
use jiff::civil::Date;
use rust_decimal::Decimal;
use tenantry::{Code, Record, RecordVersion, SchemaDefinition, TypedRecord, Value};
use uuid::Uuid;

#[derive(Record, Clone, Debug, PartialEq)]
#[record(name = "account", check(limits = "credit >= 0 || notes != null"))]
struct Account {
    #[record(primary_key, default = { uuid = true })]
    id: Uuid,
    #[record(unique(by_slug, hashed), min_length = 3, max_length = 40, pattern = "[a-z][a-z0-9-]*")]
    slug: String,
    #[record(default = "trial")]
    plan: Plan,
    #[record(min = -1_000, max = 1_000_000)]
    credit: i64,
    notes: Option<String>,
}

#[derive(Value, Clone, Copy, Debug, PartialEq)]
enum Plan {
    Trial,
    #[record(name = "paid plan")]
    Paid,
}

#[derive(Value, Clone, Copy, Debug, PartialEq)]
enum Priority {
    #[record(id = 10)]
    Low,
    #[record(id = 30)]
    UrgentIndeed,
}

#[derive(Value, Clone, Debug, PartialEq)]
#[record(check = "value.floor != 13")]
struct Place {
    #[record(default = "Berlin")]
    city: Option<String>,
    #[record(max = 40)]
    floor: i8,
    #[record(name = "room")]
    rooms: Vec<Room>,
}

#[derive(Value, Clone, Debug, PartialEq)]
struct Room {
    number: u16,
    #[record(default = 2)]
    seats: Option<u8>,
}

#[derive(Value, Clone, Debug, PartialEq)]
#[record(pattern = "[^@]+@[^@]+", max_length = 200)]
struct Email(String);

#[derive(Record, Clone, Debug, PartialEq)]
#[record(primary_key = ["account", "number"], id = 7)]
#[record(
    index(board, fields = ["account", "done", { field = "due", order = "desc", missing = "first" }], covering = ["title"], where = "done == false"),
    index(by_tag, fields = [{ each = "tags" }, "due:desc"]),
    index(by_email, fields = ["lower(email)"], unique, missing = "equal", id = 20),
    index(per_account, kind = "count", group = ["account"]),
    index(total, kind = "sum", group = ["account"], of = "points"),
    index(first_due, kind = "min", group = ["account"], of = "due"),
    index(last_due, kind = "max", group = ["account"], of = "due"),
    index(changes, kind = "version", group = ["account"]),
    index(ranking, kind = "rank", group = ["account"], fields = ["points"]),
)]
#[record(index(by_parent, fields = ["account", "parent"]))]
#[record(reference(parent, fields = ["account", "parent"], to = Task))]
#[record(check(dates = "due == null || due >= opened"))]
struct Task {
    #[record(reference(to = Account, on_delete = "cascade"))]
    account: Uuid,
    number: u32,
    #[record(index(words, kind = "text", language = "english"))]
    title: String,
    done: bool,
    #[record(min = 0.5)]
    weight: f64,
    points: Option<i16>,
    parent: Option<u32>,
    #[record(default = { now = true })]
    opened: Timestamp,
    #[record(index(expiry, kind = "time_to_live", after_s = 86_400))]
    due: Option<Timestamp>,
    #[record(min = "2000-01-01")]
    day: Date,
    #[record(min = "0.01")]
    price: Decimal,
    #[record(max_length = 5, of(max_length = 20))]
    tags: Vec<String>,
    email: Option<Email>,
    priority: Priority,
    place: Place,
    #[record(max_length = 64)]
    hash: Vec<u8>,
    extra: serde_json::Value,
    #[record(name = "type", id = 40)]
    r#type: u64,
    #[record(version)]
    version: Option<RecordVersion>,
    #[record(skip)]
    cached: usize,
}

const TOML: &str = r#"
name = "desk"

[types.account]
primary_key = ["id"]
fields.id = { type = "uuid", default = { uuid = true } }
fields.slug = { type = "string", min_length = 3, max_length = 40, pattern = "[a-z][a-z0-9-]*" }
fields.plan = { type = "enum", values = ["trial", "paid plan"], default = "trial" }
fields.credit = { type = "int", min = -1000, max = 1000000 }
fields.notes = { type = "string", optional = true }
indexes.by_slug = { fields = ["slug"], unique = true, hashed = true }
checks.limits = "credit >= 0 || notes != null"

[types.task]
id = 7
primary_key = ["account", "number"]
fields.account = "uuid"
fields.number = { type = "int", min = 0, max = 4294967295 }
fields.title = "string"
fields.done = "bool"
fields.weight = { type = "float", min = 0.5 }
fields.points = { type = "int", min = -32768, max = 32767, optional = true }
fields.parent = { type = "int", min = 0, max = 4294967295, optional = true }
fields.opened = { type = "timestamp", default = { now = true } }
fields.due = { type = "timestamp", optional = true }
fields.day = { type = "date", min = "2000-01-01" }
fields.price = { type = "decimal", min = "0.01" }
fields.tags = { type = "list", max_length = 5, of = { type = "string", max_length = 20 } }
fields.email = { type = "string", pattern = "[^@]+@[^@]+", max_length = 200, optional = true }
fields.priority = { type = "enum", values = { low = 10, urgent_indeed = 30 } }
fields.place = { type = "struct", check = "value.floor != 13", fields = { city = { type = "string", optional = true, default = "Berlin" }, floor = { type = "int", min = -128, max = 40 }, room = { type = "list", of = { type = "struct", fields = { number = { type = "int", min = 0, max = 65535 }, seats = { type = "int", min = 0, max = 255, optional = true, default = 2 } } } } } }
fields.hash = { type = "bytes", max_length = 64 }
fields.extra = "json"
fields.type = { type = "int", min = 0, id = 40 }
checks.dates = "due == null || due >= opened"
references.parent = { fields = ["account", "parent"], to = "task", on_delete = "restrict" }
references.account = { fields = ["account"], to = "account", on_delete = "cascade" }

[types.task.indexes]
board = { fields = ["account", "done", { field = "due", order = "desc", missing = "first" }], covering = ["title"], where = "done == false" }
by_tag = { fields = [{ each = "tags" }, "due:desc"] }
by_email = { fields = ["lower(email)"], unique = true, missing = "equal", id = 20 }
per_account = { kind = "count", group = ["account"] }
total = { kind = "sum", group = ["account"], of = "points" }
first_due = { kind = "min", group = ["account"], of = "due" }
last_due = { kind = "max", group = ["account"], of = "due" }
changes = { kind = "version", group = ["account"] }
ranking = { kind = "rank", group = ["account"], fields = ["points"] }
by_parent = { fields = ["account", "parent"] }
words = { kind = "text", fields = ["title"], language = "english" }
expiry = { kind = "time_to_live", fields = ["due"], after_s = 86400 }
"#;

fn schema() -> SchemaDefinition {
    SchemaDefinition::builder("desk").with::<Account>().with::<Task>().finish().unwrap()
}

fn task(number: u32) -> Task {
    Task {
        account: Uuid::from_u128(1),
        number,
        title: "Läuft".to_owned(),
        done: false,
        weight: 1.5,
        points: Some(-3),
        parent: None,
        opened: "2026-01-02T03:04:05.678901Z".parse().unwrap(),
        due: None,
        day: "2026-01-02".parse().unwrap(),
        price: "12.50".parse().unwrap(),
        tags: vec!["a".to_owned(), "b".to_owned()],
        email: Some(Email("a@b".to_owned())),
        priority: Priority::UrgentIndeed,
        place: Place { city: None, floor: -1, rooms: vec![Room { number: 7, seats: None }] },
        hash: vec![0, 255],
        extra: serde_json::json!({ "a": [1, null] }),
        r#type: 5,
        version: None,
        cached: 0,
    }
}

#[test]
fn a_schema_of_structs_is_the_one_of_the_file() {
    let (found, expected) = (schema(), SchemaDefinition::from_toml(TOML).unwrap());
    assert_eq!(found.to_json(), expected.to_json());
    assert_eq!(found, expected);
    let again = SchemaDefinition::from_json(&found.to_json().to_string()).unwrap();
    assert_eq!(again, found);
}

#[test]
fn a_struct_goes_through_the_store_unharmed() {
    tenantry::block_on(async {
        let database = common::database();
        database.apply_schema(&schema()).await?;
        let desk = database.create_tenant("acme", "desk").await?;
        let account = Account {
            id: Uuid::from_u128(1),
            slug: "acme".to_owned(),
            plan: Plan::Paid,
            credit: -5,
            notes: Some("n".to_owned()),
        };
        desk.records::<Account>().insert(&account).await?;
        assert_eq!(desk.records::<Account>().get(&account.id).await?, Some(account));
        let tasks = desk.records::<Task>();
        tasks.insert(&task(1)).await?;
        let found = tasks.get(&(Uuid::from_u128(1), 1)).await?.unwrap();
        assert!(found.version.is_some());
        // What is None stays so, in structs and lists as well, although there are defaults.
        assert_eq!(Task { version: None, ..found }, task(1));
        Ok::<_, tenantry::Error>(())
    })
    .unwrap();
}

#[test]
fn what_a_struct_does_not_hold_is_named() {
    let record = task(1).to_record().unwrap();
    let cases = [
        (
            "number",
            Value::Int(1 << 32),
            r#""task": the field "number" holds 4294967296: the Rust type u32 takes 0 to 4294967295"#,
        ),
        (
            "points",
            Value::Int(40_000),
            r#""task": the field "points" holds 40000: the Rust type i16 takes -32768 to 32767"#,
        ),
        (
            "priority",
            Value::Enum("new".into()),
            r#""task": the field "priority" holds "new": the Rust enum Priority has low, urgent_indeed"#,
        ),
        (
            "place",
            Value::Struct(vec![("floor".into(), Value::Int(200))]),
            r#""task": the field "place.floor" holds 200: the Rust type i8 takes -128 to 127"#,
        ),
        (
            "tags",
            Value::List(vec!["a".into(), Value::Int(1)]),
            r#""task": the field "tags[1]" holds a value of type int: the Rust type takes string"#,
        ),
    ];
    for (field, value, detail) in cases {
        let mut record = record.clone();
        record.set(field, value);
        let error = Task::from_record(record).unwrap_err();
        assert_eq!((error.code(), error.detail()), (Code::RustTypeDiffers, detail));
    }
    let mut record = record;
    record.remove("title");
    let error = Task::from_record(record).unwrap_err();
    assert!(error.detail().contains(r#"the field "title" is missing"#), "{error}");
    let error = Task { r#type: u64::MAX, ..task(1) }.to_record().unwrap_err();
    assert_eq!(error.code(), Code::RecordInvalid);
    assert!(error.detail().contains(r#"the field "type" is 18446744073709551615"#), "{error}");
}

#[derive(Value)]
struct Endless {
    inner: Vec<Endless>,
}

#[derive(Record)]
struct HoldsItself {
    #[record(primary_key)]
    id: i64,
    endless: Endless,
}

#[derive(Record)]
#[record(name = "account")]
struct Wide {
    #[record(primary_key, max = 300)]
    id: u8,
}

#[test]
fn what_cannot_be_a_schema_is_refused() {
    let error = SchemaDefinition::builder("s").with::<HoldsItself>().finish().unwrap_err();
    assert_eq!(error.code(), Code::LimitPassed);
    let error = SchemaDefinition::builder("s").with::<Wide>().finish().unwrap_err();
    assert!(
        error.detail().contains(r#"the max of the field "id" is 300: its Rust type goes to 255"#),
        "{error}"
    );
    let error = SchemaDefinition::builder("s").with::<Account>().with::<Account>().finish().unwrap_err();
    assert!(error.detail().contains("two structs are the record type"), "{error}");
}
