use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use pollster::block_on;
use tenantry_kv::conformance::reference::manual_env;
use tenantry_kv::env::{Directory, Env, File, LockGuard, Storage};
use tenantry_kv::{Error as EngineError, ErrorCode};

use super::area::{Area, AreaOptions};
use super::runs::{Run, RunReader, RunWriter};
use super::spool::Spool;
use super::*;
use crate::{Database, PrimaryKey, Record, SchemaDefinition};

const SCHEMA: &str = r#"
    name = "s"
    [types.note]
    primary_key = ["id"]
    fields = { id = "int", group = "int", text = "string" }
    [types.pair]
    primary_key = ["left", "right"]
    fields = { left = "string", right = "int" }
"#;

/// Files in memory: those that were made, by name, also when the name is gone.
#[derive(Default)]
struct Files(Mutex<BTreeMap<String, Arc<MemoryFile>>>);

#[derive(Default)]
struct MemoryFile(Mutex<Vec<u8>>);

#[derive(Clone, Default)]
struct MemoryStorage(Arc<Files>);

impl Storage for MemoryStorage {
    fn open_directory(&self, _path: &str) -> tenantry_kv::Result<Arc<dyn Directory>> {
        Ok(Arc::new(self.clone()))
    }

    fn exists(&self, _path: &str) -> tenantry_kv::Result<bool> {
        Ok(true)
    }
}

impl Directory for MemoryStorage {
    fn open(&self, name: &str, _create: bool) -> tenantry_kv::Result<Arc<dyn File>> {
        Ok(self.0.0.lock().unwrap().entry(name.to_owned()).or_default().clone())
    }

    fn rename(&self, _from: &str, _to: &str) -> tenantry_kv::Result<()> {
        unreachable!("nothing is renamed")
    }

    fn remove(&self, _name: &str) -> tenantry_kv::Result<()> {
        Ok(())
    }

    fn list(&self) -> tenantry_kv::Result<Vec<String>> {
        unreachable!("nothing is listed")
    }

    fn sync(&self) -> tenantry_kv::Result<()> {
        unreachable!("nothing is synced")
    }

    fn lock(&self, _name: &str, _owner: &str) -> tenantry_kv::Result<Box<dyn LockGuard>> {
        unreachable!("nothing is locked")
    }

    fn free_bytes(&self) -> tenantry_kv::Result<u64> {
        unreachable!("nobody asks")
    }
}

impl File for MemoryFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> tenantry_kv::Result<()> {
        let bytes = self.0.lock().unwrap();
        let begin = offset as usize;
        let found = bytes.get(begin..begin + buffer.len());
        buffer.copy_from_slice(found.ok_or_else(|| EngineError::from(ErrorCode::IO_ERROR))?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> tenantry_kv::Result<()> {
        let mut file = self.0.lock().unwrap();
        assert_eq!(file.len() as u64, offset, "it is appended to");
        file.extend_from_slice(bytes);
        Ok(())
    }

    fn len(&self) -> tenantry_kv::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn set_len(&self, _length: u64) -> tenantry_kv::Result<()> {
        unreachable!("nothing is cut")
    }

    fn sync_data(&self) -> tenantry_kv::Result<()> {
        unreachable!("nothing is synced")
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn text(&mut self, size_max: u64) -> String {
        (0..self.below(size_max)).map(|_| char::from(b' ' + self.below(94) as u8)).collect()
    }
}

fn env() -> (Env, MemoryStorage) {
    let storage = MemoryStorage::default();
    (Env { storage: Arc::new(storage.clone()), ..manual_env() }, storage)
}

fn tenant() -> (Tenant, MemoryStorage) {
    let (env, storage) = env();
    let engine = crate::test_engine::engine(&env);
    let database = block_on(Database::open(engine, env, &crate::test_engine::name("t"))).unwrap();
    block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
    let tenant = block_on(database.create_tenant("acme", "s")).unwrap();
    // Another one, with the same keys, of which nothing is to be seen.
    let other = block_on(database.create_tenant("other", "s")).unwrap();
    for id in 0..300 {
        block_on(other.put("note", &note(id, 0, "another tenant's"))).unwrap();
    }
    (tenant, storage)
}

fn note(id: i64, group: i64, text: &str) -> Record {
    Record::new().with("id", id).with("group", group).with("text", text)
}

fn write(tenant: &Tenant, random: &mut Random) {
    let changes: Vec<(i64, u64, i64, String)> = (0..1 + random.below(4))
        .map(|_| (random.below(300) as i64, random.below(4), random.below(3) as i64, random.text(3_000)))
        .collect();
    let changes = &changes;
    let written = tenant.run(|transaction| async move {
        for (id, kind, group, text) in changes {
            match kind {
                0 => drop(transaction.delete("note", &PrimaryKey::of(*id)).await?),
                1 => {
                    let pair = Record::new().with("left", format!("{}", id % 7)).with("right", *id);
                    transaction.put("pair", &pair).await?;
                }
                _ => transaction.put("note", &note(*id, *group, text)).await?,
            }
        }
        Ok::<_, Error>(())
    });
    block_on(written).unwrap();
}

/// What a query finds, page by page, with the versions.
fn found(tenant: &Tenant, query: &Query) -> Vec<(Record, Option<RecordVersion>)> {
    let mut query = query.clone().rows_max(10_000);
    let mut found = Vec::new();
    loop {
        let page = block_on(tenant.query(&query)).unwrap();
        found.extend(page.records.into_iter().map(|record| (record.clone(), record.version())));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return found,
        }
    }
}

/// Exports step by step; `between` runs between the steps.
fn export(tenant: &Tenant, export: Export, rows: usize, mut between: impl FnMut()) -> (u64, Exported) {
    let mut exporter = block_on(Exporter::new(tenant, export)).unwrap();
    let mut steps = 0;
    loop {
        exporter.step_rows = rows;
        steps += 1;
        if !block_on(exporter.step()).unwrap() {
            return (steps, exporter.finish().unwrap());
        }
        between();
    }
}

/// Writers between the steps change, add and delete what was put aside already: what comes out is the state at the version of the last step, in memory and in files.
#[test]
fn an_export_is_the_state_at_its_version() {
    let mut files = 0;
    for seed in 1..=12 {
        let mut random = Random(seed);
        let (tenant, storage) = tenant();
        for _ in 0..150 {
            write(&tenant, &mut random);
        }
        let whole = Export::everything().directory("somewhere").memory_size_bytes_max(64_000);
        let some = Export::of(Query::of("note").filter("group == 1"));
        let (asked, queries) = match seed % 3 {
            0 => (some, vec![Query::of("note").filter("group == 1")]),
            1 => (whole, vec![Query::of("note"), Query::of("pair")]),
            _ => (
                Export::of(Query::of("pair")).and(Query::of("note")),
                vec![Query::of("pair"), Query::of("note")],
            ),
        };
        let (steps, exported) = export(&tenant, asked, 1 + seed as usize * 2, || {
            for _ in 0..random.below(5) {
                write(&tenant, &mut random);
            }
        });
        assert!(steps > 5, "{steps}");
        let expected: Vec<_> = queries.iter().flat_map(|query| found(&tenant, query)).collect();
        let records: Vec<_> = exported
            .map(|exported| exported.unwrap().into_record())
            .map(|record| (record.clone(), record.version()))
            .collect();
        assert_eq!(records.len(), expected.len(), "seed {seed}");
        assert_eq!(records, expected, "seed {seed}");
        files += storage.0.0.lock().unwrap().len();
    }
    assert!(files >= 4, "{files} files: what does not fit into memory was never there");
}

#[test]
fn its_version_is_that_of_a_transaction() {
    let (tenant, _) = tenant();
    for id in 0..50 {
        block_on(tenant.put("note", &note(id, 0, "t"))).unwrap();
    }
    let before = block_on(tenant.read(|transaction| async move { transaction.read_version().await }));
    let (_, exported) = export(&tenant, Export::everything(), 7, || {});
    assert!(exported.version() >= before.unwrap());
    let newest = exported.map(|exported| exported.unwrap().record().version().unwrap()).max().unwrap();
    block_on(tenant.put("note", &note(1, 1, "later"))).unwrap();
    let later = block_on(tenant.get("note", &PrimaryKey::of(1))).unwrap().unwrap();
    assert!(later.version().unwrap() > newest);
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let (tenant, _) = tenant();
    let code = |export: Export| block_on(tenant.export(export)).unwrap_err().code();
    assert_eq!(code(Export::of(Query::of("nothing"))), Code::TypeNotFound);
    assert_eq!(code(Export::of(Query::of("note").select(["nothing"]))), Code::FieldNotFound);
    assert_eq!(code(Export::of(Query::of("note").filter("id ==="))), Code::ExpressionInvalid);
    assert_eq!(code(Export::of(Query::of("note").parameter("p", 1))), Code::ParameterInvalid);
    assert_eq!(code(Export::of(Query::of("note").order_by("id"))), Code::QueryInvalid);
    assert_eq!(code(Export::of(Query::of("note")).and(Query::of("note"))), Code::QueryInvalid);
    assert_eq!(code(Export::everything().memory_size_bytes_max(10)), Code::LimitPassed);
    let mut random = Random(1);
    for id in 0..150 {
        block_on(tenant.put("note", &note(id, 0, &format!("{id}{}", random.text(4_000))))).unwrap();
    }
    // It does not fit, and there is no directory.
    assert_eq!(code(Export::everything().memory_size_bytes_max(64_000)), Code::LimitPassed);
    let exporter = block_on(Exporter::new(&tenant, Export::everything())).unwrap();
    assert_eq!(exporter.finish().unwrap_err().code(), Code::QueryInvalid);
    let (database, name) = (tenant.database.clone(), tenant.info().name.clone());
    block_on(database.delete_tenant(&name)).unwrap();
    assert_eq!(code(Export::everything()), Code::TenantNotFound);
}

#[test]
fn an_export_that_was_refused_for_its_memory_can_begin_anew() {
    let (tenant, _) = tenant();
    let mut random = Random(3);
    for id in 0..150 {
        block_on(tenant.put("note", &note(id, 0, &random.text(4_000)))).unwrap();
    }
    let small = Export::everything().memory_size_bytes_max(64_000);
    let mut exporter = block_on(Exporter::new(&tenant, small)).unwrap();
    exporter.step_rows = 50;
    let error = loop {
        match block_on(exporter.step()) {
            Ok(true) => exporter.step_rows = 50,
            Ok(false) => unreachable!("it does not fit"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Code::LimitPassed);
    for id in 10..150 {
        block_on(tenant.delete("note", &PrimaryKey::of(id))).unwrap();
    }
    while block_on(exporter.step()).unwrap() {}
    assert_eq!(exporter.finish().unwrap().count(), 10);
}

#[test]
fn chosen_fields_alone_have_no_others() {
    let (tenant, _) = tenant();
    block_on(tenant.put("note", &note(1, 2, "t"))).unwrap();
    let export = block_on(tenant.export(Export::of(Query::of("note").select(["text", "id"])))).unwrap();
    assert_eq!(export.columns(), [("note", vec!["id", "text"])]);
    let record = export.into_iter().next().unwrap().unwrap();
    assert_eq!(record.to_json().to_string(), r#"{"id":1,"text":"t"}"#);
    assert_eq!(record.to_texts(), [Some("1".to_owned()), Some("t".to_owned())]);
    assert_eq!(record.record().version(), None);
}

fn options(memory_size_bytes_max: usize) -> AreaOptions {
    AreaOptions { directory: Some("somewhere".to_owned()), memory_size_bytes_max }
}

/// Many patches, so that runs are merged over several levels, against a map.
#[test]
fn a_spool_is_a_map() {
    for (seed, memory) in [(1, 2_000), (2, 100_000), (3, 1 << 30)] {
        let (env, _) = env();
        let mut random = Random(seed);
        let mut spool = Spool::new(&env, &options(memory));
        let mut model: BTreeMap<Bytes, Bytes> = BTreeMap::new();
        let key = |number: u64| Bytes::from(format!("{number:06}"));
        let mut end = 0;
        for _ in 0..20_000 {
            let value = Bytes::from(random.text(30).into_bytes());
            match random.below(4) {
                0 => {
                    end += 1 + random.below(2);
                    spool.append(&key(end), &value).unwrap();
                    model.insert(key(end), value);
                }
                1 => {
                    let key = key(random.below(end + 1));
                    spool.patch(key.clone(), None).unwrap();
                    model.remove(&key);
                }
                _ => {
                    let key = key(random.below(end + 1));
                    spool.patch(key.clone(), Some(value.clone())).unwrap();
                    model.insert(key, value);
                }
            }
        }
        assert!(spool.size_bytes() > 10_000);
        let mut spooled = spool.finish().unwrap();
        let rows: Vec<_> = std::iter::from_fn(|| spooled.next().unwrap()).collect();
        assert_eq!(rows, model.into_iter().collect::<Vec<_>>(), "memory {memory}");
    }
}

/// Every bit that is flipped in a file is found out.
#[test]
fn what_was_put_aside_and_is_damaged_is_not_handed_out() {
    let (env, storage) = env();
    let mut area = Area::new(&env, options(100));
    let mut writer = RunWriter::default();
    for number in 0..20u8 {
        writer.push(&mut area, &[number], Some(&[number; 40])).unwrap();
    }
    writer.close(&mut area).unwrap();
    let run = Run { begin: 0, end: area.len() };
    let read = || {
        let mut reader = RunReader::new(run);
        let mut rows = 0;
        while let Some((key, value)) = reader.next(&area)? {
            assert_eq!(value.unwrap(), vec![key[0]; 40]);
            rows += 1;
        }
        Ok::<_, Error>(rows)
    };
    assert_eq!(read().unwrap(), 20);
    let file = storage.0.0.lock().unwrap().values().next().unwrap().clone();
    let size = file.0.lock().unwrap().len();
    for place in 0..size {
        file.0.lock().unwrap()[place] ^= 0x10;
        assert_eq!(read().unwrap_err().code(), Code::StoredDataInvalid, "byte {place}");
        file.0.lock().unwrap()[place] ^= 0x10;
    }
    assert_eq!(read().unwrap(), 20);
}
