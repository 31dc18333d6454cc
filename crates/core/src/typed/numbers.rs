//! Integers of every width. A schema knows one, of 64 bits: the others are bounds.

use super::definition::Definition;
use super::misfit::Misfit;
use super::value::{TypedValue, unfit};
use crate::error::Result;
use crate::value::Value;

/// `$least` and `$most` are the bounds that a schema has to name.
macro_rules! integer {
    ($type:ty, $least:expr, $most:expr) => {
        impl TypedValue for $type {
            integer! { @methods $type, $least, $most }
        }
    };
    (@methods $type:ty, $least:expr, $most:expr) => {
        fn definition(_: usize) -> Result<Definition> {
            Ok(Definition::of("int").with_bounds($least, $most))
        }

        fn to_value(&self) -> Result<Value, Misfit> {
            i64::try_from(*self)
                .map(Value::Int)
                .map_err(|_| Misfit::new(format!("is {self}: a field of type int goes to {}", i64::MAX)))
        }

        fn from_value(value: Value) -> Result<$type, Misfit> {
            let Value::Int(number) = value else {
                return Err(unfit(&value, stringify!($type)));
            };
            <$type>::try_from(number).map_err(|_| {
                let (type_name, least, most) = (stringify!($type), <$type>::MIN, <$type>::MAX);
                Misfit::new(format!("holds {number}: the Rust type {type_name} takes {least} to {most}"))
            })
        }
    };
}

integer!(i8, Some(i64::from(i8::MIN)), Some(i64::from(i8::MAX)));
integer!(i16, Some(i64::from(i16::MIN)), Some(i64::from(i16::MAX)));
integer!(i32, Some(i64::from(i32::MIN)), Some(i64::from(i32::MAX)));
integer!(i64, None, None);
integer!(u16, Some(0), Some(i64::from(u16::MAX)));
integer!(u32, Some(0), Some(i64::from(u32::MAX)));
integer!(u64, Some(0), None);

/// A number by itself; a `Vec` of them is bytes.
impl TypedValue for u8 {
    integer! { @methods u8, Some(0), Some(i64::from(u8::MAX)) }

    fn list_definition(_: usize) -> Result<Definition> {
        Ok(Definition::of("bytes"))
    }

    fn list_to_value(list: &[u8]) -> Result<Value, Misfit> {
        Ok(Value::Bytes(list.to_vec().into()))
    }

    fn list_from_value(value: Value) -> Result<Vec<u8>, Misfit> {
        match value {
            Value::Bytes(bytes) => Ok(bytes.into()),
            value => Err(unfit(&value, "bytes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_kept<T: TypedValue + PartialEq + std::fmt::Debug + Copy>(least: T, most: T) {
        for number in [least, most] {
            assert_eq!(T::from_value(number.to_value().unwrap()), Ok(number));
        }
    }

    fn is_refused<T: TypedValue + std::fmt::Debug>(number: i64, part: &str) {
        let misfit = T::from_value(Value::Int(number)).unwrap_err();
        assert!(misfit.detail().contains(part), "{misfit:?}");
        assert!(misfit.detail().contains(&number.to_string()), "{misfit:?}");
    }

    #[test]
    fn every_width_keeps_its_range() {
        is_kept(i8::MIN, i8::MAX);
        is_kept(i16::MIN, i16::MAX);
        is_kept(i32::MIN, i32::MAX);
        is_kept(i64::MIN, i64::MAX);
        is_kept(0u8, u8::MAX);
        is_kept(0u16, u16::MAX);
        is_kept(0u32, u32::MAX);
        is_kept(0u64, i64::MAX as u64);
    }

    #[test]
    fn what_is_out_of_range_is_told_and_never_wrapped() {
        for number in [128, -129, 1 << 40, i64::MIN] {
            is_refused::<i8>(number, "i8 takes -128 to 127");
        }
        is_refused::<i16>(40_000, "i16 takes");
        is_refused::<i32>(1 << 31, "i32 takes -2147483648 to 2147483647");
        is_refused::<u8>(256, "u8 takes 0 to 255");
        is_refused::<u16>(-1, "u16 takes 0 to 65535");
        is_refused::<u32>(1 << 32, "u32 takes");
        is_refused::<u64>(-1, "u64 takes 0 to");
        let misfit = u64::MAX.to_value().unwrap_err();
        assert_eq!(
            misfit.detail(),
            "is 18446744073709551615: a field of type int goes to 9223372036854775807"
        );
        assert!(i32::from_value(Value::Float(1.0)).unwrap_err().detail().contains("of type float"));
    }

    #[test]
    fn a_vec_of_bytes_is_bytes() {
        let bytes = vec![0u8, 255];
        assert_eq!(bytes.to_value(), Ok(Value::Bytes(bytes.clone().into())));
        assert_eq!(Vec::<u8>::from_value(Value::Bytes(bytes.clone().into())), Ok(bytes));
        assert!(Vec::<u8>::from_value(Value::List(Vec::new())).is_err());
        assert_eq!(vec![1u16].to_value(), Ok(Value::List(vec![Value::Int(1)])));
    }
}
