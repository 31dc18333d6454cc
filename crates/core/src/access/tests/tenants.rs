//! Which tenants a grant is on, and for how long.

use super::*;
use crate::RawRange;

#[test]
fn a_tenant_that_the_grant_is_not_on_is_as_one_that_does_not_exist() {
    let world = World::new();
    let handle = world.with(Grant::of_role("ann", Role::Owner).on_tenant("acme"));
    let text = |name: &str| block_on(handle.tenant(name)).unwrap_err().to_string().replace(name, "NAME");
    assert_eq!(text("globex"), text("nobody"));
    let text =
        |name: &str| block_on(handle.delete_tenant(name)).unwrap_err().to_string().replace(name, "NAME");
    assert_eq!(text("globex"), text("nobody"));
    assert!(block_on(world.database.tenant("globex")).is_ok());
    // Nor is the way back open.
    let acme = block_on(handle.tenant("acme")).unwrap();
    assert_eq!(code(block_on(acme.database().tenant("globex"))), Code::TenantNotFound);
    assert_eq!(code(acme.database().with_grant(without(None))), Code::AccessDenied);
    assert!(acme.database().index_uses(&block_on(acme.schema()).unwrap()).is_empty());
}

#[test]
fn a_tenant_of_the_same_name_is_not_the_same_tenant() {
    let world = World::new();
    let granted = block_on(world.database.granted_tenant("acme")).unwrap();
    let grant = Grant::of_role("ann", Role::Owner).on(granted);
    let handle = world.with(grant);
    let old = block_on(handle.tenant("acme")).unwrap();
    block_on(world.database.delete_tenant("acme")).unwrap();
    block_on(world.database.create_tenant("acme", "s")).unwrap();
    assert_eq!(code(block_on(handle.tenant("acme"))), Code::TenantNotFound);
    assert_eq!(code(block_on(old.get("film", &key(OWN)))), Code::TenantNotFound);
}

/// A handle that is open is refused as well, from its next transaction on, also by whoever knows the tenant's header by heart.
#[test]
fn a_revocation_reaches_handles_that_are_open() {
    let world = World::new();
    let granted = block_on(world.database.granted_tenant("acme")).unwrap();
    let grant = Grant::of_role("ann", Role::Owner).on(granted.clone());
    let acme = world.acme_with(grant.clone());
    let numbers = acme.sequence_blocks("n", 2).unwrap();
    block_on(numbers.next()).unwrap();
    block_on(acme.insert("film", &film(10, "ann"))).unwrap();
    assert_eq!(block_on(acme.database().revoke_tokens("acme")).unwrap(), granted.epoch.unwrap() + 1);
    assert_eq!(code(block_on(acme.insert("film", &film(11, "ann")))), Code::AccessRevoked);
    assert_eq!(code(block_on(acme.get("film", &key(OWN)))), Code::AccessRevoked);
    assert_eq!(code(block_on(world.with(grant.clone()).tenant("acme"))), Code::AccessRevoked);
    // Others are not touched, and a new grant is good.
    let globex = block_on(world.database.granted_tenant("globex")).unwrap();
    let other = Grant::of_role("ann", Role::Owner).on(globex);
    assert!(block_on(world.with(other).tenant("globex")).is_ok());
    let renewed = block_on(world.database.granted_tenant("acme")).unwrap();
    let acme = world.acme_with(Grant::of_role("ann", Role::Owner).on(renewed));
    assert!(block_on(acme.get("film", &key(10))).unwrap().is_some());
    assert!(block_on(acme.get("film", &key(11))).unwrap().is_none());
}

#[test]
fn a_grant_ends_in_the_middle_of_a_transaction() {
    let world = World::new();
    let ends_us = world.now_us() + 1_000_000;
    let acme = world.acme_with(Grant::of_role("ann", Role::Reader).on_tenant("acme").expires_us(ends_us));
    let clock = &world.clock;
    let found = block_on(acme.read(|transaction| async move {
        transaction.get("film", &key(OWN)).await?;
        clock.advance(Duration::from_secs(1));
        transaction.get("film", &key(OWN)).await
    }));
    assert_eq!(code(found), Code::GrantExpired);
}

#[test]
fn grants_that_cannot_be_meant_are_refused() {
    let grant = || Grant::of_role("ann", Role::Reader).on_tenant("acme");
    let policy = |text: &str| RowPolicy::new(text);
    let long = "x".repeat(256);
    let refused = [
        (Grant::of_role("", Role::Reader), Code::GrantInvalid),
        (Grant::of_role("a\nb", Role::Reader), Code::GrantInvalid),
        (Grant::of_role(long.as_str(), Role::Reader), Code::LimitPassed),
        (grant().on_tenant("acme"), Code::GrantInvalid),
        (grant().policy("film", policy("owner ==")), Code::PolicyInvalid),
        (grant().policy("film", policy("true").write("(")), Code::PolicyInvalid),
        (grant().record_types(["note"]).policy("film", policy("true")), Code::GrantInvalid),
        (grant().claim("sub", crate::Value::Bytes(vec![1].into())), Code::GrantInvalid),
        (grant().claim("", "x"), Code::GrantInvalid),
        (grant().claim("sub", "x".repeat(20_000)), Code::LimitPassed),
        ((0..1_001).fold(grant(), |grant, n| grant.on_tenant(n.to_string())), Code::LimitPassed),
        ((0..65).fold(grant(), |grant, n| grant.claim(n.to_string(), n)), Code::LimitPassed),
        (grant().record_types((0..257).map(|n| n.to_string())), Code::LimitPassed),
    ];
    let world = World::new();
    for (place, (grant, expected)) in refused.into_iter().enumerate() {
        assert_eq!(code(world.database.with_grant(grant)), expected, "{place}");
    }
}

#[test]
fn a_policy_that_does_not_fit_opens_nothing() {
    let world = World::new();
    let open = |record_type: &str, policy: &str| {
        let grant = without(None).claim("sub", "ann").policy(record_type, RowPolicy::new(policy));
        block_on(world.with(grant).tenant("acme"))
    };
    for (record_type, policy) in [
        ("film", "director == claims.sub"),
        ("film", "owner == claims.subject"),
        ("film", "owner"),
        ("film", "owner == claims"),
        ("film", "owner == param.sub"),
        ("film", "[1].exists(claims, claims == 1)"),
        ("flim", "owner == claims.sub"),
        // Notes have no owner.
        ("*", "owner == claims.sub"),
    ] {
        assert_eq!(code(open(record_type, policy)), Code::PolicyInvalid, "{record_type}: {policy}");
    }
    assert!(open("film", "owner == claims.sub").is_ok());
}

/// Records cannot put anything in the place of a claim.
#[test]
fn a_field_named_claims_is_no_claim() {
    let world = World::new();
    let schema = r#"
        name = "c"
        [types.film]
        primary_key = ["id"]
        fields = { id = "int", owner = "string", claims = { type = "struct", fields = { sub = "string" } } }
    "#;
    block_on(world.database.apply_schema(&SchemaDefinition::from_toml(schema).unwrap())).unwrap();
    let tenant = block_on(world.database.create_tenant("c", "c")).unwrap();
    let forged = json!({ "id": 1, "owner": "bob", "claims": { "sub": "bob" } });
    let record = block_on(tenant.schema()).unwrap();
    let record = Record::from_json(&forged, record.definition.record_type("film").unwrap()).unwrap();
    block_on(tenant.insert("film", &record)).unwrap();
    let tenant = block_on(world.with(of_ann(without(None))).tenant("c")).unwrap();
    assert_eq!(block_on(tenant.get("film", &key(1))).unwrap(), None);
}

/// Somebody else's key gives nobody another's result.
#[test]
fn results_of_idempotency_keys_belong_to_their_subjects() {
    let world = World::new();
    let run = |subject: &str, result: i64| {
        let acme = world.acme_with(Grant::of_role(subject, Role::Writer).on_tenant("acme"));
        block_on(acme.run_idempotent::<_, Error, _, _>(b"key", b"ask", |_| async move { Ok(result) }))
    };
    assert_eq!(run("ann", 1).unwrap().value, 1);
    assert_eq!(run("ann", 2).unwrap().value, 1);
    assert_eq!(code(run("bob", 3)), Code::IdempotencyKeyReused);
    let plain =
        block_on(world.acme().run_idempotent::<i64, Error, _, _>(b"key", b"ask", |_| async { Ok(4) }));
    assert_eq!(code(plain), Code::IdempotencyKeyReused);
}

#[test]
fn the_change_log_tells_who_acted() {
    let world = World::new();
    let acme = world.acme_with(Grant::of_role("ann@example.com", Role::Writer).on_tenant("acme"));
    block_on(acme.insert("film", &film(50, "ann"))).unwrap();
    let all = world.acme();
    let read = all.read(|transaction| async move {
        let begin = crate::change_log::LogPosition::at_version(0, 0);
        let keys = &transaction.tenant().keys;
        let buckets = transaction.header().log_buckets;
        crate::change_log::read_after(
            &**transaction.engine_transaction(),
            keys,
            buckets,
            begin,
            1_000_000,
            None,
        )
        .await
    });
    let actors: Vec<String> =
        block_on(read).unwrap().entries.into_iter().map(|logged| logged.entry.actor).collect();
    assert_eq!(actors.last().map(String::as_str), Some("ann@example.com"));
    assert_eq!(actors.first().map(String::as_str), Some(""));
}

/// Jobs of others are not there, also those of a tenant that had the name before.
#[test]
fn jobs_are_those_of_the_tenants_of_the_grant() {
    use crate::jobs::JobFilter;
    let world = World::new();
    let globex = block_on(world.database.tenant("globex")).unwrap();
    let others =
        block_on(world.database.create_job(&Count, Some(&globex), &json!({ "type": "film" }))).unwrap();
    let of_all = block_on(world.database.create_job(&Count, None, &json!({ "type": "film" })));
    let handle = world.with(Grant::of_role("ann", Role::Owner).on_tenant("acme"));
    let nobody = "00000000-0000-7000-8000-000000000000".parse().unwrap();
    let text = |id: JobId| block_on(handle.job(id)).unwrap_err().to_string().replace(&id.to_string(), "ID");
    assert_eq!(text(others), text(nobody));
    if let Ok(of_all) = of_all {
        assert_eq!(text(of_all), text(nobody));
    }
    assert_eq!(code(block_on(handle.cancel_job(others))), Code::JobNotFound);
    assert!(block_on(handle.job(world.job)).is_ok());
    let mut filter = JobFilter::all();
    assert_eq!(code(block_on(handle.jobs(&filter, None, 10))), Code::AccessDenied);
    filter.tenant = Some("globex".to_owned());
    assert_eq!(code(block_on(handle.jobs(&filter, None, 10))), Code::TenantNotFound);
    filter.tenant = Some("acme".to_owned());
    assert_eq!(block_on(handle.jobs(&filter, None, 10)).unwrap().jobs.len(), 1);
    block_on(world.database.delete_tenant("acme")).unwrap();
    block_on(world.database.create_tenant("acme", "s")).unwrap();
    assert_eq!(block_on(handle.jobs(&filter, None, 10)).unwrap().jobs.len(), 0);
    assert_eq!(code(block_on(handle.job(world.job))), Code::JobNotFound);
    assert_eq!(
        code(block_on(handle.create_job(&Count, Some(&globex), &json!({ "type": "film" })))),
        Code::TenantNotFound
    );
}

/// Readers of a granted tenant keep to the grant like everything else.
#[test]
fn readers_and_hooks_have_the_same_grant() {
    let world = World::new();
    let acme = world.acme_with(of_ann(Grant::of_role("ann", Role::Writer)).on_tenant("acme"));
    let found = block_on(acme.read_only(|reader| async move {
        assert_eq!(reader.get("film", &key(HIDDEN)).await?, None);
        reader.raw_range(&RawRange::all()).await
    }));
    assert_eq!(code(found), Code::PolicyUnsupported);
    let found = block_on(acme.run(|transaction| async move {
        transaction
            .before_commit(|transaction| async move { transaction.put("film", &film(HIDDEN, "ann")).await })
    }));
    assert_eq!(code::<()>(found), Code::PolicyUnsupported);
}
