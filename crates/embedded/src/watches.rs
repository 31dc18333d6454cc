//! Watches: who waits for which key to change.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tenantry_kv::seeded_faults::{Fault, is_active};
use tenantry_kv::{Error, ErrorCode, KvFuture, Result};

use crate::reply::{Sender, promise};
use crate::seam::{WatchTicket, Write};

struct Waiting {
    number: u64,
    expected: Option<Bytes>,
    sender: Sender<Result<()>>,
}

#[derive(Default)]
struct State {
    by_key: BTreeMap<Bytes, Vec<Waiting>>,
    next_number: u64,
    stopped: Option<Error>,
}

/// The watches that are active.
#[derive(Default)]
pub(crate) struct Watches {
    state: Mutex<State>,
    active: AtomicUsize,
}

impl Watches {
    /// Makes a watch active: it fires when a batch gives `key` another value than `expected`. `current` reads the key's newest value, so that
    /// a change before this moment is not missed.
    pub(crate) fn add(
        self: &Arc<Self>,
        ticket: WatchTicket,
        key: Bytes,
        expected: Option<Bytes>,
        current: impl FnOnce() -> Result<Option<Bytes>>,
    ) -> KvFuture<()> {
        let (sender, receiver) = promise();
        let number = {
            let mut state = self.lock();
            if let Some(error) = &state.stopped {
                return KvFuture::error(error.clone());
            }
            state.next_number += 1;
            let number = state.next_number;
            let waiting = Waiting { number, expected: expected.clone(), sender };
            state.by_key.entry(key.clone()).or_default().push(waiting);
            self.active.fetch_add(1, Ordering::SeqCst);
            number
        };
        // Registered first, read second: a batch that comes between is seen by one of the two.
        let place = Place { watches: self.clone(), key, number, _ticket: ticket };
        match current() {
            Ok(value) if value != expected => return KvFuture::ready(Ok(())),
            Err(error) => return KvFuture::error(error),
            Ok(_) => {}
        }
        KvFuture::pending(async move {
            let _place = place;
            match receiver.await {
                Some(result) => result,
                None => Err(ErrorCode::OPERATION_CANCELLED.into()),
            }
        })
    }

    /// Fires the watches that `writes` concern. How many fired.
    pub(crate) fn fire(&self, writes: &[Write]) -> u64 {
        if self.active.load(Ordering::SeqCst) == 0 || is_active(Fault::WatchLost) {
            return 0;
        }
        let mut fired = Vec::new();
        {
            let mut state = self.lock();
            for write in writes {
                match write {
                    Write::Set { key, value } => {
                        state.take(key, |expected| expected.as_ref() != Some(value), &mut fired);
                    }
                    Write::ClearRange { begin, end } => {
                        let range = (Bound::Included(begin.as_ref()), Bound::Excluded(end.as_ref()));
                        let keys: Vec<Bytes> = match begin < end {
                            true => {
                                state.by_key.range::<[u8], _>(range).map(|(key, _)| key.clone()).collect()
                            }
                            false => Vec::new(),
                        };
                        for key in keys {
                            state.take(&key, Option::is_some, &mut fired);
                        }
                    }
                }
            }
        }
        let count = fired.len();
        self.active.fetch_sub(count, Ordering::SeqCst);
        fired.into_iter().for_each(|sender| sender.send(Ok(())));
        count as u64
    }

    /// Ends all watches, and every later one, with `error`.
    pub(crate) fn stop(&self, error: &Error) {
        let all = {
            let mut state = self.lock();
            state.stopped = Some(error.clone());
            std::mem::take(&mut state.by_key)
        };
        for waiting in all.into_values().flatten() {
            self.active.fetch_sub(1, Ordering::SeqCst);
            waiting.sender.send(Err(error.clone()));
        }
    }

    fn remove(&self, key: &Bytes, number: u64) {
        let mut state = self.lock();
        let Some(waiting) = state.by_key.get_mut(key) else { return };
        let before = waiting.len();
        waiting.retain(|waiting| waiting.number != number);
        self.active.fetch_sub(before - waiting.len(), Ordering::SeqCst);
        if waiting.is_empty() {
            state.by_key.remove(key);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(
        &mut self,
        key: &Bytes,
        differs: impl Fn(&Option<Bytes>) -> bool,
        fired: &mut Vec<Sender<Result<()>>>,
    ) {
        let Some(waiting) = self.by_key.get_mut(key) else { return };
        let (due, still): (Vec<_>, Vec<_>) =
            std::mem::take(waiting).into_iter().partition(|waiting| differs(&waiting.expected));
        *waiting = still;
        if waiting.is_empty() {
            self.by_key.remove(key);
        }
        fired.extend(due.into_iter().map(|waiting| waiting.sender));
    }
}

/// A watch's entry in the registry, removed when nobody waits any more.
struct Place {
    watches: Arc<Watches>,
    key: Bytes,
    number: u64,
    _ticket: WatchTicket,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.watches.remove(&self.key, self.number);
    }
}
