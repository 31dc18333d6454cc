//! The words of `tenantry tenant`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// Create a tenant
    Create(CreateArguments),
    /// Print the tenants by name
    List {
        /// Those with a label alone: NAME=VALUE, or NAME for any value; may be given several times
        #[arg(long = "label", value_name = "NAME[=VALUE]")]
        labels: Vec<String>,
        /// Those in a state alone: active, read-only, blocked, filling, or deleted
        #[arg(long)]
        state: Option<String>,
        /// Those of a plan alone
        #[arg(long)]
        plan: Option<String>,
        /// The most tenants to print
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
        /// Begin behind this name
        #[arg(long)]
        after: Option<String>,
    },
    /// Print what is known of a tenant
    Show {
        /// The tenant's name
        name: String,
    },
    /// Give a tenant another name
    Rename {
        /// The tenant's name
        name: String,
        /// The new one
        new_name: String,
    },
    /// Give a tenant labels, or take some away
    Label {
        /// The tenant's name
        name: String,
        /// Labels to set
        #[arg(value_name = "NAME=VALUE", required_unless_present = "remove")]
        labels: Vec<String>,
        /// A label to take away; may be given several times
        #[arg(long, value_name = "NAME")]
        remove: Vec<String>,
    },
    /// Give a tenant a plan, or none
    Plan {
        /// The tenant's name
        name: String,
        /// The plan's name; without it the tenant has none
        plan: Option<String>,
    },
    /// Print the limits of a tenant, and change them
    Limits(LimitsArguments),
    /// Let nobody use a tenant, or only read it, until it is resumed
    Suspend {
        /// The tenant's name
        name: String,
        /// Go on answering reads
        #[arg(long)]
        read_only: bool,
        /// Why: everybody who is refused is told
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// End the suspension of a tenant
    Resume {
        /// The tenant's name
        name: String,
    },
    /// Seal a tenant with a key of its own: what it has, and whatever is written from now on
    Seal(SealArguments),
    /// Give a sealed tenant another data key, and seal everything with it
    RotateKey(SealArguments),
    /// Destroy a tenant's key, so that nobody reads what is sealed any more, and print a certificate
    Shred {
        /// The tenant's name
        name: String,
        /// The tenant's name once more: it cannot be undone
        #[arg(long, value_name = "NAME")]
        confirm: String,
    },
    /// Delete a tenant: its name is free at once, and it can be brought back while its grace lasts
    Delete {
        /// The tenant's name
        name: String,
        /// How long it can be brought back: a number and s, m, h or d. With 0 it is purged at once
        #[arg(long, default_value = "7d", value_name = "TIME", value_parser = grace)]
        grace: Duration,
    },
    /// Bring a deleted tenant back
    Undelete {
        /// The name that it had
        name: String,
        /// Its id, where several deleted tenants had the name
        #[arg(long)]
        id: Option<u64>,
        /// Another name, where the old one is taken
        #[arg(long = "as", value_name = "NAME")]
        new_name: Option<String>,
    },
    /// Make a new tenant that has what another one has, at one version
    Clone {
        /// The tenant to clone
        source: String,
        /// The name of the new one
        name: String,
        /// Leave the work to "tenantry jobs run"
        #[arg(long)]
        background: bool,
    },
    /// Look whether every key of a tenant can be read and its indexes agree with its records
    Verify {
        /// The tenant's name
        name: String,
        /// Leave the work to "tenantry jobs run"
        #[arg(long)]
        background: bool,
    },
    /// Write all of a tenant, as it is at one version, as an archive
    Export {
        /// The tenant's name
        name: String,
        /// The file, which is a new one; by default standard output
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Go on with a file that an export before this one left behind
        #[arg(long, requires = "output")]
        resume: bool,
    },
    /// Make a new tenant of an archive; to go on with an import, run it again
    Import {
        /// The name of the new tenant
        name: String,
        /// The archive; - for standard input
        file: PathBuf,
    },
    /// Print the hash of what a tenant, or an archive, holds
    Hash {
        /// The tenant's name
        #[arg(required_unless_present = "file", conflicts_with = "file")]
        name: Option<String>,
        /// An archive; - for standard input
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Remove everything of a deleted tenant
    Purge {
        /// The name that it had
        name: String,
        /// Its id, where several deleted tenants had the name
        #[arg(long)]
        id: Option<u64>,
        /// Do not wait for the end of its grace
        #[arg(long)]
        now: bool,
        /// Leave the work to "tenantry jobs run"
        #[arg(long)]
        background: bool,
    },
}

/// A number and its unit.
fn grace(text: &str) -> Result<Duration, String> {
    let unusable = || format!("{text}: write a number and s, m, h or d, as in 7d, or 0");
    let (number, seconds) = match text.char_indices().last() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3_600),
        Some((at, 'd')) => (&text[..at], 24 * 3_600),
        _ if text == "0" => (text, 1),
        _ => return Err(unusable()),
    };
    let number: u64 = number.parse().map_err(|_| unusable())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(unusable)
}

#[derive(Args, Debug)]
pub(crate) struct LimitsArguments {
    /// The tenant's name
    pub(crate) tenant: String,
    /// NAME=NUMBER, NAME=none for no limit whatever the plan says, NAME=plan to follow the plan; may be given several times
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
}

#[derive(Args, Debug)]
pub(crate) struct CreateArguments {
    /// The tenant's name
    #[arg(required_unless_present_any = ["from", "count"], conflicts_with_all = ["from", "count"])]
    pub(crate) name: Option<String>,
    /// Create those that a file names: a name on each line, or a JSON object with name, labels and plan; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "count")]
    pub(crate) from: Option<PathBuf>,
    /// Create so many, called by --prefix and a number
    #[arg(long, value_name = "N", requires = "prefix", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub(crate) count: Option<u64>,
    /// With --count: what the names begin with
    #[arg(long, requires = "count")]
    pub(crate) prefix: Option<String>,
    /// The schema that its records follow
    #[arg(long)]
    pub(crate) schema: String,
    /// A note on it; may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
    /// The name of its plan
    #[arg(long)]
    pub(crate) plan: Option<String>,
    /// Seal it from the begin: see the options --key-store and --root-key
    #[arg(long, conflicts_with_all = ["from", "count"])]
    pub(crate) sealed: bool,
}

#[derive(Args, Debug)]
pub(crate) struct SealArguments {
    /// The tenant's name
    pub(crate) name: String,
    /// Leave the work on what is there to whoever runs "tenantry jobs run"
    #[arg(long)]
    pub(crate) background: bool,
}
