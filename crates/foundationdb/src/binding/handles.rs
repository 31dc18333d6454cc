//! Databases and transactions of the library.

use std::ffi::c_int;
use std::fmt;
use std::ptr::NonNull;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tenantry_kv::{RangeBatch, Result, Version, Versionstamp};

use super::client::{Client, c_string};
use super::functions::{FdbDatabase, FdbTransaction};
use super::future::{Answer, Pending};

/// A database handle.
pub(crate) struct RawDatabase {
    pointer: NonNull<FdbDatabase>,
    pub(crate) client: &'static Client,
}

// SAFETY: the functions of the C API may be called from any thread, with the same handle from several at once.
unsafe impl Send for RawDatabase {}
// SAFETY: as above.
unsafe impl Sync for RawDatabase {}

impl RawDatabase {
    /// A handle to the cluster of a cluster file; `None` stands for the library's default file. Nothing is contacted yet.
    ///
    /// # Errors
    ///
    /// The library's own for a file that is not there or not a cluster file; 2006 for a path with a zero byte; 10004 after the network was stopped.
    fn open(client: &'static Client, cluster_file: Option<&str>) -> Result<RawDatabase> {
        client.check_running()?;
        let path = cluster_file.map(|path| c_string("the path of the cluster file", path)).transpose()?;
        let mut pointer = std::ptr::null_mut();
        // SAFETY: the path is null or ends with a zero byte, and is read during the call only; the out pointer is valid.
        let code = unsafe {
            let path = path.as_ref().map_or(std::ptr::null(), |path| path.as_ptr());
            (client.functions.create_database)(path, &mut pointer)
        };
        client.check(code)?;
        let pointer = NonNull::new(pointer).ok_or(tenantry_kv::ErrorCode::INTERNAL_ERROR)?;
        Ok(RawDatabase { pointer, client })
    }

    /// A handle for each network thread of the library.
    ///
    /// # Errors
    ///
    /// As [`open`](RawDatabase::open).
    pub(crate) fn open_on_each_thread(
        client: &'static Client,
        cluster_file: Option<&str>,
    ) -> Result<Vec<Arc<RawDatabase>>> {
        // The library gives its threads to handles in turn: if two engines opened theirs at a time, one could have all of its handles on one thread.
        let _turn = client.opening.lock().unwrap_or_else(PoisonError::into_inner);
        (0..client.options().client_threads)
            .map(|_| RawDatabase::open(client, cluster_file).map(Arc::new))
            .collect()
    }

    /// Sets a database option by its code.
    pub(crate) fn set_option(&self, code: i32, value: &[u8]) -> Result<()> {
        let (value, length) = parts(value);
        // SAFETY: the handle is live; the value is readable for its length.
        self.client.check(unsafe {
            (self.client.functions.database_set_option)(self.pointer.as_ptr(), code, value, length)
        })
    }

    /// A new transaction.
    pub(crate) fn begin(self: &Arc<Self>) -> Result<RawTransaction> {
        self.client.check_running()?;
        self.client.count_transaction();
        let mut pointer = std::ptr::null_mut();
        // SAFETY: the handle is live; the out pointer is valid.
        let code = unsafe {
            (self.client.functions.database_create_transaction)(self.pointer.as_ptr(), &mut pointer)
        };
        self.client.check(code)?;
        let pointer = NonNull::new(pointer).ok_or(tenantry_kv::ErrorCode::INTERNAL_ERROR)?;
        Ok(RawTransaction { pointer, client: self.client, _database: self.clone() })
    }
}

impl fmt::Debug for RawDatabase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RawDatabase")
    }
}

impl Drop for RawDatabase {
    fn drop(&mut self) {
        // SAFETY: the handle is live, and no transaction of it is left: each keeps it.
        unsafe { (self.client.functions.database_destroy)(self.pointer.as_ptr()) }
        // The process may be about to end.
        self.client.stop_first_at_exit();
    }
}

/// A transaction.
pub(crate) struct RawTransaction {
    pointer: NonNull<FdbTransaction>,
    client: &'static Client,
    _database: Arc<RawDatabase>,
}

// SAFETY: as for `RawDatabase`.
unsafe impl Send for RawTransaction {}
// SAFETY: as for `RawDatabase`.
unsafe impl Sync for RawTransaction {}

impl Drop for RawTransaction {
    fn drop(&mut self) {
        // SAFETY: the transaction is live; futures that outlive it (watches) are allowed to.
        unsafe { (self.client.functions.transaction_destroy)(self.pointer.as_ptr()) }
    }
}

/// Which rows of a range, in the library's numbers.
pub(crate) struct RawRange<'a> {
    pub(crate) begin: (&'a [u8], bool, i32),
    pub(crate) end: (&'a [u8], bool, i32),
    pub(crate) limit: c_int,
    pub(crate) target_bytes: c_int,
    pub(crate) mode: c_int,
    pub(crate) iteration: c_int,
    pub(crate) reverse: bool,
}

impl RawTransaction {
    /// A future that keeps the transaction, so that dropping the last handle to it does not fail what was asked for.
    ///
    /// # Safety
    ///
    /// As [`Pending::new`].
    unsafe fn kept<T: Answer>(self: &Arc<Self>, pointer: *mut super::functions::FdbFuture) -> Pending<T> {
        // SAFETY: by this function's condition.
        unsafe { Pending::new(self.client, pointer, Some(self.clone())) }
    }

    pub(crate) fn get(self: &Arc<Self>, key: &[u8], snapshot: bool) -> Pending<Option<Bytes>> {
        let (key, length) = parts(key);
        // SAFETY: the transaction is live; the key is readable for its length during the call, in which the library copies it.
        unsafe {
            self.kept((self.client.functions.transaction_get)(
                self.pointer.as_ptr(),
                key,
                length,
                snapshot.into(),
            ))
        }
    }

    pub(crate) fn get_key(
        self: &Arc<Self>,
        key: &[u8],
        or_equal: bool,
        offset: i32,
        snapshot: bool,
    ) -> Pending<Bytes> {
        let (key, length) = parts(key);
        // SAFETY: as `get`.
        unsafe {
            self.kept((self.client.functions.transaction_get_key)(
                self.pointer.as_ptr(),
                key,
                length,
                or_equal.into(),
                offset,
                snapshot.into(),
            ))
        }
    }

    pub(crate) fn get_range(self: &Arc<Self>, range: &RawRange<'_>, snapshot: bool) -> Pending<RangeBatch> {
        let ((begin, begin_length), (end, end_length)) = (parts(range.begin.0), parts(range.end.0));
        // SAFETY: as `get`.
        unsafe {
            self.kept((self.client.functions.transaction_get_range)(
                self.pointer.as_ptr(),
                begin,
                begin_length,
                range.begin.1.into(),
                range.begin.2,
                end,
                end_length,
                range.end.1.into(),
                range.end.2,
                range.limit,
                range.target_bytes,
                range.mode,
                range.iteration,
                snapshot.into(),
                range.reverse.into(),
            ))
        }
    }

    pub(crate) fn read_version(self: &Arc<Self>) -> Pending<Version> {
        // SAFETY: the transaction is live.
        unsafe { self.kept((self.client.functions.transaction_get_read_version)(self.pointer.as_ptr())) }
    }

    pub(crate) fn estimated_range_size_bytes(self: &Arc<Self>, begin: &[u8], end: &[u8]) -> Pending<u64> {
        let ((begin, begin_length), (end, end_length)) = (parts(begin), parts(end));
        // SAFETY: as `get`.
        unsafe {
            self.kept((self.client.functions.transaction_get_estimated_range_size_bytes)(
                self.pointer.as_ptr(),
                begin,
                begin_length,
                end,
                end_length,
            ))
        }
    }

    pub(crate) fn range_split_points(
        self: &Arc<Self>,
        begin: &[u8],
        end: &[u8],
        chunk_size_bytes: i64,
    ) -> Pending<Vec<Bytes>> {
        let ((begin, begin_length), (end, end_length)) = (parts(begin), parts(end));
        // SAFETY: as `get`.
        unsafe {
            self.kept((self.client.functions.transaction_get_range_split_points)(
                self.pointer.as_ptr(),
                begin,
                begin_length,
                end,
                end_length,
                chunk_size_bytes,
            ))
        }
    }

    pub(crate) fn set(&self, key: &[u8], value: &[u8]) {
        let ((key, key_length), (value, value_length)) = (parts(key), parts(value));
        // SAFETY: as `get`.
        unsafe {
            (self.client.functions.transaction_set)(
                self.pointer.as_ptr(),
                key,
                key_length,
                value,
                value_length,
            )
        }
    }

    pub(crate) fn clear(&self, key: &[u8]) {
        let (key, length) = parts(key);
        // SAFETY: as `get`.
        unsafe { (self.client.functions.transaction_clear)(self.pointer.as_ptr(), key, length) }
    }

    pub(crate) fn clear_range(&self, begin: &[u8], end: &[u8]) {
        let ((begin, begin_length), (end, end_length)) = (parts(begin), parts(end));
        // SAFETY: as `get`.
        unsafe {
            (self.client.functions.transaction_clear_range)(
                self.pointer.as_ptr(),
                begin,
                begin_length,
                end,
                end_length,
            )
        }
    }

    pub(crate) fn atomic(&self, code: i32, key: &[u8], operand: &[u8]) {
        let ((key, key_length), (operand, operand_length)) = (parts(key), parts(operand));
        // SAFETY: as `get`.
        unsafe {
            (self.client.functions.transaction_atomic_op)(
                self.pointer.as_ptr(),
                key,
                key_length,
                operand,
                operand_length,
                code,
            )
        }
    }

    pub(crate) fn add_conflict_range(&self, begin: &[u8], end: &[u8], kind: c_int) -> Result<()> {
        let ((begin, begin_length), (end, end_length)) = (parts(begin), parts(end));
        // SAFETY: as `get`.
        self.client.check(unsafe {
            (self.client.functions.transaction_add_conflict_range)(
                self.pointer.as_ptr(),
                begin,
                begin_length,
                end,
                end_length,
                kind,
            )
        })
    }

    pub(crate) fn set_option(&self, code: i32, value: Option<&[u8]>) -> Result<()> {
        let (value, length) = value.map_or((std::ptr::null(), 0), parts);
        // SAFETY: the transaction is live; the value is readable for its length.
        self.client.check(unsafe {
            (self.client.functions.transaction_set_option)(self.pointer.as_ptr(), code, value, length)
        })
    }

    pub(crate) fn set_read_version(&self, version: Version) {
        // SAFETY: the transaction is live.
        unsafe { (self.client.functions.transaction_set_read_version)(self.pointer.as_ptr(), version) }
    }

    /// The commit. It goes on when its future is dropped.
    pub(crate) fn commit(self: &Arc<Self>) -> Pending<()> {
        // SAFETY: the transaction is live.
        let pending: Pending<()> =
            unsafe { self.kept((self.client.functions.transaction_commit)(self.pointer.as_ptr())) };
        pending.going_on()
    }

    pub(crate) fn committed_version(&self) -> Result<Version> {
        let mut version = -1;
        // SAFETY: the transaction is live; the out pointer is valid.
        let code = unsafe {
            (self.client.functions.transaction_get_committed_version)(self.pointer.as_ptr(), &mut version)
        };
        self.client.check(code).map(|()| version)
    }

    /// The stamp of the commit to come. Does not keep the transaction.
    pub(crate) fn versionstamp(&self) -> Pending<Versionstamp> {
        // SAFETY: the transaction is live.
        unsafe {
            let future = (self.client.functions.transaction_get_versionstamp)(self.pointer.as_ptr());
            Pending::new(self.client, future, None)
        }
    }

    /// A watch. Does not keep the transaction: it belongs to the database once that is committed.
    pub(crate) fn watch(&self, key: &[u8]) -> Pending<()> {
        let (key, length) = parts(key);
        // SAFETY: as `get`.
        unsafe {
            let future = (self.client.functions.transaction_watch)(self.pointer.as_ptr(), key, length);
            Pending::new(self.client, future, None)
        }
    }

    pub(crate) fn on_error(self: &Arc<Self>, code: c_int) -> Pending<()> {
        // SAFETY: the transaction is live.
        unsafe { self.kept((self.client.functions.transaction_on_error)(self.pointer.as_ptr(), code)) }
    }

    pub(crate) fn approximate_size_bytes(self: &Arc<Self>) -> Pending<u64> {
        // SAFETY: the transaction is live.
        unsafe { self.kept((self.client.functions.transaction_get_approximate_size)(self.pointer.as_ptr())) }
    }

    pub(crate) fn reset(&self) {
        // SAFETY: the transaction is live.
        unsafe { (self.client.functions.transaction_reset)(self.pointer.as_ptr()) }
    }

    pub(crate) fn cancel(&self) {
        // SAFETY: the transaction is live.
        unsafe { (self.client.functions.transaction_cancel)(self.pointer.as_ptr()) }
    }
}

/// Bytes as the library takes them. What is longer than an `int` can say is cut: it is longer than every limit even so.
fn parts(bytes: &[u8]) -> (*const u8, c_int) {
    (bytes.as_ptr(), c_int::try_from(bytes.len()).unwrap_or(c_int::MAX))
}
