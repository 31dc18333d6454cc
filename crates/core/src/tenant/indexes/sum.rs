//! Sums of a field over each group, with the number of the records that have it.

use super::amount::Amount;
use super::contributions::Contributions;
use super::{Maintainer, Subject};
use crate::error::Result;
use crate::index_form::rows;
use crate::value::Value;

pub(super) struct Sums;

impl Maintainer for Sums {
    fn contribute(&self, subject: &Subject<'_>, contributions: &mut Contributions) -> Result<()> {
        let index = subject.index;
        let (group, summed) = index.columns.split_at(index.group_columns);
        let Some(value) = summed.first().and_then(|column| column.expression.value(&subject.record.values))
        else {
            return Ok(());
        };
        let amount = match &*value {
            Value::Int(value) => Amount::integer(*value),
            Value::Decimal(value) => Amount::decimal(*value),
            _ => return Ok(()),
        };
        for group in rows(group, &subject.record.values)? {
            let keys = subject.keys.aggregate(index.id, &group)?;
            contributions.add(keys.count, Amount::count(1))?;
            contributions.add(keys.sum, amount.clone())?;
        }
        Ok(())
    }
}
