//! Rank indexes: the position of each record in its group.

use super::contributions::Contributions;
use super::ranked_set::Place;
use super::{Maintainer, Subject, rest_elements};
use crate::error::Result;
use crate::index_form::rows;
use crate::key_form;

pub(super) struct Ranks;

impl Maintainer for Ranks {
    fn contribute(&self, subject: &Subject<'_>, contributions: &mut Contributions) -> Result<()> {
        let index = subject.index;
        let rest = rest_elements(subject)?;
        // No column takes each element of a list: there is one row.
        for row in rows(&index.columns, &subject.record.values)? {
            let (group, own) = row.split_at(index.group_columns);
            let element = key_form::pack(&[own, &rest[..]].concat())?;
            contributions.rank(Place::new(index.id, group, element)?);
        }
        Ok(())
    }
}
