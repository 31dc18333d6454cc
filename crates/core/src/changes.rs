//! The records of a type in the order of their last changes, from an index of the kind `version`.

use tenantry_kv::RangeRequest;
use tenantry_kv::tuple::{self, Element};

use crate::access::Operation;
use crate::error::{Code, Error, Result, shown};
use crate::index_form;
use crate::key_space::{behind, clamp};
use crate::record::{Record, RecordVersion};
use crate::schema::IndexKind;
use crate::tenant::{Tenant, TenantReader, TenantTransaction};
use crate::value::Value;

impl Tenant {
    /// The records that were changed last, in the order of their changes, after a version.
    ///
    /// # Errors
    ///
    /// As [`TenantTransaction::changed_after`].
    pub async fn changed_after(
        &self,
        record_type: &str,
        index: &str,
        group: &[Option<Value>],
        after: Option<RecordVersion>,
        rows_max: usize,
    ) -> Result<Vec<Record>> {
        self.read(|transaction| async move {
            transaction.changed_after(record_type, index, group, after, rows_max).await
        })
        .await
    }
}

impl TenantReader {
    /// As [`TenantTransaction::changed_after`].
    ///
    /// # Errors
    ///
    /// Its own.
    pub async fn changed_after(
        &self,
        record_type: &str,
        index: &str,
        group: &[Option<Value>],
        after: Option<RecordVersion>,
        rows_max: usize,
    ) -> Result<Vec<Record>> {
        self.transaction().changed_after(record_type, index, group, after, rows_max).await
    }
}

impl TenantTransaction {
    /// The records whose last change came after a version, in the order of their changes, by an index of the kind `version`. The version of the last record
    /// is what to go on after. Deleted records are not in the index; what this transaction has written has no version yet and is not shown.
    ///
    /// `group` has one value for each column of the index's group; `None` for missing.
    ///
    /// # Errors
    ///
    /// 20023; 20042 for an index of another kind or a group that does not fit it; 20060 for more than 10,000 records; the engine's own.
    pub async fn changed_after(
        &self,
        record_type: &str,
        index: &str,
        group: &[Option<Value>],
        after: Option<RecordVersion>,
        rows_max: usize,
    ) -> Result<Vec<Record>> {
        let record_type = self.permit(Operation::ChangedAfter, record_type)?.record_type;
        clamp::check_rows("records of a page", rows_max)?;
        let index = record_type.index(index)?;
        if index.kind != IndexKind::Version || group.len() != index.columns.len() {
            let detail = format!(
                "the index {} is of kind {} with a group of {} columns: changes are read from a version index, with a value for each",
                shown(&index.name),
                index.kind.name(),
                index.group_columns
            );
            return Err(Error::new(Code::QueryInvalid, detail));
        }
        let columns = index.columns.iter().zip(group);
        let elements = columns.map(|(column, value)| index_form::element(column, value.as_ref()));
        let elements: Vec<Element> = elements
            .collect::<Result<_>>()
            .map_err(|error| Error::new(Code::QueryInvalid, error.detail()))?;
        let prefix = behind(&self.tenant().keys.index(index.id)?, &tuple::pack(&elements)?);
        let range = clamp::index_range(&prefix);
        let begin = match after {
            None => range.begin,
            Some(version) => {
                let stamp =
                    Element::Versionstamp { stamp: Some(version.stamp), user_version: version.ordinal };
                behind(&tuple::pack_after(&prefix, &[version.incarnation.into(), stamp])?, &[0])
            }
        };
        let mut keys = Vec::new();
        let mut next = Some(RangeRequest::new(begin, range.end).limit(rows_max));
        while let Some(request) = next {
            let batch = self.engine_range(&request).await?;
            for row in &batch.rows {
                keys.push(self.record_keys(record_type, &tuple::unpack(&row.value)?)?);
            }
            next = request.after(&batch);
        }
        self.tenant().database.inner.count_index_uses(self.schema(), &[index.id].into());
        // All of them at once.
        let isolation = self.isolation();
        let parts: Vec<_> =
            keys.iter().map(|keys| Ok(self.get_key(&keys.part(0)?, isolation))).collect::<Result<_>>()?;
        let mut records = Vec::with_capacity(keys.len());
        for (keys, part) in keys.iter().zip(parts) {
            // A record that this transaction deleted or wrote has no place here any more.
            let Some(part) = part.await? else { continue };
            let record = self.assemble(record_type, keys, &part, isolation).await?.record;
            records.extend(Some(record).filter(|record| record.version().is_some()));
        }
        Ok(records)
    }
}
