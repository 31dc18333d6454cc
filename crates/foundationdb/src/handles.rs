//! The handles to a cluster, one for each network thread, and which one a transaction gets.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tenantry_kv::{Result, TransactionOption, Version};

use crate::binding::{Pending, RawDatabase};
use crate::transaction::set_option;

/// The handles of an engine.
pub(crate) struct Handles {
    handles: Vec<Handle>,
    next: AtomicUsize,
}

/// A handle. Until it has had its first read version of the cluster, what is asked of it fails: it is not connected (1039), or takes every version that a transaction
/// is given for one of another cluster (1007). So the first handle serves alone until the others have one.
struct Handle {
    database: Arc<RawDatabase>,
    is_ready: AtomicBool,
    /// The first read version, under way.
    first_version: Mutex<Option<Pending<Version>>>,
}

impl Handles {
    /// At least one.
    pub(crate) fn new(databases: Vec<Arc<RawDatabase>>) -> Handles {
        let handles = databases.into_iter().map(|database| Handle {
            database,
            is_ready: AtomicBool::new(false),
            first_version: Mutex::default(),
        });
        let handles = Handles { handles: handles.collect(), next: AtomicUsize::new(0) };
        // They connect while the first one is at work.
        for handle in handles.handles.iter().skip(1) {
            handle.is_ready();
        }
        handles
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<RawDatabase>> {
        self.handles.iter().map(|handle| &handle.database)
    }

    /// The handle for the next transaction: one after the other.
    pub(crate) fn next(&self) -> &Arc<RawDatabase> {
        let index = self.next.fetch_add(1, Ordering::Relaxed) % self.handles.len();
        match index > 0 && self.handles[index].is_ready() {
            true => &self.handles[index].database,
            false => &self.handles[0].database,
        }
    }
}

impl Handle {
    /// Whether the handle has had a read version. If not, it is asked for, and nobody waits for it.
    fn is_ready(&self) -> bool {
        if self.is_ready.load(Ordering::Acquire) {
            return true;
        }
        // Another one is looking.
        let Ok(mut first_version) = self.first_version.try_lock() else { return false };
        match first_version.as_ref().map(Pending::try_take) {
            Some(Some(Ok(_))) => {
                *first_version = None;
                self.is_ready.store(true, Ordering::Release);
                true
            }
            Some(None) => false,
            // The first one ends when the connection is there; one for a cluster that does not answer, at its timeout.
            Some(Some(Err(_))) | None => {
                *first_version = self.ask().ok();
                false
            }
        }
    }

    fn ask(&self) -> Result<Pending<Version>> {
        let transaction = Arc::new(self.database.begin()?);
        set_option(&transaction, &TransactionOption::LockAware)?;
        Ok(transaction.read_version())
    }
}
