//! Records of one type as structs: a handle on a tenant, a transaction or a reader.

mod by_index;
mod on;
mod read;
mod write;

use std::fmt;
use std::marker::PhantomData;

use crate::error::{Code, Error, Result, shown};
use crate::query::{Aggregation, Explanation, Query, StopReason};
use crate::record::RecordVersion;
use crate::tenant::{Tenant, TenantReader, TenantTransaction};
use crate::typed::TypedRecord;

/// The records of one type, as structs. `On` is what they are read from and written to: a [`Tenant`] (each operation is a transaction of its own, with retry), a
/// [`TenantTransaction`], or a [`TenantReader`].
///
/// Each operation is the one of the same name there, with the same errors, and 20029 for a stored record that the struct does not hold.
pub struct Records<T, On = Tenant> {
    on: On,
    of: PhantomData<fn() -> T>,
}

impl<T, On: Clone> Clone for Records<T, On> {
    fn clone(&self) -> Records<T, On> {
        Records { on: self.on.clone(), of: PhantomData }
    }
}

impl<T: TypedRecord, On: fmt::Debug> fmt::Debug for Records<T, On> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Records({} of {:?})", T::NAME, self.on)
    }
}

macro_rules! handles {
    ($($on:ty, $what:literal;)*) => {
        $(impl $on {
            #[doc = concat!("The records of a type, as structs, ", $what, ".")]
            pub fn records<T: TypedRecord>(&self) -> Records<T, $on> {
                Records { on: self.clone(), of: PhantomData }
            }
        })*
    };
}

handles! {
    Tenant, "each operation in a transaction of its own";
    TenantTransaction, "in this transaction";
    TenantReader, "to be read alone";
}

impl Query {
    /// All records of a struct's type, in the order of their primary keys.
    pub fn all<T: TypedRecord>() -> Query {
        Query::of(T::NAME)
    }
}

impl Aggregation {
    /// Over all records of a struct's type.
    pub fn all<T: TypedRecord>() -> Aggregation {
        Aggregation::of(T::NAME)
    }
}

/// A record with its version.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Versioned<T> {
    /// The record.
    pub record: T,
    /// When it was written; `None` for one that this very transaction wrote.
    pub version: Option<RecordVersion>,
}

/// Some of the records that a query asks for.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TypedPage<T> {
    /// The records. Fewer than asked for, even none, does not mean that there are no more: the token does.
    pub records: Vec<T>,
    /// When each of them was written, in the same order.
    pub versions: Vec<Option<RecordVersion>>,
    /// Why the page ends where it does.
    pub stop: StopReason,
    /// What to go on with, if there may be more.
    pub next: Option<String>,
    /// How the records were found.
    pub explanation: Explanation,
}

/// Fails for what asks for another type than the handle's.
fn check_type<T: TypedRecord>(asked: &str) -> Result<()> {
    match asked == T::NAME {
        true => Ok(()),
        false => {
            let detail = format!("it asks for {}, the handle is that of {}", shown(asked), shown(T::NAME));
            Err(Error::new(Code::QueryInvalid, detail))
        }
    }
}

/// Fails for a query whose records are none of the struct.
fn check_query<T: TypedRecord>(query: &Query) -> Result<()> {
    check_type::<T>(&query.record_type)?;
    match query.selected.is_empty() {
        true => Ok(()),
        false => {
            let detail =
                "a struct has all of its fields: records with selected ones are read by Tenant::query";
            Err(Error::new(Code::QueryInvalid, detail))
        }
    }
}
