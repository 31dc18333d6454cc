//! Every operation that a grant decides about, with what it needs.
//!
//! A public operation of a tenant, a transaction or a database begins with a call that names one of these. A test goes over this list and has each refused without
//! its actions; another reads the sources and fails for a public operation that names none.

use super::Action;

/// What an operation touches, and so which limits of a grant it can keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Single records: a row policy is applied to each.
    Rows,
    /// A record type as a whole, or keys of it that are not looked into: refused where its records have a row policy.
    Type,
    /// Something of the tenant that no record type bounds: refused to whoever is limited to some types, or has row policies.
    Tenant,
    /// A tenant from outside, without a look at its records.
    Catalog,
    /// The database: for grants on all tenants.
    Database,
}

macro_rules! operations {
    ($($operation:ident: $scope:ident [$($action:ident),*], $what:literal;)*) => {
        /// Something that is done with a database or in a tenant, and that a grant allows or does not.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Operation {
            $(#[doc = concat!("To ", $what, ".")] $operation,)*
        }

        impl Operation {
            /// Every operation.
            pub const ALL: &'static [Operation] = &[$(Operation::$operation),*];

            /// What it needs: all of them.
            pub fn actions(self) -> &'static [Action] {
                match self { $(Operation::$operation => &[$(Action::$action),*],)* }
            }

            /// The operation in words, behind "to".
            pub fn what(self) -> &'static str {
                match self { $(Operation::$operation => $what,)* }
            }

            pub(crate) fn scope(self) -> Scope {
                match self { $(Operation::$operation => Scope::$scope,)* }
            }
        }
    };
}

operations! {
    Get: Rows [Read], "read a record";
    GetMany: Rows [Read], "read records";
    Exists: Rows [Read], "ask whether a record is there";
    Query: Rows [Read], "query records";
    Aggregate: Type [Read], "count and add up records";
    Rank: Type [Read], "read positions of records";
    ChangedAfter: Type [Read], "read records in the order of their changes";
    WatchRecord: Type [Read, Watch], "watch a record";
    Defaults: Rows [Insert], "fill in the defaults of a record";
    Insert: Rows [Insert], "insert a record";
    InsertNew: Type [Insert, Update], "insert a record without a look";
    Put: Rows [Insert, Update], "write a record";
    Replace: Rows [Update], "replace a record";
    ReplaceMatching: Rows [Read, Update], "replace a record that matches a condition";
    Update: Rows [Read, Update], "update a record";
    Delete: Rows [Delete], "delete a record";
    DeleteMatching: Rows [Read, Delete], "delete a record that matches a condition";
    DeleteWhere: Rows [Read, Delete], "delete records by a query";
    DeleteCascading: Type [Delete], "delete a record with all that refers to it, in steps";
    Import: Rows [Insert], "import records";
    ImportReplacing: Rows [Insert, Update], "import records over those that are there";
    Export: Rows [Read, Export], "export records";
    RawGet: Tenant [RawRead], "read a raw key";
    RawRange: Tenant [RawRead], "read raw keys";
    RawWatch: Tenant [RawRead, Watch], "watch a raw key";
    RawSet: Tenant [RawWrite], "set a raw key";
    RawClear: Tenant [RawWrite], "clear a raw key";
    RawClearRange: Tenant [RawWrite], "clear raw keys";
    RawAtomic: Tenant [RawWrite], "change a raw key";
    RawSetVersionstamped: Tenant [RawWrite], "set a raw key with a stamp";
    Counter: Tenant [CounterRead], "read a counter";
    AddToCounter: Tenant [CounterWrite], "add to a counter";
    NextInSequence: Tenant [CounterWrite], "take a number of a sequence";
    WatchTenant: Tenant [Watch], "watch the tenant";
    Expire: Tenant [Maintain, Delete], "delete records whose time has come";
    ForgetResults: Tenant [Maintain], "remove the results of idempotency keys";
    CreateJob: Tenant [ManageJobs], "create a job";
    ArchiveTenant: Tenant [Read, Export, RawRead, CounterRead], "write the whole tenant as an archive, or hash it";
    ViewJobs: Tenant [ViewJobs], "look at jobs";
    CancelJob: Tenant [ViewJobs, ManageJobs], "cancel a job";
    ViewUsage: Tenant [DescribeTenant], "look at what the tenant stores, consumes and may";
    DescribeTenant: Catalog [DescribeTenant], "look at what the catalog says of the tenant";
    LabelTenant: Catalog [ManageTenant], "label the tenant";
    SuspendTenant: Catalog [ManageTenant], "suspend or resume the tenant";
    SealTenant: Catalog [ManageTenant], "seal the tenant, or give it another data key";
    ShredTenant: Catalog [ManageTenant], "destroy the tenant's key";
    DeleteTenant: Catalog [ManageTenant], "delete the tenant";
    ViewTokenEpoch: Catalog [ManageTokens], "read the epoch of the tenant's tokens";
    RevokeTokens: Catalog [ManageTokens], "revoke the tokens of the tenant";
    ManageDeletedTenants: Database [CreateTenants], "look at deleted tenants, bring one back or purge it";
    CloneTenant: Database [CreateTenants, ManageDatabase], "clone a tenant";
    ImportTenant: Database [CreateTenants, ManageSchemas, ViewSchemas, Insert, Update, Delete], "make a tenant of an archive";
    CreateTenant: Database [CreateTenants], "create a tenant";
    RenameTenant: Database [CreateTenants], "rename a tenant";
    SetPlan: Database [CreateTenants], "give a tenant a plan";
    SetLimits: Database [CreateTenants], "give a tenant limits";
    ListTenants: Database [ListTenants], "list tenants";
    ViewSchemas: Database [ViewSchemas], "look at schemas";
    ApplySchema: Database [ManageSchemas], "apply a schema";
    RevokeAllTokens: Database [ManageTokens], "revoke the tokens for all tenants";
    ViewDatabase: Database [ViewDatabase], "look at the database as a whole";
    ViewPlans: Database [ViewDatabase], "look at plans";
    ManagePlans: Database [ManageDatabase], "set the limits of plans";
    SetPool: Database [ManageDatabase], "bound the transactions that run in the process";
    ChangeState: Database [ManageDatabase], "make the database read-only or writable";
    CopyDatabase: Database [ManageDatabase], "copy the database";
    EraseDatabase: Database [ManageDatabase], "erase the database";
    AttributeKeys: Database [ManageDatabase], "say whose every key of the database is";
    ProveIsolation: Database [ManageDatabase, ManageSchemas, CreateTenants, ListTenants], "prove the isolation of tenants";
    UseKeys: Database [ManageDatabase], "give the database the keys of sealed tenants";
    ManageAllJobs: Database [ManageDatabase], "look at, create, cancel and work on the jobs of all tenants";
}
