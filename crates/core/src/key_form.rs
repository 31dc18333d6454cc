//! The form of every type in a key: tuple elements whose bytes sort as the values do.
//!
//! | type | element | order |
//! |---|---|---|
//! | missing | nil | first |
//! | bool | bool | false, true |
//! | int, timestamp (microseconds), date (days since 1970-01-01) | int | numeric |
//! | float | double; -0.0 becomes 0.0 | numeric |
//! | string | string | by code points |
//! | bytes | bytes | bytewise |
//! | uuid | uuid | bytewise |
//! | decimal | bytes: see [`decimal_form`] | numeric, 1.0 equal to 1.00 |
//! | enum | int: the value's id | by id |

use bytes::Bytes;
use rust_decimal::Decimal;
use tenantry_kv::tuple::{self, Element};

use crate::error::{Code, Error, Result, limit, shown};
use crate::limits::KEY_COLUMNS_SIZE_BYTES_MAX;
use crate::value::{FieldType, Value};
use crate::wire::{date_of, days_of, normalised, timestamp_of};

/// The element of a value, or of its being missing.
pub(crate) fn element(value: Option<&Value>, field_type: &FieldType) -> Result<Element> {
    let Some(value) = value else { return Ok(Element::Nil) };
    Ok(match (value, field_type) {
        (Value::Bool(value), FieldType::Bool) => Element::Bool(*value),
        (Value::Int(value), FieldType::Int) => Element::Int(*value),
        (Value::Float(value), FieldType::Float) if *value == 0.0 => Element::Double(0.0),
        (Value::Float(value), FieldType::Float) => Element::Double(*value),
        (Value::String(value), FieldType::String) => Element::String(value.clone()),
        (Value::Bytes(value), FieldType::Bytes) => Element::Bytes(value.clone()),
        (Value::Uuid(value), FieldType::Uuid) => Element::Uuid(*value),
        (Value::Timestamp(value), FieldType::Timestamp) => Element::Int(value.as_microsecond()),
        (Value::Date(value), FieldType::Date) => Element::Int(days_of(*value)),
        (Value::Decimal(value), FieldType::Decimal) => Element::Bytes(decimal_form(*value)),
        (Value::Enum(_) | Value::String(_), FieldType::Enum(values)) => {
            let name = value.as_name().unwrap_or_default();
            match values.iter().find(|value| *value.name == *name) {
                Some(value) => Element::Int(i64::from(value.id)),
                None => {
                    return Err(Error::new(
                        Code::KeyInvalid,
                        format!("there is no enum value {}", shown(name)),
                    ));
                }
            }
        }
        (value, field_type) => {
            let detail = format!("a key takes a {} here, not a {}", field_type.name(), value.type_name());
            return Err(Error::new(Code::KeyInvalid, detail));
        }
    })
}

/// The value of an element: equal to the one that it was made of, though a decimal has lost its trailing zeros.
pub(crate) fn value(element: &Element, field_type: &FieldType) -> Option<Value> {
    Some(match (element, field_type) {
        (Element::Bool(value), FieldType::Bool) => Value::Bool(*value),
        (Element::Int(value), FieldType::Int) => Value::Int(*value),
        (Element::Double(value), FieldType::Float) => Value::Float(*value),
        (Element::String(value), FieldType::String) => Value::String(value.clone()),
        (Element::Bytes(value), FieldType::Bytes) => Value::Bytes(value.clone()),
        (Element::Uuid(value), FieldType::Uuid) => Value::Uuid(*value),
        (Element::Bytes(form), FieldType::Decimal) => Value::Decimal(decimal_of(form)?),
        (Element::Int(value), FieldType::Timestamp) => Value::Timestamp(timestamp_of(*value).ok()?),
        (Element::Int(value), FieldType::Date) => Value::Date(date_of(*value).ok()?),
        (Element::Int(id), FieldType::Enum(values)) => {
            let found = values.iter().find(|value| i64::from(value.id) == *id)?;
            Value::Enum(found.name.clone())
        }
        _ => return None,
    })
}

/// Packs the columns of a key, within their limit.
pub(crate) fn pack(columns: &[Element]) -> Result<Bytes> {
    pack_after(&[], columns)
}

/// As [`pack`], behind a prefix that does not count.
pub(crate) fn pack_after(prefix: &[u8], columns: &[Element]) -> Result<Bytes> {
    let key = tuple::pack_after(prefix, columns)?;
    let size_bytes = key.len() - prefix.len();
    match size_bytes <= KEY_COLUMNS_SIZE_BYTES_MAX {
        true => Ok(key),
        false => Err(limit("the bytes of a key's columns", size_bytes, KEY_COLUMNS_SIZE_BYTES_MAX)),
    }
}

/// A decimal as bytes that sort as the numbers do.
///
/// The number is 0.d1d2...dn times ten to the e, with d1 and dn not zero. Positive: `03`, e + 128, then each digit plus one. Negative: `01`, and the same
/// behind it with every byte taken from 255, and `ff` at the end. Zero: `02`.
pub(crate) fn decimal_form(decimal: Decimal) -> Bytes {
    let decimal = normalised(decimal);
    if decimal.is_zero() {
        return Bytes::from_static(&[2]);
    }
    let digits = decimal.mantissa().unsigned_abs().to_string();
    // 28 digits at most on either side of the point, so the exponent stays within a byte.
    let exponent = digits.len() as i64 - i64::from(decimal.scale()) + 128;
    let significant = digits.trim_end_matches('0');
    let magnitude = std::iter::once(exponent as u8).chain(significant.bytes().map(|digit| digit - b'0' + 1));
    match decimal.is_sign_negative() {
        false => std::iter::once(3).chain(magnitude).collect(),
        true => std::iter::once(1).chain(magnitude.map(|byte| 255 - byte)).chain([255]).collect(),
    }
}

/// The decimal of a form.
fn decimal_of(form: &[u8]) -> Option<Decimal> {
    let (sign, magnitude) = form.split_first()?;
    let magnitude: Vec<u8> = match sign {
        2 => return Some(Decimal::ZERO),
        1 => magnitude.strip_suffix(&[255])?.iter().map(|byte| 255 - byte).collect(),
        _ => magnitude.to_vec(),
    };
    let (exponent, digits) = magnitude.split_first()?;
    let mut mantissa = 0i128;
    for digit in digits {
        mantissa = mantissa.checked_mul(10)?.checked_add(i128::from(digit.checked_sub(1)?))?;
    }
    let mut scale = digits.len() as i64 - (i64::from(*exponent) - 128);
    while scale < 0 {
        mantissa = mantissa.checked_mul(10)?;
        scale += 1;
    }
    let mantissa = if *sign == 1 { -mantissa } else { mantissa };
    Decimal::try_from_i128_with_scale(mantissa, u32::try_from(scale).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use proptest::prelude::*;

    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::from_str(text).unwrap()
    }

    #[test]
    fn the_vectors_in_the_documentation_hold() {
        let form = |text: &str| decimal_form(decimal(text)).to_vec();
        assert_eq!(form("0.00"), [2]);
        assert_eq!(form("1"), [3, 129, 2]);
        assert_eq!(form("1.00"), [3, 129, 2]);
        assert_eq!(form("12.5"), [3, 130, 2, 3, 6]);
        assert_eq!(form("0.001"), [3, 126, 2]);
        assert_eq!(form("-12.5"), [1, 125, 253, 252, 249, 255]);
        assert_eq!(form("100"), [3, 131, 2]);
        for extreme in [Decimal::MAX, Decimal::MIN, Decimal::new(1, 28), Decimal::new(-1, 28), Decimal::ZERO]
        {
            assert_eq!(decimal_of(&decimal_form(extreme)), Some(extreme));
        }
    }

    proptest! {
        #[test]
        fn decimals_sort_as_their_bytes(one in (any::<i64>(), 0u32..20), other in (any::<i64>(), 0u32..20), near in -3i64..3) {
            let close = Decimal::new(one.0.saturating_add(near), one.1);
            let (one, other) = (Decimal::new(one.0, one.1), Decimal::new(other.0, other.1));
            prop_assert_eq!(decimal_of(&decimal_form(one)), Some(one));
            prop_assert_eq!(one.cmp(&other), decimal_form(one).cmp(&decimal_form(other)));
            prop_assert_eq!(one.cmp(&close), decimal_form(one).cmp(&decimal_form(close)));
        }
    }
}
