//! A database: its header, and the catalog of schemas and tenants.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use prost::Message;
use tenantry_kv::directory::DirectoryLayer;
use tenantry_kv::env::Env;
use tenantry_kv::runner::Runner;
use tenantry_kv::seeded_faults::{Fault, is_active};
use tenantry_kv::{Engine, Isolation, KvFuture, MutationType, RangeRequest, Transaction};
use uuid::Uuid;

use crate::change_log;
use crate::error::{Code, Error, Result, limit, shown};
use crate::ids::Ids;
use crate::key_space::{CATALOG_TENANT, KeySpace, TenantKeys, behind};
use crate::limits::{NAME_SIZE_BYTES_MAX, TENANTS_PAGE_ROWS_MAX};
use crate::messages::{
    Change, DatabaseHeader, RawChange, Secret, Space, StateKind, StoredState, TenantEntry, TenantHeader, read,
};
use crate::names::check_name;
use crate::schema::SchemaDefinition;

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
    headers: Mutex<BTreeMap<u64, (Bytes, Arc<TenantHeader>)>>,
    /// How often each index of a schema was used since the database was opened.
    index_uses: Mutex<BTreeMap<(Uuid, u32), u64>>,
}

/// A schema as it stands in the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Schema {
    /// The schema's own identity, which it keeps when it moves to another database.
    pub uuid: Uuid,
    /// Its version, from 1.
    pub version: u32,
    /// What it says.
    pub definition: SchemaDefinition,
}

/// What the catalog says of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantInfo {
    /// Its name.
    pub name: String,
    /// Its own identity, which it keeps when it moves to another database.
    pub uuid: Uuid,
    /// The number of its keys' prefix in this database, never used again.
    pub id: u64,
    /// The name of its schema.
    pub schema: String,
    /// When it was created, in microseconds since 1970.
    pub created_us: i64,
}

/// One page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantPage {
    /// The tenants, by name.
    pub tenants: Vec<TenantInfo>,
    /// The name to go on after, if there are more.
    pub after: Option<String>,
}

/// Whether a schema was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was created.
    Created,
    /// It was there already, exactly so.
    Unchanged,
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
        let inner = Inner {
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
        };
        Ok(Database { inner: Arc::new(inner) })
    }

    /// Removes the database with everything in it, and its name from the engine. What is still under way in it fails.
    ///
    /// # Errors
    ///
    /// 20003 and 20004 when it is read-only or the target of a copy.
    pub async fn erase(&self) -> Result<()> {
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

    /// The engine underneath.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.inner.engine
    }

    /// Puts a schema into the catalog. To apply the same one again changes nothing.
    ///
    /// # Errors
    ///
    /// 20021 when a schema of that name exists and says something else; 20060 for one that is too large.
    pub async fn apply_schema(&self, definition: &SchemaDefinition) -> Result<Applied> {
        let stored = Bytes::from(definition.to_stored()?);
        let inner = &self.inner;
        let uuid = new_uuid(&inner.env);
        inner
            .runner
            .run(|transaction| {
                let stored = stored.clone();
                async move {
                    let name_key = inner.keys.schema_name(&definition.name)?;
                    if let Some(existing) = transaction.get(&name_key, Isolation::Serializable).await? {
                        let existing = uuid_of(&existing, "a schema's name")?;
                        let schema = inner.schema(&*transaction, existing, 1).await?;
                        if schema.definition == *definition {
                            return Ok(Applied::Unchanged);
                        }
                        let detail = format!(
                            "{} differs in {}: apply the new one under another name",
                            shown(&definition.name),
                            difference(&schema.definition, definition)
                        );
                        return Err(Error::new(Code::SchemaDiffers, detail));
                    }
                    let key = inner.keys.schema(uuid, 1)?;
                    let writes = [(name_key, Bytes::copy_from_slice(uuid.as_bytes())), (key, stored)];
                    inner.write_catalog(&*transaction, &writes, &[]).await?;
                    Ok(Applied::Created)
                }
            })
            .await
    }

    /// The schema of a name.
    ///
    /// # Errors
    ///
    /// 20020.
    pub async fn schema(&self, name: &str) -> Result<Arc<Schema>> {
        let inner = &self.inner;
        inner
            .runner
            .read(|transaction| async move {
                let uuid = inner.schema_uuid(&*transaction, name).await?;
                inner.schema(&*transaction, uuid, 1).await
            })
            .await
    }

    /// The names of all schemas, sorted.
    ///
    /// # Errors
    ///
    /// The engine's own.
    pub async fn schema_names(&self) -> Result<Vec<String>> {
        let inner = &self.inner;
        inner
            .runner
            .read(|transaction| async move {
                let names = inner.keys.schema_names()?;
                let range = names.tuples();
                let mut listed = Vec::new();
                let mut next = Some(RangeRequest::new(range.begin, range.end));
                while let Some(request) = next {
                    let batch = transaction.get_range(&request, Isolation::Snapshot).await?;
                    for row in &batch.rows {
                        listed.extend(name_of(&names.unpack(&row.key)?));
                    }
                    next = request.after(&batch);
                }
                Ok(listed)
            })
            .await
    }

    pub(crate) async fn add_tenant(&self, name: &str, schema: &str) -> Result<TenantInfo> {
        check_name("tenant", name)?;
        let inner = &self.inner;
        let uuid = new_uuid(&inner.env);
        let created_us = inner.env.clock.wall_us();
        inner
            .runner
            .run(|transaction| async move {
                let name_key = inner.keys.tenant_name(name)?;
                if transaction.get(&name_key, Isolation::Serializable).await?.is_some() {
                    return Err(Error::new(Code::TenantExists, shown(name)));
                }
                let schema_uuid = inner.schema_uuid(&*transaction, schema).await?;
                let last_key = inner.keys.tenant_last_id()?;
                let last = transaction.get(&last_key, Isolation::Serializable).await?;
                let id = last.map_or(Ok(0), |bytes| number_of(&bytes, "the last tenant id"))? + 1;
                let id = if is_active(Fault::TenantIdUsedTwice) { 1 } else { id };
                let entry = TenantEntry {
                    uuid: uuid.as_bytes().to_vec(),
                    name: name.to_owned(),
                    created_us,
                    schema_uuid: schema_uuid.as_bytes().to_vec(),
                    schema_name: schema.to_owned(),
                };
                let header = TenantHeader {
                    format: FORMAT_VERSION,
                    uuid: entry.uuid.clone(),
                    incarnation: 1,
                    token_epoch: 1,
                    schema_uuid: entry.schema_uuid.clone(),
                    schema_version: 1,
                    log_buckets: 1,
                };
                let writes = [
                    (last_key, Bytes::copy_from_slice(&id.to_le_bytes())),
                    (name_key, Bytes::copy_from_slice(&id.to_le_bytes())),
                    (inner.keys.tenant(id)?, entry.encode_to_vec().into()),
                ];
                inner.write_catalog(&*transaction, &writes, &[]).await?;
                transaction.set(&inner.keys.tenant_keys(id)?.header()?, &header.encode_to_vec());
                info_of(id, &entry)
            })
            .await
    }

    pub(crate) async fn find_tenant(&self, name: &str) -> Result<TenantInfo> {
        let inner = &self.inner;
        inner
            .runner
            .read(|transaction| async move {
                let id = inner.tenant_id(&*transaction, name).await?;
                inner.tenant_info(&*transaction, id).await
            })
            .await
    }

    /// A page of the tenants by name, after a name.
    ///
    /// # Errors
    ///
    /// 20060 for a `limit` over [`TENANTS_PAGE_ROWS_MAX`].
    pub async fn tenants(&self, after: Option<&str>, rows_max: usize) -> Result<TenantPage> {
        if rows_max == 0 || rows_max > TENANTS_PAGE_ROWS_MAX {
            return Err(limit("the tenants of a page", rows_max, TENANTS_PAGE_ROWS_MAX));
        }
        let inner = &self.inner;
        inner
            .runner
            .read(|transaction| async move {
                let names = inner.keys.tenant_names()?;
                let mut range = names.tuples();
                if let Some(after) = after {
                    range.begin = behind(&inner.keys.tenant_name(after)?, &[0]);
                }
                let mut tenants = Vec::new();
                let mut next = Some(RangeRequest::new(range.begin, range.end).limit(rows_max));
                let mut has_more = false;
                while let Some(request) = next {
                    let batch = transaction.get_range(&request, Isolation::Snapshot).await?;
                    for row in &batch.rows {
                        let id = number_of(&row.value, "a tenant's id")?;
                        tenants.push(inner.tenant_info(&*transaction, id).await?);
                    }
                    has_more = batch.more;
                    next = request.after(&batch);
                }
                let after = tenants.last().map(|info: &TenantInfo| info.name.clone()).filter(|_| has_more);
                Ok(TenantPage { tenants, after })
            })
            .await
    }

    /// Deletes a tenant with everything in it. The name is free again, the id is never.
    ///
    /// # Errors
    ///
    /// 20010.
    pub async fn delete_tenant(&self, name: &str) -> Result<TenantInfo> {
        let inner = &self.inner;
        let info = inner
            .runner
            .run(|transaction| async move {
                let id = inner.tenant_id(&*transaction, name).await?;
                let info = inner.tenant_info(&*transaction, id).await?;
                let clears = [inner.keys.tenant_name(name)?, inner.keys.tenant(id)?];
                inner.write_catalog(&*transaction, &[], &clears).await?;
                // Everybody who works on the tenant has read its header and conflicts with this.
                let everything = inner.keys.tenant_keys(id)?.everything();
                transaction.clear_range(&everything.begin, &everything.end);
                Ok::<_, Error>(info)
            })
            .await?;
        lock(&inner.headers).remove(&info.id);
        Ok(info)
    }

    /// How often queries of this process used each index of a schema since the database was opened: an index that nothing uses costs every writer and
    /// serves nobody. By record type and index.
    pub fn index_uses(&self, schema: &Schema) -> Vec<(String, String, u64)> {
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
    /// Changes the catalog and logs it as a change of tenant 0.
    async fn write_catalog(
        &self,
        transaction: &dyn Transaction,
        sets: &[(Bytes, Bytes)],
        clears: &[Bytes],
    ) -> Result<()> {
        self.check_writable(transaction).await?;
        let keys = self.keys.tenant_keys(CATALOG_TENANT)?;
        let header = self.header(transaction, CATALOG_TENANT, &keys).await?;
        let relative = |key: &Bytes| key.slice(self.keys.root().len()..);
        let raw = |key: &Bytes, value: Bytes| RawChange {
            key: relative(key),
            value,
            mutation: 0,
            space: Space::Catalog as i32,
        };
        let mut changes = Vec::new();
        for (key, value) in sets {
            transaction.set(key, value);
            changes.push(Change::Set(raw(key, value.clone())));
        }
        for key in clears {
            transaction.clear(key);
            changes.push(Change::Clear(raw(key, Bytes::new())));
        }
        let context = change_log::Context {
            keys: &keys,
            space: &self.keys,
            tenant: CATALOG_TENANT,
            header: &header,
            wall_us: self.env.clock.wall_us(),
            read_version: transaction.read_version().await?,
        };
        change_log::append(transaction, &context, changes)
    }

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

    async fn schema_uuid(&self, transaction: &dyn Transaction, name: &str) -> Result<Uuid> {
        if name.len() <= NAME_SIZE_BYTES_MAX
            && let Some(bytes) =
                transaction.get(&self.keys.schema_name(name)?, Isolation::Serializable).await?
        {
            return uuid_of(&bytes, "a schema's name");
        }
        Err(Error::new(Code::SchemaNotFound, format!("{}: apply it first", shown(name))))
    }

    /// A version of a schema, which never changes and so is read once.
    pub(crate) async fn schema(
        &self,
        transaction: &dyn Transaction,
        uuid: Uuid,
        version: u32,
    ) -> Result<Arc<Schema>> {
        if let Some(schema) = lock(&self.schemas).get(&(uuid, version)) {
            return Ok(schema.clone());
        }
        let key = self.keys.schema(uuid, version)?;
        let Some(bytes) = transaction.get(&key, Isolation::Snapshot).await? else {
            let detail = format!("the schema {uuid} has no version {version} in the catalog");
            return Err(Error::new(Code::StoredDataInvalid, detail));
        };
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| Error::new(Code::StoredDataInvalid, format!("the schema {uuid} is not UTF-8")))?;
        let definition = SchemaDefinition::from_json(text).map_err(|error| {
            Error::new(Code::StoredDataInvalid, format!("the schema {uuid}: {}", error.detail()))
        })?;
        let schema = Arc::new(Schema { uuid, version, definition });
        let mut schemas = lock(&self.schemas);
        if schemas.len() >= CACHE_ENTRIES_MAX {
            schemas.clear();
        }
        schemas.insert((uuid, version), schema.clone());
        Ok(schema)
    }

    async fn tenant_id(&self, transaction: &dyn Transaction, name: &str) -> Result<u64> {
        let not_found = || Error::new(Code::TenantNotFound, shown(name));
        if name.len() > NAME_SIZE_BYTES_MAX {
            return Err(not_found());
        }
        match transaction.get(&self.keys.tenant_name(name)?, Isolation::Serializable).await? {
            Some(bytes) => number_of(&bytes, "a tenant's id"),
            None => Err(not_found()),
        }
    }

    /// What the catalog says of the tenant of an id, which may have been deleted.
    pub(crate) async fn tenant_with_id(&self, transaction: &dyn Transaction, id: u64) -> Result<TenantInfo> {
        match transaction.get(&self.keys.tenant(id)?, Isolation::Serializable).await? {
            Some(bytes) => info_of(id, &read(&bytes, "a tenant's entry")?),
            None => {
                Err(Error::new(Code::TenantNotFound, format!("the tenant with the id {id} has been deleted")))
            }
        }
    }

    async fn tenant_info(&self, transaction: &dyn Transaction, id: u64) -> Result<TenantInfo> {
        match transaction.get(&self.keys.tenant(id)?, Isolation::Serializable).await? {
            Some(bytes) => info_of(id, &read(&bytes, "a tenant's entry")?),
            None => {
                Err(Error::new(Code::StoredDataInvalid, format!("the catalog has no entry for tenant {id}")))
            }
        }
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
        let detail = "the tenant's header is not the one that was known: its schema changed";
        Err(tenantry_kv::Error::new(tenantry_kv::ErrorCode::NOT_COMMITTED, detail).into())
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
        headers.insert(id, (bytes, header.clone()));
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

fn info_of(id: u64, entry: &TenantEntry) -> Result<TenantInfo> {
    Ok(TenantInfo {
        name: entry.name.clone(),
        uuid: uuid_of(&entry.uuid, "a tenant's entry")?,
        id,
        schema: entry.schema_name.clone(),
        created_us: entry.created_us,
    })
}

fn name_of(elements: &[tenantry_kv::tuple::Element]) -> Option<String> {
    elements.first()?.as_str().map(str::to_owned)
}

/// Where two schemas first differ, for people.
fn difference(stored: &SchemaDefinition, given: &SchemaDefinition) -> String {
    for record_type in &stored.types {
        let Some(other) = given.types.iter().find(|other| other.name == record_type.name) else {
            return format!("the type {}, which is missing", shown(&record_type.name));
        };
        if other == record_type {
            continue;
        }
        let field = record_type.fields.iter().find(|field| !other.fields.contains(field));
        let field = field.or_else(|| other.fields.iter().find(|field| !record_type.fields.contains(field)));
        return match field {
            Some(field) => format!("the field {} of {}", shown(&field.name), shown(&record_type.name)),
            None => format!("the primary key or the indexes of {}", shown(&record_type.name)),
        };
    }
    match given.types.iter().find(|given| !stored.types.iter().any(|stored| stored.name == given.name)) {
        Some(added) => format!("the type {}, which is new", shown(&added.name)),
        None => "the order of its types".to_owned(),
    }
}

/// How an atomic operation is logged.
pub(crate) fn mutation_code(mutation: MutationType) -> u32 {
    mutation.code() as u32
}
