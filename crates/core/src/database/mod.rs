//! A database: its header, its state, and what is known of its tenants.

mod access;
mod budgets;
mod catalog;
mod quotas;
mod tenants;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use prost::Message;
use tenantry_kv::directory::DirectoryLayer;
use tenantry_kv::env::Env;
use tenantry_kv::runner::Runner;
use tenantry_kv::{Engine, EngineProfile, Isolation, KvFuture, MutationType, RangeRequest, Transaction};
use uuid::Uuid;

use crate::access::{Access, Action, Operation};
use crate::defaults::now;
use crate::error::{Code, Error, Result, shown};
use crate::ids::Ids;
use crate::key_space::{CATALOG_TENANT, KeySpace, TenantKeys};
use crate::messages::{DatabaseHeader, Secret, StateKind, StoredState, TenantHeader, read};
use crate::names::check_name;
use crate::sealing::{DataKeys, Keyring};

pub use catalog::{Applied, Schema};
use quotas::Quotas;
pub use tenants::TenantInfo;
pub(crate) use tenants::{StoredTenant, info_of};

/// The form of everything under a database's root that this build reads and writes.
pub const FORMAT_VERSION: u32 = 1;
/// The directory that holds every database of an engine, and the layer it is created for.
const DIRECTORY: &str = "tenantry";
/// How many decoded headers and schemas are kept.
const CACHE_ENTRIES_MAX: usize = 10_000;

/// A database. Cheap to clone; clones are the same database.
#[derive(Clone)]
pub struct Database {
    pub(crate) inner: Arc<Inner>,
    pub(crate) access: Access,
}

pub(crate) struct Inner {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) env: Env,
    pub(crate) runner: Runner,
    pub(crate) keys: KeySpace,
    name: String,
    uuid: Uuid,
    secrets: Vec<Secret>,
    schemas: Mutex<BTreeMap<(Uuid, u32), Arc<Schema>>>,
    pub(crate) ids: Ids,
    /// The keys of sealed tenants.
    pub(crate) data_keys: Arc<DataKeys>,
    headers: Mutex<BTreeMap<u64, (Bytes, Arc<TenantHeader>)>>,
    /// How often each index of a schema was used since the database was opened.
    index_uses: Mutex<BTreeMap<(Uuid, u32), u64>>,
    /// Who may run what, and how much of it.
    pub(crate) quotas: Quotas,
}

impl fmt::Debug for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Database({:?}, {})", self.inner.name, self.inner.uuid)
    }
}

impl Database {
    /// Opens the database of a name on an engine, or creates it there.
    ///
    /// # Errors
    ///
    /// 20001 when it was written by a build with another format; 20004 while it is the target of a copy; the engine's own.
    pub async fn open(engine: Arc<dyn Engine>, env: Env, name: &str) -> Result<Database> {
        let database = Database::open_in_any_state(engine, env, name).await?;
        let inner = &database.inner;
        let state = inner.runner.read(|transaction| async move { inner.state(&*transaction).await }).await?;
        if state.kind() == StateKind::Copying {
            let detail = format!("{}: run the copy again, it goes on where it was", shown(name));
            return Err(Error::new(Code::DatabaseIncomplete, detail));
        }
        Ok(database)
    }

    /// As [`open`](Database::open) for a database that is there.
    ///
    /// # Errors
    ///
    /// 10006 when it is not.
    pub async fn open_existing(engine: Arc<dyn Engine>, env: Env, name: &str) -> Result<Database> {
        check_name("database", name)?;
        let runner = Runner::for_idempotent_work(engine.clone(), env.clone());
        let directories = DirectoryLayer::new(env.randomness.clone());
        let exists = runner
            .read(|transaction| {
                let directories = directories.clone();
                async move { Ok::<_, Error>(directories.exists(&*transaction, &[DIRECTORY, name]).await?) }
            })
            .await?;
        if !exists {
            let detail = format!("there is no database {}", shown(name));
            return Err(tenantry_kv::Error::new(tenantry_kv::ErrorCode::STORAGE_NOT_FOUND, detail).into());
        }
        Database::open(engine, env, name).await
    }

    /// As [`open`](Database::open), also while the database is the target of a copy.
    pub(crate) async fn open_in_any_state(engine: Arc<dyn Engine>, env: Env, name: &str) -> Result<Database> {
        check_name("database", name)?;
        let mut secret = vec![0; 32];
        env.entropy.fill(&mut secret);
        let uuid = new_uuid(&env);
        let created = DatabaseHeader {
            format: FORMAT_VERSION,
            name: name.to_owned(),
            uuid: uuid.as_bytes().to_vec(),
            created_us: env.clock.wall_us(),
            secrets: vec![Secret { id: 1, key: secret }],
        };
        // To create the same thing twice is to create it once: no slot is needed before there is a place for slots.
        let runner = Runner::for_idempotent_work(engine.clone(), env.clone());
        let directories = DirectoryLayer::new(env.randomness.clone());
        let (keys, header) = runner
            .run(|transaction| {
                let (directories, created) = (directories.clone(), created.clone());
                async move { open_header(&*transaction, &directories, name, created).await }
            })
            .await?;
        if header.format != FORMAT_VERSION {
            let detail = format!(
                "the database {} has format {}, this build reads and writes {FORMAT_VERSION}: use the build that wrote it",
                shown(name),
                header.format
            );
            return Err(Error::new(Code::DatabaseFormat, detail));
        }
        let uuid = uuid_of(&header.uuid, "the database's header")?;
        let runner = Runner::new(engine.clone(), env.clone(), keys.runner_slots()?);
        let quotas = Quotas::new(&env);
        let inner = Inner {
            data_keys: Arc::new(DataKeys::new(env.clone())),
            engine,
            env,
            runner,
            keys,
            name: name.to_owned(),
            uuid,
            secrets: header.secrets,
            schemas: Mutex::default(),
            ids: Ids::default(),
            headers: Mutex::default(),
            index_uses: Mutex::default(),
            quotas,
        };
        Ok(Database { inner: Arc::new(inner), access: Access::default() })
    }

    /// Removes the database with everything in it, and its name from the engine. What is still under way in it fails.
    ///
    /// # Errors
    ///
    /// 20003 and 20004 when it is read-only or the target of a copy.
    pub async fn erase(&self) -> Result<()> {
        self.authorize(Operation::EraseDatabase).await?;
        let inner = &self.inner;
        // Slots lie in what goes: an unknown outcome is settled by removing what is left, which may be nothing.
        let runner = Runner::for_idempotent_work(inner.engine.clone(), inner.env.clone());
        let directories = DirectoryLayer::new(inner.env.randomness.clone());
        runner
            .run(|transaction| {
                let directories = directories.clone();
                async move {
                    inner.check_writable(&*transaction).await?;
                    directories.remove(&*transaction, &[DIRECTORY, &inner.name]).await?;
                    Ok::<_, Error>(())
                }
            })
            .await
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The database's identity.
    pub fn uuid(&self) -> Uuid {
        self.inner.uuid
    }

    /// Gives this handle and all its clones the keys of sealed tenants, or takes them away: what was unwrapped with those from before is wiped.
    ///
    /// # Errors
    ///
    /// None without a grant; the grant's.
    pub async fn set_keyring(&self, keyring: Option<Keyring>) -> Result<()> {
        self.authorize(Operation::UseKeys).await?;
        self.inner.data_keys.set_keyring(keyring);
        Ok(())
    }

    /// The keyring that it was given. Nobody else gets it: it opens the keys of all tenants.
    pub(crate) fn keyring(&self) -> Result<Keyring> {
        self.inner.data_keys.keyring()
    }

    /// The engine underneath.
    pub(crate) fn engine(&self) -> &Arc<dyn Engine> {
        &self.inner.engine
    }

    /// The present moment in whole microseconds, as a timestamp field holds it; a clock that counts finer gives moments that a write refuses.
    pub fn now(&self) -> Timestamp {
        now(&self.inner.env)
    }

    /// What the engine underneath is.
    pub fn engine_profile(&self) -> EngineProfile {
        self.inner.engine.profile()
    }

    /// How often queries of this process used each index of a schema since the database was opened: an index that nothing uses costs every writer and
    /// serves nobody. By record type and index. Nothing is told to a grant without [`Action::ViewDatabase`]: tenants share a schema.
    pub fn index_uses(&self, schema: &Schema) -> Vec<(String, String, u64)> {
        if self.grant().is_some_and(|grant| !grant.allows(Action::ViewDatabase)) {
            return Vec::new();
        }
        let uses = lock(&self.inner.index_uses);
        let types = schema.definition.types.iter();
        let indexes = types.flat_map(|record_type| {
            record_type.indexes.iter().map(move |index| (record_type.name.clone(), index))
        });
        let count = |id: u32| uses.get(&(schema.uuid, id)).copied().unwrap_or_default();
        indexes.map(|(record_type, index)| (record_type, index.name.clone(), count(index.id))).collect()
    }

    /// How many tenants there are, and about how many bytes the database takes.
    ///
    /// # Errors
    ///
    /// The engine's own.
    pub async fn statistics(&self) -> Result<DatabaseStatistics> {
        self.authorize(Operation::ViewDatabase).await?;
        let inner = &self.inner;
        inner
            .runner
            .read(|transaction| async move {
                let range = inner.keys.tenant_names()?.tuples();
                let mut tenants = 0;
                let mut next = Some(RangeRequest::new(range.begin, range.end));
                while let Some(request) = next {
                    let batch = transaction.get_range(&request, Isolation::Snapshot).await?;
                    tenants += batch.rows.len() as u64;
                    next = request.after(&batch);
                }
                let everything = tenantry_kv::Subspace::new(inner.keys.root().clone()).keys();
                let size_bytes =
                    transaction.estimated_range_size_bytes(&everything.begin, &everything.end).await?;
                let read_version = transaction.read_version().await?;
                Ok(DatabaseStatistics { tenants, size_bytes, read_version })
            })
            .await
    }
}

/// See [`Database::statistics`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatabaseStatistics {
    /// How many tenants there are.
    pub tenants: u64,
    /// About how many bytes keys and values take.
    pub size_bytes: u64,
    /// The version that was read.
    pub read_version: i64,
}

async fn open_header(
    transaction: &dyn Transaction,
    directories: &DirectoryLayer,
    name: &str,
    created: DatabaseHeader,
) -> Result<(KeySpace, DatabaseHeader)> {
    let directory = directories.create_or_open(transaction, &[DIRECTORY, name], DIRECTORY.as_bytes()).await?;
    let keys = KeySpace::new(directory.subspace()?.prefix().clone());
    let key = keys.database_header()?;
    let header = match transaction.get(&key, Isolation::Serializable).await? {
        Some(bytes) => read(&bytes, "the database's header")?,
        None => {
            transaction.set(&key, &created.encode_to_vec());
            let catalog = TenantHeader {
                format: FORMAT_VERSION,
                uuid: created.uuid.clone(),
                incarnation: 1,
                token_epoch: 1,
                log_buckets: 1,
                ..TenantHeader::default()
            };
            transaction.set(&keys.tenant_keys(CATALOG_TENANT)?.header()?, &catalog.encode_to_vec());
            created
        }
    };
    Ok((keys, header))
}

impl Inner {
    /// The state of the database, read with a conflict.
    pub(crate) async fn state(&self, transaction: &dyn Transaction) -> Result<StoredState> {
        state_of(self.begin_state(transaction)?.await?)
    }

    /// The read behind [`state`](Inner::state), under way.
    pub(crate) fn begin_state(&self, transaction: &dyn Transaction) -> Result<KvFuture<Option<Bytes>>> {
        Ok(transaction.get(&self.keys.database_state()?, Isolation::Serializable))
    }

    /// Fails unless the database may be changed. Whoever changes its state conflicts with everybody who asked.
    pub(crate) async fn check_writable(&self, transaction: &dyn Transaction) -> Result<()> {
        check_state(self.begin_state(transaction)?.await?)
    }

    /// A tenant's header, read with a conflict; decoded again only when its bytes changed.
    pub(crate) async fn header(
        &self,
        transaction: &dyn Transaction,
        id: u64,
        keys: &TenantKeys,
    ) -> Result<Arc<TenantHeader>> {
        let bytes = transaction.get(&keys.header()?, Isolation::Serializable).await?;
        self.header_of(id, bytes)
    }

    /// As [`header`](Inner::header), but where the engine does not have it at once, the one that was read last is taken for it: it is on its way meanwhile, and
    /// is to be checked before anything that was done with it counts.
    pub(crate) async fn likely_header(
        &self,
        transaction: &dyn Transaction,
        id: u64,
        keys: &TenantKeys,
    ) -> Result<(Arc<TenantHeader>, Option<HeaderCheck>)> {
        let reading = match transaction.get(&keys.header()?, Isolation::Serializable).into_ready() {
            Ok(bytes) => return Ok((self.header_of(id, bytes?)?, None)),
            Err(reading) => reading,
        };
        let known = lock(&self.headers).get(&id).cloned();
        match known {
            Some((expected, header)) => Ok((header, Some(HeaderCheck { reading, expected }))),
            None => Ok((self.header_of(id, reading.await?)?, None)),
        }
    }

    /// Fails with a conflict, to be retried, if the header is not the one that was taken for it.
    pub(crate) async fn check_header(&self, id: u64, check: HeaderCheck) -> Result<()> {
        let found = check.reading.await?;
        if found.as_ref() == Some(&check.expected) {
            return Ok(());
        }
        self.header_of(id, found)?;
        let detail = "the tenant's header is not the one that was known: its schema or its state changed";
        Err(tenantry_kv::Error::new(tenantry_kv::ErrorCode::NOT_COMMITTED, detail).into())
    }

    /// Forgets the header of a tenant that is gone.
    pub(crate) fn forget_header(&self, id: u64) {
        lock(&self.headers).remove(&id);
    }

    fn header_of(&self, id: u64, bytes: Option<Bytes>) -> Result<Arc<TenantHeader>> {
        let Some(bytes) = bytes else {
            return Err(Error::new(
                Code::TenantNotFound,
                format!("the tenant with the id {id} has been deleted"),
            ));
        };
        let mut headers = lock(&self.headers);
        if let Some((known, header)) = headers.get(&id)
            && *known == bytes
        {
            return Ok(header.clone());
        }
        let header: Arc<TenantHeader> = Arc::new(read(&bytes, "a tenant's header")?);
        if header.format != FORMAT_VERSION {
            let detail = format!(
                "the tenant has format {}, this build reads and writes {FORMAT_VERSION}",
                header.format
            );
            return Err(Error::new(Code::DatabaseFormat, detail));
        }
        if headers.len() >= CACHE_ENTRIES_MAX {
            headers.clear();
        }
        // A copy: what the engine gave may hold a whole block of its own in memory.
        headers.insert(id, (Bytes::copy_from_slice(&bytes), header.clone()));
        Ok(header)
    }

    /// Notes that a query used some indexes.
    pub(crate) fn count_index_uses(&self, schema: &Schema, index_ids: &BTreeSet<u32>) {
        if index_ids.is_empty() {
            return;
        }
        let mut uses = lock(&self.index_uses);
        for id in index_ids {
            *uses.entry((schema.uuid, *id)).or_default() += 1;
        }
    }

    /// The key that seals new tokens.
    pub(crate) fn newest_secret(&self) -> Result<&Secret> {
        self.secrets
            .last()
            .ok_or_else(|| Error::new(Code::StoredDataInvalid, "the database's header has no secret"))
    }

    pub(crate) fn secret(&self, id: u32) -> Option<&Secret> {
        self.secrets.iter().find(|secret| secret.id == id)
    }
}

/// A header that was taken for the one that is on its way.
pub(crate) struct HeaderCheck {
    reading: KvFuture<Option<Bytes>>,
    expected: Bytes,
}

fn state_of(bytes: Option<Bytes>) -> Result<StoredState> {
    bytes.map_or_else(|| Ok(StoredState::default()), |bytes| read(&bytes, "the database's state"))
}

/// Fails unless the state with these bytes lets the database change.
pub(crate) fn check_state(bytes: Option<Bytes>) -> Result<()> {
    let state = state_of(bytes)?;
    let reason = if state.reason.is_empty() { "no reason was given" } else { &state.reason };
    match state.kind() {
        StateKind::Open => Ok(()),
        StateKind::ReadOnly => Err(Error::new(
            Code::DatabaseReadOnly,
            format!("{reason}; reads go on, and \"tenantry database writable\" opens it again"),
        )),
        StateKind::Copying => {
            Err(Error::new(Code::DatabaseIncomplete, "run the copy again, it goes on where it was"))
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A random UUID (version 4), from cryptographic randomness.
pub(crate) fn new_uuid(env: &Env) -> Uuid {
    let mut bytes = [0; 16];
    env.entropy.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

pub(crate) fn uuid_of(bytes: &[u8], what: &str) -> Result<Uuid> {
    Uuid::from_slice(bytes).map_err(|_| Error::new(Code::StoredDataInvalid, format!("{what} holds no UUID")))
}

pub(crate) fn number_of(bytes: &[u8], what: &str) -> Result<u64> {
    match <[u8; 8]>::try_from(bytes) {
        Ok(bytes) => Ok(u64::from_le_bytes(bytes)),
        Err(_) => {
            Err(Error::new(Code::StoredDataInvalid, format!("{what} has {} bytes, not eight", bytes.len())))
        }
    }
}

/// How an atomic operation is logged.
pub(crate) fn mutation_code(mutation: MutationType) -> u32 {
    mutation.code() as u32
}
