//! Writes every record of a type in the form that this build gives to it.

use serde_json::{Value as Json, json};
use tenantry_kv::Isolation;

use super::type_of;
use crate::access::Action;
use crate::error::Result;
use crate::jobs::kind::{JobKind, JobStep, StepFuture, StepOutcome};
use crate::record::{Record, frame};
use crate::record_scan::read_chunk;
use crate::wire;

/// What a step reads at most, in bytes: what it may write is about three times that.
const SIZE_BYTES_MAX: usize = 1_000_000;

/// Reads every record of a type and writes those again, unchanged, whose stored form is not the one that this build gives to them. Its result is `{"records", "rewritten"}`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rewrite;

impl Rewrite {
    /// Rewrites the records of a type.
    pub fn parameters(record_type: &str) -> Json {
        json!({ "type": record_type })
    }
}

impl JobKind for Rewrite {
    fn name(&self) -> &'static str {
        "rewrite"
    }

    fn check(&self, parameters: &Json) -> Result<()> {
        type_of(parameters).map(|_| ())
    }

    fn actions(&self) -> &'static [Action] {
        &[Action::Maintain]
    }

    fn step<'a>(&'a self, step: JobStep) -> StepFuture<'a> {
        Box::pin(async move {
            let transaction = step.tenant()?;
            // Whoever writes a record that this step only looks at is in nobody's way.
            transaction.set_isolation(Isolation::Snapshot);
            let name = type_of(step.parameters())?;
            let record_type = transaction.record_type(name)?;
            let (mut rewritten, after) = read_cursor(step.cursor());
            let after = (!step.cursor().is_empty()).then_some(after);
            let chunk = read_chunk(transaction, record_type.id, after, step.size(), SIZE_BYTES_MAX).await?;
            let generation = transaction.sealer().map(|sealer| sealer.generation()).transpose()?;
            for stored in &chunk.records {
                let (values, unknown) = wire::decode(&stored.payload, &record_type.fields)?;
                let payload = wire::encode(&values, &record_type.fields, &unknown)?;
                if payload != stored.payload
                    || frame::pack(payload).0 != stored.format.opened()
                    || stored.generation != generation
                {
                    let record = Record { values, unknown, is_read: true, ..Record::default() };
                    transaction.put(name, &record).await?;
                    rewritten += 1;
                }
            }
            let done = step.done() + chunk.records.len() as u64;
            Ok(match chunk.records.last().filter(|_| chunk.has_more) {
                Some(last) => StepOutcome::more([&rewritten.to_be_bytes()[..], &last.key].concat(), done),
                None => StepOutcome::finished(json!({ "records": done, "rewritten": rewritten }), done),
            })
        })
    }
}

/// How many were rewritten, in eight bytes, and the key to go on behind.
fn read_cursor(cursor: &[u8]) -> (u64, &[u8]) {
    cursor.split_first_chunk::<8>().map_or((0, &[][..]), |(count, key)| (u64::from_be_bytes(*count), key))
}

#[cfg(test)]
mod tests {

    use pollster::block_on;
    use tenantry_kv::Isolation;
    use tenantry_kv::conformance::reference::manual_env;

    use super::*;
    use crate::jobs::{JobKinds, Worker};
    use crate::{Database, PrimaryKey, Query, SchemaDefinition, Tenant};

    const SCHEMA: &str = r#"
        name = "s"
        [types.note]
        primary_key = ["id"]
        fields = { id = "int", text = "string" }
        indexes.by_text = { fields = ["text"] }
    "#;

    /// Part 0 of a note, and its key.
    fn part(tenant: &Tenant, id: i64) -> (bytes::Bytes, bytes::Bytes) {
        block_on(tenant.read(|transaction| async move {
            let record_type = transaction.record_type("note")?;
            let keys = transaction.record_keys(record_type, &[id.into()])?;
            let key = keys.part(0)?;
            let bytes = transaction.get_key(&key, Isolation::Snapshot).await?.unwrap_or_default();
            Ok::<_, crate::Error>((key, bytes))
        }))
        .unwrap()
    }

    /// Of 250 records every tenth has its fields in another order, as another writer of protobuf may put them: those are written again.
    #[test]
    fn records_in_another_form_are_written_in_this_one() {
        let env = manual_env();
        let database =
            block_on(Database::open(crate::test_engine::engine(&env), env, &crate::test_engine::name("t")))
                .unwrap();
        block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
        let tenant = block_on(database.create_tenant("acme", "s")).unwrap();
        for id in 0..250 {
            block_on(tenant.put("note", &Record::new().with("id", id).with("text", format!("{id}"))))
                .unwrap();
        }
        let (key, _) = part(&tenant, 1);
        let transaction = database.engine().begin().unwrap();
        for id in (0..250).step_by(10) {
            let (key, bytes) = part(&tenant, id);
            // The text stands behind the id: tag, length, characters.
            let text_size_bytes = 2 + id.to_string().len();
            let (head, text) = bytes.split_at(bytes.len() - text_size_bytes);
            let (head, id) = head.split_at(frame::SIZE_BYTES);
            transaction.set(&key, &[head, text, id].concat());
        }
        // One that is long enough to be compressed, and is not.
        let long = "long ".repeat(200);
        block_on(tenant.put("note", &Record::new().with("id", 5).with("text", &*long))).unwrap();
        let (key_of_long, compressed) = part(&tenant, 5);
        let payload = frame::read(&compressed).unwrap();
        let (format, version) = (payload.format, payload.version);
        assert_eq!(format, frame::Format::Zstd);
        let plain = format.payload(payload.first).unwrap();
        let mut head = frame::write(frame::Format::Plain, version.incarnation, version.ordinal, 0, &plain);
        head[frame::STAMP_POSITION..][..10].copy_from_slice(version.stamp.as_bytes());
        transaction.set(&key_of_long, &head);
        block_on(transaction.commit()).unwrap();
        let untouched = part(&tenant, 1);
        assert_eq!(untouched.0, key);
        let before = block_on(tenant.get("note", &PrimaryKey::of(10))).unwrap().unwrap();

        let id =
            block_on(database.create_job(&Rewrite, Some(&tenant), &Rewrite::parameters("note"))).unwrap();
        block_on(Worker::new(&database, JobKinds::standard()).run_until_idle()).unwrap();
        let job = block_on(database.job(id)).unwrap();
        assert_eq!((job.done, job.result), (250, Some(json!({ "records": 250, "rewritten": 26 }))));
        assert_eq!(part(&tenant, 1), untouched);
        let after = block_on(tenant.get("note", &PrimaryKey::of(10))).unwrap().unwrap();
        assert_eq!(after, before);
        assert!(after.version > before.version);
        let found = block_on(tenant.query(&Query::of("note").filter("text == \"10\""))).unwrap();
        assert_eq!(found.records, [before]);
        assert_eq!(frame::read(&part(&tenant, 10).1).unwrap().first[0], 0x08, "the id comes first again");
        assert_eq!(frame::read(&part(&tenant, 5).1).unwrap().format, frame::Format::Zstd);
    }
}
