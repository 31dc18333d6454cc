//! Time-to-live indexes: the records in the order in which their time comes. Their entries are those of a value index on the moment when a record's time has
//! come; the sweep (`expiry`) takes them from the front.

use bytes::Bytes;
use tenantry_kv::tuple::Element;

use super::contributions::Contributions;
use super::{Maintainer, Subject, rest_elements};
use crate::error::Result;
use crate::key_form;
use crate::key_space::behind;
use crate::record::Record;
use crate::schema::{Index, IndexKind};
use crate::value::Value;

pub(super) struct TimesToLive;

impl Maintainer for TimesToLive {
    fn contribute(&self, subject: &Subject<'_>, contributions: &mut Contributions) -> Result<()> {
        let Some(at_us) = expiry_us(subject.index, subject.record) else { return Ok(()) };
        let mut elements = vec![Element::Int(at_us)];
        elements.extend(rest_elements(subject)?);
        let prefix = subject.keys.index(subject.index.id)?;
        contributions.put(behind(&prefix, &key_form::pack(&elements)?), Bytes::new(), false)
    }
}

/// When a record's time has come, in microseconds since 1970. `None` for a record that is kept for ever.
pub(crate) fn expiry_us(index: &Index, record: &Record) -> Option<i64> {
    let IndexKind::TimeToLive { after_s } = index.kind else { return None };
    let column = index.columns.last()?;
    match column.expression.value(&record.values).as_deref() {
        Some(Value::Timestamp(moment)) => {
            let after_us = i64::try_from(after_s).unwrap_or(i64::MAX).saturating_mul(1_000_000);
            Some(moment.as_microsecond().saturating_add(after_us))
        }
        _ => None,
    }
}
