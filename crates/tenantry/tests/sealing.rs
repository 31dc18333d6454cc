//! Sealed tenants with their keys in files: who may read these, what is left of an old one, damage, and several processes.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test: it looks at files beside the library"
)]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use tempfile::TempDir;
use tenantry::sealing::{FileKeyStore, KeyEntry, KeyState, KeyStore};
use tenantry::{
    Code, KeyFiles, Options, PrimaryKey, Record, SchemaDefinition, TenantOptions, Uuid, block_on,
};

const SCHEMA: &str =
    "name = \"s\"\n[types.note]\nprimary_key = [\"id\"]\nfields = { id = \"int\", text = \"string\" }\n";

struct Files {
    directory: TempDir,
}

impl Files {
    fn new() -> Files {
        Files { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    fn keys(&self) -> KeyFiles {
        KeyFiles::new(self.path("keys")).root_key_file(self.path("root"))
    }

    fn store(&self) -> FileKeyStore {
        FileKeyStore::open(tenantry_env::system(), &self.path("keys")).unwrap()
    }
}

fn entry(tenant: u128) -> KeyEntry {
    let state = KeyState::Wrapped { root: "root".to_owned(), bytes: vec![tenant as u8; 73] };
    KeyEntry::new(Uuid::from_u128(tenant), Uuid::from_u128(tenant + 1_000), [7; 32], 5, state)
}

#[test]
fn the_files_are_their_owners_alone_and_an_old_one_is_overwritten() {
    let files = Files::new();
    let keyring = block_on(files.keys().create()).unwrap();
    let mode = |name: &str| std::fs::metadata(files.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("keys"), mode("root")), (0o600, 0o600));
    let refused = block_on(files.keys().create()).unwrap_err();
    assert_eq!(refused.code(), Code::KeyStoreUnavailable);
    for tenant in 0..3 {
        block_on(keyring.store().add(entry(tenant))).unwrap();
    }
    assert_eq!(mode("keys"), 0o600);
    // A second name for the file shows what becomes of it.
    std::fs::hard_link(files.path("keys"), files.path("linked")).unwrap();
    let before = std::fs::read(files.path("linked")).unwrap();
    block_on(keyring.store().destroy(Uuid::from_u128(1), 99)).unwrap();
    let after = std::fs::read(files.path("linked")).unwrap();
    assert_eq!(after, vec![0; before.len()]);
    let text = std::fs::read_to_string(files.path("keys")).unwrap();
    assert_eq!(text.lines().filter(|line| line.contains("wrapped")).count(), 2);
    assert!(text.contains("\"destroyed_us\":99"), "{text}");
    // What another handle reads is what this one wrote.
    assert_eq!(block_on(files.store().list()).unwrap(), block_on(keyring.store().list()).unwrap());
}

#[test]
fn a_damaged_or_cut_key_store_is_refused_by_name() {
    let files = Files::new();
    block_on(files.keys().create()).unwrap();
    for tenant in 0..3 {
        block_on(files.store().add(entry(tenant))).unwrap();
    }
    let good = std::fs::read(files.path("keys")).unwrap();
    let check = |bytes: &[u8], what: &str| {
        std::fs::write(files.path("keys"), bytes).unwrap();
        let store = files.store();
        let reads = [
            block_on(store.get(Uuid::from_u128(1))).map(drop),
            block_on(store.list()).map(drop),
            block_on(store.add(entry(9))).map(drop),
            block_on(store.destroy(Uuid::from_u128(1), 1)).map(drop),
        ];
        for read in reads {
            let error = read.unwrap_err();
            assert_eq!(error.code(), Code::KeyStoreDamaged, "{what}");
            assert!(error.to_string().contains(&files.path("keys")), "{error}");
        }
        // Nothing was written over it.
        assert_eq!(std::fs::read(files.path("keys")).unwrap(), bytes, "{what}");
    };
    for cut in (0..good.len()).step_by(13) {
        check(&good[..cut], &format!("cut at {cut}"));
    }
    // The number in the first line alone says nothing of what is stored.
    let first = good.iter().position(|byte| *byte == b'\n').unwrap();
    for place in (first + 1..good.len()).step_by(29).chain([0, 5, first - 1]) {
        let mut flipped = good.clone();
        flipped[place] ^= 1;
        check(&flipped, &format!("flipped at {place}"));
    }
    check(&[0xff; 100], "no text");
    check(&vec![0; good.len()], "zeros");
    std::fs::write(files.path("keys"), &good).unwrap();
    assert_eq!(block_on(files.store().list()).unwrap().len(), 3);
    std::fs::remove_file(files.path("keys")).unwrap();
    let error = files.keys().open().unwrap_err();
    assert_eq!(error.code(), Code::KeyStoreUnavailable);
    assert!(error.to_string().contains("tenantry keys init"), "{error}");
}

/// Writers that each have a handle of their own, as processes do, while others read: none is lost, and no reader sees half a file.
#[test]
fn writers_at_a_time_lose_nothing() {
    let files = Files::new();
    block_on(files.keys().create()).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4_u128 {
            let store = files.store();
            scope.spawn(move || {
                for number in 0..10 {
                    block_on(store.add(entry(writer * 100 + number))).unwrap();
                }
            });
        }
        let store = files.store();
        scope.spawn(move || {
            let mut seen = 0;
            while seen < 40 {
                let found = block_on(store.list()).unwrap().len();
                assert!(found >= seen);
                seen = found;
            }
        });
    });
    assert_eq!(block_on(files.store().list()).unwrap().len(), 40);
}

#[test]
fn a_lock_that_nobody_gives_back_is_told_of() {
    let files = Files::new();
    block_on(files.keys().create()).unwrap();
    let env = tenantry_env::system();
    let directory = env.storage.open_directory(files.directory.path().to_str().unwrap()).unwrap();
    let held = directory.lock("keys.lock", "a test").unwrap();
    // Reading needs no lock.
    assert!(block_on(files.store().list()).unwrap().is_empty());
    let error = block_on(files.store().add(entry(1))).unwrap_err();
    assert_eq!(error.code(), Code::KeyStoreUnavailable);
    assert!(error.to_string().contains("a test"), "{error}");
    drop(held);
    block_on(files.store().add(entry(1))).unwrap();
}

#[test]
fn root_keys_come_from_files_and_texts() {
    let files = Files::new();
    let keyring = block_on(files.keys().create()).unwrap();
    let text = std::fs::read_to_string(files.path("root")).unwrap();
    assert_eq!(text.trim().len(), 64);
    let by_text = KeyFiles::new(files.path("keys")).root_key(text.clone());
    assert_eq!(by_text.open().unwrap().wrapper().id(), keyring.wrapper().id());
    assert!(!format!("{by_text:?}").contains(&text[..8]));
    let code = |keys: KeyFiles| keys.open().unwrap_err().code();
    assert_eq!(code(KeyFiles::new(files.path("keys"))), Code::RootKeyInvalid);
    assert_eq!(code(files.keys().root_key_file(files.path("absent"))), Code::RootKeyInvalid);
    for bad in [&b"short"[..], &[0xff; 64], &[b'a'; 5_000], b""] {
        std::fs::write(files.path("bad"), bad).unwrap();
        assert_eq!(code(files.keys().root_key_file(files.path("bad"))), Code::RootKeyInvalid);
    }
    // A secret that may only be read.
    std::fs::set_permissions(files.path("root"), std::fs::Permissions::from_mode(0o400)).unwrap();
    files.keys().open().unwrap();
    let new = files.keys().root_key_file(files.path("new"));
    assert_eq!(block_on(files.keys().rotate_root(&files.keys())).unwrap_err().code(), Code::RootKeyInvalid);
    let (rotated, rotation) = block_on(files.keys().rotate_root(&new)).unwrap();
    assert_eq!((rotation.rewrapped, new.open().unwrap().wrapper().id()), (0, rotated.wrapper().id()));
}

/// The whole way on a database on disk, with a handle without keys beside.
#[test]
fn a_tenant_is_sealed_rotated_and_shredded_on_disk() {
    let files = Files::new();
    let keyring = block_on(files.keys().create()).unwrap();
    let cluster = common::cluster_url();
    let url = cluster.clone().unwrap_or_else(|| format!("file:{}", files.path("db")));
    let open = |keys: Option<KeyFiles>| {
        let options = Options::new();
        block_on(keys.map_or(options.clone(), |keys| options.keys(keys)).open(&url))
    };
    {
        let database = open(Some(files.keys())).unwrap();
        block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
        let options = TenantOptions::new().sealed(true);
        let tenant = block_on(database.create_tenant_with("acme", "s", &options)).unwrap();
        for id in 0..50 {
            let record =
                Record::new().with("id", id).with("text", format!("a very private text, number {id}"));
            block_on(tenant.insert("note", &record)).unwrap();
        }
        assert!(block_on(tenant.sealing()).unwrap().unwrap().is_complete);
        block_on(database.sync()).unwrap();
        database.close();
    }
    // In no file of the database. (What a cluster keeps where is not for us to see.)
    let directory = cluster.is_none().then(|| std::fs::read_dir(files.path("db")).unwrap());
    for entry in directory.into_iter().flatten() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(17).any(|part| part == b"very private text"));
    }
    let get = |keys: Option<KeyFiles>| {
        let database = open(keys).unwrap();
        let tenant = block_on(database.tenant("acme")).unwrap();
        let found = block_on(tenant.get("note", &PrimaryKey::of(7)));
        database.close();
        found
    };
    assert!(get(Some(files.keys())).unwrap().is_some());
    let error = get(None).unwrap_err();
    assert_eq!(error.code(), Code::TenantSealed);
    let new = files.keys().root_key_file(files.path("second"));
    assert_eq!(block_on(files.keys().rotate_root(&new)).unwrap().1.rewrapped, 1);
    assert_eq!(get(Some(files.keys())).unwrap_err().code(), Code::RootKeyDiffers);
    assert!(get(Some(new.clone())).unwrap().is_some());
    let certificate = {
        let database = open(Some(new.clone())).unwrap();
        let certificate = block_on(block_on(database.tenant("acme")).unwrap().shred()).unwrap();
        database.close();
        certificate
    };
    assert_eq!(get(Some(new.clone())).unwrap_err().code(), Code::TenantShredded);
    assert!(block_on(certificate.verify(&new.open().unwrap())).unwrap().is_proven);
    assert!(!block_on(certificate.verify(&keyring)).unwrap().is_proven);
    let _: Arc<dyn KeyStore> = Arc::new(files.store());
}
