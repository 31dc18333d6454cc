//! Errors: one type, FoundationDB's numbers, a stable tag, and a *kind* that tells the caller what to do.
//!
//! ```
//! use tenantry_kv::{Error, ErrorCode, ErrorKind};
//!
//! let error = Error::from(ErrorCode::NOT_COMMITTED);
//! assert_eq!(error.code().number(), 1020);
//! assert_eq!(error.tag(), "NotCommitted");
//! assert_eq!(error.kind(), ErrorKind::Conflict);
//! assert!(error.is_retryable() && !error.is_maybe_committed());
//! ```

use std::fmt;

use crate::conflict_range::KeyRange;

/// The result of an operation on an engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller has to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Another transaction wrote what this one read. Run the transaction again.
    Conflict,
    /// The read version has left the five-second window. Run the transaction again, and make it shorter.
    TooOld,
    /// The commit may or may not have happened. Do not simply run it again: find out first (the runner does).
    OutcomeUnknown,
    /// A size, count or time limit was passed. Do less in one transaction.
    Limit,
    /// The request makes no sense as it stands. Correct the program; running it again changes nothing.
    Invalid,
    /// The engine cannot answer now (starting, overloaded, disk full, locked). Wait, or mend the engine.
    Unavailable,
    /// Stored bytes are not what was written. Stop, and restore from a backup.
    Corrupt,
    /// The operation or its transaction was cancelled by the program itself.
    Cancelled,
    /// A defect of the engine. Report it.
    Internal,
}

impl ErrorKind {
    /// The kind's stable name in lower snake case, for metric labels and exit-code tables.
    pub fn name(self) -> &'static str {
        match self {
            ErrorKind::Conflict => "conflict",
            ErrorKind::TooOld => "too_old",
            ErrorKind::OutcomeUnknown => "outcome_unknown",
            ErrorKind::Limit => "limit",
            ErrorKind::Invalid => "invalid",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Corrupt => "corrupt",
            ErrorKind::Cancelled => "cancelled",
            ErrorKind::Internal => "internal",
        }
    }
}

/// The number of an error. Numbers below 10,000 are FoundationDB's and mean what they mean there; from 10,000 they are
/// Tenantry's own, for conditions that an embedded engine has and a cluster does not show.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ErrorCode(i32);

struct CodeFacts {
    number: i32,
    tag: &'static str,
    kind: ErrorKind,
    message: &'static str,
}

macro_rules! error_codes {
    ($($name:ident = $number:literal, $tag:literal, $kind:ident, $message:literal;)*) => {
        impl ErrorCode {
            $(
                #[doc = concat!($message, ".")]
                pub const $name: ErrorCode = ErrorCode($number);
            )*

            /// Every code that this crate knows, in the order of their numbers.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode($number)),*];
        }

        const FACTS: &[CodeFacts] = &[
            $(CodeFacts { number: $number, tag: $tag, kind: ErrorKind::$kind, message: $message }),*
        ];
    };
}

// Numbers and meanings of the first block: FoundationDB's public error table (flow/error_definitions.h, 7.3).
error_codes! {
    SUCCESS = 0, "Success", Internal, "Success";
    OPERATION_FAILED = 1000, "OperationFailed", Unavailable, "The operation failed";
    TIMED_OUT = 1004, "TimedOut", Unavailable, "The operation timed out";
    TRANSACTION_TOO_OLD = 1007, "TransactionTooOld", TooOld, "The transaction is too old to perform reads or be committed";
    FUTURE_VERSION = 1009, "FutureVersion", Unavailable, "The read version is in the future";
    NOT_COMMITTED = 1020, "NotCommitted", Conflict, "The transaction was not committed: it conflicts with another transaction";
    COMMIT_UNKNOWN_RESULT = 1021, "CommitUnknownResult", OutcomeUnknown, "The transaction may or may not have been committed";
    COMMIT_UNKNOWN_RESULT_FATAL = 1022, "CommitUnknownResultFatal", OutcomeUnknown, "The idempotency id of the transaction has expired: whether it was committed cannot be known";
    TRANSACTION_CANCELLED = 1025, "TransactionCancelled", Cancelled, "The operation was aborted because the transaction was cancelled or reset";
    TRANSACTION_TIMED_OUT = 1031, "TransactionTimedOut", Unavailable, "The transaction timed out";
    TOO_MANY_WATCHES = 1032, "TooManyWatches", Limit, "Too many watches are outstanding on this database handle";
    WATCHES_DISABLED = 1034, "WatchesDisabled", Invalid, "Watches need read-your-writes, which this transaction has switched off";
    ACCESSED_UNREADABLE = 1036, "AccessedUnreadable", Invalid, "A key was read whose value is known only at commit (a versionstamp)";
    PROCESS_BEHIND = 1037, "ProcessBehind", Unavailable, "The storage is behind and cannot serve the request yet";
    DATABASE_LOCKED = 1038, "DatabaseLocked", Unavailable, "The database is locked";
    CLUSTER_VERSION_CHANGED = 1039, "ClusterVersionChanged", OutcomeUnknown, "The protocol version of the cluster changed while the transaction ran";
    PROXY_MEMORY_LIMIT_EXCEEDED = 1042, "ProxyMemoryLimitExceeded", Unavailable, "The commit proxy is out of memory";
    BATCH_TRANSACTION_THROTTLED = 1051, "BatchTransactionThrottled", Unavailable, "Batch-priority transactions are throttled";
    GRV_PROXY_MEMORY_LIMIT_EXCEEDED = 1078, "GrvProxyMemoryLimitExceeded", Unavailable, "The read-version proxy is out of memory";
    BLOB_GRANULE_REQUEST_FAILED = 1079, "BlobGranuleRequestFailed", Unavailable, "A blob granule request failed";
    END_OF_STREAM = 1100, "EndOfStream", Internal, "End of stream";
    OPERATION_CANCELLED = 1101, "OperationCancelled", Cancelled, "The operation was cancelled";
    CHECKSUM_FAILED = 1207, "ChecksumFailed", Corrupt, "A checksum does not match";
    TAG_THROTTLED = 1213, "TagThrottled", Unavailable, "Transactions with this tag are throttled";
    TENANT_BLOCKED = 1223, "ResourceConstrainedThrottled", Unavailable, "The transaction was rejected because of throttling";
    IO_ERROR = 1510, "IoError", Unavailable, "A disk operation failed";
    NO_CLUSTER_FILE = 1515, "NoClusterFile", Unavailable, "There is no cluster file where one is looked for";
    CLIENT_INVALID_OPERATION = 2000, "ClientInvalidOperation", Invalid, "The request is not valid";
    COMMIT_READ_INCOMPLETE = 2002, "CommitReadIncomplete", Invalid, "The commit was issued with reads outstanding";
    KEY_OUTSIDE_LEGAL_RANGE = 2004, "KeyOutsideLegalRange", Invalid, "A key is outside the legal range";
    INVERTED_RANGE = 2005, "InvertedRange", Invalid, "The begin of a range lies after its end";
    INVALID_OPTION_VALUE = 2006, "InvalidOptionValue", Invalid, "An option's value is not valid";
    INVALID_OPTION = 2007, "InvalidOption", Invalid, "An option is not valid here";
    VERSION_INVALID = 2011, "VersionInvalid", Invalid, "A version is not valid";
    READ_VERSION_ALREADY_SET = 2010, "ReadVersionAlreadySet", Invalid, "The transaction has a read version already";
    RANGE_LIMITS_INVALID = 2012, "RangeLimitsInvalid", Invalid, "A range limit is not valid";
    USED_DURING_COMMIT = 2017, "UsedDuringCommit", Invalid, "An operation was issued while or after the transaction was committed";
    INVALID_MUTATION_TYPE = 2018, "InvalidMutationType", Invalid, "The mutation type is not known";
    TRANSACTION_INVALID_VERSION = 2020, "TransactionInvalidVersion", Invalid, "The transaction has no committed version";
    NO_COMMIT_VERSION = 2021, "NoCommitVersion", Invalid, "The transaction was read-only and has no versionstamp";
    TRANSACTION_READ_ONLY = 2023, "TransactionReadOnly", Invalid, "The transaction may not write";
    MAPPED_RANGE_READS_OWN_WRITES = 2039, "MappedRangeReadsOwnWrites", Invalid, "A mapped range read touches the transaction's own writes";
    INCOMPATIBLE_PROTOCOL = 2100, "IncompatibleProtocol", Unavailable, "The client library and the cluster speak different protocols";
    TRANSACTION_TOO_LARGE = 2101, "TransactionTooLarge", Limit, "The transaction passes the byte limit";
    KEY_TOO_LARGE = 2102, "KeyTooLarge", Limit, "A key is longer than the limit";
    VALUE_TOO_LARGE = 2103, "ValueTooLarge", Limit, "A value is longer than the limit";
    CONNECTION_STRING_INVALID = 2104, "ConnectionStringInvalid", Invalid, "The cluster file holds no connection string";
    TLS_ERROR = 2107, "TlsError", Unavailable, "TLS failed: a certificate, key or authority cannot be used";
    TOO_MANY_TAGS = 2109, "TooManyTags", Limit, "The transaction has too many tags";
    TAG_TOO_LONG = 2110, "TagTooLong", Limit, "A transaction tag is too long";
    SPECIAL_KEYS_CROSS_MODULE_READ = 2112, "SpecialKeysCrossModuleRead", Invalid, "A special-key range read crosses modules";
    SPECIAL_KEYS_NO_MODULE_FOUND = 2113, "SpecialKeysNoModuleFound", Invalid, "There is no special-key module there";
    SPECIAL_KEYS_WRITE_DISABLED = 2114, "SpecialKeysWriteDisabled", Invalid, "Special keys may not be written";
    API_VERSION_UNSET = 2200, "ApiVersionUnset", Invalid, "The API version has not been set";
    EXACT_MODE_WITHOUT_LIMITS = 2210, "ExactModeWithoutLimits", Invalid, "Exact mode needs a row or a byte limit";
    UNKNOWN_ERROR = 4000, "UnknownError", Internal, "An unknown error";
    INTERNAL_ERROR = 4100, "InternalError", Internal, "An internal error";

    STORAGE_CORRUPT = 10_001, "StorageCorrupt", Corrupt, "Stored bytes are damaged";
    DISK_FULL = 10_002, "DiskFull", Unavailable, "The disk is full: writes are refused, reads go on";
    DATABASE_IN_USE = 10_003, "DatabaseInUse", Unavailable, "Another process has the database open";
    ENGINE_STOPPED = 10_004, "EngineStopped", Unavailable, "The engine has stopped";
    FORMAT_UNSUPPORTED = 10_005, "FormatUnsupported", Unavailable, "The format of the stored data is not one this build can read";
    STORAGE_NOT_FOUND = 10_006, "StorageNotFound", Unavailable, "The storage does not exist";
    MEMORY_LIMIT = 10_007, "MemoryLimit", Limit, "The engine's memory bound is reached";
    RETRY_BUDGET_EXHAUSTED = 10_010, "RetryBudgetExhausted", Unavailable, "The transaction used up its retry budget";
    RETRY_DEADLINE_PASSED = 10_011, "RetryDeadlinePassed", Unavailable, "The transaction passed its retry deadline";
    OUTCOME_NOT_KNOWABLE = 10_012, "OutcomeNotKnowable", OutcomeUnknown, "The commit may have happened and its record is gone";
    TUPLE_MALFORMED = 10_020, "TupleMalformed", Invalid, "The bytes are not a tuple";
    TUPLE_TOO_DEEP = 10_021, "TupleTooDeep", Limit, "A tuple is nested deeper than the limit";
    TUPLE_TOO_LARGE = 10_022, "TupleTooLarge", Limit, "A packed tuple is longer than the limit";
    OUTSIDE_SUBSPACE = 10_023, "OutsideSubspace", Invalid, "A key is not in the subspace";
    DIRECTORY_NOT_FOUND = 10_030, "DirectoryNotFound", Invalid, "The directory does not exist";
    DIRECTORY_EXISTS = 10_031, "DirectoryExists", Invalid, "The directory exists already";
    DIRECTORY_LAYER_MISMATCH = 10_032, "DirectoryLayerMismatch", Invalid, "The directory was created with another layer";
    DIRECTORY_INVALID = 10_033, "DirectoryInvalid", Invalid, "The directory request is not valid";
    DIRECTORY_VERSION = 10_034, "DirectoryVersion", Unavailable, "The directory layer's stored version is not one this build can use";
    CLIENT_LIBRARY_UNUSABLE = 10_040, "ClientLibraryUnusable", Unavailable, "FoundationDB's client library cannot be used";
}

impl ErrorCode {
    /// The code with this number. Numbers that the table does not hold are kept as they are: their kind is
    /// [`ErrorKind::Internal`] and their tag `Unlisted`.
    pub const fn from_number(number: i32) -> ErrorCode {
        ErrorCode(number)
    }

    /// The number.
    pub const fn number(self) -> i32 {
        self.0
    }

    fn facts(self) -> Option<&'static CodeFacts> {
        FACTS.iter().find(|facts| facts.number == self.0)
    }

    /// A short CamelCase name that never changes, for tests, metrics and the wire.
    pub fn tag(self) -> &'static str {
        self.facts().map_or("Unlisted", |facts| facts.tag)
    }

    /// What a caller has to do about it.
    pub fn kind(self) -> ErrorKind {
        self.facts().map_or(ErrorKind::Internal, |facts| facts.kind)
    }

    /// The code's meaning in a sentence without a full stop.
    pub fn message(self) -> &'static str {
        self.facts().map_or("An error that this build does not know", |facts| facts.message)
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}({})", self.tag(), self.0)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.message(), self.0)
    }
}

/// An error of an engine or of one of the layers in this crate.
///
/// Two errors are equal when their codes are: the detail is for people.
#[derive(Clone)]
pub struct Error {
    code: ErrorCode,
    detail: Option<Box<str>>,
    conflicts: Option<Box<Conflicts>>,
}

/// The ranges that a transaction conflicted on.
#[derive(Clone, Debug)]
struct Conflicts(Vec<KeyRange>);

impl Error {
    /// An error with a sentence that names what was wrong, the limit, and the way out.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Error {
        Error { code, detail: Some(detail.into().into_boxed_str()), conflicts: None }
    }

    /// The error's number.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The code's [tag](ErrorCode::tag).
    pub fn tag(&self) -> &'static str {
        self.code.tag()
    }

    /// The code's [kind](ErrorCode::kind).
    pub fn kind(&self) -> ErrorKind {
        self.code.kind()
    }

    /// What was wrong in this very case, if more than the code is known.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// The same error with what the transaction conflicted on.
    #[must_use]
    pub fn with_conflicts(mut self, ranges: Vec<KeyRange>) -> Error {
        self.conflicts = (!ranges.is_empty()).then(|| Box::new(Conflicts(ranges)));
        self
    }

    /// What the transaction conflicted on, where the [runner](crate::runner) gave up after a conflict and the engine told: the ranges that it read and another one wrote into.
    pub fn conflicts(&self) -> &[KeyRange] {
        self.conflicts.as_ref().map_or(&[], |conflicts| &conflicts.0)
    }

    /// FoundationDB's predicate RETRYABLE: maybe committed or retryable and not committed.
    pub fn is_retryable(&self) -> bool {
        self.is_maybe_committed() || self.is_retryable_not_committed()
    }

    /// FoundationDB's predicate MAYBE_COMMITTED: 1021 and 1039. On a commit, [`may_have_committed`](Error::may_have_committed)
    /// is the safer question.
    pub fn is_maybe_committed(&self) -> bool {
        matches!(self.code.0, 1021 | 1039)
    }

    /// FoundationDB's predicate RETRYABLE_NOT_COMMITTED.
    pub fn is_retryable_not_committed(&self) -> bool {
        matches!(self.code.0, 1007 | 1009 | 1020 | 1037 | 1038 | 1042 | 1051 | 1078 | 1213 | 1223)
    }

    /// Whether `on_error` resets the transaction for another attempt: every retryable error but 1039 (which needs the
    /// multi-version client), and 1079.
    pub fn is_retried_by_on_error(&self) -> bool {
        (self.is_retryable() && self.code.0 != 1039) || self.code.0 == 1079
    }

    /// Whether a *commit* that ended with this error may still have taken effect: 1021, 1022, 1025, 1031, 1039, 1101 and
    /// 10012.
    pub fn may_have_committed(&self) -> bool {
        matches!(self.code.0, 1021 | 1022 | 1025 | 1031 | 1039 | 1101 | 10_012)
    }
}

impl From<ErrorCode> for Error {
    fn from(code: ErrorCode) -> Error {
        Error { code, detail: None, conflicts: None }
    }
}

impl PartialEq for Error {
    fn eq(&self, other: &Error) -> bool {
        self.code == other.code
    }
}

impl Eq for Error {}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(formatter, "{:?}: {detail}", self.code),
            None => write!(formatter, "{:?}", self.code),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(formatter, "{}: {detail} (error {})", self.code.message(), self.code.0),
            None => write!(formatter, "{} (error {})", self.code.message(), self.code.0),
        }
    }
}

impl std::error::Error for Error {}

/// Access to the engine's error inside an application's own error type, so that wrapping an error never stops it from being
/// retried. Implement it by handing out the wrapped [`Error`], if there is one.
pub trait EngineError {
    /// The engine's error that caused this one.
    fn engine_error(&self) -> Option<&Error>;
}

impl EngineError for Error {
    fn engine_error(&self) -> Option<&Error> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_numbers_are_unique() {
        for (index, facts) in FACTS.iter().enumerate() {
            for other in &FACTS[index + 1..] {
                assert_ne!(facts.number, other.number, "number used twice");
                assert_ne!(facts.tag, other.tag, "tag used twice");
            }
        }
    }

    #[test]
    fn an_unlisted_number_is_kept() {
        let code = ErrorCode::from_number(1234);
        assert_eq!((code.number(), code.tag(), code.kind()), (1234, "Unlisted", ErrorKind::Internal));
    }

    #[test]
    fn predicates_follow_foundationdb() {
        let numbers = |test: fn(&Error) -> bool| -> Vec<i32> {
            (0..5000).filter(|number| test(&Error::from(ErrorCode::from_number(*number)))).collect()
        };
        assert_eq!(numbers(Error::is_maybe_committed), [1021, 1039]);
        assert_eq!(
            numbers(Error::is_retryable_not_committed),
            [1007, 1009, 1020, 1037, 1038, 1042, 1051, 1078, 1213, 1223]
        );
        assert_eq!(
            numbers(Error::is_retried_by_on_error),
            [1007, 1009, 1020, 1021, 1037, 1038, 1042, 1051, 1078, 1079, 1213, 1223]
        );
    }
}
