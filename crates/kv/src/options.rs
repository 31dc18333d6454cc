//! Transaction and database options, with FoundationDB's codes.

use crate::error::{Error, ErrorCode, Result};
use crate::limits;

/// An option of one transaction. The number in each doc comment is FoundationDB's code.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransactionOption {
    /// 10: do without the private conflict key that resolves an unknown outcome.
    CausalWriteRisky,
    /// 20: take a read version that is committed but maybe not the latest.
    CausalReadRisky,
    /// 30: the next single write adds no write conflict range.
    NextWriteNoWriteConflictRange,
    /// 51: reads see only the database, not the transaction's own writes. Before any read or write, else 2000.
    ReadYourWritesDisable,
    /// 200: go before all others.
    PrioritySystemImmediate,
    /// 201: go after all others.
    PriorityBatch,
    /// 301: read and write below `\xff`.
    AccessSystemKeys,
    /// 302: read below `\xff`.
    ReadSystemKeys,
    /// 303: no tenant, keys as they are.
    RawAccess,
    /// 401, 403, 404, 405 and 406 in one: the identifier under which the transaction's steps are traced (1 to 100 bytes).
    DebugTransactionIdentifier(String),
    /// 500: milliseconds from creation or reset until every operation fails with 1031; 0 for none.
    TimeoutMs(i64),
    /// 501: how many times `on_error` may retry; -1 for ever.
    RetryLimit(i64),
    /// 502: the bound on `on_error`'s back-off in milliseconds.
    MaxRetryDelayMs(i64),
    /// 503: the bound on the transaction's size in bytes, from 32 to 10,000,000.
    SizeLimitBytes(i64),
    /// 504: a name for this commit, 16 to 255 bytes, by which an unknown outcome is resolved.
    IdempotencyId(Vec<u8>),
    /// 505: the engine draws the idempotency id itself.
    AutomaticIdempotency,
    /// 600: snapshot reads see own writes (a counter, which starts at 1: one more).
    SnapshotReadYourWritesEnable,
    /// 601: one less.
    SnapshotReadYourWritesDisable,
    /// 700: read and write a locked database.
    LockAware,
    /// 701: an operation after commit fails alone, and does not poison the commit.
    UsedDuringCommitProtectionDisable,
    /// 702: read a locked database.
    ReadLockAware,
    /// 712: keep the read ranges that conflicted.
    ReportConflictingKeys,
    /// 800: a tag for throttling.
    Tag(Vec<u8>),
    /// 801: a tag that the engine may throttle by itself.
    AutoThrottleTag(Vec<u8>),
    /// 1100: reads return the placeholder of a versionstamped operation instead of 1036.
    BypassUnreadable,
}

impl TransactionOption {
    /// FoundationDB's number of the option.
    pub fn code(&self) -> i32 {
        match self {
            TransactionOption::CausalWriteRisky => 10,
            TransactionOption::CausalReadRisky => 20,
            TransactionOption::NextWriteNoWriteConflictRange => 30,
            TransactionOption::ReadYourWritesDisable => 51,
            TransactionOption::PrioritySystemImmediate => 200,
            TransactionOption::PriorityBatch => 201,
            TransactionOption::AccessSystemKeys => 301,
            TransactionOption::ReadSystemKeys => 302,
            TransactionOption::RawAccess => 303,
            TransactionOption::DebugTransactionIdentifier(_) => 403,
            TransactionOption::TimeoutMs(_) => 500,
            TransactionOption::RetryLimit(_) => 501,
            TransactionOption::MaxRetryDelayMs(_) => 502,
            TransactionOption::SizeLimitBytes(_) => 503,
            TransactionOption::IdempotencyId(_) => 504,
            TransactionOption::AutomaticIdempotency => 505,
            TransactionOption::SnapshotReadYourWritesEnable => 600,
            TransactionOption::SnapshotReadYourWritesDisable => 601,
            TransactionOption::LockAware => 700,
            TransactionOption::UsedDuringCommitProtectionDisable => 701,
            TransactionOption::ReadLockAware => 702,
            TransactionOption::ReportConflictingKeys => 712,
            TransactionOption::Tag(_) => 800,
            TransactionOption::AutoThrottleTag(_) => 801,
            TransactionOption::BypassUnreadable => 1100,
        }
    }

    /// Whether the option's value is one that FoundationDB accepts, as far as that depends on nothing but the value.
    ///
    /// # Errors
    ///
    /// 2006 for a number or identifier out of bounds, 2007 for an idempotency id of the wrong length, 2110 for a tag that is too
    /// long.
    pub fn validate(&self) -> Result<()> {
        let bounded = |name: &str, value: i64, low: i64, high: i64| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            let detail = format!("{name} is {value}: it has to lie between {low} and {high}");
            Err(Error::new(ErrorCode::INVALID_OPTION_VALUE, detail))
        };
        match self {
            TransactionOption::TimeoutMs(value) => bounded("timeout", *value, 0, i64::from(i32::MAX)),
            TransactionOption::RetryLimit(value) => bounded("retry_limit", *value, -1, i64::from(i32::MAX)),
            TransactionOption::MaxRetryDelayMs(value) => {
                bounded("max_retry_delay", *value, 0, i64::from(i32::MAX))
            }
            TransactionOption::SizeLimitBytes(value) => bounded(
                "size_limit",
                *value,
                limits::TRANSACTION_SIZE_BYTES_MIN as i64,
                limits::TRANSACTION_SIZE_BYTES_MAX as i64,
            ),
            TransactionOption::DebugTransactionIdentifier(identifier) => {
                bounded("the length of the identifier", identifier.len() as i64, 1, 100)
            }
            TransactionOption::IdempotencyId(id)
                if !limits::IDEMPOTENCY_ID_SIZE_BYTES.contains(&id.len()) =>
            {
                let detail = format!("an idempotency id has 16 to 255 bytes, this one {}", id.len());
                Err(Error::new(ErrorCode::INVALID_OPTION, detail))
            }
            TransactionOption::Tag(tag) | TransactionOption::AutoThrottleTag(tag)
                if tag.len() > limits::TRANSACTION_TAG_SIZE_BYTES_MAX =>
            {
                let detail = format!("a tag has at most 255 bytes, this one {}", tag.len());
                Err(Error::new(ErrorCode::TAG_TOO_LONG, detail))
            }
            _ => Ok(()),
        }
    }

    /// Whether the option stays in force when `on_error` resets the transaction: timeout, retry limit and back-off bound do.
    pub fn is_persistent(&self) -> bool {
        matches!(
            self,
            TransactionOption::TimeoutMs(_)
                | TransactionOption::RetryLimit(_)
                | TransactionOption::MaxRetryDelayMs(_)
        )
    }
}

/// An option of the database handle.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatabaseOption {
    /// 20: the bound on outstanding watches, up to 1,000,000.
    MaxWatches(i64),
    /// 26 and 27: whether snapshot reads see own writes from the start.
    SnapshotReadYourWrites(bool),
    /// 500 to 702: a default for every transaction, applied again by `reset` and `on_error`. Accepted are the options with the
    /// codes 500 to 503, 505, 700, 701 and 702.
    TransactionDefault(TransactionOption),
}
