//! Hooks: what is done right before and right after the commit.

use std::future::Future;
use std::pin::Pin;

use super::transaction::TenantTransaction;
use crate::error::{Result, limit};
use crate::limits::TRANSACTION_HOOKS_MAX;

type Step = Pin<Box<dyn Future<Output = Result<()>> + Send>>;
pub(super) type BeforeCommit = Box<dyn FnOnce(TenantTransaction) -> Step + Send>;
pub(super) type AfterCommit = Box<dyn FnOnce(Option<i64>) + Send>;

/// What a transaction does at its end.
#[derive(Default)]
pub(super) struct Hooks {
    before: std::collections::VecDeque<BeforeCommit>,
    after: Vec<AfterCommit>,
    /// How many there were in all, those that have run included.
    count: usize,
}

impl TenantTransaction {
    /// Has `hook` called when the body of this attempt has ended well, before the commit, in the order in which hooks were asked for. It may read and write, and ask for further hooks;
    /// its error ends the transaction like one of the body.
    ///
    /// # Errors
    ///
    /// 20060 for more than a hundred hooks.
    pub fn before_commit<F, Fut>(&self, hook: F) -> Result<()>
    where
        F: FnOnce(TenantTransaction) -> Fut + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.add_hook(|hooks| {
            hooks.before.push_back(Box::new(move |transaction| Box::pin(hook(transaction))))
        })
    }

    /// Has `hook` called once when the transaction is known to be committed, with its commit version: none for a transaction that wrote nothing, and for one whose commit had to be found out
    /// afterwards. It is not called by [`Tenant::read`](super::Tenant::read), for an attempt that was not the last, nor when the process ends before.
    ///
    /// # Errors
    ///
    /// 20060 for more than a hundred hooks.
    pub fn after_commit(&self, hook: impl FnOnce(Option<i64>) + Send + 'static) -> Result<()> {
        self.add_hook(|hooks| hooks.after.push(Box::new(hook)))
    }

    fn add_hook(&self, add: impl FnOnce(&mut Hooks)) -> Result<()> {
        let mut state = self.lock();
        let hooks = &mut state.hooks;
        if hooks.count >= TRANSACTION_HOOKS_MAX {
            return Err(limit("the hooks of a transaction", hooks.count + 1, TRANSACTION_HOOKS_MAX));
        }
        hooks.count += 1;
        add(hooks);
        Ok(())
    }

    pub(super) async fn run_before_commit(&self) -> Result<()> {
        loop {
            let next = self.lock().hooks.before.pop_front();
            match next {
                Some(hook) => hook(self.clone()).await?,
                None => return Ok(()),
            }
        }
    }

    pub(super) fn run_after_commit(&self, version: Option<i64>) {
        let hooks = std::mem::take(&mut self.lock().hooks.after);
        hooks.into_iter().for_each(|hook| hook(version));
    }

    /// Hooks may hold the transaction that holds them.
    pub(super) fn drop_hooks(&self) {
        let hooks = std::mem::take(&mut self.lock().hooks);
        drop(hooks);
    }
}
