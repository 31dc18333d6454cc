//! Every operation needs what the list says, and keeps to the limits of the grant.

use super::super::operation::Scope;
use super::attempts::attempt;
use super::*;

/// What a job's kind does is needed beside the job itself.
fn needs(operation: Operation) -> Vec<Action> {
    let of_kind: &[Action] = if operation == Operation::CreateJob { &[Action::Read] } else { &[] };
    operation.actions().iter().chain(of_kind).copied().collect()
}

fn outcome(grant: impl FnOnce(&World) -> Grant, operation: Operation) -> Result<String, Error> {
    let world = World::new();
    let handle = world.with(grant(&world));
    block_on(attempt(&world, &handle, operation, OWN))
}

/// With all that it needs and nothing else, an operation is done as without a grant.
#[test]
fn what_an_operation_needs_is_enough() {
    for operation in Operation::ALL.iter().copied() {
        let grant = || Grant::of_actions("ann", "test", needs(operation)).on_all_tenants();
        let id = if matches!(operation, Operation::Insert | Operation::Import) { ABSENT } else { OWN };
        let (with, without) = (World::new(), World::new());
        let granted = block_on(attempt(&with, &with.with(grant()), operation, id));
        let alone = block_on(attempt(&without, &without.database, operation, id));
        assert_eq!(granted.is_ok(), alone.is_ok(), "{operation:?}: {granted:?}, {alone:?}");
        assert!(granted.is_ok(), "{operation:?}: {granted:?}");
    }
}

#[test]
fn every_operation_is_refused_without_each_of_its_actions() {
    let mut refused = 0;
    for operation in Operation::ALL.iter().copied() {
        assert!(!needs(operation).is_empty(), "{operation:?} needs nothing");
        for action in needs(operation) {
            let found = outcome(|_| without(Some(action)), operation);
            let error = found.expect_err(&format!("{operation:?} without {action:?}"));
            assert_eq!(error.code(), Code::AccessDenied, "{operation:?} without {action:?}: {error}");
            assert!(error.detail().contains(action.name()), "{operation:?}: {error}");
            refused += 1;
        }
    }
    assert!(refused >= Operation::ALL.len());
}

#[test]
fn no_operation_is_done_with_a_grant_whose_time_is_over_or_has_not_come() {
    for operation in Operation::ALL.iter().copied() {
        let over = outcome(|world| without(None).expires_us(world.now_us()), operation);
        assert_eq!(code(over), Code::GrantExpired, "{operation:?}");
        let early = outcome(|world| without(None).not_before_us(world.now_us() + 1), operation);
        assert_eq!(code(early), Code::GrantExpired, "{operation:?}");
    }
}

#[test]
fn no_operation_is_done_with_a_grant_that_was_revoked() {
    for operation in Operation::ALL.iter().copied() {
        let found = outcome(
            |world| {
                let epoch = block_on(world.database.token_epoch()).unwrap();
                block_on(world.database.revoke_all_tokens()).unwrap();
                without(None).on_all_tenants_of(world.database.uuid(), epoch)
            },
            operation,
        );
        assert_eq!(code(found), Code::AccessRevoked, "{operation:?}");
        // That of another database is as useless.
        let found = outcome(|_| without(None).on_all_tenants_of(uuid::Uuid::from_u128(7), 1), operation);
        assert_eq!(code(found), Code::AccessDenied, "{operation:?}");
    }
}

#[test]
fn a_revoked_grant_on_a_tenant_does_nothing_in_it() {
    for operation in Operation::ALL.iter().copied().filter(|it| it.scope() != Scope::Database) {
        let found = outcome(
            |world| {
                let tenant = block_on(world.database.granted_tenant("acme")).unwrap();
                block_on(world.database.revoke_tokens("acme")).unwrap();
                Grant::of_actions("ann", "test", Action::ALL.iter().copied()).on(tenant)
            },
            operation,
        );
        assert_eq!(code(found), Code::AccessRevoked, "{operation:?}");
    }
}

#[test]
fn a_grant_on_another_tenant_does_nothing() {
    for operation in Operation::ALL.iter().copied() {
        let grant =
            |_: &World| Grant::of_actions("ann", "test", Action::ALL.iter().copied()).on_tenant("globex");
        let found = code(outcome(grant, operation));
        let expected: &[Code] = match operation {
            // Asked of the tenant's handle.
            Operation::SetLimits => &[Code::TenantNotFound],
            _ if operation.scope() == Scope::Database => &[Code::AccessDenied],
            // The listing is asked first.
            Operation::ViewJobs => &[Code::TenantNotFound, Code::JobNotFound],
            Operation::CancelJob => &[Code::JobNotFound],
            _ => &[Code::TenantNotFound],
        };
        assert!(expected.contains(&found), "{operation:?}: {found:?}");
    }
}

#[test]
fn a_grant_for_other_types_does_nothing_else() {
    for operation in Operation::ALL.iter().copied() {
        let found = outcome(|_| without(None).record_types(["note"]), operation);
        match operation.scope() {
            Scope::Catalog => assert!(found.is_ok(), "{operation:?}: {found:?}"),
            _ => assert_eq!(code(found), Code::AccessDenied, "{operation:?}"),
        }
    }
}

/// Under a row policy an operation either keeps to it, and then what is not shown is as what is not there, or is refused.
#[test]
fn every_operation_keeps_to_row_policies_or_is_refused() {
    for operation in Operation::ALL.iter().copied() {
        let run = |id| {
            let world = World::new();
            let handle = world.with(of_ann(without(None)));
            let before = block_on(world.acme().get("film", &key(HIDDEN))).unwrap();
            let found = block_on(attempt(&world, &handle, operation, id));
            if !matches!(operation.scope(), Scope::Catalog) {
                let after = block_on(world.acme().get("film", &key(HIDDEN))).unwrap();
                assert_eq!(before, after, "{operation:?} changed what it does not see");
            }
            found
        };
        match operation.scope() {
            Scope::Catalog => assert!(run(OWN).is_ok(), "{operation:?}"),
            Scope::Database => assert_eq!(code(run(OWN)), Code::AccessDenied, "{operation:?}"),
            Scope::Type | Scope::Tenant => {
                assert_eq!(code(run(OWN)), Code::PolicyUnsupported, "{operation:?}");
            }
            Scope::Rows => {
                let (hidden, absent) = (run(HIDDEN), run(ABSENT));
                let would_write_over =
                    [Operation::Insert, Operation::Put, Operation::Import, Operation::ImportReplacing];
                if would_write_over.contains(&operation) {
                    assert!(absent.is_ok(), "{operation:?}: {absent:?}");
                    assert_eq!(code(hidden), Code::PolicyUnsupported, "{operation:?}");
                } else {
                    let plain = |found: Result<String, Error>| match found {
                        Ok(text) => {
                            text.replace(&HIDDEN.to_string(), "ID").replace(&ABSENT.to_string(), "ID")
                        }
                        Err(error) => error
                            .to_string()
                            .replace("\"2\"", "ID")
                            .replace("\"9\"", "ID")
                            .replace(" 2", "ID")
                            .replace(" 9", "ID"),
                    };
                    assert_eq!(plain(hidden), plain(absent), "{operation:?}");
                }
            }
        }
    }
}

/// The roles have what their names say.
#[test]
fn roles_allow_what_they_are_for() {
    let can = |role: Role, operation: Operation| {
        operation.actions().iter().all(|action| role.actions().contains(action))
    };
    for operation in Operation::ALL.iter().copied() {
        assert!(can(Role::Admin, operation), "{operation:?}");
        let is_of_database = operation.scope() == Scope::Database && operation != Operation::RevokeAllTokens;
        assert_eq!(can(Role::Owner, operation), !is_of_database, "{operation:?}");
    }
    for (operation, writer, reader, auditor) in [
        (Operation::Query, true, true, true),
        (Operation::Insert, true, false, false),
        (Operation::DeleteWhere, true, false, false),
        (Operation::RawSet, true, false, false),
        (Operation::NextInSequence, true, false, false),
        (Operation::Export, false, false, true),
        (Operation::ViewJobs, false, false, true),
        (Operation::CreateJob, false, false, false),
        (Operation::RevokeTokens, false, false, false),
        (Operation::DeleteTenant, false, false, false),
    ] {
        let found = [Role::Writer, Role::Reader, Role::Auditor].map(|role| can(role, operation));
        assert_eq!(found, [writer, reader, auditor], "{operation:?}");
    }
    for role in Role::ALL {
        assert_eq!(Role::of_name(role.name()), Some(role));
    }
    for action in Action::ALL {
        assert_eq!(Action::of_name(action.name()).unwrap(), *action);
    }
    assert_eq!(code(Action::of_name("root")), Code::GrantInvalid);
}
