//! A round: several tenants at a time, each in a transaction of some operations, which give way to each other; then the judgement.

use std::future::{Future, poll_fn};
use std::task::Poll;

use futures_util::future::join_all;
use tenantry_kv::runner::{RetryPolicy, Runner};
use tenantry_kv::{ErrorCode, KvFuture, Versionstamp};

use super::Prover;
use super::act::{Mark, act};
use super::operation::{Operation, Outcome};
use super::plan::{GROUPS, Material};
use super::words::NAMES;
use crate::admission::Class;
use crate::error::{Error, Result};
use crate::record::RecordVersion;
use crate::tenant::{Tenant, TenantTransaction};

/// The most tenants that work at a time.
const TENANTS_MAX: usize = 4;
/// The most operations of a transaction.
const OPERATIONS_MAX: usize = 8;
/// How often a transaction is tried again.
const RETRIES_MAX: u64 = 1_000;
/// Of how many rounds one is something that takes more than a transaction.
const SPECIAL_ONE_IN: u64 = 8;
/// Of how many rounds one is something that happens to a tenant as a whole.
const LIFECYCLE_ONE_IN: u64 = 150;

/// What a transaction brought.
struct Done {
    outcomes: Vec<Outcome>,
    seen: Vec<(Vec<u8>, RecordVersion)>,
    stamp: Option<KvFuture<Versionstamp>>,
}

impl Prover {
    /// Some operations, judged.
    pub(super) async fn round(&mut self) -> Result<()> {
        if self.random.below(SPECIAL_ONE_IN) == 0 {
            return self.special().await;
        }
        if self.random.below(LIFECYCLE_ONE_IN) == 0 {
            let place = self.random.index(self.tenants);
            return self.lifecycle(place).await;
        }
        let first = self.random.index(self.tenants);
        let count = 1 + self.random.index(TENANTS_MAX.min(self.tenants));
        let places: Vec<usize> = (0..count).map(|step| (first + step) % self.tenants).collect();
        let plans: Vec<(usize, Vec<Operation>)> =
            places.into_iter().map(|place| (place, self.plan(place))).collect();
        self.run_side_by_side(plans).await
    }

    /// What a tenant is to do in its next transaction.
    pub(super) fn plan(&mut self, place: usize) -> Vec<Operation> {
        let other =
            &self.subjects[(place + 1 + self.random.index(self.subjects.len() - 1)) % self.subjects.len()];
        let subject = &self.subjects[place];
        let material = Material {
            keys: &self.keys,
            mark: &subject.mark,
            versions: &subject.versions,
            stolen_version: other.versions.last().map(|(version, _)| *version),
            stolen_token: other.token.as_deref(),
        };
        let random = &mut self.random;
        let count = 1 + random.index(OPERATIONS_MAX);
        (0..count).map(|_| material.operation(random)).collect()
    }

    pub(super) async fn run_side_by_side(&mut self, plans: Vec<(usize, Vec<Operation>)>) -> Result<()> {
        let runs = plans.iter().map(|(place, plan)| {
            let subject = &self.subjects[*place];
            run(&subject.tenant, &subject.mark, plan)
        });
        let done = join_all(runs).await;
        for ((place, plan), done) in plans.iter().zip(done) {
            let Ran { done, retried, conflicts } = done?;
            self.proof.transactions += 1;
            self.proof.retried += retried;
            self.proof.conflicts += conflicts.len() as u64;
            let is_mismatch = self.proof.counts_conflicts;
            for conflict in conflicts.into_iter().filter(|_| is_mismatch) {
                let what = format!("it conflicted, and does not alone: {conflict}");
                self.proof.mismatch(&self.subjects[*place].tenant.info().name.clone(), what);
            }
            self.judge(*place, plan, done).await;
        }
        Ok(())
    }

    async fn judge(&mut self, place: usize, plan: &[Operation], done: Done) {
        let Some(subject) = self.subjects.get_mut(place) else { return };
        let mut seen = done.seen.into_iter();
        for (operation, found) in plan.iter().zip(&done.outcomes) {
            self.proof.count(operation.name());
            let expected = subject.model.apply(operation);
            if let Outcome::Ordinal(ordinal) = found {
                subject.model.note_ordinal(*ordinal);
            }
            if !expected.allows(found) {
                let what = format!("{operation:?} gave {found:?}, alone it gives {expected:?}");
                self.proof.mismatch(&subject.tenant.info().name, what);
            }
            let is_seen = matches!((operation, found), (Operation::Changed { .. }, Outcome::Ids(ids)) if !ids.is_empty());
            if is_seen
                && let Some((id, version)) = seen.next()
                && let Some(place) = subject.model.place_of(&id)
            {
                subject.remember(version, place);
            }
        }
        let stamp = match done.stamp {
            Some(stamp) => stamp.await.ok().map(|stamp| *stamp.as_bytes()),
            None => None,
        };
        subject.model.commit(stamp);
    }

    /// Everything that each tenant can see of itself.
    pub(super) async fn look_at_all(&mut self) -> Result<()> {
        for place in 0..self.tenants {
            self.look_at(place).await?;
        }
        Ok(())
    }

    /// Everything that a tenant can see of itself.
    pub(super) async fn look_at(&mut self, place: usize) -> Result<()> {
        let mut plan = vec![
            Operation::All(3),
            Operation::Amounts,
            Operation::RawRange { begin: Vec::new(), end: None, rows_max: 10_000, is_reverse: false },
            Operation::RawRange { begin: Vec::new(), end: None, rows_max: 10_000, is_reverse: true },
        ];
        for name in NAMES {
            plan.extend([Operation::PairsOf(name), Operation::Counter(name)]);
        }
        let groups = 0..GROUPS as i64;
        plan.extend(groups.flat_map(|group| {
            let ranked = Operation::Ranked { group, from: 0, rows_max: 1_000 };
            [Operation::OfGroup(group), ranked]
        }));
        self.run_side_by_side(vec![(place, plan)]).await
    }
}

/// What came of a plan.
struct Ran {
    done: Done,
    /// How often it was tried again.
    retried: u64,
    /// What the attempts ended with that met somebody else's changes.
    conflicts: Vec<String>,
}

/// Runs a plan as a transaction of a tenant. Every attempt is a run of its own, so that one that conflicted is seen.
async fn run(tenant: &Tenant, mark: &Mark, plan: &[Operation]) -> Result<Ran> {
    let mut policy = RetryPolicy::default();
    policy.attempts_max = 1;
    let runner = tenant.database.inner.runner.clone().with_policy(policy);
    // The detail of an error that ends a run is the last attempt's own.
    let conflict = format!("(error {})", ErrorCode::NOT_COMMITTED.number());
    let (mut retried, mut conflicts) = (0, Vec::new());
    loop {
        match attempt(tenant, &runner, mark, plan).await {
            Ok(done) => return Ok(Ran { done, retried, conflicts }),
            Err(error) if error.number() == ErrorCode::RETRY_BUDGET_EXHAUSTED.number() => {
                retried += 1;
                if retried > RETRIES_MAX {
                    return Err(error);
                }
                conflicts.extend(Some(error.to_string()).filter(|error| error.contains(&conflict)));
            }
            Err(error) => return Err(error),
        }
    }
}

async fn attempt(tenant: &Tenant, runner: &Runner, mark: &Mark, plan: &[Operation]) -> Result<Done> {
    let has_stamp = plan.iter().any(|operation| matches!(operation, Operation::RawStamped { .. }));
    let body = |transaction: TenantTransaction| async move {
        let (mut outcomes, mut seen) = (Vec::with_capacity(plan.len()), Vec::new());
        for operation in plan {
            give_way().await;
            outcomes.push(act(&transaction, operation, mark, &mut seen).await?);
        }
        let stamp = has_stamp.then(|| transaction.versionstamp());
        Ok::<_, Error>(Done { outcomes, seen, stamp })
    };
    tenant.run_prepared(runner, Class::Normal, |_| Ok(()), body).await.map(|completed| completed.value)
}

/// Lets the others have a turn.
fn give_way() -> impl Future<Output = ()> {
    let mut is_second = false;
    poll_fn(move |context| {
        if std::mem::replace(&mut is_second, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
}
