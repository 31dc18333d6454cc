//! A key store on a disk that loses power: what was answered with success is there afterwards, a destroyed key never comes back, and the file is never a ruin.

use std::sync::Arc;

use pollster::block_on;
use tenantry_core::sealing::{FileKeyStore, KeyEntry, KeyState, KeyStore};
use tenantry_kv::conformance::reference::manual_env;
use tenantry_kv::env::Env;
use uuid::Uuid;

use crate::disk::SimulatedDisk;
use crate::random::Stream;

const TENANTS: u64 = 12;

fn env(disk: &SimulatedDisk) -> Env {
    Env { storage: Arc::new(disk.clone()), ..manual_env() }
}

fn entry(tenant: u64, root: u64) -> KeyEntry {
    let uuid = Uuid::from_u128(u128::from(tenant) + 1);
    let state = KeyState::Wrapped { root: format!("root {root}"), bytes: vec![root as u8; 73] };
    KeyEntry::new(uuid, uuid, [tenant as u8; 32], 1, state)
}

/// One change that is drawn; what the store has of the tenant when it succeeds.
fn change(store: &FileKeyStore, random: &mut Stream, root: u64) -> Option<KeyEntry> {
    let entry = entry(random.below(TENANTS), root);
    let uuid = entry.tenant;
    match random.below(4) {
        0 => block_on(store.destroy(uuid, 9)).ok().flatten(),
        1 => {
            block_on(store.rewrap(vec![entry])).ok()?;
            block_on(store.get(uuid)).ok().flatten()
        }
        _ => block_on(store.add(entry)).ok(),
    }
}

#[test]
fn what_a_key_store_acknowledged_outlives_a_power_cut() {
    let (mut cuts, mut destroyed_seen) = (0, 0);
    for seed in 0..300 {
        let mut random = Stream::new(seed, "key store");
        let mut disk = SimulatedDisk::default();
        block_on(FileKeyStore::create(env(&disk), "keys")).unwrap();
        let mut known: Vec<Option<KeyEntry>> = vec![None; TENANTS as usize];
        for root in 0..4 {
            let store = FileKeyStore::open(env(&disk), "keys").unwrap();
            match random.below(2) {
                0 => disk.end_power_after(1 + random.below(60)),
                _ => disk.end_power_in_sync_after(random.below(15)),
            }
            // What the last change may have become when the power went in it.
            for _ in 0..200 {
                if !disk.has_power() {
                    break;
                }
                if let Some(entry) = change(&store, &mut random, root) {
                    let place = entry.key_id.as_u128() as usize - 1;
                    known[place] = Some(entry);
                }
            }
            disk = disk.crash(&mut random);
            cuts += 1;
            let store = FileKeyStore::open(env(&disk), "keys").unwrap();
            for (tenant, known) in known.iter_mut().enumerate() {
                let found = block_on(store.get(Uuid::from_u128(tenant as u128 + 1))).unwrap();
                let is_destroyed = |entry: &KeyEntry| matches!(entry.state, KeyState::Destroyed { .. });
                match (&known, &found) {
                    (Some(known), None) => unreachable!("seed {seed}: {known:?} is lost"),
                    (Some(known), Some(found)) if is_destroyed(known) => {
                        assert_eq!(found, known, "seed {seed}");
                        destroyed_seen += 1;
                    }
                    // The change that the power went in may have been done: by a newer root key, or the end.
                    _ => {}
                }
                *known = found;
            }
        }
    }
    assert!(cuts == 1_200 && destroyed_seen > 300, "{cuts} cuts, {destroyed_seen} destroyed keys");
}
