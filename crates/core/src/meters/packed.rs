//! Several signed numbers in one key, to which one atomic addition adds.
//!
//! They are the digits of one integer, to the base 2^64, which engines add at any width: a negative digit borrows from the next, which is put right when it is read. As long as no
//! number leaves 64 bits, none touches another.

use crate::error::{Code, Error, Result};

/// The operand that adds these numbers, each to its own.
pub(super) fn pack(numbers: &[i64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 * numbers.len());
    let mut carry = 0i128;
    for number in numbers {
        let digit = i128::from(*number) + carry;
        bytes.extend_from_slice(&(digit as u64).to_le_bytes());
        carry = digit >> 64;
    }
    bytes
}

/// The numbers that a key holds; nothing is zeros.
pub(super) fn unpack<const N: usize>(bytes: Option<&[u8]>, what: &str) -> Result<[i64; N]> {
    let mut numbers = [0; N];
    let Some(bytes) = bytes else { return Ok(numbers) };
    if bytes.len() != 8 * N {
        let detail = format!("{what} has {} bytes, not {}", bytes.len(), 8 * N);
        return Err(Error::new(Code::StoredDataInvalid, detail));
    }
    let mut carry = 0u64;
    for (number, digit) in numbers.iter_mut().zip(bytes.chunks_exact(8)) {
        let digit = digit.iter().rev().fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
        let (digit, overflows) = digit.overflowing_add(carry);
        *number = digit as i64;
        carry = u64::from(overflows) + u64::from(*number < 0);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use tenantry_kv::MutationType;

    use super::*;

    proptest! {
        /// As an engine adds: on the bytes.
        #[test]
        fn numbers_add_up_each_for_itself(rows in proptest::collection::vec(any::<[i32; 4]>(), 0..30)) {
            let mut stored: Option<Bytes> = None;
            let mut sums = [0i64; 4];
            for row in &rows {
                let numbers = row.map(i64::from);
                stored = MutationType::Add.apply(stored.as_ref(), &Bytes::from(pack(&numbers)));
                sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
            }
            prop_assert_eq!(unpack::<4>(stored.as_deref(), "it").unwrap(), sums);
        }
    }

    #[test]
    fn extremes_are_kept_and_other_widths_refused() {
        for numbers in [[i64::MIN, i64::MAX, -1], [i64::MAX, i64::MIN, 0], [-1, -1, -1], [0, -1, 1]] {
            assert_eq!(unpack::<3>(Some(&pack(&numbers)), "it").unwrap(), numbers);
        }
        assert_eq!(unpack::<3>(None, "it").unwrap(), [0; 3]);
        assert_eq!(unpack::<3>(Some(&[0; 8]), "it").unwrap_err().code(), Code::StoredDataInvalid);
    }
}
