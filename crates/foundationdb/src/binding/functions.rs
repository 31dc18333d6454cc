//! The functions of the C API that are used, as types and as found in a library.
//!
//! Facts from FoundationDB's public header `fdb_c.h`, release 7.3, API versions 710 to 730.

use std::ffi::{c_char, c_int, c_void};

use libloading::Library;

/// `FDBFuture`.
#[repr(C)]
pub(super) struct FdbFuture {
    _opaque: [u8; 0],
}

/// `FDBDatabase`.
#[repr(C)]
pub(super) struct FdbDatabase {
    _opaque: [u8; 0],
}

/// `FDBTransaction`.
#[repr(C)]
pub(super) struct FdbTransaction {
    _opaque: [u8; 0],
}

/// `FDBKeyValue`: 24 bytes, aligned to 4, so that an element of an array may lie at any multiple of 4.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub(super) struct FdbKeyValue {
    pub(super) key: *const u8,
    pub(super) key_length: c_int,
    pub(super) value: *const u8,
    pub(super) value_length: c_int,
}

/// `FDBKey`: 12 bytes, aligned to 4.
#[repr(C, packed(4))]
#[derive(Clone, Copy)]
pub(super) struct FdbKey {
    pub(super) key: *const u8,
    pub(super) key_length: c_int,
}

/// `FDBCallback`.
pub(super) type Callback = extern "C" fn(*mut FdbFuture, *mut c_void);

macro_rules! functions {
    ($($name:ident: fn($($argument:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        /// The functions of a loaded library. Each is named as in the header, without `fdb_`.
        pub(super) struct Functions {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Functions {
            /// Finds the functions in `library`, or names the first that is missing.
            ///
            /// # Safety
            ///
            /// `library` is a libfdb_c (its functions have the types of the header), and stays loaded as long as the functions are used.
            pub(super) unsafe fn find(library: &Library) -> Result<Functions, String> {
                Ok(Functions {
                    $($name: {
                        let symbol = concat!("fdb_", stringify!($name));
                        // SAFETY: by this function's own condition the symbol has the type that the header declares.
                        *unsafe { library.get(symbol.as_bytes()) }.map_err(|_| symbol.to_owned())?
                    },)*
                })
            }
        }
    };
}

functions! {
    select_api_version_impl: fn(c_int, c_int) -> c_int;
    get_max_api_version: fn() -> c_int;
    get_client_version: fn() -> *const c_char;
    get_error: fn(c_int) -> *const c_char;
    network_set_option: fn(c_int, *const u8, c_int) -> c_int;
    setup_network: fn() -> c_int;
    run_network: fn() -> c_int;
    stop_network: fn() -> c_int;
    create_database: fn(*const c_char, *mut *mut FdbDatabase) -> c_int;
    database_destroy: fn(*mut FdbDatabase);
    database_set_option: fn(*mut FdbDatabase, c_int, *const u8, c_int) -> c_int;
    database_create_transaction: fn(*mut FdbDatabase, *mut *mut FdbTransaction) -> c_int;
    transaction_destroy: fn(*mut FdbTransaction);
    transaction_cancel: fn(*mut FdbTransaction);
    transaction_reset: fn(*mut FdbTransaction);
    transaction_set_option: fn(*mut FdbTransaction, c_int, *const u8, c_int) -> c_int;
    transaction_set_read_version: fn(*mut FdbTransaction, i64);
    transaction_get_read_version: fn(*mut FdbTransaction) -> *mut FdbFuture;
    transaction_get: fn(*mut FdbTransaction, *const u8, c_int, c_int) -> *mut FdbFuture;
    transaction_get_key: fn(*mut FdbTransaction, *const u8, c_int, c_int, c_int, c_int) -> *mut FdbFuture;
    transaction_get_range: fn(
        *mut FdbTransaction,
        *const u8, c_int, c_int, c_int,
        *const u8, c_int, c_int, c_int,
        c_int, c_int, c_int, c_int, c_int, c_int,
    ) -> *mut FdbFuture;
    transaction_set: fn(*mut FdbTransaction, *const u8, c_int, *const u8, c_int);
    transaction_atomic_op: fn(*mut FdbTransaction, *const u8, c_int, *const u8, c_int, c_int);
    transaction_clear: fn(*mut FdbTransaction, *const u8, c_int);
    transaction_clear_range: fn(*mut FdbTransaction, *const u8, c_int, *const u8, c_int);
    transaction_add_conflict_range: fn(*mut FdbTransaction, *const u8, c_int, *const u8, c_int, c_int) -> c_int;
    transaction_watch: fn(*mut FdbTransaction, *const u8, c_int) -> *mut FdbFuture;
    transaction_commit: fn(*mut FdbTransaction) -> *mut FdbFuture;
    transaction_get_committed_version: fn(*mut FdbTransaction, *mut i64) -> c_int;
    transaction_get_approximate_size: fn(*mut FdbTransaction) -> *mut FdbFuture;
    transaction_get_versionstamp: fn(*mut FdbTransaction) -> *mut FdbFuture;
    transaction_on_error: fn(*mut FdbTransaction, c_int) -> *mut FdbFuture;
    transaction_get_estimated_range_size_bytes: fn(*mut FdbTransaction, *const u8, c_int, *const u8, c_int) -> *mut FdbFuture;
    transaction_get_range_split_points: fn(*mut FdbTransaction, *const u8, c_int, *const u8, c_int, i64) -> *mut FdbFuture;
    future_destroy: fn(*mut FdbFuture);
    future_is_ready: fn(*mut FdbFuture) -> c_int;
    future_set_callback: fn(*mut FdbFuture, Callback, *mut c_void) -> c_int;
    future_get_error: fn(*mut FdbFuture) -> c_int;
    future_get_int64: fn(*mut FdbFuture, *mut i64) -> c_int;
    future_get_key: fn(*mut FdbFuture, *mut *const u8, *mut c_int) -> c_int;
    future_get_value: fn(*mut FdbFuture, *mut c_int, *mut *const u8, *mut c_int) -> c_int;
    future_get_keyvalue_array: fn(*mut FdbFuture, *mut *const FdbKeyValue, *mut c_int, *mut c_int) -> c_int;
    future_get_key_array: fn(*mut FdbFuture, *mut *const FdbKey, *mut c_int) -> c_int;
}
