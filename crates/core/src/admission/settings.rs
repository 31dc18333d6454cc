//! How many transactions run and wait in a process.

use std::time::Duration;

use crate::error::{Result, limit};
use crate::limits::{
    POOL_QUEUE_DEADLINE, POOL_QUEUE_DEADLINE_MAX, POOL_TRANSACTIONS_DEFAULT, POOL_TRANSACTIONS_MAX,
    POOL_TRANSACTIONS_PER_TENANT_DEFAULT, POOL_WAITING_DEFAULT, POOL_WAITING_MAX,
    POOL_WAITING_PER_TENANT_DEFAULT,
};

/// How many transactions on tenants run and wait in this process: see [`Database::set_pool_settings`](crate::Database::set_pool_settings).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolSettings {
    /// How many run at a time. Default 1,000.
    pub transactions_max: usize,
    /// How many of one tenant run at a time, unless its own limit is lower. Default 500.
    pub transactions_per_tenant_max: usize,
    /// How many wait. One more is refused at once. Default 20,000.
    pub waiting_max: usize,
    /// How many of one tenant wait. Default 2,000.
    pub waiting_per_tenant_max: usize,
    /// How long one waits before it is refused. Default five seconds; at most a minute.
    pub queue_deadline: Duration,
}

impl Default for PoolSettings {
    fn default() -> PoolSettings {
        PoolSettings {
            transactions_max: POOL_TRANSACTIONS_DEFAULT,
            transactions_per_tenant_max: POOL_TRANSACTIONS_PER_TENANT_DEFAULT,
            waiting_max: POOL_WAITING_DEFAULT,
            waiting_per_tenant_max: POOL_WAITING_PER_TENANT_DEFAULT,
            queue_deadline: POOL_QUEUE_DEADLINE,
        }
    }
}

impl PoolSettings {
    pub(super) fn check(&self) -> Result<()> {
        let bounds = [
            (
                "the transactions that run at a time (at least one)",
                self.transactions_max,
                POOL_TRANSACTIONS_MAX,
            ),
            (
                "the transactions of a tenant that run at a time (at least one)",
                self.transactions_per_tenant_max,
                POOL_TRANSACTIONS_MAX,
            ),
            ("the transactions that wait (at least one)", self.waiting_max, POOL_WAITING_MAX),
            (
                "the transactions of a tenant that wait (at least one)",
                self.waiting_per_tenant_max,
                POOL_WAITING_MAX,
            ),
        ];
        for (what, found, most) in bounds {
            if found == 0 || found > most {
                return Err(limit(what, found, most));
            }
        }
        if self.queue_deadline > POOL_QUEUE_DEADLINE_MAX {
            let (found, most) =
                (self.queue_deadline.as_millis() as usize, POOL_QUEUE_DEADLINE_MAX.as_millis() as usize);
            return Err(limit("the milliseconds that a transaction waits", found, most));
        }
        Ok(())
    }
}
