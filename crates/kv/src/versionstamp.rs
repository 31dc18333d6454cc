//! Versionstamps: ten bytes that order all transactions by their commit.

use std::fmt;

use crate::error::{Error, ErrorCode, Result};
use crate::limits::VERSIONSTAMP_SIZE_BYTES;

/// The stamp of a committed transaction: the commit version (8 bytes, big-endian) and the order inside the commit batch (2 bytes,
/// big-endian). Unique, and increasing in the order of the commits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Versionstamp([u8; VERSIONSTAMP_SIZE_BYTES]);

impl Versionstamp {
    /// The stamp of the `order`-th transaction of the batch that committed at `version`.
    pub fn new(version: i64, order: u16) -> Versionstamp {
        let mut bytes = [0; VERSIONSTAMP_SIZE_BYTES];
        bytes[..8].copy_from_slice(&version.to_be_bytes());
        bytes[8..].copy_from_slice(&order.to_be_bytes());
        Versionstamp(bytes)
    }

    /// The stamp with these bytes.
    pub const fn from_bytes(bytes: [u8; VERSIONSTAMP_SIZE_BYTES]) -> Versionstamp {
        Versionstamp(bytes)
    }

    /// The ten bytes.
    pub fn as_bytes(&self) -> &[u8; VERSIONSTAMP_SIZE_BYTES] {
        &self.0
    }

    /// The commit version.
    pub fn version(&self) -> i64 {
        let mut version = [0; 8];
        version.copy_from_slice(&self.0[..8]);
        i64::from_be_bytes(version)
    }

    /// The order inside the commit batch.
    pub fn order(&self) -> u16 {
        u16::from_be_bytes([self.0[8], self.0[9]])
    }
}

impl fmt::Debug for Versionstamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Versionstamp({}.{})", self.version(), self.order())
    }
}

/// The operand of a versionstamped operation, taken apart: the bytes, and where in them the stamp goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionstampOffset<'a> {
    /// The bytes without the four of the offset.
    pub payload: &'a [u8],
    /// Where the ten bytes of the stamp go.
    pub position: usize,
}

impl<'a> VersionstampOffset<'a> {
    /// Takes `operand` apart: its last four bytes are the position, little-endian.
    ///
    /// # Errors
    ///
    /// 2000 when the operand is shorter than four bytes, or the ten bytes of the stamp do not fit at the position.
    pub fn parse(operand: &'a [u8]) -> Result<VersionstampOffset<'a>> {
        let Some((payload, offset)) = operand.split_last_chunk::<4>() else {
            return Err(Error::new(
                ErrorCode::CLIENT_INVALID_OPERATION,
                format!(
                    "a versionstamped operand ends with a four-byte offset, this one has {} bytes",
                    operand.len()
                ),
            ));
        };
        let position = i32::from_le_bytes(*offset);
        match usize::try_from(position) {
            Ok(position) if position + VERSIONSTAMP_SIZE_BYTES <= payload.len() => {
                Ok(VersionstampOffset { payload, position })
            }
            _ => Err(Error::new(
                ErrorCode::CLIENT_INVALID_OPERATION,
                format!(
                    "the ten bytes of a versionstamp do not fit at offset {position} of {} bytes",
                    payload.len()
                ),
            )),
        }
    }

    /// The payload with `stamp` in its place.
    pub fn fill(&self, stamp: &[u8; VERSIONSTAMP_SIZE_BYTES]) -> Vec<u8> {
        let mut filled = self.payload.to_vec();
        filled[self.position..self.position + VERSIONSTAMP_SIZE_BYTES].copy_from_slice(stamp);
        filled
    }
}
