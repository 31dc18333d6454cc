//! The record layer's errors.

use std::fmt;
use std::time::Duration;

use tenantry_kv::{EngineError, ErrorKind as EngineErrorKind};

use crate::violation::{Violation, Violations};

/// The result of an operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What a caller has to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// What was named does not exist.
    NotFound,
    /// A rule said no: it exists already, a unique index, a condition.
    Refused,
    /// The request itself makes no sense.
    Invalid,
    /// A limit is passed.
    Limit,
    /// The engine's own: see [`Error::engine_error`](tenantry_kv::EngineError::engine_error).
    Engine,
    /// Stored bytes are not what they should be.
    Corrupt,
}

macro_rules! codes {
    ($($name:ident = $number:literal, $kind:ident, $message:literal;)*) => {
        /// The code of an error. Numbers and names never change.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = concat!($message, ".")] $name,)*
        }

        impl Code {
            /// Every code, in the order of their numbers.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];

            /// The number.
            pub fn number(self) -> i32 {
                match self { $(Code::$name => $number,)* }
            }

            /// The name, for tests, metrics and the wire.
            pub fn tag(self) -> &'static str {
                match self { $(Code::$name => stringify!($name),)* }
            }

            /// What to do about it.
            pub fn kind(self) -> Kind {
                match self { $(Code::$name => Kind::$kind,)* }
            }

            /// The meaning in a sentence without a full stop.
            pub fn message(self) -> &'static str {
                match self { $(Code::$name => $message,)* }
            }
        }
    };
}

codes! {
    Engine = 20_000, Engine, "The engine failed";
    DatabaseFormat = 20_001, Engine, "The database has a format that this build cannot use";
    DatabaseUrl = 20_002, Invalid, "The database URL cannot be used";
    DatabaseReadOnly = 20_003, Refused, "The database is read-only";
    DatabaseIncomplete = 20_004, Refused, "The database is the target of a copy that is not complete";
    CopySourceWritable = 20_005, Refused, "The database to copy from can change";
    CopyTargetNotEmpty = 20_006, Refused, "The database to copy to is not empty";
    CopyDiffers = 20_007, Corrupt, "The copy is not equal to its source";
    CopyInterrupted = 20_008, Refused, "The copy cannot go on";
    TenantNotFound = 20_010, NotFound, "The tenant does not exist";
    TenantExists = 20_011, Refused, "The tenant exists already";
    TenantNameInvalid = 20_012, Invalid, "The name cannot be a tenant's";
    TenantReadOnly = 20_013, Refused, "The tenant is read-only";
    TenantSuspended = 20_014, Refused, "The tenant is suspended";
    TenantFilling = 20_015, Refused, "The tenant is being filled";
    TenantLabelInvalid = 20_016, Invalid, "The tenant cannot have such a label or plan";
    TenantAmbiguous = 20_017, Invalid, "Several deleted tenants had the name";
    TenantPurging = 20_018, Refused, "The deleted tenant cannot be brought back any more";
    TenantGraceRuns = 20_019, Refused, "The grace of the deleted tenant is not over";
    SchemaNotFound = 20_020, NotFound, "The schema does not exist";
    SchemaDiffers = 20_021, Refused, "A schema of that name exists and is different";
    SchemaInvalid = 20_022, Invalid, "The schema is not valid";
    TypeNotFound = 20_023, NotFound, "The record type does not exist";
    FieldNotFound = 20_024, Invalid, "The record type has no such field";
    RustTypeDiffers = 20_029, Invalid, "The stored record does not fit the Rust type";
    RecordNotFound = 20_030, NotFound, "The record does not exist";
    RecordExists = 20_031, Refused, "A record with that primary key exists already";
    RecordInvalid = 20_032, Invalid, "The record does not fit its type";
    KeyInvalid = 20_033, Invalid, "The key does not fit the primary key";
    UniqueViolation = 20_034, Refused, "Another record has the values that a unique index allows once";
    ConditionFailed = 20_035, Refused, "The record is not in the state that the change asks for";
    PrimaryKeyChanged = 20_036, Refused, "The change would give the record another primary key";
    ConstraintViolated = 20_037, Refused, "The record breaks a rule of its type";
    ReferenceNotFound = 20_038, Refused, "The record refers to one that does not exist";
    ReferenceRestricts = 20_039, Refused, "The record cannot be deleted while others refer to it";
    ExpressionInvalid = 20_040, Invalid, "The expression is not valid";
    ExpressionUnsupported = 20_041, Invalid, "The expression uses something that is not supported";
    QueryInvalid = 20_042, Invalid, "The query is not valid";
    IndexNeeded = 20_043, Refused, "The query needs an index";
    ParameterInvalid = 20_044, Invalid, "The parameters do not fit the expression";
    CascadeTooLarge = 20_046, Limit, "The deletion of the record takes too many others along";
    TokenDamaged = 20_050, Invalid, "The continuation token is damaged";
    TokenOfAnotherTenant = 20_051, Invalid, "The continuation token belongs to another tenant";
    TokenOfAnotherQuery = 20_052, Invalid, "The continuation token belongs to another query";
    TokenExpired = 20_053, Invalid, "The continuation token is no longer valid";
    LimitPassed = 20_060, Limit, "A limit is passed";
    JsonInvalid = 20_070, Invalid, "The text is not JSON that can be used";
    ImportMappingInvalid = 20_071, Invalid, "The import mapping is not valid";
    ImportRowInvalid = 20_072, Invalid, "The row cannot be imported";
    IdempotencyKeyReused = 20_085, Refused, "The idempotency key belongs to another request";
    StoredDataInvalid = 20_090, Corrupt, "Stored bytes are not what they should be";
    JobNotFound = 20_100, NotFound, "The job does not exist";
    JobInvalid = 20_101, Invalid, "The job is not valid";
    JobKindUnknown = 20_102, Invalid, "No job of that kind is known";
    JobEnded = 20_103, Refused, "The job has ended";
    JobAbandoned = 20_104, Refused, "The workers that had the job stopped in the middle of it";
    TenantSealed = 20_110, Refused, "The tenant is sealed and its key is not at hand";
    TenantShredded = 20_111, Refused, "The tenant's key was destroyed";
    RootKeyDiffers = 20_112, Refused, "The tenant's key is wrapped by another root key";
    KeyStoreDamaged = 20_113, Corrupt, "The key store is damaged";
    SealRefused = 20_114, Refused, "The tenant is not sealed in the way that this asks for";
    SealBroken = 20_115, Corrupt, "Something sealed does not open";
    SealedValueAtomic = 20_116, Refused, "An atomic operation cannot change a sealed value";
    KeyStoreUnavailable = 20_117, Refused, "The key store cannot be used";
    RootKeyInvalid = 20_118, Invalid, "The root key is not valid";
    CertificateInvalid = 20_119, Invalid, "The certificate does not hold";
    AccessDenied = 20_120, Refused, "The grant does not allow the operation";
    PolicyUnsupported = 20_121, Refused, "The operation cannot keep to the row policies of the grant";
    PolicyViolated = 20_122, Refused, "The row policy of the grant does not allow the change";
    PolicyInvalid = 20_123, Invalid, "The row policy does not fit the record type";
    GrantInvalid = 20_124, Invalid, "The grant is not valid";
    GrantExpired = 20_125, Refused, "The grant is not valid at this time";
    AccessRevoked = 20_126, Refused, "The grant has been revoked";
    AccessTokenInvalid = 20_127, Invalid, "The access token is not valid";
    AccessKeyInvalid = 20_128, Invalid, "The keys of access tokens cannot be used";
    QuotaExceeded = 20_140, Limit, "The tenant has as much as it may have";
    Throttled = 20_141, Limit, "The tenant has to wait";
    LimitsInvalid = 20_142, Invalid, "The limits of a tenant or plan are not valid";
    PlanNotFound = 20_143, NotFound, "The plan does not exist";
    ProofNeedsEmptyDatabase = 20_150, Refused, "The proof of isolation needs a database without tenants";
    ArchiveDamaged = 20_160, Corrupt, "The archive is damaged";
    ArchiveFormat = 20_161, Invalid, "The archive has a form that this build does not read";
    ArchiveIncomplete = 20_162, Invalid, "The archive is not complete";
    ArchiveDiffers = 20_163, Refused, "It is not the archive that the tenant is being filled from";
    ArchiveOfAnotherTenant = 20_164, Refused, "The archive cannot be gone on with";
}

/// An error of the record layer.
#[derive(Clone)]
pub struct Error {
    code: Code,
    detail: Box<str>,
    cause: Option<Box<tenantry_kv::Error>>,
    violations: Box<[Violation]>,
    retry_after: Option<Duration>,
}

impl Error {
    /// An error with a sentence that names what was wrong, the limit, and the way out.
    pub fn new(code: Code, detail: impl Into<String>) -> Error {
        Error {
            code,
            detail: detail.into().into_boxed_str(),
            cause: None,
            violations: Box::default(),
            retry_after: None,
        }
    }

    /// The error that the violations of a record are, if there are any: 20032 for a record that does not have the form of its type, 20037 for one that breaks
    /// a rule.
    pub(crate) fn of_violations(violations: Violations<'_>) -> Result<()> {
        if violations.is_empty() {
            return Ok(());
        }
        let (found, is_cut) = violations.into_parts();
        let code = match found.iter().all(Violation::is_of_form) {
            true => Code::RecordInvalid,
            false => Code::ConstraintViolated,
        };
        Err(Error::with_violations(code, found, is_cut))
    }

    /// An error that names each violation. `is_cut` says that there were more.
    pub(crate) fn with_violations(code: Code, violations: Vec<Violation>, is_cut: bool) -> Error {
        let mut detail = String::new();
        if let Some(first) = violations.first().filter(|first| !first.record_type.is_empty()) {
            detail = format!("{}: ", shown(&first.record_type));
        }
        for (index, violation) in violations.iter().enumerate() {
            if index > 0 {
                detail.push_str("; ");
            }
            if index == SHOWN_VIOLATIONS_MAX {
                detail.push_str(&format!("and {} more", violations.len() - index));
                detail.push_str(if is_cut { " at least" } else { "" });
                break;
            }
            detail.push_str(&violation.detail);
        }
        Error { violations: violations.into_boxed_slice(), ..Error::new(code, detail) }
    }

    /// Every rule that the record breaks: for 20032, 20037 and 20038. At most [`VIOLATIONS_MAX`](crate::limits::VIOLATIONS_MAX) of them.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// The same with the time after which it may go better.
    #[must_use]
    pub(crate) fn with_retry_after(mut self, retry_after: Duration) -> Error {
        self.retry_after = Some(retry_after);
        self
    }

    /// After what time to try again: for 20141.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What to do about it.
    pub fn kind(&self) -> Kind {
        self.code.kind()
    }

    /// What was wrong in this very case.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The number that says most: the engine's, if it is the engine's error.
    pub fn number(&self) -> i32 {
        self.cause.as_ref().map_or(self.code.number(), |cause| cause.code().number())
    }

    /// The tag that says most: the engine's, if it is the engine's error.
    pub fn tag(&self) -> &'static str {
        self.cause.as_ref().map_or(self.code.tag(), |cause| cause.tag())
    }

    /// Whether the transaction may have been committed all the same.
    pub fn is_outcome_unknown(&self) -> bool {
        self.cause.as_ref().is_some_and(|cause| cause.kind() == EngineErrorKind::OutcomeUnknown)
    }
}

impl From<tenantry_kv::Error> for Error {
    fn from(cause: tenantry_kv::Error) -> Error {
        let detail = cause.to_string();
        Error { cause: Some(Box::new(cause)), ..Error::new(Code::Engine, detail) }
    }
}

impl EngineError for Error {
    fn engine_error(&self) -> Option<&tenantry_kv::Error> {
        self.cause.as_deref()
    }
}

impl PartialEq for Error {
    fn eq(&self, other: &Error) -> bool {
        self.number() == other.number()
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}({}): {}", self.tag(), self.number(), self.detail)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(formatter, "{cause}"),
            None => {
                write!(formatter, "{}: {} (error {})", self.code.message(), self.detail, self.code.number())
            }
        }
    }
}

impl std::error::Error for Error {}

/// How many violations stand in the sentence of an error; the list has them all.
const SHOWN_VIOLATIONS_MAX: usize = 10;

/// A name in a message: quoted, escaped, and cut if somebody sent 10 kB of it.
pub(crate) fn shown(name: &str) -> String {
    const SHOWN_CHARACTERS_MAX: usize = 80;
    let mut characters = name.chars();
    let begin: String = characters.by_ref().take(SHOWN_CHARACTERS_MAX).collect();
    match characters.next() {
        None => format!("{begin:?}"),
        Some(_) => format!("{begin:?}... ({} bytes)", name.len()),
    }
}

/// A limit in one form of words.
pub(crate) fn limit(what: &str, found: usize, most: usize) -> Error {
    Error::new(Code::LimitPassed, format!("{what}: {found}, the limit is {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_in_order() {
        assert!(Code::ALL.windows(2).all(|pair| pair[0].number() < pair[1].number()));
    }

    /// The page of error codes has every code there is, with its tag.
    #[test]
    fn the_page_lists_every_code() {
        let page = include_str!("../../../docs/errors.md");
        let rows: Vec<Vec<&str>> =
            page.lines().map(|line| line.split('|').map(str::trim).collect()).collect();
        let has = |number: String, tag: &str| {
            rows.iter().any(|row| row.len() > 3 && row[1] == number && row[2] == tag)
        };
        for code in Code::ALL {
            assert!(has(code.number().to_string(), code.tag()), "{} {}", code.number(), code.tag());
        }
        for code in tenantry_kv::ErrorCode::ALL {
            assert!(has(code.number().to_string(), code.tag()), "{} {}", code.number(), code.tag());
        }
    }
}
