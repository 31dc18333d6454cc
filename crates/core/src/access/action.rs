//! What a grant may allow: actions, and roles that have some of them.

use std::collections::BTreeSet;

use crate::error::{Code, Error, Result, shown};

macro_rules! actions {
    ($($(#[$documentation:meta])* $action:ident = $name:literal;)*) => {
        /// Something that a grant allows. Every [`Operation`](super::Operation) says which actions it needs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Action {
            $($(#[$documentation])* $action,)*
        }

        impl Action {
            /// Every action.
            pub const ALL: &'static [Action] = &[$(Action::$action),*];

            /// The action's name, as tokens and the command line write it.
            pub fn name(self) -> &'static str {
                match self { $(Action::$action => $name,)* }
            }
        }
    };
}

actions! {
    /// Records: by key, by queries, aggregates and positions.
    Read = "read";
    /// Records that are not there yet.
    Insert = "insert";
    /// Records that are there.
    Update = "update";
    /// Records are deleted.
    Delete = "delete";
    /// All records of a type at one version.
    Export = "export";
    /// To be told that something has changed.
    Watch = "watch";
    /// The change log, and what others did.
    Audit = "audit";
    /// The tenant's own key-value space is read.
    RawRead = "raw_read";
    /// The tenant's own key-value space is written.
    RawWrite = "raw_write";
    /// Counters are read.
    CounterRead = "counter_read";
    /// Counters are added to, numbers of sequences are taken.
    CounterWrite = "counter_write";
    /// Jobs of the tenant are looked at.
    ViewJobs = "view_jobs";
    /// Jobs of the tenant are created and cancelled; each kind of job needs what it does as well.
    ManageJobs = "manage_jobs";
    /// Upkeep of the tenant: checks, sweeps, what is kept of idempotency keys.
    Maintain = "maintain";
    /// What the catalog says of the tenant: its state, its labels.
    DescribeTenant = "describe_tenant";
    /// The tenant itself: its labels, its suspension, its end.
    ManageTenant = "manage_tenant";
    /// The tokens of the tenant are revoked.
    ManageTokens = "manage_tokens";
    /// Tenants are listed.
    ListTenants = "list_tenants";
    /// Tenants are created, renamed, and given plans.
    CreateTenants = "create_tenants";
    /// Schemas are looked at by their names.
    ViewSchemas = "view_schemas";
    /// Schemas are put into the catalog.
    ManageSchemas = "manage_schemas";
    /// What the database says of itself.
    ViewDatabase = "view_database";
    /// The database as a whole: read-only, copied, erased, its jobs worked on.
    ManageDatabase = "manage_database";
}

impl Action {
    /// The action of a name.
    ///
    /// # Errors
    ///
    /// 20124 for a name that is none.
    pub fn of_name(name: &str) -> Result<Action> {
        Action::ALL.iter().copied().find(|action| action.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Action::ALL.iter().map(|action| action.name()).collect();
            let detail = format!("there is no action {}; there are {}", shown(name), known.join(", "));
            Error::new(Code::GrantInvalid, detail)
        })
    }
}

/// A role that comes with this library. Others are made of actions: see [`Grant::of_actions`](super::Grant::of_actions).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Everything, the database as a whole included.
    Admin,
    /// Everything in tenants, and the tenants themselves.
    Owner,
    /// Reads and writes records, raw keys and counters.
    Writer,
    /// Reads records, raw keys and counters.
    Reader,
    /// Reads everything in tenants, the change log, jobs and exports included, and writes nothing.
    Auditor,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 5] = [Role::Admin, Role::Owner, Role::Writer, Role::Reader, Role::Auditor];

    /// The role's name.
    pub fn name(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Owner => "owner",
            Role::Writer => "writer",
            Role::Reader => "reader",
            Role::Auditor => "auditor",
        }
    }

    /// The role of a name, if it is one of these.
    pub fn of_name(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }

    /// What it allows.
    pub fn actions(self) -> BTreeSet<Action> {
        use Action::{
            Audit, CounterRead, CounterWrite, CreateTenants, Delete, DescribeTenant, Export, Insert,
            ListTenants, ManageDatabase, ManageSchemas, RawRead, RawWrite, Read, Update, ViewDatabase,
            ViewJobs, ViewSchemas, Watch,
        };
        let of_the_database =
            [ListTenants, CreateTenants, ViewSchemas, ManageSchemas, ViewDatabase, ManageDatabase];
        match self {
            Role::Admin => Action::ALL.iter().copied().collect(),
            Role::Owner => {
                let all = Action::ALL.iter().copied();
                all.filter(|action| !of_the_database.contains(action)).collect()
            }
            Role::Writer => BTreeSet::from([
                DescribeTenant,
                Read,
                Insert,
                Update,
                Delete,
                Watch,
                RawRead,
                RawWrite,
                CounterRead,
                CounterWrite,
            ]),
            Role::Reader => BTreeSet::from([DescribeTenant, Read, Watch, RawRead, CounterRead]),
            Role::Auditor => {
                BTreeSet::from([DescribeTenant, Read, Export, Watch, Audit, RawRead, CounterRead, ViewJobs])
            }
        }
    }
}
