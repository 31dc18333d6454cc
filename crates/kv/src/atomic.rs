//! Atomic operations: pure functions from the old value to the new one.

use bytes::Bytes;

use crate::limits::APPEND_IF_FITS_BYTES_MAX;

/// The atomic operations, with FoundationDB's codes. Numbers are little-endian and unsigned; `fit(x)` is the old value cut or extended
/// with zeros at the end to the operand's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum MutationType {
    /// 2: `fit(x) + operand`, modulo 2^(8n).
    Add = 2,
    /// 6: `fit(x) AND operand`; absent gives the operand.
    BitAnd = 6,
    /// 7: `fit(x) OR operand`.
    BitOr = 7,
    /// 8: `fit(x) XOR operand`.
    BitXor = 8,
    /// 9: the operand appended, if the result has at most 100,000 bytes; otherwise nothing, silently.
    AppendIfFits = 9,
    /// 12: the greater number of `fit(x)` and the operand.
    Max = 12,
    /// 13: the lesser number of `fit(x)` and the operand; absent gives the operand.
    Min = 13,
    /// 14: set, with the commit's stamp inside the *key*, whose last four bytes say where.
    SetVersionstampedKey = 14,
    /// 15: set, with the commit's stamp inside the *value*, whose last four bytes say where.
    SetVersionstampedValue = 15,
    /// 16: the lesser of the two byte strings.
    ByteMin = 16,
    /// 17: the greater of the two byte strings.
    ByteMax = 17,
    /// 20: removes the key if its value equals the operand.
    CompareAndClear = 20,
}

impl MutationType {
    /// All operations, in the order of their codes.
    pub const ALL: [MutationType; 12] = [
        MutationType::Add,
        MutationType::BitAnd,
        MutationType::BitOr,
        MutationType::BitXor,
        MutationType::AppendIfFits,
        MutationType::Max,
        MutationType::Min,
        MutationType::SetVersionstampedKey,
        MutationType::SetVersionstampedValue,
        MutationType::ByteMin,
        MutationType::ByteMax,
        MutationType::CompareAndClear,
    ];

    /// FoundationDB's code of the operation.
    pub fn code(self) -> i32 {
        self as i32
    }

    /// The operation with this code, if there is one.
    pub fn from_code(code: i32) -> Option<MutationType> {
        MutationType::ALL.into_iter().find(|mutation| mutation.code() == code)
    }

    /// Whether the operation's result holds the commit's stamp.
    pub fn is_versionstamped(self) -> bool {
        matches!(self, MutationType::SetVersionstampedKey | MutationType::SetVersionstampedValue)
    }

    /// The new value of a key that had `old` (`None`: absent). For the two versionstamped operations the result is the operand as it
    /// stands: the stamp is filled in by whoever knows it ([`VersionstampOffset`](crate::VersionstampOffset)).
    ///
    /// ```
    /// use tenantry_kv::{Bytes, MutationType};
    ///
    /// let old = Bytes::from_static(&[255, 0]);
    /// assert_eq!(MutationType::Add.apply(Some(&old), &[1, 0]).unwrap(), [0, 1][..]);
    /// assert_eq!(MutationType::CompareAndClear.apply(Some(&old), &[255, 0]), None);
    /// ```
    pub fn apply(self, old: Option<&Bytes>, operand: &[u8]) -> Option<Bytes> {
        let Some(old) = old else {
            return match self {
                MutationType::CompareAndClear => None,
                _ => Some(Bytes::copy_from_slice(operand)),
            };
        };
        let result = match self {
            MutationType::Add => add(&fit(old, operand.len()), operand),
            MutationType::BitAnd => zip(&fit(old, operand.len()), operand, |left, right| left & right),
            MutationType::BitOr => zip(&fit(old, operand.len()), operand, |left, right| left | right),
            MutationType::BitXor => zip(&fit(old, operand.len()), operand, |left, right| left ^ right),
            MutationType::AppendIfFits => {
                if old.len() + operand.len() > APPEND_IF_FITS_BYTES_MAX {
                    return Some(old.clone());
                }
                [old.as_ref(), operand].concat()
            }
            MutationType::Max => {
                let fitted = fit(old, operand.len());
                if fitted.iter().rev().ge(operand.iter().rev()) { fitted } else { operand.to_vec() }
            }
            MutationType::Min => {
                let fitted = fit(old, operand.len());
                if fitted.iter().rev().le(operand.iter().rev()) { fitted } else { operand.to_vec() }
            }
            MutationType::SetVersionstampedKey | MutationType::SetVersionstampedValue => operand.to_vec(),
            MutationType::ByteMin => {
                return Some(if old.as_ref() <= operand {
                    old.clone()
                } else {
                    Bytes::copy_from_slice(operand)
                });
            }
            MutationType::ByteMax => {
                return Some(if old.as_ref() >= operand {
                    old.clone()
                } else {
                    Bytes::copy_from_slice(operand)
                });
            }
            MutationType::CompareAndClear => {
                return if old.as_ref() == operand { None } else { Some(old.clone()) };
            }
        };
        Some(Bytes::from(result))
    }
}

fn fit(value: &[u8], length: usize) -> Vec<u8> {
    let mut fitted = value[..value.len().min(length)].to_vec();
    fitted.resize(length, 0);
    fitted
}

fn zip(left: &[u8], right: &[u8], combine: impl Fn(u8, u8) -> u8) -> Vec<u8> {
    left.iter().zip(right).map(|(left, right)| combine(*left, *right)).collect()
}

fn add(left: &[u8], right: &[u8]) -> Vec<u8> {
    let mut carry = 0u16;
    left.iter()
        .zip(right)
        .map(|(left, right)| {
            let sum = u16::from(*left) + u16::from(*right) + carry;
            carry = sum >> 8;
            sum as u8
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(mutation: MutationType, old: Option<&[u8]>, operand: &[u8], expected: Option<&[u8]>) {
        let old = old.map(Bytes::copy_from_slice);
        assert_eq!(
            mutation.apply(old.as_ref(), operand).as_deref(),
            expected,
            "{mutation:?} {old:?} {operand:?}"
        );
    }

    #[test]
    fn the_table_of_the_contract() {
        use MutationType::*;
        for mutation in [Add, BitAnd, BitOr, BitXor, AppendIfFits, Max, Min, ByteMin, ByteMax] {
            check(mutation, None, &[5, 6], Some(&[5, 6]));
            check(mutation, None, &[], Some(&[]));
        }
        // x empty
        check(Add, Some(&[]), &[5, 6], Some(&[5, 6]));
        check(BitAnd, Some(&[]), &[5, 6], Some(&[0, 0]));
        check(BitOr, Some(&[]), &[5, 6], Some(&[5, 6]));
        check(BitXor, Some(&[]), &[5, 6], Some(&[5, 6]));
        check(AppendIfFits, Some(&[]), &[5, 6], Some(&[5, 6]));
        check(Max, Some(&[]), &[5, 6], Some(&[5, 6]));
        check(Min, Some(&[]), &[5, 6], Some(&[0, 0]));
        check(ByteMin, Some(&[]), &[5, 6], Some(&[]));
        check(ByteMax, Some(&[]), &[5, 6], Some(&[5, 6]));
        check(CompareAndClear, Some(&[]), &[], None);
        check(CompareAndClear, Some(&[]), &[5], Some(&[]));
        // operand empty
        for mutation in [Add, BitAnd, BitOr, BitXor, Max, Min] {
            check(mutation, Some(&[1, 2]), &[], Some(&[]));
        }
        check(AppendIfFits, Some(&[1, 2]), &[], Some(&[1, 2]));
        check(CompareAndClear, Some(&[1]), &[], Some(&[1]));
        check(CompareAndClear, None, &[], None);
        // else
        check(Add, Some(&[255, 255, 9]), &[1, 0], Some(&[0, 0]));
        check(Add, Some(&[1]), &[1, 1, 1], Some(&[2, 1, 1]));
        check(Max, Some(&[0, 1]), &[255, 0], Some(&[0, 1]));
        check(Min, Some(&[0, 1]), &[255, 0], Some(&[255, 0]));
        check(Max, Some(&[0, 0, 9]), &[1, 0], Some(&[1, 0]));
        check(ByteMax, Some(&[0, 1]), &[255], Some(&[255]));
        check(ByteMin, Some(&[0, 1]), &[255], Some(&[0, 1]));
    }

    #[test]
    fn append_stops_at_the_value_limit() {
        let old = vec![1; APPEND_IF_FITS_BYTES_MAX - 1];
        assert_eq!(
            MutationType::AppendIfFits.apply(Some(&old.clone().into()), &[2]).unwrap().len(),
            APPEND_IF_FITS_BYTES_MAX
        );
        check(MutationType::AppendIfFits, Some(&old), &[2, 2], Some(&old));
    }

    #[test]
    fn codes_are_foundationdbs() {
        for code in [0, 1, 3, 10, 11, 18, 19, 21] {
            assert_eq!(MutationType::from_code(code), None);
        }
        for mutation in MutationType::ALL {
            assert_eq!(MutationType::from_code(mutation.code()), Some(mutation));
        }
    }
}
