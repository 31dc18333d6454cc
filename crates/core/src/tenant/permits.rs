//! Where a grant is asked: what an operation may do with a record type, and which records it sees.

use std::sync::Arc;

use bytes::Bytes;
use tenantry_kv::Isolation;

use super::Tenant;
use super::records::Stored;
use super::transaction::TenantTransaction;
use crate::access::{Action, CompiledPolicy, Operation, hidden};
use crate::database::Schema;
use crate::error::{Code, Error, Result};
use crate::record::{Record, RecordKeys};
use crate::schema::{OnDelete, RecordType};

/// A record type that an operation may be done with.
pub(crate) struct Permit<'a> {
    pub(crate) record_type: &'a RecordType,
    /// Which of its records the operation is about.
    pub(crate) policy: Option<Arc<CompiledPolicy>>,
}

impl Tenant {
    /// Fails unless an operation is allowed that no record type bounds. Every public operation begins with this or with [`permit`](TenantTransaction::permit).
    pub(crate) fn authorize(&self, operation: Operation) -> Result<()> {
        let inner = &self.database.inner;
        self.database.access.authorize(operation, inner.env.clock.wall_us())
    }

    /// As [`permit`](TenantTransaction::permit), outside of a transaction.
    pub(crate) fn permit_in<'a>(
        &self,
        operation: Operation,
        schema: &'a Schema,
        record_type: &str,
    ) -> Result<Permit<'a>> {
        self.authorize_type(operation, record_type)?;
        let record_type = schema.definition.record_type(record_type)?;
        let policy = self.database.access.row_policy((schema.uuid, schema.version), record_type)?;
        Ok(Permit { record_type, policy })
    }

    /// Fails unless an operation is allowed on records of a type.
    pub(crate) fn authorize_type(&self, operation: Operation, record_type: &str) -> Result<()> {
        let inner = &self.database.inner;
        self.database.access.authorize_type(operation, record_type, inner.env.clock.wall_us())
    }

    /// Whether some of the tenant's records are none of the holder's.
    pub(crate) fn is_limited(&self) -> bool {
        self.database.access.is_limited()
    }
}

impl TenantTransaction {
    /// Fails unless an operation is allowed that no record type bounds.
    pub(crate) fn authorize(&self, operation: Operation) -> Result<()> {
        self.tenant.authorize(operation)
    }

    /// The record type of a name, for an operation on its records. What a grant does not allow is refused before it is asked whether there is such a type.
    pub(crate) fn permit(&self, operation: Operation, record_type: &str) -> Result<Permit<'_>> {
        self.tenant.permit_in(operation, self.schema(), record_type)
    }

    /// The policy for the records of a type, if there is one.
    pub(crate) fn row_policy(&self, record_type: &RecordType) -> Result<Option<Arc<CompiledPolicy>>> {
        let schema = self.schema();
        self.tenant.database.access.row_policy((schema.uuid, schema.version), record_type)
    }

    /// Whether a record is seen.
    pub(super) fn shows(&self, record_type: &RecordType, record: &Record) -> Result<bool> {
        Ok(self.row_policy(record_type)?.is_none_or(|policy| policy.shows(&record.values)))
    }

    /// As [`load`](TenantTransaction::load); what is not seen is not there.
    pub(crate) async fn load_shown(
        &self,
        record_type: &RecordType,
        keys: &RecordKeys,
        isolation: Isolation,
    ) -> Result<Option<Stored>> {
        match self.load(record_type, keys, isolation).await? {
            Some(stored) if self.shows(record_type, &stored.record)? => Ok(Some(stored)),
            _ => Ok(None),
        }
    }

    /// Whether the record whose part 0 these bytes are is seen.
    pub(super) async fn shows_stored(
        &self,
        record_type: &RecordType,
        keys: &RecordKeys,
        part: &Bytes,
    ) -> Result<bool> {
        match self.row_policy(record_type)? {
            None => Ok(true),
            Some(policy) => {
                let stored = self.assemble(record_type, keys, part, Isolation::Serializable).await?;
                Ok(policy.shows(&stored.record.values))
            }
        }
    }

    /// Fails unless a record may become another one. Every write of a record passes here, whatever asked for it.
    pub(super) fn check_write(
        &self,
        record_type: &RecordType,
        old: Option<&Record>,
        new: Option<&Record>,
    ) -> Result<()> {
        let action = match (old, new) {
            (_, None) => Action::Delete,
            (None, Some(_)) => Action::Insert,
            (Some(_), Some(_)) => Action::Update,
        };
        self.tenant.database.access.check_effect(action, &record_type.name)?;
        let Some(policy) = self.row_policy(record_type)? else { return Ok(()) };
        if old.is_some_and(|old| !policy.shows(&old.values)) {
            return Err(hidden());
        }
        let refused = |what: &str| {
            let detail = format!("the {what} of {} is none that it lets you write", record_type.name);
            Err(Error::new(Code::PolicyViolated, detail))
        };
        match (old, new) {
            (Some(old), _) if !policy.lets_write(&old.values) => refused("record as it is"),
            (_, Some(new)) if !policy.lets_write(&new.values) => refused("new record"),
            _ => Ok(()),
        }
    }

    /// Fails unless everything is allowed that the deletion of a record of a type can take along, by the schema: whether or not there are such records.
    pub(crate) fn check_deletion(&self, record_type: &RecordType) -> Result<()> {
        let access = &self.tenant.database.access;
        if access.grant().is_none() {
            return Ok(());
        }
        let mut seen = std::collections::BTreeSet::from([record_type.id]);
        let mut open = vec![record_type];
        while let Some(target) = open.pop() {
            for (child, reference) in self.schema().definition.references_to(&target.name) {
                match reference.on_delete {
                    OnDelete::Restrict => {}
                    OnDelete::SetNull => access.check_effect(Action::Update, &child.name)?,
                    OnDelete::Cascade => {
                        access.check_effect(Action::Delete, &child.name)?;
                        if seen.insert(child.id) {
                            open.push(child);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether an error may name a record of a type.
    pub(super) fn can_name(&self, record_type: &RecordType, record: Option<&Record>) -> Result<bool> {
        let is_readable = self.tenant.database.access.can_read(&record_type.name);
        Ok(match (self.row_policy(record_type)?, record) {
            (Some(policy), Some(record)) => is_readable && policy.shows(&record.values),
            (Some(_), None) => false,
            (None, _) => is_readable,
        })
    }
}
