//! The one future that every read returns.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::{Error, Result};

/// The answer of an engine: ready, or boxed and on its way. An engine that already has the answer allocates nothing.
///
/// Dropping the future cancels the operation, except a commit, which goes on without anybody to tell.
///
/// # Panics
///
/// Polling it again after it was ready panics, as with every future that is not fused.
pub struct KvFuture<T>(State<T>);

enum State<T> {
    Ready(Option<Result<T>>),
    Pending(Pin<Box<dyn Future<Output = Result<T>> + Send>>),
}

impl<T> KvFuture<T> {
    /// A future that is ready with `result`.
    pub fn ready(result: Result<T>) -> KvFuture<T> {
        KvFuture(State::Ready(Some(result)))
    }

    /// A future that is ready with an error.
    pub fn error(error: impl Into<Error>) -> KvFuture<T> {
        KvFuture::ready(Err(error.into()))
    }

    /// A future that still has to do something.
    pub fn pending(future: impl Future<Output = Result<T>> + Send + 'static) -> KvFuture<T> {
        KvFuture(State::Pending(Box::pin(future)))
    }

    /// The answer if it is there without waiting; otherwise the future.
    ///
    /// ```
    /// use tenantry_kv::KvFuture;
    /// assert_eq!(KvFuture::ready(Ok(7)).into_ready().unwrap(), Ok(7));
    /// ```
    pub fn into_ready(self) -> std::result::Result<Result<T>, KvFuture<T>> {
        match self.0 {
            State::Ready(Some(result)) => Ok(result),
            state => Err(KvFuture(state)),
        }
    }

    /// Whether the answer is there.
    pub fn is_ready(&self) -> bool {
        matches!(self.0, State::Ready(Some(_)))
    }
}

impl<T: Send + 'static> KvFuture<T> {
    /// The same future with another answer: `change` is applied at once if the answer is there.
    pub fn and_then<U: 'static>(self, change: impl FnOnce(T) -> Result<U> + Send + 'static) -> KvFuture<U> {
        match self.into_ready() {
            Ok(result) => KvFuture::ready(result.and_then(change)),
            Err(pending) => KvFuture::pending(async move { change(pending.await?) }),
        }
    }
}

impl<T> Unpin for KvFuture<T> {}

impl<T> Future for KvFuture<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        match &mut self.0 {
            State::Ready(result) => {
                Poll::Ready(result.take().expect("a KvFuture was polled after it was ready"))
            }
            State::Pending(future) => future.as_mut().poll(context),
        }
    }
}

impl<T> fmt::Debug for KvFuture<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.0 {
            State::Ready(_) => "KvFuture(ready)",
            State::Pending(_) => "KvFuture(pending)",
        })
    }
}
