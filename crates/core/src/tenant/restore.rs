//! Writing what another tenant has: rows as they are, for clones and imports of whole tenants.

use bytes::Bytes;
use tenantry_kv::Isolation;

use super::raw::change;

use super::transaction::{TenantTransaction, write_size_bytes};
use crate::error::{Code, Error, Result};
use crate::key_form;
use crate::key_space::behind;
use crate::messages::{Change, Space};
use crate::names::check_name;
use crate::record::{Record, RecordKeys};
use crate::wire;

impl TenantTransaction {
    /// Writes or deletes a record with the payload that it has elsewhere: without defaults, rules and looks for references, which it passed there. Indexes follow.
    pub(crate) async fn restore_record(
        &self,
        type_id: u32,
        key: &Bytes,
        payload: Option<&Bytes>,
    ) -> Result<()> {
        let types = &self.schema().definition.types;
        let Some(record_type) = types.iter().find(|record_type| record_type.id == type_id) else {
            return Err(damaged(format!("it has records of the type {type_id}, which the schema has not")));
        };
        let prefix = behind(&self.tenant.keys.records(type_id)?, key);
        let keys = RecordKeys { prefix, packed: key.clone() };
        let new = match payload {
            None => None,
            Some(payload) => {
                let (values, unknown) = wire::decode(payload, &record_type.fields)?;
                let record = Record { values, unknown, is_read: true, ..Record::default() };
                let elements = record.elements(&record_type.primary_key, record_type)?;
                if key_form::pack(&elements)? != *key {
                    return Err(damaged("a record does not belong to its key".to_owned()));
                }
                Some(record)
            }
        };
        let old = self.load(record_type, &keys, Isolation::Serializable).await?;
        if old.is_none() && new.is_none() {
            return Ok(());
        }
        let payload = payload.map(|payload| payload.to_vec());
        self.replace_stored(record_type, &keys, old.as_ref(), new.as_ref(), payload).await
    }

    /// Sets or clears a part of a counter, by the key that the change log has for it.
    pub(crate) fn restore_counter(&self, logged_key: &Bytes, value: Option<&Bytes>) -> Result<()> {
        let (name, key) = match logged_key.iter().position(|byte| *byte == 0) {
            None => {
                let name = name_of(logged_key)?;
                (name, self.tenant.keys.counter(name)?)
            }
            Some(place) => {
                let name = name_of(&logged_key[..place])?;
                let shard = <[u8; 2]>::try_from(&logged_key[place + 1..])
                    .map_err(|_| damaged("the part of a counter has no number of two bytes".to_owned()))?;
                (name, self.tenant.keys.counter_shard(name, u16::from_be_bytes(shard))?)
            }
        };
        check_name("counter", name)?;
        self.restore_number(Space::Counters, logged_key, &key, value)
    }

    /// Sets or clears a sequence.
    pub(crate) fn restore_sequence(&self, name: &Bytes, value: Option<&Bytes>) -> Result<()> {
        let text = name_of(name)?;
        check_name("sequence", text)?;
        let key = self.tenant.keys.sequence(text)?;
        self.restore_number(Space::Sequences, name, &key, value)
    }

    fn restore_number(
        &self,
        space: Space,
        logged_key: &[u8],
        key: &[u8],
        value: Option<&Bytes>,
    ) -> Result<()> {
        match value {
            Some(value) if value.len() == 8 => {
                self.change(
                    Change::Set(change(logged_key, value, space)),
                    write_size_bytes(key.len(), value.len()),
                )?;
                self.transaction.set(key, value);
            }
            Some(value) => {
                return Err(damaged(format!("a counter or sequence has {} bytes, not eight", value.len())));
            }
            None => {
                self.change(
                    Change::Clear(change(logged_key, b"", space)),
                    write_size_bytes(key.len(), key.len() + 1),
                )?;
                self.transaction.clear(key);
            }
        }
        Ok(())
    }
}

fn name_of(bytes: &[u8]) -> Result<&str> {
    std::str::from_utf8(bytes)
        .map_err(|_| damaged("the name of a counter or sequence is not UTF-8".to_owned()))
}

fn damaged(what: String) -> Error {
    Error::new(Code::ArchiveDamaged, what)
}
