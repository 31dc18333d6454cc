//! Hashed indexes: an entry has one hash in the place of the index's columns, so that it is found by equality on all of them and tells nothing of what they are.
//!
//! The hash is of the bytes that an index in clear has of its columns, so that what is equal there is equal here. For a sealed tenant it is keyed, by a key that comes from the tenant's
//! own: data keys and root keys change, and entries stay. A tenant in clear has entries of the same form, with a hash that everybody can make.
//!
//! From the moment when a tenant is sealed to the one when everything of it is, entries are written with both hashes and looked for by the first. The job that seals writes the
//! second where it lacks, and in the transaction in which the header says that everything is sealed, those with the first are cleared: see `tenant/rehash.rs`. The element's first byte tells them apart.

use bytes::Bytes;
use tenantry_kv::tuple::{self, Element};

use crate::error::Result;
use crate::key_space::behind;
use crate::messages::TenantHeader;
use crate::schema::Index;
use crate::sealing::Sealer;

/// The first byte of a hash that everybody can make.
const OPEN: u8 = 1;
/// The first byte of one that takes the tenant's key.
const KEYED: u8 = 2;
/// The first byte of a byte string in a tuple.
const BYTES_CODE: u8 = 0x01;

/// What makes the hashes in a tenant's indexes.
#[derive(Clone, Copy)]
pub(crate) struct IndexHashes<'a> {
    uuid: &'a [u8],
    sealer: Option<&'a Sealer>,
}

impl<'a> IndexHashes<'a> {
    /// Those of the tenant with a header, with what seals if it is sealed.
    pub(crate) fn new(header: &'a TenantHeader, sealer: Option<&'a Sealer>) -> IndexHashes<'a> {
        IndexHashes { uuid: &header.uuid, sealer }
    }

    /// What stands for an index's columns in the entries that are looked for.
    pub(crate) fn element(&self, index: &Index, columns: &[Element]) -> Result<Element> {
        match self.sealer {
            Some(sealer) if sealer.is_complete() => keyed(sealer, index, columns),
            _ => {
                let mut hasher = blake3::Hasher::new_derive_key(
                    "tenantry 2026 hashes in the indexes of a tenant in clear",
                );
                hasher.update(self.uuid).update(&index.id.to_be_bytes()).update(&tuple::pack(columns)?);
                Ok(of_hash(OPEN, hasher.finalize().into()))
            }
        }
    }

    /// What will stand for them once everything of the tenant is sealed. `None` where it does so already, or never will.
    pub(crate) fn element_to_come(&self, index: &Index, columns: &[Element]) -> Result<Option<Element>> {
        self.sealer
            .filter(|sealer| !sealer.is_complete())
            .map(|sealer| keyed(sealer, index, columns))
            .transpose()
    }

    /// Whether an entry is one that nobody looks for yet; `entry` is its key behind the index's prefix.
    pub(crate) fn is_being_built(&self, index: &Index, entry: &[u8]) -> bool {
        let is_complete = self.sealer.is_none_or(Sealer::is_complete);
        index.is_hashed && !is_complete && entry.starts_with(&[BYTES_CODE, KEYED])
    }
}

fn keyed(sealer: &Sealer, index: &Index, columns: &[Element]) -> Result<Element> {
    Ok(of_hash(KEYED, sealer.index_hash(index.id, &tuple::pack(columns)?)?))
}

fn of_hash(form: u8, hash: [u8; 32]) -> Element {
    Element::Bytes([&[form][..], &hash].concat().into())
}

/// The keys of the entries with a hash that everybody can make, behind an index's prefix.
pub(crate) fn open_entries(prefix: &[u8]) -> (Bytes, Bytes) {
    (behind(prefix, &[BYTES_CODE, OPEN]), behind(prefix, &[BYTES_CODE, OPEN + 1]))
}
