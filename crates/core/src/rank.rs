//! Positions: of a record in its group, of a value, and what is at a position, by a rank index.

use bytes::Bytes;
use tenantry_kv::tuple::{self, Element};

use crate::access::Operation;
use crate::error::{Code, Error, Result, limit, shown};
use crate::index_form;
use crate::key_form;
use crate::limits::GET_MANY_KEYS_MAX;
use crate::record::{PrimaryKey, Record};
use crate::schema::{Column, Index, IndexKind, RecordType};
use crate::tenant::{RankedSet, Tenant, TenantReader, TenantTransaction};
use crate::value::Value;

impl TenantTransaction {
    /// The position of a record in its group, from 0; `None` if it does not exist or is not in the index.
    ///
    /// # Errors
    ///
    /// 20023; 20042 for an index that there is not or that is of another kind; 20033 for a key that does not fit; the engine's own.
    pub async fn rank_of(&self, record_type: &str, index: &str, key: &PrimaryKey) -> Result<Option<u64>> {
        let record_type = self.permit(Operation::Rank, record_type)?.record_type;
        let index = rank_index(record_type, index)?;
        let keys = self.record_keys(record_type, &key.elements(record_type)?)?;
        let Some(stored) = self.load(record_type, &keys, self.isolation()).await? else { return Ok(None) };
        let Some(place) = self.place(record_type, index, &stored.record)? else { return Ok(None) };
        let _alone = self.ranks.lock().await;
        let set = self.ranked_set(index, &place.group)?;
        match set.contains(&place.element, self.isolation()).await? {
            true => set.rank(&place.element, self.isolation()).await.map(Some),
            false => Ok(None),
        }
    }

    /// How many records of a group come before some values of the index's columns: all of them, or the first ones. There need not be a record that has them.
    ///
    /// # Errors
    ///
    /// 20033 for values that do not fit the columns, or are more or fewer; otherwise as [`rank_of`](TenantTransaction::rank_of).
    pub async fn rank_of_value(
        &self,
        record_type: &str,
        index: &str,
        group: &[Option<Value>],
        values: &[Option<Value>],
    ) -> Result<u64> {
        let index = rank_index(self.permit(Operation::Rank, record_type)?.record_type, index)?;
        let (_, own) = index.columns.split_at(index.group_columns);
        let bound = packed(index, own, values, true)?;
        let _alone = self.ranks.lock().await;
        self.set_of_group(index, group)?.rank(&bound, self.isolation()).await
    }

    /// The record at a position of a group, from 0.
    ///
    /// # Errors
    ///
    /// As [`rank_of_value`](TenantTransaction::rank_of_value).
    pub async fn at_rank(
        &self,
        record_type: &str,
        index: &str,
        group: &[Option<Value>],
        position: u64,
    ) -> Result<Option<Record>> {
        Ok(self.ranked(record_type, index, group, position, 1).await?.pop())
    }

    /// The records of a group from a position on, in the index's order: from 0, the first ones.
    ///
    /// # Errors
    ///
    /// 20060 for more than 1,000 records or 32,000,000 bytes of them; as [`rank_of_value`](TenantTransaction::rank_of_value).
    pub async fn ranked(
        &self,
        record_type: &str,
        index: &str,
        group: &[Option<Value>],
        from_position: u64,
        rows_max: usize,
    ) -> Result<Vec<Record>> {
        let definition = self.permit(Operation::Rank, record_type)?.record_type;
        if rows_max > GET_MANY_KEYS_MAX {
            return Err(limit("the records that are read together", rows_max, GET_MANY_KEYS_MAX));
        }
        let index = rank_index(definition, index)?;
        let elements = {
            let _alone = self.ranks.lock().await;
            self.set_of_group(index, group)?.at(from_position, rows_max, self.isolation()).await?
        };
        let group = packed_group(index, group)?;
        let keys: Vec<PrimaryKey> = elements
            .iter()
            .map(|element| primary_key(definition, index, &group, element))
            .collect::<Result<_>>()?;
        let records = self.get_many(record_type, &keys).await?;
        records.into_iter().map(|record| record.ok_or_else(|| dangling(index))).collect()
    }

    /// How many records a group has.
    ///
    /// # Errors
    ///
    /// As [`rank_of_value`](TenantTransaction::rank_of_value).
    pub async fn rank_count(&self, record_type: &str, index: &str, group: &[Option<Value>]) -> Result<u64> {
        let index = rank_index(self.permit(Operation::Rank, record_type)?.record_type, index)?;
        let _alone = self.ranks.lock().await;
        self.set_of_group(index, group)?.count_all(self.isolation()).await
    }

    fn set_of_group(&self, index: &Index, group: &[Option<Value>]) -> Result<RankedSet<'_>> {
        self.ranked_set(index, &packed_group(index, group)?)
    }

    fn ranked_set(&self, index: &Index, group: &[u8]) -> Result<RankedSet<'_>> {
        self.tenant().database.inner.count_index_uses(self.schema(), &[index.id].into());
        RankedSet::new(self.fenced_transaction(), &self.tenant().keys, index.id, group)
    }
}

fn packed_group(index: &Index, group: &[Option<Value>]) -> Result<Bytes> {
    packed(index, &index.columns[..index.group_columns.min(index.columns.len())], group, false)
}

fn rank_index<'a>(record_type: &'a RecordType, name: &str) -> Result<&'a Index> {
    let ranks = || record_type.indexes.iter().filter(|index| index.kind == IndexKind::Rank);
    if let Some(index) = ranks().find(|index| index.name == name) {
        return Ok(index);
    }
    let names: Vec<String> = ranks().map(|index| shown(&index.name)).collect();
    let detail = match names.is_empty() {
        true => format!("{} has no index of kind rank: add one to its schema", shown(&record_type.name)),
        false => format!(
            "{} is no index of kind rank of {}; there are {}",
            shown(name),
            shown(&record_type.name),
            names.join(", ")
        ),
    };
    Err(Error::new(Code::QueryInvalid, detail))
}

/// Values as they stand in keys.
fn packed(index: &Index, columns: &[Column], values: &[Option<Value>], may_be_fewer: bool) -> Result<Bytes> {
    if values.len() > columns.len() || values.len() < columns.len() && !may_be_fewer {
        let names: Vec<&str> = columns.iter().map(|column| column.text.as_str()).collect();
        let detail = format!(
            "the index {} takes {} values here ({}), not {}",
            shown(&index.name),
            columns.len(),
            names.join(", "),
            values.len()
        );
        return Err(Error::new(Code::KeyInvalid, detail));
    }
    let elements = columns.iter().zip(values).map(|(column, value)| {
        index_form::element(column, value.as_ref()).map_err(|error| {
            let detail = format!("{} of the index {}: {}", column.text, shown(&index.name), error.detail());
            Error::new(error.code(), detail)
        })
    });
    key_form::pack(&elements.collect::<Result<Vec<Element>>>()?)
}

fn primary_key(record_type: &RecordType, index: &Index, group: &[u8], element: &[u8]) -> Result<PrimaryKey> {
    let elements = tuple::unpack(&crate::key_space::behind(group, element))?;
    let key = index_form::primary_key(record_type, index, &elements, &[])?;
    let values = record_type.primary_key.iter().zip(&key).map(|(name, element)| {
        key_form::value(element, &record_type.field(name)?.field_type).ok_or_else(|| dangling(index))
    });
    Ok(PrimaryKey { values: values.collect::<Result<_>>()? })
}

fn dangling(index: &Index) -> Error {
    let detail =
        format!("an entry of the index {} stands for a record that is not there", shown(&index.name));
    Error::new(Code::StoredDataInvalid, detail)
}

macro_rules! reads {
    ($($(#[$documentation:meta])* $name:ident($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {
        /// Each in a transaction of its own.
        impl Tenant {
            $($(#[$documentation])*
            pub async fn $name(&self, record_type: &str, index: &str, $($argument: $kind),*) -> Result<$result> {
                self.read(|transaction| async move { transaction.$name(record_type, index, $($argument),*).await }).await
            })*
        }

        impl TenantReader {
            $($(#[$documentation])*
            pub async fn $name(&self, record_type: &str, index: &str, $($argument: $kind),*) -> Result<$result> {
                self.transaction().$name(record_type, index, $($argument),*).await
            })*
        }
    };
}

reads! {
    /// As [`TenantTransaction::rank_of`].
    ///
    /// # Errors
    ///
    /// Its own.
    rank_of(key: &PrimaryKey) -> Option<u64>;
    /// As [`TenantTransaction::rank_of_value`].
    ///
    /// # Errors
    ///
    /// Its own.
    rank_of_value(group: &[Option<Value>], values: &[Option<Value>]) -> u64;
    /// As [`TenantTransaction::at_rank`].
    ///
    /// # Errors
    ///
    /// Its own.
    at_rank(group: &[Option<Value>], position: u64) -> Option<Record>;
    /// As [`TenantTransaction::ranked`].
    ///
    /// # Errors
    ///
    /// Its own.
    ranked(group: &[Option<Value>], from_position: u64, rows_max: usize) -> Vec<Record>;
    /// As [`TenantTransaction::rank_count`].
    ///
    /// # Errors
    ///
    /// Its own.
    rank_count(group: &[Option<Value>]) -> u64;
}
