//! What tells that how a tenant is sealed was written into its header by somebody who has the tenant's key.
//!
//! The incarnation is not in it: who moves a database changes that, without keys.

use uuid::Uuid;

use super::secret::SecretKey;
use crate::error::{Code, Error, Result};
use crate::messages::StoredSealing;

/// Signs how a tenant is sealed, and checks it.
pub(crate) struct HeaderKey(SecretKey);

impl SecretKey {
    /// The key of a tenant's header, made from the tenant's.
    pub(crate) fn header_key(&self) -> HeaderKey {
        HeaderKey(self.derived("tenantry 2026 key of what a tenant's header says of its seal"))
    }
}

impl HeaderKey {
    fn hash(&self, tenant: Uuid, sealing: &StoredSealing) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new_keyed(self.0.bytes());
        hasher.update(tenant.as_bytes());
        hasher.update(&sealing.generation.to_be_bytes());
        hasher.update(&sealing.generation_min.to_be_bytes());
        hasher.update(&[u8::from(sealing.is_complete)]);
        hasher.update(&sealing.shredded_us.to_be_bytes());
        for bytes in [&sealing.marker, &sealing.key_id] {
            hasher.update(&(bytes.len() as u64).to_be_bytes()).update(bytes);
        }
        hasher.finalize()
    }

    /// The same with the hash that belongs to it.
    pub(crate) fn signed(&self, tenant: Uuid, sealing: StoredSealing) -> StoredSealing {
        let hash = self.hash(tenant, &sealing).as_bytes().to_vec();
        StoredSealing { hash, ..sealing }
    }

    /// Fails unless it was signed with this key as it is.
    pub(crate) fn check(&self, tenant: Uuid, sealing: &StoredSealing) -> Result<()> {
        // Compared in a time that tells nothing.
        let is_signed = <[u8; 32]>::try_from(&sealing.hash[..])
            .is_ok_and(|hash| self.hash(tenant, sealing) == blake3::Hash::from_bytes(hash));
        match is_signed {
            true => Ok(()),
            false => Err(Error::new(
                Code::SealBroken,
                "what the tenant's header says of its seal was not written with the tenant's key: it was altered; put the header back from a backup",
            )),
        }
    }
}
