//! The binding to libfdb_c: the only unsafe code of the product.
//!
//! - `functions`: the C functions, as `foundationdb/fdb_c.h` of release 7.3 declares them, found in a library that is loaded at run time.
//! - `client`: the library of this process, its API version, its network.
//! - `future`: a C future as a Rust future.
//! - `handles`: databases and transactions.
//!
//! Everything that leaves this module is safe to use in any way.

mod client;
mod functions;
mod future;
mod handles;

pub(crate) use client::{Client, stop};
pub(crate) use future::{Answer, Pending};
pub(crate) use handles::{RawDatabase, RawRange, RawTransaction};
