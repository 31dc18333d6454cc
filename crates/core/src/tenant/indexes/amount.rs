//! Amounts: what counts and sums add up, as little-endian numbers that engines add without reading them.
//!
//! A count has 8 bytes. A sum of integers has 16, so that 2^64 of them cannot overflow it. A sum of decimals has 32: the number times ten to the 28th, which
//! leaves nothing behind the point, and room for 2^60 of the greatest.

use rust_decimal::Decimal;

use crate::error::{Code, Error, Result};

/// The digits behind the point of a decimal sum.
const SCALE: u32 = 28;
const LIMBS: usize = 8;
/// The most digits that a decimal has, and then some: what has to be divided by ten to come back to it.
const MANTISSA_BITS: u32 = 96;

/// A signed number of a fixed width, in two's complement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Amount {
    /// 32 bits each, the lowest first.
    limbs: [u32; LIMBS],
    width_bytes: usize,
}

impl Amount {
    /// What a sum of integers takes.
    pub(crate) const INTEGER_SIZE_BYTES: usize = 16;
    /// What a sum of decimals takes.
    pub(crate) const DECIMAL_SIZE_BYTES: usize = LIMBS * 4;

    /// A number of records.
    pub(crate) fn count(count: i64) -> Amount {
        Amount { limbs: limbs_of(i128::from(count)), width_bytes: 8 }
    }

    /// An integer in a sum.
    pub(crate) fn integer(value: i64) -> Amount {
        Amount { limbs: limbs_of(i128::from(value)), width_bytes: Amount::INTEGER_SIZE_BYTES }
    }

    /// A decimal in a sum.
    pub(crate) fn decimal(value: Decimal) -> Amount {
        let mut limbs = limbs_of(value.mantissa().abs());
        for _ in value.scale()..SCALE {
            multiply_by_ten(&mut limbs);
        }
        let amount = Amount { limbs, width_bytes: Amount::DECIMAL_SIZE_BYTES };
        if value.is_sign_negative() { amount.negated() } else { amount }
    }

    /// What a key holds; nothing is zero.
    pub(crate) fn from_bytes(bytes: Option<&[u8]>, width_bytes: usize) -> Result<Amount> {
        let Some(bytes) = bytes else { return Ok(Amount { limbs: [0; LIMBS], width_bytes }) };
        if bytes.len() != width_bytes {
            let detail = format!("an amount of an index has {} bytes, not {width_bytes}", bytes.len());
            return Err(Error::new(Code::StoredDataInvalid, detail));
        }
        let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
        let mut whole = [sign; LIMBS * 4];
        whole[..bytes.len()].copy_from_slice(bytes);
        let mut limbs = [0; LIMBS];
        for (limb, bytes) in limbs.iter_mut().zip(whole.chunks_exact(4)) {
            *limb = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        Ok(Amount { limbs, width_bytes })
    }

    /// What the engine takes stored bytes for when an amount as wide as this one is added to them.
    pub(crate) fn wrapping(&self, stored: &[u8]) -> Amount {
        let mut bytes = stored.to_vec();
        bytes.resize(self.width_bytes, 0);
        // These are as many as it takes.
        Amount::from_bytes(Some(&bytes), self.width_bytes).unwrap_or_else(|_| self.clone())
    }

    /// The bytes of its width, little-endian.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect();
        bytes.truncate(self.width_bytes);
        bytes
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.limbs.iter().all(|limb| *limb == 0)
    }

    pub(crate) fn plus(&self, other: &Amount) -> Amount {
        let mut limbs = [0; LIMBS];
        let mut carry = 0;
        for (place, limb) in limbs.iter_mut().enumerate() {
            let sum = u64::from(self.limbs[place]) + u64::from(other.limbs[place]) + carry;
            *limb = sum as u32;
            carry = sum >> 32;
        }
        Amount { limbs, width_bytes: self.width_bytes }
    }

    pub(crate) fn negated(&self) -> Amount {
        let mut one = [0; LIMBS];
        one[0] = 1;
        let inverted = Amount { limbs: self.limbs.map(|limb| !limb), width_bytes: self.width_bytes };
        inverted.plus(&Amount { limbs: one, width_bytes: self.width_bytes })
    }

    fn is_negative(&self) -> bool {
        self.limbs[LIMBS - 1] >> 31 == 1
    }

    /// As an integer. `None` if it has more than 64 bits.
    pub(crate) fn to_integer(&self) -> Option<i64> {
        let magnitude = if self.is_negative() { self.negated() } else { self.clone() };
        if magnitude.limbs[4..].iter().any(|limb| *limb != 0) {
            return None;
        }
        let magnitude = i128::try_from(magnitude.low()).ok()?;
        i64::try_from(if self.is_negative() { -magnitude } else { magnitude }).ok()
    }

    /// As a decimal. `None` if it has more digits than a decimal holds.
    pub(crate) fn to_decimal(&self) -> Option<Decimal> {
        let mut magnitude = if self.is_negative() { self.negated().limbs } else { self.limbs };
        let mut scale = SCALE;
        while scale > 0 {
            let mut divided = magnitude;
            if divide_by_ten(&mut divided) != 0 {
                break;
            }
            magnitude = divided;
            scale -= 1;
        }
        let fits = magnitude[(MANTISSA_BITS / 32) as usize..].iter().all(|limb| *limb == 0);
        let low = Amount { limbs: magnitude, width_bytes: 32 }.low();
        let mantissa = i128::try_from(low).ok().filter(|_| fits)?;
        Decimal::try_from_i128_with_scale(if self.is_negative() { -mantissa } else { mantissa }, scale).ok()
    }

    /// The lowest 128 bits.
    fn low(&self) -> u128 {
        (0..4).map(|place| u128::from(self.limbs[place]) << (32 * place)).sum()
    }
}

fn limbs_of(value: i128) -> [u32; LIMBS] {
    let mut limbs = [if value < 0 { u32::MAX } else { 0 }; LIMBS];
    for (place, limb) in limbs.iter_mut().take(4).enumerate() {
        *limb = (value >> (32 * place)) as u32;
    }
    limbs
}

fn multiply_by_ten(limbs: &mut [u32; LIMBS]) {
    let mut carry = 0;
    for limb in limbs {
        let product = u64::from(*limb) * 10 + carry;
        *limb = product as u32;
        carry = product >> 32;
    }
}

/// Divides and returns what is left.
fn divide_by_ten(limbs: &mut [u32; LIMBS]) -> u32 {
    let mut rest = 0;
    for limb in limbs.iter_mut().rev() {
        let dividend = (rest << 32) | u64::from(*limb);
        *limb = (dividend / 10) as u32;
        rest = dividend % 10;
    }
    rest as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn added(amounts: &[Amount], width_bytes: usize) -> Amount {
        // As an engine does it: on the bytes.
        let mut bytes = None::<bytes::Bytes>;
        for amount in amounts {
            let operand = bytes::Bytes::from(amount.to_bytes());
            bytes = tenantry_kv::MutationType::Add.apply(bytes.as_ref(), &operand);
        }
        Amount::from_bytes(bytes.as_deref(), width_bytes).unwrap()
    }

    proptest! {
        #[test]
        fn integers_add_up(values in proptest::collection::vec(any::<i64>(), 0..20)) {
            let amounts: Vec<Amount> = values.iter().map(|value| Amount::integer(*value)).collect();
            let expected: i128 = values.iter().map(|value| i128::from(*value)).sum();
            prop_assert_eq!(added(&amounts, 16).to_integer(), i64::try_from(expected).ok());
        }

        #[test]
        fn decimals_add_up(values in proptest::collection::vec((any::<i64>(), 0u32..10), 0..20)) {
            let values: Vec<Decimal> = values.iter().map(|(mantissa, scale)| Decimal::new(*mantissa, *scale)).collect();
            let amounts: Vec<Amount> = values.iter().map(|value| Amount::decimal(*value)).collect();
            prop_assert_eq!(added(&amounts, 32).to_decimal(), Some(values.iter().sum()));
            let back: Vec<Amount> = amounts.iter().chain(&amounts.iter().map(Amount::negated).collect::<Vec<_>>()).cloned().collect();
            prop_assert!(added(&back, 32).is_zero());
        }
    }

    #[test]
    fn the_extremes_are_kept() {
        for value in [Decimal::MAX, Decimal::MIN, Decimal::new(1, 28), Decimal::new(-1, 28), Decimal::ZERO] {
            assert_eq!(Amount::decimal(value).to_decimal(), Some(value));
        }
        let twice = Amount::decimal(Decimal::MAX).plus(&Amount::decimal(Decimal::MAX));
        assert_eq!(twice.to_decimal(), None);
        for value in [i64::MIN, -1, 0, 1, i64::MAX] {
            assert_eq!(Amount::integer(value).to_integer(), Some(value));
            assert_eq!(Amount::from_bytes(Some(&value.to_le_bytes()), 8).unwrap(), Amount::count(value));
        }
        assert!(Amount::from_bytes(Some(&[1, 2, 3]), 8).is_err());
    }
}
