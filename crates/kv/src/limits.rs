//! Every limit of the contract, in one place. All of them hold on every engine, so that what runs on a laptop runs on a
//! cluster. The numbers are FoundationDB's (API version 730), but for those of the layers at the end.

/// The longest key that may be written, in bytes.
pub const KEY_SIZE_BYTES_MAX: usize = 10_000;
/// The longest key that may be written with raw access, in bytes.
pub const KEY_SIZE_RAW_ACCESS_BYTES_MAX: usize = 10_008;
/// The longest key below `\xff` (system space), in bytes.
pub const SYSTEM_KEY_SIZE_BYTES_MAX: usize = 30_000;
/// The longest value or operand of an atomic operation, in bytes.
pub const VALUE_SIZE_BYTES_MAX: usize = 100_000;
/// The default and highest limit on the bytes of one transaction: mutations and conflict ranges.
pub const TRANSACTION_SIZE_BYTES_MAX: usize = 10_000_000;
/// The lowest value of the option `size_limit`, in bytes.
pub const TRANSACTION_SIZE_BYTES_MIN: usize = 32;
/// What a mutation counts towards the transaction's size, beside its key and value, in bytes.
pub const MUTATION_OVERHEAD_BYTES: usize = 40;
/// What a conflict range counts towards the transaction's size, beside its keys, in bytes.
pub const CONFLICT_RANGE_OVERHEAD_BYTES: usize = 32;
/// The end of the user's key space (exclusive).
pub const USER_SPACE_END: &[u8] = b"\xff";
/// The end of the system key space (exclusive).
pub const SYSTEM_SPACE_END: &[u8] = b"\xff\xff";
/// The key whose versionstamp every transaction receives with its read version.
pub const METADATA_VERSION_KEY: &[u8] = b"\xff/metadataVersion";
/// How far a read version may lie behind the newest one, in versions (5 seconds).
pub const MVCC_WINDOW_VERSIONS: i64 = 5_000_000;
/// How fast versions advance.
pub const VERSIONS_PER_SECOND: i64 = 1_000_000;
/// The length of a versionstamp inside a key or value, in bytes.
pub const VERSIONSTAMP_SIZE_BYTES: usize = 10;
/// The default bound on the outstanding watches of one database handle.
pub const WATCHES_MAX_DEFAULT: usize = 10_000;
/// The highest value that the bound on outstanding watches can be set to.
pub const WATCHES_MAX_MAX: usize = 1_000_000;
/// What an atomic append may make of a value at most, in bytes; a longer result leaves the value as it is.
pub const APPEND_IF_FITS_BYTES_MAX: usize = VALUE_SIZE_BYTES_MAX;
/// The most bytes that one reply to a range read carries, give or take one row.
pub const RANGE_REPLY_SIZE_BYTES_MAX: usize = 80_000;
/// The lengths that an idempotency id may have, in bytes.
pub const IDEMPOTENCY_ID_SIZE_BYTES: std::ops::RangeInclusive<usize> = 16..=255;
/// The most tags that one transaction may have.
pub const TRANSACTION_TAGS_MAX: usize = 5;
/// The longest tag, in bytes.
pub const TRANSACTION_TAG_SIZE_BYTES_MAX: usize = 255;
/// The first back-off of `on_error`, in milliseconds.
pub const RETRY_DELAY_MS_INITIAL: u64 = 10;
/// The default of the option `max_retry_delay`, in milliseconds.
pub const RETRY_DELAY_MS_MAX_DEFAULT: u64 = 1_000;
/// The back-off's bound after 1042 and 1078, in milliseconds.
pub const RETRY_DELAY_RESOURCE_CONSTRAINED_MS_MAX: u64 = 30_000;

/// The deepest nesting of a tuple that is packed or unpacked.
pub const TUPLE_DEPTH_MAX: usize = 64;
/// The longest packed tuple that is read or written, in bytes.
pub const TUPLE_SIZE_BYTES_MAX: usize = VALUE_SIZE_BYTES_MAX;
/// The deepest path of a directory.
pub const DIRECTORY_DEPTH_MAX: usize = 64;
/// The longest name of a directory, in bytes of UTF-8.
pub const DIRECTORY_NAME_SIZE_BYTES_MAX: usize = 1_024;
