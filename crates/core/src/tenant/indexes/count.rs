//! Counts: how many records there are in each group.

use super::amount::Amount;
use super::contributions::Contributions;
use super::{Maintainer, Subject};
use crate::error::Result;
use crate::index_form::rows;

pub(super) struct Counts;

impl Maintainer for Counts {
    fn contribute(&self, subject: &Subject<'_>, contributions: &mut Contributions) -> Result<()> {
        for group in rows(&subject.index.columns, &subject.record.values)? {
            let key = subject.keys.aggregate(subject.index.id, &group)?.count;
            contributions.add(key, Amount::count(1))?;
        }
        Ok(())
    }
}
