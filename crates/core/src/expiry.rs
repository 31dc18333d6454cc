//! The sweep of time-to-live indexes: records whose time has come are deleted, in bounded steps.
//!
//! Entries are taken from the front of each index, without a conflict; each record is then read with one, and looked at again: a record whose moment has been
//! changed meanwhile stays. What is deleted is deleted as by anybody else, with indexes, references and the change log.

use bytes::Bytes;
use futures_util::future::try_join_all;
use tenantry_kv::tuple::{self, Element};
use tenantry_kv::{Isolation, RangeRequest};

use crate::access::Operation;
use crate::delete_where::is_too_much;
use crate::error::{Code, Error, Result};
use crate::index_form;
use crate::key_space::behind;
use crate::limits::{EXPIRY_ROWS_MAX, JOB_ERROR_SIZE_BYTES_MAX};
use crate::messages::ExpiryCursor;
use crate::record::RecordKeys;
use crate::schema::{Index, IndexKind, RecordType};
use crate::tenant::{Stored, Tenant, TenantTransaction, expiry_us};

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expired {
    /// How many records were deleted because their time had come; those that went with them are not counted.
    pub expired: u64,
    /// How many records stay although their time has come: others refer to them and forbid it, or are too many for one transaction.
    pub refused: u64,
    /// Why the first of these was refused.
    pub first_refusal: Option<String>,
}

/// What one step of a sweep did, and where to go on; none at the end.
pub(crate) struct ExpiredPage {
    pub(crate) so_far: ExpiryCursor,
    pub(crate) is_at_end: bool,
}

impl From<ExpiryCursor> for Expired {
    fn from(cursor: ExpiryCursor) -> Expired {
        let first_refusal = Some(cursor.first_refusal).filter(|text| !text.is_empty());
        Expired { expired: cursor.expired, refused: cursor.refused, first_refusal }
    }
}

impl TenantTransaction {
    /// Looks at no more than so many entries whose time has come, and deletes their records. A cursor without a moment begins a sweep.
    pub(crate) async fn expire(&self, mut cursor: ExpiryCursor, rows_max: usize) -> Result<ExpiredPage> {
        self.authorize(Operation::Expire)?;
        let now_us = self.tenant().database.inner.env.clock.wall_us();
        if cursor.until_us == 0 {
            cursor.until_us = now_us;
        }
        // A clock that was set back brings nobody's end forward.
        let until_us = cursor.until_us.min(now_us);
        let Some((record_type, index)) = self.swept_index(cursor.index_id) else {
            return Ok(ExpiredPage { so_far: cursor, is_at_end: true });
        };
        if cursor.index_id != index.id {
            (cursor.index_id, cursor.after) = (index.id, None);
        }
        let prefix = self.tenant().keys.index(index.id)?;
        let begin = match &cursor.after {
            Some(after) => behind(&behind(&prefix, after), &[0]),
            None => prefix.clone(),
        };
        let end = behind(&tuple::pack_after(&prefix, &[Element::Int(until_us)])?, &[index_form::BEHIND_ALL]);
        if begin >= end {
            return Ok(self.behind_index(cursor));
        }
        let request = RangeRequest::new(begin, end).limit(rows_max);
        let batch = self.engine_range_at(&request, Isolation::Snapshot).await?;
        let keys: Vec<RecordKeys> = batch
            .rows
            .iter()
            .map(|row| {
                let elements = expiring_key(record_type, index, &row.key.slice(prefix.len()..))?;
                self.record_keys(record_type, &elements)
            })
            .collect::<Result<_>>()?;
        // With a conflict, and side by side.
        let loads = keys.iter().map(|keys| self.load(record_type, keys, Isolation::Serializable));
        for (keys, stored) in keys.iter().zip(try_join_all(loads).await?) {
            // One that was deleted before it may have taken this one along, or changed it.
            let stored = match self.is_referred_to(record_type) {
                true => self.load(record_type, keys, Isolation::Serializable).await?,
                false => stored,
            };
            if let Some(stored) = stored {
                self.expire_record(record_type, index, keys, &stored, until_us, &mut cursor).await?;
            }
        }
        cursor.after = batch.rows.last().map(|row| row.key.slice(prefix.len()..));
        match batch.more || batch.rows.len() == rows_max {
            true => Ok(ExpiredPage { so_far: cursor, is_at_end: false }),
            false => Ok(self.behind_index(cursor)),
        }
    }

    /// Deletes a record if its time has come.
    async fn expire_record(
        &self,
        record_type: &RecordType,
        index: &Index,
        keys: &RecordKeys,
        stored: &Stored,
        until_us: i64,
        cursor: &mut ExpiryCursor,
    ) -> Result<()> {
        let holds = index.condition.as_ref().is_none_or(|it| it.expression.holds(&stored.record.values));
        if !holds || expiry_us(index, &stored.record).is_none_or(|at_us| at_us > until_us) {
            return Ok(());
        }
        match self.delete_record(record_type, keys, stored).await {
            Ok(()) => cursor.expired += 1,
            Err(error) if is_refusal(&error) => {
                cursor.refused += 1;
                if cursor.first_refusal.is_empty() {
                    let message = error.to_string();
                    let cut = message.floor_char_boundary(JOB_ERROR_SIZE_BYTES_MAX.min(message.len()));
                    cursor.first_refusal = message[..cut].to_owned();
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The time-to-live index to sweep: that of this id, or the next one.
    fn swept_index(&self, from_id: u32) -> Option<(&RecordType, &Index)> {
        let types = self.schema().definition.types.iter();
        let indexes =
            types.flat_map(|record_type| record_type.indexes.iter().map(move |it| (record_type, it)));
        indexes
            .filter(|(_, index)| matches!(index.kind, IndexKind::TimeToLive { .. }) && index.id >= from_id)
            .min_by_key(|(_, index)| index.id)
    }

    fn behind_index(&self, mut cursor: ExpiryCursor) -> ExpiredPage {
        (cursor.index_id, cursor.after) = (cursor.index_id.saturating_add(1), None);
        let is_at_end = self.swept_index(cursor.index_id).is_none();
        ExpiredPage { so_far: cursor, is_at_end }
    }
}

impl Tenant {
    /// Deletes the records whose time has come, by the time-to-live indexes of their types, in as many transactions as it takes: with everything that a deletion
    /// does, an entry in the change log among it. Whose time comes while it works is left to the next sweep. Records that may not be deleted, for others
    /// refer to them, stay and are counted.
    ///
    /// # Errors
    ///
    /// As [`run`](Tenant::run). What was deleted before the error stays deleted.
    pub async fn expire(&self) -> Result<Expired> {
        self.authorize(Operation::Expire)?;
        let mut cursor = ExpiryCursor::default();
        let mut rows_max = EXPIRY_ROWS_MAX;
        loop {
            let from = &cursor;
            match self
                .patient()
                .run(|transaction| async move { transaction.expire(from.clone(), rows_max).await })
                .await
            {
                Ok(ExpiredPage { so_far, is_at_end: true }) => return Ok(so_far.into()),
                Ok(ExpiredPage { so_far, .. }) => cursor = so_far,
                Err(error) if rows_max > 1 && is_too_much(&error) => rows_max /= 2,
                Err(error) => return Err(error),
            }
        }
    }
}

/// The primary key that an entry stands for.
pub(crate) fn expiring_key(record_type: &RecordType, index: &Index, entry: &Bytes) -> Result<Vec<Element>> {
    let mut elements = tuple::unpack(entry)?;
    if let (IndexKind::TimeToLive { after_s }, Some(Element::Int(at_us))) =
        (&index.kind, elements.first_mut())
    {
        // The column itself is that much earlier: it may belong to the primary key.
        let after_us = i64::try_from(*after_s).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        *at_us = at_us.saturating_sub(after_us);
    }
    index_form::primary_key(record_type, index, &elements, &[])
}

/// Whether a record stays because of what refers to it.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error.code(),
        Code::ReferenceRestricts | Code::CascadeTooLarge | Code::UniqueViolation | Code::ConstraintViolated
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use pollster::block_on;
    use tenantry_kv::conformance::reference::{ManualClock, manual_env_with_clock};

    use super::*;
    use crate::change_log::{LogPosition, read_after};
    use crate::jobs::{Expire, JobKinds, Worker};
    use crate::messages::{Change, LogEntry};
    use crate::{Database, PrimaryKey, Query, Record, SchemaDefinition, Value};

    const SCHEMA: &str = r#"
        name = "s"
        [types.visit]
        primary_key = ["id"]
        fields = { id = "int", at = { type = "timestamp", optional = true }, kept = "bool" }
        indexes.expiry = { kind = "time_to_live", fields = ["at"], after_s = 60, where = "!kept" }
        indexes.count = { kind = "count" }
        indexes.by_kept = { fields = ["kept"] }
        [types.page]
        primary_key = ["at", "id"]
        fields = { id = "int", at = "timestamp" }
        indexes.expiry = { kind = "time_to_live", fields = ["at"], after_s = 10 }
        [types.link]
        primary_key = ["id"]
        fields = { id = "int", visit = { type = "int", optional = true } }
        indexes.by_visit = { fields = ["visit"] }
        references.visit = { fields = ["visit"], to = "visit", on_delete = "restrict" }
    "#;

    fn tenant() -> (Tenant, Arc<ManualClock>) {
        let (env, clock) = manual_env_with_clock();
        let engine = crate::test_engine::engine(&env);
        let database = block_on(Database::open(engine, env, &crate::test_engine::name("t"))).unwrap();
        block_on(database.apply_schema(&SchemaDefinition::from_toml(SCHEMA).unwrap())).unwrap();
        (block_on(database.create_tenant("acme", "s")).unwrap(), clock)
    }

    /// A moment so many seconds after the clock's first.
    fn at(seconds: i64) -> Value {
        Value::Timestamp(crate::wire::timestamp_of(1_577_836_800_000_000 + seconds * 1_000_000).unwrap())
    }

    fn visit(id: i64, seconds: i64) -> Record {
        Record::new().with("id", id).with("at", at(seconds)).with("kept", false)
    }

    fn ids(tenant: &Tenant, record_type: &str) -> Vec<i64> {
        let page = block_on(tenant.query(&Query::of(record_type).rows_max(1_000))).unwrap();
        let id = |record: &Record| match record.get("id") {
            Some(Value::Int(id)) => *id,
            _ => -1,
        };
        page.records.iter().map(id).collect()
    }

    fn log(tenant: &Tenant) -> Vec<LogEntry> {
        let read = tenant.read(|transaction| async move {
            let header = transaction.header();
            let begin = LogPosition::at_version(0, 0);
            let engine = transaction.fenced_transaction();
            let page =
                read_after(&**engine, &transaction.tenant().keys, header.log_buckets, begin, 1_000_000, None)
                    .await?;
            Ok::<_, Error>(page.entries.into_iter().map(|logged| logged.entry).collect())
        });
        block_on(read).unwrap()
    }

    #[test]
    fn records_go_when_their_time_has_come_and_not_before() {
        let (tenant, clock) = tenant();
        for id in 0..10 {
            block_on(tenant.insert("visit", &visit(id, id * 10))).unwrap();
            let page = Record::new().with("id", id).with("at", at(id * 10));
            block_on(tenant.insert("page", &page)).unwrap();
        }
        // Without a moment, and without the index's condition: never.
        block_on(tenant.insert("visit", &Record::new().with("id", 100).with("kept", false))).unwrap();
        block_on(tenant.insert("visit", &visit(101, -1_000).with("kept", true))).unwrap();
        assert_eq!(block_on(tenant.expire()).unwrap(), Expired::default());
        clock.advance(Duration::from_secs(59));
        // The pages whose moment is 49 seconds after the begin or before.
        assert_eq!(block_on(tenant.expire()).unwrap().expired, 5);
        assert_eq!((ids(&tenant, "page"), ids(&tenant, "visit").len()), ((5..10).collect(), 12));
        clock.advance(Duration::from_secs(1));
        // One visit, and the page of second 50: each to the second.
        assert_eq!(block_on(tenant.expire()).unwrap().expired, 2);
        assert_eq!(ids(&tenant, "visit"), [1, 2, 3, 4, 5, 6, 7, 8, 9, 100, 101]);
        // A moment that was moved counts as it is now.
        block_on(tenant.put("visit", &visit(1, 1_000))).unwrap();
        block_on(tenant.put("visit", &visit(9, -30))).unwrap();
        clock.advance(Duration::from_secs(20));
        let before = log(&tenant).len();
        let id = block_on(tenant.database().create_job(&Expire, Some(&tenant), &serde_json::json!({})));
        block_on(Worker::new(tenant.database(), JobKinds::standard()).run_until_idle()).unwrap();
        let job = block_on(tenant.database().job(id.unwrap())).unwrap();
        assert_eq!(job.result.unwrap()["expired"], 4, "visits 2 and 9, pages 6 and 7");
        assert_eq!(ids(&tenant, "visit"), [1, 3, 4, 5, 6, 7, 8, 100, 101]);
        let by_index = Query::of("visit").filter("kept == false").rows_max(100);
        assert_eq!(block_on(tenant.query(&by_index)).unwrap().records.len(), 8);
        let deletions = log(&tenant).split_off(before).into_iter().flat_map(|entry| entry.operations);
        let deletions = deletions.filter(|it| matches!(it.change, Some(Change::RecordDelete(_)))).count();
        assert_eq!(deletions, 4);
    }

    #[test]
    fn what_others_forbid_to_delete_stays_and_is_told() {
        let (tenant, clock) = tenant();
        for id in 0..7 {
            block_on(tenant.insert("visit", &visit(id, 0))).unwrap();
        }
        for id in [0, 4] {
            block_on(tenant.insert("link", &Record::new().with("id", id).with("visit", id))).unwrap();
        }
        clock.advance(Duration::from_secs(60));
        // In steps of every size, and again from the front each time.
        let mut cursor = ExpiryCursor::default();
        let mut steps = 0;
        let swept = loop {
            let from = &cursor;
            let step = tenant.run(|transaction| async move { transaction.expire(from.clone(), 2).await });
            let page = block_on(step).unwrap();
            steps += 1;
            if page.is_at_end {
                break Expired::from(page.so_far);
            }
            cursor = page.so_far;
        };
        assert_eq!((swept.expired, swept.refused, steps), (5, 2, 5));
        assert!(
            swept.first_refusal.unwrap().contains("\"visit\" \"0\" cannot be deleted"),
            "it names the record"
        );
        assert_eq!(ids(&tenant, "visit"), [0, 4]);
        assert!(block_on(tenant.delete("link", &PrimaryKey::of(4))).unwrap());
        let swept = block_on(tenant.expire()).unwrap();
        assert_eq!((swept.expired, swept.refused), (1, 1));
        assert_eq!(ids(&tenant, "visit"), [0]);
    }
}
