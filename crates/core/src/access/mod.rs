//! Who may do what: grants, and what they decide.
//!
//! A [`Grant`] names tenants, actions, record types and row policies. A database handle that was made with one keeps to it, and so does everything that comes from it: tenants,
//! transactions, readers, typed handles, queries, exports, imports. A handle without one may do everything: it is the application's own.
//!
//! Every public operation begins with a call that names its [`Operation`]; what that needs stands in one list (`operation`). Beside that, what is written passes the policies
//! once more where every write of a record passes, so that what a deletion takes along is checked as well.
//!
//! What a grant does not show is not there. An error that would tell of it is one and the same (20121), whatever stands behind it.

mod action;
mod grant;
mod operation;
mod policy;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

pub use self::action::{Action, Role};
use self::grant::{EVERY_TYPE, Tenants};
pub use self::grant::{Grant, GrantedTenant, RowPolicy};
pub use self::operation::Operation;
use self::operation::Scope;
pub(crate) use self::policy::CompiledPolicy;
use crate::error::{Code, Error, Result, shown};
use crate::limits::GRANT_POLICIES_MAX;
use crate::schema::RecordType;

/// What a handle may do: everything, or what a grant says.
#[derive(Clone, Default)]
pub(crate) struct Access(Option<Arc<Granted>>);

/// A grant in use.
struct Granted {
    grant: Grant,
    /// Policies by schema, version and type.
    policies: Mutex<BTreeMap<(Uuid, u32, u32), Arc<CompiledPolicy>>>,
}

/// Where a record type stands: its schema with its version.
pub(crate) type SchemaKey = (Uuid, u32);

impl Access {
    /// What a grant says.
    pub(crate) fn of(grant: Grant) -> Result<Access> {
        grant.check()?;
        Ok(Access(Some(Arc::new(Granted { grant, policies: Mutex::default() }))))
    }

    /// The grant, if there is one.
    pub(crate) fn grant(&self) -> Option<&Grant> {
        self.0.as_ref().map(|granted| &granted.grant)
    }

    /// Who acts.
    pub(crate) fn actor(&self) -> &str {
        self.grant().map_or("", Grant::subject)
    }

    /// Whether some of the tenant's records are none of the holder's.
    pub(crate) fn is_limited(&self) -> bool {
        self.grant().is_some_and(|grant| grant.record_types.is_some() || !grant.policies.is_empty())
    }

    /// Fails unless the grant is valid now.
    pub(crate) fn check_time(&self, now_us: i64) -> Result<()> {
        let Some(grant) = self.grant() else { return Ok(()) };
        let refused = |what: &str| Err(Error::new(Code::GrantExpired, format!("{what}: ask for a new one")));
        match () {
            () if grant.not_before_us.is_some_and(|from_us| now_us < from_us) => {
                Err(Error::new(Code::GrantExpired, "the grant is not valid yet"))
            }
            () if grant.expires_us.is_some_and(|until_us| now_us >= until_us) => {
                refused("the grant's time is over")
            }
            () => Ok(()),
        }
    }

    /// Fails unless an operation is allowed that no record type bounds.
    pub(crate) fn authorize(&self, operation: Operation, now_us: i64) -> Result<()> {
        let Some(grant) = self.grant() else { return Ok(()) };
        self.check_time(now_us)?;
        grant.check_actions(operation)?;
        match operation.scope() {
            Scope::Catalog => Ok(()),
            Scope::Database if grant.is_on_all_tenants() && !self.is_limited() => Ok(()),
            Scope::Database => Err(grant.denied(operation, "it takes a grant on all tenants without limits")),
            // Whoever asks so of records is not asked which ones.
            Scope::Tenant | Scope::Rows | Scope::Type => match grant {
                grant if grant.record_types.is_some() => {
                    Err(grant.denied(operation, "the grant is limited to some record types"))
                }
                grant if !grant.policies.is_empty() => Err(unsupported(operation)),
                _ => Ok(()),
            },
        }
    }

    /// Fails unless an operation is allowed on records of a type. To be asked before whether there is such a type.
    pub(crate) fn authorize_type(&self, operation: Operation, record_type: &str, now_us: i64) -> Result<()> {
        let Some(grant) = self.grant() else { return Ok(()) };
        self.check_time(now_us)?;
        grant.check_actions(operation)?;
        grant.check_type(operation, record_type)?;
        match operation.scope() {
            Scope::Rows => Ok(()),
            Scope::Type if grant.policy_for(record_type).is_none() => Ok(()),
            _ => Err(unsupported(operation)),
        }
    }

    /// Fails unless single actions are allowed on records of a type: for what an operation does besides what it is asked for.
    pub(crate) fn check_effect(&self, action: Action, record_type: &str) -> Result<()> {
        let Some(grant) = self.grant() else { return Ok(()) };
        let is_granted = grant.record_types.as_ref().is_none_or(|types| types.contains(record_type));
        match is_granted && grant.allows(action) {
            true => Ok(()),
            false => {
                let detail = format!(
                    "the change would also {} records of {}, which the grant of the role {} does not allow",
                    action.name(),
                    shown(record_type),
                    shown(grant.role())
                );
                Err(Error::new(Code::AccessDenied, detail))
            }
        }
    }

    /// Fails unless further actions are allowed, those of a job's kind.
    pub(crate) fn check_more_actions(&self, operation: Operation, actions: &[Action]) -> Result<()> {
        self.grant().map_or(Ok(()), |grant| grant.check_all(operation, actions))
    }

    /// Whether records of a type may be read.
    pub(crate) fn can_read(&self, record_type: &str) -> bool {
        self.check_effect(Action::Read, record_type).is_ok()
    }

    /// The policy for the records of a type, if it has one.
    pub(crate) fn row_policy(
        &self,
        schema: SchemaKey,
        record_type: &RecordType,
    ) -> Result<Option<Arc<CompiledPolicy>>> {
        let Some(granted) = &self.0 else { return Ok(None) };
        let Some(policy) = granted.grant.policy_for(&record_type.name) else { return Ok(None) };
        let key = (schema.0, schema.1, record_type.id);
        let mut compiled = granted.policies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(policy) = compiled.get(&key) {
            return Ok(Some(policy.clone()));
        }
        let policy = Arc::new(CompiledPolicy::new(&granted.grant, policy, record_type)?);
        if compiled.len() >= COMPILED_POLICIES_MAX {
            compiled.clear();
        }
        compiled.insert(key, policy.clone());
        Ok(Some(policy))
    }

    /// Fails for a policy that does not fit a schema, or for a type that it does not have.
    pub(crate) fn check_policies(&self, schema: SchemaKey, types: &[RecordType]) -> Result<()> {
        let Some(grant) = self.grant() else { return Ok(()) };
        for name in grant.policies.keys() {
            if name != EVERY_TYPE && !types.iter().any(|record_type| record_type.name == *name) {
                let detail =
                    format!("the grant has a row policy for {}, which is no type of the tenant", shown(name));
                return Err(Error::new(Code::PolicyInvalid, detail));
            }
        }
        let is_granted = |record_type: &&RecordType| {
            grant.record_types.as_ref().is_none_or(|types| types.contains(&record_type.name))
        };
        types
            .iter()
            .filter(is_granted)
            .try_for_each(|record_type| self.row_policy(schema, record_type).map(|_| ()))
    }

    /// Whether a grant is on a tenant of a name. To be asked before anything is looked up: what a grant is not on is not there.
    pub(crate) fn covers_name(&self, name: &str) -> bool {
        self.grant().is_none_or(|grant| match &grant.tenants {
            Tenants::All { .. } => true,
            Tenants::Named(tenants) => tenants.iter().any(|tenant| tenant.name == name),
        })
    }

    /// Whether the grant is on all tenants.
    pub(crate) fn covers_all(&self) -> bool {
        self.grant().is_none_or(Grant::is_on_all_tenants)
    }

    /// Fails unless the grant is on a tenant, and its tokens have not been revoked since.
    pub(crate) fn check_tenant(&self, name: &str, uuid: &[u8], epoch: u32) -> Result<()> {
        let Some(grant) = self.grant() else { return Ok(()) };
        let Tenants::Named(tenants) = &grant.tenants else { return Ok(()) };
        let is_this = |tenant: &&GrantedTenant| {
            tenant.name == name && tenant.uuid.is_none_or(|granted| granted.as_bytes()[..] == *uuid)
        };
        match tenants.iter().find(is_this) {
            None => Err(Error::new(Code::TenantNotFound, shown(name))),
            Some(tenant) if tenant.epoch.is_some_and(|granted| granted != epoch) => Err(revoked()),
            Some(_) => Ok(()),
        }
    }

    /// For a grant on all tenants that can be revoked: whether the database's epoch is to be looked at.
    pub(crate) fn needs_database_epoch(&self) -> bool {
        matches!(
            self.grant().map(|grant| &grant.tenants),
            Some(Tenants::All { database, epoch }) if database.is_some() || epoch.is_some()
        )
    }

    /// Fails unless the grant on all tenants is one on this database, and has not been revoked since.
    pub(crate) fn check_database(&self, uuid: &[u8], epoch: u32) -> Result<()> {
        match self.grant().map(|grant| &grant.tenants) {
            Some(Tenants::All { database: Some(granted), .. }) if granted.as_bytes()[..] != *uuid => {
                Err(Error::new(Code::AccessDenied, "the grant is on another database"))
            }
            Some(Tenants::All { epoch: Some(granted), .. }) if *granted != epoch => Err(revoked()),
            _ => Ok(()),
        }
    }
}

/// How many typed policies a handle keeps.
const COMPILED_POLICIES_MAX: usize = 4 * GRANT_POLICIES_MAX;

impl Grant {
    fn check_actions(&self, operation: Operation) -> Result<()> {
        self.check_all(operation, operation.actions())
    }

    fn check_all(&self, operation: Operation, actions: &[Action]) -> Result<()> {
        match actions.iter().find(|action| !self.allows(**action)) {
            None => Ok(()),
            Some(action) => Err(self.denied(operation, &format!("it takes the action {}", action.name()))),
        }
    }

    fn check_type(&self, operation: Operation, record_type: &str) -> Result<()> {
        match self.record_types.as_ref().is_none_or(|types| types.contains(record_type)) {
            true => Ok(()),
            // The same whether or not there is such a type.
            false => {
                Err(self.denied(operation, &format!("the grant is not for the type {}", shown(record_type))))
            }
        }
    }

    fn denied(&self, operation: Operation, why: &str) -> Error {
        let detail = format!("the role {} does not let you {}: {why}", shown(self.role()), operation.what());
        Error::new(Code::AccessDenied, detail)
    }
}

/// The error of an operation that cannot keep to row policies.
fn unsupported(operation: Operation) -> Error {
    let detail = format!(
        "to {} takes more than the records that the grant's row policies show: ask for a grant without them",
        operation.what()
    );
    Error::new(Code::PolicyUnsupported, detail)
}

/// The error of a change that something stands against which the grant does not show. It is the same whatever that is.
pub(crate) fn hidden() -> Error {
    let detail = "something stands against the change that the grant's row policies do not show";
    Error::new(Code::PolicyUnsupported, detail)
}

fn revoked() -> Error {
    Error::new(Code::AccessRevoked, "the tokens were revoked since: ask for a new one")
}

#[cfg(test)]
mod tests;
