//! A future of the C API as a Rust future.
//!
//! The library calls back once, on its network thread, when the future is ready; the callback wakes the task. Dropping a future cancels the operation, but for a
//! commit: that goes on, and what it needs is released when it is done.

use std::ffi::{c_int, c_void};
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tenantry_kv::{KeyValue, RangeBatch, Result, Versionstamp};

use super::client::Client;
use super::functions::{FdbFuture, FdbKey, FdbKeyValue};
use super::handles::RawTransaction;

/// What can be taken out of a future that is ready.
pub(crate) trait Answer: Sized + Send + 'static {
    /// Takes it out.
    fn take(ready: &Ready<'_>) -> Result<Self>;
}

/// A future of the library, alone in knowing its pointer.
struct Owned {
    pointer: NonNull<FdbFuture>,
    client: &'static Client,
    /// Kept until the future is gone: a transaction that is destroyed fails its reads.
    _transaction: Option<Arc<RawTransaction>>,
}

// SAFETY: the functions of the C API may be called from any thread (C API documentation, "Thread safety" of the client since 3.0), futures included.
unsafe impl Send for Owned {}

impl Owned {
    fn is_ready(&self) -> bool {
        // SAFETY: the pointer is a live future: it is destroyed only by `drop`.
        unsafe { (self.client.functions.future_is_ready)(self.pointer.as_ptr()) != 0 }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: the pointer is a live future and nobody else has it: `Owned` is never copied, and the callback does not use its argument. Destroying a future
        // is allowed from within its callback and cancels it if it is not ready.
        unsafe { (self.client.functions.future_destroy)(self.pointer.as_ptr()) }
    }
}

/// What a future and its callback share.
#[derive(Default)]
struct Shared {
    state: Mutex<CallbackState>,
}

#[derive(Default)]
struct CallbackState {
    has_fired: bool,
    waker: Option<Waker>,
    /// A future that nobody waits for any more but that must not be cancelled.
    orphan: Option<Owned>,
}

extern "C" fn fired(_future: *mut FdbFuture, parameter: *mut c_void) {
    // SAFETY: the parameter is what `Pending::register` made of an `Arc<Shared>`, and the library calls back once at most.
    let shared = unsafe { Arc::from_raw(parameter.cast_const().cast::<Shared>()) };
    let (waker, orphan) = {
        let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.has_fired = true;
        (state.waker.take(), state.orphan.take())
    };
    drop(orphan);
    if let Some(waker) = waker {
        // A waker of an executor may do anything; what it must not do is unwind into C.
        let woken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| waker.wake()));
        if woken.is_err() {
            std::process::abort();
        }
    }
}

/// An operation under way.
pub(crate) struct Pending<T> {
    owned: Option<Owned>,
    shared: Option<Arc<Shared>>,
    /// Whether the operation goes on when nobody waits for it any more.
    goes_on: bool,
    answer: PhantomData<fn() -> T>,
}

impl<T: Answer> Pending<T> {
    /// The operation behind `pointer`.
    ///
    /// # Safety
    ///
    /// `pointer` was returned by a function of `client` that returns a new future, and is not used elsewhere.
    pub(super) unsafe fn new(
        client: &'static Client,
        pointer: *mut FdbFuture,
        transaction: Option<Arc<RawTransaction>>,
    ) -> Pending<T> {
        let owned = NonNull::new(pointer).map(|pointer| Owned { pointer, client, _transaction: transaction });
        Pending { owned, shared: None, goes_on: false, answer: PhantomData }
    }

    /// The same operation, which dropping does not stop.
    pub(super) fn going_on(mut self) -> Pending<T> {
        self.goes_on = true;
        self
    }

    /// The answer, if it is there.
    pub(crate) fn try_take(&self) -> Option<Result<T>> {
        let Some(owned) = &self.owned else {
            // No function of the library returns a null future today.
            return Some(Err(tenantry_kv::ErrorCode::INTERNAL_ERROR.into()));
        };
        owned.is_ready().then(|| T::take(&Ready { owned }))
    }

    fn register(owned: &Owned) -> Result<Arc<Shared>> {
        let shared = Arc::new(Shared::default());
        let parameter = Arc::into_raw(shared.clone());
        // SAFETY: the future is live; the parameter is a counted reference that the callback takes over.
        let code = unsafe {
            (owned.client.functions.future_set_callback)(
                owned.pointer.as_ptr(),
                fired,
                parameter.cast_mut().cast::<c_void>(),
            )
        };
        if code != 0 {
            // SAFETY: the library refused the callback and will not use the parameter.
            drop(unsafe { Arc::from_raw(parameter) });
            return Err(owned.client.error(code));
        }
        Ok(shared)
    }
}

impl<T> Unpin for Pending<T> {}

impl<T: Answer> Future for Pending<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        if let Some(result) = self.try_take() {
            return Poll::Ready(result);
        }
        if self.shared.is_none()
            && let Some(owned) = &self.owned
        {
            match Self::register(owned) {
                Ok(shared) => self.shared = Some(shared),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if let Some(shared) = &self.shared {
            let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            if !state.has_fired {
                match &mut state.waker {
                    Some(waker) => waker.clone_from(context.waker()),
                    waker => *waker = Some(context.waker().clone()),
                }
                return Poll::Pending;
            }
        }
        // The callback came between the two looks.
        self.try_take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        let Some(owned) = self.owned.take() else { return };
        if !self.goes_on || owned.is_ready() {
            return;
        }
        let shared = match self.shared.take() {
            Some(shared) => shared,
            None => match Pending::<()>::register(&owned) {
                Ok(shared) => shared,
                Err(_) => return,
            },
        };
        let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waker = None;
        if !state.has_fired {
            state.orphan = Some(owned);
        }
    }
}

/// A future that is ready.
pub(crate) struct Ready<'a> {
    owned: &'a Owned,
}

impl Ready<'_> {
    fn checked(&self, code: c_int) -> Result<()> {
        match code {
            0 => Ok(()),
            code => Err(self.owned.client.error(code)),
        }
    }

    fn int64(&self) -> Result<i64> {
        let mut value = 0;
        // SAFETY: the future is live and ready; the pointer is valid for the call.
        let code = unsafe {
            (self.owned.client.functions.future_get_int64)(self.owned.pointer.as_ptr(), &mut value)
        };
        self.checked(code).map(|()| value)
    }

    fn key(&self) -> Result<Bytes> {
        let (mut key, mut length) = (std::ptr::null(), 0);
        // SAFETY: as `int64`.
        let code = unsafe {
            (self.owned.client.functions.future_get_key)(self.owned.pointer.as_ptr(), &mut key, &mut length)
        };
        self.checked(code)?;
        // SAFETY: the library lends `length` bytes at `key` until the future is destroyed, which is after this call.
        Ok(unsafe { copied(key, length) })
    }
}

/// A copy of `length` bytes.
///
/// # Safety
///
/// `length` bytes can be read at `start`, unless there are none.
unsafe fn copied(start: *const u8, length: c_int) -> Bytes {
    match usize::try_from(length) {
        Ok(length) if length > 0 && !start.is_null() => {
            // SAFETY: by this function's condition.
            Bytes::copy_from_slice(unsafe { std::slice::from_raw_parts(start, length) })
        }
        _ => Bytes::new(),
    }
}

impl Answer for () {
    fn take(ready: &Ready<'_>) -> Result<()> {
        // SAFETY: the future is live and ready.
        let code = unsafe { (ready.owned.client.functions.future_get_error)(ready.owned.pointer.as_ptr()) };
        ready.checked(code)
    }
}

impl Answer for i64 {
    fn take(ready: &Ready<'_>) -> Result<i64> {
        ready.int64()
    }
}

impl Answer for u64 {
    fn take(ready: &Ready<'_>) -> Result<u64> {
        Ok(u64::try_from(ready.int64()?).unwrap_or(0))
    }
}

impl Answer for Bytes {
    fn take(ready: &Ready<'_>) -> Result<Bytes> {
        ready.key()
    }
}

impl Answer for Versionstamp {
    fn take(ready: &Ready<'_>) -> Result<Versionstamp> {
        let bytes = ready.key()?;
        let stamp = bytes.as_ref().try_into().map_err(|_| {
            let detail = format!("a versionstamp has 10 bytes, the client library returned {}", bytes.len());
            tenantry_kv::Error::new(tenantry_kv::ErrorCode::INTERNAL_ERROR, detail)
        })?;
        Ok(Versionstamp::from_bytes(stamp))
    }
}

impl Answer for Option<Bytes> {
    fn take(ready: &Ready<'_>) -> Result<Option<Bytes>> {
        let (mut present, mut value, mut length) = (0, std::ptr::null(), 0);
        // SAFETY: the future is live and ready; the pointers are valid for the call.
        let code = unsafe {
            (ready.owned.client.functions.future_get_value)(
                ready.owned.pointer.as_ptr(),
                &mut present,
                &mut value,
                &mut length,
            )
        };
        ready.checked(code)?;
        // SAFETY: as `Ready::key`.
        Ok((present != 0).then(|| unsafe { copied(value, length) }))
    }
}

impl Answer for RangeBatch {
    fn take(ready: &Ready<'_>) -> Result<RangeBatch> {
        let (mut array, mut count, mut more) = (std::ptr::null::<FdbKeyValue>(), 0, 0);
        // SAFETY: the future is live and ready; the pointers are valid for the call.
        let code = unsafe {
            (ready.owned.client.functions.future_get_keyvalue_array)(
                ready.owned.pointer.as_ptr(),
                &mut array,
                &mut count,
                &mut more,
            )
        };
        ready.checked(code)?;
        let count = usize::try_from(count).unwrap_or(0);
        let mut rows = Vec::with_capacity(count);
        for index in 0..count {
            // SAFETY: the library lends `count` elements at `array`, and the bytes that they point to, until the future is destroyed. An element may lie at any
            // address: it is read as such.
            let row = unsafe { array.add(index).read_unaligned() };
            let (key, key_length, value, value_length) =
                (row.key, row.key_length, row.value, row.value_length);
            // SAFETY: as above.
            rows.push(unsafe {
                KeyValue { key: copied(key, key_length), value: copied(value, value_length) }
            });
        }
        Ok(RangeBatch { rows, more: more != 0 })
    }
}

impl Answer for Vec<Bytes> {
    fn take(ready: &Ready<'_>) -> Result<Vec<Bytes>> {
        let (mut array, mut count) = (std::ptr::null::<FdbKey>(), 0);
        // SAFETY: the future is live and ready; the pointers are valid for the call.
        let code = unsafe {
            (ready.owned.client.functions.future_get_key_array)(
                ready.owned.pointer.as_ptr(),
                &mut array,
                &mut count,
            )
        };
        ready.checked(code)?;
        let keys = (0..usize::try_from(count).unwrap_or(0)).map(|index| {
            // SAFETY: as for the rows of a range.
            let key = unsafe { array.add(index).read_unaligned() };
            let (start, length) = (key.key, key.key_length);
            // SAFETY: as above.
            unsafe { copied(start, length) }
        });
        Ok(keys.collect())
    }
}
