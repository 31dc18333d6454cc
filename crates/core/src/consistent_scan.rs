//! A scan that takes longer than a transaction may, and is consistent at one version all the same.
//!
//! It goes through its regions of a tenant in chunks, each in a transaction of its own and so each at another version. Before it reads a chunk, it applies what the tenant's
//! change log says of everything that it has read already, from the version where it stood up to the version of this very transaction. After each step that has read a chunk,
//! what was found so far is therefore the state of that part of the tenant at one version; after the last chunk it is the state of all of it.
//!
//! What is found comes as changes, to be applied in their order to something that is empty at first. Where the scan goes on is a small cursor, whatever the size of the tenant and
//! however many chunks there were.

use bytes::Bytes;
use prost::Message;
use tenantry_kv::tuple::{self, Element};
use tenantry_kv::{Isolation, MutationType, RangeRequest, StreamingMode, Subspace, Versionstamp, key_after};

use crate::change_log::{LogPosition, Logged, read_after, stamped_key};
use crate::database::mutation_code;
use crate::error::{Code, Error, Result};
use crate::key_space::behind;
use crate::messages::{Before, Change, RawChange, ScanCursor, Space, read};
use crate::record::{RecordVersion, frame};
use crate::record_scan::read_chunk;
use crate::tenant::TenantTransaction;

/// What a step takes of the log, and of chunks, for each unit of its size, in bytes.
const SIZE_BYTES_PER_ROW: usize = 1_000;
/// What a step takes at least.
const SIZE_BYTES_MIN: usize = 10_000;
/// What a step takes at most.
const SIZE_BYTES_MAX: usize = 2_000_000;

/// A part of a tenant that can be scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Region {
    /// The records of a type, by packed primary key.
    Records(u32),
    /// By name.
    Counters,
    /// By name.
    Sequences,
    /// The tenant's own key-value space.
    Raw,
}

/// A change of what was found so far.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Found {
    /// The key has this value: a record's payload, a raw value, a number's eight bytes. Of a record the log may say how long its payload was before.
    Put {
        region: Region,
        key: Bytes,
        value: Bytes,
        version: Option<RecordVersion>,
        before: Before,
        before_size_bytes: Option<u64>,
    },
    /// The key is gone.
    Delete { region: Region, key: Bytes, before_size_bytes: Option<u64> },
    /// The raw keys from `begin` to `end` (exclusive) are gone.
    DeleteRange { begin: Bytes, end: Bytes },
    /// The value is to be changed.
    Atomic { region: Region, key: Bytes, mutation: MutationType, operand: Bytes },
}

/// What one step found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FoundPage {
    /// To be applied in this order.
    pub(crate) changes: Vec<Found>,
    /// Those from this place on are the chunk that was read, which lies behind everything that was read before; those before it are the log's.
    pub(crate) chunk_begin: usize,
    /// The version that was read.
    pub(crate) version: i64,
    pub(crate) next: NextStep,
}

/// How the scan goes on.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NextStep {
    /// From this cursor.
    More(Bytes),
    /// It is complete: with this page's changes, all that was found is the state at the page's version.
    Done,
    /// The tenant moved to another database since: what was found so far counts for nothing.
    Restart,
}

/// A scan of some regions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ConsistentScan {
    regions: Vec<Region>,
    /// The one that is being read, the last key that was read of it, relative to it.
    region: usize,
    after: Option<Bytes>,
    /// Up to where the log is in what was found; none before the first step.
    applied: Option<LogPosition>,
}

impl ConsistentScan {
    /// The scan of some regions, in this order, from the cursor of the step before, which is empty for the first.
    pub(crate) fn new(regions: Vec<Region>, cursor: &[u8]) -> Result<ConsistentScan> {
        if cursor.is_empty() {
            return Ok(ConsistentScan { regions, region: 0, after: None, applied: None });
        }
        let cursor: ScanCursor = read(cursor, "the cursor of a scan")?;
        let stamp = <[u8; 10]>::try_from(&cursor.stamp[..])
            .map_err(|_| Error::new(Code::StoredDataInvalid, "the cursor of a scan has no stamp"))?;
        let stamp = Versionstamp::from_bytes(stamp);
        Ok(ConsistentScan {
            regions,
            region: cursor.region as usize,
            after: cursor.after,
            applied: Some(LogPosition { incarnation: cursor.incarnation, stamp }),
        })
    }

    /// Does a step, of about `rows_max` rows. The transaction has written nothing in the tenant yet; nothing that is read takes part in its conflict check.
    pub(crate) async fn step(
        mut self,
        transaction: &TenantTransaction,
        rows_max: usize,
    ) -> Result<FoundPage> {
        transaction.set_isolation(Isolation::Snapshot);
        let version = transaction.read_version().await?;
        let incarnation = transaction.header().incarnation;
        let size_bytes_max = rows_max.saturating_mul(SIZE_BYTES_PER_ROW);
        let size_bytes_max = size_bytes_max.clamp(SIZE_BYTES_MIN, SIZE_BYTES_MAX);
        let mut changes = Vec::new();
        if let Some(applied) = self.applied {
            if applied.incarnation != incarnation {
                return Ok(FoundPage { changes, chunk_begin: 0, version, next: NextStep::Restart });
            }
            let page = read_after(
                &**transaction.fenced_transaction(),
                &transaction.tenant().keys,
                transaction.header().log_buckets,
                applied,
                size_bytes_max,
                transaction.sealer(),
            )
            .await?;
            for logged in &page.entries {
                self.apply(logged, &mut changes)?;
            }
            if let Some(last) = page.entries.last().filter(|_| !page.is_at_end) {
                self.applied = Some(last.position);
                let chunk_begin = changes.len();
                return Ok(FoundPage { changes, chunk_begin, version, next: NextStep::More(self.cursor()) });
            }
        }
        self.applied = Some(LogPosition::at_version(incarnation, version));
        let chunk_begin = changes.len();
        while let Some(region) = self.regions.get(self.region).copied() {
            let rows_left = rows_max.saturating_sub(changes.len() - chunk_begin);
            if rows_left == 0 {
                return Ok(FoundPage { changes, chunk_begin, version, next: NextStep::More(self.cursor()) });
            }
            if self.read(transaction, region, rows_left, size_bytes_max, &mut changes).await? {
                return Ok(FoundPage { changes, chunk_begin, version, next: NextStep::More(self.cursor()) });
            }
            (self.region, self.after) = (self.region + 1, None);
        }
        Ok(FoundPage { changes, chunk_begin, version, next: NextStep::Done })
    }

    fn cursor(&self) -> Bytes {
        let (incarnation, stamp) = match self.applied {
            Some(applied) => (applied.incarnation, applied.stamp.as_bytes().to_vec()),
            None => (0, vec![0; 10]),
        };
        let region = u32::try_from(self.region).unwrap_or(u32::MAX);
        ScanCursor { region, after: self.after.clone(), incarnation, stamp }.encode_to_vec().into()
    }

    /// Reads the next chunk of a region, and tells whether there is more of it.
    async fn read(
        &mut self,
        transaction: &TenantTransaction,
        region: Region,
        rows_max: usize,
        size_bytes_max: usize,
        changes: &mut Vec<Found>,
    ) -> Result<bool> {
        let before = Before::Absent;
        if let Region::Records(type_id) = region {
            let chunk =
                read_chunk(transaction, type_id, self.after.as_deref(), rows_max, size_bytes_max).await?;
            self.after = chunk.records.last().map(|record| record.key.clone()).or(self.after.take());
            changes.extend(chunk.records.into_iter().map(|record| Found::Put {
                region,
                key: record.key,
                value: record.payload,
                version: Some(record.version),
                before,
                before_size_bytes: None,
            }));
            return Ok(chunk.has_more);
        }
        let (prefix, everything) = prefix_of(transaction, region)?;
        let begin = match &self.after {
            Some(after) => key_after(&behind(&prefix, after)),
            None => everything.begin,
        };
        let request = RangeRequest::new(begin, everything.end).limit(rows_max).mode(StreamingMode::Serial);
        let batch = transaction.engine_range(&request).await?;
        for row in batch.rows {
            let relative = row.key.slice(prefix.len()..);
            let key = match region {
                Region::Raw => relative.clone(),
                _ => name_of(&relative)?,
            };
            self.after = Some(relative);
            let value = match region {
                Region::Raw => transaction.opened_raw(&row.key, row.value).await?,
                _ => row.value,
            };
            changes.push(Found::Put { region, key, value, version: None, before, before_size_bytes: None });
        }
        Ok(batch.more)
    }

    /// Whether a key was read already, and so follows the log.
    fn has_read(&self, region: Region, relative: &[u8]) -> bool {
        match self.regions.iter().position(|candidate| *candidate == region) {
            Some(place) if place == self.region => {
                self.after.as_ref().is_some_and(|after| relative <= &after[..])
            }
            place => place.is_some_and(|place| place < self.region),
        }
    }

    /// What an entry of the log changes of what was read.
    fn apply(&self, logged: &Logged, changes: &mut Vec<Found>) -> Result<()> {
        for operation in &logged.entry.operations {
            let unknown = || {
                let detail = "the change log holds a kind of change that this build does not know";
                Error::new(Code::DatabaseFormat, detail)
            };
            let change = operation.change.as_ref().ok_or_else(unknown)?;
            let found = match change {
                Change::RecordPut(change) => Found::Put {
                    region: Region::Records(change.type_id),
                    key: change.key.clone(),
                    value: frame::logged_payload(change)?,
                    version: Some(RecordVersion {
                        incarnation: logged.position.incarnation,
                        stamp: logged.position.stamp,
                        ordinal: u16::try_from(operation.ordinal).unwrap_or(u16::MAX),
                    }),
                    before: change.before(),
                    before_size_bytes: change.before_size_bytes,
                },
                Change::RecordDelete(change) => Found::Delete {
                    region: Region::Records(change.type_id),
                    key: change.key.clone(),
                    before_size_bytes: change.before_size_bytes,
                },
                Change::Set(change) => Found::Put {
                    region: region_of(change).ok_or_else(unknown)?,
                    key: change.key.clone(),
                    value: change.value.clone(),
                    version: None,
                    before: Before::Unknown,
                    before_size_bytes: None,
                },
                Change::Clear(change) => Found::Delete {
                    region: region_of(change).ok_or_else(unknown)?,
                    key: change.key.clone(),
                    before_size_bytes: None,
                },
                Change::ClearRange(change) => {
                    if self.regions.contains(&Region::Raw) {
                        let (begin, end) = (change.key.clone(), change.value.clone());
                        changes.push(Found::DeleteRange { begin, end });
                    }
                    continue;
                }
                Change::Atomic(change)
                    if change.mutation == mutation_code(MutationType::SetVersionstampedKey) =>
                {
                    Found::Put {
                        region: region_of(change).ok_or_else(unknown)?,
                        key: stamped_key(&change.key, logged.position.stamp)?,
                        value: change.value.clone(),
                        version: None,
                        before: Before::Unknown,
                        before_size_bytes: None,
                    }
                }
                Change::Atomic(change) => Found::Atomic {
                    region: region_of(change).ok_or_else(unknown)?,
                    key: change.key.clone(),
                    mutation: i32::try_from(change.mutation)
                        .ok()
                        .and_then(MutationType::from_code)
                        .ok_or_else(unknown)?,
                    operand: change.value.clone(),
                },
            };
            let (region, key) = match &found {
                Found::Put { region, key, .. }
                | Found::Delete { region, key, .. }
                | Found::Atomic { region, key, .. } => (*region, key),
                Found::DeleteRange { .. } => continue,
            };
            if self.has_read(region, &relative(region, key)?) {
                changes.push(found);
            }
        }
        Ok(())
    }
}

/// The region of a raw change; none for the catalog's.
fn region_of(change: &RawChange) -> Option<Region> {
    match change.space() {
        Space::Raw => Some(Region::Raw),
        Space::Counters => Some(Region::Counters),
        Space::Sequences => Some(Region::Sequences),
        Space::Catalog => None,
    }
}

/// The key in the region, as its keys sort.
fn relative(region: Region, key: &Bytes) -> Result<Bytes> {
    match region {
        Region::Records(_) | Region::Raw => Ok(key.clone()),
        Region::Counters | Region::Sequences => {
            // A counter's shard stands behind a zero byte, which no name has.
            let (name, shard) = match key.iter().position(|byte| *byte == 0) {
                Some(place) => (key.slice(..place), Some(key.slice(place + 1..))),
                None => (key.clone(), None),
            };
            let name = String::from_utf8(name.to_vec())
                .map_err(|_| Error::new(Code::StoredDataInvalid, "a name in the change log is not UTF-8"))?;
            let mut elements = vec![Element::String(name)];
            if let Some(shard) = shard {
                let shard = <[u8; 2]>::try_from(&shard[..]).map_err(|_| {
                    Error::new(
                        Code::StoredDataInvalid,
                        "a counter's shard in the change log has not two bytes",
                    )
                })?;
                elements.push(Element::Int(i64::from(u16::from_be_bytes(shard))));
            }
            Ok(tuple::pack(&elements)?)
        }
    }
}

/// The name that a key in the region stands for.
fn name_of(relative: &[u8]) -> Result<Bytes> {
    match &tuple::unpack(relative)?[..] {
        [Element::String(name)] => Ok(Bytes::copy_from_slice(name.as_bytes())),
        // As the change log has it.
        [Element::String(name), Element::Int(shard)] => {
            let shard = u16::try_from(*shard).unwrap_or(u16::MAX).to_be_bytes();
            Ok([name.as_bytes(), &[0], &shard].concat().into())
        }
        _ => Err(Error::new(Code::StoredDataInvalid, "the key of a counter or sequence has no name")),
    }
}

/// The prefix and the keys of a region that is not of records.
fn prefix_of(transaction: &TenantTransaction, region: Region) -> Result<(Bytes, tenantry_kv::KeyRange)> {
    let keys = &transaction.tenant().keys;
    let subspace = match region {
        Region::Counters => keys.counters()?,
        Region::Sequences => keys.sequences()?,
        Region::Raw => Subspace::new(keys.raw()?),
        Region::Records(type_id) => Subspace::new(keys.records(type_id)?),
    };
    Ok((subspace.prefix().clone(), subspace.keys()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pollster::block_on;
    use tenantry_kv::conformance::reference::manual_env;

    use super::*;
    use crate::query::Query;
    use crate::{Database, PrimaryKey, RawRange, Record, SchemaDefinition, Tenant, wire};

    const SCHEMA: &str = r#"
        name = "s"
        [types.note]
        primary_key = ["id"]
        fields = { id = "int", text = "string" }
        [types.pair]
        primary_key = ["left", "right"]
        fields = { left = "string", right = "int" }
    "#;
    const NOTES: Region = Region::Records(1);
    const PAIRS: Region = Region::Records(2);
    const NAMES: [&str; 4] = ["a", "aa", "b", "é"];

    /// What a key has: a value, and for a record its version.
    type State = BTreeMap<(Region, Bytes), (Bytes, Option<RecordVersion>)>;

    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % bound
        }

        fn key(&mut self) -> Vec<u8> {
            (0..self.below(3)).map(|_| [0, b'a', b'b', 0xff][self.below(4) as usize]).collect()
        }
    }

    /// Text that cannot be compressed by much.
    fn noise(seed: u64, size: usize) -> String {
        let mut random = Random(seed);
        (0..size).map(|_| char::from(b' ' + random.below(94) as u8)).collect()
    }

    fn tenant() -> Tenant {
        let env = manual_env();
        let database =
            block_on(Database::open(crate::test_engine::engine(&env), env, &crate::test_engine::name("t")))
                .unwrap();
        block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
        block_on(database.create_tenant("acme", "s")).unwrap()
    }

    /// One transaction with a few changes of any kind. `sequences` is what the numbers are after it.
    fn write(tenant: &Tenant, random: &mut Random, sequences: &mut BTreeMap<&'static str, i64>) {
        let choices: Vec<(u64, u64, Vec<u8>, Vec<u8>)> = (0..=random.below(4))
            .map(|_| (random.below(11), random.below(60), random.key(), random.key()))
            .collect();
        let text_size = [5, 3_000, 60_000, 250_000][random.below(4) as usize];
        let choices = &choices;
        let numbers = block_on(tenant.run(|transaction| async move {
            let mut numbers = Vec::new();
            for (choice, number, key, other) in choices {
                let id = *number as i64;
                let name = NAMES[(*number % 4) as usize];
                let left = format!("{}", number % 5);
                match choice {
                    0 | 1 => {
                        let text = noise(*number, text_size * (*number as usize % 2) + 1);
                        transaction.put("note", &Record::new().with("id", id).with("text", text)).await?;
                    }
                    2 => drop(transaction.delete("note", &PrimaryKey::of(id)).await?),
                    3 => {
                        transaction.put("pair", &Record::new().with("left", left).with("right", id)).await?;
                    }
                    4 => {
                        let key = PrimaryKey { values: vec![left.into(), id.into()] };
                        transaction.delete("pair", &key).await?;
                    }
                    5 => transaction.raw_set(key, other)?,
                    6 => transaction.raw_clear(key)?,
                    7 => transaction.raw_clear_range(key.min(other), key.max(other))?,
                    8 => {
                        let operations = [MutationType::Add, MutationType::Min, MutationType::AppendIfFits];
                        transaction.raw_atomic(operations[*number as usize % 3], key, &[*number as u8])?;
                    }
                    9 => transaction.add_to_counter(name, id - 30)?,
                    _ => numbers.push((name, transaction.next_in_sequence(name).await?)),
                }
            }
            Ok::<_, Error>(numbers)
        }))
        .unwrap();
        sequences.extend(numbers);
    }

    /// All of a tenant, by other ways than a scan.
    fn state(tenant: &Tenant, sequences: &BTreeMap<&'static str, i64>) -> State {
        let mut state = State::new();
        for (name, region) in [("note", NOTES), ("pair", PAIRS)] {
            let records = block_on(tenant.query(&Query::of(name).rows_max(10_000))).unwrap();
            assert!(records.next.is_none());
            let schema = block_on(tenant.schema()).unwrap();
            let record_type = schema.definition.record_type(name).unwrap();
            for record in records.records {
                let key = record.elements(&record_type.primary_key, record_type).unwrap();
                let payload = wire::encode(&record.values, &record_type.fields, &record.unknown).unwrap();
                let key = crate::key_form::pack(&key).unwrap();
                state.insert((region, key), (payload.into(), record.version));
            }
        }
        let raw = block_on(tenant.read(|transaction| async move {
            transaction.raw_range(&RawRange::all().rows_max(10_000)).await
        }))
        .unwrap();
        state.extend(raw.rows.into_iter().map(|(key, value)| ((Region::Raw, key), (value, None))));
        for name in NAMES {
            let name_bytes = Bytes::copy_from_slice(name.as_bytes());
            let stored = block_on(tenant.read(|transaction| async move {
                let key = transaction.tenant().keys.counter(name)?;
                Ok::<_, Error>(transaction.get_key(&key, Isolation::Snapshot).await?)
            }))
            .unwrap();
            if let Some(stored) = stored {
                state.insert((Region::Counters, name_bytes.clone()), (stored, None));
            }
            if let Some(number) = sequences.get(name) {
                let value = Bytes::copy_from_slice(&number.to_le_bytes());
                state.insert((Region::Sequences, name_bytes), (value, None));
            }
        }
        state
    }

    fn apply(found: &mut State, changes: Vec<Found>) {
        for change in changes {
            match change {
                Found::Put { region, key, value, version, before, .. } => {
                    let old = found.insert((region, key), (value, version));
                    assert!(matches!(region, Region::Records(_)) || version.is_none());
                    assert!(before == Before::Unknown || (before == Before::Present) == old.is_some());
                }
                Found::Delete { region, key, .. } => {
                    let old = found.remove(&(region, key));
                    assert!(old.is_some() || region == Region::Raw);
                }
                Found::DeleteRange { begin, end } => {
                    found.retain(|(region, key), _| *region != Region::Raw || *key < begin || *key >= end);
                }
                Found::Atomic { region, key, mutation, operand } => {
                    let place = (region, key);
                    let old = found.get(&place).map(|(value, _)| value);
                    match mutation.apply(old, &operand) {
                        Some(value) => drop(found.insert(place, (value, None))),
                        None => drop(found.remove(&place)),
                    }
                }
            }
        }
    }

    /// Random writers between the steps: after each step that has read a chunk, what was found is what the tenant has of that part; at the end, of all.
    #[test]
    fn what_is_found_is_the_state_at_the_version_of_the_last_step() {
        let (mut steps, mut of_the_log_alone) = (0, 0);
        for seed in 1..=20 {
            let mut random = Random(seed);
            let tenant = tenant();
            let mut sequences = BTreeMap::new();
            for _ in 0..80 {
                write(&tenant, &mut random, &mut sequences);
            }
            let mut regions = vec![NOTES, PAIRS, Region::Raw, Region::Counters, Region::Sequences];
            regions.rotate_left(random.below(5) as usize);
            let (mut found, mut cursor) = (State::new(), Bytes::new());
            loop {
                let rows_max = 1 + random.below(8) as usize;
                let (regions, cursor_of) = (&regions, &cursor);
                let page = block_on(tenant.read(|transaction| async move {
                    ConsistentScan::new(regions.clone(), cursor_of)?.step(&transaction, rows_max).await
                }))
                .unwrap();
                let version = page.version;
                apply(&mut found, page.changes);
                steps += 1;
                let now = state(&tenant, &sequences);
                match page.next {
                    NextStep::More(next) => cursor = next,
                    NextStep::Done => {
                        assert_eq!(found, now, "seed {seed}");
                        break;
                    }
                    NextStep::Restart => unreachable!("nothing moved"),
                }
                let scan = ConsistentScan::new(regions.clone(), &cursor).unwrap();
                if scan.applied.unwrap().stamp.version() == version {
                    let has_read = |(region, key): &(Region, Bytes)| {
                        scan.has_read(*region, &relative(*region, key).unwrap())
                    };
                    let part: State = now.into_iter().filter(|(place, _)| has_read(place)).collect();
                    assert_eq!(found, part, "seed {seed}");
                } else {
                    of_the_log_alone += 1;
                }
                for _ in 0..random.below(6) {
                    write(&tenant, &mut random, &mut sequences);
                }
            }
        }
        assert!(steps > 200 && of_the_log_alone > 20, "{steps} steps, {of_the_log_alone} of the log alone");
    }

    #[test]
    fn a_scan_of_a_tenant_that_moved_begins_anew() {
        let tenant = tenant();
        for id in 0..20 {
            block_on(tenant.put("note", &Record::new().with("id", id).with("text", "t"))).unwrap();
        }
        let cursor = ScanCursor { incarnation: 7, stamp: vec![0; 10], ..ScanCursor::default() };
        let scan = ConsistentScan::new(vec![NOTES], &cursor.encode_to_vec()).unwrap();
        let scan = &scan;
        let page =
            block_on(tenant.read(|transaction| async move { scan.clone().step(&transaction, 5).await }))
                .unwrap();
        assert_eq!((page.next, page.changes), (NextStep::Restart, Vec::new()));
        for damaged in [&[0xff, 0xff][..], &[0x08, 1]] {
            let error = ConsistentScan::new(vec![NOTES], damaged).unwrap_err();
            assert_eq!(error.code(), Code::StoredDataInvalid);
        }
    }
}
