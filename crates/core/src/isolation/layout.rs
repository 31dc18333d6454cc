//! Whose a key is, and of what kind: read from its bytes as `docs/key-layout.md` describes them, apart from the code that makes keys. Whoever adds a kind of key adds it here.

use super::tuple_reader::{Item, Malformed, Reader};

/// Whose a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum KeyOwner {
    /// The database as a whole.
    Database,
    /// The catalog: tenant 0.
    Catalog,
    /// What the database keeps of a tenant beside the tenant's own keys.
    About(u64),
    /// A tenant.
    Tenant(u64),
}

macro_rules! kinds {
    ($($name:ident = $text:literal;)*) => {
        /// The kind of a key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum KeyKind {
            $(#[doc = concat!("Of ", $text, ".")] $name,)*
        }

        impl KeyKind {
            /// Every kind.
            pub const ALL: &[KeyKind] = &[$(KeyKind::$name),*];

            /// What a key of the kind is of.
            pub fn name(self) -> &'static str {
                match self { $(KeyKind::$name => $text,)* }
            }
        }
    };
}

kinds! {
    DatabaseHeader = "the database's header";
    DatabaseState = "the database's state";
    CopyProgress = "the progress of a copy";
    SchemaName = "a schema's name";
    Schema = "a schema";
    TenantLastId = "the last tenant id";
    TenantName = "a tenant's name";
    TenantEntry = "a tenant's entry";
    PurgeDue = "times of purges";
    DeletedName = "names of deleted tenants";
    ArchiveProgress = "the progress of an import";
    Plan = "a plan's limits";
    JobDefinition = "a job's definition";
    JobStatus = "a job's status";
    JobLease = "a job's lease";
    JobQueue = "the queue of jobs";
    JobEnd = "a job's end";
    JobsUnfinished = "the number of unfinished jobs";
    JobsEnded = "the number of ended jobs";
    RunnerSlot = "the runner's slots";
    ChangeMark = "marks of change";
    TenantHeader = "a tenant's header";
    DataKey = "data keys of a sealed tenant";
    Record = "records";
    RecordPart = "further parts of records";
    IndexEntry = "index entries";
    RankCount = "counts of rank indexes";
    LogHead = "the change log's head";
    LogEntry = "the change log";
    IdempotencyRecord = "idempotency records";
    IdempotencyExpiry = "ends of idempotency records";
    Counter = "counters";
    CounterShard = "shards of counters";
    Sequence = "sequences";
    MeterTotals = "the meter of what is stored";
    MeterHour = "meters of what was consumed";
    BudgetLease = "leases on rates";
    Raw = "the application's own keys";
}

/// What a key says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attribution {
    pub(super) owner: KeyOwner,
    pub(super) kind: KeyKind,
}

impl Attribution {
    fn of(owner: KeyOwner, kind: KeyKind) -> Attribution {
        Attribution { owner, kind }
    }
}

/// Why a key is nobody's.
pub(super) type Unattributed = String;

/// The elements of a key, in turn.
struct Elements<'a>(Reader<'a>);

impl<'a> Elements<'a> {
    fn next(&mut self) -> Result<Item, Unattributed> {
        self.0.next().map_err(told)?.ok_or_else(|| "the key ends too early".to_owned())
    }

    fn integer(&mut self, what: &str) -> Result<i128, Unattributed> {
        match self.next()? {
            Item::Integer(number) => Ok(number),
            other => Err(format!("{what} is no integer but {other:?}")),
        }
    }

    /// An integer from 0 on.
    fn id(&mut self, what: &str) -> Result<u64, Unattributed> {
        let number = self.integer(what)?;
        u64::try_from(number).map_err(|_| format!("{what} is {number}"))
    }

    fn small_id(&mut self, what: &str) -> Result<u32, Unattributed> {
        let number = self.integer(what)?;
        u32::try_from(number).map_err(|_| format!("{what} is {number}"))
    }

    fn text(&mut self, what: &str) -> Result<(), Unattributed> {
        match self.next()? {
            Item::Text(text) if !text.is_empty() => Ok(()),
            other => Err(format!("{what} is no text but {other:?}")),
        }
    }

    fn uuid(&mut self, what: &str) -> Result<(), Unattributed> {
        match self.next()? {
            Item::Uuid(_) => Ok(()),
            other => Err(format!("{what} is no UUID but {other:?}")),
        }
    }

    fn bytes(&mut self, what: &str) -> Result<(), Unattributed> {
        match self.next()? {
            Item::Bytes(_) => Ok(()),
            other => Err(format!("{what} is no byte string but {other:?}")),
        }
    }

    fn stamp(&mut self) -> Result<(), Unattributed> {
        match self.next()? {
            Item::Stamp => Ok(()),
            other => Err(format!("a stamp is none but {other:?}")),
        }
    }

    fn end(&mut self) -> Result<(), Unattributed> {
        match self.0.is_at_end() {
            true => Ok(()),
            false => Err(format!("the key goes on with {}", self.0.rest().escape_ascii())),
        }
    }

    /// All that is left.
    fn rest(&mut self) -> Result<Vec<Item>, Unattributed> {
        let mut items = Vec::new();
        while let Some(item) = self.0.next().map_err(told)? {
            items.push(item);
        }
        Ok(items)
    }
}

fn told(why: Malformed) -> Unattributed {
    why.to_string()
}

/// Whose a key is that lies behind the database's root.
pub(super) fn attribute(relative: &[u8]) -> Result<Attribution, Unattributed> {
    use KeyKind::*;
    use KeyOwner::{About, Database};
    let mut elements = Elements(Reader::new(relative));
    let part = elements.integer("the part of the database")?;
    let found = match part {
        0 if elements.0.is_at_end() => Attribution::of(Database, DatabaseHeader),
        0 => match elements.integer("what a key of the database's is of")? {
            1 => Attribution::of(Database, DatabaseState),
            2 => Attribution::of(Database, CopyProgress),
            other => return Err(format!("nothing of the database has the number {other}")),
        },
        1 => match elements.integer("what a schema's key is of")? {
            0 => elements.text("a schema's name").map(|()| Attribution::of(Database, SchemaName))?,
            1 => {
                elements.uuid("a schema")?;
                elements.small_id("a schema's version")?;
                Attribution::of(Database, Schema)
            }
            other => return Err(format!("nothing of schemas has the number {other}")),
        },
        2 => match elements.integer("what a key about tenants is of")? {
            0 => Attribution::of(Database, TenantLastId),
            1 => elements.text("a tenant's name").map(|()| Attribution::of(Database, TenantName))?,
            2 => Attribution::of(About(elements.id("a tenant's id")?), TenantEntry),
            3 => {
                elements.integer("when a tenant is looked at")?;
                Attribution::of(About(elements.id("a tenant's id")?), PurgeDue)
            }
            4 => {
                elements.text("the name of a deleted tenant")?;
                Attribution::of(About(elements.id("a tenant's id")?), DeletedName)
            }
            5 => Attribution::of(About(elements.id("a tenant's id")?), ArchiveProgress),
            6 => elements.text("a plan's name").map(|()| Attribution::of(Database, Plan))?,
            other => return Err(format!("nothing about tenants has the number {other}")),
        },
        3 => job(&mut elements)?,
        // The runner's own.
        5 => return Ok(Attribution::of(Database, RunnerSlot)),
        6 => {
            elements.integer("the versions of a mark")?;
            Attribution::of(owner_about(elements.id("a tenant's id")?), ChangeMark)
        }
        9 => match elements.id("a tenant's id")? {
            0 => of_catalog(&mut elements)?,
            id => return of_tenant(id, &mut elements),
        },
        other => return Err(format!("no part of the database has the number {other}")),
    };
    elements.end()?;
    Ok(found)
}

fn owner_about(id: u64) -> KeyOwner {
    if id == 0 { KeyOwner::Catalog } else { KeyOwner::About(id) }
}

fn job(elements: &mut Elements<'_>) -> Result<Attribution, Unattributed> {
    use KeyKind::*;
    use KeyOwner::{About, Database};
    Ok(match elements.integer("what a job's key is of")? {
        0 => {
            elements.uuid("a job")?;
            match elements.integer("the part of a job")? {
                0 => Attribution::of(Database, JobDefinition),
                1 => Attribution::of(Database, JobStatus),
                2 => Attribution::of(Database, JobLease),
                other => return Err(format!("no part of a job has the number {other}")),
            }
        }
        1 => {
            let id = elements.id("a tenant's id")?;
            elements.integer("when a job is due")?;
            elements.uuid("a job")?;
            // Tenant 0 stands for the database as a whole.
            Attribution::of(if id == 0 { Database } else { About(id) }, JobQueue)
        }
        2 => {
            elements.integer("when a job ended")?;
            elements.uuid("a job")?;
            Attribution::of(Database, JobEnd)
        }
        3 => {
            let id = elements.id("a tenant's id")?;
            Attribution::of(if id == 0 { Database } else { About(id) }, JobsUnfinished)
        }
        4 => Attribution::of(Database, JobsEnded),
        other => return Err(format!("nothing of jobs has the number {other}")),
    })
}

/// The catalog has a header and a log, and nothing else.
fn of_catalog(elements: &mut Elements<'_>) -> Result<Attribution, Unattributed> {
    match elements.integer("the part of a tenant")? {
        0 => Ok(Attribution::of(KeyOwner::Catalog, KeyKind::TenantHeader)),
        4 => log(KeyOwner::Catalog, elements),
        other => Err(format!("the catalog has no part {other}")),
    }
}

fn of_tenant(id: u64, elements: &mut Elements<'_>) -> Result<Attribution, Unattributed> {
    use KeyKind::*;
    let owner = KeyOwner::Tenant(id);
    let found = match elements.integer("the part of a tenant")? {
        0 if elements.0.is_at_end() => Attribution::of(owner, TenantHeader),
        0 => match elements.integer("what a key behind a header is of")? {
            1 => {
                elements.small_id("the generation of a data key")?;
                Attribution::of(owner, DataKey)
            }
            other => return Err(format!("nothing behind a header has the number {other}")),
        },
        1 => {
            elements.small_id("a record type")?;
            let kind = match elements.rest()?.split_last() {
                Some((Item::Integer(0), key)) if !key.is_empty() => Record,
                Some((Item::Integer(1..=12), key)) if !key.is_empty() => RecordPart,
                _ => return Err("a record's key has no primary key and part".to_owned()),
            };
            Attribution::of(owner, kind)
        }
        2 => {
            elements.small_id("an index")?;
            // Counts and sums over everything have one element, the number of their part.
            match elements.rest()?.is_empty() {
                true => return Err("an index entry has no columns".to_owned()),
                false => Attribution::of(owner, IndexEntry),
            }
        }
        3 => {
            elements.small_id("an index")?;
            let rest = elements.rest()?;
            let has_level = rest.iter().any(|item| matches!(item, Item::Integer(1..=5)));
            match has_level {
                true => Attribution::of(owner, RankCount),
                false => return Err("a count of a rank index has no level".to_owned()),
            }
        }
        4 => log(owner, elements)?,
        5 => match elements.integer("what an idempotency key is of")? {
            0 => {
                elements.bytes("an idempotency key")?;
                Attribution::of(owner, IdempotencyRecord)
            }
            1 => {
                elements.integer("the end of an idempotency key")?;
                elements.bytes("an idempotency key")?;
                Attribution::of(owner, IdempotencyExpiry)
            }
            other => return Err(format!("nothing of idempotency keys has the number {other}")),
        },
        6 => match elements.integer("whether it is a counter or a sequence")? {
            0 => {
                elements.text("a counter's name")?;
                match elements.0.is_at_end() {
                    true => Attribution::of(owner, Counter),
                    false => {
                        elements.small_id("a counter's shard")?;
                        Attribution::of(owner, CounterShard)
                    }
                }
            }
            1 => elements.text("a sequence's name").map(|()| Attribution::of(owner, Sequence))?,
            other => return Err(format!("neither counters nor sequences have the number {other}")),
        },
        8 => meter_or_lease(owner, elements)?,
        // The application's own bytes follow.
        7 => return Ok(Attribution::of(owner, Raw)),
        other => return Err(format!("a tenant has no part {other}")),
    };
    elements.end()?;
    Ok(found)
}

fn meter_or_lease(owner: KeyOwner, elements: &mut Elements<'_>) -> Result<Attribution, Unattributed> {
    use KeyKind::{BudgetLease, MeterHour, MeterTotals};
    let kind = match elements.integer("whether it is a meter or a lease")? {
        0 => match elements.integer("what a meter is of")? {
            0 => MeterTotals,
            1 => elements.id("an hour").map(|_| MeterHour)?,
            other => return Err(format!("no meter has the number {other}")),
        },
        1 => elements.uuid("a process").map(|()| BudgetLease)?,
        other => return Err(format!("neither meters nor leases have the number {other}")),
    };
    Ok(Attribution::of(owner, kind))
}

fn log(owner: KeyOwner, elements: &mut Elements<'_>) -> Result<Attribution, Unattributed> {
    let kind = match elements.integer("what a key of the log is of")? {
        0 => KeyKind::LogHead,
        1 => {
            elements.small_id("the bucket of a log")?;
            elements.small_id("an incarnation")?;
            elements.stamp()?;
            KeyKind::LogEntry
        }
        other => return Err(format!("nothing of the log has the number {other}")),
    };
    elements.end()?;
    Ok(Attribution::of(owner, kind))
}
