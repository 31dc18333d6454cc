//! Streams, clones and verifications beside writers, interruptions and damage.

use bytes::Bytes;
use pollster::block_on;
use prost::Message;
use serde_json::json;
use tenantry_kv::MutationType;
use tenantry_kv::conformance::reference::manual_env;

use super::format::{Chain, MAGIC};
use super::*;
use crate::jobs::{JobKinds, JobState, Verify, Worked, Worker};
use crate::messages::{ArchiveBlock, ArchiveChange, ArchiveHeader, ArchivePart};
use crate::{
    Code, Database, Error, PrimaryKey, Record, Result, SchemaDefinition, Suspension, Tenant, TenantOptions,
    TenantState,
};

const SCHEMA: &str = r#"
    name = "s"
    [types.folder]
    primary_key = ["name"]
    fields = { name = "string" }
    [types.note]
    primary_key = ["id"]
    fields = { id = "int", text = "string", body = { type = "string", optional = true }, folder = { type = "string", optional = true } }
    references.folder = { fields = ["folder"], to = "folder", on_delete = "set_null" }
    indexes.by_text = { fields = ["text"] }
    indexes.words = { fields = ["text"], kind = "text" }
    indexes.by_folder = { fields = ["folder"] }
    indexes.of_folder = { kind = "count", group = ["folder"] }
    indexes.by_rank = { fields = ["id"], kind = "rank" }
    indexes.lately = { kind = "version" }
"#;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn key(&mut self) -> Vec<u8> {
        (0..self.below(3)).map(|_| [0, b'a', b'b', 0xff][self.below(4) as usize]).collect()
    }

    fn text(&mut self, size: u64) -> String {
        (0..self.below(size)).map(|_| char::from(b'a' + self.below(26) as u8)).collect()
    }
}

fn database() -> Database {
    let env = manual_env();
    let database =
        block_on(Database::open(crate::test_engine::engine(&env), env, &crate::test_engine::name("t")))
            .unwrap();
    block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
    database
}

/// One transaction of changes of every kind.
fn write(tenant: &Tenant, random: &mut Random) {
    let choices: Vec<(u64, u64, Vec<u8>, Vec<u8>, String)> = (0..=random.below(6))
        .map(|_| (random.below(11), random.below(80), random.key(), random.key(), random.text(200)))
        .collect();
    let long = if random.below(20) == 0 { random.text(400_000) } else { String::new() };
    let (choices, long) = (&choices, &long);
    block_on(tenant.run(|transaction| async move {
        for (choice, number, key, other, text) in choices {
            let folder = format!("f{}", number % 5);
            match choice {
                0..=2 => {
                    transaction.put("folder", &Record::new().with("name", folder.as_str())).await?;
                    let note = Record::new().with("id", *number as i64).with("text", text.as_str());
                    let note = note.with("body", long.as_str());
                    transaction.put("note", &note.with("folder", folder)).await?;
                }
                3 => drop(transaction.delete("note", &PrimaryKey::of(*number as i64)).await?),
                4 => drop(transaction.delete("folder", &PrimaryKey::of(folder)).await?),
                5 => transaction.raw_set(key, other)?,
                6 => transaction.raw_clear_range(key.min(other), key.max(other))?,
                7 => {
                    let operations = [MutationType::Add, MutationType::Min, MutationType::AppendIfFits];
                    transaction.raw_atomic(operations[*number as usize % 3], key, &[*number as u8])?;
                }
                8 => transaction.add_to_counter("c", *number as i64)?,
                9 => transaction.add_to_sharded_counter("d", *number as i64, 8)?,
                _ => drop(transaction.next_in_sequence(&format!("s{}", number % 3)).await?),
            }
        }
        Ok::<_, Error>(())
    }))
    .unwrap();
}

fn filled(database: &Database, name: &str, random: &mut Random) -> Tenant {
    let options = TenantOptions::new().label("region", "eu").plan("small");
    let tenant = block_on(database.create_tenant_with(name, "s", &options)).unwrap();
    for _ in 0..120 {
        write(&tenant, random);
    }
    tenant
}

fn hash(tenant: &Tenant) -> ContentHash {
    block_on(tenant.content_hash(&ContentOptions::default())).unwrap()
}

fn hash_of(database: &Database, stream: &[u8]) -> ContentHash {
    let mut hasher = ArchiveHasher::new(database, &ContentOptions::default()).unwrap();
    let mut reader = ArchiveReader::new();
    reader.feed(stream);
    while let Some(frame) = reader.next_frame().unwrap() {
        hasher.take(&frame).unwrap();
    }
    reader.check_complete().unwrap();
    hasher.finish().unwrap()
}

/// The whole stream, with writers between the steps and, now and then, an end in the middle of one.
fn stream(tenant: &Tenant, random: &mut Random, writes: bool) -> (Vec<u8>, u64) {
    let (mut stream, mut resumed) = (Vec::new(), 0);
    let mut archiver = block_on(Archiver::new(tenant)).unwrap();
    loop {
        archiver.step_rows(1 + random.below(40) as usize);
        let Some(bytes) = block_on(archiver.step()).unwrap() else { return (stream, resumed) };
        stream.extend_from_slice(&bytes);
        if writes && archiver.version().is_none() {
            for _ in 0..random.below(4) {
                write(tenant, random);
            }
        }
        if random.below(4) == 0 {
            // Whoever wrote it is killed in the middle of a write.
            let lost = random.below(bytes.len() as u64 + 1) as usize;
            stream.truncate(stream.len() - lost);
            let mut reader = ArchiveReader::new();
            reader.feed(&stream);
            while reader.next_frame().unwrap().is_some() {}
            stream.truncate(reader.resumable_size_bytes() as usize);
            let mut reader = ArchiveReader::new();
            reader.feed(&stream);
            while reader.next_frame().unwrap().is_some() {}
            archiver = block_on(Archiver::resume(tenant, &reader)).unwrap();
            resumed += 1;
        }
    }
}

fn sound(database: &Database, tenant: &Tenant) -> serde_json::Value {
    let id = block_on(database.create_job(&Verify, Some(tenant), &json!({}))).unwrap();
    let job = block_on(Worker::new(database, JobKinds::standard()).run_job(id, |_| ())).unwrap();
    assert_eq!(job.state, JobState::Done, "{:?}", job.error);
    job.result.unwrap()
}

/// What a stream gives is what the tenant had at the version of its last step, whoever wrote meanwhile and however often both sides were interrupted.
#[test]
fn a_round_trip_is_equal_by_hash() {
    let (mut interrupted, mut resumed_total) = (0, 0);
    for seed in 1..=12 {
        let mut random = Random(seed);
        let (source, target) = (database(), database());
        let tenant = filled(&source, "acme", &mut random);
        let (bytes, resumed) = stream(&tenant, &mut random, true);
        resumed_total += resumed;
        let expected = hash(&tenant);
        assert_eq!(hash_of(&source, &bytes).hash, expected.hash, "seed {seed}");
        // An import that stops anywhere, and another one that is fed from the begin.
        while random.below(3) > 0 {
            let mut importer = ArchiveImporter::new(&target, "acme");
            let part = &bytes[..random.below(bytes.len() as u64) as usize];
            for piece in part.chunks(1 + random.below(100_000) as usize) {
                block_on(importer.feed(piece)).unwrap();
            }
            let unfinished = block_on(importer.finish());
            assert_eq!(unfinished.unwrap_err().code(), Code::ArchiveIncomplete);
            interrupted += 1;
            if let Ok(half) = block_on(target.tenant("acme")) {
                assert_eq!(half.info().state, TenantState::Filling);
                assert_eq!(
                    block_on(half.get("note", &PrimaryKey::of(1))).unwrap_err().code(),
                    Code::TenantFilling
                );
                assert_eq!(
                    block_on(half.put("folder", &Record::new().with("name", "x"))).unwrap_err().code(),
                    Code::TenantFilling
                );
                let suspended = block_on(target.suspend_tenant("acme", Suspension::ReadOnly, ""));
                assert_eq!(suspended.unwrap_err().code(), Code::TenantFilling);
            }
        }
        let mut importer = ArchiveImporter::new(&target, "acme");
        for piece in bytes.chunks(1 + random.below(1_000_000) as usize) {
            block_on(importer.feed(piece)).unwrap();
        }
        let imported = block_on(importer.finish()).unwrap().tenant;
        assert_eq!(hash(&imported).hash, expected.hash, "seed {seed}");
        assert_eq!(
            (imported.info().state, imported.info().plan.as_deref()),
            (TenantState::Active, Some("small"))
        );
        assert_eq!(imported.info().labels["region"], "eu");
        // It is a tenant like any other, and its indexes are right.
        let verified = sound(&target, &imported);
        assert_eq!(verified["sound"], json!(true), "seed {seed}: {verified}");
        for _ in 0..20 {
            write(&imported, &mut random);
        }
        assert_ne!(hash(&imported).hash, expected.hash);
        let again = block_on(ArchiveImporter::new(&target, "acme").feed(&bytes));
        assert_eq!(again.unwrap_err().code(), Code::TenantExists);
    }
    assert!(interrupted > 5 && resumed_total > 20, "{interrupted} {resumed_total}");
}

#[test]
fn a_hash_tells_every_difference_and_no_other() {
    let database = database();
    let mut random = Random(5);
    let tenant = filled(&database, "acme", &mut random);
    let before = hash(&tenant);
    // What is written again is what it was; its version is no part of the content.
    let note = Record::new().with("id", 500).with("text", "x");
    block_on(tenant.put("note", &note)).unwrap();
    let with_note = hash(&tenant);
    assert_ne!(with_note.hash, before.hash);
    assert_eq!(with_note.rows, before.rows + 1);
    block_on(tenant.put("note", &note)).unwrap();
    assert_eq!(hash(&tenant).hash, with_note.hash);
    block_on(tenant.delete("note", &PrimaryKey::of(500))).unwrap();
    assert_eq!(hash(&tenant).hash, before.hash);
    type Change = fn(&crate::TenantTransaction) -> Result<()>;
    let changes: [Change; 4] = [
        |transaction| transaction.raw_set(b"another key", b""),
        |transaction| transaction.raw_set(b"another key", b"x"),
        |transaction| transaction.add_to_counter("c", 1),
        |transaction| transaction.add_to_counter("another", 0),
    ];
    let mut seen = vec![before.hash];
    for change in changes {
        block_on(tenant.run(|transaction| async move { change(&transaction) })).unwrap();
        let now = hash(&tenant).hash;
        assert!(!seen.contains(&now));
        seen.push(now);
    }
    // Also while it is suspended.
    block_on(database.suspend_tenant("acme", Suspension::Blocked, "")).unwrap();
    assert_eq!(hash(&tenant).hash, *seen.last().unwrap());
    let small = ContentOptions { memory_size_bytes_max: 10, ..ContentOptions::default() };
    assert_eq!(block_on(tenant.content_hash(&small)).unwrap_err().code(), Code::LimitPassed);
}

#[test]
fn a_stream_that_was_changed_or_cut_is_refused() {
    let database = database();
    let mut random = Random(9);
    let tenant = block_on(database.create_tenant("acme", "s")).unwrap();
    for _ in 0..4 {
        write(&tenant, &mut random);
    }
    let (bytes, _) = stream(&tenant, &mut random, false);
    let read = |bytes: &[u8]| -> Result<()> {
        let mut reader = ArchiveReader::new();
        reader.feed(bytes);
        while reader.next_frame()?.is_some() {}
        reader.check_complete()
    };
    read(&bytes).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << random.below(8);
        let code = read(&changed).unwrap_err().code();
        assert!(
            matches!(code, Code::ArchiveDamaged | Code::ArchiveFormat | Code::ArchiveIncomplete),
            "{at}: {code:?}"
        );
        assert_eq!(read(&bytes[..at]).unwrap_err().code(), Code::ArchiveIncomplete, "{at}");
    }
    assert_eq!(read(&[&bytes[..], b"x"].concat()).unwrap_err().code(), Code::ArchiveDamaged);
    assert_eq!(read(b"PK\x03\x04 something else").unwrap_err().code(), Code::ArchiveFormat);
    // A stream is gone on with by its own tenant alone, as it was.
    let mut reader = ArchiveReader::new();
    reader.feed(&bytes);
    reader.next_frame().unwrap();
    let other = block_on(database.create_tenant("other", "s")).unwrap();
    assert_eq!(block_on(Archiver::resume(&other, &reader)).unwrap_err().code(), Code::ArchiveOfAnotherTenant);
    block_on(Archiver::resume(&tenant, &reader)).unwrap();
    // An import is gone on with by the same stream alone.
    let half = &bytes[..bytes.len() - 10];
    block_on(ArchiveImporter::new(&database, "half").feed(half)).unwrap();
    write(&other, &mut random);
    let (of_other, _) = stream(&other, &mut random, false);
    let differs = block_on(ArchiveImporter::new(&database, "half").feed(&of_other));
    assert_eq!(differs.unwrap_err().code(), Code::ArchiveDiffers);
    block_on(database.delete_tenant("half")).unwrap();
    block_on(ArchiveImporter::new(&database, "half").feed(&of_other)).unwrap();
}

/// Whoever makes a stream of their own has right hashes: what it says is not believed all the same.
#[test]
fn a_stream_with_hostile_rows_gives_typed_errors() {
    let database = database();
    let header = ArchiveHeader {
        format: 1,
        tenant_uuid: vec![7; 16],
        name: "x".to_owned(),
        schema_version: 1,
        schema: String::from_utf8(block_on(database.schema("s")).unwrap().definition.to_stored().unwrap())
            .unwrap(),
        ..ArchiveHeader::default()
    };
    let make = |header: &ArchiveHeader, changes: Vec<ArchiveChange>| {
        let (mut chain, mut bytes) = (Chain::begin(), MAGIC.to_vec());
        chain.header(header, &mut bytes).unwrap();
        let block =
            ArchiveBlock { changes, is_last: true, cursor: Some(Bytes::new()), ..ArchiveBlock::default() };
        chain.block(&block, &mut bytes).unwrap();
        bytes
    };
    let mut number = 0;
    let mut import = |bytes: &[u8]| -> Result<Tenant> {
        number += 1;
        let mut importer = ArchiveImporter::new(&database, &format!("t{number}"));
        block_on(importer.feed(bytes))?;
        block_on(importer.finish()).map(|imported| imported.tenant)
    };
    let change =
        |part: i32, type_id: u32, key: &[u8], value: Option<&[u8]>, end: Option<&[u8]>| ArchiveChange {
            part,
            type_id,
            key: Bytes::copy_from_slice(key),
            value: value.map(Bytes::copy_from_slice),
            end: end.map(Bytes::copy_from_slice),
        };
    let (record, raw, counter, sequence) = (
        ArchivePart::Record as i32,
        ArchivePart::Raw as i32,
        ArchivePart::Counter as i32,
        ArchivePart::Sequence as i32,
    );
    import(&make(&header, vec![change(raw, 0, b"k", Some(b"v"), None)])).unwrap();
    let long = vec![b'x'; 200_000];
    let hostile = [
        change(record, 99, b"k", Some(b""), None),
        change(record, 1, b"k", Some(b"\xff\xff"), None),
        change(record, 1, b"", Some(b"\x0a\x01a"), None),
        change(record, 1, &long, Some(b"\x0a\x01a"), None),
        change(record, 1, b"k", None, Some(b"z")),
        change(raw, 0, &long, Some(b""), None),
        change(raw, 0, b"k", Some(&long), None),
        change(raw, 0, b"z", None, Some(b"a")),
        change(counter, 0, b"c", Some(b"123"), None),
        change(counter, 0, b"c\0x", Some(b"12345678"), None),
        change(counter, 0, b"\xff", Some(b"12345678"), None),
        change(counter, 0, b"", Some(b"12345678"), None),
        change(sequence, 0, b"a\0b", Some(b"12345678"), None),
        change(sequence, 0, b"s", Some(b""), None),
    ];
    for row in hostile {
        let shown = format!("{:?}", (row.part, row.type_id, row.key.len()));
        let code = import(&make(&header, vec![row])).unwrap_err().code();
        assert_eq!(code, Code::ArchiveDamaged, "{shown}");
    }
    let unknown = import(&make(&header, vec![change(9, 0, b"k", None, None)])).unwrap_err();
    assert_eq!(unknown.code(), Code::ArchiveFormat);
    for (header, code) in [
        (ArchiveHeader { format: 2, ..header.clone() }, Code::ArchiveFormat),
        (ArchiveHeader { schema: "{".to_owned(), ..header.clone() }, Code::ArchiveDamaged),
        (ArchiveHeader { tenant_uuid: vec![1], ..header.clone() }, Code::ArchiveDamaged),
        (
            ArchiveHeader { labels: [("a\0".to_owned(), String::new())].into(), ..header.clone() },
            Code::TenantLabelInvalid,
        ),
        (
            ArchiveHeader { schema: header.schema.replace("\"body\"", "\"other\""), ..header.clone() },
            Code::SchemaDiffers,
        ),
    ] {
        assert_eq!(import(&make(&header, Vec::new())).unwrap_err().code(), code);
    }
    let huge = [&MAGIC[..], &[1, 0xff, 0xff, 0xff, 0xff]].concat();
    assert_eq!(import(&huge).unwrap_err().code(), Code::ArchiveDamaged);
    assert!(header.encode_to_vec().len() > 100);
}

#[test]
fn a_clone_is_equal_to_its_source_at_one_version_whoever_writes_meanwhile() {
    for seed in 1..=8 {
        let mut random = Random(seed);
        let database = database();
        let tenant = filled(&database, "acme", &mut random);
        // More than a few steps.
        block_on(tenant.run(|transaction| async move {
            for number in 0..1_500_u32 {
                transaction.raw_set(&[b"m", &number.to_be_bytes()[..]].concat(), b"v")?;
            }
            Ok::<_, Error>(())
        }))
        .unwrap();
        let id = block_on(database.clone_tenant("acme", "copy")).unwrap();
        let copy = block_on(database.tenant("copy")).unwrap();
        assert_eq!(block_on(copy.get("note", &PrimaryKey::of(1))).unwrap_err().code(), Code::TenantFilling);
        assert_eq!(block_on(database.clone_tenant("copy", "third")).unwrap_err().code(), Code::TenantFilling);
        assert_eq!(block_on(database.clone_tenant("acme", "copy")).unwrap_err().code(), Code::TenantExists);
        let mut worker = Worker::new(&database, JobKinds::standard());
        let mut steps = 0;
        loop {
            match block_on(worker.run_one_step()).unwrap() {
                Worked::Step(_) => {
                    steps += 1;
                    for _ in 0..random.below(4) * u64::from(steps < 10) {
                        write(&tenant, &mut random);
                    }
                }
                Worked::Ended(job) => {
                    assert_eq!((job.id, job.state), (id, JobState::Done), "{:?}", job.error);
                    break;
                }
                other => unreachable!("{other:?}"),
            }
        }
        assert!(steps > 1, "{steps}");
        assert_eq!(hash(&copy).hash, hash(&tenant).hash, "seed {seed}");
        let found = block_on(database.describe_tenant("copy")).unwrap();
        assert_eq!((found.state, found.plan.as_deref()), (TenantState::Active, Some("small")));
        assert_eq!(sound(&database, &copy)["sound"], json!(true));
        // They are two tenants.
        write(&copy, &mut random);
        block_on(copy.put("folder", &Record::new().with("name", "new"))).unwrap();
        assert!(!block_on(tenant.exists("folder", &PrimaryKey::of("new"))).unwrap());
    }
}

#[test]
fn a_verification_finds_what_is_damaged() {
    let database = database();
    let mut random = Random(3);
    let tenant = filled(&database, "acme", &mut random);
    block_on(tenant.put("note", &Record::new().with("id", 7_777).with("text", "lost words"))).unwrap();
    let whole = sound(&database, &tenant);
    assert_eq!((&whole["sound"], &whole["faults_total"]), (&json!(true), &json!(0)), "{whole}");
    for counted in ["keys", "records", "raw_keys", "numbers", "index_keys", "log_entries"] {
        assert!(whole[counted].as_u64().unwrap() > 0, "{counted}: {whole}");
    }
    let keys = &tenant.keys;
    let part = |bytes: &[u8]| crate::key_space::behind(&keys.everything().begin, bytes);
    let record = || {
        let elements = [7_777.into()];
        let key = crate::key_form::pack(&elements).unwrap();
        crate::key_space::behind(&crate::key_space::behind(&keys.records(2).unwrap(), &key), &[0x14])
    };
    let damages: Vec<(&str, Bytes, Option<&[u8]>)> = vec![
        ("a part that is none", part(b"\x15\x63"), Some(b"")),
        ("no part at all", part(b"\x01x\x00"), Some(b"")),
        ("no such type", part(b"\x15\x01\x15\x63\x15\x01\x14"), Some(b"")),
        ("no such index", part(b"\x15\x02\x15\x63\x15\x01"), Some(b"")),
        ("a counter of another length", keys.counter("c").unwrap(), Some(b"123")),
        ("a record that cannot be read", record(), Some(b"\x01\x02")),
        ("a record that is gone", record(), None),
        (
            "an entry of the log",
            part(b"\x15\x04\x15\x01\x14\x15\x01\x33\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
            Some(b"x"),
        ),
        ("a head of another length", keys.log_head().unwrap(), Some(b"")),
        ("a result of a key", keys.idempotency_record(b"k").unwrap(), Some(b"\xff")),
    ];
    for (what, key, value) in damages {
        let read = |key: &Bytes| {
            let transaction = database.engine().begin().unwrap();
            block_on(transaction.get(key, tenantry_kv::Isolation::Snapshot)).unwrap()
        };
        let put = |value: Option<&[u8]>| {
            let transaction = database.engine().begin().unwrap();
            match value {
                Some(value) => transaction.set(&key, value),
                None => transaction.clear(&key),
            }
            block_on(transaction.commit()).unwrap();
        };
        let before = read(&key);
        put(value);
        let found = sound(&database, &tenant);
        assert_eq!(found["sound"], json!(false), "{what}: {found}");
        put(before.as_deref());
        assert_eq!(sound(&database, &tenant)["sound"], json!(true), "{what}");
    }
}
