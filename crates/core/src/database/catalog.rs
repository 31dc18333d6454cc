//! The catalog: the schemas of a database, and how it is changed.

use std::sync::Arc;

use bytes::Bytes;
use tenantry_kv::{Isolation, RangeRequest, Transaction};
use uuid::Uuid;

use super::{CACHE_ENTRIES_MAX, Database, Inner, lock, new_uuid, uuid_of};
use crate::access::Operation;
use crate::change_log;
use crate::error::{Code, Error, Result, shown};
use crate::key_space::CATALOG_TENANT;
use crate::limits::NAME_SIZE_BYTES_MAX;
use crate::messages::{Change, RawChange, Space};
use crate::schema::SchemaDefinition;

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

/// Whether a schema was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was created.
    Created,
    /// It was there already, exactly so.
    Unchanged,
}

impl Database {
    /// Puts a schema into the catalog. To apply the same one again changes nothing.
    ///
    /// # Errors
    ///
    /// 20021 when a schema of that name exists and says something else; 20060 for one that is too large.
    pub async fn apply_schema(&self, definition: &SchemaDefinition) -> Result<Applied> {
        self.authorize(Operation::ApplySchema).await?;
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
        self.authorize(Operation::ViewSchemas).await?;
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
        self.authorize(Operation::ViewSchemas).await?;
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
}

impl Inner {
    /// Changes the catalog and logs it as a change of tenant 0.
    pub(crate) async fn write_catalog(
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
            actor: "",
            wall_us: self.env.clock.wall_us(),
            read_version: transaction.read_version().await?,
            sealer: None,
        };
        change_log::append(transaction, transaction, &context, changes)
    }

    pub(crate) async fn schema_uuid(&self, transaction: &dyn Transaction, name: &str) -> Result<Uuid> {
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
}

pub(super) fn name_of(elements: &[tenantry_kv::tuple::Element]) -> Option<String> {
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
