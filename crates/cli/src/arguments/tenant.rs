//! The words of `tenantry tenant`.

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
        /// Those in a state alone: active, read-only, blocked, filling
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
    /// Delete a tenant with everything in it
    Delete {
        /// The tenant's name
        name: String,
    },
}

#[derive(Args, Debug)]
pub(crate) struct CreateArguments {
    /// The tenant's name
    pub(crate) name: String,
    /// The schema that its records follow
    #[arg(long)]
    pub(crate) schema: String,
    /// A note on it; may be given several times
    #[arg(long = "label", value_name = "NAME=VALUE")]
    pub(crate) labels: Vec<String>,
    /// The name of its plan
    #[arg(long)]
    pub(crate) plan: Option<String>,
}
