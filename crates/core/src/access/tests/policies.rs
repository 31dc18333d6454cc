//! What row policies show, and what they let be written.

use super::*;
use crate::{Aggregation, Condition, Measure, Query, Result, StopReason};

fn ids(records: &[Record]) -> Vec<i64> {
    let id = |record: &Record| match record.get("id") {
        Some(crate::Value::Int(id)) => *id,
        _ => -1,
    };
    records.iter().map(id).collect()
}

fn acme_of_ann(world: &World) -> Tenant {
    world.acme_with(of_ann(without(None)))
}

/// Pages are filled with what is shown, tokens go on behind what is not, and what a page tells is the same whatever is hidden.
#[test]
fn queries_page_through_what_is_shown() {
    let world = World::new();
    for id in 10..200 {
        let owner = if id % 10 == 0 { "ann" } else { "bob" };
        block_on(world.acme().insert("film", &film(id, owner))).unwrap();
    }
    let acme = acme_of_ann(&world);
    let expected: Vec<i64> = [1, 3].into_iter().chain((10..200).filter(|id| id % 10 == 0)).collect();
    for query in [
        Query::of("film").rows_max(4),
        Query::of("film").rows_max(4).scanned_max(1).select(["id"]),
        Query::of("film").rows_max(4).filter("title == \"Heat\"").order_by("id"),
        Query::of("film").rows_max(4).order_by("rating"),
    ] {
        let (mut found, mut next) = (Vec::new(), query.clone());
        loop {
            let page = block_on(acme.query(&next)).unwrap();
            let is_full = page.records.len() == 4;
            assert!(is_full || page.next.is_none(), "{query:?}");
            assert_eq!((page.explanation.scanned, page.explanation.keys_read), (page.records.len(), 0));
            assert!(page.explanation.statistics.is_empty() && page.explanation.others.is_empty());
            assert_eq!(page.stop == StopReason::Exhausted, page.next.is_none());
            found.extend(ids(&page.records));
            let Some(token) = page.next else { break };
            next = query.clone().after(token);
        }
        assert_eq!(found, expected, "{query:?}");
    }
    assert_eq!(
        code(block_on(acme.aggregate(&Aggregation::of("film").measure(Measure::Count)))),
        Code::PolicyUnsupported
    );
    // Of a type without a policy, everything is told.
    assert!(block_on(acme.aggregate(&Aggregation::of("note").measure(Measure::Count))).is_ok());
}

#[test]
fn page_tokens_are_bound_to_the_policy() {
    let world = World::new();
    let query = Query::of("film").rows_max(1);
    let token = |tenant: &Tenant| block_on(tenant.query(&query)).unwrap().next.unwrap();
    let ann = acme_of_ann(&world);
    let bob = world.acme_with(of_ann(without(None)).claim("sub", "bob"));
    let (of_ann, of_all) = (token(&ann), token(&world.acme()));
    let resumed = |tenant: &Tenant, token: &str| block_on(tenant.query(&query.clone().after(token)));
    assert_eq!(ids(&resumed(&ann, &of_ann).unwrap().records), [3]);
    assert_eq!(code(resumed(&bob, &of_ann)), Code::TokenOfAnotherQuery);
    assert_eq!(code(resumed(&ann, &of_all)), Code::TokenOfAnotherQuery);
    assert_eq!(code(resumed(&world.acme(), &of_ann)), Code::TokenOfAnotherQuery);
}

/// What stands against a write without being shown is told in one and the same way.
#[test]
fn hidden_records_are_told_by_no_error() {
    let world = World::new();
    let acme = acme_of_ann(&world);
    let mut errors = Vec::new();
    let mut note = |result: Result<()>| errors.push(result.unwrap_err().to_string());
    // The key, written each way.
    note(block_on(acme.insert("film", &film(HIDDEN, "ann"))));
    note(block_on(acme.put("film", &film(HIDDEN, "ann"))));
    // A unique value of bob's, in a new record and in one of ann's own.
    note(block_on(acme.insert("film", &film(20, "ann").with("code", "bob2"))));
    note(block_on(acme.put("film", &film(OWN, "ann").with("code", "bob2"))));
    assert!(errors.windows(2).all(|pair| pair[0] == pair[1]), "{errors:?}");
    assert!(errors[0].contains("20121"), "{errors:?}");
    // A value of her own record is hidden as well: nobody tells apart whose it is.
    assert_eq!(
        code(block_on(acme.insert("film", &film(20, "ann").with("code", "ann3")))),
        Code::PolicyUnsupported
    );
    // What is hers is told.
    assert_eq!(code(block_on(acme.insert("film", &film(OWN, "ann")))), Code::RecordExists);
    let not_there = |id: i64| {
        let error = block_on(acme.replace("film", &film(id, "ann"))).unwrap_err().to_string();
        error.replace(&id.to_string(), "ID")
    };
    assert_eq!(not_there(HIDDEN).replace("ID0030", "20030"), not_there(ABSENT).replace("ID0030", "20030"));
    assert!(!block_on(acme.delete("film", &key(HIDDEN))).unwrap());
    assert!(block_on(world.acme().get("film", &key(HIDDEN))).unwrap().is_some());
}

#[test]
fn records_are_checked_as_they_were_and_as_they_become() {
    let world = World::new();
    let acme = acme_of_ann(&world);
    assert_eq!(code(block_on(acme.insert("film", &film(20, "bob")))), Code::PolicyViolated);
    assert_eq!(code(block_on(acme.put("film", &film(OWN, "bob")))), Code::PolicyViolated);
    let given = block_on(acme.update("film", &key(OWN), |record| {
        record.set("owner", "bob");
        Ok(())
    }));
    assert_eq!(code(given), Code::PolicyViolated);
    let patched = block_on(acme.merge_patch("film", &key(OWN), &json!({ "owner": "bob" })));
    assert_eq!(code(patched), Code::PolicyViolated);
    let is_bobs = Condition::Matches("owner == \"bob\"");
    let matching = block_on(acme.put_if("film", &film(HIDDEN, "ann"), is_bobs));
    assert_eq!(code(matching), Code::RecordNotFound);
    assert_eq!(ids(&block_on(acme.query(&Query::of("film"))).unwrap().records), [1, 3]);
    block_on(acme.put("film", &film(OWN, "ann").with("title", "Ronin"))).unwrap();
    assert!(block_on(acme.delete("film", &key(OWN))).unwrap());
}

#[test]
fn another_condition_may_hold_for_writes() {
    let world = World::new();
    let policy = RowPolicy::new("rating > 1").write("owner == claims.sub && rating < 10");
    let acme = world.acme_with(without(None).claim("sub", "ann").policy("film", policy));
    assert_eq!(ids(&block_on(acme.query(&Query::of("film"))).unwrap().records), [2, 3, 4]);
    // One that is seen and not written, one that is neither, and one that would leave what may be written.
    assert_eq!(code(block_on(acme.delete("film", &key(HIDDEN)))), Code::PolicyViolated);
    assert_eq!(code(block_on(acme.put("film", &film(OWN, "ann")))), Code::PolicyUnsupported);
    assert_eq!(code(block_on(acme.put("film", &film(3, "ann").with("rating", 10)))), Code::PolicyViolated);
    block_on(acme.put("film", &film(3, "ann").with("rating", 9))).unwrap();
}

#[test]
fn references_see_what_the_policy_shows() {
    let world = World::new();
    let acme = world.acme();
    for (id, owner) in [(1, "ann"), (2, "bob")] {
        let studio = Record::new().with("id", id).with("owner", owner);
        block_on(acme.insert("studio", &studio)).unwrap();
    }
    let note = Record::new().with("id", 1).with("text", "secret").with("film", OWN);
    block_on(acme.insert("note", &note)).unwrap();
    let policy = RowPolicy::new("owner == claims.sub");
    let ann = world.acme_with(of_ann(without(None)).policy("studio", policy));
    // A studio that is not shown is none to refer to.
    let refers = |id: i64, studio: i64| block_on(ann.put("film", &film(id, "ann").with("studio", studio)));
    assert_eq!(code(refers(3, 2)), Code::ReferenceNotFound);
    assert_eq!(code(refers(3, 7)), Code::ReferenceNotFound);
    refers(3, 1).unwrap();
    // A film of bob's that would go with ann's studio holds it.
    block_on(acme.put("film", &film(4, "bob").with("studio", 1))).unwrap();
    assert_eq!(code(block_on(ann.delete("studio", &key(1)))), Code::PolicyUnsupported);
    assert!(block_on(acme.get("film", &key(3))).unwrap().is_some(), "nothing of it was done");
    block_on(acme.put("film", &film(4, "bob"))).unwrap();
    assert!(block_on(ann.delete("studio", &key(1))).unwrap());
    // What forbids a deletion is named to whoever may see it.
    let error = block_on(ann.delete("film", &key(OWN))).unwrap_err();
    assert!(error.code() == Code::ReferenceRestricts && error.detail().contains("\"note\""), "{error}");
    let blind = world.acme_with(of_ann(without(None)).policy("note", RowPolicy::new("false")));
    assert_eq!(code(block_on(blind.delete("film", &key(OWN)))), Code::PolicyUnsupported);
    let limited = world.acme_with(without(None).record_types(["film"]));
    let error = block_on(limited.delete("film", &key(OWN))).unwrap_err();
    assert!(!error.to_string().contains("note"), "{error}");
    // What a deletion takes along takes the same rights, whether or not there is something.
    let limited = world.acme_with(without(None).record_types(["studio"]));
    assert_eq!(code(block_on(limited.delete("studio", &key(77)))), Code::AccessDenied);
}

#[test]
fn what_is_not_said_of_types_is_refused() {
    let world = World::new();
    let acme = world.acme_with(without(None).record_types(["note"]));
    let text = |name: &str| block_on(acme.get(name, &key(1))).unwrap_err().to_string().replace(name, "NAME");
    assert_eq!(text("film"), text("nothing"), "whether there is a type is not told either");
    let policy = RowPolicy::new("id < 2");
    let every = world.acme_with(without(None).policy("*", policy).policy("note", RowPolicy::new("true")));
    assert_eq!(ids(&block_on(every.query(&Query::of("film"))).unwrap().records), [1]);
    for id in [1, 5] {
        block_on(every.insert("note", &Record::new().with("id", id).with("text", "t"))).unwrap();
    }
    assert_eq!(block_on(every.query(&Query::of("note"))).unwrap().records.len(), 2);
}

/// Conflicts on records that are not shown are not named.
#[test]
fn conflicts_are_told_to_whoever_sees_everything() {
    let world = World::new();
    let conflict = |tenant: Tenant| {
        let options = crate::RunOptions { retries_max: 0, ..Default::default() };
        let other = world.acme();
        let run = tenant.run_with(&options, |transaction| {
            let other = other.clone();
            async move {
                transaction.query(&Query::of("film")).await?;
                other.put("film", &film(HIDDEN, "bob")).await?;
                transaction.put("film", &film(OWN, "ann")).await
            }
        });
        block_on(run).unwrap_err().to_string()
    };
    let (limited, open) = (conflict(acme_of_ann(&world)), conflict(world.acme()));
    assert!(!limited.contains("film"), "{limited}");
    assert!(open.contains("\"film\""), "{open}");
}

/// A small generator, so that every run is the same.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Random operations by two subjects beside a model: each sees and changes what is theirs, and the other's is as they left it.
#[test]
fn random_operations_stay_on_their_own_side() {
    for seed in 0..12 {
        let world = World::new();
        let numbers = &mut Numbers(seed);
        let open = |sub: &str| {
            let policy = RowPolicy::new("owner == claims.sub && rating >= claims.least");
            world.acme_with(without(None).claim("sub", sub).claim("least", 0).policy("film", policy))
        };
        let subjects = [("ann", open("ann")), ("bob", open("bob"))];
        let all = world.acme();
        for _ in 0..60 {
            let (name, tenant) = &subjects[numbers.below(2) as usize];
            let id = numbers.below(12) as i64;
            let before = block_on(all.get("film", &key(id))).unwrap();
            let owner = before.as_ref().map(|film| film.get("owner") == Some(&(*name).into()));
            let rating = numbers.below(9) as i64;
            let new = film(id, name).with("rating", rating).with("title", format!("t{}", numbers.below(3)));
            match numbers.below(6) {
                0 => {
                    let shown = block_on(tenant.get("film", &key(id))).unwrap();
                    assert_eq!(shown.is_some(), owner == Some(true), "seed {seed}");
                }
                1 => {
                    let found = block_on(tenant.put("film", &new));
                    let expected = (owner == Some(false)).then_some(Code::PolicyUnsupported);
                    assert_eq!(found.err().map(|error| error.code()), expected, "seed {seed}");
                }
                2 => {
                    let found = block_on(tenant.delete("film", &key(id))).unwrap();
                    assert_eq!(found, owner == Some(true), "seed {seed}");
                }
                3 => {
                    let filter = format!("rating > {rating} || title == \"t1\"");
                    let query = Query::of("film").filter(filter.as_str()).order_by("title").rows_max(100);
                    let found = ids(&block_on(tenant.query(&query)).unwrap().records);
                    let everything = block_on(all.query(&query)).unwrap().records;
                    let own =
                        everything.into_iter().filter(|film| film.get("owner") == Some(&(*name).into()));
                    assert_eq!(found, ids(&own.collect::<Vec<_>>()), "seed {seed}");
                }
                4 => {
                    let query = Query::of("film").filter(format!("rating == {rating}").as_str());
                    let everything = block_on(all.query(&query)).unwrap().records;
                    let own =
                        everything.iter().filter(|film| film.get("owner") == Some(&(*name).into())).count();
                    assert_eq!(block_on(tenant.delete_all_where(&query)).unwrap(), own as u64, "seed {seed}");
                }
                _ => {
                    let keys: Vec<PrimaryKey> = (0..12).map(key).collect();
                    let found = block_on(tenant.get_many("film", &keys)).unwrap();
                    let owners = found.iter().flatten().map(|film| film.get("owner").cloned());
                    assert!(owners.into_iter().all(|owner| owner == Some((*name).into())), "seed {seed}");
                }
            }
            if owner == Some(false) {
                assert_eq!(block_on(all.get("film", &key(id))).unwrap(), before, "seed {seed}");
            }
        }
    }
}
