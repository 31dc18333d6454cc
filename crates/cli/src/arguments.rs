//! The command line's words.

mod tenant;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tenantry::Durability;

pub(crate) use tenant::{CreateArguments, LimitsArguments, SealArguments, TenantCommand};

/// A multi-tenant record database.
#[derive(Debug, Parser)]
#[command(name = "tenantry", version, about, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Arguments {
    /// The database: file:PATH, memory:, fdb: or fdb:CLUSTER_FILE, the last two with ?name=NAME&threads=NUMBER if need be
    #[arg(
        long,
        global = true,
        env = "TENANTRY_DB",
        default_value = "file:./tenantry.db",
        value_name = "URL"
    )]
    pub(crate) db: String,
    /// Print JSON and nothing else on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// When a write counts as done: synced (on disk), or relaxed:MS (on disk within so many milliseconds)
    #[arg(
        long,
        global = true,
        env = "TENANTRY_DURABILITY",
        default_value = "synced",
        value_name = "DURABILITY",
        value_parser = durability
    )]
    pub(crate) durability: Durability,
    /// The file with the wrapped keys of sealed tenants
    #[arg(long, global = true, env = "TENANTRY_KEY_STORE", value_name = "FILE")]
    pub(crate) key_store: Option<String>,
    /// The file with the root key that wraps them; the key itself may be in TENANTRY_ROOT_KEY
    #[arg(long, global = true, env = "TENANTRY_ROOT_KEY_FILE", value_name = "FILE")]
    pub(crate) root_key: Option<String>,
    /// An access token, @FILE for one in a file, or - for standard input: the command does what it allows and nothing else
    #[arg(long, global = true, env = "TENANTRY_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// The public keys that tokens are checked with, a JWKS file
    #[arg(long, global = true, env = "TENANTRY_JWKS", value_name = "FILE")]
    pub(crate) jwks: Option<PathBuf>,
    /// Who issues the tokens
    #[arg(
        long,
        global = true,
        env = "TENANTRY_TOKEN_ISSUER",
        default_value = "tenantry",
        value_name = "NAME"
    )]
    pub(crate) issuer: String,
    /// Who the tokens are for
    #[arg(
        long,
        global = true,
        env = "TENANTRY_TOKEN_AUDIENCE",
        default_value = "tenantry",
        value_name = "NAME"
    )]
    pub(crate) audience: String,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The longest interval of relaxed durability.
const RELAXED_MS_MAX: u64 = 60_000;

fn durability(text: &str) -> Result<Durability, String> {
    let relaxed = text.strip_prefix("relaxed:").map(str::parse::<u64>);
    match (text, relaxed) {
        ("synced", _) => Ok(Durability::Synced),
        (_, Some(Ok(milliseconds @ 1..=RELAXED_MS_MAX))) => {
            Ok(Durability::Relaxed { interval: Duration::from_millis(milliseconds) })
        }
        _ => Err(format!("write synced, or relaxed:MS with 1 to {RELAXED_MS_MAX} milliseconds")),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what Tenantry does, on real data in a temporary database
    Demo,
    /// Schemas: apply, show, list
    #[command(subcommand)]
    Schema(SchemaCommand),
    /// Tenants: create, list, show, rename, label, limits, suspend, resume, seal, delete
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// The keys of sealed tenants: init, rotate-root, status, verify
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Import rows from a .jsonl, .json or .csv file
    Import(ImportArguments),
    /// Write the records of a tenant, as they are at one version, as JSON lines or CSV
    Export(ExportArguments),
    /// Print the records of keys
    Get(GetArguments),
    /// Write a record
    Put(PutArguments),
    /// Delete the record of a key, or those that a filter asks for
    Delete(DeleteArguments),
    /// Print the records that a filter asks for
    Query(QueryArguments),
    /// Count records and compute sums, averages, least and greatest values, by groups
    Aggregate(AggregateArguments),
    /// Print the position of a record in its group, or the records from a position on, by a rank index
    Rank(RankArguments),
    /// A tenant's own key-value space: get, set, clear, range
    Kv(KvArguments),
    /// Print what a tenant stores and has consumed, or all of them
    Usage(UsageArguments),
    /// Plans, the limits that tenants have in common: set, show, list
    #[command(subcommand)]
    Plan(PlanCommand),
    /// Count anew what a tenant stores, and put its meters right
    Reconcile(ReconcileArguments),
    /// Access tokens: keygen, issue, inspect, revoke
    #[command(subcommand)]
    Token(TokenCommand),
    /// Print what the database holds and how it is doing
    Status,
    /// The database as a whole: read-only, writable, scrub
    #[command(subcommand)]
    Database(DatabaseCommand),
    /// Jobs, the work that takes longer than a transaction: list, show, watch, cancel, run
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Count the records of a type, exactly, at one version
    Count(JobArguments),
    /// Write again the records of a type that are stored in an older form
    Rewrite(JobArguments),
    /// Compare a tenant's indexes with its records, and repair them
    Check(CheckArguments),
    /// Delete the records whose time has come, by the time-to-live indexes
    Expire(ExpireArguments),
    /// The isolation of tenants: prove it, or say whose every key of the database is
    #[command(subcommand)]
    Isolation(IsolationCommand),
    /// Copy a read-only database into an empty one, on whatever engine
    Copy(CopyArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SchemaCommand {
    /// Put a schema into the database
    Apply {
        /// A .toml or .json file
        file: PathBuf,
    },
    /// Print a schema as JSON
    Show {
        /// The schema's name
        name: String,
    },
    /// Print a schema as a .proto file, with which any language reads stored records
    Proto {
        /// The schema's name
        name: String,
    },
    /// Print the names of all schemas
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key store, and a root key unless there is one
    Init,
    /// Wrap every key with another root key; no data is touched
    RotateRoot {
        /// The file with the new root key; it is made if it is not there
        #[arg(long, value_name = "FILE")]
        new_root_key: String,
    },
    /// Print what is in the key store
    Status,
    /// Compare the certificate of a shredded tenant with the key store
    Verify {
        /// What "tenantry tenant shred" printed
        certificate: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DatabaseCommand {
    /// Let nobody change the database until it is writable again
    ReadOnly {
        /// Why: everybody who is refused is told
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Let the database change again
    Writable,
    /// Read everything that is on disk and verify every checksum
    Scrub,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IsolationCommand {
    /// Let tenants try to reach each other, in a database of its own that is erased at the end, and compare what each is told with a model of it alone
    Prove(ProveArguments),
    /// Read every key of the database and say whose it is; changes nothing
    Scan,
}

#[derive(Args, Debug)]
pub(crate) struct ProveArguments {
    /// How many operations
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) operations: u64,
    /// How many tenants
    #[arg(long, value_name = "N", default_value_t = 12)]
    pub(crate) tenants: usize,
    /// What decides which operations
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// The name of the database, which is not there yet or has no tenants; it is erased all the same
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Leave the database as it is at the end; of its sealed tenants nobody has the keys
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CopyArguments {
    /// The database to copy, which is read-only
    #[arg(long, value_name = "URL")]
    pub(crate) from: String,
    /// The database to copy to, which is empty
    #[arg(long, value_name = "URL")]
    pub(crate) to: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// Print the jobs, the newest first
    List {
        /// Those of a tenant alone
        #[arg(long)]
        tenant: Option<String>,
        /// Those in a state alone: waiting, running, done, failed, cancelled
        #[arg(long)]
        state: Option<String>,
        /// The most jobs to print
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: u32,
        /// Begin behind this job
        #[arg(long, value_name = "ID")]
        after: Option<String>,
    },
    /// Print all that is known of a job
    Show {
        /// The job's id
        id: String,
    },
    /// Print how a job gets on, until it has ended
    Watch {
        /// The job's id
        id: String,
    },
    /// Let a job end: at once, or at its next step if a worker has it
    Cancel {
        /// The job's id
        id: String,
    },
    /// Work on jobs
    Run {
        /// End when every job has ended, instead of waiting for more
        #[arg(long)]
        until_idle: bool,
        /// How long others leave a job alone after this worker's last sign of life, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3_600))]
        lease: u32,
        /// How long to wait after each step, in milliseconds, to leave more to others
        #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=60_000))]
        pause: u32,
    },
}

#[derive(Args, Debug)]
pub(crate) struct JobArguments {
    /// The tenant's name
    pub(crate) tenant: String,
    /// The record type
    #[arg(value_name = "TYPE")]
    pub(crate) record_type: String,
    /// Leave the work to "tenantry jobs run"
    #[arg(long)]
    pub(crate) background: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CheckArguments {
    /// The tenant's name
    pub(crate) tenant: String,
    /// The record type; without it all of them
    #[arg(value_name = "TYPE")]
    pub(crate) record_type: Option<String>,
    /// Mend what is found; without it, it is only told
    #[arg(long)]
    pub(crate) repair: bool,
    /// Leave the work to "tenantry jobs run"
    #[arg(long)]
    pub(crate) background: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ExpireArguments {
    /// The tenant's name
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    pub(crate) tenant: Option<String>,
    /// Every tenant whose schema has such an index
    #[arg(long)]
    pub(crate) all: bool,
    /// Leave the work to "tenantry jobs run"
    #[arg(long)]
    pub(crate) background: bool,
}

/// What usage is told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// A line for each hour
    Hour,
}

#[derive(Args, Debug)]
pub(crate) struct UsageArguments {
    /// The tenant's name; without it all of them
    pub(crate) tenant: Option<String>,
    /// Tell apart when it was, of the last 35 days
    #[arg(long, value_enum, requires = "tenant")]
    pub(crate) by: Option<By>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PlanCommand {
    /// Create a plan, or change its limits
    Set {
        /// The plan's name
        name: String,
        /// NAME=NUMBER, or NAME=none; may be given several times
        #[arg(long, value_name = "NAME=VALUE")]
        set: Vec<String>,
    },
    /// Print the limits of a plan
    Show {
        /// The plan's name
        name: String,
    },
    /// Print all plans
    List,
}

#[derive(Args, Debug)]
pub(crate) struct ReconcileArguments {
    /// The tenant's name
    pub(crate) tenant: String,
    /// Leave the work to "tenantry jobs run"
    #[arg(long)]
    pub(crate) background: bool,
}

#[derive(Args, Debug)]
#[command(
    override_usage = "tenantry import [OPTIONS] TENANT TYPE FILE\n       tenantry import [OPTIONS] --tenant-field FIELD [--schema SCHEMA] TYPE FILE"
)]
pub(crate) struct ImportArguments {
    /// TENANT TYPE FILE (- for .jsonl on standard input); without TENANT where --tenant-field names the column of the tenant
    #[arg(num_args = 2..=3, required = true, value_names = ["TENANT", "TYPE", "FILE"])]
    pub(crate) words: Vec<String>,
    /// The column that names the tenant; tenants that do not exist are created
    #[arg(long, value_name = "FIELD")]
    pub(crate) tenant_field: Option<String>,
    /// The schema of the tenants that are created; not needed where there is but one
    #[arg(long)]
    pub(crate) schema: Option<String>,
    /// How rows become records: a .toml file
    #[arg(long, value_name = "FILE")]
    pub(crate) mapping: Option<PathBuf>,
    /// Replace records whose key exists instead of refusing the row
    #[arg(long)]
    pub(crate) replace: bool,
    /// Write no defaults: what a row lacks it lacks on purpose. For files that were exported
    #[arg(long)]
    pub(crate) exact: bool,
    /// Read smaller pieces, and print behind each that everything up to its last line is imported or reported
    #[arg(long)]
    pub(crate) acknowledge: bool,
}

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// A JSON object on each line
    Jsonl,
    /// Cells, behind a header
    Csv,
}

impl ExportFormat {
    /// How the names of files end.
    pub(crate) fn extension(self) -> &'static str {
        match self {
            ExportFormat::Jsonl => "jsonl",
            ExportFormat::Csv => "csv",
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct ExportArguments {
    /// The tenant's name
    pub(crate) tenant: String,
    /// The record type; without it all of them, each into a file of its own
    #[arg(value_name = "TYPE")]
    pub(crate) record_type: Option<String>,
    /// jsonl or csv; by default what the name of the output ends in, or else jsonl
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) format: Option<ExportFormat>,
    /// The file, which appears when it is complete; without TYPE a directory. By default standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// The condition, in CEL
    #[arg(long = "where", value_name = "CEL", requires = "record_type")]
    pub(crate) filter: Option<String>,
    #[command(flatten)]
    pub(crate) parameters: ParameterArguments,
    /// Write these fields alone; may be given several times
    #[arg(long, value_name = "FIELD", requires = "record_type")]
    pub(crate) select: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct GetArguments {
    /// The tenant's name
    pub(crate) tenant: String,
    /// The record type
    #[arg(value_name = "TYPE")]
    pub(crate) record_type: String,
    /// The key, or several: a value, or a JSON list where the key has several fields
    #[arg(allow_hyphen_values = true, required = true, value_name = "KEY")]
    pub(crate) keys: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct DeleteArguments {
    /// The tenant's name
    pub(crate) tenant: String,
    /// The record type
    #[arg(value_name = "TYPE")]
    pub(crate) record_type: String,
    /// The key: its value, or a JSON list where the key has several fields
    #[arg(allow_hyphen_values = true, required_unless_present = "filter", conflicts_with_all = ["filter", "limit", "after", "dry_run"])]
    pub(crate) key: Option<String>,
    #[command(flatten)]
    pub(crate) condition: ConditionArguments,
    /// With all that refers to it, by the references of the schema, however many these are: in steps, the record itself last
    #[arg(long, requires = "key", conflicts_with_all = ["if_version", "if_matches", "filter"])]
    pub(crate) cascade: bool,
    /// With --cascade: leave the work to "tenantry jobs run"
    #[arg(long, requires = "cascade")]
    pub(crate) background: bool,
    /// In place of a key: delete the records for which this condition, in CEL, holds; "true" for all
    #[arg(long = "where", value_name = "CEL", conflicts_with_all = ["if_version", "if_matches"])]
    pub(crate) filter: Option<String>,
    #[command(flatten)]
    pub(crate) parameters: ParameterArguments,
    /// With --where: the most records to delete
    #[arg(long, value_name = "N", requires = "filter", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// With --where: go on with the token that a deletion with --limit ended with
    #[arg(long, value_name = "TOKEN", requires = "filter")]
    pub(crate) after: Option<String>,
    /// With --where: count the records and delete none
    #[arg(long, requires = "filter")]
    pub(crate) dry_run: bool,
}

/// Values for a condition.
#[derive(Args, Debug)]
pub(crate) struct ParameterArguments {
    /// With --where: what param.NAME stands for in the condition, as JSON; may be given several times
    #[arg(long = "param", value_name = "NAME=JSON", requires = "filter")]
    pub(crate) parameters: Vec<String>,
}

/// In what state a record has to be for a change.
#[derive(Args, Debug)]
pub(crate) struct ConditionArguments {
    /// Refuse unless the record has this version, as get prints it
    #[arg(long, value_name = "VERSION")]
    pub(crate) if_version: Option<String>,
    /// Refuse unless the record is there and this condition, in CEL, holds for it
    #[arg(long = "if", value_name = "CEL", conflicts_with = "if_version")]
    pub(crate) if_matches: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct PutArguments {
    /// The tenant's name
    pub(crate) tenant: String,
    /// The record type
    #[arg(value_name = "TYPE")]
    pub(crate) record_type: String,
    /// The record; - reads it from standard input
    #[arg(value_name = "JSON")]
    pub(crate) record: String,
    /// Refuse if a record with this key exists
    #[arg(long, conflicts_with_all = ["if_version", "if_matches", "replace_only", "merge"])]
    pub(crate) insert: bool,
    /// Refuse if no record with this key exists
    #[arg(long, conflicts_with_all = ["if_version", "if_matches", "merge"])]
    pub(crate) replace_only: bool,
    /// Change the fields that are given and leave the others (JSON merge patch): null takes a field out
    #[arg(long)]
    pub(crate) merge: bool,
    #[command(flatten)]
    pub(crate) condition: ConditionArguments,
}

#[derive(Args, Debug)]
pub(crate) struct QueryArguments {
    /// The tenant's name
    pub(crate) tenant: String,
    /// The record type
    #[arg(value_name = "TYPE")]
    pub(crate) record_type: String,
    /// The condition, in CEL: 'rating >= 7.5 && released < date("2000-01-01")'
    #[arg(long = "where", value_name = "CEL")]
    pub(crate) filter: Option<String>,
    #[command(flatten)]
    pub(crate) parameters: ParameterArguments,
    /// FIELD or FIELD:desc; may be given several times
    #[arg(long, value_name = "FIELD[:desc]")]
    pub(crate) order: Vec<String>,
    /// The most records to print
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub(crate) limit: usize,
    /// The token that the page before ended with
    #[arg(long, value_name = "TOKEN")]
    pub(crate) after: Option<String>,
    /// Print these fields alone; may be given several times. Where an index covers them, no record is read
    #[arg(long, value_name = "FIELD")]
    pub(crate) select: Vec<String>,
    /// Print how the records were found, too
    #[arg(long)]
    pub(crate) explain: bool,
}

#[derive(Args, Debug)]
pub(crate) struct AggregateArguments {
    /// The tenant's name
    pub(crate) tenant: String,
    /// The record type
    #[arg(value_name = "TYPE")]
    pub(crate) record_type: String,
    /// What to compute: count, sum:FIELD, average:FIELD, min:FIELD, max:FIELD
    #[arg(default_value = "count", value_name = "MEASURE")]
    pub(crate) measures: Vec<String>,
    /// The field whose values tell groups apart; may be given several times
    #[arg(long = "group-by", value_name = "FIELD")]
    pub(crate) group_by: Vec<String>,
    /// The condition, in CEL
    #[arg(long = "where", value_name = "CEL")]
    pub(crate) filter: Option<String>,
    #[command(flatten)]
    pub(crate) parameters: ParameterArguments,
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["of", "at", "value"]))]
pub(crate) struct RankArguments {
    /// The tenant's name
    pub(crate) tenant: String,
    /// The record type
    #[arg(value_name = "TYPE")]
    pub(crate) record_type: String,
    /// The index, of kind rank
    pub(crate) index: String,
    /// The record whose position is asked for; a JSON list for a key of several fields
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) of: Option<String>,
    /// The position from which on records are asked for, from 0
    #[arg(long, value_name = "N")]
    pub(crate) at: Option<u64>,
    /// How many records
    #[arg(long, default_value_t = 1, value_name = "M", requires = "at")]
    pub(crate) limit: usize,
    /// The values of the group's columns, as a JSON list
    #[arg(long, default_value = "[]", value_name = "JSON", conflicts_with = "of")]
    pub(crate) group: String,
    /// Values of the index's fields, or of the first of them, as a JSON list: how many records of the group come before them
    #[arg(long, value_name = "JSON")]
    pub(crate) value: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct KvArguments {
    /// The tenant's name
    pub(crate) tenant: String,
    #[command(subcommand)]
    pub(crate) command: KvCommand,
}

/// Keys and values are text; \xNN stands for a byte and \\ for a backslash.
#[derive(Debug, Subcommand)]
pub(crate) enum KvCommand {
    /// Print the value of a key
    Get {
        /// The key; \xNN stands for a byte
        key: String,
    },
    /// Set a key
    Set {
        /// The key; \xNN stands for a byte
        key: String,
        /// The value; \xNN stands for a byte
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
    /// Remove a key
    Clear {
        /// The key; \xNN stands for a byte
        key: String,
    },
    /// Print the keys of a range
    Range {
        /// The first key
        #[arg(long, default_value = "")]
        begin: String,
        /// The key to end before
        #[arg(long)]
        end: Option<String>,
        /// The keys that begin so, in place of --begin and --end
        #[arg(long, conflicts_with_all = ["begin", "end"])]
        prefix: Option<String>,
        /// The most rows
        #[arg(long, default_value_t = 100, value_name = "N")]
        limit: usize,
        /// From the end
        #[arg(long)]
        reverse: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a key that signs tokens, and add its public half to a JWKS file
    Keygen(KeygenArguments),
    /// Sign a token that says what somebody may do
    Issue(Box<IssueArguments>),
    /// Print what stands in a token; with --jwks also whether it would be taken
    Inspect(InspectArguments),
    /// Revoke every token on a tenant, or every token that is on all tenants
    Revoke {
        /// The tenant's name
        #[arg(required_unless_present = "all_tenants", conflicts_with = "all_tenants")]
        tenant: Option<String>,
        /// The tokens that are on all tenants
        #[arg(long)]
        all_tenants: bool,
    },
}

#[derive(Args, Debug)]
pub(crate) struct KeygenArguments {
    /// Where the key is written, which is a secret: a file that is not there yet
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// EdDSA, ES256 or RS256
    #[arg(long, default_value = "EdDSA")]
    pub(crate) algorithm: String,
    /// The JWKS file, which is created if it is not there
    #[arg(long = "add-to", value_name = "FILE")]
    pub(crate) jwks: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct IssueArguments {
    /// Who it is given to
    pub(crate) subject: String,
    /// The key that signs it
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// admin, owner, writer, reader, auditor, or a name of your own with --action
    #[arg(long, default_value = "reader")]
    pub(crate) role: String,
    /// An action of the role; may be given several times
    #[arg(long, value_name = "ACTION")]
    pub(crate) action: Vec<String>,
    /// A tenant that it is on; may be given several times
    #[arg(
        long,
        value_name = "NAME",
        required_unless_present = "all_tenants",
        conflicts_with = "all_tenants"
    )]
    pub(crate) tenant: Vec<String>,
    /// It is on all tenants, of now and later
    #[arg(long)]
    pub(crate) all_tenants: bool,
    /// A record type that it is limited to; may be given several times
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) types: Vec<String>,
    /// Which records of a type it shows: TYPE=CEL, with claims.NAME; * is every other type
    #[arg(long, value_name = "TYPE=CEL")]
    pub(crate) policy: Vec<String>,
    /// Which of them it lets be written, if that is something else
    #[arg(long, value_name = "TYPE=CEL")]
    pub(crate) write_policy: Vec<String>,
    /// What claims.NAME is; claims.sub is the subject
    #[arg(long, value_name = "NAME=JSON")]
    pub(crate) claim: Vec<String>,
    /// How long it is good: 90s, 15m, 8h, 30d
    #[arg(long, value_name = "TIME", default_value = "1h")]
    pub(crate) lifetime: String,
}

#[derive(Args, Debug)]
pub(crate) struct InspectArguments {
    /// The token, @FILE, or - for standard input
    #[arg(id = "inspected", value_name = "TOKEN")]
    pub(crate) token: String,
}
