//! Reading the change log: entries put together from their parts, in the order of the commits.

use tenantry_kv::tuple::Element;
use tenantry_kv::{Isolation, KeyValue, RangeRequest, Transaction, Versionstamp};

use super::{FORMAT, FORMAT_SEALED};
use crate::error::{Code, Error, Result};
use crate::key_space::TenantKeys;
use crate::messages::{LogEntry, read};
use crate::sealing::Sealer;

/// A place in a tenant's log: behind the transaction with this stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LogPosition {
    pub(crate) incarnation: u32,
    pub(crate) stamp: Versionstamp,
}

impl LogPosition {
    /// Behind everything that is committed at `version` or before.
    pub(crate) fn at_version(incarnation: u32, version: i64) -> LogPosition {
        LogPosition { incarnation, stamp: Versionstamp::new(version, u16::MAX) }
    }
}

/// What one transaction changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Logged {
    /// Its place in the log.
    pub(crate) position: LogPosition,
    pub(crate) entry: LogEntry,
}

/// Some entries.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LogPage {
    /// In the order of the commits.
    pub(crate) entries: Vec<Logged>,
    /// Whether there is nothing behind them at the version that was read.
    pub(crate) is_at_end: bool,
}

/// Reads the entries behind a place, about `size_bytes_max` bytes of them, at least one. Those of a sealed tenant are opened with its `sealer`.
///
/// The log may be spread over buckets, each in the order of the commits: where one of them has more than was read, nothing behind its last entry is handed out.
pub(crate) async fn read_after(
    transaction: &dyn Transaction,
    keys: &TenantKeys,
    buckets: u32,
    after: LogPosition,
    size_bytes_max: usize,
    sealer: Option<&Sealer>,
) -> Result<LogPage> {
    let mut page = LogPage { entries: Vec::new(), is_at_end: true };
    let mut horizon: Option<LogPosition> = None;
    for bucket in 0..buckets.max(1) {
        let (entries, has_more) =
            read_bucket(transaction, keys, bucket, after, size_bytes_max, sealer).await?;
        if has_more && let Some(last) = entries.last() {
            page.is_at_end = false;
            horizon = Some(horizon.map_or(last.position, |horizon| horizon.min(last.position)));
        }
        page.entries.extend(entries);
    }
    page.entries.sort_by_key(|logged| logged.position);
    if let Some(horizon) = horizon {
        page.entries.retain(|logged| logged.position <= horizon);
    }
    Ok(page)
}

/// An entry of which parts may still be missing.
pub(super) struct Open {
    pub(super) position: LogPosition,
    parts: u16,
    pub(super) bytes: Vec<u8>,
}

impl Open {
    pub(super) fn new(position: LogPosition) -> Open {
        Open { position, parts: 0, bytes: Vec::new() }
    }

    async fn close(self, transaction: &dyn Transaction, sealer: Option<&Sealer>) -> Result<Logged> {
        let entry: LogEntry = read(&self.bytes, NAME)?;
        let entry = match (entry.sealed.as_ref(), sealer) {
            (Some(sealed), Some(sealer)) if entry.format == FORMAT_SEALED => {
                let opened = sealer.open_log(transaction, self.position.incarnation, sealed).await?;
                read(&opened, NAME)?
            }
            (Some(_), None) => {
                return Err(Error::new(
                    Code::SealBroken,
                    "a sealed entry in a change log that is not sealed",
                ));
            }
            (_, Some(sealer)) => {
                sealer.check_clear(NAME)?;
                entry
            }
            (None, None) => entry,
        };
        if entry.format != FORMAT {
            let detail = format!(
                "an entry of the change log has the format {}, this build reads {FORMAT}",
                entry.format
            );
            return Err(Error::new(Code::DatabaseFormat, detail));
        }
        Ok(Logged { position: self.position, entry })
    }
}

/// What is read, in messages.
const NAME: &str = "an entry of the change log";

/// The entries of one bucket, and whether there are more.
async fn read_bucket(
    transaction: &dyn Transaction,
    keys: &TenantKeys,
    bucket: u32,
    after: LogPosition,
    size_bytes_max: usize,
    sealer: Option<&Sealer>,
) -> Result<(Vec<Logged>, bool)> {
    let log = keys.log(bucket)?;
    let range = keys.log_range(bucket, after.incarnation, after.stamp)?;
    let mut entries = Vec::new();
    let mut open: Option<Open> = None;
    let mut size_bytes = 0;
    let mut next = Some(RangeRequest::new(range.begin, range.end));
    while let Some(request) = next {
        let batch = transaction.get_range(&request, Isolation::Snapshot).await?;
        for row in &batch.rows {
            let (position, part) = place(&log.unpack(&row.key)?)?;
            match &mut open {
                Some(open) if open.position == position => {
                    add_part(open, part, row)?;
                    size_bytes += row.value.len();
                    continue;
                }
                _ => {}
            }
            if let Some(whole) = open.take() {
                entries.push(whole.close(transaction, sealer).await?);
                if size_bytes >= size_bytes_max {
                    return Ok((entries, true));
                }
            }
            let mut first = Open::new(position);
            add_part(&mut first, part, row)?;
            open = Some(first);
            size_bytes += row.value.len();
        }
        next = request.after(&batch);
    }
    if let Some(last) = open {
        entries.push(last.close(transaction, sealer).await?);
    }
    Ok((entries, false))
}

pub(super) fn add_part(open: &mut Open, part: u16, row: &KeyValue) -> Result<()> {
    if part != open.parts {
        let detail = format!("an entry of the change log lacks its part {}", open.parts);
        return Err(Error::new(Code::StoredDataInvalid, detail));
    }
    open.parts += 1;
    open.bytes.extend_from_slice(&row.value);
    Ok(())
}

/// The place and the part that a key of the log names.
pub(super) fn place(elements: &[Element]) -> Result<(LogPosition, u16)> {
    match elements {
        [Element::Int(incarnation), Element::Versionstamp { stamp: Some(stamp), user_version }] => {
            let incarnation = u32::try_from(*incarnation).unwrap_or(u32::MAX);
            Ok((LogPosition { incarnation, stamp: *stamp }, *user_version))
        }
        _ => Err(Error::new(Code::StoredDataInvalid, "a key of the change log has no incarnation and stamp")),
    }
}

#[cfg(test)]
mod tests {

    use pollster::block_on;
    use prost::Message;
    use tenantry_kv::MutationType;
    use tenantry_kv::conformance::reference::manual_env;

    use super::*;
    use crate::limits::LOG_PART_SIZE_BYTES;
    use crate::{Database, SchemaDefinition, Tenant};

    fn tenant() -> Tenant {
        let env = manual_env();
        let database =
            block_on(Database::open(crate::test_engine::engine(&env), env, &crate::test_engine::name("t")))
                .unwrap();
        let schema = "name = \"s\"\n[types.note]\nprimary_key = [\"id\"]\nfields = { id = \"int\" }\n";
        block_on(database.apply_schema(&SchemaDefinition::from_toml(schema).unwrap())).unwrap();
        block_on(database.create_tenant("acme", "s")).unwrap()
    }

    /// Writes an entry as the log's writer does, but into a bucket, with `size_bytes` in the name of its actor, and returns nothing but its wall time as its mark.
    fn append(tenant: &Tenant, bucket: u32, mark: i64, size_bytes: usize) {
        let transaction = tenant.database.engine().begin().unwrap();
        let actor = "x".repeat(size_bytes);
        let entry = LogEntry { format: FORMAT, wall_us: mark, actor, ..LogEntry::default() };
        for (part, bytes) in (0..).zip(entry.encode_to_vec().chunks(LOG_PART_SIZE_BYTES)) {
            let key = tenant.keys.log_entry(bucket, 1, part).unwrap();
            transaction.atomic(MutationType::SetVersionstampedKey, &key, bytes);
        }
        block_on(transaction.commit()).unwrap();
    }

    fn page(tenant: &Tenant, buckets: u32, after: LogPosition, size_bytes_max: usize) -> Result<LogPage> {
        let transaction = tenant.database.engine().begin().unwrap();
        block_on(read_after(&*transaction, &tenant.keys, buckets, after, size_bytes_max, None))
    }

    #[test]
    fn entries_come_whole_and_in_the_order_of_the_commits_whatever_their_bucket_and_the_page() {
        let tenant = tenant();
        let buckets = 3;
        for mark in 0..40_u32 {
            let size_bytes = if mark % 7 == 0 { 200_000 } else { 10 };
            append(&tenant, (mark * mark) % buckets, i64::from(mark), size_bytes);
        }
        let begin = LogPosition::at_version(0, 0);
        for size_bytes_max in [1, 100, 90_000, 250_000, 10_000_000] {
            let (mut after, mut marks, mut pages) = (begin, Vec::new(), 0);
            loop {
                let page = page(&tenant, buckets, after, size_bytes_max).unwrap();
                marks.extend(page.entries.iter().map(|logged| logged.entry.wall_us));
                pages += 1;
                if page.is_at_end {
                    break;
                }
                // None is empty, so that whoever goes on comes to an end.
                after = page.entries.last().unwrap().position;
            }
            assert_eq!(marks, (0..40).collect::<Vec<i64>>(), "{size_bytes_max}");
            assert_eq!(pages == 1, size_bytes_max == 10_000_000, "{size_bytes_max}: {pages}");
        }
    }

    #[test]
    fn what_is_committed_at_a_version_is_before_it() {
        let tenant = tenant();
        append(&tenant, 0, 1, 10);
        let first = page(&tenant, 1, LogPosition::at_version(0, 0), 1).unwrap().entries[0].position;
        append(&tenant, 0, 2, 10);
        let behind = page(&tenant, 1, LogPosition::at_version(1, first.stamp.version()), 1_000).unwrap();
        assert_eq!(behind.entries.iter().map(|logged| logged.entry.wall_us).collect::<Vec<_>>(), [2]);
        assert_eq!(
            page(&tenant, 1, LogPosition::at_version(1, i64::MAX), 1).unwrap(),
            LogPage { entries: Vec::new(), is_at_end: true }
        );
    }

    #[test]
    fn a_log_with_holes_is_found_out() {
        let tenant = tenant();
        append(&tenant, 0, 1, 200_000);
        let log = tenant.keys.log(0).unwrap().tuples();
        let transaction = tenant.database.engine().begin().unwrap();
        // The part in the middle of three.
        let mut request = RangeRequest::new(log.begin, log.end);
        let first = block_on(transaction.get_range(&request, Isolation::Snapshot)).unwrap();
        request = request.after(&first).unwrap();
        let second = block_on(transaction.get_range(&request, Isolation::Snapshot)).unwrap();
        transaction.clear(&second.rows[0].key);
        block_on(transaction.commit()).unwrap();
        let error = page(&tenant, 1, LogPosition::at_version(0, 0), 1).unwrap_err();
        assert_eq!(error.code(), Code::StoredDataInvalid);
    }
}
