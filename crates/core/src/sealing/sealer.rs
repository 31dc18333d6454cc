//! Seals and opens what a tenant stores, within one transaction.
//!
//! Whatever is sealed is bound to the tenant's UUID, the incarnation it was written in, and its key behind the tenant's prefix, in which its type stands. What comes to lie
//! under a key that the engine stamps is bound to the key without the stamp, and to an id of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tenantry_kv::Transaction;
use uuid::Uuid;

use super::data_keys::{DataKey, DataKeys};
use super::keyring::shredded;
use super::secret;
use crate::cipher::{NONCE_SIZE_BYTES, TAG_SIZE_BYTES};
use crate::error::{Code, Error, Result};
use crate::key_space::TenantKeys;
use crate::messages::{SealedLog, StoredSealing, TenantHeader};

/// The first byte of what marks a sealed value: neither a tuple nor a message begins with it.
pub(crate) const MARKER_FIRST_BYTE: u8 = 3;
/// How many bytes mark a sealed value: those behind the first are the tenant's own, at random, so that no value of an application is taken for a sealed one.
pub(crate) const MARKER_SIZE_BYTES: usize = 8;
/// What stands in front of the nonce of a sealed record: generation and size of the payload.
const RECORD_HEAD_SIZE_BYTES: usize = 8;
/// How much longer a record gets.
const RECORD_SEAL_SIZE_BYTES: usize = RECORD_HEAD_SIZE_BYTES + NONCE_SIZE_BYTES + TAG_SIZE_BYTES;
/// Marker, kind, generation and incarnation.
const VALUE_HEAD_SIZE_BYTES: usize = MARKER_SIZE_BYTES + 9;
/// The place of a stamp, and an id.
const STAMPED_HEAD_SIZE_BYTES: usize = 18;
/// How much longer a value gets, at most.
pub(crate) const VALUE_SEAL_SIZE_BYTES_MAX: usize =
    VALUE_HEAD_SIZE_BYTES + STAMPED_HEAD_SIZE_BYTES + NONCE_SIZE_BYTES + TAG_SIZE_BYTES;
const STAMP_SIZE_BYTES: usize = 10;

/// What a sealed value is bound to.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Bound {
    Key = 1,
    StampedKey = 2,
}

/// Seals and opens what a tenant stores.
pub(crate) struct Sealer {
    data_keys: Arc<DataKeys>,
    keys: TenantKeys,
    tenant: Uuid,
    incarnation: u32,
    marker: Vec<u8>,
    is_complete: bool,
    /// The key that seals; or why there is none, told to whoever needs it.
    current: Result<Arc<DataKey>>,
    /// Keys of other generations that were needed.
    others: Mutex<BTreeMap<u32, Arc<DataKey>>>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sealer({}, {:?})", self.tenant, self.current)
    }
}

/// How a stored value is, as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sealed {
    /// From before the tenant was sealed.
    Not,
    /// With the data key of a generation.
    By(u32),
}

impl Sealer {
    /// What a transaction seals with, if its tenant is sealed. Where the keys are missing, whatever needs them fails later: a tenant without its keys can still be described and
    /// deleted.
    pub(crate) async fn begin(
        data_keys: &Arc<DataKeys>,
        transaction: &dyn Transaction,
        keys: &TenantKeys,
        header: &TenantHeader,
    ) -> Option<Arc<Sealer>> {
        // The header's reader has made sure of the UUID.
        let tenant = Uuid::from_slice(&header.uuid).unwrap_or_default();
        let current = match &header.sealing {
            Some(sealing) => current_key(data_keys, transaction, keys, tenant, sealing).await,
            None => Err(data_keys.check_in_clear(tenant).await.err()?),
        };
        let sealing = header.sealing.as_ref();
        Some(Arc::new(Sealer {
            data_keys: data_keys.clone(),
            keys: keys.clone(),
            tenant,
            incarnation: header.incarnation,
            marker: sealing.map(|sealing| sealing.marker.clone()).unwrap_or_default(),
            is_complete: sealing.is_none_or(|sealing| sealing.is_complete),
            current,
            others: Mutex::default(),
        }))
    }

    fn current(&self) -> Result<&Arc<DataKey>> {
        self.current.as_ref().map_err(Clone::clone)
    }

    /// The generation that seals.
    pub(crate) fn generation(&self) -> Result<u32> {
        Ok(self.current()?.generation)
    }

    /// Whether nothing is left in clear from before the tenant was sealed.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The hash of what an index has of a record in its columns. Nobody makes it without the tenant's key.
    pub(crate) fn index_hash(&self, index_id: u32, columns: &[u8]) -> Result<[u8; 32]> {
        let mut hasher = blake3::Hasher::new_keyed(self.current()?.index_key.bytes());
        hasher.update(&index_id.to_be_bytes()).update(columns);
        Ok(hasher.finalize().into())
    }

    /// What the header is to say of the seal from now on.
    pub(crate) fn signed(&self, sealing: StoredSealing) -> Result<StoredSealing> {
        Ok(self.current()?.header_key.signed(self.tenant, sealing))
    }

    fn others(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<DataKey>>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn key(&self, transaction: &dyn Transaction, generation: u32) -> Result<Arc<DataKey>> {
        let current = self.current()?;
        if current.generation == generation {
            return Ok(current.clone());
        }
        if let Some(key) = self.others().get(&generation) {
            return Ok(key.clone());
        }
        let key = self.data_keys.get(transaction, &self.keys, self.tenant, generation).await?;
        self.others().insert(generation, key.clone());
        Ok(key)
    }

    /// Fails for a value in clear where everything is sealed: somebody put it there beside the layer.
    pub(crate) fn check_clear(&self, what: &str) -> Result<()> {
        // Whoever has no key is told so, not shown a part of the tenant.
        self.current()?;
        match self.is_complete {
            true => Err(Error::new(
                Code::SealBroken,
                format!(
                    "{what} is in clear, but everything of the tenant is sealed: it was put there from outside"
                ),
            )),
            false => Ok(()),
        }
    }

    fn bound_to(&self, domain: u8, format: u8, incarnation: u32, number: u32, key: &[u8]) -> Vec<u8> {
        let mut bound = Vec::with_capacity(26 + key.len());
        bound.extend_from_slice(&[domain, format]);
        bound.extend_from_slice(self.tenant.as_bytes());
        bound.extend_from_slice(&incarnation.to_be_bytes());
        bound.extend_from_slice(&number.to_be_bytes());
        bound.extend_from_slice(self.keys.behind_prefix(key));
        bound
    }

    /// What holds a record's payload, sealed for a record that was written in an incarnation. `key` is the record's without its part, `format` the byte in its frame.
    pub(crate) fn seal_record(
        &self,
        key: &[u8],
        format: u8,
        incarnation: u32,
        payload_size_bytes: usize,
        packed: &[u8],
    ) -> Result<Vec<u8>> {
        let current = self.current()?;
        let size = u32::try_from(payload_size_bytes).unwrap_or(u32::MAX);
        let bound = self.bound_to(b'r', format, incarnation, size, key);
        let mut sealed = Vec::with_capacity(RECORD_SEAL_SIZE_BYTES + packed.len());
        sealed.extend_from_slice(&current.generation.to_be_bytes());
        sealed.extend_from_slice(&size.to_be_bytes());
        secret::seal(&current.cipher, &*self.data_keys.env.entropy, &mut sealed, &bound, packed)?;
        Ok(sealed)
    }

    /// What [`seal_record`](Sealer::seal_record) sealed in an incarnation; `what` names it in the error.
    pub(crate) async fn open_record(
        &self,
        transaction: &dyn Transaction,
        key: &[u8],
        format: u8,
        incarnation: u32,
        sealed: &[u8],
        what: &str,
    ) -> Result<Vec<u8>> {
        let (head, rest) =
            sealed.split_first_chunk::<RECORD_HEAD_SIZE_BYTES>().ok_or_else(|| broken(what))?;
        let [generation, size] = [0, 4].map(|place| number_at(head, place));
        let data_key = self.key(transaction, generation).await?;
        let bound = self.bound_to(b'r', format, incarnation, size, key);
        secret::open(&data_key.cipher, rest, &bound).ok_or_else(|| broken(what))
    }

    /// A value, sealed for the key that it lies under.
    pub(crate) fn seal_value(&self, key: &[u8], value: &[u8]) -> Result<Bytes> {
        let current = self.current()?;
        let mut sealed = self.value_head(current, Bound::Key, value.len());
        let bound = self.bound_to(b'v', Bound::Key as u8, self.incarnation, 0, key);
        secret::seal(&current.cipher, &*self.data_keys.env.entropy, &mut sealed, &bound, value)?;
        Ok(sealed.into())
    }

    /// A value, sealed for a key in which the engine puts its stamp at a place. It is bound to the rest of the key, and to an id of its own.
    pub(crate) fn seal_stamped_value(&self, key: &[u8], stamp_place: usize, value: &[u8]) -> Result<Bytes> {
        let current = self.current()?;
        let relative = stamp_place.saturating_sub(key.len() - self.keys.behind_prefix(key).len());
        let relative = u16::try_from(relative).unwrap_or(u16::MAX);
        let mut id = [0; 16];
        self.data_keys.env.entropy.fill(&mut id);
        let mut sealed = self.value_head(current, Bound::StampedKey, value.len());
        sealed.extend_from_slice(&relative.to_be_bytes());
        sealed.extend_from_slice(&id);
        let bound = self.bound_to_stamped(self.incarnation, key, relative, id);
        secret::seal(&current.cipher, &*self.data_keys.env.entropy, &mut sealed, &bound, value)?;
        Ok(sealed.into())
    }

    fn bound_to_stamped(&self, incarnation: u32, key: &[u8], stamp_place: u16, id: [u8; 16]) -> Vec<u8> {
        let mut bound =
            self.bound_to(b'v', Bound::StampedKey as u8, incarnation, u32::from(stamp_place), key);
        let begin = bound.len() - self.keys.behind_prefix(key).len() + usize::from(stamp_place);
        if let Some(stamp) = bound.get_mut(begin..begin + STAMP_SIZE_BYTES) {
            stamp.fill(0);
        }
        bound.extend_from_slice(&id);
        bound
    }

    fn value_head(&self, current: &DataKey, bound: Bound, value_size_bytes: usize) -> Vec<u8> {
        let mut head = Vec::with_capacity(VALUE_SEAL_SIZE_BYTES_MAX + value_size_bytes);
        head.extend_from_slice(&self.marker);
        head.push(bound as u8);
        head.extend_from_slice(&current.generation.to_be_bytes());
        head.extend_from_slice(&self.incarnation.to_be_bytes());
        head
    }

    /// How a stored value is.
    pub(crate) fn look_at(&self, value: &[u8]) -> Sealed {
        match value.strip_prefix(&self.marker[..]) {
            Some(rest) if !self.marker.is_empty() => Sealed::By(number_at(rest, 1)),
            _ => Sealed::Not,
        }
    }

    /// The value that was sealed for a key. One from before the tenant was sealed comes as it is, until everything is sealed; `what` names it in the error.
    pub(crate) async fn open_value(
        &self,
        transaction: &dyn Transaction,
        key: &[u8],
        value: Bytes,
        what: &str,
    ) -> Result<Bytes> {
        if self.look_at(&value) == Sealed::Not {
            return self.check_clear(what).map(|()| value);
        }
        let failed = || broken(what);
        let (head, rest) = value.split_first_chunk::<VALUE_HEAD_SIZE_BYTES>().ok_or_else(failed)?;
        let generation = number_at(head, MARKER_SIZE_BYTES + 1);
        let incarnation = number_at(head, MARKER_SIZE_BYTES + 5);
        let (bound, rest) = match head[MARKER_SIZE_BYTES] {
            kind if kind == Bound::Key as u8 => (self.bound_to(b'v', kind, incarnation, 0, key), rest),
            kind if kind == Bound::StampedKey as u8 => {
                let (stamped, rest) =
                    rest.split_first_chunk::<STAMPED_HEAD_SIZE_BYTES>().ok_or_else(failed)?;
                let place = u16::from_be_bytes([stamped[0], stamped[1]]);
                let mut id = [0; 16];
                id.copy_from_slice(&stamped[2..]);
                (self.bound_to_stamped(incarnation, key, place, id), rest)
            }
            _ => return Err(failed()),
        };
        let data_key = self.key(transaction, generation).await?;
        secret::open(&data_key.cipher, rest, &bound).map(Bytes::from).ok_or_else(failed)
    }

    /// The contents of an entry of the change log.
    pub(crate) fn seal_log(&self, incarnation: u32, entry: &[u8]) -> Result<SealedLog> {
        let current = self.current()?;
        let mut id = [0; 16];
        self.data_keys.env.entropy.fill(&mut id);
        let bound = self.bound_to_log(incarnation, &id);
        let mut contents = Vec::new();
        secret::seal(&current.cipher, &*self.data_keys.env.entropy, &mut contents, &bound, entry)?;
        Ok(SealedLog { generation: current.generation, id: id.to_vec(), contents: contents.into() })
    }

    /// What [`seal_log`](Sealer::seal_log) sealed in an incarnation.
    pub(crate) async fn open_log(
        &self,
        transaction: &dyn Transaction,
        incarnation: u32,
        sealed: &SealedLog,
    ) -> Result<Vec<u8>> {
        let data_key = self.key(transaction, sealed.generation).await?;
        let bound = self.bound_to_log(incarnation, &sealed.id);
        secret::open(&data_key.cipher, &sealed.contents, &bound)
            .ok_or_else(|| broken("an entry of the change log"))
    }

    fn bound_to_log(&self, incarnation: u32, id: &[u8]) -> Vec<u8> {
        let mut bound = self.bound_to(b'l', 1, incarnation, 0, b"");
        bound.extend_from_slice(id);
        bound
    }
}

async fn current_key(
    data_keys: &DataKeys,
    transaction: &dyn Transaction,
    keys: &TenantKeys,
    tenant: Uuid,
    sealing: &StoredSealing,
) -> Result<Arc<DataKey>> {
    if sealing.shredded_us != 0 {
        data_keys.forget_known(tenant);
        return Err(shredded(tenant));
    }
    if sealing.marker.len() != MARKER_SIZE_BYTES || sealing.marker.first() != Some(&MARKER_FIRST_BYTE) {
        let detail =
            "the tenant's header marks sealed values by something else than eight bytes that begin with 03";
        return Err(Error::new(Code::StoredDataInvalid, detail));
    }
    let key = data_keys.get(transaction, keys, tenant, sealing.generation).await?;
    key.check_header(tenant, sealing)?;
    Ok(key)
}

fn broken(what: &str) -> Error {
    let detail = format!(
        "{what} does not open with the tenant's key: it was altered, or moved here from another tenant, type or key"
    );
    Error::new(Code::SealBroken, detail)
}

/// Four bytes, big-endian; 0 where there are none.
fn number_at(bytes: &[u8], place: usize) -> u32 {
    let four = bytes.get(place..).and_then(|rest| rest.first_chunk::<4>());
    four.map_or(0, |four| u32::from_be_bytes(*four))
}
