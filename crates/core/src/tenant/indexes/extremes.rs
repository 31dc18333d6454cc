//! Least and greatest values of each group: every different value with the number of records that have it, so that the least is the first key of the group
//! and the greatest the last, also right after a deletion. Writers of one value do not conflict.

use super::amount::Amount;
use super::contributions::Contributions;
use super::{Maintainer, Subject};
use crate::error::Result;
use crate::index_form::{is_missing, rows};
use crate::key_form;
use crate::key_space::behind;

pub(super) struct Extremes;

impl Maintainer for Extremes {
    fn contribute(&self, subject: &Subject<'_>, contributions: &mut Contributions) -> Result<()> {
        let index = subject.index;
        let prefix = subject.keys.index(index.id)?;
        for row in rows(&index.columns, &subject.record.values)? {
            let has_value = index.columns.last().zip(row.last());
            if has_value.is_some_and(|(column, element)| !is_missing(column, element)) {
                contributions.add(behind(&prefix, &key_form::pack(&row)?), Amount::count(1))?;
            }
        }
        Ok(())
    }
}
