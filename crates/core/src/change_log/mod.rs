//! The change log: one entry for each transaction that changed a tenant, written in that transaction.

mod reader;
mod reseal;

use bytes::Bytes;
use prost::Message;
use tenantry_kv::{MutationType, Transaction, Versionstamp};

use crate::error::{Code, Error, Result, limit};
use crate::key_space::{KeySpace, TenantKeys};
use crate::limits::{CHANGES_MAX, LOG_PART_SIZE_BYTES};
use crate::messages::{Change, LogEntry, LogOperation, TenantHeader};
use crate::sealing::Sealer;

pub(crate) use reader::{LogPosition, Logged, read_after};
pub(crate) use reseal::Place;

/// The form of a log entry.
const FORMAT: u32 = 1;
/// The form of a log entry that holds another one, sealed.
const FORMAT_SEALED: u32 = 2;

/// Whose log it is, and when.
pub(crate) struct Context<'a> {
    pub(crate) keys: &'a TenantKeys,
    pub(crate) space: &'a KeySpace,
    pub(crate) tenant: u64,
    pub(crate) header: &'a TenantHeader,
    /// Who changes it: the subject of the grant, or nobody that is known.
    pub(crate) actor: &'a str,
    pub(crate) wall_us: i64,
    pub(crate) read_version: i64,
    /// What seals the entry, for a sealed tenant.
    pub(crate) sealer: Option<&'a Sealer>,
}

/// Appends an entry, and by `beside`, the same transaction without a fence, the mark that the tenant changed. The caller commits next: the log's keys are unreadable from here on.
pub(crate) fn append(
    transaction: &dyn Transaction,
    beside: &dyn Transaction,
    context: &Context<'_>,
    changes: Vec<Change>,
) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    if changes.len() > CHANGES_MAX {
        return Err(limit("the changes of a transaction", changes.len(), CHANGES_MAX));
    }
    let operations =
        changes.into_iter().zip(0..).map(|(change, ordinal)| LogOperation { ordinal, change: Some(change) });
    let entry = LogEntry {
        format: FORMAT,
        wall_us: context.wall_us,
        actor: context.actor.to_owned(),
        request_id: String::new(),
        schema_version: context.header.schema_version,
        operations: operations.collect(),
        sealed: None,
    };
    let incarnation = context.header.incarnation;
    let bytes = stored_form(&entry, incarnation, context.sealer)?;
    for (part, bytes) in bytes.chunks(LOG_PART_SIZE_BYTES).enumerate() {
        let key = context.keys.log_entry(0, incarnation, u16::try_from(part).unwrap_or(u16::MAX))?;
        transaction.atomic(MutationType::SetVersionstampedKey, &key, bytes);
    }
    let head = [0; 14];
    transaction.atomic(MutationType::SetVersionstampedValue, &context.keys.log_head()?, &head);
    beside.set(&context.space.changed(context.read_version, context.tenant)?, b"");
    Ok(())
}

/// The bytes of an entry as they are stored, in parts.
fn stored_form(entry: &LogEntry, incarnation: u32, sealer: Option<&Sealer>) -> Result<Vec<u8>> {
    let bytes = entry.encode_to_vec();
    let Some(sealer) = sealer else { return Ok(bytes) };
    let sealed = Some(sealer.seal_log(incarnation, &bytes)?);
    let outside = LogEntry { format: FORMAT_SEALED, wall_us: entry.wall_us, sealed, ..LogEntry::default() };
    Ok(outside.encode_to_vec())
}

/// The key that a versionstamped key of an entry has become: the stamp of the entry stands at the place that the last four bytes name.
pub(crate) fn stamped_key(logged: &[u8], stamp: Versionstamp) -> Result<Bytes> {
    let damaged = || {
        Error::new(
            Code::StoredDataInvalid,
            "a versionstamped key in the change log has no place for its stamp",
        )
    };
    let (key, place) = logged.split_last_chunk::<4>().ok_or_else(damaged)?;
    let place = u32::from_le_bytes(*place) as usize;
    let mut key = key.to_vec();
    let end = place.checked_add(stamp.as_bytes().len()).ok_or_else(damaged)?;
    key.get_mut(place..end).ok_or_else(damaged)?.copy_from_slice(stamp.as_bytes());
    Ok(key.into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pollster::block_on;
    use tenantry_kv::conformance::reference::manual_env;
    use tenantry_kv::{Isolation, RangeRequest};

    use super::*;
    use crate::key_space::CATALOG_TENANT;
    use crate::messages::{RecordChange, Space, read};
    use crate::record::frame;
    use crate::{Database, PrimaryKey, RawRange, Record, SchemaDefinition, Tenant};

    const SCHEMA: &str =
        "name = \"s\"\n[types.note]\nprimary_key = [\"id\"]\nfields = { id = \"int\", text = \"string\" }\n";

    fn tenant() -> Tenant {
        let env = manual_env();
        let engine = crate::test_engine::engine(&env);
        let database = block_on(Database::open(engine, env, &crate::test_engine::name("test"))).unwrap();
        block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
        block_on(database.create_tenant("acme", "s")).unwrap()
    }

    /// The keys of a tenant's log and the entries, parts put together.
    fn entries(keys: &TenantKeys, tenant: &Tenant) -> Vec<(Bytes, LogEntry)> {
        let mut begin = keys.log_head().unwrap().to_vec();
        // From 4 0, the head, to 4 1, the entries.
        begin.pop();
        begin.extend_from_slice(&[0x15, 1]);
        let end = [&begin[..], &[0xff]].concat();
        let transaction = tenant.database.engine().begin().unwrap();
        let mut joined: Vec<(Bytes, Vec<u8>)> = Vec::new();
        let mut next = Some(RangeRequest::new(begin, end));
        while let Some(request) = next {
            let batch = block_on(transaction.get_range(&request, Isolation::Snapshot)).unwrap();
            for row in &batch.rows {
                let whole = row.key.slice(..row.key.len() - 2);
                match joined.last_mut() {
                    Some((key, bytes)) if *key == whole => bytes.extend_from_slice(&row.value),
                    _ => joined.push((whole, row.value.to_vec())),
                }
            }
            next = request.after(&batch);
        }
        joined.into_iter().map(|(key, bytes)| (key, read(&bytes, "an entry").unwrap())).collect()
    }

    fn note(id: i64, text: &str) -> Record {
        Record::new().with("id", id).with("text", text)
    }

    #[test]
    fn every_change_stands_in_one_entry_in_its_order() {
        let tenant = tenant();
        block_on(tenant.run(|transaction| async move {
            transaction.insert("note", &note(1, "one")).await?;
            transaction.raw_set(b"k", b"v")?;
            transaction.delete("note", &PrimaryKey::of(1)).await?;
            transaction.raw_clear_range(b"a", b"b")?;
            transaction.add_to_counter("c", 1)?;
            transaction.next_in_sequence("s").await
        }))
        .unwrap();
        // A transaction that changed nothing leaves nothing.
        block_on(
            tenant.run(|transaction| async move { transaction.delete("note", &PrimaryKey::of(9)).await }),
        )
        .unwrap();
        let found = entries(&tenant.keys, &tenant);
        assert_eq!(found.len(), 1);
        let operations = &found[0].1.operations;
        assert_eq!(
            operations.iter().map(|operation| operation.ordinal).collect::<Vec<_>>(),
            [0, 1, 2, 3, 4, 5]
        );
        let kinds: Vec<&str> = operations
            .iter()
            .map(|operation| match operation.change.as_ref().unwrap() {
                Change::RecordPut(change) if change.type_id == 1 && !change.payload.is_empty() => "put",
                Change::RecordDelete(change) if change.payload.is_empty() => "delete",
                Change::Set(change) => ["set", "", "sequence"][change.space as usize],
                Change::ClearRange(_) => "clear range",
                Change::Atomic(change) if change.mutation == 2 => "add",
                _ => "other",
            })
            .collect();
        assert_eq!(kinds, ["put", "set", "delete", "clear range", "add", "sequence"]);
        assert_eq!(found[0].1.schema_version, 1);
    }

    #[test]
    fn long_entries_are_split_and_stamps_increase() {
        let tenant = tenant();
        for round in 0..3u8 {
            block_on(tenant.run(|transaction| async move {
                for number in 0..5 {
                    transaction.raw_set(&[round, number], &[round; 90_000])?;
                }
                Ok::<_, Error>(())
            }))
            .unwrap();
        }
        let found = entries(&tenant.keys, &tenant);
        assert_eq!(found.len(), 3);
        assert!(found.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(found.iter().all(|(_, entry)| entry.operations.len() == 5));
    }

    #[test]
    fn the_catalog_has_a_log_of_its_own() {
        let tenant = tenant();
        let keys = tenant.database.inner.keys.tenant_keys(CATALOG_TENANT).unwrap();
        block_on(tenant.database.delete_tenant("acme")).unwrap();
        let found = entries(&keys, &tenant);
        // The schema, the tenant, and its end.
        assert_eq!(found.iter().map(|(_, entry)| entry.operations.len()).collect::<Vec<_>>(), [2, 3, 4]);
    }

    /// The log alone gives the keys with a stamp in them, the shards of a counter, and the payloads of records in both formats.
    #[test]
    fn an_entry_is_enough_to_do_it_again() {
        let tenant = tenant();
        let long = "lorem ipsum ".repeat(100);
        for round in 0..3u8 {
            let long = &long;
            block_on(tenant.run(|transaction| async move {
                transaction.raw_set(b"plain", &[round])?;
                transaction.raw_set_versionstamped(b"q", b"/s", &[round])?;
                transaction.raw_set_versionstamped(b"", b"", &[round])?;
                transaction.add_to_sharded_counter("c", 5, 8)?;
                let text = if round == 1 { "short" } else { long };
                transaction.put("note", &note(i64::from(round), text)).await
            }))
            .unwrap();
        }
        let (mut rows, mut sum, mut texts) = (BTreeMap::new(), 0, Vec::new());
        for (key, entry) in entries(&tenant.keys, &tenant) {
            let stamp = Versionstamp::from_bytes(key[key.len() - 10..].try_into().unwrap());
            for operation in entry.operations {
                match operation.change.unwrap() {
                    Change::Set(change) => drop(rows.insert(change.key, change.value)),
                    Change::Atomic(change) if change.space == Space::Counters as i32 => {
                        assert!(change.key.starts_with(b"c\0") && change.key.len() == 4);
                        sum += i64::from_le_bytes(change.value[..].try_into().unwrap());
                    }
                    Change::Atomic(change) => {
                        drop(rows.insert(stamped_key(&change.key, stamp).unwrap(), change.value));
                    }
                    Change::RecordPut(change) => {
                        assert_eq!(change.format, if texts.len() == 1 { 0 } else { 2 });
                        let payload = frame::logged_payload(&change).unwrap();
                        let unknown = RecordChange { format: 9, ..change };
                        let error = frame::logged_payload(&unknown).unwrap_err();
                        assert_eq!(error.code(), Code::StoredDataInvalid);
                        texts.push(payload);
                    }
                    other => unreachable!("{other:?}"),
                }
            }
        }
        let found = block_on(tenant.read_only(|reader| async move {
            let page = reader.raw_range(&RawRange::all()).await?;
            Ok::<_, Error>((page.rows, reader.counter("c").await?))
        }));
        assert_eq!(found.unwrap(), (rows.into_iter().collect::<Vec<_>>(), sum));
        assert_eq!(sum, 15);
        assert!(texts[0].ends_with(long.as_bytes()) && texts[1].ends_with(b"short"));
        for damaged in [&b""[..], b"abc", b"0123456789\x01\0\0\0", b"0123456789\xff\xff\xff\xff"] {
            let error = stamped_key(damaged, Versionstamp::from_bytes([0; 10])).unwrap_err();
            assert_eq!(error.code(), Code::StoredDataInvalid, "{damaged:?}");
        }
    }
}
