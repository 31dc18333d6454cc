//! Sealing a tenant: turned on, its data key changed, its key destroyed.
//!
//! Each of these is one change of the header, with which every transaction in flight on the tenant conflicts, and something in the key store. What comes first is what
//! makes a crash between the two harmless: a key is in the store before anything is sealed with it, and nobody seals any more before a key is destroyed.

use prost::Message;
use tenantry_kv::{Isolation, RangeRequest, Transaction};
use uuid::Uuid;

use super::Tenant;
use crate::access::Operation;
use crate::database::Database;
use crate::error::{Code, Error, Result, limit};
use crate::key_space::TenantKeys;
use crate::limits::DATA_KEY_GENERATIONS_MAX;
use crate::messages::{StoredDataKey, StoredSealing, TenantHeader, read};
use crate::sealing::{Certificate, KeyState, MARKER_FIRST_BYTE, MARKER_SIZE_BYTES, Shredded, new_data_key};

/// How a tenant is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SealingStatus {
    /// The generation of the data key that seals.
    pub generation: u32,
    /// The least generation that something may still be sealed with: the job `reseal` brings it up.
    pub generation_min: u32,
    /// Whether everything is sealed: not while something may be in clear from before, until the job `reseal` has gone through it.
    pub is_complete: bool,
    /// The id of the tenant's key in the key store.
    pub key_id: Uuid,
    /// When the tenant was shredded, in microseconds since 1970.
    pub shredded_us: Option<i64>,
}

impl SealingStatus {
    fn of(sealing: &StoredSealing) -> Result<SealingStatus> {
        Ok(SealingStatus {
            generation: sealing.generation,
            generation_min: sealing.generation_min,
            is_complete: sealing.is_complete,
            key_id: crate::database::uuid_of(&sealing.key_id, "the tenant's header")?,
            shredded_us: Some(sealing.shredded_us).filter(|at_us| *at_us != 0),
        })
    }

    /// Whether the job `reseal` has something to do.
    pub fn needs_reseal(&self) -> bool {
        self.shredded_us.is_none() && !(self.is_complete && self.generation_min == self.generation)
    }
}

/// What is written to seal a tenant: the header's part, and its first data key.
pub(crate) struct NewSeal {
    sealing: StoredSealing,
    data_key: Vec<u8>,
}

impl NewSeal {
    /// Writes the first data key, and the header with its part.
    pub(crate) fn write(
        &self,
        transaction: &dyn Transaction,
        keys: &TenantKeys,
        header: TenantHeader,
    ) -> Result<()> {
        transaction.set(&keys.data_key(self.sealing.generation)?, &self.data_key);
        let header = TenantHeader { sealing: Some(self.sealing.clone()), ..header };
        transaction.set(&keys.header()?, &header.encode_to_vec());
        Ok(())
    }
}

impl Database {
    /// The seal of a tenant that is not sealed yet. Its key is in the key store then.
    pub(crate) async fn new_seal(&self, tenant: Uuid, is_complete: bool) -> Result<NewSeal> {
        let env = &self.inner.env;
        let (entry, key) = self.keyring()?.created(env, tenant).await?;
        let mut marker = vec![MARKER_FIRST_BYTE; MARKER_SIZE_BYTES];
        env.entropy.fill(marker.get_mut(1..).unwrap_or_default());
        let sealing = StoredSealing {
            generation: 1,
            generation_min: 1,
            marker,
            is_complete,
            shredded_us: 0,
            key_id: entry.key_id.as_bytes().to_vec(),
            hash: Vec::new(),
        };
        let sealing = key.header_key().signed(tenant, sealing);
        Ok(NewSeal { sealing, data_key: new_data_key(env, tenant, &key, 1)? })
    }
}

impl Tenant {
    /// How the tenant is sealed; `None` for one that is not.
    ///
    /// # Errors
    ///
    /// 20010 when the tenant has been deleted.
    pub async fn sealing(&self) -> Result<Option<SealingStatus>> {
        self.database.authorize_tenant(Operation::DescribeTenant, &self.info.name).await?;
        self.stored_sealing().await
    }

    pub(crate) async fn stored_sealing(&self) -> Result<Option<SealingStatus>> {
        let inner = &self.database.inner;
        let header = inner
            .runner
            .read(|transaction| async move { inner.header(&*transaction, self.info.id, &self.keys).await })
            .await?;
        header.sealing.as_ref().map(SealingStatus::of).transpose()
    }

    /// Seals the tenant: whatever is written from now on. What was written before stays in clear until a job of the kind [`Reseal`](crate::jobs::Reseal) has gone through it. On a sealed
    /// tenant it changes nothing.
    ///
    /// # Errors
    ///
    /// 20110 when the database was given no keyring; 20111 for a tenant that was shredded; 20115 for one with data keys, out of whose header the seal was taken; the key store's; as
    /// [`run`](Tenant::run).
    pub async fn seal(&self) -> Result<SealingStatus> {
        self.database.authorize_tenant(Operation::SealTenant, &self.info.name).await?;
        if let Some(status) = self.stored_sealing().await? {
            return match status.shredded_us {
                None => Ok(status),
                Some(_) => Err(Error::new(Code::TenantShredded, "create another tenant")),
            };
        }
        let seal = &self.database.new_seal(self.info.uuid, false).await?;
        let sealing = self
            .change_sealing(|transaction, header| async move {
                if header.sealing.is_none() {
                    // A key that is written over would take with it what it sealed.
                    let range = self.keys.data_keys()?.keys();
                    let request = RangeRequest::new(range.begin, range.end).limit(1);
                    if !transaction.get_range(&request, Isolation::Serializable).await?.rows.is_empty() {
                        let detail = "the tenant has data keys, and its header says that it is not sealed: that was taken out; put the header back from a backup";
                        return Err(Error::new(Code::SealBroken, detail));
                    }
                    seal.write(&*transaction, &self.keys, header)?;
                    return Ok(seal.sealing.clone());
                }
                header.sealing.ok_or_else(not_sealed)
            })
            .await?;
        SealingStatus::of(&sealing)
    }

    /// Gives the tenant another data key: it seals whatever is written from now on. A job of the kind [`Reseal`](crate::jobs::Reseal) seals the rest with it, and removes the keys before it.
    ///
    /// # Errors
    ///
    /// 20114 for a tenant that is not sealed; 20110 to 20113 and 20117 for what is wrong with the keys; 20115 for a header that was altered; as [`run`](Tenant::run).
    pub async fn rotate_data_key(&self) -> Result<SealingStatus> {
        self.database.authorize_tenant(Operation::SealTenant, &self.info.name).await?;
        let inner = &self.database.inner;
        let before = self.stored_sealing().await?.ok_or_else(not_sealed)?;
        let key = &self.database.keyring()?.tenant_key(self.info.uuid).await?;
        let generation = before.generation.saturating_add(1);
        if generation > DATA_KEY_GENERATIONS_MAX {
            let (found, most) = (generation as usize, DATA_KEY_GENERATIONS_MAX as usize);
            return Err(limit("the generations of a tenant's data key", found, most));
        }
        let uuid = self.info.uuid;
        let (data_key, header_key) = (&new_data_key(&inner.env, uuid, key, generation)?, &key.header_key());
        let sealing = self
            .change_sealing(|transaction, header| async move {
                let mut sealing = header.sealing.ok_or_else(not_sealed)?;
                header_key.check(uuid, &sealing)?;
                // Somebody else may have done it meanwhile, with another key: that one counts.
                if sealing.generation < generation && sealing.shredded_us == 0 {
                    transaction.set(&self.keys.data_key(generation)?, data_key);
                    sealing.generation = generation;
                    sealing = header_key.signed(uuid, sealing);
                }
                Ok(sealing)
            })
            .await?;
        SealingStatus::of(&sealing)
    }

    /// Destroys the tenant's key in the key store: what is sealed cannot be read any more from then on, by nobody, here or in a copy of the database. It cannot be undone. Done again, it
    /// gives the certificate again; after a crash, or an error, it goes on.
    ///
    /// # Errors
    ///
    /// 20114 for a tenant that is not sealed, or that may have something in clear; 20110 for another key store than the tenant was sealed with, 20112 for another root key; 20115 for a
    /// header that was altered; the key store's; as [`run`](Tenant::run).
    pub async fn shred(&self) -> Result<Certificate> {
        self.database.authorize_tenant(Operation::ShredTenant, &self.info.name).await?;
        let database = &self.database;
        let inner = &database.inner;
        let keyring = database.keyring()?;
        let status = self.stored_sealing().await?.ok_or_else(not_sealed)?;
        if !status.is_complete {
            let detail = "something may still be in clear from before the tenant was sealed: run the job \"reseal\" to its end first";
            return Err(Error::new(Code::SealRefused, detail));
        }
        let entry = keyring.store().get(self.info.uuid).await?;
        if entry.is_none_or(|entry| entry.key_id != status.key_id) {
            let detail = format!(
                "{} does not have the key {} of the tenant: name the key store that it was sealed with",
                keyring.store().name(),
                status.key_id
            );
            return Err(Error::new(Code::TenantSealed, detail));
        }
        // A key that is gone checks nothing any more.
        let header_key = match keyring.tenant_key(self.info.uuid).await {
            Ok(key) => Some(key.header_key()),
            Err(error) if error.code() == Code::TenantShredded => None,
            Err(error) => return Err(error),
        };
        // First nobody seals any more: what is acknowledged until here was readable until here.
        let (now_us, header_key) = (inner.env.clock.wall_us().max(1), header_key.as_ref());
        self.change_sealing(|_, header| async move {
            let mut sealing = header.sealing.ok_or_else(not_sealed)?;
            if let Some(header_key) = header_key {
                header_key.check(self.info.uuid, &sealing)?;
            }
            if sealing.shredded_us == 0 {
                sealing.shredded_us = now_us;
                sealing = match header_key {
                    Some(header_key) => header_key.signed(self.info.uuid, sealing),
                    None => sealing,
                };
            }
            Ok(sealing)
        })
        .await?;
        let destroyed = keyring.store().destroy(self.info.uuid, inner.env.clock.wall_us()).await?;
        inner.data_keys.forget(self.info.uuid);
        let entry = destroyed.filter(|entry| matches!(entry.state, KeyState::Destroyed { .. }));
        let entry = entry.ok_or_else(|| {
            Error::new(Code::KeyStoreUnavailable, "the key is not destroyed: shred the tenant again")
        })?;
        let data_keys = self.stored_data_keys().await?;
        let shredded = Shredded {
            database: (database.name(), database.uuid()),
            tenant: (&self.info.name, self.info.uuid, self.info.id),
            data_keys: &data_keys,
            entry: &entry,
        };
        Certificate::new(&keyring, &shredded).await
    }

    /// Changes the header's part that says how the tenant is sealed. Everybody who works on the tenant has read the header, and conflicts with this.
    async fn change_sealing<F, Fut>(&self, change: F) -> Result<StoredSealing>
    where
        F: Fn(tenantry_kv::TransactionRef, TenantHeader) -> Fut,
        Fut: Future<Output = Result<StoredSealing>>,
    {
        let inner = &self.database.inner;
        inner
            .runner
            .run(|transaction| {
                let change = &change;
                async move {
                    inner.check_writable(&*transaction).await?;
                    let header = inner.header(&*transaction, self.info.id, &self.keys).await?;
                    let mut header = TenantHeader::clone(&header);
                    let sealing = change(transaction.clone(), header.clone()).await?;
                    if header.sealing.as_ref() != Some(&sealing) {
                        header.sealing = Some(sealing.clone());
                        transaction.set(&self.keys.header()?, &header.encode_to_vec());
                    }
                    Ok(sealing)
                }
            })
            .await
    }

    async fn stored_data_keys(&self) -> Result<Vec<StoredDataKey>> {
        let inner = &self.database.inner;
        inner
            .runner
            .read(|transaction| async move {
                let range = self.keys.data_keys()?.tuples();
                let mut found = Vec::new();
                let mut next = Some(RangeRequest::new(range.begin, range.end));
                while let Some(request) = next {
                    let batch = transaction.get_range(&request, Isolation::Snapshot).await?;
                    for row in &batch.rows {
                        found.push(read(&row.value, "a data key")?);
                    }
                    next = request.after(&batch);
                }
                Ok::<_, Error>(found)
            })
            .await
    }
}

pub(super) fn not_sealed() -> Error {
    Error::new(Code::SealRefused, "the tenant is not sealed: \"tenantry tenant seal\" seals it")
}
