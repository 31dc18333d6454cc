//! What is stored beside records, as protobuf messages. Fields are only ever added.

use std::collections::BTreeMap;

use prost::Message;

use crate::error::{Code, Error, Result};

/// R 0: the database's own header.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DatabaseHeader {
    /// The form of everything under R.
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) uuid: Vec<u8>,
    #[prost(int64, tag = "4")]
    pub(crate) created_us: i64,
    /// The keys that seal tokens, the newest last.
    #[prost(message, repeated, tag = "5")]
    pub(crate) secrets: Vec<Secret>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Secret {
    #[prost(uint32, tag = "1")]
    pub(crate) id: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) key: Vec<u8>,
}

/// R 0 1: what may be done with the database. Absent: everything.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StoredState {
    #[prost(enumeration = "StateKind", tag = "1")]
    pub(crate) kind: i32,
    #[prost(string, tag = "2")]
    pub(crate) reason: String,
    #[prost(int64, tag = "3")]
    pub(crate) since_us: i64,
    /// Random, new with every change of the state.
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) id: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum StateKind {
    Open = 0,
    /// Everybody reads, nobody writes.
    ReadOnly = 1,
    /// It is the target of a copy that is not complete.
    Copying = 2,
}

/// R 0 2: how far the copy of another database into this one has come.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CopyProgress {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) source_uuid: Vec<u8>,
    /// The id of the state that forbids the source to change.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) source_state_id: Vec<u8>,
    /// The last key that was copied, behind the root.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) after: bytes::Bytes,
    #[prost(uint64, tag = "4")]
    pub(crate) rows: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) size_bytes: u64,
    /// Whether both sides were found equal, and the tenants are being opened.
    #[prost(bool, tag = "6")]
    pub(crate) is_equal: bool,
    /// How many tenants, in the order of their ids, have their next incarnation.
    #[prost(uint64, tag = "7")]
    pub(crate) tenants: u64,
}

/// R 2 2 id: what the catalog says of a tenant.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TenantEntry {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) uuid: Vec<u8>,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(int64, tag = "3")]
    pub(crate) created_us: i64,
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) schema_uuid: Vec<u8>,
    #[prost(string, tag = "5")]
    pub(crate) schema_name: String,
    /// As in the header, for listings.
    #[prost(enumeration = "TenantStateKind", tag = "6")]
    pub(crate) state: i32,
    #[prost(string, tag = "7")]
    pub(crate) reason: String,
    /// Since when, in microseconds since 1970; 0 if the state was never changed.
    #[prost(int64, tag = "8")]
    pub(crate) since_us: i64,
    #[prost(btree_map = "string, string", tag = "9")]
    pub(crate) labels: BTreeMap<String, String>,
    /// Empty for none.
    #[prost(string, tag = "10")]
    pub(crate) plan: String,
    /// Of a deleted tenant: from when on it may be purged.
    #[prost(int64, tag = "11")]
    pub(crate) due_us: i64,
    /// When somebody looks whether it is to be purged, or was: its place under R 2 3.
    #[prost(int64, tag = "12")]
    pub(crate) look_us: i64,
    /// The job that is to purge it.
    #[prost(bytes = "vec", tag = "13")]
    pub(crate) purge_job: Vec<u8>,
    /// Whether its purge has begun: there is no way back.
    #[prost(bool, tag = "14")]
    pub(crate) is_purging: bool,
    /// The state that it had when it was deleted.
    #[prost(enumeration = "TenantStateKind", tag = "15")]
    pub(crate) state_before: i32,
}

/// How far the purge of a tenant has come.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PurgeCursor {
    #[prost(enumeration = "PurgeStage", tag = "1")]
    pub(crate) stage: i32,
    /// The last key of the stage that was looked at.
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) after: bytes::Bytes,
    /// The stretch of time whose marks are looked at.
    #[prost(int64, tag = "3")]
    pub(crate) bucket: i64,
    #[prost(uint64, tag = "4")]
    pub(crate) keys: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) size_bytes: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) jobs: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) marks: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum PurgeStage {
    Begin = 0,
    /// The jobs that have not ended.
    Jobs = 1,
    EndedJobs = 2,
    /// The marks of changes.
    Marks = 3,
    /// The tenant's own keys, but for the header.
    Keys = 4,
    /// The header, once nothing else is left.
    Header = 5,
}

/// The first frame of an archive.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ArchiveHeader {
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) tenant_uuid: Vec<u8>,
    #[prost(string, tag = "3")]
    pub(crate) name: String,
    #[prost(int64, tag = "4")]
    pub(crate) created_us: i64,
    #[prost(btree_map = "string, string", tag = "5")]
    pub(crate) labels: BTreeMap<String, String>,
    #[prost(string, tag = "6")]
    pub(crate) plan: String,
    #[prost(bytes = "vec", tag = "7")]
    pub(crate) schema_uuid: Vec<u8>,
    #[prost(uint32, tag = "8")]
    pub(crate) schema_version: u32,
    /// As the catalog has it.
    #[prost(string, tag = "9")]
    pub(crate) schema: String,
}

/// A further frame of an archive.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ArchiveBlock {
    #[prost(message, repeated, tag = "1")]
    pub(crate) changes: Vec<ArchiveChange>,
    /// Whether they are rows behind all that came before; otherwise they are what became of those.
    #[prost(bool, tag = "2")]
    pub(crate) is_chunk: bool,
    /// At the end of a step: where the next one goes on.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(crate) cursor: Option<bytes::Bytes>,
    /// At the end of a step: the version that was read.
    #[prost(int64, tag = "4")]
    pub(crate) version: i64,
    /// Whether nothing comes behind it.
    #[prost(bool, tag = "5")]
    pub(crate) is_last: bool,
    /// What came before counts for nothing: the tenant moved to another database meanwhile.
    #[prost(bool, tag = "6")]
    pub(crate) restarts: bool,
}

/// What a key of a tenant has, or that it has nothing any more.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ArchiveChange {
    #[prost(enumeration = "ArchivePart", tag = "1")]
    pub(crate) part: i32,
    /// Of a record.
    #[prost(uint32, tag = "2")]
    pub(crate) type_id: u32,
    /// The packed primary key; the key of the tenant's own space; the name of a number as the change log has it.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) key: bytes::Bytes,
    /// The payload of a record, plain. Absent: it is gone.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub(crate) value: Option<bytes::Bytes>,
    /// Of raw keys: all from the key to this one (exclusive) are gone.
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub(crate) end: Option<bytes::Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum ArchivePart {
    Record = 0,
    Raw = 1,
    Counter = 2,
    Sequence = 3,
}

/// R 2 5 id: how far the import of an archive into a tenant has come.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ArchiveProgress {
    /// The hash of the archive's header.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) stream: Vec<u8>,
    /// How many frames are written whole, and the hash of the last of them.
    #[prost(uint64, tag = "2")]
    pub(crate) frames: u64,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) chain: Vec<u8>,
    /// How many changes of the next one are written.
    #[prost(uint64, tag = "4")]
    pub(crate) changes: u64,
    /// How many frames were there when it was last taken up.
    #[prost(uint64, tag = "5")]
    pub(crate) frames_before: u64,
}

/// How far a clone has come.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CloneCursor {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) scan: bytes::Bytes,
    #[prost(uint64, tag = "2")]
    pub(crate) rows: u64,
}

/// How far a verification has come, and what it found.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct VerifyCursor {
    #[prost(enumeration = "VerifyStage", tag = "1")]
    pub(crate) stage: i32,
    /// What was looked at last: a key of the tenant, a record's, a stamp of the log.
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) after: bytes::Bytes,
    #[prost(uint32, tag = "3")]
    pub(crate) type_id: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) incarnation: u32,
    #[prost(uint64, tag = "5")]
    pub(crate) keys: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) records: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) raw_keys: u64,
    #[prost(uint64, tag = "8")]
    pub(crate) numbers: u64,
    #[prost(uint64, tag = "9")]
    pub(crate) index_keys: u64,
    #[prost(uint64, tag = "10")]
    pub(crate) log_entries: u64,
    #[prost(uint64, tag = "11")]
    pub(crate) faults_total: u64,
    #[prost(message, repeated, tag = "12")]
    pub(crate) faults: Vec<VerifyFault>,
    #[prost(message, optional, tag = "13")]
    pub(crate) check: Option<CheckCursor>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct VerifyFault {
    #[prost(string, tag = "1")]
    pub(crate) key: String,
    #[prost(string, tag = "2")]
    pub(crate) fault: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum VerifyStage {
    Keys = 0,
    Records = 1,
    Log = 2,
    Indexes = 3,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum TenantStateKind {
    Active = 0,
    /// Everybody reads, nobody writes.
    ReadOnly = 1,
    /// Nobody reads or writes.
    Blocked = 2,
    /// It is gone for everybody but who brings it back.
    Deleted = 3,
    /// It is the target of a clone or an import that is not complete.
    Filling = 4,
}

/// R 9 id 0: what every transaction on the tenant checks.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TenantHeader {
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) uuid: Vec<u8>,
    #[prost(uint32, tag = "3")]
    pub(crate) incarnation: u32,
    /// Tokens of another epoch are no longer valid.
    #[prost(uint32, tag = "4")]
    pub(crate) token_epoch: u32,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) schema_uuid: Vec<u8>,
    #[prost(uint32, tag = "6")]
    pub(crate) schema_version: u32,
    /// How many parts the change log is spread over.
    #[prost(uint32, tag = "7")]
    pub(crate) log_buckets: u32,
    #[prost(enumeration = "TenantStateKind", tag = "8")]
    pub(crate) state: i32,
    /// Why, for those who are refused.
    #[prost(string, tag = "9")]
    pub(crate) reason: String,
    /// The plan's name; empty for none.
    #[prost(string, tag = "10")]
    pub(crate) plan: String,
    /// How the tenant is sealed; absent for one that is not.
    #[prost(message, optional, tag = "13")]
    pub(crate) sealing: Option<StoredSealing>,
    /// The tenant's own limits.
    #[prost(message, optional, tag = "17")]
    pub(crate) limits: Option<StoredLimits>,
}

/// How a tenant is sealed.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StoredSealing {
    /// Of the data key that seals.
    #[prost(uint32, tag = "1")]
    pub(crate) generation: u32,
    /// The least that something may be sealed with.
    #[prost(uint32, tag = "2")]
    pub(crate) generation_min: u32,
    /// What sealed values begin with: eight bytes, the first 03, the others random.
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) marker: Vec<u8>,
    /// Whether nothing is left in clear from before the tenant was sealed.
    #[prost(bool, tag = "4")]
    pub(crate) is_complete: bool,
    /// When the tenant's key was given up, in microseconds since 1970; 0 while it is there.
    #[prost(int64, tag = "5")]
    pub(crate) shredded_us: i64,
    /// The id of the tenant's key, a UUID.
    #[prost(bytes = "vec", tag = "6")]
    pub(crate) key_id: Vec<u8>,
    /// A hash of all this and the tenant's UUID, keyed with the tenant's key.
    #[prost(bytes = "vec", tag = "7")]
    pub(crate) hash: Vec<u8>,
}

/// R 9 id 0 1 generation: a data key, wrapped by the tenant's key.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StoredDataKey {
    #[prost(uint32, tag = "1")]
    pub(crate) generation: u32,
    #[prost(int64, tag = "2")]
    pub(crate) created_us: i64,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) wrapped: Vec<u8>,
    /// A hash that tells the key from others.
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) hash: Vec<u8>,
}

/// The limits of a tenant or a plan. What is absent is not said; the greatest number says that there is no such limit.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct StoredLimits {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) weight: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) operations_per_second: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) bytes_per_second: Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    pub(crate) stored_bytes: Option<u64>,
    #[prost(uint64, optional, tag = "5")]
    pub(crate) records: Option<u64>,
    #[prost(uint64, optional, tag = "6")]
    pub(crate) transaction_bytes: Option<u64>,
    #[prost(uint64, optional, tag = "7")]
    pub(crate) transactions: Option<u64>,
    #[prost(uint64, optional, tag = "8")]
    pub(crate) watches: Option<u64>,
}

/// R 9 id 8 1 process: the part of the tenant's rates that a process has for a short time.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct BudgetLease {
    /// What it wants, in millionths of the rates.
    #[prost(uint64, tag = "1")]
    pub(crate) demand_ppm: u64,
    /// What it has.
    #[prost(uint64, tag = "2")]
    pub(crate) share_ppm: u64,
    #[prost(int64, tag = "3")]
    pub(crate) expires_us: i64,
}

/// R 9 id 5 0 key: what is kept of a transaction that takes effect once.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct IdempotencyRecord {
    /// The hash (BLAKE3) of what the request asked for.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) fingerprint: Vec<u8>,
    /// In microseconds since 1970.
    #[prost(int64, tag = "2")]
    pub(crate) expires_us: i64,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) result: bytes::Bytes,
}

/// One entry of a tenant's change log: everything that one transaction changed. Its stamp is in its key.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct LogEntry {
    #[prost(uint32, tag = "1")]
    pub(crate) format: u32,
    #[prost(int64, tag = "2")]
    pub(crate) wall_us: i64,
    #[prost(string, tag = "3")]
    pub(crate) actor: String,
    #[prost(string, tag = "4")]
    pub(crate) request_id: String,
    #[prost(uint32, tag = "5")]
    pub(crate) schema_version: u32,
    #[prost(message, repeated, tag = "6")]
    pub(crate) operations: Vec<LogOperation>,
    /// Of a sealed tenant: the whole entry in the format 1. Outside of it format and time alone are there.
    #[prost(message, optional, tag = "7")]
    pub(crate) sealed: Option<SealedLog>,
}

/// The contents of an entry, sealed.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SealedLog {
    /// Of the data key.
    #[prost(uint32, tag = "1")]
    pub(crate) generation: u32,
    /// What the contents are bound to in place of a key: that is not known before the commit.
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) id: Vec<u8>,
    /// Nonce, contents and tag.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) contents: bytes::Bytes,
}

/// One change, in the order in which it was made.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct LogOperation {
    #[prost(uint32, tag = "1")]
    pub(crate) ordinal: u32,
    #[prost(oneof = "Change", tags = "2, 3, 4, 5, 6, 7")]
    pub(crate) change: Option<Change>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub(crate) enum Change {
    #[prost(message, tag = "2")]
    RecordPut(RecordChange),
    #[prost(message, tag = "3")]
    RecordDelete(RecordChange),
    #[prost(message, tag = "4")]
    Set(RawChange),
    #[prost(message, tag = "5")]
    Clear(RawChange),
    #[prost(message, tag = "6")]
    ClearRange(RawChange),
    #[prost(message, tag = "7")]
    Atomic(RawChange),
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RecordChange {
    #[prost(uint32, tag = "1")]
    pub(crate) type_id: u32,
    /// The packed primary key.
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) key: bytes::Bytes,
    /// What holds the new payload, in the form that `format` says; empty for a deletion.
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) payload: bytes::Bytes,
    /// Whether there was a record of the key before.
    #[prost(enumeration = "Before", tag = "4")]
    pub(crate) before: i32,
    /// The format byte of the record's frame; 0 is 1, plain.
    #[prost(uint32, tag = "5")]
    pub(crate) format: u32,
    /// The bytes of the payload before, not compressed. Absent where there was none, and in entries from before this was noted.
    #[prost(uint64, optional, tag = "9")]
    pub(crate) before_size_bytes: Option<u64>,
}

/// What was there before a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Before {
    /// The entry is from before this was noted.
    Unknown = 0,
    Absent = 1,
    Present = 2,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RawChange {
    /// Relative to the part of the tenant that `space` names; for the catalog, to the database's root. A counter's shard stands behind its name: a zero byte and two bytes,
    /// big-endian. For SetVersionstampedKey, ten bytes in it are those of the entry's own stamp, at the place that its last four bytes name (little-endian), which are no part of it.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) key: bytes::Bytes,
    /// The value, the operand, or the end of a range.
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: bytes::Bytes,
    /// FoundationDB's code of an atomic operation.
    #[prost(uint32, tag = "3")]
    pub(crate) mutation: u32,
    #[prost(enumeration = "Space", tag = "4")]
    pub(crate) space: i32,
}

/// The part of a tenant that a raw change lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Space {
    /// The application's own keys.
    Raw = 0,
    Counters = 1,
    Sequences = 2,
    /// The database's catalog, for tenant 0.
    Catalog = 3,
}

/// The cursor of a scan that is consistent at one version.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ScanCursor {
    /// The place, among the regions that are scanned, of the one that is being read.
    #[prost(uint32, tag = "1")]
    pub(crate) region: u32,
    /// The last key of it that was read.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub(crate) after: Option<bytes::Bytes>,
    #[prost(uint32, tag = "3")]
    pub(crate) incarnation: u32,
    /// The stamp up to which the change log is in what was read.
    #[prost(bytes = "vec", tag = "4")]
    pub(crate) stamp: Vec<u8>,
}

/// How far a recount of what a tenant stores has come.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ReconcileCursor {
    /// The cursor of the scan.
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) scan: bytes::Bytes,
    #[prost(int64, tag = "2")]
    pub(crate) records: i64,
    #[prost(int64, tag = "3")]
    pub(crate) record_size_bytes: i64,
    /// How many changes were looked at.
    #[prost(uint64, tag = "4")]
    pub(crate) seen: u64,
}

/// How far a sweep of time-to-live indexes has come.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExpiryCursor {
    /// What has come by then goes; what comes later is left to the next sweep.
    #[prost(int64, tag = "1")]
    pub(crate) until_us: i64,
    /// The index that is being swept; those of lesser ids are done.
    #[prost(uint32, tag = "2")]
    pub(crate) index_id: u32,
    /// The last entry of it that was looked at, relative to the index.
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(crate) after: Option<bytes::Bytes>,
    #[prost(uint64, tag = "4")]
    pub(crate) expired: u64,
    #[prost(uint64, tag = "5")]
    pub(crate) refused: u64,
    /// Why the first of those that were refused was.
    #[prost(string, tag = "6")]
    pub(crate) first_refusal: String,
}

/// How far a check of indexes has come, and what it found.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CheckCursor {
    /// The type, the stage of it and the index that are looked at; those before are done.
    #[prost(uint32, tag = "1")]
    pub(crate) type_id: u32,
    #[prost(uint32, tag = "2")]
    pub(crate) stage: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) index_id: u32,
    /// The last key that was looked at, relative to the records or the index; of amounts the first one that is to be.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub(crate) after: Option<bytes::Bytes>,
    #[prost(uint64, tag = "5")]
    pub(crate) records: u64,
    #[prost(uint64, tag = "6")]
    pub(crate) entries: u64,
    #[prost(uint64, tag = "7")]
    pub(crate) missing: u64,
    #[prost(uint64, tag = "8")]
    pub(crate) dangling: u64,
    #[prost(uint64, tag = "9")]
    pub(crate) wrong: u64,
    #[prost(uint64, tag = "10")]
    pub(crate) duplicate: u64,
    #[prost(uint64, tag = "11")]
    pub(crate) repaired: u64,
    /// The first of them.
    #[prost(message, repeated, tag = "12")]
    pub(crate) faults: Vec<StoredFault>,
    /// Hashes of keys that were told as wrong already.
    #[prost(fixed64, repeated, tag = "13")]
    pub(crate) told: Vec<u64>,
    /// The indexes that were not looked at, and why.
    #[prost(string, repeated, tag = "14")]
    pub(crate) unchecked: Vec<String>,
    #[prost(uint64, tag = "15")]
    pub(crate) unreadable: u64,
    /// The last type with records that cannot be read.
    #[prost(uint32, tag = "16")]
    pub(crate) unreadable_type_id: u32,
    #[prost(uint64, tag = "17")]
    pub(crate) dangling_references: u64,
}

/// A fault of an index, a reference or a record.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StoredFault {
    /// Its name behind that of the type; the type's alone for a record.
    #[prost(string, tag = "1")]
    pub(crate) index: String,
    #[prost(string, tag = "2")]
    pub(crate) fault: String,
    #[prost(string, tag = "3")]
    pub(crate) key: String,
}

/// How far a job has come that seals a tenant with its newest data key.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResealCursor {
    /// Of that data key.
    #[prost(uint32, tag = "1")]
    pub(crate) generation: u32,
    /// What is gone through, and which part of it: a type, an index, a bucket of the log, by its place.
    #[prost(uint32, tag = "2")]
    pub(crate) stage: u32,
    #[prost(uint32, tag = "3")]
    pub(crate) part: u32,
    /// The last key of it that was looked at, behind its prefix.
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub(crate) after: Option<bytes::Bytes>,
    #[prost(uint64, tag = "5")]
    pub(crate) resealed: u64,
}

/// How far a deletion has come that takes several transactions.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CascadeCursor {
    /// Records whose own deletion comes first, each taken along by that of the one before it. Some may be missing at the front: it begins with the record itself.
    #[prost(message, repeated, tag = "1")]
    pub(crate) stack: Vec<RecordName>,
    #[prost(uint64, tag = "2")]
    pub(crate) deleted: u64,
    /// Those that stay, without what they referred to.
    #[prost(uint64, tag = "3")]
    pub(crate) changed: u64,
    /// How many came onto the stack since something was deleted, and the one that did when these were a power of two.
    #[prost(uint64, tag = "4")]
    pub(crate) descents: u64,
    #[prost(message, optional, tag = "5")]
    pub(crate) passed: Option<RecordName>,
}

/// A record by its type and its packed primary key.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RecordName {
    #[prost(uint32, tag = "1")]
    pub(crate) type_id: u32,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) key: bytes::Bytes,
}

/// R 3 0 id 0: what a job is. Never changes.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct JobDefinition {
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    /// JSON, for the kind.
    #[prost(string, tag = "2")]
    pub(crate) parameters: String,
    /// The tenant's id; 0 for a job of the whole database.
    #[prost(uint64, tag = "3")]
    pub(crate) tenant: u64,
    #[prost(string, tag = "4")]
    pub(crate) tenant_name: String,
    #[prost(int64, tag = "5")]
    pub(crate) created_us: i64,
}

/// R 3 0 id 1: how a job stands.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct JobStatus {
    #[prost(enumeration = "JobStateKind", tag = "1")]
    pub(crate) state: i32,
    #[prost(uint64, tag = "2")]
    pub(crate) done: u64,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) total: Option<u64>,
    /// Where the next step goes on; for the kind.
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) cursor: bytes::Bytes,
    #[prost(uint64, tag = "5")]
    pub(crate) steps: u64,
    /// Failures since the last step that succeeded.
    #[prost(uint32, tag = "6")]
    pub(crate) failures: u32,
    #[prost(uint32, tag = "7")]
    pub(crate) failures_total: u32,
    /// From when on somebody may take it; its place in the queue.
    #[prost(int64, tag = "8")]
    pub(crate) due_us: i64,
    /// How much one step does.
    #[prost(uint32, tag = "9")]
    pub(crate) step_size: u32,
    #[prost(int64, tag = "10")]
    pub(crate) started_us: i64,
    #[prost(int64, tag = "11")]
    pub(crate) updated_us: i64,
    #[prost(int64, tag = "12")]
    pub(crate) ended_us: i64,
    /// How long all steps took together.
    #[prost(uint64, tag = "13")]
    pub(crate) working_us: u64,
    #[prost(bool, tag = "14")]
    pub(crate) is_cancelling: bool,
    /// JSON, from the kind.
    #[prost(string, tag = "15")]
    pub(crate) result: String,
    #[prost(message, optional, tag = "16")]
    pub(crate) error: Option<StoredFailure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum JobStateKind {
    Waiting = 0,
    Running = 1,
    Done = 2,
    Failed = 3,
    Cancelled = 4,
}

/// An error that was met.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StoredFailure {
    #[prost(int32, tag = "1")]
    pub(crate) number: i32,
    #[prost(string, tag = "2")]
    pub(crate) tag: String,
    #[prost(string, tag = "3")]
    pub(crate) message: String,
}

/// R 3 0 id 2: who works on a job.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct JobLease {
    /// The worker's id; empty for nobody.
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) owner: Vec<u8>,
    /// Grows whenever a worker takes the job.
    #[prost(uint64, tag = "2")]
    pub(crate) token: u64,
    #[prost(int64, tag = "3")]
    pub(crate) expires_us: i64,
}

/// Reads a message.
pub(crate) fn read<M: Message + Default>(bytes: &[u8], what: &str) -> Result<M> {
    M::decode(bytes)
        .map_err(|error| Error::new(Code::StoredDataInvalid, format!("{what} cannot be read: {error}")))
}
