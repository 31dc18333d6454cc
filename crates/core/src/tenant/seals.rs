//! What a transaction on a sealed tenant seals and opens. On one that is not, everything stays as it is.

use std::borrow::Cow;

use bytes::Bytes;

use super::transaction::TenantTransaction;
use crate::error::{Code, Error, Result};
use crate::index_hash::IndexHashes;
use crate::record::frame::Format;
use crate::schema::Index;
use crate::sealing::Sealer;

impl TenantTransaction {
    /// What seals and opens, for a sealed tenant.
    pub(crate) fn sealer(&self) -> Option<&Sealer> {
        self.sealer.as_deref()
    }

    /// What makes the hashes in indexes.
    pub(crate) fn index_hashes(&self) -> IndexHashes<'_> {
        IndexHashes::new(&self.header, self.sealer())
    }

    /// What holds a record's payload, as it is stored. `key` is the record's without its part.
    pub(super) fn sealed_record(
        &self,
        key: &[u8],
        format: Format,
        incarnation: u32,
        payload_size_bytes: usize,
        packed: &Bytes,
    ) -> Result<(Format, Bytes)> {
        let Some(sealer) = &self.sealer else { return Ok((format, packed.clone())) };
        let format = format.sealed();
        let sealed = sealer.seal_record(key, format as u8, incarnation, payload_size_bytes, packed)?;
        Ok((format, sealed.into()))
    }

    /// What holds a record's payload, its seal off. `key` is the record's without its part.
    pub(crate) async fn opened_record<'a>(
        &self,
        key: &[u8],
        format: Format,
        incarnation: u32,
        packed: Cow<'a, [u8]>,
    ) -> Result<Cow<'a, [u8]>> {
        let what = "a record";
        match (&self.sealer, format.is_sealed()) {
            (None, false) => Ok(packed),
            (None, true) => {
                let error = Error::new(Code::SealBroken, "a record is sealed, but its tenant is not");
                Err(self.named(key, error))
            }
            (Some(sealer), true) => {
                let transaction = &*self.transaction;
                let opened = sealer.open_record(transaction, key, format as u8, incarnation, &packed, what);
                opened.await.map(Cow::Owned).map_err(|error| self.named(key, error))
            }
            (Some(sealer), false) => {
                sealer.check_clear(what).map_err(|error| self.named(key, error))?;
                Ok(packed)
            }
        }
    }

    /// The error with the name of the record type that a key belongs to.
    pub(super) fn named(&self, key: &[u8], error: Error) -> Error {
        if error.code() != Code::SealBroken {
            return error;
        }
        let types = &self.schema().definition.types;
        let is_of =
            |type_id: u32| self.tenant.keys.records(type_id).is_ok_and(|prefix| key.starts_with(&prefix));
        match types.iter().find(|record_type| is_of(record_type.id)) {
            Some(record_type) => Error::new(
                error.code(),
                format!("{}: {}", crate::error::shown(&record_type.name), error.detail()),
            ),
            None => error,
        }
    }

    /// A value of the tenant's own key-value space, as it is read.
    pub(crate) async fn opened_raw(&self, key: &[u8], value: Bytes) -> Result<Bytes> {
        self.opened_value(key, value, "a value of the key-value space").await
    }

    /// A value that was sealed for the key that it lies under.
    pub(super) async fn opened_value(&self, key: &[u8], value: Bytes, what: &str) -> Result<Bytes> {
        match &self.sealer {
            Some(sealer) => sealer.open_value(&*self.transaction, key, value, what).await,
            None => Ok(value),
        }
    }

    /// A value as it is stored under a key.
    pub(super) fn sealed_value(&self, key: &[u8], value: Bytes) -> Result<Bytes> {
        match &self.sealer {
            Some(sealer) => sealer.seal_value(key, &value),
            None => Ok(value),
        }
    }

    /// The value of an index's entry, as it is stored: sealed where it covers fields.
    pub(crate) fn sealed_entry(&self, index: &Index, key: &[u8], value: Bytes) -> Result<Bytes> {
        match index.covering.is_empty() {
            true => Ok(value),
            false => self.sealed_value(key, value),
        }
    }

    /// The value of an index's entry, as it was before it was sealed.
    pub(crate) async fn opened_entry(&self, index: &Index, key: &[u8], value: Bytes) -> Result<Bytes> {
        if index.covering.is_empty() || self.sealer.is_none() {
            return Ok(value);
        }
        self.opened_value(key, value, &format!("an entry of the index {}", crate::error::shown(&index.name)))
            .await
    }
}
