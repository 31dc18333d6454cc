//! What a token says.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json, json};
use tenantry_core::{Action, Grant, GrantedTenant, Result, Role, RowPolicy, Value};
use uuid::Uuid;

use crate::invalid;
use crate::limits::{AUDIENCES_MAX, LIFETIME_MAX, NAME_SIZE_BYTES_MAX, SECOND_MAX, TOKEN_SIZE_BYTES_MAX};
use crate::reading::Object;

/// The role of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimedRole {
    /// One that comes with the library, whole.
    Whole(Role),
    /// A name with its actions: a role of the issuer's own, or some actions of one that comes with the library.
    Actions(String, BTreeSet<Action>),
}

/// The tenants of a token. Each is named with its identity and token epoch, so that every token can be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClaimedTenants {
    /// These.
    Named(Vec<GrantedTenant>),
    /// All of a database, with the epoch of such tokens.
    All {
        /// The database's identity.
        database: Uuid,
        /// See [`Database::token_epoch`](tenantry_core::Database::token_epoch).
        epoch: u32,
    },
}

/// The claims of a token.
///
/// In JSON: `iss`, `sub`, `aud` (a text or a list), `exp`, `nbf`, `iat`, `jti`, `role`, `actions`, `tenants` (a list of `{"name", "uuid", "epoch"}`, or `{"all": DATABASE, "epoch": N}`), `types`,
/// `policies` (by type: a condition, or `{"read", "write"}`) and `claims`, which policies name as `claims.NAME`. Nothing else.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TokenClaims {
    /// Who issued it.
    pub issuer: String,
    /// Who may take it.
    pub audience: Vec<String>,
    /// Who it is given to; `claims.sub` in policies.
    pub subject: String,
    /// Its own name, for logs.
    pub id: Option<String>,
    /// When it was issued, in seconds since 1970.
    pub issued_s: i64,
    /// From when on it is good.
    pub not_before_s: Option<i64>,
    /// Until when it is good.
    pub expires_s: i64,
    /// What it allows.
    pub role: ClaimedRole,
    /// Where.
    pub tenants: ClaimedTenants,
    /// With records of which types, if not of all.
    pub types: Option<BTreeSet<String>>,
    /// With which records of a type.
    pub policies: Vec<(String, RowPolicy)>,
    /// What policies know of the subject.
    pub claims: Map<String, Json>,
}

impl TokenClaims {
    /// Claims of a reader on no tenant yet, from a moment on for so many seconds.
    pub fn new(
        issuer: impl Into<String>,
        audience: impl Into<String>,
        subject: impl Into<String>,
        now_s: i64,
        lifetime_s: i64,
    ) -> TokenClaims {
        TokenClaims {
            issuer: issuer.into(),
            audience: vec![audience.into()],
            subject: subject.into(),
            id: None,
            issued_s: now_s,
            not_before_s: None,
            expires_s: now_s.saturating_add(lifetime_s),
            role: ClaimedRole::Whole(Role::Reader),
            tenants: ClaimedTenants::Named(Vec::new()),
            types: None,
            policies: Vec::new(),
            claims: Map::new(),
        }
    }

    /// The same, of a role.
    #[must_use]
    pub fn role(mut self, role: Role) -> TokenClaims {
        self.role = ClaimedRole::Whole(role);
        self
    }

    /// The same, on a tenant more, which has an identity and an epoch: see [`Database::granted_tenant`](tenantry_core::Database::granted_tenant).
    #[must_use]
    pub fn tenant(mut self, tenant: GrantedTenant) -> TokenClaims {
        match &mut self.tenants {
            ClaimedTenants::Named(tenants) => tenants.push(tenant),
            ClaimedTenants::All { .. } => self.tenants = ClaimedTenants::Named(vec![tenant]),
        }
        self
    }

    /// The grant that the token carries. Its end is `leeway_s` later than the token's, its begin as much earlier.
    ///
    /// # Errors
    ///
    /// 20127 for what no grant can say.
    pub fn grant(&self, leeway_s: i64) -> Result<Grant> {
        let subject = self.subject.as_str();
        let mut grant = match &self.role {
            ClaimedRole::Whole(role) => Grant::of_role(subject, *role),
            ClaimedRole::Actions(name, actions) => {
                Grant::of_actions(subject, name.as_str(), actions.iter().copied())
            }
        };
        grant = match &self.tenants {
            ClaimedTenants::Named(tenants) => tenants.iter().cloned().fold(grant, Grant::on),
            ClaimedTenants::All { database, epoch } => grant.on_all_tenants_of(*database, *epoch),
        };
        if let Some(types) = &self.types {
            grant = grant.record_types(types.iter().cloned());
        }
        for (record_type, policy) in &self.policies {
            grant = grant.policy(record_type.as_str(), policy.clone());
        }
        for (name, json) in &self.claims {
            grant = grant.claim(name.as_str(), claim_value(name, json, true)?);
        }
        let us = |second: i64| second.saturating_mul(1_000_000);
        grant = grant.claim("sub", subject).expires_us(us(self.expires_s.saturating_add(leeway_s)));
        if let Some(from_s) = self.not_before_s {
            grant = grant.not_before_us(us(from_s.saturating_sub(leeway_s)));
        }
        grant.check().map_err(|error| invalid(error.detail()))?;
        Ok(grant)
    }

    /// Fails for claims that say nothing sensible, whatever the time is.
    pub(crate) fn check(&self) -> Result<()> {
        let refused = |detail: &str| Err(invalid(detail));
        for (what, text) in [("iss", Some(&self.issuer)), ("jti", self.id.as_ref())] {
            if text.is_some_and(|text| !(1..=NAME_SIZE_BYTES_MAX).contains(&text.len())) {
                return refused(&format!("the claim {what:?} has 1 to {NAME_SIZE_BYTES_MAX} bytes"));
            }
        }
        if self.audience.is_empty() || self.audience.len() > AUDIENCES_MAX {
            return refused(&format!("a token has 1 to {AUDIENCES_MAX} audiences"));
        }
        let begin_s = self.not_before_s.unwrap_or(self.issued_s);
        let lifetime_s = self.expires_s.saturating_sub(self.issued_s);
        if self.expires_s <= begin_s || lifetime_s <= 0 {
            return refused("the token ends before it begins");
        }
        if lifetime_s.unsigned_abs() > LIFETIME_MAX.as_secs() || self.expires_s > SECOND_MAX {
            return refused(&format!(
                "the token would be good for {lifetime_s} seconds, the limit is {}",
                LIFETIME_MAX.as_secs()
            ));
        }
        if let ClaimedTenants::Named(tenants) = &self.tenants
            && let Some(open) = tenants.iter().find(|tenant| tenant.uuid.is_none() || tenant.epoch.is_none())
        {
            return refused(&format!("the tenant {:?} has no identity or no epoch", open.name));
        }
        if self.claims.contains_key("sub") {
            return refused("the claims of policies have a \"sub\" of their own: it is the subject's");
        }
        self.grant(0).map(|_| ())
    }

    /// The claims as a token holds them.
    pub fn to_json(&self) -> Json {
        let mut json = json!({
            "iss": self.issuer,
            "sub": self.subject,
            "aud": self.audience,
            "iat": self.issued_s,
            "exp": self.expires_s,
        });
        let mut set = |name: &str, value: Option<Json>| {
            if let Some(value) = value {
                json[name] = value;
            }
        };
        set("nbf", self.not_before_s.map(Json::from));
        set("jti", self.id.clone().map(Json::from));
        match &self.role {
            ClaimedRole::Whole(role) => set("role", Some(role.name().into())),
            ClaimedRole::Actions(name, actions) => {
                set("role", Some(name.as_str().into()));
                set("actions", Some(actions.iter().map(|action| Json::from(action.name())).collect()));
            }
        }
        let tenant = |tenant: &GrantedTenant| {
            let uuid = tenant.uuid.map(|uuid| uuid.to_string());
            json!({ "name": tenant.name, "uuid": uuid, "epoch": tenant.epoch })
        };
        set(
            "tenants",
            Some(match &self.tenants {
                ClaimedTenants::Named(tenants) => tenants.iter().map(tenant).collect(),
                ClaimedTenants::All { database, epoch } => {
                    json!({ "all": database.to_string(), "epoch": epoch })
                }
            }),
        );
        set("types", self.types.as_ref().map(|types| types.iter().map(String::as_str).collect()));
        if !self.policies.is_empty() {
            let policy = |policy: &RowPolicy| match &policy.write {
                None => Json::from(policy.read.as_str()),
                Some(write) => json!({ "read": policy.read, "write": write }),
            };
            let policies = self.policies.iter().map(|(name, of)| (name.clone(), policy(of)));
            set("policies", Some(Json::Object(policies.collect())));
        }
        if !self.claims.is_empty() {
            set("claims", Some(Json::Object(self.claims.clone())));
        }
        json
    }

    /// Reads the claims of a token. Everything in it has to be known.
    pub(crate) fn parse(text: &[u8]) -> Result<TokenClaims> {
        let mut object = Object::parse("the token", text, invalid)?;
        let audience = match object.needed("aud")? {
            Json::Array(texts) if texts.len() <= AUDIENCES_MAX => texts,
            Json::Array(_) => return Err(object.error(&format!("has more than {AUDIENCES_MAX} audiences"))),
            text => vec![text],
        };
        let audience = audience.into_iter().map(|text| object.as_text("aud", text, NAME_SIZE_BYTES_MAX));
        let audience = audience.collect::<Result<_>>()?;
        let claims = TokenClaims {
            issuer: object.text("iss", NAME_SIZE_BYTES_MAX)?,
            audience,
            subject: object.text("sub", NAME_SIZE_BYTES_MAX)?,
            id: object.optional_text("jti", NAME_SIZE_BYTES_MAX)?,
            issued_s: object.number("iat", SECOND_MAX)?,
            not_before_s: match object.has("nbf") {
                true => Some(object.number("nbf", SECOND_MAX)?),
                false => None,
            },
            expires_s: object.number("exp", SECOND_MAX)?,
            role: read_role(&mut object)?,
            tenants: read_tenants(&mut object)?,
            types: object
                .texts("types", tenantry_core::limits::GRANT_RECORD_TYPES_MAX, NAME_SIZE_BYTES_MAX)?
                .map(|types| types.into_iter().collect()),
            policies: read_policies(&mut object)?,
            claims: match object.take("claims") {
                None => Map::new(),
                Some(Json::Object(claims)) => claims,
                Some(_) => return Err(object.error("has \"claims\" that are no object")),
            },
        };
        object.finish()?;
        claims.check()?;
        Ok(claims)
    }
}

fn read_role(object: &mut Object) -> Result<ClaimedRole> {
    let name = object.text("role", NAME_SIZE_BYTES_MAX)?;
    let actions = object.texts("actions", Action::ALL.len(), NAME_SIZE_BYTES_MAX)?;
    match (Role::of_name(&name), actions) {
        (Some(role), None) => Ok(ClaimedRole::Whole(role)),
        (None, None) => {
            let roles: Vec<&str> = Role::ALL.iter().map(|role| role.name()).collect();
            Err(object.error(&format!(
                "has the role {name:?}: give its \"actions\", or one of {}",
                roles.join(", ")
            )))
        }
        (role, Some(names)) => {
            let mut actions = BTreeSet::new();
            for action in names {
                let action = Action::of_name(&action)
                    .map_err(|error| object.error(&format!(": {}", error.detail())))?;
                if role.is_some_and(|role| !role.actions().contains(&action)) {
                    return Err(
                        object.error(&format!("has the action {}, which {name:?} has not", action.name()))
                    );
                }
                if !actions.insert(action) {
                    return Err(object.error(&format!("has the action {} twice", action.name())));
                }
            }
            Ok(ClaimedRole::Actions(name, actions))
        }
    }
}

fn read_tenants(object: &mut Object) -> Result<ClaimedTenants> {
    let refused = invalid;
    let uuid = |object: &mut Object, name: &str| {
        let text = object.text(name, 36)?;
        // In the one form that it is written in.
        let uuid = Uuid::try_parse(&text).ok().filter(|uuid| uuid.to_string() == text);
        uuid.ok_or_else(|| object.error(&format!("has a {name:?} that is no UUID")))
    };
    let epoch = |object: &mut Object| {
        let epoch = object.number("epoch", i64::from(u32::MAX))?;
        u32::try_from(epoch).map_err(|_| object.error("has no epoch"))
    };
    match object.needed("tenants")? {
        Json::Array(elements) => {
            let most = tenantry_core::limits::GRANT_TENANTS_MAX;
            if elements.len() > most {
                return Err(object.error(&format!("has {} tenants, the limit is {most}", elements.len())));
            }
            let tenant = |json: Json| {
                let mut object = Object::of("a tenant of the token", json, refused)?;
                let name = object.text("name", NAME_SIZE_BYTES_MAX)?;
                let tenant = GrantedTenant::new(name, uuid(&mut object, "uuid")?, epoch(&mut object)?);
                object.finish().map(|()| tenant)
            };
            elements.into_iter().map(tenant).collect::<Result<_>>().map(ClaimedTenants::Named)
        }
        json => {
            let mut all = Object::of("what the token says of all tenants", json, refused)?;
            let tenants = ClaimedTenants::All { database: uuid(&mut all, "all")?, epoch: epoch(&mut all)? };
            all.finish().map(|()| tenants)
        }
    }
}

fn read_policies(object: &mut Object) -> Result<Vec<(String, RowPolicy)>> {
    let policies = match object.take("policies") {
        None => return Ok(Vec::new()),
        Some(Json::Object(policies)) => policies,
        Some(_) => return Err(object.error("has \"policies\" that are no object")),
    };
    let policy = |(name, json): (String, Json)| {
        let policy = match json {
            Json::String(condition) => RowPolicy::new(condition),
            json => {
                let mut object = Object::of("a policy of the token", json, invalid)?;
                let policy = RowPolicy::new(object.text("read", TOKEN_SIZE_BYTES_MAX)?);
                let write = object.optional_text("write", TOKEN_SIZE_BYTES_MAX)?;
                object.finish()?;
                write.into_iter().fold(policy, RowPolicy::write)
            }
        };
        Ok((name, policy))
    };
    policies.into_iter().map(policy).collect()
}

/// The value of a claim.
fn claim_value(name: &str, json: &Json, may_be_list: bool) -> Result<Value> {
    let refused = |what: &str| Err(invalid(format!("the claim {name:?} is {what}")));
    match json {
        Json::Bool(value) => Ok(Value::Bool(*value)),
        Json::String(text) => Ok(Value::String(text.clone())),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => Ok(Value::Int(number)),
            (None, Some(number)) if number.is_finite() => Ok(Value::Float(number)),
            _ => refused("a number that neither an int nor a float holds"),
        },
        Json::Array(elements) if may_be_list => {
            let elements = elements.iter().map(|element| claim_value(name, element, false));
            elements.collect::<Result<_>>().map(Value::List)
        }
        Json::Array(_) => refused("a list of lists"),
        Json::Null => refused("null: leave it out"),
        Json::Object(_) => refused("an object"),
    }
}
