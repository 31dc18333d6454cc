//! The life of tenants: names, labels, states, and who is refused when.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::collections::BTreeMap;

use common::{SCHEMA, database, note};
use pollster::block_on;
use tenantry_core::jobs::{Count, JobKinds, JobState, Rewrite, Worked, Worker};
use tenantry_core::{
    Code, Database, Error, PrimaryKey, Query, Result, Suspension, Tenant, TenantFilter, TenantOptions,
    TenantState, limits,
};

fn code<T: std::fmt::Debug>(result: Result<T>) -> Code {
    result.unwrap_err().code()
}

/// A second handle on the same database, as another process has one: it knows nothing of what the first one does.
fn other(database: &Database) -> Database {
    let env = tenantry_kv::conformance::reference::manual_env();
    block_on(Database::open(tenantry_core::engine_access::engine(database).clone(), env, database.name()))
        .unwrap()
}

fn read(tenant: &Tenant) -> Result<bool> {
    block_on(tenant.exists("note", &PrimaryKey::of(1)))
}

fn write(tenant: &Tenant) -> Result<()> {
    block_on(tenant.put("note", &note(1, "x")))
}

#[test]
fn a_suspension_holds_for_every_handle_at_once_and_tells_why() {
    let database = database();
    block_on(database.create_tenant("acme", "shop")).unwrap();
    let other = other(&database);
    // Both handles have read the header before it changes.
    let tenants: Vec<Tenant> =
        [&database, &other].map(|database| block_on(database.tenant("acme")).unwrap()).into();
    for tenant in &tenants {
        write(tenant).unwrap();
    }
    let table = [
        (Some(Suspension::ReadOnly), TenantState::ReadOnly, None, Some(Code::TenantReadOnly)),
        (
            Some(Suspension::Blocked),
            TenantState::Blocked,
            Some(Code::TenantSuspended),
            Some(Code::TenantSuspended),
        ),
        (Some(Suspension::ReadOnly), TenantState::ReadOnly, None, Some(Code::TenantReadOnly)),
        (None, TenantState::Active, None, None),
    ];
    for (suspension, state, reads, writes) in table {
        let info = match suspension {
            Some(suspension) => block_on(database.suspend_tenant("acme", suspension, "the bill of May")),
            None => block_on(database.resume_tenant("acme")),
        };
        assert_eq!(info.unwrap().state, state);
        for tenant in &tenants {
            for (result, expected) in [(read(tenant).map(drop), reads), (write(tenant), writes)] {
                assert_eq!(result.as_ref().err().map(Error::code), expected, "{state:?}");
                if let Err(error) = result {
                    assert!(error.to_string().contains("the bill of May"), "{error}");
                }
            }
            // Every kind of write, not only records.
            let counted =
                block_on(tenant.run(|transaction| async move { transaction.add_to_counter("n", 1) }));
            assert_eq!(counted.err().map(|error: Error| error.code()), writes);
            let queried = block_on(tenant.query(&Query::of("note")));
            assert_eq!(queried.err().map(|error| error.code()), reads);
            // What it is can be asked in every state.
            assert_eq!(block_on(tenant.schema()).unwrap().definition.name, "shop");
        }
        let found = block_on(other.describe_tenant("acme")).unwrap();
        let reason = if suspension.is_some() { "the bill of May" } else { "" };
        assert_eq!((found.state, found.reason.as_str(), found.since_us > 0), (state, reason, true));
    }
    let long = block_on(database.suspend_tenant("acme", Suspension::Blocked, &"x".repeat(1_001)));
    assert_eq!(code(long), Code::LimitPassed);
    assert_eq!(code(block_on(database.resume_tenant("nobody"))), Code::TenantNotFound);
}

#[test]
fn nothing_that_began_before_a_suspension_commits_after_it() {
    let database = database();
    let tenant = block_on(database.create_tenant("acme", "shop")).unwrap();
    for suspension in [Suspension::ReadOnly, Suspension::Blocked] {
        let mut attempts = 0;
        let result: Result<()> = block_on(tenant.run(|transaction| {
            attempts += 1;
            let database = database.clone();
            async move {
                transaction.put("note", &note(1, "late")).await?;
                database.suspend_tenant("acme", suspension, "stop").await?;
                Ok(())
            }
        }));
        let (expected, least) = match suspension {
            Suspension::ReadOnly => (Code::TenantReadOnly, 2),
            _ => (Code::TenantSuspended, 1),
        };
        assert_eq!(code(result), expected);
        // On a cluster an attempt begins with the header that was known before it has the one that is there, and then begins again.
        let most = least + u32::from(common::engine::is_cluster());
        assert!((least..=most).contains(&attempts), "{attempts} attempts");
        block_on(database.resume_tenant("acme")).unwrap();
        assert!(!read(&tenant).unwrap());
    }
}

#[test]
fn a_tenant_that_is_renamed_goes_on() {
    let database = database();
    let tenant = block_on(database.create_tenant("acme", "shop")).unwrap();
    block_on(database.create_tenant("bell", "shop")).unwrap();
    write(&tenant).unwrap();
    assert_eq!(code(block_on(database.rename_tenant("acme", "bell"))), Code::TenantExists);
    assert_eq!(code(block_on(database.rename_tenant("acme", "a\0b"))), Code::TenantNameInvalid);
    assert_eq!(code(block_on(database.rename_tenant("nobody", "x"))), Code::TenantNotFound);
    let info = block_on(database.rename_tenant("acme", "acme & sons")).unwrap();
    assert_eq!(
        (info.name.as_str(), info.id, info.uuid),
        ("acme & sons", tenant.info().id, tenant.info().uuid)
    );
    assert_eq!(code(block_on(database.tenant("acme"))), Code::TenantNotFound);
    assert!(read(&block_on(database.tenant("acme & sons")).unwrap()).unwrap());
    // The handle from before is on the tenant, not on its name.
    write(&tenant).unwrap();
    assert_eq!(block_on(database.rename_tenant("acme & sons", "acme & sons")).unwrap(), info);
    let names: Vec<String> =
        block_on(database.tenants(None, 10)).unwrap().tenants.into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["acme & sons", "bell"]);
    block_on(database.create_tenant("acme", "shop")).unwrap();
}

#[test]
fn labels_and_plans_are_kept_and_bounded() {
    let database = database();
    let options = TenantOptions::new().label("region", "eu").label("tier", "").plan("small");
    let tenant = block_on(database.create_tenant_with("acme", "shop", &options)).unwrap();
    assert_eq!((&tenant.info().labels, tenant.info().plan.as_deref()), (&options.labels, Some("small")));
    let changes: BTreeMap<String, Option<String>> =
        [("region".to_owned(), Some("us".to_owned())), ("tier".to_owned(), None), ("none".to_owned(), None)]
            .into();
    let info = block_on(database.label_tenant("acme", &changes)).unwrap();
    assert_eq!(info.labels, BTreeMap::from([("region".to_owned(), "us".to_owned())]));
    assert_eq!(block_on(database.set_tenant_plan("acme", None)).unwrap().plan, None);
    assert_eq!(
        block_on(database.set_tenant_plan("acme", Some("large"))).unwrap().plan.as_deref(),
        Some("large")
    );
    assert_eq!(block_on(database.describe_tenant("acme")).unwrap().labels, info.labels);
    write(&tenant).unwrap();

    let mut many = TenantOptions::new();
    for number in 0..=limits::TENANT_LABELS_MAX {
        many = many.label(format!("l{number}"), "x");
    }
    for refused in [
        many,
        TenantOptions::new().label("", "x"),
        TenantOptions::new().label("a=b", "x"),
        TenantOptions::new().label("a\nb", "x"),
        TenantOptions::new().label("x".repeat(64), "x"),
        TenantOptions::new().label("x", "x".repeat(256)),
        TenantOptions::new().label("x", "a\u{7}b"),
        TenantOptions::new().plan(""),
        TenantOptions::new().plan("x".repeat(256)),
    ] {
        assert_eq!(
            code(block_on(database.create_tenant_with("new", "shop", &refused))),
            Code::TenantLabelInvalid
        );
        let changes = refused.labels.into_iter().map(|(name, value)| (name, Some(value))).collect();
        let labelled = block_on(database.label_tenant("acme", &changes));
        let planned = block_on(database.set_tenant_plan("acme", refused.plan.as_deref()));
        let codes = [labelled.err(), planned.err()].map(|error| error.map(|error| error.code()));
        assert!(codes.contains(&Some(Code::TenantLabelInvalid)), "{codes:?}");
    }
    assert_eq!(block_on(database.describe_tenant("acme")).unwrap().labels, info.labels);
}

#[test]
fn a_listing_gives_each_tenant_that_the_filter_takes_once() {
    let database = database();
    for number in 0..60 {
        let name = format!("t{number:02}");
        let options = TenantOptions::new().label("group", ["a", "b", "c"][number % 3]);
        let options = if number % 4 == 0 { options.plan("large") } else { options };
        let options = if number % 5 == 0 { options.label("marked", "") } else { options };
        block_on(database.create_tenant_with(&name, "shop", &options)).unwrap();
        if number % 7 == 0 {
            block_on(database.suspend_tenant(&name, Suspension::Blocked, "")).unwrap();
        }
    }
    type Takes = fn(usize) -> bool;
    let table: [(TenantFilter, Takes); 7] = [
        (TenantFilter::all(), |_| true),
        (TenantFilter::all().label("group", "b"), |number| number % 3 == 1),
        (TenantFilter::all().has_label("marked"), |number| number % 5 == 0),
        (TenantFilter::all().label("group", "a").plan("large"), |number| number % 12 == 0),
        (TenantFilter::all().state(TenantState::Blocked), |number| number % 7 == 0),
        (TenantFilter::all().state(TenantState::Active).has_label("group"), |number| number % 7 != 0),
        (TenantFilter::all().label("group", "nothing"), |_| false),
    ];
    for (filter, takes) in table {
        let expected: Vec<String> =
            (0..60).filter(|number| takes(*number)).map(|number| format!("t{number:02}")).collect();
        for rows_max in [1, 7, 60, 1_000] {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = block_on(database.tenants_where(&filter, after.as_deref(), rows_max)).unwrap();
                assert!(page.tenants.len() <= rows_max);
                found.extend(page.tenants.into_iter().map(|info| info.name));
                after = page.after;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected, "{filter:?} by {rows_max}");
        }
    }
    assert_eq!(code(block_on(database.tenants(None, 0))), Code::LimitPassed);
    assert_eq!(code(block_on(database.tenants(None, 10_001))), Code::LimitPassed);
}

#[test]
fn jobs_of_a_suspended_tenant_wait_and_do_not_fail() {
    let database = database();
    let tenant = block_on(database.create_tenant("acme", "shop")).unwrap();
    let neighbour = block_on(database.create_tenant("bell", "shop")).unwrap();
    for id in 0..300 {
        block_on(tenant.put("note", &note(id, "x"))).unwrap();
    }
    let create = |tenant: &Tenant| {
        block_on(database.create_job(&Count, Some(tenant), &Count::parameters("note"))).unwrap()
    };
    let mut worker = Worker::new(&database, JobKinds::standard());
    let begun = create(&tenant);
    assert!(matches!(block_on(worker.run_one_step()).unwrap(), Worked::Step(job) if job.id == begun));
    let (never, of_other) = (create(&tenant), create(&neighbour));
    block_on(database.suspend_tenant("acme", Suspension::Blocked, "the bill")).unwrap();
    // It comes to its end: what is suspended keeps nobody waiting.
    block_on(worker.run_until_idle()).unwrap();
    for id in [begun, never] {
        let job = block_on(database.job(id)).unwrap();
        assert_eq!((job.state, job.failures_total), (JobState::Waiting, 0));
    }
    let job = block_on(database.job(begun)).unwrap();
    assert_eq!((job.steps, job.error.unwrap().tag.as_str()), (1, "TenantSuspended"));
    assert_eq!(block_on(database.job(of_other)).unwrap().state, JobState::Done);
    // Who waits for it is told.
    let mut seen = Vec::new();
    let refused = block_on(worker.run_job(never, |job| seen.push(job.state)));
    assert_eq!(code(refused), Code::TenantSuspended);
    assert_eq!(seen.last(), Some(&JobState::Waiting));
    // A job that only reads goes on where reading is allowed, one that writes does not.
    let writes =
        block_on(database.create_job(&Rewrite, Some(&tenant), &Rewrite::parameters("note"))).unwrap();
    block_on(database.suspend_tenant("acme", Suspension::ReadOnly, "the bill")).unwrap();
    block_on(worker.run_until_idle()).unwrap();
    for id in [begun, never] {
        let job = block_on(database.job(id)).unwrap();
        assert_eq!((job.state, &job.result.unwrap()["count"]), (JobState::Done, &serde_json::json!(300)));
    }
    // There is nothing to rewrite, so it had nothing to write.
    assert_eq!(block_on(database.job(writes)).unwrap().state, JobState::Done);
    let cancelled = create(&tenant);
    block_on(database.suspend_tenant("acme", Suspension::Blocked, "the bill")).unwrap();
    block_on(worker.run_until_idle()).unwrap();
    assert_eq!(block_on(database.cancel_job(cancelled)).unwrap().state, JobState::Cancelled);
    let late = create(&tenant);
    block_on(worker.run_until_idle()).unwrap();
    block_on(database.resume_tenant("acme")).unwrap();
    block_on(worker.run_until_idle()).unwrap();
    assert_eq!(block_on(database.job(late)).unwrap().state, JobState::Done);
    assert!(SCHEMA.contains("note"));
}
