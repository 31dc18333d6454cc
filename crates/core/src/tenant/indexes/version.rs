//! Version indexes: the records of each group in the order of their last changes. An entry's key ends in the incarnation and the stamp of the
//! transaction, which the engine fills in at the commit; its value is the primary key.

use tenantry_kv::tuple::{self, Element};

use super::contributions::{Contributions, Stamped};
use super::{Maintainer, Subject};
use crate::error::Result;
use crate::index_form::rows;
use crate::key_form;
use crate::key_space::behind;

pub(super) struct Versions;

impl Maintainer for Versions {
    fn contribute(&self, subject: &Subject<'_>, contributions: &mut Contributions) -> Result<()> {
        let index = subject.index;
        let key = subject.record.elements(&subject.record_type.primary_key, subject.record_type)?;
        let value = key_form::pack(&key)?;
        for mut row in rows(&index.columns, &subject.record.values)? {
            let incarnation = subject.version.map_or(subject.incarnation, |version| version.incarnation);
            row.push(incarnation.into());
            let prefix = behind(&subject.keys.index(index.id)?, &key_form::pack(&row)?);
            match subject.version {
                None => contributions.stamp(Stamped { prefix, value: value.clone() }),
                Some(version) => {
                    let stamp =
                        Element::Versionstamp { stamp: Some(version.stamp), user_version: version.ordinal };
                    contributions.put(tuple::pack_after(&prefix, &[stamp])?, value.clone(), false)?;
                }
            }
        }
        Ok(())
    }
}
