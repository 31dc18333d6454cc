//! What somebody may do: see [`Grant`].

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{Action, Role};
use crate::error::{Code, Error, Result, limit, shown};
use crate::expression::Expression;
use crate::limits::{
    GRANT_CLAIMS_MAX, GRANT_CLAIMS_SIZE_BYTES_MAX, GRANT_POLICIES_MAX, GRANT_RECORD_TYPES_MAX,
    GRANT_TENANTS_MAX, NAME_SIZE_BYTES_MAX,
};
use crate::value::Value;

/// What somebody may do, in which tenants, with which records. [`Database::with_grant`](crate::Database::with_grant) makes a handle that keeps to it.
///
/// ```
/// use tenantry_core::{Action, Grant, Role, RowPolicy};
///
/// let grant = Grant::of_role("ann@example.com", Role::Writer)
///     .on_tenant("acme")
///     .record_types(["order", "note"])
///     .claim("sub", "ann@example.com")
///     .policy("order", RowPolicy::new("owner == claims.sub"));
/// assert!(grant.allows(Action::Insert) && !grant.allows(Action::Export));
/// ```
///
/// What a grant does not name it does not allow: a grant on no tenant opens none. Only a missing list of record types means all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    pub(super) subject: String,
    pub(super) role: String,
    pub(super) actions: BTreeSet<Action>,
    pub(super) tenants: Tenants,
    pub(super) record_types: Option<BTreeSet<String>>,
    pub(super) policies: BTreeMap<String, RowPolicy>,
    pub(super) claims: BTreeMap<String, Value>,
    pub(super) not_before_us: Option<i64>,
    pub(super) expires_us: Option<i64>,
}

/// The tenants of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tenants {
    Named(Vec<GrantedTenant>),
    All { database: Option<Uuid>, epoch: Option<u32> },
}

/// One tenant that a grant is for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GrantedTenant {
    /// Its name.
    pub name: String,
    /// Its identity: another tenant that comes to have the name is none of this grant's. Without one the name alone counts.
    pub uuid: Option<Uuid>,
    /// Its token epoch when the grant was given: once the tenant has another one, the grant is revoked. Without one it cannot be revoked so.
    pub epoch: Option<u32>,
}

impl GrantedTenant {
    /// Whoever has the name.
    pub fn named(name: impl Into<String>) -> GrantedTenant {
        GrantedTenant { name: name.into(), uuid: None, epoch: None }
    }

    /// The tenant of a name and an identity, until its tokens of an epoch are revoked.
    pub fn new(name: impl Into<String>, uuid: Uuid, epoch: u32) -> GrantedTenant {
        GrantedTenant { name: name.into(), uuid: Some(uuid), epoch: Some(epoch) }
    }
}

/// Which records of a type a grant is about, as conditions (CEL) on the record and the grant's claims: `owner == claims.sub`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RowPolicy {
    /// What has to hold for a record to be seen: others are not there.
    pub read: String,
    /// What has to hold for a record that is written, as it was and as it becomes. Without it, what has to hold to be seen.
    pub write: Option<String>,
}

impl RowPolicy {
    /// The same condition for reads and writes.
    pub fn new(condition: impl Into<String>) -> RowPolicy {
        RowPolicy { read: condition.into(), write: None }
    }

    /// Another condition for writes. What cannot be seen cannot be written either.
    #[must_use]
    pub fn write(mut self, condition: impl Into<String>) -> RowPolicy {
        self.write = Some(condition.into());
        self
    }

    /// The condition for writes.
    pub(super) fn of_writes(&self) -> &str {
        self.write.as_deref().unwrap_or(&self.read)
    }
}

impl Grant {
    /// A grant of a role, on no tenant yet. The subject is who it is given to: it stands in the change log as the actor.
    pub fn of_role(subject: impl Into<String>, role: Role) -> Grant {
        Grant::of_actions(subject, role.name(), role.actions())
    }

    /// A grant of a role of one's own, which is its actions; on no tenant yet.
    pub fn of_actions(
        subject: impl Into<String>,
        role: impl Into<String>,
        actions: impl IntoIterator<Item = Action>,
    ) -> Grant {
        Grant {
            subject: subject.into(),
            role: role.into(),
            actions: actions.into_iter().collect(),
            tenants: Tenants::Named(Vec::new()),
            record_types: None,
            policies: BTreeMap::new(),
            claims: BTreeMap::new(),
            not_before_us: None,
            expires_us: None,
        }
    }

    /// The same, on a tenant more, whoever has the name.
    #[must_use]
    pub fn on_tenant(self, name: impl Into<String>) -> Grant {
        self.on(GrantedTenant::named(name))
    }

    /// The same, on a tenant more.
    #[must_use]
    pub fn on(mut self, tenant: GrantedTenant) -> Grant {
        match &mut self.tenants {
            Tenants::Named(tenants) => tenants.push(tenant),
            Tenants::All { .. } => self.tenants = Tenants::Named(vec![tenant]),
        }
        self
    }

    /// The same, on all tenants.
    #[must_use]
    pub fn on_all_tenants(mut self) -> Grant {
        self.tenants = Tenants::All { database: None, epoch: None };
        self
    }

    /// The same, on all tenants of one database, until its tokens of an epoch are revoked.
    #[must_use]
    pub fn on_all_tenants_of(mut self, database: Uuid, epoch: u32) -> Grant {
        self.tenants = Tenants::All { database: Some(database), epoch: Some(epoch) };
        self
    }

    /// The same, for records of some types alone. Whoever is limited so has no raw keys, counters or jobs either.
    #[must_use]
    pub fn record_types<Name: Into<String>>(mut self, names: impl IntoIterator<Item = Name>) -> Grant {
        self.record_types = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// The same, for some records of a type alone; `*` stands for every type that has no policy of its own. Whoever has a policy has no raw keys, counters or jobs.
    #[must_use]
    pub fn policy(mut self, record_type: impl Into<String>, policy: RowPolicy) -> Grant {
        self.policies.insert(record_type.into(), policy);
        self
    }

    /// The same, with what `claims.NAME` stands for in its policies: a bool, number, text, or a list of these.
    #[must_use]
    pub fn claim(mut self, name: impl Into<String>, value: impl Into<Value>) -> Grant {
        self.claims.insert(name.into(), value.into());
        self
    }

    /// The same, from a moment on, in microseconds since 1970.
    #[must_use]
    pub fn not_before_us(mut self, moment_us: i64) -> Grant {
        self.not_before_us = Some(moment_us);
        self
    }

    /// The same, until a moment, in microseconds since 1970.
    #[must_use]
    pub fn expires_us(mut self, moment_us: i64) -> Grant {
        self.expires_us = Some(moment_us);
        self
    }

    /// Who it is given to.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The name of its role.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// What it allows.
    pub fn actions(&self) -> &BTreeSet<Action> {
        &self.actions
    }

    /// Whether it allows an action.
    pub fn allows(&self, action: Action) -> bool {
        self.actions.contains(&action)
    }

    /// The tenants that it is on by name; none where it is on all of them.
    pub fn tenants(&self) -> &[GrantedTenant] {
        match &self.tenants {
            Tenants::Named(tenants) => tenants,
            Tenants::All { .. } => &[],
        }
    }

    /// Whether it is on all tenants.
    pub fn is_on_all_tenants(&self) -> bool {
        matches!(self.tenants, Tenants::All { .. })
    }

    /// The record types that it is limited to, if it is.
    pub fn granted_types(&self) -> Option<&BTreeSet<String>> {
        self.record_types.as_ref()
    }

    /// Its row policies, by record type.
    pub fn policies(&self) -> &BTreeMap<String, RowPolicy> {
        &self.policies
    }

    /// Its claims.
    pub fn claims(&self) -> &BTreeMap<String, Value> {
        &self.claims
    }

    /// From when until when it is valid, in microseconds since 1970.
    pub fn validity_us(&self) -> (Option<i64>, Option<i64>) {
        (self.not_before_us, self.expires_us)
    }

    /// Fails for a grant that cannot be meant.
    ///
    /// # Errors
    ///
    /// 20124 for one without a subject, a policy for a type that it is not for, or a claim that no expression can hold; 20123 for a policy that is no expression; 20060.
    pub fn check(&self) -> Result<()> {
        let refused = |detail: String| Err(Error::new(Code::GrantInvalid, detail));
        for (what, text) in [("subject", &self.subject), ("role", &self.role)] {
            if text.is_empty() || text.chars().any(char::is_control) {
                return refused(format!("the {what} of a grant is a text without control characters"));
            }
            check_size(&format!("the bytes of the {what} of a grant"), text.len(), NAME_SIZE_BYTES_MAX)?;
        }
        check_size("the tenants of a grant", self.tenants().len(), GRANT_TENANTS_MAX)?;
        let mut names = BTreeSet::new();
        if let Some(twice) = self.tenants().iter().find(|tenant| !names.insert(&tenant.name)) {
            return refused(format!("it names the tenant {} twice", shown(&twice.name)));
        }
        let types = self.record_types.as_ref();
        check_size("the record types of a grant", types.map_or(0, BTreeSet::len), GRANT_RECORD_TYPES_MAX)?;
        check_size("the row policies of a grant", self.policies.len(), GRANT_POLICIES_MAX)?;
        for (name, policy) in &self.policies {
            if name != EVERY_TYPE && types.is_some_and(|types| !types.contains(name)) {
                return refused(format!("it has a row policy for {} and is not for that type", shown(name)));
            }
            for text in [Some(&policy.read), policy.write.as_ref()].into_iter().flatten() {
                Expression::check_syntax(text).map_err(|error| {
                    let detail = format!("the row policy for {}: {}", shown(name), error.detail());
                    Error::new(Code::PolicyInvalid, detail)
                })?;
            }
        }
        self.check_claims()
    }

    fn check_claims(&self) -> Result<()> {
        check_size("the claims of a grant", self.claims.len(), GRANT_CLAIMS_MAX)?;
        let mut size_bytes = 0;
        for (name, value) in &self.claims {
            size_bytes += name.len() + value_size_bytes(value);
            let is_usable = match value {
                Value::List(elements) => elements.iter().all(is_scalar),
                value => is_scalar(value),
            };
            if !is_usable || name.is_empty() {
                let detail = format!(
                    "the claim {} is a {}: it has to be a bool, number, text, date, timestamp, uuid, or a list of these",
                    shown(name),
                    value.type_name()
                );
                return Err(Error::new(Code::GrantInvalid, detail));
            }
        }
        check_size("the bytes of the claims of a grant", size_bytes, GRANT_CLAIMS_SIZE_BYTES_MAX)
    }

    /// The policy for a type.
    pub(super) fn policy_for(&self, record_type: &str) -> Option<&RowPolicy> {
        self.policies.get(record_type).or_else(|| self.policies.get(EVERY_TYPE))
    }
}

/// What stands for every type in the place of a type's name.
pub(super) const EVERY_TYPE: &str = "*";

fn check_size(what: &str, found: usize, most: usize) -> Result<()> {
    if found <= most { Ok(()) } else { Err(limit(what, found, most)) }
}

fn is_scalar(value: &Value) -> bool {
    !matches!(value, Value::List(_) | Value::Struct(_) | Value::Json(_) | Value::Bytes(_))
}

/// About how many bytes a value takes.
fn value_size_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::List(elements) => elements.iter().map(value_size_bytes).sum::<usize>() + elements.len(),
        _ => 16,
    }
}
