//! Records in a transaction.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use tenantry_kv::Isolation;
use tenantry_kv::tuple::Element;

use super::indexes::IndexChanges;
use super::references::Look;
use super::transaction::{TenantTransaction, read_size_bytes, write_size_bytes};
use crate::access::{Operation, hidden};
use crate::defaults;
use crate::error::{Code, Error, Result, shown};
use crate::expression::{Expression, Filter};
use crate::key_form;
use crate::limits::RECORD_PART_SIZE_BYTES;
use crate::messages::{Before, Change, RecordChange};
use crate::record::{PrimaryKey, Record, RecordKeys, RecordVersion, check_payload, frame};
use crate::schema::RecordType;
use crate::wire;

/// The number of a part at the end of its key.
const PART_NUMBER_SIZE_BYTES_MAX: usize = 3;

/// The part of a payload that part 0 holds, and the rest.
pub(super) fn split(payload: &[u8]) -> (&[u8], &[u8]) {
    payload.split_at(payload.len().min(RECORD_PART_SIZE_BYTES))
}

/// What has to be so for a record to be written.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Condition<'a> {
    /// Nothing: it is created or replaced.
    #[default]
    Always,
    /// There is no record of this key.
    IsAbsent,
    /// There is a record of this key.
    Exists,
    /// The record is there and nobody has written it since it had this version.
    HasVersion(RecordVersion),
    /// The record is there and this expression (CEL, see [`Expression`]) holds for it as it is.
    Matches(&'a str),
    /// As `Matches`, of a condition that was built: see [`Term`](crate::Term).
    Holds(&'a Filter),
}

impl RecordKeys {
    /// What a write of the record makes the engine count: part 0 is read, set for the queries of the transaction and stamped at its end; further parts are read
    /// and set, or cleared.
    fn size_bytes(&self, first_size_bytes: usize, rest_size_bytes: usize, further_parts: u16) -> usize {
        let key = self.prefix.len() + PART_NUMBER_SIZE_BYTES_MAX;
        let first = first_size_bytes.max(key) + frame::SIZE_BYTES + 4;
        let further = read_size_bytes(key) + write_size_bytes(key, key + 1);
        read_size_bytes(key)
            + 2 * write_size_bytes(key, first)
            + rest_size_bytes
            + usize::from(further_parts) * further
    }
}

/// A record as it lies in the store.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) record: Record,
    /// Of the payload.
    pub(crate) size_bytes: usize,
    further_parts: u16,
}

/// A change of a record that everything allows: it is left to be written.
pub(super) struct Prepared {
    /// What the log says of it, and what it makes the engine count.
    pub(super) change: (Change, usize),
    pub(super) write: PreparedWrite,
}

/// The writes of a change that was noted.
pub(super) struct PreparedWrite {
    indexes: IndexChanges,
    /// The payload, unless the record is deleted.
    payload: Option<(frame::Format, Bytes)>,
    old_parts: u16,
    /// The bytes of the payload before and after, not compressed.
    sizes: (Option<usize>, Option<usize>),
}

impl PreparedWrite {
    /// The keys of the index entries that it writes.
    pub(super) fn entry_keys(&self) -> impl Iterator<Item = &Bytes> {
        self.indexes.entry_keys()
    }
}

impl TenantTransaction {
    /// The record as it would be written: with the defaults of the fields that it lacks. To know what they are, a new key among them, before it is written.
    ///
    /// # Errors
    ///
    /// 20023.
    pub fn with_defaults(&self, record_type: &str, record: &Record) -> Result<Record> {
        let record_type = self.permit(Operation::Defaults, record_type)?.record_type;
        Ok(self.filled(record_type, record).into_owned())
    }

    pub(super) fn filled<'a>(&self, record_type: &RecordType, record: &'a Record) -> Cow<'a, Record> {
        defaults::filled(record, record_type, &self.tenant.database.inner.env)
    }

    /// Writes a record that must not exist yet.
    ///
    /// # Errors
    ///
    /// 20031 when it does, 20034 for a unique index, 20037 for a record that breaks the rules of its type and 20032 for one that does not have its form, each
    /// with [every violation](Error::violations), 20038 for one that refers to another that is not there, 20023; the engine's own.
    pub async fn insert(&self, record_type: &str, record: &Record) -> Result<()> {
        self.put_if(record_type, record, Condition::IsAbsent).await
    }

    /// Writes a record, whether or not it exists.
    ///
    /// # Errors
    ///
    /// As [`insert`](TenantTransaction::insert), but for 20031.
    pub async fn put(&self, record_type: &str, record: &Record) -> Result<()> {
        self.put_if(record_type, record, Condition::Always).await
    }

    /// Writes a record if a condition holds.
    ///
    /// # Errors
    ///
    /// 20031 or 20035 when it does not hold, 20030 for a record that is not there and had to be; 20040 and 20041 for an expression that is none; as
    /// [`insert`](TenantTransaction::insert) otherwise.
    pub async fn put_if(&self, record_type: &str, record: &Record, condition: Condition<'_>) -> Result<()> {
        let operation = match condition {
            Condition::Always => Operation::Put,
            Condition::IsAbsent => Operation::Insert,
            Condition::Exists | Condition::HasVersion(_) => Operation::Replace,
            Condition::Matches(_) | Condition::Holds(_) => Operation::ReplaceMatching,
        };
        let record_type = self.permit(operation, record_type)?.record_type;
        let record = &*self.filled(record_type, record);
        record.check(record_type)?;
        let key = record.primary_key(record_type)?;
        let keys = self.record_keys(record_type, &key.elements(record_type)?)?;
        let old = self.check_condition(record_type, &key, &keys, condition).await?;
        self.write_record(record_type, &keys, record, old.as_ref()).await
    }

    /// Writes a record that fits its type in the place of the old one, if there is one.
    pub(super) async fn write_record(
        &self,
        record_type: &RecordType,
        keys: &RecordKeys,
        record: &Record,
        old: Option<&Stored>,
    ) -> Result<()> {
        self.replace_record(record_type, keys, old, Some(record)).await
    }

    pub(super) async fn replace_record(
        &self,
        record_type: &RecordType,
        keys: &RecordKeys,
        old: Option<&Stored>,
        new: Option<&Record>,
    ) -> Result<()> {
        let Prepared { change: (change, size_bytes), write } =
            self.prepare(record_type, keys, old, new).await?;
        let ordinal = self.change(change, size_bytes)?;
        self.write_prepared(keys, write, ordinal).await
    }

    /// Finds out whether the old record can give way to the new one, and what that changes. Nothing is written yet, so that a refused change leaves nothing
    /// behind.
    pub(super) async fn prepare(
        &self,
        record_type: &RecordType,
        keys: &RecordKeys,
        old: Option<&Stored>,
        new: Option<&Record>,
    ) -> Result<Prepared> {
        let payload =
            new.map(|new| wire::encode(&new.values, &record_type.fields, &new.unknown)).transpose()?;
        let looks = match new {
            Some(new) => self.look_for_references(record_type, keys, old.map(|old| &old.record), new)?,
            None => Vec::new(),
        };
        self.prepare_stored(record_type, keys, old, new, payload, looks).await
    }

    /// As [`replace_record`](TenantTransaction::replace_record), with the payload as it is, and without a look for what the record refers to.
    pub(super) async fn replace_stored(
        &self,
        record_type: &RecordType,
        keys: &RecordKeys,
        old: Option<&Stored>,
        new: Option<&Record>,
        payload: Option<Vec<u8>>,
    ) -> Result<()> {
        let prepared = self.prepare_stored(record_type, keys, old, new, payload, Vec::new());
        let Prepared { change: (change, size_bytes), write } = prepared.await?;
        let ordinal = self.change(change, size_bytes)?;
        self.write_prepared(keys, write, ordinal).await
    }

    async fn prepare_stored(
        &self,
        record_type: &RecordType,
        keys: &RecordKeys,
        old: Option<&Stored>,
        new: Option<&Record>,
        payload: Option<Vec<u8>>,
        looks: Vec<Look<'_>>,
    ) -> Result<Prepared> {
        self.check_write(record_type, old.map(|old| &old.record), new)?;
        let payload_size_bytes = payload.as_ref().map_or(0, Vec::len);
        check_payload(payload_size_bytes)?;
        let sizes = (old.map(|old| old.size_bytes), payload.as_ref().map(Vec::len));
        let payload = payload.map(|payload| {
            let (format, packed) = frame::pack(payload);
            (format, Bytes::from(packed))
        });
        let old_record = old.map(|old| &old.record);
        let has_policy = self.row_policy(record_type)?.is_some();
        let has_looks = !looks.is_empty();
        let looks_size_bytes: usize = looks.iter().map(Look::size_bytes).sum();
        let indexes = self.index_changes(record_type, old_record, new).await;
        // The values of another record, which may be none that is seen.
        let indexes = indexes.map_err(|error| match error.code() {
            Code::UniqueViolation if has_policy => hidden(),
            _ => error,
        })?;
        if let Some(new) = new.filter(|_| has_looks) {
            self.check_references(record_type, looks, new).await?;
        }
        let change = RecordChange {
            type_id: record_type.id,
            key: keys.packed.clone(),
            payload: payload.as_ref().map(|(_, packed)| packed.clone()).unwrap_or_default(),
            before: if old.is_some() { Before::Present } else { Before::Absent } as i32,
            format: match payload {
                None | Some((frame::Format::Plain, _)) => 0,
                Some((format, _)) => format as u32,
            },
            before_size_bytes: sizes.0.map(|size_bytes| size_bytes as u64),
        };
        // The log's entry is sealed as a whole.
        let payload = match payload {
            Some((format, packed)) => {
                let incarnation = self.header.incarnation;
                Some(self.sealed_record(&keys.prefix, format, incarnation, payload_size_bytes, &packed)?)
            }
            None => None,
        };
        let (first, rest) = split(payload.as_ref().map_or(&[][..], |(_, packed)| packed));
        let old_parts = old.map_or(0, |old| old.further_parts);
        let further_parts = old_parts.max(rest.len().div_ceil(RECORD_PART_SIZE_BYTES) as u16);
        let record_size_bytes = keys.size_bytes(first.len(), rest.len(), further_parts);
        let size_bytes = record_size_bytes + indexes.size_bytes() + looks_size_bytes;
        let change = match new {
            Some(_) => Change::RecordPut(change),
            None => Change::RecordDelete(change),
        };
        let write = PreparedWrite { indexes, payload, old_parts, sizes };
        Ok(Prepared { change: (change, size_bytes), write })
    }

    /// Writes what was prepared and noted.
    pub(super) async fn write_prepared(
        &self,
        keys: &RecordKeys,
        prepared: PreparedWrite,
        ordinal: u16,
    ) -> Result<()> {
        let PreparedWrite { indexes, payload, old_parts, sizes } = prepared;
        self.lock().written.count_record(keys.packed.len(), sizes.0, sizes.1);
        let stamped = self.change_indexes(indexes).await?;
        let Some((format, packed)) = payload else {
            for part in 0..=old_parts {
                self.transaction.clear(&keys.part(part)?);
            }
            self.clear_pending(&keys.part(0)?);
            return Ok(());
        };
        let (first, rest) = split(&packed);
        let further_parts = rest.chunks(RECORD_PART_SIZE_BYTES).len() as u16;
        for (part, bytes) in (1..).zip(rest.chunks(RECORD_PART_SIZE_BYTES)) {
            self.transaction.set(&keys.part(part)?, bytes);
        }
        for part in further_parts + 1..=old_parts {
            self.transaction.clear(&keys.part(part)?);
        }
        let frame = frame::write(format, self.header.incarnation, ordinal, further_parts, first);
        self.put_pending(keys.part(0)?, frame.into(), ordinal, stamped);
        Ok(())
    }

    /// The record of a key, if there is one.
    ///
    /// # Errors
    ///
    /// 20023, 20033 for a key that does not fit; the engine's own.
    pub async fn get(&self, record_type: &str, key: &PrimaryKey) -> Result<Option<Record>> {
        let record_type = self.permit(Operation::Get, record_type)?.record_type;
        let keys = self.record_keys(record_type, &key.elements(record_type)?)?;
        Ok(self.load_shown(record_type, &keys, self.isolation()).await?.map(|stored| stored.record))
    }

    /// Deletes the record of a key; false when there was none. Those that refer to it are deleted or changed with it, as the schema says.
    ///
    /// # Errors
    ///
    /// 20039 when one of those forbids it, 20046 when there are too many of them; as [`get`](TenantTransaction::get).
    pub async fn delete(&self, record_type: &str, key: &PrimaryKey) -> Result<bool> {
        self.delete_if(record_type, key, Condition::Always).await
    }

    /// Deletes the record of a key if a condition holds; false when there was none and the condition did not ask for one.
    ///
    /// # Errors
    ///
    /// 20031 or 20035 when it does not hold, 20030 for a record that is not there and had to be; 20040 and 20041 for an expression that is none; as
    /// [`get`](TenantTransaction::get) otherwise.
    pub async fn delete_if(
        &self,
        record_type: &str,
        key: &PrimaryKey,
        condition: Condition<'_>,
    ) -> Result<bool> {
        let operation = match condition {
            Condition::Matches(_) | Condition::Holds(_) => Operation::DeleteMatching,
            Condition::Always | Condition::IsAbsent | Condition::Exists | Condition::HasVersion(_) => {
                Operation::Delete
            }
        };
        let record_type = self.permit(operation, record_type)?.record_type;
        self.check_deletion(record_type)?;
        let keys = self.record_keys(record_type, &key.elements(record_type)?)?;
        match self.check_condition(record_type, key, &keys, condition).await? {
            Some(old) if !self.shows(record_type, &old.record)? => Ok(false),
            Some(old) => self.delete_record(record_type, &keys, &old).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// Deletes a record that is there, and what follows from that for those that refer to it.
    pub(crate) async fn delete_record(
        &self,
        record_type: &RecordType,
        keys: &RecordKeys,
        old: &Stored,
    ) -> Result<()> {
        match self.is_referred_to(record_type) {
            true => self.delete_with_children(record_type, keys, old).await,
            false => self.replace_record(record_type, keys, Some(old), None).await,
        }
    }

    /// Fires when the record of a key is written or deleted after this transaction. It becomes active with the commit.
    ///
    /// # Errors
    ///
    /// As [`get`](TenantTransaction::get); 20140 for more watches than the tenant may have; the future's are the engine's.
    pub fn watch_record(&self, record_type: &str, key: &PrimaryKey) -> Result<tenantry_kv::KvFuture<()>> {
        let record_type = self.permit(Operation::WatchRecord, record_type)?.record_type;
        let keys = self.record_keys(record_type, &key.elements(record_type)?)?;
        self.issue_pending();
        self.watch_key(&keys.part(0)?)
    }

    pub(crate) fn record_keys(&self, record_type: &RecordType, key: &[Element]) -> Result<RecordKeys> {
        let records = self.tenant.keys.records(record_type.id)?;
        let prefix = key_form::pack_after(&records, key)?;
        let packed = prefix.slice(records.len()..);
        Ok(RecordKeys { prefix, packed })
    }

    /// The old record where the write needs it, once the condition holds.
    pub(super) async fn check_condition(
        &self,
        record_type: &RecordType,
        key: &PrimaryKey,
        keys: &RecordKeys,
        condition: Condition<'_>,
    ) -> Result<Option<Stored>> {
        let name = || format!("{} {key}", shown(&record_type.name));
        let expression = match condition {
            Condition::Matches(text) => Some(Expression::parse(text, record_type)?),
            Condition::Holds(filter) => Some(filter.compile(
                &self.tenant.filters,
                &record_type.name,
                &record_type.fields,
                &BTreeMap::new(),
            )?),
            _ => None,
        };
        if condition == Condition::IsAbsent {
            // What must not be there need not be read.
            return match self.get_key(&keys.part(0)?, Isolation::Serializable).await? {
                Some(part) if self.shows_stored(record_type, keys, &part).await? => {
                    Err(Error::new(Code::RecordExists, name()))
                }
                Some(_) => Err(hidden()),
                None => Ok(None),
            };
        }
        let old = self.load(record_type, keys, Isolation::Serializable).await?;
        let is_shown = |old: &Stored| self.shows(record_type, &old.record);
        // What is not seen is not there, but for whoever would write over it: that is refused with the write.
        let is_there = match &old {
            Some(old) => condition == Condition::Always || is_shown(old)?,
            None => false,
        };
        let Some(old) = old.filter(|_| is_there) else {
            return match condition {
                Condition::Always | Condition::IsAbsent => Ok(None),
                _ => Err(Error::new(Code::RecordNotFound, name())),
            };
        };
        let failed = |why: String| Err(Error::new(Code::ConditionFailed, format!("{} {why}", name())));
        match condition {
            Condition::HasVersion(_) if self.has_pending(&keys.part(0)?) => {
                failed("was written by this very transaction and has no version yet".to_owned())
            }
            Condition::HasVersion(version) if old.record.version != Some(version) => {
                let found = old.record.version.map(|version| version.to_string()).unwrap_or_default();
                failed(format!("has the version {found}, not {version}: read it again"))
            }
            _ if expression.is_some_and(|it| !it.holds(&old.record.values)) => {
                let text = match condition {
                    Condition::Matches(text) => text.to_owned(),
                    Condition::Holds(filter) => filter.to_string(),
                    _ => String::new(),
                };
                failed(format!("is not as {} asks for: read it again", shown(&text)))
            }
            _ => Ok(Some(old)),
        }
    }

    /// Reads a record: one key, and its further parts if it has any.
    pub(crate) async fn load(
        &self,
        record_type: &RecordType,
        keys: &RecordKeys,
        isolation: Isolation,
    ) -> Result<Option<Stored>> {
        match self.get_key(&keys.part(0)?, isolation).await? {
            None => Ok(None),
            Some(bytes) => self.assemble(record_type, keys, &bytes, isolation).await.map(Some),
        }
    }

    /// The record whose part 0 these bytes are.
    pub(crate) async fn assemble(
        &self,
        record_type: &RecordType,
        keys: &RecordKeys,
        bytes: &Bytes,
        isolation: Isolation,
    ) -> Result<Stored> {
        let frame = frame::read(bytes)?;
        let whole;
        let packed = if frame.further_parts == 0 {
            frame.first
        } else {
            let parts: Result<Vec<_>> = (1..=frame.further_parts)
                .map(|part| Ok(self.get_key(&keys.part(part)?, isolation)))
                .collect();
            let mut joined = frame.first.to_vec();
            for (part, bytes) in (1u16..).zip(parts?) {
                let Some(bytes) = bytes.await? else {
                    let detail = format!("a record lacks its part {part} of {}", frame.further_parts);
                    return Err(Error::new(Code::StoredDataInvalid, detail));
                };
                joined.extend_from_slice(&bytes);
            }
            whole = joined;
            &whole[..]
        };
        let incarnation = frame.version.incarnation;
        let packed = Cow::Borrowed(packed);
        let packed = self.opened_record(&keys.prefix, frame.format, incarnation, packed).await?;
        let payload = frame.format.opened().payload(&packed)?;
        let (values, unknown) = wire::decode(&payload, &record_type.fields)?;
        let version = Some(frame.version).filter(|version| version.stamp.version() != 0);
        let record = Record { values, unknown, version, nulls: Vec::new(), is_read: true };
        Ok(Stored { record, size_bytes: payload.len(), further_parts: frame.further_parts })
    }
}
