//! Primary keys as Rust values.

use bytes::Bytes;

use super::misfit::Misfit;
use super::value::TypedValue;
use crate::error::{Code, Error, Result, shown};
use crate::record::PrimaryKey;
use crate::value::Value;

/// A Rust value that is a primary key: that of its one field, or a tuple of those of its fields.
pub trait TypedKey {
    /// The key.
    ///
    /// # Errors
    ///
    /// 20033 for a value that no record holds.
    fn to_primary_key(&self) -> Result<PrimaryKey>;
}

fn refused(misfit: Misfit) -> Error {
    let place =
        if misfit.path().is_empty() { String::new() } else { format!(" in {}", shown(misfit.path())) };
    Error::new(Code::KeyInvalid, format!("the key{place} {}", misfit.detail()))
}

impl<V: TypedValue> TypedKey for V {
    fn to_primary_key(&self) -> Result<PrimaryKey> {
        Ok(PrimaryKey { values: vec![self.to_value().map_err(refused)?] })
    }
}

/// The key of a record whose key is a string.
impl TypedKey for str {
    fn to_primary_key(&self) -> Result<PrimaryKey> {
        Ok(PrimaryKey::of(self))
    }
}

/// The key of a record whose key is bytes.
impl TypedKey for [u8] {
    fn to_primary_key(&self) -> Result<PrimaryKey> {
        Ok(PrimaryKey::of(Value::Bytes(Bytes::copy_from_slice(self))))
    }
}

macro_rules! tuples {
    ($(($($part:ident),+))*) => {
        $(impl<$($part: TypedValue),+> TypedKey for ($($part,)+) {
            fn to_primary_key(&self) -> Result<PrimaryKey> {
                #[allow(non_snake_case, reason = "each part is called as its type")]
                let ($($part,)+) = self;
                Ok(PrimaryKey { values: vec![$($part.to_value().map_err(refused)?),+] })
            }
        })*
    };
}

// Up to COLUMNS_MAX.
tuples! {
    (A, B)
    (A, B, C)
    (A, B, C, D)
    (A, B, C, D, E)
    (A, B, C, D, E, F)
    (A, B, C, D, E, F, G)
    (A, B, C, D, E, F, G, H)
    (A, B, C, D, E, F, G, H, I)
    (A, B, C, D, E, F, G, H, I, J)
    (A, B, C, D, E, F, G, H, I, J, K)
    (A, B, C, D, E, F, G, H, I, J, K, L)
    (A, B, C, D, E, F, G, H, I, J, K, L, M)
    (A, B, C, D, E, F, G, H, I, J, K, L, M, N)
    (A, B, C, D, E, F, G, H, I, J, K, L, M, N, O)
    (A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P)
}
