//! The options of a transaction, and the defaults that the database gives.

use std::time::Duration;

use tenantry_kv::limits;
use tenantry_kv::{DatabaseOption, Error, ErrorCode, Result, TransactionOption};

/// The options in force.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) timeout: Option<Duration>,
    pub(super) retry_limit: i64,
    pub(super) max_retry_delay: Duration,
    pub(super) size_limit_bytes: usize,
    pub(super) snapshot_read_your_writes: i32,
    pub(super) read_your_writes: bool,
    pub(super) reads_system_keys: bool,
    pub(super) writes_system_keys: bool,
    pub(super) has_raw_access: bool,
    pub(super) is_lock_aware: bool,
    pub(super) is_read_lock_aware: bool,
    pub(super) protects_commit: bool,
    pub(super) reports_conflicts: bool,
    pub(super) bypasses_unreadable: bool,
    pub(super) tags: usize,
    pub(super) debug_identifier: Option<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            timeout: None,
            retry_limit: -1,
            max_retry_delay: Duration::from_millis(limits::RETRY_DELAY_MS_MAX_DEFAULT),
            size_limit_bytes: limits::TRANSACTION_SIZE_BYTES_MAX,
            snapshot_read_your_writes: 1,
            read_your_writes: true,
            reads_system_keys: false,
            writes_system_keys: false,
            has_raw_access: false,
            is_lock_aware: false,
            is_read_lock_aware: false,
            protects_commit: true,
            reports_conflicts: false,
            bypasses_unreadable: false,
            tags: 0,
            debug_identifier: None,
        }
    }
}

impl Options {
    /// Applies an option. `is_fresh` says whether nothing was read or written yet.
    ///
    /// # Errors
    ///
    /// What FoundationDB defers: 2006, 2000; and 2007, 2109, 2110.
    pub(super) fn apply(&mut self, option: &TransactionOption, is_fresh: bool) -> Result<()> {
        use TransactionOption as Option_;
        option.validate()?;
        match option {
            Option_::ReadYourWritesDisable => {
                if !is_fresh {
                    let detail = "read-your-writes can be switched off only before the first read or write";
                    return Err(Error::new(ErrorCode::CLIENT_INVALID_OPERATION, detail));
                }
                self.read_your_writes = false;
            }
            Option_::AccessSystemKeys => {
                (self.reads_system_keys, self.writes_system_keys, self.has_raw_access) = (true, true, true);
            }
            Option_::ReadSystemKeys => (self.reads_system_keys, self.has_raw_access) = (true, true),
            Option_::RawAccess => self.has_raw_access = true,
            Option_::DebugTransactionIdentifier(identifier) => {
                if self.debug_identifier.as_ref().is_some_and(|known| known != identifier) {
                    let detail = "the transaction has another identifier already";
                    return Err(Error::new(ErrorCode::CLIENT_INVALID_OPERATION, detail));
                }
                self.debug_identifier = Some(identifier.clone());
            }
            Option_::TimeoutMs(ms) => {
                self.timeout = (*ms > 0).then(|| Duration::from_millis(ms.unsigned_abs()));
            }
            Option_::RetryLimit(limit) => self.retry_limit = *limit,
            Option_::MaxRetryDelayMs(ms) => self.max_retry_delay = Duration::from_millis(ms.unsigned_abs()),
            Option_::SizeLimitBytes(bytes) => {
                self.size_limit_bytes = usize::try_from(*bytes).unwrap_or(limits::TRANSACTION_SIZE_BYTES_MAX);
            }
            Option_::SnapshotReadYourWritesEnable => self.snapshot_read_your_writes += 1,
            Option_::SnapshotReadYourWritesDisable => self.snapshot_read_your_writes -= 1,
            Option_::LockAware => (self.is_lock_aware, self.is_read_lock_aware) = (true, true),
            Option_::ReadLockAware => self.is_read_lock_aware = true,
            Option_::UsedDuringCommitProtectionDisable => self.protects_commit = false,
            Option_::ReportConflictingKeys => self.reports_conflicts = true,
            Option_::BypassUnreadable => self.bypasses_unreadable = true,
            Option_::Tag(_) | Option_::AutoThrottleTag(_) => {
                if self.tags == limits::TRANSACTION_TAGS_MAX {
                    let detail = format!("a transaction has at most {} tags", limits::TRANSACTION_TAGS_MAX);
                    return Err(Error::new(ErrorCode::TOO_MANY_TAGS, detail));
                }
                self.tags += 1;
            }
            // This engine knows every outcome, gives the newest version to everybody and throttles nobody: nothing to do for these.
            _ => {}
        }
        Ok(())
    }

    /// What is left after `on_error`: the defaults, with timeout, retry limit and back-off bound of before.
    pub(super) fn after_on_error(&self, defaults: &Defaults) -> Options {
        Options {
            timeout: self.timeout,
            retry_limit: self.retry_limit,
            max_retry_delay: self.max_retry_delay,
            ..defaults.options.clone()
        }
    }

    /// The first key that may not be read.
    pub(super) fn read_end(&self) -> &'static [u8] {
        if self.reads_system_keys { limits::SYSTEM_SPACE_END } else { limits::USER_SPACE_END }
    }

    /// The first key that may not be written.
    pub(super) fn write_end(&self) -> &'static [u8] {
        if self.writes_system_keys { limits::SYSTEM_SPACE_END } else { limits::USER_SPACE_END }
    }

    /// The longest key that `key` may be, in bytes.
    pub(super) fn key_size_max(&self, key: &[u8]) -> usize {
        if key.starts_with(limits::USER_SPACE_END) {
            limits::SYSTEM_KEY_SIZE_BYTES_MAX
        } else if self.has_raw_access {
            limits::KEY_SIZE_RAW_ACCESS_BYTES_MAX
        } else {
            limits::KEY_SIZE_BYTES_MAX
        }
    }
}

/// What every new transaction begins with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Defaults {
    pub(super) options: Options,
}

impl Defaults {
    /// Sets a default.
    ///
    /// # Errors
    ///
    /// 2006 for a value out of bounds; 2007 for an option that cannot be a default.
    pub(crate) fn set(&mut self, option: DatabaseOption) -> Result<()> {
        match option {
            DatabaseOption::SnapshotReadYourWrites(enabled) => {
                self.options.snapshot_read_your_writes = i32::from(enabled);
                Ok(())
            }
            DatabaseOption::TransactionDefault(option) => {
                if !matches!(option.code(), 500..=503 | 505 | 700..=702) {
                    let detail =
                        format!("the transaction option {} cannot be a database default", option.code());
                    return Err(Error::new(ErrorCode::INVALID_OPTION, detail));
                }
                self.options.apply(&option, true)
            }
            _ => Err(ErrorCode::INVALID_OPTION.into()),
        }
    }
}
