//! Every limit of the record layer, in one place. They are checked before an engine sees anything, and leave room under the engine's own.

use std::time::Duration;

/// The longest name of a schema, record type, field, index, tenant, counter or sequence, in bytes of UTF-8.
pub const NAME_SIZE_BYTES_MAX: usize = 255;
/// The most record types in a schema.
pub const RECORD_TYPES_MAX: usize = 256;
/// The most fields in a record type or struct, counting those of the structs in it.
pub const FIELDS_MAX: usize = 1_000;
/// The highest id that a field can have: what fits the wire format's key in two bytes.
pub const FIELD_ID_MAX: u32 = 2_047;
/// The most indexes of a record type.
pub const INDEXES_MAX: usize = 64;
/// The most columns of a primary key or index.
pub const COLUMNS_MAX: usize = 16;
/// The longest that a time-to-live index keeps records behind their moment, in seconds: a hundred years.
pub const TIME_TO_LIVE_AFTER_S_MAX: u64 = 3_155_760_000;
/// The most values of an enum.
pub const ENUM_VALUES_MAX: usize = 1_000;
/// How deep lists and structs may be nested in a field's type, and values in a record.
pub const TYPE_DEPTH_MAX: usize = 8;
/// A bound of a length that a schema can ask for, in characters, bytes or elements: no value of a record is longer.
pub const LENGTH_BOUND_MAX: usize = RECORD_SIZE_BYTES_MAX;
/// The pattern of a field, in bytes.
pub const PATTERN_SIZE_BYTES_MAX: usize = 1_000;
/// What a pattern may take once it is compiled, in bytes.
pub const PATTERN_PROGRAM_SIZE_BYTES_MAX: usize = 500_000;
/// The most patterns of a schema.
pub const PATTERNS_MAX: usize = 100;
/// The most checks of a record type, besides those of its fields.
pub const CHECKS_MAX: usize = 64;
/// The most references of a record type.
pub const REFERENCES_MAX: usize = 64;
/// The most records that the deletion of another one deletes or changes in the same transaction.
pub const CASCADE_RECORDS_MAX: usize = 1_000;
/// What these records may take in memory together, in bytes.
pub const CASCADE_SIZE_BYTES_MAX: usize = 32_000_000;
/// The records by way of which one may hang on the record that is deleted, where that takes several transactions.
pub const CASCADE_CLIMB_RECORDS_MAX: usize = 10_000;
/// The most violations that are reported of one record.
pub const VIOLATIONS_MAX: usize = 100;
/// A schema as stored, in bytes.
pub const SCHEMA_SIZE_BYTES_MAX: usize = 90_000;
/// A schema file, in bytes.
pub const SCHEMA_FILE_SIZE_BYTES_MAX: usize = 1_000_000;

/// The payload of one record, in bytes.
pub const RECORD_SIZE_BYTES_MAX: usize = 1_000_000;
/// The least payload that is compressed, in bytes.
pub const COMPRESSED_SIZE_BYTES_MIN: usize = 512;
/// What one key of a record holds of it, in bytes; the rest goes into further parts.
pub const RECORD_PART_SIZE_BYTES: usize = 90_000;
/// The packed columns of a primary key or of an index entry, in bytes: the engine's limit on keys less prefixes and room for both in one entry.
pub const KEY_COLUMNS_SIZE_BYTES_MAX: usize = 4_500;
/// The most entries that one record has in one index: one for each element of a list, or each word of a text.
pub const INDEX_ENTRIES_MAX: usize = 10_000;
/// What the writes of one transaction may count towards the engine's ten million bytes, their log entry included: each write with its key three times, for it
/// conflicts as well, a record twice if a query of the same transaction looks at it. The rest is left to what the transaction reads.
pub const WRITE_SIZE_BYTES_MAX: usize = 9_000_000;
/// The most changes in one transaction: what the two bytes of an ordinal can count.
pub const CHANGES_MAX: usize = 50_000;
/// What one key of a change log entry holds, in bytes.
pub const LOG_PART_SIZE_BYTES: usize = 90_000;
/// A key of a tenant's own key-value space, in bytes.
pub const RAW_KEY_SIZE_BYTES_MAX: usize = 9_900;
/// A value of a tenant's own key-value space, in bytes.
pub const RAW_VALUE_SIZE_BYTES_MAX: usize = tenantry_kv::limits::VALUE_SIZE_BYTES_MAX;

/// How many texts of conditions a tenant's handle keeps parsed.
pub const PARSED_FILTERS_MAX: usize = 64;
/// The longest text that is kept parsed, in bytes.
pub const PARSED_FILTER_SIZE_BYTES_MAX: usize = 1_000;

/// The most keys that are read together.
pub const GET_MANY_KEYS_MAX: usize = 1_000;
/// The bytes of the records that are read together.
pub const GET_MANY_SIZE_BYTES_MAX: usize = 32_000_000;

/// The most parts that a counter is spread over.
pub const COUNTER_SHARDS_MAX: u16 = 64;
/// The most numbers of a sequence that are taken at a time.
pub const SEQUENCE_BLOCK_MAX: usize = 1_000_000;
/// How long the result of a transaction that takes effect once is kept, where the caller does not say.
pub const IDEMPOTENCY_RETENTION: Duration = Duration::from_secs(24 * 3_600);
/// The longest that it may be kept.
pub const IDEMPOTENCY_RETENTION_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);
/// An idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_SIZE_BYTES_MAX: usize = 255;
/// A result that is kept for a repeat, in bytes.
pub const IDEMPOTENCY_RESULT_SIZE_BYTES_MAX: usize = 90_000;
/// How many records of expired idempotency keys are removed at a time.
pub const IDEMPOTENCY_SWEEP_ROWS_MAX: usize = 100;
/// The longest that a transaction may take with all its attempts.
pub const TRANSACTION_DEADLINE_MAX: Duration = Duration::from_secs(3_600);
/// The most tags of a transaction: FoundationDB's.
pub const TRANSACTION_TAGS_MAX: usize = 5;
/// The most hooks of a transaction.
pub const TRANSACTION_HOOKS_MAX: usize = 100;
/// How many conflicts an error names.
pub const CONFLICTS_SHOWN_MAX: usize = 5;

/// An expression, in bytes.
pub const EXPRESSION_SIZE_BYTES_MAX: usize = 8_192;
/// How deep brackets and signs of an expression may be nested.
pub const EXPRESSION_DEPTH_MAX: usize = 24;
/// The most operators in a row (`a + b - c`, `a.b.c`), those in the brackets between them included; `&&`, `||` and commas begin another row. The parser recurses
/// over them: with these bounds it needs less than 512 kB of stack in a debug build.
pub const EXPRESSION_CHAIN_MAX: usize = 96;
/// The most nodes of an expression.
pub const EXPRESSION_NODES_MAX: usize = 1_000;
/// A text that an expression puts together, in bytes; a longer one is missing.
pub const EXPRESSION_TEXT_SIZE_BYTES_MAX: usize = RECORD_SIZE_BYTES_MAX;
/// A word of a text as it is compared, in bytes: what is behind them is left out.
pub const TOKEN_SIZE_BYTES_MAX: usize = 128;
/// The words of a text: those behind them are left out.
pub const TEXT_TOKENS_MAX: usize = 100_000;
/// What the positions of one word of a record take in a text index, in bytes: an entry that would have more has none.
pub const TEXT_POSITIONS_SIZE_BYTES_MAX: usize = 10_000;
/// The most words of a filter that each make a path of a text index.
pub const TEXT_PATHS_MAX: usize = 8;
/// The words that one text match looks for.
pub const TEXT_QUERY_TOKENS_MAX: usize = 256;

/// The rows of a page when the query does not say.
pub const PAGE_ROWS_DEFAULT: usize = 100;
/// The most rows of a page.
pub const PAGE_ROWS_MAX: usize = 10_000;
/// The bytes of records after which a page ends early.
pub const PAGE_SIZE_BYTES: usize = 4_000_000;
/// The entries that one page looks at before it ends early, with a token to go on.
pub const SCANNED_MAX: usize = 20_000;
/// The records that a query without a fitting index may look at to sort them.
pub const SORTED_MAX: usize = 100_000;
/// The most branches of an `||`, or elements of an `in`, for which each a path of its own is taken.
pub const UNION_BRANCHES_MAX: usize = 32;
/// The most groups of an aggregate.
pub const GROUPS_MAX: usize = 10_000;
/// The columns of an order.
pub const ORDER_COLUMNS_MAX: usize = 8;

/// How deep the JSON of a field may be nested: what is deeper could not be read again.
pub const JSON_DEPTH_MAX: usize = 127;
/// A JSON document from outside, in bytes.
pub const JSON_SIZE_BYTES_MAX: usize = 4_000_000;
/// The rows of an import that wait for their transaction before it takes no more.
pub const IMPORT_WAITING_ROWS_MAX: usize = 16_000;
/// What these may take in memory, in bytes.
pub const IMPORT_WAITING_SIZE_BYTES_MAX: usize = 16_000_000;
/// What an export keeps in memory before it needs a directory, in bytes, unless it asks for another bound.
pub const EXPORT_MEMORY_SIZE_BYTES_DEFAULT: usize = 64_000_000;
/// The least that it can ask for.
pub const EXPORT_MEMORY_SIZE_BYTES_MIN: usize = 64_000;
/// Tenants on one page of a listing.
pub const TENANTS_PAGE_ROWS_MAX: usize = 10_000;
/// The parameters of a job, as JSON, in bytes.
pub const JOB_PARAMETERS_SIZE_BYTES_MAX: usize = 10_000;
/// The cursor of a job, in bytes.
pub const JOB_CURSOR_SIZE_BYTES_MAX: usize = 20_000;
/// The result of a job, as JSON, in bytes.
pub const JOB_RESULT_SIZE_BYTES_MAX: usize = 10_000;
/// What is kept of the message of a job's error, in bytes.
pub const JOB_ERROR_SIZE_BYTES_MAX: usize = 1_000;
/// The jobs of one tenant that have not ended; as many again of the database as a whole. Counted without a conflict: many who create at once can pass it by a few.
pub const JOBS_UNFINISHED_MAX: usize = 10_000;
/// The jobs that are kept after their end, the last ones.
pub const JOBS_ENDED_MAX: usize = 10_000;
/// How long a job is kept after its end, in days.
pub const JOB_ENDED_DAYS_MAX: u32 = 30;
/// How often in a row a job may fail before it is given up.
pub const JOB_FAILURES_MAX: u32 = 8;
/// The wait after the first failure, in milliseconds; it doubles with every further one.
pub const JOB_BACK_OFF_MS_INITIAL: u64 = 1_000;
/// The longest wait after a failure, in milliseconds.
pub const JOB_BACK_OFF_MS_MAX: u64 = 300_000;
/// How long a worker that says nothing keeps a job, in milliseconds, unless it asks for another time.
pub const JOB_LEASE_MS_DEFAULT: u64 = 10_000;
/// What the first step of a job does, in units of its kind.
pub const JOB_STEP_SIZE_INITIAL: u32 = 100;
/// The most that one step of a job does, in units of its kind.
pub const JOB_STEP_SIZE_MAX: u32 = 10_000;
/// The steps that a worker does of one job before it looks for the next.
pub const JOB_TURN_STEPS_MAX: u32 = 8;
/// Jobs on one page of a listing.
pub const JOBS_PAGE_ROWS_MAX: usize = 1_000;

/// The records that one step of a sweep deletes, at the most, of those whose time has come.
pub const EXPIRY_ROWS_MAX: usize = 1_000;

/// The faults that the result of a check names.
pub const CHECK_FAULTS_MAX: usize = 100;
/// What these take as JSON, in bytes.
pub const CHECK_FAULTS_SIZE_BYTES_MAX: usize = 6_000;
/// How long a check adds up counts, sums and extremes anew, in one transaction.
pub const CHECK_RECOUNT_TIME_MAX: Duration = Duration::from_secs(3);
/// What these take in memory, in bytes: where there are more, a further transaction adds up the next ones.
pub const CHECK_AMOUNTS_SIZE_BYTES_MAX: usize = 16_000_000;
/// The counts, sums and values that a check tells of or repairs in one transaction.
pub const CHECK_REPAIRS_MAX: usize = 1_000;

/// The keys of tenants in one key store.
pub const KEY_STORE_ENTRIES_MAX: usize = 1_000_000;
/// The file of a key store, in bytes.
pub const KEY_STORE_SIZE_BYTES_MAX: u64 = 500_000_000;
/// How long a change of a key store waits for another one, in another process.
pub const KEY_STORE_WAIT_MAX: Duration = Duration::from_secs(10);
/// The data keys of sealed tenants that a process keeps unwrapped.
pub const DATA_KEYS_CACHED_MAX: usize = 10_000;
/// How long it does before it asks the key store again.
pub const DATA_KEY_CACHE_TIME_MAX: Duration = Duration::from_secs(300);
/// How long a tenant may have a key in the key store and not say in its header that it is sealed, before that is taken for tampering.
pub const SEAL_UNDER_WAY_TIME_MAX: Duration = Duration::from_secs(600);
/// How often a tenant's data key can be changed.
pub const DATA_KEY_GENERATIONS_MAX: u32 = 1_000_000;
/// A value of the own key-value space of a sealed tenant, in bytes.
pub const RAW_SEALED_VALUE_SIZE_BYTES_MAX: usize = 99_900;

/// The most labels of a tenant.
pub const TENANT_LABELS_MAX: usize = 32;
/// The name of a label, in bytes.
pub const TENANT_LABEL_NAME_SIZE_BYTES_MAX: usize = 63;
/// The value of a label, in bytes.
pub const TENANT_LABEL_VALUE_SIZE_BYTES_MAX: usize = 255;
/// The most tenants that are created together.
pub const TENANTS_BATCH_MAX: usize = 10_000;
/// The most bytes of a frame of an archive: rows of half a megabyte, and the longest record more.
pub const ARCHIVE_FRAME_SIZE_BYTES_MAX: usize = 4_000_000;
/// The most ranges of raw keys that are cleared while a tenant's content is hashed.
pub const ARCHIVE_CLEARS_MAX: usize = 100_000;
/// The faults that the result of a verification names.
pub const VERIFY_FAULTS_MAX: usize = 10;
/// What it says of each, in bytes.
pub const VERIFY_FAULT_SIZE_BYTES_MAX: usize = 120;
/// How long a deleted tenant can be brought back, where whoever deletes it does not say.
pub const TENANT_GRACE: Duration = Duration::from_secs(7 * 24 * 3_600);
/// The longest that it can be: ten years.
pub const TENANT_GRACE_MAX: Duration = Duration::from_secs(3_650 * 24 * 3_600);
/// The tenants that one page of a listing looks at before it ends early, where a filter drops much.
pub const TENANTS_SCANNED_MAX: usize = 10_000;

/// The plans of a database.
pub const PLANS_MAX: usize = 1_000;
/// The weight of a tenant that has none.
pub const TENANT_WEIGHT_DEFAULT: u64 = 100;
/// The greatest weight of a tenant.
pub const TENANT_WEIGHT_MAX: u64 = 10_000;
/// The greatest rate of a tenant, in operations or bytes in a second.
pub const TENANT_RATE_MAX: u64 = 1_000_000_000_000;
/// The transactions on tenants that run at a time in a process, unless its settings say otherwise.
pub const POOL_TRANSACTIONS_DEFAULT: usize = 1_000;
/// The most that the settings may say.
pub const POOL_TRANSACTIONS_MAX: usize = 1_000_000;
/// The transactions of one tenant that run at a time in a process, unless its settings say otherwise.
pub const POOL_TRANSACTIONS_PER_TENANT_DEFAULT: usize = 500;
/// The transactions that wait in a process, unless its settings say otherwise.
pub const POOL_WAITING_DEFAULT: usize = 20_000;
/// The most that the settings may say.
pub const POOL_WAITING_MAX: usize = 10_000_000;
/// The transactions of one tenant that wait in a process, unless its settings say otherwise.
pub const POOL_WAITING_PER_TENANT_DEFAULT: usize = 2_000;
/// How long a transaction waits before it is refused, unless the settings say otherwise.
pub const POOL_QUEUE_DEADLINE: Duration = Duration::from_secs(5);
/// The longest that the settings may say.
pub const POOL_QUEUE_DEADLINE_MAX: Duration = Duration::from_secs(60);
/// After what time a reader brings what was read into the meters, if nobody wrote meanwhile.
pub const METER_FLUSH_INTERVAL: Duration = Duration::from_secs(5);
/// How many hours the meters of what was consumed are kept: 35 days of them.
pub const METER_HOURS_KEPT: i64 = 35 * 24;

/// The reason that a database is read-only, or a tenant suspended, in bytes.
pub const REASON_SIZE_BYTES_MAX: usize = 1_000;

/// The tenants that a grant names.
pub const GRANT_TENANTS_MAX: usize = 1_000;
/// The record types that a grant is limited to.
pub const GRANT_RECORD_TYPES_MAX: usize = 256;
/// The row policies of a grant.
pub const GRANT_POLICIES_MAX: usize = 256;
/// The claims of a grant.
pub const GRANT_CLAIMS_MAX: usize = 64;
/// What these take, in bytes.
pub const GRANT_CLAIMS_SIZE_BYTES_MAX: usize = 16_000;

/// The tenants of a proof of isolation.
pub const PROOF_TENANTS_MAX: usize = 1_000;
/// How many of the keys that are nobody's, and of the outcomes that were another's, are told one by one.
pub const ISOLATION_FINDINGS_MAX: usize = 100;
