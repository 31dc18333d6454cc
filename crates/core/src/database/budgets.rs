//! Leases on a tenant's rates: how the processes of a cluster share them. Each lies under the tenant's own prefix (8 1), and is read with all others in the transaction that
//! renews it, so that the parts of all never add up to more than the whole.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use tenantry_kv::runner::RetryPolicy;
use tenantry_kv::{Isolation, RangeRequest, Transaction};
use uuid::Uuid;

use super::{Inner, new_uuid};
use crate::admission::{Account, Admitted, Arrival, Class, Demand, Event, Granted, WHOLE_PPM, share_out};
use crate::error::Result;
use crate::key_space::TenantKeys;
use crate::messages::{BudgetLease, read};
use crate::tenant_state::{Pass, check_begin};

/// How long a lease holds.
const LEASE: Duration = Duration::from_secs(3);
/// When it is renewed.
const RENEW: Duration = Duration::from_secs(1);
/// When it is renewed by somebody who came just now, has less than is due to it, or does not know how much it needs.
const RENEW_SOON: Duration = Duration::from_millis(250);
/// How long a renewal may take.
const RENEWAL_DEADLINE: Duration = Duration::from_secs(2);

impl Inner {
    /// Waits until a transaction on a tenant may run: for so long and no longer than the settings say, or for as long as it takes.
    ///
    /// # Errors
    ///
    /// 20141.
    pub(crate) async fn admit<'a>(
        &'a self,
        account: &'a Arc<Account>,
        id: u64,
        keys: &TenantKeys,
        class: Class,
        wait_max: Option<Duration>,
    ) -> Result<Admitted<'a>> {
        let queued = match self.quotas.admission.arrive(account, class, wait_max)? {
            Arrival::Admitted(permit) => return Ok(permit),
            Arrival::Queued(queued) => queued,
        };
        loop {
            match queued.wait().await? {
                Event::Admitted(permit) => return Ok(permit),
                Event::LeaseDue => self.renew_lease(account, id, keys).await,
            }
        }
    }

    /// Renews this process's lease on a tenant's rates, if it is due.
    pub(crate) async fn renew_lease(&self, account: &Account, id: u64, keys: &TenantKeys) {
        let admission = &self.quotas.admission;
        let Some(demand) = admission.demand(account) else { return };
        let asked = self.env.clock.monotonic();
        match self.lease(id, keys, demand).await {
            Ok(granted) => {
                // Others count from before the commit: nobody may have it for longer than they believe.
                let elapsed = self.env.clock.monotonic().saturating_sub(asked);
                let holds_for = granted.holds_for.saturating_sub(elapsed);
                admission.set_lease(account, Granted { holds_for, ..granted });
            }
            Err(_) => {
                // A cluster that answers late shall not give everybody the whole rate at once; where leases cannot be written for longer, on a read-only database, everybody has it.
                let alone =
                    Granted { share_ppm: WHOLE_PPM, renew_after: RENEW, holds_for: LEASE, is_assumed: true };
                admission.lease_failed(account, alone, RENEW_SOON);
            }
        }
    }

    async fn lease(&self, id: u64, keys: &TenantKeys, demand: Demand) -> Result<Granted> {
        let process = *self.quotas.process.get_or_init(|| new_uuid(&self.env));
        let mut policy = RetryPolicy::default();
        policy.deadline = RENEWAL_DEADLINE;
        let runner = self.runner.clone().with_policy(policy);
        let (share_ppm, due_ppm) = runner
            .run(|transaction| async move {
                self.check_writable(&*transaction).await?;
                // A tenant that is gone gets no key.
                check_begin(&*self.header(&*transaction, id, keys).await?, id, Pass::Operator)?;
                self.write_lease(&*transaction, keys, process, demand).await
            })
            .await?;
        let renew_after = if demand.is_settled_by(share_ppm, due_ppm) { RENEW } else { RENEW_SOON };
        Ok(Granted { share_ppm, renew_after, holds_for: LEASE, is_assumed: false })
    }

    async fn write_lease(
        &self,
        transaction: &dyn Transaction,
        keys: &TenantKeys,
        process: Uuid,
        demand: Demand,
    ) -> Result<(u64, u64)> {
        let now_us = self.env.clock.wall_us();
        let own = keys.budget_lease(process)?;
        let range = keys.budget_leases()?.keys();
        let mut others = Vec::new();
        let mut next = Some(RangeRequest::new(range.begin, range.end));
        while let Some(request) = next {
            let batch = transaction.get_range(&request, Isolation::Serializable).await?;
            for row in batch.rows.iter().filter(|row| row.key != own) {
                let lease: BudgetLease = read(&row.value, "a lease on a rate")?;
                match lease.expires_us > now_us {
                    true => others.push((lease.demand_ppm, lease.share_ppm)),
                    false => transaction.clear(&row.key),
                }
            }
            next = request.after(&batch);
        }
        let (share_ppm, due_ppm) = share_out(demand.demand_ppm, &others);
        let expires_us = now_us.saturating_add(LEASE.as_micros() as i64);
        let lease = BudgetLease { demand_ppm: demand.demand_ppm, share_ppm, expires_us };
        transaction.set(&own, &lease.encode_to_vec());
        Ok((share_ppm, due_ppm))
    }
}
