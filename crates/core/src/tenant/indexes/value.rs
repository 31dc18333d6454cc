//! Value indexes: the records in the order of some columns.

use bytes::Bytes;
use tenantry_kv::tuple::{self, Element};

use super::contributions::Contributions;
use super::{Maintainer, Subject, rest_elements};
use crate::error::Result;
use crate::index_form::{carried, is_missing, rows};
use crate::key_form;
use crate::key_space::behind;
use crate::schema::{IndexKind, MissingRule};

pub(super) struct Values;

impl Maintainer for Values {
    fn contribute(&self, subject: &Subject<'_>, contributions: &mut Contributions) -> Result<()> {
        let index = subject.index;
        let prefix = subject.keys.index(index.id)?;
        let rest = rest_elements(subject)?;
        let carried = match index.covering.is_empty() {
            true => None,
            false => Some(Element::Bytes(carried(subject.record_type, index, subject.record)?)),
        };
        for row in rows(&index.columns, &subject.record.values)? {
            let has_missing =
                index.columns.iter().zip(&row).any(|(column, element)| is_missing(column, element));
            let is_exclusive = match index.kind {
                IndexKind::Value { unique: Some(MissingRule::Distinct) } => !has_missing,
                IndexKind::Value { unique: Some(MissingRule::Equal) } => true,
                _ => false,
            };
            let columns = key_form::pack(&row)?;
            let (key, in_value) = match is_exclusive {
                true => (behind(&prefix, &columns), &rest[..]),
                false => (behind(&prefix, &behind(&columns, &key_form::pack(&rest)?)), &[][..]),
            };
            let value = match (&carried, in_value) {
                (None, []) => Bytes::new(),
                (carried, elements) => {
                    let elements: Vec<Element> = elements.iter().chain(carried).cloned().collect();
                    tuple::pack(&elements)?
                }
            };
            contributions.put(key, value, is_exclusive)?;
        }
        Ok(())
    }
}
