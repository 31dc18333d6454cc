//! Queries: every plan gives what a plain look at all records gives, page by page; tokens and expressions from outside are refused by name.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use common::{database, item, tenant};
use pollster::block_on;
use proptest::prelude::*;
use tenantry_core::{
    Aggregation, Code, Expression, Measure, Order, Query, Record, Result, SchemaDefinition, Tenant, Value,
    field, parameter,
};

fn code<T: std::fmt::Debug>(result: Result<T>) -> Code {
    result.unwrap_err().code()
}

fn all_pages(tenant: &Tenant, query: &Query) -> Vec<Record> {
    let mut records = Vec::new();
    let mut query = query.clone();
    loop {
        let page = block_on(tenant.query(&query)).unwrap();
        assert!(page.records.len() <= query.rows_max);
        records.extend(page.records);
        match page.next {
            Some(token) => query.after = Some(token),
            None => return records,
        }
    }
}

/// A record with few different values, so that ties and missing ones are common.
fn record(number: i64, seed: u64) -> Record {
    let pick = |shift: u32, count: u64| (seed >> shift) % count;
    let mut record =
        item(["eu", "eu\0", "us"][pick(0, 3) as usize], number, ["", "a", "ab", "b"][pick(4, 4) as usize]);
    if pick(8, 4) > 0 {
        record.set("rating", [-1.5, 0.0, 2.0, 7.25][pick(10, 4) as usize]);
    }
    if pick(14, 4) > 0 {
        record.set("kind", Value::Enum(["book", "film", "game"][pick(16, 3) as usize].into()));
    }
    if pick(20, 4) > 0 {
        record.set(
            "price",
            Value::Decimal(["-1.0", "0", "1.00", "12.5"][pick(22, 4) as usize].parse().unwrap()),
        );
    }
    if pick(26, 3) > 0 {
        record.set("is_old", pick(28, 2) == 0);
    }
    record
}

/// What the order asks for: missing first, then by value; the other way round when descending.
fn compare(one: &Record, other: &Record, order: &[Order]) -> std::cmp::Ordering {
    let by_field = |field: &str| match (one.get(field), other.get(field)) {
        (None, None) => std::cmp::Ordering::Equal,
        (None, Some(_)) => std::cmp::Ordering::Less,
        (Some(_), None) => std::cmp::Ordering::Greater,
        (Some(Value::Float(one)), Some(Value::Float(other))) => one.total_cmp(other),
        (Some(Value::Decimal(one)), Some(Value::Decimal(other))) => one.cmp(other),
        (Some(Value::Int(one)), Some(Value::Int(other))) => one.cmp(other),
        // The enum's values are in alphabetical order, as their ids are.
        (Some(one), Some(other)) => one.to_string().cmp(&other.to_string()),
    };
    order.iter().fold(std::cmp::Ordering::Equal, |so_far, column| {
        let ordering = by_field(&column.field);
        so_far.then(if column.is_descending { ordering.reverse() } else { ordering })
    })
}

type Check = fn(&Record) -> bool;

fn float(record: &Record, field: &str) -> Option<f64> {
    match record.get(field) {
        Some(Value::Float(value)) => Some(*value),
        _ => None,
    }
}

fn text(record: &Record, field: &str) -> Option<String> {
    record.get(field).map(ToString::to_string)
}

/// Filters in CEL and what they mean.
const FILTERS: &[(&str, Check)] = &[
    ("true", |_| true),
    ("rating > 0", |record| float(record, "rating").is_some_and(|value| value > 0.0)),
    ("rating >= 0.0 && rating < 7.25", |record| {
        float(record, "rating").is_some_and(|value| (0.0..7.25).contains(&value))
    }),
    ("2.0 >= rating", |record| float(record, "rating").is_some_and(|value| value <= 2.0)),
    ("rating == null", |record| record.get("rating").is_none()),
    ("rating != null && kind == \"film\"", |record| {
        record.get("rating").is_some() && text(record, "kind").as_deref() == Some("film")
    }),
    ("!(rating < 2.0)", |record| float(record, "rating").is_none_or(|value| value >= 2.0)),
    ("kind == \"book\" && rating > -2", |record| {
        text(record, "kind").as_deref() == Some("book") && record.get("rating").is_some()
    }),
    ("kind in [\"book\", \"game\"]", |record| {
        matches!(text(record, "kind").as_deref(), Some("book" | "game"))
    }),
    ("region == \"eu\"", |record| text(record, "region").as_deref() == Some("eu")),
    ("region == \"eu\" && number > 5", |record| {
        text(record, "region").as_deref() == Some("eu")
            && record.get("number").is_some_and(|number| matches!(number, Value::Int(6..)))
    }),
    ("title.startsWith(\"a\")", |record| text(record, "title").is_some_and(|title| title.starts_with('a'))),
    ("title > \"a\" || price == decimal(\"1\")", |record| {
        text(record, "title").is_some_and(|title| *title > *"a")
            || record.get("price").is_some_and(|price| *price == Value::Decimal(1.into()))
    }),
    ("price >= 0 && price <= 1.0", |record| matches!(text(record, "price").as_deref(), Some("0" | "1.00"))),
    ("price < decimal(\"0\")", |record| text(record, "price").as_deref() == Some("-1.0")),
    ("is_old", |record| record.get("is_old") == Some(&true.into())),
    ("!is_old && price != null", |record| {
        record.get("is_old") != Some(&true.into()) && record.get("price").is_some()
    }),
    ("size(title) == 2 || title.contains(\"b\") && title.endsWith(\"b\")", |record| {
        text(record, "title").is_some_and(|title| title.len() == 2 || title.ends_with('b'))
    }),
    ("region > \"z\"", |_| false),
];

const ORDERS: &[&[(&str, bool)]] = &[
    &[],
    &[("rating", false)],
    &[("rating", true)],
    &[("kind", false), ("rating", false)],
    &[("kind", true), ("rating", true)],
    &[("kind", true), ("rating", false)],
    &[("title", false), ("region", false), ("number", false)],
    &[("title", true)],
    &[("price", false), ("number", true)],
    &[("region", true), ("number", true)],
    &[("number", false)],
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn every_plan_gives_what_a_plain_look_gives(seeds in proptest::collection::vec(any::<u64>(), 0..40), rows_max in 1usize..12) {
        let tenant = tenant();
        let records: Vec<Record> = seeds.iter().zip(0..).map(|(seed, number)| record(number, *seed)).collect();
        for record in &records {
            block_on(tenant.insert("item", record)).unwrap();
        }
        for (filter, check) in FILTERS {
            for order in ORDERS {
                let mut query = Query::of("item").filter(*filter).rows_max(rows_max);
                for (field, is_descending) in *order {
                    query.order.push(Order { field: (*field).to_owned(), is_descending: *is_descending });
                }
                let found = all_pages(&tenant, &query);
                let mut expected: Vec<&Record> = records.iter().filter(|record| check(record)).collect();
                prop_assert_eq!(found.len(), expected.len(), "{} {:?}", filter, order);
                for record in &found {
                    let place = expected.iter().position(|expected| *expected == record);
                    prop_assert!(place.is_some(), "{} {:?}: {:?} twice or not at all", filter, order, record);
                    expected.remove(place.unwrap());
                }
                for pair in found.windows(2) {
                    prop_assert!(compare(&pair[0], &pair[1], &query.order).is_le(), "{} {:?}: {:?}", filter, order, pair);
                }
            }
        }
    }
}

#[test]
fn the_planner_takes_what_binds_most() {
    let tenant = tenant();
    for number in 0..5 {
        block_on(tenant.insert("item", &record(number, 0x1234_5678_9abc * (number as u64 + 1)))).unwrap();
    }
    let cases = [
        ("region == \"eu\" && number == 3", &[][..], "primary key, region = \"eu\" and number = 3"),
        ("kind == \"film\" && rating > 2.0", &[], "index by_kind_rating, kind = \"film\" and rating > 2.0"),
        ("kind == \"film\"", &["rating"], "index by_kind_rating, kind = \"film\""),
        ("price > 1", &[], "index by_price, price > 1"),
        ("code == \"x\"", &[], "index by_code, code = \"x\""),
        ("title.startsWith(\"a\")", &[], "index by_title, title begins with \"a\""),
        // The primary key stands behind an index's own columns.
        ("title == \"ab\" && region > \"a\"", &[], "index by_title, title = \"ab\" and region > \"a\""),
        ("rating > 2.0", &[], "primary key, all entries"),
        ("true", &["title"], "index by_title, all entries"),
    ];
    for (filter, order, begins) in cases {
        let mut query = Query::of("item").filter(filter);
        for field in order {
            query = query.order_by(*field);
        }
        let shown = block_on(tenant.query(&query)).unwrap().explanation.to_string();
        assert!(shown.starts_with(begins), "{filter}: {shown}");
    }
    let sorted = block_on(tenant.query(&Query::of("item").order_by("rating"))).unwrap();
    assert!(sorted.explanation.is_sorted && sorted.explanation.to_string().contains("sorted in memory"));
}

/// A branch of a union looks at more than its condition says: what another branch's condition holds for is shown by that one alone.
#[test]
fn a_union_shows_each_record_once() {
    let tenant = tenant();
    for (number, title, price, is_old) in
        [(1, "b", 1, false), (2, "b", -1, true), (3, "b", 1, true), (4, "a", 1, true), (5, "b", -1, false)]
    {
        let record = item("eu", number, title).with("price", Value::Decimal(price.into()));
        block_on(tenant.insert("item", &record.with("is_old", is_old))).unwrap();
    }
    let both = "(title == \"b\" && is_old) || price == decimal(\"1\")";
    let plain = Query::of("item").filter(both);
    let sorted = plain.clone().order_by("number");
    for query in [
        sorted.clone().rows_max(1),
        sorted.clone().rows_max(2),
        sorted,
        plain.clone().rows_max(10_000),
        plain.rows_max(10_000).size_bytes_max(1),
    ] {
        assert_eq!(block_on(tenant.query(&query)).unwrap().explanation.plan, "union");
        let mut numbers: Vec<String> =
            all_pages(&tenant, &query).iter().filter_map(|record| text(record, "number")).collect();
        numbers.sort();
        assert_eq!(numbers, ["1", "2", "3", "4"], "{query:?}");
    }
}

/// Two conditions could each make a union over the same index: the pages go on with the one that was taken.
#[test]
fn pages_keep_to_their_union() {
    let tenant = tenant();
    for number in 0..24 {
        let rating = [0.0, 2.0, 2.0, 5.0][number as usize % 4];
        let record = item("eu", number, "t").with("kind", Value::Enum("book".into())).with("rating", rating);
        block_on(tenant.insert("item", &record.with("is_old", number % 8 < 6))).unwrap();
    }
    let filter = "kind == \"book\" && rating in [2.0, 0.0] && is_old in [false, true]";
    for rows_max in [1, 2, 5, 7, 100] {
        let query = Query::of("item").filter(filter).rows_max(rows_max);
        assert_eq!(block_on(tenant.query(&query)).unwrap().explanation.plan, "union");
        let mut numbers: Vec<i64> = all_pages(&tenant, &query)
            .iter()
            .filter_map(|record| match record.get("number") {
                Some(Value::Int(number)) => Some(*number),
                _ => None,
            })
            .collect();
        numbers.sort_unstable();
        let expected: Vec<i64> = (0..24).filter(|number| number % 4 != 3).collect();
        assert_eq!(numbers, expected, "{rows_max} a page");
    }
}

#[test]
fn tokens_are_good_for_their_query_on_their_tenant() {
    let database = database();
    let tenant = block_on(database.create_tenant("a", "shop")).unwrap();
    let other = block_on(database.create_tenant("b", "shop")).unwrap();
    for number in 0..5 {
        for tenant in [&tenant, &other] {
            block_on(tenant.insert("item", &item("eu", number, "t"))).unwrap();
        }
    }
    let query = Query::of("item").filter("number >= 0").rows_max(2);
    let token = block_on(tenant.query(&query)).unwrap().next.unwrap();
    let after = |query: &Query, token: &str| query.clone().after(token);
    assert_eq!(block_on(tenant.query(&after(&query, &token))).unwrap().records.len(), 2);
    assert_eq!(block_on(tenant.query(&after(&query, &token).rows_max(3))).unwrap().records.len(), 3);
    assert_eq!(code(block_on(other.query(&after(&query, &token)))), Code::TokenOfAnotherTenant);
    for another in [
        Query::of("item"),
        Query::of("item").filter("number >= 1"),
        query.clone().order_by("number"),
        Query::of("note"),
    ] {
        assert_eq!(code(block_on(tenant.query(&after(&another, &token)))), Code::TokenOfAnotherQuery);
    }
    // One bit changed anywhere.
    for place in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[place] ^= if bytes[place] == b'A' { 3 } else { 1 };
        let Ok(changed) = String::from_utf8(bytes) else { continue };
        assert_eq!(code(block_on(tenant.query(&after(&query, &changed)))), Code::TokenDamaged, "{place}");
    }
    for text in ["", "x", "AQ", "////", &token[..token.len() - 4], &"A".repeat(30_000)] {
        assert_eq!(code(block_on(tenant.query(&after(&query, text)))), Code::TokenDamaged);
    }
}

#[test]
fn filters_are_built_and_take_parameters() {
    let tenant = tenant();
    for number in 0..6 {
        let record =
            item("eu", number, ["red fish", "blue fish"][number as usize % 2]).with("rating", number as f64);
        block_on(tenant.insert("item", &record)).unwrap();
    }
    let numbers = |query: &Query| -> Vec<String> {
        all_pages(&tenant, query).iter().map(|record| text(record, "number").unwrap()).collect()
    };
    let built = field("rating").gt(1.0).and(field("title").matches("fish red"));
    let query = Query::of("item").filter(built.clone());
    assert_eq!(numbers(&query), ["2", "4"]);
    assert_eq!(numbers(&Query::of("item").filter(built.to_string())), ["2", "4"]);
    // A built filter and its text are one query to a token.
    let page = block_on(tenant.query(&query.clone().rows_max(1))).unwrap();
    let by_text = Query::of("item").filter(built.to_string()).after(page.next.unwrap());
    assert_eq!(numbers(&by_text), ["4"]);

    let least = |least: Value| Query::of("item").filter("rating >= param.least").parameter("least", least);
    assert_eq!(numbers(&least(4.into())), ["4", "5"]);
    assert_eq!(numbers(&least(4.5.into())), ["5"]);
    assert_eq!(code(block_on(tenant.query(&least("4".into())))), Code::ExpressionInvalid);
    let built = Query::of("item").filter(field("number").is_in(parameter("numbers")));
    assert_eq!(numbers(&built.clone().parameter("numbers", vec![1.into(), 5.into()])), ["1", "5"]);
    let many: Vec<Value> = (0..1_001i64).map(Value::from).collect();
    assert_eq!(code(block_on(tenant.query(&built.parameter("numbers", many)))), Code::LimitPassed);
    // The primary key is bound by a parameter as by a literal.
    let by_key = Query::of("item").filter("region == param.region && number == 3").parameter("region", "eu");
    let shown = block_on(tenant.query(&by_key)).unwrap().explanation.to_string();
    assert!(shown.starts_with("primary key, region = \"eu\" and number = 3"), "{shown}");

    for (query, part) in [
        (Query::of("item").filter("number == param.number"), "\"number\"; none is given"),
        (
            Query::of("item").filter("number == 1").parameter("number", 1),
            "does not use the parameter \"number\"",
        ),
        (Query::of("item").parameter("number", 1), "\"number\" and no condition"),
        (least(1.into()).parameter("most", 1), "does not use the parameter \"most\""),
        (least(Value::Struct(Vec::new())), "the parameter \"least\""),
        (Query::of("item").filter("number == param").parameter("number", 1), "param.NAME"),
    ] {
        let error = block_on(tenant.query(&query)).unwrap_err();
        assert_eq!(error.code(), Code::ParameterInvalid, "{error}");
        assert!(error.detail().contains(part), "{error}");
    }

    // Another value is another query.
    let token = block_on(tenant.query(&least(1.into()).rows_max(1))).unwrap().next.unwrap();
    let after = |query: Query| block_on(tenant.query(&query.after(token.clone())));
    assert_eq!(after(least(1.into())).unwrap().records.len(), 4);
    assert_eq!(code(after(least(2.into()))), Code::TokenOfAnotherQuery);
    assert_eq!(code(after(least(1.0.into()))), Code::TokenOfAnotherQuery);
}

#[test]
fn hostile_expressions_are_refused_by_name() {
    let schema = SchemaDefinition::from_toml(common::SCHEMA).unwrap();
    let item = schema.record_type("item").unwrap();
    let parse = |text: &str| Expression::parse(text, item);
    let nested =
        |open: &str, close: &str, count: usize| format!("{}true{}", open.repeat(count), close.repeat(count));
    parse(&nested("(", ")", 24)).unwrap();
    for text in [
        nested("(", ")", 25),
        nested("(", ")", 4_000),
        nested("[", "]", 4_000),
        nested("!", "", 8_000),
        nested("! ", "", 4_000),
        nested("- ", "", 4_000),
        nested("true ? ", " : true", 500),
        format!("number == {}", "{".repeat(5_000)),
        "a".repeat(9_000),
        format!("title{}", ".title".repeat(1_300)),
        format!("number == 1{}", " || number == 1".repeat(520)),
    ] {
        let error = parse(&text).unwrap_err();
        assert_eq!(error.code(), Code::LimitPassed, "{}: {error}", &text[..40]);
    }
    parse(&format!("number == 1{}", " || number == 1".repeat(300))).unwrap();
    for (text, expected) in [
        ("", Code::ExpressionInvalid),
        ("number ==", Code::ExpressionInvalid),
        ("number = 1", Code::ExpressionInvalid),
        ("number", Code::ExpressionInvalid),
        ("number == \"1\"", Code::ExpressionInvalid),
        ("kind == \"opera\"", Code::ExpressionInvalid),
        ("sold_on > \"1998-06-12\"", Code::ExpressionInvalid),
        ("sold_on > date(\"1998-06-31\")", Code::ExpressionInvalid),
        ("title && true", Code::ExpressionInvalid),
        ("nothing == 1", Code::FieldNotFound),
        ("size.height == 1", Code::FieldNotFound),
        ("title.length == 1", Code::FieldNotFound),
        ("number + \"a\" == 2", Code::ExpressionInvalid),
        ("title - title == \"\"", Code::ExpressionInvalid),
        ("-title == \"\"", Code::ExpressionInvalid),
        ("number == 1 / 0", Code::ExpressionInvalid),
        ("number == param.number", Code::ParameterInvalid),
        ("number == $number", Code::ExpressionUnsupported),
        ("lower(number) == \"a\"", Code::ExpressionInvalid),
        ("lower(title, title) == \"a\"", Code::ExpressionInvalid),
        ("title.lower() == \"a\"", Code::ExpressionInvalid),
        ("startsWith(title, \"a\")", Code::ExpressionInvalid),
        ("title.matches(\"a+\")", Code::ExpressionUnsupported),
        ("tags.exists(tag, tag == 1)", Code::ExpressionInvalid),
        ("tags.exists(tag, tag)", Code::ExpressionInvalid),
        ("tags.exists(1, true)", Code::ExpressionInvalid),
        ("tags.exists(param, true)", Code::ExpressionInvalid),
        ("title.exists(letter, letter == \"a\")", Code::ExpressionInvalid),
        ("tags.exists(tag, tag.name == \"a\")", Code::FieldNotFound),
        ("tag == \"a\" && tags.exists(tag, true)", Code::FieldNotFound),
        ("tags.exists_one(tag, tag == \"a\")", Code::ExpressionUnsupported),
        ("size(tags.map(tag, tag)) == 1", Code::ExpressionUnsupported),
        ("size(tags.filter(tag, true)) == 1", Code::ExpressionUnsupported),
        ("tags[0] == \"a\"", Code::ExpressionUnsupported),
        ("kind < \"film\"", Code::ExpressionUnsupported),
        ("number == 1 ? true : false", Code::ExpressionUnsupported),
        ("title == \"\"\"(((\"\"\"", Code::ExpressionUnsupported),
        ("title == r\"\\\"", Code::ExpressionUnsupported),
        ("{\"a\": 1} == {\"a\": 1}", Code::ExpressionUnsupported),
        ("title == \"\0", Code::ExpressionInvalid),
        ("title == \"\\q((((\"", Code::ExpressionInvalid),
        ("title == \"a\nb\"", Code::ExpressionInvalid),
        ("true // a \" begins no text here", Code::ExpressionUnsupported),
        ("; drop", Code::ExpressionInvalid),
    ] {
        assert_eq!(code(parse(text)), expected, "{text}: {:?}", parse(text));
    }
}

#[test]
fn queries_that_make_no_sense_are_refused() {
    let tenant = tenant();
    let query = |query: Query| code(block_on(tenant.query(&query)));
    assert_eq!(query(Query::of("none")), Code::TypeNotFound);
    assert_eq!(query(Query::of("item").rows_max(0)), Code::LimitPassed);
    assert_eq!(query(Query::of("item").rows_max(10_001)), Code::LimitPassed);
    assert_eq!(query(Query::of("item").order_by("none")), Code::FieldNotFound);
    assert_eq!(query(Query::of("item").order_by("tags")), Code::QueryInvalid);
    assert_eq!(query(Query::of("item").order_by("title").order_by("title")), Code::QueryInvalid);
}

#[test]
fn lists_and_structs_can_be_asked_about() {
    let tenant = tenant();
    let tagged = item("eu", 1, "t").with("tags", vec![Value::from("a"), Value::from("b")]);
    let sized = item("eu", 2, "t").with("size", Value::Struct(vec![("width".into(), 3.into())]));
    for record in [&tagged, &sized] {
        block_on(tenant.insert("item", record)).unwrap();
    }
    let count =
        |filter: &str| block_on(tenant.query(&Query::of("item").filter(filter))).unwrap().records.len();
    assert_eq!(count("\"a\" in tags"), 1);
    assert_eq!(count("\"c\" in tags"), 0);
    assert_eq!(count("size(tags) == 2"), 1);
    assert_eq!(count("size.width == 3"), 1);
    assert_eq!(count("has(size.depth)"), 0);
    assert_eq!(count("has(size) && !has(tags)"), 1);
    assert_eq!(count("tags.exists(tag, tag == \"b\")"), 1);
    assert_eq!(count("tags.exists(tag, tag == \"c\")"), 0);
    // A list that is missing has no elements.
    assert_eq!(count("tags.all(tag, tag < \"c\")"), 2);
    assert_eq!(count("tags != null && tags.all(tag, tag < \"b\")"), 0);
    assert_eq!(count("tags.exists(tag, tags.all(other, other <= tag))"), 1);
    assert_eq!(count("[1, 7].exists(one, one == number)"), 1);
    assert_eq!(count("number in [1, 2, 3]"), 2);
    assert_eq!(count("number * 10 - 5 == 15"), 1);
}

#[test]
fn an_aggregate_takes_what_a_query_takes_as_its_filter() {
    let tenant = tenant();
    for (number, rating) in [(1, 3.0), (2, 5.0), (3, 8.0)] {
        block_on(tenant.insert("item", &item("eu", number, "t").with("rating", rating))).unwrap();
    }
    let count = |aggregation: Aggregation| {
        let groups = block_on(tenant.aggregate(&aggregation.measure(Measure::Count)))?;
        Ok::<_, tenantry_core::Error>(groups.groups[0].measures[0].clone())
    };
    let items = || Aggregation::of("item");
    let two = Some(Value::Int(2));
    assert_eq!(count(items().filter("rating >= 5.0")).unwrap(), two);
    assert_eq!(count(items().filter(field("rating").ge(5.0))).unwrap(), two);
    assert_eq!(count(items().filter("rating >= param.least").parameter("least", 5.0)).unwrap(), two);
    assert_eq!(
        count(items().filter(field("rating").ge(parameter("least"))).parameter("least", 5.0)).unwrap(),
        two
    );
    let code = |aggregation: Aggregation| count(aggregation).unwrap_err().code();
    assert_eq!(code(items().filter("rating >= param.least")), Code::ParameterInvalid);
    assert_eq!(code(items().parameter("least", 5.0)), Code::ParameterInvalid);
    assert_eq!(code(items().filter(field("speed").ge(5.0))), Code::FieldNotFound);
    assert_eq!(code(items().filter(field("rating").ge("good"))), Code::ExpressionInvalid);
}

/// Pages of an intersection that may look at one entry each came to no end: a step found a record with entries of one side behind it, these filled the page before the record was
/// taken, and the next page began where this one had.
#[test]
fn pages_of_an_intersection_that_look_at_one_entry_come_to_an_end() {
    let database = database();
    let schema = SchemaDefinition::from_toml(
        r#"
            name = "pairs"
            [types.pair]
            primary_key = ["id"]
            fields = { id = "int", even = "bool", third = "bool" }
            indexes = { by_even = { fields = ["even"] }, by_third = { fields = ["third"] } }
        "#,
    )
    .unwrap();
    block_on(database.apply_schema(&schema)).unwrap();
    let tenant = block_on(database.create_tenant("pairs", "pairs")).unwrap();
    block_on(tenant.run(|transaction| async move {
        for id in 0..400 {
            let pair = Record::new().with("id", id).with("even", id % 2 == 0).with("third", id % 3 == 0);
            transaction.insert("pair", &pair).await?;
        }
        Ok::<_, tenantry_core::Error>(())
    }))
    .unwrap();
    let mut query = Query::of("pair").filter("even == true && third == true").scanned_max(1);
    let mut found = Vec::new();
    for _ in 0..400 {
        let page = block_on(tenant.query(&query)).unwrap();
        assert_eq!(page.explanation.plan, "intersection");
        found.extend(page.records.iter().filter_map(|record| record.get("id").cloned()));
        match page.next {
            Some(token) => query.after = Some(token),
            None => break,
        }
    }
    let expected: Vec<Value> = (0..400).step_by(6).map(Value::Int).collect();
    assert_eq!(found, expected);
}
