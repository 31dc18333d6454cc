//! A tenant of the proof, and what is known of it.

use std::collections::BTreeMap;

use super::act::Mark;
use super::model::Model;
use super::words::{TENANT_IDS, tenant_name};
use crate::admission::{Limit, TenantLimits};
use crate::database::Database;
use crate::error::Result;
use crate::lifecycle::TenantOptions;
use crate::record::RecordVersion;
use crate::tenant::Tenant;

/// How many versions a tenant remembers.
const VERSIONS_MAX: usize = 20;
/// The plan of some: with rates that nobody reaches, so that they lease parts of them.
const PLAN: &str = "roomy";
const RATE: u64 = 1_000_000_000;
/// Of so many tenants in a row, the first has a plan and the second is sealed.
const KINDS: usize = 4;

/// A tenant of the proof.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) tenant: Tenant,
    pub(super) mark: Mark,
    pub(super) model: Model,
    /// Versions that it has seen, and their places in the model's order of changes.
    pub(super) versions: Vec<(RecordVersion, u64)>,
    /// A page that others may steal.
    pub(super) token: Option<String>,
    /// What was done once for a key: the fingerprint and the result.
    pub(super) requests: BTreeMap<&'static str, (u64, i64)>,
}

impl Subject {
    /// A tenant that has nothing yet.
    pub(super) fn new(tenant: Tenant, mark: Mark) -> Subject {
        Subject {
            tenant,
            mark,
            model: Model::default(),
            versions: Vec::new(),
            token: None,
            requests: BTreeMap::new(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.tenant.info().name
    }

    pub(super) fn id(&self) -> u64 {
        self.tenant.info().id
    }

    pub(super) fn prefix(&self) -> Vec<u8> {
        self.tenant.keys.everything().begin.to_vec()
    }

    pub(super) fn name_and_id(&self) -> (String, u64) {
        (self.name().to_owned(), self.id())
    }

    pub(super) fn remember(&mut self, version: RecordVersion, place: u64) {
        if self.versions.len() >= VERSIONS_MAX {
            self.versions.remove(0);
        }
        self.versions.push((version, place));
    }
}

/// Creates the tenants, with ids around which prefixes grow.
pub(super) async fn create(database: &Database, count: usize) -> Result<Vec<Subject>> {
    let limits =
        TenantLimits::none().with(Limit::OperationsPerSecond, RATE).with(Limit::BytesPerSecond, RATE);
    database.set_plan(PLAN, &limits.with(Limit::Records, RATE)).await?;
    let mut subjects = Vec::new();
    for place in 0..count {
        if let Some(id) = TENANT_IDS.get(place) {
            skip_ids(database, *id).await?;
        }
        subjects.push(create_one(database, place, &tenant_name(place)).await?);
    }
    Ok(subjects)
}

/// Creates the tenant of a place.
pub(super) async fn create_one(database: &Database, place: usize, name: &str) -> Result<Subject> {
    let mut options = TenantOptions::new().sealed(is_sealed(place));
    if has_plan(place) {
        options = options.plan(PLAN);
    }
    let tenant = database.create_tenant_with(name, "isolation", &options).await?;
    let mut subject = Subject::new(tenant, Mark::of(place));
    subject.model.is_sealed = is_sealed(place);
    Ok(subject)
}

pub(super) fn has_plan(place: usize) -> bool {
    place.is_multiple_of(KINDS)
}

pub(super) fn is_sealed(place: usize) -> bool {
    place % KINDS == 1
}

/// Lets the next tenant have an id, in a database that is the proof's own.
async fn skip_ids(database: &Database, id: u64) -> Result<()> {
    let inner = &database.inner;
    inner
        .runner
        .run(|transaction| async move {
            transaction.set(&inner.keys.tenant_last_id()?, &(id - 1).to_le_bytes());
            Ok(())
        })
        .await
}
