//! Every bound of tokens and their keys.

use std::time::Duration;

/// A token, in bytes.
pub const TOKEN_SIZE_BYTES_MAX: usize = 16_384;
/// A set of keys, in bytes.
pub const KEY_SET_SIZE_BYTES_MAX: usize = 262_144;
/// The keys of a set.
pub const KEYS_MAX: usize = 100;
/// The id of a key, the issuer, the audience and the id of a token, in bytes.
pub const NAME_SIZE_BYTES_MAX: usize = 255;
/// The audiences that a token names.
pub const AUDIENCES_MAX: usize = 20;
/// How long a token may be valid.
pub const LIFETIME_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);
/// By how much clocks may differ: a token is good so much before its begin and after its end.
pub const LEEWAY: Duration = Duration::from_secs(5);
/// The bits of an RSA key, at least.
pub const RSA_BITS_MIN: usize = 2_048;
/// The bits of an RSA key, at most: more take long to check.
pub const RSA_BITS_MAX: usize = 4_096;
/// The last second that a token can name: the end of the year 9999.
pub const SECOND_MAX: i64 = 253_402_300_799;
