//! Delete by query, against a map: every step deletes what the query asks for, and the steps together all of it.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeSet;

use common::{item, tenant};
use pollster::block_on;
use tenantry_core::{Code, PrimaryKey, Query, Tenant, Value};

fn fill(tenant: &Tenant, count: i64) {
    for number in 0..count {
        let record = item("eu", number, &format!("t{}", number % 3)).with("rating", (number % 10) as f64);
        block_on(tenant.insert("item", &record)).unwrap();
    }
}

fn numbers(tenant: &Tenant, query: &Query) -> BTreeSet<i64> {
    let page = block_on(tenant.query(query)).unwrap();
    let number = |record: &tenantry_core::Record| match record.get("number") {
        Some(Value::Int(number)) => *number,
        _ => -1,
    };
    page.records.iter().map(number).collect()
}

fn left(tenant: &Tenant) -> BTreeSet<i64> {
    let by_key = numbers(tenant, &Query::of("item").rows_max(1_000));
    let by_index = numbers(tenant, &Query::of("item").order_by("title").rows_max(1_000));
    assert_eq!(by_key, by_index);
    by_key
}

#[test]
fn steps_of_every_size_delete_exactly_what_the_query_asks_for() {
    type Keeps = fn(i64) -> bool;
    let cases: [(Query, Keeps); 5] = [
        (Query::of("item").filter("rating < 5.0"), |number| number % 10 >= 5),
        (Query::of("item").filter("title == \"t1\""), |number| number % 3 != 1),
        (Query::of("item").filter("title == \"t1\" && rating > 8.0"), |number| {
            number % 3 != 1 || number % 10 <= 8
        }),
        (Query::of("item").filter("rating < 5.0").order_by_descending("rating"), |number| number % 10 >= 5),
        (Query::of("item"), |_| false),
    ];
    for (query, keeps) in cases {
        for rows_max in [1, 7, 1_000] {
            let tenant = tenant();
            fill(&tenant, 40);
            let expected: BTreeSet<i64> = (0..40).filter(|number| keeps(*number)).collect();
            let query = query.clone().rows_max(rows_max);
            let deleted = block_on(tenant.delete_all_where(&query)).unwrap();
            assert_eq!((deleted, left(&tenant)), (40 - expected.len() as u64, expected), "{query:?}");
            assert_eq!(block_on(tenant.delete_all_where(&query)).unwrap(), 0);
        }
    }
}

#[test]
fn a_step_ends_at_its_limit_and_goes_on_with_its_token() {
    let tenant = tenant();
    fill(&tenant, 10);
    let query = Query::of("item").filter("number >= 2").rows_max(3);
    let first = block_on(tenant.delete_where(&query)).unwrap();
    assert_eq!((first.deleted, left(&tenant)), (3, [0, 1, 5, 6, 7, 8, 9].into()));
    let token = first.next.unwrap();
    // The token belongs to its query.
    let other = Query::of("item").filter("number >= 1").after(token.clone());
    assert_eq!(block_on(tenant.delete_where(&other)).unwrap_err().code(), Code::TokenOfAnotherQuery);
    let rest = block_on(tenant.delete_where(&query.after(token).rows_max(100))).unwrap();
    assert_eq!((rest.deleted, rest.next, left(&tenant)), (5, None, [0, 1].into()));
    // So many and no more, in steps.
    fill(&tenant, 0);
    let some = Query::of("item").rows_max(1);
    let page = block_on(tenant.delete_some_where(&some, 1)).unwrap();
    assert_eq!((page.deleted, page.next.is_some(), left(&tenant)), (1, true, [1].into()));
    assert_eq!(block_on(tenant.delete_some_where(&some, 5)).unwrap().next, None);
    fill(&tenant, 2);
    let hostile = Query::of("item").filter("number >=");
    assert_eq!(block_on(tenant.delete_all_where(&hostile)).unwrap_err().code(), Code::ExpressionInvalid);
    let none = Query::of("item").rows_max(0);
    assert_eq!(block_on(tenant.delete_all_where(&none)).unwrap_err().code(), Code::LimitPassed);
    assert_eq!(left(&tenant).len(), 2);
}

/// Records whose deletion does not fit one transaction: the steps become smaller by themselves.
#[test]
fn steps_that_are_too_large_are_halved() {
    let tenant = tenant();
    let long = "x".repeat(4_000);
    for begin in (0..300).step_by(50) {
        let long = &long;
        block_on(tenant.run(|transaction| async move {
            for number in begin..begin + 50 {
                transaction.insert("item", &item(long, number, "t")).await?;
            }
            Ok::<_, tenantry_core::Error>(())
        }))
        .unwrap();
    }
    let query = Query::of("item").rows_max(1_000);
    assert_eq!(block_on(tenant.delete_where(&query)).unwrap_err().code(), Code::LimitPassed);
    assert_eq!(block_on(tenant.delete_all_where(&query)).unwrap(), 300);
    assert_eq!(left(&tenant).len(), 0);
}

#[test]
fn a_transaction_deletes_by_query_what_it_wrote_itself() {
    let tenant = tenant();
    fill(&tenant, 4);
    block_on(tenant.run(|transaction| async move {
        transaction.insert("item", &item("eu", 10, "t1")).await?;
        transaction.delete("item", &PrimaryKey { values: vec!["eu".into(), 1.into()] }).await?;
        let page = transaction.delete_where(&Query::of("item").filter("title == \"t1\"")).await?;
        assert_eq!((page.deleted, page.next), (1, None));
        Ok::<_, tenantry_core::Error>(())
    }))
    .unwrap();
    assert_eq!(left(&tenant), [0, 2, 3].into());
}
