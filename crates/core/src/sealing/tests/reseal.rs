//! A tenant that is sealed later, and one whose data key changes, while others write.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::consistent_scan::{ConsistentScan, Found, NextStep, Region};
use crate::error::Code;

type State = BTreeMap<(Region, Bytes), Bytes>;

const REGIONS: [Region; 3] = [Region::Records(1), Region::Records(2), Region::Raw];

/// What a consistent scan finds, the log with it: `between` runs after each step.
fn scanned(tenant: &Tenant, rows_max: usize, mut between: impl FnMut()) -> State {
    let (mut state, mut cursor) = (State::new(), Bytes::new());
    loop {
        let cursor_of = &cursor;
        let page = block_on(tenant.read(|transaction| async move {
            ConsistentScan::new(REGIONS.to_vec(), cursor_of)?.step(&transaction, rows_max).await
        }))
        .unwrap();
        for change in page.changes {
            match change {
                Found::Put { region, key, value, .. } => drop(state.insert((region, key), value)),
                Found::Delete { region, key, .. } => drop(state.remove(&(region, key))),
                Found::DeleteRange { begin, end } => {
                    state.retain(|(region, key), _| *region != Region::Raw || *key < begin || *key >= end);
                }
                Found::Atomic { .. } => unreachable!("none of a sealed tenant"),
            }
        }
        match page.next {
            NextStep::More(next) => cursor = next,
            NextStep::Done => return state,
            NextStep::Restart => unreachable!("nothing moved"),
        }
        between();
    }
}

fn generations(tenant: &Tenant, world: &World) -> usize {
    world.rows(tenant.keys.data_keys().unwrap().keys()).len()
}

#[test]
fn what_was_in_clear_is_sealed_and_keeps_its_versions() {
    let world = World::new();
    let tenant = world.tenant("one");
    fill(&tenant);
    for id in 10..60 {
        block_on(tenant.put("note", &note(id, 50))).unwrap();
    }
    let before = scanned(&tenant, 1_000, || ());
    let version = get(&tenant, "note", 10).unwrap().unwrap().version();
    let log = world.rows(tenant.keys.log(0).unwrap().keys()).len();
    block_on(tenant.seal()).unwrap();
    // In between both are read.
    block_on(tenant.put("memo", &noise(5, 100))).unwrap();
    assert_eq!(get(&tenant, "note", 10).unwrap().unwrap().version(), version);
    assert!(block_on(tenant.sealing()).unwrap().unwrap().needs_reseal());
    assert!(scanned(&tenant, 1_000, || ()).len() == before.len() + 1);
    let result = reseal(&tenant);
    assert!(result["resealed"].as_u64().unwrap() > 200, "{result}");
    assert!(!block_on(tenant.sealing()).unwrap().unwrap().needs_reseal());
    block_on(tenant.delete("memo", &PrimaryKey::of(5))).unwrap();
    assert_eq!(scanned(&tenant, 7, || ()), before);
    assert_eq!(get(&tenant, "note", 10).unwrap().unwrap().version(), version);
    assert_eq!(get(&tenant, "memo", 1).unwrap().unwrap(), noise(1, 200_000));
    let secret = SECRET.as_bytes();
    let rows = world.rows(tenant.keys.everything());
    assert!(!rows.iter().any(|(_, value)| value.windows(secret.len()).any(|part| part == secret)));
    // One part more where the seal did not fit in, no entry more but for the two changes.
    let entries = world.rows(tenant.keys.log(0).unwrap().keys()).len();
    assert!((log + 2..=log + 4).contains(&entries), "{entries} of {log}");
    // Done again, it finds nothing.
    assert_eq!(reseal(&tenant)["resealed"], 0);
}

#[test]
fn a_new_data_key_takes_the_place_of_the_old_one_everywhere() {
    let world = World::new();
    let tenant = world.sealed("one");
    fill(&tenant);
    let before = scanned(&tenant, 1_000, || ());
    let old_rows: BTreeMap<Bytes, Bytes> = world.rows(tenant.keys.everything()).into_iter().collect();
    assert_eq!(block_on(tenant.rotate_data_key()).unwrap().generation, 2);
    assert_eq!(generations(&tenant, &world), 2);
    block_on(tenant.put("note", &note(3, 10))).unwrap();
    assert_eq!(scanned(&tenant, 1_000, || ()).len(), before.len() + 1);
    // Once more before the job: it ends with the newest.
    assert_eq!(block_on(tenant.rotate_data_key()).unwrap().generation, 3);
    assert_eq!(reseal(&tenant)["generation"], 3);
    assert_eq!(generations(&tenant, &world), 1);
    block_on(tenant.delete("note", &PrimaryKey::of(3))).unwrap();
    assert_eq!(scanned(&tenant, 1_000, || ()), before);
    let status = block_on(tenant.sealing()).unwrap().unwrap();
    assert_eq!((status.generation, status.generation_min), (3, 3));
    // What somebody kept of it opens no more: its data key is gone.
    let record = block_on(tenant.read(|transaction| async move {
        let record_type = transaction.record_type("note")?;
        transaction.record_keys(record_type, &[1.into()])?.part(0)
    }))
    .unwrap();
    world.set(&record, &old_rows[&record]);
    let database = world.another_process(Some(world.keyring(1)));
    let error = get(&block_on(database.tenant("one")).unwrap(), "note", 1).unwrap_err();
    assert_eq!(error.code(), Code::StoredDataInvalid, "{error}");
}

#[test]
fn a_value_that_is_too_long_to_be_sealed_stops_the_job_and_is_named() {
    let world = World::new();
    let tenant = world.tenant("one");
    let set = |size: usize| {
        block_on(tenant.run(|transaction| async move { transaction.raw_set(b"long", &vec![7; size]) }))
            .unwrap();
    };
    set(100_000);
    block_on(tenant.seal()).unwrap();
    let id = block_on(world.database.create_job(&Reseal, Some(&tenant), &serde_json::json!({}))).unwrap();
    for _ in 0..12 {
        block_on(Worker::new(&world.database, JobKinds::standard()).run_until_idle()).unwrap();
        world.clock.advance(std::time::Duration::from_secs(400));
    }
    let job = block_on(world.database.job(id)).unwrap();
    let error = job.error.unwrap();
    assert_eq!(error.number, Code::SealRefused.number());
    assert!(error.message.contains("long"), "{}", error.message);
    // Nothing is lost, and nothing is told to be sealed.
    let value = block_on(tenant.read(|transaction| async move { transaction.raw_get(b"long").await }));
    assert_eq!(value.unwrap().unwrap().len(), 100_000);
    assert!(!block_on(tenant.sealing()).unwrap().unwrap().is_complete);
    set(10);
    reseal(&tenant);
    assert!(block_on(tenant.sealing()).unwrap().unwrap().is_complete);
}

#[derive(Clone, Debug)]
enum Step {
    Put(i64, usize),
    Delete(i64),
    Set(u8, usize),
    Queue(usize),
    Clear(u8),
    ClearRange(u8, u8),
    Seal,
    Rotate,
    Reseal,
}

fn step() -> impl Strategy<Value = Step> {
    let sizes = || prop_oneof![0usize..40, Just(700), Just(95_000)];
    prop_oneof![
        4 => (0i64..6, sizes()).prop_map(|(id, size)| Step::Put(id, size)),
        1 => (0i64..6).prop_map(Step::Delete),
        3 => (0u8..5, sizes()).prop_map(|(key, size)| Step::Set(key, size)),
        1 => sizes().prop_map(Step::Queue),
        1 => (0u8..5).prop_map(Step::Clear),
        1 => (0u8..5, 0u8..5).prop_map(|(one, other)| Step::ClearRange(one.min(other), one.max(other))),
        1 => Just(Step::Seal),
        1 => Just(Step::Rotate),
        1 => Just(Step::Reseal),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The same steps on a tenant that is sealed somewhere on the way and on one that never is: both hold the same at every end, also for a scan that began at the first step.
    #[test]
    fn a_sealed_tenant_holds_what_another_one_holds(steps in proptest::collection::vec(step(), 1..30)) {
        let world = World::new();
        let (sealed, plain) = (world.tenant("sealed"), world.tenant("plain"));
        let apply = |step: &Step| {
            for tenant in [&sealed, &plain] {
                block_on(tenant.run(|transaction| async move {
                    match step {
                        Step::Put(id, size) => transaction.put("note", &note(*id, *size)).await?,
                        Step::Delete(id) => drop(transaction.delete("note", &PrimaryKey::of(*id)).await?),
                        Step::Set(key, size) => transaction.raw_set(&[*key], &vec![*key; *size])?,
                        Step::Queue(size) => {
                            transaction.raw_set_versionstamped(b"q", b"", &vec![7; *size])?;
                        }
                        Step::Clear(key) => transaction.raw_clear(&[*key])?,
                        Step::ClearRange(begin, end) => transaction.raw_clear_range(&[*begin], &[*end])?,
                        Step::Seal | Step::Rotate | Step::Reseal => {}
                    }
                    Ok::<_, crate::Error>(())
                }))
                .unwrap();
            }
            match step {
                Step::Seal => drop(block_on(sealed.seal()).unwrap()),
                Step::Rotate => drop(block_on(sealed.rotate_data_key())),
                Step::Reseal if block_on(sealed.sealing()).unwrap().is_some() => drop(reseal(&sealed)),
                _ => {}
            }
        };
        let mut left = steps.iter();
        let found = scanned(&sealed, 3, || left.by_ref().take(2).for_each(apply));
        left.for_each(apply);
        // What the slow scan found is a state that was: its values are the plain ones.
        prop_assert!(found.iter().all(|((region, _), value)| *region != Region::Raw || value.len() <= 95_000));
        let values = |tenant: &Tenant| scanned(tenant, 1_000, || ()).into_values().collect::<Vec<_>>();
        prop_assert_eq!(values(&sealed), values(&plain));
        for id in 0..6 {
            prop_assert_eq!(get(&sealed, "note", id).unwrap(), get(&plain, "note", id).unwrap());
        }
    }
}
