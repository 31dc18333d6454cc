//! Value indexes: the records in the order of some columns, or by a hash of them.

use bytes::Bytes;
use tenantry_kv::tuple::{self, Element};

use super::contributions::Contributions;
use super::{Maintainer, Subject, rest_elements};
use crate::error::{Error, Result};
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
            let (in_key, in_value) = match is_exclusive {
                true => (&[][..], &rest[..]),
                false => (&rest[..], &[][..]),
            };
            let value = match (&carried, in_value) {
                (None, []) => Bytes::new(),
                (carried, elements) => {
                    let elements: Vec<Element> = elements.iter().chain(carried).cloned().collect();
                    tuple::pack(&elements)?
                }
            };
            let rest = key_form::pack(in_key)?;
            let key = |columns: &[Element]| {
                Ok::<_, Error>(behind(&prefix, &behind(&key_form::pack(columns)?, &rest)))
            };
            if !index.is_hashed {
                contributions.put(key(&row)?, value, is_exclusive)?;
                continue;
            }
            contributions.put(key(&[subject.hashes.element(index, &row)?])?, value.clone(), is_exclusive)?;
            if let Some(element) = subject.hashes.element_to_come(index, &row)? {
                contributions.put_again(key(&[element])?, value, is_exclusive);
            }
        }
        Ok(())
    }
}
