//! What a tenant is asked to do, and what comes of it.

use crate::record::RecordVersion;

/// An item, the record type with every kind of index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) id: Vec<u8>,
    pub(super) group: i64,
    pub(super) code: Option<String>,
    pub(super) amount: i64,
    pub(super) words: String,
    /// Whether its time has come, or never will.
    pub(super) has_expired: bool,
}

/// One operation within a transaction.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Put(Item),
    Insert(Item),
    Delete(Vec<u8>),
    Get(Vec<u8>),
    Exists(Vec<u8>),
    /// All items, in pages of so many.
    All(usize),
    OfGroup(i64),
    OfCode(String),
    OfWord(&'static str),
    /// Counts, sums and least amounts by group.
    Amounts,
    RankOf(Vec<u8>),
    Ranked {
        group: i64,
        from: u64,
        rows_max: usize,
    },
    /// The items of a group in the order of their changes; all, or those after one of the tenant's own, or after somebody else's.
    Changed {
        group: i64,
        after: After,
    },
    PutPair {
        name: &'static str,
        number: i64,
        value: String,
    },
    DeletePair {
        name: &'static str,
        number: i64,
    },
    PairsOf(&'static str),
    RawGet(Vec<u8>),
    RawSet(Vec<u8>, Vec<u8>),
    RawClear(Vec<u8>),
    RawClearRange(Vec<u8>, Vec<u8>),
    RawRange {
        begin: Vec<u8>,
        end: Option<Vec<u8>>,
        rows_max: usize,
        is_reverse: bool,
    },
    RawAdd(Vec<u8>, u64),
    RawStamped {
        prefix: Vec<u8>,
        suffix: Vec<u8>,
        value: Vec<u8>,
    },
    CounterAdd {
        name: &'static str,
        amount: i64,
        shards: u16,
    },
    Counter(&'static str),
    Sequence(&'static str),
    /// A page of another tenant's, gone on with.
    TokenOfAnother(String),
    /// A page of more rows than there may be.
    TooManyRows(usize),
}

/// Behind what changes are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum After {
    Begin,
    /// A version of the tenant's own, and its place in the model's order.
    Own(RecordVersion, u64),
    Anothers(RecordVersion),
}

impl Operation {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Operation::Put(_) | Operation::Insert(_) | Operation::Delete(_) => "records written",
            Operation::Get(_) | Operation::Exists(_) => "records read",
            Operation::All(_) => "scans of all records, page by page",
            Operation::OfGroup(_) | Operation::OfCode(_) => "queries by an index",
            Operation::OfWord(_) => "queries by words",
            Operation::Amounts => "aggregates",
            Operation::RankOf(_) | Operation::Ranked { .. } => "positions",
            Operation::Changed { after: After::Anothers(_), .. } => "changes after another's version",
            Operation::Changed { .. } => "changes in order",
            Operation::PutPair { .. } | Operation::DeletePair { .. } | Operation::PairsOf(_) => {
                "records of composite keys"
            }
            Operation::RawGet(_) | Operation::RawRange { .. } => "raw reads",
            Operation::RawSet(..) | Operation::RawClear(_) | Operation::RawAdd(..) => "raw writes",
            Operation::RawClearRange(..) => "raw range clears",
            Operation::RawStamped { .. } => "raw keys with a stamp",
            Operation::CounterAdd { .. } | Operation::Counter(_) => "counters",
            Operation::Sequence(_) => "sequences",
            Operation::TokenOfAnother(_) => "page tokens of others",
            Operation::TooManyRows(_) => "pages over the limit",
        }
    }
}

/// What came of an operation.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Outcome {
    Done,
    /// Whether it was there.
    Flag(bool),
    /// The number of the error.
    Refused(i32),
    Item(Option<Item>),
    /// Keys of records, sorted or in the order that was asked for.
    Ids(Vec<Vec<u8>>),
    Numbers(Vec<i64>),
    /// Group, count, sum, least amount.
    Amounts(Vec<[i64; 4]>),
    Rank(Option<u64>),
    Value(Option<Vec<u8>>),
    Rows(Vec<(Vec<u8>, Vec<u8>)>),
    Number(i64),
    /// Of a key with a stamp: the ordinal, which the transaction gives.
    Ordinal(u16),
    /// Some of these, the last ones, in this order: what is asked for behind a moment that the model does not know.
    LastOf(Vec<Vec<u8>>),
    /// An error that says something of another tenant.
    Leak(String),
}

impl Outcome {
    /// Whether `found` is what this one, the model's, says.
    pub(super) fn allows(&self, found: &Outcome) -> bool {
        match (self, found) {
            (Outcome::LastOf(ids), Outcome::Ids(found)) => ids.ends_with(found),
            (Outcome::Ordinal(_), Outcome::Ordinal(_)) => true,
            _ => self == found,
        }
    }
}
