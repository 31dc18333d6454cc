use std::sync::Arc;

use pollster::block_on;
use tenantry_kv::conformance::reference::{ReferenceEngine, manual_env};

use super::*;
use crate::isolation::KeyKind;

fn database() -> Database {
    let env = manual_env();
    block_on(Database::open(Arc::new(ReferenceEngine::new(env.clone())), env, "proof")).unwrap()
}

fn prove(operations: u64, tenants: usize, seed: u64) -> (Database, Proof) {
    let database = database();
    let options = ProofOptions { operations, tenants, seed };
    let proof = block_on(database.prove_isolation(&options, |_| {})).unwrap();
    (database, proof)
}

#[test]
fn tenants_are_proven_to_be_apart() {
    for (tenants, seed) in [(2, 1), (12, 2), (16, 3)] {
        let (_, proof) = prove(1_500, tenants, seed);
        assert_eq!(proof.mismatches_told, [], "{seed}");
        assert_eq!((proof.attributed.findings.clone(), proof.moved.findings.clone()), (vec![], vec![]));
        assert!(proof.is_proven(), "{proof:?}");
        assert!(proof.operations_total() >= 1_500);
        assert!(proof.attributed.kinds.len() >= 18, "{:?}", proof.attributed.kinds.keys());
        assert_eq!(proof.attributed.tenants.len(), tenants);
    }
    // Every kind of operation was done, but for those that come once in a thousand.
    let (_, proof) = prove(5_000, 3, 4);
    assert!(proof.is_proven(), "{proof:?}");
    assert!(proof.operations.len() >= 27, "{:?}", proof.operations.keys());
}

/// Whatever becomes of tenants, sealed and not, with a plan and without.
#[test]
fn tenants_come_and_go_and_nobody_is_touched() {
    let options = ProofOptions { operations: 0, tenants: 5, seed: 9 };
    let mut prover = block_on(Prover::begin(&database(), &options)).unwrap();
    for round in 0..60 {
        block_on(prover.lifecycle(round % 5)).unwrap();
        block_on(prover.special()).unwrap();
        for place in 0..5 {
            let plan = prover.plan(place);
            block_on(prover.run_side_by_side(vec![(place, plan)])).unwrap();
        }
    }
    block_on(prover.prove(0, &mut |_| {})).unwrap();
    let proof = prover.proof;
    assert_eq!(proof.mismatches_told, []);
    assert!(proof.is_proven(), "{:?} {:?}", proof.attributed.findings, proof.moved.findings);
    for kind in [
        "suspended tenants",
        "renamed tenants",
        "clones",
        "tenants brought back",
        "handles on purged tenants",
    ] {
        assert!(proof.operations[kind] > 3, "{kind}: {:?}", proof.operations);
    }
    // What there is for a moment alone, on other engines, or of large records.
    use KeyKind::*;
    let may_be_missing = [
        DatabaseState,
        CopyProgress,
        PurgeDue,
        DeletedName,
        ArchiveProgress,
        JobQueue,
        JobsUnfinished,
        RunnerSlot,
        RecordPart,
    ];
    for kind in KeyKind::ALL.iter().filter(|kind| !may_be_missing.contains(kind)) {
        assert!(proof.attributed.kinds.contains_key(kind), "{kind:?}: {:?}", proof.attributed.kinds.keys());
    }
}

#[test]
fn a_proof_is_decided_by_its_seed() {
    let proofs = [7, 7, 8].map(|seed| prove(500, 4, seed).1);
    assert_eq!(proofs[0].operations, proofs[1].operations);
    assert_ne!(proofs[0].operations, proofs[2].operations);
}

#[test]
fn a_database_with_tenants_is_left_alone() {
    let (database, _) = prove(100, 2, 1);
    let options = ProofOptions { operations: 1, ..ProofOptions::default() };
    let error = block_on(database.prove_isolation(&options, |_| {})).unwrap_err();
    assert_eq!(error.code(), Code::ProofNeedsEmptyDatabase);
    for tenants in [0, 1, 1_001] {
        let options = ProofOptions { tenants, ..ProofOptions::default() };
        let error = block_on(database.prove_isolation(&options, |_| {})).unwrap_err();
        assert_eq!(error.code(), Code::LimitPassed);
    }
}

/// Keys that somebody put where they do not belong.
#[test]
fn a_scan_tells_of_every_key_that_is_nobodys() {
    let (database, _) = prove(500, 3, 5);
    assert!(block_on(database.attribute_keys(|_| {})).unwrap().is_clean());
    let root = database.inner.keys.root().clone();
    let strays: [(&[u8], &str); 14] = [
        (b"", "the key ends too early"),
        (b"\x15\x04a", "no part of the database has the number 4"),
        (b"\x14\x15\x03", "nothing of the database has the number 3"),
        (b"\x15\x09\x15\x01\x15\x09", "a tenant has no part 9"),
        (b"\x15\x09\x15\x01\x15\x01\x15\x01\x14", "a record's key has no primary key and part"),
        (b"\x15\x09\x15\x01\x14\x15\x02", "nothing behind a header has the number 2"),
        (b"\x15\x09\x15\x01\x15\x06\x15\x01\x02a\x00\x14", "the key goes on with \\x14"),
        (b"\x15\x03\x15\x03\x15\x63", "the tenant 99 is not there"),
        (b"\x15\x09\x15\x63\x15\x07mine", "the tenant 99 is not there"),
        (b"\x15\x09\x13\xfe\x14", "a tenant's id is -1"),
        (b"\x15\x09\x15\x01\x15\x05\x14\x02a\x00", "an idempotency key is no byte string"),
        (b"\x15\x09\x14\x15\x01", "the catalog has no part 1"),
        (b"\x15\x09\x15\x01\x15\x04\x15\x01\x14\x15\x01\x15\x01", "a stamp is none"),
        (b"\x15\x09\x15\x01\x15\x06\x14\x02a", "the key ends within an element"),
    ];
    for (stray, why) in strays {
        let transaction = database.engine().begin().unwrap();
        transaction.set(&[&root[..], stray].concat(), b"stray");
        block_on(transaction.commit()).unwrap();
        let found = block_on(database.attribute_keys(|_| {})).unwrap();
        assert_eq!(found.wrong, 1, "{}", stray.escape_ascii());
        assert!(found.findings[0].what.contains(why), "{}: {}", stray.escape_ascii(), found.findings[0].what);
        let transaction = database.engine().begin().unwrap();
        transaction.clear(&[&root[..], stray].concat());
        block_on(transaction.commit()).unwrap();
    }
}
