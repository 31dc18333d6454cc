//! What becomes of tenants between rounds: they are suspended, renamed, cloned, deleted, brought back, purged and created again. The one that it happens to is told what its state
//! says; everybody else goes on as if alone.

use tenantry_kv::{Isolation, RangeRequest};

use super::Prover;
use super::operation::Operation;
use super::subject::{self, Subject};
use crate::error::{Code, Error, Result};
use crate::lifecycle::Suspension;

/// A key that nobody has, to be cleared.
const NOBODYS_KEY: &[u8] = b"no such key";

/// What a tenant is told when it reads, and when it writes.
type Told = [Option<Code>; 2];

impl Prover {
    /// One of them.
    pub(super) async fn lifecycle(&mut self, place: usize) -> Result<()> {
        match self.random.below(5) {
            0 => self.suspend(place).await,
            1 => self.rename(place).await,
            2 => self.clone_and_purge(place).await,
            // The first half keeps its ids, around which prefixes grow: a new tenant has another.
            3 if place >= self.tenants / 2 => self.purge_and_create_again(place).await,
            _ => self.delete_and_bring_back(place).await,
        }
    }

    async fn suspend(&mut self, place: usize) -> Result<()> {
        let name = self.name(place);
        let (suspension, alone) = match self.random.percent(50) {
            true => (Suspension::ReadOnly, [None, Some(Code::TenantReadOnly)]),
            false => (Suspension::Blocked, [Some(Code::TenantSuspended); 2]),
        };
        self.database.suspend_tenant(&name, suspension, "the proof of isolation").await?;
        let told = self.told(place).await;
        self.expect(place, "suspended tenants", told, alone);
        self.work(&[self.neighbour(place)]).await?;
        self.database.resume_tenant(&name).await?;
        let told = self.told(place).await;
        self.expect(place, "resumed tenants", told, [None, None]);
        self.work(&[place]).await
    }

    async fn rename(&mut self, place: usize) -> Result<()> {
        let (name, id) = (self.name(place), self.subjects[place].id());
        let other_name = format!("{name} renamed");
        self.database.rename_tenant(&name, &other_name).await?;
        let by_old = self.database.tenant(&name).await.map(|_| ()).map_err(|error| error.code());
        let by_new = self.database.tenant(&other_name).await?.info().id;
        self.expect(place, "renamed tenants", (by_old, by_new), (Err(Code::TenantNotFound), id));
        self.work(&[place, self.neighbour(place)]).await?;
        self.database.rename_tenant(&other_name, &name).await?;
        Ok(())
    }

    /// A clone has what its source has; what is changed in it, and its end, change the source in nothing.
    async fn clone_and_purge(&mut self, place: usize) -> Result<()> {
        let name = format!("{} cloned", self.name(place));
        let job = self.database.clone_tenant(&self.name(place), &name).await?;
        let result = self.finish(job).await?;
        self.expect(place, "clones", result.is_object(), true);
        let tenant = self.database.tenant(&name).await?;
        let source = &self.subjects[place];
        let mut clone = Subject::new(tenant, source.mark.clone());
        clone.model = source.model.clone();
        self.subjects.push(clone);
        let clone = self.subjects.len() - 1;
        self.look_at(clone).await?;
        let cleared = vec![Operation::RawClearRange(Vec::new(), vec![0xff; 3]), Operation::All(2)];
        self.run_side_by_side(vec![(clone, cleared)]).await?;
        self.look_at(place).await?;
        self.purge(clone, self.neighbour(place)).await?;
        self.subjects.truncate(clone);
        self.look_at(place).await
    }

    async fn delete_and_bring_back(&mut self, place: usize) -> Result<()> {
        let (name, id) = (self.name(place), self.subjects[place].id());
        self.database.delete_tenant(&name).await?;
        let told = self.told(place).await;
        self.expect(place, "deleted tenants", told, [Some(Code::TenantNotFound); 2]);
        // Somebody else may have the name meanwhile, and sees nothing of what was there.
        let successor = subject::create_one(&self.database, place, &name).await?;
        self.subjects.push(successor);
        let successor = self.subjects.len() - 1;
        self.work(&[successor, self.neighbour(place)]).await?;
        self.look_at(successor).await?;
        self.purge(successor, self.neighbour(place)).await?;
        self.subjects.truncate(successor);
        self.database.undelete_tenant(&name, Some(id), None).await?;
        let told = self.told(place).await;
        self.expect(place, "tenants brought back", told, [None, None]);
        self.look_at(place).await
    }

    async fn purge_and_create_again(&mut self, place: usize) -> Result<()> {
        let name = self.name(place);
        self.purge(place, self.neighbour(place)).await?;
        let created = subject::create_one(&self.database, place, &name).await?;
        let before = std::mem::replace(&mut self.subjects[place], created);
        // The handle of the one that is gone opens nothing of the one that has its name.
        let told = told(&before).await;
        self.expect(place, "handles on purged tenants", told, [Some(Code::TenantNotFound); 2]);
        self.look_at(place).await?;
        self.look_at(self.neighbour(place)).await
    }

    /// Deletes a tenant and purges it, beside a neighbour's work: no key of it is left.
    async fn purge(&mut self, place: usize, neighbour: usize) -> Result<()> {
        let (name, id) = (self.name(place), self.subjects[place].id());
        self.database.delete_tenant(&name).await?;
        let job = self.database.purge_tenant(&name, Some(id), true).await?;
        self.work(&[neighbour]).await?;
        let result = self.finish(job).await?;
        let keys_left = self.keys_of(id).await?;
        self.expect(place, "purged tenants", (result["keys_left"].as_u64(), keys_left), (Some(0), 0));
        Ok(())
    }

    /// How many keys a tenant has, up to ten; and whether the catalog has it.
    async fn keys_of(&self, id: u64) -> Result<usize> {
        let inner = &self.database.inner;
        inner
            .runner
            .read(|transaction| async move {
                let everything = inner.keys.tenant_keys(id)?.everything();
                let some = RangeRequest::new(everything.begin, everything.end).limit(10);
                let rows = transaction.get_range(&some, Isolation::Snapshot).await?.rows.len();
                let entry = transaction.get(&inner.keys.tenant(id)?, Isolation::Snapshot).await?;
                Ok::<_, Error>(rows + usize::from(entry.is_some()))
            })
            .await
    }

    fn name(&self, place: usize) -> String {
        self.subjects[place].name().to_owned()
    }

    /// The one behind, of those that are always there.
    fn neighbour(&self, place: usize) -> usize {
        (place + 1) % self.tenants
    }

    /// A transaction of each, side by side.
    async fn work(&mut self, places: &[usize]) -> Result<()> {
        let plans = places.iter().map(|place| (*place, self.plan(*place))).collect();
        self.run_side_by_side(plans).await
    }

    async fn told(&self, place: usize) -> Told {
        told(&self.subjects[place]).await
    }
}

async fn told(subject: &Subject) -> Told {
    let code = |done: Result<()>| done.err().map(|error| error.code());
    let read = subject.tenant.read(|transaction| async move { transaction.counter("a").await });
    let written = subject.tenant.run(|transaction| async move { transaction.raw_clear(NOBODYS_KEY) });
    [code(read.await.map(drop)), code(written.await)]
}
