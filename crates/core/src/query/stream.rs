//! The records of a query, one after another, however many there are.

use std::collections::VecDeque;

use futures_util::Stream;
use futures_util::stream::try_unfold;

use super::{Query, StopReason};
use crate::error::{Error, Result};
use crate::record::Record;
use crate::tenant::Tenant;

/// How far a stream has come.
struct State {
    query: Query,
    waiting: VecDeque<Record>,
    is_over: bool,
}

impl Tenant {
    /// The records of a query, page after page. Each page is read in a transaction of its own, when the records before it have been taken, so that a stream
    /// can take as long as it likes: it sees what others write meanwhile behind the place it has come to. Use [`read`](Tenant::read) with
    /// [`TenantReader::query`](crate::TenantReader::query) where all has to be of one moment.
    ///
    /// The query's `rows_max` is the size of the pages.
    ///
    /// # Errors
    ///
    /// An item is an error where a page fails, as [`query`](Tenant::query) does; it is the last one.
    pub fn stream(&self, query: Query) -> impl Stream<Item = Result<Record>> + Send + use<> {
        let tenant = self.clone();
        let state = State { query, waiting: VecDeque::new(), is_over: false };
        try_unfold(state, move |mut state| {
            let tenant = tenant.clone();
            async move {
                loop {
                    if let Some(record) = state.waiting.pop_front() {
                        return Ok::<_, Error>(Some((record, state)));
                    }
                    if state.is_over {
                        return Ok(None);
                    }
                    let page = tenant.query(&state.query).await?;
                    state.waiting.extend(page.records);
                    state.is_over = page.stop == StopReason::Exhausted;
                    state.query.after = page.next;
                }
            }
        })
    }
}
