//! The bytes of what is sealed: whatever was sealed once opens with every later build.

use tenantry_kv::env::Entropy;

use super::*;
use crate::key_space::KeySpace;
use crate::messages::{StoredSealing, TenantHeader};
use crate::sealing::data_keys::{DataKeys, new_data_key};
use crate::sealing::{KeyWrapper, Sealer};

/// Always the same, for golden bytes.
struct Constant(u8);

impl Entropy for Constant {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn wrapped_keys_have_their_bytes() {
    let root = RootKey::new(SecretKey::from_bytes(&[1; 32]).unwrap(), Arc::new(Constant(9)));
    assert_eq!(root.id(), ROOT_ID);
    let key = SecretKey::from_bytes(&[2; 32]).unwrap();
    let wrapped = block_on(root.wrap(&key, b"context")).unwrap();
    assert_eq!(hex(&wrapped), WRAPPED);
    assert_eq!(block_on(root.unwrap(&wrapped, b"context")).unwrap().bytes(), key.bytes());
    assert!(block_on(root.unwrap(&wrapped, b"contexT")).is_err());
    for place in 0..wrapped.len() {
        let mut altered = wrapped.clone();
        altered[place] ^= 1;
        assert!(block_on(root.unwrap(&altered, b"context")).is_err(), "{place}");
        assert!(block_on(root.unwrap(&wrapped[..place], b"context")).is_err(), "{place}");
    }
}

#[test]
fn sealed_values_have_their_bytes() {
    let world = World::new();
    let mut env = world.env.clone();
    env.entropy = Arc::new(Constant(5));
    let tenant = uuid::Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
    let keys = KeySpace::new(Bytes::from_static(b"\x15\x01")).tenant_keys(3).unwrap();
    let store: Arc<dyn KeyStore> = Arc::new(MemoryKeyStore::new());
    let wrapper = Arc::new(RootKey::new(SecretKey::from_bytes(&[1; 32]).unwrap(), env.entropy.clone()));
    let keyring = Keyring::new(wrapper, store);
    let (_, key) = block_on(keyring.created(&env, tenant)).unwrap();
    world.set(&keys.data_key(4).unwrap(), &new_data_key(&env, tenant, &key, 4).unwrap());
    let data_keys = Arc::new(DataKeys::new(env));
    data_keys.set_keyring(Some(keyring));
    let marker = vec![3, 1, 1, 2, 3, 5, 8, 13];
    let sealing = StoredSealing {
        generation: 4,
        generation_min: 4,
        marker,
        is_complete: true,
        ..StoredSealing::default()
    };
    let sealing = key.header_key().signed(tenant, sealing);
    assert_eq!(hex(&sealing.hash), HEADER);
    let header = TenantHeader {
        uuid: tenant.as_bytes().to_vec(),
        incarnation: 2,
        sealing: Some(sealing),
        ..TenantHeader::default()
    };
    let transaction = world.engine.begin().unwrap();
    let sealer = block_on(Sealer::begin(&data_keys, &*transaction, &keys, &header)).unwrap();

    assert_eq!(hex(&sealer.index_hash(7, b"columns").unwrap()), INDEX);

    let key = keys.counter("as good as any").unwrap();
    let record = sealer.seal_record(&key, 3, 2, 4, b"data").unwrap();
    assert_eq!(hex(&record), RECORD);
    let opened = block_on(sealer.open_record(&*transaction, &key, 3, 2, &record, "it"));
    assert_eq!(opened.unwrap(), b"data");
    for (format, incarnation) in [(4, 2), (3, 1)] {
        let moved = block_on(sealer.open_record(&*transaction, &key, format, incarnation, &record, "it"));
        assert!(moved.is_err());
    }

    let value = sealer.seal_value(&key, b"data").unwrap();
    assert_eq!(hex(&value), VALUE);
    let opened = block_on(sealer.open_value(&*transaction, &key, value, "it"));
    assert_eq!(opened.unwrap(), &b"data"[..]);

    let stamped = |byte: u8| [&keys.raw().unwrap()[..], b"q/", &[byte; 10], b"/z"].concat();
    let place = keys.raw().unwrap().len() + 2;
    let value = sealer.seal_stamped_value(&stamped(0), place, b"data").unwrap();
    assert_eq!(hex(&value), STAMPED);
    let opened = block_on(sealer.open_value(&*transaction, &stamped(7), value, "it"));
    assert_eq!(opened.unwrap(), &b"data"[..]);

    let log = sealer.seal_log(2, b"data").unwrap();
    assert_eq!((log.generation, hex(&log.id), hex(&log.contents)), (4, "05".repeat(16), LOG.to_owned()));
    assert_eq!(block_on(sealer.open_log(&*transaction, 2, &log)).unwrap(), b"data");
    assert!(block_on(sealer.open_log(&*transaction, 3, &log)).is_err());
}

// Computed by other implementations of AES-256-GCM-SIV and BLAKE3, from what docs/key-layout.md says.
const ROOT_ID: &str = "root-ff93db0f404ad480";
const WRAPPED: &str = "010909090909090909090909097fa1501f6da4a0d387c5bd512b7f1feec786f3c7214bf0bda27a2bb7df7c3baabe3aee7f8cab47d985a94d215ee08ee8";
const HEADER: &str = "6d914a7fd47a03b2fccbbb409d35da2a6e91e07b602199da706618662207dec2";
const INDEX: &str = "142f566eab947bb47cb31cfd4fce9d66bc66c4d3ec60ff65a3b08ac0243ccb19";
const RECORD: &str = "00000004000000040505050505050505050505056e8c2e95fe863864df19e220b892fb59ca18e931";
const VALUE: &str =
    "030101020305080d0100000004000000020505050505050505050505052cc882208239808924d0e37a63a50a2d6925be5f";
const STAMPED: &str = "030101020305080d0200000004000000020004050505050505050505050505050505050505050505050505050505050f6e6eef4102d86f42f315ece7c238479a9e59f4";
const LOG: &str = "0505050505050505050505059e94ad963a5dc53de4756fe39664839d5f92ab80";
